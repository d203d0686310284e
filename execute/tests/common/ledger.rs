//! The two ledgers, with tenants in them.

use std::{
    fmt::Write as _,
    sync::{Arc, LazyLock},
    time::Duration,
};

use eventlog::{Offset, position::StoredOffset};
use execute::{
    Keyring, MemoryStore, PostgresStore, Store, StoreError,
    core::{
        Attempt,
        close::plan::Market,
        follow,
        gate::Sign,
        snapshot::{Grant, Target},
    },
    store::{Batch, BudgetKey, Gated, Item, PaperLedger, SealedConnection, Source, Turns, intents},
};
use runtime::{Chance, VirtualClock};
use schemas::{
    BillingAccountId, ControlKind, Hash32, LogId, Mode, OrderStatus, Side, TargetStatus, Timestamp,
    codec::Codec, events::IntentsEvent,
};
use sqlx::{AssertSqlSafe, PgPool};
use uuid::Uuid;

use super::{START, Tenant, grant, keyring, sealed_key, shares};

/// A ledger under test.
pub enum Ledger {
    Memory { store: MemoryStore, clock: VirtualClock },
    Postgres { store: PostgresStore, admin: PgPool },
}

pub fn log_id() -> LogId {
    LogId::from_uuid(Uuid::from_u128(0x10c))
}

/// Parsed once: clones share what it knows.
pub fn codec() -> Codec {
    static CODEC: LazyLock<Codec> = LazyLock::new(|| Codec::bundled().unwrap());
    CODEC.clone()
}

impl Ledger {
    #[expect(clippy::unused_async, reason = "as the other one")]
    pub async fn memory() -> Self {
        let clock = VirtualClock::at(START);
        Self::Memory { store: MemoryStore::new(Arc::new(clock.clone()), codec()), clock }
    }

    pub async fn postgres() -> Self {
        let url = testkit::fresh_database().await;
        let connections = project::Connections::for_tests(&url).unwrap();
        project::migrate(&connections, &Chance::system()).await.unwrap();
        let options = connections.options(project::Role::Executor).unwrap();
        let store = PostgresStore::new(options, 20, codec());
        Self::Postgres { store, admin: PgPool::connect_with(connections.admin().clone()).await.unwrap() }
    }

    pub fn store(&self) -> Arc<dyn Store> {
        match self {
            Self::Memory { store, .. } => Arc::new(store.clone()),
            Self::Postgres { store, .. } => Arc::new(store.clone()),
        }
    }

    pub fn paper(&self) -> Arc<dyn PaperLedger> {
        match self {
            Self::Memory { store, .. } => Arc::new(store.clone()),
            Self::Postgres { store, .. } => Arc::new(store.clone()),
        }
    }

    /// A leader of a tenant is followed on paper from now on.
    pub async fn follow_on_paper(&self, tenant: &Tenant, leader: u8) {
        let (id, target) = tenant.target(leader);
        match self {
            Self::Memory { store, .. } => {
                store.put_target(tenant.account, id, Target { mode: Mode::Paper, ..target });
            }
            Self::Postgres { .. } => {
                self.run(format!("update poly_copy_trade_targets set mode = 'paper' where id = '{id}'"))
                    .await;
            }
        }
        let budget = BudgetKey { billing_account_id: tenant.account, mode: Mode::Paper };
        self.store().open_budgets(&[budget]).await.unwrap();
    }

    async fn run(&self, sql: String) {
        if let Self::Postgres { admin, .. } = self {
            sqlx::raw_sql(AssertSqlSafe(sql)).execute(admin).await.unwrap();
        }
    }

    /// Adds a tenant with wallet, grant and targets.
    pub async fn add(&self, n: u128, tenant: &Tenant) {
        let c = &tenant.connection;
        let key = sealed_key(n, c.id);
        match self {
            Self::Memory { store, .. } => {
                store.add_account(tenant.account, tenant.user);
                store.put_connection(SealedConnection {
                    billing_account_id: tenant.account,
                    connection: c.clone(),
                    signing_key: key,
                    api_credentials: None,
                });
                for n in 1..=9 {
                    let (id, target) = tenant.target(n);
                    store.put_target(tenant.account, id, target);
                }
            }
            Self::Postgres { .. } => {
                let (account, user) = (tenant.account, tenant.user);
                let approved = if c.approved { "to_timestamp(0)" } else { "null" };
                let mut sql = format!(
                    "insert into users (id, handle, created_at) values ('{user}', 'u{n}', to_timestamp(0));
                     insert into billing_accounts (id, owner_user_id, name, created_at)
                         values ('{account}', '{user}', 'a{n}', to_timestamp(0));
                     insert into poly_wallet_connections (id, billing_account_id, address, signature_type, funder,
                         signing_key_sealed, approved_at, revision, created_at, changed_at)
                     values ('{}', '{account}', '{}', '{}', '{}', '\\x{}', {approved}, 1, to_timestamp(0), to_timestamp(0));",
                    c.id, c.address, c.signature_type, c.funder, const_hex::encode(key),
                );
                for n in 1..=9 {
                    let (id, target) = tenant.target(n);
                    write!(
                        sql,
                        "insert into poly_copy_trade_targets (id, billing_account_id, created_by_user_id, target_wallet,
                             status, mode, policy, policy_revision, revision, created_at, changed_at)
                         values ('{id}', '{account}', '{user}', '{}', 'active', 'simulated', '{{}}', 1, 1,
                             to_timestamp(0), to_timestamp(0));",
                        target.wallet
                    )
                    .unwrap();
                }
                self.run(sql).await;
            }
        }
        self.set_grant(tenant, grant()).await;
        self.store()
            .open_budgets(&[BudgetKey { billing_account_id: tenant.account, mode: Mode::Simulated }])
            .await
            .unwrap();
    }

    pub async fn set_grant(&self, tenant: &Tenant, grant: Grant) {
        match self {
            Self::Memory { store, .. } => store.put_grant(tenant.account, grant),
            Self::Postgres { .. } => {
                let account = tenant.account;
                let time = |at: Option<Timestamp>| match at {
                    Some(at) => format!("to_timestamp({}::numeric / 1000000)", at.micros()),
                    None => "null".into(),
                };
                let revoked = if grant.revoked { "to_timestamp(1)" } else { "null" };
                let market = grant.per_market.map_or("null".into(), |cap| cap.to_string());
                self.run(format!(
                    "update poly_wallet_grants set revoked_at = to_timestamp(0)
                         where billing_account_id = '{account}' and revoked_at is null;
                     insert into poly_wallet_grants (id, billing_account_id, scopes, per_order_usdc_cap, daily_usdc_cap,
                         hourly_fills_cap, per_market_usdc_cap, expires_at, revoked_at, revision, created_at, changed_at)
                     values (gen_random_uuid(), '{account}', array['{}'], {}, {}, {}, {market}, {}, {revoked},
                         (select count(*) + 1 from poly_wallet_grants where billing_account_id = '{account}'),
                         to_timestamp(0), to_timestamp(0));",
                    grant.scopes.join("','"), grant.per_order, grant.daily, grant.hourly, time(grant.expires_at),
                ))
                .await;
            }
        }
    }

    pub async fn switch(&self, account: Option<BillingAccountId>, kind: ControlKind, on: bool) {
        match self {
            Self::Memory { store, .. } => store.put_switch(account, kind, on),
            Self::Postgres { .. } => {
                let of = account.map_or("null".into(), |a| format!("'{a}'"));
                self.run(format!(
                    "insert into poly_controls as c (id, billing_account_id, kind, active, reason, revision, changed_at)
                     values (gen_random_uuid(), {of}, '{kind}', {on}, 'test', 1, to_timestamp(0))
                     on conflict (billing_account_id, kind) do update set active = excluded.active"
                ))
                .await;
            }
        }
    }

    pub async fn set_target(&self, tenant: &Tenant, leader: u8, status: TargetStatus) {
        let (id, mut target) = tenant.target(leader);
        target.status = status;
        match self {
            Self::Memory { store, .. } => store.put_target(tenant.account, id, target),
            Self::Postgres { .. } => {
                let disabled = matches!(status, TargetStatus::Closing | TargetStatus::Removed);
                let at = if disabled { "to_timestamp(1)" } else { "null" };
                self.run(format!(
                    "update poly_copy_trade_targets set status = '{status}', disabled_at = {at} where id = '{id}'"
                ))
                .await;
            }
        }
    }

    /// Every attempt of a partition that is ever to be looked at again, and those given by name.
    pub async fn attempt(&self, like: &Attempt) -> Attempt {
        self.store().attempt(like.key()).await.unwrap().unwrap()
    }
}

/// A partition held by somebody.
pub struct Held {
    pub store: Arc<dyn Store>,
    pub partition: i32,
    pub epoch: i64,
    pub stored: Option<StoredOffset>,
    pub next: i64,
    pub now: Timestamp,
}

pub const LEASE: Duration = Duration::from_secs(10);

impl Held {
    pub async fn claim(ledger: &Ledger, partition: i32, owner: &str) -> Self {
        Self::claim_for(ledger, partition, owner, LEASE).await
    }

    pub async fn claim_for(ledger: &Ledger, partition: i32, owner: &str, lease: Duration) -> Self {
        let claim = ledger.store().claim(partition, owner, lease).await.unwrap();
        let next = claim.position.as_ref().map_or(0, |p| p.next.0);
        Self {
            store: ledger.store(),
            partition,
            epoch: claim.epoch,
            stored: claim.position,
            next,
            now: START,
        }
    }

    pub fn to(&self, count: usize) -> StoredOffset {
        let next = self.next + i64::try_from(count).unwrap();
        StoredOffset {
            log_id: log_id(),
            at: intents(self.partition),
            next: Offset(next),
            before: Some(Hash32::from_bytes([u8::try_from(next % 251).unwrap(); 32])),
        }
    }

    /// Intents through the gate, as the next of the partition.
    pub async fn gate(
        &mut self,
        intents: Vec<IntentsEvent>,
        keyring: &dyn Sign,
    ) -> Result<Vec<Gated>, StoreError> {
        let items = items(intents);
        let to = self.to(items.len());
        let batch = Batch {
            partition: self.partition,
            epoch: self.epoch,
            source: Source::Log { from: self.stored.clone(), to: to.clone() },
            items: &items,
            now: self.now,
            served: &[Mode::Simulated, Mode::Paper],
        };
        let gated = self.store.gate(batch, keyring).await?;
        self.next = to.next.0;
        self.stored = Some(to);
        Ok(gated)
    }

    /// The same for deferred intents.
    pub async fn gate_deferred(
        &self,
        intents: Vec<IntentsEvent>,
        keyring: &Keyring,
    ) -> Result<Vec<Gated>, StoreError> {
        let items = items(intents);
        let batch = Batch {
            partition: self.partition,
            epoch: self.epoch,
            source: Source::Deferred,
            items: &items,
            now: self.now,
            served: &[Mode::Simulated, Mode::Paper],
        };
        self.store.gate(batch, keyring).await
    }

    /// A turn for every close that is to be looked at, with nothing read at the venue.
    pub async fn turns(&self, keyring: &Keyring) -> Vec<Gated> {
        self.turns_with(&Market::default(), keyring).await.unwrap()
    }

    /// The same, with this read for each.
    pub async fn turns_with(&self, market: &Market, keyring: &Keyring) -> Result<Vec<Gated>, StoreError> {
        let due = self.store.closes_due(self.partition, self.now, 100).await.unwrap();
        let closes: Vec<_> = due.into_iter().map(|c| (c.name, c.condition_id, market.clone())).collect();
        let batch = Turns {
            partition: self.partition,
            epoch: self.epoch,
            closes: &closes,
            now: self.now,
            served: &[Mode::Simulated, Mode::Paper],
        };
        self.store.turn(batch, keyring).await
    }

    /// One intent through the gate, and the attempt that it became.
    pub async fn place(&mut self, intent: impl Into<IntentsEvent>, keyring: &Keyring) -> Attempt {
        match self.gate(vec![intent.into()], keyring).await.unwrap().as_slice() {
            [Gated::Inserted(attempt)] => (**attempt).clone(),
            other => panic!("not one insert: {other:?}"),
        }
    }
}

fn items(intents: Vec<IntentsEvent>) -> Vec<Item> {
    let codec = codec();
    intents
        .into_iter()
        .map(|intent| {
            let value = match &intent {
                IntentsEvent::PlaceIntent(i) => codec.encode(i),
                IntentsEvent::CloseIntent(i) => codec.encode(i),
                IntentsEvent::CancelIntent(i) => codec.encode(i),
                IntentsEvent::MigrateIntent(i) => codec.encode(i),
            };
            Item { intent, value: value.unwrap().value }
        })
        .collect()
}

/// A tenant, and whose key is held.
pub fn one() -> (Tenant, Keyring) {
    let tenant = Tenant::new(1);
    let keyring = keyring(&[(1, &tenant)]);
    (tenant, keyring)
}

/// The SELLs that were committed.
pub fn sells(gated: &[Gated]) -> Vec<Attempt> {
    gated
        .iter()
        .filter_map(|g| match g {
            Gated::Inserted(a) if a.side == Side::Sell => Some((**a).clone()),
            _ => None,
        })
        .collect()
}

/// An attempt comes to this.
pub fn then(attempt: &Attempt, status: OrderStatus, filled: &str, held: &Held) -> Attempt {
    let mut next = Attempt {
        status,
        is_final: status.is_final(),
        filled_shares: shares(filled),
        filled_usdc: attempt.limit_price.cost(shares(filled), schemas::Round::Down).unwrap(),
        confirmed_shares: shares(filled),
        revision: attempt.revision + 1,
        changed_at: held.now,
        ..attempt.clone()
    };
    next.next_look_at = follow::next_look(&next, held.now);
    next
}

/// Runs each of them over both ledgers.
#[allow(unused_macros, reason = "each test binary uses its part")]
macro_rules! on_both {
    ($($name:ident,)*) => {
        mod in_memory {
            $(#[tokio::test] async fn $name() { super::$name($crate::common::ledger::Ledger::memory().await).await; })*
        }
        mod in_postgres {
            $(#[tokio::test] async fn $name() { super::$name($crate::common::ledger::Ledger::postgres().await).await; })*
        }
    };
}
#[allow(unused_imports, reason = "as above")]
pub(crate) use on_both;
