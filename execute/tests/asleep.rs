//! An executor that is stopped in the middle of its gate (a machine that is suspended, a debugger, a SIGSTOP) keeps no
//! lock: another takes its partition over, and what the sleeper had begun never happened. On real Postgres.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    clippy::unchecked_time_subtraction,
    reason = "tests"
)]

mod common;

use std::{sync::mpsc, time::Duration};

use common::{
    Tenant, keyring,
    ledger::{Held, Ledger},
};
use execute::{
    Keyring, StoreError,
    core::{
        gate::Sign,
        snapshot::{Connection, Readiness},
    },
};
use schemas::events::IntentsEvent;
use venue::order::{BuildError, OrderRequest, SignedBody};

/// Signs once it is woken: until then everything stands where the gate stands.
struct Sleeper {
    keys: Keyring,
    asleep: mpsc::Sender<()>,
    wake: std::sync::Mutex<mpsc::Receiver<()>>,
}

impl Sign for Sleeper {
    fn readiness(&self, connection: &Connection) -> Readiness {
        self.keys.readiness(connection)
    }

    fn sign(
        &self,
        connection: &Connection,
        request: &OrderRequest,
    ) -> Option<Result<SignedBody, BuildError>> {
        self.asleep.send(()).unwrap();
        // Only this transaction sleeps, not the runtime around it.
        let _woken = tokio::task::block_in_place(|| self.wake.lock().unwrap().recv());
        self.keys.sign(connection, request)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_partition_is_taken_over_from_an_executor_that_sleeps_in_its_gate() {
    let ledger = Ledger::postgres().await;
    let tenant = Tenant::new(1);
    let keys = keyring(&[(1, &tenant)]);
    ledger.add(1, &tenant).await;
    let mut first = Held::claim(&ledger, 0, "a").await;
    let ((asleep, is_asleep), (wake, woken)) = (mpsc::channel(), mpsc::channel());
    let sleeper = Sleeper { keys: keys.clone(), asleep, wake: std::sync::Mutex::new(woken) };
    let intent: IntentsEvent = tenant.buy(1, "10", "0.50").into();
    let sleeping = tokio::spawn({
        let intent = intent.clone();
        async move { first.gate(vec![intent], &sleeper).await }
    });
    tokio::task::spawn_blocking(move || is_asleep.recv().unwrap()).await.unwrap();

    // It holds the partition's row, and the server has not heard of it for as long as it sleeps.
    let begun = std::time::Instant::now();
    let store = ledger.store();
    let claim = loop {
        match store.claim(0, "b", Duration::from_secs(10)).await {
            Ok(claim) => break claim,
            // The claim waits for the lock, and is tried again.
            Err(StoreError::Unreachable(why)) => assert!(begun.elapsed().as_secs() < 40, "{why}"),
            Err(error) => panic!("{error}"),
        }
    };
    assert_eq!(claim.epoch, 2);
    wake.send(()).unwrap();
    let gated = sleeping.await.unwrap();
    assert!(matches!(gated, Err(StoreError::Unreachable(_))), "{gated:?}");
    let mut second = Held::claim(&ledger, 0, "b").await;
    let placed = second.place(intent, &keys).await;
    assert_eq!(placed.attempt, 0, "what the sleeper had begun never happened");
}
