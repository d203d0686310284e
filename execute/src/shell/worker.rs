//! One partition of `intents`: claimed, resolved, and then worked on by tasks of its own until it is lost.

use runtime::{Clock, Stop};
use tokio::{sync::mpsc, task::JoinHandle};
use tokio_util::task::AbortOnDropHandle;

use super::{
    Stage, agree, closer, deferred,
    desk::Desk,
    gating::{Entrance, Gating},
    lease::Lease,
    provision, reconcile, relay, stream, submit,
};
use crate::error::ExecuteError;
use eventlog::Offset;

/// A partition that is ready for intents.
#[derive(Debug)]
pub struct Ready {
    /// The partition.
    pub partition: i32,
    /// The right to work on it.
    pub lease: Lease,
    /// The way to its gate.
    pub entrance: Entrance,
}

/// The tasks of a partition. Dropping it ends them where they stand, as a crash would.
#[derive(Debug)]
pub struct Worker {
    /// Set once the partition is ready.
    pub ready: Option<Position>,
    stop: Stop,
    main: JoinHandle<Result<(), ExecuteError>>,
}

/// Where a ready partition stands.
#[derive(Debug)]
pub struct Position {
    /// The right to work on it.
    pub lease: Lease,
    /// The way to its gate.
    pub entrance: Entrance,
    /// What the group was told of it.
    pub committed: Offset,
    /// Whether it is read no further for now.
    pub paused: bool,
}

impl Drop for Worker {
    fn drop(&mut self) {
        if let Some(ready) = &self.ready {
            ready.lease.lose();
        }
        self.main.abort();
    }
}

impl Worker {
    /// Claims a partition in the background, after `delay`, and tells `ready` once intents may be taken.
    pub fn start(
        stage: Stage,
        owner: String,
        partition: i32,
        delay: std::time::Duration,
        ready: mpsc::UnboundedSender<Ready>,
    ) -> Self {
        let stop = Stop::new();
        let main = tokio::spawn({
            let stop = stop.clone();
            async move {
                if !delay.is_zero() {
                    stage.clock.sleep(delay).await;
                }
                Box::pin(work(stage, &owner, partition, ready, stop)).await
            }
        });
        Self { ready: None, stop, main }
    }

    /// Whether its tasks have ended, and how: they do not while the partition is held.
    pub async fn ended(&mut self) -> Option<Result<(), ExecuteError>> {
        if !self.main.is_finished() {
            return None;
        }
        Some((&mut self.main).await.unwrap_or(Err(ExecuteError::Broken("partition worker"))))
    }

    /// Lets what is on its way arrive, publishes it, and ends the lease.
    pub async fn drain(mut self, clock: &dyn Clock, within: std::time::Duration) {
        self.stop.request();
        tokio::select! {
            biased;
            _ = &mut self.main => {}
            () = clock.sleep(within) => tracing::warn!("orders on their way were left to the next owner"),
        }
    }
}

async fn work(
    stage: Stage,
    owner: &str,
    partition: i32,
    ready: mpsc::UnboundedSender<Ready>,
    stop: Stop,
) -> Result<(), ExecuteError> {
    let settings = stage.settings.clone();
    let asked = stage.clock.monotonic();
    let claim = stage.store.claim(partition, owner, settings.lease).await?;
    let answered = stage.clock.monotonic();
    let lease = Lease::granted(partition, claim.epoch, asked, answered, claim.send_in, settings.lease);
    tracing::info!(partition, epoch = claim.epoch, send_in = ?claim.send_in, "execute owns a partition");
    let from = agree::begin(&stage, partition, claim.position.as_ref()).await?;
    let (desk, queue) = Desk::new(stage.clone(), lease.clone());

    // Whatever ends this task, its lease is not used any longer.
    let _lost = LoseOnDrop(lease.clone());
    let keeping = lease.keep(&*stage.store, &*stage.clock, settings.renew, settings.lease);
    let (sent, looked) = (Stop::new(), Stop::new());
    let working = async {
        // What sends has a task of its own too: no order waits while others are looked at.
        let sending = AbortOnDropHandle::new(tokio::spawn(submit::run(desk.clone(), queue, sent.clone())));
        let publishing = relay::run(desk.clone(), looked.clone());
        let following = async {
            let left = reconcile::recover(&desk).await?;
            tracing::info!(partition, left, "what the previous owner left is looked at");
            let (gating, entrance) = Gating::new(desk.clone(), claim.position, from);
            // Nobody listens any more when the stage is ending.
            let _ = ready.send(Ready { partition, lease: lease.clone(), entrance });
            let gating = async {
                // It signs: on another core than the tasks beside it, if there is one.
                let gate = AbortOnDropHandle::new(tokio::spawn(gating.run(stop.clone())));
                gate.await.unwrap_or(Err(ExecuteError::Broken("gate")))?;
                // First what is to be sent goes, then what came of it is published.
                sent.request();
                Ok::<(), ExecuteError>(())
            };
            let (looks, waits, closes, hears) =
                (looked.clone(), looked.clone(), looked.clone(), looked.clone());
            let beside = async {
                tokio::join!(
                    reconcile::run(desk.clone(), looks),
                    deferred::run(desk.clone(), waits),
                    closer::run(desk.clone(), closes),
                    stream::run(desk.clone(), hears)
                );
                Ok(())
            };
            tokio::try_join!(gating, beside).map(drop)
        };
        let sending = async {
            let ended = sending.await;
            looked.request();
            ended.map_err(|_| ExecuteError::Broken("sender"))
        };
        tokio::try_join!(following, async { tokio::join!(sending, publishing).0 })?;
        relay::drain(&desk, &mut std::collections::BTreeMap::new()).await
    };
    tokio::select! {
        biased;
        done = working => {
            done?;
            stage.store.release(partition, claim.epoch).await?;
            Ok(())
        }
        () = keeping => Err(crate::store::StoreError::NotOwner { partition, epoch: claim.epoch }.into()),
        () = provision::keep_house(desk.clone()) => Err(ExecuteError::Broken("housekeeping")),
    }
}

struct LoseOnDrop(Lease);

impl Drop for LoseOnDrop {
    fn drop(&mut self) {
        self.0.lose();
    }
}
