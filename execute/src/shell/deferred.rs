//! Intents that wait are asked again: when an order ends, and now and then.

use runtime::Stop;
use schemas::events::IntentsEvent;

use super::{
    desk::{Desk, Way},
    gating, provision,
};
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
        let intent = match stage.codec.decode::<IntentsEvent>(&waiting.value) {
            Ok(intent) => intent,
            Err(error) => return Err(StoreError::Unreadable(error.to_string())),
        };
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
            let of: Vec<_> = items.iter().map(|i| provision::About::intent(&i.intent)).collect();
            provision::prepare(stage, &of).await?;
            stage.store.gate(batch(), &stage.keyring).await?
        }
        gated => gated?,
    };
    gating::hand_over(desk, gated, |_| Way::Waited);
    Ok(())
}
