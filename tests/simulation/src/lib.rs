//! The whole system in one thread, under virtual time, and everything that goes wrong chosen by a seed.
//!
//! - **Goes in**: a seed. From it follow a story (who trades, who follows, who changes his mind: [`plan`]), the fate of
//!   every call ([`fate`]), and what happens to processes (they die at any await, freeze and go on as zombies, lose
//!   their partitions, run beside each other).
//! - **Comes out**: the first rule that was broken ([`oracle`]), and what the run was like. The same seed gives the same
//!   log, ledger, tables and venue, byte for byte.
//! - **Remembers** nothing between runs. A story that breaks a rule is shrunk to a short one ([`mod@shrink`]).
//!
//! ```text
//!   seed ─► plan ─┬─► venue (simulator, its script)        ◄──┐
//!                 ├─► log, ledger, tables (in memory)      ◄──┤ ports: ways there and back, faults, witnesses
//!                 └─► world: fills, targets, grants           │
//!                                                             │
//!   agenda (virtual time) ─► processes: decide, execute, project, one or two of each, through their public shells
//! ```
//!
//! **Why it is exact.** Each process has a scheduler of its own and runs until all of its tasks wait ([`process`]); then
//! time jumps to what is due next ([`mod@time`]), which wakes one process. Nothing reads a machine's clock, no thread is
//! started, no chance is unseeded. A call takes its way there, has its effect at one moment, and takes its way back
//! ([`ports`]): processes are stopped, killed and overtaken between these, at every await that reaches outside. A
//! request to the venue goes on its way whatever becomes of whoever sent it.
//!
//! **When nothing goes wrong any more** (`quiet` in a plan) everything has to come to an end by itself within 45 minutes
//! of virtual time: whatever waits for ever is found.
//!
//! What is simulated is the network, the disks and the machines. Decide, execute, project, the log's member and group
//! logic, the ledger's transactions, the venue's matching and our client's reading of its answers are the real ones.

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
