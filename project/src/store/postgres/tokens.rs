//! What is told of tokens, into rows.

use std::collections::BTreeSet;

use schemas::Price;
use sqlx::PgConnection;

use super::{StoreError, store_error};
use crate::{
    core::token::{TokenKey, Tokens},
    pg::Tz,
};

/// Keeps what is news, the later of two whichever comes first; gives the tokens of which it is told what they pay.
pub(super) async fn keep(
    connection: &mut PgConnection,
    tokens: &Tokens,
) -> Result<BTreeSet<TokenKey>, StoreError> {
    marks(connection, tokens).await?;
    outcomes(connection, tokens).await
}

async fn marks(connection: &mut PgConnection, tokens: &Tokens) -> Result<(), StoreError> {
    if tokens.marks.is_empty() {
        return Ok(());
    }
    let of = |price: Option<Price>| price.map(Price::micro);
    sqlx::query(
        "insert into poly_token_marks as m (target_wallet, asset, best_bid, best_ask, as_of)
         select * from unnest($1::text[], $2::text[], $3::bigint[], $4::bigint[], $5::timestamptz[])
         on conflict (target_wallet, asset) do update
         set best_bid = excluded.best_bid, best_ask = excluded.best_ask, as_of = excluded.as_of
         where (excluded.as_of, coalesce(excluded.best_bid, -1), coalesce(excluded.best_ask, -1))
             > (m.as_of, coalesce(m.best_bid, -1), coalesce(m.best_ask, -1))",
    )
    .bind(tokens.marks.keys().map(|(wallet, _)| wallet.to_string()).collect::<Vec<_>>())
    .bind(tokens.marks.keys().map(|(_, asset)| asset.to_string()).collect::<Vec<_>>())
    .bind(tokens.marks.values().map(|mark| of(mark.best_bid)).collect::<Vec<_>>())
    .bind(tokens.marks.values().map(|mark| of(mark.best_ask)).collect::<Vec<_>>())
    .bind(tokens.marks.values().map(|mark| Tz(mark.as_of)).collect::<Vec<_>>())
    .execute(connection)
    .await
    .map(drop)
    .map_err(store_error)
}

async fn outcomes(connection: &mut PgConnection, tokens: &Tokens) -> Result<BTreeSet<TokenKey>, StoreError> {
    if tokens.outcomes.is_empty() {
        return Ok(BTreeSet::new());
    }
    sqlx::query(
        "insert into poly_token_outcomes as o (target_wallet, asset, condition_id, per_share, resolved_at)
         select * from unnest($1::text[], $2::text[], $3::text[], $4::bigint[], $5::timestamptz[])
         on conflict (target_wallet, asset) do update
         set condition_id = excluded.condition_id, per_share = excluded.per_share, resolved_at = excluded.resolved_at
         where (excluded.resolved_at, excluded.per_share, excluded.condition_id)
             > (o.resolved_at, o.per_share, o.condition_id)",
    )
    .bind(tokens.outcomes.keys().map(|(wallet, _)| wallet.to_string()).collect::<Vec<_>>())
    .bind(tokens.outcomes.keys().map(|(_, asset)| asset.to_string()).collect::<Vec<_>>())
    .bind(tokens.outcomes.values().map(|o| o.condition.to_string()).collect::<Vec<_>>())
    .bind(tokens.outcomes.values().map(|o| o.per_share.micro()).collect::<Vec<_>>())
    .bind(tokens.outcomes.values().map(|o| Tz(o.resolved_at)).collect::<Vec<_>>())
    .execute(connection)
    .await
    .map_err(store_error)?;
    Ok(tokens.outcomes.keys().cloned().collect())
}
