//! Small records for tests and benches, here and in crates that read what decide writes. Behind the feature
//! `fixtures`; never part of the program.
#![allow(clippy::expect_used, clippy::unwrap_used, clippy::missing_panics_doc, missing_docs)]

use eventlog::{Offset, Record, Stored, TopicPartition, event};
use runtime::Chance;
use schemas::{
    Address, AssetId, BelowFloor, BillingAccountId, ChangeKind, ConditionId, FillId, FillKind, Hash32,
    IdempotencyKey, MarketVersion, Mode, OrderStatus, OrderType, Outcome, Placement, Price, SellPolicy,
    Shares, Side, TargetId, TargetRowId, TargetStatus, Tick, Timestamp, TxHash, Usdc, UserId,
    avro::Event,
    codec::Codec,
    events::{
        BookLevel, BookSnapshot, CloseRequested, Decision, Fill, FillVoided, HeldPosition, IntentsEvent,
        MarketFacts, MarketToken, OrderState, Origin, Policy, PositionChanged, PositionSnapshot, TargetState,
        TokenDelta, TokenResolved, Watermark,
    },
    topics::Topic,
};

use crate::{
    core::{Core, Staged},
    cut::{INPUTS, Slice, read},
    plan::VERSIONS,
};

/// When the scenes begin.
pub const T0: Timestamp = Timestamp::from_secs(1_790_000_000);

/// So many seconds after [`T0`].
pub fn at(secs: i64) -> Timestamp {
    Timestamp::from_micros(T0.micros() + secs * 1_000_000)
}

pub fn usd(s: &str) -> Usdc {
    s.parse().unwrap()
}

pub fn sh(s: &str) -> Shares {
    s.parse().unwrap()
}

pub fn px(s: &str) -> Price {
    s.parse().unwrap()
}

pub fn wallet(n: u8) -> Address {
    Address::from_bytes([n; 20])
}

fn uuid(kind: u8, n: u8) -> uuid::Uuid {
    uuid::Uuid::from_bytes([kind, n, 0, 0, 0, 0, 0x40, 0, 0x80, 0, 0, 0, 0, 0, 0, n])
}

pub fn account(n: u8) -> BillingAccountId {
    BillingAccountId::from_uuid(uuid(1, n))
}

/// The row by which an account follows a wallet.
pub fn row(account: u8, wallet: u8) -> TargetRowId {
    TargetRowId::from_uuid(uuid(wallet, account))
}

pub fn tx(n: u64) -> TxHash {
    let mut bytes = [0; 32];
    bytes[24..].copy_from_slice(&n.to_be_bytes());
    TxHash::from_bytes(bytes)
}

/// The token of an outcome (0 or 1) of a market.
pub fn token(market: u8, outcome: u8) -> AssetId {
    format!("{}", 1_000 + u32::from(market) * 10 + u32::from(outcome)).parse().unwrap()
}

pub fn condition(market: u8) -> ConditionId {
    ConditionId::from_bytes([market; 32])
}

/// A market with a tick of a cent and a minimum of five shares, open for a month, without fee.
pub fn facts(market: u8) -> MarketFacts {
    MarketFacts {
        condition_id: condition(market),
        tokens: vec![
            MarketToken { asset: token(market, 0), outcome: "Yes".into() },
            MarketToken { asset: token(market, 1), outcome: "No".into() },
        ],
        version: MarketVersion::V1,
        neg_risk: false,
        tick: Tick::CENT,
        min_shares: sh("5"),
        accepting_orders: true,
        end_at: Some(at(30 * 86_400)),
        fee_rate: 0,
        fee_exponent: 1,
        category: Some("Politics".into()),
        slug: Some(format!("market-{market}")),
        title: Some(format!("Market {market}?")),
    }
}

pub fn book(asset: AssetId, bid: &str, ask: &str) -> BookSnapshot {
    let level = |price| vec![BookLevel { price, shares: sh("1000") }];
    BookSnapshot { asset, as_of: T0, bids: level(px(bid)), asks: level(px(ask)) }
}

/// A target of an account, active since an hour before [`T0`].
pub fn target(account_n: u8, wallet_n: u8, policy: Policy) -> TargetState {
    TargetState {
        target_row_id: row(account_n, wallet_n),
        revision: 1,
        billing_account_id: account(account_n),
        created_by_user_id: UserId::from_uuid(uuid(200, account_n)),
        wallet: wallet(wallet_n),
        target_id: TargetId::of_wallet(wallet(wallet_n)),
        status: TargetStatus::Active,
        close_now: false,
        keep_positions: false,
        mode: Mode::Simulated,
        policy_revision: 1,
        policy,
        created_at: at(-3_600),
        changed_at: at(-3_600),
    }
}

/// A fill of market 1's first token, seen a second after it settled.
pub fn fill(wallet_n: u8, tx_n: u64, side: Side, shares: &str, price: &str, secs: i64) -> Fill {
    fill_of(wallet_n, tx_n, 1, 0, side, sh(shares), px(price), secs)
}

#[expect(clippy::too_many_arguments, reason = "a fill has that many sides")]
pub fn fill_of(
    wallet_n: u8,
    tx_n: u64,
    market: u8,
    outcome: u8,
    side: Side,
    shares: Shares,
    price: Price,
    secs: i64,
) -> Fill {
    let asset = token(market, outcome);
    Fill {
        kind: FillKind::New,
        wallet: wallet(wallet_n),
        fill_id: FillId::data_api(tx(tx_n), &asset, side, at(secs)),
        revision: 0,
        tx: tx(tx_n),
        condition_id: condition(market),
        side,
        shares,
        notional: price.cost(shares, schemas::Round::Nearest).unwrap(),
        price,
        rows: 1,
        filled_at: at(secs),
        observed_at: at(secs + 1),
        page_order: Some(0),
        outcome: None,
        title: None,
        facts: Some(facts(market)),
        book: None,
        asset,
    }
}

/// The same fill with more rows: new totals, next revision.
pub fn amended(fill: &Fill, shares: &str, revision: i32) -> Fill {
    let shares = sh(shares);
    Fill {
        kind: FillKind::Amendment,
        revision,
        shares,
        notional: fill.price.cost(shares, schemas::Round::Nearest).unwrap(),
        rows: fill.rows + 1,
        ..fill.clone()
    }
}

pub fn voided(fill: &Fill) -> FillVoided {
    FillVoided {
        wallet: fill.wallet,
        fill_id: fill.fill_id.clone(),
        revision: fill.revision,
        tx: fill.tx,
        asset: fill.asset.clone(),
        condition_id: fill.condition_id,
        side: fill.side,
        shares: fill.shares,
        filled_at: fill.filled_at,
        observed_at: fill.observed_at,
    }
}

/// A wallet's positions on first tokens of markets, as (market, shares, cost), read an hour before [`T0`].
pub fn snapshot(wallet_n: u8, held: &[(u8, &str, &str)]) -> PositionSnapshot {
    PositionSnapshot {
        wallet: wallet(wallet_n),
        covers_until: at(-3_600),
        near: Vec::new(),
        positions: held
            .iter()
            .map(|(market, shares, cost)| HeldPosition {
                asset: token(*market, 0),
                condition_id: condition(*market),
                opposite: Some(token(*market, 1)),
                shares: sh(shares),
                cost: usd(cost),
            })
            .collect(),
        part: 0,
        parts: 1,
        observed_at: at(-3_500),
    }
}

/// An order of a decided BUY, or of an attempt of a decided close.
pub fn order(d: &Decision, revision: i64, status: OrderStatus, filled: (&str, &str)) -> OrderState {
    let buy = d.order.as_ref().and_then(|o| o.limit.zip(o.shares));
    let (limit, shares) = buy.unwrap_or((d.inputs.price, d.inputs.own.held));
    OrderState {
        billing_account_id: d.billing_account_id,
        created_by_user_id: d.created_by_user_id,
        target_row_id: d.target_row_id,
        target_id: d.target_id,
        wallet: d.wallet,
        idempotency_key: d.idempotency_key,
        fill_id: d.fill_id.clone(),
        attempt: 0,
        revision,
        status,
        reason: None,
        mode: d.mode,
        side: d.inputs.side,
        asset: d.asset.clone(),
        condition_id: d.condition_id,
        limit,
        shares,
        order_type: Some(OrderType::Gtd),
        expires_at: None,
        order_id: None,
        reserved: Usdc::ZERO,
        filled_shares: sh(filled.0),
        filled_usdc: usd(filled.1),
        fees_usdc: Usdc::ZERO,
        origin: Origin {
            partition: d.partition,
            cut: d.cut,
            decision_hash: Hash32::ZERO,
            policy_revision: d.policy_revision,
            observed_at: d.decided_at,
        },
        filled_at: d.inputs.filled_at,
        created_at: d.decided_at,
        sent_at: None,
        answered_at: None,
        synced_at: None,
        changed_at: d.decided_at,
    }
}

pub fn close_request(account_n: u8, wallet_n: u8, asset: AssetId, id: &str) -> CloseRequested {
    CloseRequested {
        request_id: id.into(),
        target_row_id: row(account_n, wallet_n),
        billing_account_id: account(account_n),
        wallet: wallet(wallet_n),
        asset,
        requested_at: at(10),
    }
}

/// A change of positions of a market's tokens: (outcome, shares, cost).
pub fn changed(
    wallet_n: u8,
    tx_n: u64,
    kind: ChangeKind,
    market: u8,
    deltas: &[(u8, &str, &str)],
    secs: i64,
) -> PositionChanged {
    PositionChanged {
        wallet: wallet(wallet_n),
        kind,
        tx: tx(tx_n),
        condition_id: condition(market),
        deltas: deltas
            .iter()
            .map(|(outcome, shares, cost)| TokenDelta {
                asset: token(market, *outcome),
                shares: sh(shares),
                cost: usd(cost),
                becomes: None,
            })
            .collect(),
        changed_at: at(secs),
        observed_at: at(secs + 1),
        facts: Some(facts(market)),
        books: vec![book(token(market, 0), "0.40", "0.42"), book(token(market, 1), "0.58", "0.60")],
    }
}

/// A record of an input topic, as its writer would append it.
pub fn input<E: Event>(codec: &Codec, wallet: Address, event: &E) -> Record {
    event::record(codec, &wallet.to_string(), event, T0, None).unwrap().0
}

/// One partition, fed by hand.
#[derive(Debug)]
pub struct Scene {
    pub codec: Codec,
    pub core: Core,
    pub clock: Timestamp,
    chance: Chance,
    waiting: [Vec<Record>; 3],
    next: [i64; 3],
    end: i64,
}

/// What a cut of a scene gave.
#[derive(Debug)]
pub struct Given {
    pub staged: Staged,
    pub intents: Vec<IntentsEvent>,
}

impl Given {
    /// What was decided: outcome, reason.
    pub fn reasons(&self) -> Vec<&'static str> {
        self.staged.decisions.iter().map(|d| d.decision.reason.as_str()).collect()
    }

    /// The one decision.
    pub fn only(&self) -> &Decision {
        assert_eq!(self.staged.decisions.len(), 1, "{:?}", self.reasons());
        &self.staged.decisions[0].decision
    }

    /// The decisions.
    pub fn decisions(&self) -> impl Iterator<Item = &Decision> {
        self.staged.decisions.iter().map(|d| &d.decision)
    }

    /// How many were placed.
    pub fn placed(&self) -> usize {
        self.decisions().filter(|d| d.outcome == Outcome::Placed).count()
    }
}

impl Default for Scene {
    fn default() -> Self {
        Self::new()
    }
}

impl Scene {
    pub fn new() -> Self {
        let codec = Codec::bundled().unwrap();
        let core = Core::new(0, codec.clone(), VERSIONS).unwrap();
        Self {
            core,
            codec,
            clock: at(2),
            chance: Chance::seeded(1),
            waiting: Default::default(),
            next: [0; 3],
            end: 0,
        }
    }

    /// Wallet 1, followed by account 1 under a policy, its (empty) snapshot read.
    pub fn following(policy: Policy) -> Self {
        let mut scene = Self::new();
        scene.put(&target(1, 1, policy));
        scene.put_fill(&snapshot(1, &[]));
        scene.cut();
        scene
    }

    pub fn put(&mut self, event: &TargetState) {
        self.waiting[0].push(input(&self.codec, event.wallet, event));
    }

    pub fn put_request(&mut self, event: &CloseRequested) {
        self.waiting[0].push(input(&self.codec, event.wallet, event));
    }

    pub fn put_order(&mut self, event: &OrderState) {
        self.waiting[1].push(input(&self.codec, event.wallet, event));
    }

    pub fn put_fill<E: Event>(&mut self, event: &E) {
        self.waiting[2].push(input(&self.codec, wallet(1), event));
    }

    pub fn put_raw(&mut self, index: usize, record: Record) {
        self.waiting[index].push(record);
    }

    /// The records put since the last cut, as that cut takes them.
    pub fn batch(&mut self) -> [Slice; 3] {
        let mut slices = [0, 1, 2].map(|i: usize| Slice::nothing(Offset(self.next[i])));
        for (i, slice) in slices.iter_mut().enumerate() {
            for record in std::mem::take(&mut self.waiting[i]) {
                let offset = Offset(self.next[i]);
                let stored = Stored { at: TopicPartition::new(INPUTS[i], 0), offset, record };
                slice.inputs.extend(read(&self.codec, &stored, false));
                self.next[i] += 1;
            }
            slice.until = Offset(self.next[i]);
        }
        slices
    }

    /// A cut over the records put since the last one.
    pub fn cut(&mut self) -> Given {
        let batch = self.batch();
        let chance = self.chance.clone();
        let staged = self.core.stage(batch, self.clock, &mut || chance.bytes()).unwrap();
        let offset = Offset(self.end);
        self.end += 1 + i64::try_from(staged.decisions.len()).unwrap();
        self.core.keep(&staged, offset, Offset(self.end)).unwrap();
        let intents = staged
            .intents
            .iter()
            .map(|(_, record)| self.codec.decode(record.value.as_ref().unwrap()).unwrap())
            .collect();
        Given { staged, intents }
    }

    /// A cut over one more record of `fills`.
    pub fn see<E: Event>(&mut self, event: &E) -> Given {
        self.put_fill(event);
        self.cut()
    }

    /// A cut over one more order.
    pub fn order(&mut self, event: &OrderState) -> Given {
        self.put_order(event);
        self.cut()
    }
}

/// A long history of everything, the same for the same seed: records of three wallets that four accounts follow,
/// as (topic, wallet, record), in the order in which they were made.
pub fn history(codec: &Codec, seed: u64, length: usize) -> Vec<(Topic, Address, Record)> {
    use crate::plan::settings::defaults;
    use schemas::Sizing;

    let chance = Chance::seeded(seed);
    let pick = |n: u64| chance.below(n);
    let mut all = Vec::new();
    let policies = [
        defaults(Sizing::MinBet),
        Policy { usdc_per_trade: Some(usd("3")), ..defaults(Sizing::Fixed) },
        Policy { ratio: Some(50_000), ..defaults(Sizing::Ratio) },
        Policy { max_usdc_per_trade: Some(usd("20")), ..defaults(Sizing::MirrorFillExact) },
    ];
    for wallet_n in 1..=3u8 {
        for account_n in 1..=4u8 {
            let t = target(account_n, wallet_n, policies[usize::from(account_n - 1)].clone());
            all.push((Topic::Targets, wallet(wallet_n), input(codec, wallet(wallet_n), &t)));
        }
    }
    // The third wallet's is read later, if at all.
    for wallet_n in 1..=2u8 {
        let read = snapshot(wallet_n, &[(1, "100", "40")]);
        all.push((Topic::Fills, wallet(wallet_n), input(codec, wallet(wallet_n), &read)));
    }
    let mut fills: Vec<Fill> = Vec::new();
    let mut revisions = std::collections::BTreeMap::<(IdempotencyKey, u8), i64>::new();
    for n in 0..length {
        let wallet_n = u8::try_from(pick(3) + 1).unwrap();
        let w = wallet(wallet_n);
        let secs = i64::try_from(n).unwrap();
        let push = |all: &mut Vec<_>, topic, record| all.push((topic, w, record));
        match pick(40) {
            0 => {
                let s = PositionSnapshot {
                    observed_at: at(secs),
                    covers_until: at(secs - 600),
                    ..snapshot(wallet_n, &[(1, "100", "40"), (2, "10", "6")])
                };
                push(&mut all, Topic::Fills, input(codec, w, &s));
            }
            1 => {
                let garbage = Record {
                    key: Some(w.to_string().into_bytes().into()),
                    value: if pick(2) == 0 { None } else { Some(vec![0, 0, 0, 0, 99, 1].into()) },
                    headers: Vec::new(),
                    timestamp: T0,
                };
                let topic = INPUTS[usize::try_from(pick(3)).unwrap()];
                push(&mut all, topic, garbage);
            }
            2 if !fills.is_empty() => {
                let f = &fills[usize::try_from(pick(fills.len() as u64)).unwrap()];
                all.push((Topic::Fills, f.wallet, input(codec, f.wallet, &voided(f))));
            }
            3..=5 if !fills.is_empty() => {
                // A repeat, or an amendment.
                let i = usize::try_from(pick(fills.len() as u64)).unwrap();
                let mut f = fills[i].clone();
                if pick(2) == 0 {
                    f.kind = FillKind::Amendment;
                    f.revision += 1;
                    f.shares = f.shares.saturating_add(sh("7"));
                    f.notional = f.price.cost(f.shares, schemas::Round::Nearest).unwrap();
                    fills[i] = f.clone();
                }
                all.push((Topic::Fills, f.wallet, input(codec, f.wallet, &f)));
            }
            6 => {
                let m = u8::try_from(pick(4) + 1).unwrap();
                let kind = if pick(2) == 0 { ChangeKind::Merge } else { ChangeKind::Split };
                let c =
                    changed(wallet_n, 1_000_000 + n as u64, kind, m, &[(0, "-4", "0"), (1, "-4", "0")], secs);
                push(&mut all, Topic::Fills, input(codec, w, &c));
            }
            7 => {
                let mark = Watermark { wallet: w, complete_until: at(secs), observed_at: at(secs) };
                push(&mut all, Topic::Fills, input(codec, w, &mark));
            }
            8 => {
                let account_n = u8::try_from(pick(4) + 1).unwrap();
                let mut t = target(account_n, wallet_n, policies[usize::from(account_n - 1)].clone());
                t.revision = 2 + secs;
                t.policy_revision = 2;
                t.policy.max_open_orders = Some(i32::try_from(pick(5)).unwrap());
                match pick(8) {
                    0 => t.policy.placement = Some(Placement::MarketFak),
                    1 => t.policy.min_trade_usdc = Some(usd("12")),
                    2 => t.policy.max_spread = Some(px("0.2")),
                    3 => t.policy.sell_policy = Some(SellPolicy::FullExit),
                    4 => t.policy.sizing = Sizing::Auto,
                    5 => t.policy.max_usdc_per_token = Some(usd("6")),
                    6 => t.policy.below_floor = Some(BelowFloor::Floor),
                    _ => t.policy.only_markets = vec!["market-1".into(), "MARKET-2".into()],
                }
                t.status =
                    [TargetStatus::Active, TargetStatus::Active, TargetStatus::Paused, TargetStatus::Closing]
                        [usize::try_from(pick(4)).unwrap()];
                push(&mut all, Topic::Targets, input(codec, w, &t));
            }
            9 => {
                let account_n = u8::try_from(pick(4) + 1).unwrap();
                let r = close_request(account_n, wallet_n, token(1, 0), &format!("r{n}"));
                push(&mut all, Topic::Targets, input(codec, w, &r));
            }
            10 => {
                let resolved = TokenResolved {
                    wallet: w,
                    condition_id: condition(u8::try_from(pick(4) + 1).unwrap()),
                    payouts: Vec::new(),
                    resolved_at: at(secs),
                };
                push(&mut all, Topic::Fills, input(codec, w, &resolved));
            }
            11..=20 if !fills.is_empty() => {
                let f = &fills[usize::try_from(pick(fills.len() as u64)).unwrap()];
                let account_n = u8::try_from(pick(4) + 1).unwrap();
                let key = IdempotencyKey::of(TargetId::of_wallet(f.wallet), &f.fill_id);
                let revision = revisions.entry((key, account_n)).or_default();
                *revision += 1;
                let o = some_order(f, account_n, key, *revision, &chance);
                all.push((Topic::Orders, f.wallet, input(codec, f.wallet, &o)));
            }
            _ => {
                let side = if pick(4) == 0 { Side::Sell } else { Side::Buy };
                let (m, o) = (u8::try_from(pick(4) + 1).unwrap(), u8::try_from(pick(2)).unwrap());
                let shares = Shares::from_micro(i64::try_from(pick(80_000_000) + 1_000_000).unwrap());
                let price = Price::from_micro(i64::try_from(pick(970_000) + 15_000).unwrap());
                let mut f = fill_of(wallet_n, n as u64 + 1, m, o, side, shares, price, secs);
                match pick(12) {
                    0 => f.facts = None,
                    1 => f.facts = Some(MarketFacts { accepting_orders: false, ..facts(m) }),
                    2 => f.facts = Some(MarketFacts { fee_rate: 70_000, ..facts(m) }),
                    _ => f.book = Some(book(f.asset.clone(), "0.30", "0.70")),
                }
                fills.push(f.clone());
                push(&mut all, Topic::Fills, input(codec, w, &f));
            }
        }
    }
    all
}

fn some_order(f: &Fill, account_n: u8, key: IdempotencyKey, revision: i64, chance: &Chance) -> OrderState {
    let statuses = [
        OrderStatus::Open,
        OrderStatus::PartiallyFilled,
        OrderStatus::Matched,
        OrderStatus::Filled,
        OrderStatus::Cancelled,
        OrderStatus::Denied,
        OrderStatus::Unknown,
    ];
    let status = statuses[usize::try_from(chance.below(7)).unwrap()];
    let filled = match status {
        OrderStatus::PartiallyFilled | OrderStatus::Cancelled => sh("2"),
        OrderStatus::Matched | OrderStatus::Filled => sh("5"),
        _ => Shares::ZERO,
    };
    let zero = Origin {
        partition: 0,
        cut: 0,
        decision_hash: Hash32::ZERO,
        policy_revision: 1,
        observed_at: f.observed_at,
    };
    OrderState {
        billing_account_id: account(account_n),
        created_by_user_id: UserId::from_uuid(uuid(200, account_n)),
        target_row_id: row(account_n, f.wallet.as_bytes()[0]),
        target_id: TargetId::of_wallet(f.wallet),
        wallet: f.wallet,
        idempotency_key: key,
        fill_id: f.fill_id.clone(),
        attempt: 0,
        revision,
        status,
        reason: None,
        mode: Mode::Simulated,
        side: f.side,
        asset: f.asset.clone(),
        condition_id: f.condition_id,
        limit: f.price,
        shares: sh("5"),
        order_type: Some(OrderType::Gtd),
        expires_at: None,
        order_id: None,
        reserved: Usdc::ZERO,
        filled_shares: filled,
        filled_usdc: f.price.cost(filled, schemas::Round::Up).unwrap(),
        fees_usdc: Usdc::ZERO,
        origin: zero,
        filled_at: f.filled_at,
        created_at: f.observed_at,
        sent_at: None,
        answered_at: None,
        synced_at: None,
        changed_at: f.observed_at,
    }
}
