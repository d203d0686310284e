//! What the paper venue answers: the port of a real one, the ledger in place of its books, and no socket.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use schemas::{AssetId, ConditionId, OrderId, Shares, Side, SignatureType, Timestamp, Usdc};
use venue::{
    VenueError,
    outcome::{Accepted, CancelOutcome, NotCancelled, OrderLookup, RejectCause, SubmitOutcome},
    port::{BalanceOf, Exchange, OpenOrdersQuery, OwnTradesQuery},
    signing::ApiCreds,
    wire::{BalanceAllowance, ClobOrderStatus, ClobTrade, Listing, Literal, OrderRow, PlacedStatus},
};

use super::order::{PaperOrder, order_of};
use crate::{
    core::Attempt,
    store::{PaperLedger, StoreError},
};

/// What a paper wallet begins with.
pub const PAPER_BALANCE: Usdc = Usdc::from_units(10_000);

/// How long to come back after where the ledger does not answer.
const COME_BACK: Duration = Duration::from_secs(1);

/// The paper venue, over the ledger whose orders it fills.
#[derive(Clone)]
pub struct PaperVenue {
    ledger: Arc<dyn PaperLedger>,
    begins_with: Usdc,
}

impl std::fmt::Debug for PaperVenue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PaperVenue").field("begins_with", &self.begins_with).finish_non_exhaustive()
    }
}

impl PaperVenue {
    /// Each wallet begins with [`PAPER_BALANCE`].
    pub fn new(ledger: Arc<dyn PaperLedger>) -> Self {
        Self { ledger, begins_with: PAPER_BALANCE }
    }

    /// The orders of a wallet in a token, or in all of them, that landed since a moment.
    async fn landed(
        &self,
        creds: &ApiCreds,
        query: (Option<&AssetId>, Option<ConditionId>, Option<Timestamp>),
    ) -> Result<Vec<Attempt>, StoreError> {
        let (asset, condition, since) = query;
        let all = self.ledger.paper_attempts(creds.address(), asset, since).await?;
        let of_it = |a: &Attempt| condition.is_none_or(|c| c == a.condition_id);
        Ok(all.into_iter().filter(|a| of_it(a) && PaperOrder::of(a).is_some_and(|o| o.landed())).collect())
    }
}

fn refused(message: &str, cause: RejectCause) -> SubmitOutcome {
    SubmitOutcome::Rejected { message: message.to_owned(), cause }
}

fn not_cancelled(message: &str) -> CancelOutcome {
    CancelOutcome::NotCancelled { cause: NotCancelled::of(message), message: message.to_owned() }
}

fn unreachable(path: &str) -> impl FnOnce(StoreError) -> VenueError {
    move |error| VenueError::Unreachable { path: path.to_owned(), why: error.to_string() }
}

fn accepted(order: &PaperOrder<'_>, side: Side, now: Timestamp) -> Accepted {
    let status = match order.status(now) {
        ClobOrderStatus::Matched => PlacedStatus::Matched,
        _ => PlacedStatus::Live,
    };
    let (shares, dollars) = (order.matched().to_string(), order.dollars().to_string());
    let (making, taking) = match side {
        Side::Buy => (dollars, shares),
        Side::Sell => (shares, dollars),
    };
    Accepted {
        order_id: order.id(),
        status,
        making: Literal::new(making),
        taking: Literal::new(taking),
        trade_ids: order.trades().into_iter().map(|trade| trade.id).collect(),
    }
}

#[async_trait]
impl Exchange for PaperVenue {
    async fn post_order(&self, body: &[u8], id: OrderId, _: &ApiCreds, now: Timestamp) -> SubmitOutcome {
        let attempt = match self.ledger.paper_attempt(id).await {
            Ok(Some(attempt)) if attempt.body.as_ref().is_some_and(|b| b.0 == body) => attempt,
            Ok(_) => return refused("these are not the bytes that were committed", RejectCause::Other),
            // Nothing was done: a post is only read.
            Err(error) => {
                let (status, after, why) = (503, Some(COME_BACK), error.to_string());
                return SubmitOutcome::RetryLater { status, after, why };
            }
        };
        match PaperOrder::of(&attempt) {
            Some(order) if order.landed() => SubmitOutcome::AlreadyLanded,
            Some(order) if order.finds_nothing() => {
                refused("no orders found to match with FAK order", RejectCause::NothingToTake)
            }
            Some(order) => SubmitOutcome::Accepted(accepted(&order, attempt.side, now)),
            None => refused("this is no order", RejectCause::Other),
        }
    }

    async fn order(&self, id: OrderId, _: &ApiCreds, now: Timestamp) -> OrderLookup {
        match self.ledger.paper_attempt(id).await {
            Ok(Some(attempt)) => match PaperOrder::of(&attempt).filter(PaperOrder::landed) {
                Some(order) => OrderLookup::Found(Box::new(order.row(now))),
                None => OrderLookup::NotFound,
            },
            Ok(None) => OrderLookup::NotFound,
            Err(error) => OrderLookup::Unknown { why: error.to_string() },
        }
    }

    async fn cancel(&self, id: OrderId, _: &ApiCreds, now: Timestamp) -> CancelOutcome {
        let attempt = match self.ledger.paper_attempt(id).await {
            Ok(attempt) => attempt,
            Err(error) => return CancelOutcome::Unknown { why: error.to_string() },
        };
        match attempt.as_ref().and_then(PaperOrder::of).filter(PaperOrder::landed).map(|o| o.status(now)) {
            // That it was asked for stands in the ledger: it is cancelled since then.
            Some(ClobOrderStatus::Live | ClobOrderStatus::Canceled) => CancelOutcome::Cancelled,
            Some(ClobOrderStatus::Matched) => not_cancelled("Order already matched"),
            _ => not_cancelled("Order not found or already canceled"),
        }
    }

    async fn own_trades(
        &self,
        query: &OwnTradesQuery,
        creds: &ApiCreds,
        _: Timestamp,
    ) -> Result<Listing<ClobTrade>, VenueError> {
        let attempts = match query.id.as_deref() {
            Some(id) => match order_of(id) {
                Some(order) => self.ledger.paper_attempt(order).await.map(|a| a.into_iter().collect()),
                None => Ok(Vec::new()),
            },
            None => self.landed(creds, (query.asset.as_ref(), query.condition, query.after)).await,
        };
        let trades = attempts
            .map_err(unreachable("/data/trades"))?
            .iter()
            .filter_map(PaperOrder::of)
            .filter(PaperOrder::landed)
            .flat_map(|order| order.trades())
            .filter(|trade| {
                query.id.as_ref().is_none_or(|id| *id == trade.id)
                    && query.before.is_none_or(|at| trade.match_time.is_some_and(|m| m < at))
            })
            .collect();
        Ok(Listing::whole(trades))
    }

    async fn open_orders(
        &self,
        query: &OpenOrdersQuery,
        creds: &ApiCreds,
        now: Timestamp,
    ) -> Result<Listing<OrderRow>, VenueError> {
        let all = self.landed(creds, (query.asset.as_ref(), query.condition, None)).await;
        let rows = all
            .map_err(unreachable("/data/orders"))?
            .iter()
            .filter_map(PaperOrder::of)
            .filter(|order| order.status(now) == ClobOrderStatus::Live)
            .map(|order| order.row(now))
            .collect();
        Ok(Listing::whole(rows))
    }

    async fn balance_allowance(
        &self,
        of: &BalanceOf,
        _: SignatureType,
        creds: &ApiCreds,
        _: Timestamp,
    ) -> Result<BalanceAllowance, VenueError> {
        let wallet = creds.address();
        let units = match of {
            BalanceOf::Collateral => self
                .ledger
                .paper_cash(wallet)
                .await
                .map(|moved| self.begins_with.saturating_add(moved).micro()),
            BalanceOf::Token { asset, .. } => {
                self.ledger.paper_shares(wallet, asset).await.map(Shares::micro)
            }
        };
        let units = units.map_err(unreachable("/balance-allowance"))?;
        Ok(BalanceAllowance {
            balance: Literal::new(units.max(0).to_string()),
            allowance: Literal::new(i64::MAX.to_string()),
            ..BalanceAllowance::default()
        })
    }
}
