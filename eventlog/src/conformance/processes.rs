//! Several real processes on one log: killed, paused, reading together.

use std::time::Duration;

use schemas::topics::Topic;

use super::{
    Consumer, Harness, append_numbered, at, done, fresh_log, group, numbered, numbers, read_all,
    worker::{Job, Worker, digest},
};

/// How many records of each partition come at a time while workers die, and how soon the next.
const MORE: usize = 2;
const SOON: Duration = Duration::from_millis(50);

/// Worker processes that copy `fills` to `decisions` are killed with SIGKILL again and again, in the middle of
/// whatever they do: afterwards every record was copied exactly once, in order.
pub async fn killed_workers_lose_and_double_nothing(h: &dyn Harness) {
    let (place, log) = fresh_log(h).await;
    let mut total = 0;
    let job = Job::Copy { group: "killed".into(), max: 3 };
    // Two share the work; the one that copied something dies, and another takes its place.
    let mut workers = vec![Worker::start(h, &place, job.clone()), Worker::start(h, &place, job.clone())];
    for round in 0..5 {
        let mut dying = workers.remove(0);
        // At another moment of its work each time. There is always more of that, so that it never finds all done by others.
        let begun = std::time::Instant::now();
        while dying.said.iter().filter(|l| l.starts_with("copied")).count() <= 3 + 2 * round {
            assert!(begun.elapsed() < h.patience(), "the worker copied nothing: {:?}", dying.said);
            for partition in 0..4 {
                append_numbered(&*log, at(Topic::Fills, partition), total..total + MORE).await;
            }
            total += MORE;
            tokio::time::sleep(SOON).await;
            dying.listen();
        }
        dying.kill();
        workers.push(Worker::start(h, &place, job.clone()));
    }
    testkit::wait_for("everything to be copied", h.patience(), || async {
        let mut copied = 0;
        for partition in 0..4 {
            copied += read_all(&*log, at(Topic::Decisions, partition)).await.len();
        }
        copied >= 4 * total
    })
    .await;
    for partition in 0..4 {
        let copied = numbers(&read_all(&*log, at(Topic::Decisions, partition)).await);
        assert_eq!(copied, (0..total).collect::<Vec<_>>(), "partition {partition}: once each, in order");
        let of = at(Topic::Fills, partition);
        let committed = log.committed("killed", &[of]).await.expect("offsets")[&of];
        assert_eq!(committed, log.extent(of).await.expect("an extent").end);
    }
}

/// A process that is stopped for longer than its session, with records read and not committed, finds
/// itself fenced when it wakes up; nothing of what it then commits is ever seen.
pub async fn a_paused_process_is_fenced(h: &dyn Harness) {
    let (place, log) = fresh_log(h).await;
    for partition in 0..4 {
        append_numbered(&*log, at(Topic::Fills, partition), 0..10).await;
    }
    let mut zombie = Worker::start(h, &place, Job::Zombie { group: "paused".into(), count: 40 });
    zombie.says("read", h.patience()).await;
    zombie.pause();
    let mut heir = Consumer::join(&log, group(h, "paused", &[Topic::Fills])).await;
    heir.until("everything", h.patience(), |c| c.held.len() == 4 && c.staged.len() == 40).await;
    heir.staged.retain(|s| s.at.partition == 1);
    done(heir.copy().await);

    zombie.resume();
    zombie.go();
    let (answer, ()) = tokio::join!(zombie.says("not_done", h.patience()), async {
        for _ in 0..3 {
            heir.step(1).await.expect("a poll");
        }
    });
    assert_eq!(answer, "log_fenced");
    for partition in 0..4 {
        let copied = read_all(&*log, at(Topic::Decisions, partition)).await.len();
        assert_eq!(copied, if partition == 1 { 10 } else { 0 }, "nothing of the zombie is seen");
    }
    // Both are told, and the zombie may come back.
    let begin = std::time::Instant::now();
    loop {
        zombie.listen();
        if zombie.said.iter().any(|l| l == "told") {
            break;
        }
        assert!(begin.elapsed() < h.patience(), "{:?}", zombie.said);
        heir.step(1).await.expect("a poll");
    }
}

/// Several processes read the same while it is written, and agree on it.
pub async fn several_processes_read_the_same(h: &dyn Harness) {
    let (place, log) = fresh_log(h).await;
    let count = 300;
    let mut readers: Vec<_> =
        (0..3).map(|_| Worker::start(h, &place, Job::Read { partition: 2, count })).collect();
    for reader in &mut readers {
        reader.says("reading", h.patience()).await;
    }
    let of = at(Topic::Fills, 2);
    for n in 0..count {
        done(log.append(vec![numbered(of, n)]).await);
    }
    let expected = digest(of, &read_all(&*log, of).await);
    for reader in &mut readers {
        // "reading" begins the same way; the digest does not.
        assert_eq!(reader.says("read 0x", h.patience()).await, expected["0x".len()..]);
    }
}

/// A process killed while it appends leaves whole records in order, all that it was told was done among
/// them, and a log that others go on with.
pub async fn a_killed_appender_leaves_a_prefix(h: &dyn Harness) {
    let of = at(Topic::Fills, 0);
    for round in 0..3 {
        let (place, log) = fresh_log(h).await;
        let mut writer = Worker::start(h, &place, Job::Append { batch: 5 });
        writer.says(&format!("appended {}", 50 + 35 * round), h.patience()).await;
        let said = writer.kill();
        let last = said.iter().rev().find_map(|l| l.strip_prefix("appended ")).expect("it appended");
        let told: usize = last.parse().expect("a number");
        testkit::wait_for("what the dead left open to end", h.patience(), || async {
            log.extent(of).await.expect("an extent") == log.settled_extent(of).await.expect("an extent")
        })
        .await;
        let seen = numbers(&read_all(&*log, of).await);
        assert!(seen.len() >= told, "{} are there, {told} were done", seen.len());
        assert_eq!(seen, (0..seen.len()).collect::<Vec<_>>(), "a prefix, in order");
        append_numbered(&*log, of, seen.len()..seen.len() + 10).await;
        tokio::time::sleep(Duration::ZERO).await;
        assert_eq!(numbers(&read_all(&*log, of).await), (0..seen.len() + 10).collect::<Vec<_>>());
    }
}
