//! Where the rows of positions stand, said anew.

use std::{
    collections::{BTreeMap, BTreeSet},
    str::FromStr,
};

use schemas::{Address, AssetId, BillingAccountId, Mode, Shares, TargetId, Usdc, ids::IdError};
use sqlx::{PgConnection, Row, postgres::PgRow};

use super::{StoreError, broken, store_error};
use crate::{
    core::{
        ledger::{LedgerRow, PositionKey},
        lifecycle::{Lifecycle, Part, lifecycles},
        token::TokenKey,
    },
    pg::Tz,
};

/// A position, by any of its token's ids.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    account: BillingAccountId,
    target: TargetId,
    wallet: Address,
    asset: AssetId,
    mode: Mode,
}

impl Place {
    /// That of a row of the ledger.
    pub(super) fn of(row: &LedgerRow) -> Self {
        Self {
            account: row.account,
            target: row.target,
            wallet: row.wallet,
            asset: row.asset.clone(),
            mode: row.mode,
        }
    }
}

/// The positions on these tokens, of whichever tenant.
pub(super) async fn places(
    connection: &mut PgConnection,
    tokens: &BTreeSet<TokenKey>,
) -> Result<BTreeSet<Place>, StoreError> {
    if tokens.is_empty() {
        return Ok(BTreeSet::new());
    }
    let found = sqlx::query(
        "select distinct f.billing_account_id, f.target_id, f.target_wallet, f.asset, f.mode
         from unnest($1::text[], $2::text[]) as t (wallet, asset)
         left join poly_token_ids i on i.target_wallet = t.wallet and i.asset = t.asset
         join poly_copy_trade_fills f on f.target_wallet = t.wallet
             and f.asset = any(coalesce(i.ids, array[t.asset]))
         where f.position_lifecycle is not null",
    )
    .bind(tokens.iter().map(|(wallet, _)| wallet.to_string()).collect::<Vec<_>>())
    .bind(tokens.iter().map(|(_, asset)| asset.to_string()).collect::<Vec<_>>())
    .fetch_all(connection)
    .await
    .map_err(store_error)?;
    found
        .iter()
        .map(|row| {
            Ok(Place {
                account: BillingAccountId::from_uuid(row.try_get("billing_account_id").map_err(store_error)?),
                target: TargetId::from_uuid(row.try_get("target_id").map_err(store_error)?),
                wallet: word(row, "target_wallet")?,
                asset: word(row, "asset")?,
                mode: word(row, "mode")?,
            })
        })
        .collect()
}

/// Says anew where each row of these positions stands. Where nothing was ever sold and the market has not ended all that is
/// filled is open, as [`write_rows`](super::write_rows) left it: those need no look.
pub(super) async fn settle(
    connection: &mut PgConnection,
    positions: &BTreeSet<Place>,
) -> Result<(), StoreError> {
    if positions.is_empty() {
        return Ok(());
    }
    let found = sqlx::query(
        "with positions as (
             select distinct p.account, p.target, p.wallet, coalesce(i.current_asset, p.asset) as asset,
                 coalesce(i.ids, array[p.asset]) as ids, p.mode
             from unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::text[])
                 as p (account, target, wallet, asset, mode)
             left join poly_token_ids i on i.target_wallet = p.wallet and i.asset = p.asset)
         select f.billing_account_id, f.target_id, p.asset, f.mode, f.idempotency_key, f.side,
             (f.filled_shares * 1000000)::bigint as filled, f.is_final, f.created_at, f.position_lifecycle, o.per_share
         from positions p
         join poly_copy_trade_fills f on f.billing_account_id = p.account and f.target_id = p.target
             and f.asset = any(p.ids) and f.mode = p.mode
         left join lateral (select o.per_share from poly_token_outcomes o
             where o.target_wallet = p.wallet and o.asset = any(p.ids)
             order by o.resolved_at desc, o.per_share desc, o.condition_id desc limit 1) o on true
         where (f.filled_shares > 0 or (f.side = 'SELL' and not f.is_final) or f.position_lifecycle is not null)
             and (o.per_share is not null or exists (select 1 from poly_copy_trade_fills s
                 where s.billing_account_id = p.account and s.target_id = p.target and s.asset = any(p.ids)
                     and s.mode = p.mode and s.side = 'SELL'))",
    )
    .bind(positions.iter().map(|p| p.account.as_uuid()).collect::<Vec<_>>())
    .bind(positions.iter().map(|p| p.target.as_uuid()).collect::<Vec<_>>())
    .bind(positions.iter().map(|p| p.wallet.to_string()).collect::<Vec<_>>())
    .bind(positions.iter().map(|p| p.asset.as_str()).collect::<Vec<_>>())
    .bind(positions.iter().map(|p| p.mode.as_str()).collect::<Vec<_>>())
    .fetch_all(&mut *connection)
    .await
    .map_err(store_error)?;
    let mut parts: BTreeMap<PositionKey, Vec<(Part, Option<String>)>> = BTreeMap::new();
    let mut pays: BTreeMap<PositionKey, Usdc> = BTreeMap::new();
    for row in &found {
        let (position, part) = part_of(row)?;
        if let Some(each) = row.try_get::<Option<i64>, _>("per_share").map_err(store_error)? {
            pays.insert(position.clone(), Usdc::from_micro(each));
        }
        parts.entry(position).or_default().push(part);
    }
    let (mut accounts, mut keys, mut stand) = (Vec::new(), Vec::new(), Vec::new());
    for (position, of) in &parts {
        let account = position.0;
        let rows: Vec<Part> = of.iter().map(|(part, _)| part.clone()).collect();
        for ((part, was), now) in of.iter().zip(lifecycles(&rows, pays.get(position).copied())) {
            let now = now.map(Lifecycle::as_str);
            if was.as_deref() != now {
                accounts.push(account.as_uuid());
                keys.push(part.key.to_string());
                stand.push(now);
            }
        }
    }
    if keys.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "update poly_copy_trade_fills f set position_lifecycle = t.stands
         from unnest($1::uuid[], $2::text[], $3::text[]) as t (account, key, stands)
         where f.billing_account_id = t.account and f.idempotency_key = t.key",
    )
    .bind(accounts)
    .bind(keys)
    .bind(stand)
    .execute(connection)
    .await
    .map(drop)
    .map_err(store_error)
}

fn part_of(row: &PgRow) -> Result<(PositionKey, (Part, Option<String>)), StoreError> {
    let position = (
        BillingAccountId::from_uuid(row.try_get("billing_account_id").map_err(store_error)?),
        TargetId::from_uuid(row.try_get("target_id").map_err(store_error)?),
        word(row, "asset")?,
        word(row, "mode")?,
    );
    let Tz(created_at) = row.try_get("created_at").map_err(store_error)?;
    let part = Part {
        key: word(row, "idempotency_key")?,
        side: word(row, "side")?,
        filled: Shares::from_micro(row.try_get("filled").map_err(store_error)?),
        is_final: row.try_get("is_final").map_err(store_error)?,
        created_at,
    };
    Ok((position, (part, row.try_get("position_lifecycle").map_err(store_error)?)))
}

fn word<T: FromStr<Err = IdError>>(row: &PgRow, column: &str) -> Result<T, StoreError> {
    row.try_get::<&str, _>(column).map_err(store_error)?.parse().map_err(broken)
}
