//! Heartbeats (`venue.md` 6): whoever sent one and then falls silent loses all its orders.

use std::time::Duration;

use schemas::{Timestamp, keccak256};
use venue::wire::ClobOrderStatus;

use super::{Due, Exchange};

/// Longer silence cancels everything.
const SILENCE: Duration = Duration::from_secs(10);

/// The last heartbeat of an API key.
#[derive(Debug, Clone)]
pub(super) struct Beat {
    id: String,
    serial: u64,
}

impl Exchange {
    /// A heartbeat of an API key: the id that the next one must bring.
    ///
    /// # Errors
    /// It brought another id than the last answer gave; the id that was expected.
    pub fn heartbeat(&mut self, owner: &str, given: &str, at: Timestamp) -> Result<String, String> {
        let known = self.beats.get(owner);
        let expected = known.map(|beat| beat.id.clone()).unwrap_or_default();
        if given != expected {
            return Err(expected);
        }
        let serial = known.map_or(0, |beat| beat.serial) + 1;
        let hash =
            keccak256(&[b"heartbeat", owner.as_bytes(), &serial.to_be_bytes(), &at.micros().to_be_bytes()]);
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&hash.as_bytes()[..16]);
        let id = uuid::Builder::from_random_bytes(bytes).into_uuid().to_string();
        self.beats.insert(owner.to_owned(), Beat { id: id.clone(), serial });
        self.schedule(at.plus(SILENCE), Due::Silence(owner.to_owned(), serial));
        Ok(id)
    }

    /// Ten seconds after a heartbeat: was it the last?
    pub(super) fn silence(&mut self, owner: &str, serial: u64, at: Timestamp) {
        if self.beats.get(owner).is_none_or(|beat| beat.serial != serial) {
            return;
        }
        self.beats.remove(owner);
        let open: Vec<_> =
            self.orders.values().filter(|o| o.owner == owner && o.is_open()).map(|o| o.id).collect();
        for id in open {
            self.end(id, ClobOrderStatus::Canceled, at);
        }
    }
}
