//! Execute, killed at every step between an intent and its order's end, on real Kafka and real Postgres, while the
//! venue fails in every way it knows: never two orders for one attempt, never an order that the ledger does not know,
//! and in the end the budget is what the venue says.
//!
//! `make test` takes the steps between the gate and what is told of the answer; `make crashes` all of them, on both
//! sides, ten times each.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    os::unix::process::ExitStatusExt,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use simulator::{
    Handle, Options, Simulator,
    faults::{Answer, Fault},
};
use sqlx::PgPool;
use system_tests::{
    crash::{KILL_AT, KillAt, STEPS, When},
    install::{Install, LogKind},
    judge,
};
use testkit::wait_for;

const BINARY: &str = env!("CARGO_BIN_EXE_polymirror-under-test");

/// Executors at a time: each dies by itself, and takes over what the others leave.
const LANES: usize = 4;
/// A step that does not come within this long is left for another time.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long everything may take to settle once nothing dies any more.
const SETTLED: Duration = Duration::from_secs(240);
const TENANTS: usize = 8;

/// What the venue does to orders and cancels, one after another.
fn faults() -> Vec<Option<Fault>> {
    let cancels = |fault: Fault| Some(fault.on("DELETE", "/order"));
    vec![
        None,
        Some(Fault::accepted_then_dropped()),
        Some(Fault::dropped()),
        Some(Fault::accepted_then_500()),
        Some(Fault::refused_500()),
        Some(Fault::accepted_then_canceled()),
        Some(Fault::canceled()),
        Some(Fault::restarting().times(2)),
        Some(Fault::rate_limited(Some(1)).times(2)),
        Some(Fault::rate_limited(None)),
        Some(Fault::unavailable(Some(1))),
        Some(Fault::unavailable(None)),
        Some(Fault::slow(700)),
        Some(refusal()),
        cancels(Fault::accepted_then_dropped()),
        cancels(Fault::dropped()),
        cancels(Fault::accepted_then_500()),
    ]
}

fn refusal() -> Fault {
    let error = "not enough balance / allowance".to_owned();
    let answer = Answer::Status { status: 400, error, retry_after: None };
    Fault { execute: false, answer, ..Fault::default() }
}

/// Some steps are only taken when something leads to them: again and again, since the other lanes meet it too.
fn lead_to(step: &str, install: &Install, venue: &Handle, turn: usize) {
    match step {
        "record submitted" => venue.fault(Fault::restarting().times(3)),
        "record rejected" => venue.fault(refusal().times(3)),
        "record unknown" => venue.fault(Fault::accepted_then_dropped().times(3)),
        // A target that is removed has its resting orders cancelled. Its tenant follows the wallet again.
        "cancel" => {
            let n = turn % TENANTS;
            let wallet = venue.leaders()[n].to_string();
            let tenant = format!("tenant-{n}");
            let _gone = install.run(&["target", "remove", "--tenant", &tenant, &wallet]);
            follow(install, n, &wallet);
        }
        _ => {}
    }
}

/// Where money could be doubled or lost: between the gate's commit and what is told of the venue's answer.
const NARROW: [&str; 14] = [
    "after:0:claim",
    "before:1:gate",
    "after:0:gate",
    "before:0:post",
    "after:0:post",
    "before:0:record open",
    "before:1:record matched",
    "after:0:record unknown",
    "before:0:record submitted",
    "before:0:record rejected",
    "after:1:publish",
    "before:1:published",
    "after:0:deferred",
    "after:0:cancel",
];

/// Every step, on both sides of it, so many times, with other numbers of calls first; none: the narrow ones.
fn plan(rounds: u32) -> VecDeque<KillAt> {
    if rounds == 0 {
        return NARROW.iter().map(|at| at.parse().unwrap()).collect();
    }
    let all = |round: u32| {
        let sides = [When::Before, When::After].into_iter();
        let places = STEPS.iter().flat_map(move |step| sides.clone().map(move |when| (*step, when)));
        places.map(move |(step, when)| KillAt { when, skip: round % 4, step: step.to_owned() })
    };
    (0..rounds).flat_map(all).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_at_any_step_neither_doubles_nor_loses_an_order() {
    let test = "a_kill_at_any_step_neither_doubles_nor_loses_an_order";
    let Some(brokers) = testkit::kafka_or_skip(test).await else { return };
    let rounds = std::env::var("POLYMIRROR_CRASHES").map_or(0, |n| n.parse().unwrap());
    let options = Options::at_rate(7, 12);
    let simulator = Simulator::builder().options(options).start().await.unwrap();
    let mut install = Install::new(BINARY, LogKind::kafka(brokers)).await;
    install.venue(&simulator.base_url);
    tenants(&install, simulator.handle());
    let admin = install.admin().await;
    let mut stages: Vec<_> = ["api", "ingest", "decide", "project"].map(|name| install.stage(name)).into();

    let plan = plan(rounds);
    let mut planned: BTreeSet<(String, When)> = plan.iter().map(|at| (at.step.clone(), at.when)).collect();
    let plan = Arc::new(Mutex::new(plan));
    let faults = Arc::new(Mutex::new(faults().into_iter().cycle()));
    let install = Arc::new(install);
    let mut lanes = Vec::new();
    for _ in 0..LANES {
        let (install, plan, faults) = (install.clone(), plan.clone(), faults.clone());
        let (handle, admin) = (simulator.handle().clone(), admin.clone());
        lanes.push(tokio::spawn(async move {
            let mut died: BTreeMap<(String, When), u32> = BTreeMap::new();
            loop {
                let Some(at) = plan.lock().unwrap().pop_front() else { return died };
                if let Some(fault) = faults.lock().unwrap().next().unwrap() {
                    handle.fault(fault);
                }
                // Credentials are asked for once in a connection's life: let this be the first time again.
                if at.step.contains("api_key") || at.step.contains("credentials") {
                    let forget = "update poly_wallet_connections set api_credentials_sealed = null";
                    sqlx::query(forget).execute(&admin).await.unwrap();
                }
                if dies(&install, &handle, &at).await {
                    *died.entry((at.step, at.when)).or_default() += 1;
                }
            }
        }));
    }
    let mut died: BTreeMap<(String, When), u32> = BTreeMap::new();
    for lane in lanes {
        for (at, times) in lane.await.unwrap() {
            *died.entry(at).or_default() += times;
        }
    }
    stages.iter_mut().for_each(|stage| stage.must_run());

    // Nothing dies any more, nothing new comes, and the venue is well.
    simulator.handle().clear_faults();
    stages.push(install.stage("execute"));
    let ingest = stages.iter().position(|s| s.name == "ingest").unwrap();
    stages.remove(ingest).stop();
    settled(&admin, simulator.handle()).await;
    let project = stages.iter().position(|s| s.name == "project").unwrap();
    let project = stages.remove(project);
    stages.into_iter().for_each(system_tests::install::Stage::stop);
    settled(&admin, simulator.handle()).await;
    project.stop();

    let (decisions, attempts) = (judge::decisions(&admin).await, judge::attempts(&admin).await);
    let venue = simulator.handle().orders();
    judge::every_order_is_placed_once(&decisions, &attempts, &judge::waiting(&admin).await, &venue);
    judge::the_tables_say_the_same(&admin, &attempts).await;
    let money = judge::the_budget_is_what_the_venue_says(&admin, &venue).await;
    let said = install.ok(&["replay"]);
    assert!(said.contains("100 % identical"), "{said}");
    let tally = simulator.handle().stats().tally;
    println!(
        "{} deaths at {} places; {} faults met; {} attempts, {} orders at the venue; {money}",
        died.values().sum::<u32>(),
        died.len(),
        tally.faults,
        attempts.len(),
        venue.len(),
    );
    planned.retain(|place| !died.contains_key(place));
    println!("never died at: {planned:?}");
    assert!(planned.len() < died.len() / 3, "too many steps were never taken: {planned:?}");
    assert!(tally.faults > 0 && venue.len() > 50, "this run proves nothing");
    simulator.stop().await;
}

/// Tenants with different appetites, each after a leader of its own.
fn tenants(install: &Install, venue: &Handle) {
    for (n, leader) in venue.leaders().into_iter().take(TENANTS).enumerate() {
        let tenant = format!("tenant-{n}");
        install.ok(&["tenant", "create", &tenant]);
        let caps = ["--per-order", "100", "--daily", "5000", "--hourly-orders", "500"];
        install.ok(&[&["grant", "set", "--tenant", &tenant][..], &caps].concat());
        follow(install, n, &leader.to_string());
    }
}

/// Lets a tenant follow its leader.
fn follow(install: &Install, n: usize, wallet: &str) {
    // The first replaces its resting order at every step of a price.
    let appetites: [&[&str]; 4] = [
        &["--set", "sizing=min_bet", "--set", "max_open_orders=1", "--set", "stale_replace_delta=0.01"],
        &["--set", "sizing=fixed", "--set", "usdc_per_trade=5", "--set", "placement=market_fak"],
        &["--set", "sizing=fixed", "--set", "usdc_per_trade=5"],
        &[
            "--set",
            "sizing=mirror_fill_exact",
            "--set",
            "max_usdc_per_trade=20",
            "--set",
            "max_usdc_per_token=60",
        ],
    ];
    let add = ["target", "add", "--tenant", &format!("tenant-{n}"), wallet];
    install.ok(&[&add[..], appetites[n % appetites.len()]].concat());
}

/// Starts an executor that is to die there. Whether it did.
async fn dies(install: &Install, venue: &Handle, at: &KillAt) -> bool {
    let log = install.dir().join(format!("{}.log", testkit::unique("mortal")));
    let file = std::fs::File::create(&log).unwrap();
    let mut command = install.command(&[]);
    command.env(KILL_AT, at.to_string());
    command.stdout(file.try_clone().unwrap()).stderr(file);
    let mut child = command.spawn().unwrap();
    let begun = Instant::now();
    for turn in 0_usize.. {
        if turn.is_multiple_of(20) {
            lead_to(&at.step, install, venue, turn / 20);
        }
        if let Some(status) = child.try_wait().unwrap() {
            let said = std::fs::read_to_string(&log).unwrap();
            assert_eq!(status.signal(), Some(9), "{at} ended with {status} by itself:\n{said}");
            return true;
        }
        if begun.elapsed() > PATIENCE {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    child.kill().unwrap();
    child.wait().unwrap();
    false
}

/// Waits until nothing is on its way any more.
async fn settled(admin: &PgPool, venue: &Handle) {
    let mut left = Vec::new();
    let begun = Instant::now();
    wait_for("everything to settle", SETTLED, async || {
        left = judge::unsettled(admin, &venue.orders()).await;
        if begun.elapsed() > SETTLED - Duration::from_secs(5) {
            println!("still on its way: {left:#?}");
        }
        left.is_empty()
    })
    .await;
}
