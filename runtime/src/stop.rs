//! How a stage is told to stop: it finishes the batch at hand, leaves its groups, and returns.

use tokio_util::sync::CancellationToken;

/// A request to stop, seen by every clone.
#[derive(Debug, Clone, Default)]
pub struct Stop(CancellationToken);

impl Stop {
    /// Nobody asked yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks everybody who holds a clone to drain and stop.
    pub fn request(&self) {
        self.0.cancel();
    }

    /// Whether somebody asked.
    pub fn is_requested(&self) -> bool {
        self.0.is_cancelled()
    }

    /// Returns once somebody asks.
    pub async fn requested(&self) {
        self.0.cancelled().await;
    }

    /// A stop that follows this one and can also be asked for alone.
    pub fn child(&self) -> Self {
        Self(self.0.child_token())
    }
}
