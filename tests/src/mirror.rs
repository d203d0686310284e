//! One whole run: the tape is served to three tenants who follow its five busiest wallets.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use runtime::SystemClock;
use schemas::Address;
use simulator::{Options, Prints, Simulator, Speed, TapeOptions};
use sqlx::PgPool;
use testkit::wait_for;

use crate::{
    install::{Install, LogKind, Stage},
    judge,
    tape::{FillKey, Tape},
};

/// The longest a whole run takes, on the slowest machine.
const DEADLINE: Duration = Duration::from_secs(300);
/// A tenant, and how it sizes its BUYs.
pub type Policy = (&'static str, &'static [&'static str]);

/// How many times faster than it was recorded the tape plays.
const SPEED: u32 = 250;
/// The usual tenants.
const TENANTS: [Policy; 3] = [
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
    /// The usual run. `None` where its tape is not on this machine.
    pub async fn begin(test: &str, binary: &str, log: LogKind) -> Option<Self> {
        Some(Self::of(Tape::nobel(test)?, SPEED, &TENANTS, binary, log).await)
    }

    /// Sets up tenants, targets and grants by the command line, as a person would; then the tape begins.
    pub async fn of(tape: Tape, speed: u32, tenants: &[Policy], binary: &str, log: LogKind) -> Self {
        let leaders = tape.busiest(5);
        let expected: BTreeMap<Address, BTreeSet<FillKey>> =
            leaders.iter().map(|w| (*w, tape.fills[w].clone())).collect();
        let mut install = Install::new(binary, log).await;
        for (tenant, policy) in tenants {
            install.ok(&["tenant", "create", tenant]);
            let caps = ["--per-order", "100", "--daily", "5000", "--hourly-orders", "500"];
            install.ok(&[&["grant", "set", "--tenant", tenant][..], &caps].concat());
            for leader in &leaders {
                let wallet = leader.to_string();
                let add = ["target", "add", "--tenant", tenant, &wallet];
                install.ok(&[&add[..], *policy].concat());
            }
        }
        let admin = install.admin().await;
        let accounts: Vec<String> =
            sqlx::query_scalar("select id::text from billing_accounts").fetch_all(&admin).await.unwrap();
        let played = TapeOptions { speed: Speed::times(speed), ..TapeOptions::new(&tape.path) };
        let clock = SystemClock::shared();
        let epoch = clock.now().plus(Duration::from_secs(5));
        let options = Options { prints: Prints::Tape(played), epoch: Some(epoch), ..Options::default() };
        let simulator = Simulator::builder().options(options).start().await.unwrap();
        install.venue(&simulator.base_url);
        Self { install, simulator, admin, expected, accounts: accounts.into_iter().collect() }
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

    /// Waits until nothing is on its way any more.
    async fn settled(&self) {
        let mut left = Vec::new();
        let begun = std::time::Instant::now();
        while begun.elapsed() < DEADLINE {
            left = judge::unsettled(&self.admin, &self.simulator.handle().orders()).await;
            if left.is_empty() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        panic!("not settled within {DEADLINE:?}: {left:#?}");
    }

    /// Waits until every fill is decided, every order has an outcome, and the tables have caught up; then judges.
    /// Gives the fidelity ledger.
    pub async fn judge(self, mut stages: Vec<Stage>) -> BTreeMap<String, BTreeMap<String, usize>> {
        self.decided(self.decisions_expected(), &mut stages).await;
        self.settled().await;
        // Nothing may move while it is judged: an order that fills between two looks is no fault. What moved until the
        // last of execute stopped is still to be seen in the tables.
        let (project, others): (Vec<_>, Vec<_>) = stages.into_iter().partition(|s| s.name == "project");
        others.into_iter().for_each(Stage::stop);
        self.settled().await;
        project.into_iter().for_each(Stage::stop);
        let decisions = judge::decisions(&self.admin).await;
        let attempts = judge::attempts(&self.admin).await;
        let venue = self.simulator.handle().orders();
        judge::every_fill_is_decided_once(&decisions, &self.accounts, &self.expected);
        let waiting = judge::waiting(&self.admin).await;
        judge::every_order_is_placed_once(&decisions, &attempts, &waiting, &venue);
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
        let ledger = judge::fidelity(&self.admin).await;
        let followed: usize = self.expected.values().map(BTreeSet::len).sum();
        for (tenant, came_to) in &ledger {
            let sum: usize = came_to.values().sum();
            assert_eq!(
                sum, followed,
                "{tenant}: its ledger does not sum to the fills it followed: {came_to:?}"
            );
        }
        assert_eq!(ledger.len(), self.accounts.len(), "a tenant without any decision");
        self.simulator.stop().await;
        ledger
    }
}
