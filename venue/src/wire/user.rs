//! The user WebSocket's frames, in both directions (`venue.md` 3.2).
//!
//! The venue sends one JSON object or an array of them, and answers the text `PING` with the text `PONG`. Frames are read
//! one by one, so that a strange one does not cost the others. There is no replay: what was sent while nobody listened is
//! never sent again.

use schemas::{
    ids::{AssetId, OrderId},
    money::Price,
    time::Timestamp,
    words::Side,
};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use serde_json::value::RawValue;

use super::{
    account::ApiKeyRow,
    num::{Literal, expiration, secs_opt, text},
    order::ClobOrderStatus,
    page::UnreadableRow,
    text::or_default,
    trade::ClobTrade,
    word::open_words,
};

/// What keeps a connection open, as text: from the client every ten seconds.
pub const PING: &str = "PING";
/// The answer to [`PING`], as text.
pub const PONG: &str = "PONG";

/// What a client sends.
#[derive(Debug, Clone)]
pub enum UserRequest {
    /// It is still there.
    Ping,
    /// It answers a ping of the venue's.
    Pong,
    /// The first message: who it is, and which markets it wants.
    Subscribe(UserSubscribe),
    /// More or fewer markets.
    Change(UserChange),
}

/// The first message of a client. Holds secrets: it is written to the socket and nowhere else.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct UserSubscribe {
    /// Always `user`.
    #[serde(rename = "type")]
    pub channel: String,
    /// The API credentials, in the clear: the socket is the only place where they travel.
    pub auth: ApiKeyRow,
    /// The conditions wanted; none for all.
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub markets: Vec<String>,
}

impl UserSubscribe {
    /// The name of the channel.
    pub const CHANNEL: &'static str = "user";

    /// For everything that happens to the orders of these credentials.
    pub fn everything(auth: ApiKeyRow) -> Self {
        Self { channel: Self::CHANNEL.to_owned(), auth, markets: Vec::new() }
    }
}

/// A later change of what a client wants.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserChange {
    /// Which way.
    pub operation: SubscribeOperation,
    /// The conditions that come or go.
    #[serde(default, deserialize_with = "or_default")]
    pub markets: Vec<String>,
}

open_words! {
    /// Which way a subscription changes.
    SubscribeOperation, prefix "" {
        /// These too.
        Subscribe = "subscribe",
        /// These no more.
        Unsubscribe = "unsubscribe",
    }
}

impl UserRequest {
    /// Reads a client's message: for the simulator.
    ///
    /// # Errors
    /// Text that is no message of this channel.
    pub fn read(message: &str) -> serde_json::Result<Self> {
        let message = message.trim();
        if message.eq_ignore_ascii_case(PING) {
            return Ok(Self::Ping);
        }
        if message.eq_ignore_ascii_case(PONG) {
            return Ok(Self::Pong);
        }
        match serde_json::from_str::<UserChange>(message) {
            Ok(change) if !matches!(change.operation, SubscribeOperation::Other(_)) => {
                return Ok(Self::Change(change));
            }
            _ => {}
        }
        let subscribe: UserSubscribe = serde_json::from_str(message)?;
        if subscribe.channel.eq_ignore_ascii_case(UserSubscribe::CHANNEL) {
            Ok(Self::Subscribe(subscribe))
        } else {
            Err(serde_json::Error::custom("the channel is not `user`"))
        }
    }
}

open_words! {
    /// What happened to an order.
    OrderEventKind, prefix "" {
        /// It was placed.
        Placement = "PLACEMENT",
        /// Something of it was matched.
        Update = "UPDATE",
        /// It rests no more; what it had filled stays filled.
        Cancellation = "CANCELLATION",
    }
}

/// What happened to one of our orders.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderFrame {
    /// The order's id.
    pub id: OrderId,
    /// What happened.
    #[serde(rename = "type", default)]
    pub kind: OrderEventKind,
    /// Where it stands now; frames of old do not say.
    #[serde(default)]
    pub status: ClobOrderStatus,
    /// The API key's id.
    #[serde(default, deserialize_with = "or_default")]
    pub owner: String,
    /// The API key's id, once more.
    #[serde(default, deserialize_with = "or_default")]
    pub order_owner: String,
    /// Whose money.
    #[serde(default, deserialize_with = "or_default")]
    pub maker_address: String,
    /// The condition as it came.
    #[serde(default, deserialize_with = "or_default")]
    pub market: String,
    /// The token.
    pub asset_id: AssetId,
    /// Which way.
    pub side: Side,
    /// Its size; unit by [`super::SizeUnits::of_order`].
    pub original_size: Literal,
    /// What is filled of it; same unit.
    #[serde(default)]
    pub size_matched: Literal,
    /// Its limit.
    #[serde(with = "text")]
    pub price: Price,
    /// The outcome.
    #[serde(default, deserialize_with = "or_default")]
    pub outcome: String,
    /// How long it lives, as the venue writes it.
    #[serde(default, deserialize_with = "or_default")]
    pub order_type: String,
    /// The trades that it made; null for none.
    #[serde(default, deserialize_with = "or_default")]
    pub associate_trades: Vec<String>,
    /// When it arrived.
    #[serde(default, with = "secs_opt")]
    pub created_at: Option<Timestamp>,
    /// When it ends; `"0"` for never.
    #[serde(default, with = "expiration")]
    pub expiration: Option<Timestamp>,
    /// When this happened, as the venue writes it: seconds once, milliseconds now. Not to be reckoned with.
    #[serde(default)]
    pub timestamp: Literal,
}

/// What happened to one of our trades: matched, mined, confirmed, tried again, failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TradeFrame {
    /// The trade as it stands now, as `GET /data/trades` would give it.
    pub trade: ClobTrade,
    /// What a frame says besides.
    pub extra: TradeFrameExtra,
}

/// What a trade's frame carries beyond the trade. None of it decides anything.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TradeFrameExtra {
    /// Always `TRADE`.
    #[serde(rename = "type", default, deserialize_with = "or_default")]
    pub kind: String,
    /// The API key's id, once more.
    #[serde(default, deserialize_with = "or_default")]
    pub trade_owner: String,
    /// `"0"`: fees come from the market, never from here (`venue.md` 5.6).
    #[serde(default)]
    pub fee_rate_bps: Literal,
    /// Which part of a settlement that was cut into several.
    #[serde(default)]
    pub bucket_index: Literal,
    /// When this happened, as the venue writes it. Not to be reckoned with.
    #[serde(default)]
    pub timestamp: Literal,
}

impl TradeFrameExtra {
    /// Of a trade whose key has this id, at this time: for the simulator.
    pub fn of(owner: &str, now: Timestamp) -> Self {
        Self {
            kind: "TRADE".to_owned(),
            trade_owner: owner.to_owned(),
            fee_rate_bps: Literal::new("0"),
            bucket_index: Literal::new("0"),
            timestamp: Literal::new(now.millis().to_string()),
        }
    }
}

impl Serialize for TradeFrame {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Both<'a> {
            #[serde(flatten)]
            trade: &'a ClobTrade,
            #[serde(flatten)]
            extra: &'a TradeFrameExtra,
        }
        Both { trade: &self.trade, extra: &self.extra }.serialize(s)
    }
}

impl<'de> Deserialize<'de> for TradeFrame {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        // Read twice: a flattened field would lose the literals of its numbers.
        let raw = Box::<RawValue>::deserialize(d)?;
        Ok(Self {
            trade: serde_json::from_str(raw.get()).map_err(D::Error::custom)?,
            extra: serde_json::from_str(raw.get()).map_err(D::Error::custom)?,
        })
    }
}

impl TradeFrame {
    /// The orders that had a part in it, ours among them: the taker's first.
    pub fn orders(&self) -> impl Iterator<Item = OrderId> + '_ {
        let makers = self.trade.maker_orders.iter().map(|m| m.order_id);
        std::iter::once(self.trade.taker_order_id).chain(makers)
    }
}

/// One event of the user channel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "event_type", rename_all = "snake_case")]
pub enum UserFrame {
    /// An order came, filled or went.
    Order(Box<OrderFrame>),
    /// A trade was made or moved on.
    Trade(Box<TradeFrame>),
}

/// What the venue sends in one message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UserMessage {
    /// It wants to know whether we are there.
    Ping,
    /// It is there.
    Pong,
    /// Something happened.
    Frames(UserFrames),
}

/// The events of one message.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct UserFrames {
    /// In the order in which they came.
    pub frames: Vec<UserFrame>,
    /// Kinds of event that this build does not know, as named.
    pub strange: Vec<String>,
    /// What could not be read: something happened, and it is not known to which order.
    pub unreadable: Vec<UnreadableRow>,
}

impl UserMessage {
    /// Reads a message. Whatever comes is an answer: what cannot be read is reported as such.
    pub fn read(message: &str) -> Self {
        let message = message.trim();
        if message.eq_ignore_ascii_case(PONG) {
            return Self::Pong;
        }
        if message.eq_ignore_ascii_case(PING) {
            return Self::Ping;
        }
        let mut read = UserFrames::default();
        if message.is_empty() {
            return Self::Frames(read);
        }
        if message.starts_with('[') {
            match serde_json::from_str::<Vec<Box<RawValue>>>(message) {
                Ok(rows) => rows.iter().enumerate().for_each(|(i, row)| read.take(i, row.get())),
                Err(e) => read.refuse(0, message, e.to_string()),
            }
        } else {
            read.take(0, message);
        }
        Self::Frames(read)
    }
}

/// How much of an unreadable frame is kept.
const KEPT: usize = 500;

impl UserFrames {
    fn take(&mut self, index: usize, json: &str) {
        #[derive(Deserialize)]
        struct Head {
            #[serde(default, deserialize_with = "or_default")]
            event_type: String,
            #[serde(rename = "type", default, deserialize_with = "or_default")]
            kind: String,
        }
        let head = match serde_json::from_str::<Head>(json) {
            Ok(head) => head,
            Err(e) => return self.refuse(index, json, e.to_string()),
        };
        // Clients of both kinds were seen: by `event_type`, and by `type` where that is missing.
        let word = if head.event_type.is_empty() { &head.kind } else { &head.event_type };
        let read = if word.eq_ignore_ascii_case("trade") {
            serde_json::from_str(json).map(|trade| UserFrame::Trade(Box::new(trade)))
        } else if word.eq_ignore_ascii_case("order")
            || !matches!(OrderEventKind::read(word), OrderEventKind::Other(_))
        {
            serde_json::from_str(json).map(|order| UserFrame::Order(Box::new(order)))
        } else if word.is_empty() {
            Err(serde_json::Error::custom("a frame says what it is"))
        } else {
            return self.strange.push(word.chars().take(60).collect());
        };
        match read {
            Ok(frame) => self.frames.push(frame),
            Err(e) => self.refuse(index, json, e.to_string()),
        }
    }

    fn refuse(&mut self, index: usize, json: &str, why: String) {
        self.unreadable.push(UnreadableRow { index, json: json.chars().take(KEPT).collect(), why });
    }
}
