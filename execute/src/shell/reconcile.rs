//! Asks the venue what became of each attempt until it is final and its trades are settled, and a while longer for those
//! that may still land (`behaviour.md` 6.4 to 6.6). The longest due come first, many at a time, and each that has no
//! news waits longer: a slow or failing order does not starve the others.

use std::time::Duration;

use futures_util::{StreamExt, stream::FuturesUnordered};
use runtime::Stop;
use schemas::{OrderId, OrderStatus, Shares};
use tokio::task::JoinSet;
use venue::{
    outcome::{CancelOutcome, OrderLookup},
    port::{Exchange, OwnTradesQuery},
    signing::ApiCreds,
    wire::{ClobOrderStatus, ClobTrade, OrderRow},
};

use super::{desk::Desk, provision};
use crate::{
    core::{
        Attempt, AttemptKey, Event,
        fills::Fills,
        follow::{cannot_land, may_send},
        transition::Seen,
    },
    store::StoreError,
};

/// Pages of trades that are read for one order, at most.
const PAGES: usize = 10;
/// How far the venue's clock may be from ours.
const CLOCKS_DIFFER: Duration = Duration::from_secs(60);
/// Orders with more trades than this are read by token instead of one by one.
const TRADES_BY_ID: usize = 6;

/// What the venue says of an order.
enum View {
    Known(Seen),
    Absent,
    NoAnswer,
}

/// Looks at what is due until asked to stop.
pub async fn run(desk: Desk, stop: Stop) {
    // Tasks of their own: a look may hold a row's lock and a connection, and must go on while this loop waits for one.
    let mut looking: JoinSet<(AttemptKey, Option<Attempt>)> = JoinSet::new();
    loop {
        let room = desk.stage.settings.looks.saturating_sub(looking.len());
        if room > 0 && !stop.is_requested() {
            match next_due(&desk, room).await {
                Ok(due) => {
                    for attempt in due {
                        let desk = desk.clone();
                        looking.spawn(async move {
                            let key = attempt.key();
                            (key, look(&desk, attempt).await)
                        });
                    }
                }
                Err(error) => tracing::warn!(%error, "what is due could not be read"),
            }
        }
        tokio::select! {
            biased;
            () = stop.requested() => return,
            Some(looked) = looking.join_next() => {
                let (key, again) = match looked {
                    Ok(looked) => looked,
                    // A look that panics is a bug, and must not pass in silence.
                    Err(died) => std::panic::resume_unwind(died.into_panic()),
                };
                // Out of the looker's hand and, where it is to be posted again, into the sender's.
                desk.hand.drop(key);
                if let Some(attempt) = again {
                    desk.send(attempt);
                }
            }
            () = desk.to_look.notified(), if room > 0 => {}
            () = desk.stage.clock.sleep(desk.stage.settings.tick) => {}
        }
    }
}

/// Attempts that are due and that nobody has in hand; they are in hand now.
async fn next_due(desk: &Desk, room: usize) -> Result<Vec<Attempt>, StoreError> {
    let now = desk.stage.clock.now();
    // What is in hand is due too: the room behind it must still be filled.
    let limit = room.saturating_add(desk.hand.len());
    let due = desk.stage.store.due(desk.lease.partition, now, limit).await?;
    Ok(due.into_iter().filter(|a| desk.hand.take(a.key())).take(room).collect())
}

/// Resolves what the previous owner left, before intents are taken (`behaviour.md` 6.5): each attempt is asked for
/// once. What the venue does not know is from now on unknown, and posted again where it still may be.
///
/// # Errors
/// The store's.
pub async fn recover(desk: &Desk) -> Result<usize, StoreError> {
    let (mut after, mut count) = (None, 0);
    loop {
        let limit = desk.stage.settings.looks;
        let left = desk.stage.store.unresolved(desk.lease.partition, after, limit).await?;
        let Some(last) = left.last() else { return Ok(count) };
        after = Some(last.key());
        count += left.len();
        let mut looking: FuturesUnordered<_> =
            left.into_iter().map(|attempt| recover_one(desk, attempt)).collect();
        while let Some(done) = looking.next().await {
            done?;
        }
    }
}

async fn recover_one(desk: &Desk, attempt: Attempt) -> Result<(), StoreError> {
    let view = match provision::keys_of(&desk.stage, &attempt).await {
        Some(keys) => view(desk, &attempt, keys.creds()).await,
        None => View::NoAnswer,
    };
    if let View::Known(seen) = view {
        desk.apply(attempt, &Event::Seen(seen)).await?;
        return Ok(());
    }
    // It may have been sent up to now: what proves the opposite counts from here.
    let attempt = desk.apply(attempt, &Event::Recovered).await?;
    if may_send(&attempt, desk.stage.clock.now()) {
        desk.send(attempt);
    }
    Ok(())
}

/// Looks at one attempt; gives it back where it is to be posted again.
async fn look(desk: &Desk, attempt: Attempt) -> Option<Attempt> {
    let keys = provision::keys_of(&desk.stage, &attempt).await;
    let Some((keys, exchange)) = keys.zip(desk.stage.venues.exchange(attempt.mode)) else {
        desk.stage.board.trouble("order_without_keys");
        desk.look_again(&attempt).await;
        return None;
    };
    let mut found = view(desk, &attempt, keys.creds()).await;
    if let View::Known(seen) = &found
        && attempt.cancel_asked_at.is_some()
        && seen.status_rests()
        && cancel(desk, &attempt, &**exchange, keys.creds()).await
    {
        found = view(desk, &attempt, keys.creds()).await;
    }
    let event = match found {
        View::Known(seen) => Event::Seen(seen),
        View::Absent => match absent(desk, &attempt) {
            Absent::Means(event) => event,
            Absent::PostAgain => {
                desk.look_again(&attempt).await;
                return Some(Attempt { asked: attempt.asked.saturating_add(1), ..attempt });
            }
            Absent::Nothing => {
                desk.look_again(&attempt).await;
                return None;
            }
        },
        View::NoAnswer => {
            desk.look_again(&attempt).await;
            return None;
        }
    };
    match desk.apply(attempt.clone(), &event).await {
        Ok(next) if next.revision == attempt.revision => desk.look_again(&attempt).await,
        Ok(_) => {}
        Err(error) => {
            tracing::warn!(order = ?attempt.order_id, %error, "what the venue said could not be recorded yet");
        }
    }
    None
}

/// What it means that the venue does not know an attempt.
enum Absent {
    Means(Event),
    PostAgain,
    Nothing,
}

fn absent(desk: &Desk, attempt: &Attempt) -> Absent {
    let now = desk.stage.clock.now();
    match attempt.status {
        // Swept up: nobody has it in hand, so nobody can say that it was not sent.
        OrderStatus::Reserved | OrderStatus::Submitted => Absent::Means(Event::Recovered),
        OrderStatus::Unknown if cannot_land(attempt, now) => Absent::Means(Event::DidNotLand),
        OrderStatus::Unknown if may_send(attempt, now) => Absent::PostAgain,
        OrderStatus::Open | OrderStatus::PartiallyFilled | OrderStatus::Matched => {
            tracing::warn!(order = ?attempt.order_id, "the venue does not know an order that it has taken");
            desk.stage.board.trouble("order_vanished");
            Absent::Nothing
        }
        _ => Absent::Nothing,
    }
}

/// Asks for the cancellation of an order that rests; whether its state may have changed by that.
async fn cancel(desk: &Desk, attempt: &Attempt, exchange: &dyn Exchange, creds: &ApiCreds) -> bool {
    let Some(id) = attempt.order_id else { return false };
    match exchange.cancel(id, creds, desk.stage.clock.now()).await {
        CancelOutcome::Cancelled => true,
        // "Already matched" is a fill, not a cancel: what it is, the order itself says.
        CancelOutcome::NotCancelled { cause, message } => {
            tracing::info!(order = %id, ?cause, %message, "an order was not cancelled");
            true
        }
        CancelOutcome::Unknown { why } => {
            tracing::warn!(order = %id, %why, "whether an order was cancelled is not known yet");
            true
        }
        CancelOutcome::RetryLater { why, .. } => {
            tracing::debug!(order = %id, %why, "cancelled later");
            false
        }
    }
}

async fn view(desk: &Desk, attempt: &Attempt, creds: &ApiCreds) -> View {
    let (Some(id), Some(exchange)) = (attempt.order_id, desk.stage.venues.exchange(attempt.mode)) else {
        return View::NoAnswer;
    };
    match exchange.order(id, creds, desk.stage.clock.now()).await {
        OrderLookup::Found(row) => known(desk, attempt, &**exchange, creds, &row).await,
        OrderLookup::NotFound => View::Absent,
        OrderLookup::Blank => blank(desk, attempt, &**exchange, creds, id).await,
        OrderLookup::Unknown { why } | OrderLookup::RetryLater { why, .. } => {
            tracing::debug!(order = %id, %why, "no answer about an order");
            View::NoAnswer
        }
    }
}

async fn known(
    desk: &Desk,
    attempt: &Attempt,
    exchange: &dyn Exchange,
    creds: &ApiCreds,
    row: &OrderRow,
) -> View {
    let matched = match row.sizes(attempt.shares) {
        Ok((_, matched)) => matched,
        Err(error) => {
            tracing::error!(order = %row.id, %error, "an order cannot be read");
            desk.stage.board.trouble("order_unreadable");
            return View::NoAnswer;
        }
    };
    let mut trades = Vec::new();
    if matched.is_positive() || row.status == ClobOrderStatus::Matched {
        // Half a list of trades would look like fills that went away: all of them, or no answer.
        match trades_of(desk, attempt, exchange, creds, &row.associate_trades).await {
            Some(list) => trades = list,
            None => return View::NoAnswer,
        }
    }
    summed(desk, attempt, row.status.clone(), matched, &trades)
}

/// Old answers are empty for orders that do not exist and for filled ones alike: its trades tell.
async fn blank(
    desk: &Desk,
    attempt: &Attempt,
    exchange: &dyn Exchange,
    creds: &ApiCreds,
    id: OrderId,
) -> View {
    match trades_of(desk, attempt, exchange, creds, &[]).await {
        Some(trades) if trades.iter().any(|t| t.part_of(id).is_some()) => {
            summed(desk, attempt, ClobOrderStatus::Matched, Shares::ZERO, &trades)
        }
        Some(_) => View::Absent,
        None => View::NoAnswer,
    }
}

fn summed(
    desk: &Desk,
    attempt: &Attempt,
    status: ClobOrderStatus,
    matched: Shares,
    trades: &[ClobTrade],
) -> View {
    match Fills::of(attempt, matched, trades) {
        Ok(fills) => View::Known(Seen { status, matched, fills }),
        Err(error) => {
            tracing::error!(order = ?attempt.order_id, %error, "the trades of an order cannot be read");
            desk.stage.board.trouble("order_unreadable");
            View::NoAnswer
        }
    }
}

/// The trades of an order; `None` where they could not all be read.
async fn trades_of(
    desk: &Desk,
    attempt: &Attempt,
    exchange: &dyn Exchange,
    creds: &ApiCreds,
    ids: &[String],
) -> Option<Vec<ClobTrade>> {
    let queries: Vec<OwnTradesQuery> = if ids.is_empty() || ids.len() > TRADES_BY_ID {
        // The venue's clock is not ours: a minute earlier, to be sure.
        vec![OwnTradesQuery {
            asset: Some(attempt.asset.clone()),
            condition: Some(attempt.condition_id),
            after: Some(attempt.created_at.minus(CLOCKS_DIFFER)),
            ..OwnTradesQuery::default()
        }]
    } else {
        ids.iter().map(|id| OwnTradesQuery { id: Some(id.clone()), ..OwnTradesQuery::default() }).collect()
    };
    let mut trades = Vec::new();
    for mut query in queries {
        for page in 0.. {
            let listing = match exchange.own_trades(&query, creds, desk.stage.clock.now()).await {
                Ok(listing) => listing,
                Err(error) => {
                    tracing::debug!(order = ?attempt.order_id, %error, "no trades of an order");
                    return None;
                }
            };
            let next = listing.next().map(str::to_owned);
            trades.extend(listing.data);
            match next {
                Some(cursor) if page < PAGES => query.cursor = Some(cursor),
                // More than that are other orders' trades: what this one's are is not known.
                Some(_) => return None,
                None => break,
            }
        }
    }
    Some(trades)
}
