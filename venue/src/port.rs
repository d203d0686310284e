//! What the stages ask of the venue. The HTTP clients implement these traits, and a simulator in the same
//! process may.
//!
//! The time comes with each call: nothing here has a clock. Streams alone have one, for they wait by themselves.

use async_trait::async_trait;
use schemas::{
    ids::{Address, AssetId, ConditionId, OrderId},
    time::Timestamp,
    words::{MarketVersion, SignatureType},
};

use crate::{
    error::VenueError,
    outcome::{CancelOutcome, OrderLookup, SubmitOutcome},
    signing::ApiCreds,
    wire::{
        ActivityKind, ActivityRow, BalanceAllowance, Book, ClobMarket, ClobTrade, GammaMarket, Listing,
        OrderFrame, OrderRow, PositionRow, PositionStatus, ResolutionRow, Rows, TradeFrame, TradeRow,
    },
};

/// A page of a wallet's trades, takers' and makers' alike, newest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TradesQuery {
    /// Whose.
    pub user: Address,
    /// Rows wanted, at most 1,000.
    pub limit: u32,
    /// Where the walk goes on; `None` begins one. Repeat the other fields unchanged with it.
    pub cursor: Option<String>,
    /// The earliest second wanted, inclusive; second 1 for everything, `None` for three years.
    pub start: Option<Timestamp>,
    /// The latest second wanted, inclusive.
    pub end: Option<Timestamp>,
}

/// A page of what a wallet did besides trading, newest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ActivityQuery {
    /// Whose.
    pub user: Address,
    /// Which kinds; empty for all.
    pub kinds: Vec<ActivityKind>,
    /// Rows wanted, at most 1,000.
    pub limit: u32,
    /// Where the walk goes on. Repeat the other fields unchanged with it.
    pub cursor: Option<String>,
    /// The earliest second wanted, inclusive.
    pub start: Option<Timestamp>,
    /// The latest second wanted, inclusive.
    pub end: Option<Timestamp>,
}

/// A page of a wallet's positions, dust included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PositionsQuery {
    /// Whose.
    pub user: Address,
    /// Which; `None` for open ones.
    pub status: Option<PositionStatus>,
    /// Only of this condition.
    pub condition: Option<ConditionId>,
    /// Rows wanted.
    pub limit: u32,
    /// Where the walk goes on. Repeat the other fields unchanged with it.
    pub cursor: Option<String>,
}

/// What everybody may know.
#[async_trait]
pub trait MarketData: Send + Sync {
    /// A page of a wallet's trades, never an answer that a cache keeps.
    async fn trades(&self, query: &TradesQuery, now: Timestamp) -> Result<Rows<TradeRow>, VenueError>;

    /// A page of a wallet's activity.
    async fn activity(&self, query: &ActivityQuery, now: Timestamp) -> Result<Rows<ActivityRow>, VenueError>;

    /// A page of a wallet's positions.
    async fn positions(
        &self,
        query: &PositionsQuery,
        now: Timestamp,
    ) -> Result<Rows<PositionRow>, VenueError>;

    /// How a condition ended, where the venue says anything about it.
    async fn resolution(
        &self,
        condition: ConditionId,
        now: Timestamp,
    ) -> Result<Option<ResolutionRow>, VenueError>;

    /// Gamma's rows of these conditions, open and closed, in no order. What Gamma does not know is missing.
    async fn markets(&self, conditions: &[ConditionId]) -> Result<Rows<GammaMarket>, VenueError>;

    /// What an order needs to know of a market; `None` where the CLOB knows none.
    async fn clob_market(&self, condition: ConditionId) -> Result<Option<ClobMarket>, VenueError>;

    /// The book of a token; `None` where there is none.
    async fn book(&self, asset: &AssetId) -> Result<Option<Book>, VenueError>;

    /// The books of these tokens, of at most 500, as far as there are any; in no order. One by one where the
    /// implementation knows nothing better.
    async fn books(&self, assets: &[AssetId]) -> Result<Vec<Book>, VenueError> {
        let mut books = Vec::with_capacity(assets.len());
        for asset in assets {
            books.extend(self.book(asset).await?);
        }
        Ok(books)
    }
}

/// Which of our trades.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OwnTradesQuery {
    /// The trade with this id.
    pub id: Option<String>,
    /// Trades of this token.
    pub asset: Option<AssetId>,
    /// Trades of this condition.
    pub condition: Option<ConditionId>,
    /// Trades of this wallet.
    pub maker: Option<Address>,
    /// Trades after this second.
    pub after: Option<Timestamp>,
    /// Trades before this second.
    pub before: Option<Timestamp>,
    /// Where the walk goes on; `None` begins one.
    pub cursor: Option<String>,
}

/// Which of our open orders.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OpenOrdersQuery {
    /// Orders of this token.
    pub asset: Option<AssetId>,
    /// Orders of this condition.
    pub condition: Option<ConditionId>,
    /// Where the walk goes on; `None` begins one.
    pub cursor: Option<String>,
}

/// What a balance is asked of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BalanceOf {
    /// Dollars.
    Collateral,
    /// Shares of a token.
    Token {
        /// Which.
        asset: AssetId,
        /// Of which protocol.
        version: MarketVersion,
    },
}

/// What one wallet may do, by its credentials.
#[async_trait]
pub trait Exchange: Send + Sync {
    /// Posts the exact bytes of an order. `id` is the order's id, known from its signature; an answer that names
    /// another is not an answer. Never posts twice by itself.
    async fn post_order(&self, body: &[u8], id: OrderId, creds: &ApiCreds, now: Timestamp) -> SubmitOutcome;

    /// What the venue knows of an order, in any state.
    async fn order(&self, id: OrderId, creds: &ApiCreds, now: Timestamp) -> OrderLookup;

    /// Cancels an order.
    async fn cancel(&self, id: OrderId, creds: &ApiCreds, now: Timestamp) -> CancelOutcome;

    /// A page of our trades.
    async fn own_trades(
        &self,
        query: &OwnTradesQuery,
        creds: &ApiCreds,
        now: Timestamp,
    ) -> Result<Listing<ClobTrade>, VenueError>;

    /// A page of our live orders. An order that is missing is not therefore cancelled.
    async fn open_orders(
        &self,
        query: &OpenOrdersQuery,
        creds: &ApiCreds,
        now: Timestamp,
    ) -> Result<Listing<OrderRow>, VenueError>;

    /// What the wallet holds of something, and what the exchange may take of it.
    async fn balance_allowance(
        &self,
        of: &BalanceOf,
        signature_type: SignatureType,
        creds: &ApiCreds,
        now: Timestamp,
    ) -> Result<BalanceAllowance, VenueError>;
}

/// What the venue tells of its own accord about the orders of one set of credentials (`venue.md` 3.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UserEvent {
    /// From here on events come. Nothing is ever told again: what happened before is known only by asking, so whoever
    /// listens asks about all of its open orders now.
    Connected,
    /// Nothing comes until the next `Connected`.
    Gap {
        /// What happened.
        why: String,
    },
    /// An order came, filled or went. May come twice, late, or out of order.
    Order(Box<OrderFrame>),
    /// A trade was made or moved on. May come twice, late, or out of order.
    Trade(Box<TradeFrame>),
    /// Something came that cannot be read: which order it was about is not known.
    Unreadable {
        /// What is wrong with it.
        why: String,
    },
}

/// One listener's stream of events, without an end: what breaks is connected again.
#[async_trait]
pub trait UserStream: Send {
    /// The next event, once there is one. Dropping the call loses no event.
    async fn next(&mut self) -> UserEvent;

    /// Gives the connection up and makes another: the listener knows of something that it should have been told.
    fn distrust(&mut self);
}

/// Where streams are opened.
pub trait UserChannel: Send + Sync {
    /// A stream of what happens to the orders of these credentials. It connects when it is first asked.
    fn open(&self, creds: &ApiCreds) -> Box<dyn UserStream>;
}
