//! How patient execute is.

use std::time::Duration;

/// The settings of the stage. The defaults are those of `design.md` and `behaviour.md`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// How long a partition's lease runs from each renewal.
    pub lease: Duration,
    /// How often it is renewed.
    pub renew: Duration,
    /// How long the log's group waits for a member that is not heard of.
    pub session: Duration,
    /// How long a poll waits for the first intent: the longest that a stop goes unheard.
    pub poll: Duration,
    /// Intents in one gate transaction, at most.
    pub batch: usize,
    /// Orders a second for one signer (`venue.md` 7, tier Standard).
    pub orders_per_second: u32,
    /// Orders at once for one signer.
    pub orders_burst: u32,
    /// How long to wait where the venue says to come back later, and not when.
    pub come_back: Duration,
    /// Orders that are looked at at the same time.
    pub looks: usize,
    /// Connections of one partition whose user streams are listened to; the others are found out about by asking.
    pub streams: usize,
    /// How often the reconciler asks for what is due.
    pub tick: Duration,
    /// How often the outbox, intents that wait and closes are looked at by themselves; commits wake them besides.
    pub relay: Duration,
    /// How often balances are read, refusals tried again, published records forgotten.
    pub housekeeping: Duration,
    /// How long a stop waits for orders on their way.
    pub drain: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            lease: Duration::from_secs(10),
            renew: Duration::from_secs(2),
            session: Duration::from_secs(10),
            poll: Duration::from_millis(250),
            batch: 256,
            orders_per_second: 40,
            orders_burst: 60,
            come_back: Duration::from_secs(1),
            looks: 32,
            streams: 200,
            tick: Duration::from_millis(250),
            relay: Duration::from_millis(500),
            housekeeping: Duration::from_secs(30),
            drain: Duration::from_secs(10),
        }
    }
}
