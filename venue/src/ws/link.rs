//! One connection: subscribed, pinged, and given up when nothing comes from it.

use std::{sync::Arc, time::Duration};

use futures_util::{SinkExt, StreamExt};
use runtime::Clock;
use tokio::net::TcpStream;
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async_with_config,
    tungstenite::{Message, Utf8Bytes, protocol::WebSocketConfig},
};
use url::Url;
use zeroize::Zeroizing;

use super::WsSettings;
use crate::wire::user::{PING, PONG};

/// More than any message of the contract.
const MAX_MESSAGE: usize = 4 << 20;

/// Why a connection ended. Never holds what was sent.
pub(super) type Broken = String;

pub(super) struct Link {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    clock: Arc<dyn Clock>,
    settings: WsSettings,
    opened_at: Duration,
    heard_at: Duration,
    ping_at: Duration,
}

impl Link {
    /// Connects and says what is wanted. The first ping goes at once: its answer shows that the rest was heard.
    pub(super) async fn open(
        url: &Url,
        subscribe: Zeroizing<String>,
        clock: Arc<dyn Clock>,
        settings: WsSettings,
    ) -> Result<Self, Broken> {
        let config = WebSocketConfig::default()
            .max_message_size(Some(MAX_MESSAGE))
            .max_frame_size(Some(MAX_MESSAGE))
            .read_buffer_size(16 << 10)
            .write_buffer_size(0);
        let opening = async {
            let connecting = connect_async_with_config(url.as_str(), Some(config), true);
            let (mut socket, _) = connecting.await.map_err(|e| e.to_string())?;
            let message = Message::text(subscribe.as_str());
            socket.send(message).await.map_err(|e| e.to_string())?;
            Ok::<_, Broken>(socket)
        };
        let socket = tokio::select! {
            biased;
            socket = opening => socket?,
            () = clock.sleep(settings.connect_timeout) => return Err("no connection in time".to_owned()),
        };
        let now = clock.monotonic();
        Ok(Self { socket, clock, settings, opened_at: now, heard_at: now, ping_at: now })
    }

    /// How long it has lived.
    pub(super) fn age(&self) -> Duration {
        self.clock.monotonic().saturating_sub(self.opened_at)
    }

    /// The next text. Dropping the call loses none.
    pub(super) async fn text(&mut self) -> Result<Utf8Bytes, Broken> {
        loop {
            let now = self.clock.monotonic();
            let dead_at = self.heard_at.saturating_add(self.settings.silence);
            if now >= dead_at {
                return Err(format!("nothing was heard for {} s", self.settings.silence.as_secs_f32()));
            }
            if self.age() >= self.settings.renew {
                return Err("made anew, as it is now and then".to_owned());
            }
            if now >= self.ping_at {
                self.ping_at = now.saturating_add(self.settings.ping);
                self.say(PING, dead_at.saturating_sub(now)).await?;
            }
            let renew_at = self.opened_at.saturating_add(self.settings.renew);
            let wait = self.ping_at.min(dead_at).min(renew_at).saturating_sub(now);
            let message = tokio::select! {
                biased;
                message = self.socket.next() => message,
                () = self.clock.sleep(wait) => continue,
            };
            self.heard_at = self.clock.monotonic();
            match message {
                Some(Ok(Message::Text(text))) => return Ok(text),
                // Whatever is in it, it was meant to be read.
                Some(Ok(Message::Binary(bytes))) => {
                    return Ok(String::from_utf8_lossy(&bytes).into_owned().into());
                }
                Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => {}
                Some(Ok(Message::Close(Some(frame)))) => {
                    return Err(format!("closed by the venue: {} {}", u16::from(frame.code), frame.reason));
                }
                Some(Ok(Message::Close(None))) | None => return Err("closed by the venue".to_owned()),
                Some(Err(e)) => return Err(e.to_string()),
            }
        }
    }

    /// Answers a ping that came as text.
    pub(super) async fn pong(&mut self) -> Result<(), Broken> {
        let within = self.settings.silence;
        self.say(PONG, within).await
    }

    async fn say(&mut self, text: &'static str, within: Duration) -> Result<(), Broken> {
        tokio::select! {
            biased;
            sent = self.socket.send(Message::text(text)) => sent.map_err(|e| e.to_string()),
            // The venue does not read any more.
            () = self.clock.sleep(within) => Err("nothing could be sent".to_owned()),
        }
    }
}
