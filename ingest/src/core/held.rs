//! Which tokens the followers of each wallet hold, by the states of their orders.
//!
//! A token that goes on under another id (`behaviour.md` 1, MIGRATION) is held under the new one, whichever of them an order
//! names. What is bought and sold is summed by id, and the ids of a token only when it is asked for: so it does not matter
//! what is learned first, and of what is told of ids, the place in the log says which was.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use eventlog::Offset;
use schemas::{
    Address, AssetId, BillingAccountId, ConditionId, IdempotencyKey, Migrated, Mode, Shares, Side, Timestamp,
    events::{OrderState, PositionChanged},
};

/// How long a final order is remembered: a trade of it may still fail.
const FINAL: Duration = Duration::from_secs(7 * 24 * 3600);

/// An attempt.
type OrderKey = (BillingAccountId, IdempotencyKey, i32);

#[derive(Debug)]
struct Known {
    revision: i64,
    filled: Shares,
    final_since: Option<Timestamp>,
}

/// One follower's part of a token.
type Holder = (Address, AssetId, BillingAccountId, Mode);

#[derive(Debug)]
struct Position {
    condition_id: ConditionId,
    /// Bought less sold; below zero where it was bought under another id.
    shares: Shares,
    /// When the first of its orders was committed.
    since: Timestamp,
}

/// A token that followers hold, and of which wallets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// Its condition.
    pub condition_id: ConditionId,
    /// The wallets whose followers hold it.
    pub wallets: BTreeSet<Address>,
}

/// The tokens that followers hold, of one partition's wallets. As large as the orders that are open or young, and
/// the positions that are not sold: whatever is final is forgotten after a week, whatever is sold at once; what was sold under
/// another id than it was bought, when its condition pays out.
#[derive(Debug, Default)]
pub struct Held {
    orders: BTreeMap<OrderKey, Known>,
    positions: BTreeMap<Holder, Position>,
    resolved: BTreeSet<(Address, ConditionId)>,
    /// What is told of ids, by its place in `fills`.
    links: BTreeMap<Offset, PositionChanged>,
    migrated: Migrated,
}

impl Held {
    /// Takes the next state of an order. Older revisions are ignored.
    pub fn order(&mut self, order: &OrderState) {
        let key = (order.billing_account_id, order.idempotency_key, order.attempt);
        let before = match self.orders.get(&key) {
            Some(known) if order.revision <= known.revision => return,
            Some(known) => known.filled,
            None => Shares::ZERO,
        };
        let final_since = order.status.is_final().then_some(order.changed_at);
        let known = Known { revision: order.revision, filled: order.filled_shares, final_since };
        self.orders.insert(key, known);
        if order.filled_shares == before || self.resolved.contains(&(order.wallet, order.condition_id)) {
            return;
        }
        let (more, less) =
            (order.filled_shares.minus_or_zero(before), before.minus_or_zero(order.filled_shares));
        // A trade that failed gives back what it had moved.
        let (came, went) = match order.side {
            Side::Buy => (more, less),
            Side::Sell => (less, more),
        };
        let holder = (order.wallet, order.asset.clone(), order.billing_account_id, order.mode);
        let position = self.positions.entry(holder.clone()).or_insert(Position {
            condition_id: order.condition_id,
            shares: Shares::ZERO,
            since: order.created_at,
        });
        let went = Shares::from_micro(went.micro().saturating_neg());
        position.shares = position.shares.saturating_add(came).saturating_add(went);
        position.since = position.since.min(order.created_at);
        if position.shares == Shares::ZERO {
            self.positions.remove(&holder);
        }
    }

    /// A change of a wallet's position, which stands there in `fills`: of it, only under which ids tokens go on.
    pub fn changed(&mut self, at: Offset, changed: PositionChanged) {
        if changed.deltas.iter().all(|delta| delta.becomes.is_none()) {
            return;
        }
        self.links.insert(at, changed);
        // Anew: what stands earlier in the log may be learned of later.
        self.migrated = Migrated::default();
        for changed in self.links.values() {
            for delta in &changed.deltas {
                if let Some(to) = &delta.becomes {
                    self.migrated.goes_on(changed.wallet, &delta.asset, to);
                }
            }
        }
    }

    /// When the first order of what is held was committed: what was told before is of no interest.
    pub fn since(&self) -> Option<Timestamp> {
        let bought = self.positions.values().filter(|position| position.shares.is_positive());
        bought.map(|position| position.since).min()
    }

    /// A condition that paid out: its tokens are held no more.
    pub fn resolved(&mut self, wallet: Address, condition: ConditionId) {
        self.resolved.insert((wallet, condition));
        self.positions.retain(|(of, ..), p| *of != wallet || p.condition_id != condition);
    }

    /// Forgets orders that have been final for long.
    pub fn forget(&mut self, now: Timestamp) {
        let horizon = now.minus(FINAL);
        self.orders.retain(|_, known| known.final_since.is_none_or(|at| at >= horizon));
    }

    /// What is held, under the current ids.
    pub fn tokens(&self) -> BTreeMap<AssetId, Token> {
        let mut positions: BTreeMap<Holder, (ConditionId, Shares)> = BTreeMap::new();
        for ((wallet, asset, account, mode), position) in &self.positions {
            let current = self.migrated.current(*wallet, asset).clone();
            let (_, shares) = positions
                .entry((*wallet, current, *account, *mode))
                .or_insert((position.condition_id, Shares::ZERO));
            *shares = shares.saturating_add(position.shares);
        }
        let mut tokens: BTreeMap<AssetId, Token> = BTreeMap::new();
        for ((wallet, asset, ..), (condition_id, shares)) in positions {
            if shares.is_positive() {
                let token =
                    tokens.entry(asset).or_insert_with(|| Token { condition_id, wallets: BTreeSet::new() });
                token.wallets.insert(wallet);
            }
        }
        tokens
    }

    /// How many orders are remembered.
    pub fn orders(&self) -> usize {
        self.orders.len()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use schemas::{ChangeKind, OrderStatus, TxHash, Usdc, events::TokenDelta};

    use super::*;
    use crate::core::fixtures::order;

    const WALLET: Address = Address::from_bytes([1; 20]);

    fn names(held: &Held) -> Vec<String> {
        held.tokens().keys().map(AssetId::to_string).collect()
    }

    fn filled(key: u8, revision: i64, side: Side, shares: i64, status: OrderStatus) -> OrderState {
        OrderState { revision, side, status, filled_shares: Shares::from_units(shares), ..order(key, WALLET) }
    }

    #[test]
    fn a_token_is_held_from_the_first_share_bought_to_the_last_one_sold() {
        let mut held = Held::default();
        for (state, expected) in [
            (filled(1, 1, Side::Buy, 0, OrderStatus::Open), 0),
            (filled(1, 2, Side::Buy, 10, OrderStatus::PartiallyFilled), 1),
            (filled(1, 3, Side::Buy, 15, OrderStatus::Filled), 1),
            // An older state that comes again changes nothing.
            (filled(1, 2, Side::Buy, 10, OrderStatus::PartiallyFilled), 1),
            (filled(2, 1, Side::Sell, 12, OrderStatus::Filled), 1),
            (filled(3, 1, Side::Sell, 3, OrderStatus::Matched), 0),
            // Its trade failed: the shares are there again.
            (filled(3, 2, Side::Sell, 0, OrderStatus::Cancelled), 1),
        ] {
            held.order(&state);
            assert_eq!(held.tokens().len(), expected, "{state:?}");
        }
        assert_eq!(names(&held), ["11"]);
        assert_eq!(held.tokens().into_values().next().unwrap().wallets, [WALLET].into());
    }

    #[test]
    fn what_one_follower_sold_another_still_holds() {
        let mut held = Held::default();
        let other = BillingAccountId::from_uuid(uuid::Uuid::from_u128(9));
        held.order(&filled(1, 1, Side::Buy, 10, OrderStatus::Filled));
        held.order(&OrderState {
            billing_account_id: other,
            ..filled(1, 1, Side::Buy, 10, OrderStatus::Filled)
        });
        held.order(&filled(2, 1, Side::Sell, 10, OrderStatus::Filled));
        assert_eq!(names(&held), ["11"]);
    }

    #[test]
    fn a_resolved_condition_is_held_no_more_whatever_its_orders_still_say() {
        let mut held = Held::default();
        let bought = filled(1, 1, Side::Buy, 10, OrderStatus::PartiallyFilled);
        held.order(&bought);
        held.resolved(WALLET, bought.condition_id);
        assert!(held.tokens().is_empty());
        held.order(&filled(1, 2, Side::Buy, 12, OrderStatus::Filled));
        assert!(held.tokens().is_empty());
    }

    #[test]
    fn final_orders_are_forgotten_after_a_week_and_what_they_bought_is_not() {
        let mut held = Held::default();
        let bought = filled(1, 1, Side::Buy, 10, OrderStatus::Filled);
        held.order(&bought);
        held.order(&filled(2, 1, Side::Buy, 0, OrderStatus::Open));
        held.forget(bought.changed_at.plus(FINAL));
        assert_eq!(held.orders(), 2);
        held.forget(bought.changed_at.plus(FINAL).plus(Duration::from_secs(1)));
        assert_eq!((held.orders(), names(&held)), (1, vec!["11".to_owned()]), "the open one stays");
    }

    fn id(number: u8) -> AssetId {
        number.to_string().parse().unwrap()
    }

    /// The holding of that id goes on under the other one.
    fn migration(from: u8, to: u8) -> PositionChanged {
        let delta =
            TokenDelta { asset: id(from), shares: Shares::ZERO, cost: Usdc::ZERO, becomes: Some(id(to)) };
        PositionChanged {
            wallet: WALLET,
            kind: ChangeKind::Migration,
            tx: TxHash::from_bytes([from; 32]),
            condition_id: ConditionId::from_bytes([2; 32]),
            deltas: vec![delta],
            changed_at: Timestamp::from_secs(1_000_000),
            observed_at: Timestamp::from_secs(1_000_001),
            facts: None,
            books: Vec::new(),
        }
    }

    #[test]
    fn a_token_that_goes_on_under_another_id_is_held_under_that_one_and_no_longer_under_the_former() {
        let mut held = Held::default();
        held.order(&filled(1, 1, Side::Buy, 10, OrderStatus::Filled));
        assert_eq!(names(&held), ["11"]);
        held.changed(Offset(5), migration(11, 101));
        assert_eq!(names(&held), ["101"], "before there is any order under it");
        // Another wallet's holding has not been moved.
        let other = Address::from_bytes([9; 20]);
        held.order(&OrderState {
            status: OrderStatus::Filled,
            filled_shares: Shares::from_units(1),
            ..order(7, other)
        });
        assert_eq!(names(&held), ["101", "11"]);
        assert_eq!(held.tokens()[&id(11)].wallets, [other].into());
        // It is moved once more, and sold there.
        held.changed(Offset(9), migration(101, 201));
        assert_eq!(names(&held), ["11", "201"]);
        held.order(&OrderState { asset: id(201), ..filled(2, 1, Side::Sell, 9, OrderStatus::Filled) });
        assert_eq!(names(&held), ["11", "201"]);
        held.order(&OrderState { asset: id(101), ..filled(3, 1, Side::Sell, 1, OrderStatus::Filled) });
        assert_eq!(names(&held), ["11"]);
        held.resolved(WALLET, ConditionId::from_bytes([2; 32]));
        held.resolved(other, ConditionId::from_bytes([2; 32]));
        assert!(held.positions.is_empty());
    }

    #[test]
    fn what_was_told_first_stands_whichever_is_learned_first() {
        for told in [[(3, 11, 101), (8, 101, 11)], [(8, 101, 11), (3, 11, 101)]] {
            let mut held = Held::default();
            held.order(&filled(1, 1, Side::Buy, 10, OrderStatus::Filled));
            for (at, from, to) in told {
                held.changed(Offset(at), migration(from, to));
            }
            assert_eq!(names(&held), ["101"], "it was there already when it was said to come back");
        }
    }

    #[test]
    fn what_is_held_is_held_since_the_first_of_its_orders() {
        let mut held = Held::default();
        assert_eq!(held.since(), None);
        let bought = filled(1, 1, Side::Buy, 10, OrderStatus::Filled);
        let earlier = OrderState {
            created_at: bought.created_at.minus(Duration::from_secs(5)),
            ..filled(2, 1, Side::Buy, 10, OrderStatus::Filled)
        };
        held.order(&bought);
        held.order(&earlier);
        assert_eq!(held.since(), Some(earlier.created_at));
        held.order(&filled(3, 1, Side::Sell, 20, OrderStatus::Filled));
        assert_eq!(held.since(), None);
    }

    #[derive(Debug, Clone)]
    enum Learned {
        Order(Box<OrderState>),
        Changed(i64, Box<PositionChanged>),
    }

    proptest! {
        /// Purchases and sales under whichever id, and migrations told at any place, learned in any order, some twice: what is
        /// held is what was bought and not sold of all ids of a token, under the last of them.
        #[test]
        fn whatever_is_learned_first_the_same_is_held(
            (learned, shuffled) in (
                prop::collection::vec((0u8..4, any::<bool>(), 0i64..4), 0..10),
                prop::collection::vec(0u8..3, 0..4),
            )
                .prop_map(|(orders, links)| {
                    let orders = (1..).zip(orders).map(|(key, (asset, buys, shares))| {
                        let side = if buys { Side::Buy } else { Side::Sell };
                        let state = filled(key, 1, side, shares, OrderStatus::Filled);
                        Learned::Order(Box::new(OrderState { asset: id(asset), ..state }))
                    });
                    let links = (0..).zip(links).map(|(at, from)| {
                        Learned::Changed(at, Box::new(migration(from, from + 1)))
                    });
                    orders.chain(links).collect::<Vec<_>>()
                })
                .prop_flat_map(|learned| {
                    let twice = [learned.clone(), learned.clone()].concat();
                    (Just(learned), Just(twice).prop_shuffle())
                }),
        ) {
            let all = |learned: &[Learned]| {
                let mut held = Held::default();
                for one in learned {
                    match one {
                        Learned::Order(state) => held.order(state),
                        Learned::Changed(at, changed) => held.changed(Offset(*at), (**changed).clone()),
                    }
                }
                held
            };
            let held = all(&learned);
            prop_assert_eq!(held.tokens(), all(&shuffled).tokens());
            let mut sums: BTreeMap<AssetId, i64> = BTreeMap::new();
            for one in &learned {
                let Learned::Order(state) = one else { continue };
                let sign = if state.side == Side::Buy { 1 } else { -1 };
                let current = held.migrated.current(WALLET, &state.asset).clone();
                *sums.entry(current).or_default() += sign * state.filled_shares.micro();
            }
            sums.retain(|_, sum| *sum > 0);
            prop_assert_eq!(held.tokens().into_keys().collect::<Vec<_>>(), sums.into_keys().collect::<Vec<_>>());
        }
    }
}
