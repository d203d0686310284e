//! Execute, killed at every step between an intent and its order's end, on real Kafka and real Postgres, while the
//! venue fails in every way it knows: never two orders for one attempt, never an order that the ledger does not know,
//! and in the end the budget is what the venue says.
//!
//! `make test` takes the steps between the gate and what is told of the answer; `make crashes` all of them, on both
//! sides, ten times each.
#![allow(clippy::disallowed_methods, reason = "its patience is real time")]

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use simulator::{
    Handle, Options,
    faults::{Answer, Fault},
};
use sqlx::PgPool;
use system_tests::{
    crash::{
        KillAt, STEPS, When,
        field::{Field, TENANTS, follow},
    },
    install::Install,
};
use testkit::wait_for;

use crate::BINARY;

/// Executors at a time: each dies by itself, and takes over what the others leave.
const LANES: usize = 4;
/// A step that does not come within this long is left for another time.
const PATIENCE: Duration = Duration::from_secs(20);
/// So often, all in all.
const TRIES: u32 = 3;
/// How often leaders trade, all together, a second.
const RATE: u32 = 12;

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
        "record rejected" | "diagnose" => venue.fault(refusal().times(3)),
        // Five in a row pause a tenant; whose orders the others' refusals meet nobody can say.
        step if PAUSES.contains(&step) && turn == 0 => venue.fault(refusal().times(40)),
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

/// Steps that only many refusals lead to.
const PAUSES: [&str; 2] = ["pause", "controls published"];

/// Tenants who were paused because their orders were refused go on.
async fn lift_pauses(admin: &PgPool) {
    let lift =
        "update poly_controls set active = false, revision = revision + 1, changed_at = clock_timestamp()
                where active and kind = 'pause' and billing_account_id is not null";
    sqlx::query(lift).execute(admin).await.unwrap();
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
    let Some(mut field) = Field::begin(test, BINARY, Options::at_rate(7, RATE)).await else { return };
    let plan = plan(std::env::var("POLYMIRROR_CRASHES").map_or(0, |n| n.parse().unwrap()));
    let mut planned: BTreeSet<(String, When)> = plan.iter().map(|at| (at.step.clone(), at.when)).collect();
    let plan: VecDeque<(KillAt, u32)> = plan.into_iter().map(|at| (at, 1)).collect();
    let plan = Arc::new(Mutex::new(plan));
    let faults = Arc::new(Mutex::new(faults().into_iter().cycle()));
    let install = Arc::new(field.install);
    let mut lanes = Vec::new();
    for _ in 0..LANES {
        let (install, plan, faults) = (install.clone(), plan.clone(), faults.clone());
        let (venue, admin) = (field.simulator.handle().clone(), field.admin.clone());
        lanes.push(tokio::spawn(async move {
            let mut died: BTreeMap<(String, When), u32> = BTreeMap::new();
            loop {
                let Some((at, tried)) = plan.lock().unwrap().pop_front() else { return died };
                lift_pauses(&admin).await;
                if let Some(fault) = faults.lock().unwrap().next().unwrap() {
                    venue.fault(fault);
                }
                // Credentials are asked for once in a connection's life: let this be the first time again.
                if at.step.contains("api_key") || at.step.contains("credentials") {
                    let forget = "update poly_wallet_connections set api_credentials_sealed = null";
                    sqlx::query(forget).execute(&admin).await.unwrap();
                }
                let dead = dies(&install, &venue, &at).await;
                // Refusals that are left over would starve every other step.
                if PAUSES.contains(&&*at.step) {
                    venue.clear_faults();
                }
                if dead {
                    *died.entry((at.step, at.when)).or_default() += 1;
                } else if tried < TRIES {
                    plan.lock().unwrap().push_back((at, tried + 1));
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
    planned.retain(|place| !died.contains_key(place));
    println!("{} deaths at {} places; never at {planned:?}", died.values().sum::<u32>(), died.len());
    field.install = Arc::into_inner(install).unwrap();
    let faults = field.judge().await;
    assert!(planned.len() < died.len() / 3, "too many steps were never taken: {planned:?}");
    assert!(faults > 0, "this run proves nothing");
}

/// Starts an executor that is to die there. Whether it did.
async fn dies(install: &Install, venue: &Handle, at: &KillAt) -> bool {
    let mut executor = install.mortal(at);
    let begun = Instant::now();
    for turn in 0_usize.. {
        if turn.is_multiple_of(20) {
            lead_to(&at.step, install, venue, turn / 20);
        }
        if let Some(signal) = executor.killed() {
            assert_eq!(signal, 9, "{at}");
            return true;
        }
        if begun.elapsed() > PATIENCE {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    executor.kill_9();
    false
}

/// Two executors, stopped in turn for longer than their leases and sessions, with requests on their way; each comes
/// back to find that the other has taken over.
#[tokio::test(flavor = "multi_thread")]
async fn an_executor_that_slept_through_its_lease_doubles_nothing() {
    let test = "an_executor_that_slept_through_its_lease_doubles_nothing";
    let Some(field) = Field::begin(test, BINARY, Options::at_rate(8, RATE)).await else { return };
    let never: KillAt = "after:4000000000:join".parse().unwrap();
    let mut executors = [field.install.mortal(&never), field.install.mortal(&never)];
    let owners = async || -> i64 {
        let count = "select count(distinct owner) from execution.owner_epochs";
        sqlx::query_scalar(count).fetch_one(&field.admin).await.unwrap()
    };
    let patience = Duration::from_secs(60);
    wait_for("both to own something", patience, async || owners().await == 2).await;
    for turn in 0..4 {
        let before = field.venue().orders().len();
        field.venue().fault(Fault::slow(1_500).times(4));
        wait_for("orders on their way", patience, async || field.venue().orders().len() > before + 4).await;
        let sleeper = &executors[turn % 2];
        sleeper.pause();
        wait_for("the other to own everything", patience, async || owners().await == 1).await;
        let before = field.venue().orders().len();
        wait_for("its orders", patience, async || field.venue().orders().len() > before + 4).await;
        sleeper.resume();
        wait_for("both to own something again", patience, async || owners().await == 2).await;
    }
    executors.iter_mut().for_each(system_tests::install::Stage::must_run);
    for mut executor in executors {
        executor.kill_9();
    }
    field.judge().await;
}
