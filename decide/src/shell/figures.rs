//! What is told of what was decided, and what is done in quiet moments.

use std::time::Duration;

use eventlog::TopicPartition;
use runtime::{board::Step, signals};
use schemas::{Outcome, Reason};

use super::{GROUP, LAG_EVERY, PARKED, Phase, REPEATS_EVERY, Shell, snapshots};
use crate::{core::Staged, cut::INPUTS};

impl Shell {
    /// The figures and the log lines of what was decided.
    pub(super) fn tell(&mut self, staged: &Staged) {
        let now = self.ports.clock.now();
        let board = &self.ports.board;
        for decided in &staged.decisions {
            let d = &decided.decision;
            board.decision(d.outcome, d.reason);
            board.reached(Step::Decided, now.since(decided.observed_at));
            tracing::debug!(
                event = signals::DECISION, outcome = d.outcome.as_str(), reason = d.reason.as_str(),
                key = %d.idempotency_key, tenant = %d.billing_account_id, partition = d.partition, cut = d.cut,
            );
        }
        for _ in 0..staged.repeats {
            board.decision(Outcome::Skipped, Reason::AlreadyPlaced);
        }
        self.repeats += staged.repeats;
    }

    /// Repeats are no records and no lines of their own: one line a minute says how many there were.
    fn tell_repeats(&mut self, now: Duration) {
        if self.repeats == 0 || now.saturating_sub(self.repeats_at) < REPEATS_EVERY {
            return;
        }
        tracing::info!(
            event = signals::DECISION,
            outcome = Outcome::Skipped.as_str(),
            reason = Reason::AlreadyPlaced.as_str(),
            count = self.repeats,
        );
        (self.repeats, self.repeats_at) = (0, now);
    }

    /// Snapshots, lag, and what has been parked for too long.
    pub(super) async fn look_after(&mut self, idle: bool) {
        let now = self.ports.clock.monotonic();
        self.tell_repeats(now);
        self.parked.retain(|_, (_, since)| now.saturating_sub(*since) < PARKED);
        let (every, after) = (self.options.snapshot_every, self.options.snapshot_after);
        let due = self.parts.iter().find(|(_, part)| {
            // Rather in a quiet moment, but not for ever.
            let enough = part.cuts >= if idle { every } else { every.saturating_mul(4) };
            enough && now.saturating_sub(part.saved_at) >= after
        });
        if let Some((&partition, _)) = due {
            self.save(partition).await;
        }
        let lag_every = if idle { LAG_EVERY.0 } else { LAG_EVERY.1 };
        if self.lag_at.is_none_or(|at| now.saturating_sub(at) >= lag_every) {
            self.lag_at = Some(now);
            self.tell_lag().await;
        }
    }

    async fn tell_lag(&self) {
        let mut lag = 0u64;
        for (partition, part) in &self.parts {
            let Phase::Running(core) = &part.phase else { continue };
            for (topic, at) in INPUTS.into_iter().zip(core.head().inputs) {
                match self.ports.log.extent(TopicPartition::new(topic, *partition)).await {
                    Ok(extent) => lag += u64::try_from(extent.end.0 - at.0).unwrap_or(0),
                    Err(_) => return,
                }
            }
        }
        self.ports.board.lag(GROUP, lag);
    }

    async fn save(&mut self, partition: i32) {
        let now = self.ports.clock.monotonic();
        let at = self.ports.clock.now();
        let Some(part) = self.parts.get_mut(&partition) else { return };
        let Phase::Running(core) = &part.phase else { return };
        (part.cuts, part.saved_at) = (0, now);
        if let Err(e) = snapshots::save(&*self.ports.log, &self.ports.codec, core, at).await {
            // It costs time at the next start, and nothing else.
            self.ports.board.trouble("decide_snapshot");
            tracing::warn!(event = "snapshot_not_written", stage = GROUP, partition, error = %e);
        }
    }

    pub(super) async fn save_all(&mut self) {
        let worth: Vec<i32> = self.parts.iter().filter(|(_, part)| part.cuts > 0).map(|(p, _)| *p).collect();
        for partition in worth {
            self.save(partition).await;
        }
    }
}
