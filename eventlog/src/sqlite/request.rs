//! What the writer is asked to do.

use std::{collections::BTreeMap, sync::Arc};

use schemas::topics::Topic;
use tokio::sync::oneshot;

use super::layout::Slot;
use crate::{
    fault::Lost,
    group::MemberId,
    port::{Append, Extent, LogError, Offset, Written},
};

/// How an answer comes back. Whoever asked may have stopped waiting.
pub(super) type Reply<T> = oneshot::Sender<T>;

/// A claim as a member knows it: it still holds only while nobody took it over, which would change the epoch.
#[derive(Debug, Clone, Copy)]
pub(super) struct Claim {
    pub slot: Slot,
    pub epoch: i64,
}

/// What a member is, for as long as it lives.
#[derive(Debug)]
pub(super) struct Person {
    /// Its group's name.
    pub group: String,
    pub topics: Vec<Topic>,
    pub session_ms: i64,
    /// The open log it belongs to.
    pub handle: i64,
}

/// One thing to write.
#[derive(Debug)]
pub(super) enum Request {
    Append {
        records: Vec<Append>,
        lost: Option<Lost>,
        reply: Reply<Written<Vec<Offset>>>,
    },
    Commit {
        commit: Commit,
        lost: Option<Lost>,
        reply: Reply<Written<Vec<Offset>>>,
    },
    Sync {
        sync: Sync,
        reply: Reply<Result<Synced, LogError>>,
    },
    /// The member is alive.
    Beat {
        id: MemberId,
    },
    /// These were silent for too long, at these beats; nothing happens to one that beat since.
    Expire {
        group: String,
        silent: Vec<(MemberId, i64)>,
    },
    Leave {
        group: String,
        id: MemberId,
        reply: Reply<Result<(), LogError>>,
    },
    /// A partition's extent once no write transaction that was open still is.
    Extent {
        slot: Slot,
        reply: Reply<Result<Extent, LogError>>,
    },
}

/// Append and commit of a member.
#[derive(Debug)]
pub(super) struct Commit {
    pub group: String,
    pub id: MemberId,
    pub records: Vec<Append>,
    /// What is committed, and the claims it is committed under.
    pub offsets: Vec<(Claim, Offset)>,
}

/// A member compares what it holds with what it should hold.
#[derive(Debug)]
pub(super) struct Sync {
    pub person: Arc<Person>,
    /// `None`: it never joined.
    pub id: Option<MemberId>,
    pub held: Vec<Claim>,
}

/// The answer.
#[derive(Debug)]
pub(super) struct Synced {
    pub id: MemberId,
    /// The group's generation that this is about.
    pub generation: i64,
    /// No longer its own. If there are any, nothing new was taken: it says so first.
    pub lost: Vec<Slot>,
    /// New ones.
    pub new: Vec<Claim>,
    /// The committed offsets of all it holds now.
    pub committed: BTreeMap<Slot, Offset>,
}

impl Request {
    /// About how many bytes it writes.
    pub(super) fn size(&self) -> usize {
        let (Self::Append { records, .. } | Self::Commit { commit: Commit { records, .. }, .. }) = self
        else {
            return 0;
        };
        let size = |r: &Append| {
            40 + r.record.key.as_ref().map_or(0, bytes::Bytes::len)
                + r.record.value.as_ref().map_or(0, bytes::Bytes::len)
        };
        records.iter().map(size).sum()
    }

    /// Answers that nothing of it was done.
    pub(super) fn refuse(self, error: LogError) {
        let _nobody = match self {
            Self::Append { reply, .. } | Self::Commit { reply, .. } => {
                reply.send(Written::NotDone(error)).is_err()
            }
            Self::Sync { reply, .. } => reply.send(Err(error)).is_err(),
            Self::Leave { reply, .. } => reply.send(Err(error)).is_err(),
            Self::Extent { reply, .. } => reply.send(Err(error)).is_err(),
            Self::Beat { .. } | Self::Expire { .. } => false,
        };
    }
}

/// An answer that waits for the end of the transaction.
pub(super) enum Pending {
    Written { reply: Reply<Written<Vec<Offset>>>, places: Vec<Offset>, lost: Option<Lost> },
    Synced { reply: Reply<Result<Synced, LogError>>, synced: Synced },
    Left { reply: Reply<Result<(), LogError>> },
    Extent { reply: Reply<Result<Extent, LogError>>, extent: Extent },
    Nobody,
}

/// How the transaction ended.
#[derive(Debug, Clone)]
pub(super) enum Fate {
    Done,
    NotDone(LogError),
    Unknown(LogError),
}

/// The answer of a call that never arrived.
pub(super) fn answer_lost() -> LogError {
    LogError::Unreachable("the answer was lost".into())
}

impl Pending {
    pub(super) fn answer(self, fate: Fate) {
        let simple = |fate| match fate {
            Fate::Done => Ok(()),
            Fate::NotDone(e) | Fate::Unknown(e) => Err(e),
        };
        let _nobody = match self {
            Self::Written { reply, places, lost } => {
                let written = match (fate, lost) {
                    (Fate::Done, None) => Written::Done(places),
                    (Fate::Done, Some(_)) => Written::Unknown(answer_lost()),
                    (Fate::NotDone(e), _) => Written::NotDone(e),
                    (Fate::Unknown(e), _) => Written::Unknown(e),
                };
                reply.send(written).is_err()
            }
            Self::Synced { reply, synced } => reply.send(simple(fate).map(|()| synced)).is_err(),
            Self::Left { reply } => reply.send(simple(fate)).is_err(),
            Self::Extent { reply, extent } => reply.send(simple(fate).map(|()| extent)).is_err(),
            Self::Nobody => false,
        };
    }
}
