//! The plan: what a fill comes to for one follower. Pure: no clock, no I/O, no state of its own.
//!
//! Every released version stays here for ever, so that a cut is always decided again under the version it was
//! decided under ([`VERSIONS`]). The first rule that matches gives the reason:
//!
//! | reason | rule (`behaviour.md` 2, 3) |
//! |---|---|
//! | `already_placed` | 1: decided before; counted by the fold, never planned |
//! | `sell_without_position`, `sell_closed_position` | 2: a SELL, and nothing of it is ours |
//! | `target_closing`, `stale_fill` | 3: the target is being wound down; the fill is too old |
//! | `before_baseline_snapshot` | 4: the leader's positions are not known yet |
//! | `market_unknown` | 5: the fill came without market facts |
//! | `market_past_end_date`, `market_closed` | 6: the market takes no orders |
//! | `price_outside_clob_bounds` | 7: the leader's price is outside the tradable band |
//! | `filter_trade_size`, `filter_price_band`, `filter_spread`, `filter_time_to_end`, `filter_market`, `filter_category`, `filter_side` | 8: a filter of the target says no |
//! | `target_dominant_other_side` | 9: too little of the leader's cost lies on this side |
//! | `vwap_floor_breach` | 10: the leader pays more than its own average |
//! | `below_market_min` | 11: the size is below the floor, or the floor above `max_usdc_per_trade` |
//! | `below_target_percentile` | 11, scaled: the leader spent less on the token than it mostly does |
//! | `followup_not_needed` | 11, `position_gap` and hedges: we have what the leader's position calls for |
//! | `followup_position_too_small` | 11, hedges: there is too little to hedge |
//! | `target_position_below_threshold` | 11, layers and hedges: the leader's own is too small to follow |
//! | `decision_failed` | 11: a setting that the sizing needs is missing; figures out of range |
//! | `position_cap_reached` | 12: no room under `max_usdc_per_token` |
//! | `already_resting` | 13: enough BUYs rest on the token |
//! | `fee_too_high`, `slippage_exceeded` | 14: the taker fee; no depth within the limit |
//! | `ok` | 15: placed; a close, whether the leader asked for it or not |
//! | `layer_scale_in`, `hedge_followup` | 15: placed on top of what we hold; placed against it |
//!
//! Which setting has which default and effect: [`settings`].

pub mod settings;
pub mod v1;

use schemas::{
    ConditionId, Mode, Outcome, PositionBranch, Price, Reason, Tick, Timestamp, Usdc,
    codec::Pin,
    events::{BookSnapshot, Inputs, Order, OwnView, Policy},
};

use crate::state::State;

/// The version that new cuts are decided under.
pub const PLAN_VERSION: i32 = 3;

/// Every released version, oldest first. Version 2 decides as version 1 does, and hands the recorded book to paper. Version
/// 3 carries everything to the new id of a token that migrates ([`crate::state::carried`]), and tells the gate.
pub const VERSIONS: &[Version] = &[V1, V2, Version { number: 3, writes: WRITES_3, carries: true, ..V2 }];

const V1: Version = Version {
    number: 1,
    writes: &[("Cut", 1), ("Decision", 2), ("PlaceIntent", 1), ("CloseIntent", 1), ("CancelIntent", 1)],
    settings: settings::Settings::of,
    plan: v1::plan,
    limit: v1::price::buy_limit,
    close: v1::sell::close,
    exit: v1::exit::due,
    book: |_, _| None,
    carries: false,
    migrate: |_| {},
};

const V2: Version = Version { number: 2, writes: WRITES_2, book: book_of_paper, ..V1 };

const WRITES_2: &[Pin] =
    &[("Cut", 1), ("Decision", 2), ("PlaceIntent", 2), ("CloseIntent", 2), ("CancelIntent", 1)];

const WRITES_3: &[Pin] = &[
    ("Cut", 1),
    ("Decision", 3),
    ("PlaceIntent", 2),
    ("CloseIntent", 2),
    ("CancelIntent", 1),
    ("MigrateIntent", 1),
];

/// Paper fills against the book at the decision (`design.md`, Modes); elsewhere the venue has its own.
fn book_of_paper(mode: Mode, recorded: Option<&BookSnapshot>) -> Option<BookSnapshot> {
    recorded.filter(|_| mode == Mode::Paper).cloned()
}

/// A version of plan and folds.
#[derive(Debug, Clone, Copy)]
pub struct Version {
    /// Its number: what cuts and decisions name.
    pub number: i32,
    /// The released schemas of what it writes. A record that is given another field since is still written without
    /// it when a cut of this version is decided again, so that it has the bytes that it had.
    pub writes: &'static [Pin],
    /// What a policy comes to: intents carry some of it.
    pub settings: fn(&Policy) -> settings::Settings,
    /// What a fill comes to for one follower.
    pub plan: fn(ConditionId, &Inputs, Timestamp) -> Planned,
    /// The limit of a BUY at a leader's price: what the recorded book is measured against.
    pub limit: fn(Price, Tick, &Policy) -> Price,
    /// A close without a SELL of the leader.
    pub close: fn(&OwnView, Part, bool) -> Planned,
    /// Whether a position is to be closed at what is bid for it now, without the leader.
    pub exit: fn(&Policy, &OwnView, Price) -> Option<Exit>,
    /// What of the recorded book an intent carries.
    pub book: fn(Mode, Option<&BookSnapshot>) -> Option<BookSnapshot>,
    /// Whether a migration of the leader carries all that stands under the former id, and is told the gate.
    pub carries: bool,
    /// Makes a state of the version before into one of this version: pure, and kept as long as the version.
    pub migrate: fn(&mut State),
}

/// The version of that number, among those known.
pub fn version(versions: &'static [Version], number: i32) -> Option<&'static Version> {
    versions.iter().find(|v| v.number == number)
}

/// A part of what is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    /// Above the line; zero: nothing.
    pub num: i64,
    /// Below the line; above zero.
    pub den: i64,
}

impl Part {
    /// All of it.
    pub const WHOLE: Self = Self { num: 1, den: 1 };

    /// `num / den` held between zero and one; all of it where `den` says nothing.
    pub fn clamped(num: i64, den: i64) -> Self {
        if den <= 0 || num >= den { Self::WHOLE } else { Self { num: num.max(0), den } }
    }
}

/// A rule by which a position is closed without the leader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// `take_profit_fraction`.
    TakeProfit,
    /// `stop_loss_fraction`.
    StopLoss,
    /// `sell_winners_at`.
    SellWinners,
}

impl Exit {
    /// The rule as the close's cause id names it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::TakeProfit => "take_profit",
            Self::StopLoss => "stop_loss",
            Self::SellWinners => "sell_winners_at",
        }
    }
}

/// What a plan came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Planned {
    /// Placed, skipped, or failed.
    pub outcome: Outcome,
    /// Why.
    pub reason: Reason,
    /// What it does to our position.
    pub branch: PositionBranch,
    /// The order, where one was placed.
    pub order: Option<Order>,
    /// What went wrong.
    pub error: Option<String>,
    /// Dollars that join the next desire on the token: `below_floor = accumulate`.
    pub kept: Option<Usdc>,
}

impl Planned {
    /// A rule said no.
    pub const fn skipped(reason: Reason) -> Self {
        Self {
            outcome: Outcome::Skipped,
            reason,
            branch: PositionBranch::None,
            order: None,
            error: None,
            kept: None,
        }
    }

    /// The decision could not be made.
    pub fn failed(why: impl Into<String>) -> Self {
        Self { outcome: Outcome::Error, error: Some(why.into()), ..Self::skipped(Reason::DecisionFailed) }
    }

    /// An order.
    pub const fn placed(branch: PositionBranch, order: Order) -> Self {
        Self {
            outcome: Outcome::Placed,
            reason: match branch {
                PositionBranch::Layer => Reason::LayerScaleIn,
                PositionBranch::Hedge => Reason::HedgeFollowup,
                PositionBranch::None | PositionBranch::NewEntry | PositionBranch::SellClose => Reason::Ok,
            },
            branch,
            order: Some(order),
            error: None,
            kept: None,
        }
    }
}

/// What the newest plan misses in a policy: the text names the setting and what to do. Under such a policy every
/// BUY would be `decision_failed`; whoever takes policies from people refuses it first. `None`: it can be kept.
pub fn unsupported(policy: &Policy) -> Option<String> {
    v1::unsupported(policy)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_version_is_the_one_in_force() {
        assert_eq!(VERSIONS.last().map(|v| v.number), Some(PLAN_VERSION));
        assert!(VERSIONS.windows(2).all(|w| w[0].number < w[1].number));
        assert_eq!(version(VERSIONS, 1).map(|v| v.number), Some(1));
        assert!(version(VERSIONS, PLAN_VERSION + 1).is_none());
    }

    #[test]
    fn a_part_lies_between_nothing_and_everything() {
        assert_eq!(Part::clamped(60, 200), Part { num: 60, den: 200 });
        assert_eq!(Part::clamped(300, 200), Part::WHOLE);
        assert_eq!(Part::clamped(300, 0), Part::WHOLE);
        assert_eq!(Part::clamped(-1, 5), Part { num: 0, den: 5 });
    }
}
