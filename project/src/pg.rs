//! Our types as Postgres keeps them, exactly: `timestamptz` from microseconds, `numeric(20, 6)` from 10^-6.
//!
//! Money crosses as `bigint` and becomes `numeric` in SQL by `* 0.000001`: a product is exact, a quotient by
//! 1000000 keeps 16 digits only.

use schemas::{Timestamp, UserId};
use sqlx::{
    Decode, Encode, PgPool, Postgres, Transaction, Type,
    encode::IsNull,
    error::BoxDynError,
    postgres::{PgArgumentBuffer, PgHasArrayType, PgTypeInfo, PgValueFormat, PgValueRef},
};

/// Microseconds from 1970 to 2000, from where Postgres counts.
const EPOCH: i64 = 946_684_800_000_000;

/// A [`Timestamp`] as a `timestamptz`, to the microsecond.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tz(pub Timestamp);

impl Type<Postgres> for Tz {
    fn type_info() -> PgTypeInfo {
        PgTypeInfo::with_name("timestamptz")
    }
}

impl PgHasArrayType for Tz {
    fn array_type_info() -> PgTypeInfo {
        PgTypeInfo::with_name("_timestamptz")
    }
}

impl Encode<'_, Postgres> for Tz {
    fn encode_by_ref(&self, buffer: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        // Out of range here is out of range there too: let the server say so, about its own lowest value but
        // one.
        let since = self.0.micros().checked_sub(EPOCH).unwrap_or(i64::MIN + 1);
        <i64 as Encode<Postgres>>::encode_by_ref(&since, buffer)
    }
}

impl Decode<'_, Postgres> for Tz {
    fn decode(value: PgValueRef<'_>) -> Result<Self, BoxDynError> {
        if value.format() == PgValueFormat::Text {
            return Err("a timestamptz was read by a statement that was not prepared".into());
        }
        let since: i64 = i64::from_be_bytes(value.as_bytes()?.try_into()?);
        Ok(Self(Timestamp::from_micros(since.checked_add(EPOCH).ok_or("a timestamptz past our range")?)))
    }
}

/// A transaction of `app_user` on behalf of one person: sees and writes what belongs to them, nothing else.
pub async fn begin_as(pool: &PgPool, user: UserId) -> Result<Transaction<'static, Postgres>, sqlx::Error> {
    let mut transaction = pgpool::begin(pool).await?;
    sqlx::query("select set_config('app.current_user_id', $1, true)")
        .bind(user.to_string())
        .execute(&mut *transaction)
        .await?;
    Ok(transaction)
}

/// Whether an error says that the database is away, or on its way up or down: the same call may succeed
/// later. All else is about the call, or needs a person.
pub fn is_away(error: &sqlx::Error) -> bool {
    match error {
        // Serialization, resources, an operator's hand, the connection, an idle transaction that was ended.
        sqlx::Error::Database(e) => e.code().is_some_and(|code| {
            ["40", "53", "55", "57", "08", "25"].iter().any(|class| code.starts_with(class))
        }),
        sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed => true,
        _ => false,
    }
}
