//! How fast orders are signed, and how fast intents go through the gate, beside bare inserts of the same rows.
//!
//! `cargo bench -p execute`: items are orders. The database is a private Postgres with `fsync` on; each iteration of
//! a gate bench is one committed transaction.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::unchecked_time_subtraction,
    reason = "a bench that fails has no figures"
)]

#[path = "../tests/common/mod.rs"]
mod common;

use common::{
    Tenant, inserted, keyring,
    ledger::{Held, Ledger},
};
use divan::{Bencher, black_box, counter::ItemsCount};
use execute::{
    Keyring,
    core::{Attempt, build, gate::Sign},
};
use schemas::events::IntentsEvent;
use sqlx::types::Json;
use tokio::runtime::Runtime;

/// Enough that no hourly cap ends a bench.
const TENANTS: u128 = 400;

fn main() {
    divan::main();
}

struct Bench {
    runtime: Runtime,
    ledger: Ledger,
    tenants: Vec<Tenant>,
    keyring: Keyring,
    held: Held,
    fill: u32,
}

impl Bench {
    fn new() -> Self {
        let runtime = Runtime::new().unwrap();
        let tenants: Vec<Tenant> = (1..=TENANTS).map(Tenant::new).collect();
        let keyring = keyring(&(1..=TENANTS).zip(&tenants).collect::<Vec<_>>());
        let (ledger, held) = runtime.block_on(async {
            let ledger = Ledger::postgres().await;
            for (n, tenant) in (1..=TENANTS).zip(&tenants) {
                ledger.add(n, tenant).await;
            }
            let held = Held::claim_for(&ledger, 0, "bench", std::time::Duration::from_secs(3_600)).await;
            (ledger, held)
        });
        Self { runtime, ledger, tenants, keyring, held, fill: 0 }
    }

    fn intents(&mut self, count: usize) -> Vec<IntentsEvent> {
        (0..count)
            .map(|_| {
                self.fill += 1;
                let round = self.fill / u32::try_from(self.tenants.len()).unwrap();
                let tenant = usize::try_from(self.fill).unwrap() % self.tenants.len();
                // Orders rest, a few on each market.
                self.tenants[tenant].buy_of(1, round % 41 + 1, 1, self.fill, "10", "0.10").into()
            })
            .collect()
    }
}

/// One order, from what is wanted to its signed body.
#[divan::bench]
fn sign(bencher: Bencher<'_, '_>) {
    let tenant = Tenant::new(1);
    let keyring = keyring(&[(1, &tenant)]);
    let intent = tenant.buy(1, "10", "0.50");
    let asked =
        execute::core::authorise::Asked::Place(&intent, execute::core::authorise::Replaced::default());
    let authorised = execute::core::authorise(&tenant.snapshot(), asked).unwrap();
    let request = build::request(&authorised, &intent.head, &intent.head.asset, &intent.facts, 0);
    bencher.counter(ItemsCount::new(1usize)).bench(|| keyring.sign(&tenant.connection, black_box(&request)));
}

/// So many intents in one transaction of the gate.
#[divan::bench(args = [1, 16, 128], sample_count = 50, sample_size = 5)]
fn gate(bencher: Bencher<'_, '_>, size: usize) {
    let mut bench = Bench::new();
    bencher.counter(ItemsCount::new(size)).bench_local(|| {
        let intents = bench.intents(size);
        let gated = bench.runtime.block_on(bench.held.gate(intents, &bench.keyring)).unwrap();
        assert_eq!(gated.len(), size);
    });
}

/// The same rows, inserted as JSON and committed, and nothing else.
#[divan::bench(args = [1, 16, 128], sample_count = 50, sample_size = 5)]
fn bare_insert(bencher: Bencher<'_, '_>, size: usize) {
    let mut bench = Bench::new();
    let Ledger::Postgres { admin, .. } = &bench.ledger else { panic!("not Postgres") };
    let admin = admin.clone();
    let columns = bench
        .runtime
        .block_on(
            sqlx::query_scalar::<_, String>(
                "select string_agg(quote_ident(attname), ', ' order by attnum) from pg_attribute
                 where attrelid = 'execution.orders'::regclass and attnum > 0 and attgenerated = '' and not attisdropped",
            )
            .fetch_one(&admin),
        )
        .unwrap();
    let sql = format!(
        "insert into execution.orders ({columns}) select {columns} from jsonb_populate_recordset(null::execution.orders, $1)"
    );
    let runtime = Runtime::new().unwrap();
    let make = |bench: &mut Bench| -> Vec<Attempt> {
        let intents = bench.intents(size);
        let tenant = |intent: &IntentsEvent| {
            let (account, _) = execute::core::gate::tenant_of(intent);
            bench.tenants.iter().find(|t| t.account == account).unwrap()
        };
        intents.into_iter().map(|i| inserted(&mut tenant(&i).snapshot(), i, &bench.keyring)).collect()
    };
    bencher.counter(ItemsCount::new(size)).with_inputs(|| make(&mut bench)).bench_local_values(|rows| {
        let insert = sqlx::query(sqlx::AssertSqlSafe(sql.as_str())).bind(Json(rows)).execute(&admin);
        runtime.block_on(insert).unwrap();
    });
}
