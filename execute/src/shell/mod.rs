//! The loops that feed the core.
//!
//! | module | does |
//! |---|---|
//! | [`intake`] | joins the group, reads intents, owns the partitions' workers |
//! | [`worker`] | one partition: claims it, resolves what is unfinished, and runs the tasks below |
//! | [`gating`] | takes its intents to the gate |
//! | [`lease`] | the right to send |
//! | [`submit`] | sends what is committed, in order per tenant |
//! | [`reconcile`] | asks the venue what became of it; [`view`] is the question |
//! | [`stream`] | hears from the venue that something happened |
//! | [`limits`] | how often the venue may be asked |
//! | [`diagnose`] | looks into rejections |
//! | [`deferred`] | asks the gate again for intents that wait |
//! | [`closer`] | gives closes their turn, with what they lack of market data |
//! | [`relay`] | the outbox into the log |
//! | [`provision`] | keys, credentials, approvals, balances |
//! | [`agree`] | whether log and ledger belong together |

pub mod agree;
pub mod bucket;
pub mod closer;
pub mod deferred;
pub mod desk;
pub mod diagnose;
pub mod gating;
pub mod hand;
pub mod intake;
pub mod lease;
pub mod limits;
pub mod provision;
pub mod reconcile;
pub mod relay;
pub mod stream;
pub mod submit;
pub mod view;
pub mod worker;

use std::sync::Arc;

use eventlog::Log;
use runtime::{Board, Chance, Clock};
use schemas::codec::Codec;

use crate::{settings::Settings, signer::Keyring, store::Store, venues::Venues};

/// Everything that the stage gets from outside. It touches nothing else.
#[derive(Debug, Clone)]
pub struct Stage {
    /// The log.
    pub log: Arc<dyn Log>,
    /// The ledger.
    pub store: Arc<dyn Store>,
    /// The venues.
    pub venues: Venues,
    /// The open keys.
    pub keyring: Keyring,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Random bytes.
    pub chance: Chance,
    /// The live figures.
    pub board: Board,
    /// Reads and writes records.
    pub codec: Codec,
    /// How patient it is.
    pub settings: Settings,
}
