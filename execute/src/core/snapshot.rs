//! What the gate knows of a tenant in one mode, read under the gate's locks.
//!
//! It is one consistent picture, and it follows what the gate decides on it: intents of one batch see each other.

use std::collections::{BTreeMap, BTreeSet};

use schemas::{
    Address, AssetId, BillingAccountId, ConditionId, IdempotencyKey, Mode, Price, Shares, Side,
    SignatureType, TargetId, TargetRowId, TargetStatus, Timestamp, Usdc, UserId, events::PlaceIntent,
};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{
    Attempt, AttemptKey,
    close::{Close, DueKey},
    position::Position,
};

/// The switches that are on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[expect(clippy::struct_excessive_bools, reason = "four switches")]
pub struct Switches {
    /// BUYs of everybody stop.
    pub global_pause: bool,
    /// Everything of everybody stops.
    pub global_halt: bool,
    /// The tenant's BUYs stop.
    pub tenant_pause: bool,
    /// Everything of the tenant stops.
    pub tenant_halt: bool,
}

/// Whether a connection's key can sign now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Readiness {
    /// Key and credentials are at hand.
    Ready,
    /// They cannot be had: the tenant has to be told.
    Refused,
    /// Nobody has looked yet.
    NotLoaded,
}

/// A tenant's wallet, without its secrets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connection {
    /// The row.
    pub id: Uuid,
    /// The key's address.
    pub address: Address,
    /// How it signs.
    pub signature_type: SignatureType,
    /// Who holds the money.
    pub funder: Address,
    /// Whether the approvals for buying and selling were found in place.
    pub approved: bool,
}

/// What a tenant allows: the newest grant, revoked or not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// What is allowed.
    pub scopes: Vec<String>,
    /// The most one order may cost.
    pub per_order: Usdc,
    /// The most 24 hours may cost.
    pub daily: Usdc,
    /// The most orders in an hour.
    pub hourly: i64,
    /// The most one condition may hold.
    pub per_market: Option<Usdc>,
    /// When it ends.
    pub expires_at: Option<Timestamp>,
    /// Whether it was taken back.
    pub revoked: bool,
}

/// A target's row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    /// Where it stands.
    pub status: TargetStatus,
    /// Whom it follows.
    pub wallet: Address,
    /// Whether real money moves.
    pub mode: Mode,
    /// Who made it.
    pub created_by: UserId,
}

/// What is alive of one target on one token: the sums over its BUYs that are not final.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// The token's condition.
    pub condition_id: ConditionId,
    /// How many BUYs.
    pub buys: i64,
    /// What these can still cost at their limits, without fees; each rounded up.
    pub pending: Usdc,
    /// What these count against the caps beyond what is filled of them.
    pub counted: Usdc,
}

impl Standing {
    /// Nothing is alive.
    pub const fn none(condition_id: ConditionId) -> Self {
        Self { condition_id, buys: 0, pending: Usdc::ZERO, counted: Usdc::ZERO }
    }

    /// With one more attempt; SELLs and those that are final add nothing.
    pub fn with(mut self, attempt: &Attempt) -> Self {
        if attempt.is_final || attempt.side == Side::Sell {
            return self;
        }
        let rest = attempt.counted().minus_or_zero(attempt.filled_usdc);
        self.buys += 1;
        self.pending = self.pending.saturating_add(notional(attempt.limit_price, attempt.unfilled()));
        self.counted = self.counted.saturating_add(rest);
        self
    }
}

/// A tenant in one mode.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// The tenant.
    pub billing_account_id: BillingAccountId,
    /// The mode.
    pub mode: Mode,
    /// The gate's clock.
    pub now: Timestamp,
    /// Whether this executor has a venue for the mode.
    pub served: bool,
    /// The switches that are on.
    pub switches: Switches,
    /// The active connection.
    pub connection: Option<Connection>,
    /// Whether its key can sign.
    pub readiness: Readiness,
    /// The grant.
    pub grant: Option<Grant>,
    /// The targets that the batch names.
    pub targets: BTreeMap<TargetRowId, Target>,
    /// The wallet's dollars as last read; `None` before the first read.
    pub balance: Option<Usdc>,
    /// What of that is spoken for: orders alive, and fills that the balance does not show yet.
    pub claimed: Usdc,
    /// What the last 24 hours cost.
    pub day: Usdc,
    /// The orders of the last hour.
    pub hour: i64,
    /// Positions in the conditions that the batch names, and those that its closes are about.
    pub positions: BTreeMap<(TargetId, AssetId), Position>,
    /// What is alive in the conditions that the batch names.
    pub standing: BTreeMap<(TargetId, AssetId), Standing>,
    /// The attempts that the batch's intents name: by key, by natural key, as replaced or to be cancelled.
    pub named: BTreeMap<AttemptKey, Attempt>,
    /// The closes of the positions that the batch is about, with what is due.
    pub closes: BTreeMap<(TargetId, AssetId), Close>,
    /// Dues that there are by a name of the batch, ended ones too, with their natural keys.
    pub known_dues: Vec<(DueKey, String)>,
    /// What of those positions was bought by trades that can still fail.
    pub unconfirmed: BTreeMap<(TargetId, AssetId), Shares>,
    /// Positions that go on under another id, by their former ones.
    pub links: BTreeMap<(TargetId, AssetId), AssetId>,
    /// BUYs that wait for the one they replace: they have no order yet.
    pub waiting: BTreeMap<IdempotencyKey, PlaceIntent>,
    /// What this batch writes: nobody has it yet.
    pub fresh: BTreeSet<AttemptKey>,
}

impl Snapshot {
    /// A tenant of whom nothing is known.
    pub fn empty(billing_account_id: BillingAccountId, mode: Mode, now: Timestamp) -> Self {
        Self {
            billing_account_id,
            mode,
            now,
            served: true,
            switches: Switches::default(),
            connection: None,
            readiness: Readiness::NotLoaded,
            grant: None,
            targets: BTreeMap::new(),
            balance: None,
            claimed: Usdc::ZERO,
            day: Usdc::ZERO,
            hour: 0,
            positions: BTreeMap::new(),
            standing: BTreeMap::new(),
            named: BTreeMap::new(),
            closes: BTreeMap::new(),
            known_dues: Vec::new(),
            unconfirmed: BTreeMap::new(),
            links: BTreeMap::new(),
            waiting: BTreeMap::new(),
            fresh: BTreeSet::new(),
        }
    }

    /// Takes in the active connection. On paper nothing has to be approved: what is noted of that is about money.
    pub fn connect(&mut self, connection: &Connection) {
        let approved = connection.approved || self.mode == Mode::Paper;
        self.connection = Some(Connection { approved, ..connection.clone() });
    }

    /// Takes in a new attempt, so that the next intent of the batch sees it. An attempt counts once.
    pub fn admit(&mut self, attempt: &Attempt) {
        self.waiting.remove(&attempt.idempotency_key);
        self.fresh.insert(attempt.key());
        if self.named.insert(attempt.key(), attempt.clone()).is_some() || attempt.is_final {
            return;
        }
        self.stand(attempt);
        self.day = self.day.saturating_add(attempt.counted());
        self.claimed = self.claimed.saturating_add(attempt.counted());
        self.hour += i64::from(attempt.counts_as_order());
    }

    /// The id under which a position stands: its token's, or the one as which that goes on.
    pub fn current(&self, target: TargetId, asset: &AssetId) -> AssetId {
        self.links.get(&(target, asset.clone())).unwrap_or(asset).clone()
    }

    /// The condition of a position: its own, else that of its orders. An intent may name another one: a neg-risk conversion
    /// is told under one condition and takes tokens of several.
    pub fn condition_of(&self, (target, asset): &(TargetId, AssetId)) -> Option<ConditionId> {
        let held = self.positions.get(&(*target, asset.clone())).map(|p| p.condition_id);
        held.or_else(|| self.of_position(*target, asset, Side::Buy).next().map(|a| a.condition_id))
    }

    /// Adds an attempt to what is alive, and to nothing else.
    pub fn stand(&mut self, attempt: &Attempt) {
        let token = (attempt.target_id, attempt.held_as.clone());
        let standing = self.standing.entry(token).or_insert(Standing::none(attempt.condition_id));
        *standing = standing.with(attempt);
    }

    fn standing(&self, target: TargetId, asset: &AssetId) -> Option<&Standing> {
        self.standing.get(&(target, asset.clone()))
    }

    /// What one target's copies have in a token: the cost of what is held, and of what is pending.
    pub fn in_token(&self, target: TargetId, asset: &AssetId) -> Usdc {
        let held = self.positions.get(&(target, asset.clone())).map_or(Usdc::ZERO, |p| p.cost);
        held.saturating_add(self.standing(target, asset).map_or(Usdc::ZERO, |s| s.pending))
    }

    /// What the tenant has in a condition, over all targets and outcomes.
    pub fn in_condition(&self, condition: ConditionId) -> Usdc {
        let held: Usdc =
            self.positions.values().filter(|p| p.condition_id == condition).map(|p| p.cost).sum();
        let alive = self.standing.values().filter(|s| s.condition_id == condition).map(|s| s.counted);
        held.saturating_add(alive.sum())
    }

    /// Whether another target of the tenant holds or bids a token.
    pub fn others_want(&self, target: TargetId, asset: &AssetId) -> bool {
        let theirs = |(t, a): &(TargetId, AssetId)| *t != target && *a == self.current(*t, asset);
        let held = self.positions.iter().any(|(of, p)| theirs(of) && p.held >= super::close::LEAST_SHARES);
        held || self.standing.iter().any(|(of, s)| theirs(of) && s.buys > 0)
    }

    /// What one target's copies hold of a token.
    pub fn held(&self, target: TargetId, asset: &AssetId) -> Shares {
        self.positions.get(&(target, asset.clone())).map_or(Shares::ZERO, |p| p.held)
    }

    /// The attempts of a position that the batch knows of, on one side: those that are alive, and those it names.
    pub fn of_position<'s>(
        &'s self,
        target: TargetId,
        asset: &'s AssetId,
        side: Side,
    ) -> impl Iterator<Item = &'s Attempt> {
        let mode = self.mode;
        self.named
            .values()
            .filter(move |a| a.side == side && a.mode == mode && a.target_id == target && a.held_as == *asset)
    }
}

/// Dollars of so many shares at a price, rounded up; past the range, the end of it.
pub fn notional(price: Price, shares: Shares) -> Usdc {
    price.cost(shares, schemas::Round::Up).unwrap_or(Usdc::from_micro(i64::MAX))
}
