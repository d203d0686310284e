//! `markets`: facts, book and price samples, resolutions. The same facts and books travel with fills, so
//! that decide never reads this topic.

use crate::{AssetId, ConditionId, MarketVersion, Price, Shares, Tick, Timestamp, Usdc, record};

record! {
    /// One outcome of a market: its traded id and its name.
    MarketToken {
        /// The traded id.
        asset: AssetId,
        /// The outcome's name, as the venue shows it.
        outcome: String,
    }
}

record! {
    /// What the venue says about a market: what is needed to size, price and sign an order in it.
    MarketFacts {
        /// The market's condition.
        condition_id: ConditionId,
        /// Its outcomes, in the venue's order.
        tokens: Vec<MarketToken>,
        /// The protocol it trades on: decides the exchange contract that an order is signed for.
        version: MarketVersion,
        /// Whether it belongs to a neg-risk event: another exchange contract.
        neg_risk: bool,
        /// The smallest price step.
        tick: Tick,
        /// The smallest order that may rest.
        min_shares: Shares,
        /// Whether it takes orders.
        accepting_orders: bool,
        /// When it ends; a date without time is the end of that UTC day.
        end_at: Option<Timestamp>,
        /// The taker fee rate in 10^-6: fee = shares x rate x (p (1 - p))^exponent.
        fee_rate: i64,
        /// The exponent of the fee formula.
        fee_exponent: i32,
        /// The category, where the venue names one.
        category: Option<String>,
        /// The market's slug.
        slug: Option<String>,
        /// The market's question.
        title: Option<String>,
    }
}

impl MarketFacts {
    /// The other outcome of a two-sided market.
    pub fn opposite(&self, asset: &AssetId) -> Option<&AssetId> {
        match self.tokens.as_slice() {
            [a, b] if a.asset == *asset => Some(&b.asset),
            [a, b] if b.asset == *asset => Some(&a.asset),
            _ => None,
        }
    }
}

record! {
    /// One level of a book.
    BookLevel {
        /// The level's price.
        price: Price,
        /// What stands there.
        shares: Shares,
    }
}

record! {
    /// A token's book at a moment, best levels first, at most 20 a side.
    BookSnapshot {
        /// The token.
        asset: AssetId,
        /// When the venue made it.
        as_of: Timestamp,
        /// What others pay, highest first.
        bids: Vec<BookLevel>,
        /// What others ask, lowest first.
        asks: Vec<BookLevel>,
    }
}

record! {
    /// A market's facts as of now. The newest record of a condition holds.
    MarketState {
        /// The facts.
        facts: MarketFacts,
        /// When ingest read them.
        observed_at: Timestamp,
    }
}

record! {
    /// A sample of a market's books.
    MarketMarked {
        /// The market's condition.
        condition_id: ConditionId,
        /// One book per outcome.
        books: Vec<BookSnapshot>,
        /// When ingest read them.
        observed_at: Timestamp,
    }
}

record! {
    /// What one share of an outcome pays.
    Payout {
        /// The outcome's traded id.
        asset: AssetId,
        /// Dollars for one share: 1, 0, or a part of it where the outcome was split.
        per_share: Usdc,
    }
}

record! {
    /// A market's outcome, from the venue's payout authority.
    MarketResolved {
        /// The market's condition.
        condition_id: ConditionId,
        /// What each outcome pays.
        payouts: Vec<Payout>,
        /// When the venue resolved it.
        resolved_at: Timestamp,
        /// When ingest read it.
        observed_at: Timestamp,
    }
}
