//! The exchange: orders, their trades, and what wallets have to trade with. No clock and no I/O: whoever
//! calls says what time it is, and never goes back.
//!
//! Orders match against the made books ([`crate::book`]), never against each other: two tenants who copy
//! one leader do not become each other's counterparty.

mod account;
mod check;
mod fee;
mod heartbeat;
mod matching;
mod news;
mod order;
mod refusal;
mod settle;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use schemas::{Address, OrderId, Price, Shares, Side, Timestamp, TxHash, Usdc};
use venue::wire::{ClobOrderStatus, PostOrder};

pub use account::{Account, Approval, Standing, WalletChange};
pub use check::{Terms, kills_rest, terms};
pub use fee::FeeRounding;
pub use news::{News, NewsLog, Told};
pub use order::{Fate, Order, Step, Target, Trade};
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
    /// How taker fees are rounded.
    pub fee_rounding: FeeRounding,
}

impl Default for Rules {
    /// $10,000 a wallet, two seconds to settle, books as deep as the prints.
    fn default() -> Self {
        Self {
            opening_balance: Usdc::from_units(10_000),
            confirm_after: Duration::from_secs(2),
            depth_permille: 1_000,
            credit_when_confirmed: false,
            fee_rounding: FeeRounding::Down,
        }
    }
}

/// Something that is due at a time of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Due {
    /// A GTD order ends.
    Lapse(OrderId),
    /// A delayed order is matched.
    Release(OrderId),
    /// A trade reaches the next of its states.
    Step(usize, usize),
    /// A resolved market pays.
    Redeem(MarketRef),
    /// Ten seconds have passed since a heartbeat of an API key.
    Silence(String, u64),
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
    /// What becomes of its trades.
    pub fate: Fate,
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
    /// The wallet that each key's address was named for.
    funders: BTreeMap<Address, Address>,
    trades: Vec<Trade>,
    trade_places: BTreeMap<String, usize>,
    due: BTreeMap<(Timestamp, u64), Due>,
    serial: u64,
    beats: BTreeMap<String, heartbeat::Beat>,
    /// What owners are told.
    pub news: NewsLog,
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
            funders: BTreeMap::new(),
            trades: Vec::new(),
            trade_places: BTreeMap::new(),
            due: BTreeMap::new(),
            serial: 0,
            beats: BTreeMap::new(),
            news: NewsLog::default(),
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

    /// The wallet that was named for a key's address.
    pub fn funder_of(&self, signer: Address) -> Option<Address> {
        self.funders.get(&signer).copied()
    }

    /// Every trade, oldest first.
    pub fn trades(&self) -> &[Trade] {
        &self.trades
    }

    /// A trade by its id.
    pub fn trade(&self, id: &str) -> Option<&Trade> {
        self.trades.get(*self.trade_places.get(id)?)
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

    /// Which way the taker of the last print around a token went.
    pub fn last_side(&self, token: TokenRef) -> Option<Side> {
        self.quotes.get(&token.market)?.last_side(token.second)
    }

    /// Whether any order may still fill.
    pub fn has_open(&self) -> bool {
        !self.open.is_empty()
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
                self.end(id, ClobOrderStatus::CanceledExpiredOrder, at);
                Vec::new()
            }
            Due::Release(id) => {
                self.release(registry, id, at);
                Vec::new()
            }
            Due::Step(place, step) => self.step(place, step, at).into_iter().collect(),
            Due::Redeem(market) => self.redeem(registry, market, at),
            Due::Silence(owner, serial) => {
                self.silence(&owner, serial, at);
                Vec::new()
            }
        }
    }

    /// Ends an order that is open, and tells its owner; what filled before stays.
    fn end(&mut self, id: OrderId, state: ClobOrderStatus, at: Timestamp) -> bool {
        let ended = self.end_unsaid(id, state);
        if ended {
            self.tell(id, News::Ended, at);
        }
        ended
    }

    /// The same for an order of which its owner hears only that it was refused.
    fn end_unsaid(&mut self, id: OrderId, state: ClobOrderStatus) -> bool {
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
    pub fn cancel(&mut self, id: OrderId, at: Timestamp) -> Result<(), &'static str> {
        match self.orders.get(&id).map(|o| &o.state) {
            Some(ClobOrderStatus::Matched) => return Err("Order already matched"),
            Some(ClobOrderStatus::Delayed) => return Err("order match delayed due to market conditions"),
            _ => {}
        }
        if self.end(id, ClobOrderStatus::Canceled, at) {
            Ok(())
        } else {
            Err("Order not found or already canceled")
        }
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
}

fn forget<K: Ord>(open: &mut BTreeMap<K, BTreeSet<OrderId>>, key: &K, id: OrderId) {
    if let Some(ids) = open.get_mut(key) {
        ids.remove(&id);
        if ids.is_empty() {
            open.remove(key);
        }
    }
}
