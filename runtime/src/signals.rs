//! The names of all metrics and structured log events (`behaviour.md` 9): one page, so that a dashboard
//! never asks for a name that nothing writes.

/// Log event: a partition owner started polling. Once per start and partition owner.
pub const SINGLETON_CLAIM: &str = "poly.mirror.poll.singleton_claim";
/// Log event and counter: a wallet was fetched. Fields: wallet, raw, fills, phase.
pub const WALLET_FETCH: &str = "poly.wallet_watch.fetch";
/// Counter: a stream woke the poll up.
pub const WS_WAKEUP: &str = "poly.wallet_watch.ws.wakeup_total";
/// Log event and counter: a decision. Fields: outcome, reason.
pub const DECISION: &str = "poly.mirror.decision";
/// Log event and counter: a tick failed. Any is a bug.
pub const TICK_ERROR: &str = "poly.mirror.poll.tick_error";
/// Counter: an order reached a status. Label: status.
pub const ORDER: &str = "poly.mirror.order";
/// Histogram in seconds: from ingest seeing a fill to the venue's answer, by step. Label: step.
pub const LATENCY: &str = "poly.mirror.latency_seconds";
/// Gauge: records of its inputs that a stage has not taken yet. Label: stage.
pub const LAG: &str = "poly.mirror.lag_records";
/// Counter: a record that could not be read went to `dead-letters`. Labels: stage, topic.
pub const DEAD_LETTER: &str = "poly.mirror.dead_letter";
/// Counter: a cut that is not the next of its chain was ignored.
pub const FOREIGN_CUT: &str = "poly.mirror.foreign_cut";
