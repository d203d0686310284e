//! Recorded lives as a story: a market for each order, the intent that places it, and the prints that fill it.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use schemas::{
    Address, AssetId, BillingAccountId, ConditionId, FillId, Hash32, IdempotencyKey, MarketVersion, Mode,
    Placement, Price, Shares, Side, TargetId, TargetRowId, Tick, Timestamp, TxHash, Usdc, UserId,
    events::{CancelIntent, IntentHead, IntentsEvent, MarketFacts, MarketToken, Origin, PlaceIntent},
    keccak256,
};
use simulator::{
    market::{Market, MarketRef, Outcome, TokenRef, condition_of, decimal_id},
    print::{Happening, Opening, Print, Role, Source, What},
};

use super::lives::{End, Life};

/// What orders offer. The recorded ones offered 0.999 in markets without any ask; a made book always has one, so here
/// they stand below it.
const LIMIT: Price = Price::from_micro(500_000);
/// What a market opens at: its asks begin here.
const OPENING: Price = Price::from_micro(600_000);
/// What a print goes through the limit at.
const THROUGH: Price = Price::from_micro(490_000);
/// The life of an order, in seconds: the recorded markets were over in five minutes.
const TTL_S: i32 = 300;
/// Prints come so much later than recorded, so that most orders have landed by then.
const LAG: Duration = Duration::from_secs(5);
/// Whoever trades at the venue.
const SOMEBODY: Address = Address::from_bytes([0xdd; 20]);

/// Whose orders they are.
#[derive(Debug, Clone)]
pub struct Tenant {
    pub account: BillingAccountId,
    pub user: UserId,
    pub target: TargetRowId,
    pub wallet: Address,
}

/// What is published, and when.
#[derive(Debug)]
pub struct Story {
    /// In the order of time.
    pub intents: Vec<(Timestamp, IntentsEvent)>,
    pub placed: Vec<PlaceIntent>,
    pub shown: Script,
}

/// What the venue shows of it.
#[derive(Debug, Clone)]
pub struct Script(VecDeque<Happening>);

fn token(n: usize, second: bool) -> AssetId {
    decimal_id(&[b"outcomes", &n.to_be_bytes(), &[u8::from(second)]])
}

fn condition(n: usize) -> ConditionId {
    condition_of(&[b"outcomes", &n.to_be_bytes()], MarketVersion::V1)
}

fn tx(n: usize, part: usize) -> TxHash {
    TxHash::from_bytes(*keccak256(&[b"outcomes", &n.to_be_bytes(), &part.to_be_bytes()]).as_bytes())
}

impl Story {
    /// The lives of orders that tenants place in turn, from `begin` on, each so long after the one before.
    pub fn of(lives: &[Life], tenants: &[Tenant], begin: Timestamp, apart: Duration) -> Self {
        let (mut intents, mut placed, mut shown) = (Vec::new(), Vec::new(), BTreeMap::new());
        for (n, life) in lives.iter().enumerate() {
            let at = begin.plus(apart * u32::try_from(n).unwrap());
            let place = place(n, life.size, &tenants[n % tenants.len()], at);
            shown.insert((begin.minus(LAG), n, 0), What::Open(Box::new(market(n, begin))));
            for (part, (after, size)) in (1..).zip(&life.parts) {
                let at = at.plus(*after + LAG);
                shown.insert((at, n, part), What::Print(print(n, part, at, *size)));
            }
            if let End::Cancelled(after) = life.end {
                let cancel = CancelIntent {
                    head: place.head.clone(),
                    cancels: place.head.idempotency_key,
                    cause: "void".to_owned(),
                };
                intents.push((at.plus(after + LAG), cancel.into()));
            }
            intents.push((at, place.clone().into()));
            placed.push(place);
        }
        intents.sort_by_key(|(at, _)| *at);
        let shown = shown.into_iter().map(|((at, _, _), what)| Happening { at, what }).collect();
        Self { intents, placed, shown: Script(shown) }
    }
}

fn place(n: usize, size: Shares, tenant: &Tenant, at: Timestamp) -> PlaceIntent {
    let (asset, tx, target_id) = (token(n, false), tx(n, 0), TargetId::of_wallet(tenant.wallet));
    let fill_id = FillId::data_api(tx, &asset, Side::Buy, at);
    let named = |second, outcome: &str| MarketToken { asset: token(n, second), outcome: outcome.to_owned() };
    PlaceIntent {
        head: IntentHead {
            billing_account_id: tenant.account,
            created_by_user_id: tenant.user,
            target_row_id: tenant.target,
            target_id,
            wallet: tenant.wallet,
            idempotency_key: IdempotencyKey::of(target_id, &fill_id),
            fill_id,
            revision: 0,
            tx: Some(tx),
            asset,
            condition_id: condition(n),
            side: Side::Buy,
            filled_at: at,
            mode: Mode::Simulated,
            origin: Origin {
                partition: 0,
                cut: 1,
                decision_hash: Hash32::ZERO,
                policy_revision: 1,
                observed_at: at,
            },
        },
        limit: LIMIT,
        shares: size,
        amount: None,
        placement: Placement::MirrorLimit,
        order_ttl_s: TTL_S,
        send_until: at.plus(Duration::from_secs(120)),
        facts: MarketFacts {
            condition_id: condition(n),
            tokens: vec![named(false, "Up"), named(true, "Down")],
            version: MarketVersion::V1,
            neg_risk: false,
            tick: Tick::CENT,
            min_shares: Shares::from_units(5),
            accepting_orders: true,
            end_at: None,
            fee_rate: 0,
            fee_exponent: 1,
            category: None,
            slug: None,
            title: None,
        },
        max_usdc_per_token: Usdc::from_units(1_000),
        allow_both_sides: false,
        replaces: None,
        book: None,
    }
}

fn market(n: usize, opened: Timestamp) -> Market {
    let outcome = |second, name: &str| Outcome { token: token(n, second), name: name.into() };
    let name = format!("up-or-down-{n}");
    Market {
        id: n as u64 + 1,
        condition: condition(n),
        version: MarketVersion::V1,
        title: name.as_str().into(),
        slug: name.as_str().into(),
        event_slug: name.as_str().into(),
        icon: "".into(),
        category: "Crypto".into(),
        outcomes: [outcome(false, "Up"), outcome(true, "Down")],
        tick: Tick::CENT,
        min_size: Shares::from_units(5),
        neg_risk: false,
        fee_rate: 0,
        end: None,
        opening_price: OPENING,
        opened: opened.minus(LAG),
        closed: None,
        payouts: None,
    }
}

fn print(n: usize, part: usize, at: Timestamp, size: Shares) -> Print {
    Print {
        second: at.secs(),
        wallet: SOMEBODY,
        token: TokenRef { market: MarketRef(u32::try_from(n).unwrap()), second: false },
        side: Side::Sell,
        role: Role::Taker,
        size,
        price: THROUGH,
        tx: tx(n, part),
        literals: None,
    }
}

impl Source for Script {
    fn next_at(&mut self) -> Option<Timestamp> {
        self.0.front().map(|h| h.at)
    }

    fn take(&mut self) -> Option<Happening> {
        self.0.pop_front()
    }

    fn openings(&self) -> Vec<Opening> {
        Vec::new()
    }

    fn leaders(&self) -> Vec<Address> {
        Vec::new()
    }
}
