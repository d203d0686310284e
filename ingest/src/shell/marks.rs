//! Prices and outcomes of the tokens that followers hold, into `fills` beside the trades of the wallet that they
//! follow: so that what closes a position without its leader is decided from the same log.
//!
//! One task for all partitions of this member. It learns from `orders` what is held, from the start of the partition
//! on, and from `fills` what has ended and which tokens go on under another id: a restart knows it again without having kept
//! anything. The last days of `fills` are read before anything is sampled, what is older beside the samples: as far back as
//! something is held that was bought then.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use eventlog::{LogError, Offset, Stored, TopicPartition, event::CE_TYPE};
use runtime::Stop;
use schemas::{
    Address, AssetId, ConditionId, Price, Timestamp, Usdc,
    avro::Event as _,
    codec::Codec,
    events::{FillsEvent, OrdersEvent, Payout, PositionChanged, TokenMarked, TokenResolved},
    money::ONE,
    topics::Topic,
};
use venue::wire::Book;

use super::{IngestError, Ports, markets::Markets, publish::Publisher};
use crate::core::{
    held::{Held, Token},
    merge::MEMORY,
};

/// How often `orders` is read on.
const TICK: Duration = Duration::from_secs(1);
/// Records a read.
const BATCH: usize = 2_000;
/// Reads of older records in a turn.
const OLDER: usize = 5;
/// Clocks may differ by so much.
const SKEW: Duration = Duration::from_secs(3600);
/// Tokens in one question for books.
const BOOKS: usize = 200;
/// Between two questions to the venue.
const GAP: Duration = Duration::from_millis(250);
/// A condition whose books are there is asked about its outcome so often; one whose books are not, in every round.
const OUTCOME: Duration = Duration::from_secs(600);
/// Questions about outcomes in a round.
const OUTCOMES: usize = 40;

/// The partitions of this member, told to the task by the stage.
#[derive(Debug, Clone, Default)]
pub struct Owned(Arc<Mutex<BTreeSet<i32>>>);

impl Owned {
    /// These are ours now.
    pub fn set(&self, partitions: &BTreeSet<i32>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone_from(partitions);
    }

    fn get(&self) -> BTreeSet<i32> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// One partition's orders and fills, as far as they are read.
#[derive(Debug)]
struct Part {
    orders: Offset,
    fills: Offset,
    /// What of older fills is still to be read.
    older: Range<Offset>,
    held: Held,
}

/// The records of `fills` that say something of what is held. The others, by far the most, are passed over by their header.
const OF_FILLS: [&str; 2] = [TokenResolved::NAME, PositionChanged::NAME];

/// Takes a record of `fills`. What cannot be read is decide's to report.
fn take(held: &mut Held, codec: &Codec, stored: &Stored) {
    let kind = stored.record.header(CE_TYPE).and_then(|value| std::str::from_utf8(value).ok());
    let name = kind.and_then(|kind| kind.strip_prefix("polymirror."));
    if name.is_some_and(|name| !OF_FILLS.contains(&name)) {
        return;
    }
    match stored.record.value.as_deref().map(|v| codec.decode::<FillsEvent>(v)) {
        Some(Ok(FillsEvent::TokenResolved(resolved))) => {
            held.resolved(resolved.wallet, resolved.condition_id);
        }
        Some(Ok(FillsEvent::PositionChanged(changed))) => held.changed(stored.offset, changed),
        _ => {}
    }
}

/// Its places: fills and orders.
const fn places(partition: i32) -> (TopicPartition, TopicPartition) {
    (TopicPartition::new(Topic::Fills, partition), TopicPartition::new(Topic::Orders, partition))
}

/// Best bid and best ask.
type Top = (Option<Price>, Option<Price>);

/// Marks and resolves what followers hold.
pub struct Marks {
    ports: Ports,
    publisher: Publisher,
    markets: Arc<Markets>,
    owned: Owned,
    every: Duration,
    stop: Stop,
    parts: BTreeMap<i32, Part>,
    marked: BTreeMap<(Address, AssetId), Top>,
    sampled_at: Option<Timestamp>,
    asked: BTreeMap<ConditionId, Timestamp>,
}

impl Marks {
    /// Nothing is known to be held.
    pub fn new(
        ports: &Ports,
        publisher: Publisher,
        markets: Arc<Markets>,
        owned: Owned,
        every: Duration,
        stop: Stop,
    ) -> Self {
        Self {
            ports: ports.clone(),
            publisher,
            markets,
            owned,
            every,
            stop,
            parts: BTreeMap::new(),
            marked: BTreeMap::new(),
            sampled_at: None,
            asked: BTreeMap::new(),
        }
    }

    /// Goes on until the stage is asked to stop, or it is dropped.
    ///
    /// # Errors
    /// A log that cannot be used any more. Trouble with the venue is waited out.
    pub async fn run(mut self) -> Result<(), IngestError> {
        while !self.stop.is_requested() {
            match self.turn().await {
                Ok(()) => {}
                Err(IngestError::Log(error)) if error.is_transient() => {
                    tracing::debug!(%error, "marks wait for the log");
                }
                Err(IngestError::Venue(error)) => {
                    self.ports.board.trouble(error.code());
                    tracing::debug!(%error, "marks wait for the venue");
                }
                Err(error) => return Err(error),
            }
            self.ports.clock.sleep(TICK.min(self.every)).await;
        }
        Ok(())
    }

    async fn turn(&mut self) -> Result<(), IngestError> {
        let owned = self.owned.get();
        self.parts.retain(|partition, _| owned.contains(partition));
        for partition in owned {
            let part = match self.parts.remove(&partition) {
                Some(part) => part,
                None => self.begin(partition).await?,
            };
            let part = self.read_on(partition, part).await?;
            let part = self.read_older(partition, part).await?;
            self.parts.insert(partition, part);
        }
        // What is read in part is not known yet.
        if self.stop.is_requested() {
            return Ok(());
        }
        let now = self.ports.clock.now();
        if self.sampled_at.is_some_and(|at| now.since(at) < self.every) {
            return Ok(());
        }
        self.sampled_at = Some(now);
        self.round(now).await
    }

    /// What was resolved lately is not resolved again, and what went on under another id is sampled under that one.
    async fn begin(&self, partition: i32) -> Result<Part, IngestError> {
        let Ports { log, clock, .. } = &self.ports;
        let (fills, orders) = places(partition);
        // A predecessor's last records count.
        log.settled_extent(fills).await?;
        let lately = log.offset_at(fills, clock.now().minus(MEMORY)).await?;
        let part = Part {
            orders: log.extent(orders).await?.start,
            fills: lately,
            older: lately..lately,
            held: Held::default(),
        };
        let mut part = self.read_on(partition, part).await?;
        if let Some(since) = part.held.since() {
            part.older.start = log.offset_at(fills, since.minus(SKEW)).await?.min(lately);
        }
        Ok(part)
    }

    async fn read_on(&self, partition: i32, mut part: Part) -> Result<Part, LogError> {
        let Ports { log, codec, clock, .. } = &self.ports;
        let (fills, orders) = places(partition);
        while !self.stop.is_requested() {
            let batch = log.read(fills, part.fills, BATCH).await?;
            let Some(last) = batch.last() else { break };
            part.fills = last.offset.next();
            for stored in &batch {
                take(&mut part.held, codec, stored);
            }
            tokio::task::yield_now().await;
        }
        while !self.stop.is_requested() {
            let batch = log.read(orders, part.orders, BATCH).await?;
            let Some(last) = batch.last() else { break };
            part.orders = last.offset.next();
            for stored in &batch {
                // What cannot be read is decide's to report.
                if let Some(Ok(OrdersEvent::OrderState(order))) =
                    stored.record.value.as_deref().map(|v| codec.decode::<OrdersEvent>(v))
                {
                    part.held.order(&order);
                }
            }
            part.held.forget(clock.now());
            tokio::task::yield_now().await;
        }
        Ok(part)
    }

    /// Some of what is older than the last days: there may be much of it, and what is known is sampled meanwhile.
    async fn read_older(&self, partition: i32, mut part: Part) -> Result<Part, LogError> {
        let Ports { log, codec, .. } = &self.ports;
        let (fills, _) = places(partition);
        for _ in 0..OLDER {
            if part.older.is_empty() || self.stop.is_requested() {
                break;
            }
            let batch = log.read(fills, part.older.start, BATCH).await?;
            let Some(last) = batch.last() else { break };
            part.older.start = last.offset.next();
            // What lies beyond is known already, and changes nothing.
            for stored in &batch {
                take(&mut part.held, codec, stored);
            }
            tokio::task::yield_now().await;
        }
        Ok(part)
    }

    fn tokens(&self) -> BTreeMap<AssetId, Token> {
        let mut tokens: BTreeMap<AssetId, Token> = BTreeMap::new();
        for (asset, token) in self.parts.values().flat_map(|part| part.held.tokens()) {
            match tokens.get_mut(&asset) {
                Some(known) => known.wallets.extend(token.wallets),
                None => {
                    tokens.insert(asset, token);
                }
            }
        }
        tokens
    }

    /// Samples every token once, and asks about outcomes.
    async fn round(&mut self, now: Timestamp) -> Result<(), IngestError> {
        let tokens = self.tokens();
        self.marked.retain(|(_, asset), _| tokens.contains_key(asset));
        let assets: Vec<&AssetId> = tokens.keys().collect();
        let mut without_book: BTreeSet<ConditionId> = tokens.values().map(|t| t.condition_id).collect();
        for chunk in assets.chunks(BOOKS) {
            let asked: Vec<AssetId> = chunk.iter().copied().cloned().collect();
            let books = self.ports.venue.books(&asked).await?;
            let mut marks = Vec::new();
            for book in &books {
                let Some(token) = tokens.get(&book.asset_id) else { continue };
                without_book.remove(&token.condition_id);
                self.mark(token, book, &mut marks);
            }
            self.publisher.marks(&marks).await?;
            self.ports.clock.sleep(GAP).await;
        }
        self.outcomes(&tokens, &without_book, now).await
    }

    /// The marks of a token whose best prices are not those told before.
    fn mark(&mut self, token: &Token, book: &Book, marks: &mut Vec<TokenMarked>) {
        let top = (book.best_bid().map(|l| l.price), book.best_ask().map(|l| l.price));
        for wallet in &token.wallets {
            let before = self.marked.insert((*wallet, book.asset_id.clone()), top);
            if before != Some(top) {
                marks.push(TokenMarked {
                    wallet: *wallet,
                    asset: book.asset_id.clone(),
                    condition_id: token.condition_id,
                    best_bid: top.0,
                    best_ask: top.1,
                    as_of: book.timestamp,
                });
            }
        }
    }

    async fn outcomes(
        &mut self,
        tokens: &BTreeMap<AssetId, Token>,
        without_book: &BTreeSet<ConditionId>,
        now: Timestamp,
    ) -> Result<(), IngestError> {
        let mut wallets: BTreeMap<ConditionId, BTreeSet<Address>> = BTreeMap::new();
        for token in tokens.values() {
            wallets.entry(token.condition_id).or_default().extend(&token.wallets);
        }
        self.asked.retain(|condition, _| wallets.contains_key(condition));
        let age = |c: &ConditionId| self.asked.get(c).map(|at| now.since(*at));
        let mut due: Vec<ConditionId> = wallets
            .keys()
            .copied()
            .filter(|c| without_book.contains(c) || age(c).is_none_or(|age| age >= OUTCOME))
            .collect();
        // Whoever waits longest comes first.
        due.sort_by_key(|c| (self.asked.get(c).copied(), *c));
        for condition in due.into_iter().take(OUTCOMES) {
            self.asked.insert(condition, now);
            if let Some((payouts, resolved_at)) = self.outcome(condition, now).await? {
                for wallet in wallets.get(&condition).into_iter().flatten() {
                    let resolved = TokenResolved {
                        wallet: *wallet,
                        condition_id: condition,
                        payouts: payouts.clone(),
                        resolved_at,
                    };
                    self.publisher.resolved(resolved).await?;
                    for part in self.parts.values_mut() {
                        part.held.resolved(*wallet, condition);
                    }
                }
            }
            self.ports.clock.sleep(GAP).await;
        }
        Ok(())
    }

    /// What each outcome pays, once the payout authority says so.
    async fn outcome(
        &self,
        condition: ConditionId,
        now: Timestamp,
    ) -> Result<Option<(Vec<Payout>, Timestamp)>, IngestError> {
        let Some(row) = self.ports.venue.resolution(condition, now).await? else { return Ok(None) };
        if row.payouts.is_empty() {
            return Ok(None);
        }
        let facts = self.markets.facts(&[condition].into()).await?;
        let Some(facts) = facts.get(&condition) else { return Ok(None) };
        let whole = row.payouts.iter().all(|paid| (0..=ONE).contains(paid));
        if row.payouts.len() != facts.tokens.len() || !whole {
            self.ports.board.trouble("payouts_unreadable");
            tracing::warn!(%condition, payouts = ?row.payouts, "an outcome pays what no outcome can");
            return Ok(None);
        }
        let payouts = facts
            .tokens
            .iter()
            .zip(&row.payouts)
            .map(|(token, paid)| Payout { asset: token.asset.clone(), per_share: Usdc::from_micro(*paid) })
            .collect();
        Ok(Some((payouts, row.resolved_at.unwrap_or(now))))
    }
}
