//! A venue in memory: takes signed bodies, fills them when told, and answers as it is told.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use async_trait::async_trait;
use execute::KeyIssuer;
use schemas::{AssetId, ConditionId, OrderId, OrderType, Price, Shares, Side, SignatureType, Timestamp};
use venue::{
    VenueError,
    outcome::{
        Accepted, Answer, CancelOutcome, NotCancelled, OrderLookup, RejectCause, SubmitOutcome, of_lookup,
    },
    port::{
        ActivityQuery, BalanceOf, Exchange, MarketData, OpenOrdersQuery, OwnTradesQuery, PositionsQuery,
        TradesQuery, UserEvent,
    },
    signing::{ApiCreds, ExchangeTable, LocalSigner, OrderFields, Route, order_digest},
    wire::{
        ActivityRow, BalanceAllowance, Book, ClobMarket, ClobTrade, GammaMarket, Listing, Literal, OrderRow,
        Pagination, PlacedStatus, PositionRow, PostOrder, ResolutionRow, Rows, TradeFrame, TradeFrameExtra,
        TradeRow,
    },
};

/// What becomes of a post.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Post {
    /// It lands, and is answered.
    Land,
    /// It lands, held back.
    Delay,
    /// It lands; nobody hears of it.
    LandUnheard,
    /// It does not land; nobody hears of that.
    LostUnheard,
    /// It lands, and the caller never hears anything again: the caller dies.
    LandAndDie,
    /// It does not land, and the caller dies.
    Die,
    /// It is refused with these words.
    Refuse(&'static str),
    /// Come back later.
    Later(u16, Option<Duration>),
}

/// What becomes of another request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ask {
    Answer,
    NoAnswer,
    Die,
    /// The answer is made now, and given when the venue is told to: see `FakeVenue::late`.
    Late,
}

#[derive(Debug, Clone)]
pub struct Trade {
    pub id: String,
    pub shares: Shares,
    pub price: Price,
    pub status: &'static str,
    pub taker: bool,
}

#[derive(Debug, Clone)]
pub struct Order {
    pub body: Vec<u8>,
    pub post: PostOrder,
    pub status: &'static str,
    pub trades: Vec<Trade>,
    pub landed_at: Timestamp,
}

impl Order {
    /// What it asked for, in shares.
    pub fn shares(&self) -> Shares {
        let order = &self.post.order;
        Shares::from_micro(if order.side == Side::Buy { order.taker_amount } else { order.maker_amount })
    }

    fn matched(&self) -> Shares {
        self.trades.iter().map(|t| t.shares).sum()
    }
}

#[derive(Default)]
struct Inner {
    orders: BTreeMap<OrderId, Order>,
    /// Every post that reached the venue, in order.
    posts: Vec<(OrderId, Vec<u8>)>,
    script: VecDeque<Post>,
    cancels: Vec<OrderId>,
    keys_given: u32,
    allowance: i64,
    balance: i64,
    /// What the wallet holds of every token; as much as of dollars where nothing is set.
    shares: Option<Shares>,
    /// Of these tokens it holds so much, whatever else is set.
    held: BTreeMap<AssetId, Shares>,
    bid: Option<Price>,
    /// Whether the facts of market 1 are known.
    market: bool,
    /// Whether market 1 trades its new ids.
    migrated: bool,
    /// What market 1 pays.
    payouts: Vec<i64>,
}

type OnPost = dyn Fn(OrderId, &[u8]) + Send + Sync;
type OnAsk = dyn Fn(&'static str, Option<OrderId>) -> Ask + Send + Sync;

/// The venue. Clones share it; each process may have hooks of its own.
#[derive(Clone)]
pub struct FakeVenue {
    inner: Arc<Mutex<Inner>>,
    on_post: Arc<Mutex<Option<Arc<OnPost>>>>,
    on_ask: Arc<Mutex<Option<Arc<OnAsk>>>>,
    /// What happens to posts that no script covers.
    pub otherwise: Arc<Mutex<Post>>,
    /// Gives the answers that are late.
    pub late: Arc<tokio::sync::Notify>,
}

impl std::fmt::Debug for FakeVenue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("FakeVenue")
    }
}

impl FakeVenue {
    pub fn new() -> Self {
        let inner = Inner { allowance: i64::MAX, balance: 1_000_000_000_000, ..Inner::default() };
        Self {
            inner: Arc::new(Mutex::new(inner)),
            on_post: Arc::default(),
            on_ask: Arc::default(),
            otherwise: Arc::new(Mutex::new(Post::Land)),
            late: Arc::default(),
        }
    }

    /// A handle for another process.
    pub fn process(&self) -> Self {
        Self { on_ask: Arc::default(), ..self.clone() }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap()
    }

    /// The next posts end so.
    pub fn script(&self, posts: impl IntoIterator<Item = Post>) {
        self.lock().script.extend(posts);
    }

    /// Sees every post before it takes effect.
    pub fn on_post(&self, hook: impl Fn(OrderId, &[u8]) + Send + Sync + 'static) {
        *self.on_post.lock().unwrap() = Some(Arc::new(hook));
    }

    /// Says what becomes of every request of this process.
    pub fn on_ask(&self, hook: impl Fn(&'static str, Option<OrderId>) -> Ask + Send + Sync + 'static) {
        *self.on_ask.lock().unwrap() = Some(Arc::new(hook));
    }

    pub fn posts(&self) -> Vec<(OrderId, Vec<u8>)> {
        self.lock().posts.clone()
    }

    pub fn orders(&self) -> BTreeMap<OrderId, Order> {
        self.lock().orders.clone()
    }

    pub fn cancels(&self) -> Vec<OrderId> {
        self.lock().cancels.clone()
    }

    pub fn keys_given(&self) -> u32 {
        self.lock().keys_given
    }

    pub fn set_allowance(&self, allowance: i64) {
        self.lock().allowance = allowance;
    }

    pub fn set_balance(&self, balance: i64) {
        self.lock().balance = balance;
    }

    pub fn set_bid(&self, bid: Price) {
        self.lock().bid = Some(bid);
    }

    /// What the wallet holds of every token.
    pub fn set_shares(&self, shares: Shares) {
        self.lock().shares = Some(shares);
    }

    /// The venue tells the facts of market 1.
    pub fn know_market(&self) {
        self.lock().market = true;
    }

    /// Market 1 trades its position ids from now on: 7001 and 7002.
    pub fn migrate_market(&self) {
        self.lock().migrated = true;
    }

    /// What the wallet holds of one token.
    pub fn set_held(&self, asset: AssetId, shares: Shares) {
        self.lock().held.insert(asset, shares);
    }

    /// Market 1 is resolved.
    pub fn resolve(&self, payouts: &[i64]) {
        self.lock().payouts = payouts.to_vec();
    }

    /// Fills a part of an order; full ones are matched.
    pub fn fill(&self, id: OrderId, size: Shares, at: Price, status: &'static str) {
        let mut inner = self.lock();
        let order = inner.orders.get_mut(&id).unwrap();
        let n = order.trades.len();
        order.trades.push(Trade { id: format!("{id}-{n}"), shares: size, price: at, status, taker: false });
        if order.matched() >= order.shares() {
            order.status = "MATCHED";
        }
    }

    /// All trades of an order come to this.
    pub fn settle(&self, id: OrderId, status: &'static str) {
        for trade in &mut self.lock().orders.get_mut(&id).unwrap().trades {
            trade.status = status;
        }
    }

    pub fn set_status(&self, id: OrderId, status: &'static str) {
        self.lock().orders.get_mut(&id).unwrap().status = status;
    }

    async fn ask(&self, name: &'static str, of: Option<OrderId>) -> bool {
        self.fate(name, of).await != Ask::NoAnswer
    }

    async fn fate(&self, name: &'static str, of: Option<OrderId>) -> Ask {
        tokio::task::yield_now().await;
        let hook = self.on_ask.lock().unwrap().clone();
        match hook.map_or(Ask::Answer, |hook| hook(name, of)) {
            Ask::Die => std::future::pending().await,
            fate => fate,
        }
    }

    fn row(&self, id: OrderId) -> Option<serde_json::Value> {
        let inner = self.lock();
        let order = inner.orders.get(&id)?;
        let o = &order.post.order;
        let price = Price::from_micro(if o.side == Side::Buy {
            o.maker_amount * 1_000_000 / o.taker_amount
        } else {
            o.taker_amount * 1_000_000 / o.maker_amount
        });
        Some(serde_json::json!({
            "id": id, "status": order.status, "owner": order.post.owner, "asset_id": o.token_id, "side": o.side,
            "original_size": order.shares().to_string(), "size_matched": order.matched().to_string(),
            "price": price.to_string(),
            "associate_trades": order.trades.iter().map(|t| &t.id).collect::<Vec<_>>(),
        }))
    }

    fn trades_named(&self, wanted: &dyn Fn(&ClobTrade) -> bool) -> Vec<ClobTrade> {
        let inner = self.lock();
        let mut rows = Vec::new();
        for (id, order) in &inner.orders {
            for trade in &order.trades {
                let other = format!("0x{}", "ee".repeat(32));
                let (taker, maker) =
                    if trade.taker { (id.to_string(), other) } else { (other, id.to_string()) };
                let price = trade.price.to_string();
                let size = trade.shares.to_string();
                let makers =
                    serde_json::json!([{ "order_id": maker, "matched_amount": size, "price": price }]);
                let row = serde_json::json!({
                    "id": trade.id, "taker_order_id": taker, "asset_id": order.post.order.token_id,
                    "side": order.post.order.side, "size": size, "price": price, "status": trade.status,
                    "maker_orders": makers,
                });
                rows.push(serde_json::from_str(&row.to_string()).unwrap());
            }
        }
        rows.retain(|trade| wanted(trade));
        rows
    }

    /// What the user stream would say of an order now.
    pub fn frame(&self, id: OrderId, kind: &str) -> UserEvent {
        let mut row = self.row(id).unwrap();
        row["type"] = kind.into();
        UserEvent::Order(Box::new(serde_json::from_str(&row.to_string()).unwrap()))
    }

    /// What the user stream would say of an order's last trade now.
    pub fn trade_frame(&self, id: OrderId) -> UserEvent {
        let rows = self.trades_named(&|_| true);
        let trade = rows.into_iter().rev().find(|t| t.part_of(id).is_some()).unwrap();
        let extra = TradeFrameExtra::of("", super::START);
        UserEvent::Trade(Box::new(TradeFrame { trade, extra }))
    }

    /// Takes an order: limits rest, market orders are filled at their limit at once.
    fn land(&self, id: OrderId, body: &[u8], delayed: bool, now: Timestamp) -> &'static str {
        let mut inner = self.lock();
        let post = PostOrder::read(body).unwrap();
        let resting = matches!(post.order_type, OrderType::Gtd | OrderType::Gtc);
        let status = if delayed {
            "DELAYED"
        } else if resting {
            "LIVE"
        } else {
            "MATCHED"
        };
        let mut order = Order { body: body.to_vec(), post, status, trades: Vec::new(), landed_at: now };
        if !resting {
            let o = &order.post.order;
            let (usdc, size) = if o.side == Side::Buy {
                (o.maker_amount, o.taker_amount)
            } else {
                (o.taker_amount, o.maker_amount)
            };
            let price =
                Price::of(schemas::Usdc::from_micro(usdc), Shares::from_micro(size), schemas::Round::Down)
                    .unwrap();
            order.trades.push(Trade {
                id: format!("{id}-0"),
                shares: order.shares(),
                price,
                status: "MATCHED",
                taker: true,
            });
        }
        inner.orders.insert(id, order);
        status
    }
}

/// What market 1 trades once it has migrated.
const POSITIONS: [&str; 2] = ["7001", "7002"];

/// The id that a body's order has.
pub fn id_of(body: &[u8]) -> OrderId {
    let post = PostOrder::read(body).unwrap();
    let fields = OrderFields::from(&post.order);
    // Position ids are of the market's other version.
    let route = if POSITIONS.contains(&fields.token.as_str()) { Route::V3 } else { Route::Normal };
    order_digest(&ExchangeTable::default(), route, &fields).unwrap()
}

#[async_trait]
impl Exchange for FakeVenue {
    async fn post_order(&self, body: &[u8], id: OrderId, _: &ApiCreds, now: Timestamp) -> SubmitOutcome {
        if !self.ask("post", Some(id)).await {
            return SubmitOutcome::Unknown { why: "no answer".into() };
        }
        let hook = self.on_post.lock().unwrap().clone();
        if let Some(hook) = hook {
            hook(id, body);
        }
        assert_eq!(id_of(body), id, "the id is that of the bytes");
        let known = {
            let mut inner = self.lock();
            inner.posts.push((id, body.to_vec()));
            inner.orders.contains_key(&id)
        };
        let fate = self.lock().script.pop_front().unwrap_or_else(|| self.otherwise.lock().unwrap().clone());
        let lands = !matches!(fate, Post::LostUnheard | Post::Die | Post::Refuse(_) | Post::Later(..));
        let mut status = "LIVE";
        if lands && !known {
            status = self.land(id, body, fate == Post::Delay, now);
        }
        tokio::task::yield_now().await;
        match fate {
            Post::LandAndDie | Post::Die => std::future::pending().await,
            Post::LandUnheard | Post::LostUnheard => {
                SubmitOutcome::Unknown { why: "no answer in time".into() }
            }
            Post::Refuse(message) => {
                SubmitOutcome::Rejected { message: message.into(), cause: RejectCause::of(message) }
            }
            Post::Later(status, after) => SubmitOutcome::RetryLater { status, after, why: "busy".into() },
            Post::Land | Post::Delay if known => SubmitOutcome::AlreadyLanded,
            Post::Land | Post::Delay => SubmitOutcome::Accepted(Accepted {
                order_id: id,
                status: PlacedStatus::read(status),
                making: Literal::default(),
                taking: Literal::default(),
                trade_ids: Vec::new(),
            }),
        }
    }

    async fn order(&self, id: OrderId, _: &ApiCreds, _: Timestamp) -> OrderLookup {
        let fate = self.fate("order", Some(id)).await;
        if fate == Ask::NoAnswer {
            return OrderLookup::Unknown { why: "no answer".into() };
        }
        let row = self.row(id);
        if fate == Ask::Late {
            self.late.notified().await;
        }
        let Some(row) = row else { return OrderLookup::NotFound };
        let answer = Answer { status: 200, retry_after: None, body: row.to_string().into_bytes() };
        of_lookup(&answer, id)
    }

    async fn cancel(&self, id: OrderId, _: &ApiCreds, _: Timestamp) -> CancelOutcome {
        if !self.ask("cancel", Some(id)).await {
            return CancelOutcome::Unknown { why: "no answer".into() };
        }
        let mut inner = self.lock();
        inner.cancels.push(id);
        match inner.orders.get_mut(&id) {
            Some(order) if order.status == "LIVE" => {
                order.status = "CANCELED";
                CancelOutcome::Cancelled
            }
            Some(_) => {
                CancelOutcome::NotCancelled { cause: NotCancelled::AlreadyMatched, message: "matched".into() }
            }
            None => CancelOutcome::NotCancelled {
                cause: NotCancelled::NotFoundOrCancelled,
                message: "Order not found or already canceled".into(),
            },
        }
    }

    async fn own_trades(
        &self,
        query: &OwnTradesQuery,
        _: &ApiCreds,
        _: Timestamp,
    ) -> Result<Listing<ClobTrade>, VenueError> {
        if !self.ask("trades", None).await {
            return Err(VenueError::TimedOut { path: "/data/trades".into() });
        }
        let rows = self.trades_named(&|trade| {
            query.id.as_ref().is_none_or(|asked| *asked == trade.id)
                && query.asset.as_ref().is_none_or(|asked| *asked == trade.asset_id)
        });
        Ok(Listing::whole(rows))
    }

    async fn open_orders(
        &self,
        _: &OpenOrdersQuery,
        _: &ApiCreds,
        _: Timestamp,
    ) -> Result<Listing<OrderRow>, VenueError> {
        if !self.ask("open_orders", None).await {
            return Err(VenueError::TimedOut { path: "/data/orders".into() });
        }
        let live: Vec<OrderId> =
            self.orders().iter().filter(|(_, o)| o.status == "LIVE").map(|(id, _)| *id).collect();
        let rows = live.into_iter().filter_map(|id| self.row(id));
        Ok(Listing::whole(rows.map(|row| serde_json::from_str(&row.to_string()).unwrap()).collect()))
    }

    async fn balance_allowance(
        &self,
        of: &BalanceOf,
        _: SignatureType,
        _: &ApiCreds,
        _: Timestamp,
    ) -> Result<BalanceAllowance, VenueError> {
        match self.fate("balance", None).await {
            Ask::NoAnswer => return Err(VenueError::TimedOut { path: "/balance-allowance".into() }),
            Ask::Late => self.late.notified().await,
            Ask::Answer | Ask::Die => {}
        }
        let inner = self.lock();
        let balance = match of {
            BalanceOf::Collateral => inner.balance,
            BalanceOf::Token { asset, .. } => {
                let all = inner.shares.map_or(inner.balance, Shares::micro);
                inner.held.get(asset).map_or(all, |held| held.micro())
            }
        };
        Ok(BalanceAllowance {
            balance: Literal::new(balance.to_string()),
            allowance: Literal::new(inner.allowance.to_string()),
            ..BalanceAllowance::default()
        })
    }
}

#[async_trait]
impl KeyIssuer for FakeVenue {
    async fn api_key(&self, key: &LocalSigner, _: Timestamp, _: u64) -> Result<ApiCreds, VenueError> {
        if !self.ask("api_key", None).await {
            return Err(VenueError::TimedOut { path: "/auth/derive-api-key".into() });
        }
        self.lock().keys_given += 1;
        Ok(super::creds(key))
    }
}

fn silent(path: &str) -> VenueError {
    VenueError::TimedOut { path: path.to_owned() }
}

#[async_trait]
impl MarketData for FakeVenue {
    async fn trades(&self, _: &TradesQuery, _: Timestamp) -> Result<Rows<TradeRow>, VenueError> {
        Err(silent("/v2/trades"))
    }

    async fn activity(&self, _: &ActivityQuery, _: Timestamp) -> Result<Rows<ActivityRow>, VenueError> {
        Err(silent("/v2/activity"))
    }

    async fn positions(&self, _: &PositionsQuery, _: Timestamp) -> Result<Rows<PositionRow>, VenueError> {
        Err(silent("/v2/positions"))
    }

    async fn resolution(&self, of: ConditionId, _: Timestamp) -> Result<Option<ResolutionRow>, VenueError> {
        let payouts = self.lock().payouts.clone();
        if payouts.is_empty() {
            return Err(silent("/v2/resolutions"));
        }
        let row = serde_json::json!({ "condition_id": of, "status": "resolved", "payouts": payouts });
        Ok(Some(serde_json::from_value(row).unwrap()))
    }

    async fn markets(&self, _: &[ConditionId]) -> Result<Rows<GammaMarket>, VenueError> {
        if !self.lock().market {
            return Err(silent("/markets/keyset"));
        }
        let row = serde_json::json!({
            "conditionId": super::condition(1), "slug": "market-1", "question": "?",
            "version": if self.lock().migrated { "v2" } else { "v1" },
            "outcomes": "[\"Yes\", \"No\"]", "clobTokenIds": "[\"1001\", \"1002\"]",
            "positionIds": POSITIONS, "negRisk": false,
            "orderMinSize": 5, "orderPriceMinTickSize": 0.01, "acceptingOrders": true, "closed": false,
        });
        let rows = vec![serde_json::from_value(row).unwrap()];
        Ok(Rows { rows, unreadable: Vec::new(), pagination: Pagination::default() })
    }

    async fn clob_market(&self, _: ConditionId) -> Result<Option<ClobMarket>, VenueError> {
        if self.lock().market { Ok(None) } else { Err(silent("/clob-markets")) }
    }

    async fn book(&self, asset: &AssetId) -> Result<Option<Book>, VenueError> {
        if !self.ask("book", None).await {
            return Err(silent("/book"));
        }
        let Some(bid) = self.lock().bid else { return Ok(None) };
        let book = serde_json::json!({
            "market": super::condition(1), "asset_id": asset, "timestamp": "1790000000000", "hash": "",
            "bids": [{ "price": "0.01", "size": "5" }, { "price": bid.to_string(), "size": "5" }], "asks": [],
            "min_order_size": "5", "tick_size": "0.01", "neg_risk": false, "last_trade_price": "",
        });
        Ok(Some(serde_json::from_str(&book.to_string()).unwrap()))
    }
}
