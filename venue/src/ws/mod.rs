//! WebSocket clients: they connect, keep the connection alive, notice when it is dead, and connect again. What was said
//! while nobody listened is never said again, so each of them tells when it listens and when it does not.
//!
//! A proxy of the environment is not used: WebSockets go straight to the venue.

mod backoff;
mod link;
mod user;

use std::time::Duration;

pub use backoff::Backoff;
pub use user::UserSocket;

/// How patient a WebSocket client is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WsSettings {
    /// To connect, TLS and the upgrade included.
    pub connect_timeout: Duration,
    /// How often the text `PING` is sent (`venue.md` 3).
    pub ping: Duration,
    /// A connection from which nothing came for so long, no answer to a ping either, is dead.
    pub silence: Duration,
    /// A connection is made anew after so long, whatever it seems to be: venues were seen to answer pings and tell
    /// nothing for hours (`venue.md` 3.4).
    pub renew: Duration,
    /// A connection that lived so long was a good one: after it the waits begin anew.
    pub stable: Duration,
    /// The first wait before another attempt; it doubles.
    pub first_wait: Duration,
    /// The longest.
    pub longest_wait: Duration,
}

impl Default for WsSettings {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(10),
            ping: Duration::from_secs(10),
            silence: Duration::from_secs(30),
            renew: Duration::from_secs(15 * 60),
            stable: Duration::from_secs(60),
            first_wait: Duration::from_millis(250),
            longest_wait: Duration::from_secs(30),
        }
    }
}
