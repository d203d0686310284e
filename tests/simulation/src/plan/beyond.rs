//! What happens besides trades: markets end, positions of wallets change without a trade, prices are sampled for exits
//! without the leader, tenants change what they allow, stop following, and sell by hand.
//!
//! All of it is drawn from dice of its own and laid over a history of trades that does not know of it.

use std::{collections::BTreeSet, time::Duration};

use schemas::{ChangeKind, Price, Shares, Side, TargetStatus};

use super::{
    Plan, Step, What,
    generate::{caps, micros, millis, secs},
};
use crate::dice::{Dice, name};

/// One dollar, in 10^-6.
const ONE: i64 = 1_000_000;

/// Numbers of transactions of position changes begin here: fills have lower ones, prints higher ones.
const CHANGES: u16 = 0x4000;

/// Adds them to a history.
pub(super) fn add(plan: &mut Plan, busy: Duration) {
    let mut dice = Dice::about(plan.seed, &[name("beyond")]);
    exits(plan, &mut dice);
    let mut steps = changes(plan, busy, &mut dice);
    steps.extend(closes(plan, &mut dice));
    steps.extend(allowances(plan, busy, &mut dice));
    steps.extend(removal(plan, busy, &mut dice));
    steps.extend(marks(plan, busy, &mut dice));
    plan.steps.extend(steps);
    if dice.permille(350) {
        end(plan, busy, &mut dice);
    }
    // What is gone stays gone.
    let mut gone = BTreeSet::new();
    plan.steps.sort_by_key(|s| s.at);
    plan.steps.retain(|step| match step.what {
        What::Target { tenant, wallet, status, .. } => {
            let was = gone.contains(&(tenant, wallet));
            if status == TargetStatus::Removed {
                gone.insert((tenant, wallet));
            }
            !was
        }
        _ => true,
    });
}

fn within(busy: Duration, dice: &mut Dice) -> Duration {
    Duration::from_micros(dice.below(micros(busy)))
}

/// Some followers want out by themselves.
fn exits(plan: &mut Plan, dice: &mut Dice) {
    for follow in &mut plan.follows {
        if !dice.permille(350) {
            continue;
        }
        let policy = &mut follow.policy;
        policy.take_profit_fraction = dice.permille(500).then(|| dice.within(10_000, 300_000));
        policy.stop_loss_fraction = dice.permille(500).then(|| dice.within(10_000, 300_000));
        policy.sell_winners_at = dice.permille(400).then(|| Price::from_micro(dice.within(50, 95) * 10_000));
    }
}

/// What a wallet traded, and nothing besides: when, and what.
fn traded(plan: &Plan) -> Vec<(Duration, u8, super::Trade)> {
    let fills = plan.steps.iter().filter_map(|step| match step.what {
        What::Fill { wallet, trade, .. } => Some((step.at, wallet, trade)),
        _ => None,
    });
    fills.collect()
}

/// What a wallet holds at a time, by its trades.
fn held(plan: &Plan, of: u8, market: u8, second: bool, at: Duration) -> i64 {
    let theirs = traded(plan);
    let theirs = theirs.iter().filter(|(when, wallet, trade)| {
        *when <= at && *wallet == of && trade.market == market && trade.second == second
    });
    theirs.fold(0, |held, (.., trade)| match trade.side {
        Side::Buy => held + trade.shares.micro(),
        Side::Sell => (held - trade.shares.micro()).max(0),
    })
}

/// Published after a while, and perhaps again.
fn published(dice: &mut Dice) -> Vec<Duration> {
    let mut published = vec![millis(dice.between(300, 8_000))];
    while dice.permille(250) && published.len() < 3 {
        published.push(millis(dice.between(300, 25_000)));
    }
    published
}

/// Position changes: most are of what the wallet holds, some of what nobody knew that it holds.
fn changes(plan: &Plan, busy: Duration, dice: &mut Dice) -> Vec<Step> {
    let trades = traded(plan);
    let mut steps = Vec::new();
    let count = if dice.permille(400) { dice.between(1, 3) } else { 0 };
    for n in 0..u16::try_from(count).unwrap_or(0) {
        let (wallet, market, at) = if trades.is_empty() || dice.permille(150) {
            (0, 0, within(busy, dice))
        } else {
            let (at, wallet, trade) = *dice.pick(&trades);
            (wallet, trade.market, at + millis(dice.between(500, 30_000)))
        };
        let kind = *dice.pick(&[
            ChangeKind::Merge,
            ChangeKind::Merge,
            ChangeKind::Conversion,
            ChangeKind::Split,
            ChangeKind::Redeem,
        ]);
        let part = *dice.pick(&[100, 500, 1_000, 1_000]);
        let of = |second, dice: &mut Dice| {
            let held = held(plan, wallet, market, second, at);
            let held = if held > 0 { held } else { dice.within(100, 2_000) * 10_000 };
            Shares::from_micro((held * part / 1_000).max(1))
        };
        let shares = match kind {
            // As many of both: of what it has of either.
            ChangeKind::Merge | ChangeKind::Split => of(dice.permille(500), dice),
            _ => of(true, dice),
        };
        let facts = !dice.permille(50);
        let what =
            What::Change { n: CHANGES + n, wallet, market, kind, shares, published: published(dice), facts };
        steps.push(Step { at, what });
    }
    steps
}

/// Tenants sell by hand what was copied; the request comes twice at times.
fn closes(plan: &Plan, dice: &mut Dice) -> Vec<Step> {
    let trades = traded(plan);
    let mut steps = Vec::new();
    if trades.is_empty() || !dice.permille(300) {
        return steps;
    }
    let (at, wallet, trade) = *dice.pick(&trades);
    let theirs: Vec<_> = plan.follows.iter().filter(|f| f.wallet == wallet).collect();
    if theirs.is_empty() {
        return steps;
    }
    let tenant = dice.pick(&theirs).tenant;
    let what = What::Close { n: 2, tenant, wallet, market: trade.market, second: trade.second };
    let at = at + millis(dice.between(500, 20_000));
    if dice.permille(300) {
        steps.push(Step { at: at + millis(dice.between(1, 10_000)), what: what.clone() });
    }
    steps.push(Step { at, what });
    steps
}

/// Other caps than before, and perhaps others again.
fn allowances(plan: &Plan, busy: Duration, dice: &mut Dice) -> Vec<Step> {
    let count = if dice.permille(300) { dice.between(1, 3) } else { 0 };
    (0..count)
        .map(|_| {
            let tenant = u8::try_from(dice.below(plan.tenants.len() as u64)).unwrap_or(0);
            let what = What::Grant { tenant, expires_in: None, revoked: false, caps: Some(caps(dice, 700)) };
            Step { at: within(busy, dice), what }
        })
        .collect()
}

/// A target is removed: its positions follow on, are sold at once, or are kept.
fn removal(plan: &Plan, busy: Duration, dice: &mut Dice) -> Option<Step> {
    if !dice.permille(200) {
        return None;
    }
    let follow = dice.pick(&plan.follows);
    let (status, close_now, keep) = *dice.pick(&[
        (TargetStatus::Closing, false, false),
        (TargetStatus::Closing, true, false),
        (TargetStatus::Removed, false, true),
    ]);
    let what = What::Target { tenant: follow.tenant, wallet: follow.wallet, status, close_now, keep };
    Some(Step { at: within(busy, dice).max(follow.since + secs(1)), what })
}

/// Samples of the prices of what was traded.
fn marks(plan: &Plan, busy: Duration, dice: &mut Dice) -> Vec<Step> {
    let trades = traded(plan);
    let wanted = |p: &schemas::events::Policy| {
        p.take_profit_fraction.is_some() || p.stop_loss_fraction.is_some() || p.sell_winners_at.is_some()
    };
    if trades.is_empty() || !plan.follows.iter().any(|f| wanted(&f.policy)) {
        return Vec::new();
    }
    (0..dice.between(4, 16))
        .map(|_| {
            let (at, wallet, trade) = *dice.pick(&trades);
            let late = dice.below(micros(busy.saturating_sub(at) + secs(20)));
            let what = What::Mark { wallet, market: trade.market, second: trade.second };
            Step { at: at + Duration::from_micros(late), what }
        })
        .collect()
}

/// A market takes no more orders, and pays a little later. Whoever still wants out of it cannot.
fn end(plan: &mut Plan, busy: Duration, dice: &mut Dice) {
    let market = u8::try_from(dice.below(plan.markets.len() as u64)).unwrap_or(0);
    let at = Duration::from_micros(dice.between(micros(busy) / 3, micros(busy) + 20_000_000));
    let payouts = *dice.pick(&[[ONE, 0], [0, ONE], [ONE / 2, ONE / 2]]);
    let pays = if dice.permille(300) { Duration::ZERO } else { millis(dice.between(1, 60_000)) };
    let mut told = vec![millis(dice.between(300, 60_000))];
    if dice.permille(300) {
        told.push(millis(dice.between(300, 60_000)));
    }
    // Nobody trades in it any more.
    plan.steps.retain(|step| match step.what {
        What::Fill { trade, .. } | What::Print(trade) => trade.market != market || step.at < at,
        _ => true,
    });
    if dice.permille(400) {
        let follow = dice.pick(&plan.follows);
        let (tenant, wallet, second) = (follow.tenant, follow.wallet, dice.permille(500));
        let what = What::Close { n: 3, tenant, wallet, market, second };
        plan.steps.push(Step { at: at + millis(dice.below(60_000)), what });
    }
    if dice.permille(400) {
        let wallet = u8::try_from(dice.below(u64::from(plan.wallets))).unwrap_or(0);
        let (kind, shares, facts) = (ChangeKind::Redeem, Shares::from_units(1), true);
        let n = CHANGES + 0x100;
        let what = What::Change { n, wallet, market, kind, shares, published: published(dice), facts };
        plan.steps.push(Step { at: at + pays + millis(dice.below(30_000)), what });
    }
    plan.steps.push(Step { at, what: What::End { market, payouts, pays, told } });
}
