//! Random bytes, as a port.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha12Rng;
use uuid::Uuid;

/// Where a shell gets random bytes from: the machine's entropy, or a seed that repeats the run.
#[derive(Clone)]
pub struct Chance(Arc<Mutex<ChaCha12Rng>>);

impl Chance {
    /// Seeded by the machine.
    pub fn system() -> Self {
        Self(Arc::new(Mutex::new(rand::make_rng())))
    }

    /// The same bytes for the same seed.
    pub fn seeded(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(ChaCha12Rng::seed_from_u64(seed))))
    }

    /// `N` random bytes.
    pub fn bytes<const N: usize>(&self) -> [u8; N] {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).random()
    }

    /// A random (version 4) UUID.
    pub fn uuid(&self) -> Uuid {
        uuid::Builder::from_random_bytes(self.bytes()).into_uuid()
    }

    /// A number below `bound`, or zero where there is none.
    pub fn below(&self, bound: u64) -> u64 {
        if bound == 0 {
            return 0;
        }
        self.0.lock().unwrap_or_else(PoisonError::into_inner).random_range(0..bound)
    }
}

impl fmt::Debug for Chance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Chance")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_repeats_its_bytes_and_the_machine_does_not() {
        assert_eq!(Chance::seeded(7).uuid(), Chance::seeded(7).uuid());
        assert_ne!(Chance::seeded(7).uuid(), Chance::seeded(8).uuid());
        assert_ne!(Chance::system().uuid(), Chance::system().uuid());
        assert_eq!(Chance::seeded(1).uuid().get_version_num(), 4);
    }
}
