//! Sample accounts, records and a log for the tests of project.
#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    reason = "a helper of tests; each binary uses some"
)]

use std::sync::Arc;

use eventlog::{
    Append, Expected, Header, Log, Record, TopicPartition, VenueKind, Written, event,
    memory::{MemoryLog, MemoryOptions},
};
use project::{Connections, Role, migrate, pg::Tz};
use runtime::{Chance, Clock, SystemClock};
use schemas::{
    Address, AssetId, BillingAccountId, ChangeKind, ConditionId, FillId, Hash32, IdempotencyKey, Mode,
    OrderId, OrderStatus, OrderType, Outcome, PositionBranch, Price, Reason, Shares, Side, Sizing, TargetId,
    TargetRowId, TargetStatus, Timestamp, TxHash, Usdc, UserId,
    avro::Event,
    codec::Codec,
    events::{
        Cut, Decision, Inputs, LeaderView, OrderState, Origin, OwnView, Payout, Policy, PositionChanged,
        TokenDelta, TokenMarked, TokenResolved,
    },
    topics::Topic,
};
use sqlx::PgPool;
use uuid::Uuid;

/// A migrated database of its own.
pub async fn database() -> Connections {
    let url = testkit::fresh_database().await;
    let connections = Connections::for_tests(&url).unwrap();
    migrate(&connections, &Chance::system()).await.unwrap();
    connections
}

/// A pool that sees everything: the server's superuser.
pub async fn superuser(connections: &Connections) -> PgPool {
    PgPool::connect_with(connections.admin().clone()).await.unwrap()
}

/// A tenant.
#[derive(Debug, Clone, Copy)]
pub struct Tenant {
    pub user: UserId,
    pub account: BillingAccountId,
}

pub const fn tenant(number: u128) -> Tenant {
    Tenant {
        user: UserId::from_uuid(Uuid::from_u128(0xa000 + number)),
        account: BillingAccountId::from_uuid(Uuid::from_u128(0xb000 + number)),
    }
}

/// Puts a tenant into the database, as its own request would.
pub async fn add_tenant(connections: &Connections, number: u128) -> Tenant {
    let tenant = tenant(number);
    let pool = connections.pool(Role::AppUser, 1).await.unwrap();
    let mut transaction = project::pg::begin_as(&pool, tenant.user).await.unwrap();
    sqlx::query("insert into users (id, handle, created_at) values ($1, $2, $3)")
        .bind(tenant.user.as_uuid())
        .bind(format!("tenant-{number}"))
        .bind(Tz(at(0)))
        .execute(&mut *transaction)
        .await
        .unwrap();
    sqlx::query(
        "insert into billing_accounts (id, owner_user_id, name, created_at) values ($1, $2, 'main', $3)",
    )
    .bind(tenant.account.as_uuid())
    .bind(tenant.user.as_uuid())
    .bind(Tz(at(0)))
    .execute(&mut *transaction)
    .await
    .unwrap();
    transaction.commit().await.unwrap();
    tenant
}

/// Seconds after a fixed moment.
pub const fn at(seconds: i64) -> Timestamp {
    Timestamp::from_micros((1_760_000_000 + seconds) * 1_000_000 + 123_456)
}

pub fn wallet() -> Address {
    "0x204f72f35326db932158cba6adff0b9a1da95e14".parse().unwrap()
}

pub fn asset(number: u32) -> AssetId {
    (7_000 + number).to_string().parse().unwrap()
}

/// The fill of that number, on the asset of that number.
pub fn fill_id(number: u32, side: Side) -> FillId {
    FillId::data_api(
        TxHash::from_bytes([u8::try_from(number % 251).unwrap(); 32]),
        &asset(number),
        side,
        at(i64::from(number)),
    )
}

/// A new BUY of `shares` whole shares at 0.40, on asset 1.
pub fn order(tenant: Tenant, number: u32, shares: i64) -> OrderState {
    let target = TargetId::of_wallet(wallet());
    let fill = fill_id(number, Side::Buy);
    let key = IdempotencyKey::of(target, &fill);
    OrderState {
        billing_account_id: tenant.account,
        created_by_user_id: tenant.user,
        target_row_id: TargetRowId::from_uuid(Uuid::from_u128(0xc001)),
        target_id: target,
        wallet: wallet(),
        idempotency_key: key,
        fill_id: fill,
        attempt: 0,
        revision: 1,
        status: OrderStatus::Reserved,
        reason: None,
        mode: Mode::Simulated,
        side: Side::Buy,
        asset: asset(1),
        condition_id: ConditionId::from_bytes([1; 32]),
        limit: Price::from_micro(400_000),
        shares: Shares::from_units(shares),
        order_type: Some(OrderType::Gtd),
        expires_at: Some(at(600)),
        order_id: Some(OrderId::from_bytes(
            *schemas::keccak256(&[tenant.account.as_uuid().as_bytes(), key.as_bytes(), b"0"]).as_bytes(),
        )),
        reserved: Usdc::from_units(shares),
        filled_shares: Shares::ZERO,
        filled_usdc: Usdc::ZERO,
        fees_usdc: Usdc::ZERO,
        origin: Origin {
            partition: 0,
            cut: 0,
            decision_hash: Hash32::ZERO,
            policy_revision: 1,
            observed_at: at(i64::from(number)),
        },
        filled_at: at(i64::from(number)),
        created_at: at(i64::from(number) + 1),
        sent_at: None,
        answered_at: None,
        synced_at: None,
        changed_at: at(i64::from(number) + 1),
        note: None,
    }
}

/// The same attempt a revision later: this status, this much filled at 0.40.
pub fn later(state: &OrderState, status: OrderStatus, filled: i64) -> OrderState {
    let filled = Shares::from_units(filled);
    OrderState {
        revision: state.revision + 1,
        status,
        filled_shares: filled,
        filled_usdc: state.limit.cost(filled, schemas::Round::Nearest).unwrap(),
        fees_usdc: Usdc::from_micro(10 * i64::from(filled.is_positive())),
        synced_at: Some(at(1_000)),
        changed_at: at(1_000 + state.revision),
        ..state.clone()
    }
}

/// A sale of what asset 1 has: the attempt of that number of fill `number`'s close.
pub fn sale(tenant: Tenant, number: u32, attempt: i32, shares: i64) -> OrderState {
    let fill = fill_id(number, Side::Sell);
    let state = order(tenant, number, shares);
    let key = IdempotencyKey::of(state.target_id, &fill);
    OrderState {
        idempotency_key: key,
        fill_id: fill,
        attempt,
        side: Side::Sell,
        reserved: Usdc::ZERO,
        order_type: Some(OrderType::Fak),
        order_id: Some(OrderId::from_bytes(
            *schemas::keccak256(&[
                tenant.account.as_uuid().as_bytes(),
                key.as_bytes(),
                &attempt.to_be_bytes(),
            ])
            .as_bytes(),
        )),
        created_at: at(i64::from(number) + 1 + i64::from(attempt)),
        ..state
    }
}

/// The condition of asset 1 ended: a share of it pays so much, in 10^-6.
pub fn resolved(per_share: i64, seconds: i64) -> TokenResolved {
    TokenResolved {
        wallet: wallet(),
        condition_id: ConditionId::from_bytes([1; 32]),
        payouts: vec![
            Payout { asset: asset(1), per_share: Usdc::from_micro(per_share) },
            Payout { asset: asset(2), per_share: Usdc::from_micro(1_000_000 - per_share) },
        ],
        resolved_at: at(seconds),
    }
}

/// Others pay so much for an asset, in 10^-6; or nobody bids.
pub fn marked(number: u32, best_bid: Option<i64>, seconds: i64) -> TokenMarked {
    TokenMarked {
        wallet: wallet(),
        asset: asset(number),
        condition_id: ConditionId::from_bytes([1; 32]),
        best_bid: best_bid.map(Price::from_micro),
        best_ask: None,
        as_of: at(seconds),
    }
}

/// The wallet's holding of an asset goes on as another.
pub fn migrated(from: u32, to: u32) -> PositionChanged {
    let delta =
        TokenDelta { asset: asset(from), shares: Shares::ZERO, cost: Usdc::ZERO, becomes: Some(asset(to)) };
    PositionChanged {
        wallet: wallet(),
        kind: ChangeKind::Migration,
        tx: TxHash::from_bytes([u8::try_from(from % 251).unwrap(); 32]),
        condition_id: ConditionId::from_bytes([1; 32]),
        deltas: vec![delta],
        changed_at: at(75),
        observed_at: at(76),
        facts: None,
        books: Vec::new(),
    }
}

pub fn policy() -> Policy {
    Policy {
        sizing: Sizing::Fixed,
        usdc_per_trade: Some(Usdc::from_units(2)),
        ratio: None,
        max_usdc_per_trade: None,
        max_usdc_per_token: None,
        below_floor: None,
        mirror_filter_percentile: None,
        gap_range_max: None,
        gap_max_alloc: None,
        follow_ups: None,
        placement: None,
        order_ttl_s: None,
        max_fill_age_s: None,
        max_slippage_ticks: None,
        max_slippage_fraction: None,
        max_open_orders: None,
        stale_replace_delta: None,
        max_fee_fraction: None,
        min_target_side_fraction: None,
        vwap_tolerance: None,
        min_trade_usdc: None,
        max_trade_usdc: None,
        min_price: None,
        max_price: None,
        max_spread: None,
        min_time_to_end_s: None,
        max_time_to_end_s: None,
        only_markets: Vec::new(),
        not_markets: Vec::new(),
        only_categories: Vec::new(),
        not_categories: Vec::new(),
        only_side: None,
        sell_policy: None,
        exit_slippage_fraction: None,
        exit_floor_fraction: None,
        min_close_usdc: None,
        allow_both_sides: None,
        sell_winners_at: None,
        take_profit_fraction: None,
        stop_loss_fraction: None,
        set_at: at(0),
    }
}

/// A decision of a cut: fill `number`, skipped or placed.
pub fn decision(tenant: Tenant, partition: i32, cut: i64, number: u32, reason: Reason) -> Decision {
    let order = order(tenant, number, 5);
    Decision {
        billing_account_id: tenant.account,
        created_by_user_id: tenant.user,
        target_row_id: order.target_row_id,
        target_id: order.target_id,
        wallet: order.wallet,
        fill_id: order.fill_id,
        idempotency_key: order.idempotency_key,
        revision: 0,
        asset: order.asset,
        condition_id: order.condition_id,
        mode: Mode::Simulated,
        outcome: if reason == Reason::Ok { Outcome::Placed } else { Outcome::Skipped },
        reason,
        position_branch: PositionBranch::None,
        order: None,
        inputs: Inputs {
            status: TargetStatus::Active,
            side: Side::Buy,
            shares: Shares::from_units(10),
            notional: Usdc::from_units(4),
            price: Price::from_micro(400_000),
            filled_at: at(i64::from(number)),
            tick: None,
            min_shares: None,
            fee_rate: None,
            fee_exponent: None,
            category: None,
            slug: None,
            accepting_orders: None,
            end_at: None,
            best_bid: None,
            best_ask: None,
            depth_in_limit: None,
            own: OwnView {
                held: Shares::ZERO,
                pending: Shares::ZERO,
                closed: false,
                exposure: Usdc::ZERO,
                opposite_held: Shares::ZERO,
                opposite_exposure: Usdc::ZERO,
                resting: 0,
                oldest: None,
                oldest_limit: None,
                oldest_unfilled: None,
                kept: Usdc::ZERO,
                held_cost: None,
            },
            leader: LeaderView {
                known: true,
                shares_before: Shares::ZERO,
                shares_after: Shares::ZERO,
                token_cost: Usdc::ZERO,
                opposite_cost: Usdc::ZERO,
                average: None,
                baseline: None,
                percentile: None,
                percentile_99: None,
                sample: None,
                spent: None,
            },
            policy: policy(),
        },
        error: None,
        partition,
        cut,
        source_offset: i64::from(number),
        plan_version: 1,
        policy_revision: 1,
        decided_at: at(i64::from(number)),
    }
}

/// A cut and its hash.
pub fn cut(partition: i32, number: i64, previous: Hash32, decisions: i32) -> (Cut, Hash32) {
    let cut = Cut {
        partition,
        number,
        previous,
        taken: Vec::new(),
        clock: at(number),
        plan_version: 1,
        decisions,
        decisions_root: Hash32::ZERO,
        intents: 0,
        intents_root: Hash32::ZERO,
    };
    let hash = Codec::bundled().unwrap().encode(&cut).unwrap().hash;
    (cut, hash)
}

/// A log in memory with this many partitions by wallet.
pub fn log(wallet_partitions: i32) -> MemoryLog {
    let expected = Expected {
        venue: VenueKind::Simulator,
        wallet_partitions,
        account_partitions: 1,
        market_partitions: 1,
        log_id: None,
    };
    MemoryLog::create(&expected, MemoryOptions { markers: true }, SystemClock::shared(), &Chance::system())
        .unwrap()
}

/// An event as a record of a partition.
pub fn record<E: Event>(topic: Topic, partition: i32, key: &str, event: &E) -> Append {
    let codec = Codec::bundled().unwrap();
    let (record, _) = event::record(&codec, key, event, at(0), None).unwrap();
    Append { to: TopicPartition::new(topic, partition), record }
}

/// Bytes that are no record.
pub fn garbage(topic: Topic, partition: i32) -> Append {
    let record = Record {
        key: Some("junk".into()),
        value: Some(vec![0, 0xff, 0xff, 0xff, 0xff, 1].into()),
        headers: Vec::new(),
        timestamp: at(0),
    };
    Append { to: TopicPartition::new(topic, partition), record }
}

pub fn order_record(partition: i32, state: &OrderState) -> Append {
    record(Topic::Orders, partition, &state.wallet.to_string(), state)
}

/// A decision of the cut of that hash, as decide writes it.
pub fn decision_record(decision: &Decision, cut: Hash32) -> Append {
    let mut append =
        record(Topic::Decisions, decision.partition, &decision.idempotency_key.to_string(), decision);
    append.record.headers.push(Header { name: event::CUT.into(), value: Some(cut.to_string().into()) });
    append
}

pub fn cut_record(cut: &Cut) -> Append {
    record(Topic::Decisions, cut.partition, &cut.partition.to_string(), cut)
}

pub async fn append(log: &MemoryLog, records: Vec<Append>) {
    assert!(matches!(log.append(records).await, Written::Done(_)));
}

/// Every table that is built from the log, as text: equal texts are equal tables.
pub async fn tables(pool: &PgPool, schema: &str) -> Vec<String> {
    let mut all = Vec::new();
    for table in project::rebuild::TABLES {
        let sql = format!("select '{table}' || row_to_json(t)::text from {schema}.{table} t order by 1");
        let rows: Vec<String> = sqlx::query_scalar(sqlx::AssertSqlSafe(sql)).fetch_all(pool).await.unwrap();
        all.extend(rows);
    }
    all
}

/// The machine's clock.
pub fn clock() -> Arc<dyn Clock> {
    SystemClock::shared()
}
