//! The user channel: what happens to the orders of one set of credentials (`venue.md` 3.2).

use std::{collections::VecDeque, fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use runtime::{Chance, Clock};
use url::Url;
use zeroize::Zeroizing;

use super::{Backoff, WsSettings, link::Link};
use crate::{
    base::{Base, provide_cryptography},
    error::VenueError,
    port::{UserChannel, UserEvent, UserStream},
    signing::ApiCreds,
    wire::{UserFrame, UserMessage, UserSubscribe},
};

/// Opens streams at one address.
#[derive(Clone)]
pub struct UserSocket {
    url: Url,
    clock: Arc<dyn Clock>,
    chance: Chance,
    settings: WsSettings,
}

impl fmt::Debug for UserSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UserSocket").field("url", &self.url.as_str()).finish_non_exhaustive()
    }
}

impl UserSocket {
    /// Of the venue at this address, `wss://host`, or `ws://` on this machine.
    ///
    /// # Errors
    /// An address that cannot be used.
    pub fn new(
        base: &str,
        clock: Arc<dyn Clock>,
        chance: Chance,
        settings: WsSettings,
    ) -> Result<Self, VenueError> {
        let base = Base::read(base, "wss", "ws")?;
        provide_cryptography();
        Ok(Self { url: base.at("/ws/user"), clock, chance, settings })
    }
}

impl UserChannel for UserSocket {
    fn open(&self, creds: &ApiCreds) -> Box<dyn UserStream> {
        Box::new(Listening {
            socket: self.clone(),
            creds: creds.clone(),
            link: None,
            heard: false,
            open_at: Duration::ZERO,
            backoff: Backoff::new(self.settings.first_wait, self.settings.longest_wait),
            events: VecDeque::new(),
        })
    }
}

/// A stream: a connection, or the wait for one.
struct Listening {
    socket: UserSocket,
    creds: ApiCreds,
    link: Option<Link>,
    /// Whether the venue answered on this connection, after it was told who we are.
    heard: bool,
    /// The next connection is tried no earlier.
    open_at: Duration,
    backoff: Backoff,
    /// What was read and not taken yet.
    events: VecDeque<UserEvent>,
}

impl Listening {
    fn subscribe(&self) -> Result<Zeroizing<String>, String> {
        let subscribe = UserSubscribe::everything(self.creds.to_row());
        serde_json::to_string(&subscribe).map(Zeroizing::new).map_err(|e| e.to_string())
    }

    async fn connect(&mut self) {
        let clock = &self.socket.clock;
        let wait = self.open_at.saturating_sub(clock.monotonic());
        if !wait.is_zero() {
            clock.sleep(wait).await;
        }
        let opened = match self.subscribe() {
            Ok(subscribe) => {
                let settings = self.socket.settings;
                Link::open(&self.socket.url, subscribe, self.socket.clock.clone(), settings).await
            }
            Err(why) => Err(why),
        };
        match opened {
            Ok(link) => self.link = Some(link),
            Err(why) => self.broke(why),
        }
    }

    fn broke(&mut self, why: String) {
        // One that the venue drops at once, again and again, is not tried again at once.
        let lived = self.link.take().map_or(Duration::ZERO, |link| link.age());
        if self.heard && lived >= self.socket.settings.stable {
            self.backoff.reset();
        }
        let wait = self.backoff.failed(&self.socket.chance);
        self.open_at = self.socket.clock.monotonic().saturating_add(wait);
        tracing::info!(key = self.creds.key(), %why, ?wait, "the user stream broke");
        if std::mem::take(&mut self.heard) {
            self.events.push_back(UserEvent::Gap { why });
        }
    }

    async fn listen(&mut self) {
        let Some(link) = &mut self.link else { return };
        let text = match link.text().await {
            Ok(text) => text,
            Err(why) => return self.broke(why),
        };
        if !std::mem::replace(&mut self.heard, true) {
            self.events.push_back(UserEvent::Connected);
        }
        match UserMessage::read(&text) {
            UserMessage::Pong => {}
            UserMessage::Ping => {
                if let Err(why) = link.pong().await {
                    self.broke(why);
                }
            }
            UserMessage::Frames(read) => {
                for word in read.strange {
                    tracing::debug!(%word, "a kind of event that nobody knows");
                }
                self.events.extend(read.frames.into_iter().map(|frame| match frame {
                    UserFrame::Order(order) => UserEvent::Order(order),
                    UserFrame::Trade(trade) => UserEvent::Trade(trade),
                }));
                for row in read.unreadable {
                    tracing::warn!(why = %row.why, "an event of the user stream cannot be read");
                    self.events.push_back(UserEvent::Unreadable { why: row.why });
                }
            }
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
        if self.link.is_some() {
            self.broke("given up by its listener".to_owned());
        }
    }
}
