//! Child processes: the test binary started again, with a job in its environment.
//!
//! A child tells what it does in lines on its standard output, and waits for `go` on its standard input
//! where its job says so. Its parent ends it when it is dropped, with SIGKILL.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Write},
    process::{Child, ChildStdin, Command, Stdio},
    sync::{Arc, mpsc},
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use schemas::topics::Topic;
use serde::{Deserialize, Serialize};

use super::{Consumer, Harness, at, done, expected, number_of, numbered, read_all};
use crate::port::{Log, Polled, TopicPartition, Written};

/// The environment variable that holds a child's [`Order`].
const ORDER: &str = "EVENTLOG_WORKER";
/// How a line of a child begins; the others are the test runner's.
const SAYS: &str = "worker: ";

/// What a child does, and where.
#[derive(Debug, Serialize, Deserialize)]
struct Order {
    place: String,
    session_ms: u64,
    job: Job,
}

/// What a child does.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Job {
    /// Opens the log, and says its id.
    Hello,
    /// Copies `fills` to `decisions` as a member of a group, at most `max` records a commit, for ever. Says
    /// `copied N` after each commit.
    Copy {
        /// The group.
        group: String,
        /// Records per commit.
        max: usize,
    },
    /// Reads until it has `count` records of all `fills`, says `read`, waits for `go`, commits copies of all
    /// of it, and says `done`, `not_done CODE` or `unknown CODE`.
    Zombie {
        /// The group.
        group: String,
        /// How many to read.
        count: usize,
    },
    /// Appends records 0, 1, 2, … to `fills`-0, `batch` at a time, for ever. Says `appended N`: all below N
    /// are done.
    Append {
        /// Records per append.
        batch: usize,
    },
    /// The same, whatever happens, until it failed `failures` times. Says `done N`, `not_done N` or
    /// `unknown N` of the batch that begins with N, and at last `enough`.
    AppendAnyway {
        /// Records per append.
        batch: usize,
        /// How often it may fail.
        failures: usize,
    },
    /// Reads a partition of `fills` until it has `count` records, and says `read` and a digest of them.
    Read {
        /// The partition.
        partition: i32,
        /// How many to read.
        count: usize,
    },
}

/// A running child.
#[derive(Debug)]
pub struct Worker {
    child: Child,
    stdin: ChildStdin,
    lines: mpsc::Receiver<String>,
    /// All it said so far.
    pub said: Vec<String>,
}

impl Worker {
    /// Starts a child.
    pub fn start(h: &dyn Harness, place: &str, job: Job) -> Self {
        Self::start_after(h, place, job, ":")
    }

    /// Starts a child after some shell commands, such as `ulimit`.
    pub fn start_after(h: &dyn Harness, place: &str, job: Job, commands: &str) -> Self {
        let session_ms = u64::try_from(h.session().as_millis()).expect("a short session");
        let order = Order { place: place.to_owned(), session_ms, job };
        let mut child = Command::new("sh")
            .args(["-c", &format!("{commands}; exec \"$0\" \"$@\"")])
            .arg(std::env::current_exe().expect("this binary"))
            .args(["worker", "--exact", "--nocapture", "--test-threads=1"])
            .env(ORDER, serde_json::to_string(&order).expect("JSON"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a child process");
        let (tx, lines) = mpsc::channel();
        let stdout = BufReader::new(child.stdout.take().expect("piped"));
        std::thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                // The test runner may have begun the line.
                if let Some((_, said)) = line.split_once(SAYS)
                    && tx.send(said.to_owned()).is_err()
                {
                    break;
                }
            }
        });
        let stdin = child.stdin.take().expect("piped");
        Self { child, stdin, lines, said: Vec::new() }
    }

    /// Takes what it said since.
    pub fn listen(&mut self) {
        self.said.extend(self.lines.try_iter());
    }

    /// Waits until it said a line that begins so, and returns the rest of that line.
    pub async fn says(&mut self, begin: &str, patience: Duration) -> String {
        let started = Instant::now();
        loop {
            self.listen();
            if let Some(rest) = self.said.iter().find_map(|l| l.strip_prefix(begin)) {
                return rest.trim().to_owned();
            }
            let ended = self.child.try_wait().expect("a child");
            assert!(ended.is_none(), "the child ended ({ended:?}) before it said {begin:?}: {:?}", self.said);
            assert!(started.elapsed() < patience, "it did not say {begin:?}: {:?}", self.said);
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// Lets it go on.
    pub fn go(&mut self) {
        writeln!(self.stdin, "go").expect("a child that listens");
    }

    /// Stops it where it stands; nothing of it runs until [`Worker::resume`].
    pub fn pause(&self) {
        self.signal(Signal::SIGSTOP);
    }

    /// Lets it run again.
    pub fn resume(&self) {
        self.signal(Signal::SIGCONT);
    }

    /// kill -9.
    pub fn kill(mut self) -> Vec<String> {
        self.child.kill().expect("killed");
        self.child.wait().expect("ended");
        // What it said before it died is still in the pipe.
        self.said.extend(self.lines.iter());
        std::mem::take(&mut self.said)
    }

    fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).expect("a pid");
        kill(Pid::from_raw(pid), signal).expect("signalled");
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _already_dead = self.child.kill();
        let _status = self.child.wait();
    }
}

fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{SAYS}{line}").expect("a parent that listens");
    out.flush().expect("a parent that listens");
}

/// Runs the order in the environment and never returns from some; without one, proves that a child answers.
pub async fn run_or_prove(h: &dyn Harness) {
    let Ok(order) = std::env::var(ORDER) else { return prove(h).await };
    let order: Order = serde_json::from_str(&order).expect("an order");
    let log = h.open(&order.place, &expected()).await.expect("the log");
    let session = Duration::from_millis(order.session_ms);
    match order.job {
        Job::Hello => say(&format!("hello {}", log.manifest().log_id)),
        Job::Copy { group, max } => copy(&log, group, session, max).await,
        Job::Zombie { group, count } => zombie(&log, group, session, count, h.patience()).await,
        Job::Append { batch } => append(&*log, batch).await,
        Job::AppendAnyway { batch, failures } => append_anyway(&*log, batch, failures).await,
        Job::Read { partition, count } => read(&*log, partition, count).await,
    }
}

async fn prove(h: &dyn Harness) {
    let place = h.fresh().await;
    let log = h.open(&place, &expected()).await.expect("a log");
    let mut child = Worker::start(h, &place, Job::Hello);
    let said = child.says("hello", h.patience()).await;
    assert_eq!(said, log.manifest().log_id.to_string(), "a child opens the log of its parent");
}

fn in_group(name: String, session: Duration) -> crate::port::Group {
    crate::port::Group { name, topics: vec![Topic::Fills], session }
}

async fn copy(log: &Arc<dyn Log>, group: String, session: Duration, max: usize) {
    let mut consumer = Consumer::join(log, in_group(group, session)).await;
    let mut copied = 0;
    say("joined");
    loop {
        match consumer.step(max).await {
            Ok(Polled::Records(_)) => {
                let count = consumer.staged.len();
                if let Written::Done(_) = consumer.copy().await {
                    copied += count;
                    say(&format!("copied {copied}"));
                }
            }
            Ok(_) => {}
            Err(e) => assert!(e.is_transient(), "{e}"),
        }
    }
}

async fn zombie(log: &Arc<dyn Log>, group: String, session: Duration, count: usize, patience: Duration) {
    let mut consumer = Consumer::join(log, in_group(group, session)).await;
    consumer.until("the records", patience, |c| c.staged.len() >= count).await;
    say("read");
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line).expect("a parent that speaks");
    let answer = match consumer.copy().await {
        Written::Done(_) => "done".to_owned(),
        Written::NotDone(e) => format!("not_done {}", e.code()),
        Written::Unknown(e) => format!("unknown {}", e.code()),
    };
    say(&answer);
    let losses = consumer.losses;
    consumer.until("to be told", patience, |c| c.losses > losses).await;
    say("told");
    // Alive until the parent is done with it.
    std::io::stdin().lock().read_line(&mut line).expect("a parent that speaks");
}

async fn append(log: &dyn Log, batch: usize) {
    for n in (0..).step_by(batch) {
        done(log.append((n..n + batch).map(|n| numbered(at(Topic::Fills, 0), n)).collect()).await);
        say(&format!("appended {}", n + batch));
    }
}

async fn append_anyway(log: &dyn Log, batch: usize, mut failures: usize) {
    for n in (0..).step_by(batch) {
        match log.append((n..n + batch).map(|n| numbered(at(Topic::Fills, 0), n)).collect()).await {
            Written::Done(_) => say(&format!("done {n}")),
            Written::NotDone(e) => {
                assert!(e.is_transient(), "{e}");
                say(&format!("not_done {n}"));
                failures -= 1;
            }
            Written::Unknown(e) => {
                assert!(e.is_transient(), "{e}");
                say(&format!("unknown {n}"));
                failures -= 1;
            }
        }
        if failures == 0 {
            break;
        }
    }
    say("enough");
    // Alive until the parent is done with it.
    std::io::stdin().lock().read_line(&mut String::new()).expect("a parent that speaks");
}

async fn read(log: &dyn Log, partition: i32, count: usize) {
    let of = at(Topic::Fills, partition);
    say("reading");
    loop {
        let all = read_all(log, of).await;
        if all.len() >= count {
            return say(&format!("read {}", digest(of, &all)));
        }
    }
}

/// What several readers must agree on.
pub(super) fn digest(of: TopicPartition, records: &[crate::port::Stored]) -> String {
    let text: BTreeMap<_, _> = records.iter().map(|s| (s.offset, number_of(&s.record))).collect();
    schemas::keccak256(&[format!("{of} {text:?}").as_bytes()]).to_string()
}
