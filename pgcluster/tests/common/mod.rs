//! What the tests of this crate share.
#![allow(dead_code, reason = "each test binary uses its part")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use pgcluster::{Binaries, Cluster, Options};
use tempfile::TempDir;

/// Longer than anything here should take on a busy machine.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// A directory that another user may pass through, as the server's must when we are root.
pub fn temp() -> TempDir {
    tempfile::Builder::new()
        .prefix("polymirror-pgcluster-")
        .permissions(fs::Permissions::from_mode(0o711))
        .tempdir()
        .unwrap()
}

/// A cluster that does not look at the `PG_BIN` of whoever runs the tests twice.
pub fn options(temp: &TempDir) -> Options {
    Cluster::options(temp.path().join("postgres"))
}

/// Programs of Postgres on this machine, as the crate finds them.
pub async fn binaries() -> Binaries {
    let pg_bin = std::env::var_os("PG_BIN").filter(|dir| !dir.is_empty());
    Binaries::find(pg_bin.as_deref().map(Path::new), None).await.unwrap()
}

/// Asks a server one question with `psql`; `Err` is what it complained of.
pub fn ask(cluster: &Cluster, url: &str, sql: &str) -> Result<String, String> {
    let output = Command::new(cluster.binaries().program("psql"))
        .args(["-X", "-A", "-t", "-q", "-v", "ON_ERROR_STOP=1", "-d", url, "-c", sql])
        .env("PGCONNECT_TIMEOUT", "10")
        .output()
        .unwrap();
    if output.status.success() {
        Ok(String::from_utf8(output.stdout).unwrap().trim().to_owned())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).trim().to_owned())
    }
}

/// Asks as the owner.
pub fn sql(cluster: &Cluster, sql: &str) -> String {
    ask(cluster, &cluster.owner_url(), sql).unwrap()
}

/// Waits for `condition`, and fails the test when it does not come true in time.
pub async fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let wait = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    assert!(tokio::time::timeout(DEADLINE, wait).await.is_ok(), "not in {DEADLINE:?}: {what}");
}

/// Whether a process of this id exists and is no zombie.
pub fn alive(pid: u32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| !stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('Z')))
}
