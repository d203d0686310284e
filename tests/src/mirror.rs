//! One whole run: the tape is served to three tenants who follow its five busiest wallets.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use runtime::{Clock, SystemClock};
use schemas::Address;
use simulator::{Options, Prints, Simulator, Speed, TapeOptions};
use sqlx::PgPool;
use testkit::wait_for;

use crate::{
    install::{Install, LogKind, Stage},
    judge,
    nobel::{self, FillKey},
};

/// The longest a whole run takes, on the slowest machine.
const DEADLINE: Duration = Duration::from_secs(300);
/// How many times faster than it was recorded the tape plays.
const SPEED: u32 = 250;
/// The tenants, and how each sizes its BUYs.
const TENANTS: [(&str, &[&str]); 3] = [
    ("ada", &["--set", "sizing=min_bet"]),
    ("bob", &["--set", "sizing=fixed", "--set", "usdc_per_trade=5"]),
    ("eve", &["--set", "sizing=fixed", "--set", "usdc_per_trade=20", "--set", "max_usdc_per_trade=25"]),
];

/// A run under way.
pub struct Mirror {
    pub install: Install,
    pub simulator: Simulator,
    pub admin: PgPool,
    pub expected: BTreeMap<Address, BTreeSet<FillKey>>,
    pub accounts: BTreeSet<String>,
}

impl Mirror {
    /// Sets up tenants, targets and grants by the command line, as a person would; then the tape begins.
    /// `None` where the tape is not on this machine.
    pub async fn begin(test: &str, binary: &str, log: LogKind) -> Option<Self> {
        let tape = nobel::tape(test)?;
        let all = nobel::fills(&tape);
        let leaders = nobel::busiest(&all, 5);
        let expected: BTreeMap<Address, BTreeSet<FillKey>> =
            leaders.iter().map(|w| (*w, all[w].clone())).collect();
        let mut install = Install::new(binary, log).await;
        for (tenant, policy) in TENANTS {
            install.ok(&["tenant", "create", tenant]);
            install.ok(&["grant", "set", "--tenant", tenant, "--per-order", "100", "--daily", "5000"]);
            for leader in &leaders {
                let wallet = leader.to_string();
                let add = ["target", "add", "--tenant", tenant, &wallet];
                install.ok(&[&add[..], policy].concat());
            }
        }
        let admin = install.admin().await;
        let accounts: Vec<String> =
            sqlx::query_scalar("select id::text from billing_accounts").fetch_all(&admin).await.unwrap();
        let tape = TapeOptions { speed: Speed::times(SPEED), ..TapeOptions::new(tape) };
        let clock = SystemClock::shared();
        let epoch = clock.now().plus(Duration::from_secs(5));
        let options = Options { prints: Prints::Tape(tape), epoch: Some(epoch), ..Options::default() };
        let simulator = Simulator::builder().options(options).start().await.unwrap();
        install.venue(&simulator.base_url);
        Some(Self { install, simulator, admin, expected, accounts: accounts.into_iter().collect() })
    }

    /// How many decisions there have to be.
    pub fn decisions_expected(&self) -> usize {
        self.expected.values().map(BTreeSet::len).sum::<usize>() * self.accounts.len()
    }

    /// Waits until so many decisions are in the table.
    pub async fn decided(&self, count: usize, stages: &mut [Stage]) {
        wait_for(&format!("{count} decisions"), DEADLINE, async || {
            for stage in stages.iter_mut() {
                stage.must_run();
            }
            let there: i64 =
                sqlx::query_scalar("select count(*) from poly_copy_trade_decisions where revision = 0")
                    .fetch_one(&self.admin)
                    .await
                    .unwrap();
            usize::try_from(there).unwrap() >= count
        })
        .await;
    }

    /// Waits until every fill is decided, every order has an outcome, and the tables have caught up; then judges.
    pub async fn judge(self, mut stages: Vec<Stage>) {
        self.decided(self.decisions_expected(), &mut stages).await;
        wait_for("every order to have an outcome, and the tables to say so", DEADLINE, async || {
            let open: i64 = sqlx::query_scalar(
                "select (select count(*) from execution.orders where status in ('reserved', 'submitted', 'unknown'))
                      + (select count(*) from execution.outbox where not published)
                      + (select count(*) from poly_copy_trade_decisions d where outcome = 'placed' and not exists
                            (select 1 from poly_copy_trade_fills f where f.billing_account_id = d.billing_account_id
                                and f.idempotency_key = d.idempotency_key))
                      + (select count(*) from execution.orders o join poly_copy_trade_attempts a
                            using (billing_account_id, idempotency_key, attempt) where o.revision <> a.revision)",
            )
            .fetch_one(&self.admin)
            .await
            .unwrap();
            open == 0
        })
        .await;
        // Nothing may move while it is judged: an order that fills between two looks is no fault.
        for stage in stages {
            stage.stop();
        }
        let decisions = judge::decisions(&self.admin).await;
        let attempts = judge::attempts(&self.admin).await;
        let venue = self.simulator.handle().orders();
        judge::every_fill_is_decided_once(&decisions, &self.accounts, &self.expected);
        judge::every_order_is_placed_once(&decisions, &attempts, &venue);
        judge::the_tables_say_the_same(&self.admin, &attempts).await;
        judge::tenants_see_their_own_rows_only(&self.install.role("app_user").await, &self.admin).await;
        assert!(!venue.is_empty(), "no order was placed at all: this run proves nothing");
        assert!(self.simulator.handle().stats().tally.faults == 0);
        let said = self.install.ok(&["replay"]);
        assert!(said.contains("100 % identical"), "{said}");
        let mut reasons: BTreeMap<&str, usize> = BTreeMap::new();
        for decision in &decisions {
            *reasons.entry(&decision.reason).or_default() += 1;
        }
        println!(
            "{} decisions {reasons:?}, {} attempts, {} orders at the venue",
            decisions.len(),
            attempts.len(),
            venue.len()
        );
        self.simulator.stop().await;
    }
}
