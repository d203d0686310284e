//! BUYs at the gate, and what they replace.
//!
//! One that replaces an order that is alive asks for its cancellation and waits for its end (`behaviour.md` 6.6): no row of it
//! is written meanwhile. What replaces one that waits itself waits for the same order, and takes the place of what it passes
//! over.

use schemas::{
    Denial, IdempotencyKey, OrderStatus, Side,
    events::{IntentHead, PlaceIntent},
};

use super::{
    Authorised, Snapshot,
    authorise::{Asked, Replaced, authorise},
    gate::{Line, NotLoaded, Sign, Step, Wait, ask_cancel, ended, insert, is_taken, last_of},
};

/// What the gate writes for a BUY.
///
/// # Errors
/// The tenant's key has to be loaded first.
pub(super) fn gate_place(
    snapshot: &mut Snapshot,
    intent: &PlaceIntent,
    partition: i32,
    keys: &dyn Sign,
) -> Result<Vec<Step>, NotLoaded> {
    let head = &intent.head;
    // A BUY has attempt 0 only: whoever was first has it, under whichever of the two keys.
    if is_taken(snapshot, head) || last_of(snapshot, head.idempotency_key).is_some() {
        return Ok(vec![Step::Nothing("it was placed or denied before")]);
    }
    if intent.replaces.is_some() && is_overtaken(snapshot, head) {
        return Ok(vec![superseded(snapshot, intent, partition)]);
    }
    // What is replaced while it waits ends with the one that replaces it: that waits for the same order.
    let next = snapshot.waiting.values().find(|next| next.replaces == Some(head.idempotency_key));
    if let Some(next) = next {
        return Ok(vec![Step::Defer(Wait::Intent(next.head.idempotency_key))]);
    }
    let passed_over = waiting_before(snapshot, intent.replaces);
    let placed = passed_over.last().map_or(intent.replaces, |first| first.replaces);
    let mut replaced = Replaced::default();
    let old = placed.and_then(|key| last_of(snapshot, key)).cloned();
    if let Some(old) = &old {
        replaced = Replaced { shares: old.filled_shares, usdc: old.filled_usdc };
        if !old.is_final && may_become(&authorise(snapshot, Asked::Place(intent, replaced))) {
            // An intent that will be denied anyway must not cancel what it would replace.
            snapshot.waiting.insert(head.idempotency_key, intent.clone());
            let wait = Step::Defer(Wait::Order(old.key()));
            let ask = ask_cancel(snapshot, old, "replaced");
            return Ok(ask.into_iter().chain([wait]).collect());
        }
    }
    let asked = Asked::Place(intent, replaced);
    let side = Side::Buy;
    let facts = &intent.facts;
    let send_until = intent.send_until;
    let terms = Line {
        head,
        asset: &head.asset,
        side,
        facts: Some(facts),
        attempt: 0,
        partition,
        send_until,
        note: None,
        book: intent.book.as_ref(),
    };
    let shown = (intent.limit, intent.shares);
    let mut steps = vec![insert(snapshot, asked, &terms, facts, shown, keys)?];
    if old.is_none_or(|old| old.is_final) {
        steps.extend(passed_over.iter().map(|waiting| superseded(snapshot, waiting, partition)));
    }
    Ok(steps)
}

/// The BUYs that wait for the one they replace and that this one replaces in turn, the newest first.
pub(super) fn waiting_before(snapshot: &Snapshot, replaces: Option<IdempotencyKey>) -> Vec<PlaceIntent> {
    let before = |key: Option<IdempotencyKey>| key.and_then(|key| snapshot.waiting.get(&key));
    // A key names an earlier one, so that this ends; were it not so, nobody would be waited for twice.
    std::iter::successors(before(replaces), |waiting| before(waiting.replaces))
        .take(snapshot.waiting.len())
        .cloned()
        .collect()
}

/// A BUY that is not placed, since what came after it takes its place.
pub(super) fn superseded(snapshot: &mut Snapshot, intent: &PlaceIntent, partition: i32) -> Step {
    let line = Line {
        head: &intent.head,
        asset: &intent.head.asset,
        side: Side::Buy,
        facts: Some(&intent.facts),
        attempt: 0,
        partition,
        send_until: intent.send_until,
        note: None,
        book: None,
    };
    let why = Denial::Superseded.as_str().to_owned();
    let row = ended(snapshot, &line, (intent.limit, intent.shares), OrderStatus::Denied, why);
    snapshot.admit(&row);
    Step::Insert(Box::new(row))
}

/// Whether a close of later took the position's BUYs along, while this one waited for the one it replaces.
fn is_overtaken(snapshot: &Snapshot, head: &IntentHead) -> bool {
    let close = snapshot.closes.get(&(head.target_id, snapshot.current(head.target_id, &head.asset)));
    close.and_then(|c| c.took_buys_at).is_some_and(|at| at >= head.filled_at)
}

/// Whether a denial may pass once the replaced order has given its part back.
fn may_become(authorised: &Result<Authorised, Denial>) -> bool {
    match authorised {
        Ok(_) => true,
        Err(denial) => matches!(
            denial,
            Denial::Superseded
                | Denial::InsufficientBalance
                | Denial::CapExceededPerOrder
                | Denial::CapExceededDaily
                | Denial::CapExceededMarket
                | Denial::CapExceededPosition
        ),
    }
}
