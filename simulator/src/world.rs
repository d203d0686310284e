//! The whole venue as one state: markets, rows, positions, orders. It moves only when it is told the time
//! or given an order, so two worlds that were told the same are the same.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use schemas::{
    Address, AssetId, OrderId, Price, Shares, Side, Timestamp, Usdc,
    money::{ONE, Round},
};
use venue::{
    signing::{ExchangeTable, OrderFields, OrderSignError, Route, order_digest},
    wire::{ActivityKind, ClobOrderStatus, PostOrder},
};

use crate::{
    exchange::{
        Admission, Effect, Exchange, Fate, Order, Refusal, Rules, Standing, Trade, WalletChange, terms,
    },
    history::{Entry, History},
    holdings::Holdings,
    market::{Market, Registry, TokenRef, decimal_id},
    print::{Activity, Happening, Source, What},
};

/// An order as it arrives, its signature already checked.
#[derive(Debug, Clone)]
pub struct Arrival {
    /// The body.
    pub post: PostOrder,
    /// When it had been read.
    pub received: Timestamp,
    /// For how long it is held back first.
    pub hold: Option<Duration>,
    /// What becomes of its trades.
    pub fate: Fate,
    /// Whether amounts are held to the decimals of the error texts.
    pub strict: bool,
}

/// The venue.
#[derive(Debug)]
pub struct World {
    now: Timestamp,
    /// Orders that were posted and are taken at a time of their own (a fault).
    late: BTreeMap<(Timestamp, u64), Arrival>,
    late_serial: u64,
    source: Box<dyn Source>,
    table: ExchangeTable,
    /// Markets.
    pub registry: Registry,
    /// Rows.
    pub history: History,
    /// Positions, of leaders and of our own wallets.
    pub holdings: Holdings,
    /// Orders.
    pub exchange: Exchange,
}

impl World {
    /// A world that begins at `epoch`, and keeps at most so many rows.
    pub fn new(
        source: Box<dyn Source>,
        rules: Rules,
        table: ExchangeTable,
        epoch: Timestamp,
        keep: usize,
    ) -> Self {
        let mut holdings = Holdings::default();
        for opening in source.openings() {
            holdings.open(&opening);
        }
        let mut world = Self {
            now: epoch,
            late: BTreeMap::new(),
            late_serial: 0,
            source,
            table,
            registry: Registry::default(),
            history: History::new(keep),
            holdings,
            exchange: Exchange::new(rules),
        };
        world.advance(epoch);
        world
    }

    /// The time up to which everything has happened.
    pub const fn now(&self) -> Timestamp {
        self.now
    }

    /// The wallets worth following, the busiest first.
    pub fn leaders(&self) -> Vec<Address> {
        self.source.leaders()
    }

    /// Lets everything happen that is due by `now`, each at its own time. A time in the past changes
    /// nothing. Returns the time it then is.
    pub fn advance(&mut self, now: Timestamp) -> Timestamp {
        self.now = self.now.max(now);
        loop {
            let due = self.exchange.next_due();
            let late = self.late.first_key_value().map(|((at, _), _)| *at);
            let next = self.source.next_at();
            // At one time: what the exchange owes, then what arrives, then what others do.
            let first =
                [(due, 0), (late, 1), (next, 2)].into_iter().filter_map(|(at, kind)| Some((at?, kind))).min();
            match first.filter(|(at, _)| *at <= self.now) {
                None => return self.now,
                Some((at, 0)) => {
                    for effect in self.exchange.run_due(&self.registry) {
                        self.effect(effect, at);
                    }
                }
                Some((at, 1)) => {
                    if let Some((_, arrival)) = self.late.pop_first() {
                        // Nobody waits for the answer. A repeat that came meanwhile stands.
                        if let Err(refusal) = self.place_at(arrival, at) {
                            tracing::debug!(%refusal, "an order that was to land late is refused");
                        }
                    }
                }
                Some(_) => {
                    if let Some(happening) = self.source.take() {
                        self.happen(happening);
                    }
                }
            }
        }
    }

    /// When something may next happen that an order's owner hears of; `None` while nothing will by itself.
    pub fn next_stir(&mut self) -> Option<Timestamp> {
        let due = self.exchange.next_due();
        let late = self.late.first_key_value().map(|((at, _), _)| *at);
        let next = self.source.next_at().filter(|_| self.exchange.has_open());
        [due, late, next].into_iter().flatten().min()
    }

    /// Takes an order at a later time, whoever waits for an answer now.
    pub fn place_late(&mut self, arrival: Arrival, at: Timestamp) {
        self.late_serial += 1;
        self.late.insert((at.max(self.now), self.late_serial), arrival);
    }

    fn happen(&mut self, Happening { at, what }: Happening) {
        match what {
            What::Open(market) => {
                self.registry.open(*market);
            }
            What::Close(market, payouts) => {
                self.registry.close(market, at, payouts);
                self.exchange.market_closed(market, payouts.is_some(), at);
            }
            What::Print(print) => {
                self.holdings.print(&print);
                self.exchange.printed(&print, at);
                self.history.add(Entry::Trade(print));
            }
            What::Activity(activity) => self.activity(activity),
        }
    }

    fn activity(&mut self, activity: Activity) {
        let payouts = activity.market.and_then(|m| self.registry.get(m)).and_then(|m| m.payouts);
        self.holdings.activity(&activity, payouts);
        self.history.add(Entry::Other(activity));
    }

    fn effect(&mut self, effect: Effect, at: Timestamp) {
        match effect {
            Effect::Traded(print) => {
                self.holdings.print(&print);
                self.history.add(Entry::Trade(print));
            }
            Effect::Redeemed { wallet, market, shares, usdc, tx } => self.activity(Activity {
                second: at.secs(),
                wallet,
                kind: ActivityKind::Redeem,
                market: Some(market),
                size: shares,
                usdc,
                tx,
            }),
        }
    }

    /// The market of a token.
    pub fn token(&self, id: &AssetId) -> Option<(TokenRef, Arc<Market>)> {
        self.registry.token(id).map(|(token, market)| (token, market.clone()))
    }

    /// The price of a token now: of the last print, else the one the market opened with.
    pub fn price(&self, token: TokenRef) -> Price {
        let opening = || {
            let price =
                self.registry.get(token.market).map_or(Price::from_micro(ONE / 2), |m| m.opening_price);
            if token.second { price.complement() } else { price }
        };
        match self.registry.get(token.market).and_then(|m| m.payouts) {
            Some(payouts) => Price::from_micro(payouts[token.index()]),
            None => self.exchange.last_price(token).unwrap_or_else(opening),
        }
    }

    /// The exchange that a market's orders are signed for.
    pub const fn route(market: &Market) -> Route {
        Route::of(market.version, market.neg_risk)
    }

    /// The id of an order in a market: its digest.
    ///
    /// # Errors
    /// Fields that no order can hold.
    pub fn order_id(&self, market: &Market, post: &PostOrder) -> Result<OrderId, OrderSignError> {
        order_digest(&self.table, Self::route(market), &OrderFields::from(&post.order))
    }

    /// Takes an order at the time the world has reached: the last of the venue's checks, then matching. A
    /// repeat of a known id is counted there.
    ///
    /// # Errors
    /// What the venue answers. [`Refusal::NoMatch`] alone has left an order behind.
    pub fn place(&mut self, arrival: Arrival) -> Result<OrderId, Refusal> {
        match self.place_at(arrival, self.now) {
            Err(Refusal::Duplicated(id)) => {
                self.exchange.seen_again(id);
                Err(Refusal::Duplicated(id))
            }
            other => other,
        }
    }

    fn place_at(&mut self, arrival: Arrival, now: Timestamp) -> Result<OrderId, Refusal> {
        let asset = &arrival.post.order.token_id;
        let (token, market) = self.token(asset).ok_or_else(|| Refusal::NoBook(asset.clone()))?;
        let id = self.order_id(&market, &arrival.post).map_err(|_| Refusal::Payload)?;
        if self.exchange.order(id).is_some() {
            return Err(Refusal::Duplicated(id));
        }
        self.standing(&arrival.post)?;
        if !market.accepts_orders(now) {
            return Err(if now < market.opened { Refusal::NotReady } else { Refusal::NoBook(asset.clone()) });
        }
        let terms = terms(id, &arrival.post, &market, now, arrival.strict)?;
        let Arrival { post, received, hold, fate, .. } = arrival;
        let admission = Admission { id, post, token, terms, received, hold, fate };
        self.exchange.admits(&market, &admission)?;
        match self.exchange.place(&self.registry, admission, now) {
            Some(killed) => Err(killed),
            None => Ok(id),
        }
    }

    /// Whether a wallet and its signer may place this order at all.
    fn standing(&self, post: &PostOrder) -> Result<(), Refusal> {
        for address in [post.order.maker.0, post.order.signer.0] {
            match self.exchange.account(address).standing {
                Standing::Banned => return Err(Refusal::Banned(address)),
                Standing::ClosedOnly if post.order.side == Side::Buy => {
                    return Err(Refusal::ClosedOnly(address));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Cancels an order of an API key.
    ///
    /// # Errors
    /// Why not, in the venue's words.
    pub fn cancel(&mut self, id: OrderId, owner: &str) -> Result<(), &'static str> {
        match self.exchange.order(id) {
            Some(order) if order.owner == owner => self.exchange.cancel(id, self.now),
            _ => Err("Order not found or already canceled"),
        }
    }

    /// Changes a wallet from outside of the exchange.
    pub fn change_wallet(&mut self, change: &WalletChange) {
        let registry = &self.registry;
        self.exchange.change_wallet(change, |id| registry.token(id).map(|(token, _)| token), self.now);
    }

    /// Live orders of an API key, oldest first.
    pub fn live_orders(&self, owner: &str) -> Vec<&Order> {
        let mut live: Vec<_> = self
            .exchange
            .orders()
            .filter(|o| {
                o.owner == owner && matches!(o.state, ClobOrderStatus::Live | ClobOrderStatus::Unmatched)
            })
            .collect();
        live.sort_by_key(|o| (o.accepted, o.id));
        live
    }

    /// The id of a token.
    pub fn token_id(&self, token: TokenRef) -> AssetId {
        let id = self.registry.get(token.market).map(|m| m.outcomes[token.index()].token.clone());
        id.unwrap_or_else(|| decimal_id(&[b"no such token"]))
    }

    /// The ids of an order's trades, oldest first.
    pub fn trade_ids(&self, order: &Order) -> Vec<String> {
        let trades = self.exchange.trades();
        order.trades.iter().filter_map(|place| Some(trades.get(*place)?.id.clone())).collect()
    }

    /// The trade of an id, or all, newest first.
    pub fn trades<'a>(&'a self, id: Option<&str>) -> Box<dyn Iterator<Item = &'a Trade> + 'a> {
        match id {
            Some(id) => Box::new(self.exchange.trade(id).into_iter()),
            None => Box::new(self.exchange.trades().iter().rev()),
        }
    }

    /// The wallet that an API key trades for: the one it last ordered for, else the one that was named for its address,
    /// else its address.
    pub fn wallet_of(&self, owner: &str, signer: Address) -> Address {
        self.exchange.wallet_of(owner).or_else(|| self.exchange.funder_of(signer)).unwrap_or(signer)
    }

    /// Whether an order would take something now.
    pub fn would_take(&self, post: &PostOrder) -> bool {
        let order = &post.order;
        let Some((token, market)) = self.token(&order.token_id) else { return false };
        let (dollars, shares) = match order.side {
            Side::Buy => (order.maker_amount, order.taker_amount),
            Side::Sell => (order.taker_amount, order.maker_amount),
        };
        let limit = Price::of(Usdc::from_micro(dollars), Shares::from_micro(shares), Round::Nearest);
        limit.is_some_and(|limit| self.exchange.crosses(&market, token, order.side, limit))
    }
}
