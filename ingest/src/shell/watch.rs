//! One followed wallet: its snapshot once, then its trades for as long as it is followed.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use runtime::{Stop, signals};
use schemas::{
    Address, AssetId, ChangeKind, ConditionId, Side, Timestamp,
    events::{Fill, PositionChanged, Watermark},
};
use tokio::task::JoinSet;
use venue::VenueError;

use super::{
    IngestError, Ports,
    backfill::{Gate, backfill},
    convert::convert,
    markets::Markets,
    pace::Pace,
    publish::{Moved, Publisher},
    recover::Recovered,
    source::{positions, walk, walk_changes},
};
use crate::core::{
    changes::{Change, Changes},
    hold::{Hold, Pending},
    merge::{MEMORY, Merger},
    snapshot::{Settling, Told},
};

/// A walk goes this far behind what is known to be complete: the venue's lists may grow late.
pub const OVERLAP: Duration = Duration::from_secs(600);
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
/// The activity list rests so long after trouble with it.
const ACTIVITY_REST: Duration = Duration::from_secs(5);
/// The waits after trouble: from the first to the longest.
const PATIENCE: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(30));

/// What follows one wallet.
pub struct Watch {
    wallet: Address,
    follow_from: Timestamp,
    ports: Ports,
    publisher: Publisher,
    markets: Arc<Markets>,
    pace: Pace,
    gate: Gate,
    market_wait: Duration,
    merger: Merger,
    changes: Changes,
    hold: Hold,
    unknowable: BTreeSet<ConditionId>,
    watermark: Option<Timestamp>,
    snapshots: Told,
    /// This watch has published a snapshot.
    settled: bool,
    /// Not before this another is tried.
    settles_from: Timestamp,
    whole_walk_at: Option<Timestamp>,
    /// When the activity list is read next, unless something asks for it earlier; and not before this after trouble.
    activity_at: Timestamp,
    activity_rests_until: Timestamp,
    /// A SELL went out while the activity list did not answer.
    sold_unseen: bool,
    published_mark_at: Option<Timestamp>,
    /// The backfill. It ends with the watch.
    history: Option<JoinSet<Result<(), IngestError>>>,
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
        (pace, gate): (Pace, Gate),
        market_wait: Duration,
    ) -> Self {
        let Recovered { merger, changes, watermark, snapshots } =
            recovered.unwrap_or_else(|| Recovered::new(wallet));
        Self {
            wallet,
            // The venue's times are whole seconds: the second in which it was followed counts.
            follow_from: Timestamp::from_secs(follow_from.secs()),
            ports: ports.clone(),
            publisher,
            markets,
            pace,
            gate,
            market_wait,
            merger,
            changes,
            hold: Hold::new(),
            unknowable: BTreeSet::new(),
            watermark,
            snapshots,
            settled: false,
            settles_from: Timestamp::default(),
            whole_walk_at: None,
            activity_at: Timestamp::default(),
            activity_rests_until: Timestamp::default(),
            sold_unseen: false,
            published_mark_at: None,
            history: None,
        }
    }

    /// Follows the wallet until it is asked to stop. Trouble with the venue is waited out, and such trouble with the log
    /// as may pass.
    ///
    /// # Errors
    /// A log that cannot be used any more.
    pub async fn run(mut self, stop: Stop) -> Result<(), IngestError> {
        let (mut wait, longest) = PATIENCE;
        while !stop.is_requested() {
            let pause = match self.step().await {
                Ok(()) => {
                    wait = PATIENCE.0;
                    self.look_after_history()?;
                    self.pace.pause()
                }
                Err(IngestError::Venue(error)) => {
                    self.trouble(&error);
                    let pause = error.retry_after().unwrap_or(wait);
                    wait = (wait * 2).min(longest);
                    pause
                }
                // Whatever was not published waits in the hold.
                Err(IngestError::Log(error)) if error.is_transient() => {
                    self.ports.board.trouble(error.code());
                    tracing::warn!(wallet = %self.wallet, %error, code = error.code(), "the log did not answer");
                    let pause = wait;
                    wait = (wait * 2).min(longest);
                    pause
                }
                Err(error) => return Err(error),
            };
            tokio::select! {
                biased;
                () = stop.requested() => {}
                () = self.ports.clock.sleep(pause) => {}
            }
        }
        Ok(())
    }

    /// Begins the backfill once the wallet is live, and learns how it ended.
    fn look_after_history(&mut self) -> Result<(), IngestError> {
        let Some(history) = &mut self.history else {
            let mut history = JoinSet::new();
            history.spawn(backfill(
                self.ports.clone(),
                self.publisher.clone(),
                self.pace.clone(),
                self.gate.clone(),
                self.wallet,
                self.follow_from,
            ));
            self.history = Some(history);
            return Ok(());
        };
        match history.try_join_next() {
            None | Some(Ok(Ok(()))) => Ok(()),
            Some(Ok(Err(error))) => Err(error),
            Some(Err(died)) => Err(IngestError::WatchDied { wallet: self.wallet, why: died.to_string() }),
        }
    }

    fn trouble(&self, error: &VenueError) {
        metrics::counter!(signals::TICK_ERROR, "code" => error.code()).increment(1);
        self.ports.board.trouble(error.code());
        tracing::warn!(wallet = %self.wallet, %error, code = error.code(), "the venue did not answer");
    }

    async fn step(&mut self) -> Result<(), IngestError> {
        if self.needs_snapshot() {
            let covers_until = self.covers_until();
            if !self.settle(covers_until).await? {
                // Without it nobody knows what a fill is a part of.
                return Ok(());
            }
            (self.watermark, self.settled) = (Some(covers_until), true);
        }
        let now = self.ports.clock.now();
        let whole = self.whole_walk_at.is_none_or(|at| now.since(at) >= WHOLE_WALK);
        let (walked, mut fills) = self.look(whole).await?;
        // What a SELL sold may have come by a split in the same block: asked for before it is published.
        let sells = fills.iter().any(|fill| fill.side == Side::Sell);
        let (mut complete, mut changes, mut late) = (true, Vec::new(), Ok(()));
        if (whole || sells || now >= self.activity_at) && now >= self.activity_rests_until {
            match self.look_for_changes(whole).await {
                Ok(found) => {
                    changes = found;
                    self.activity_at = now.plus(self.pace.activity());
                }
                Err(error) => {
                    // Trades go on without it.
                    self.trouble(&error);
                    self.activity_rests_until = now.plus(error.retry_after().unwrap_or(ACTIVITY_REST));
                    complete = false;
                }
            }
            if !changes.is_empty() {
                // Trades that came before a change may have shown themselves only after the first look.
                late = self.look(false).await.map(|(_, more)| fills.extend(more));
            }
        } else if whole || sells {
            complete = false;
        }
        self.sold_unseen |= sells && !complete;
        let found = fills.len() + changes.len();
        if found > 0 || whole {
            tracing::debug!(
                event = signals::WALLET_FETCH,
                wallet = %self.wallet,
                raw = walked,
                fills = fills.len(),
                changes = changes.len(),
                phase = if whole { "walk" } else { "news" },
            );
            metrics::counter!(signals::WALLET_FETCH).increment(1);
        }
        self.hold.push(fills, changes);
        self.publish().await?;
        late?;
        if self.sold_unseen && self.activity_at > now && self.hold.is_empty() {
            // What was sold may have come by a split that was told only now: a sale of what nobody knew was held, and
            // shares that stay for ever. The venue knows better what is left.
            self.sold_unseen = !self.settle(now.minus(SNAPSHOT_WINDOW)).await?;
        }
        if whole {
            self.whole_walk_at = Some(now);
            self.merger.forget(now);
            self.changes.forget(now);
            if complete {
                self.advance(now).await?;
            }
        }
        Ok(())
    }

    /// Whether what the log tells of the wallet's positions is not where this follow begins.
    fn needs_snapshot(&self) -> bool {
        if self.settled {
            return false;
        }
        // Whoever began this follow got as far as its snapshot, and no watermark came after it yet.
        let begun = self.snapshots.covers_until() >= Some(self.covers_until());
        let Some(mark) = self.watermark else { return !begun };
        // A wallet last followed longer ago than fills are remembered is as good as new. One that was followed before,
        // and then by nobody, too: what it did meanwhile is no fill that moves a position.
        let long_ago = mark < self.ports.clock.now().minus(MEMORY);
        long_ago || (mark < self.follow_from && !begun)
    }

    /// Looks at the trades, all or the news. Answers how many rows there were, and the fills not known before.
    async fn look(&mut self, whole: bool) -> Result<(usize, Vec<Fill>), VenueError> {
        let start = self.start_of_walk(whole);
        let news_of = (!whole).then_some(&self.merger);
        let Ports { venue, clock, board, .. } = &self.ports;
        let walk = walk(&**venue, &**clock, board, self.wallet, start, news_of).await?;
        self.unknowable.extend(walk.unknowable);
        let mut fills = self.merger.absorb(&walk.rows, walk.observed_at);
        // What happened before anybody followed the wallet is contained in its snapshot.
        fills.retain(|f| f.filled_at >= self.follow_from);
        Ok((walk.rows.len(), fills))
    }

    /// Looks at the activity, all or the news. Answers the changes not known before.
    async fn look_for_changes(&mut self, whole: bool) -> Result<Vec<Change>, VenueError> {
        let start = self.start_of_changes(whole);
        let news_of = (!whole).then_some(&self.changes);
        let Ports { venue, clock, board, .. } = &self.ports;
        let walk = walk_changes(&**venue, &**clock, board, self.wallet, start, news_of).await?;
        self.unknowable.extend(walk.unknowable);
        let found = self.changes.absorb(&walk.rows, walk.observed_at);
        if found.grown > 0 {
            board.trouble("change_grew");
            tracing::warn!(wallet = %self.wallet, changes = found.grown, "changes grew after they were published");
        }
        if found.too_old > 0 {
            board.trouble("change_too_old");
            tracing::warn!(wallet = %self.wallet, changes = found.too_old, "changes are too old to be taken");
        }
        Ok(found.changes)
    }

    /// Where a walk ends. A whole one goes back to where the watermark stands, the first of a watch as well: only up to
    /// there everything is published. What is newer may be there while an older fill waited for its facts in a watch
    /// that has ended since. The watermark is hardly older than what nobody looked at: it stands still for an hour at
    /// most where nothing happens or something waits, longer only while the activity list does not answer.
    fn start_of_walk(&self, whole: bool) -> Timestamp {
        let known = self.watermark.unwrap_or(self.follow_from);
        let start = if whole {
            known.minus(OVERLAP)
        } else {
            self.merger.newest().unwrap_or(known).minus(NEWS_OVERLAP)
        };
        start.max(self.follow_from)
    }

    /// Where a walk over the activity ends. Only the watermark knows what of it is published.
    fn start_of_changes(&self, whole: bool) -> Timestamp {
        let known = self.watermark.unwrap_or(self.follow_from).minus(OVERLAP);
        let start = if whole {
            known
        } else {
            self.changes.newest().map_or(known, |newest| newest.minus(NEWS_OVERLAP))
        };
        // What is not later than that the snapshot contains.
        start.max(self.covers_until().plus(Duration::from_secs(1)))
    }

    /// What is not later than this the wallet's snapshot contains.
    fn covers_until(&self) -> Timestamp {
        self.follow_from.minus(SNAPSHOT_WINDOW)
    }

    /// Publishes what has its facts, or has waited for them long enough.
    async fn publish(&mut self) -> Result<(), IngestError> {
        if self.hold.is_empty() {
            return Ok(());
        }
        let wanted = self.hold.wanted();
        let facts = self.markets.facts(&wanted).await?;
        let now = self.ports.clock.now();
        let released = self.hold.release(&facts, &self.unknowable, now, self.market_wait);
        let assets = released.iter().filter_map(|pending| match pending {
            Pending::Fill(fill) => Some(fill.asset.clone()),
            Pending::Change(_) => None,
        });
        let books = self.markets.books(&assets.collect()).await;
        let mut released: VecDeque<Pending> = released.into();
        let mut moves = Vec::with_capacity(released.len());
        while let Some(pending) = released.pop_front() {
            let change = match pending {
                Pending::Fill(mut fill) => {
                    fill.book = books.get(&fill.asset).cloned();
                    moves.push(Moved::Fill(fill));
                    continue;
                }
                Pending::Change(change) => change,
            };
            if change.changed.kind == ChangeKind::Conversion {
                // It is compared with what the log says was held: all that came before it must be there.
                self.publisher.moves(&std::mem::take(&mut moves)).await?;
            }
            match self.complete(change.clone()).await {
                Ok(changed) => moves.push(Moved::Change(changed)),
                Err(error) => {
                    self.publisher.moves(&moves).await?;
                    released.push_front(Pending::Change(change));
                    self.hold.put_back(released.into_iter());
                    return Err(error);
                }
            }
        }
        self.publisher.moves(&moves).await?;
        self.markets.renew(&wanted).await
    }

    /// A change's record with all that it carries.
    async fn complete(&self, change: Change) -> Result<PositionChanged, IngestError> {
        let sale = change.is_sale();
        let mut changed = match change.changed.kind {
            ChangeKind::Conversion => convert(&self.ports, &self.markets, change).await?,
            ChangeKind::Migration => {
                let condition = change.changed.condition_id;
                let listings = self.markets.listings(&[condition].into()).await?;
                let deltas = listings.get(&condition).map(|l| change.migrated(&l.ids.0, &l.ids.1));
                PositionChanged { deltas: deltas.unwrap_or_default(), ..change.changed }
            }
            ChangeKind::Split | ChangeKind::Merge | ChangeKind::Redeem => {
                let tokens = change.changed.facts.as_ref().map_or(&[][..], |facts| &facts.tokens);
                let deltas = change.deltas(tokens);
                PositionChanged { deltas, ..change.changed }
            }
        };
        if changed.deltas.is_empty() && changed.kind != ChangeKind::Conversion {
            self.ports.board.trouble("change_without_market");
            tracing::warn!(wallet = %self.wallet, tx = %changed.tx, kind = %changed.kind, "nobody knows what it moved");
        }
        if sale {
            let sold: BTreeSet<AssetId> =
                changed.deltas.iter().filter(|d| d.shares.micro() < 0).map(|d| d.asset.clone()).collect();
            let books: BTreeMap<_, _> = self.markets.books(&sold).await;
            changed.books = books.into_values().collect();
        }
        Ok(changed)
    }

    /// Moves the watermark to what a whole walk has shown to be complete, and publishes it.
    async fn advance(&mut self, walked_at: Timestamp) -> Result<(), IngestError> {
        // A fill that waits for its facts is not published yet: after a restart it has to be found again.
        if !self.hold.is_empty() {
            return Ok(());
        }
        let complete_until = walked_at.minus(SETTLED);
        let moved = self.merger.newest().max(self.changes.newest()) > self.watermark;
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

    /// Reads the wallet's positions between walks that agree, and publishes them. Answers whether it did: not where
    /// readers would pass them over, since they count as read no later than those before. They are read again once
    /// that cannot be any more, within half a minute.
    async fn settle(&mut self, covers_until: Timestamp) -> Result<bool, IngestError> {
        if self.ports.clock.now() < self.settles_from {
            return Ok(false);
        }
        // Inclusive: the next second after what is covered.
        let start = Timestamp::from_secs(covers_until.secs() + 1);
        let Ports { venue, clock, board, .. } = &self.ports;
        let (venue, clock) = (&**venue, &**clock);
        let shown_until = clock.now().minus(SETTLED);
        let changes = walk_changes(venue, clock, board, self.wallet, start, None).await?;
        let before = walk(venue, clock, board, self.wallet, start, None).await?;
        let mut settling = Settling::begin(self.wallet, covers_until, &before.rows, &changes.rows);
        loop {
            let held = positions(venue, clock, board, self.wallet).await?;
            let after = walk(venue, clock, board, self.wallet, start, None).await?;
            let changes = walk_changes(venue, clock, board, self.wallet, start, None).await?;
            let open = settling.round(&held, &after.rows, &changes.rows);
            if open == 0 {
                break;
            }
            tracing::debug!(wallet = %self.wallet, open, "positions moved while they were read; again");
        }
        let parts = settling.finish(shown_until);
        if let Some(passed_over) = parts.iter().find(|part| !self.snapshots.is_news(part)) {
            let before = self.snapshots.observed_at().unwrap_or(passed_over.observed_at);
            self.settles_from = before.plus(SETTLED).plus(Duration::from_secs(1));
            tracing::debug!(wallet = %self.wallet, %before, "positions were read as early as those before; again");
            return Ok(false);
        }
        self.publisher.snapshot(&parts).await?;
        for part in &parts {
            self.snapshots.take(part);
        }
        tracing::info!(wallet = %self.wallet, %covers_until, "snapshot published");
        Ok(true)
    }
}
