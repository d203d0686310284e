//! What following orders needs, in memory.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use schemas::{
    BillingAccountId, ControlKind, Mode, OrderId, OrderStatus, Side, Timestamp, events::ControlState,
};
use uuid::Uuid;

use super::{MemoryStore, State};
use crate::{
    core::{
        Attempt, AttemptKey,
        diagnosis::{Diagnosis, IN_A_ROW},
    },
    store::{ControlRow, Following, Pause, StoreError},
};

/// What is known besides the orders.
#[derive(Debug, Clone, Default)]
pub(super) struct Followed {
    ticks: BTreeMap<i32, Timestamp>,
    diagnoses: BTreeMap<AttemptKey, Diagnosis>,
    /// Of each tenant that was ever paused here: the newest state.
    pauses: BTreeMap<BillingAccountId, ControlState>,
    controls: BTreeMap<(BillingAccountId, i64), (ControlRow, i32, bool)>,
}

impl State {
    fn looked_at(&self, partition: i32) -> impl Iterator<Item = &Attempt> {
        self.orders.values().filter(move |a| a.partition == partition && a.next_look_at.is_some())
    }
}

impl MemoryStore {
    /// When the orders of a partition were last gone over.
    pub fn tick(&self, partition: i32) -> Option<Timestamp> {
        self.lock().following.ticks.get(&partition).copied()
    }

    /// The newest state of a tenant's pause, where it was ever switched here.
    pub fn pause(&self, account: BillingAccountId) -> Option<ControlState> {
        self.lock().following.pauses.get(&account).cloned()
    }

    /// The tenant lifts its pause.
    pub fn lift_pause(&self, account: BillingAccountId, at: Timestamp) {
        let mut state = self.lock();
        state.switches.remove(&(Some(account), ControlKind::Pause));
        if let Some(pause) = state.following.pauses.get_mut(&account) {
            pause.active = false;
            pause.revision += 1;
            pause.changed_at = at;
        }
    }
}

#[async_trait]
impl Following for MemoryStore {
    async fn followed(&self, partition: i32) -> Result<BTreeSet<(Uuid, Mode)>, StoreError> {
        self.call("followed", |state| {
            Ok(state.looked_at(partition).filter_map(|a| Some((a.connection_id?, a.mode))).collect())
        })
        .await
    }

    async fn make_due(&self, partition: i32, connection: Uuid, now: Timestamp) -> Result<(), StoreError> {
        self.call("make_due", |state| {
            for row in state.orders.values_mut() {
                let of = row.partition == partition && row.connection_id == Some(connection);
                if of && row.next_look_at.is_some_and(|at| at > now) {
                    row.next_look_at = Some(now);
                }
            }
            Ok(())
        })
        .await
    }

    async fn by_order_id(&self, partition: i32, ids: &[OrderId]) -> Result<Vec<AttemptKey>, StoreError> {
        self.call("by_order_id", |state| {
            let named =
                |a: &&Attempt| a.partition == partition && a.order_id.is_some_and(|id| ids.contains(&id));
            Ok(state.orders.values().filter(named).map(Attempt::key).collect())
        })
        .await
    }

    async fn resting(&self, partition: i32, connection: Uuid) -> Result<Vec<Attempt>, StoreError> {
        self.call("resting", |state| {
            let rests = |a: &&Attempt| {
                matches!(a.status, OrderStatus::Open | OrderStatus::PartiallyFilled)
                    && a.cancel_asked_at.is_none()
                    && a.connection_id == Some(connection)
            };
            Ok(state.looked_at(partition).filter(rests).cloned().collect())
        })
        .await
    }

    async fn diagnosis(&self, key: AttemptKey) -> Result<Option<Diagnosis>, StoreError> {
        self.call("diagnosis", |state| Ok(state.following.diagnoses.get(&key).cloned())).await
    }

    async fn diagnose(
        &self,
        before: &Attempt,
        after: &Attempt,
        found: &Diagnosis,
        _: Timestamp,
    ) -> Result<(), StoreError> {
        self.call("diagnose", |state| {
            state.update(&self.codec, before, after)?;
            state.following.diagnoses.entry(after.key()).or_insert_with(|| found.clone());
            Ok(())
        })
        .await
    }

    async fn pause_after_rejections(&self, pause: &Pause<'_>) -> Result<bool, StoreError> {
        self.call("pause_after_rejections", |state| {
            let of = (Some(pause.account), ControlKind::Pause);
            if state.switches.contains(&of) {
                return Ok(false);
            }
            let since = state.following.pauses.get(&pause.account).map(|p| p.changed_at);
            let answered = |a: &&Attempt| {
                a.billing_account_id == pause.account
                    && a.mode == pause.mode
                    && a.side == Side::Buy
                    && a.answered_at.is_some_and(|at| since.is_none_or(|since| at > since))
            };
            let mut last: Vec<&Attempt> = state.orders.values().filter(answered).collect();
            last.sort_by_key(|a| (std::cmp::Reverse(a.answered_at), a.key()));
            last.truncate(IN_A_ROW);
            let ails = |a: &&Attempt| {
                let found = state.following.diagnoses.get(&a.key());
                a.status == OrderStatus::Rejected && found.is_some_and(|d| d.ailment.is_the_wallet_s())
            };
            if last.len() < IN_A_ROW || !last.iter().all(ails) {
                return Ok(false);
            }
            let revision = state.following.pauses.get(&pause.account).map_or(1, |p| p.revision + 1);
            let control = ControlState {
                billing_account_id: Some(pause.account),
                kind: ControlKind::Pause,
                active: true,
                reason: pause.reason.to_owned(),
                revision,
                changed_at: pause.at,
            };
            let value = self.codec.encode(&control).map_err(|e| StoreError::Unreadable(e.to_string()))?.value;
            state.switches.insert(of);
            state.following.pauses.insert(pause.account, control);
            let row = ControlRow { account: pause.account, revision, value };
            state.following.controls.insert((pause.account, revision), (row, pause.partition, false));
            Ok(true)
        })
        .await
    }

    async fn controls_next(&self, partition: i32, limit: usize) -> Result<Vec<ControlRow>, StoreError> {
        self.call("controls_next", |state| {
            let waiting = state.following.controls.values().filter(|(_, of, told)| *of == partition && !told);
            Ok(waiting.take(limit).map(|(row, ..)| row.clone()).collect())
        })
        .await
    }

    async fn controls_published(&self, rows: &[(BillingAccountId, i64)]) -> Result<(), StoreError> {
        self.call("controls_published", |state| {
            for name in rows {
                if let Some((_, _, told)) = state.following.controls.get_mut(name) {
                    *told = true;
                }
            }
            Ok(())
        })
        .await
    }

    async fn ticked(&self, partition: i32, at: Timestamp) -> Result<(), StoreError> {
        self.call("ticked", |state| {
            let tick = state.following.ticks.entry(partition).or_insert(at);
            *tick = at.max(*tick);
            Ok(())
        })
        .await
    }
}
