//! The cluster as another process of the same installation sees it.

use std::fmt;
use std::path::Path;

use crate::home::Home;
use crate::launch::SUPERUSER;
use crate::lock::Holder;
use crate::{Error, Result};

/// Finds the server of the cluster in `home`, if some process supervises it now; `None` when nobody does, and
/// the caller may start it: [`crate::Cluster::options`].
///
/// Nothing is written or started. What was found is good for as long as that process keeps its server; ask
/// again rather than keep it.
///
/// # Errors
/// [`Error::NotReady`] while the server is being started or stopped: the same call succeeds a moment later.
/// A home of another user; a password that is gone.
pub fn attach(home: impl AsRef<Path>) -> Result<Option<Attached>> {
    let home = Home::new(home.as_ref())?;
    let Some(holder) = Holder::of(&home)? else { return Ok(None) };
    let Some(port) = holder.port() else {
        return Err(Error::NotReady { home: home.dir().to_path_buf(), pid: holder.name() });
    };
    Ok(Some(Attached { password: home.password()?, port }))
}

/// A private cluster that another process supervises.
#[derive(Clone)]
pub struct Attached {
    password: String,
    port: u16,
}

impl Attached {
    /// The superuser's URL of the database that every cluster has. It holds the password: never log it.
    pub fn owner_url(&self) -> String {
        self.url("postgres")
    }

    /// The superuser's URL of another database, by its plain name. It holds the password: never log it.
    pub fn url(&self, database: &str) -> String {
        url(&self.password, self.port, database)
    }

    /// Where on 127.0.0.1 the server listens.
    pub fn port(&self) -> u16 {
        self.port
    }
}

impl fmt::Debug for Attached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Without the password.
        f.debug_struct("Attached").field("port", &self.port).finish_non_exhaustive()
    }
}

/// How the superuser reaches a database of a private cluster.
pub(crate) fn url(password: &str, port: u16, database: &str) -> String {
    format!("postgres://{SUPERUSER}:{password}@127.0.0.1:{port}/{database}")
}
