//! The user stream (`venue.md` 3.2): over a WebSocket, or without one for callers in the same process.
//!
//! A connection sleeps until a request changed the world or until the world's next own event, so it works
//! under a virtual clock, and what it sends depends on the clock and on requests alone.

mod session;

use std::{collections::VecDeque, sync::Arc};

use axum::extract::ws::{CloseFrame, Message, Utf8Bytes, WebSocket};

pub use session::Out;
use session::{Around, Session};

use crate::{
    ledger,
    shared::{Shared, lock},
};

/// A connection, whatever carries it.
#[derive(Debug)]
pub struct Connection {
    shared: Arc<Shared>,
    session: Session,
}

impl Connection {
    /// A new one.
    pub fn new(shared: Arc<Shared>) -> Self {
        let session = Session::new(shared.connect());
        Self { shared, session }
    }

    fn around<T>(
        &mut self,
        with: impl FnOnce(&mut Session, &mut crate::world::World, &mut Around<'_>) -> T,
    ) -> T {
        let switches = self.shared.switches();
        let mut world = self.shared.world();
        let mut faults = lock(&self.shared.stream_faults);
        let mut around = Around {
            now: world.now(),
            frames: switches.stream_frames,
            most_markets: usize::try_from(switches.stream_markets).unwrap_or(usize::MAX),
            faults: &mut faults,
        };
        with(&mut self.session, &mut world, &mut around)
    }

    /// A client's message.
    pub fn said(&mut self, text: &str) -> Vec<Out> {
        let shared = self.shared.clone();
        let holder = |shown: &_| shared.keys().holder(shown).map(|key| key.id.clone());
        self.around(|session, world, around| session.said(text, &mut world.exchange.news, around, holder))
    }

    /// What is to be sent now.
    pub fn pump(&mut self) -> Vec<Out> {
        let switches = self.shared.switches();
        self.around(|session, world, around| {
            let world = &*world;
            session.pump(&world.exchange.news, around, |told| {
                let condition = world.registry.get(told.order.token.market).map(|m| m.condition);
                Some((ledger::frame(world, told, &switches)?, condition))
            })
        })
    }

    /// Returns when there may be something to send. False: the server ended.
    pub async fn stirred(&mut self) -> bool {
        let shared = self.shared.clone();
        let stirred = shared.stirred();
        tokio::pin!(stirred);
        // Registered before the look at the world, so that what happens in between is not missed.
        stirred.as_mut().enable();
        let (now, due) = {
            let mut world = shared.world();
            let due = [world.next_stir(), self.session.next_due()].into_iter().flatten().min();
            let fresh = world.exchange.news.next() > self.session.seen();
            (world.now(), if fresh { Some(world.now()) } else { due })
        };
        let wait = async {
            match due {
                Some(due) if due <= now => {}
                Some(due) => {
                    let micros = u64::try_from(due.micros() - now.micros()).unwrap_or(0);
                    shared.clock.sleep(std::time::Duration::from_micros(micros)).await;
                }
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = shared.ended.requested() => false,
            () = &mut stirred => true,
            () = wait => true,
        }
    }
}

/// Serves a WebSocket until either side ends it.
pub async fn serve(mut socket: WebSocket, shared: Arc<Shared>) {
    let mut connection = Connection::new(shared);
    loop {
        let mut out: VecDeque<Out> = connection.pump().into();
        if out.is_empty() {
            out = tokio::select! {
                biased;
                message = socket.recv() => match message {
                    Some(Ok(Message::Text(text))) => connection.said(&text).into(),
                    Some(Ok(Message::Close(_)) | Err(_)) | None => return,
                    // The protocol's own pings are answered below us.
                    Some(Ok(_)) => continue,
                },
                goes_on = connection.stirred() => {
                    if !goes_on {
                        return;
                    }
                    continue;
                }
            };
        }
        while let Some(out) = out.pop_front() {
            let sent = match out {
                Out::Text(text) => socket.send(Message::Text(Utf8Bytes::from(text))).await,
                Out::Close { code, reason } => {
                    let frame = CloseFrame { code, reason: Utf8Bytes::from_static(reason) };
                    // It is over, whether the client hears of it or not.
                    let _ = socket.send(Message::Close(Some(frame))).await;
                    return;
                }
                Out::Cut => return,
            };
            if sent.is_err() {
                return;
            }
        }
    }
}
