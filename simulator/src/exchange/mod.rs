//! The exchange: orders, their trades, and what wallets have to trade with. No clock and no I/O: whoever
//! calls says what time it is, and never goes back.
//!
//! Orders match against the made books ([`crate::book`]), never against each other: two tenants who copy
//! one leader do not become each other's counterparty.

mod check;
mod matching;
mod order;
mod refusal;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use schemas::{Address, OrderId, Price, Shares, Side, Timestamp, TxHash, Usdc};
use venue::wire::{ClobOrderStatus, PostOrder};

pub use check::{Terms, kills_rest, terms};
pub use order::{Order, Target, Trade};
pub use refusal::Refusal;

use crate::{
    book::{Quotes, Sides},
    market::{Market, MarketRef, Registry, TokenRef},
    print::Print,
};

/// What the exchange does with orders; fixed for the life of a state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    /// What every wallet starts with.
    pub opening_balance: Usdc,
    /// From match to final settlement.
    pub confirm_after: Duration,
    /// The depth of the made books, in thousandths of what the prints say.
    pub depth_permille: u32,
    /// Whether bought shares can be sold only once their trade is confirmed.
    pub credit_when_confirmed: bool,
}

impl Default for Rules {
    /// $10,000 a wallet, two seconds to settle, books as deep as the prints.
    fn default() -> Self {
        Self {
            opening_balance: Usdc::from_units(10_000),
            confirm_after: Duration::from_secs(2),
            depth_permille: 1_000,
            credit_when_confirmed: false,
        }
    }
}

/// What a wallet has.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Account {
    /// Collateral, in 10^-6 dollars.
    pub usdc: i64,
    /// Shares it can sell, in 10^-6.
    pub shares: BTreeMap<TokenRef, i64>,
}

/// Something that is due at a time of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Due {
    /// A GTD order ends.
    Lapse(OrderId),
    /// A delayed order is matched.
    Release(OrderId),
    /// A trade is final.
    Settle(usize),
    /// A resolved market pays.
    Redeem(MarketRef),
}

/// What the world should know of what became due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// A trade of ours is final, and public.
    Traded(Print),
    /// A wallet's winnings were paid.
    Redeemed {
        /// Whose.
        wallet: Address,
        /// On which market.
        market: MarketRef,
        /// Winning shares.
        shares: Shares,
        /// Dollars.
        usdc: Usdc,
        /// The transaction.
        tx: TxHash,
    },
}

/// An order that passed the checks, on its way into the book.
#[derive(Debug, Clone)]
pub struct Admission {
    /// Its digest.
    pub id: OrderId,
    /// The body.
    pub post: PostOrder,
    /// What is traded.
    pub token: TokenRef,
    /// What it says.
    pub terms: Terms,
    /// When the body had been read.
    pub received: Timestamp,
    /// For how long it is held back.
    pub hold: Option<Duration>,
    /// Whether its trades fail.
    pub fails: bool,
}

/// The exchange.
#[derive(Debug)]
pub struct Exchange {
    rules: Rules,
    quotes: BTreeMap<MarketRef, Quotes>,
    orders: BTreeMap<OrderId, Order>,
    open: BTreeMap<TokenRef, BTreeSet<OrderId>>,
    open_of: BTreeMap<Address, BTreeSet<OrderId>>,
    accounts: BTreeMap<Address, Account>,
    /// The wallet that each API key last ordered for.
    wallets: BTreeMap<String, Address>,
    trades: Vec<Trade>,
    trade_places: BTreeMap<String, usize>,
    due: BTreeMap<(Timestamp, u64), Due>,
    serial: u64,
}

impl Exchange {
    /// An exchange without orders.
    pub fn new(rules: Rules) -> Self {
        Self {
            rules,
            quotes: BTreeMap::new(),
            orders: BTreeMap::new(),
            open: BTreeMap::new(),
            open_of: BTreeMap::new(),
            accounts: BTreeMap::new(),
            wallets: BTreeMap::new(),
            trades: Vec::new(),
            trade_places: BTreeMap::new(),
            due: BTreeMap::new(),
            serial: 0,
        }
    }

    /// An order, whatever became of it.
    pub fn order(&self, id: OrderId) -> Option<&Order> {
        self.orders.get(&id)
    }

    /// Every order ever accepted, by id.
    pub fn orders(&self) -> impl Iterator<Item = &Order> {
        self.orders.values()
    }

    /// Counts another post of a known order.
    pub fn seen_again(&mut self, id: OrderId) {
        if let Some(order) = self.orders.get_mut(&id) {
            order.posts = order.posts.saturating_add(1);
        }
    }

    /// The wallet that an API key last ordered for.
    pub fn wallet_of(&self, owner: &str) -> Option<Address> {
        self.wallets.get(owner).copied()
    }

    /// Every trade, oldest first.
    pub fn trades(&self) -> &[Trade] {
        &self.trades
    }

    /// A trade by its id.
    pub fn trade(&self, id: &str) -> Option<&Trade> {
        self.trades.get(*self.trade_places.get(id)?)
    }

    /// What a wallet has; the opening balance where it never traded.
    pub fn account(&self, wallet: Address) -> Account {
        self.accounts.get(&wallet).cloned().unwrap_or_else(|| self.opening())
    }

    fn opening(&self) -> Account {
        Account { usdc: self.rules.opening_balance.micro(), shares: BTreeMap::new() }
    }

    fn account_mut(&mut self, wallet: Address) -> &mut Account {
        let opening = self.opening();
        self.accounts.entry(wallet).or_insert(opening)
    }

    /// The made book of a token.
    pub fn book(&self, market: &Market, token: TokenRef) -> Sides {
        let quotes = self.quotes.get(&token.market);
        let none = Quotes::default();
        quotes.unwrap_or(&none).book(market, token.second, self.rules.depth_permille)
    }

    /// The price of the last print around a token.
    pub fn last_price(&self, token: TokenRef) -> Option<Price> {
        self.quotes.get(&token.market)?.last(token.second)
    }

    fn schedule(&mut self, at: Timestamp, due: Due) {
        self.serial += 1;
        self.due.insert((at, self.serial), due);
    }

    /// When the next thing is due.
    pub fn next_due(&self) -> Option<Timestamp> {
        self.due.first_key_value().map(|((at, _), _)| *at)
    }

    /// Does the next thing that is due.
    pub fn run_due(&mut self, registry: &Registry) -> Vec<Effect> {
        let Some(((at, _), due)) = self.due.pop_first() else { return Vec::new() };
        match due {
            Due::Lapse(id) => {
                self.end(id, ClobOrderStatus::CanceledExpiredOrder);
                Vec::new()
            }
            Due::Release(id) => {
                self.release(registry, id, at);
                Vec::new()
            }
            Due::Settle(place) => self.settle(place).into_iter().collect(),
            Due::Redeem(market) => self.redeem(registry, market, at),
        }
    }

    /// Ends an order that is open; what filled before stays.
    fn end(&mut self, id: OrderId, state: ClobOrderStatus) -> bool {
        let Some(order) = self.orders.get_mut(&id).filter(|o| o.is_open()) else { return false };
        order.state = state;
        let (token, maker) = (order.token, order.maker);
        self.close(token, maker, id);
        true
    }

    fn close(&mut self, token: TokenRef, maker: Address, id: OrderId) {
        forget(&mut self.open, &token, id);
        forget(&mut self.open_of, &maker, id);
    }

    /// Cancels an order, or says why not (`venue.md` 6).
    pub fn cancel(&mut self, id: OrderId) -> Result<(), &'static str> {
        match self.orders.get(&id).map(|o| &o.state) {
            Some(ClobOrderStatus::Matched) => return Err("Order already matched"),
            Some(ClobOrderStatus::Delayed) => return Err("order match delayed due to market conditions"),
            _ => {}
        }
        if self.end(id, ClobOrderStatus::Canceled) {
            Ok(())
        } else {
            Err("Order not found or already canceled")
        }
    }

    /// A market ended: what rests in it is cancelled, and what was won is paid a little later.
    pub fn market_closed(&mut self, market: MarketRef, resolved: bool, at: Timestamp) {
        for token in crate::holdings::tokens(market) {
            let ids: Vec<_> = self.open.get(&token).into_iter().flatten().copied().collect();
            for id in ids {
                self.end(id, ClobOrderStatus::CanceledMarketResolved);
            }
        }
        if resolved {
            self.schedule(at.plus(Duration::from_secs(20)), Due::Redeem(market));
        }
    }

    fn redeem(&mut self, registry: &Registry, market: MarketRef, at: Timestamp) -> Vec<Effect> {
        let Some(payouts) = registry.get(market).and_then(|m| m.payouts) else { return Vec::new() };
        let mut effects = Vec::new();
        for (wallet, account) in &mut self.accounts {
            let (mut shares, mut usdc) = (0, 0);
            for token in crate::holdings::tokens(market) {
                let held = account.shares.remove(&token).unwrap_or(0);
                let paid = Price::from_micro(payouts[token.index()])
                    .cost(Shares::from_micro(held), schemas::Round::Down)
                    .unwrap_or(Usdc::ZERO)
                    .micro();
                if paid > 0 {
                    (shares, usdc) = (shares + held, usdc + paid);
                }
            }
            if usdc > 0 {
                account.usdc += usdc;
                let tx = schemas::keccak256(&[
                    b"redeem",
                    wallet.as_bytes(),
                    &at.micros().to_be_bytes(),
                    &market.0.to_be_bytes(),
                ]);
                effects.push(Effect::Redeemed {
                    wallet: *wallet,
                    market,
                    shares: Shares::from_micro(shares),
                    usdc: Usdc::from_micro(usdc),
                    tx: TxHash::from_bytes(*tx.as_bytes()),
                });
            }
        }
        effects
    }

    fn settle(&mut self, place: usize) -> Option<Effect> {
        let trade = self.trades.get(place)?.clone();
        let order = self.orders.get(&trade.order)?;
        let (maker, token, side) = (order.maker, order.token, order.side);
        let when_confirmed = self.rules.credit_when_confirmed;
        let account = self.account_mut(maker);
        let (size, dollars) = (trade.size.micro(), trade.dollars.micro());
        match (side, trade.fails) {
            (Side::Buy, false) if when_confirmed => *account.shares.entry(token).or_default() += size,
            (_, false) => {}
            (Side::Buy, true) => {
                account.usdc += dollars + trade.fee.micro();
                if !when_confirmed {
                    *account.shares.entry(token).or_default() -= size;
                }
            }
            (Side::Sell, true) => {
                account.usdc -= dollars - trade.fee.micro();
                *account.shares.entry(token).or_default() += size;
            }
        }
        if trade.fails {
            return None;
        }
        Some(Effect::Traded(Print {
            second: trade.mined.secs(),
            wallet: maker,
            token,
            side,
            role: trade.role,
            size: trade.size,
            price: trade.price,
            tx: trade.settlement(),
            literals: None,
        }))
    }

    /// Somebody else traded: the book is new, and what rests beyond that price fills.
    pub fn printed(&mut self, print: &Print, at: Timestamp) {
        self.quotes.entry(print.token.market).or_default().print(
            print.token.second,
            print.side,
            print.role,
            print.price,
            print.size,
        );
        self.fill_resting(print, at);
    }

    /// What a maker could spend now: dollars, less what its open BUYs may still cost.
    pub fn free_usdc(&self, wallet: Address) -> i64 {
        self.account(wallet).usdc - self.reserved(wallet, |o| o.side == Side::Buy)
    }

    /// What a maker could sell now of a token.
    pub fn free_shares(&self, wallet: Address, token: TokenRef) -> i64 {
        let held = self.account(wallet).shares.get(&token).copied().unwrap_or(0);
        held - self.reserved(wallet, |o| o.side == Side::Sell && o.token == token)
    }

    fn reserved(&self, wallet: Address, which: impl Fn(&Order) -> bool) -> i64 {
        let open = self.open_of.get(&wallet).into_iter().flatten().filter_map(|id| self.orders.get(id));
        open.filter(|o| which(o)).map(Order::reserved).sum()
    }
}

fn forget<K: Ord>(open: &mut BTreeMap<K, BTreeSet<OrderId>>, key: &K, id: OrderId) {
    if let Some(ids) = open.get_mut(key) {
        ids.remove(&id);
        if ids.is_empty() {
            open.remove(key);
        }
    }
}
