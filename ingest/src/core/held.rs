//! Which tokens the followers of each wallet hold, by the states of their orders.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use schemas::{
    Address, AssetId, BillingAccountId, ConditionId, IdempotencyKey, Mode, Shares, Side, Timestamp,
    events::OrderState,
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
    shares: Shares,
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
/// the positions that are not sold: whatever is final is forgotten after a week, whatever is sold at once.
#[derive(Debug, Default)]
pub struct Held {
    orders: BTreeMap<OrderKey, Known>,
    positions: BTreeMap<Holder, Position>,
    resolved: BTreeSet<(Address, ConditionId)>,
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
        let position = self
            .positions
            .entry(holder.clone())
            .or_insert(Position { condition_id: order.condition_id, shares: Shares::ZERO });
        position.shares = position.shares.saturating_add(came).minus_or_zero(went);
        if !position.shares.is_positive() {
            self.positions.remove(&holder);
        }
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

    /// What is held.
    pub fn tokens(&self) -> BTreeMap<AssetId, Token> {
        let mut tokens: BTreeMap<AssetId, Token> = BTreeMap::new();
        for ((wallet, asset, ..), position) in &self.positions {
            let token = tokens
                .entry(asset.clone())
                .or_insert_with(|| Token { condition_id: position.condition_id, wallets: BTreeSet::new() });
            token.wallets.insert(*wallet);
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
    use schemas::OrderStatus;

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
}
