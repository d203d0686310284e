//! The file: made, recognised, opened.

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::Arc,
    thread,
    time::Duration,
};

use runtime::{Chance, Clock};
use rusqlite::{Connection, OpenFlags, TransactionBehavior, params};
use schemas::Timestamp;

use super::error::{SqlError, busy, explain, is_busy};
use crate::port::{Expected, LogError, Manifest, VenueKind};

/// Marks the file as a polymirror log ("pmlg").
const APPLICATION_ID: i32 = 0x706d_6c67;
/// The only format there is so far.
const FORMAT: i32 = 1;
/// Between two looks at a lock that somebody else holds. A write takes about one sync of the disk.
const RETRY: Duration = Duration::from_micros(100);

const TABLES: &str = "
    CREATE TABLE manifest (
        id INTEGER PRIMARY KEY CHECK (id = 1),
        log_id TEXT NOT NULL,
        venue TEXT NOT NULL,
        wallet_partitions INTEGER NOT NULL,
        account_partitions INTEGER NOT NULL,
        market_partitions INTEGER NOT NULL,
        created_at INTEGER NOT NULL -- microseconds since 1970
    ) STRICT;
    -- place: topic, partition and offset in one number, so that the rows of a partition lie together.
    CREATE TABLE records (
        place INTEGER PRIMARY KEY,
        time INTEGER NOT NULL, -- milliseconds since 1970
        key BLOB,
        value BLOB,
        headers BLOB
    ) STRICT;
    -- The next offset of each partition and the latest time in it. Negative partitions are the marks of
    -- writers: the number of the last batch that one committed.
    CREATE TABLE ends (
        partition INTEGER PRIMARY KEY,
        next INTEGER NOT NULL,
        latest INTEGER NOT NULL
    ) STRICT;
    -- Every so many records: the latest time before that place. Sorted by time it is sorted by place too.
    CREATE TABLE times (
        partition INTEGER NOT NULL,
        latest INTEGER NOT NULL,
        place INTEGER NOT NULL,
        PRIMARY KEY (partition, latest, place)
    ) STRICT, WITHOUT ROWID;
    -- Grows with every change of a group that its members must hear of.
    CREATE TABLE generations (
        name TEXT PRIMARY KEY,
        generation INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE members (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        name TEXT NOT NULL,    -- the group's
        handle INTEGER NOT NULL, -- the open log it belongs to
        topics TEXT NOT NULL,
        session_ms INTEGER NOT NULL,
        beat INTEGER NOT NULL  -- grows while it is alive
    ) STRICT;
    -- Who of a group holds a partition, since which change of hands, and how far the group has come.
    CREATE TABLE claims (
        name TEXT NOT NULL,
        partition INTEGER NOT NULL,
        owner INTEGER,
        epoch INTEGER NOT NULL,
        next INTEGER,
        PRIMARY KEY (name, partition)
    ) STRICT, WITHOUT ROWID;
";

/// Where the log is, and how long to wait for whoever else holds it.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub path: Arc<Path>,
    pub clock: Arc<dyn Clock>,
    /// How long a lock of somebody else is waited for.
    pub patience: Duration,
}

impl Place {
    /// Does it again for as long as somebody else holds a lock.
    pub(super) fn retry<T>(&self, mut call: impl FnMut() -> Result<T, SqlError>) -> Result<T, LogError> {
        let until = self.clock.monotonic().saturating_add(self.patience);
        loop {
            match call() {
                Err(e) if is_busy(&e) => {
                    if self.clock.monotonic() >= until {
                        return Err(busy(&self.path, self.patience));
                    }
                    thread::sleep(RETRY);
                }
                other => return other.map_err(|e| self.explain(&e)),
            }
        }
    }

    pub(super) fn explain(&self, error: &SqlError) -> LogError {
        explain(&self.path, error)
    }

    fn connect(&self) -> Result<Connection, LogError> {
        // Each connection stays with one thread; no mutex is needed. The file is never made here.
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = self.retry(|| Connection::open_with_flags(&self.path, flags))?;
        self.retry(|| {
            connection.busy_timeout(Duration::ZERO)?;
            connection.execute_batch(
                "PRAGMA temp_store = MEMORY; PRAGMA trusted_schema = OFF; PRAGMA cell_size_check = ON;",
            )
        })?;
        connection.set_prepared_statement_cache_capacity(64);
        Ok(connection)
    }

    /// A connection that writes: what it committed survives the machine's death.
    pub(super) fn writer(&self) -> Result<Connection, LogError> {
        let connection = self.connect()?;
        // Checkpoints are somebody else's work, unless that one falls behind by 64 MB.
        self.retry(|| {
            connection.execute_batch(
                "PRAGMA synchronous = FULL; PRAGMA cache_size = -16384; PRAGMA wal_autocheckpoint = 16384;",
            )
        })?;
        Ok(connection)
    }

    /// A connection that only reads.
    pub(super) fn reader(&self) -> Result<Connection, LogError> {
        let connection = self.connect()?;
        self.retry(|| connection.execute_batch("PRAGMA query_only = ON; PRAGMA cache_size = -4096;"))?;
        Ok(connection)
    }

    /// Makes the log if there is none, and checks that it is the expected one.
    pub(super) fn open(&self, expected: &Expected, chance: &Chance) -> Result<Manifest, LogError> {
        if !self.path.try_exists().map_err(|e| self.unopened(&e))? {
            // Refused before a file is made.
            Manifest::create(expected, &*self.clock, chance)?;
            self.make_file()?;
        }
        let mut connection = self.connect()?;
        if self.is_empty(&connection)? {
            let manifest = Manifest::create(expected, &*self.clock, chance)?;
            self.make_tables(&mut connection, &manifest)?;
        }
        let manifest = self.retry(|| read_manifest(&connection))?;
        manifest.check(expected)?;
        Ok(manifest)
    }

    fn unopened(&self, e: &io::Error) -> LogError {
        LogError::Unreachable(format!("{} cannot be opened ({e})", self.path.display()))
    }

    /// Only its owner may read a log. Two who make it at once make one.
    fn make_file(&self) -> Result<(), LogError> {
        match OpenOptions::new().write(true).create_new(true).mode(0o600).open(&self.path) {
            Ok(file) => {
                // The entry in its directory must survive like what is in it.
                let parent = self.path.parent().filter(|p| !p.as_os_str().is_empty());
                let parent = parent.map_or_else(|| PathBuf::from("."), Path::to_path_buf);
                let synced = file.sync_all().and_then(|()| File::open(parent)?.sync_all());
                synced.map_err(|e| self.unopened(&e))
            }
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            Err(e) => Err(self.unopened(&e)),
        }
    }

    /// Whether nothing is in the file yet. A file of somebody else, or of a later version, is an error.
    fn is_empty(&self, connection: &Connection) -> Result<bool, LogError> {
        let at = self.path.display();
        // One picture: between two reads somebody else may make the log.
        let (application, format, tables) = self.retry(|| look(&*connection.unchecked_transaction()?))?;
        match (application, format) {
            (APPLICATION_ID, FORMAT) => Ok(false),
            (APPLICATION_ID, other) => Err(LogError::Refused(format!(
                "{at} is a log of format {other}, and this version reads format {FORMAT}; use the version that wrote it"
            ))),
            (0, 0) if tables == 0 => Ok(true),
            _ => Err(LogError::Refused(format!("{at} is a database of something else"))),
        }
    }

    fn make_tables(&self, connection: &mut Connection, manifest: &Manifest) -> Result<(), LogError> {
        self.retry(|| {
            connection.execute_batch("PRAGMA page_size = 4096;")?;
            let mode: String = connection.query_row("PRAGMA journal_mode = WAL", [], |r| r.get(0))?;
            // Where a lock was in the way it answers with the old mode, and no error.
            if mode == "wal" { Ok(()) } else { Err(locked()) }
        })?;
        self.retry(|| {
            connection.execute_batch("PRAGMA synchronous = FULL;")?;
            let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            if look(&tx)? != (0, 0, 0) {
                // Somebody else was faster: it is their log.
                return Ok(());
            }
            tx.execute_batch(TABLES)?;
            tx.execute(
                "INSERT INTO manifest VALUES (1, ?1, ?2, ?3, ?4, ?5, ?6)",
                params![
                    manifest.log_id.to_string(),
                    venue_name(manifest.venue),
                    manifest.wallet_partitions,
                    manifest.account_partitions,
                    manifest.market_partitions,
                    manifest.created_at.micros(),
                ],
            )?;
            tx.execute_batch(&format!(
                "PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {FORMAT};"
            ))?;
            tx.commit()
        })
    }

    /// Which file the path names now, so that one that was moved away from under us is noticed.
    pub(super) fn identity(&self) -> Option<(u64, u64)> {
        std::fs::metadata(&self.path).ok().map(|m| (m.dev(), m.ino()))
    }
}

fn locked() -> SqlError {
    SqlError::SqliteFailure(rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_BUSY), None)
}

/// Application id, format, and how many tables there are.
fn look(connection: &Connection) -> Result<(i32, i32, i64), SqlError> {
    let application = connection.query_row("PRAGMA application_id", [], |r| r.get(0))?;
    let format = connection.query_row("PRAGMA user_version", [], |r| r.get(0))?;
    let tables = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |r| r.get(0))?;
    Ok((application, format, tables))
}

const fn venue_name(venue: VenueKind) -> &'static str {
    match venue {
        VenueKind::Simulator => "simulator",
        VenueKind::Real => "real",
    }
}

fn read_manifest(connection: &Connection) -> Result<Manifest, SqlError> {
    connection.query_row("SELECT * FROM manifest", [], |row| {
        let log_id: String = row.get("log_id")?;
        let venue: String = row.get("venue")?;
        let unreadable = |column: usize| {
            SqlError::InvalidColumnType(column, "manifest".into(), rusqlite::types::Type::Text)
        };
        Ok(Manifest {
            log_id: log_id.parse().map_err(|_| unreadable(1))?,
            venue: [VenueKind::Simulator, VenueKind::Real]
                .into_iter()
                .find(|v| venue_name(*v) == venue)
                .ok_or_else(|| unreadable(2))?,
            wallet_partitions: row.get("wallet_partitions")?,
            account_partitions: row.get("account_partitions")?,
            market_partitions: row.get("market_partitions")?,
            created_at: Timestamp::from_micros(row.get("created_at")?),
        })
    })
}
