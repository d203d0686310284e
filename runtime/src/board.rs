//! The live figures of one process: what `polymirror up` draws and the API's status page answers.
//!
//! Stages add to it; nothing is decided from it.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use hdrhistogram::Histogram;

/// A step of a trade's way through the pipeline, for the split of its latency.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// Ingest saw the fill, to the record being in the log.
    Published,
    /// Ingest saw the fill, to its decision being in the log.
    Decided,
    /// Ingest saw the fill, to its order being committed at the gate.
    Committed,
    /// Ingest saw the fill, to the order being handed to the venue.
    Sent,
    /// Ingest saw the fill, to the venue's answer.
    Answered,
}

impl Step {
    /// Every step, in the order in which a trade takes them.
    pub const ALL: [Self; 5] = [Self::Published, Self::Decided, Self::Committed, Self::Sent, Self::Answered];

    /// The step as a metric label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Published => "published",
            Self::Decided => "decided",
            Self::Committed => "committed",
            Self::Sent => "sent",
            Self::Answered => "answered",
        }
    }
}

/// The figures at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Figures {
    /// Fills published since the start, amendments included.
    pub fills: u64,
    /// Fills published before the start, as far back as ingest remembers: a week.
    pub earlier_fills: u64,
    /// Decisions by reason.
    pub decisions: BTreeMap<&'static str, u64>,
    /// Orders by the status they last reached, as far as this process saw.
    pub orders: BTreeMap<&'static str, u64>,
    /// p50 and p99 of each step, over all since the start.
    pub latency: BTreeMap<&'static str, (Duration, Duration)>,
    /// Records not yet taken, per stage.
    pub lag: BTreeMap<&'static str, u64>,
    /// What went wrong, by kind: dead letters, poll errors.
    pub troubles: BTreeMap<String, u64>,
}

#[derive(Debug, Default)]
struct Inner {
    figures: Figures,
    /// Microseconds, three digits.
    steps: BTreeMap<Step, Histogram<u64>>,
}

/// Where stages add their figures; clones share them.
#[derive(Debug, Clone, Default)]
pub struct Board(Arc<Mutex<Inner>>);

impl Board {
    /// An empty board.
    pub fn new() -> Self {
        Self::default()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ingest published `n` fills.
    pub fn fills(&self, n: u64) {
        self.lock().figures.fills += n;
    }

    /// Ingest found `n` fills that were published before.
    pub fn earlier_fills(&self, n: u64) {
        self.lock().figures.earlier_fills += n;
    }

    /// What decisions and orders came to before this process: counts go on from there.
    pub fn go_on_from(
        &self,
        decisions: impl IntoIterator<Item = (schemas::Reason, u64)>,
        orders: impl IntoIterator<Item = (schemas::OrderStatus, u64)>,
    ) {
        let figures = &mut self.lock().figures;
        for (reason, n) in decisions {
            *figures.decisions.entry(reason.as_str()).or_default() += n;
        }
        for (status, n) in orders {
            *figures.orders.entry(status.as_str()).or_default() += n;
        }
    }

    /// Decide recorded a decision.
    pub fn decision(&self, outcome: schemas::Outcome, reason: schemas::Reason) {
        *self.lock().figures.decisions.entry(reason.as_str()).or_default() += 1;
        metrics::counter!(crate::signals::DECISION, "outcome" => outcome.as_str(), "reason" => reason.as_str())
            .increment(1);
    }

    /// An order went from one status to another (`None`: it is new).
    pub fn order(&self, from: Option<schemas::OrderStatus>, to: schemas::OrderStatus) {
        let mut inner = self.lock();
        if let Some(from) = from
            && let Some(n) = inner.figures.orders.get_mut(from.as_str())
        {
            *n = n.saturating_sub(1);
        }
        *inner.figures.orders.entry(to.as_str()).or_default() += 1;
        metrics::counter!(crate::signals::ORDER, "status" => to.as_str()).increment(1);
    }

    /// A trade reached a step this long after ingest saw its fill.
    pub fn reached(&self, step: Step, after: Duration) {
        let micros = u64::try_from(after.as_micros()).unwrap_or(u64::MAX);
        let mut inner = self.lock();
        let histogram = match inner.steps.entry(step) {
            Entry::Occupied(there) => Some(there.into_mut()),
            // Three digits are within what a histogram allows: it is always there.
            Entry::Vacant(free) => Histogram::new(3).ok().map(|new| free.insert(new)),
        };
        if let Some(Err(past)) = histogram.map(|h| h.record(micros)) {
            tracing::debug!(error = %past, "a latency past what a histogram holds");
        }
        metrics::histogram!(crate::signals::LATENCY, "step" => step.as_str()).record(after.as_secs_f64());
    }

    /// A stage is this many records behind its inputs.
    pub fn lag(&self, stage: &'static str, records: u64) {
        self.lock().figures.lag.insert(stage, records);
        #[expect(clippy::cast_precision_loss, reason = "a gauge for people")]
        metrics::gauge!(crate::signals::LAG, "stage" => stage).set(records as f64);
    }

    /// Something went wrong, and the stage went on.
    pub fn trouble(&self, kind: &str) {
        *self.lock().figures.troubles.entry(kind.to_owned()).or_default() += 1;
    }

    /// The figures now.
    pub fn figures(&self) -> Figures {
        let inner = self.lock();
        let mut figures = inner.figures.clone();
        for (step, histogram) in &inner.steps {
            let at = |q| Duration::from_micros(histogram.value_at_quantile(q));
            figures.latency.insert(step.as_str(), (at(0.50), at(0.99)));
        }
        figures
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use schemas::OrderStatus;

    #[test]
    fn an_order_stands_in_one_status_at_a_time() {
        let board = Board::new();
        board.order(None, OrderStatus::Reserved);
        board.order(Some(OrderStatus::Reserved), OrderStatus::Open);
        let orders = board.figures().orders;
        assert_eq!(orders.get("reserved"), Some(&0));
        assert_eq!(orders.get("open"), Some(&1));
    }

    #[test]
    fn counts_go_on_where_they_stood() {
        let board = Board::new();
        board.go_on_from([(schemas::Reason::Ok, 5)], [(OrderStatus::Open, 2)]);
        board.decision(schemas::Outcome::Placed, schemas::Reason::Ok);
        board.order(Some(OrderStatus::Open), OrderStatus::Filled);
        let figures = board.figures();
        assert_eq!(figures.decisions.get("ok"), Some(&6));
        assert_eq!((figures.orders.get("open"), figures.orders.get("filled")), (Some(&1), Some(&1)));
    }

    #[test]
    fn latencies_are_told_as_quantiles() {
        let board = Board::new();
        for ms in 1..=100 {
            board.reached(Step::Sent, Duration::from_millis(ms));
        }
        let (p50, p99) = board.figures().latency["sent"];
        assert!((45..=55).contains(&p50.as_millis()), "{p50:?}");
        assert!((95..=101).contains(&p99.as_millis()), "{p99:?}");
    }
}
