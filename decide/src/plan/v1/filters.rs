//! Rule 8: the target's filters, in the order of their reasons. A filter that needs what is not known says no:
//! a spread without a full book, a category that the venue does not name.

use schemas::{ConditionId, Reason, Side, Timestamp, events::Inputs};

/// The filter that says no, if one does.
pub(super) fn refusal(condition: ConditionId, i: &Inputs, now: Timestamp) -> Option<Reason> {
    let p = &i.policy;
    if p.min_trade_usdc.is_some_and(|min| i.notional < min)
        || p.max_trade_usdc.is_some_and(|max| i.notional > max)
    {
        return Some(Reason::FilterTradeSize);
    }
    if p.min_price.is_some_and(|min| i.price < min) || p.max_price.is_some_and(|max| i.price > max) {
        return Some(Reason::FilterPriceBand);
    }
    if let Some(widest) = p.max_spread {
        let spread = i.best_ask.zip(i.best_bid).and_then(|(ask, bid)| ask.checked_sub(bid));
        if spread.is_none_or(|spread| spread > widest) {
            return Some(Reason::FilterSpread);
        }
    }
    if !time_to_end_fits(i, now) {
        return Some(Reason::FilterTimeToEnd);
    }
    if !(p.only_markets.is_empty() && p.not_markets.is_empty()) {
        let id = condition.to_string();
        let names = [Some(id.as_str()), i.slug.as_deref(), i.category.as_deref()];
        if !admits(&p.only_markets, &p.not_markets, &names) {
            return Some(Reason::FilterMarket);
        }
    }
    if !admits(&p.only_categories, &p.not_categories, &[i.category.as_deref()]) {
        return Some(Reason::FilterCategory);
    }
    (p.only_side == Some(Side::Sell)).then_some(Reason::FilterSide)
}

/// A market without an end never ends: it is far enough from it, and never near enough.
fn time_to_end_fits(i: &Inputs, now: Timestamp) -> bool {
    let left = i.end_at.map(|end| end.since(now).as_secs());
    let seconds = |s: i32| u64::try_from(s).unwrap_or(0);
    i.policy.min_time_to_end_s.is_none_or(|min| left.is_none_or(|left| left >= seconds(min)))
        && i.policy.max_time_to_end_s.is_none_or(|max| left.is_some_and(|left| left <= seconds(max)))
}

/// Whether one of the names is on the first list (or that is empty), and none on the second.
fn admits(only: &[String], not: &[String], names: &[Option<&str>]) -> bool {
    let on = |list: &[String]| {
        list.iter().any(|entry| names.iter().flatten().any(|name| entry.trim().eq_ignore_ascii_case(name)))
    };
    (only.is_empty() || on(only)) && !on(not)
}
