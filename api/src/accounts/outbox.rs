//! The outbox: what the log is to be told, in the transaction of what it tells.

use project::pg::Tz;
use schemas::{BillingAccountId, Timestamp, avro::Event, codec::Codec, topics::Topic};
use sqlx::PgConnection;
use uuid::Uuid;

use super::AccountError;

/// Where a record goes, and whose revision it is.
#[derive(Debug)]
pub(crate) struct Entry<'e> {
    /// The row's own id.
    pub id: Uuid,
    /// The tenant; `None` for everybody.
    pub account: Option<BillingAccountId>,
    /// `targets` or `controls`.
    pub topic: Topic,
    /// The record's key.
    pub key: String,
    /// What the revisions count: a target's row, `grant`, `connection`, or the kind of control.
    pub subject: &'e str,
    /// The revision.
    pub revision: i64,
    /// When the change was made.
    pub at: Timestamp,
}

/// Puts a record into the outbox.
pub(crate) async fn tell<E: Event>(
    connection: &mut PgConnection,
    codec: &Codec,
    entry: Entry<'_>,
    event: &E,
) -> Result<(), AccountError> {
    sqlx::query(
        "insert into api_outbox (id, billing_account_id, topic, key, subject, revision, value, created_at)
         values ($1, $2, $3, $4, $5, $6, $7, $8)",
    )
    .bind(entry.id)
    .bind(entry.account.map(|account| account.as_uuid()))
    .bind(entry.topic.name())
    .bind(entry.key)
    .bind(entry.subject)
    .bind(entry.revision)
    .bind(codec.encode(event)?.value.to_vec())
    .bind(Tz(entry.at))
    .execute(connection)
    .await?;
    Ok(())
}
