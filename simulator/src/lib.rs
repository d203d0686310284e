//! A Polymarket look-alike on loopback: for demos, for whole-system tests, and for measurements.
//!
//! - **Goes in**: a seed or a recorded tape, the time, HTTP requests and WebSockets as the venue takes them,
//!   and faults on demand, by count or by seed ([`faults`]).
//! - **Comes out**: the Data API v2, Gamma, the CLOB and the user stream on one address, with the venue's words,
//!   roundings, fees, signatures, limits and error texts (`venue.md`); `/sim/…` tells oracles what really
//!   happened, and takes faults, switches, wallets and modes from tests.
//! - **Remembers**: with a state file ([`journal`]), its epoch, API keys, orders, wallets and heartbeats; prints
//!   follow from the seed or the tape. Without one, nothing. Faults, switches, modes and what clients used up of
//!   their limits are never remembered.
//! - **When it dies**: a new one on the same state file has the same past, knows every order that was
//!   answered, and none twice. Nothing is told again on the user stream, as at the venue.
//!
//! ```text
//!  seed ──► leaders ─┐                         ┌─► Data API, Gamma
//!                    ├─► happenings ─► world ──┼─► CLOB ◄─► orders
//!  tape ──► playback ┘     in time     ▲       └─► news ─► user stream
//!                                      │ orders, at their own times
//!                                   journal
//! ```
//!
//! Seeded leaders buy, sell, split, merge and are paid out ([`Seeding`]); a tape in the Data API's activity format is
//! served as such: its trades in both lists, the rest in `/v2/activity` only. Positions follow all of it. Conversions
//! and migrations of a tape are shown and move nothing: their rows do not say what they took.
//!
//! The [`world`] is a pure state: it moves only when told the time or given an order. There is no task in
//! the background; a request brings the world up to date first. So it works under a virtual clock too, and
//! a restart only has to tell a new world what the old one was told. A connection of the user stream sleeps
//! until a request changed the world or the world's next own event is due; what it sends depends on nothing else.
//! [`Local`] is all of it as the venue's ports, in one process and without a socket.
//!
//! What the documents leave open is a switch ([`options::Switches`], [`exchange::Rules`]), each with its default.
//! Foreign clients trade here too: `compat/README.md` says what works and lists every gap.

pub mod book;
pub mod dice;
pub mod exchange;
pub mod facts;
pub mod faults;
pub mod history;
pub mod holdings;
pub mod journal;
pub mod limits;
pub mod market;
pub mod modes;
pub mod options;
pub mod outcomes;
pub mod playback;
pub mod print;
pub mod seeded;
pub mod tape;
pub mod world;

mod http;
mod keys;
mod ledger;
mod listener;
mod local;
mod server;
mod shared;
mod stream;

pub use exchange::{Fate, WalletChange};
pub use faults::{
    Answer, Fault,
    stream::{Mishap, StreamFault, StreamWeather},
    weather::{Spell, Weather},
};
pub use http::{CALLER, DROPPED, OrderView, Stats, TradeView};
pub use journal::JournalFailed;
pub use limits::Tier;
pub use local::Local;
pub use modes::Mode;
pub use options::{Options, Prints, StreamFrames, Switches, TapeOptions};
pub use playback::Speed;
pub use seeded::Seeding;
pub use server::{Builder, Handle, Simulator, SimulatorError, TapeReport, run};
pub use shared::Tally;
