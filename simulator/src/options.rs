//! What can be set, and what each switch of `venue.md` 10 does.
//!
//! | open item | switch | default |
//! |---|---|---|
//! | Data API v1 gone? | [`Switches::v1_gone`] | gone: 410 |
//! | protocol v2 live? | [`Seeding::v2_permille`]; a tape's `version` | no market of it |
//! | units of sizes and amounts | [`Switches::base_units`] | decimals |
//! | non-zero metadata accepted? | [`Switches::accept_metadata`] | accepted |
//! | freshness window of timestamps? | [`Switches::timestamp_window_seconds`] | none |
//! | `/price` side semantics | [`Switches::price_of_taker`] | the named side of the book |
//! | `DELETE /orders`: 1000 or 3000 | [`Switches::cancels_at_once`] | 1000 |
//! | WebSocket subscription cap | [`Switches::stream_markets`] | none |
//! | what changed in `/v2/trades?user=` | [`Switches::trades_of_user_most`] | nothing |
//! | `/v2/trades`: 200 or 300 | [`Switches::trades_per_10s`] | not counted |
//! | statuses with or without prefix | [`Switches::status_prefix`] | without |
//! | rounding of the fee | [`Rules::fee_rounding`] | downwards |
//! | amounts of 5 and 6 decimals | [`Switches::strict_amounts`] | taken |

use std::{path::PathBuf, time::Duration};

use schemas::Timestamp;
use serde::{Deserialize, Serialize};
use venue::signing::ExchangeTable;

use crate::{
    exchange::Rules,
    faults::{stream::StreamWeather, weather::Weather},
    limits::Tier,
    playback::Speed,
    seeded::Seeding,
};

/// Where the prints come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Prints {
    /// Leaders made from a seed, for ever.
    Seeded(Seeding),
    /// A recorded tape, once.
    Tape(TapeOptions),
}

/// How a tape is served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TapeOptions {
    /// The file: Data API rows as a JSON array, JSON lines or CSV, plain, gzip or zstd.
    pub path: PathBuf,
    /// Gaps are divided by it.
    pub speed: Speed,
    /// Gamma rows that give market facts.
    pub markets: Option<PathBuf>,
    /// Whether rows that are equal in everything are all served.
    pub keep_equal: bool,
    /// Markets take orders until so long after the last row.
    pub grace: Duration,
}

impl TapeOptions {
    /// A tape at its own speed, without market facts, repeats dropped. Its markets take orders for two
    /// minutes after the last row, so that a follower may still copy that one.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            speed: Speed::REAL,
            markets: None,
            keep_equal: false,
            grace: Duration::from_secs(120),
        }
    }
}

/// Everything that can be set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// The port on 127.0.0.1; 0 takes a free one.
    pub port: u16,
    /// Where the prints come from.
    pub prints: Prints,
    /// When the first print happens. Without it: the first start, less `history`. A state file remembers.
    pub epoch: Option<Timestamp>,
    /// How much seeded past there is at the first start. Tapes have none.
    pub history: Duration,
    /// Rows that are kept to be served; older ones are forgotten.
    pub keep_rows: usize,
    /// What the exchange does with orders.
    pub rules: Rules,
    /// What can be switched while it runs.
    pub switches: Switches,
    /// Faults by seed, from the start; [`crate::outcomes`] makes them from a recording.
    pub weather: Weather,
    /// Mishaps of the user stream by seed, from the start.
    pub stream_weather: StreamWeather,
    /// The exchanges that orders are signed for.
    pub exchanges: ExchangeTable,
    /// A file that remembers epoch, API keys and orders over a restart. Without it nothing is remembered.
    pub state: Option<PathBuf>,
}

impl Default for Options {
    /// Seeded leaders with ten minutes of past, on a free port, without memory, in fair weather.
    fn default() -> Self {
        Self {
            port: 0,
            prints: Prints::Seeded(Seeding::default()),
            epoch: None,
            history: Duration::from_secs(600),
            keep_rows: 1_000_000,
            rules: Rules::default(),
            switches: Switches::default(),
            weather: Weather::default(),
            stream_weather: StreamWeather::default(),
            exchanges: ExchangeTable::default(),
            state: None,
        }
    }
}

impl Options {
    /// For measurements: leaders who make so many fills a second from the start on, all equally busy, and nothing
    /// else.
    pub fn at_rate(seed: u64, fills_per_second: u32) -> Self {
        let seeding = Seeding {
            seed,
            mean_gap: Duration::from_secs(1) / fills_per_second.max(1),
            top_share_permille: 0,
            change_permille: 0,
            ..Seeding::default()
        };
        Self { prints: Prints::Seeded(seeding), history: Duration::ZERO, ..Self::default() }
    }

    /// The seed of API keys and of leaders.
    pub const fn seed(&self) -> u64 {
        match &self.prints {
            Prints::Seeded(seeding) => seeding.seed,
            Prints::Tape(_) => 0,
        }
    }
}

/// The open items of `venue.md` 10 and what else may differ from one day to the next: all may be changed
/// while the simulator runs, with `POST /sim/switches`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own")]
pub struct Switches {
    /// Whether the Data API v1 is retired: its routes answer 410.
    pub v1_gone: bool,
    /// Whether statuses are written `ORDER_STATUS_LIVE` and `TRADE_STATUS_MATCHED`.
    pub status_prefix: bool,
    /// Whether sizes and amounts of orders and trades are integers of 10^-6 instead of decimals.
    pub base_units: bool,
    /// Whether an order may carry non-zero metadata.
    pub accept_metadata: bool,
    /// The oldest timestamp an order may carry, in seconds; 0: any.
    pub timestamp_window_seconds: u32,
    /// Whether amounts are held to the 4 and 5 decimals of the error texts on every tick.
    pub strict_amounts: bool,
    /// Whether a FAK that filled in part ends as `MATCHED` instead of `CANCELED`.
    pub partial_fak_matched: bool,
    /// Requests of `/v2/trades` in 10 s before 429; 0: any number.
    pub trades_per_10s: u32,
    /// For how many seconds `/v2/trades` answers the same address from a cache (`/v2/activity` for at most 15); 0:
    /// never.
    pub cache_seconds: u32,
    /// Orders that would take are answered `delayed` and matched so many milliseconds later; 0: at once
    /// (`secondsDelay` of sports).
    pub hold_millis: u32,
    /// The trades of so many orders from now on fail to settle.
    pub fail_orders: u32,
    /// A POST that would take is held for so many milliseconds before it is matched and answered; 0: not
    /// (`venue.md` 5.6: 150 on markets with `itode`).
    pub taker_delay_millis: u32,
    /// Whether `/price` answers what a taker of that side would pay; else the best price on that side of the book.
    pub price_of_taker: bool,
    /// How many ids `DELETE /orders` takes: 1000 by the changelog, 3000 by the guide.
    pub cancels_at_once: u32,
    /// How many markets a connection of the user stream may name; 0: any number.
    pub stream_markets: u32,
    /// Whether events of the user stream come as objects, in arrays, or now so and now so.
    pub stream_frames: StreamFrames,
    /// The most rows that a page of `/v2/trades` has when it names a wallet; 0: what is asked for. What the change of
    /// 2026-10-07 did is not known: this is the guess that asks most of a client.
    pub trades_of_user_most: u32,
    /// Whether a failed entry of a batch says `success: true` all the same.
    pub failed_says_success: bool,
    /// Whether every answer of the order routes is 403, as from a region that may not trade.
    pub region_restricted: bool,
    /// The signers' tier.
    pub tier: Tier,
    /// Whether requests are counted for each caller and refused beyond `venue.md` 7. A caller is an address on the
    /// network; in one process it is whoever names itself in [`CALLER`](crate::CALLER).
    pub count_requests: bool,
}

/// How events of the user stream are framed (`venue.md` 3.2 shows both).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StreamFrames {
    /// Each by itself.
    #[default]
    Objects,
    /// Arrays, of all that came at once.
    Arrays,
    /// An array where several came at once and for every second event, else an object.
    Mixed,
}

impl Switches {
    /// What the documents say of limits and delays, in force: 150 ms before a taker is matched, the standard tier,
    /// requests counted. The defaults leave them out, so that a measurement measures its own subject.
    pub fn documented() -> Self {
        Self { taker_delay_millis: 150, tier: Tier::Standard, count_requests: true, ..Self::default() }
    }
}

impl Default for Switches {
    /// v1 retired, plain statuses, decimals, metadata accepted, `/price` by the side of the book, 1,000 cancels at once,
    /// objects on the user stream, failed entries of a batch that say success; nothing limited, nothing delayed.
    fn default() -> Self {
        Self {
            v1_gone: true,
            status_prefix: false,
            base_units: false,
            accept_metadata: true,
            timestamp_window_seconds: 0,
            strict_amounts: false,
            partial_fak_matched: false,
            trades_per_10s: 0,
            cache_seconds: 0,
            hold_millis: 0,
            fail_orders: 0,
            taker_delay_millis: 0,
            price_of_taker: false,
            cancels_at_once: 1_000,
            stream_markets: 0,
            stream_frames: StreamFrames::Objects,
            trades_of_user_most: 0,
            failed_says_success: true,
            region_restricted: false,
            tier: Tier::Unlimited,
            count_requests: false,
        }
    }
}
