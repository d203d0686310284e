//! Whether an intent may become an order, and for how much (`behaviour.md` 5): a pure function of a snapshot.
//!
//! Rules are asked in the order of the contract, and the first that says no names the denial.

use std::time::Duration;

use schemas::{
    Denial, OrderType, Placement, Price, Round, Shares, Side, TargetStatus, Timestamp, Usdc,
    events::{IntentHead, PlaceIntent},
};
use venue::{
    amounts::SIZE_STEP,
    fees::{FeeTerms, worst_fee, worst_fee_of_market_buy},
};

use super::{
    Snapshot,
    close::plan::Sale,
    snapshot::{Readiness, notional},
};

/// The most one order may cost, whatever a grant says.
pub const MAX_PER_ORDER: Usdc = Usdc::from_units(500);
/// The most 24 hours may cost, whatever a grant says.
pub const MAX_DAILY: Usdc = Usdc::from_units(5_000);
/// The most orders in an hour, whatever a grant says.
pub const MAX_HOURLY: i64 = 500;

/// The scope that BUYs need.
pub const SCOPE_BUY: &str = "poly:trade:buy";
/// The scope that SELLs need.
pub const SCOPE_SELL: &str = "poly:trade:sell";

/// A limit order rests at least so long.
const LEAST_TTL_S: i32 = 240;
/// The least dollars of a market BUY, and of a limit BUY that takes.
const LEAST_USDC: Usdc = Usdc::from_units(1);

/// What may be placed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authorised {
    /// Which way.
    pub side: Side,
    /// The worst price.
    pub limit: Price,
    /// The shares asked for; of a market BUY, what its dollars come to at the limit.
    pub shares: Shares,
    /// The dollars of a market BUY.
    pub amount: Option<Usdc>,
    /// How long it lives.
    pub order_type: OrderType,
    /// When it lapses by itself.
    pub expires_at: Option<Timestamp>,
    /// What it takes from the budget: shares at the limit and the worst taker fee. Zero for SELLs.
    pub cost: Usdc,
}

/// What a replaced order has filled by its end: it is subtracted from its replacement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Replaced {
    /// Its shares.
    pub shares: Shares,
    /// What they cost.
    pub usdc: Usdc,
}

/// An intent that may become an order.
#[derive(Debug, Clone, Copy)]
pub enum Asked<'i> {
    /// A BUY, and what the order that it replaces has filled.
    Place(&'i PlaceIntent, Replaced),
    /// An attempt of a close. How much and at which price, the close has planned (`behaviour.md` 4).
    Sell(&'i Sale),
}

/// Asks every rule of `behaviour.md` 5.
///
/// # Errors
/// The first rule that says no.
pub fn authorise(snapshot: &Snapshot, asked: Asked<'_>) -> Result<Authorised, Denial> {
    match asked {
        Asked::Place(intent, replaced) => buy(snapshot, intent, replaced),
        Asked::Sell(sale) => sell(snapshot, sale),
    }
}

fn no(rule: bool, denial: Denial) -> Result<(), Denial> {
    if rule { Err(denial) } else { Ok(()) }
}

fn wallet_is_ready(snapshot: &Snapshot) -> Result<(), Denial> {
    let connection = snapshot.connection.as_ref().ok_or(Denial::NoConnection)?;
    no(
        !snapshot.served || !connection.approved || snapshot.readiness == Readiness::Refused,
        Denial::TradingNotReady,
    )
}

fn target_follows(snapshot: &Snapshot, head: &IntentHead) -> Result<(), Denial> {
    let target = snapshot.targets.get(&head.target_row_id).ok_or(Denial::TargetInactive)?;
    let same = target.wallet == head.wallet
        && target.mode == head.mode
        && target.created_by == head.created_by_user_id;
    no(!same, Denial::TargetInactive)?;
    match target.status {
        TargetStatus::Active => Ok(()),
        TargetStatus::Paused => Err(Denial::TargetPaused),
        TargetStatus::Closing | TargetStatus::Removed => Err(Denial::TargetInactive),
    }
}

/// What is left of a BUY once the order it replaces has ended: shares, and dollars of a market order.
fn remainder(intent: &PlaceIntent, replaced: Replaced) -> Result<(Shares, Option<Usdc>), Denial> {
    let cents = |usdc: Usdc| usdc.to_multiple(SIZE_STEP, Round::Down).unwrap_or(Usdc::ZERO);
    let amount = match intent.placement {
        Placement::MarketFak => {
            Some(cents(intent.amount.unwrap_or_else(|| notional(intent.limit, intent.shares))))
        }
        Placement::MirrorLimit => None,
    };
    if replaced == Replaced::default() {
        return Ok((intent.shares, amount));
    }
    let amount = amount.map(|a| cents(a.minus_or_zero(replaced.usdc)));
    let shares = match amount {
        Some(dollars) => intent.limit.shares_for(dollars, Round::Down),
        None => intent.shares.minus_or_zero(replaced.shares).to_multiple(SIZE_STEP, Round::Down),
    }
    .unwrap_or(Shares::ZERO);
    let below = match amount {
        Some(dollars) => dollars < LEAST_USDC,
        None => shares < intent.facts.min_shares || notional(intent.limit, shares) < LEAST_USDC,
    };
    no(below, Denial::Superseded)?;
    Ok((shares, amount))
}

fn buy(snapshot: &Snapshot, intent: &PlaceIntent, replaced: Replaced) -> Result<Authorised, Denial> {
    let (head, switches, now) = (&intent.head, snapshot.switches, snapshot.now);
    no(switches.global_pause, Denial::GloballyPaused)?;
    no(switches.global_halt || switches.tenant_halt, Denial::Halted)?;
    wallet_is_ready(snapshot)?;
    let grant = snapshot.grant.as_ref().ok_or(Denial::NoActiveGrant)?;
    no(grant.revoked, Denial::GrantRevoked)?;
    no(grant.expires_at.is_some_and(|at| at <= now), Denial::GrantExpired)?;
    no(!grant.scopes.iter().any(|s| s == SCOPE_BUY), Denial::ScopeMissing)?;
    no(switches.tenant_pause, Denial::TenantPaused)?;
    target_follows(snapshot, head)?;
    no(now > intent.send_until, Denial::IntentExpired)?;

    let (shares, amount) = remainder(intent, replaced)?;
    let terms = FeeTerms::of(&intent.facts);
    // Past the range of integers is past every cap.
    let too_much = Usdc::from_micro(i64::MAX);
    let (order_type, expires_at, plain, fee) = if let Some(dollars) = amount {
        (OrderType::Fak, None, dollars, worst_fee_of_market_buy(terms, dollars, intent.facts.tick))
    } else {
        let ttl = u64::try_from(intent.order_ttl_s.max(LEAST_TTL_S)).unwrap_or(0);
        let lapses = now.plus(Duration::from_secs(ttl)).secs().saturating_add(1);
        let fee = worst_fee(terms, Side::Buy, intent.limit, shares);
        (OrderType::Gtd, Some(Timestamp::from_secs(lapses)), notional(intent.limit, shares), fee)
    };
    let cost = fee.and_then(|fee| plain.checked_add(fee)).unwrap_or(too_much);

    if !intent.allow_both_sides
        && let Some(opposite) = intent.facts.opposite(&head.asset)
    {
        no(snapshot.others_want(head.target_id, opposite), Denial::OppositeHeld)?;
    }
    if let Some(balance) = snapshot.balance {
        no(cost > balance.minus_or_zero(snapshot.claimed), Denial::InsufficientBalance)?;
    }
    let past = |spent: Usdc, cost: Usdc, cap: Usdc| spent.checked_add(cost).is_none_or(|sum| sum > cap);
    no(cost > grant.per_order.min(MAX_PER_ORDER), Denial::CapExceededPerOrder)?;
    no(past(snapshot.day, cost, grant.daily.min(MAX_DAILY)), Denial::CapExceededDaily)?;
    no(snapshot.hour >= grant.hourly.min(MAX_HOURLY), Denial::CapExceededHourlyFills)?;
    if let Some(cap) = grant.per_market {
        no(past(snapshot.in_condition(head.condition_id), cost, cap), Denial::CapExceededMarket)?;
    }
    // The policy counts at the limit and without fees, as the plan does.
    let token = snapshot.current(head.target_id, &head.asset);
    let in_token = snapshot.in_token(head.target_id, &token);
    no(past(in_token, plain, intent.max_usdc_per_token), Denial::CapExceededPosition)?;

    Ok(Authorised { side: Side::Buy, limit: intent.limit, shares, amount, order_type, expires_at, cost })
}

fn sell(snapshot: &Snapshot, sale: &Sale) -> Result<Authorised, Denial> {
    let switches = snapshot.switches;
    no(switches.global_halt || switches.tenant_halt, Denial::Halted)?;
    wallet_is_ready(snapshot)?;
    // A grant that ran out does not keep anybody in a position; one that was taken back does.
    let grant = snapshot.grant.as_ref().ok_or(Denial::NoActiveGrant)?;
    no(grant.revoked, Denial::GrantRevoked)?;
    no(!grant.scopes.iter().any(|s| s == SCOPE_SELL), Denial::ScopeMissing)?;
    Ok(Authorised {
        side: Side::Sell,
        limit: sale.limit,
        shares: sale.shares,
        amount: None,
        order_type: sale.order_type,
        expires_at: sale.expires_at,
        cost: Usdc::ZERO,
    })
}
