//! What a log is: made once, checked by everybody who opens it.

use runtime::{Chance, Clock};
use schemas::LogId;

use crate::port::{Expected, LogError, Manifest, TopicPartition, VenueKind};

/// More partitions than any topic may have.
const MOST_PARTITIONS: i32 = 1 << 15;

impl Manifest {
    /// The manifest of a new log.
    ///
    /// # Errors
    /// [`LogError::WrongManifest`] where a certain log was expected: it is not here. [`LogError::Refused`] for
    /// counts that no topic can have.
    pub fn create(expected: &Expected, clock: &dyn Clock, chance: &Chance) -> Result<Self, LogError> {
        if let Some(id) = expected.log_id {
            return Err(LogError::WrongManifest(format!("there is no log here, and log {id} is expected")));
        }
        let counts = [expected.wallet_partitions, expected.account_partitions, expected.market_partitions];
        if let Some(count) = counts.iter().find(|c| !(1..MOST_PARTITIONS).contains(*c)) {
            return Err(LogError::Refused(format!(
                "{count} partitions: a topic has 1 to {}",
                MOST_PARTITIONS - 1
            )));
        }
        Ok(Self {
            log_id: LogId::from_uuid(chance.uuid()),
            venue: expected.venue,
            wallet_partitions: expected.wallet_partitions,
            account_partitions: expected.account_partitions,
            market_partitions: expected.market_partitions,
            created_at: clock.now(),
        })
    }

    /// Whether this is a log of the expected venue, and of the expected id if one is.
    ///
    /// # Errors
    /// [`LogError::WrongManifest`], saying what it is and what it should be.
    pub fn check(&self, expected: &Expected) -> Result<(), LogError> {
        if self.venue != expected.venue {
            return Err(LogError::WrongManifest(format!(
                "log {} belongs to {}, and {} is expected",
                self.log_id,
                of(self.venue),
                of(expected.venue)
            )));
        }
        match expected.log_id {
            Some(id) if id != self.log_id => {
                Err(LogError::WrongManifest(format!("this is log {}, and log {id} is expected", self.log_id)))
            }
            _ => Ok(()),
        }
    }

    /// Whether the topic has that partition.
    ///
    /// # Errors
    /// [`LogError::Refused`], naming topic and count.
    pub fn require(&self, at: TopicPartition) -> Result<(), LogError> {
        let count = self.partitions(at.topic);
        if (0..count).contains(&at.partition) {
            return Ok(());
        }
        Err(LogError::Refused(format!(
            "{} has {count} partitions, none of number {}",
            at.topic, at.partition
        )))
    }
}

const fn of(venue: VenueKind) -> &'static str {
    match venue {
        VenueKind::Simulator => "the simulator",
        VenueKind::Real => "the real venue",
    }
}
