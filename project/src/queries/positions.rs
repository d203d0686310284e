//! What the tenant's copies hold, by target, token and mode.

use futures_util::TryStreamExt;
use schemas::{
    Address, AssetId, BillingAccountId, ConditionId, Mode, Price, Shares, Side, TargetId, TargetRowId,
    Timestamp, Usdc,
};
use sqlx::{PgConnection, Row, postgres::PgRow};

use super::{QueryError, Where};
use crate::{
    core::pnl::{Pnl, Trade, Traded, Worth},
    pg::Tz,
};

/// Which positions.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PositionFilter {
    /// Of this followed wallet.
    pub wallet: Option<Address>,
    /// Of this token, by any of its ids.
    pub asset: Option<AssetId>,
    /// Of this condition.
    pub market: Option<ConditionId>,
    /// In this mode.
    pub mode: Option<Mode>,
    /// Those of which nothing is held any more, too.
    pub closed_too: bool,
}

/// Where a position stands in the list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PositionPlace {
    /// The followed wallet's id.
    pub target: TargetId,
    /// What is held, under its current id.
    pub asset: AssetId,
    /// Whether real money moves.
    pub mode: Mode,
}

/// What copies of one wallet bought and sold of one token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PositionRow {
    /// The followed wallet's id: positions go with it, whichever row followed it.
    pub target: TargetId,
    /// The row that copied last.
    pub target_row: TargetRowId,
    /// The followed wallet.
    pub wallet: Address,
    /// What is held, under its current id.
    pub asset: AssetId,
    /// The token's other ids, in order: orders keep the one under which they were made (`behaviour.md` 1, MIGRATION).
    pub also: Vec<AssetId>,
    /// Its condition.
    pub market: ConditionId,
    /// Whether real money moves.
    pub mode: Mode,
    /// What was bought and sold.
    pub traded: Traded,
    /// Fees paid on both.
    pub fees: Usdc,
    /// What is known of its token.
    pub worth: Worth,
    /// When an order of it last changed.
    pub changed_at: Timestamp,
}

impl PositionRow {
    /// Shares held.
    pub const fn held(&self) -> Shares {
        self.traded.bought.minus_or_zero(self.traded.sold)
    }

    /// What it won or lost so far.
    pub fn pnl(&self) -> Pnl {
        Pnl::of(self.traded, self.worth)
    }

    /// Where it stands in the list.
    pub fn place(&self) -> PositionPlace {
        PositionPlace { target: self.target, asset: self.asset.clone(), mode: self.mode }
    }

    fn of(row: &PgRow) -> Result<Self, QueryError> {
        let text = |column| row.try_get::<&str, _>(column);
        let micro = |column| row.try_get::<i64, _>(column);
        let Tz(changed_at) = row.try_get("changed_at")?;
        let asset: AssetId = text("asset")?.parse()?;
        let mut also = Vec::new();
        for id in row.try_get::<Vec<String>, _>("ids")? {
            if id != asset.as_str() {
                also.push(id.parse()?);
            }
        }
        let (shares, usdc): (Vec<i64>, Vec<i64>) = (row.try_get("shares")?, row.try_get("usdc")?);
        let trades = shares.into_iter().zip(usdc).map(|(shares, usdc)| Trade {
            side: if shares < 0 { Side::Sell } else { Side::Buy },
            shares: Shares::from_micro(shares.saturating_abs()),
            usdc: Usdc::from_micro(usdc),
        });
        Ok(Self {
            target: TargetId::from_uuid(row.try_get("target_id")?),
            target_row: TargetRowId::from_uuid(row.try_get("target_row_id")?),
            wallet: text("target_wallet")?.parse()?,
            asset,
            also,
            market: text("market_id")?.parse()?,
            mode: text("mode")?.parse()?,
            traded: Traded::of(trades),
            fees: Usdc::from_micro(micro("fees")?),
            worth: Worth {
                per_share: row.try_get::<Option<i64>, _>("per_share")?.map(Usdc::from_micro),
                marked: row.try_get("marked")?,
                best_bid: row.try_get::<Option<i64>, _>("best_bid")?.map(Price::from_micro),
            },
            changed_at,
        })
    }
}

/// Of the copies of a position, in the order in which they were first ordered: a sale sells what was bought before that. Those
/// of one moment are in the order of their fills.
macro_rules! each {
    ($amount:literal) => {
        concat!(
            "array_agg(((",
            $amount,
            ") * 1000000)::bigint order by created_at, observed_at, side, idempotency_key)"
        )
    };
}

/// The token of an order: its current id, and all of them.
const ASSET: &str = "coalesce(i.current_asset, f.asset)";
const IDS: &str = "coalesce(i.ids, array[f.asset])";

const POSITIONS: &str = concat!(
    "select f.target_id, f.target_wallet, coalesce(i.current_asset, f.asset) as asset,
         coalesce(i.ids, array[f.asset]) as ids, f.mode, max(market_id) as market_id, max(changed_at) as changed_at,
         (array_agg(target_row_id order by created_at desc, idempotency_key desc))[1] as target_row_id, ",
    each!("case side when 'BUY' then filled_shares else -filled_shares end"),
    " as shares, ",
    each!("filled_usdc"),
    " as usdc, (sum(fees_usdc) * 1000000)::bigint as fees
     from poly_copy_trade_fills f left join poly_token_ids i using (target_wallet, asset)"
);

/// What is known of the token: what it pays, whichever of its ids that was told of; what others pay for its current id, and, as
/// long as nobody has looked at that, what they last paid for another.
const WORTH: &str = "left join lateral (select per_share from poly_token_outcomes o
         where o.target_wallet = p.target_wallet and o.asset = any(p.ids)
         order by resolved_at desc, per_share desc, condition_id desc limit 1) o on true
     left join lateral (select best_bid, as_of from poly_token_marks m
         where m.target_wallet = p.target_wallet and m.asset = any(p.ids)
         order by m.asset = p.asset desc, as_of desc, coalesce(best_bid, -1) desc, coalesce(best_ask, -1) desc
         limit 1) m on true";

/// Up to `limit` positions of the account that pass the filter; those after a place, where one is given.
///
/// # Errors
/// The database.
pub async fn positions(
    connection: &mut PgConnection,
    account: BillingAccountId,
    filter: &PositionFilter,
    after: Option<PositionPlace>,
    limit: i64,
) -> Result<Vec<PositionRow>, QueryError> {
    let mut query = select(account, filter, after, limit);
    query.0.build().fetch_all(connection).await?.iter().map(PositionRow::of).collect()
}

/// Shows every position of the account that passes the filter, in the order of the list, one after another: there may be
/// more of them than anybody would hold.
///
/// # Errors
/// The database.
pub async fn each_position(
    connection: &mut PgConnection,
    account: BillingAccountId,
    filter: &PositionFilter,
    mut each: impl FnMut(PositionRow) + Send,
) -> Result<(), QueryError> {
    let mut query = select(account, filter, None, i64::MAX);
    let mut rows = query.0.build().fetch(connection);
    while let Some(row) = rows.try_next().await? {
        each(PositionRow::of(&row)?);
    }
    Ok(())
}

fn select(
    account: BillingAccountId,
    filter: &PositionFilter,
    after: Option<PositionPlace>,
    limit: i64,
) -> Where {
    let select =
        format!("select p.*, o.per_share, m.best_bid, m.as_of is not null as marked from ({POSITIONS}");
    let mut query = Where::of(&select, account);
    query.0.push(" and filled_shares > 0");
    query.and("target_wallet = ", filter.wallet.map(|wallet| wallet.to_string()));
    query.and(&format!("{IDS} @> "), filter.asset.as_ref().map(|asset| vec![asset.to_string()]));
    query.and("market_id = ", filter.market.map(|market| market.to_string()));
    query.and("mode = ", filter.mode.map(Mode::as_str));
    if let Some(place) = after {
        query.0.push(format!(" and (target_id, {ASSET}, mode) > ("));
        let mut values = query.0.separated(", ");
        values
            .push_bind(place.target.as_uuid())
            .push_bind(place.asset.to_string())
            .push_bind(place.mode.as_str());
        query.0.push(")");
    }
    query.0.push(format!(" group by f.target_id, f.target_wallet, {ASSET}, {IDS}, f.mode"));
    if !filter.closed_too {
        query.0.push(" having sum(case side when 'BUY' then filled_shares else -filled_shares end) > 0");
    }
    query.0.push(format!(" order by f.target_id, {ASSET}, f.mode limit ")).push_bind(limit);
    query.0.push(format!(") p {WORTH} order by p.target_id, p.asset, p.mode"));
    query
}
