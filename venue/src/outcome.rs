//! What became of a private request (`venue.md` 5.5, `behaviour.md` 6): pure functions of the answer.
//!
//! The rule behind all of it: an outcome is final only where the venue's own words say so. Whatever leaves a
//! doubt is [`SubmitOutcome::Unknown`] and is resolved by asking for the order by its id.

use std::time::Duration;

use schemas::ids::OrderId;

use crate::wire::{CancelAnswer, ClobError, Literal, OrderRow, PlacedStatus, PostOrderAnswer};

/// An answer as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The header `Retry-After`, where it gives seconds.
    pub retry_after: Option<Duration>,
    /// The body.
    pub body: Vec<u8>,
}

/// What became of a posted order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SubmitOutcome {
    /// The venue took it.
    Accepted(Accepted),
    /// The venue refused it, for a reason that it documents: it did not land, as far as this answer goes. Said
    /// of a re-post it proves nothing about the first post (`behaviour.md` 6.4).
    Rejected {
        /// The venue's words.
        message: String,
        /// What they mean.
        cause: RejectCause,
    },
    /// This very order was taken before. It landed; whether it is still open is another question.
    AlreadyLanded,
    /// Nobody knows. Ask for the order by its id; the same bytes may be posted again.
    Unknown {
        /// What happened.
        why: String,
    },
    /// The venue takes no orders now (425, 429, 503). The order stays as it is.
    RetryLater {
        /// The HTTP status.
        status: u16,
        /// How long to wait, where the venue says so. Without it nothing says that the request had no effect.
        after: Option<Duration>,
        /// The venue's words.
        why: String,
    },
}

/// What the venue says of an order that it took.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accepted {
    /// The order's id, as expected.
    pub order_id: OrderId,
    /// What became of it.
    pub status: PlacedStatus,
    /// What was given; its unit is not settled, so read sizes from the order and its trades.
    pub making: Literal,
    /// What was received; the same.
    pub taking: Literal,
    /// The trades that it made.
    pub trade_ids: Vec<String>,
}

/// What a rejection means, as far as the venue's words tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RejectCause {
    /// The wallet cannot pay, or has not allowed the exchange to take.
    BalanceOrAllowance,
    /// FAK or FOK: nothing, or not enough, to take. Not an error: the order was killed.
    NothingToTake,
    /// The price is not on the tick: the market's tick changed.
    BreaksTick,
    /// Below the market's minimum, or below a dollar.
    BelowMinimum,
    /// More decimals than the venue takes.
    Precision,
    /// A post-only order that would take.
    WouldTake,
    /// Too short, or over.
    Expiration,
    /// The market takes no orders (yet, or any more), or has no book.
    Market,
    /// Credentials, signer or owner do not match.
    Credentials,
    /// The address is banned or may only close, or the region is blocked.
    Restricted,
    /// It was cancelled on chain.
    CancelledOnChain,
    /// The venue moved to another order version.
    VersionMismatch,
    /// Something else.
    Other,
}

impl RejectCause {
    /// The cause as a word, for labels and events.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::BalanceOrAllowance => "balance_or_allowance",
            Self::NothingToTake => "nothing_to_take",
            Self::BreaksTick => "breaks_tick",
            Self::BelowMinimum => "below_minimum",
            Self::Precision => "precision",
            Self::WouldTake => "would_take",
            Self::Expiration => "expiration",
            Self::Market => "market",
            Self::Credentials => "credentials",
            Self::Restricted => "restricted",
            Self::CancelledOnChain => "cancelled_on_chain",
            Self::VersionMismatch => "version_mismatch",
            Self::Other => "other",
        }
    }

    /// What the venue's words mean. They are the only thing that tells errors apart.
    pub fn of(message: &str) -> Self {
        const WORDS: [(&str, RejectCause); 31] = [
            ("not enough balance", RejectCause::BalanceOrAllowance),
            ("insufficient", RejectCause::BalanceOrAllowance),
            ("allowance", RejectCause::BalanceOrAllowance),
            ("no orders found to match", RejectCause::NothingToTake),
            ("couldn't be fully filled", RejectCause::NothingToTake),
            ("there are no matching orders", RejectCause::NothingToTake),
            ("breaks minimum tick size", RejectCause::BreaksTick),
            ("lower than the minimum", RejectCause::BelowMinimum),
            ("min size:", RejectCause::BelowMinimum),
            ("max accuracy", RejectCause::Precision),
            ("invalid amounts", RejectCause::Precision),
            ("post-only order", RejectCause::WouldTake),
            ("crosses the book", RejectCause::WouldTake),
            ("invalid expiration", RejectCause::Expiration),
            ("not yet ready", RejectCause::Market),
            ("orderbook", RejectCause::Market),
            ("market not found", RejectCause::Market),
            ("market is closed", RejectCause::Market),
            ("not accepting orders", RejectCause::Market),
            ("owner of the api key", RejectCause::Credentials),
            ("address of the api key", RejectCause::Credentials),
            ("api key", RejectCause::Credentials),
            ("unauthorized", RejectCause::Credentials),
            ("signature", RejectCause::Credentials),
            ("l1 request headers", RejectCause::Credentials),
            ("banned", RejectCause::Restricted),
            ("closed only mode", RejectCause::Restricted),
            ("restricted", RejectCause::Restricted),
            ("canceled in the ctf exchange", RejectCause::CancelledOnChain),
            ("order_version_mismatch", RejectCause::VersionMismatch),
            ("version mismatch", RejectCause::VersionMismatch),
        ];
        let message = message.to_ascii_lowercase();
        WORDS.iter().find(|(words, _)| message.contains(words)).map_or(Self::Other, |(_, cause)| *cause)
    }
}

/// What the words of a refusal say about the order, whatever the status around them.
enum Verdict {
    Landed,
    Unclear,
    Refused,
}

fn verdict(message: &str) -> Verdict {
    // The outcome of these is not known: the venue gave up on the request, or put the match off.
    const UNCLEAR: [&str; 6] = [
        "context canceled",
        "context cancelled",
        "deadline exceeded",
        "timed out",
        "timeout",
        "match delayed",
    ];
    let message = message.to_ascii_lowercase();
    if message.contains("duplicated") {
        Verdict::Landed
    } else if UNCLEAR.iter().any(|words| message.contains(words)) {
        Verdict::Unclear
    } else {
        Verdict::Refused
    }
}

/// At most 300 characters of a body, for messages.
pub(crate) fn excerpt(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    let short: String = text.trim().chars().take(300).collect();
    if short.is_empty() { "an empty body".to_owned() } else { short }
}

/// The venue's words in an error body; `None` where there are none to be read.
pub(crate) fn words(body: &[u8]) -> Option<ClobError> {
    serde_json::from_slice::<ClobError>(body).ok().filter(|e| !e.error.is_empty() || e.code.is_some())
}

/// Whether a status asks to come back later: at once in the header, else in the body.
pub(crate) fn later(answer: &Answer) -> Option<(Option<Duration>, String)> {
    if !matches!(answer.status, 425 | 429 | 503) {
        return None;
    }
    let words = words(&answer.body);
    let in_body = words.as_ref().and_then(|e| e.retry_after_seconds).map(|s| Duration::from_secs(s.into()));
    let why = match words {
        Some(ClobError { error, code, .. }) if error.is_empty() => code.unwrap_or_default(),
        Some(e) => e.error,
        None => excerpt(&answer.body),
    };
    Some((answer.retry_after.or(in_body), why))
}

/// What became of the order with this id, from the answer to its post.
pub fn of_submit(answer: &Answer, id: OrderId) -> SubmitOutcome {
    let unknown = |why: String| SubmitOutcome::Unknown { why };
    match answer.status {
        200..=299 => of_taken(&answer.body, id),
        425 | 429 | 503 => {
            let (after, why) = later(answer).unwrap_or_default();
            SubmitOutcome::RetryLater { status: answer.status, after, why }
        }
        // Request timeout: the venue, or something before it, stopped waiting.
        408 => unknown("HTTP 408".to_owned()),
        400..=499 => match words(&answer.body) {
            Some(e) => refused(e.error, || format!("HTTP {}", answer.status)),
            None => unknown(format!("HTTP {} with {}", answer.status, excerpt(&answer.body))),
        },
        status => unknown(format!("HTTP {status}: {}", excerpt(&answer.body))),
    }
}

fn refused(message: String, context: impl Fn() -> String) -> SubmitOutcome {
    match verdict(&message) {
        Verdict::Landed => SubmitOutcome::AlreadyLanded,
        Verdict::Unclear => SubmitOutcome::Unknown { why: format!("{}: {message}", context()) },
        Verdict::Refused => {
            let cause = RejectCause::of(&message);
            SubmitOutcome::Rejected { message, cause }
        }
    }
}

/// `success` says nothing: an order was taken when there is an id and no error (`venue.md` 5.4).
fn of_taken(body: &[u8], id: OrderId) -> SubmitOutcome {
    let unknown = |why: String| SubmitOutcome::Unknown { why };
    let answer: PostOrderAnswer = match serde_json::from_slice(body) {
        Ok(answer) => answer,
        Err(e) => return unknown(format!("the answer cannot be read ({e}): {}", excerpt(body))),
    };
    let named = answer.order_id.parse::<OrderId>();
    match (answer.order_id.is_empty(), answer.error_msg.is_empty()) {
        (false, true) if named == Ok(id) => SubmitOutcome::Accepted(Accepted {
            order_id: id,
            status: answer.status,
            making: answer.making_amount,
            taking: answer.taking_amount,
            trade_ids: answer.trade_ids,
        }),
        (false, true) => unknown(format!("the venue took order {} where {id} was sent", answer.order_id)),
        (true, false) => refused(answer.error_msg, || "HTTP 200".to_owned()),
        // An id and an error: taken, or not? `Duplicated.` says that it was.
        (false, false) => match verdict(&answer.error_msg) {
            Verdict::Landed => SubmitOutcome::AlreadyLanded,
            _ => unknown(format!("the venue names order {} and says: {}", answer.order_id, answer.error_msg)),
        },
        (true, true) => unknown(format!("neither an id nor an error: {}", excerpt(body))),
    }
}

/// What the venue knows of an order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OrderLookup {
    /// It knows it.
    Found(Box<OrderRow>),
    /// It knows no such order.
    NotFound,
    /// It answered with nothing. Old answers do so for orders that do not exist and for orders that are
    /// filled alike: it is "not found" only together with trades that do not name the order.
    Blank,
    /// No answer to rely on.
    Unknown {
        /// What happened.
        why: String,
    },
    /// Come back later.
    RetryLater {
        /// How long to wait, where the venue says so.
        after: Option<Duration>,
        /// The venue's words.
        why: String,
    },
}

/// What the venue knows of the order with this id, from the answer of `GET /data/order/{id}`.
pub fn of_lookup(answer: &Answer, id: OrderId) -> OrderLookup {
    let unknown = |why: String| OrderLookup::Unknown { why };
    if let Some((after, why)) = later(answer) {
        return OrderLookup::RetryLater { after, why };
    }
    let body = answer.body.trim_ascii();
    match answer.status {
        200..=299 if body.is_empty() || body == b"null" || body == b"{}" || body == b"\"\"" => {
            OrderLookup::Blank
        }
        200..=299 => match serde_json::from_slice::<OrderRow>(body) {
            Ok(row) if row.id == id => OrderLookup::Found(Box::new(row)),
            Ok(row) => unknown(format!("asked for {id}, the venue answers with {}", row.id)),
            Err(e) => unknown(format!("the answer cannot be read ({e}): {}", excerpt(body))),
        },
        // Only the venue's own words count: a gateway's 404 page says nothing about orders.
        404 if words(body).is_some() => OrderLookup::NotFound,
        status => unknown(format!("HTTP {status}: {}", excerpt(body))),
    }
}

/// What became of a cancel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CancelOutcome {
    /// The order rests no more. What it had filled stays filled.
    Cancelled,
    /// It was not cancelled.
    NotCancelled {
        /// What that means.
        cause: NotCancelled,
        /// The venue's words.
        message: String,
    },
    /// Nobody knows. Ask for the order by its id.
    Unknown {
        /// What happened.
        why: String,
    },
    /// Come back later.
    RetryLater {
        /// How long to wait, where the venue says so.
        after: Option<Duration>,
        /// The venue's words.
        why: String,
    },
}

/// Why an order was not cancelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NotCancelled {
    /// It is matched: a fill, not a cancel.
    AlreadyMatched,
    /// The venue finds it not, or cancelled already.
    NotFoundOrCancelled,
    /// It is held back and cannot be cancelled meanwhile.
    Delayed,
    /// Something else.
    Other,
}

impl NotCancelled {
    /// What the venue's words mean.
    pub fn of(message: &str) -> Self {
        let message = message.to_ascii_lowercase();
        if message.contains("matched") || message.contains("filled") {
            Self::AlreadyMatched
        } else if message.contains("delayed") {
            Self::Delayed
        } else if message.contains("not found") || message.contains("already cancel") {
            Self::NotFoundOrCancelled
        } else {
            Self::Other
        }
    }
}

/// What became of the cancel of this order.
pub fn of_cancel(answer: &Answer, id: OrderId) -> CancelOutcome {
    let unknown = |why: String| CancelOutcome::Unknown { why };
    if let Some((after, why)) = later(answer) {
        return CancelOutcome::RetryLater { after, why };
    }
    match answer.status {
        200..=299 => match serde_json::from_slice::<CancelAnswer>(&answer.body) {
            Ok(cancel) => {
                let refusal =
                    cancel.not_canceled.iter().find(|(named, _)| named.parse::<OrderId>() == Ok(id));
                match refusal {
                    // Named on both lists: not cancelled is the answer that assumes less.
                    Some((_, message)) => CancelOutcome::NotCancelled {
                        cause: NotCancelled::of(message),
                        message: message.clone(),
                    },
                    None if cancel.canceled.contains(&id) => CancelOutcome::Cancelled,
                    None => unknown(format!("the answer does not name {id}: {}", excerpt(&answer.body))),
                }
            }
            Err(e) => unknown(format!("the answer cannot be read ({e}): {}", excerpt(&answer.body))),
        },
        400..=499 if answer.status != 408 => match words(&answer.body).map(|e| e.error) {
            Some(message) if matches!(verdict(&message), Verdict::Refused) => {
                CancelOutcome::NotCancelled { cause: NotCancelled::of(&message), message }
            }
            _ => unknown(format!("HTTP {}: {}", answer.status, excerpt(&answer.body))),
        },
        status => unknown(format!("HTTP {status}: {}", excerpt(&answer.body))),
    }
}
