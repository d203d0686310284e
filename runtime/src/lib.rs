//! What a stage's shell stands on, so that it touches nothing of the machine by itself.
//!
//! - [`clock`]: the time, system or virtual.
//! - [`chance`]: random bytes, from the machine or from a seed.
//! - [`stop`]: how a stage is told to drain and stop.
//! - [`signals`]: the names of all metrics and log events, in one place.
//! - [`board`]: the live figures that `polymirror up` draws.
//!
//! With a virtual clock and a seed, the same shells run in one thread and repeat exactly (`design.md`, Ports).

pub mod board;
pub mod chance;
pub mod clock;
pub mod signals;
pub mod stop;

pub use board::Board;
pub use chance::Chance;
pub use clock::{Clock, SystemClock, VirtualClock};
pub use stop::Stop;
