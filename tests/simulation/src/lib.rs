//! The whole system in one thread.
pub mod dice;
pub mod fate;
pub mod oracle;
pub mod plan;
pub mod ports;
pub mod process;
pub mod run;
pub mod shrink;
pub mod stage;
pub mod tally;
pub mod time;
pub mod world;
