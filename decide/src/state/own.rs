//! What our copies hold and have on their way, per (tenant, target, token, mode): what one target opened another
//! never closes, and paper and live never mix (`behaviour.md` 2).
//!
//! Folded from `orders`, and from decide's own decisions: a placed intent counts at full size until `orders` shows
//! its key final; one that no order event speaks of counts until its fill's time, `max_fill_age` and five
//! minutes are past.

use std::{ops::Bound, time::Duration};

use schemas::{
    Address, AssetId, BillingAccountId, ConditionId, IdempotencyKey, Mode, OrderStatus, Price, Round, Shares,
    Side, Timestamp, Usdc,
    events::{OrderState, OwnView, TokenResolved},
};
use serde::{Deserialize, Serialize};

use super::{Expiring, REMEMBERED, State};

/// How long after its last moment an intent without any order event still counts.
pub const SILENCE: Duration = Duration::from_secs(5 * 60);

/// How long a desire below the floor waits for the next.
pub const KEPT: Duration = Duration::from_secs(3_600);

/// Whose position: the target is named by its wallet.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct OwnKey {
    /// The followed wallet.
    pub wallet: Address,
    /// The tenant.
    pub account: BillingAccountId,
    /// Whether real money moves.
    pub mode: Mode,
    /// The token.
    pub asset: AssetId,
}

/// An attempt of an order.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct OrderKey {
    /// Whose.
    pub own: OwnKey,
    /// The copy's key.
    pub key: IdempotencyKey,
    /// 0 for a BUY.
    pub attempt: i32,
}

/// What is held of a token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// The token's condition.
    pub condition: ConditionId,
    /// How much.
    pub held: Shares,
    /// What it cost, at the average.
    pub cost: Usdc,
    /// Whether anything was ever held of it.
    pub opened: bool,
}

/// An order that is not final, or a placed intent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Open {
    /// Which way.
    pub side: Side,
    /// The token's condition.
    pub condition: ConditionId,
    /// Its place among all that was folded: the lowest is the oldest.
    pub sequence: u64,
    /// The limit.
    pub limit: Price,
    /// The shares asked for.
    pub shares: Shares,
    /// What it costs if all of it fills at the limit.
    pub full: Usdc,
    /// What filled.
    pub filled_shares: Shares,
    /// What that cost or brought.
    pub filled_usdc: Usdc,
    /// The revision of the last order event; none before the first.
    pub revision: Option<i64>,
    /// When it stops counting for want of any order event.
    pub until: Timestamp,
    /// The order it replaces.
    pub replaces: Option<IdempotencyKey>,
    /// Whether another replaces it: what it fills is subtracted from that one, which counts in its place.
    pub replaced: bool,
}

impl Open {
    fn unfilled(&self) -> Shares {
        self.shares.minus_or_zero(self.filled_shares)
    }

    /// Full size, what filled counted once.
    fn pending(&self) -> Usdc {
        self.full.minus_or_zero(self.filled_usdc)
    }
}

/// A final order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Done {
    /// Its place among all that was folded.
    pub sequence: u64,
    /// The revision of the last order event.
    pub revision: i64,
    /// What filled.
    pub filled_shares: Shares,
    /// What that cost or brought.
    pub filled_usdc: Usdc,
    /// When it may be forgotten.
    pub until: Timestamp,
}

/// Desires below the floor, and when they were decided, oldest first.
pub type Kept = Vec<(Timestamp, Usdc)>;

/// A BUY as it was decided.
#[derive(Debug, Clone)]
pub(crate) struct Placed {
    pub key: OrderKey,
    pub condition: ConditionId,
    pub limit: Price,
    pub shares: Shares,
    pub full: Usdc,
    pub until: Timestamp,
    pub replaces: Option<IdempotencyKey>,
}

impl State {
    /// A BUY that was just decided.
    pub(crate) fn fold_placed(&mut self, placed: Placed) {
        let sequence = self.sequence.next();
        self.kept.remove(&placed.key.own);
        self.fold_bought_more(&placed.key.own);
        self.expire(placed.until, Expiring::Silent(placed.key.clone()));
        self.set_replaced(&placed.key, placed.replaces, true);
        self.open.set(
            placed.key,
            Open {
                side: Side::Buy,
                condition: placed.condition,
                sequence,
                limit: placed.limit,
                shares: placed.shares,
                full: placed.full,
                filled_shares: Shares::ZERO,
                filled_usdc: Usdc::ZERO,
                revision: None,
                until: placed.until,
                replaces: placed.replaces,
                replaced: false,
            },
        );
    }

    fn set_replaced(&mut self, by: &OrderKey, key: Option<IdempotencyKey>, replaced: bool) {
        let Some(key) = key else { return };
        let key = OrderKey { own: by.own.clone(), key, attempt: 0 };
        if let Some(open) = self.open.get(&key).cloned() {
            self.open.set(key, Open { replaced, ..open });
        }
    }

    /// A desire below the floor that waits for the next.
    pub(crate) fn fold_kept(&mut self, own: OwnKey, clock: Timestamp, desire: Usdc) {
        let mut kept = self.kept.get(&own).cloned().unwrap_or_default();
        kept.retain(|(at, _)| clock.since(*at) <= KEPT);
        kept.push((clock, desire));
        self.kept.set(own, kept);
    }

    /// The leader sold of the token: what was kept for it is void.
    pub(crate) fn drop_kept(&mut self, own: &OwnKey) {
        self.kept.remove(own);
    }

    /// A step of an order: kept if its revision is the highest.
    pub(crate) fn fold_order(&mut self, order: &OrderState, clock: Timestamp) {
        let own = self.own_key(order.wallet, order.billing_account_id, order.mode, &order.asset);
        let key = OrderKey { own, key: order.idempotency_key, attempt: order.attempt };
        let open = self.open.get(&key).cloned();
        let done = self.done.get(&key).cloned();
        let known = open.as_ref().and_then(|o| o.revision).or(done.as_ref().map(|d| d.revision));
        if known.is_some_and(|known| known >= order.revision) {
            return;
        }
        let (shares, usdc) = match (&open, &done) {
            (Some(o), _) => (o.filled_shares, o.filled_usdc),
            (None, Some(d)) => (d.filled_shares, d.filled_usdc),
            (None, None) => (Shares::ZERO, Usdc::ZERO),
        };
        self.fold_trade(&key.own, order, shares, usdc);
        let sequence = match (&open, &done) {
            (Some(o), _) => o.sequence,
            (None, Some(d)) => d.sequence,
            (None, None) => self.sequence.next(),
        };
        if order.status.is_final() {
            if order.status == OrderStatus::Denied {
                // It will not take the other one's place after all.
                self.set_replaced(&key, open.as_ref().and_then(|o| o.replaces), false);
            }
            self.open.remove(&key);
            let until = clock.plus(REMEMBERED);
            self.done.set(
                key.clone(),
                Done {
                    sequence,
                    revision: order.revision,
                    filled_shares: order.filled_shares,
                    filled_usdc: order.filled_usdc,
                    until,
                },
            );
            self.expire(until, Expiring::Done(key.clone()));
            self.settle(&key.own, clock);
            return;
        }
        if done.is_some() {
            // One that was final lives again (`behaviour.md` 6, 4).
            self.done.remove(&key);
        }
        let full = order.limit.cost(order.shares, Round::Up).unwrap_or_default();
        self.open.set(
            key,
            Open {
                side: order.side,
                condition: order.condition_id,
                sequence,
                limit: order.limit,
                shares: order.shares,
                // What was decided is what is asked for: a market order's dollars, not its shares.
                full: open.as_ref().filter(|o| o.shares == order.shares).map_or(full, |o| o.full),
                filled_shares: order.filled_shares,
                filled_usdc: order.filled_usdc,
                revision: Some(order.revision),
                until: order.changed_at,
                replaces: open.as_ref().and_then(|o| o.replaces),
                replaced: open.as_ref().is_some_and(|o| o.replaced),
            },
        );
    }

    /// What an order filled since its last known step, or gave back where a trade failed.
    fn fold_trade(&mut self, own: &OwnKey, order: &OrderState, shares: Shares, usdc: Usdc) {
        if order.filled_shares == shares && order.filled_usdc == usdc {
            return;
        }
        let more = order.filled_shares.minus_or_zero(shares);
        let less = shares.minus_or_zero(order.filled_shares);
        let paid = order.filled_usdc.minus_or_zero(usdc);
        let returned = usdc.minus_or_zero(order.filled_usdc);
        let mut p = self.positions.get(own).cloned().unwrap_or(Position {
            condition: order.condition_id,
            held: Shares::ZERO,
            cost: Usdc::ZERO,
            opened: false,
        });
        match order.side {
            Side::Buy => {
                p.held = p.held.saturating_add(more).minus_or_zero(less);
                p.cost = p.cost.saturating_add(paid).minus_or_zero(returned);
            }
            Side::Sell => {
                if more >= p.held {
                    (p.held, p.cost) = (Shares::ZERO, Usdc::ZERO);
                } else {
                    let gone = p.cost.scale(more.micro(), p.held.micro(), Round::Down).unwrap_or_default();
                    p.held = p.held.minus_or_zero(more);
                    p.cost = p.cost.minus_or_zero(gone);
                }
                // A sale that failed: the shares are there again, at what they would have brought.
                p.held = p.held.saturating_add(less);
                p.cost = p.cost.saturating_add(returned);
            }
        }
        if !p.held.is_positive() {
            p.cost = Usdc::ZERO;
        }
        p.opened |= p.held.is_positive();
        self.positions.set(own.clone(), p);
    }

    /// A resolved condition: what was held of it is held no more, and gives its room back.
    pub(crate) fn fold_resolved(&mut self, resolved: &TokenResolved) {
        let ended: Vec<OwnKey> = self
            .positions
            .iter()
            .filter(|(own, p)| own.wallet == resolved.wallet && p.condition == resolved.condition_id)
            .filter(|(_, p)| p.held.is_positive())
            .map(|(own, _)| own.clone())
            .collect();
        for own in ended {
            if let Some(mut p) = self.positions.get(&own).cloned() {
                (p.held, p.cost) = (Shares::ZERO, Usdc::ZERO);
                self.positions.set(own.clone(), p);
                self.forget_closes(&own);
            }
        }
    }

    /// A token of a wallet goes on under another id, and so does what was bought after it: as plan versions 1 and 2 have
    /// it. Later ones carry everything ([`super::carried`]).
    pub(crate) fn fold_migrated(&mut self, wallet: Address, from: &AssetId, to: &AssetId) {
        let moved: Vec<(OwnKey, Position)> = self
            .positions
            .iter()
            .filter(|(own, p)| own.wallet == wallet && own.asset == *from && p.held.is_positive())
            .map(|(own, p)| (own.clone(), p.clone()))
            .collect();
        for (own, position) in moved {
            self.positions.remove(&own);
            // What was due is due of an id that is held no more: better asked for again than never.
            self.forget_closes(&own);
            let there = OwnKey { asset: to.clone(), ..own };
            let mut p = self.positions.get(&there).cloned().unwrap_or(Position {
                condition: position.condition,
                held: Shares::ZERO,
                cost: Usdc::ZERO,
                opened: true,
            });
            p.held = p.held.saturating_add(position.held);
            p.cost = p.cost.saturating_add(position.cost);
            p.opened = true;
            self.positions.set(there, p);
        }
    }

    /// Orders of a position that are not final and still count.
    pub(crate) fn open_of<'s>(
        &'s self,
        own: &OwnKey,
        clock: Timestamp,
    ) -> impl Iterator<Item = (&'s OrderKey, &'s Open)> {
        let first = OrderKey { own: own.clone(), key: IdempotencyKey::ZERO, attempt: i32::MIN };
        let own = own.clone();
        self.open
            .range((Bound::Included(first), Bound::Unbounded))
            .take_while(move |(key, _)| key.own == own)
            .filter(move |(_, open)| open.revision.is_some() || open.until > clock)
    }

    /// What a decision sees of our own side.
    pub(crate) fn own_view(&self, own: &OwnKey, opposite: Option<&AssetId>, clock: Timestamp) -> OwnView {
        let (held, cost, opened) =
            self.positions.get(own).map_or((Shares::ZERO, Usdc::ZERO, false), |p| (p.held, p.cost, p.opened));
        let mut view = OwnView {
            held,
            pending: Shares::ZERO,
            closed: false,
            exposure: cost,
            held_cost: Some(cost),
            opposite_held: Shares::ZERO,
            opposite_exposure: Usdc::ZERO,
            resting: 0,
            oldest: None,
            oldest_limit: None,
            oldest_unfilled: None,
            kept: Usdc::ZERO,
        };
        let mut oldest = u64::MAX;
        for (key, open) in self.open_of(own, clock).filter(|(_, open)| open.side == Side::Buy) {
            view.pending = view.pending.saturating_add(open.unfilled());
            if open.replaced {
                continue;
            }
            view.exposure = view.exposure.saturating_add(open.pending());
            view.resting += 1;
            if open.sequence < oldest {
                oldest = open.sequence;
                view.oldest = Some(key.key);
                view.oldest_limit = Some(open.limit);
                view.oldest_unfilled = Some(open.pending());
            }
        }
        view.closed = opened && !held.is_positive();
        if let Some(opposite) = opposite {
            let opposite = self.current(own.wallet, opposite).clone();
            let other = OwnKey { asset: opposite, ..own.clone() };
            if let Some(p) = self.positions.get(&other) {
                (view.opposite_held, view.opposite_exposure) = (p.held, p.cost);
            }
            let buys = self.open_of(&other, clock).filter(|(_, open)| open.side == Side::Buy);
            for (_, open) in buys.filter(|(_, open)| !open.replaced) {
                view.opposite_exposure = view.opposite_exposure.saturating_add(open.pending());
            }
        }
        if let Some(kept) = self.kept.get(own) {
            view.kept = kept.iter().filter(|(at, _)| clock.since(*at) <= KEPT).map(|(_, d)| *d).sum();
        }
        view
    }

    /// The tokens of a target on which something is held or on its way, with their conditions.
    pub(crate) fn tokens_of(
        &self,
        wallet: Address,
        account: BillingAccountId,
        mode: Mode,
        clock: Timestamp,
    ) -> Vec<(AssetId, ConditionId)> {
        let mine = |own: &OwnKey| own.wallet == wallet && own.account == account && own.mode == mode;
        let held = self
            .positions
            .iter()
            .filter(|(own, p)| mine(own) && p.held.is_positive())
            .map(|(own, p)| (own.asset.clone(), p.condition));
        let open = self
            .open
            .iter()
            .filter(|(key, open)| mine(&key.own) && (open.revision.is_some() || open.until > clock))
            .map(|(key, open)| (key.own.asset.clone(), open.condition));
        let all: std::collections::BTreeMap<AssetId, ConditionId> = held.chain(open).collect();
        all.into_iter().collect()
    }
}
