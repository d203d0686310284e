//! Everything but execute, running: leaders who trade without end, tenants who follow them, and the judgement at the
//! end. What is done to execute meanwhile is the test's business.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use simulator::{Handle, Options, Simulator};
use sqlx::PgPool;
use testkit::wait_for;

use crate::{
    install::{Install, LogKind, Stage},
    judge,
};

/// Tenants, each after a leader of its own.
pub const TENANTS: usize = 8;
/// How long everything may take to settle once nothing is done to it any more.
const SETTLED: Duration = Duration::from_secs(240);
/// Orders at the venue, at least.
const ENOUGH: usize = 60;
/// What the tenants want, in turn. The first replaces its resting order at every step of a price.
const APPETITES: [&[&str]; 4] = [
    &["sizing=min_bet", "max_open_orders=1", "stale_replace_delta=0.01"],
    &["sizing=fixed", "usdc_per_trade=5", "placement=market_fak"],
    &["sizing=fixed", "usdc_per_trade=5"],
    &["sizing=mirror_fill_exact", "max_usdc_per_trade=20", "max_usdc_per_token=60"],
];

/// A field of tenants.
pub struct Field {
    pub install: Install,
    pub simulator: Simulator,
    pub admin: PgPool,
    pub stages: Vec<Stage>,
}

impl Field {
    /// On a real Kafka; `None` (after a loud line) where there is none.
    pub async fn begin(test: &str, binary: &str, options: Options) -> Option<Self> {
        let brokers = testkit::kafka_or_skip(test).await?;
        let simulator = Simulator::builder().options(options).start().await.unwrap();
        let mut install = Install::new(binary, LogKind::kafka(brokers)).await;
        install.venue(&simulator.base_url);
        for (n, leader) in simulator.handle().leaders().into_iter().take(TENANTS).enumerate() {
            let tenant = format!("tenant-{n}");
            install.ok(&["tenant", "create", &tenant]);
            let caps = ["--per-order", "100", "--daily", "5000", "--hourly-orders", "500"];
            install.ok(&[&["grant", "set", "--tenant", &tenant][..], &caps].concat());
            follow(&install, n, &leader.to_string());
        }
        let admin = install.admin().await;
        let stages = ["api", "ingest", "decide", "project"].map(|name| install.stage(name)).into();
        Some(Self { install, simulator, admin, stages })
    }

    /// The simulator's inside.
    pub fn venue(&self) -> &Handle {
        self.simulator.handle()
    }

    /// Nothing is done to execute any more, nothing new comes, the venue is well: judges what came of it all, once it is
    /// enough to mean something. Gives the faults that the venue answered with.
    pub async fn judge(mut self) -> u64 {
        self.stages.iter_mut().for_each(Stage::must_run);
        self.venue().clear_faults();
        self.stages.push(self.install.stage("execute"));
        wait_for("orders enough", SETTLED, async || self.venue().orders().len() > ENOUGH).await;
        let mut by_name: BTreeMap<String, Stage> =
            std::mem::take(&mut self.stages).into_iter().map(|s| (s.name.clone(), s)).collect();
        by_name.remove("ingest").unwrap().stop();
        self.settled().await;
        let project = by_name.remove("project").unwrap();
        by_name.into_values().for_each(Stage::stop);
        self.settled().await;
        project.stop();

        let (decisions, attempts) = (judge::decisions(&self.admin).await, judge::attempts(&self.admin).await);
        let venue = self.venue().orders();
        let waiting = judge::waiting(&self.admin).await;
        judge::every_order_is_placed_once(&decisions, &attempts, &waiting, &venue);
        judge::the_tables_say_the_same(&self.admin, &attempts).await;
        let money = judge::the_budget_is_what_the_venue_says(&self.admin, &venue).await;
        let said = self.install.ok(&["replay"]);
        assert!(said.contains("100 % identical"), "{said}");
        let faults = self.venue().stats().tally.faults;
        println!(
            "{} decisions, {} attempts, {} orders at the venue, {faults} faults met; {money}",
            decisions.len(),
            attempts.len(),
            venue.len(),
        );
        self.simulator.stop().await;
        faults
    }

    /// Waits until nothing is on its way any more.
    async fn settled(&self) {
        let mut left = Vec::new();
        let begun = Instant::now();
        wait_for("everything to settle", SETTLED, async || {
            left = judge::unsettled(&self.admin, &self.venue().orders()).await;
            if begun.elapsed() + Duration::from_secs(5) > SETTLED {
                println!("still on its way: {left:#?}");
            }
            left.is_empty()
        })
        .await;
    }
}

/// Lets a tenant follow its leader.
pub fn follow(install: &Install, n: usize, wallet: &str) {
    let tenant = format!("tenant-{n}");
    let mut add = vec!["target", "add", "--tenant", &tenant, wallet];
    add.extend(APPETITES[n % APPETITES.len()].iter().flat_map(|setting| ["--set", setting]));
    install.ok(&add);
}
