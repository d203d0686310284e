//! What decide remembers of one partition: the fold of the cuts' inputs, in their order, and of its own decisions.
//!
//! - [`leader`]: what the followed wallets hold, and the fills seen of them.
//! - [`sample`]: what they spent on each token in a month, and [`ranked`]: its percentiles.
//! - [`baselines`]: where they stood on a condition when a target was activated.
//! - [`own`]: what our copies hold and have on their way. [`closing`]: the closes asked for of it.
//! - [`carried`]: tokens that go on under another id.
//! - [`targets`]: who follows whom, and how.
//! - [`tracked`]: how a batch is staged and, if its commit fails, taken back.
//!
//! Sorted maps only, no clock but the cut's, no I/O: the same cuts give the same state, byte for byte
//! ([`State::to_bytes`]).

pub mod baselines;
pub mod carried;
pub mod closing;
pub mod leader;
pub mod own;
pub mod ranked;
pub mod sample;
pub mod targets;
pub mod tracked;

use std::{io, time::Duration};

use schemas::{
    Address, AssetId, BillingAccountId, IdempotencyKey, Mode, NaturalKey, TargetRowId, Timestamp, Usdc,
};
use serde::{Deserialize, Serialize};

use self::{
    baselines::BaselineKey,
    closing::Closing,
    leader::{ChangeKey, ChangeSeen, Followed, Holding, Seen, SeenKey},
    own::{Done, Kept, Open, OrderKey, OwnKey, Position},
    sample::{BoughtKey, Sample},
    targets::{Follower, Row},
    tracked::Tracked,
};

/// How long seen fills, final orders and close requests are remembered after they were last touched, by the
/// cuts' clock. Counted from the fold and not from their own times, so that a stage that was down for longer
/// still knows a repeat.
pub const REMEMBERED: Duration = Duration::from_secs(7 * 24 * 3_600);

/// The state of one partition.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// Target rows, at their highest revision.
    pub(crate) rows: Tracked<TargetRowId, Row>,
    /// The rows that follow a wallet.
    pub(crate) followers: Tracked<Follower, ()>,
    /// What is known of each wallet's snapshot.
    pub(crate) followed: Tracked<Address, Followed>,
    /// What the leaders hold.
    pub(crate) holdings: Tracked<(Address, AssetId), Holding>,
    /// The fills folded.
    pub(crate) seen: Tracked<SeenKey, Seen>,
    /// The position changes folded.
    pub(crate) changes: Tracked<ChangeKey, ChangeSeen>,
    /// What the leaders spent in a month.
    pub(crate) sample: Sample,
    /// What the leaders' cost on a condition was when a row was activated.
    pub(crate) baselines: Tracked<BaselineKey, Usdc>,
    /// What our copies hold.
    pub(crate) positions: Tracked<OwnKey, Position>,
    /// Orders that are not final, and placed intents that no order event speaks of yet.
    pub(crate) open: Tracked<OrderKey, Open>,
    /// Final orders.
    pub(crate) done: Tracked<OrderKey, Done>,
    /// Desires kept for the next.
    pub(crate) kept: Tracked<OwnKey, Kept>,
    /// Closes asked for of positions that are not flat.
    pub(crate) closing: Tracked<OwnKey, Closing>,
    /// Close requests answered.
    pub(crate) requests: Tracked<IdempotencyKey, Timestamp>,
    /// Former ids of the leaders' tokens, and under which these stand now. Absent in states of before plan version 3.
    #[serde(default, skip_serializing_if = "Tracked::is_empty")]
    pub(crate) migrated: Tracked<(Address, AssetId), AssetId>,
    /// When what can be forgotten may be.
    pub(crate) expiries: Tracked<(Timestamp, u64), Expiring>,
    /// Counts what is folded: the order of things within the state.
    pub(crate) sequence: Sequence,
}

/// A counter that can be taken back.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Sequence {
    now: u64,
    #[serde(skip)]
    kept: u64,
    /// Where each further batch begins that is staged upon one that is not kept yet.
    #[serde(skip)]
    further: Vec<u64>,
}

impl Sequence {
    fn next(&mut self) -> u64 {
        self.now += 1;
        self.now
    }

    fn stage_another(&mut self) {
        self.further.push(self.now);
    }

    fn keep(&mut self) {
        self.kept = if self.further.is_empty() { self.now } else { self.further.remove(0) };
    }

    fn undo(&mut self) {
        self.further.clear();
        self.now = self.kept;
    }
}

/// What can be forgotten at a time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Expiring {
    Seen(SeenKey),
    /// A BUY that leaves the sample.
    Bought(BoughtKey),
    Change(ChangeKey),
    Done(OrderKey),
    /// A placed intent without any order event.
    Silent(OrderKey),
    Request(IdempotencyKey),
}

impl State {
    /// What is folded from here on is of another batch, upon one that is not kept yet.
    pub fn stage_another(&mut self) {
        self.rows.stage_another();
        self.followers.stage_another();
        self.followed.stage_another();
        self.holdings.stage_another();
        self.seen.stage_another();
        self.changes.stage_another();
        self.sample.stage_another();
        self.baselines.stage_another();
        self.positions.stage_another();
        self.open.stage_another();
        self.done.stage_another();
        self.kept.stage_another();
        self.closing.stage_another();
        self.requests.stage_another();
        self.migrated.stage_another();
        self.expiries.stage_another();
        self.sequence.stage_another();
    }

    /// What the oldest batch folded stays.
    pub fn keep(&mut self) {
        self.rows.keep();
        self.followers.keep();
        self.followed.keep();
        self.holdings.keep();
        self.seen.keep();
        self.changes.keep();
        self.sample.keep();
        self.baselines.keep();
        self.positions.keep();
        self.open.keep();
        self.done.keep();
        self.kept.keep();
        self.closing.keep();
        self.requests.keep();
        self.migrated.keep();
        self.expiries.keep();
        self.sequence.keep();
    }

    /// Takes back what was folded and not kept, by all batches.
    pub fn undo(&mut self) {
        self.rows.undo();
        self.followers.undo();
        self.followed.undo();
        self.holdings.undo();
        self.seen.undo();
        self.changes.undo();
        self.sample.undo();
        self.baselines.undo();
        self.positions.undo();
        self.open.undo();
        self.done.undo();
        self.kept.undo();
        self.closing.undo();
        self.requests.undo();
        self.migrated.undo();
        self.expiries.undo();
        self.sequence.undo();
    }

    /// Forgets what is past its time at the cut's clock. First thing in each cut.
    pub(crate) fn forget(&mut self, clock: Timestamp) {
        while let Some((at, expiring)) = self.expiries.first() {
            if at.0 > clock {
                return;
            }
            let (at, expiring) = (*at, expiring.clone());
            self.expiries.remove(&at);
            // What was touched since stays, under a later entry.
            match expiring {
                Expiring::Seen(key) => {
                    if self.seen.get(&key).is_some_and(|seen| seen.until <= clock) {
                        self.seen.remove(&key);
                    }
                }
                Expiring::Bought(key) => self.sample.remove(&key),
                Expiring::Change(key) => {
                    self.changes.remove(&key);
                }
                Expiring::Done(key) => {
                    if self.done.get(&key).is_some_and(|done| done.until <= clock) {
                        self.done.remove(&key);
                    }
                }
                Expiring::Silent(key) => {
                    if self.open.get(&key).is_some_and(|open| open.revision.is_none()) {
                        self.open.remove(&key);
                        self.settle(&key.own, clock);
                    }
                }
                Expiring::Request(key) => {
                    self.requests.remove(&key);
                }
            }
        }
    }

    /// Whose position: (tenant, target, token, mode), by the target's wallet first. The token under the id that it has now.
    pub(crate) fn own_key(
        &self,
        wallet: Address,
        account: BillingAccountId,
        mode: Mode,
        asset: &AssetId,
    ) -> OwnKey {
        OwnKey { wallet, account, mode, asset: self.current(wallet, asset).clone() }
    }

    pub(crate) fn expire(&mut self, at: Timestamp, what: Expiring) {
        let n = self.sequence.next();
        self.expiries.set((at, n), what);
    }

    /// Everything that a restart needs, compact, and the same bytes for the same state.
    ///
    /// # Errors
    /// None that a user can meet.
    pub fn to_bytes(&self) -> io::Result<Vec<u8>> {
        zstd::encode_all(serde_json::to_vec(self)?.as_slice(), 3)
    }

    /// What [`State::to_bytes`] wrote.
    ///
    /// # Errors
    /// Bytes that are none of it.
    pub fn from_bytes(bytes: &[u8]) -> io::Result<Self> {
        let mut state: Self = serde_json::from_slice(&zstd::decode_all(bytes)?)?;
        state.keep();
        Ok(state)
    }

    /// How much is remembered, by kind: for logs and tests.
    pub fn sizes(&self) -> [(&'static str, usize); 9] {
        [
            ("targets", self.rows.len()),
            ("wallets", self.followed.len()),
            ("holdings", self.holdings.len()),
            ("seen", self.seen.len()),
            ("positions", self.positions.len()),
            ("open", self.open.len()),
            ("bought", self.sample.len()),
            ("baselines", self.baselines.len()),
            ("closing", self.closing.len()),
        ]
    }
}

/// The key of a fill among those seen.
pub(crate) fn seen_key(of: NaturalKey) -> SeenKey {
    (of.wallet, of.tx, of.asset, of.side)
}
