//! One followed wallet: its snapshot once, then its trades for as long as it is followed.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use runtime::{Board, Clock, Stop, signals};
use schemas::{
    Address, ConditionId, Timestamp,
    events::{Fill, Watermark},
};
use venue::{VenueError, port::MarketData};

use super::{
    IngestError, Pace, Ports,
    markets::Markets,
    publish::Publisher,
    recover::Recovered,
    source::{Walk, positions, walk},
};
use crate::core::{
    hold::Hold,
    merge::{MEMORY, Merger},
    snapshot::Settling,
};

/// A walk goes this far behind what is known to be complete: the venue's lists may grow late.
const OVERLAP: Duration = Duration::from_secs(600);
/// A look for news goes this far behind the newest fill.
const NEWS_OVERLAP: Duration = Duration::from_secs(5);
/// Between two looks for news there is a whole walk this often.
const WHOLE_WALK: Duration = Duration::from_secs(60);
/// What is younger than this may still be missing from the venue's lists.
const SETTLED: Duration = Duration::from_secs(30);
/// A watermark is published at least this often.
const REPUBLISH: Duration = Duration::from_secs(3600);
/// A snapshot covers what is older than the follow by this much; later trades are named one by one.
const SNAPSHOT_WINDOW: Duration = Duration::from_secs(60);
/// The waits after trouble with the venue: from the first to the longest.
const PATIENCE: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(30));

/// What follows one wallet.
pub struct Watch {
    wallet: Address,
    follow_from: Timestamp,
    venue: Arc<dyn MarketData>,
    clock: Arc<dyn Clock>,
    board: Board,
    publisher: Publisher,
    markets: Arc<Markets>,
    pace: Pace,
    market_wait: Duration,
    merger: Merger,
    hold: Hold,
    unknowable: BTreeSet<ConditionId>,
    watermark: Option<Timestamp>,
    whole_walk_at: Option<Timestamp>,
    published_mark_at: Option<Timestamp>,
}

impl Watch {
    /// A watch that knows what the log knows.
    #[expect(clippy::too_many_arguments, reason = "the one place where a watch is put together")]
    pub fn new(
        wallet: Address,
        follow_from: Timestamp,
        recovered: Option<Recovered>,
        ports: &Ports,
        publisher: Publisher,
        markets: Arc<Markets>,
        pace: Pace,
        market_wait: Duration,
    ) -> Self {
        let (merger, watermark) = match recovered {
            Some(r) => (r.merger, r.watermark),
            None => (Merger::new(wallet), None),
        };
        Self {
            wallet,
            // The venue's times are whole seconds: the second in which it was followed counts.
            follow_from: Timestamp::from_secs(follow_from.secs()),
            venue: ports.venue.clone(),
            clock: ports.clock.clone(),
            board: ports.board.clone(),
            publisher,
            markets,
            pace,
            market_wait,
            merger,
            hold: Hold::new(),
            unknowable: BTreeSet::new(),
            watermark,
            whole_walk_at: None,
            published_mark_at: None,
        }
    }

    /// Follows the wallet until it is asked to stop. Trouble with the venue is waited out.
    ///
    /// # Errors
    /// A log that cannot be used any more.
    pub async fn run(mut self, stop: Stop) -> Result<(), IngestError> {
        let (mut wait, longest) = PATIENCE;
        while !stop.is_requested() {
            let pause = match self.step().await {
                Ok(()) => {
                    wait = PATIENCE.0;
                    self.pace.pause()
                }
                Err(IngestError::Venue(error)) => {
                    self.trouble(&error);
                    let pause = error.retry_after().unwrap_or(wait);
                    wait = (wait * 2).min(longest);
                    pause
                }
                Err(error) => return Err(error),
            };
            tokio::select! {
                biased;
                () = stop.requested() => {}
                () = self.clock.sleep(pause) => {}
            }
        }
        Ok(())
    }

    fn trouble(&self, error: &VenueError) {
        metrics::counter!(signals::TICK_ERROR, "code" => error.code()).increment(1);
        self.board.trouble(error.code());
        tracing::warn!(wallet = %self.wallet, %error, code = error.code(), "the venue did not answer");
    }

    async fn step(&mut self) -> Result<(), IngestError> {
        // A wallet last followed longer ago than fills are remembered is as good as new.
        let horizon = self.clock.now().minus(MEMORY);
        if self.watermark.is_none_or(|mark| mark < horizon) {
            self.settle().await?;
        }
        let now = self.clock.now();
        let whole = self.whole_walk_at.is_none_or(|at| now.since(at) >= WHOLE_WALK);
        let start = self.start_of_walk(whole);
        let news_of = (!whole).then_some(&self.merger);
        let walk = walk(&*self.venue, &*self.clock, &self.board, self.wallet, start, news_of).await?;
        let found = self.absorb(&walk);
        if found > 0 || whole {
            tracing::debug!(
                event = signals::WALLET_FETCH,
                wallet = %self.wallet,
                raw = walk.rows.len(),
                fills = found,
                phase = if whole { "walk" } else { "news" },
            );
            metrics::counter!(signals::WALLET_FETCH).increment(1);
        }
        self.publish().await?;
        if whole {
            self.whole_walk_at = Some(now);
            self.merger.forget(now);
            self.advance(now).await?;
        }
        Ok(())
    }

    /// Where a walk ends. The first one after a start closes the gap since the last published fill.
    fn start_of_walk(&self, whole: bool) -> Timestamp {
        let newest = self.merger.newest().or(self.watermark).unwrap_or(self.follow_from);
        let start = match (whole, self.whole_walk_at) {
            (false, _) => newest.minus(NEWS_OVERLAP),
            (true, None) => newest.max(self.watermark.unwrap_or(newest)).minus(OVERLAP),
            (true, Some(_)) => self.watermark.unwrap_or(newest).minus(OVERLAP),
        };
        start.max(self.follow_from)
    }

    fn absorb(&mut self, walk: &Walk) -> usize {
        self.unknowable.extend(walk.unknowable.iter().copied());
        let fills = self.merger.absorb(&walk.rows, walk.observed_at);
        // What happened before anybody followed the wallet is contained in its snapshot.
        let followed: Vec<Fill> = fills.into_iter().filter(|f| f.filled_at >= self.follow_from).collect();
        let found = followed.len();
        self.hold.push(followed);
        found
    }

    /// Publishes what has its facts, or has waited for them long enough.
    async fn publish(&mut self) -> Result<(), IngestError> {
        if self.hold.is_empty() {
            return Ok(());
        }
        let wanted = self.hold.wanted();
        let facts = self.markets.facts(&wanted).await?;
        let mut fills = self.hold.release(&facts, &self.unknowable, self.clock.now(), self.market_wait);
        let books = self.markets.books(&fills.iter().map(|f| f.asset.clone()).collect()).await;
        for fill in &mut fills {
            fill.book = books.get(&fill.asset).cloned();
        }
        self.publisher.fills(&fills).await?;
        self.markets.renew(&wanted).await
    }

    /// Moves the watermark to what a whole walk has shown to be complete, and publishes it.
    async fn advance(&mut self, walked_at: Timestamp) -> Result<(), IngestError> {
        // A fill that waits for its facts is not published yet: after a restart it has to be found again.
        if !self.hold.is_empty() {
            return Ok(());
        }
        let complete_until = walked_at.minus(SETTLED);
        let moved = self.merger.newest() > self.watermark;
        let due = self.published_mark_at.is_none_or(|at| walked_at.since(at) >= REPUBLISH);
        if self.watermark.is_some_and(|mark| mark >= complete_until) || !(moved || due) {
            return Ok(());
        }
        self.watermark = Some(complete_until);
        self.published_mark_at = Some(walked_at);
        self.publisher
            .watermark(Watermark { wallet: self.wallet, complete_until, observed_at: walked_at })
            .await
    }

    /// Reads the wallet's positions between walks that agree, and publishes them.
    async fn settle(&mut self) -> Result<(), IngestError> {
        let covers_until = self.follow_from.minus(SNAPSHOT_WINDOW);
        // Inclusive: the next second after what is covered.
        let start = Timestamp::from_secs(covers_until.secs() + 1);
        let (venue, clock, board) = (&*self.venue, &*self.clock, &self.board);
        let before = walk(venue, clock, board, self.wallet, start, None).await?;
        let mut settling = Settling::begin(self.wallet, covers_until, &before.rows);
        loop {
            let held = positions(venue, clock, board, self.wallet).await?;
            let after = walk(venue, clock, board, self.wallet, start, None).await?;
            let open = settling.round(&held, &after.rows);
            if open == 0 {
                break;
            }
            tracing::debug!(wallet = %self.wallet, open, "positions moved while they were read; again");
        }
        self.publisher.snapshot(settling.finish(self.clock.now())).await?;
        self.watermark = Some(covers_until);
        tracing::info!(wallet = %self.wallet, %covers_until, "snapshot published");
        Ok(())
    }
}
