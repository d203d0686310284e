//! Accounts, a log and a relay over a database of their own.
#![allow(
    dead_code,
    unused_imports,
    clippy::unwrap_used,
    clippy::panic,
    clippy::missing_panics_doc,
    reason = "a helper of tests; each binary uses some"
)]

pub mod rows;
pub mod schema;
pub mod server;

use std::sync::Arc;

use api::{
    Accounts, Operator,
    relay::{PgOutbox, Ports},
};
use eventlog::{
    Expected, Log, Offset, TopicPartition, VenueKind,
    memory::{MemoryLog, MemoryOptions},
};
use project::{Connections, migrate};
use runtime::{Board, Chance, Clock, SystemClock, VirtualClock};
use schemas::{
    Address, Timestamp,
    codec::Codec,
    events::{ControlsEvent, TargetsEvent, TopicEvents},
    topics::Topic,
};
use sqlx::PgPool;

pub struct Setup {
    pub connections: Connections,
    pub accounts: Accounts,
    pub operator: Operator,
    pub clock: VirtualClock,
    pub log: MemoryLog,
}

pub async fn setup() -> Setup {
    let url = testkit::fresh_database().await;
    let connections = Connections::for_tests(&url).unwrap();
    migrate(&connections, &Chance::system()).await.unwrap();
    let clock = VirtualClock::at(Timestamp::from_micros(1_760_000_000_123_456));
    let shared: Arc<dyn Clock> = Arc::new(clock.clone());
    let codec = Codec::bundled().unwrap();
    let accounts =
        Accounts::connect(&connections, codec.clone(), shared.clone(), Chance::seeded(1)).await.unwrap();
    let operator = Operator::connect(&connections, codec, shared, Chance::seeded(2)).await.unwrap();
    let expected = Expected {
        venue: VenueKind::Simulator,
        wallet_partitions: 3,
        account_partitions: 2,
        market_partitions: 1,
        log_id: None,
    };
    let log =
        MemoryLog::create(&expected, MemoryOptions::default(), SystemClock::shared(), &Chance::system())
            .unwrap();
    Setup { connections, accounts, operator, clock, log }
}

impl Setup {
    pub async fn superuser(&self) -> PgPool {
        PgPool::connect_with(self.connections.admin().clone()).await.unwrap()
    }

    pub async fn relay(&self) -> Ports {
        Ports {
            log: Arc::new(self.log.clone()),
            outbox: Arc::new(PgOutbox::connect(&self.connections).await.unwrap()),
            clock: SystemClock::shared(),
            codec: Codec::bundled().unwrap(),
            board: Board::new(),
        }
    }

    /// Everything in a topic, by key, each partition in its order.
    pub async fn read<E: TopicEvents>(&self, topic: Topic) -> Vec<(String, E)> {
        let codec = Codec::bundled().unwrap();
        let mut all = Vec::new();
        for partition in 0..self.log.manifest().partitions(topic) {
            let at = TopicPartition::new(topic, partition);
            for stored in self.log.read(at, Offset::ZERO, 10_000).await.unwrap() {
                let key = String::from_utf8(stored.record.key.clone().unwrap().to_vec()).unwrap();
                assert_eq!(
                    self.log.manifest().place(topic, key.as_bytes()),
                    at,
                    "in the partition of its key"
                );
                all.push((key, codec.decode(stored.record.value.as_deref().unwrap()).unwrap()));
            }
        }
        all
    }

    pub async fn targets(&self) -> Vec<(String, TargetsEvent)> {
        self.read(Topic::Targets).await
    }

    pub async fn controls(&self) -> Vec<(String, ControlsEvent)> {
        self.read(Topic::Controls).await
    }
}

pub fn wallet(digit: char) -> Address {
    format!("0x{}", digit.to_string().repeat(40)).parse().unwrap()
}
