//! `doctor`: looks at every component, says what it found, and what to do where something is wrong. Changes nothing.

use std::{process::ExitCode, time::Duration};

use eventlog::Log;
use project::Role;
use schemas::topics::Topic;
use venue::port::MarketData;

use crate::{
    drain::behind,
    error::Error,
    installation::{Database, Installation},
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
///
/// # Errors
/// A data directory that cannot be opened: then there is nothing to look at.
pub async fn run(installation: &Installation) -> Result<ExitCode, Error> {
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
    tell("data", Found::Well(installation.home.dir().display().to_string()));
    tell("log", within(log(installation)).await);
    tell("schemas", within(schemas(installation)).await);
    for (component, found) in database(installation).await {
        tell(component, found);
    }
    tell("venue", within(venue(installation)).await);
    Ok(if well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
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

async fn log(installation: &Installation) -> Found {
    // Opening a log that is not there would make it.
    if installation.config.log.kafka.is_empty() && !installation.home.log().exists() {
        return Found::Absent(format!("{} is made at the first start", installation.home.log().display()));
    }
    let log = match installation.log().await {
        Ok(log) => log,
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
    let registry = &installation.config.log.schema_registry;
    match installation.codec().await {
        Ok(_) if registry.is_empty() => Found::Well("the bundled ids".into()),
        Ok(_) => Found::Well(schemas::registry::without_login(registry)),
        Err(error) => Found::Wrong(error.to_string()),
    }
}

async fn database(installation: &Installation) -> Vec<(&'static str, Found)> {
    let private = installation.config.database.url.is_empty();
    if private && !installation.home.postgres().exists() {
        let found = match pgcluster::Binaries::find(pg_bin().as_deref(), None).await {
            Ok(binaries) => Found::Absent(format!(
                "a private Postgres {} is made at the first start ({})",
                binaries.major(),
                binaries.dir().display()
            )),
            Err(error) => Found::Wrong(error.to_string()),
        };
        return vec![("database", found)];
    }
    let database = match tokio::time::timeout(PATIENCE, installation.database()).await {
        Ok(Ok(database)) => database,
        Ok(Err(error)) => return vec![("database", Found::Wrong(error.to_string()))],
        Err(_) => return vec![("database", within(std::future::pending()).await)],
    };
    let mut out = vec![(
        "database",
        Found::Well(if private { "the private Postgres" } else { "as configured" }.into()),
    )];
    for (name, role) in [
        ("app_user", Role::AppUser),
        ("projector", Role::Projector),
        ("executor", Role::Executor),
        ("relay", Role::Relay),
    ] {
        out.push((name, within(login(installation, &database, role)).await));
    }
    if let Err(error) = database.close().await {
        out.push(("database", Found::Wrong(error.to_string())));
    }
    out
}

fn pg_bin() -> Option<std::path::PathBuf> {
    std::env::var_os("PG_BIN").filter(|dir| !dir.is_empty()).map(Into::into)
}

async fn login(installation: &Installation, database: &Database, role: Role) -> Found {
    match installation.pool(&database.connections, role, 1).await {
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
