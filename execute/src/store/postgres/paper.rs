//! What the paper venue asks, in Postgres.

use async_trait::async_trait;
use schemas::{Address, AssetId, OrderId, Shares, Timestamp, Usdc};
use sqlx::Row;

use super::{PostgresStore, attempts, failed};
use crate::{
    core::Attempt,
    store::{PaperLedger, StoreError},
};

#[async_trait]
impl PaperLedger for PostgresStore {
    async fn paper_attempt(&self, id: OrderId) -> Result<Option<Attempt>, StoreError> {
        let found = sqlx::query(
            "select to_jsonb(o) - 'counted' from execution.orders o where order_id = $1 and mode = 'paper'",
        )
        .bind(id.to_string())
        .fetch_all(&self.pool)
        .await
        .map_err(failed)?;
        Ok(attempts(&found)?.pop())
    }

    async fn paper_attempts(
        &self,
        wallet: Address,
        asset: Option<&AssetId>,
        since: Option<Timestamp>,
    ) -> Result<Vec<Attempt>, StoreError> {
        let found = sqlx::query(
            "select to_jsonb(o) - 'counted' from execution.orders o
             join poly_wallet_connections c on c.id = o.connection_id
             where o.mode = 'paper' and c.address = $1 and ($2::text is null or o.asset = $2)
                 and ($3::bigint is null or o.created_at >= $3)
             order by o.created_at, o.idempotency_key, o.attempt",
        )
        .bind(wallet.to_string())
        .bind(asset.map(AssetId::as_str))
        .bind(since.map(Timestamp::micros))
        .fetch_all(&self.pool)
        .await
        .map_err(failed)?;
        attempts(&found)
    }

    async fn paper_cash(&self, wallet: Address) -> Result<Usdc, StoreError> {
        let found = sqlx::query(
            "select coalesce(sum(case o.side when 'SELL' then o.filled_usdc else -o.filled_usdc end - o.fees_usdc), 0)::bigint
             from execution.orders o join poly_wallet_connections c on c.id = o.connection_id
             where o.mode = 'paper' and c.address = $1",
        )
        .bind(wallet.to_string())
        .fetch_one(&self.pool)
        .await
        .map_err(failed)?;
        Ok(Usdc::from_micro(found.try_get(0).map_err(failed)?))
    }

    async fn paper_shares(&self, wallet: Address, asset: &AssetId) -> Result<Shares, StoreError> {
        let found = sqlx::query(
            "select coalesce(sum(case o.side when 'SELL' then -o.filled_shares else o.filled_shares end), 0)::bigint
             from execution.orders o join poly_wallet_connections c on c.id = o.connection_id
             where o.mode = 'paper' and c.address = $1 and o.held_as = $2",
        )
        .bind(wallet.to_string())
        .bind(asset.as_str())
        .fetch_one(&self.pool)
        .await
        .map_err(failed)?;
        Ok(Shares::from_micro(found.try_get(0).map_err(failed)?))
    }
}
