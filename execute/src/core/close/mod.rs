//! Closing: what is to be sold of a position, piece by piece, until it is sold or cannot be (`behaviour.md` 4).
//!
//! A close intent is a part of a position to be sold. It becomes a [`Due`]: so many shares, fixed in the gate's
//! transaction as the intent's fraction of what is held and not yet owed. What is due of one position (tenant, target,
//! token, mode) is sold by one [`Close`], one attempt after another:
//!
//! ```text
//!  close intent ──► due ──┐                       ┌─ FAK at the exit limit ────────┐
//!  close intent ──► due ──┼──► close ──► attempt ─┤                                ├─► fills, to dues oldest first
//!  close intent ──► due ──┘      ▲                └─ at the floor: GTD, it rests ──┘         │
//!                                └─────────────── the attempt is final, its time has come ◄──┘
//! ```
//!
//! - **How much** ([`due`]). Below one half, our BUYs that are still alive are left alone and what they fill later is not
//!   trimmed. From one half they are cancelled; what is held goes at once, and the fraction of what each of them filled
//!   besides becomes due when that BUY is final. A BUY that still waits for the end of the one it replaces is not placed
//!   any more. A void close is about the one order of the voided fill: what that order filled, once it is final, and
//!   nothing else. All dues together are never more than is held.
//! - **When** ([`plan`]). Due shares gather until they are worth `min_close_usdc` or the leader is flat: a due that finds
//!   everything owed already says so too, and sets the price, and ends with the older ones. No more than is due is ever
//!   sold, however small the remainder. Without market facts, or without any price, it waits until they can be had; while
//!   the venue refuses it, twice as long each time, up to 16 minutes.
//! - **At which price** ([`ladder`]). The sale price of the newest due less `exit_slippage`, and every 30 seconds one step
//!   lower, until `exit_floor`. There the close rests as a GTD order for an hour at a time, and says so
//!   ([`Note::ExitFloor`]); where it is too small to rest it is tried as a FAK, once in any case so that this is told, and
//!   again whenever somebody bids that much.
//!   The steps count from the first attempt at these terms, so a close that could not go before still begins at the top.
//!   A new due has its own price: what rests is cancelled, and the ladder begins again at the new one.
//! - **Whose** ([`allot`]). An attempt bears the key of the oldest due. What it filled is allotted to dues oldest first,
//!   in the transaction that records it: each due holds how much of it each attempt sold, so that a total that is told
//!   twice counts once, and a trade that fails later goes back to the due it came from.
//! - **One at a time.** The next attempt exists only when none of the position's SELLs is alive, so the fills of all of
//!   them are known, and it asks for no more than is still due.
//! - **In which market.** In that of the position's own condition, whatever the intent names: a neg-risk conversion is told
//!   under one condition and takes tokens of several. Facts of another market are read again as if none had come.
//! - **Under which id** ([`carried`]). Under the one that its market trades. Of a position that has gone on under another id
//!   no more is offered than the wallet holds under the traded one, since the venue moves each wallet in its own time; what
//!   its market does not trade under any id that is known waits, and is missed by nobody.
//! - **How it ends.** A due is `filled`; or `dust`, where less than 0.01 share is left to sell; or `external_close`, where
//!   the wallet lacks confirmed shares in two looks that lie 60 seconds apart; or `market_ended`, where the venue tells what
//!   its market pays, for which every close that is not over within 30 seconds asks at each look, what rests or still
//!   gathers too; or it is dropped, where its SELL was voided or the tenant keeps the position. Each end is told: by the
//!   attempts under its own key, else by a row of its own that was never sent ([`Note::SoldBy`] where another close's
//!   attempts sold it). One that is denied is told once for each reason, and asked again every 30 seconds.
//!
//! Everything here is a pure function of rows. The store keeps closes and dues in `execution.closes` and
//! `execution.dues`; every transaction that changes them holds the close's row, so that a process that dies leaves a
//! close that its next owner goes on with.

pub mod allot;
pub mod carried;
pub mod due;
pub mod ladder;
pub mod plan;

use std::{fmt, str::FromStr, time::Duration};

use schemas::{
    AssetId, BillingAccountId, ConditionId, Denial, IdempotencyKey, Mode, Price, Shares, TargetId, Timestamp,
    events::MarketFacts,
};
use serde::{Deserialize, Serialize};

use super::Attempt;
pub use due::{Awaited, Due, DueKey, End, Sold};

/// The step of sizes, and the least that is sold: 0.01 share.
pub const LEAST_SHARES: Shares = Shares::from_micro(venue::amounts::SIZE_STEP);

/// How long a step of the ladder lasts, and how long a denied close waits.
pub const STEP: Duration = Duration::from_secs(30);

/// What names a close: a position.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct CloseName {
    /// The tenant.
    pub billing_account_id: BillingAccountId,
    /// Whether real money moves.
    pub mode: Mode,
    /// The target's id in keys.
    pub target_id: TargetId,
    /// The token.
    pub asset: AssetId,
}

impl CloseName {
    /// The position of an attempt.
    pub fn of(attempt: &Attempt) -> Self {
        Self {
            billing_account_id: attempt.billing_account_id,
            mode: attempt.mode,
            target_id: attempt.target_id,
            asset: attempt.held_as.clone(),
        }
    }
}

/// A look at the wallet that found too few shares in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Short {
    /// When it was first found.
    pub since: Timestamp,
    /// What the wallet held at the last look.
    pub balance: Shares,
}

/// The close of a position. The fields are the columns of `execution.closes`, under their names; the dues have rows of
/// their own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Close {
    /// Which position.
    #[serde(flatten)]
    pub name: CloseName,
    /// The token's condition.
    pub condition_id: ConditionId,
    /// The partition of `intents` whose owner runs it.
    pub partition: i32,
    /// How many dues there ever were: the next one's place is this.
    pub counted: i64,
    /// Dues from this place on came after the last attempt: it sells nothing for them.
    pub offered: i64,
    /// The due whose price and steps are in force; `None` before the first attempt at them.
    pub terms: Option<DueKey>,
    /// When the first attempt at these terms was made: the ladder's steps count from here.
    pub stepped_at: Option<Timestamp>,
    /// The best bid at that attempt, where the due came without a price.
    pub found_price: Option<Price>,
    /// The market's facts as last read, where a due came without them or they were doubted.
    pub facts: Option<MarketFacts>,
    /// The next attempt is not made before.
    pub not_before: Option<Timestamp>,
    /// What the last attempt was denied for, if it was.
    pub denied: Option<Denial>,
    /// How many attempts in a row the venue refused.
    pub refused: i32,
    /// Whether facts, balance and outcome of the market have to be looked at: an attempt was refused.
    pub doubts: bool,
    /// Whether too few shares were found in the wallet.
    pub short: Option<Short>,
    /// When the leader made the newest sale that took our BUYs along: a replacing BUY of before, which waited meanwhile, is
    /// not placed any more.
    pub took_buys_at: Option<Timestamp>,
    /// When to look at it next; `None`: something that is recorded will say so.
    pub next_look_at: Option<Timestamp>,
    /// When it last changed.
    pub changed_at: Timestamp,
    /// The id under which the position goes on: of this one nothing is due any more ([`carried`]).
    pub becomes: Option<AssetId>,
    /// The position's other ids: shares of it may still lie under them.
    pub also: Vec<AssetId>,
    /// What is due, oldest first: the open ones, and those a caller asked for besides.
    #[serde(skip)]
    pub dues: Vec<Due>,
}

impl Close {
    /// The close of a position of which nothing is due yet.
    pub const fn new(name: CloseName, condition_id: ConditionId, partition: i32, now: Timestamp) -> Self {
        Self {
            name,
            condition_id,
            partition,
            counted: 0,
            offered: 0,
            terms: None,
            stepped_at: None,
            found_price: None,
            facts: None,
            not_before: None,
            denied: None,
            refused: 0,
            doubts: false,
            short: None,
            took_buys_at: None,
            next_look_at: None,
            changed_at: now,
            becomes: None,
            also: Vec::new(),
            dues: Vec::new(),
        }
    }

    /// Its position is found to be of this condition; whether it stood under another. What was read of that says nothing.
    pub fn belongs_to(&mut self, condition: ConditionId) -> bool {
        let is_another = self.condition_id != condition;
        if is_another {
            self.condition_id = condition;
            self.facts = None;
        }
        is_another
    }

    /// What is due and not ended, oldest first.
    pub fn open(&self) -> impl DoubleEndedIterator<Item = &Due> {
        self.dues.iter().filter(|d| d.ended.is_none())
    }

    /// What is to be sold: open, and not to be dropped.
    pub fn wanted(&self) -> impl DoubleEndedIterator<Item = &Due> {
        self.open().filter(|d| d.drop_cause.is_none())
    }
}

/// What is told of a close's row besides its state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Note {
    /// It has widened as far as it may, and waits for a buyer.
    ExitFloor,
    /// What was due of it was sold by the attempts of this close.
    SoldBy(IdempotencyKey),
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ExitFloor => f.write_str("exit_floor"),
            Self::SoldBy(key) => write!(f, "sold_by:{key}"),
        }
    }
}

impl FromStr for Note {
    type Err = String;
    fn from_str(s: &str) -> Result<Self, String> {
        match s.split_once(':') {
            None if s == "exit_floor" => Ok(Self::ExitFloor),
            Some(("sold_by", key)) => key.parse().map(Self::SoldBy).map_err(|_| s.to_owned()),
            _ => Err(format!("`{s}` is no note of a close")),
        }
    }
}

impl Serialize for Note {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Note {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}
