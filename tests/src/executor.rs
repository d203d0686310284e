//! What an executor in a test's own hands stands on: the ports of the stage as it ships, on an installation under test.

use std::{path::Path, sync::Arc};

use eventlog::{Expected, VenueKind};
use execute::{Keyring, PostgresStore, SealingKey};
use schemas::codec::Codec;
use sqlx::postgres::PgConnectOptions;
use venue::{
    http::{Clob, Endpoints, HttpSettings, PublicData},
    signing::ExchangeTable,
};

/// The log that an installation makes by its defaults.
pub const EXPECTED: Expected = Expected {
    venue: VenueKind::Simulator,
    wallet_partitions: 8,
    account_partitions: 8,
    market_partitions: 4,
    log_id: None,
};

/// The ports, but for the log.
pub struct Ports {
    pub store: PostgresStore,
    pub clob: Arc<Clob>,
    pub market: Arc<PublicData>,
    pub keyring: Keyring,
    pub codec: Codec,
}

impl Ports {
    /// From the variables that `polymirror execute` is given there; so many connections to the ledger.
    pub fn of(variable: impl Fn(&str) -> String, pool: u32, http: HttpSettings) -> Self {
        let codec = Codec::bundled().unwrap();
        let database: PgConnectOptions = variable("DATABASE_URL").parse().unwrap();
        let password = variable("POLYMIRROR_DB_PASSWORD_EXECUTOR");
        let database = database.username("executor").password(&password);
        let simulator = variable("POLYMIRROR_SIMULATOR");
        let sealing = Path::new(&variable("POLYMIRROR_DATA_DIR")).join("sealing.key");
        Self {
            store: PostgresStore::new(database, pool, codec.clone()),
            clob: Arc::new(Clob::new(&simulator, http).unwrap()),
            market: Arc::new(PublicData::new(&Endpoints::all_at(&simulator), http).unwrap()),
            keyring: Keyring::new(SealingKey::from_file(&sealing).unwrap(), ExchangeTable::default()),
            codec,
        }
    }
}
