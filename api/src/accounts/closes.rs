//! Positions that a tenant asks to be sold, without the leader (`behaviour.md` 4).

use project::pg::Tz;
use schemas::{
    Address, AssetId, FillId, IdempotencyKey, TargetId, TargetRowId, Timestamp, events::CloseRequested,
    topics::Topic,
};
use sqlx::{PgConnection, Row};
use uuid::Uuid;

use super::{AccountError, Accounts, Entry, Tenant, targets, tell};

/// A request to sell a position.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Close {
    /// Names the request, of which an account has one.
    pub request_id: String,
    /// The target whose position it is.
    pub target: TargetRowId,
    /// The followed wallet.
    pub wallet: Address,
    /// What to sell.
    pub asset: AssetId,
    /// The key of the decision and of the orders that come of it.
    pub key: IdempotencyKey,
    /// When it was first asked.
    pub requested_at: Timestamp,
}

/// A request is made once and never changes.
pub const CLOSE_REVISION: i64 = 1;

impl Accounts {
    /// Asks for a position to be sold. The same request again changes nothing.
    ///
    /// Without a target it is the one that holds the asset, as far as the tables built from the log know.
    ///
    /// # Errors
    /// No such target, or none that holds the asset; several that do; a name that is none, or that names another
    /// request.
    pub async fn position_close(
        &self,
        tenant: Tenant,
        request_id: &str,
        target: Option<TargetRowId>,
        asset: &AssetId,
    ) -> Result<Close, AccountError> {
        if !is_request_id(request_id) {
            return Err(AccountError::RequestIdInvalid);
        }
        let mut transaction = self.hold(tenant).await?;
        if let Some(there) = find(&mut transaction, tenant, request_id).await? {
            let same = there.asset == *asset && target.is_none_or(|row| row == there.target);
            return if same { Ok(there) } else { Err(AccountError::RequestIdReused) };
        }
        let row = match target {
            Some(row) => row,
            None => holder(&mut transaction, tenant, asset).await?,
        };
        let target = targets::one(&mut transaction, tenant, row).await?;
        let requested_at = self.clock.now();
        let close = close(request_id.to_owned(), row, target.wallet, asset.clone(), requested_at)?;
        sqlx::query(
            "insert into poly_close_requests (billing_account_id, request_id, target_row_id, asset, requested_at)
             values ($1, $2, $3, $4, $5)",
        )
        .bind(tenant.account.as_uuid())
        .bind(request_id)
        .bind(row.as_uuid())
        .bind(asset.as_str())
        .bind(Tz(requested_at))
        .execute(&mut *transaction)
        .await?;
        let request = CloseRequested {
            request_id: close.request_id.clone(),
            target_row_id: row,
            billing_account_id: tenant.account,
            wallet: close.wallet,
            asset: close.asset.clone(),
            requested_at,
        };
        let entry = Entry {
            id: self.chance.uuid(),
            account: Some(tenant.account),
            topic: Topic::Targets,
            key: close.wallet.to_string(),
            subject: &format!("close:{}:{request_id}", tenant.account),
            revision: CLOSE_REVISION,
            at: requested_at,
        };
        tell(&mut transaction, &self.codec, entry, &request).await?;
        transaction.commit().await?;
        Ok(close)
    }
}

/// Its cause id is `manual:<request>:<asset>`: no colon may stand in it.
fn is_request_id(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
}

fn close(
    request_id: String,
    target: TargetRowId,
    wallet: Address,
    asset: AssetId,
    requested_at: Timestamp,
) -> Result<Close, AccountError> {
    let cause: FillId = format!("manual:{request_id}:{asset}").parse()?;
    let key = IdempotencyKey::of(TargetId::of_wallet(wallet), &cause);
    Ok(Close { request_id, target, wallet, asset, key, requested_at })
}

async fn find(
    connection: &mut PgConnection,
    tenant: Tenant,
    request_id: &str,
) -> Result<Option<Close>, AccountError> {
    let row = sqlx::query(
        "select r.request_id, r.target_row_id, t.target_wallet, r.asset, r.requested_at
         from poly_close_requests r join poly_copy_trade_targets t on t.id = r.target_row_id
         where r.billing_account_id = $1 and r.request_id = $2",
    )
    .bind(tenant.account.as_uuid())
    .bind(request_id)
    .fetch_optional(connection)
    .await?;
    let Some(row) = row else { return Ok(None) };
    let Tz(requested_at) = row.try_get("requested_at")?;
    let wallet = row.try_get::<&str, _>("target_wallet")?.parse()?;
    let asset = row.try_get::<&str, _>("asset")?.parse()?;
    let target = TargetRowId::from_uuid(row.try_get("target_row_id")?);
    close(row.try_get("request_id")?, target, wallet, asset, requested_at).map(Some)
}

/// The one target whose copies hold the asset, under whichever of its token's ids they bought it. Positions go with the wallet and the mode: of several rows of one
/// wallet it is the one that is followed, else the newest.
async fn holder(
    connection: &mut PgConnection,
    tenant: Tenant,
    asset: &AssetId,
) -> Result<TargetRowId, AccountError> {
    let rows: Vec<Uuid> = sqlx::query_scalar(
        "select (select t.id from poly_copy_trade_targets t
             where t.billing_account_id = $1 and t.target_wallet = held.target_wallet and t.mode = held.mode
             order by t.status = 'removed', t.created_at desc limit 1)
         from (select target_wallet, mode
             from poly_copy_trade_fills f left join poly_token_ids i using (target_wallet, asset)
             where billing_account_id = $1 and coalesce(i.ids, array[f.asset]) @> array[$2] and filled_shares > 0
             group by target_wallet, mode
             having sum(case side when 'BUY' then filled_shares else -filled_shares end) > 0) held",
    )
    .bind(tenant.account.as_uuid())
    .bind(asset.as_str())
    .fetch_all(connection)
    .await?;
    match rows.as_slice() {
        [] => Err(AccountError::NotFound("position")),
        [row] => Ok(TargetRowId::from_uuid(*row)),
        _ => Err(AccountError::PositionAmbiguous),
    }
}
