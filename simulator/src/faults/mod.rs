//! Faults on demand: what the next requests of a route meet instead of, or besides, their answer. [`weather`] brings
//! them by seed, [`stream`] does the same to the user stream.
//!
//! `POST /sim/faults` takes one or a list. What is left out has its default: the next `POST /order`, which
//! takes effect and is answered as ever. So this takes the next two orders and cuts the connection:
//!
//! ```json
//! {"count": 2, "answer": "drop"}
//! ```
//!
//! and this refuses the third poll from now for being one too many:
//!
//! ```json
//! {"method": "GET", "path": "/v2/trades", "skip": 2, "execute": false,
//!  "answer": {"status": {"status": 429, "error": "rate limit exceeded", "retry_after": 2}}}
//! ```
//!
//! This times out, and the order appears two minutes later:
//!
//! ```json
//! {"delay_millis": 10000, "answer": "drop", "lands_after_millis": 120000}
//! ```
//!
//! and this is for one order alone, whose trades fail after they matched:
//!
//! ```json
//! {"order": "0x…", "fate": "fails"}
//! ```

pub mod stream;
pub mod weather;

use std::collections::VecDeque;

use schemas::OrderId;
use serde::{Deserialize, Serialize};

use crate::exchange::Fate;

/// What a request is answered under a fault.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Answer {
    /// Its own answer.
    #[default]
    Normal,
    /// Nothing: the connection is cut.
    Drop,
    /// An error.
    Status {
        /// The HTTP status.
        status: u16,
        /// The sentence under `error`.
        error: String,
        /// `Retry-After`, in seconds.
        #[serde(default)]
        retry_after: Option<u32>,
    },
}

/// One fault. Several stand in line: each request takes the first that is for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Fault {
    /// The method; empty for any.
    pub method: String,
    /// The path, without query; empty for any. With a `*` at its end, every path that begins so.
    pub path: String,
    /// Only requests about this order: its post, alone or in a batch, its cancel, its `GET`.
    pub order: Option<OrderId>,
    /// So many requests pass unharmed first.
    pub skip: u32,
    /// How many requests it is for.
    pub count: u32,
    /// Whether the request takes effect, whatever it is answered.
    pub execute: bool,
    /// How long the answer is held back.
    pub delay_millis: u32,
    /// The answer.
    pub answer: Answer,
    /// Where the request takes effect: the posted order does not land now but so much later, whatever is answered; 0: as
    /// ever. What it is answered by itself is 500 `order timed out`.
    pub lands_after_millis: u32,
    /// What becomes of the posted order's trades.
    pub fate: Option<Fate>,
}

impl Default for Fault {
    /// The next `POST /order` takes effect and is answered as ever.
    fn default() -> Self {
        Self {
            method: "POST".to_owned(),
            path: "/order".to_owned(),
            order: None,
            skip: 0,
            count: 1,
            execute: true,
            delay_millis: 0,
            answer: Answer::Normal,
            lands_after_millis: 0,
            fate: None,
        }
    }
}

/// A request, as far as faults look at it.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// The method.
    pub method: &'a str,
    /// The path, without query.
    pub path: &'a str,
    /// The orders it is about, where that was asked for ([`Faults::name_orders`]).
    pub orders: &'a [OrderId],
    /// The bytes of its body.
    pub body: &'a [u8],
}

impl Fault {
    fn status(status: u16, error: &str, execute: bool) -> Self {
        let answer = Answer::Status { status, error: error.to_owned(), retry_after: None };
        Self { execute, answer, ..Self::default() }
    }

    /// The order is taken, and the connection cut before the answer: a timeout whose outcome is unknown.
    pub fn accepted_then_dropped() -> Self {
        Self { answer: Answer::Drop, ..Self::default() }
    }

    /// The connection is cut before the order is taken: the same to the client.
    pub fn dropped() -> Self {
        Self { execute: false, ..Self::accepted_then_dropped() }
    }

    /// 500 although the order was taken.
    pub fn accepted_then_500() -> Self {
        Self::status(500, "could not insert order", true)
    }

    /// 500, and no order.
    pub fn refused_500() -> Self {
        Self::status(500, "could not insert order", false)
    }

    /// 400 `context canceled` although the order was taken.
    pub fn accepted_then_canceled() -> Self {
        Self::status(400, "context canceled", true)
    }

    /// 400 `context canceled`, and no order.
    pub fn canceled() -> Self {
        Self::status(400, "context canceled", false)
    }

    /// 425: the matching engine restarts.
    pub fn restarting() -> Self {
        Self::status(425, "service not ready", false)
    }

    /// 429, with or without `Retry-After` (seconds).
    pub fn rate_limited(retry_after: Option<u32>) -> Self {
        let answer = Answer::Status { status: 429, error: "rate limit exceeded".to_owned(), retry_after };
        Self { execute: false, answer, ..Self::default() }
    }

    /// 503.
    pub fn unavailable(retry_after: Option<u32>) -> Self {
        let error = "Trading is currently disabled. Check polymarket.com for updates".to_owned();
        Self { execute: false, answer: Answer::Status { status: 503, error, retry_after }, ..Self::default() }
    }

    /// The order is taken, and nothing is answered for so long that the client gives up.
    pub fn accepted_then_silent(millis: u32) -> Self {
        Self { delay_millis: millis, ..Self::accepted_then_dropped() }
    }

    /// 500 `order timed out`, and the order lands so much later.
    pub fn lands_late(millis: u32) -> Self {
        Self { lands_after_millis: millis, ..Self::default() }
    }

    /// Nothing but the venue's words, and no order: how a refusal is met that no rule of the simulator leads to.
    pub fn says(status: u16, error: &str) -> Self {
        Self::status(status, error, false)
    }

    /// The order is taken as ever; its trades end so.
    pub fn trades(fate: Fate) -> Self {
        Self { fate: Some(fate), ..Self::default() }
    }

    /// The answer comes late.
    pub fn slow(delay_millis: u32) -> Self {
        Self { delay_millis, ..Self::default() }
    }

    /// For so many requests.
    pub fn times(mut self, count: u32) -> Self {
        self.count = count;
        self
    }

    /// After so many requests that pass unharmed.
    pub fn after(mut self, skip: u32) -> Self {
        self.skip = skip;
        self
    }

    /// For requests about this order only, on any route.
    pub fn of(mut self, order: OrderId) -> Self {
        self.order = Some(order);
        self
    }

    /// On another route.
    pub fn on(mut self, method: &str, path: &str) -> Self {
        method.clone_into(&mut self.method);
        path.clone_into(&mut self.path);
        self
    }
}

/// The faults that stand in line.
#[derive(Debug, Default)]
pub struct Faults(VecDeque<Fault>);

impl Faults {
    /// Adds one at the end.
    pub fn add(&mut self, fault: Fault) {
        if fault.count > 0 {
            self.0.push_back(fault);
        }
    }

    /// Removes all.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// What stands in line.
    pub fn waiting(&self) -> Vec<Fault> {
        self.0.iter().cloned().collect()
    }

    /// Whether any of them is for one order: then requests must be looked into.
    pub fn name_orders(&self) -> bool {
        self.0.iter().any(|f| f.order.is_some())
    }

    /// The fault that a request meets, if any; it is used up by that.
    pub fn meet(&mut self, asked: Asked<'_>) -> Option<Fault> {
        let at = self.0.iter().position(|f| f.is_for(asked))?;
        let fault = self.0.get_mut(at)?;
        if fault.skip > 0 {
            fault.skip -= 1;
            return None;
        }
        fault.count -= 1;
        let met = fault.clone();
        if met.count == 0 {
            self.0.remove(at);
        }
        Some(met)
    }
}

impl Fault {
    /// Whether it is for a request.
    pub fn is_for(&self, asked: Asked<'_>) -> bool {
        let path = match self.path.strip_suffix('*') {
            Some(head) => asked.path.starts_with(head),
            None => self.path.is_empty() || self.path == asked.path,
        };
        path && (self.method.is_empty() || self.method == asked.method)
            && self.order.is_none_or(|order| asked.orders.contains(&order))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked<'a>(method: &'a str, orders: &'a [OrderId]) -> Asked<'a> {
        Asked { method, path: "/order", orders, body: b"" }
    }

    #[test]
    fn a_fault_of_one_order_leaves_others_alone_on_every_route() {
        let (mine, other) = (OrderId::from_bytes([1; 32]), OrderId::from_bytes([2; 32]));
        let mut faults = Faults::default();
        faults
            .add(Fault { path: String::new(), method: String::new(), ..Fault::dropped() }.of(mine).times(2));
        assert!(faults.name_orders());
        assert_eq!(faults.meet(asked("POST", &[other])), None);
        assert_eq!(faults.meet(asked("POST", &[])), None);
        assert!(faults.meet(asked("POST", &[other, mine])).is_some());
        let path = format!("/data/order/{mine}");
        assert!(faults.meet(Asked { method: "GET", path: &path, orders: &[mine], body: b"" }).is_some());
        assert_eq!(faults.waiting(), []);
        let any = Fault::dropped().on("GET", "/data/*");
        assert!(any.is_for(Asked { method: "GET", path: &path, orders: &[], body: b"" }));
        assert!(!any.is_for(asked("GET", &[])));
    }

    #[test]
    fn faults_stand_in_line_and_are_used_up() {
        let mut faults = Faults::default();
        faults.add(Fault::restarting().times(2).after(1));
        faults.add(Fault::dropped());
        let mut meet = || faults.meet(asked("POST", &[])).map(|f| f.answer);
        assert_eq!(meet(), None);
        let restarting = Some(Fault::restarting().answer);
        assert_eq!(
            (meet(), meet(), meet(), meet()),
            (restarting.clone(), restarting, Some(Answer::Drop), None)
        );
        assert_eq!(faults.meet(asked("GET", &[])), None);
    }

    #[test]
    fn a_fault_reads_from_what_the_control_api_is_sent() {
        let json = r#"{"execute":false,"count":3,"answer":{"status":{"status":429,"error":"slow down","retry_after":2}}}"#;
        let fault: Fault = serde_json::from_str(json).unwrap();
        assert_eq!((fault.count, fault.execute, fault.path.as_str()), (3, false, "/order"));
        assert!(serde_json::from_str::<Fault>(r#"{"cuont":3}"#).is_err());
    }
}
