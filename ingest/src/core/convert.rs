//! A neg-risk conversion, from what was held before and after it: its row does not say which tokens it took
//! (`behaviour.md` 1).

use std::collections::BTreeMap;

use schemas::{
    AssetId, ConditionId, Round, Shares, Usdc,
    events::{HeldPosition, TokenDelta},
};

use super::ledger::Held;

/// What a conversion did to the tokens of its event: `before` is what would be held without it, `after` what is held.
/// What vanished is a sale; what came brings its part of the position's cost, rounded down.
pub fn converted(
    before: &BTreeMap<AssetId, Held>,
    after: &[HeldPosition],
    of_event: impl Fn(ConditionId) -> bool,
) -> Vec<TokenDelta> {
    let now: BTreeMap<&AssetId, &HeldPosition> =
        after.iter().filter(|p| of_event(p.condition_id)).map(|p| (&p.asset, p)).collect();
    let then: BTreeMap<&AssetId, Shares> =
        before.iter().filter(|(_, h)| of_event(h.condition_id)).map(|(asset, h)| (asset, h.shares)).collect();
    let mut deltas = Vec::new();
    for (asset, shares) in &then {
        let left = now.get(asset).map_or(Shares::ZERO, |p| p.shares);
        if left < *shares {
            let gone = shares.minus_or_zero(left);
            deltas.push(TokenDelta {
                asset: (*asset).clone(),
                shares: Shares::from_micro(gone.micro().saturating_neg()),
                cost: Usdc::ZERO,
                becomes: None,
            });
        }
    }
    for (asset, position) in &now {
        let came = position.shares.minus_or_zero(then.get(asset).copied().unwrap_or_default());
        if came.is_positive() {
            let cost = position.cost.scale(came.micro(), position.shares.micro(), Round::Down);
            deltas.push(TokenDelta {
                asset: (*asset).clone(),
                shares: came,
                cost: cost.unwrap_or_default(),
                becomes: None,
            });
        }
    }
    deltas
}

#[cfg(test)]
mod tests {
    use super::*;

    fn condition(n: u8) -> ConditionId {
        ConditionId::from_bytes([n; 32])
    }

    fn position(asset: &str, of: u8, shares: i64, cost: i64) -> HeldPosition {
        HeldPosition {
            asset: asset.parse().unwrap(),
            condition_id: condition(of),
            opposite: None,
            shares: Shares::from_units(shares),
            cost: Usdc::from_units(cost),
        }
    }

    fn held(all: &[(&str, u8, i64)]) -> BTreeMap<AssetId, Held> {
        all.iter()
            .map(|(asset, of, shares)| {
                let held = Held { condition_id: condition(*of), shares: Shares::from_units(*shares) };
                (asset.parse().unwrap(), held)
            })
            .collect()
    }

    /// 30 NO of two outcomes become dollars and 30 YES of the third; another event moves as it likes.
    #[test]
    fn what_vanished_of_the_event_is_sold_and_what_came_has_its_part_of_the_cost() {
        let before = held(&[("12", 1, 100), ("22", 2, 30), ("31", 3, 10), ("91", 9, 5)]);
        let after = [position("12", 1, 70, 40), position("31", 3, 40, 20), position("91", 9, 7, 3)];
        let deltas = converted(&before, &after, |c| c != condition(9));
        let told: Vec<(&str, i64, i64)> =
            deltas.iter().map(|d| (d.asset.as_str(), d.shares.micro() / 1_000_000, d.cost.micro())).collect();
        assert_eq!(told, [("12", -30, 0), ("22", -30, 0), ("31", 30, 15_000_000)]);
        assert_eq!(converted(&before, &[], |_| false), []);
    }
}
