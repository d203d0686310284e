//! Building the tables again, from the first record: beside the live ones, which go on, and then in their
//! place (`design.md`, Stages when they die).

use std::collections::{BTreeMap, BTreeSet};

use eventlog::{Log, LogError, Offset, TopicPartition};
use schemas::{
    codec::{Codec, CodecError},
    topics::Topic,
};
use sqlx::{Connection, PgConnection, SqlSafeStr};

use crate::{
    connections::{ConnectError, Connections},
    core::fold::{self, Progress},
    migrate::PAGES,
    roles::Role,
    shell::TOPICS,
    store::{PgStore, Store, StoreError},
};

/// The tables that are built from the log. The offsets first: whoever writes the others has locked them
/// before.
pub const TABLES: [&str; 7] = [
    "projection_offsets",
    "poly_copy_trade_fills",
    "poly_copy_trade_attempts",
    "poly_copy_trade_decisions",
    "poly_token_outcomes",
    "poly_token_marks",
    "poly_token_ids",
];

/// The schema of the second set.
pub const SCHEMA: &str = "rebuild";

/// Records in a transaction.
const BATCH: usize = 500;

/// A round of so few records is followed by the swap.
const LITTLE: u64 = 5_000;

/// Why there is no second set.
#[derive(Debug, thiserror::Error)]
pub enum RebuildError {
    /// No connection.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The log cannot be read.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The database refuses, or cannot be reached. The live tables are as they were.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A record of a newer program, or one whose schema the registry did not tell. The live tables are as they were.
    #[error(transparent)]
    Codec(#[from] CodecError),
    /// The tables cannot be made or swapped. The live tables are as they were.
    #[error("rebuild_failed: {0}. The live tables are as they were")]
    Sql(#[from] sqlx::Error),
}

impl RebuildError {
    /// The error's code, as its page under `docs/errors/` is named.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Connect(e) => e.code(),
            Self::Log(e) => e.code(),
            Self::Store(e) => e.code(),
            Self::Codec(e) => e.code(),
            Self::Sql(_) => "rebuild_failed",
        }
    }
}

/// A second set of tables, as far as it is built. Dropping it leaves the set where it is; the next
/// [`Rebuild::begin`] removes it.
#[derive(Debug)]
pub struct Rebuild {
    connections: Connections,
    store: PgStore,
    progress: BTreeMap<TopicPartition, Progress>,
}

/// What a round of building did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Built {
    /// Records read.
    pub records: u64,
    /// Records that the live tables' projector put into `dead-letters`, or would have.
    pub dead: u64,
}

impl Rebuild {
    /// Makes an empty second set, as `owner`, by the very pages of SQL that made the live one.
    ///
    /// # Errors
    /// No connection, or a database that is not migrated.
    pub async fn begin(connections: &Connections) -> Result<Self, RebuildError> {
        let mut owner = owner(connections).await?;
        let mut transaction = owner.begin().await?;
        sqlx::raw_sql(
            "drop schema if exists rebuild cascade; create schema rebuild; grant usage on schema rebuild to projector;
             set local search_path = rebuild, public",
        )
        .execute(&mut *transaction)
        .await?;
        for page in PAGES.iter().filter(|page| page.projection) {
            sqlx::raw_sql(page.sql.into_sql_str()).execute(&mut *transaction).await?;
        }
        transaction.commit().await?;
        let _ = owner.close().await;
        let store = PgStore::connect_to(connections, SCHEMA).await?;
        Ok(Self { connections: connections.clone(), store, progress: BTreeMap::new() })
    }

    /// The second set.
    pub const fn store(&self) -> &PgStore {
        &self.store
    }

    /// Reads from where the second set stands to where the log ends now. Called again it goes on: the first
    /// round may take hours, in which the log grows. Dead letters are counted, not written again.
    ///
    /// # Errors
    /// Log or database; call again, or begin anew.
    pub async fn catch_up(
        &mut self,
        log: &dyn Log,
        codec: &Codec,
        batch: usize,
    ) -> Result<Built, RebuildError> {
        let mut built = Built::default();
        for topic in TOPICS {
            for partition in 0..log.manifest().partitions(topic) {
                self.read(log, codec, TopicPartition::new(topic, partition), batch, &mut built).await?;
            }
        }
        Ok(built)
    }

    async fn read(
        &mut self,
        log: &dyn Log,
        codec: &Codec,
        at: TopicPartition,
        limit: usize,
        built: &mut Built,
    ) -> Result<(), RebuildError> {
        let end = log.extent(at).await?.end;
        loop {
            let next = self.progress.get(&at).map_or(Offset::ZERO, |progress| progress.next);
            if next >= end {
                return Ok(());
            }
            let records = log.read(at, next, limit).await?;
            if records.is_empty() {
                return Ok(());
            }
            let reads =
                records.iter().map(|stored| fold::read(codec, stored)).collect::<Result<Vec<_>, _>>()?;
            let owners = self.store.owners(&fold::accounts(&reads)).await?;
            match self.apply(log, reads, &owners).await {
                Err(StoreError::Unacceptable(_)) => self.apply_alone(log, codec, &records, &owners).await?,
                done => done?,
            }
            built.records += u64::try_from(records.len()).unwrap_or(u64::MAX);
            let dead = self.progress.values().map(|progress| progress.dead).sum::<i64>();
            built.dead = u64::try_from(dead).unwrap_or(0);
        }
    }

    async fn apply_alone(
        &mut self,
        log: &dyn Log,
        codec: &Codec,
        records: &[eventlog::Stored],
        owners: &BTreeMap<schemas::BillingAccountId, schemas::UserId>,
    ) -> Result<(), RebuildError> {
        for stored in records {
            let read = fold::read(codec, stored)?;
            match self.apply(log, vec![read.clone()], owners).await {
                Err(StoreError::Unacceptable(why)) => {
                    self.apply(log, vec![fold::Read { refused: Some(why), ..read }], owners).await?;
                }
                done => done?,
            }
        }
        Ok(())
    }

    async fn apply(
        &mut self,
        log: &dyn Log,
        reads: Vec<fold::Read<'_>>,
        owners: &BTreeMap<schemas::BillingAccountId, schemas::UserId>,
    ) -> Result<(), StoreError> {
        let (batch, _) = fold::fold(log.manifest().log_id, &self.progress, reads, owners);
        self.store.apply(&batch).await?;
        self.progress.extend(batch.advances.into_iter().map(|(at, (_, to))| (at, to)));
        Ok(())
    }

    /// Puts the second set in place of the live one, and drops that. A projector that runs finds itself
    /// overtaken, reads how far the new tables are, and goes on from there; requests wait for the moment it
    /// takes.
    ///
    /// # Errors
    /// The locks were not to be had within ten seconds, or log or server refuse; the live tables are as they
    /// were.
    pub async fn swap(mut self, log: &dyn Log, codec: &Codec) -> Result<(), RebuildError> {
        let mut owner = owner(&self.connections).await?;
        let mut transaction = owner.begin().await?;
        // From here on the live tables stand still, so the end of the log is past all that they hold: a
        // projector must not find itself set back in a partition where nothing more comes.
        let still =
            "set local lock_timeout = '10s'; lock table public.projection_offsets in access exclusive mode";
        sqlx::raw_sql(still).execute(&mut *transaction).await?;
        self.catch_up(log, codec, BATCH).await?;
        self.store.pool().close().await;
        sqlx::raw_sql(
            "lock table public.poly_copy_trade_fills, public.poly_copy_trade_attempts,
                 public.poly_copy_trade_decisions, public.poly_token_outcomes, public.poly_token_marks,
                 public.poly_token_ids in access exclusive mode;
             drop table public.projection_offsets, public.poly_copy_trade_fills, public.poly_copy_trade_attempts,
                 public.poly_copy_trade_decisions, public.poly_token_outcomes, public.poly_token_marks,
                 public.poly_token_ids;
             alter table rebuild.projection_offsets set schema public;
             alter table rebuild.poly_copy_trade_fills set schema public;
             alter table rebuild.poly_copy_trade_attempts set schema public;
             alter table rebuild.poly_copy_trade_decisions set schema public;
             alter table rebuild.poly_token_outcomes set schema public;
             alter table rebuild.poly_token_marks set schema public;
             alter table rebuild.poly_token_ids set schema public;
             drop schema rebuild",
        )
        .execute(&mut *transaction)
        .await?;
        transaction.commit().await?;
        let _ = owner.close().await;
        Ok(())
    }

    /// How far the second set is behind the log, in records and markers.
    ///
    /// # Errors
    /// The log.
    pub async fn behind(&self, log: &dyn Log) -> Result<u64, RebuildError> {
        let mut behind = 0;
        for at in partitions(log) {
            let next = self.progress.get(&at).map_or(0, |progress| progress.next.0);
            behind += u64::try_from(log.extent(at).await?.end.0 - next).unwrap_or(0);
        }
        Ok(behind)
    }
}

/// Builds the tables again and puts them in place: rounds until little is left, and the rest while the live
/// tables stand still for a moment.
///
/// # Errors
/// Whatever goes wrong, the live tables are as they were.
pub async fn rebuild(connections: &Connections, log: &dyn Log, codec: &Codec) -> Result<Built, RebuildError> {
    let mut rebuild = Rebuild::begin(connections).await?;
    let mut built = Built::default();
    loop {
        let round = rebuild.catch_up(log, codec, BATCH).await?;
        built = Built { records: built.records + round.records, dead: round.dead };
        if round.records <= LITTLE {
            break;
        }
        tracing::info!(records = built.records, dead = built.dead, "rebuilding");
    }
    rebuild.swap(log, codec).await?;
    Ok(built)
}

/// The partitions that the tables are built from.
fn partitions(log: &dyn Log) -> BTreeSet<TopicPartition> {
    let of = |topic: Topic| (0..log.manifest().partitions(topic)).map(move |p| TopicPartition::new(topic, p));
    TOPICS.into_iter().flat_map(of).collect()
}

async fn owner(connections: &Connections) -> Result<PgConnection, RebuildError> {
    let options = connections.options(Role::Owner)?;
    Ok(PgConnection::connect_with(&options).await.map_err(ConnectError::from)?)
}
