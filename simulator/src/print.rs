//! What happens at the venue: prints, other activity, markets opening and closing.

use schemas::{Address, Price, Shares, Side, Timestamp, TxHash, Usdc};
use venue::wire::ActivityKind;

use crate::market::{Market, MarketRef, TokenRef};

/// Which part a wallet had in a trade. The Data API never says (`venue.md` 1.5); `taker_only` filters by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// It took what rested: visible in both modes.
    Taker,
    /// Its order rested: visible with `taker_only=false`.
    Maker,
}

/// The venue's own literals, where they say more than our 10^-6: float noise and averages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Literals {
    /// Of the size.
    pub size: Box<str>,
    /// Of the price.
    pub price: Box<str>,
}

/// One row of the Data API: one order's fill inside one transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Print {
    /// The venue's second. A row may become visible later than that.
    pub second: i64,
    /// Whose.
    pub wallet: Address,
    /// Of what.
    pub token: TokenRef,
    /// Which way.
    pub side: Side,
    /// As taker or maker.
    pub role: Role,
    /// How much.
    pub size: Shares,
    /// For how much a share.
    pub price: Price,
    /// The settlement.
    pub tx: TxHash,
    /// How the row writes size and price, where not by their 10^-6.
    pub literals: Option<Box<Literals>>,
}

/// One row of `/v2/activity` that is no trade.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Activity {
    /// The venue's second.
    pub second: i64,
    /// Whose.
    pub wallet: Address,
    /// What.
    pub kind: ActivityKind,
    /// On which market, where it is about one.
    pub market: Option<MarketRef>,
    /// Shares.
    pub size: Shares,
    /// Dollars.
    pub usdc: Usdc,
    /// The transaction.
    pub tx: TxHash,
}

/// Something that happens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// A market begins to take orders. Markets are numbered in the order of their opening.
    Open(Box<Market>),
    /// A market stops; what each outcome paid, once known.
    Close(MarketRef, Option<[i64; 2]>),
    /// A trade becomes visible.
    Print(Print),
    /// Another row becomes visible.
    Activity(Activity),
}

/// Something that happens, and when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Happening {
    /// When it becomes visible.
    pub at: Timestamp,
    /// What.
    pub what: What,
}

/// What a wallet holds before the first print.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opening {
    /// Who.
    pub wallet: Address,
    /// What.
    pub token: TokenRef,
    /// How much.
    pub shares: Shares,
    /// Bought for how much a share.
    pub price: Price,
}

/// Where happenings come from: seeded leaders or a tape. Two sources made alike give the same
/// happenings, whenever they are asked: that is what a restart rests on.
pub trait Source: std::fmt::Debug + Send {
    /// When the next thing happens; `None` once nothing ever will.
    fn next_at(&mut self) -> Option<Timestamp>;

    /// Takes the next thing, in the order of time.
    fn take(&mut self) -> Option<Happening>;

    /// What wallets hold before the first print. Refers to markets by the order of their opening.
    fn openings(&self) -> Vec<Opening>;

    /// The wallets worth following, the busiest first.
    fn leaders(&self) -> Vec<Address>;
}
