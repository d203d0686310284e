//! The history of one wallet, in a task of its own: live polling never waits for it.

use std::{future::Future, sync::Arc, time::Duration};

use eventlog::{LogError, TopicPartition};
use schemas::{
    Address, Timestamp,
    events::FillsEvent,
    topics::{Topic, partition_of_wallet},
};
use tokio::sync::Semaphore;
use venue::{VenueError, port::TradesQuery};

use super::{IngestError, Ports, pace::Pace, publish::Publisher, source};
use crate::core::history::Backfill;

/// Rows a page.
const PAGE: u32 = 1_000;
/// Records in one append: between two of them everybody else gets a turn.
const CHUNK: usize = 200;
/// Records a read of the log.
const BATCH: usize = 2_000;
/// Wallets whose history is in memory at a time.
const AT_ONCE: usize = 2;
/// The waits after trouble: from the first to the longest.
const PATIENCE: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(60));

/// Lets a few wallets at a time read their history.
#[derive(Debug, Clone)]
pub struct Gate(Arc<Semaphore>);

impl Default for Gate {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(AT_ONCE)))
    }
}

/// Publishes what the wallet traded in the 30 days before it was followed, as far as the log does not hold it.
///
/// # Errors
/// A log that cannot be used any more. Trouble with the venue is waited out.
pub async fn backfill(
    ports: Ports,
    publisher: Publisher,
    pace: Pace,
    gate: Gate,
    wallet: Address,
    follow_from: Timestamp,
) -> Result<(), IngestError> {
    let mut history = Backfill::new(wallet, follow_from);
    if !history.is_due(ports.clock.now()) {
        return Ok(());
    }
    // Closed only with the process.
    let Ok(_turn) = gate.0.acquire().await else { return Ok(()) };
    read_log(&ports, wallet, &mut history).await?;
    let (first, last) = history.window();
    let mut query =
        TradesQuery { user: wallet, limit: PAGE, cursor: None, start: Some(first), end: Some(last) };
    let mut observed_at = None;
    loop {
        pace.history_turn(&*ports.clock).await;
        let page = waited_out(&ports, || ports.venue.trades(&query, ports.clock.now())).await;
        observed_at.get_or_insert(ports.clock.now());
        let enough = history.page(source::rows(&ports.board, wallet, &page));
        let next = page.pagination.next().map(str::to_owned);
        if enough || next.is_none() || next == query.cursor {
            break;
        }
        query.cursor = next;
    }
    let fills = history.finish(observed_at.unwrap_or(follow_from));
    for chunk in fills.chunks(CHUNK) {
        publisher.history(chunk).await?;
        tokio::task::yield_now().await;
    }
    tracing::info!(%wallet, fills = fills.len(), "history published");
    Ok(())
}

/// What the log holds of those days, whoever wrote it. Records are never older than what they tell.
async fn read_log(ports: &Ports, wallet: Address, history: &mut Backfill) -> Result<(), IngestError> {
    let partition = partition_of_wallet(wallet, ports.log.manifest().partitions(Topic::Fills));
    let at = TopicPartition::new(Topic::Fills, partition);
    let key = wallet.to_string();
    let end = again(ports, || ports.log.settled_extent(at)).await?.end;
    let mut from = again(ports, || ports.log.offset_at(at, history.begins())).await?;
    while from < end {
        let batch = again(ports, || ports.log.read(at, from, BATCH)).await?;
        let Some(last) = batch.last() else { break };
        from = last.offset.next();
        for stored in batch.iter().filter(|s| s.record.key.as_deref() == Some(key.as_bytes())) {
            if let Some(Ok(FillsEvent::Fill(fill))) =
                stored.record.value.as_deref().map(|v| ports.codec.decode::<FillsEvent>(v))
            {
                history.published(&fill);
            }
        }
        tokio::task::yield_now().await;
    }
    Ok(())
}

/// Asks the log until it answers, or says that it never will.
async fn again<T, F: Future<Output = Result<T, LogError>>>(
    ports: &Ports,
    ask: impl Fn() -> F,
) -> Result<T, LogError> {
    loop {
        match ask().await {
            Err(error) if error.is_transient() => ports.clock.sleep(PATIENCE.0).await,
            answer => return answer,
        }
    }
}

/// Asks the venue until it answers.
async fn waited_out<T, F: Future<Output = Result<T, VenueError>>>(ports: &Ports, ask: impl Fn() -> F) -> T {
    let (mut wait, longest) = PATIENCE;
    loop {
        match ask().await {
            Ok(answer) => return answer,
            Err(error) => {
                ports.board.trouble(error.code());
                tracing::debug!(%error, "history waits for the venue");
                ports.clock.sleep(error.retry_after().unwrap_or(wait)).await;
                wait = (wait * 2).min(longest);
            }
        }
    }
}
