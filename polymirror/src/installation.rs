//! What a command works on: the data directory, the log, the database, the venue, as configured.

use std::sync::Arc;

use eventlog::{
    Expected, Log, VenueKind,
    kafka::{KafkaConfig, KafkaLog},
    sqlite::{SqliteLog, SqliteOptions},
};
use execute::SealingKey;
use pgcluster::Cluster;
use project::{Connections, Role, RolePasswords};
use runtime::{Board, Chance, Clock, SystemClock};
use schemas::{codec::Codec, registry::Registry};
use sqlx::{Connection as _, PgConnection, postgres::PgConnectOptions};
use venue::http::{Endpoints, HttpSettings, PublicData};

use crate::{config::Config, error::Error, home::Home};

/// The database of a private cluster.
const DATABASE: &str = "polymirror";
/// Where the sealing key comes from, if not from the data directory.
pub const SEALING_KEY_VARIABLE: &str = "POLYMIRROR_SEALING_KEY";

/// An installation, as one process sees it.
#[derive(Debug, Clone)]
pub struct Installation {
    /// The settings.
    pub config: Config,
    /// Where everything lies.
    pub home: Home,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Random bytes.
    pub chance: Chance,
    /// The live figures of this process.
    pub board: Board,
}

/// A database that can be logged in to. Holds the private cluster, if this process started it.
#[derive(Debug)]
pub struct Database {
    /// How each role logs in.
    pub connections: Connections,
    /// The cluster that ends with this process.
    pub cluster: Option<Cluster>,
    /// Whether the file of the roles' passwords was made for this, just now.
    made_passwords: bool,
}

impl Database {
    /// Stops the private cluster, if this process started it.
    ///
    /// # Errors
    /// A server that had to be killed.
    pub async fn close(self) -> Result<(), Error> {
        match self.cluster {
            Some(cluster) => cluster.stop().await.map_err(Error::said),
            None => Ok(()),
        }
    }
}

impl Installation {
    /// Opens the data directory, and makes it where there is none.
    ///
    /// # Errors
    /// A directory that cannot be used.
    pub fn open(config: Config) -> Result<Self, Error> {
        Ok(Self::at(Home::open(&config.data_dir)?, config))
    }

    /// An installation that is looked at: nothing is made.
    ///
    /// # Errors
    /// A directory that cannot be used.
    pub fn look(config: Config) -> Result<Self, Error> {
        Ok(Self::at(Home::look(&config.data_dir)?, config))
    }

    fn at(home: Home, config: Config) -> Self {
        Self { home, config, clock: SystemClock::shared(), chance: Chance::system(), board: Board::new() }
    }

    /// Where the log is, for people.
    pub fn log_place(&self) -> String {
        if self.config.log.kafka.is_empty() {
            format!("SQLite, {}", self.home.log().display())
        } else {
            format!("Kafka, {}", self.config.log.kafka)
        }
    }

    /// Opens the log, and makes it where there is none.
    ///
    /// # Errors
    /// A broker that does not answer, a log of another venue.
    pub async fn log(&self) -> Result<Arc<dyn Log>, Error> {
        if self.config.log.kafka.is_empty() {
            return self.sqlite().await;
        }
        let (kafka, clock) = (self.kafka(), self.clock.clone());
        let log = KafkaLog::open(kafka, &self.expected(), clock, &self.chance).await.map_err(Error::said)?;
        Ok(Arc::new(log))
    }

    /// Opens the log as it stands; `None` where there is none yet.
    ///
    /// # Errors
    /// As [`Self::log`].
    pub async fn log_if_there(&self) -> Result<Option<Arc<dyn Log>>, Error> {
        if self.config.log.kafka.is_empty() {
            // An empty file is one that somebody began to make.
            let there = std::fs::metadata(self.home.log()).is_ok_and(|file| file.len() > 0);
            return if there { self.sqlite().await.map(Some) } else { Ok(None) };
        }
        let found = KafkaLog::find(self.kafka(), &self.expected(), self.clock.clone()).await;
        Ok(found.map_err(Error::said)?.map(|log| Arc::new(log) as Arc<dyn Log>))
    }

    fn expected(&self) -> Expected {
        let settings = &self.config.log;
        Expected {
            venue: VenueKind::Simulator,
            wallet_partitions: settings.wallet_partitions,
            account_partitions: settings.account_partitions,
            market_partitions: settings.market_partitions,
            log_id: None,
        }
    }

    async fn sqlite(&self) -> Result<Arc<dyn Log>, Error> {
        let (clock, chance) = (self.clock.clone(), self.chance.clone());
        let options = SqliteOptions { clock, chance, ..SqliteOptions::default() };
        let log = SqliteLog::open(self.home.log(), self.expected(), options).await.map_err(Error::said)?;
        Ok(Arc::new(log))
    }

    fn kafka(&self) -> KafkaConfig {
        let settings = &self.config.log;
        let mut kafka = KafkaConfig::new(&settings.kafka).with_prefix(&settings.kafka_prefix);
        kafka.properties.clone_from(&settings.kafka_properties);
        kafka.replication = Some(settings.kafka_replication);
        kafka
    }

    /// Reads and writes records: under the bundled ids, or a registry's.
    ///
    /// # Errors
    /// A registry that does not answer, or holds something else under our subjects.
    pub async fn codec(&self) -> Result<Codec, Error> {
        let codec = Codec::bundled().map_err(Error::said)?;
        if !self.config.log.schema_registry.is_empty() {
            let registry = Registry::new(&self.config.log.schema_registry).map_err(Error::said)?;
            registry.adopt(&codec).await.map_err(Error::said)?;
            registry.attach(&codec);
        }
        Ok(codec)
    }

    /// Finds the database: the one configured, or the private cluster, which is started unless another process of
    /// this installation runs it already.
    ///
    /// # Errors
    /// A database that cannot be reached, with the remedy.
    pub async fn database(&self) -> Result<Database, Error> {
        self.find_database(false).await
    }

    /// The same for whoever sets it up: the roles' passwords are made where there are none.
    ///
    /// # Errors
    /// A database that cannot be reached, with the remedy.
    pub async fn database_to_set_up(&self) -> Result<Database, Error> {
        self.find_database(true).await
    }

    async fn find_database(&self, set_up: bool) -> Result<Database, Error> {
        let made_passwords = set_up && !self.home.role_passwords().exists();
        let passwords = self.role_passwords(set_up)?;
        let connect = |url: &str| Connections::new(url, passwords).map_err(Error::said);
        if !self.config.database.url.is_empty() {
            let connections = connect(&self.config.database.url)?;
            return Ok(Database { connections, cluster: None, made_passwords });
        }
        let place = self.home.postgres();
        if let Some(running) = pgcluster::attach(&place).map_err(Error::said)? {
            let connections = connect(&running.url(DATABASE))?;
            return Ok(Database { connections, cluster: None, made_passwords });
        }
        let cluster = Cluster::options(place).start().await.map_err(Error::said)?;
        make_database(&cluster.owner_url()).await?;
        let connections = connect(&cluster.url(DATABASE))?;
        Ok(Database { connections, cluster: Some(cluster), made_passwords })
    }

    /// How the database that runs is reached; `None` where it is the private cluster, and nobody runs that. Makes and
    /// starts nothing.
    ///
    /// # Errors
    /// A URL that is none, a file of passwords that cannot be used, a cluster that is just being started.
    pub fn running_database(&self) -> Result<Option<Connections>, Error> {
        let kept = RolePasswords::load_if_there(&self.home.role_passwords());
        let passwords = kept
            .and_then(|p| p.unwrap_or_default().with_env(|name| std::env::var(name).ok()))
            .map_err(Error::said)?;
        let url = if self.config.database.url.is_empty() {
            let Some(running) = pgcluster::attach(self.home.postgres()).map_err(Error::said)? else {
                return Ok(None);
            };
            running.url(DATABASE)
        } else {
            self.config.database.url.clone()
        };
        Connections::new(&url, passwords).map(Some).map_err(Error::said)
    }

    /// The roles' passwords: of the environment, else of the file.
    fn role_passwords(&self, set_up: bool) -> Result<RolePasswords, Error> {
        let (file, private) = (self.home.role_passwords(), self.config.database.url.is_empty());
        let kept = if private {
            // That server is nobody else's: passwords that are lost are made anew.
            RolePasswords::load_or_create(&file, &self.chance).map(RolePasswords::replacing)
        } else if set_up {
            RolePasswords::load_or_create(&file, &self.chance)
        } else {
            RolePasswords::load_if_there(&file).map(Option::unwrap_or_default)
        };
        kept.and_then(|p| p.with_env(|name| std::env::var(name).ok())).map_err(Error::said)
    }

    /// The key that secrets in the database are sealed with: from the environment, else from the data directory,
    /// where it is made at the first use.
    ///
    /// # Errors
    /// A key that is none.
    pub fn sealing_key(&self) -> Result<SealingKey, Error> {
        match std::env::var(SEALING_KEY_VARIABLE) {
            Ok(hex) if !hex.is_empty() => SealingKey::from_hex(&hex).map_err(Error::said),
            _ => SealingKey::from_file_or_new(&self.home.sealing_key(), &self.chance).map_err(Error::said),
        }
    }

    /// Brings the database to this program's version.
    ///
    /// # Errors
    /// A database of a newer program, a user who may not.
    pub async fn migrate(&self, database: &Database) -> Result<(), Error> {
        project::migrate(&database.connections, &self.chance).await.map_err(|error| {
            // The server's roles have others, and these are nobody's.
            if database.made_passwords && error.code() == "database_password_missing" {
                let _ = std::fs::remove_file(self.home.role_passwords());
            }
            Error::said(error)
        })
    }

    /// A pool of connections of one role, to a database at this program's version.
    ///
    /// # Errors
    /// A login that fails, a database that was not migrated.
    pub async fn pool(&self, database: &Connections, role: Role, size: u32) -> Result<sqlx::PgPool, Error> {
        let pool = database.pool(role, size).await.map_err(Error::said)?;
        project::check_version(&pool).await.map_err(Error::said)?;
        Ok(pool)
    }

    /// The venue's public data.
    ///
    /// # Errors
    /// A URL that is none.
    pub fn market_data(simulator: &str) -> Result<Arc<PublicData>, Error> {
        let data = PublicData::new(&Endpoints::all_at(simulator), HttpSettings::default());
        Ok(Arc::new(data.map_err(Error::said)?))
    }

    /// The simulator's URL, for stages that run alone.
    ///
    /// # Errors
    /// None is configured.
    pub fn simulator_url(&self) -> Result<&str, Error> {
        match self.config.venue.simulator_url.as_str() {
            "" => Err(Error::Argument(
                "a stage alone needs to know where the venue is: start `polymirror simulate` and give its address \
                 with --simulator"
                    .into(),
            )),
            url => Ok(url),
        }
    }
}

/// Makes our database in a private cluster, where it is not there yet.
async fn make_database(admin: &str) -> Result<(), Error> {
    let failed = |e: sqlx::Error| Error::Database(format!("the private cluster does not take logins: {e}"));
    let options: PgConnectOptions = admin.parse().map_err(failed)?;
    let mut admin = PgConnection::connect_with(&options).await.map_err(failed)?;
    let there: bool = sqlx::query_scalar("select exists (select from pg_database where datname = $1)")
        .bind(DATABASE)
        .fetch_one(&mut admin)
        .await
        .map_err(failed)?;
    if !there {
        sqlx::query("create database polymirror").execute(&mut admin).await.map_err(failed)?;
    }
    admin.close().await.map_err(failed)
}
