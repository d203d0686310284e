//! What the venue says of one order: its row, and the trades that it made.

use std::time::Duration;

use schemas::{OrderId, Shares};
use venue::{
    outcome::OrderLookup,
    port::{Exchange, OwnTradesQuery},
    signing::ApiCreds,
    wire::{ClobOrderStatus, ClobTrade, OrderRow},
};

use super::{desk::Desk, limits::Route};
use crate::core::{Attempt, fills::Fills, follow::Class, transition::Seen};

/// Pages of trades that are read for one order, at most.
const PAGES: usize = 10;
/// How far the venue's clock may be from ours.
const CLOCKS_DIFFER: Duration = Duration::from_secs(60);
/// Orders with more trades than this are read by token instead of one by one.
const TRADES_BY_ID: usize = 6;

/// What the venue says of an order.
pub enum View {
    /// It knows it.
    Known(Seen),
    /// It does not know it.
    Absent,
    /// There is no answer to rely on.
    NoAnswer,
}

/// Who asks: which order, of whom, with what right to the venue's time.
#[derive(Clone, Copy)]
struct Asking<'a> {
    desk: &'a Desk,
    attempt: &'a Attempt,
    exchange: &'a dyn Exchange,
    creds: &'a ApiCreds,
    class: Class,
}

/// Asks. An urgent question waits for its turn here; one about a resting order was given its turn before.
pub async fn view(desk: &Desk, attempt: &Attempt, class: Class, creds: &ApiCreds) -> View {
    let (Some(id), Some(exchange)) = (attempt.order_id, desk.stage.venues.exchange(attempt.mode)) else {
        return View::NoAnswer;
    };
    if class == Class::Urgent {
        desk.stage.venues.limits().wait(Route::Order, class, &*desk.stage.clock).await;
    }
    let asking = Asking { desk, attempt, exchange: &**exchange, creds, class };
    match exchange.order(id, creds, desk.stage.clock.now()).await {
        OrderLookup::Found(row) => asking.known(&row).await,
        OrderLookup::NotFound => View::Absent,
        OrderLookup::Blank => asking.blank(id).await,
        OrderLookup::Unknown { why } | OrderLookup::RetryLater { why, .. } => {
            tracing::debug!(order = %id, %why, "no answer about an order");
            View::NoAnswer
        }
    }
}

impl Asking<'_> {
    async fn known(self, row: &OrderRow) -> View {
        let Self { desk, attempt, .. } = self;
        let matched = match row.sizes(attempt.shares) {
            Ok((_, matched)) => matched,
            Err(error) => {
                tracing::error!(order = %row.id, %error, "an order cannot be read");
                desk.stage.board.trouble("order_unreadable");
                return View::NoAnswer;
            }
        };
        let mut trades = Vec::new();
        if matched.is_positive() || row.status == ClobOrderStatus::Matched {
            // Half a list of trades would look like fills that went away: all of them, or no answer.
            match self.trades(&row.associate_trades).await {
                Some(list) => trades = list,
                None => return View::NoAnswer,
            }
        }
        self.summed(row.status.clone(), matched, &trades)
    }

    /// Old answers are empty for orders that do not exist and for filled ones alike: its trades tell.
    async fn blank(self, id: OrderId) -> View {
        match self.trades(&[]).await {
            Some(trades) if trades.iter().any(|t| t.part_of(id).is_some()) => {
                self.summed(ClobOrderStatus::Matched, Shares::ZERO, &trades)
            }
            Some(_) => View::Absent,
            None => View::NoAnswer,
        }
    }

    fn summed(self, status: ClobOrderStatus, matched: Shares, trades: &[ClobTrade]) -> View {
        let Self { desk, attempt, .. } = self;
        match Fills::of(attempt, matched, trades) {
            Ok(fills) => View::Known(Seen { status, matched, fills }),
            Err(error) => {
                tracing::error!(order = ?attempt.order_id, %error, "the trades of an order cannot be read");
                desk.stage.board.trouble("order_unreadable");
                View::NoAnswer
            }
        }
    }

    /// The trades of an order; `None` where they could not all be read.
    async fn trades(self, ids: &[String]) -> Option<Vec<ClobTrade>> {
        let Self { desk, attempt, exchange, creds, class } = self;
        let stage = &desk.stage;
        let queries: Vec<OwnTradesQuery> = if ids.is_empty() || ids.len() > TRADES_BY_ID {
            // The venue's clock is not ours: a minute earlier, to be sure.
            vec![OwnTradesQuery {
                asset: Some(attempt.asset.clone()),
                condition: Some(attempt.condition_id),
                after: Some(attempt.created_at.minus(CLOCKS_DIFFER)),
                ..OwnTradesQuery::default()
            }]
        } else {
            ids.iter()
                .map(|id| OwnTradesQuery { id: Some(id.clone()), ..OwnTradesQuery::default() })
                .collect()
        };
        let mut trades = Vec::new();
        for mut query in queries {
            for page in 0.. {
                stage.venues.limits().wait(Route::Trades, class, &*stage.clock).await;
                let listing = match exchange.own_trades(&query, creds, stage.clock.now()).await {
                    Ok(listing) => listing,
                    Err(error) => {
                        tracing::debug!(order = ?attempt.order_id, %error, "no trades of an order");
                        return None;
                    }
                };
                let next = listing.next().map(str::to_owned);
                trades.extend(listing.data);
                match next {
                    Some(cursor) if page < PAGES => query.cursor = Some(cursor),
                    // More than that are other orders' trades: what this one's are is not known.
                    Some(_) => return None,
                    None => break,
                }
            }
        }
        Some(trades)
    }
}
