//! In the end ledger, venue, log and tables say the same, and nothing waits any more.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use decide::cut::INPUTS;
use eventlog::{Log, Offset, TopicPartition};
use execute::core::{
    Attempt,
    close::{Close, Note},
};
use project::{core::ledger::Attempts, store::Store as _};
use schemas::{
    AssetId, BillingAccountId, Hash32, OrderId, OrderStatus, OrderType, Shares, Side, TargetId, Usdc,
    events::{DeadLettersEvent, IntentsEvent, OrderState, OrdersEvent},
    keccak256,
    topics::Topic,
};
use simulator::OrderView;
use venue::port::MarketData;

use super::{
    Broken, decisions,
    exposure::{Part, is_open, parts},
};
use crate::{plan::Plan, ports::at_once, stage::Ground, time::START};

fn is_read(ground: &Ground, at: TopicPartition, next: Offset) -> bool {
    at_once(ground.log.read(at, next, 1)).is_ok_and(|rest| rest.is_empty())
}

/// An exit that rests at its floor, hour after hour, until somebody bids that much: it waits for as long as it takes, or
/// until its market ends.
fn rests_at_floor(row: &Attempt, orders: &[OrderView]) -> bool {
    row.side == Side::Sell
        && orders.iter().any(|o| Some(o.id) == row.order_id && is_open(o))
        && row.order_type == Some(OrderType::Gtd)
        && matches!(row.status, OrderStatus::Open | OrderStatus::PartiallyFilled)
        && matches!(row.note, Some(Note::ExitFloor))
}

/// What has not come to its end yet; nothing, once everything has.
pub fn unfinished(ground: &Ground) -> Vec<String> {
    let mut left = Vec::new();
    let manifest = ground.log.manifest();
    let (orders, trades) = (ground.venue.orders(), ground.venue.trades());
    for attempt in ground.ledger.attempts() {
        if !rests_at_floor(&attempt, &orders) && (!attempt.is_final || !attempt.is_settled()) {
            left.push(format!(
                "order {:?} of {}#{} is {}, filled {}, confirmed {}",
                attempt.order_id,
                super::short(attempt.idempotency_key),
                attempt.attempt,
                attempt.status,
                attempt.filled_shares,
                attempt.confirmed_shares
            ));
        }
    }
    let parts = parts(&orders, &trades);
    for row in ground.ledger.attempts() {
        let Some(order) = orders.iter().find(|o| Some(o.id) == row.order_id) else { continue };
        let filled = parts.get(&order.id).map_or(Shares::ZERO, |p| p.shares);
        // One that landed after it was given up is found by and by.
        let open = is_open(order) && !rests_at_floor(&row, &orders);
        if open || filled != row.filled_shares {
            let what = (&order.status, filled, row.status, row.filled_shares);
            left.push(format!("order {} is {what:?} at the venue and in the ledger", order.id));
        }
    }
    left.extend(due_of_ended(ground));
    let (untold, waiting) = ground.ledger.waiting();
    if untold + waiting > 0 {
        left.push(format!("{untold} order events are not told, {waiting} intents wait"));
    }
    for partition in 0..manifest.partitions(Topic::Fills) {
        let at = INPUTS.map(|topic| TopicPartition::new(topic, partition));
        let committed = at_once(ground.log.committed(decide::shell::GROUP, &at)).unwrap_or_default();
        for at in at {
            if !is_read(ground, at, committed.get(&at).copied().unwrap_or(Offset::ZERO)) {
                left.push(format!("decide has not read {at} to its end"));
            }
        }
    }
    for partition in 0..manifest.partitions(Topic::Intents) {
        let next = ground.ledger.stored_offset(partition).map_or(Offset::ZERO, |s| s.next);
        if !is_read(ground, TopicPartition::new(Topic::Intents, partition), next) {
            left.push(format!("execute has not read intents-{partition} to its end"));
        }
    }
    let read: BTreeSet<TopicPartition> = project::shell::TOPICS
        .into_iter()
        .flat_map(|topic| (0..manifest.partitions(topic)).map(move |p| TopicPartition::new(topic, p)))
        .collect();
    let progress = at_once(ground.tables.progress(&read)).unwrap_or_default();
    for at in read {
        if !is_read(ground, at, progress.get(&at).map_or(Offset::ZERO, |p| p.next)) {
            left.push(format!("project has not read {at} to its end"));
        }
    }
    left
}

/// A close that looks for itself, though not soon: what gathers, every half hour. No story is told for that long.
pub(super) fn looks_later(ground: &Ground, close: &Close) -> bool {
    let soon = START.plus(ground.agenda.elapsed()).plus(Duration::from_secs(600));
    close.next_look_at.is_some_and(|at| at > soon)
}

/// What is due of markets that are resolved: somebody has to find out.
fn due_of_ended(ground: &Ground) -> Vec<String> {
    let now = START.plus(ground.agenda.elapsed());
    let local = ground.venue.local();
    let closes = ground.ledger.closes();
    let open = closes.iter().filter(|close| close.open().next().is_some() && !looks_later(ground, close));
    open.filter(|close| {
        let row = at_once(local.resolution(close.condition_id, now)).ok().flatten();
        row.is_some_and(|row| !row.payouts.is_empty())
    })
    .flat_map(|close| {
        close.open().map(|due| {
            let key = super::short(due.idempotency_key);
            format!("{} of {key} are due of {}, which is resolved", due.remaining(), due.asset)
        })
    })
    .collect()
}

/// Judges where everything stands in the end.
pub fn judge(plan: &Plan, ground: &Ground) -> Vec<Broken> {
    let mut broken = Vec::new();
    let rows = ground.ledger.attempts();
    let (orders, trades) = (ground.venue.orders(), ground.venue.trades());
    let parts = parts(&orders, &trades);
    let by_id: BTreeMap<OrderId, &OrderView> = orders.iter().map(|o| (o.id, o)).collect();
    for order in &orders {
        if !rows.iter().any(|r| r.order_id == Some(order.id)) {
            broken.push(breaks("the venue has what the ledger does not know", order.id.to_string()));
        }
    }
    for row in &rows {
        let rests = rests_at_floor(row, &orders);
        let order = |id| by_id.get(&id).copied();
        broken.extend(row.order_id.and_then(|id| stands(row, rests, order(id), parts.get(&id))));
    }
    broken.extend(budgets(&rows, &parts));
    broken.extend(super::denials::judge(plan, &rows));
    broken.extend(positions(ground, &rows, &parts));
    broken.extend(super::closed::judge(ground, &rows));
    broken.extend(told(ground, &rows));
    broken.extend(tables(ground, &rows));
    broken.extend(super::outcomes::judge(plan, ground, &rows));
    broken
}

const fn breaks(rule: &'static str, what: String) -> Broken {
    Broken { rule, what }
}

/// A row against the venue's order.
fn stands(row: &Attempt, rests: bool, order: Option<&OrderView>, part: Option<&Part>) -> Option<Broken> {
    let differs = |what: &str| {
        let text = format!(
            "{what}: order {:?} is {} with {} filled ({:?}); the venue: {:?}, {:?}",
            row.order_id, row.status, row.filled_shares, row.reason, order, part
        );
        Some(breaks("ledger and venue differ in the end", text))
    };
    let Some(order) = order else {
        let nothing =
            matches!(row.status, OrderStatus::Rejected | OrderStatus::Expired | OrderStatus::Cancelled);
        return if nothing && row.filled_shares == Shares::ZERO { None } else { differs("not there") };
    };
    let part = part.copied().unwrap_or_default();
    if is_open(order) && !rests {
        return differs("still open");
    }
    if row.filled_shares != part.shares {
        return differs("filled");
    }
    // A FAK's dollars may buy more shares than it asked for, and its rest be killed all the same.
    let full = part.shares.saturating_add(execute::core::close::LEAST_SHARES) > row.shares;
    match row.status {
        OrderStatus::Filled if !full => differs("not full"),
        OrderStatus::Denied => differs("denied"),
        OrderStatus::Rejected | OrderStatus::Expired
            if part.shares.is_positive() && order.status == "MATCHED" =>
        {
            differs("given up")
        }
        _ => None,
    }
}

/// 4: in the end the budget is what the venue took.
fn budgets(rows: &[Attempt], parts: &BTreeMap<OrderId, Part>) -> Vec<Broken> {
    let mut sums: BTreeMap<BillingAccountId, (i64, i64, i64)> = BTreeMap::new();
    for row in rows.iter().filter(|r| r.side == Side::Buy) {
        let part = row.order_id.and_then(|id| parts.get(&id)).copied().unwrap_or_default();
        let sum = sums.entry(row.billing_account_id).or_default();
        sum.0 += row.counted().micro();
        sum.1 += part.usdc.saturating_add(part.fees).micro();
        // A trade here is the average of what it took from several levels: its price has six digits, and a fee is a
        // little more on the average than on the levels one by one.
        let shares = part.shares.micro() / 1_000_000 + 1;
        sum.2 += 10 + shares + shares * row.fee_rate / 2_500;
    }
    sums.into_iter()
        .filter(|(_, (counted, truth, slack))| (counted - truth).abs() > *slack)
        .map(|(account, (counted, truth, _))| {
            let (counted, truth) = (Usdc::from_micro(counted), Usdc::from_micro(truth));
            breaks("the budget is not what the venue took", format!("{account}: {counted}, and {truth}"))
        })
        .collect()
}

fn positions(ground: &Ground, rows: &[Attempt], parts: &BTreeMap<OrderId, Part>) -> Vec<Broken> {
    let mut held: BTreeMap<(BillingAccountId, TargetId, AssetId), i64> = BTreeMap::new();
    for row in rows {
        let part = row.order_id.and_then(|id| parts.get(&id)).copied().unwrap_or_default();
        let sign = if row.side == Side::Buy { 1 } else { -1 };
        let name = (row.billing_account_id, row.target_id, row.asset.clone());
        *held.entry(name).or_default() += sign * part.shares.micro();
    }
    held.into_iter()
        .filter_map(|((account, target, asset), truth)| {
            let position = ground.ledger.position(account, schemas::Mode::Simulated, target, &asset);
            let ledger = position.map_or(0, |p| p.held.micro());
            (ledger != truth).then(|| {
                let (ledger, truth) = (Shares::from_micro(ledger), Shares::from_micro(truth));
                breaks("a position is not what the venue holds", format!("{asset}: {ledger}, and {truth}"))
            })
        })
        .collect()
}

/// The log has every revision of every attempt in order, its last as the ledger has it; every intent came to
/// something, or is a due that gathers until it is worth an order; and nothing lies in `dead-letters`.
fn told(ground: &Ground, rows: &[Attempt]) -> Vec<Broken> {
    let mut broken = Vec::new();
    let dues: BTreeSet<_> = ground
        .ledger
        .closes()
        .into_iter()
        .flat_map(|close| close.dues)
        .filter(|due| due.ended.is_none())
        .map(|due| (due.billing_account_id, due.idempotency_key))
        .collect();
    let mut last: BTreeMap<_, OrderState> = BTreeMap::new();
    for (at, records) in ground.log.contents() {
        for stored in records {
            let value = stored.record.value.as_deref().unwrap_or_default();
            match at.topic {
                Topic::Orders => {
                    let Ok(OrdersEvent::OrderState(state)) = ground.codec.decode(value) else { continue };
                    let key = (state.billing_account_id, state.idempotency_key, state.attempt);
                    let highest = last.get(&key).map_or(0, |s| s.revision);
                    if state.revision > highest + 1 {
                        let what = format!("{key:?}: {} after {highest}", state.revision);
                        broken.push(breaks("an order event is missing", what));
                    }
                    if state.revision > highest {
                        last.insert(key, state);
                    }
                }
                Topic::Intents => {
                    let Ok(intent) = ground.codec.decode::<IntentsEvent>(value) else { continue };
                    let head = match &intent {
                        IntentsEvent::PlaceIntent(i) => &i.head,
                        IntentsEvent::CloseIntent(i) => &i.head,
                        IntentsEvent::CancelIntent(_) | IntentsEvent::MigrateIntent(_) => continue,
                    };
                    let name = (head.billing_account_id, head.idempotency_key);
                    let came = dues.contains(&name)
                        || rows.iter().any(|r| (r.billing_account_id, r.idempotency_key) == name);
                    if !came {
                        let what = format!("{} of {}", head.idempotency_key, head.billing_account_id);
                        broken.push(breaks("an intent came to nothing", what));
                    }
                }
                Topic::DeadLetters => {
                    if let Ok(DeadLettersEvent::DeadLetter(letter)) = ground.codec.decode(value) {
                        broken.push(breaks("a record went to dead-letters", letter.reason));
                    }
                }
                _ => {}
            }
        }
    }
    for row in rows {
        let key = (row.billing_account_id, row.idempotency_key, row.attempt);
        if last.get(&key) != Some(&row.to_event()) {
            broken.push(breaks("the log's last order event is not the ledger's", format!("{key:?}")));
        }
    }
    if last.len() != rows.len() {
        broken.push(breaks("the log has orders that the ledger has not", format!("{}", last.len())));
    }
    broken
}

/// 6: the tables are what the log says.
fn tables(ground: &Ground, rows: &[Attempt]) -> Vec<Broken> {
    let mut broken = Vec::new();
    let mut copies: BTreeMap<_, Attempts> = BTreeMap::new();
    for row in rows {
        let copy = (row.billing_account_id, row.idempotency_key);
        copies.entry(copy).or_default().take(row.to_event());
    }
    let shown = ground.tables.rows();
    for (copy, attempts) in &copies {
        if shown.get(copy).map(|r| &r.ledger) != attempts.row().as_ref() {
            broken.push(breaks("a table's row is not the ledger's", format!("{copy:?}")));
        }
    }
    if shown.len() != copies.len() {
        let what = format!("{} rows for {} copies", shown.len(), copies.len());
        broken.push(breaks("a table's row is not the ledger's", what));
    }
    let name = |d: &schemas::events::Decision| (d.billing_account_id, d.idempotency_key, d.revision);
    let mut accepted = decisions::accepted(ground);
    accepted.sort_by_key(name);
    if ground.tables.decisions() != accepted {
        broken.push(breaks("the table's decisions are not the chain's", format!("{}", accepted.len())));
    }
    broken
}

/// A hash of all that there is in the end: log, ledger, tables, venue.
pub fn digest(ground: &Ground) -> Hash32 {
    let log = format!("{:?}", ground.log.contents());
    let ledger: Vec<_> = ground.ledger.attempts();
    let bodies: Vec<_> = ledger.iter().filter_map(|a| a.body.as_ref()).map(|b| &b.0).collect();
    let ledger = format!("{ledger:?} {bodies:?}");
    let tables = format!("{:?} {:?}", ground.tables.rows(), ground.tables.decisions());
    let venue = format!("{:?} {:?}", ground.venue.orders(), ground.venue.trades());
    keccak256(&[log.as_bytes(), ledger.as_bytes(), tables.as_bytes(), venue.as_bytes()])
}
