//! `POST /order` and `POST /orders` (`venue.md` 5). Signatures are verified as the venue does.

use std::{sync::Arc, time::Duration};

use axum::{Extension, body::Bytes, extract::State, http::HeaderMap, response::Response};
use schemas::{Hash32, SignatureType, Timestamp};
use serde_json::value::RawValue;
use venue::{
    signing::{OrderFields, Route, signer_of_order},
    wire::{Literal, PlacedStatus, PostOrder, PostOrderAnswer},
};

use super::{auth::authenticate, gate, reply};
use crate::{
    exchange::{Fate, Order, Refusal},
    journal::{Line, Synced},
    keys::ApiKey,
    ledger,
    limits::Spends,
    modes::Asks,
    options::Switches,
    shared::{Shared, hold_of},
    world::{Arrival, World},
};

/// The most orders of one batch.
const BATCH: usize = 15;

/// What a fault does to the orders of a request.
#[derive(Debug, Clone, Copy, Default)]
pub struct Bent {
    /// They land so much later, and the request fails.
    pub lands_after: Option<Duration>,
    /// What becomes of their trades.
    pub fate: Option<Fate>,
}

/// What became of one order.
enum Taken {
    Order(Box<Order>),
    Refused(Refusal),
    /// It lands later; nobody knows now.
    Late,
}

/// One order of a request, as far as it is known before the book is asked.
struct Ready {
    post: PostOrder,
    body: String,
}

/// `POST /order`.
pub async fn place(
    State(shared): State<Arc<Shared>>,
    bent: Option<Extension<Bent>>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let received = shared.clock.now();
    shared.tally().posts += 1;
    if let Err(not_now) = gate::admit(&shared, || Asks::Place { post_only: is_post_only(&body) }) {
        return *not_now;
    }
    let key = match authenticate(&shared, &headers, "POST", "/order", &body) {
        Ok(key) => key,
        Err(refused) => return *refused,
    };
    let tokens = match gate::spend(&shared, &key, Spends::Orders, 1) {
        Ok(tokens) => tokens,
        Err(refused) => return *refused,
    };
    let switches = shared.switches();
    let ready = admit(&shared, &key, &body, received, &switches);
    wait_before_taking(&shared, std::slice::from_ref(&ready), &switches).await;
    let bent = bent.map(|Extension(bent)| bent).unwrap_or_default();
    let (taken, synced) = take(&shared, ready, received, &switches, bent);
    // Nothing is said about an order that a crash could still undo.
    if synced.wait().await.is_err() {
        return reply::clob_error(500, "could not insert order");
    }
    tokens.told(match taken {
        Taken::Order(order) => {
            let trades = shared.world().trade_ids(&order);
            reply::ok(&ledger::placed(&order, trades, &switches))
        }
        Taken::Refused(refusal) => reply::refusal(&refusal.to_string()),
        Taken::Late => reply::clob_error(500, "order timed out"),
    })
}

/// `POST /orders`: each by itself, in their order.
pub async fn place_many(
    State(shared): State<Arc<Shared>>,
    bent: Option<Extension<Bent>>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let received = shared.clock.now();
    let entries = serde_json::from_slice::<Vec<Box<RawValue>>>(&body).unwrap_or_default();
    shared.tally().posts += entries.len() as u64;
    let post_only = || !entries.is_empty() && entries.iter().all(|e| is_post_only(e.get().as_bytes()));
    if let Err(not_now) = gate::admit(&shared, || Asks::Place { post_only: post_only() }) {
        return *not_now;
    }
    let key = match authenticate(&shared, &headers, "POST", "/orders", &body) {
        Ok(key) => key,
        Err(refused) => return *refused,
    };
    if entries.is_empty() {
        return reply::refusal(&Refusal::Payload.to_string());
    }
    if entries.len() > BATCH {
        return reply::refusal(&Refusal::TooMany { given: entries.len(), most: BATCH }.to_string());
    }
    let tokens = match gate::spend(&shared, &key, Spends::Orders, entries.len()) {
        Ok(tokens) => tokens,
        Err(refused) => return *refused,
    };
    let switches = shared.switches();
    let ready: Vec<_> =
        entries.iter().map(|e| admit(&shared, &key, e.get().as_bytes(), received, &switches)).collect();
    wait_before_taking(&shared, &ready, &switches).await;
    let bent = bent.map(|Extension(bent)| bent).unwrap_or_default();
    let mut answers = Vec::with_capacity(ready.len());
    let mut late = false;
    for ready in ready {
        // Synced with all the others below.
        let (taken, _) = take(&shared, ready, received, &switches, bent);
        answers.push(match taken {
            Taken::Order(order) => {
                let trades = shared.world().trade_ids(&order);
                ledger::placed(&order, trades, &switches)
            }
            Taken::Refused(refusal) => failed(&refusal, &switches),
            Taken::Late => {
                late = true;
                continue;
            }
        });
    }
    if shared.barrier().wait().await.is_err() {
        return reply::clob_error(500, "could not insert order");
    }
    tokens.told(if late { reply::clob_error(500, "order timed out") } else { reply::ok(&answers) })
}

fn is_post_only(body: &[u8]) -> bool {
    PostOrder::read(body).is_ok_and(|post| post.post_only)
}

/// A failed entry of a batch: it may say success all the same (`venue.md` 5.4).
fn failed(refusal: &Refusal, switches: &Switches) -> PostOrderAnswer {
    PostOrderAnswer {
        success: switches.failed_says_success,
        error_msg: refusal.to_string(),
        order_id: String::new(),
        status: PlacedStatus::default(),
        making_amount: Literal::default(),
        taking_amount: Literal::default(),
        trade_ids: Vec::new(),
    }
}

/// Holds a request whose orders would take.
async fn wait_before_taking(shared: &Shared, ready: &[Result<Ready, Refusal>], switches: &Switches) {
    if switches.taker_delay_millis == 0 {
        return;
    }
    let takes = {
        let world = shared.world();
        ready.iter().flatten().any(|ready| world.would_take(&ready.post))
    };
    if takes {
        shared.clock.sleep(Duration::from_millis(switches.taker_delay_millis.into())).await;
    }
}

fn count(shared: &Shared, taken: &Taken) {
    let mut tally = shared.tally();
    match taken {
        Taken::Order(_) | Taken::Refused(Refusal::NoMatch(_)) => tally.accepted += 1,
        Taken::Refused(Refusal::Duplicated(_)) => tally.duplicates += 1,
        Taken::Late => {}
        Taken::Refused(other) => {
            let text: String = other
                .to_string()
                .split(' ')
                .filter(|word| !word.contains(|c: char| c.is_ascii_digit()))
                .collect::<Vec<_>>()
                .join(" ");
            *tally.refused.entry(text).or_default() += 1;
        }
    }
}

/// The checks that need no order book: payload, owner, signer, signature. They run outside of the lock.
fn admit(
    shared: &Shared,
    key: &ApiKey,
    body: &[u8],
    received: Timestamp,
    switches: &Switches,
) -> Result<Ready, Refusal> {
    let post = PostOrder::read(body).map_err(|_| Refusal::Payload)?;
    if post.owner != key.id {
        return Err(Refusal::Owner);
    }
    let order = &post.order;
    let wallet_signs = order.signature_type == SignatureType::Poly1271;
    if !wallet_signs && order.signer.0 != key.address {
        return Err(Refusal::Signer);
    }
    if !switches.accept_metadata && order.metadata != Hash32::ZERO {
        return Err(Refusal::Payload);
    }
    if switches.timestamp_window_seconds > 0 {
        let window = Duration::from_secs(switches.timestamp_window_seconds.into());
        let (early, late) = (received.minus(window), received.plus(window));
        if order.timestamp < early || order.timestamp > late {
            return Err(Refusal::Payload);
        }
    }
    let market = shared.world().token(&order.token_id).map(|(_, market)| market);
    let route = World::route(&*market.ok_or_else(|| Refusal::NoBook(order.token_id.clone()))?);
    let fields = OrderFields::from(order);
    let signed_by = |route: Route| {
        signer_of_order(&shared.table, route, &fields, &order.signature.0).is_ok_and(|a| a == key.address)
    };
    // An externally owned account trades for itself only; a deposit wallet names itself twice.
    let one_wallet = order.maker == order.signer;
    let shape = match order.signature_type {
        SignatureType::Eoa | SignatureType::Poly1271 => one_wallet,
        SignatureType::Proxy | SignatureType::Safe => !one_wallet,
    };
    if shape && signed_by(route) {
        // The body was read as UTF-8 JSON.
        return Ok(Ready { post, body: String::from_utf8_lossy(body).into_owned() });
    }
    let elsewhere =
        [Route::Normal, Route::NegRisk, Route::V3].into_iter().filter(|r| *r != route).any(signed_by);
    Err(if elsewhere { Refusal::Version } else { Refusal::Payload })
}

/// Puts an order into the world, and on the journal in the same order.
fn take(
    shared: &Shared,
    ready: Result<Ready, Refusal>,
    received: Timestamp,
    switches: &Switches,
    bent: Bent,
) -> (Taken, Synced) {
    let (taken, synced) = match ready {
        Ok(ready) => put(shared, ready, received, switches, bent),
        Err(refusal) => (Taken::Refused(refusal), shared.barrier()),
    };
    count(shared, &taken);
    (taken, synced)
}

fn put(
    shared: &Shared,
    Ready { post, body }: Ready,
    received: Timestamp,
    switches: &Switches,
    bent: Bent,
) -> (Taken, Synced) {
    let mut world = shared.world();
    let at = world.now();
    let fails = bent.fate.is_none() && shared.switches().fail_orders > 0;
    let fate = if fails { Fate::Fails } else { bent.fate.unwrap_or_default() };
    let hold_millis = switches.hold_millis;
    let arrival =
        Arrival { post, received, hold: hold_of(hold_millis), fate, strict: switches.strict_amounts };
    let line = |lands| Line::Order { at, received, body, hold_millis, fate, lands };
    if let Some(after) = bent.lands_after {
        let lands = at.plus(after);
        world.place_late(arrival, lands);
        return (Taken::Late, shared.remember(&line(Some(lands))));
    }
    let placed = world.place(arrival);
    if fails && matches!(placed, Ok(_) | Err(Refusal::NoMatch(_))) {
        shared.set_switches(|s| s.fail_orders = s.fail_orders.saturating_sub(1));
    }
    match placed {
        Ok(id) => {
            let synced = shared.remember(&line(None));
            match world.exchange.order(id).cloned() {
                Some(order) => (Taken::Order(Box::new(order)), synced),
                None => (Taken::Refused(Refusal::Payload), synced),
            }
        }
        Err(killed @ Refusal::NoMatch(_)) => (Taken::Refused(killed), shared.remember(&line(None))),
        Err(Refusal::Duplicated(id)) => {
            let synced = shared.remember(&Line::Again { id });
            (Taken::Refused(Refusal::Duplicated(id)), synced)
        }
        Err(refusal) => (Taken::Refused(refusal), shared.barrier()),
    }
}

/// How many orders a request posts: for what counts them without looking at them.
pub fn posted(path: &str, body: &[u8]) -> u64 {
    match path {
        "/order" => 1,
        "/orders" => serde_json::from_slice::<Vec<Box<RawValue>>>(body).map_or(0, |list| list.len() as u64),
        _ => 0,
    }
}
