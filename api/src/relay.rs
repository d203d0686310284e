//! From the api's outbox into the log, as role `relay`.
//!
//! - **In**: rows of `api_outbox` that are not published: picked by that mark, never by a high-water id,
//!   since transactions do not commit in the order of their ids.
//! - **Out**: records of `targets` and `controls`, per subject in the order of their revisions.
//! - **Remembers**: nothing; a row is marked only when the log has it for good.
//! - **When it dies**, or when there are two: records may come twice. Each carries a full state and its
//!   revision, and readers keep the highest.
//!
//! A row speaks for its account alone: one whose record names another is not published. The database cannot
//! look into a record, so whoever could write a row could otherwise speak for anybody.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use eventlog::{Append, Log, LogError, Record, Written, event, letter};
use project::{
    Connections, MigrateError, Role, check_version,
    pg::{Tz, is_away},
};
use runtime::{Board, Clock, Stop, signals};
use schemas::{
    BillingAccountId, Timestamp,
    codec::{Codec, CodecError},
    events::{ControlsEvent, DeadLetter, TargetsEvent},
    topics::Topic,
};
use sqlx::{PgPool, Row};
use uuid::Uuid;

/// The stage's name: of its figures, and as the reader in dead letters.
pub const STAGE: &str = "relay";

/// A row of the outbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pending {
    /// The row.
    pub id: Uuid,
    /// Whose it is; `None` for everybody.
    pub account: Option<BillingAccountId>,
    /// Where it goes.
    pub topic: Topic,
    /// The record's key.
    pub key: String,
    /// The framed record.
    pub value: Vec<u8>,
    /// When the change was made.
    pub created_at: Timestamp,
}

/// Why the outbox cannot be read or marked.
#[derive(Debug, thiserror::Error)]
pub enum OutboxError {
    /// What the server says.
    #[error("database_error: {0}")]
    Sql(#[from] sqlx::Error),
    /// A row that this program would not have written.
    #[error("database_row_invalid: api_outbox names the topic `{0}`")]
    Topic(String),
}

/// The outbox port.
#[async_trait]
pub trait Outbox: std::fmt::Debug + Send + Sync {
    /// Up to `limit` rows that are not published, those of one subject in the order of their revisions.
    async fn next(&self, limit: i64) -> Result<Vec<Pending>, OutboxError>;

    /// These are in the log.
    async fn published(&self, rows: &[Uuid]) -> Result<(), OutboxError>;
}

/// The outbox in Postgres.
#[derive(Debug, Clone)]
pub struct PgOutbox(PgPool);

impl PgOutbox {
    /// Logs in as `relay`.
    ///
    /// # Errors
    /// No connection, or a database that is not at this program's version.
    pub async fn connect(connections: &Connections) -> Result<Self, MigrateError> {
        let pool = connections.pool(Role::Relay, 2).await?;
        check_version(&pool).await?;
        Ok(Self(pool))
    }
}

#[async_trait]
impl Outbox for PgOutbox {
    async fn next(&self, limit: i64) -> Result<Vec<Pending>, OutboxError> {
        // By revision first: a clock that went back must not turn the revisions of one subject around.
        let rows = sqlx::query(
            "select id, billing_account_id, topic, key, value, created_at from api_outbox where not published
             order by revision, created_at, id limit $1",
        )
        .bind(limit)
        .fetch_all(&self.0)
        .await?;
        rows.iter()
            .map(|row| {
                let topic: &str = row.try_get("topic")?;
                let Tz(created_at) = row.try_get("created_at")?;
                let account: Option<Uuid> = row.try_get("billing_account_id")?;
                Ok(Pending {
                    id: row.try_get("id")?,
                    account: account.map(BillingAccountId::from_uuid),
                    topic: Topic::from_name(topic).ok_or_else(|| OutboxError::Topic(topic.to_owned()))?,
                    key: row.try_get("key")?,
                    value: row.try_get("value")?,
                    created_at,
                })
            })
            .collect()
    }

    async fn published(&self, rows: &[Uuid]) -> Result<(), OutboxError> {
        sqlx::query("update api_outbox set published = true where id = any($1)")
            .bind(rows)
            .execute(&self.0)
            .await?;
        Ok(())
    }
}

/// What the relay is given from outside, and touches nothing else.
#[derive(Debug, Clone)]
pub struct Ports {
    /// The log.
    pub log: Arc<dyn Log>,
    /// The outbox.
    pub outbox: Arc<dyn Outbox>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Reads and writes records.
    pub codec: Codec,
    /// The live figures.
    pub board: Board,
}

/// How the relay runs.
#[derive(Debug, Clone)]
pub struct Options {
    /// Rows at once.
    pub batch: i64,
    /// How long it waits before it looks again.
    pub every: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self { batch: 500, every: Duration::from_millis(100) }
    }
}

/// Why the relay stopped.
#[derive(Debug, thiserror::Error)]
pub enum RelayError {
    /// The log, for a reason that does not pass by itself.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The outbox.
    #[error(transparent)]
    Outbox(#[from] OutboxError),
    /// A record of ours does not fit its schema: a bug.
    #[error(transparent)]
    Codec(#[from] CodecError),
}

impl RelayError {
    /// The error's code, as its page under `docs/errors/` is named.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Log(e) => e.code(),
            Self::Outbox(OutboxError::Sql(e)) if is_away(e) => "database_unreachable",
            Self::Outbox(OutboxError::Sql(_)) => "database_error",
            Self::Outbox(OutboxError::Topic(_)) => "database_row_invalid",
            Self::Codec(e) => e.code(),
        }
    }
}

const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// Runs the relay until it is asked to stop; then publishes what is there once more. A log or database that
/// is away is waited for.
///
/// # Errors
/// What does not pass by itself: a log that refuses, a record that does not fit its schema.
pub async fn run(ports: &Ports, options: &Options, stop: &Stop) -> Result<(), RelayError> {
    let mut pause = options.every;
    loop {
        // Looked at before the round: what was committed before the request to stop is still published.
        let last = stop.is_requested();
        match publish(ports, options.batch).await {
            Ok(0) => pause = options.every,
            Ok(_) => {
                pause = options.every;
                continue;
            }
            Err(error) if last || !passes(&error) => return Err(error),
            Err(error) => {
                tracing::warn!(code = error.code(), %error, "the relay waits");
                ports.board.trouble(error.code());
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
        if last {
            return Ok(());
        }
        tokio::select! {
            biased;
            () = stop.requested() => {}
            () = ports.clock.sleep(pause) => {}
        }
    }
}

fn passes(error: &RelayError) -> bool {
    match error {
        RelayError::Log(error) => error.is_transient(),
        RelayError::Outbox(OutboxError::Sql(error)) => is_away(error),
        RelayError::Outbox(OutboxError::Topic(_)) | RelayError::Codec(_) => false,
    }
}

/// Publishes what waits, up to `batch` rows; how many there were.
///
/// # Errors
/// Log or outbox. Nothing was marked that the log may not have.
pub async fn publish(ports: &Ports, batch: i64) -> Result<usize, RelayError> {
    let pending = ports.outbox.next(batch).await?;
    ports.board.lag(STAGE, u64::try_from(pending.len()).unwrap_or(u64::MAX));
    if pending.is_empty() {
        return Ok(0);
    }
    let mut records = Vec::with_capacity(pending.len());
    for row in &pending {
        let record = match record_of(&ports.codec, row) {
            Ok(record) => Append { to: ports.log.manifest().place(row.topic, row.key.as_bytes()), record },
            Err(Refused { code, reason }) => refuse(ports, row, code, reason)?,
        };
        records.push(record);
    }
    match ports.log.append(records).await {
        Written::Done(_) => {}
        Written::NotDone(error) | Written::Unknown(error) => return Err(error.into()),
    }
    let rows: Vec<Uuid> = pending.iter().map(|row| row.id).collect();
    ports.outbox.published(&rows).await?;
    ports.board.lag(STAGE, 0);
    Ok(rows.len())
}

/// Why a row is not published.
struct Refused {
    code: &'static str,
    reason: String,
}

impl From<CodecError> for Refused {
    fn from(error: CodecError) -> Self {
        Self { code: error.code(), reason: error.to_string() }
    }
}

/// The row's record, if it speaks for the row's account and of the row's key.
fn record_of(codec: &Codec, row: &Pending) -> Result<Record, Refused> {
    let at = row.created_at;
    let global = "*".to_owned();
    let (account, key, record) = match row.topic {
        Topic::Targets => match codec.decode::<TargetsEvent>(&row.value)? {
            TargetsEvent::TargetState(state) => {
                let made = event::record(codec, &row.key, &state, at, None)?;
                (Some(state.billing_account_id), state.wallet.to_string(), made.0)
            }
            TargetsEvent::CloseRequested(request) => {
                let made = event::record(codec, &row.key, &request, at, None)?;
                (Some(request.billing_account_id), request.wallet.to_string(), made.0)
            }
        },
        _ => match codec.decode::<ControlsEvent>(&row.value)? {
            ControlsEvent::ControlState(state) => {
                let made = event::record(codec, &row.key, &state, at, None)?;
                let account = state.billing_account_id;
                (account, account.map_or(global, |account| account.to_string()), made.0)
            }
            ControlsEvent::GrantState(state) => {
                let made = event::record(codec, &row.key, &state, at, None)?;
                (Some(state.billing_account_id), state.billing_account_id.to_string(), made.0)
            }
            ControlsEvent::ConnectionState(state) => {
                let made = event::record(codec, &row.key, &state, at, None)?;
                (Some(state.billing_account_id), state.billing_account_id.to_string(), made.0)
            }
        },
    };
    if account == row.account && key == row.key {
        return Ok(record);
    }
    let reason = format!(
        "outbox_row_forged: row {} of account {:?} under key {} holds a record of account {account:?} under key {key}",
        row.id, row.account, row.key
    );
    Err(Refused { code: "outbox_row_forged", reason })
}

/// The dead letter in the row's place: it stops nothing, and is not lost.
fn refuse(ports: &Ports, row: &Pending, code: &'static str, reason: String) -> Result<Append, RelayError> {
    tracing::error!(code, reason, row = %row.id, "an outbox row is not published");
    metrics::counter!(signals::DEAD_LETTER, "stage" => STAGE, "topic" => row.topic.name()).increment(1);
    ports.board.trouble("dead_letter");
    let letter = letter::fit(DeadLetter {
        topic: row.topic.name().to_owned(),
        // It never stood in the log.
        partition: -1,
        offset: -1,
        reader: STAGE.to_owned(),
        code: code.to_owned(),
        reason,
        key: Some(row.key.clone().into()),
        value: Some(row.value.clone().into()),
        observed_at: ports.clock.now(),
    });
    let (mut record, _) = event::record(&ports.codec, "", &letter, letter.observed_at, None)?;
    record.key = letter.key;
    let to = ports.log.manifest().place(Topic::DeadLetters, record.key.as_deref().unwrap_or_default());
    Ok(Append { to, record })
}
