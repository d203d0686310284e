//! Every record of every topic. One file per topic; each record is defined once, with its documentation,
//! units and Avro schema ([`crate::record`]).
//!
//! Only optional fields may be added to a released record, and none may change: FULL_TRANSITIVE
//! compatibility, held by a test against every released version under `schemas/released/`.

mod controls;
mod decisions;
mod fills;
mod intents;
mod markets;
mod orders;
mod plumbing;
mod policy;
mod targets;

pub use controls::*;
pub use decisions::*;
pub use fills::*;
pub use intents::*;
pub use markets::*;
pub use orders::*;
pub use plumbing::*;
pub use policy::*;
pub use targets::*;

use crate::{
    avro::Event,
    codec::{CodecError, WriterSchema},
    topics::Topic,
};

/// The sum of the records that may stand in one topic.
pub trait TopicEvents: Sized {
    /// The topic.
    const TOPIC: Topic;

    /// Reads the datum of the record of that name; `None` where no such record stands in the topic.
    fn read(schema: &WriterSchema, datum: &[u8]) -> Option<Result<Self, CodecError>>;
}

/// A record type as the schema files and the registry list it.
#[derive(Debug, Clone)]
pub struct RecordType {
    /// The record's name, without namespace.
    pub name: &'static str,
    /// The topic it stands in.
    pub topic: Topic,
    /// Its schema, complete in itself.
    pub schema: serde_json::Value,
}

macro_rules! topic_events {
    ($( $(#[$doc:meta])* $name:ident in $topic:ident { $($record:ident,)* } )*) => {
        $(
            $(#[$doc])*
            #[derive(Debug, Clone, PartialEq, Eq)]
            #[allow(clippy::large_enum_variant, reason = "read once, taken apart at once: a box would cost more")]
            pub enum $name { $( #[doc = concat!("See [`struct@", stringify!($record), "`].")] $record($record), )* }

            impl TopicEvents for $name {
                const TOPIC: Topic = Topic::$topic;

                fn read(schema: &WriterSchema, datum: &[u8]) -> Option<Result<Self, CodecError>> {
                    match schema.name() {
                        $(<$record as Event>::NAME => Some(schema.read::<$record>(datum).map(Self::$record)),)*
                        _ => None,
                    }
                }
            }

            $(impl From<$record> for $name {
                fn from(record: $record) -> Self {
                    Self::$record(record)
                }
            })*
        )*

        /// Every record: its name, its topic and its schema.
        pub fn all_records() -> Vec<RecordType> {
            vec![ $( $(RecordType {
                name: <$record as Event>::NAME,
                topic: Topic::$topic,
                schema: <$record as Event>::schema_json(),
            },)* )* ]
        }
    };
}

topic_events! {
    /// What stands in `fills`.
    FillsEvent in Fills { Fill, FillVoided, PositionSnapshot, PositionChanged, Watermark, TokenMarked, TokenResolved, }
    /// What stands in `targets`.
    TargetsEvent in Targets { TargetState, CloseRequested, }
    /// What stands in `orders`.
    OrdersEvent in Orders { OrderState, }
    /// What stands in `decisions`.
    DecisionsEvent in Decisions { Cut, Decision, }
    /// What stands in `intents`.
    IntentsEvent in Intents { PlaceIntent, CloseIntent, CancelIntent, MigrateIntent, }
    /// What stands in `controls`.
    ControlsEvent in Controls { ControlState, GrantState, ConnectionState, }
    /// What stands in `markets`.
    MarketsEvent in Markets { MarketState, MarketMarked, MarketResolved, }
    /// What stands in `decide-state`.
    DecideStateEvent in DecideState { StateSnapshot, }
    /// What stands in `dead-letters`.
    DeadLettersEvent in DeadLetters { DeadLetter, Gap, }
}
