//! What is known of a token that copies of a wallet hold: what others pay for it, what it pays in the end, and under which
//! id it goes on.

use std::collections::BTreeMap;

use schemas::{
    Address, AssetId, ConditionId, Migrated, Price, Timestamp, Usdc,
    events::{PositionChanged, TokenMarked, TokenResolved},
};

/// A followed wallet and a token: what is told of it is told for each wallet whose followers hold it.
pub type TokenKey = (Address, AssetId);

/// What a token pays. Of two that are told, the later stands, whichever comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Outcome {
    /// When the venue resolved it.
    pub resolved_at: Timestamp,
    /// Dollars for one share.
    pub per_share: Usdc,
    /// The token's condition.
    pub condition: ConditionId,
}

/// What others pay for a token. Of two that are told, the later stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mark {
    /// When the venue made the book.
    pub as_of: Timestamp,
    /// The most that somebody pays.
    pub best_bid: Option<Price>,
    /// The least that somebody asks.
    pub best_ask: Option<Price>,
}

/// A token of a wallet goes on under another id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Whose token.
    pub wallet: Address,
    /// The id that it had.
    pub from: AssetId,
    /// The id that it has from now on.
    pub to: AssetId,
}

/// What a batch tells of tokens.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tokens {
    /// What they pay.
    pub outcomes: BTreeMap<TokenKey, Outcome>,
    /// What others pay for them.
    pub marks: BTreeMap<TokenKey, Mark>,
    /// Under which ids they go on, in the order in which that was told. None twice.
    pub links: Vec<Link>,
}

fn keep<T: Ord + Copy>(known: &mut BTreeMap<TokenKey, T>, key: TokenKey, told: T) {
    known.entry(key).and_modify(|best| *best = told.max(*best)).or_insert(told);
}

impl Tokens {
    /// Takes a sample.
    pub fn mark(&mut self, told: TokenMarked) {
        let mark = Mark { as_of: told.as_of, best_bid: told.best_bid, best_ask: told.best_ask };
        keep(&mut self.marks, (told.wallet, told.asset), mark);
    }

    /// Takes an outcome.
    pub fn resolve(&mut self, told: TokenResolved) {
        for payout in told.payouts {
            let outcome = Outcome {
                resolved_at: told.resolved_at,
                per_share: payout.per_share,
                condition: told.condition_id,
            };
            keep(&mut self.outcomes, (told.wallet, payout.asset), outcome);
        }
    }

    /// Takes a change of a wallet's position: of it, only under which ids tokens go on.
    pub fn change(&mut self, told: &PositionChanged) {
        for delta in &told.deltas {
            if let Some(to) = delta.becomes.clone() {
                self.link(Link { wallet: told.wallet, from: delta.asset.clone(), to });
            }
        }
    }

    fn link(&mut self, link: Link) {
        // What was told before is no news, wherever it stands.
        if !self.links.contains(&link) {
            self.links.push(link);
        }
    }

    /// Which ids are one token, by all that is told.
    pub fn migrated(&self) -> Migrated {
        let mut migrated = Migrated::default();
        for Link { wallet, from, to } in &self.links {
            migrated.goes_on(*wallet, from, to);
        }
        migrated
    }

    /// What a token pays, whichever of its ids that was told of.
    pub fn outcome(&self, migrated: &Migrated, wallet: Address, asset: &AssetId) -> Option<Outcome> {
        let ids = migrated.ids(wallet, asset).into_iter();
        ids.filter_map(|id| self.outcomes.get(&(wallet, id))).max().copied()
    }

    /// Takes what another batch told.
    pub fn merge(&mut self, other: &Self) {
        for (key, told) in &other.outcomes {
            keep(&mut self.outcomes, key.clone(), *told);
        }
        for (key, told) in &other.marks {
            keep(&mut self.marks, key.clone(), *told);
        }
        for told in &other.links {
            self.link(told.clone());
        }
    }
}
