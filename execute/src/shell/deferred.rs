//! Intents that wait are asked again: when an order ends, and now and then. What a close lacks of market data is
//! fetched here, for the gate touches nothing but the database.

use runtime::Stop;
use schemas::{
    Price,
    events::{CloseIntent, IntentsEvent, MarketFacts},
};
use venue::{
    facts::{book_snapshot, market_facts},
    wire::Rows,
};

use super::{Stage, desk::Desk, intake, provision};
use crate::store::{Batch, Item, Source, StoreError};

/// Intents asked again at once.
const AT_ONCE: usize = 64;

/// Asks again until asked to stop, or until the partition has another owner.
pub async fn run(desk: Desk, stop: Stop) {
    while !stop.is_requested() && !desk.lease.is_lost() {
        if let Err(error) = ask_again(&desk).await {
            tracing::warn!(%error, "intents that wait could not be gated yet");
        }
        tokio::select! {
            biased;
            () = stop.requested() => return,
            () = desk.to_defer.notified() => {}
            () = desk.stage.clock.sleep(desk.stage.settings.relay) => {}
        }
    }
}

async fn ask_again(desk: &Desk) -> Result<(), StoreError> {
    let stage = &desk.stage;
    let (partition, epoch) = (desk.lease.partition, desk.lease.epoch);
    let mut items = Vec::new();
    for waiting in stage.store.deferred(partition, stage.clock.now(), AT_ONCE).await? {
        let mut intent = match stage.codec.decode::<IntentsEvent>(&waiting.value) {
            Ok(intent) => intent,
            Err(error) => return Err(StoreError::Unreadable(error.to_string())),
        };
        if let IntentsEvent::CloseIntent(close) = &mut intent {
            complete(stage, close).await;
        }
        items.push(Item { intent, value: waiting.value });
    }
    if items.is_empty() {
        return Ok(());
    }
    let batch = || Batch {
        partition,
        epoch,
        source: Source::Deferred,
        items: &items,
        now: stage.clock.now(),
        served: stage.venues.modes(),
    };
    let gated = match stage.store.gate(batch(), &stage.keyring).await {
        Err(StoreError::NotLoaded) => {
            let intents: Vec<&IntentsEvent> = items.iter().map(|i| &i.intent).collect();
            provision::prepare(stage, &intents).await?;
            stage.store.gate(batch(), &stage.keyring).await?
        }
        gated => gated?,
    };
    intake::hand_over(desk, gated);
    Ok(())
}

/// Fetches what a close lacks. What cannot be had stays absent, and the close goes on waiting.
async fn complete(stage: &Stage, close: &mut CloseIntent) {
    if close.facts.is_none() {
        close.facts = facts(stage, close).await;
    }
    if close.sale_price.is_none() {
        close.sale_price = best_bid(stage, close).await;
    }
}

async fn facts(stage: &Stage, close: &CloseIntent) -> Option<MarketFacts> {
    let condition = close.head.condition_id;
    let market = stage.venues.market();
    let found = async {
        let Rows { rows, .. } = market.markets(&[condition]).await.ok()?;
        let clob = market.clob_market(condition).await.ok()?;
        let row = rows.iter().find(|row| row.condition().is_ok_and(|c| c == condition))?;
        market_facts(row, clob.as_ref()).ok()
    };
    let facts = found.await;
    if facts.is_none() {
        tracing::warn!(%condition, key = %close.head.idempotency_key, "a close waits for its market's facts");
    }
    facts
}

/// Without a sale of the leader, a close begins at what others bid (`behaviour.md` 4).
async fn best_bid(stage: &Stage, close: &CloseIntent) -> Option<Price> {
    let book = stage.venues.market().book(&close.head.asset).await.ok()??;
    let best = book_snapshot(&book).bids.first().map(|level| level.price);
    if best.is_none() {
        tracing::warn!(asset = %close.head.asset, key = %close.head.idempotency_key, "a close waits for somebody to bid");
    }
    best
}
