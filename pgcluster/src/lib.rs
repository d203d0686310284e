//! A private Postgres cluster: found on the machine, made on first use, started, watched, stopped.
//!
//! ```no_run
//! # async fn example() -> Result<(), pgcluster::Error> {
//! let cluster = pgcluster::Cluster::options(".polymirror/postgres").start().await?;
//! let url = cluster.owner_url(); // holds the password: never log it
//! let mut status = cluster.status(); // says when the server died under us
//! # drop((url, status.borrow_and_update().clone()));
//! cluster.stop().await?;
//! # Ok(())
//! # }
//! ```
//!
//! **What it promises.** The server listens on 127.0.0.1 alone, has no socket file, and asks every role
//! for its password (scram). `fsync` and `full_page_writes` are on whatever a configuration file says.
//! The superuser's password is made with the cluster and kept in a file of mode 0600. Nothing is ever
//! replaced by something else in silence: a wrong `PG_BIN`, a data directory of another major version, a
//! foreign server in our directory are errors that name the cause and the remedy.
//!
//! **What lies where**, under the cluster's home:
//!
//! | entry | holds |
//! |---|---|
//! | `data/` | the Postgres data directory; appears complete or not at all |
//! | `superuser-password` | what [`Cluster::owner_url`] logs in with |
//! | `port` | the port of last time, taken again when it is free |
//! | `postgres.log`, `postgres.log.old` | what the server says |
//! | `supervisor.lock` | held by the one process that supervises this cluster; says which, and the port once the server is ready |
//!
//! Another process of the same installation reaches the server through [`attach`].
//!
//! **When it dies.** The server runs in a process group of its own, so a Ctrl-C at the terminal reaches
//! the program and not the database. Three nets keep a server from outliving its supervisor, however
//! that one ends:
//!
//! 1. dropping [`Cluster`] stops the server;
//! 2. a watchdog, a shell that waits for the end of a pipe which only we hold open, asks the server to
//!    stop when this process is gone, by kill -9 or otherwise (`PR_SET_PDEATHSIG` would need `unsafe`);
//! 3. the next start finds a server that is still there, knows it for its own by its command line, and
//!    stops it first.

mod attach;
mod binaries;
mod cluster;
mod error;
mod home;
mod launch;
mod leftovers;
mod lock;
mod run_as;
mod watchdog;

pub use attach::{Attached, attach};
pub use binaries::Binaries;
pub use cluster::{Cluster, Options, Status};
pub use error::Error;

/// What every fallible call here returns.
pub type Result<T, E = Error> = std::result::Result<T, E>;
