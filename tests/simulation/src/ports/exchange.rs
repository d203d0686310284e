//! The venue behind a network: requests travel, get lost, arrive late or twice, and go on their way whatever becomes of
//! whoever sent them. Answers are read by our client's own words.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use execute::KeyIssuer;
use schemas::{AssetId, ConditionId, OrderId, SignatureType, Timestamp};
use simulator::{Handle, Local};
use venue::{
    VenueError,
    outcome::{Answer, CancelOutcome, OrderLookup, SubmitOutcome, of_lookup, of_submit},
    port::{
        ActivityQuery, BalanceOf, Exchange, MarketData, OpenOrdersQuery, OwnTradesQuery, PositionsQuery,
        TradesQuery,
    },
    signing::{ApiCreds, LocalSigner},
    wire::{
        ActivityRow, BalanceAllowance, Book, ClobMarket, ClobTrade, GammaMarket, Listing, OrderRow,
        PositionRow, ResolutionRow, Rows, TradeRow,
    },
};

use super::{Place, at_once};
use crate::{
    fate::{self, Call},
    oracle::Judge,
};

/// What one way takes, in microseconds.
const TAKES: u64 = 60_000;
/// How long a client waits for an answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// The network: what is on its way.
#[derive(Debug, Clone, Default)]
pub struct Network(Arc<AtomicUsize>);

impl Network {
    /// Requests that have not arrived yet.
    pub fn on_their_way(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

/// The venue, as one place sees it.
#[derive(Clone)]
pub struct SimVenue {
    handle: Handle,
    local: Local,
    place: Place,
    judge: Arc<Judge>,
    network: Network,
}

fn error(status: u16, words: &str, retry_after: Option<u64>) -> Answer {
    let body = format!(r#"{{"error":"{words}"}}"#).into_bytes();
    Answer { status, retry_after: retry_after.map(Duration::from_secs), body }
}

fn silence(path: &str) -> VenueError {
    VenueError::TimedOut { path: path.to_owned() }
}

impl SimVenue {
    /// The venue for a place.
    pub fn new(handle: Handle, place: Place, judge: Arc<Judge>, network: Network) -> Self {
        let local = handle.local();
        Self { handle, local, place, judge, network }
    }

    /// Something arrives at the venue after a while, whatever becomes of who sent it.
    fn deliver<T: Send + 'static>(
        &self,
        call: &Call,
        after: Duration,
        arrive: impl FnOnce() -> T + Send + 'static,
    ) -> Arc<Mutex<Option<T>>> {
        let answer = Arc::new(Mutex::new(None));
        let (slot, network) = (answer.clone(), self.network.clone());
        network.0.fetch_add(1, Ordering::Relaxed);
        call.agenda().after(after, move || {
            network.0.fetch_sub(1, Ordering::Relaxed);
            let said = arrive();
            *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(said);
        });
        answer
    }

    /// A request there and its answer back; `None` where there is none in time.
    async fn ask<T: Send + 'static>(
        &self,
        call: &Call,
        arrive: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        let (there, back) = (call.takes("there", TAKES), call.takes("back", TAKES));
        let answer = self.deliver(call, there, arrive);
        let takes = (there + back).max(there + Duration::from_micros(1));
        call.agenda().sleep(takes.min(PATIENCE)).await;
        answer.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// A question that changes nothing.
    async fn public<T: Send + 'static>(
        &self,
        path: &'static str,
        arrive: impl FnOnce(Local) -> Result<T, VenueError> + Send + 'static,
    ) -> Result<T, VenueError> {
        let call = self.place.call(path);
        if call.meets(fate::DATA_LOST) {
            call.agenda().sleep(PATIENCE).await;
            return Err(silence(path));
        }
        let local = self.local.clone();
        self.ask(&call, move || arrive(local)).await.unwrap_or_else(|| Err(silence(path)))
    }
}

/// Faults of a post that keep it from taking effect.
const NO_EFFECT: [&str; 6] =
    [fate::POST_LOST, fate::POST_500, fate::POST_CANCELED, fate::POST_425, fate::POST_429, fate::POST_503];
/// Faults of a post that was taken.
const TAKEN: [&str; 7] = [
    fate::POST_LIED,
    fate::POST_UNHEARD,
    fate::POST_LATE,
    fate::POST_500_TAKEN,
    fate::POST_CANCELED_TAKEN,
    fate::POST_503_TAKEN,
    fate::POST_GARBLED,
];

#[async_trait]
impl Exchange for SimVenue {
    async fn post_order(&self, body: &[u8], id: OrderId, creds: &ApiCreds, now: Timestamp) -> SubmitOutcome {
        let call = self.place.call("post");
        call.tell(|| format!("order {}", crate::oracle::short(id)));
        self.judge.sent(self.place.name, id, body, now);
        let fault = call.first_of(&NO_EFFECT).or_else(|| call.first_of(&TAKEN));
        let mut dice = call.dice("details");
        let retry_after = Some(dice.between(1, 12));
        let nothing = match fault {
            Some(fate::POST_LOST) => Some(None),
            Some(fate::POST_500) => Some(Some(error(500, "could not insert order", None))),
            Some(fate::POST_CANCELED) => Some(Some(error(400, "context canceled", None))),
            Some(fate::POST_425) => Some(Some(error(425, "service not ready", None))),
            Some(fate::POST_429) => {
                let after = retry_after.filter(|_| dice.permille(500));
                Some(Some(error(429, "rate limit exceeded", after)))
            }
            Some(fate::POST_503) => Some(Some(error(503, "Trading is currently disabled", retry_after))),
            _ => None,
        };
        if let Some(answer) = nothing {
            let takes = call.takes("there", TAKES) + call.takes("back", TAKES);
            call.agenda().sleep(if answer.is_some() { takes } else { PATIENCE }).await;
            return match answer {
                Some(answer) => of_submit(&answer, id),
                None => SubmitOutcome::Unknown { why: "no answer in time".to_owned() },
            };
        }
        let fails = call.meets(fate::TRADES_FAIL);
        let hold = if call.meets(fate::DELAYED) { dice.between(50, 4_000) } else { 0 };
        let arrive = {
            let (handle, local, judge) = (self.handle.clone(), self.local.clone(), self.judge.clone());
            let (body, creds) = (body.to_vec(), creds.clone());
            move || {
                handle.switch(|s| {
                    s.fail_orders = u32::from(fails);
                    s.hold_millis = u32::try_from(hold).unwrap_or(0);
                });
                let outcome = at_once(local.post_order(&body, id, &creds, now));
                handle.switch(|s| (s.fail_orders, s.hold_millis) = (0, 0));
                judge.arrived(id, &outcome);
                outcome
            }
        };
        if call.meets(fate::POST_TWICE) {
            let again = arrive.clone();
            drop(self.deliver(&call, Duration::from_millis(dice.between(1, 20_000)), again));
        }
        if fault == Some(fate::POST_LATE) {
            drop(self.deliver(&call, PATIENCE + Duration::from_secs(dice.between(1, 150)), arrive));
            call.agenda().sleep(PATIENCE).await;
            return SubmitOutcome::Unknown { why: "no answer in time".to_owned() };
        }
        if fault == Some(fate::POST_LIED) {
            self.judge.lied(id);
            drop(self.deliver(&call, Duration::from_millis(dice.between(1, 90_000)), arrive));
            call.way("back", TAKES).await;
            return of_submit(&error(400, "the market is not yet ready to process new orders", None), id);
        }
        let answer = self.ask(&call, arrive).await;
        match (fault, answer) {
            (Some(fate::POST_UNHEARD), _) | (_, None) => {
                SubmitOutcome::Unknown { why: "no answer in time".to_owned() }
            }
            (Some(fate::POST_500_TAKEN), _) => of_submit(&error(500, "could not insert order", None), id),
            (Some(fate::POST_CANCELED_TAKEN), _) => of_submit(&error(400, "context canceled", None), id),
            (Some(fate::POST_503_TAKEN), _) => {
                of_submit(&error(503, "Trading is currently disabled", None), id)
            }
            (Some(fate::POST_GARBLED), _) => {
                of_submit(&Answer { status: 200, retry_after: None, body: b"<html>".to_vec() }, id)
            }
            (_, Some(outcome)) => outcome,
        }
    }

    async fn order(&self, id: OrderId, creds: &ApiCreds, now: Timestamp) -> OrderLookup {
        let call = self.place.call("order");
        if call.meets(fate::LOOKUP_LOST) {
            call.agenda().sleep(PATIENCE).await;
            return OrderLookup::Unknown { why: "no answer in time".to_owned() };
        }
        if call.meets(fate::LOOKUP_429) {
            call.way("back", TAKES).await;
            return of_lookup(&error(429, "rate limit exceeded", Some(2)), id);
        }
        let behind = call.meets(fate::LOOKUP_BEHIND);
        let (local, creds, judge) = (self.local.clone(), creds.clone(), self.judge.clone());
        let arrive = move || {
            if behind && judge.is_new(id) {
                OrderLookup::NotFound
            } else {
                at_once(local.order(id, &creds, now))
            }
        };
        let answer = self.ask(&call, arrive).await;
        answer.unwrap_or_else(|| OrderLookup::Unknown { why: "no answer in time".to_owned() })
    }

    async fn cancel(&self, id: OrderId, creds: &ApiCreds, now: Timestamp) -> CancelOutcome {
        let call = self.place.call("cancel");
        let unknown = || CancelOutcome::Unknown { why: "no answer in time".to_owned() };
        if call.meets(fate::CANCEL_LOST) {
            call.agenda().sleep(PATIENCE).await;
            return unknown();
        }
        let unheard = call.meets(fate::CANCEL_UNHEARD);
        let (local, creds) = (self.local.clone(), creds.clone());
        match self.ask(&call, move || at_once(local.cancel(id, &creds, now))).await {
            Some(outcome) if !unheard => outcome,
            _ => unknown(),
        }
    }

    async fn own_trades(
        &self,
        query: &OwnTradesQuery,
        creds: &ApiCreds,
        now: Timestamp,
    ) -> Result<Listing<ClobTrade>, VenueError> {
        let call = self.place.call("own_trades");
        let path = "/data/trades";
        if call.meets(fate::TRADES_LOST) {
            call.agenda().sleep(PATIENCE).await;
            return Err(silence(path));
        }
        let (local, creds, query) = (self.local.clone(), creds.clone(), query.clone());
        let answer = self.ask(&call, move || at_once(local.own_trades(&query, &creds, now))).await;
        answer.unwrap_or_else(|| Err(silence(path)))
    }

    async fn open_orders(
        &self,
        query: &OpenOrdersQuery,
        creds: &ApiCreds,
        now: Timestamp,
    ) -> Result<Listing<OrderRow>, VenueError> {
        let (creds, query) = (creds.clone(), query.clone());
        self.public("/data/orders", move |local| at_once(local.open_orders(&query, &creds, now))).await
    }

    async fn balance_allowance(
        &self,
        of: &BalanceOf,
        kind: SignatureType,
        creds: &ApiCreds,
        now: Timestamp,
    ) -> Result<BalanceAllowance, VenueError> {
        let (of, creds) = (of.clone(), creds.clone());
        let ask = move |local: Local| at_once(local.balance_allowance(&of, kind, &creds, now));
        self.public("/balance-allowance", ask).await
    }
}

#[async_trait]
impl KeyIssuer for SimVenue {
    async fn api_key(&self, key: &LocalSigner, _: Timestamp, _: u64) -> Result<ApiCreds, VenueError> {
        let path = "/auth/derive-api-key";
        let (address, handle) = (key.address(), self.handle.clone());
        self.public(path, move |_| {
            at_once(handle.api_key(address, 0))
                .map_err(|e| VenueError::Unreadable { path: path.to_owned(), why: e.to_string() })
        })
        .await
    }
}

#[async_trait]
impl MarketData for SimVenue {
    async fn trades(&self, query: &TradesQuery, now: Timestamp) -> Result<Rows<TradeRow>, VenueError> {
        let query = query.clone();
        self.public("/v2/trades", move |local| at_once(local.trades(&query, now))).await
    }

    async fn activity(&self, query: &ActivityQuery, now: Timestamp) -> Result<Rows<ActivityRow>, VenueError> {
        let query = query.clone();
        self.public("/v2/activity", move |local| at_once(local.activity(&query, now))).await
    }

    async fn positions(
        &self,
        query: &PositionsQuery,
        now: Timestamp,
    ) -> Result<Rows<PositionRow>, VenueError> {
        let query = query.clone();
        self.public("/v2/positions", move |local| at_once(local.positions(&query, now))).await
    }

    async fn resolution(
        &self,
        condition: ConditionId,
        now: Timestamp,
    ) -> Result<Option<ResolutionRow>, VenueError> {
        self.public("/v2/resolutions", move |local| at_once(local.resolution(condition, now))).await
    }

    async fn markets(&self, conditions: &[ConditionId]) -> Result<Rows<GammaMarket>, VenueError> {
        let conditions = conditions.to_vec();
        self.public("/markets/keyset", move |local| at_once(local.markets(&conditions))).await
    }

    async fn clob_market(&self, condition: ConditionId) -> Result<Option<ClobMarket>, VenueError> {
        self.public("/clob-markets", move |local| at_once(local.clob_market(condition))).await
    }

    async fn book(&self, asset: &AssetId) -> Result<Option<Book>, VenueError> {
        let asset = asset.clone();
        self.public("/book", move |local| at_once(local.book(&asset))).await
    }
}
