//! Records into the log. What was not certainly written is written again: it is the same record.

use std::{fmt, sync::Arc, time::Duration};

use eventlog::{Append, Log, Record, TopicPartition, Written};
use runtime::{Board, Clock};
use schemas::{
    Address, IdempotencyKey, TargetId, Timestamp,
    avro::Event,
    codec::Codec,
    events::{Fill, MarketState, PositionChanged, PositionSnapshot, TokenMarked, TokenResolved, Watermark},
    topics::Topic,
};

use super::{IngestError, Ports};

/// Records in one append.
const CHUNK: usize = 500;
/// The wait before a record is written again: doubled from the first to the last.
const PATIENCE: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(5));

/// What moves a wallet's position.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Moved {
    /// A fill.
    Fill(Fill),
    /// A change without a trade.
    Change(PositionChanged),
}

/// Writes ingest's records.
#[derive(Clone)]
pub struct Publisher {
    log: Arc<dyn Log>,
    codec: Codec,
    clock: Arc<dyn Clock>,
    board: Board,
}

impl fmt::Debug for Publisher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Publisher")
    }
}

impl Publisher {
    /// A publisher to the ports' log.
    pub fn new(ports: &Ports) -> Self {
        Self {
            log: ports.log.clone(),
            codec: ports.codec.clone(),
            clock: ports.clock.clone(),
            board: ports.board.clone(),
        }
    }

    /// Publishes fills and position changes, in order.
    pub async fn moves(&self, moves: &[Moved]) -> Result<(), IngestError> {
        for chunk in moves.chunks(CHUNK) {
            let now = self.clock.now();
            let mut appends = Vec::with_capacity(chunk.len());
            for moved in chunk {
                appends.push(match moved {
                    Moved::Fill(fill) => self.fill(fill, now)?,
                    Moved::Change(changed) => self.by_wallet(changed.wallet, changed, now, None)?,
                });
            }
            self.append(appends).await?;
            let done = self.clock.now();
            let mut fills = 0;
            for moved in chunk {
                if let Moved::Fill(fill) = moved {
                    self.board.reached(runtime::board::Step::Published, done.since(fill.observed_at));
                    fills += 1;
                }
            }
            self.board.fills(fills);
        }
        Ok(())
    }

    /// Publishes history, in order: no part of the live figures.
    pub async fn history(&self, fills: &[Fill]) -> Result<(), IngestError> {
        let now = self.clock.now();
        let appends = fills.iter().map(|fill| self.fill(fill, now)).collect::<Result<_, _>>()?;
        self.append(appends).await
    }

    fn fill(&self, fill: &Fill, now: Timestamp) -> Result<Append, IngestError> {
        let key = IdempotencyKey::of(TargetId::of_wallet(fill.wallet), &fill.fill_id);
        self.by_wallet(fill.wallet, fill, now, Some(key))
    }

    /// Publishes a snapshot, part by part.
    pub async fn snapshot(&self, parts: &[PositionSnapshot]) -> Result<(), IngestError> {
        for part in parts {
            let append = self.by_wallet(part.wallet, part, self.clock.now(), None)?;
            self.append(vec![append]).await?;
        }
        Ok(())
    }

    /// Publishes how far a wallet's trades are known.
    pub async fn watermark(&self, mark: Watermark) -> Result<(), IngestError> {
        let append = self.by_wallet(mark.wallet, &mark, mark.observed_at, None)?;
        self.append(vec![append]).await
    }

    /// Publishes samples of prices.
    pub async fn marks(&self, marks: &[TokenMarked]) -> Result<(), IngestError> {
        for chunk in marks.chunks(CHUNK) {
            let now = self.clock.now();
            let appends = chunk.iter().map(|mark| self.by_wallet(mark.wallet, mark, now, None));
            self.append(appends.collect::<Result<_, _>>()?).await?;
        }
        Ok(())
    }

    /// Publishes an outcome.
    pub async fn resolved(&self, resolved: TokenResolved) -> Result<(), IngestError> {
        let append = self.by_wallet(resolved.wallet, &resolved, self.clock.now(), None)?;
        self.append(vec![append]).await
    }

    /// Publishes a market's facts.
    pub async fn market(&self, state: MarketState) -> Result<(), IngestError> {
        let key = state.facts.condition_id.to_string();
        let to = self.log.manifest().place(Topic::Markets, key.as_bytes());
        let record = self.record(&key, &state, state.observed_at, None)?;
        self.append(vec![Append { to, record }]).await
    }

    fn by_wallet<E: Event>(
        &self,
        wallet: Address,
        event: &E,
        at: Timestamp,
        trace: Option<IdempotencyKey>,
    ) -> Result<Append, IngestError> {
        let key = wallet.to_string();
        let to: TopicPartition = self.log.manifest().place(Topic::Fills, key.as_bytes());
        Ok(Append { to, record: self.record(&key, event, at, trace)? })
    }

    fn record<E: Event>(
        &self,
        key: &str,
        event: &E,
        at: Timestamp,
        trace: Option<IdempotencyKey>,
    ) -> Result<Record, IngestError> {
        Ok(eventlog::event::record(&self.codec, key, event, at, trace.map(eventlog::event::trace_of))?.0)
    }

    /// Appends until it is certain. Written twice is one fill to every reader.
    async fn append(&self, appends: Vec<Append>) -> Result<(), IngestError> {
        let (mut wait, longest) = PATIENCE;
        loop {
            let error = match self.log.append(appends.clone()).await {
                Written::Done(_) => return Ok(()),
                Written::NotDone(error) if !error.is_transient() => return Err(error.into()),
                Written::NotDone(error) | Written::Unknown(error) => error,
            };
            tracing::warn!(%error, code = error.code(), records = appends.len(), "not certainly written; again");
            self.board.trouble("ingest_append");
            self.clock.sleep(wait).await;
            wait = (wait * 2).min(longest);
        }
    }
}
