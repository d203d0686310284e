//! A user channel in memory: says what it is told to say.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering},
};

use async_trait::async_trait;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use venue::{
    port::{UserChannel, UserEvent, UserStream},
    signing::ApiCreds,
};

/// Clones share it.
#[derive(Clone, Default)]
pub struct FakeChannel {
    open: Arc<Mutex<Vec<UnboundedSender<UserEvent>>>>,
    opened: Arc<AtomicUsize>,
    distrusted: Arc<AtomicUsize>,
}

impl FakeChannel {
    /// Tells every stream that is open.
    pub fn tell(&self, event: &UserEvent) {
        self.open.lock().unwrap().retain(|stream| stream.send(event.clone()).is_ok());
    }

    pub fn gap(&self) {
        self.tell(&UserEvent::Gap { why: "a test".into() });
    }

    /// Streams that are listened to.
    pub fn listeners(&self) -> usize {
        self.open.lock().unwrap().iter().filter(|stream| !stream.is_closed()).count()
    }

    pub fn opened(&self) -> usize {
        self.opened.load(Ordering::SeqCst)
    }

    /// How often a listener gave its stream up.
    pub fn distrusted(&self) -> usize {
        self.distrusted.load(Ordering::SeqCst)
    }
}

struct Stream {
    events: UnboundedReceiver<UserEvent>,
    distrusted: Arc<AtomicUsize>,
}

#[async_trait]
impl UserStream for Stream {
    async fn next(&mut self) -> UserEvent {
        match self.events.recv().await {
            Some(event) => event,
            None => std::future::pending().await,
        }
    }

    fn distrust(&mut self) {
        self.distrusted.fetch_add(1, Ordering::SeqCst);
    }
}

impl UserChannel for FakeChannel {
    fn open(&self, _: &ApiCreds) -> Box<dyn UserStream> {
        self.opened.fetch_add(1, Ordering::SeqCst);
        let (tell, events) = unbounded_channel();
        self.open.lock().unwrap().push(tell);
        Box::new(Stream { events, distrusted: self.distrusted.clone() })
    }
}
