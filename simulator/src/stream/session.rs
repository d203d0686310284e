//! One connection of the user stream: what a client says, what it is told, and what goes wrong on the way.
//! No socket and no clock.

use std::collections::{BTreeMap, BTreeSet};

use schemas::{ConditionId, Timestamp};
use venue::wire::{
    UserFrame, UserRequest,
    user::{PONG, SubscribeOperation},
};

use crate::{
    exchange::NewsLog,
    faults::stream::{Mishap, StreamFaults},
    options::StreamFrames,
};

/// What goes to the client, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Out {
    /// A text message.
    Text(String),
    /// The connection is closed in words.
    Close {
        /// The code.
        code: u16,
        /// The reason.
        reason: &'static str,
    },
    /// The connection is cut, without a word.
    Cut,
}

/// What a client is told that does not read what it is sent (`venue.md` 3.1).
const SLOW: Out = Out::Close { code: 1013, reason: "slow consumer: send buffer full" };

/// An event on its way: its number among the news, its JSON.
#[derive(Debug, Clone)]
struct Event {
    number: u64,
    json: String,
}

/// A connection.
#[derive(Debug)]
pub struct Session {
    /// Its number, from 1.
    number: u64,
    /// Whose; `None` before it said so.
    owner: Option<String>,
    /// The conditions it wants; `None` for all.
    markets: Option<BTreeSet<ConditionId>>,
    /// The number of the next news.
    next: u64,
    /// Nothing is sent before this.
    silent_until: Option<Timestamp>,
    /// What comes late: by when, and by number.
    late: BTreeMap<(Timestamp, u64), Event>,
    /// What waits for the next event to go first.
    swapped: Option<Event>,
}

/// What a session looks at besides its news.
pub struct Around<'a> {
    /// The time.
    pub now: Timestamp,
    /// How events are framed.
    pub frames: StreamFrames,
    /// The most markets that a connection may name; 0: any number.
    pub most_markets: usize,
    /// What goes wrong.
    pub faults: &'a mut StreamFaults,
}

impl Session {
    /// A new connection.
    pub const fn new(number: u64) -> Self {
        Self {
            number,
            owner: None,
            markets: None,
            next: 0,
            silent_until: None,
            late: BTreeMap::new(),
            swapped: None,
        }
    }

    /// A client's message. `holder` finds the owner of credentials. News count from here on: nothing is repeated.
    pub fn said(
        &mut self,
        text: &str,
        news: &mut NewsLog,
        around: &Around<'_>,
        holder: impl FnOnce(&venue::wire::ApiKeyRow) -> Option<String>,
    ) -> Vec<Out> {
        let silent = self.is_silent(around.now);
        match UserRequest::read(text) {
            Ok(UserRequest::Ping) if silent => vec![],
            Ok(UserRequest::Ping) => vec![Out::Text(PONG.to_owned())],
            Ok(UserRequest::Pong) => vec![],
            Ok(UserRequest::Subscribe(asked)) => {
                let Some(owner) = holder(&asked.auth) else {
                    return vec![Out::Close { code: 1008, reason: "unauthorized" }];
                };
                let markets = conditions(&asked.markets);
                if too_many(markets.len(), around) {
                    return vec![Out::Close { code: 1008, reason: "too many markets" }];
                }
                self.owner = Some(owner);
                self.markets = (!asked.markets.is_empty()).then_some(markets);
                news.want();
                self.next = news.next();
                vec![]
            }
            Ok(UserRequest::Change(change)) => {
                let named = conditions(&change.markets);
                let markets = self.markets.get_or_insert_default();
                match change.operation {
                    SubscribeOperation::Unsubscribe => markets.retain(|m| !named.contains(m)),
                    _ => markets.extend(named),
                }
                if too_many(markets.len(), around) {
                    return vec![Out::Close { code: 1008, reason: "too many markets" }];
                }
                vec![]
            }
            Err(_) => vec![Out::Text("INVALID OPERATION".to_owned())],
        }
    }

    /// Whether nothing is sent now.
    fn is_silent(&self, now: Timestamp) -> bool {
        self.silent_until.is_some_and(|until| now < until)
    }

    /// The number of the next news that it has not looked at. All of it, before it said whose it is.
    pub const fn seen(&self) -> u64 {
        if self.owner.is_some() { self.next } else { u64::MAX }
    }

    /// When something is to be sent by itself.
    pub fn next_due(&self) -> Option<Timestamp> {
        self.late.first_key_value().map(|((at, _), _)| *at)
    }

    /// Everything that is to be sent now. `render` writes one piece of news for its owner, and names its condition.
    pub fn pump(
        &mut self,
        news: &NewsLog,
        around: &mut Around<'_>,
        render: impl Fn(&crate::exchange::Told) -> Option<(UserFrame, Option<ConditionId>)>,
    ) -> Vec<Out> {
        let Some(owner) = self.owner.clone() else { return vec![] };
        if self.next < news.first() {
            return vec![SLOW];
        }
        let mut events = Vec::new();
        let mut end = None;
        for (number, told) in news.since(self.next) {
            self.next = number + 1;
            if told.order.owner != owner {
                continue;
            }
            let Some((frame, condition)) = render(told) else { continue };
            let wanted = self.markets.as_ref().is_none_or(|m| condition.is_some_and(|c| m.contains(&c)));
            let Some(json) = serde_json::to_string(&frame).ok().filter(|_| wanted) else { continue };
            if self.is_silent(told.at) || self.is_silent(around.now) {
                continue;
            }
            let event = Event { number, json };
            match around.faults.meet(&owner, self.number, number) {
                Some(Mishap::Duplicate) => events.extend([event.clone(), event]),
                Some(Mishap::Lose) => continue,
                Some(Mishap::Late(millis)) => {
                    let due = told.at.plus(std::time::Duration::from_millis(millis.into()));
                    self.late.insert((due, number), event);
                    continue;
                }
                Some(Mishap::Swap) if self.swapped.is_none() => {
                    self.swapped = Some(event);
                    continue;
                }
                // Of two in a row that are to change places, the second stays.
                None | Some(Mishap::Swap) => events.push(event),
                Some(Mishap::Silent(millis)) => {
                    let until = told.at.plus(std::time::Duration::from_millis(millis.into()));
                    self.silent_until = Some(until);
                    continue;
                }
                Some(Mishap::Cut) => end = Some(Out::Cut),
                Some(Mishap::Close) => end = Some(SLOW),
            }
            if end.is_some() {
                break;
            }
            events.extend(self.swapped.take());
        }
        while let Some(entry) = self.late.first_entry().filter(|e| e.key().0 <= around.now) {
            let event = entry.remove();
            if !self.is_silent(around.now) {
                events.push(event);
            }
        }
        let mut out = Self::framed(&events, around.frames);
        out.extend(end);
        out
    }

    fn framed(events: &[Event], frames: StreamFrames) -> Vec<Out> {
        let array = |events: &[Event]| {
            let list: Vec<&str> = events.iter().map(|e| e.json.as_str()).collect();
            Out::Text(format!("[{}]", list.join(",")))
        };
        let several = events.len() > 1;
        match frames {
            _ if events.is_empty() => vec![],
            StreamFrames::Arrays => vec![array(events)],
            StreamFrames::Mixed if several => vec![array(events)],
            StreamFrames::Mixed if events.iter().any(|e| e.number % 2 == 1) => vec![array(events)],
            StreamFrames::Objects | StreamFrames::Mixed => {
                events.iter().map(|e| Out::Text(e.json.clone())).collect()
            }
        }
    }
}

fn conditions(named: &[String]) -> BTreeSet<ConditionId> {
    named.iter().filter_map(|text| ConditionId::parse_padded(text).ok()).collect()
}

const fn too_many(markets: usize, around: &Around<'_>) -> bool {
    around.most_markets > 0 && markets > around.most_markets
}

#[cfg(test)]
mod tests {
    use schemas::{Address, AssetId, OrderId, OrderType, Price, Shares, Side, Usdc};
    use venue::{
        signing::Route,
        wire::{ApiKeyRow, ClobOrderStatus, UserSubscribe},
    };

    use super::*;
    use crate::{
        exchange::{Fate, News, Order, Target, Told},
        market::{MarketRef, TokenRef},
    };

    fn told(n: u32) -> Told {
        let order = Order {
            id: OrderId::from_bytes([u8::try_from(n % 256).unwrap(); 32]),
            owner: "me".to_owned(),
            maker: Address::ZERO,
            token: TokenRef { market: MarketRef(0), second: false },
            route: Route::Normal,
            side: Side::Buy,
            order_type: OrderType::Gtc,
            limit: Price::from_micro(500_000),
            maker_amount: 5_000_000,
            taker_amount: 10_000_000,
            target: Target::Shares(Shares::from_units(10)),
            matched: Shares::ZERO,
            dollars: Usdc::ZERO,
            fees: Usdc::ZERO,
            state: ClobOrderStatus::Live,
            received: Timestamp::from_secs(1),
            accepted: Timestamp::from_secs(1),
            expiration: None,
            lapses: None,
            trades: Vec::new(),
            posts: 1,
            fate: Fate::Settles,
        };
        Told { at: Timestamp::from_secs(1), order, trade_ids: Vec::new(), news: News::Placed }
    }

    fn frame(told: &Told) -> Option<(UserFrame, Option<ConditionId>)> {
        let json = serde_json::json!({
            "id": told.order.id, "asset_id": "1".parse::<AssetId>().unwrap(), "side": "BUY",
            "original_size": "10", "price": "0.5",
        });
        let frame = serde_json::from_value(json).ok()?;
        Some((UserFrame::Order(Box::new(frame)), None))
    }

    #[test]
    fn whoever_reads_too_slowly_is_sent_away_and_nobody_is_told_what_was_before() {
        let mut faults = StreamFaults::default();
        let mut around = Around {
            now: Timestamp::from_secs(1),
            frames: StreamFrames::Objects,
            most_markets: 0,
            faults: &mut faults,
        };
        let row = ApiKeyRow { api_key: "id".into(), secret: "s".into(), passphrase: "p".into() };
        let subscribe = serde_json::to_string(&UserSubscribe::everything(row)).unwrap();
        let mut news = NewsLog::default();
        news.tell(told(0));
        assert_eq!(news.next(), 0, "nobody reads: nothing is kept");
        news.want();
        news.tell(told(1));
        let mut session = Session::new(1);
        assert_eq!(session.said(&subscribe, &mut news, &around, |_| Some("me".to_owned())), []);
        assert_eq!(session.pump(&news, &mut around, frame), [], "that was before");
        for n in 0..8_192 {
            news.tell(told(n));
        }
        assert_eq!(session.pump(&news, &mut around, frame).len(), 8_192);
        for n in 0..8_193 {
            news.tell(told(n));
        }
        assert_eq!(session.pump(&news, &mut around, frame), [SLOW]);
    }
}
