//! Stories from seeds.

use std::{collections::BTreeMap, time::Duration};

use schemas::{
    BelowFloor, ChangeKind, ControlKind, Placement, Price, SellPolicy, Shares, Side, Sizing, TargetStatus,
    Tick, Usdc, events::Policy,
};

use super::{
    Blow, Caps, Follow, Habits, Kind, MarketPlan, Plan, Step, TenantPlan, Trade, Trouble, What, beyond,
};
use crate::{
    dice::{Dice, name},
    fate::FAULTS,
    time::START,
};

/// How much goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mood {
    /// Nothing.
    Calm,
    /// Some calls fail, and a process or two.
    Usual,
    /// Everything that can, often.
    Wild,
}

impl Mood {
    fn of(dice: &mut Dice) -> Self {
        match dice.below(10) {
            0 => Self::Calm,
            1..=6 => Self::Usual,
            _ => Self::Wild,
        }
    }
}

pub(super) const fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

pub(super) const fn millis(n: u64) -> Duration {
    Duration::from_millis(n)
}

pub(super) fn micros(d: Duration) -> u64 {
    u64::try_from(d.as_micros()).unwrap_or(u64::MAX)
}

/// The story of a seed.
pub fn generate(seed: u64, mood: Option<Mood>) -> Plan {
    let mut dice = Dice::about(seed, &[name("plan")]);
    let drawn = Mood::of(&mut dice);
    let mood = mood.unwrap_or(drawn);
    let tenants: Vec<_> = (0..dice.between(1, 3)).map(|_| tenant(&mut dice)).collect();
    let markets: Vec<_> = (0..dice.between(1, 3)).map(|_| market(&mut dice)).collect();
    let wallets = u8::try_from(dice.between(1, 3)).unwrap_or(1);
    let mut follows = Vec::new();
    for tenant in 0..u8::try_from(tenants.len()).unwrap_or(1) {
        for wallet in 0..wallets {
            if wallet == 0 || dice.permille(600) {
                let since = if dice.permille(850) { Duration::ZERO } else { millis(dice.between(1, 60_000)) };
                follows.push(Follow { tenant, wallet, policy: policy(&mut dice), since });
            }
        }
    }
    let busy = secs(dice.between(15, 120));
    let mut plan = Plan {
        seed,
        tenants,
        wallets,
        markets,
        follows,
        processes: [0, 1, 2].map(|_| u8::try_from(dice.between(1, 2)).unwrap_or(1)),
        partitions: [0, 1].map(|_| i32::try_from(dice.between(1, 3)).unwrap_or(1)),
        markers: dice.permille(500),
        habits: habits(&mut dice),
        rates: BTreeMap::new(),
        steps: Vec::new(),
        troubles: Vec::new(),
        quiet: Duration::ZERO,
    };
    plan.steps = Market::of(&plan).history(&plan, busy, &mut dice);
    beyond::add(&mut plan, busy);
    let last = plan.steps.iter().map(Step::over).max().unwrap_or(busy);
    plan.quiet = last + secs(dice.between(5, 60));
    if mood != Mood::Calm {
        plan.rates = rates(mood, &mut dice);
        plan.troubles = troubles(&plan, mood, &mut dice);
    }
    plan
}

fn tenant(dice: &mut Dice) -> TenantPlan {
    TenantPlan { caps: caps(dice, 400), approved: dice.permille(700) }
}

/// What a grant allows: a tight budget for a day in so many of a thousand.
pub(super) fn caps(dice: &mut Dice, tight: u64) -> Caps {
    let tight = dice.permille(tight);
    let units = |n: u64| Usdc::from_units(i64::try_from(n).unwrap_or(1));
    Caps {
        per_order: units(if dice.permille(150) { dice.between(2, 6) } else { 500 }),
        daily: units(if tight { dice.between(5, 40) } else { 5_000 }),
        hourly: if dice.permille(150) { dice.within(1, 6) } else { 500 },
        per_market: dice.permille(200).then(|| units(dice.between(4, 30))),
    }
}

fn market(dice: &mut Dice) -> MarketPlan {
    let tick = Tick::from_micro(*dice.pick(&[10_000, 10_000, 10_000, 1_000])).unwrap_or(Tick::CENT);
    MarketPlan {
        tick,
        min_shares: Shares::from_units(*dice.pick(&[5, 5, 1])),
        fee_rate: *dice.pick(&[0, 0, 40_000, 70_000]),
        neg_risk: dice.permille(200),
        price: tick.snap(Price::from_micro(dice.within(150_000, 850_000)), schemas::Round::Down),
    }
}

fn policy(dice: &mut Dice) -> Policy {
    let sizing = *dice.pick(&[
        Sizing::MinBet,
        Sizing::Fixed,
        Sizing::Fixed,
        Sizing::Ratio,
        Sizing::MirrorFillExact,
        Sizing::PositionGap,
        Sizing::TargetPercentileScaled,
        Sizing::Auto,
    ]);
    let units = |n: i64| Some(Usdc::from_units(n));
    Policy {
        usdc_per_trade: units(dice.within(3, 12)),
        ratio: Some(dice.within(50_000, 500_000)),
        max_usdc_per_trade: units(dice.within(4, 25)),
        max_usdc_per_token: units(dice.within(8, 60)),
        below_floor: dice.permille(500).then_some(BelowFloor::Floor),
        gap_range_max: units(dice.within(20, 80)),
        gap_max_alloc: units(dice.within(8, 30)),
        follow_ups: dice.permille(300).then_some(true),
        placement: Some(if dice.permille(350) { Placement::MarketFak } else { Placement::MirrorLimit }),
        order_ttl_s: Some(i32::try_from(dice.between(240, 300)).unwrap_or(240)),
        max_open_orders: Some(i32::try_from(dice.between(1, 4)).unwrap_or(1)),
        stale_replace_delta: Some(Price::from_micro(dice.within(10_000, 40_000))),
        max_fee_fraction: Some(200_000),
        min_target_side_fraction: Some(if dice.permille(300) { 200_000 } else { 0 }),
        vwap_tolerance: Some(Price::from_micro(if dice.permille(300) { 5_000 } else { -1 })),
        sell_policy: dice.permille(150).then_some(SellPolicy::FullExit),
        allow_both_sides: Some(dice.permille(700)),
        set_at: START,
        ..decide::plan::settings::defaults(sizing)
    }
}

fn habits(dice: &mut Dice) -> Habits {
    Habits {
        status_prefix: dice.permille(200),
        base_units: dice.permille(200),
        partial_fak_matched: dice.permille(300),
        credit_when_confirmed: dice.permille(200),
        confirm_after: dice.between(1, 20),
        balance: Usdc::from_units(if dice.permille(200) { dice.within(10, 40) } else { 10_000 }),
    }
}

fn rates(mood: Mood, dice: &mut Dice) -> BTreeMap<&'static str, u64> {
    let (part, most) = match mood {
        Mood::Calm => (0, 0),
        Mood::Usual => (400, 2),
        Mood::Wild => (800, 5),
    };
    let mut rates = BTreeMap::new();
    for (fault, usual) in FAULTS {
        if dice.permille(part) {
            rates.insert(*fault, (usual * dice.between(1, most)).min(400));
        }
    }
    rates
}

fn troubles(plan: &Plan, mood: Mood, dice: &mut Dice) -> Vec<Trouble> {
    let most = if mood == Mood::Wild { 12 } else { 4 };
    let published: Vec<Duration> = plan
        .steps
        .iter()
        .filter_map(|s| match &s.what {
            What::Fill { published, .. } => Some(s.at + published.first().copied().unwrap_or_default()),
            _ => None,
        })
        .collect();
    let end = micros(plan.quiet);
    let mut troubles: Vec<_> = (0..dice.below(most + 1))
        .map(|_| {
            // Most things are done in the second after a fill comes: that is when it hurts.
            let near = !published.is_empty() && dice.permille(650);
            let at = if near {
                *dice.pick(&published) + Duration::from_micros(dice.below(1_500_000))
            } else {
                Duration::from_micros(dice.below(end))
            };
            Trouble { at: at.min(plan.quiet), blow: blow(plan, dice) }
        })
        .collect();
    troubles.sort_by_key(|t| t.at);
    troubles
}

fn blow(plan: &Plan, dice: &mut Dice) -> Blow {
    let kind = *dice.pick(&[Kind::Decide, Kind::Execute, Kind::Execute, Kind::Project]);
    let processes = plan.processes[kind as usize];
    let nth = u8::try_from(dice.below(u64::from(processes))).unwrap_or(0);
    let away = millis(dice.between(10, 25_000));
    match dice.below(10) {
        0..=3 => Blow::Crash { kind, nth, away },
        4..=6 => Blow::Freeze { kind, nth, lasts: millis(dice.between(100, 45_000)) },
        7 => Blow::Restart { kind, nth, away },
        8 => Blow::Rebalance { kind },
        _ => Blow::Evict { kind, partition: dice.within(0, 2).try_into().unwrap_or(0) },
    }
}

/// Prices and holdings while a history is made up.
struct Market {
    prices: Vec<Price>,
    /// By wallet, market and outcome.
    held: BTreeMap<(u8, u8, bool), i64>,
}

impl Market {
    fn of(plan: &Plan) -> Self {
        Self { prices: plan.markets.iter().map(|m| m.price).collect(), held: BTreeMap::new() }
    }

    fn walk(&mut self, plan: &Plan, market: u8, dice: &mut Dice) -> Price {
        let tick = plan.markets[usize::from(market)].tick;
        let price = &mut self.prices[usize::from(market)];
        let steps = if dice.permille(100) { dice.within(-9, 9) } else { dice.within(-2, 2) };
        let moved = price.micro() + steps * tick.micro().max(5_000);
        *price = tick.snap(Price::from_micro(moved.clamp(50_000, 950_000)), schemas::Round::Down);
        *price
    }

    fn trade(&mut self, plan: &Plan, dice: &mut Dice) -> Trade {
        let market = u8::try_from(dice.below(plan.markets.len() as u64)).unwrap_or(0);
        let second = dice.permille(250);
        let first = self.walk(plan, market, dice);
        let price = if second { first.complement() } else { first };
        let side = if dice.permille(500) { Side::Buy } else { Side::Sell };
        let shares = Shares::from_micro(dice.within(100, 12_000) * 10_000);
        Trade { market, second, side, shares, price }
    }

    /// A followed wallet's: it sells what it has, a part or all.
    fn fill(&mut self, plan: &Plan, wallet: u8, dice: &mut Dice) -> Trade {
        let mut trade = Trade { side: Side::Buy, ..self.trade(plan, dice) };
        let holdings: Vec<_> =
            self.held.iter().filter(|((w, ..), n)| *w == wallet && **n > 0).map(|(k, n)| (*k, *n)).collect();
        if !holdings.is_empty() && dice.permille(350) {
            let ((_, market, second), held) = *dice.pick(&holdings);
            let part = *dice.pick(&[10, 250, 490, 500, 600, 1_000, 1_000, 1_200]);
            let shares = Shares::from_micro((held * part / 1_000 / 10_000).max(1) * 10_000);
            let first = self.walk(plan, market, dice);
            let price = if second { first.complement() } else { first };
            trade = Trade { market, second, side: Side::Sell, shares, price };
        }
        let held = self.held.entry((wallet, trade.market, trade.second)).or_default();
        match trade.side {
            Side::Buy => *held += trade.shares.micro(),
            Side::Sell => *held = (*held - trade.shares.micro()).max(0),
        }
        trade
    }

    fn history(mut self, plan: &Plan, busy: Duration, dice: &mut Dice) -> Vec<Step> {
        let mut steps = Vec::new();
        let fills = u16::try_from(dice.between(2, 16)).unwrap_or(2);
        // In the order of time, since a wallet sells what it bought before.
        let mut moments: Vec<Duration> = Vec::new();
        while moments.len() < usize::from(fills) {
            let at = Duration::from_micros(dice.between(2_000_000, micros(busy)));
            let burst = if dice.permille(150) { dice.between(2, 5) } else { 1 };
            moments.extend((0..burst).map(|n| at + millis(n * dice.between(1, 400))));
        }
        moments.sort_unstable();
        let mut known: Vec<(u16, Duration)> = Vec::new();
        for (n, at) in (0u16..).zip(moments) {
            let wallet = u8::try_from(dice.below(u64::from(plan.wallets))).unwrap_or(0);
            let trade = self.fill(plan, wallet, dice);
            let late = dice.permille(30);
            let first = millis(if late { dice.between(110_000, 160_000) } else { dice.between(300, 6_000) });
            let mut published = vec![first];
            while dice.permille(200) && published.len() < 4 {
                published.push(millis(dice.between(300, 20_000)));
            }
            let facts = !dice.permille(40);
            steps.push(Step { at, what: What::Fill { n, wallet, trade, published, facts } });
            known.push((n, at));
        }
        for _ in 0..dice.between(4, 30) {
            let at = Duration::from_micros(dice.below(micros(busy) + 60_000_000));
            steps.push(Step { at, what: What::Print(self.trade(plan, dice)) });
        }
        for wallet in 0..plan.wallets {
            let at = millis(if dice.permille(900) { 100 } else { dice.between(1_000, 30_000) });
            steps.push(Step { at, what: What::Snapshot { wallet } });
        }
        Self::surprises(plan, busy, &known, &mut steps, dice);
        steps.sort_by_key(|s| s.at);
        steps
    }

    /// What happens besides trades.
    fn surprises(
        plan: &Plan,
        busy: Duration,
        known: &[(u16, Duration)],
        steps: &mut Vec<Step>,
        dice: &mut Dice,
    ) {
        for _ in 0..dice.below(4) {
            let (n, at) = *dice.pick(known);
            let more = Shares::from_micro(dice.within(100, 4_000) * 10_000);
            let at = at + millis(dice.between(500, 20_000));
            steps.push(Step { at, what: What::Amend { n, more } });
        }
        if dice.permille(150) {
            let (n, at) = *dice.pick(known);
            steps.push(Step { at: at + millis(dice.between(4_000, 40_000)), what: What::Void { n } });
        }
        for _ in 0..dice.below(3) {
            let (n, at) = *dice.pick(known);
            steps.push(Step { at: at + millis(dice.between(200, 9_000)), what: What::Alias { n } });
        }
        if dice.permille(250) {
            let (_, at) = *dice.pick(known);
            let last = u8::try_from(dice.between(1, 6)).unwrap_or(1);
            steps.push(Step { at: at + millis(dice.between(1_000, 12_000)), what: What::Intents { last } });
        }
        let some = |dice: &mut Dice| Duration::from_micros(dice.below(micros(busy)));
        if dice.permille(150) {
            let (wallet, market) = (0, 0);
            let (kind, shares) = (ChangeKind::Merge, Shares::from_units(dice.within(1, 20)));
            let (n, published, facts) = (0x3fff, vec![Duration::ZERO], true);
            let what = What::Change { n, wallet, market, kind, shares, published, facts };
            steps.push(Step { at: some(dice), what });
        }
        let tenants = plan.tenants.len() as u64;
        if dice.permille(300) {
            let follow = dice.pick(&plan.follows);
            let (tenant, wallet) = (follow.tenant, follow.wallet);
            let at = some(dice).max(follow.since + secs(1));
            let status = *dice.pick(&[TargetStatus::Paused, TargetStatus::Closing, TargetStatus::Closing]);
            let (close_now, keep) = (dice.permille(300), dice.permille(300));
            // What is to be kept is kept at once: then nothing is left to be followed.
            let keep = keep && !close_now && status == TargetStatus::Closing;
            let status = if keep { TargetStatus::Removed } else { status };
            steps.push(Step { at, what: What::Target { tenant, wallet, status, close_now, keep } });
            if dice.permille(500) {
                let (status, at) = (TargetStatus::Active, at + secs(dice.between(1, 30)));
                let what = What::Target { tenant, wallet, status, close_now: false, keep: false };
                steps.push(Step { at, what });
            }
        }
        if dice.permille(200) {
            let follow = dice.pick(&plan.follows);
            let what = What::Close {
                n: 1,
                tenant: follow.tenant,
                wallet: follow.wallet,
                market: 0,
                second: dice.permille(300),
            };
            steps.push(Step { at: some(dice), what });
        }
        if dice.permille(150) {
            let tenant = u8::try_from(dice.below(tenants)).unwrap_or(0);
            let revoked = dice.permille(400);
            let expires_in = dice.permille(500).then(|| secs(dice.between(0, 40)));
            let at = some(dice);
            steps.push(Step { at, what: What::Grant { tenant, expires_in, revoked, caps: None } });
            // Nobody is kept in a position for ever.
            let what = What::Grant { tenant, expires_in: None, revoked: false, caps: None };
            steps.push(Step { at: at + secs(dice.between(10, 60)), what });
        }
        if dice.permille(200) {
            let tenant = dice.permille(600).then(|| u8::try_from(dice.below(tenants)).unwrap_or(0));
            let kind = *dice.pick(&[ControlKind::Pause, ControlKind::Pause, ControlKind::Halt]);
            let at = some(dice);
            steps.push(Step { at, what: What::Switch { tenant, kind, on: true } });
            let what = What::Switch { tenant, kind, on: false };
            steps.push(Step { at: at + secs(dice.between(2, 40)), what });
        }
    }
}
