//! A story before it is told: who trades, who follows, what goes wrong and when. All of it follows from a seed, and any
//! part of it can be left out.

mod beyond;
mod generate;
mod script;

use std::{collections::BTreeMap, time::Duration};

use schemas::{
    Address, AssetId, BillingAccountId, ChangeKind, ConditionId, ControlKind, MarketVersion, Price, Shares,
    Side, TargetId, TargetRowId, TargetStatus, Tick, Timestamp, TxHash, Usdc, UserId,
    events::{MarketFacts, MarketToken, Policy},
};
use uuid::Uuid;

pub use generate::{Mood, generate};
pub use script::Script;

use crate::time::START;

/// What a grant allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caps {
    /// The most one order may cost.
    pub per_order: Usdc,
    /// The most a day may cost.
    pub daily: Usdc,
    /// The most orders in an hour.
    pub hourly: i64,
    /// The most a condition may hold.
    pub per_market: Option<Usdc>,
}

/// A tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TenantPlan {
    /// What it allows at first.
    pub caps: Caps,
    /// Whether its approvals were found before.
    pub approved: bool,
}

/// A market.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MarketPlan {
    /// The step of its prices.
    pub tick: Tick,
    /// The smallest resting order.
    pub min_shares: Shares,
    /// The taker fee's rate.
    pub fee_rate: i64,
    /// Which exchange.
    pub neg_risk: bool,
    /// Its first price.
    pub price: Price,
}

/// A tenant follows a wallet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Follow {
    /// Which tenant.
    pub tenant: u8,
    /// Which wallet.
    pub wallet: u8,
    /// How.
    pub policy: Policy,
    /// Since when.
    pub since: Duration,
}

/// Something that a wallet trades, or everybody else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trade {
    /// In which market.
    pub market: u8,
    /// Which outcome.
    pub second: bool,
    /// Which way.
    pub side: Side,
    /// How much.
    pub shares: Shares,
    /// For how much a share.
    pub price: Price,
}

/// Something that happens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// A followed wallet trades; its fill is published after these times, once for each.
    Fill {
        /// Names it within the story.
        n: u16,
        /// Whose.
        wallet: u8,
        /// What.
        trade: Trade,
        /// How long it takes until it is published, and published again.
        published: Vec<Duration>,
        /// Whether its market's facts could be had.
        facts: bool,
    },
    /// A fill turns out to be larger.
    Amend {
        /// Which.
        n: u16,
        /// By so much.
        more: Shares,
    },
    /// A fill is seen by another source too, under another name.
    Alias {
        /// Which.
        n: u16,
    },
    /// The newest intents are in the log once more: put there by hand, or by a producer that repeats itself.
    Intents {
        /// So many of each partition.
        last: u8,
    },
    /// A fill turns out never to have been.
    Void {
        /// Which.
        n: u16,
    },
    /// Somebody else trades.
    Print(Trade),
    /// A wallet's position changes without a trade; published after these times, once for each.
    Change {
        /// Names its transaction within the story.
        n: u16,
        /// Which wallet.
        wallet: u8,
        /// In which market.
        market: u8,
        /// How: a conversion takes of the second outcome, a redemption leaves nothing of either.
        kind: ChangeKind,
        /// So many of each outcome that it is about.
        shares: Shares,
        /// How long it takes until it is published, and published again.
        published: Vec<Duration>,
        /// Whether its market's facts and books could be had.
        facts: bool,
    },
    /// The price of a token is sampled for a wallet's followers.
    Mark {
        /// Whose followers.
        wallet: u8,
        /// In which market.
        market: u8,
        /// Which outcome.
        second: bool,
    },
    /// A market takes no more orders.
    End {
        /// Which.
        market: u8,
        /// What a share of each outcome pays, in 10^-6 dollars.
        payouts: [i64; 2],
        /// How long it takes until that is known.
        pays: Duration,
        /// How long it takes then until it is published, once for each.
        told: Vec<Duration>,
    },
    /// A wallet's positions are read: what it held before the story, which is nothing.
    Snapshot {
        /// Whose.
        wallet: u8,
    },
    /// A tenant changes a target.
    Target {
        /// Which tenant.
        tenant: u8,
        /// Which wallet it follows.
        wallet: u8,
        /// Where it stands from now on.
        status: TargetStatus,
        /// Sell at once.
        close_now: bool,
        /// Keep what is held.
        keep: bool,
    },
    /// A tenant wants a position sold.
    Close {
        /// Names it within the story.
        n: u16,
        /// Which tenant.
        tenant: u8,
        /// Whose copies.
        wallet: u8,
        /// In which market.
        market: u8,
        /// Which outcome.
        second: bool,
    },
    /// A grant ends or is taken back, is given again, or allows something else.
    Grant {
        /// Which tenant's.
        tenant: u8,
        /// When it ends, from now on.
        expires_in: Option<Duration>,
        /// Whether it is taken back.
        revoked: bool,
        /// What it allows from now on; as much as before where nothing is said.
        caps: Option<Caps>,
    },
    /// A switch.
    Switch {
        /// Whose; nobody's is everybody's.
        tenant: Option<u8>,
        /// Which.
        kind: ControlKind,
        /// Whether it is on.
        on: bool,
    },
}

/// Something that happens, and when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// Since the beginning.
    pub at: Duration,
    /// What.
    pub what: What,
}

impl Step {
    /// When it has happened, and everybody was told.
    pub fn over(&self) -> Duration {
        let last = |published: &[Duration]| published.iter().max().copied().unwrap_or_default();
        match &self.what {
            What::End { pays, told, .. } => self.at + *pays + last(told),
            What::Change { published, .. } => self.at + last(published),
            _ => self.at,
        }
    }
}

/// A stage's kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Decide.
    Decide,
    /// Execute.
    Execute,
    /// Project.
    Project,
}

/// What happens to a process or a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blow {
    /// It dies, and another starts in its place after a while.
    Crash {
        /// Of which stage.
        kind: Kind,
        /// Which of its processes.
        nth: u8,
        /// How long nobody is there.
        away: Duration,
    },
    /// It is stopped for a while, and does not know.
    Freeze {
        /// Of which stage.
        kind: Kind,
        /// Which of its processes.
        nth: u8,
        /// How long.
        lasts: Duration,
    },
    /// It is asked to stop, and another starts in its place after a while.
    Restart {
        /// Of which stage.
        kind: Kind,
        /// Which of its processes.
        nth: u8,
        /// How long nobody is there.
        away: Duration,
    },
    /// All partitions of a stage's group are taken away and dealt out anew.
    Rebalance {
        /// Of which stage.
        kind: Kind,
    },
    /// A member that is alive loses its session, and does not know.
    Evict {
        /// Of which stage.
        kind: Kind,
        /// Which partition it holds.
        partition: i32,
    },
}

/// A blow, and when it falls: at the first step that anybody takes after that time, whatever that is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trouble {
    /// Since the beginning.
    pub at: Duration,
    /// What happens.
    pub blow: Blow,
}

/// The simulated venue's habits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own")]
pub struct Habits {
    /// Statuses are written `ORDER_STATUS_LIVE`.
    pub status_prefix: bool,
    /// Sizes are integers.
    pub base_units: bool,
    /// A FAK that filled in part ends as `MATCHED`.
    pub partial_fak_matched: bool,
    /// Bought shares can be sold once confirmed.
    pub credit_when_confirmed: bool,
    /// From match to settlement, in seconds.
    pub confirm_after: u64,
    /// What each wallet starts with.
    pub balance: Usdc,
}

/// A story.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Where it comes from; calls draw their fates from it too.
    pub seed: u64,
    /// The tenants.
    pub tenants: Vec<TenantPlan>,
    /// How many wallets trade.
    pub wallets: u8,
    /// The markets.
    pub markets: Vec<MarketPlan>,
    /// Who follows whom.
    pub follows: Vec<Follow>,
    /// How many processes of decide, execute and project there are.
    pub processes: [u8; 3],
    /// Partitions of the wallet topics and of the account topics.
    pub partitions: [i32; 2],
    /// Whether commits leave markers behind.
    pub markers: bool,
    /// The venue.
    pub habits: Habits,
    /// Which faults calls meet, and how often in a thousand.
    pub rates: BTreeMap<&'static str, u64>,
    /// What happens, in time.
    pub steps: Vec<Step>,
    /// What goes wrong, in time.
    pub troubles: Vec<Trouble>,
    /// From here on nothing goes wrong any more.
    pub quiet: Duration,
}

/// How old what is known of a market may be.
const STALE: Duration = Duration::from_secs(8);

fn id(kind: u128, n: u8) -> Uuid {
    Uuid::from_u128((u128::from(n) << 64) | kind)
}

/// The wallet of a number.
pub const fn wallet(n: u8) -> Address {
    Address::from_bytes([n + 1; 20])
}

/// The account of a tenant.
pub fn account(tenant: u8) -> BillingAccountId {
    BillingAccountId::from_uuid(id(1, tenant))
}

/// The user of a tenant.
pub fn user(tenant: u8) -> UserId {
    UserId::from_uuid(id(2, tenant))
}

/// The connection of a tenant.
pub fn connection(tenant: u8) -> Uuid {
    id(3, tenant)
}

/// The row by which a tenant follows a wallet.
pub fn row(tenant: u8, of: u8) -> TargetRowId {
    TargetRowId::from_uuid(id(0x100 + u128::from(of), tenant))
}

/// The id of a wallet in keys.
pub fn target(of: u8) -> TargetId {
    TargetId::of_wallet(wallet(of))
}

/// The token of an outcome of a market.
pub fn token(market: u8, second: bool) -> AssetId {
    let n = 1_001 + u32::from(market) * 1_000 + u32::from(second);
    n.to_string().parse().unwrap_or_else(|_| simulator::market::decimal_id(&[&n.to_be_bytes()]))
}

/// The condition of a market.
pub fn condition(market: u8) -> ConditionId {
    let mut bytes = [0; 32];
    bytes[31] = market + 1;
    ConditionId::from_bytes(bytes)
}

/// The transaction of a fill.
pub fn tx(n: u16) -> TxHash {
    let mut bytes = [0xfe; 32];
    bytes[..2].copy_from_slice(&n.to_be_bytes());
    TxHash::from_bytes(bytes)
}

/// The second in which something happened.
pub fn second(at: Duration) -> Timestamp {
    Timestamp::from_secs(START.plus(at).secs())
}

impl Plan {
    /// What a tenant allowed at any time from one moment to another.
    pub fn caps(&self, tenant: u8, from: Duration, until: Duration) -> Vec<Caps> {
        let mut allowed: Vec<Caps> =
            self.tenants.get(usize::from(tenant)).map(|t| t.caps).into_iter().collect();
        for step in self.steps.iter().filter(|s| s.at <= until) {
            if let What::Grant { tenant: whose, caps: Some(caps), .. } = step.what
                && whose == tenant
            {
                if step.at <= from {
                    allowed.clear();
                }
                allowed.push(caps);
            }
        }
        allowed
    }

    /// When a market takes no more orders.
    pub fn end(&self, market: u8) -> Option<Duration> {
        self.steps.iter().find_map(|step| match step.what {
            What::End { market: which, .. } if which == market => Some(step.at),
            _ => None,
        })
    }

    /// What is known of a market at a time; that it takes no more orders is known a little later.
    pub fn facts(&self, market: u8, at: Duration) -> MarketFacts {
        let m = &self.markets[usize::from(market)];
        MarketFacts {
            condition_id: condition(market),
            tokens: vec![
                MarketToken { asset: token(market, false), outcome: "Yes".into() },
                MarketToken { asset: token(market, true), outcome: "No".into() },
            ],
            version: MarketVersion::V1,
            neg_risk: m.neg_risk,
            tick: m.tick,
            min_shares: m.min_shares,
            accepting_orders: self.end(market).is_none_or(|end| at < end + STALE),
            end_at: None,
            fee_rate: m.fee_rate,
            fee_exponent: 1,
            category: None,
            slug: Some(format!("market-{market}")),
            title: None,
        }
    }

    /// The fill of that number, and when it was.
    pub fn fill(&self, number: u16) -> Option<(Duration, u8, Trade)> {
        self.steps.iter().find_map(|step| match step.what {
            What::Fill { n, wallet, trade, .. } if n == number => Some((step.at, wallet, trade)),
            _ => None,
        })
    }
}
