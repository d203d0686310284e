//! The conformance suite over the log in a file.

use std::sync::{Arc, Mutex, Weak};

use async_trait::async_trait;
use eventlog::{
    Expected, Log, LogError,
    conformance::{Harness, Lost},
    fault::Faults,
    sqlite::{SqliteLog, SqliteOptions},
};

#[derive(Debug)]
struct Sqlite {
    dir: tempfile::TempDir,
    /// The open handles, and how to make each fail.
    handles: Mutex<Vec<(Weak<dyn Log>, Faults)>>,
}

impl Sqlite {
    fn faults(&self, log: &Arc<dyn Log>) -> Faults {
        let handles = self.handles.lock().unwrap();
        let this =
            |(handle, _): &&(Weak<dyn Log>, Faults)| handle.upgrade().is_some_and(|h| Arc::ptr_eq(&h, log));
        handles.iter().find(this).unwrap().1.clone()
    }
}

#[async_trait]
impl Harness for Sqlite {
    async fn fresh(&self) -> String {
        let path = self.dir.path().join(testkit::unique("log"));
        path.to_str().unwrap().to_owned()
    }

    async fn open(&self, place: &str, expected: &Expected) -> Result<Arc<dyn Log>, LogError> {
        let log = SqliteLog::open(place, expected.clone(), SqliteOptions::default()).await?;
        let faults = log.faults().clone();
        let log: Arc<dyn Log> = Arc::new(log);
        self.handles.lock().unwrap().push((Arc::downgrade(&log), faults));
        Ok(log)
    }

    async fn lose_next_commit(&self, _place: &str, log: &Arc<dyn Log>, lost: Lost) -> bool {
        self.faults(log).lose_next_commit(lost);
        true
    }

    async fn lose_next_append(&self, _place: &str, log: &Arc<dyn Log>, lost: Lost) -> bool {
        self.faults(log).lose_next_append(lost);
        true
    }
}

async fn harness(_test: &str) -> Option<Sqlite> {
    Some(Sqlite { dir: tempfile::tempdir().unwrap(), handles: Mutex::default() })
}

eventlog::conformance_suite!(harness);
