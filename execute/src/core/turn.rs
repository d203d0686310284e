//! What the gate writes for a close: its dues, its next attempt, and how they end. [`super::close`] decides; here it is
//! authorised, signed, and put into rows.

use schemas::{
    AssetId, Denial, OrderStatus, Price, Shares, Side, TargetId,
    events::{CancelIntent, CloseIntent, IntentHead, MarketFacts, MigrateIntent},
};

use super::{
    Attempt, Snapshot,
    attempt::NEVER_TOO_OLD,
    authorise::{Asked, authorise},
    close::{
        Close, CloseName, Due, End, Note, STEP,
        due::{self, Admitted, Bought, Buys},
        plan::{Market, Next, Plan, Sale, View, plan, traded},
    },
    gate::{
        Line, NotLoaded, Sign, Step, ask_cancel, build_or_reject, close_of, ended, is_taken, last_of,
        look_for_keys,
    },
};

/// A close intent: so much of the position is due from now on, and what can go goes at once.
///
/// # Errors
/// The tenant's key has to be loaded first.
pub fn gate_close(
    snapshot: &mut Snapshot,
    intent: &CloseIntent,
    partition: i32,
    keys: &dyn Sign,
) -> Result<Vec<Step>, NotLoaded> {
    let head = &intent.head;
    if is_taken(snapshot, head) {
        return Ok(vec![Step::Nothing("it is due, or was denied, before")]);
    }
    let position = (head.target_id, snapshot.current(head.target_id, &head.asset));
    let name = CloseName { asset: position.1.clone(), ..close_of(head) };
    let condition = snapshot.condition_of(&position).unwrap_or(head.condition_id);
    let known = snapshot.closes.get(&position).cloned();
    let mut close = known.unwrap_or_else(|| Close::new(name, condition, partition, snapshot.now));
    close.belongs_to(condition);
    let intent = &about(intent, &close);
    let head = &intent.head;
    let (held, buys) = (snapshot.held(position.0, &position.1), buys(snapshot, &position));
    let cancels = match due::admit(&mut close, intent, held, &buys, snapshot.now) {
        Admitted::Due(cancels) => cancels,
        Admitted::NoPosition => {
            let why = Denial::SellWithoutPosition.as_str().to_owned();
            let line = line(snapshot, head, partition, None);
            let row = ended(snapshot, &line, NOTHING, OrderStatus::Denied, why);
            snapshot.admit(&row);
            snapshot.closes.insert(position, close);
            return Ok(vec![Step::Insert(Box::new(row))]);
        }
    };
    let mut steps = Vec::new();
    if let Some(due) = close.dues.last() {
        snapshot.known_dues.push((due.key(), due.natural_key.clone()));
        steps.push(Step::Owe(due.shares));
    }
    for key in cancels {
        if let Some(buy) = last_of(snapshot, key).cloned() {
            steps.extend(ask_cancel(snapshot, &buy, "closed"));
        }
    }
    snapshot.closes.insert(position.clone(), close);
    steps.extend(turn(snapshot, &position, &Market::default(), partition, keys)?);
    Ok(steps)
}

/// A close intent of a position in its own condition. Facts of another market say nothing of it: its own are read as if none
/// had come.
fn about(intent: &CloseIntent, close: &Close) -> CloseIntent {
    let mut intent = intent.clone();
    intent.head.condition_id = close.condition_id;
    let of_it =
        |facts: &MarketFacts| facts.condition_id == close.condition_id || traded(close, facts).is_some();
    intent.facts = intent.facts.filter(of_it);
    intent
}

/// A cancel that names a close: what is due of it and not sold is dropped. `None` where it names none.
///
/// # Errors
/// The tenant's key has to be loaded first.
pub fn drop_dues(
    snapshot: &mut Snapshot,
    intent: &CancelIntent,
    partition: i32,
    keys: &dyn Sign,
) -> Result<Option<Vec<Step>>, NotLoaded> {
    let target = intent.head.target_id;
    let position = (target, snapshot.current(target, &intent.head.asset));
    let Some(close) = snapshot.closes.get_mut(&position) else { return Ok(None) };
    if !due::drop_dues(close, intent.cancels, &intent.cause) {
        return Ok(None);
    }
    let mut steps = turn(snapshot, &position, &Market::default(), partition, keys)?;
    if steps.is_empty() {
        steps.push(Step::Nothing("what is due is dropped once the attempt that sells it has ended"));
    }
    Ok(Some(steps))
}

/// A token goes on under another id. The store has carried everything there before it read the snapshot: what is due is
/// looked at under the new id, and what rests at the venue at the terms of the former one is taken off.
///
/// # Errors
/// The tenant's key has to be loaded first.
pub fn gate_migrate(
    snapshot: &mut Snapshot,
    intent: &MigrateIntent,
    partition: i32,
    keys: &dyn Sign,
) -> Result<Vec<Step>, NotLoaded> {
    let target = intent.head.target_id;
    let position = (target, snapshot.current(target, &intent.becomes));
    let mut steps = turn(snapshot, &position, &Market::default(), partition, keys)?;
    if steps.is_empty() {
        steps.push(Step::Nothing("what is held goes on under its new id"));
    }
    Ok(steps)
}

/// A close's turn: what has ended is told, and the next attempt is made if it is time for it.
///
/// # Errors
/// The tenant's key has to be loaded first; nothing was taken in.
pub fn turn(
    snapshot: &mut Snapshot,
    position: &(TargetId, AssetId),
    market: &Market,
    partition: i32,
    keys: &dyn Sign,
) -> Result<Vec<Step>, NotLoaded> {
    let Some(mut close) = snapshot.closes.get(position).cloned() else { return Ok(Vec::new()) };
    let unread = Market::default();
    let is_another = snapshot.condition_of(position).is_some_and(|condition| close.belongs_to(condition));
    let market = if is_another { &unread } else { market };
    let buys = buys(snapshot, position);
    let sales = || snapshot.of_position(position.0, &position.1, Side::Sell);
    let selling: Vec<&Attempt> = sales().filter(|a| !a.is_final).collect();
    let view = View {
        now: snapshot.now,
        held: snapshot.held(position.0, &position.1),
        unconfirmed: snapshot.unconfirmed.get(position).copied().unwrap_or(Shares::ZERO),
        buys: &buys,
        selling: &selling,
        at_floor: sales().filter(|a| a.note == Some(Note::ExitFloor)).map(|a| a.created_at).max(),
        market,
    };
    let Plan { mut close, ended, next } = plan(close, &view);
    let alive = selling.first().map(|a| (*a).clone());
    let mut steps = Vec::new();
    for due in &ended {
        steps.extend(tell_end(snapshot, due, partition));
    }
    match (next, alive) {
        (Next::Wait, _) | (Next::Cancel(_), None) => {}
        (Next::Cancel(cause), Some(alive)) => steps.extend(ask_cancel(snapshot, &alive, cause)),
        (Next::Sell(sale), _) => {
            look_for_keys(snapshot, keys)?;
            close = attempt(snapshot, close, *sale, partition, keys, &mut steps)?;
        }
    }
    snapshot.closes.insert(position.clone(), close);
    Ok(steps)
}

/// The close after its next attempt was made, or denied.
fn attempt(
    snapshot: &mut Snapshot,
    close: Close,
    sale: Sale,
    partition: i32,
    keys: &dyn Sign,
    steps: &mut Vec<Step>,
) -> Result<Close, NotLoaded> {
    let note = sale.at_floor.then_some(Note::ExitFloor);
    let (asset, facts, book) = (&sale.asset, Some(&sale.facts), sale.book.as_ref());
    let line = Line { asset, facts, book, ..line(snapshot, &sale.head, partition, note) };
    let shown = (sale.limit, sale.shares);
    let retry = snapshot.now.plus(STEP);
    let (row, next) = match authorise(snapshot, Asked::Sell(&sale)) {
        Ok(authorised) => {
            let row = build_or_reject(snapshot, &line, &sale.facts, &authorised, shown, keys)?;
            // One that cannot be built has ended, and nobody else says so.
            let next_look_at = if row.is_final { sale.made.not_before } else { sale.made.next_look_at };
            (Some(row), Close { next_look_at, ..*sale.made })
        }
        Err(denial) => {
            // Told once for each reason; asked again and again.
            let is_news = close.denied != Some(denial);
            let why = denial.as_str().to_owned();
            let row = is_news.then(|| ended(snapshot, &line, shown, OrderStatus::Denied, why));
            let next =
                Close { denied: Some(denial), not_before: Some(retry), next_look_at: Some(retry), ..close };
            (row, next)
        }
    };
    if let Some(row) = row {
        snapshot.admit(&row);
        steps.push(Step::Insert(Box::new(row)));
    }
    Ok(next)
}

/// Nothing was asked for, at no price.
const NOTHING: (Price, Shares) = (Price::ZERO, Shares::ZERO);

/// The row that tells how a due ended; none where its own attempts told that it is sold.
fn tell_end(snapshot: &mut Snapshot, due: &Due, partition: i32) -> Option<Step> {
    let (status, reason, note) = match due.ended? {
        End::Filled if due.sold_by_itself() => return None,
        End::Filled => {
            let seller = due.sold.last().map(|s| Note::SoldBy(s.key));
            (OrderStatus::Filled, "sold_by_another_close".to_owned(), seller)
        }
        End::Dust => (OrderStatus::Denied, Denial::Dust.as_str().to_owned(), None),
        End::Dropped => (OrderStatus::Cancelled, due.drop_cause.clone().unwrap_or_default(), None),
        end @ (End::ExternalClose | End::MarketEnded) => {
            (OrderStatus::Cancelled, end.as_str().to_owned(), None)
        }
    };
    let shares = if due.ended == Some(End::Filled) { due.shares } else { due.remaining() };
    let line = line(snapshot, &due.intent.head, partition, note);
    let row = ended(snapshot, &line, (Price::ZERO, shares), status, reason);
    snapshot.admit(&row);
    Some(Step::Insert(Box::new(row)))
}

/// The next attempt of a close's key.
fn line<'h>(snapshot: &Snapshot, head: &'h IntentHead, partition: i32, note: Option<Note>) -> Line<'h> {
    let last = last_of(snapshot, head.idempotency_key);
    let attempt = last.map_or(0, |last| last.attempt.saturating_add(1));
    let (asset, side, send_until) = (&head.asset, Side::Sell, NEVER_TOO_OLD);
    Line { head, asset, side, facts: None, attempt, partition, send_until, note, book: None }
}

/// The BUYs of a position that are alive, or that the batch names.
fn buys(snapshot: &Snapshot, position: &(TargetId, AssetId)) -> Buys {
    let all = snapshot.of_position(position.0, &position.1, Side::Buy);
    all.map(|a| (a.idempotency_key, Bought { filled: a.filled_shares, is_final: a.is_final })).collect()
}
