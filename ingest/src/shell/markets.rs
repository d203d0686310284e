//! Facts and books for the fills about to be published, shared by all wallets of this process.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures_util::future::{Either, join_all, select};
use runtime::{Board, Clock};
use schemas::{
    AssetId, ConditionId, Timestamp,
    events::{BookSnapshot, MarketFacts, MarketState},
};
use venue::{
    facts::{book_snapshot, market_facts},
    port::MarketData,
    wire::GammaMarket,
};

use super::{IngestError, Ports, publish::Publisher};

/// Facts older than this are read again before a fill is published with them.
const STALE: Duration = Duration::from_secs(60);
/// Facts older than this are read again after a fill was published with them.
const RENEW: Duration = Duration::from_secs(20);
/// A market that was not found is asked for again after this.
const RETRY: Duration = Duration::from_secs(1);
/// A market nobody asked for in this time is forgotten.
const FORGET: Duration = Duration::from_secs(3600);
/// A book this young serves the next fill too.
const BOOK_FRESH: Duration = Duration::from_millis(500);
/// A fill does not wait longer for its book: it goes out without.
const BOOK_WAIT: Duration = Duration::from_millis(400);
/// Conditions in one question to Gamma.
const CHUNK: usize = 50;

#[derive(Debug, Clone)]
struct Known {
    facts: Option<MarketFacts>,
    listing: Listing,
    read_at: Timestamp,
    wanted_at: Timestamp,
}

/// What Gamma says of a market besides its facts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listing {
    /// Its event: conversions move all markets of one.
    pub event: Option<String>,
    /// Its traded ids before a migration, and after it, each at its outcome's place.
    pub ids: (Vec<AssetId>, Vec<AssetId>),
}

impl Listing {
    fn of(row: &GammaMarket) -> Self {
        let event = row.events.first().map(|e| e.id.clone()).filter(|id| !id.is_empty());
        Self { event, ids: (row.clob_token_ids.clone(), row.position_ids.clone()) }
    }
}

/// What is known of markets and books.
pub struct Markets {
    venue: Arc<dyn MarketData>,
    clock: Arc<dyn Clock>,
    board: Board,
    publisher: Publisher,
    known: Mutex<BTreeMap<ConditionId, Known>>,
    books: Mutex<BTreeMap<AssetId, (Timestamp, BookSnapshot)>>,
}

impl fmt::Debug for Markets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Markets")
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Markets {
    /// Nothing is known.
    pub fn new(ports: &Ports, publisher: Publisher) -> Self {
        Self {
            venue: ports.venue.clone(),
            clock: ports.clock.clone(),
            board: ports.board.clone(),
            publisher,
            known: Mutex::default(),
            books: Mutex::default(),
        }
    }

    /// The facts of these conditions, as far as they can be had; asks for what is missing or stale.
    pub async fn facts(
        &self,
        wanted: &BTreeSet<ConditionId>,
    ) -> Result<BTreeMap<ConditionId, MarketFacts>, IngestError> {
        self.read(wanted, STALE).await?;
        let now = self.clock.now();
        let mut known = lock(&self.known);
        let mut out = BTreeMap::new();
        for condition in wanted {
            if let Some(entry) = known.get_mut(condition) {
                entry.wanted_at = now;
                out.extend(entry.facts.clone().map(|facts| (*condition, facts)));
            }
        }
        Ok(out)
    }

    /// What Gamma lists of these conditions, as far as it can be had.
    pub async fn listings(
        &self,
        wanted: &BTreeSet<ConditionId>,
    ) -> Result<BTreeMap<ConditionId, Listing>, IngestError> {
        // Neither event nor ids ever change.
        self.read(wanted, FORGET).await?;
        let known = lock(&self.known);
        let listed = wanted.iter().filter_map(|c| Some((*c, known.get(c)?.listing.clone())));
        Ok(listed.collect())
    }

    /// Reads the facts of these conditions again if they have aged: off the way of a fill.
    pub async fn renew(&self, used: &BTreeSet<ConditionId>) -> Result<(), IngestError> {
        let now = self.clock.now();
        lock(&self.known).retain(|_, k| now.since(k.wanted_at) < FORGET);
        lock(&self.books).retain(|_, (read_at, _)| now.since(*read_at) < BOOK_FRESH);
        self.read(used, RENEW).await
    }

    async fn read(&self, wanted: &BTreeSet<ConditionId>, older_than: Duration) -> Result<(), IngestError> {
        let now = self.clock.now();
        let due: Vec<ConditionId> = {
            let known = lock(&self.known);
            let is_due = |condition: &&ConditionId| {
                known.get(*condition).is_none_or(|k| {
                    now.since(k.read_at) >= if k.facts.is_some() { older_than } else { RETRY }
                })
            };
            wanted.iter().filter(is_due).copied().collect()
        };
        for chunk in due.chunks(CHUNK) {
            self.ask(chunk).await?;
        }
        Ok(())
    }

    /// Asks Gamma for all and the CLOB for each; trouble leaves what was known as it was.
    async fn ask(&self, conditions: &[ConditionId]) -> Result<(), IngestError> {
        let clob = join_all(conditions.iter().map(|c| self.venue.clob_market(*c)));
        let (gamma, clob) = futures_util::join!(self.venue.markets(conditions), clob);
        let gamma = match gamma {
            Ok(gamma) => gamma,
            Err(error) => {
                self.board.trouble(error.code());
                tracing::warn!(%error, code = error.code(), "market facts could not be read");
                self.not_found(conditions);
                return Ok(());
            }
        };
        let now = self.clock.now();
        for (condition, clob) in conditions.iter().zip(clob) {
            let row = gamma.rows.iter().find(|row| row.condition().ok() == Some(*condition));
            let read = match (row, clob) {
                (Some(row), Ok(clob)) => {
                    let facts = market_facts(row, clob.as_ref()).map(|facts| (facts, Listing::of(row)));
                    facts.map_err(|e| (e.code(), e.to_string()))
                }
                (None, Ok(_)) => Err(("market_unknown", format!("Gamma knows no market {condition}"))),
                (_, Err(error)) => Err((error.code(), error.to_string())),
            };
            match read {
                Ok((facts, listing)) => self.found(facts, listing, now).await?,
                Err((code, error)) => {
                    self.board.trouble(code);
                    tracing::warn!(%condition, code, error, "a market has no facts");
                    self.not_found(&[*condition]);
                }
            }
        }
        Ok(())
    }

    fn not_found(&self, conditions: &[ConditionId]) {
        let now = self.clock.now();
        let mut known = lock(&self.known);
        for condition in conditions {
            let empty = Known { facts: None, listing: Listing::default(), read_at: now, wanted_at: now };
            let entry = known.entry(*condition).or_insert(empty);
            // Old facts stay in use, and are asked for again soon.
            if entry.facts.is_none() {
                entry.read_at = now;
            }
        }
    }

    async fn found(&self, facts: MarketFacts, listing: Listing, now: Timestamp) -> Result<(), IngestError> {
        let entry = Known { facts: Some(facts.clone()), listing, read_at: now, wanted_at: now };
        let before = lock(&self.known).insert(facts.condition_id, entry).and_then(|k| k.facts);
        if before.as_ref() == Some(&facts) {
            return Ok(());
        }
        self.publisher.market(MarketState { facts, observed_at: now }).await
    }

    /// The books of these tokens, as far as they come in time.
    pub async fn books(&self, assets: &BTreeSet<AssetId>) -> BTreeMap<AssetId, BookSnapshot> {
        let now = self.clock.now();
        let missing: Vec<&AssetId> = {
            let books = lock(&self.books);
            let fresh = |a: &&AssetId| books.get(*a).is_none_or(|(at, _)| now.since(*at) >= BOOK_FRESH);
            assets.iter().filter(fresh).collect()
        };
        let ask = join_all(missing.iter().map(|asset| self.book(asset)));
        let (ask, patience) = (std::pin::pin!(ask), self.clock.sleep(BOOK_WAIT));
        if let Either::Right(_) = select(ask, patience).await {
            self.board.trouble("book_late");
        }
        let books = lock(&self.books);
        let oldest = now.minus(BOOK_FRESH);
        assets
            .iter()
            .filter_map(|a| {
                books.get(a).filter(|(at, _)| *at > oldest).map(|(_, book)| (a.clone(), book.clone()))
            })
            .collect()
    }

    async fn book(&self, asset: &AssetId) {
        match self.venue.book(asset).await {
            Ok(Some(book)) => {
                lock(&self.books).insert(asset.clone(), (self.clock.now(), book_snapshot(&book)));
            }
            Ok(None) => {}
            Err(error) => {
                self.board.trouble(error.code());
                tracing::debug!(%asset, %error, "no book");
            }
        }
    }
}
