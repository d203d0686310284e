//! Markets and the registry in which everything else finds them.

use std::{collections::HashMap, sync::Arc};

use schemas::{AssetId, ConditionId, MarketVersion, Price, Shares, Tick, Timestamp, keccak256, money::ONE};

/// A market of the registry, by its place there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MarketRef(pub u32);

/// One side of a market.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TokenRef {
    /// The market.
    pub market: MarketRef,
    /// Which of its two outcomes.
    pub second: bool,
}

impl TokenRef {
    /// The other side of the same market.
    pub const fn opposite(self) -> Self {
        Self { market: self.market, second: !self.second }
    }

    /// 0 or 1: the venue's `outcome_index`.
    pub const fn index(self) -> usize {
        if self.second { 1 } else { 0 }
    }
}

/// One outcome: what is traded, and what it is called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// The traded id.
    pub token: AssetId,
    /// Its name, such as `Yes`.
    pub name: Arc<str>,
}

/// Everything the venue says about a market.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Market {
    /// Gamma's own number.
    pub id: u64,
    /// The condition.
    pub condition: ConditionId,
    /// The protocol: decides the exchange that orders are signed for.
    pub version: MarketVersion,
    /// The question it asks.
    pub title: Arc<str>,
    /// Its name in addresses.
    pub slug: Arc<str>,
    /// The name of its event.
    pub event_slug: Arc<str>,
    /// The picture's address.
    pub icon: Arc<str>,
    /// A word such as `sports`.
    pub category: Arc<str>,
    /// Both outcomes.
    pub outcomes: [Outcome; 2],
    /// The step of its prices.
    pub tick: Tick,
    /// The smallest resting order.
    pub min_size: Shares,
    /// Whether it belongs to a neg-risk event: decides the exchange.
    pub neg_risk: bool,
    /// The taker fee's rate in 10^-6 (`venue.md` 5.6).
    pub fee_rate: i64,
    /// The date its page names.
    pub end: Option<Timestamp>,
    /// Its first price, before anybody traded: of the first outcome.
    pub opening_price: Price,
    /// When it began to take orders.
    pub opened: Timestamp,
    /// When it stopped taking orders.
    pub closed: Option<Timestamp>,
    /// What a share of each outcome paid, in 10^-6 dollars, once that is known.
    pub payouts: Option<[i64; 2]>,
}

impl Market {
    /// Whether it takes orders at `now`.
    pub fn accepts_orders(&self, now: Timestamp) -> bool {
        self.opened <= now && self.closed.is_none_or(|closed| now < closed)
    }

    /// The payouts where one outcome took all.
    pub const fn won_by(second: bool) -> [i64; 2] {
        if second { [0, ONE] } else { [ONE, 0] }
    }
}

/// The token id that stands for the side of a market nobody told us about: 76 digits or more, made
/// from its sibling's.
pub fn unknown_sibling(token: &AssetId) -> AssetId {
    decimal_id(&[b"opposite of ", token.as_str().as_bytes()])
}

/// A token id made from a hash: the decimal digits of its 256 bits.
pub fn decimal_id(parts: &[&[u8]]) -> AssetId {
    decimal(*keccak256(parts).as_bytes())
}

/// The same for the later protocol: clients know its ids by 64 zero bits above the lowest 40 (`venue.md` 5.1).
pub fn position_id(parts: &[&[u8]]) -> AssetId {
    let mut bytes = *keccak256(parts).as_bytes();
    bytes[19..27].fill(0);
    decimal(bytes)
}

/// A condition made from a hash; of the later protocol it has 31 bytes, and a zero behind them.
pub fn condition_of(parts: &[&[u8]], version: MarketVersion) -> ConditionId {
    let mut bytes = *keccak256(parts).as_bytes();
    if version == MarketVersion::V2 {
        bytes[31] = 0;
    }
    ConditionId::from_bytes(bytes)
}

fn decimal(bytes: [u8; 32]) -> AssetId {
    // Base 10^18 limbs, least first: 256 bits take five.
    const BASE: u128 = 1_000_000_000_000_000_000;
    let mut limbs = [0u128; 5];
    for byte in bytes {
        let mut carry = u128::from(byte);
        for limb in &mut limbs {
            let value = *limb * 256 + carry;
            (*limb, carry) = (value % BASE, value / BASE);
        }
    }
    let digits = limbs.iter().rev().map(|limb| format!("{limb:018}")).collect::<Vec<_>>().concat();
    // A hash of zeros has no digits left; another one is as good a made-up id.
    digits.trim_start_matches('0').parse().unwrap_or_else(|_| decimal_id(&[digits.as_bytes()]))
}

/// All markets there ever were, in the order in which they opened.
#[derive(Debug, Default)]
pub struct Registry {
    markets: Vec<Arc<Market>>,
    by_token: HashMap<AssetId, TokenRef>,
    by_condition: HashMap<ConditionId, MarketRef>,
}

impl Registry {
    /// Adds a market.
    pub fn open(&mut self, market: Market) -> MarketRef {
        let at = MarketRef(u32::try_from(self.markets.len()).unwrap_or(u32::MAX));
        for (outcome, second) in market.outcomes.iter().zip([false, true]) {
            self.by_token.insert(outcome.token.clone(), TokenRef { market: at, second });
        }
        self.by_condition.insert(market.condition, at);
        self.markets.push(Arc::new(market));
        at
    }

    /// Ends a market: no more orders, and its payouts where they are known.
    pub fn close(&mut self, market: MarketRef, at: Timestamp, payouts: Option<[i64; 2]>) {
        if let Some(market) = self.markets.get_mut(market.0 as usize) {
            let market = Arc::make_mut(market);
            market.closed = Some(market.closed.map_or(at, |known| known.min(at)));
            market.payouts = payouts.or(market.payouts);
        }
    }

    /// The market at a place. Places are only ever made by [`Registry::open`].
    pub fn get(&self, market: MarketRef) -> Option<&Arc<Market>> {
        self.markets.get(market.0 as usize)
    }

    /// The market and the side of a token id.
    pub fn token(&self, id: &AssetId) -> Option<(TokenRef, &Arc<Market>)> {
        let token = *self.by_token.get(id)?;
        Some((token, self.get(token.market)?))
    }

    /// The market of a condition.
    pub fn condition(&self, id: ConditionId) -> Option<(MarketRef, &Arc<Market>)> {
        let market = *self.by_condition.get(&id)?;
        Some((market, self.get(market)?))
    }

    /// All markets, oldest first.
    pub fn all(&self) -> &[Arc<Market>] {
        &self.markets
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_made_up_token_id_is_the_decimal_number_of_its_hash() {
        // keccak256("") = c5d2460186f7233c927e7db2dcc703c0e500b653ca82273b7bfad8045d85a470
        let expected = "89477152217924674838424037953991966239322087453347756267410168184682657981552";
        assert_eq!(decimal_id(&[b""]).as_str(), expected);
    }

    #[test]
    fn ids_of_the_later_protocol_are_known_by_their_zero_bits() {
        // keccak256("") with bits 40 to 103 cleared.
        let expected = "89477152217924674838424037953991966239322087446709145461116182136173011248240";
        assert_eq!(position_id(&[b""]).as_str(), expected);
        assert!(condition_of(&[b""], MarketVersion::V2).to_string().ends_with("85a400"));
        assert!(condition_of(&[b""], MarketVersion::V1).to_string().ends_with("85a470"));
    }
}
