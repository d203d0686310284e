//! Thin HTTP clients of the venue: build a URL, send, read. They retry nothing, wait for nothing and decide
//! nothing; what the venue asks for (`Retry-After`) is handed to the caller.

mod clob;
mod data;
mod gamma;
mod public;
mod transport;

pub use clob::Clob;
pub use data::DataApi;
pub use gamma::Gamma;
pub use public::PublicData;
pub use transport::HttpSettings;

/// Where the venue is. Each can be the simulator's.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(default)]
pub struct Endpoints {
    /// The Data API.
    pub data_api: String,
    /// Gamma.
    pub gamma: String,
    /// The CLOB.
    pub clob: String,
    /// The WebSockets.
    pub streams: String,
}

impl Default for Endpoints {
    /// The real venue.
    fn default() -> Self {
        Self {
            data_api: "https://data-api.polymarket.com".to_owned(),
            gamma: "https://gamma-api.polymarket.com".to_owned(),
            clob: "https://clob.polymarket.com".to_owned(),
            streams: "wss://ws-subscriptions-clob.polymarket.com".to_owned(),
        }
    }
}

impl Endpoints {
    /// All of them under one HTTP address: the simulator's.
    pub fn all_at(base: &str) -> Self {
        let base = base.to_owned();
        // `http` and `https` become `ws` and `wss`.
        let streams = base.strip_prefix("http").map_or_else(|| base.clone(), |rest| format!("ws{rest}"));
        Self { data_api: base.clone(), gamma: base.clone(), clob: base, streams }
    }
}
