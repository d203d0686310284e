//! What really became of 3,123 orders, replayed: their lives (how large, when which part filled, how they ended) as prints
//! of the simulator, and the errors that their posts met as its weather, each as often as recorded. Whatever was
//! answered, every order ends in the state that the venue holds.
//!
//! Real are execute, its ledger on Postgres, the SQLite log, HTTP and the user stream over sockets, and project as a
//! process. Not real is the time between: orders that expire take five minutes, so venue and executor share a clock
//! that runs up to 25 times as fast as the machine's. (The simulation, `tests/simulation`, has virtual time, and neither a
//! wire nor a database: what a client makes of a broken connection or of a 500 is the subject here.)
//!
//! `make test` takes every tenth order of the recording; `POLYMIRROR_OUTCOMES=3123` all of them. Which post meets which
//! error is drawn by a seed from its bytes, so the shares of a run differ from the recorded ones as draws do, and the
//! test says no beyond four standard deviations. Errors that came less than forty times in the recording come once for
//! sure, so that a short run meets each of them (the table shows what was added), and the six orders that were cancelled
//! are in every run.
//!
//! Of what nobody could know (a 500, a broken connection) every second one has landed. A connection that could not be made
//! is, for the simulator, one that broke before the order was taken. The recorded bot took a 500 or a timeout for a
//! refusal; execute asks until it knows, and where it was too late to post the same bytes again (a slow machine), until
//! they can no longer land.

use std::collections::BTreeMap;

use simulator::{
    Fault,
    outcomes::{Met, Outcomes},
};
use system_tests::{
    judge::{self, Ended},
    outcomes::{
        lives::{End, Lives},
        replay,
        witness::Answers,
    },
};
use venue::outcome::SubmitOutcome;

use crate::BINARY;

/// Orders of a usual run: a tenth of the recording.
const ORDERS: usize = 312;
/// What came less often in the recording comes once for sure.
const RARE: u32 = 40;

/// An error as a row of the table.
fn row(met: &Met) -> String {
    match met {
        Met::Words(status, words) if words.chars().count() > 48 => {
            format!("{status} {}…", words.chars().take(48).collect::<String>())
        }
        Met::Words(status, words) => format!("{status} {words}"),
        Met::Timeout => "no answer in time".to_owned(),
        // The same to a client of the simulator.
        Met::Broken | Met::Unreached => "connection broken".to_owned(),
    }
}

/// Which of the recorded errors an answer is; `None` for one that says that the order is there, or came to it later.
fn met(answer: &SubmitOutcome, recorded: &Outcomes) -> Option<String> {
    let words = |said: &str| {
        let is = |met: &&Met| matches!(met, Met::Words(_, words) if said.contains(words.as_str()));
        recorded.met.keys().find(is).map(row)
    };
    match answer {
        SubmitOutcome::Accepted(_) | SubmitOutcome::AlreadyLanded => None,
        SubmitOutcome::Rejected { message, .. } => {
            Some(words(message).unwrap_or_else(|| format!("not recorded: {message}")))
        }
        SubmitOutcome::Unknown { why } if why == "no answer in time" => Some(row(&Met::Timeout)),
        SubmitOutcome::Unknown { why } => Some(words(why).unwrap_or_else(|| row(&Met::Broken))),
        SubmitOutcome::RetryLater { why, .. } => Some(format!("not recorded: {why}")),
    }
}

/// How often something came: in the recording, and in this run.
#[derive(Debug, Clone, Copy, Default)]
struct Came {
    recorded: usize,
    here: usize,
    /// Of these, so many because they were to come for sure.
    added: usize,
    /// By answers to repeated posts, which are not among the others.
    repeats: usize,
}

/// In hundredths of a percent.
fn share(part: usize, of: usize) -> String {
    let share = (part * 10_000 + of / 2) / of;
    format!("{}.{:02} %", share / 100, share % 100)
}

fn print(title: &str, table: &BTreeMap<String, Came>, recorded: usize, here: usize) {
    println!(
        "\n| {title} | recorded, of {recorded} | share | this run, of {here} | share | added | on repeats |"
    );
    println!("|---|---:|---:|---:|---:|---:|---:|");
    for (name, came) in table {
        let shares = (share(came.recorded, recorded), share(came.here, here));
        let Came { recorded, here, added, repeats } = came;
        println!("| {name} | {recorded} | {} | {here} | {} | {added} | {repeats} |", shares.0, shares.1);
    }
}

/// What comes once for sure: each rare error, landed and not, as far as the recording leaves both open. Whether the one
/// order without an answer in time had landed, nobody recorded: both.
fn rare(recorded: &Outcomes) -> Vec<(String, Fault)> {
    let mut faults = vec![(row(&Met::Timeout), Fault::accepted_then_silent(1))];
    for (met, times) in recorded.met.iter().filter(|(_, times)| **times < RARE) {
        let alone = Outcomes { orders: recorded.orders, met: [(met.clone(), *times)].into() };
        faults.extend(alone.weather(0).spells.into_iter().map(|spell| (row(met), spell.fault)));
    }
    faults
}

/// What posts were answered.
fn answered(recorded: &Outcomes, answers: &Answers) -> BTreeMap<String, Came> {
    let mut table: BTreeMap<String, Came> = BTreeMap::new();
    for (name, _) in rare(recorded) {
        table.entry(name).or_default().added += 1;
    }
    for (met, times) in &recorded.met {
        table.entry(row(met)).or_default().recorded += *times as usize;
    }
    for answers in answers.values() {
        for (n, answer) in answers.iter().enumerate() {
            let Some(name) = met(answer, recorded) else { continue };
            let came = table.entry(name).or_default();
            *(if n == 0 { &mut came.here } else { &mut came.repeats }) += 1;
        }
    }
    table
}

/// How orders ended.
fn ends(lives: &Lives, ended: &[Ended]) -> BTreeMap<String, Came> {
    let mut table: BTreeMap<String, Came> = BTreeMap::new();
    let mut count = |name: &str, recorded: usize, here: usize| {
        let came = table.entry(name.to_owned()).or_default();
        came.recorded += recorded;
        came.here += here;
    };
    for life in &lives.taken {
        let name = match life.end {
            End::Filled => "filled",
            End::Expired => "expired",
            End::Cancelled(_) => "cancelled",
            End::Unheard => "never heard of again (here: expired)",
        };
        count(name, 1, 0);
        let part = life.end == End::Expired && !life.parts.is_empty();
        count("expired, filled in part", usize::from(part), 0);
        count("filled in several parts", usize::from(life.end == End::Filled && life.parts.len() > 1), 0);
    }
    count("rejected", lives.refused, 0);
    for end in ended {
        count(&end.status, 0, 1);
        count("expired, filled in part", 0, usize::from(end.status == "expired" && end.filled > 0));
        count("filled in several parts", 0, usize::from(end.status == "filled" && end.parts > 1));
    }
    table
}

/// How those ended of whose first post nobody knew what had become of it.
fn unclear<'e>(answers: &Answers, ended: &'e [Ended]) -> BTreeMap<&'e str, usize> {
    let first = |id: &String| answers.get(&id.parse().unwrap()).and_then(|all| all.first());
    let is =
        |end: &&Ended| matches!(end.order_id.as_ref().and_then(first), Some(SubmitOutcome::Unknown { .. }));
    let mut ends = BTreeMap::new();
    for end in ended.iter().filter(is) {
        *ends.entry(&*end.status).or_default() += 1;
    }
    ends
}

#[tokio::test(flavor = "multi_thread")]
async fn under_recorded_errors_every_order_ends_in_the_state_the_venue_holds() {
    let test = "under_recorded_errors_every_order_ends_in_the_state_the_venue_holds";
    let Some(data) = testkit::shared_dir(test, "data") else { return };
    let dir = data.join("order-outcomes");
    let recorded = Outcomes::load(&dir.join("bot_orders.csv.gz")).unwrap();
    let lives = Lives::load(&dir);
    assert_eq!(recorded.orders as usize, lives.taken.len() + lives.refused);
    let orders = std::env::var("POLYMIRROR_OUTCOMES").map_or(ORDERS, |n| n.parse().unwrap());

    let once = rare(&recorded).into_iter().map(|(_, fault)| fault).collect();
    let run = replay(&lives.sample(orders), recorded.weather(42), once, BINARY).await;

    let (attempts, venue) = (judge::attempts(&run.admin).await, run.simulator.handle().orders());
    let waiting = judge::waiting(&run.admin).await;
    judge::every_order_is_placed_once(&run.decisions(), &attempts, &waiting, &venue);
    let ended = judge::every_order_ends_as_the_venue_holds_it(&run.admin, &venue).await;
    judge::nothing_was_given_up_too_early(&run.admin).await;
    judge::the_tables_say_the_same(&run.admin, &attempts).await;
    let money = judge::the_budget_is_what_the_venue_says(&run.admin, &venue).await;
    assert_eq!(ended.len(), orders);

    let answers = answered(&recorded, &run.answers);
    let ends = ends(&lives, &ended);
    print("answer to the first post", &answers, recorded.orders as usize, orders);
    print("end", &ends, recorded.orders as usize, orders);
    println!("\nfirst answers that said nothing, and the end: {:?}", unclear(&run.answers, &ended));
    println!(
        "{orders} orders, {} posts, {} at the venue; {money}",
        run.answers.values().map(Vec::len).sum::<usize>(),
        venue.len()
    );

    for (name, came) in &answers {
        assert!(came.recorded > 0, "an answer that the recording does not know: {name} {came:?}");
        assert!(came.here + came.repeats > 0, "never met in this run: {name}");
        let mean = came.recorded * orders / recorded.orders as usize + came.added;
        // A binomial's variance is below its mean; squares, so that nothing is a fraction.
        let off = came.here.abs_diff(mean);
        assert!(off * off <= 16 * mean.max(1), "{name}: {came:?}, and {mean} were expected");
    }
    // A tenant whose orders are refused five times in a row is paused (`behaviour.md` 6.8): by chance, one or two are.
    let denied = ends.get("denied").map_or(0, |came| came.here);
    assert!(denied * 20 < orders, "{denied} orders never went to the venue: this run proves little");
    for name in
        ["filled", "expired", "cancelled", "rejected", "expired, filled in part", "filled in several parts"]
    {
        assert!(ends[name].here > 0, "no order of this run ended so: {name}");
    }
    run.simulator.stop().await;
}
