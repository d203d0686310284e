//! Decisions and intents as records.

use eventlog::event;
use schemas::{
    Hash32, IdempotencyKey, Outcome, Round,
    avro::Event,
    events::{
        CancelIntent, CloseIntent, Decision, Inputs, IntentHead, MigrateIntent, Order, Origin, PlaceIntent,
    },
};

use super::{Decided, Maker, Subject};
use crate::{
    DecideError,
    core::datum_of,
    cut::{decision_leaf, intent_leaf},
    plan::Planned,
    state::{
        own::{OrderKey, Placed, SILENCE},
        targets::Row,
    },
};

impl Maker<'_> {
    /// Writes a decision down, and what is wanted done, and folds both.
    pub(super) fn emit(
        &mut self,
        row: &Row,
        subject: &Subject,
        inputs: Inputs,
        planned: Planned,
    ) -> Result<(), DecideError> {
        if let Some(desire) = planned.kept {
            let own = self.state.own_key(row.wallet, row.billing_account_id, row.mode, subject.asset);
            self.state.fold_kept(own, self.clock, desire);
        }
        let decision = Decision {
            billing_account_id: row.billing_account_id,
            created_by_user_id: row.created_by_user_id,
            target_row_id: row.target_row_id,
            target_id: row.target_id,
            wallet: subject.wallet,
            fill_id: subject.fill_id.clone(),
            idempotency_key: subject.key,
            revision: subject.revision,
            asset: subject.asset.clone(),
            condition_id: subject.condition,
            mode: row.mode,
            outcome: planned.outcome,
            reason: planned.reason,
            position_branch: planned.branch,
            order: planned.order,
            inputs,
            error: planned.error,
            partition: self.partition,
            cut: self.cut,
            source_offset: subject.offset.0,
            plan_version: self.version.number,
            policy_revision: row.policy_revision,
            decided_at: self.clock,
        };
        let trace = Some(event::trace_of(subject.key));
        let key = subject.key.to_string();
        let (record, _) = event::record(self.codec, &key, &decision, self.clock, trace)?;
        let salt = (self.salts)();
        let leaf = decision_leaf(&salt, datum_of(&record));
        if let Some(order) = decision.order.as_ref().filter(|_| decision.outcome == Outcome::Placed) {
            self.want(row, subject, order, leaf)?;
        }
        self.decisions.push(Decided { decision, record, salt, leaf, observed_at: subject.observed_at });
        Ok(())
    }

    /// The intents of an order.
    fn want(&mut self, row: &Row, subject: &Subject, order: &Order, leaf: Hash32) -> Result<(), DecideError> {
        let head = IntentHead {
            billing_account_id: row.billing_account_id,
            created_by_user_id: row.created_by_user_id,
            target_row_id: row.target_row_id,
            target_id: row.target_id,
            wallet: subject.wallet,
            idempotency_key: subject.key,
            fill_id: subject.fill_id.clone(),
            revision: subject.revision,
            tx: subject.tx,
            asset: subject.asset.clone(),
            condition_id: subject.condition,
            side: subject.side,
            filled_at: subject.filled_at,
            mode: row.mode,
            origin: Origin {
                partition: self.partition,
                cut: self.cut,
                decision_hash: leaf,
                policy_revision: row.policy_revision,
                observed_at: subject.observed_at,
            },
        };
        for cancelled in &order.cancels {
            let cause = subject.scheme().to_owned();
            self.intend(&CancelIntent { head: head.clone(), cancels: *cancelled, cause }, row, subject.key)?;
        }
        if let Some(becomes) = order.becomes.clone() {
            return self.intend(&MigrateIntent { head, becomes }, row, subject.key);
        }
        if let (Some(limit), Some(shares), Some(facts)) = (order.limit, order.shares, subject.facts) {
            let s = (self.version.settings)(&row.policy);
            let send_until = subject.filled_at.plus(s.max_fill_age);
            let full = match order.amount {
                Some(amount) => amount,
                None => limit.cost(shares, Round::Up).unwrap_or_default(),
            };
            self.state.fold_placed(Placed {
                key: OrderKey {
                    own: self.state.own_key(row.wallet, row.billing_account_id, row.mode, subject.asset),
                    key: subject.key,
                    attempt: 0,
                },
                condition: subject.condition,
                limit,
                shares,
                full,
                until: send_until.plus(SILENCE),
                replaces: order.replaces,
            });
            let becomes = self.state.current(subject.wallet, subject.asset).clone();
            if becomes != *subject.asset {
                // Bought under a former id by one who held nothing of it when it went on: the gate has to know.
                self.intend(&MigrateIntent { head: head.clone(), becomes }, row, subject.key)?;
            }
            self.intend(
                &PlaceIntent {
                    head,
                    limit,
                    shares,
                    amount: order.amount,
                    placement: order.placement.unwrap_or(s.placement),
                    order_ttl_s: s.order_ttl_s,
                    send_until,
                    facts: facts.clone(),
                    max_usdc_per_token: s.max_usdc_per_token,
                    allow_both_sides: s.allow_both_sides,
                    replaces: order.replaces,
                    book: (self.version.book)(row.mode, subject.book),
                },
                row,
                subject.key,
            )
        } else if let (Some(num), Some(den)) = (order.fraction_num, order.fraction_den) {
            // A void close is about what one order filled, however much of the position that is.
            let everything = num >= den && subject.scheme() != "void";
            let own = self.state.own_key(row.wallet, row.billing_account_id, row.mode, subject.asset);
            self.state.fold_close(own, subject.key, everything);
            self.intend(
                &CloseIntent {
                    head,
                    fraction_num: num,
                    fraction_den: den,
                    flat: order.flat.unwrap_or(false),
                    sale_price: Some(subject.price).filter(|p| p.is_positive()),
                    exit_slippage_fraction: row.policy.exit_slippage_fraction,
                    exit_floor_fraction: row.policy.exit_floor_fraction,
                    min_close_usdc: row.policy.min_close_usdc,
                    facts: subject.facts.cloned(),
                    book: (self.version.book)(row.mode, subject.book),
                },
                row,
                subject.key,
            )
        } else {
            Ok(())
        }
    }

    fn intend<E: Event>(&mut self, intent: &E, row: &Row, key: IdempotencyKey) -> Result<(), DecideError> {
        let account = row.billing_account_id;
        let trace = Some(event::trace_of(key));
        let (record, _) = event::record(self.codec, &account.to_string(), intent, self.clock, trace)?;
        self.leaves.push(intent_leaf(datum_of(&record)));
        self.intents.push((account, record));
        Ok(())
    }
}
