//! What is closed, or cancelled, without a SELL of the leader. Each has a cause in place of a fill (`behaviour.md` 1).

use eventlog::Offset;
use schemas::{
    AssetId, ConditionId, FillId, IdempotencyKey, PositionBranch, Price, Round, Shares, Side, TargetId,
    TargetStatus, Timestamp, Usdc,
    events::{CloseRequested, FillVoided, Order, OwnView, PositionChanged, TargetState},
};

use super::{Maker, Subject};
use crate::{
    DecideError,
    plan::{Part, Planned},
    state::{Expiring, REMEMBERED, own::OrderKey, targets::Row},
};

impl Maker<'_> {
    /// A position that went without a trade: a sale, priced from the book where there is one.
    pub(super) fn on_changed(
        &mut self,
        offset: Offset,
        changed: &PositionChanged,
    ) -> Result<(), DecideError> {
        let Some(went) = self.state.fold_change(changed, self.clock) else {
            return Ok(());
        };
        for delta in &changed.deltas {
            match &delta.becomes {
                Some(becomes) if self.version.carries => {
                    self.carry(offset, changed, &delta.asset, becomes)?;
                }
                Some(becomes) => self.state.fold_migrated(changed.wallet, &delta.asset, becomes),
                None => {}
            }
        }
        for (delta, before, after) in went {
            let besides = self.state.held_besides(changed.wallet, &delta.asset);
            let (before, after) = (before.and(besides), after.and(besides));
            let rows = self.state.subscribed(changed.wallet, changed.changed_at);
            let Some(fill_id) = cause(&format!(
                "data-api:{}:{}:{}:{}",
                changed.tx,
                delta.asset,
                changed.kind,
                changed.changed_at.secs()
            )) else {
                continue;
            };
            let book = changed.books.iter().find(|b| b.asset == delta.asset);
            let price = book.and_then(|b| b.bids.first()).map_or(Price::ZERO, |level| level.price);
            let shares = Shares::from_micro(delta.shares.micro().saturating_neg());
            let opposite = changed.facts.as_ref().and_then(|f| f.opposite(&delta.asset));
            let subject = Subject {
                wallet: changed.wallet,
                key: IdempotencyKey::of(TargetId::of_wallet(changed.wallet), &fill_id),
                fill_id,
                revision: 0,
                tx: None,
                asset: &delta.asset,
                condition: changed.condition_id,
                side: Side::Sell,
                filled_at: changed.changed_at,
                observed_at: changed.observed_at,
                facts: changed.facts.as_ref(),
                book,
                shares,
                notional: price.cost(shares, Round::Down).unwrap_or_default(),
                price,
                leader: self.leader_view(changed.wallet, opposite, before, after),
                offset,
            };
            self.decide_for(&rows, &subject)?;
        }
        Ok(())
    }

    /// A token of the leader goes on under another id: so does what its followers have of it, and the gate of each is told.
    fn carry(
        &mut self,
        offset: Offset,
        changed: &PositionChanged,
        from: &AssetId,
        becomes: &AssetId,
    ) -> Result<(), DecideError> {
        let stood = self.state.current(changed.wallet, from).clone();
        let holders = self.state.holders(changed.wallet, &stood);
        if !self.state.fold_carried(changed.wallet, from, becomes, self.clock) {
            return Ok(());
        }
        let at = changed.changed_at;
        let Some(fill_id) = cause(&format!("data-api:{}:{from}:{}:{}", changed.tx, changed.kind, at.secs()))
        else {
            return Ok(());
        };
        for row in holders {
            let subject = self.own_cause(&row, fill_id.clone(), from, changed.condition_id, at, offset);
            let own = self.own_view(&row, &subject);
            let inputs = self.inputs(&row, &subject, own);
            let order = Order { becomes: Some(becomes.clone()), ..NOTHING };
            self.emit(&row, &subject, inputs, Planned::placed(PositionBranch::None, order))?;
        }
        Ok(())
    }

    /// A fill that never happened. A BUY: what is open of our copy is cancelled, what it filled is closed. A SELL:
    /// what is due of it and not sent is dropped.
    pub(super) fn on_voided(&mut self, offset: Offset, voided: &FillVoided) -> Result<(), DecideError> {
        let Some(fill_id) = self.state.fold_voided(voided, self.clock) else {
            return Ok(());
        };
        let target = TargetId::of_wallet(voided.wallet);
        let copied = IdempotencyKey::of(target, &fill_id);
        let Some(void_id) = cause(&format!("void:{fill_id}")) else {
            return Ok(());
        };
        let now = self.state.holding(voided.wallet, &voided.asset);
        let subject = Subject {
            wallet: voided.wallet,
            key: IdempotencyKey::of(target, &void_id),
            fill_id: void_id,
            revision: 0,
            tx: None,
            asset: &voided.asset,
            condition: voided.condition_id,
            side: Side::Sell,
            filled_at: voided.filled_at,
            observed_at: voided.observed_at,
            facts: None,
            book: None,
            shares: Shares::ZERO,
            notional: Usdc::ZERO,
            price: Price::ZERO,
            leader: self.leader_view(voided.wallet, None, now, now),
            offset,
        };
        for row in self.state.subscribed(voided.wallet, voided.filled_at) {
            let own = self.own_view(&row, &subject);
            let key = OrderKey {
                own: self.state.own_key(row.wallet, row.billing_account_id, row.mode, &voided.asset),
                key: copied,
                attempt: 0,
            };
            let (open, filled) = match (self.state.open.get(&key), self.state.done.get(&key)) {
                (Some(open), _) => (true, open.filled_shares),
                (None, Some(done)) => (false, done.filled_shares),
                (None, None) => (false, Shares::ZERO),
            };
            let planned = match voided.side {
                Side::Buy => {
                    // What is open may fill before the cancel lands: the gate closes what that one order filled.
                    let part = if own.held.is_positive() {
                        Part::clamped(filled.micro(), own.held.micro())
                    } else {
                        Part { num: 0, den: 1 }
                    };
                    let sells = open || (filled.is_positive() && own.held.is_positive());
                    self.close(&own, sells.then_some(part), open.then_some(copied))
                }
                Side::Sell => {
                    let ours = own.held.is_positive() || own.pending.is_positive();
                    self.state.drop_close(&key.own, copied);
                    self.close(&own, None, ours.then_some(copied))
                }
            };
            if let Some(planned) = planned {
                let inputs = self.inputs(&row, &subject, own);
                self.emit(&row, &subject, inputs, planned)?;
            }
        }
        Ok(())
    }

    /// A target added or changed. One that is being removed has its BUYs cancelled; where that was asked for its
    /// positions are closed, or kept: then the closes that are due and not sent are dropped.
    pub(super) fn on_target(&mut self, offset: Offset, target: TargetState) -> Result<(), DecideError> {
        let Some((before, row)) = self.state.fold_target(target) else {
            return Ok(());
        };
        let ends = |status| matches!(status, TargetStatus::Closing | TargetStatus::Removed);
        let Some(before) = before else { return Ok(()) };
        let ending = ends(row.status) && !ends(before.status);
        let closing = ends(row.status) && row.close_now && !(before.close_now && ends(before.status));
        let keeping =
            ends(row.status) && row.keep_positions && !(before.keep_positions && ends(before.status));
        if !ending && !closing && !keeping {
            return Ok(());
        }
        let tokens = self.state.tokens_of(row.wallet, row.billing_account_id, row.mode, self.clock);
        for (asset, condition) in tokens {
            let Some(fill_id) = cause(&format!("removed:{}:{}:{asset}", row.target_row_id, row.revision))
            else {
                continue;
            };
            let subject = self.own_cause(&row, fill_id, &asset, condition, row.changed_at, offset);
            let own = self.own_view(&row, &subject);
            let whose = self.state.own_key(row.wallet, row.billing_account_id, row.mode, &asset);
            let mut cancels: Vec<IdempotencyKey> = self
                .state
                .open_of(&whose, self.clock)
                .filter(|(_, open)| open.side == Side::Buy)
                .map(|(key, _)| key.key)
                .collect();
            if keeping {
                cancels.extend(self.state.closes_of(&whose));
                self.state.forget_closes(&whose);
            }
            let ours = own.held.is_positive() || own.pending.is_positive();
            let whole = (closing && ours).then_some(Part::WHOLE);
            if let Some(planned) = self.close(&own, whole, cancels) {
                let inputs = self.inputs(&row, &subject, own);
                self.emit(&row, &subject, inputs, planned)?;
            }
        }
        Ok(())
    }

    /// A tenant asks for a position to be sold.
    pub(super) fn on_close_requested(
        &mut self,
        offset: Offset,
        request: &CloseRequested,
    ) -> Result<(), DecideError> {
        let row = self.state.rows.get(&request.target_row_id).cloned();
        let row = row.filter(|row| row.billing_account_id == request.billing_account_id);
        let fill_id = cause(&format!("manual:{}:{}", request.request_id, request.asset));
        let (Some(row), Some(fill_id)) = (row, fill_id) else {
            return Ok(());
        };
        let own = self.state.own_key(row.wallet, row.billing_account_id, row.mode, &request.asset);
        let condition = self
            .state
            .positions
            .get(&own)
            .map(|p| p.condition)
            .or_else(|| self.state.open_of(&own, self.clock).next().map(|(_, open)| open.condition))
            .unwrap_or(ConditionId::ZERO);
        let subject = self.own_cause(&row, fill_id, &request.asset, condition, request.requested_at, offset);
        if self.state.requests.contains(&subject.key) {
            self.repeats += 1;
            return Ok(());
        }
        let until = self.clock.plus(REMEMBERED);
        self.state.requests.set(subject.key, until);
        self.state.expire(until, Expiring::Request(subject.key));
        let own = self.own_view(&row, &subject);
        let planned = (self.version.close)(&own, Part::WHOLE, true);
        let inputs = self.inputs(&row, &subject, own);
        self.emit(&row, &subject, inputs, planned)
    }

    /// A close that the leader did not ask for.
    pub(super) fn own_cause<'s>(
        &self,
        row: &Row,
        fill_id: FillId,
        asset: &'s AssetId,
        condition: ConditionId,
        at: Timestamp,
        offset: Offset,
    ) -> Subject<'s> {
        let now = self.state.holding(row.wallet, asset);
        Subject {
            wallet: row.wallet,
            key: IdempotencyKey::of(row.target_id, &fill_id),
            fill_id,
            revision: 0,
            tx: None,
            asset,
            condition,
            side: Side::Sell,
            filled_at: at,
            observed_at: at,
            facts: None,
            book: None,
            shares: Shares::ZERO,
            notional: Usdc::ZERO,
            price: Price::ZERO,
            leader: self.leader_view(row.wallet, None, now, now),
            offset,
        }
    }

    /// A close of a part, and cancels beside it; nothing where there is neither.
    fn close(
        &self,
        own: &OwnView,
        part: Option<Part>,
        cancels: impl IntoIterator<Item = IdempotencyKey>,
    ) -> Option<Planned> {
        let cancels: Vec<IdempotencyKey> = cancels.into_iter().collect();
        // Nothing of the leader's is left to wait for: what is due goes at once.
        let mut planned = match part {
            Some(part) => (self.version.close)(own, part, true),
            None if cancels.is_empty() => return None,
            None => Planned::placed(PositionBranch::None, NOTHING),
        };
        if let Some(order) = &mut planned.order {
            order.cancels = cancels;
        }
        Some(planned)
    }
}

/// An order for nothing: what a decision wants besides is added.
const NOTHING: Order = Order {
    limit: None,
    shares: None,
    amount: None,
    fraction_num: None,
    fraction_den: None,
    flat: None,
    placement: None,
    replaces: None,
    cancels: Vec::new(),
    becomes: None,
};

/// A cause id. `None` for text that is none: a request id of hundreds of characters.
pub(super) fn cause(text: &str) -> Option<FillId> {
    text.parse().ok()
}
