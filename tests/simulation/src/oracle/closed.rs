//! 4: once everything of a position was to be sold, and no more of it was bought, nothing of it is left but what is
//! still due, and what is too little to be sold.
//!
//! A close is sized when its intent is gated: what a BUY fills after that, because nobody knew of it or because its
//! cancel came too late, has to be added. Nothing but the end shows that it was: here the intents of the log are read
//! again, in their order, without a line of execute's.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use eventlog::{Log, TopicPartition};
use execute::core::{
    Attempt,
    close::{Close, CloseName, Due, End, LEAST_SHARES},
};
use schemas::{
    IdempotencyKey, Shares, Side,
    events::{IntentHead, IntentsEvent},
    topics::Topic,
};

use super::Broken;
use crate::stage::Ground;

/// How far the clocks of two processes may be apart.
const CLOCKS: Duration = Duration::from_secs(1);

/// What of a position was asked for last.
#[derive(Debug, Default)]
struct Asked {
    /// The newest close of everything, and whether a BUY came after it.
    whole: Option<(IntentHead, bool)>,
    /// Intents that were read, by key and revision.
    seen: BTreeSet<(IdempotencyKey, i32)>,
    /// BUYs that replace another, and wait for its end.
    replacing: BTreeSet<IdempotencyKey>,
}

fn name_of(head: &IntentHead) -> CloseName {
    CloseName {
        billing_account_id: head.billing_account_id,
        mode: head.mode,
        target_id: head.target_id,
        asset: head.asset.clone(),
    }
}

/// The first record of each intent counts: what is there once more changes nothing.
fn asked(ground: &Ground) -> BTreeMap<CloseName, Asked> {
    let mut all: BTreeMap<CloseName, Asked> = BTreeMap::new();
    let contents = ground.log.contents();
    let partitions = 0..ground.log.manifest().partitions(Topic::Intents);
    let records = partitions.filter_map(|p| contents.get(&TopicPartition::new(Topic::Intents, p))).flatten();
    for stored in records {
        let value = stored.record.value.as_deref().unwrap_or_default();
        match ground.codec.decode::<IntentsEvent>(value) {
            Ok(IntentsEvent::PlaceIntent(place)) => {
                let asked = all.entry(name_of(&place.head)).or_default();
                if place.replaces.is_some() {
                    asked.replacing.insert(place.head.idempotency_key);
                }
                if asked.seen.insert((place.head.idempotency_key, place.head.revision))
                    && let Some((_, more)) = &mut asked.whole
                {
                    *more = true;
                }
            }
            Ok(IntentsEvent::CloseIntent(close)) => {
                let asked = all.entry(name_of(&close.head)).or_default();
                let is_new = asked.seen.insert((close.head.idempotency_key, close.head.revision));
                let whole = close.fraction_den <= 0 || close.fraction_num >= close.fraction_den;
                let voids = close.head.fill_id.as_str().starts_with("void:");
                if is_new && whole && !voids {
                    asked.whole = Some((close.head, false));
                }
            }
            _ => {}
        }
    }
    all
}

/// Whether shares are left for a reason that was told, or that nobody can help.
fn is_excused(
    ground: &Ground,
    asked: &Asked,
    close: Option<&Close>,
    due: Option<&Due>,
    rows: &[&Attempt],
) -> bool {
    // The shares left by another way, nobody can sell them, or the tenant keeps them.
    let told = [End::ExternalClose, End::MarketEnded, End::Dropped];
    let ended =
        close.into_iter().flat_map(|c| &c.dues).any(|d| d.ended.is_some_and(|end| told.contains(&end)));
    // Given up, and it landed after all: it is an alarm, and nobody's close.
    let late = ground.judge.late();
    let landed = rows.iter().any(|r| r.side == Side::Buy && r.order_id.is_some_and(|id| late.contains(&id)));
    // One that waited for the end of the one it replaces came after the close, for a fill that came after it.
    let later = |r: &Attempt| due.is_some_and(|due| r.created_at.plus(CLOCKS) > due.created_at);
    let replaced = rows.iter().any(|r| asked.replacing.contains(&r.idempotency_key) && later(r));
    ended || landed || replaced
}

/// Judges what is left of positions of which everything was to be sold.
pub fn judge(ground: &Ground, rows: &[Attempt]) -> Vec<Broken> {
    let closes: BTreeMap<CloseName, Close> =
        ground.ledger.closes().into_iter().map(|close| (close.name.clone(), close)).collect();
    let mut broken = Vec::new();
    for (name, asked) in asked(ground) {
        let Some((head, false)) = &asked.whole else { continue };
        let close = closes.get(&name);
        let due = close.and_then(|c| {
            c.dues.iter().find(|d| d.idempotency_key == head.idempotency_key && d.revision == head.revision)
        });
        let rows: Vec<&Attempt> = rows.iter().filter(|row| CloseName::of(row) == name).collect();
        if is_excused(ground, &asked, close, due, &rows) {
            continue;
        }
        let position =
            ground.ledger.position(name.billing_account_id, name.mode, name.target_id, &name.asset);
        let held = position.map_or(Shares::ZERO, |p| p.held);
        let owed: Shares = close.into_iter().flat_map(Close::open).map(Due::remaining).sum();
        // Each due may leave what is too little to be sold.
        let dues = close.map_or(0, |c| i64::try_from(c.dues.len()).unwrap_or(0)).max(1);
        let dust = Shares::from_micro(LEAST_SHARES.micro().saturating_mul(dues));
        if held > owed.saturating_add(dust) {
            let what = format!(
                "{} of {}: {held} held, {owed} due, after everything was to be sold by {}",
                name.asset,
                name.billing_account_id,
                super::short(head.idempotency_key),
            );
            broken.push(Broken { rule: "a position is left that was to be sold", what });
        }
    }
    broken
}
