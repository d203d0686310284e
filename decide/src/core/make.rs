//! One cut in the making: each input folded and, where it asks for decisions, decided for every subscribed tenant.

use eventlog::{Offset, Record, event};
use schemas::{
    Address, AssetId, BillingAccountId, ConditionId, FillId, FillKind, Hash32, IdempotencyKey, Outcome,
    PositionBranch, Price, Round, Shares, Side, TargetId, TargetStatus, Timestamp, TxHash, Usdc,
    avro::Event,
    codec::Codec,
    events::{
        BookSnapshot, CancelIntent, CloseIntent, CloseRequested, Decision, Fill, FillVoided, FillsEvent,
        Inputs, IntentHead, LeaderView, MarketFacts, Order, OrdersEvent, Origin, OwnView, PlaceIntent,
        PositionChanged, TargetState, TargetsEvent,
    },
};

use super::datum_of;
use crate::{
    DecideError,
    cut::{Salt, decision_leaf, intent_leaf},
    plan::{Part, Planned, Version, settings::Settings},
    state::{
        Expiring, REMEMBERED, State,
        leader::Holding,
        own::{OrderKey, Placed, SILENCE},
        own_key,
        targets::Row,
    },
};

/// A decision made, and its record.
#[derive(Debug)]
pub struct Decided {
    /// What it says.
    pub decision: Decision,
    /// Its record, headers included.
    pub record: Record,
    /// The random bytes beside it.
    pub salt: Salt,
    /// Its leaf.
    pub leaf: Hash32,
    /// When ingest saw what asked for it.
    pub observed_at: Timestamp,
}

/// What a decision is about, the same for every tenant.
struct Subject<'a> {
    wallet: Address,
    fill_id: FillId,
    key: IdempotencyKey,
    revision: i32,
    tx: Option<TxHash>,
    asset: &'a AssetId,
    condition: ConditionId,
    side: Side,
    filled_at: Timestamp,
    observed_at: Timestamp,
    facts: Option<&'a MarketFacts>,
    book: Option<&'a BookSnapshot>,
    /// The leader's shares, dollars and price.
    shares: Shares,
    notional: Usdc,
    price: Price,
    leader: LeaderView,
    offset: Offset,
}

pub(super) struct Maker<'a> {
    pub state: &'a mut State,
    pub version: &'static Version,
    pub codec: &'a Codec,
    pub partition: i32,
    pub cut: i64,
    pub clock: Timestamp,
    pub salts: &'a mut dyn FnMut() -> Salt,
    pub decisions: Vec<Decided>,
    pub intents: Vec<(BillingAccountId, Record)>,
    /// Of the intents.
    pub leaves: Vec<Hash32>,
    pub repeats: u64,
}

impl Maker<'_> {
    pub fn on_orders(&mut self, event: OrdersEvent) {
        let OrdersEvent::OrderState(order) = event;
        self.state.fold_order(&order, self.clock);
    }

    pub fn on_targets(&mut self, offset: Offset, event: TargetsEvent) -> Result<(), DecideError> {
        match event {
            TargetsEvent::TargetState(target) => self.on_target(offset, target),
            TargetsEvent::CloseRequested(request) => self.on_close_requested(offset, &request),
        }
    }

    pub fn on_fills(&mut self, offset: Offset, event: FillsEvent) -> Result<(), DecideError> {
        match event {
            FillsEvent::Fill(fill) => self.on_fill(offset, &fill),
            FillsEvent::FillVoided(voided) => self.on_voided(offset, &voided),
            FillsEvent::PositionChanged(changed) => self.on_changed(offset, &changed),
            FillsEvent::PositionSnapshot(part) => {
                self.state.fold_snapshot(part);
                Ok(())
            }
            FillsEvent::TokenResolved(resolved) => {
                self.state.fold_resolved(&resolved);
                Ok(())
            }
            // Watermarks are ingest's; marks decide nothing in version 1.
            FillsEvent::Watermark(_) | FillsEvent::TokenMarked(_) => Ok(()),
        }
    }

    /// A fill: one decision for each subscribed tenant, unless it repeats, or is history.
    fn on_fill(&mut self, offset: Offset, fill: &Fill) -> Result<(), DecideError> {
        match fill.kind {
            FillKind::New | FillKind::Amendment => {}
            FillKind::History | FillKind::Late => return Ok(()),
        }
        let moved = self.state.fold_fill(fill, self.clock);
        let rows = self.state.subscribed(fill.wallet, fill.filled_at);
        let Some(moved) = moved.filter(|m| m.fresh || fill.side == Side::Sell) else {
            self.repeats += u64::try_from(rows.len()).unwrap_or(0);
            return Ok(());
        };
        if rows.is_empty() {
            return Ok(());
        }
        let opposite = fill.facts.as_ref().and_then(|f| f.opposite(&fill.asset));
        let leader = self.leader_view(fill.wallet, opposite, moved.before, moved.after);
        let key = IdempotencyKey::of(TargetId::of_wallet(fill.wallet), &moved.fill_id);
        let subject = Subject {
            wallet: fill.wallet,
            fill_id: moved.fill_id,
            key,
            revision: if fill.side == Side::Sell { fill.revision } else { 0 },
            tx: Some(fill.tx),
            asset: &fill.asset,
            condition: fill.condition_id,
            side: fill.side,
            filled_at: fill.filled_at,
            observed_at: fill.observed_at,
            facts: fill.facts.as_ref(),
            book: fill.book.as_ref(),
            shares: moved.shares,
            notional: moved.notional,
            price: fill.price,
            leader,
            offset,
        };
        self.decide_for(&rows, &subject)
    }

    /// What the leader did, for each of its followers.
    fn decide_for(&mut self, rows: &[Row], subject: &Subject) -> Result<(), DecideError> {
        for row in rows {
            let own = self.own_view(row, subject);
            let inputs = self.inputs(row, subject, own);
            let planned = (self.version.plan)(subject.condition, &inputs, self.clock);
            if subject.side == Side::Sell {
                let own = own_key(row.wallet, row.billing_account_id, row.mode, subject.asset);
                self.state.drop_kept(&own);
            }
            self.emit(row, subject, inputs, planned)?;
        }
        Ok(())
    }

    /// A position that went without a trade: a sale, priced from the book where there is one.
    fn on_changed(&mut self, offset: Offset, changed: &PositionChanged) -> Result<(), DecideError> {
        let Some(went) = self.state.fold_change(changed, self.clock) else {
            return Ok(());
        };
        for delta in &changed.deltas {
            if let Some(becomes) = &delta.becomes {
                self.state.fold_migrated(changed.wallet, &delta.asset, becomes);
            }
        }
        for (delta, before, after) in went {
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

    /// A fill that never happened. A BUY: what is open of our copy is cancelled, what it filled is closed. A SELL:
    /// what is due of it and not sent is dropped.
    fn on_voided(&mut self, offset: Offset, voided: &FillVoided) -> Result<(), DecideError> {
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
                own: own_key(row.wallet, row.billing_account_id, row.mode, &voided.asset),
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
                    let part = Part::clamped(filled.micro(), own.held.micro());
                    let sells = filled.is_positive() && own.held.is_positive();
                    self.close(&own, sells.then_some(part), open.then_some(copied))
                }
                Side::Sell => {
                    let ours = own.held.is_positive() || own.pending.is_positive();
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

    /// A target added or changed. One that is being removed has its BUYs cancelled, and where that was asked for
    /// its positions closed.
    fn on_target(&mut self, offset: Offset, target: TargetState) -> Result<(), DecideError> {
        let Some((before, row)) = self.state.fold_target(target) else {
            return Ok(());
        };
        let ends = |status| matches!(status, TargetStatus::Closing | TargetStatus::Removed);
        let Some(before) = before else { return Ok(()) };
        let ending = ends(row.status) && !ends(before.status);
        let closing = ends(row.status) && row.close_now && !(before.close_now && ends(before.status));
        if !ending && !closing {
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
            let cancels: Vec<IdempotencyKey> = self
                .state
                .open_of(&own_key(row.wallet, row.billing_account_id, row.mode, &asset), self.clock)
                .filter(|(_, open)| open.side == Side::Buy)
                .map(|(key, _)| key.key)
                .collect();
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
    fn on_close_requested(&mut self, offset: Offset, request: &CloseRequested) -> Result<(), DecideError> {
        let row = self.state.rows.get(&request.target_row_id).cloned();
        let row = row.filter(|row| row.billing_account_id == request.billing_account_id);
        let fill_id = cause(&format!("manual:{}:{}", request.request_id, request.asset));
        let (Some(row), Some(fill_id)) = (row, fill_id) else {
            return Ok(());
        };
        let own = own_key(row.wallet, row.billing_account_id, row.mode, &request.asset);
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
    fn own_cause<'s>(
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
            None => Planned::placed(
                PositionBranch::None,
                Order {
                    limit: None,
                    shares: None,
                    amount: None,
                    fraction_num: None,
                    fraction_den: None,
                    flat: None,
                    placement: None,
                    replaces: None,
                    cancels: Vec::new(),
                },
            ),
        };
        if let Some(order) = &mut planned.order {
            order.cancels = cancels;
        }
        Some(planned)
    }

    fn leader_view(
        &self,
        wallet: Address,
        opposite: Option<&AssetId>,
        before: Holding,
        after: Holding,
    ) -> LeaderView {
        let opposite = opposite.map(|o| self.state.holding(wallet, o)).unwrap_or_default();
        LeaderView {
            known: self.state.is_known(wallet),
            shares_before: before.shares,
            shares_after: after.shares,
            token_cost: after.cost,
            opposite_cost: opposite.cost,
            average: before.average(),
            baseline: None,
            percentile: None,
            percentile_99: None,
            sample: None,
        }
    }

    fn own_view(&self, row: &Row, subject: &Subject) -> OwnView {
        let own = own_key(row.wallet, row.billing_account_id, row.mode, subject.asset);
        let opposite = subject.facts.and_then(|f| f.opposite(subject.asset));
        self.state.own_view(&own, opposite, self.clock)
    }

    fn inputs(&self, row: &Row, subject: &Subject, own: OwnView) -> Inputs {
        let facts = subject.facts;
        let book = subject.book;
        let depth = (subject.side == Side::Buy).then(|| facts.zip(book)).flatten().map(|(facts, book)| {
            let limit = (self.version.limit)(subject.price, facts.tick, &row.policy);
            book.asks.iter().take_while(|level| level.price <= limit).map(|level| level.shares).sum()
        });
        Inputs {
            status: row.status,
            side: subject.side,
            shares: subject.shares,
            notional: subject.notional,
            price: subject.price,
            filled_at: subject.filled_at,
            tick: facts.map(|f| f.tick),
            min_shares: facts.map(|f| f.min_shares),
            fee_rate: facts.map(|f| f.fee_rate),
            fee_exponent: facts.map(|f| f.fee_exponent),
            category: facts.and_then(|f| f.category.clone()),
            slug: facts.and_then(|f| f.slug.clone()),
            accepting_orders: facts.map(|f| f.accepting_orders),
            end_at: facts.and_then(|f| f.end_at),
            best_bid: book.and_then(|b| b.bids.first()).map(|level| level.price),
            best_ask: book.and_then(|b| b.asks.first()).map(|level| level.price),
            depth_in_limit: depth,
            own,
            leader: subject.leader.clone(),
            policy: row.policy.clone(),
        }
    }

    /// Writes a decision down, and what is wanted done, and folds both.
    fn emit(
        &mut self,
        row: &Row,
        subject: &Subject,
        inputs: Inputs,
        planned: Planned,
    ) -> Result<(), DecideError> {
        if let Some(desire) = planned.kept {
            let own = own_key(row.wallet, row.billing_account_id, row.mode, subject.asset);
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
            let scheme = subject.fill_id.as_str().split(':').next().unwrap_or_default();
            self.intend(
                &CancelIntent { head: head.clone(), cancels: *cancelled, cause: scheme.to_owned() },
                row,
                subject.key,
            )?;
        }
        if let (Some(limit), Some(shares), Some(facts)) = (order.limit, order.shares, subject.facts) {
            let s = Settings::of(&row.policy);
            let send_until = subject.filled_at.plus(s.max_fill_age);
            let full = match order.amount {
                Some(amount) => amount,
                None => limit.cost(shares, Round::Up).unwrap_or_default(),
            };
            self.state.fold_placed(Placed {
                key: OrderKey {
                    own: own_key(row.wallet, row.billing_account_id, row.mode, subject.asset),
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
                },
                row,
                subject.key,
            )
        } else if let (Some(num), Some(den)) = (order.fraction_num, order.fraction_den) {
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

/// A cause id. `None` for text that is none: a request id of hundreds of characters.
fn cause(text: &str) -> Option<FillId> {
    text.parse().ok()
}
