//! The venues that an executor may place orders at.

use std::{collections::BTreeMap, fmt, sync::Arc};

use async_trait::async_trait;
use schemas::{Mode, Timestamp};
use venue::{
    VenueError,
    http::Clob,
    port::{Exchange, MarketData, UserChannel},
    signing::{ApiCreds, LocalSigner},
};

use crate::shell::limits::Limits;

/// Who gives API credentials to a signing key (`venue.md` 4, L1).
#[async_trait]
pub trait KeyIssuer: Send + Sync {
    /// The credentials of a key: derived where they exist, created where not.
    ///
    /// # Errors
    /// No answer, or a refusal.
    async fn api_key(&self, key: &LocalSigner, now: Timestamp, chain_id: u64)
    -> Result<ApiCreds, VenueError>;
}

#[async_trait]
impl KeyIssuer for Clob {
    async fn api_key(
        &self,
        key: &LocalSigner,
        now: Timestamp,
        chain_id: u64,
    ) -> Result<ApiCreds, VenueError> {
        // Nonce 0: the one set of credentials that every client derives by default.
        Self::api_key(self, key, now, 0, chain_id).await
    }
}

/// The venues by mode. A mode without one is not served: its BUYs and SELLs are denied, never sent elsewhere.
#[derive(Clone)]
pub struct Venues {
    exchanges: BTreeMap<Mode, Arc<dyn Exchange>>,
    channels: BTreeMap<Mode, Arc<dyn UserChannel>>,
    limits: Arc<Limits>,
    issuer: Arc<dyn KeyIssuer>,
    market: Arc<dyn MarketData>,
    modes: Arc<[Mode]>,
}

impl fmt::Debug for Venues {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Venues").field("modes", &self.modes).finish_non_exhaustive()
    }
}

impl Venues {
    /// One exchange that serves one mode.
    pub fn one(
        mode: Mode,
        exchange: Arc<dyn Exchange>,
        issuer: Arc<dyn KeyIssuer>,
        market: Arc<dyn MarketData>,
    ) -> Self {
        let (exchanges, channels) = (BTreeMap::new(), BTreeMap::new());
        Self { exchanges, channels, limits: Arc::default(), issuer, market, modes: Arc::new([]) }
            .with(mode, exchange)
    }

    /// Another exchange for another mode.
    pub fn with(mut self, mode: Mode, exchange: Arc<dyn Exchange>) -> Self {
        self.exchanges.insert(mode, exchange);
        self.modes = self.exchanges.keys().copied().collect();
        self
    }

    /// The exchange of a mode.
    pub fn exchange(&self, mode: Mode) -> Option<&Arc<dyn Exchange>> {
        self.exchanges.get(&mode)
    }

    /// A mode whose venue tells of its own accord what happens. Without one, orders are found out about by asking.
    pub fn with_channel(mut self, mode: Mode, channel: Arc<dyn UserChannel>) -> Self {
        self.channels.insert(mode, channel);
        self
    }

    /// Where the venue of a mode tells what happens.
    pub fn channel(&self, mode: Mode) -> Option<&Arc<dyn UserChannel>> {
        self.channels.get(&mode)
    }

    /// How often it may be asked. Shared by all clones, since the venue counts by address.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// The modes served.
    pub fn modes(&self) -> &[Mode] {
        &self.modes
    }

    /// Who gives API credentials.
    pub fn issuer(&self) -> &dyn KeyIssuer {
        &*self.issuer
    }

    /// What everybody may know of the markets.
    pub fn market(&self) -> &dyn MarketData {
        &*self.market
    }
}
