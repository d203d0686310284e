//! Under which ids tokens go on, into rows.

use std::collections::BTreeSet;

use schemas::{Address, Migrated};
use sqlx::{PgConnection, Row};

use super::{StoreError, broken, store_error};
use crate::core::token::{Link, TokenKey};

/// Keeps what is news; gives every id of the tokens that it is news of.
pub(super) async fn keep(
    connection: &mut PgConnection,
    links: &[Link],
) -> Result<BTreeSet<TokenKey>, StoreError> {
    if links.is_empty() {
        return Ok(BTreeSet::new());
    }
    let wallets: BTreeSet<Address> = links.iter().map(|link| link.wallet).collect();
    let mut migrated = known(connection, &wallets).await?;
    let mut news = BTreeSet::new();
    for Link { wallet, from, to } in links {
        if migrated.goes_on(*wallet, from, to).is_some() {
            news.extend(migrated.ids(*wallet, to).into_iter().map(|id| (*wallet, id)));
        }
    }
    if news.is_empty() {
        return Ok(news);
    }
    let ids = |(wallet, asset): &TokenKey| {
        let ids: Vec<String> = migrated.ids(*wallet, asset).iter().map(ToString::to_string).collect();
        ids.join(" ")
    };
    sqlx::query(
        "insert into poly_token_ids (target_wallet, asset, current_asset, ids)
         select wallet, asset, current, string_to_array(ids, ' ')
         from unnest($1::text[], $2::text[], $3::text[], $4::text[]) as t (wallet, asset, current, ids)
         on conflict (target_wallet, asset) do update
         set current_asset = excluded.current_asset, ids = excluded.ids",
    )
    .bind(news.iter().map(|(wallet, _)| wallet.to_string()).collect::<Vec<_>>())
    .bind(news.iter().map(|(_, asset)| asset.to_string()).collect::<Vec<_>>())
    .bind(news.iter().map(|(wallet, asset)| migrated.current(*wallet, asset).to_string()).collect::<Vec<_>>())
    .bind(news.iter().map(ids).collect::<Vec<_>>())
    .execute(connection)
    .await
    .map_err(store_error)?;
    Ok(news)
}

async fn known(connection: &mut PgConnection, of: &BTreeSet<Address>) -> Result<Migrated, StoreError> {
    let rows = sqlx::query(
        "select target_wallet, asset, current_asset from poly_token_ids where target_wallet = any($1)",
    )
    .bind(of.iter().map(ToString::to_string).collect::<Vec<_>>())
    .fetch_all(connection)
    .await
    .map_err(store_error)?;
    rows.iter()
        .map(|row| {
            let text = |column: &str| row.try_get::<&str, _>(column).map_err(store_error);
            let wallet = text("target_wallet")?.parse().map_err(broken)?;
            let asset = text("asset")?.parse().map_err(broken)?;
            Ok(((wallet, asset), text("current_asset")?.parse().map_err(broken)?))
        })
        .collect()
}
