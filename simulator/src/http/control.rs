//! `/sim/…`: faults and switches for tests, and what happened, for their oracles. Not part of the venue.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use axum::{body::Bytes, extract::State, response::Response};
use schemas::{Address, AssetId, OrderId, OrderType, Price, Shares, Side, Timestamp, TxHash, Usdc};
use serde::{Deserialize, Serialize};

use super::reply;
use crate::{
    exchange::{Order, Trade, WalletChange},
    faults::{
        Fault,
        stream::{StreamFault, StreamWeather},
        weather::Weather,
    },
    modes::Mode,
    options::Switches,
    print::Role,
    shared::{Shared, Tally, lock},
    world::World,
};

/// An order that was accepted, for oracles. Amounts are integers of 10^-6, times microseconds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderView {
    /// Its digest.
    pub id: OrderId,
    /// The API key's id.
    pub owner: String,
    /// Whose money.
    pub maker: Address,
    /// What.
    pub token: AssetId,
    /// Which way.
    pub side: Side,
    /// How long it lives.
    pub order_type: OrderType,
    /// Its limit.
    pub limit: Price,
    /// The maker's amount as it was signed.
    pub maker_amount: i64,
    /// The taker's amount as it was signed.
    pub taker_amount: i64,
    /// Shares filled.
    pub matched: Shares,
    /// Dollars paid or received, without fees.
    pub dollars: Usdc,
    /// Fees paid.
    pub fees: Usdc,
    /// Where it stands, in the venue's word.
    pub status: String,
    /// When the body had been read, before anything else was done with it.
    pub received_at: Timestamp,
    /// When it was taken into the book.
    pub accepted_at: Timestamp,
    /// How often it was posted.
    pub posts: u32,
    /// Its trades' ids.
    pub trades: Vec<String>,
}

/// A trade of an accepted order, for oracles.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TradeView {
    /// Its id.
    pub id: String,
    /// The order.
    pub order: OrderId,
    /// Whether the order took.
    pub taker: bool,
    /// Shares.
    pub size: Shares,
    /// The average price.
    pub price: Price,
    /// Dollars, without fees.
    pub dollars: Usdc,
    /// The fee.
    pub fee: Usdc,
    /// Where it stands, in the venue's word.
    pub status: String,
    /// When it was matched.
    pub matched_at: Timestamp,
    /// The transaction that it names now.
    pub transaction: Option<TxHash>,
}

/// Counts, for oracles.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stats {
    /// The venue's time.
    pub now: Timestamp,
    /// Markets, those that are over included.
    pub markets: usize,
    /// Rows that became visible.
    pub rows: u64,
    /// Orders accepted, those of earlier lives included.
    pub orders: usize,
    /// Of those, by status.
    pub by_status: BTreeMap<String, usize>,
    /// Trades of accepted orders.
    pub trades: usize,
    /// What this life of the simulator counted.
    #[serde(flatten)]
    pub tally: Tally,
}

impl OrderView {
    /// An order as the oracle sees it.
    pub fn of(world: &World, order: &Order) -> Self {
        Self {
            id: order.id,
            owner: order.owner.clone(),
            maker: order.maker,
            token: world.token_id(order.token),
            side: order.side,
            order_type: order.order_type,
            limit: order.limit,
            maker_amount: order.maker_amount,
            taker_amount: order.taker_amount,
            matched: order.matched,
            dollars: order.dollars,
            fees: order.fees,
            status: order.state.as_str().to_owned(),
            received_at: order.received,
            accepted_at: order.accepted,
            posts: order.posts,
            trades: world.trade_ids(order),
        }
    }

    /// All orders, in the order in which they were received.
    pub fn all(world: &World) -> Vec<Self> {
        let mut all: Vec<_> = world.exchange.orders().map(|order| Self::of(world, order)).collect();
        all.sort_by_key(|o| (o.received_at, o.id));
        all
    }
}

impl TradeView {
    fn of(trade: &Trade, now: Timestamp) -> Self {
        let step = trade.at(now);
        Self {
            id: trade.id.clone(),
            order: trade.order,
            taker: trade.role == Role::Taker,
            size: trade.size,
            price: trade.price,
            dollars: trade.dollars,
            fee: trade.fee,
            status: step.map(|s| s.status.to_string()).unwrap_or_default(),
            matched_at: trade.matched(),
            transaction: step.and_then(|s| s.tx(trade)),
        }
    }

    /// All trades of accepted orders, oldest first.
    pub fn all(world: &World) -> Vec<Self> {
        world.exchange.trades().iter().map(|trade| Self::of(trade, world.now())).collect()
    }
}

impl Stats {
    /// The counts now.
    pub fn of(shared: &Shared) -> Self {
        let tally = shared.tally().clone();
        let world = shared.world();
        let mut by_status: BTreeMap<String, usize> = BTreeMap::new();
        for order in world.exchange.orders() {
            *by_status.entry(order.state.as_str().to_owned()).or_default() += 1;
        }
        Self {
            now: world.now(),
            markets: world.registry.all().len(),
            rows: world.history.total(),
            orders: by_status.values().sum(),
            by_status,
            trades: world.exchange.trades().len(),
            tally,
        }
    }
}

/// `GET /sim/orders`.
pub async fn orders(State(shared): State<Arc<Shared>>) -> Response {
    reply::ok(&OrderView::all(&shared.world()))
}

/// `GET /sim/trades`.
pub async fn trades(State(shared): State<Arc<Shared>>) -> Response {
    reply::ok(&TradeView::all(&shared.world()))
}

/// `GET /sim/stats`.
pub async fn stats(State(shared): State<Arc<Shared>>) -> Response {
    reply::ok(&Stats::of(&shared))
}

/// `GET /sim/leaders`: the busiest first.
pub async fn leaders(State(shared): State<Arc<Shared>>) -> Response {
    reply::ok(&shared.world().leaders())
}

/// `GET /sim/faults`: those that wait.
pub async fn faults(State(shared): State<Arc<Shared>>) -> Response {
    reply::ok(&shared.faults())
}

/// `POST /sim/faults`: one fault or a list, added to those that wait.
pub async fn add_faults(State(shared): State<Arc<Shared>>, body: Bytes) -> Response {
    match one_or_many::<Fault>(&body) {
        Ok(list) => {
            for fault in list {
                shared.add_fault(fault);
            }
            reply::ok(&shared.faults())
        }
        Err(error) => reply::clob_error(400, &error.to_string()),
    }
}

/// `DELETE /sim/faults`.
pub async fn clear_faults(State(shared): State<Arc<Shared>>) -> Response {
    shared.clear_faults();
    reply::ok(&shared.faults())
}

/// One of these or a list of them.
fn one_or_many<T: serde::de::DeserializeOwned>(body: &[u8]) -> serde_json::Result<Vec<T>> {
    serde_json::from_slice::<Vec<T>>(body).or_else(|_| serde_json::from_slice::<T>(body).map(|one| vec![one]))
}

/// `POST /sim/stream-faults`: one fault of the user stream or a list, added to those that wait.
pub async fn add_stream_faults(State(shared): State<Arc<Shared>>, body: Bytes) -> Response {
    match one_or_many::<StreamFault>(&body) {
        Ok(list) => {
            let mut faults = lock(&shared.stream_faults);
            for fault in &list {
                faults.add(fault.clone());
            }
            reply::ok(&list)
        }
        Err(error) => reply::clob_error(400, &error.to_string()),
    }
}

/// `GET /sim/weather`.
pub async fn weather(State(shared): State<Arc<Shared>>) -> Response {
    reply::ok(&shared.weather())
}

/// `POST /sim/weather`: faults by seed, in place of what there was.
pub async fn set_weather(State(shared): State<Arc<Shared>>, body: Bytes) -> Response {
    match serde_json::from_slice::<Weather>(&body) {
        Ok(weather) => {
            shared.set_weather(weather);
            reply::ok(&shared.weather())
        }
        Err(error) => reply::clob_error(400, &error.to_string()),
    }
}

/// `POST /sim/stream-weather`: mishaps of the user stream by seed, in place of what there was.
pub async fn set_stream_weather(State(shared): State<Arc<Shared>>, body: Bytes) -> Response {
    match serde_json::from_slice::<StreamWeather>(&body) {
        Ok(weather) => {
            lock(&shared.stream_faults).set_weather(weather.clone());
            reply::ok(&weather)
        }
        Err(error) => reply::clob_error(400, &error.to_string()),
    }
}

/// `POST /sim/wallets`: one change of a wallet or a list.
pub async fn change_wallets(State(shared): State<Arc<Shared>>, body: Bytes) -> Response {
    let changes = match one_or_many::<WalletChange>(&body) {
        Ok(changes) => changes,
        Err(error) => return reply::clob_error(400, &error.to_string()),
    };
    for change in &changes {
        if shared.change_wallet(change).wait().await.is_err() {
            return reply::clob_error(500, "the state file cannot be written");
        }
    }
    reply::ok(&changes)
}

/// A mode, from now on.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SetMode {
    mode: Mode,
    /// For how long; without it, until another is set. `restarting` is followed by `post_only_seconds`.
    #[serde(default)]
    seconds: Option<u64>,
    #[serde(default)]
    post_only_seconds: u64,
}

/// `POST /sim/mode`: restarts, post-only, cancel-only, disabled, open.
pub async fn set_mode(State(shared): State<Arc<Shared>>, body: Bytes) -> Response {
    let asked = match serde_json::from_slice::<SetMode>(&body) {
        Ok(asked) => asked,
        Err(error) => return reply::clob_error(400, &error.to_string()),
    };
    let now = shared.clock.now();
    let mut calendar = lock(&shared.calendar);
    let post_only = Duration::from_secs(asked.post_only_seconds);
    match (asked.mode, asked.seconds.map(Duration::from_secs)) {
        (mode, None) => calendar.set(now, mode),
        (Mode::Restarting, Some(time)) => calendar.restart(now, time, post_only),
        (mode, Some(time)) => calendar.set_for(now, mode, time),
    }
    reply::ok(&calendar.at(now).0)
}

/// `GET /sim/switches`.
pub async fn switches(State(shared): State<Arc<Shared>>) -> Response {
    reply::ok(&shared.switches())
}

/// `POST /sim/switches`: those that are named change, the others stay.
pub async fn set_switches(State(shared): State<Arc<Shared>>, body: Bytes) -> Response {
    let changed = || -> serde_json::Result<Switches> {
        let mut all = serde_json::to_value(shared.switches())?;
        let named: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(&body)?;
        if let Some(all) = all.as_object_mut() {
            all.extend(named);
        }
        serde_json::from_value(all)
    };
    match changed() {
        Ok(switches) => reply::ok(&shared.set_switches(|s| *s = switches)),
        Err(error) => reply::clob_error(400, &error.to_string()),
    }
}
