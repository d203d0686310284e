//! What the copies won or lost.

use std::collections::BTreeMap;

use axum::{Json, extract::State as Extract};
use project::{
    pg::begin_as,
    queries::{self, PositionFilter, PositionPlace, PositionRow},
};
use schemas::{Address, AssetId, ConditionId, Mode, TargetRowId, Usdc};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{
    super::{
        State,
        shapes::{Asset, Decimal, Hex32, ModeWord, Wallet},
    },
    extract::{Answer, Caller, Params},
    page::{self, List},
};

/// What copies of one wallet won or lost on one token. Fees stand beside it, in none of the other figures.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct PnlBody {
    /// The row that copied last.
    #[schema(value_type = Uuid)]
    target: TargetRowId,
    /// The followed wallet.
    #[schema(value_type = Wallet)]
    wallet: Address,
    /// What was traded, under its current id.
    #[schema(value_type = Asset)]
    asset: AssetId,
    /// Its condition.
    #[schema(value_type = Hex32)]
    market: ConditionId,
    /// Whether real money moves.
    #[schema(value_type = ModeWord)]
    mode: Mode,
    /// Shares held.
    held_shares: Decimal,
    /// What these cost, at average cost; zero once the market has ended.
    cost_usdc: Decimal,
    /// What sales, and the end of the market, brought beyond the cost of what they were for.
    realised_usdc: Decimal,
    /// What the held shares would bring now at the best bid, beyond their cost. Null where nobody has looked yet; zero once
    /// the market has ended.
    unrealised_usdc: Option<Decimal>,
    /// What the held shares pay at the venue, once the market has ended.
    redeemable_usdc: Decimal,
    /// Fees paid.
    fees_usdc: Decimal,
}

impl From<PositionRow> for PnlBody {
    fn from(row: PositionRow) -> Self {
        let pnl = row.pnl();
        Self {
            target: row.target_row,
            wallet: row.wallet,
            asset: row.asset,
            market: row.market,
            mode: row.mode,
            held_shares: pnl.held.into(),
            cost_usdc: pnl.cost.into(),
            realised_usdc: pnl.realised.into(),
            unrealised_usdc: pnl.unrealised.map(Into::into),
            redeemable_usdc: pnl.redeemable.into(),
            fees_usdc: row.fees.into(),
        }
    }
}

/// All that passes the filters, in one mode: live, paper and simulated money are never added up.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct PnlTotal {
    /// Whether real money moves.
    #[schema(value_type = ModeWord)]
    mode: Mode,
    /// What the held shares cost.
    cost_usdc: Decimal,
    /// Realised.
    realised_usdc: Decimal,
    /// Unrealised, of the positions where it is known.
    unrealised_usdc: Decimal,
    /// Positions of which nobody has looked yet what others pay: they are missing in the figure above.
    #[schema(minimum = 0)]
    positions_without_price: u64,
    /// To be redeemed at the venue.
    redeemable_usdc: Decimal,
    /// Fees paid.
    fees_usdc: Decimal,
}

#[derive(Default)]
struct Sum {
    cost: Usdc,
    realised: Usdc,
    unrealised: Usdc,
    without_price: u64,
    redeemable: Usdc,
    fees: Usdc,
}

impl Sum {
    fn add(&mut self, row: &PositionRow) {
        let pnl = row.pnl();
        self.cost = self.cost.saturating_add(pnl.cost);
        self.realised = self.realised.saturating_add(pnl.realised);
        self.unrealised = self.unrealised.saturating_add(pnl.unrealised.unwrap_or_default());
        self.without_price += u64::from(pnl.unrealised.is_none());
        self.redeemable = self.redeemable.saturating_add(pnl.redeemable);
        self.fees = self.fees.saturating_add(row.fees);
    }
}

fn totals(sums: BTreeMap<Mode, Sum>) -> Vec<PnlTotal> {
    sums.into_iter()
        .map(|(mode, sum)| PnlTotal {
            mode,
            cost_usdc: sum.cost.into(),
            realised_usdc: sum.realised.into(),
            unrealised_usdc: sum.unrealised.into(),
            positions_without_price: sum.without_price,
            redeemable_usdc: sum.redeemable.into(),
            fees_usdc: sum.fees.into(),
        })
        .collect()
}

/// What was won or lost, position by position, and in all.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct PnlPage {
    /// Over everything that passes the filters, whatever the page shows.
    totals: Vec<PnlTotal>,
    /// By target, asset and mode; those that are closed too.
    items: Vec<PnlBody>,
    /// Where the next page begins; null on the last.
    next_cursor: Option<String>,
}

/// Which positions. Filters apply before the limit, and to the totals.
#[derive(Debug, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct PnlQuery {
    /// Of this followed wallet.
    #[param(value_type = Wallet, required = false)]
    wallet: Option<Address>,
    /// Of this asset.
    #[param(value_type = Asset, required = false)]
    asset: Option<AssetId>,
    /// Of this condition.
    #[param(value_type = Hex32, required = false)]
    market: Option<ConditionId>,
    /// In this mode.
    #[param(value_type = ModeWord, required = false)]
    mode: Option<Mode>,
    /// How many at once.
    #[param(value_type = u16, required = false, minimum = 1, maximum = 500, default = 50)]
    #[serde(skip_serializing)]
    limit: Option<u16>,
    /// `next_cursor` of the page before.
    #[param(value_type = String, required = false)]
    #[serde(skip_serializing)]
    cursor: Option<String>,
}

/// What the copies won or lost, realised and not, by target and token, and in all.
#[utoipa::path(
    get, path = "/api/v1/poly/copy-trade/pnl", tag = "copies", params(PnlQuery),
    responses((status = 200, body = PnlPage))
)]
pub(super) async fn show(
    Extract(state): Extract<State>,
    Caller(tenant, _turn): Caller,
    Params(query): Params<PnlQuery>,
) -> Answer<PnlPage> {
    let limit = page::limit(query.limit)?;
    let filters = page::filters(&query);
    let list = List { tenant, name: "pnl", filters: &filters };
    let after = match &query.cursor {
        None => None,
        Some(cursor) => {
            let place = list.place(cursor)?;
            let [target, asset, mode] = page::parts(&place)?;
            let (target, asset) = (page::part(target)?, page::part(asset)?);
            Some(PositionPlace { target, asset, mode: page::part(mode)? })
        }
    };
    let filter = PositionFilter {
        wallet: query.wallet,
        asset: query.asset,
        market: query.market,
        mode: query.mode,
        closed_too: true,
    };
    // One picture: the totals are those of the page's moment.
    let mut transaction = begin_as(state.accounts.pool(), tenant.user).await?;
    let account = tenant.account;
    let (mut sums, mut rows) = (BTreeMap::<Mode, Sum>::new(), Vec::new());
    let is_first = after.is_none();
    queries::each_position(&mut transaction, account, &filter, |row| {
        sums.entry(row.mode).or_default().add(&row);
        // One more than the page has shows whether there is a next.
        if is_first && rows.len() <= limit {
            rows.push(row);
        }
    })
    .await?;
    if !is_first {
        rows = queries::positions(&mut transaction, account, &filter, after, page::to_read(limit)).await?;
    }
    let next_cursor = page::cut(&mut rows, limit, |last| {
        let PositionPlace { target, asset, mode } = last.place();
        list.cursor(&format!("{target} {asset} {mode}"))
    });
    Ok(Json(PnlPage {
        totals: totals(sums),
        items: rows.into_iter().map(PnlBody::from).collect(),
        next_cursor,
    }))
}
