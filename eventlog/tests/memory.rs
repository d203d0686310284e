//! The conformance suite over the log in memory.
#![allow(
    clippy::unwrap_used,
    clippy::unused_async,
    reason = "a test's harness, called as the suite calls it"
)]

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use async_trait::async_trait;
use eventlog::{
    Expected, Log, LogError,
    conformance::{Harness, Lost},
    memory::{MemoryLog, MemoryOptions},
};
use runtime::{Chance, SystemClock};

#[derive(Debug)]
struct Memory {
    options: MemoryOptions,
    /// The places, and the logs at them.
    logs: Mutex<BTreeMap<String, MemoryLog>>,
}

#[async_trait]
impl Harness for Memory {
    async fn fresh(&self) -> String {
        testkit::unique("memory")
    }

    async fn open(&self, place: &str, expected: &Expected) -> Result<Arc<dyn Log>, LogError> {
        let mut logs = self.logs.lock().unwrap();
        let log = if let Some(log) = logs.get(place) {
            log.reopen(expected)?
        } else {
            let clock = SystemClock::shared();
            let log = MemoryLog::create(expected, self.options, clock, &Chance::system())?;
            logs.insert(place.to_owned(), log.clone());
            log
        };
        Ok(Arc::new(log))
    }

    async fn lose_next_commit(&self, place: &str, _log: &Arc<dyn Log>, lost: Lost) -> bool {
        self.logs.lock().unwrap()[place].faults().lose_next_commit(lost);
        true
    }

    async fn lose_next_append(&self, place: &str, _log: &Arc<dyn Log>, lost: Lost) -> bool {
        self.logs.lock().unwrap()[place].faults().lose_next_append(lost);
        true
    }
}

mod plain {
    use super::*;

    async fn harness(_test: &str) -> Option<Memory> {
        Some(Memory { options: MemoryOptions::default(), logs: Mutex::default() })
    }

    eventlog::conformance_suite!(harness, in one process);
}

/// The same with offsets that skip behind each commit.
mod with_markers {
    use super::*;

    async fn harness(_test: &str) -> Option<Memory> {
        Some(Memory { options: MemoryOptions { markers: true }, logs: Mutex::default() })
    }

    eventlog::conformance_suite!(harness, in one process);
}
