//! A broker's doorstep on which answers get lost: it forwards every request and every answer, until it is told
//! to lose some.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    sync::{Arc, Mutex},
};

use eventlog::conformance::Lost;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
};

/// A kind of request, as Kafka's protocol numbers them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Api(i16);

impl Api {
    pub const PRODUCE: Self = Self(0);
    pub const END_TXN: Self = Self(26);
    const METADATA: Self = Self(3);
    const FIND_COORDINATOR: Self = Self(10);
    const INIT_PRODUCER_ID: Self = Self(22);
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Pass,
    /// The next such request loses its answer, and then all like it.
    Armed(Api, Lost),
    /// Such requests are not forwarded, until a producer introduces itself anew.
    Swallowing(Api),
}

#[derive(Debug, Clone)]
pub struct Proxy {
    port: u16,
    mode: Arc<Mutex<Mode>>,
    lost: watch::Receiver<usize>,
}

impl Proxy {
    /// A doorstep of the single broker at `127.0.0.1:port`.
    pub async fn start(broker: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let mode = Arc::new(Mutex::new(Mode::Pass));
        let (count, lost) = watch::channel(0);
        let proxy = Self { port, mode: mode.clone(), lost };
        let door = Door { broker, port, mode, count: Arc::new(count) };
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let door = door.clone();
                tokio::spawn(async move {
                    // Whoever goes away first ends both sides.
                    let _ended = door.serve(client).await;
                });
            }
        });
        proxy
    }

    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Loses the answer of the next such request, and of those like it until a producer introduces itself anew.
    pub fn lose(&self, api: Api, lost: Lost) {
        *self.mode.lock().unwrap() = Mode::Armed(api, lost);
    }

    /// Loses nothing any more.
    pub fn pass(&self) {
        *self.mode.lock().unwrap() = Mode::Pass;
    }

    /// How many answers were lost until now.
    pub fn lost_so_far(&self) -> usize {
        *self.lost.borrow()
    }

    /// Returns once `n` answers were lost in all.
    pub async fn has_lost(&self, n: usize) {
        self.lost.clone().wait_for(|lost| *lost >= n).await.unwrap();
    }
}

#[derive(Debug, Clone)]
struct Door {
    broker: u16,
    port: u16,
    mode: Arc<Mutex<Mode>>,
    count: Arc<watch::Sender<usize>>,
}

/// What is known of one connection: which request each answer is to, and which answers get lost.
type Asked = Arc<Mutex<(BTreeMap<i32, Api>, BTreeSet<i32>)>>;

impl Door {
    async fn serve(&self, client: TcpStream) -> io::Result<()> {
        let broker = TcpStream::connect(("127.0.0.1", self.broker)).await?;
        client.set_nodelay(true)?;
        broker.set_nodelay(true)?;
        let (from_client, to_client) = client.into_split();
        let (from_broker, to_broker) = broker.into_split();
        let asked = Asked::default();
        tokio::select! {
            biased;
            ended = self.requests(from_client, to_broker, &asked) => ended,
            ended = self.answers(from_broker, to_client, &asked) => ended,
        }
    }

    async fn requests(
        &self,
        mut from: OwnedReadHalf,
        mut to: OwnedWriteHalf,
        asked: &Asked,
    ) -> io::Result<()> {
        loop {
            let frame = frame(&mut from).await?;
            let api = Api(i16::from_be_bytes([frame[4], frame[5]]));
            let id = i32::from_be_bytes([frame[8], frame[9], frame[10], frame[11]]);
            let (forward, answer) = self.judge(api);
            {
                let mut asked = asked.lock().unwrap();
                asked.0.insert(id, api);
                if !answer {
                    asked.1.insert(id);
                }
            }
            if forward {
                to.write_all(&frame).await?;
            }
        }
    }

    /// Whether a request is forwarded, and whether its answer is.
    fn judge(&self, api: Api) -> (bool, bool) {
        let mut mode = self.mode.lock().unwrap();
        let judged = match *mode {
            Mode::Armed(which, lost) if which == api => {
                *mode = Mode::Swallowing(api);
                (lost == Lost::After, false)
            }
            Mode::Swallowing(which) if which == api => (false, false),
            Mode::Swallowing(_) if api == Api::INIT_PRODUCER_ID => {
                *mode = Mode::Pass;
                (true, true)
            }
            _ => (true, true),
        };
        // What was to take effect is counted when it has: with its answer.
        if judged == (false, false) {
            self.count.send_modify(|n| *n += 1);
        }
        judged
    }

    async fn answers(
        &self,
        mut from: OwnedReadHalf,
        mut to: OwnedWriteHalf,
        asked: &Asked,
    ) -> io::Result<()> {
        loop {
            let mut frame = frame(&mut from).await?;
            let id = i32::from_be_bytes([frame[4], frame[5], frame[6], frame[7]]);
            let (api, lost) = {
                let mut asked = asked.lock().unwrap();
                (asked.0.remove(&id), asked.1.remove(&id))
            };
            if lost {
                self.count.send_modify(|n| *n += 1);
                continue;
            }
            if matches!(api, Some(Api::METADATA | Api::FIND_COORDINATOR)) {
                self.redirect(&mut frame);
            }
            to.write_all(&frame).await?;
        }
    }

    /// A broker tells clients its own address; they are to come here instead.
    fn redirect(&self, frame: &mut [u8]) {
        let told = [&b"127.0.0.1"[..], &u32::from(self.broker).to_be_bytes()].concat();
        let mut at = 0;
        while let Some(found) = frame[at..].windows(told.len()).position(|w| w == told) {
            at += found + told.len();
            frame[at - 4..at].copy_from_slice(&u32::from(self.port).to_be_bytes());
        }
    }
}

/// One request or answer, its length in front.
async fn frame(from: &mut OwnedReadHalf) -> io::Result<Vec<u8>> {
    let mut length = [0; 4];
    from.read_exact(&mut length).await?;
    let bytes = usize::try_from(i32::from_be_bytes(length)).map_err(io::Error::other)?;
    let mut frame = vec![0; 4 + bytes];
    frame[..4].copy_from_slice(&length);
    from.read_exact(&mut frame[4..]).await?;
    Ok(frame)
}
