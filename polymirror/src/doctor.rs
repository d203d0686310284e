//! `doctor`: looks at every component, says what it found, and what to do where something is wrong.
//!
//! It makes, starts and changes nothing: what is made at the first start (a log's partition counts, passwords) stands for
//! ever, and somebody may be looking for what is wrong with the place where it would be made.

use std::{process::ExitCode, time::Duration};

use eventlog::Log;
use project::{Connections, Role, roles};
use schemas::{codec::Codec, registry::Registry, topics::Topic};
use venue::port::MarketData;

use crate::{
    drain::behind,
    error::Error,
    installation::Installation,
    stages::{DECIDE, EXECUTE, PROJECT},
};

/// The longest one component is given to answer.
const PATIENCE: Duration = Duration::from_secs(15);

/// What was found of one component.
enum Found {
    Well(String),
    /// Not there, and nothing that must be.
    Absent(String),
    Wrong(String),
}

/// Looks at everything; the exit code says whether all is well.
pub async fn run(installation: &Installation) -> ExitCode {
    let mut well = true;
    let mut tell = |component: &str, found: Found| {
        let (mark, text) = match found {
            Found::Well(text) => ("ok  ", text),
            Found::Absent(text) => ("-   ", text),
            Found::Wrong(text) => {
                well = false;
                ("FAIL", text)
            }
        };
        println!("{mark}  {component:<10} {text}");
    };
    tell("data", data(installation));
    tell("log", within(log(installation)).await);
    tell("schemas", within(schemas(installation)).await);
    for (component, found) in database(installation).await {
        tell(component, found);
    }
    tell("venue", within(venue(installation)).await);
    if well { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

async fn within(look: impl Future<Output = Found>) -> Found {
    let late = || {
        Found::Wrong(format!(
            "no answer within {} s: check that it runs and can be reached",
            PATIENCE.as_secs()
        ))
    };
    tokio::time::timeout(PATIENCE, look).await.unwrap_or_else(|_| late())
}

fn data(installation: &Installation) -> Found {
    let dir = installation.home.dir();
    if dir.exists() {
        Found::Well(dir.display().to_string())
    } else {
        Found::Absent(format!("{} is made at the first start", dir.display()))
    }
}

async fn log(installation: &Installation) -> Found {
    let log = match installation.log_if_there().await {
        Ok(Some(log)) => log,
        Ok(None) => {
            return Found::Absent(format!("{}: it is made at the first start", installation.log_place()));
        }
        Err(error) => return Found::Wrong(error.to_string()),
    };
    match lag(&*log).await {
        Ok(lag) => Found::Well(format!("{}, id {}, {lag}", installation.log_place(), log.manifest().log_id)),
        Err(error) => Found::Wrong(error.to_string()),
    }
}

async fn lag(log: &dyn Log) -> Result<String, eventlog::LogError> {
    let mut text = Vec::new();
    for reader in [DECIDE, EXECUTE, PROJECT] {
        text.push(format!("{} {} behind", reader.group, behind(log, reader).await?));
    }
    let letters = log.extent(eventlog::TopicPartition::new(Topic::DeadLetters, 0)).await?;
    text.push(format!("{} dead letters", letters.end.0 - letters.start.0));
    Ok(text.join(", "))
}

async fn schemas(installation: &Installation) -> Found {
    let url = &installation.config.log.schema_registry;
    if url.is_empty() {
        return match Codec::bundled() {
            Ok(_) => Found::Well("the bundled ids".into()),
            Err(error) => Found::Wrong(error.to_string()),
        };
    }
    let lacking = match Registry::new(url) {
        Ok(registry) => registry.lacking().await,
        Err(error) => Err(error),
    };
    let shown = schemas::registry::without_login(url);
    match lacking {
        Ok(lacking) => match lacking.as_slice() {
            [] => Found::Well(shown),
            [(subject, version), more @ ..] => Found::Absent(format!(
                "{shown}: the next start registers {subject} version {version} and {} more",
                more.len()
            )),
        },
        Err(error) => Found::Wrong(error.to_string()),
    }
}

async fn database(installation: &Installation) -> Vec<(&'static str, Found)> {
    let private = installation.config.database.url.is_empty();
    let connections = match installation.running_database() {
        Ok(Some(connections)) => connections,
        Ok(None) => return vec![("database", cluster_that_does_not_run(installation).await)],
        Err(error) => return vec![("database", Found::Wrong(error.to_string()))],
    };
    let place = if private { "the private Postgres" } else { "as configured" };
    if Role::RUNTIME.iter().all(|role| connections.options(*role).is_err()) {
        return vec![("database", within(without_passwords(&connections, place)).await)];
    }
    let mut out = vec![("database", Found::Well(place.into()))];
    for (name, role) in [
        ("app_user", Role::AppUser),
        ("projector", Role::Projector),
        ("executor", Role::Executor),
        ("relay", Role::Relay),
    ] {
        out.push((name, within(login(installation, &connections, role)).await));
    }
    out
}

/// The private cluster, where no process runs it: whether it could be started.
async fn cluster_that_does_not_run(installation: &Installation) -> Found {
    let place = installation.home.postgres();
    let major =
        std::fs::read_to_string(place.join("data/PG_VERSION")).ok().and_then(|v| v.trim().parse().ok());
    match pgcluster::Binaries::find(pg_bin().as_deref(), major).await {
        Ok(binaries) => {
            let (version, dir) = (binaries.major(), binaries.dir().display());
            Found::Absent(match major {
                Some(_) => {
                    format!("the private Postgres {version} does not run; `polymirror up` starts it ({dir})")
                }
                None => format!("a private Postgres {version} is made at the first start ({dir})"),
            })
        }
        Err(error) => Found::Wrong(error.to_string()),
    }
}

/// The database where no role's password is at hand: a new one, or somebody else's.
async fn without_passwords(connections: &Connections, place: &str) -> Found {
    match (roles::any_there(connections).await, connections.options(Role::AppUser)) {
        (Ok(true), Err(error)) => Found::Wrong(error.to_string()),
        (Ok(_), _) => Found::Absent(format!("{place}; roles and tables are made at the first start")),
        (Err(error), _) => Found::Wrong(error.to_string()),
    }
}

fn pg_bin() -> Option<std::path::PathBuf> {
    std::env::var_os("PG_BIN").filter(|dir| !dir.is_empty()).map(Into::into)
}

async fn login(installation: &Installation, connections: &Connections, role: Role) -> Found {
    if connections.options(role).is_err() {
        return Found::Absent("its password is not at hand here, and those of other roles are".into());
    }
    match installation.pool(connections, role, 1).await {
        Ok(pool) => {
            pool.close().await;
            Found::Well("logs in, tables are this program's".into())
        }
        Err(error) => Found::Wrong(error.to_string()),
    }
}

async fn venue(installation: &Installation) -> Found {
    let Ok(url) = installation.simulator_url() else {
        return Found::Absent("`up` starts a simulator; none is configured for stages alone".into());
    };
    let asked = async { Installation::market_data(url)?.markets(&[]).await.map_err(Error::said) };
    match asked.await {
        Ok(_) => Found::Well(format!("simulator, {url}")),
        Err(error) => Found::Wrong(error.to_string()),
    }
}
