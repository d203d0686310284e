//! Which contract an order is signed for. The table is configuration: contracts move.

use schemas::{
    ids::{Address, Hash32},
    words::MarketVersion,
};
use serde::{Deserialize, Serialize};

use super::eip712;

/// The EIP-712 name of every exchange.
const NAME: &str = "Polymarket CTF Exchange";

/// One exchange contract.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exchange {
    /// The version of its EIP-712 domain.
    pub version: String,
    /// The contract.
    pub contract: Address,
}

/// The exchanges of the venue, by route.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExchangeTable {
    /// The chain.
    pub chain_id: u64,
    /// Version 1 markets.
    pub normal: Exchange,
    /// Version 1 markets of neg-risk events.
    pub neg_risk: Exchange,
    /// Version 2 markets (position ids).
    pub v3: Exchange,
}

/// Where an order goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Route {
    /// A version 1 market.
    Normal,
    /// A version 1 market of a neg-risk event.
    NegRisk,
    /// A version 2 market.
    V3,
}

impl Route {
    /// The route of a market. It follows from the market's version and never from its ids (`venue.md` 0.3).
    pub const fn of(version: MarketVersion, neg_risk: bool) -> Self {
        match (version, neg_risk) {
            (MarketVersion::V1, false) => Self::Normal,
            (MarketVersion::V1, true) => Self::NegRisk,
            (MarketVersion::V2, _) => Self::V3,
        }
    }
}

const fn contract(bytes: [u8; 20]) -> Address {
    Address::from_bytes(bytes)
}

impl Default for ExchangeTable {
    /// Polygon (`venue.md` 5.1).
    fn default() -> Self {
        Self {
            chain_id: 137,
            normal: Exchange {
                version: "2".to_owned(),
                contract: contract([
                    0xe1, 0x11, 0x18, 0x00, 0x00, 0xd2, 0x66, 0x3c, 0x00, 0x91, 0xe4, 0xf4, 0x00, 0x23, 0x75,
                    0x45, 0xb8, 0x7b, 0x99, 0x6b,
                ]),
            },
            neg_risk: Exchange {
                version: "2".to_owned(),
                contract: contract([
                    0xe2, 0x22, 0x2d, 0x27, 0x9d, 0x74, 0x40, 0x50, 0xd2, 0x8e, 0x00, 0x52, 0x00, 0x10, 0x52,
                    0x00, 0x00, 0x31, 0x0f, 0x59,
                ]),
            },
            v3: Exchange {
                version: "3".to_owned(),
                contract: contract([
                    0xe3, 0x33, 0x37, 0x00, 0xca, 0x9d, 0x93, 0x00, 0x3f, 0x00, 0xf0, 0xf7, 0x1f, 0x85, 0x15,
                    0x00, 0x5f, 0x6c, 0x00, 0xaa,
                ]),
            },
        }
    }
}

impl ExchangeTable {
    /// The exchange of a route.
    pub const fn exchange(&self, route: Route) -> &Exchange {
        match route {
            Route::Normal => &self.normal,
            Route::NegRisk => &self.neg_risk,
            Route::V3 => &self.v3,
        }
    }

    /// The EIP-712 domain separator of a route.
    pub fn domain_separator(&self, route: Route) -> Hash32 {
        let exchange = self.exchange(route);
        eip712::domain_separator(NAME, &exchange.version, self.chain_id, Some(exchange.contract))
    }
}
