//! The user stream against a WebSocket server on 127.0.0.1 that does what a test tells it to.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::{sync::Arc, time::Duration};

use futures_util::{SinkExt, StreamExt};
use runtime::{Chance, Clock, SystemClock, VirtualClock};
use schemas::{ids::Address, time::Timestamp};
use secrecy::SecretString;
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinHandle,
    time::timeout,
};
use tokio_tungstenite::{
    WebSocketStream, accept_async,
    tungstenite::{
        Message,
        protocol::{CloseFrame, frame::coding::CloseCode},
    },
};
use venue::{
    port::{UserChannel, UserEvent, UserStream},
    signing::ApiCreds,
    wire::UserRequest,
    ws::{UserSocket, WsSettings},
};

/// How long anything may take that happens at once.
const SOON: Duration = Duration::from_secs(20);

fn creds() -> ApiCreds {
    let secret = |text: &str| SecretString::from(text);
    ApiCreds::new(Address::ZERO, "key-1", secret("c2VjcmV0"), secret("hush-hush")).unwrap()
}

fn quick() -> WsSettings {
    WsSettings {
        first_wait: Duration::from_millis(1),
        longest_wait: Duration::from_millis(20),
        ..WsSettings::default()
    }
}

struct Venue {
    listener: TcpListener,
}

/// The venue's end of one connection.
struct Connection(WebSocketStream<TcpStream>);

impl Venue {
    async fn new() -> Self {
        Self { listener: TcpListener::bind("127.0.0.1:0").await.unwrap() }
    }

    fn channel(&self, clock: Arc<dyn Clock>, settings: WsSettings) -> UserSocket {
        let base = format!("ws://{}", self.listener.local_addr().unwrap());
        UserSocket::new(&base, clock, Chance::seeded(5), settings).unwrap()
    }

    fn stream(&self, settings: WsSettings) -> Box<dyn UserStream> {
        self.channel(SystemClock::shared(), settings).open(&creds())
    }

    async fn accept(&self) -> Connection {
        let (socket, _) = timeout(SOON, self.listener.accept()).await.expect("a connection").unwrap();
        Connection(accept_async(socket).await.unwrap())
    }

    /// Accepts, and reads what every client says first.
    async fn subscribed(&self) -> Connection {
        let mut connection = self.accept().await;
        match connection.hears().await {
            UserRequest::Subscribe(subscribe) => {
                assert_eq!(subscribe.auth.api_key, "key-1");
                assert_eq!(subscribe.auth.secret, "c2VjcmV0");
                assert_eq!(subscribe.auth.passphrase, "hush-hush");
                assert!(subscribe.markets.is_empty());
            }
            other => panic!("{other:?}"),
        }
        assert!(matches!(connection.hears().await, UserRequest::Ping), "a ping at once");
        connection.says("PONG").await;
        connection
    }
}

impl Connection {
    async fn hears(&mut self) -> UserRequest {
        loop {
            let message = timeout(SOON, self.0.next()).await.expect("a message").expect("an open socket");
            if let Message::Text(text) = message.unwrap() {
                return UserRequest::read(&text).unwrap();
            }
        }
    }

    async fn says(&mut self, text: impl Into<String>) {
        self.0.send(Message::text(text.into())).await.unwrap();
    }
}

/// A stream that is read in the background, for what a test has to wait for on both ends.
struct Reader {
    events: tokio::sync::mpsc::UnboundedReceiver<UserEvent>,
    task: JoinHandle<()>,
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Reader {
    fn of(mut stream: Box<dyn UserStream>) -> Self {
        let (tell, events) = tokio::sync::mpsc::unbounded_channel();
        let task = tokio::spawn(async move { while tell.send(stream.next().await).is_ok() {} });
        Self { events, task }
    }

    async fn next(&mut self) -> UserEvent {
        timeout(SOON, self.events.recv()).await.expect("an event").unwrap()
    }

    async fn connected(&mut self) {
        let event = self.next().await;
        assert_eq!(event, UserEvent::Connected);
    }

    async fn gap(&mut self) -> String {
        match self.next().await {
            UserEvent::Gap { why } => why,
            other => panic!("{other:?}"),
        }
    }

    /// The last byte of the order's id that the next event is about.
    async fn order(&mut self) -> u8 {
        match self.next().await {
            UserEvent::Order(frame) => frame.id.as_bytes()[31],
            other => panic!("{other:?}"),
        }
    }
}

fn order(n: u8) -> String {
    format!(
        r#"{{"event_type":"order","id":"0x{}","asset_id":"7132","side":"BUY","original_size":"10","size_matched":"0",
        "price":"0.5","type":"PLACEMENT","status":"LIVE","timestamp":"1790000001123"}}"#,
        format!("{n:02x}").repeat(32)
    )
}

#[tokio::test]
async fn events_come_as_they_were_sent_reordered_and_doubled_alike() {
    let venue = Venue::new().await;
    let mut reader = Reader::of(venue.stream(quick()));
    let mut connection = venue.subscribed().await;
    reader.connected().await;
    connection.says(order(1)).await;
    connection.says(format!("[{},{}]", order(3), order(2))).await;
    connection.says(order(3)).await;
    for n in [1, 3, 2, 3] {
        assert_eq!(reader.order().await, n);
    }
    // The venue may ping as text too.
    connection.says("PING").await;
    assert!(matches!(connection.hears().await, UserRequest::Pong));
}

#[tokio::test]
async fn a_connection_that_breaks_is_a_gap_and_what_was_missed_stays_missed() {
    let venue = Venue::new().await;
    let mut reader = Reader::of(venue.stream(quick()));
    let mut connection = venue.subscribed().await;
    reader.connected().await;
    connection.says(order(1)).await;
    assert_eq!(reader.order().await, 1);
    drop(connection);
    assert!(!reader.gap().await.is_empty());
    // Order 2 happens now, and nobody hears of it.
    let mut connection = venue.subscribed().await;
    reader.connected().await;
    connection.says(order(3)).await;
    assert_eq!(reader.order().await, 3);
    // A close that says why is told so.
    let close = CloseFrame { code: CloseCode::Again, reason: "slow consumer: send buffer full".into() };
    connection.0.send(Message::Close(Some(close))).await.unwrap();
    let why = reader.gap().await;
    assert!(why.contains("1013") && why.contains("slow consumer"), "{why}");
    let _connection = venue.subscribed().await;
    reader.connected().await;
}

#[tokio::test]
async fn a_frame_that_cannot_be_read_is_told_and_ends_nothing() {
    let venue = Venue::new().await;
    let mut reader = Reader::of(venue.stream(quick()));
    let mut connection = venue.subscribed().await;
    reader.connected().await;
    for garbage in ["{", "\u{fffd}\u{0}", "[1,", "<html>502</html>"] {
        connection.says(garbage).await;
        assert!(matches!(reader.next().await, UserEvent::Unreadable { .. }), "{garbage}");
    }
    connection.0.send(Message::binary(vec![0xff, 0xfe, 0x00])).await.unwrap();
    assert!(matches!(reader.next().await, UserEvent::Unreadable { .. }));
    connection.says(format!("[{},{{\"event_type\":\"order\"}}]", order(1))).await;
    assert_eq!(reader.order().await, 1);
    assert!(matches!(reader.next().await, UserEvent::Unreadable { .. }));
    // Words of later days are none of our business.
    connection.says(r#"{"event_type":"something_new"}"#).await;
    connection.says(order(2)).await;
    assert_eq!(reader.order().await, 2);
}

/// Lets virtual time pass, a step at a time, until something is done; how much passed.
async fn passing<T>(clock: &VirtualClock, step: Duration, until: impl Future<Output = T>) -> (T, Duration) {
    let begin = clock.monotonic();
    tokio::pin!(until);
    loop {
        tokio::select! {
            biased;
            done = &mut until => return (done, clock.monotonic().saturating_sub(begin)),
            // The network moves in the machine's time: it gets a moment for each step.
            () = tokio::time::sleep(Duration::from_millis(1)) => clock.advance(step),
        }
    }
}

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test]
async fn a_silent_socket_is_given_up_and_a_quiet_one_is_not() {
    let venue = Venue::new().await;
    let clock = VirtualClock::at(Timestamp::from_secs(1_790_000_000));
    let settings = WsSettings { first_wait: Duration::ZERO, ..WsSettings::default() };
    let mut reader = Reader::of(venue.channel(Arc::new(clock.clone()), settings).open(&creds()));
    let mut connection = venue.subscribed().await;
    reader.connected().await;
    // Nothing happens, but pings are answered: for five minutes.
    for _ in 0..30 {
        clock.advance(Duration::from_secs(10));
        assert!(matches!(connection.hears().await, UserRequest::Ping));
        connection.says("PONG").await;
    }
    assert!(reader.events.try_recv().is_err(), "a quiet connection is a good one");
    // Then they are not answered any more, though the socket stays open.
    let (why, passed) = passing(&clock, SECOND, reader.gap()).await;
    assert!(why.contains("nothing was heard"), "{why}");
    assert!((25..=45).contains(&passed.as_secs()), "given up after {passed:?}");
}

#[tokio::test]
async fn a_connection_is_made_anew_now_and_then_whatever_it_seems_to_be() {
    let venue = Venue::new().await;
    let clock = VirtualClock::at(Timestamp::from_secs(1_790_000_000));
    // Its age alone is what counts here.
    let silence = Duration::from_secs(3_600);
    let settings = WsSettings { first_wait: Duration::ZERO, silence, ..WsSettings::default() };
    let mut reader = Reader::of(venue.channel(Arc::new(clock.clone()), settings).open(&creds()));
    let mut connection = venue.subscribed().await;
    reader.connected().await;
    let answering = tokio::spawn(async move {
        while let Some(Ok(message)) = connection.0.next().await {
            if message.is_text() && connection.0.send(Message::text("PONG")).await.is_err() {
                return;
            }
        }
    });
    let (_, passed) = passing(&clock, SECOND, reader.gap()).await;
    assert!((850..=950).contains(&passed.as_secs()), "made anew after {passed:?}");
    answering.await.unwrap();
    let _connection = venue.subscribed().await;
    reader.connected().await;
}

#[tokio::test]
async fn nobody_is_connected_before_the_venue_has_answered() {
    let venue = Venue::new().await;
    let clock = VirtualClock::at(Timestamp::from_secs(1_790_000_000));
    let mut reader = Reader::of(venue.channel(Arc::new(clock.clone()), WsSettings::default()).open(&creds()));
    // Credentials that the venue does not like: it hears them and closes, each time. The waits grow.
    let mut waits = Vec::new();
    for _ in 0..7 {
        let (mut connection, waited) = passing(&clock, Duration::from_millis(10), venue.accept()).await;
        waits.push(waited);
        assert!(matches!(connection.hears().await, UserRequest::Subscribe(_)));
        connection.0.close(None).await.unwrap();
        // To its end, so that the client has seen it too.
        while let Some(Ok(_)) = connection.0.next().await {}
    }
    assert!(waits[6] > waits[1].saturating_mul(2), "{waits:?}");
    assert!(reader.events.try_recv().is_err(), "neither connected nor a gap");
    // Not even the upgrade: HTTP 401.
    let plain = async {
        let (mut socket, _) = venue.listener.accept().await.unwrap();
        let refusal = b"HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\n\r\n";
        tokio::io::AsyncWriteExt::write_all(&mut socket, refusal).await.unwrap();
    };
    passing(&clock, SECOND, plain).await;
    let (_connection, _) = passing(&clock, SECOND, venue.subscribed()).await;
    reader.connected().await;
}

#[tokio::test]
async fn a_listener_that_was_not_told_makes_another_connection() {
    let venue = Venue::new().await;
    let mut stream = venue.stream(quick());
    let (first, connection) = tokio::join!(timeout(SOON, stream.next()), venue.subscribed());
    assert_eq!(first.unwrap(), UserEvent::Connected);
    stream.distrust();
    assert!(matches!(timeout(SOON, stream.next()).await.unwrap(), UserEvent::Gap { .. }));
    drop(connection);
    let (again, _connection) = tokio::join!(timeout(SOON, stream.next()), venue.subscribed());
    assert_eq!(again.unwrap(), UserEvent::Connected);
}

#[tokio::test]
async fn credentials_go_nowhere_but_to_the_venue() {
    let venue = Venue::new().await;
    let channel = venue.channel(SystemClock::shared(), quick());
    let shown = format!("{channel:?} {:?} {:?}", creds(), creds().to_row());
    assert!(!shown.contains("c2VjcmV0") && !shown.contains("hush"), "{shown}");
    for bad in ["ws://ws-subscriptions-clob.polymarket.com", "http://127.0.0.1:1", "wss://h?a=b", ""] {
        let socket = UserSocket::new(bad, SystemClock::shared(), Chance::seeded(1), quick());
        assert_eq!(socket.unwrap_err().code(), "venue_url_invalid", "{bad}");
    }
    assert!(
        UserSocket::new(
            "wss://ws-subscriptions-clob.polymarket.com",
            SystemClock::shared(),
            Chance::seeded(1),
            quick()
        )
        .is_ok()
    );
}
