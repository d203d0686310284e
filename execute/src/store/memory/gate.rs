//! The gate's transaction in memory: what is read for it, and what it writes.

use std::{collections::BTreeSet, time::Duration};

use bytes::Bytes;
use schemas::{BillingAccountId, ControlKind, Mode, Side, Timestamp, codec::Codec, events::IntentHead};

use super::{State, Waiting, closes::open_only, told};
use crate::{
    core::{
        Attempt, AttemptKey, Snapshot,
        close::{Close, CloseName},
        gate::{Sign, Snapshots, Step, Wanted, gate_all, head_of},
    },
    store::{
        Batch, BudgetKey, Deferred, Gated, SealedConnection, Source, StoreError, answers, deferred_wait,
        passed_over, wait, waiting_buys,
    },
};

/// The rolling windows of the caps.
const DAY: Duration = Duration::from_secs(24 * 3600);
const HOUR: Duration = Duration::from_secs(3600);
/// Within which most orders end.
const SOON: Duration = Duration::from_secs(300);

impl State {
    /// Whether a unique key of a new attempt is taken.
    fn conflicts(&self, attempt: &Attempt) -> bool {
        self.orders.contains_key(&attempt.key())
            || self.orders.values().any(|o| {
                (o.billing_account_id == attempt.billing_account_id
                    && o.natural_key == attempt.natural_key
                    && o.attempt == attempt.attempt)
                    || (o.order_id.is_some() && o.order_id == attempt.order_id)
            })
    }

    fn snapshot(
        &self,
        account: BillingAccountId,
        mode: Mode,
        wanted: &Wanted,
        served: &[Mode],
        now: Timestamp,
    ) -> Option<Snapshot> {
        let balance = *self.budgets.get(&BudgetKey { billing_account_id: account, mode })?;
        let mut snapshot = Snapshot {
            served: served.contains(&mode),
            balance: balance.map(|(b, _)| b),
            grant: self.grants.get(&account).cloned(),
            ..Snapshot::empty(account, mode, now)
        };
        let on = |of, kind| self.switches.contains(&(of, kind));
        snapshot.switches.global_pause = on(None, ControlKind::Pause);
        snapshot.switches.global_halt = on(None, ControlKind::Halt);
        snapshot.switches.tenant_pause = on(Some(account), ControlKind::Pause);
        snapshot.switches.tenant_halt = on(Some(account), ControlKind::Halt);
        let is_active =
            |(c, revoked): &&(SealedConnection, bool)| !revoked && c.billing_account_id == account;
        if let Some((active, _)) = self.connections.values().find(is_active) {
            snapshot.connect(&active.connection);
        }
        for (id, (of, target)) in &self.targets {
            if *of == account && wanted.targets.contains(id) {
                snapshot.targets.insert(*id, target.clone());
            }
        }
        for ((of, in_mode, target, asset), position) in &self.positions {
            let name =
                CloseName { billing_account_id: account, mode, target_id: *target, asset: asset.clone() };
            if (*of, *in_mode) == (account, mode)
                && (wanted.conditions.contains(&(account, position.condition_id))
                    || wanted.closes.contains(&name))
            {
                snapshot.positions.insert((*target, asset.clone()), *position);
            }
        }
        for (name, close) in &self.closes {
            if let Some(becomes) = &close.becomes
                && (name.billing_account_id, name.mode) == (account, mode)
            {
                snapshot.links.insert((name.target_id, name.asset.clone()), becomes.clone());
            }
        }
        for (key, order) in self.orders.iter().filter(|(k, _)| k.billing_account_id == account) {
            let natural = (account, order.natural_key.clone());
            let position = CloseName::of(order);
            let of_close = wanted.closes.contains(&position);
            if wanted.keys.contains(&(account, order.idempotency_key))
                || wanted.naturals.contains(&natural)
                || (of_close && !order.is_final)
            {
                snapshot.named.insert(*key, order.clone());
            }
            if order.mode != mode {
                continue;
            }
            if of_close && order.side == Side::Buy && !order.is_settled() {
                let unconfirmed =
                    snapshot.unconfirmed.entry((order.target_id, order.held_as.clone())).or_default();
                let more = order.filled_shares.minus_or_zero(order.confirmed_shares);
                *unconfirmed = unconfirmed.saturating_add(more);
            }
            if !order.is_final && wanted.conditions.contains(&(account, order.condition_id)) {
                snapshot.stand(order);
            }
            if order.side == Side::Buy && order.counts_as_order() {
                // One that rests for days counts as long as it lives, and what it came to for a day after that.
                let late =
                    |since| order.changed_at > since && order.changed_at.since(order.created_at) > SOON;
                let counts = |since| order.created_at > since || !order.is_final || late(since);
                if counts(now.minus(DAY)) {
                    snapshot.day = snapshot.day.saturating_add(order.counted());
                }
                snapshot.hour += i64::from(order.created_at > now.minus(HOUR));
                if let Some((_, at)) = balance
                    && (!order.is_final
                        || late(at)
                        || (order.created_at > at.minus(HOUR)
                            && (order.changed_at > at || !order.is_settled())))
                {
                    snapshot.claimed = snapshot.claimed.saturating_add(order.counted());
                }
            }
        }
        Some(snapshot)
    }

    pub(super) fn gate(
        &mut self,
        codec: &Codec,
        batch: &Batch<'_>,
        keys: &dyn Sign,
        now: Timestamp,
    ) -> Result<Vec<Gated>, StoreError> {
        self.held(batch.partition, batch.epoch, now)?;
        if let Source::Log { from, to } = &batch.source {
            let stored = self.offsets.get(&batch.partition);
            if stored.map(|s| (s.log_id, s.next)) != from.as_ref().map(|s| (s.log_id, s.next)) {
                return Err(StoreError::OffsetMoved(batch.partition));
            }
            self.offsets.insert(batch.partition, to.clone());
        }
        let mut wanted = Wanted::by(batch.items.iter().map(|i| &i.intent), batch.partition);
        let has_order = |of: BillingAccountId, key| {
            self.orders.keys().any(|o| o.billing_account_id == of && o.idempotency_key == key)
        };
        let waits = |(of, key): (BillingAccountId, _)| wanted.waiting.contains(&of) && !has_order(of, key);
        let values = self.deferred.iter().filter(|((of, key, _), _)| waits((*of, *key)));
        let waiting = waiting_buys(codec, values.map(|(_, w)| w.deferred.value.as_ref()))?;
        wanted.and_of_waiting(&waiting);
        let mut snapshots = self.read(wanted, batch.served, batch.now)?;
        wait(&mut snapshots, waiting);
        let intents = batch.items.iter().map(|i| &i.intent);
        let steps =
            gate_all(&mut snapshots, intents, batch.partition, keys).map_err(|_| StoreError::NotLoaded)?;
        self.write_closes(&snapshots)?;
        let mut out = Vec::new();
        for (item, steps) in batch.items.iter().zip(steps) {
            let written = self.write(codec, &steps)?;
            self.defer(batch, item.value.clone(), head_of(&item.intent), &steps);
            out.extend(answers(steps, |key| written.contains(key)));
        }
        Ok(out)
    }

    pub(super) fn read(
        &mut self,
        mut wanted: Wanted,
        served: &[Mode],
        now: Timestamp,
    ) -> Result<Snapshots, StoreError> {
        for migration in std::mem::take(&mut wanted.migrations) {
            self.carry(&migration, now);
        }
        wanted.closes = wanted.closes.iter().map(|name| self.current(name)).collect();
        let closes: Vec<Close> =
            wanted.closes.iter().filter_map(|name| self.closes.get(name)).map(open_only).collect();
        for close in &closes {
            wanted.and_of(close);
        }
        let mut snapshots = Snapshots::new();
        for (account, mode) in &wanted.tenants {
            let mut snapshot =
                self.snapshot(*account, *mode, &wanted, served, now).ok_or(StoreError::NotLoaded)?;
            for due in self.closes.values().flat_map(|c| &c.dues) {
                let natural = (due.billing_account_id, due.natural_key.clone());
                let key = (due.billing_account_id, due.idempotency_key);
                if due.billing_account_id == *account
                    && (wanted.keys.contains(&key) || wanted.naturals.contains(&natural))
                {
                    snapshot.known_dues.push((due.key(), due.natural_key.clone()));
                }
            }
            snapshots.insert((*account, *mode), snapshot);
        }
        for close in closes {
            let of = (close.name.billing_account_id, close.name.mode);
            if let Some(snapshot) = snapshots.get_mut(&of) {
                snapshot.closes.insert((close.name.target_id, close.name.asset.clone()), close);
            }
        }
        Ok(snapshots)
    }

    /// Writes the rows of an intent or close; which of the new ones were inserted.
    pub(super) fn write(
        &mut self,
        codec: &Codec,
        steps: &[Step],
    ) -> Result<BTreeSet<AttemptKey>, StoreError> {
        let mut written = BTreeSet::new();
        for step in steps {
            match step {
                Step::Insert(attempt) if !self.conflicts(attempt) => {
                    let owner = self.accounts.get(&attempt.billing_account_id);
                    if owner != Some(&attempt.created_by_user_id) {
                        return Err(StoreError::Refused("new row violates row-level security".to_owned()));
                    }
                    self.orders.insert(attempt.key(), (**attempt).clone());
                    self.outbox.insert((attempt.key(), attempt.revision), told(codec, attempt)?);
                    written.insert(attempt.key());
                }
                Step::Insert(attempt) if attempt.side == Side::Sell => {
                    return Err(StoreError::Changed(attempt.key()));
                }
                Step::Update { before, after } => self.update(codec, before, after)?,
                Step::Insert(_) | Step::Defer(_) | Step::Owe(_) | Step::Nothing(_) => {}
            }
        }
        Ok(written)
    }

    fn defer(&mut self, batch: &Batch<'_>, value: Bytes, head: &IntentHead, steps: &[Step]) {
        for key in passed_over(steps, head) {
            self.deferred
                .retain(|(account, waiting, _), _| (*account, *waiting) != (head.billing_account_id, key));
        }
        let name = (head.billing_account_id, head.idempotency_key, head.revision);
        if !steps.iter().any(|s| matches!(s, Step::Defer(_))) {
            if batch.source == Source::Deferred {
                self.deferred.remove(&name);
            }
            return;
        }
        let created_at = self.deferred.get(&name).map_or(batch.now, |w| w.deferred.created_at);
        let waited = batch.now.since(created_at) / 4;
        let next_look_at = deferred_wait(batch.now).plus(waited.min(Duration::from_secs(30)));
        let deferred = Deferred {
            billing_account_id: head.billing_account_id,
            idempotency_key: head.idempotency_key,
            revision: head.revision,
            value,
            created_at,
        };
        self.deferred.insert(name, Waiting { deferred, partition: batch.partition, next_look_at });
    }
}
