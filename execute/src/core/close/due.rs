//! How much is due: the size of each due when its intent is gated, and what the BUYs that it waits for add to it.

use std::collections::BTreeMap;

use schemas::{
    AssetId, BillingAccountId, FillId, IdempotencyKey, Mode, Round, Shares, TargetId, Timestamp,
    events::CloseIntent,
};
use serde::{Deserialize, Serialize};

use super::{Close, LEAST_SHARES};
use crate::core::attempt::{AttemptKey, natural_key};

/// What names a due: the copy's key and the decision's revision.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct DueKey {
    /// The copy.
    pub key: IdempotencyKey,
    /// Above zero for an amended SELL.
    pub revision: i32,
}

/// What one attempt sold for a due.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sold {
    /// The key that the attempt bears.
    pub key: IdempotencyKey,
    /// Its number.
    pub attempt: i32,
    /// How much.
    pub shares: Shares,
}

/// A BUY that was alive when a due came. What it fills after that is due in part, once it is final.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Awaited {
    /// Its key.
    pub key: IdempotencyKey,
    /// What of it had filled: that was held, and counted.
    pub seen: Shares,
}

/// How a due ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// All of it is sold, to within 0.01 share.
    Filled,
    /// Too little is left to be sold.
    Dust,
    /// The shares left the wallet by another way.
    ExternalClose,
    /// The market is resolved: there is nothing to be sold any more.
    MarketEnded,
    /// It was taken back before it was sold.
    Dropped,
}

impl End {
    /// The word, as in the table.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Filled => "filled",
            Self::Dust => "dust",
            Self::ExternalClose => "external_close",
            Self::MarketEnded => "market_ended",
            Self::Dropped => "dropped",
        }
    }
}

/// So many shares of a position are to be sold. The fields are the columns of `execution.dues`, under their names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Due {
    /// The tenant.
    pub billing_account_id: BillingAccountId,
    /// The copy.
    pub idempotency_key: IdempotencyKey,
    /// The decision's revision.
    pub revision: i32,
    /// See [`natural_key`]: whatever named the fill, it is due once.
    pub natural_key: String,
    /// Of whose position.
    pub target_id: TargetId,
    /// Of which token.
    pub asset: AssetId,
    /// In which mode.
    pub mode: Mode,
    /// Its place among the dues of its position: the lowest is the oldest.
    pub place: i64,
    /// How much is due; grows when a BUY that it waits for is final.
    pub shares: Shares,
    /// What was sold of it, by which attempts.
    pub sold: Vec<Sold>,
    /// The BUYs that it waits for.
    pub awaits: Vec<Awaited>,
    /// That it shall be dropped, and why.
    pub drop_cause: Option<String>,
    /// How it ended; `None`: it has not.
    pub ended: Option<End>,
    /// What asked for it.
    pub intent: CloseIntent,
    /// When it came.
    pub created_at: Timestamp,
}

impl Due {
    /// Its name.
    pub const fn key(&self) -> DueKey {
        DueKey { key: self.idempotency_key, revision: self.revision }
    }

    /// The first attempt under its key, whether there is one or not: what names it where a row is missed.
    pub const fn attempt_key(&self) -> AttemptKey {
        AttemptKey {
            billing_account_id: self.billing_account_id,
            idempotency_key: self.idempotency_key,
            attempt: 0,
        }
    }

    /// What was sold of it.
    pub fn filled(&self) -> Shares {
        self.sold.iter().map(|s| s.shares).sum()
    }

    /// What is still to be sold of it.
    pub fn remaining(&self) -> Shares {
        self.shares.minus_or_zero(self.filled())
    }

    /// Whether attempts under its own key sold of it.
    pub fn sold_by_itself(&self) -> bool {
        self.sold.iter().any(|s| s.key == self.idempotency_key)
    }

    /// The part of what a BUY fills that is due of this.
    fn of_fill(&self, filled: Shares) -> Shares {
        match voided(&self.intent) {
            Some(_) => filled,
            None => part(filled, self.intent.fraction_num, self.intent.fraction_den),
        }
    }
}

/// What is known of a BUY of the position.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bought {
    /// What of it filled.
    pub filled: Shares,
    /// Whether that is all that it will.
    pub is_final: bool,
}

/// The BUYs of a position that are alive, or waited for; by their keys.
pub type Buys = BTreeMap<IdempotencyKey, Bought>;

/// `num / den` of some shares, held between nothing and all of them, rounded down to 10^-6; all of them where the
/// leader's shares before are unknown or none.
pub fn part(of: Shares, num: i64, den: i64) -> Shares {
    let part = if den <= 0 || num >= den { Some(of) } else { of.scale(num.max(0), den, Round::Down) };
    part.unwrap_or(Shares::ZERO).max(Shares::ZERO)
}

/// Whether a close takes the BUYs along that are still alive: one half or more.
fn takes_buys(intent: &CloseIntent) -> bool {
    intent.fraction_den <= 0 || i128::from(intent.fraction_num) * 2 >= i128::from(intent.fraction_den)
}

/// The copy whose fill was voided, where that is what a close is about.
pub fn voided(intent: &CloseIntent) -> Option<IdempotencyKey> {
    let fill = intent.head.fill_id.as_str().strip_prefix("void:")?;
    let fill: FillId = fill.parse().ok()?;
    Some(IdempotencyKey::of(intent.head.target_id, &fill))
}

/// What of a position is spoken for: what is due and not sold, and what of the BUYs that dues wait for will be due.
pub fn owed(close: &Close, buys: &Buys) -> Shares {
    let due: Shares = close.open().map(Due::remaining).sum();
    let filled = |key: &IdempotencyKey, seen: Shares| {
        buys.get(key).map_or(Shares::ZERO, |b| b.filled.minus_or_zero(seen))
    };
    // Each due takes its part of what the older ones leave of a fill.
    let mut claimed = Shares::ZERO;
    for (at, due) in close.open().enumerate() {
        for awaited in &due.awaits {
            let left = left_by_older(close, at, awaited.key, filled(&awaited.key, awaited.seen));
            claimed = claimed.saturating_add(due.of_fill(left));
        }
    }
    due.saturating_add(claimed)
}

/// What the open dues before the one at `at` leave of a BUY's fill.
fn left_by_older(close: &Close, at: usize, buy: IdempotencyKey, filled: Shares) -> Shares {
    let older = close.open().take(at).filter(|d| d.awaits.iter().any(|a| a.key == buy));
    older.fold(filled, |left, due| left.minus_or_zero(due.of_fill(left)))
}

/// What an intent comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Admitted {
    /// There is nothing to sell, and nothing that could become something to sell.
    NoPosition,
    /// It is due, as the last of the close's dues; these BUYs are to be cancelled.
    Due(Vec<IdempotencyKey>),
}

/// Takes a close intent into the close of its position: `held` shares, and these BUYs.
pub fn admit(close: &mut Close, intent: &CloseIntent, held: Shares, buys: &Buys, now: Timestamp) -> Admitted {
    let head = &intent.head;
    if takes_buys(intent) || voided(intent).is_some() {
        close.took_buys_at = close.took_buys_at.max(Some(head.filled_at));
    }
    let free = held.minus_or_zero(owed(close, buys));
    let alive = || buys.iter().filter(|(_, b)| !b.is_final);
    let (shares, awaits, cancels) = if let Some(voided) = voided(intent) {
        // What that one order filled, when that is known.
        match buys.get(&voided) {
            Some(Bought { is_final: false, .. }) => {
                (Shares::ZERO, vec![Awaited { key: voided, seen: Shares::ZERO }], vec![voided])
            }
            Some(Bought { filled, .. }) if filled.is_positive() => {
                ((*filled).min(free), Vec::new(), Vec::new())
            }
            _ => return Admitted::NoPosition,
        }
    } else {
        if !held.is_positive() && alive().next().is_none() {
            return Admitted::NoPosition;
        }
        let due = part(free, intent.fraction_num, intent.fraction_den);
        let taken: Vec<_> = alive().filter(|_| takes_buys(intent)).collect();
        let awaits = taken.iter().map(|(key, b)| Awaited { key: **key, seen: b.filled }).collect();
        (due, awaits, taken.into_iter().map(|(key, _)| *key).collect())
    };
    close.dues.push(Due {
        billing_account_id: head.billing_account_id,
        idempotency_key: head.idempotency_key,
        revision: head.revision,
        natural_key: natural_key(head),
        target_id: head.target_id,
        asset: close.name.asset.clone(),
        mode: head.mode,
        place: close.counted,
        shares,
        sold: Vec::new(),
        awaits,
        drop_cause: None,
        ended: None,
        intent: intent.clone(),
        created_at: now,
    });
    close.counted = close.counted.saturating_add(1);
    Admitted::Due(cancels)
}

/// Takes in the BUYs that have become final: their part is due now, of what is held and not owed otherwise. A BUY that
/// nobody knows never was.
pub fn resolve(close: &mut Close, held: Shares, buys: &Buys) {
    let is_over = |key: &IdempotencyKey| buys.get(key).is_none_or(|b| b.is_final);
    // By BUY and not by due: the younger takes its part of what the older left of the same fill.
    let over: Vec<IdempotencyKey> = {
        let mut keys: Vec<_> = close.open().flat_map(|d| d.awaits.iter().map(|a| a.key)).collect();
        keys.sort();
        keys.dedup();
        keys.into_iter().filter(is_over).collect()
    };
    for buy in over {
        let filled = buys.get(&buy).map_or(Shares::ZERO, |b| b.filled);
        let mut added = Vec::new();
        for (at, due) in close.open().enumerate() {
            let Some(awaited) = due.awaits.iter().find(|a| a.key == buy) else { continue };
            let left = left_by_older(close, at, buy, filled.minus_or_zero(awaited.seen));
            added.push((due.key(), due.of_fill(left)));
        }
        for due in close.dues.iter_mut().filter(|d| d.ended.is_none()) {
            due.awaits.retain(|a| a.key != buy);
        }
        for (key, more) in added {
            let free = held.minus_or_zero(owed(close, buys));
            if let Some(due) = close.dues.iter_mut().find(|d| d.key() == key) {
                due.shares = due.shares.saturating_add(more.min(free));
            }
        }
    }
}

/// Marks the open dues of a copy as to be dropped; whether any was not marked before.
pub fn drop_dues(close: &mut Close, key: IdempotencyKey, cause: &str) -> bool {
    let mut any = false;
    for due in close.dues.iter_mut().filter(|d| d.ended.is_none() && d.idempotency_key == key) {
        any |= due.drop_cause.is_none();
        due.drop_cause.get_or_insert_with(|| cause.to_owned());
    }
    any
}

/// Whether so many shares are too few to be sold.
pub fn is_dust(shares: Shares) -> bool {
    shares < LEAST_SHARES
}
