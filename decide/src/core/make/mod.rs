//! One cut in the making: each input folded and, where it asks for decisions, decided for every subscribed tenant.
//!
//! [`closes`]: what is closed without a SELL of the leader. [`exits`]: what our own rules close. [`write`]: decisions
//! and intents as records.

mod closes;
mod exits;
mod write;

use eventlog::{Offset, Record};
use schemas::{
    Address, AssetId, BillingAccountId, ConditionId, FillId, FillKind, Hash32, IdempotencyKey, Price, Shares,
    Side, TargetId, Timestamp, TxHash, Usdc,
    codec::Codec,
    events::{
        BookSnapshot, Decision, Fill, FillsEvent, Inputs, LeaderView, MarketFacts, OrdersEvent, OwnView,
        TargetsEvent,
    },
};

use crate::{
    DecideError,
    cut::Salt,
    plan::Version,
    state::{State, leader::Holding, targets::Row},
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

impl Subject<'_> {
    /// What kind of fill or cause it is: the first part of its id.
    fn scheme(&self) -> &str {
        self.fill_id.as_str().split(':').next().unwrap_or_default()
    }
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
            FillsEvent::TokenMarked(mark) => self.on_marked(offset, &mark),
            // Watermarks are ingest's.
            FillsEvent::Watermark(_) => Ok(()),
        }
    }

    /// A fill: one decision for each subscribed tenant, unless it repeats, or is history. History, and what came late,
    /// count for percentiles alone.
    fn on_fill(&mut self, offset: Offset, fill: &Fill) -> Result<(), DecideError> {
        self.state.fold_bought(fill, self.clock);
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
        let besides = self.state.held_besides(fill.wallet, &fill.asset);
        let (before, after) = (moved.before.and(besides), moved.after.and(besides));
        let leader = self.leader_view(fill.wallet, opposite, before, after);
        if leader.known && fill.facts.is_some() {
            // Without facts the other token's cost is not known, and without the snapshot neither: the baseline waits.
            let cost = before.cost.saturating_add(leader.opposite_cost);
            for row in &rows {
                self.state.fold_baseline(row.target_row_id, fill.condition_id, cost);
            }
        }
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
                let own = self.state.own_key(row.wallet, row.billing_account_id, row.mode, subject.asset);
                self.state.drop_kept(&own);
            }
            self.emit(row, subject, inputs, planned)?;
        }
        Ok(())
    }

    fn leader_view(
        &self,
        wallet: Address,
        opposite: Option<&AssetId>,
        before: Holding,
        after: Holding,
    ) -> LeaderView {
        let held = |o| self.state.holding(wallet, o).and(self.state.held_besides(wallet, o));
        let opposite = opposite.map(held).unwrap_or_default();
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
            spent: None,
        }
    }

    /// What of the leader's side differs from row to row: baselines, and the percentiles that a sizing asks for.
    fn leader_for(&self, row: &Row, subject: &Subject) -> LeaderView {
        let mut view = subject.leader.clone();
        view.baseline = self.state.baseline(row.target_row_id, subject.condition);
        let percent = (self.version.settings)(&row.policy).percentile;
        if let Some(percent) = percent.filter(|_| subject.side == Side::Buy) {
            let sample = &self.state.sample;
            view.percentile = sample.percentile(subject.wallet, percent);
            view.percentile_99 = sample.percentile(subject.wallet, 99);
            view.sample = i32::try_from(sample.tokens(subject.wallet)).ok();
            let asset = self.state.current(subject.wallet, subject.asset);
            view.spent = Some(sample.spent(subject.wallet, asset));
        }
        view
    }

    fn own_view(&self, row: &Row, subject: &Subject) -> OwnView {
        let own = self.state.own_key(row.wallet, row.billing_account_id, row.mode, subject.asset);
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
            leader: self.leader_for(row, subject),
            policy: row.policy.clone(),
        }
    }
}
