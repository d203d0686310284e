//! The user stream without a socket: the same sessions, and a listener as patient as one behind a socket.
//! Nothing in it waits but for the given clock.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use async_trait::async_trait;
use schemas::Timestamp;
use venue::{
    port::{UserChannel, UserEvent, UserStream},
    signing::ApiCreds,
    wire::{UserFrame, UserMessage, UserSubscribe, user::PING},
};

use super::Local;
use crate::{
    faults::{Answer, Asked},
    shared::Shared,
    stream::{Connection, Out},
};

/// How often a listener asks whether anybody is there.
const PING_EVERY: Duration = Duration::from_secs(10);
/// A connection from which nothing came for so long is given up.
const SILENCE: Duration = Duration::from_secs(30);
/// After a connection broke, the next is tried so much later.
const WAIT: Duration = Duration::from_secs(1);

impl UserChannel for Local {
    fn open(&self, creds: &ApiCreds) -> Box<dyn UserStream> {
        Box::new(Listening {
            shared: self.shared.clone(),
            creds: creds.clone(),
            link: None,
            open_at: self.shared.clock.now(),
            events: VecDeque::new(),
        })
    }
}

struct Link {
    connection: Connection,
    heard: Timestamp,
    ping_at: Timestamp,
    connected: bool,
}

struct Listening {
    shared: Arc<Shared>,
    creds: ApiCreds,
    link: Option<Link>,
    open_at: Timestamp,
    events: VecDeque<UserEvent>,
}

/// What a fault makes of an attempt to connect, if one waits for it.
fn meets_fault(shared: &Shared) -> Option<String> {
    shared.faults_ask()?;
    let asked = Asked { method: "GET", path: "/ws/user", orders: &[], body: b"" };
    let fault = shared.meet_fault(asked)?;
    match fault.answer {
        Answer::Normal if fault.execute => None,
        Answer::Normal | Answer::Drop => Some("the connection was cut".to_owned()),
        Answer::Status { status, error, .. } => Some(format!("{status} {error}")),
    }
}

impl Listening {
    fn now(&self) -> Timestamp {
        self.shared.clock.now()
    }

    async fn connect(&mut self) {
        let now = self.now();
        if self.open_at > now {
            let micros = u64::try_from(self.open_at.micros() - now.micros()).unwrap_or(0);
            self.shared.clock.sleep(Duration::from_micros(micros)).await;
        }
        if self.shared.ended.is_requested() {
            return std::future::pending().await;
        }
        if let Some(why) = meets_fault(&self.shared) {
            tracing::debug!(%why, "no connection to the user stream");
            self.open_at = self.now().plus(WAIT);
            return;
        }
        let (subscribe, now) = (UserSubscribe::everything(self.creds.to_row()), self.now());
        let connection = Connection::new(self.shared.clone());
        self.link = Some(Link { connection, heard: now, ping_at: now, connected: false });
        // What is a string and lists of strings becomes JSON.
        let text = serde_json::to_string(&subscribe).unwrap_or_default();
        self.say(&text);
    }

    fn say(&mut self, text: &str) {
        let out = self.link.as_mut().map(|link| link.connection.said(text)).unwrap_or_default();
        self.take(out);
    }

    fn broke(&mut self, why: &str) {
        let Some(link) = self.link.take() else { return };
        self.open_at = self.now().plus(WAIT);
        if link.connected {
            self.events.push_back(UserEvent::Gap { why: why.to_owned() });
        }
    }

    fn take(&mut self, out: Vec<Out>) {
        let now = self.now();
        for out in out {
            let text = match out {
                Out::Text(text) => text,
                Out::Close { code, reason } => {
                    return self.broke(&format!("closed by the venue: {code} {reason}"));
                }
                Out::Cut => return self.broke("closed by the venue"),
            };
            let Some(link) = &mut self.link else { return };
            link.heard = now;
            if !std::mem::replace(&mut link.connected, true) {
                self.events.push_back(UserEvent::Connected);
            }
            let UserMessage::Frames(read) = UserMessage::read(&text) else { continue };
            self.events.extend(read.frames.into_iter().map(|frame| match frame {
                UserFrame::Order(order) => UserEvent::Order(order),
                UserFrame::Trade(trade) => UserEvent::Trade(trade),
            }));
            let unreadable = read.unreadable.into_iter();
            self.events.extend(unreadable.map(|row| UserEvent::Unreadable { why: row.why }));
        }
    }

    async fn listen(&mut self) {
        let now = self.now();
        let Some(link) = &mut self.link else { return };
        let out = link.connection.pump();
        if !out.is_empty() {
            return self.take(out);
        }
        let dead_at = link.heard.plus(SILENCE);
        if now >= dead_at {
            return self.broke("nothing was heard for 30 s");
        }
        if now >= link.ping_at {
            link.ping_at = now.plus(PING_EVERY);
            return self.say(PING);
        }
        let micros = u64::try_from(link.ping_at.min(dead_at).micros() - now.micros()).unwrap_or(0);
        let goes_on = tokio::select! {
            biased;
            goes_on = link.connection.stirred() => goes_on,
            () = self.shared.clock.sleep(Duration::from_micros(micros)) => true,
        };
        if !goes_on {
            self.broke("the venue ended");
        }
    }
}

#[async_trait]
impl UserStream for Listening {
    async fn next(&mut self) -> UserEvent {
        loop {
            if let Some(event) = self.events.pop_front() {
                return event;
            }
            if self.link.is_some() {
                self.listen().await;
            } else {
                self.connect().await;
            }
        }
    }

    fn distrust(&mut self) {
        self.broke("given up by its listener");
    }
}
