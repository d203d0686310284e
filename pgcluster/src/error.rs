use std::io;
use std::path::{Path, PathBuf};

/// Why a private cluster could not be started or stopped. Each message names the cause and the remedy.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No server program on this machine.
    #[error(
        "postgres_not_found: \
         no Postgres server was found (looked in {looked}): run `make setup`, install the distribution's \
         `postgresql` package, or set PG_BIN to the directory that holds `postgres` and `initdb`"
    )]
    NoPostgres {
        /// The places that were searched.
        looked: String,
    },

    /// `PG_BIN` points at something else.
    #[error(
        "postgres_wrong_pg_bin: \
         PG_BIN is {dir}, which holds no executable `{missing}`: point it at the directory that holds \
         `postgres` and `initdb`, or unset it to have one found"
    )]
    WrongPgBin {
        /// What `PG_BIN` says.
        dir: PathBuf,
        /// The program that is not there.
        missing: &'static str,
    },

    /// The program is there but does not say which version it is.
    #[error(
        "postgres_no_version: \
         `{program} --version` gave no version ({said}): install Postgres anew or set PG_BIN to another one"
    )]
    NoVersion {
        /// The program that was asked.
        program: PathBuf,
        /// What it answered.
        said: String,
    },

    /// Older than anything the migrations are tried on.
    #[error(
        "postgres_too_old: \
         {dir} holds Postgres {major}, and {oldest} is the oldest that works: install a newer one, or set \
         PG_BIN to its directory"
    )]
    TooOld {
        /// Where the programs are.
        dir: PathBuf,
        /// Their major version.
        major: u32,
        /// The oldest that is accepted.
        oldest: u32,
    },

    /// The data was written by another major version.
    #[error(
        "postgres_other_major: \
         {data} was made by Postgres {data_major}, and the programs in {bin} are Postgres {bin_major}: \
         install Postgres {data_major} beside them or set PG_BIN to its directory; or upgrade the data \
         with pg_upgrade"
    )]
    OtherMajor {
        /// The data directory.
        data: PathBuf,
        /// What its `PG_VERSION` says.
        data_major: String,
        /// Where the programs are.
        bin: PathBuf,
        /// Their major version.
        bin_major: u32,
    },

    /// Something else lies where the data directory belongs.
    #[error(
        "postgres_not_a_cluster: \
         {data} is not empty and has no PG_VERSION, so it is no Postgres data directory: move it away, or \
         choose another directory"
    )]
    NotACluster {
        /// The directory in question.
        data: PathBuf,
    },

    /// The data is there, its password is not.
    #[error(
        "postgres_no_password: \
         {file} is missing, without which nobody can log in to the cluster beside it: restore the file \
         from a backup, or move the whole directory away to begin with an empty cluster"
    )]
    NoPassword {
        /// Where the password belongs.
        file: PathBuf,
    },

    /// We are root, and there is nobody to drop to.
    #[error(
        "postgres_no_user: \
         Postgres refuses to run as root, and this machine has no user `postgres` to run it as: install \
         the distribution's `postgresql` package, or `useradd --system postgres`, or give {home} to \
         another user, or run as an ordinary user"
    )]
    NoUser {
        /// The cluster's home.
        home: PathBuf,
    },

    /// The directory belongs to somebody else and we may not become them.
    #[error(
        "postgres_foreign_owner: \
         {path} belongs to {owner}, and this process runs as {us}: run as {owner}, or choose another directory"
    )]
    ForeignOwner {
        /// What belongs to somebody else.
        path: PathBuf,
        /// Its owner.
        owner: String,
        /// Who we are.
        us: String,
    },

    /// The data directory belongs to root, as whom Postgres does not run.
    #[error(
        "postgres_root_owned: \
         {data} belongs to root, as whom Postgres refuses to run: `chown -R {user} {data}` gives it to the \
         user that runs it"
    )]
    RootOwned {
        /// The data directory.
        data: PathBuf,
        /// Who would run it.
        user: String,
    },

    /// The user that Postgres runs as cannot get there.
    #[error(
        "postgres_unreachable_path: \
         user `{user}`, as whom Postgres runs because it refuses to run as root, cannot reach {target}: \
         {blocked} does not let it pass; `chmod o+x {blocked}`, or choose a directory elsewhere, or run \
         as an ordinary user"
    )]
    Unreachable {
        /// The user in question.
        user: String,
        /// Where it must get to.
        target: PathBuf,
        /// The first step of the way that it may not take.
        blocked: PathBuf,
    },

    /// Another process of ours holds the cluster.
    #[error(
        "postgres_in_use: \
         {home} is in use by another running program (pid {pid}): stop that one, or choose another directory"
    )]
    InUse {
        /// The cluster's home.
        home: PathBuf,
        /// The holder, as it wrote itself down.
        pid: String,
    },

    /// Another process of ours is bringing the server up, or taking it down.
    #[error(
        "postgres_not_ready: \
         the server in {home} is being started or stopped by another running program (pid {pid}): try again \
         when that one is up"
    )]
    NotReady {
        /// The cluster's home.
        home: PathBuf,
        /// The process that supervises it, as it wrote itself down.
        pid: String,
    },

    /// A server that we did not start runs on our data.
    #[error(
        "postgres_foreign_server: \
         a Postgres server that this program did not start runs on {data} (pid {pid}): stop it with \
         `kill -INT {pid}`, then start again"
    )]
    ForeignServer {
        /// The data directory.
        data: PathBuf,
        /// The server's process id.
        pid: i32,
    },

    /// Processes of an earlier server do not end.
    #[error(
        "postgres_leftovers: \
         processes of an earlier server still use {data} (pids {pids}): end them with `kill {pids}`, then start again"
    )]
    Leftovers {
        /// The data directory.
        data: PathBuf,
        /// Their process ids, separated by blanks.
        pids: String,
    },

    /// `initdb` failed.
    #[error(
        "postgres_initdb_failed: \
         initdb could not make a cluster in {data} ({how}): {said}; put that right, then start again"
    )]
    Initdb {
        /// The directory it was to fill.
        data: PathBuf,
        /// How it ended.
        how: String,
        /// What it said.
        said: String,
    },

    /// The server ended before it was ready.
    #[error(
        "postgres_start_failed: \
         Postgres did not start ({how}); {log} ends with: {tail}; put that right, then start again"
    )]
    StartFailed {
        /// How it ended.
        how: String,
        /// The server's log.
        log: PathBuf,
        /// The last lines of it.
        tail: String,
    },

    /// The server did not become ready in time.
    #[error(
        "postgres_start_timed_out: \
         Postgres was not ready after {seconds} s; {log} ends with: {tail}; start again, with more time if \
         it was recovering"
    )]
    StartTimedOut {
        /// How long we waited.
        seconds: u64,
        /// The server's log.
        log: PathBuf,
        /// The last lines of it.
        tail: String,
    },

    /// Every port that was tried was taken by somebody else in the meantime.
    #[error(
        "postgres_no_port: \
         no free port on 127.0.0.1 for Postgres after {tries} tries: end what holds so many ports, then start again"
    )]
    NoPort {
        /// How many were tried.
        tries: u32,
    },

    /// The server had to be killed.
    #[error(
        "postgres_killed: \
         Postgres did not finish its shutdown in {seconds} s and was killed: nothing that was committed is \
         lost, the next start recovers it; look into {log} for what held it up"
    )]
    Killed {
        /// How long it was given.
        seconds: u64,
        /// The server's log.
        log: PathBuf,
    },

    /// The system refused something.
    #[error(
        "postgres_io: \
         cannot {doing} {path}: {source}; put that right (rights, space, a path that exists), then start again"
    )]
    Io {
        /// What was being done.
        doing: &'static str,
        /// To what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl Error {
    /// A name for this kind of error that stays the same when its wording changes.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NoPostgres { .. } => "postgres_not_found",
            Self::WrongPgBin { .. } => "postgres_wrong_pg_bin",
            Self::NoVersion { .. } => "postgres_no_version",
            Self::TooOld { .. } => "postgres_too_old",
            Self::OtherMajor { .. } => "postgres_other_major",
            Self::NotACluster { .. } => "postgres_not_a_cluster",
            Self::NoPassword { .. } => "postgres_no_password",
            Self::NoUser { .. } => "postgres_no_user",
            Self::ForeignOwner { .. } => "postgres_foreign_owner",
            Self::RootOwned { .. } => "postgres_root_owned",
            Self::Unreachable { .. } => "postgres_unreachable_path",
            Self::InUse { .. } => "postgres_in_use",
            Self::NotReady { .. } => "postgres_not_ready",
            Self::ForeignServer { .. } => "postgres_foreign_server",
            Self::Leftovers { .. } => "postgres_leftovers",
            Self::Initdb { .. } => "postgres_initdb_failed",
            Self::StartFailed { .. } => "postgres_start_failed",
            Self::StartTimedOut { .. } => "postgres_start_timed_out",
            Self::NoPort { .. } => "postgres_no_port",
            Self::Killed { .. } => "postgres_killed",
            Self::Io { .. } => "postgres_io",
        }
    }

    /// For `map_err`: what was being done, to which path.
    pub(crate) fn io(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::Io { doing, path, source }
    }
}
