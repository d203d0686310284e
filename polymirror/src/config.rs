//! Settings: the defaults written out in `default.toml`, then a file, then the environment and the command line.
//!
//! Every key is listed in `default.toml` with its meaning. An unknown key is an error: a misspelt cap must not
//! pass for a cap.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::error::Error;

/// The defaults, as a file that says what each key means.
pub const DEFAULTS: &str = include_str!("default.toml");

/// Everything that can be set.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The one directory under which everything of this installation lives.
    pub data_dir: PathBuf,
    /// The log.
    pub log: LogConfig,
    /// Postgres.
    pub database: DatabaseConfig,
    /// The venue.
    pub venue: VenueConfig,
    /// Ingest.
    pub ingest: IngestConfig,
    /// The HTTP API.
    pub api: ApiConfig,
    /// The simulator that `up` starts.
    pub simulator: SimulatorConfig,
}

/// The log: where it is, and how it is made when it is not there.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogConfig {
    /// Kafka's bootstrap servers; empty: the SQLite log in the data directory.
    pub kafka: String,
    /// Stands before every topic, group and transactional id.
    pub kafka_prefix: String,
    /// Copies of each partition, when topics are created.
    pub kafka_replication: u16,
    /// Further properties for the Kafka client, by librdkafka's names.
    pub kafka_properties: std::collections::BTreeMap<String, String>,
    /// A Confluent schema registry; empty: the bundled ids.
    pub schema_registry: String,
    /// Partitions of the topics keyed by wallet. Fixed when the log is created.
    pub wallet_partitions: i32,
    /// Partitions of the topics keyed by billing account. Fixed when the log is created.
    pub account_partitions: i32,
    /// Partitions of `markets`. Fixed when the log is created.
    pub market_partitions: i32,
    /// A member not heard of for this long loses its partitions, in milliseconds.
    pub session_ms: u64,
}

/// Postgres.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DatabaseConfig {
    /// The administrator's URL; empty: a private cluster in the data directory.
    pub url: String,
}

/// The venue.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VenueConfig {
    /// The base URL of a simulator; empty: `up` starts one, and stages alone need it.
    pub simulator_url: String,
}

/// Ingest.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IngestConfig {
    /// How often each wallet's trades are read, in milliseconds. Many wallets are read less often: the venue's
    /// limit is shared among them.
    pub poll_ms: u64,
    /// How many trade requests a second all wallets together may make.
    pub requests_per_second: u32,
    /// How often a wallet's activity is read for changes without a trade, in milliseconds.
    pub activity_poll_ms: u64,
    /// How often the books of tokens that followers hold are sampled, in milliseconds.
    pub marks_every_ms: u64,
}

/// The HTTP API.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApiConfig {
    /// Where it listens.
    pub listen: std::net::SocketAddr,
}

/// The simulator that `up` starts.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SimulatorConfig {
    /// The port on 127.0.0.1; 0: any free one.
    pub port: u16,
    /// What its leaders do follows from this.
    pub seed: u64,
    /// How many leaders trade.
    pub leaders: u32,
    /// How many markets they trade in.
    pub markets: u32,
    /// How many fills a second they make together, on average.
    pub fills_per_second: u32,
    /// After how many of a thousand trades a leader splits or merges.
    pub changes_per_thousand: u32,
}

impl Config {
    /// The defaults, overlaid by the file where one is given.
    ///
    /// # Errors
    /// A file that cannot be read, is no TOML, or holds a key nobody knows. No error shows a line or a value of the file:
    /// it may be a password.
    pub fn load(file: Option<&Path>) -> Result<Self, Error> {
        let mut table: toml::Table = DEFAULTS
            .parse()
            .map_err(|e: toml::de::Error| Error::Config(format!("the built-in defaults: {}", e.message())))?;
        if let Some(file) = file {
            let text = std::fs::read_to_string(file)
                .map_err(|e| Error::Config(format!("{}: {e}", file.display())))?;
            let given: toml::Table = text.parse().map_err(|e: toml::de::Error| {
                Error::Config(format!("{}{}", file.display(), at(&text, &e)))
            })?;
            overlay(&mut table, given);
        }
        serde_path_to_error::deserialize(toml::Value::Table(table)).map_err(|e| {
            let what = without_value(e.inner().message());
            Error::Config(format!("`{}`: {what}", e.path()))
        })
    }
}

/// Where a text is no TOML, and why; the line itself stays where it is.
fn at(text: &str, error: &toml::de::Error) -> String {
    let before = error.span().and_then(|span| text.get(..span.start));
    let place = before.map(|before| {
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        format!(", line {line}, column {column}")
    });
    format!("{}: {}", place.unwrap_or_default(), error.message())
}

/// serde's words without the value that it quotes: ``invalid type: string "…", expected u64``.
fn without_value(message: &str) -> String {
    let quoted = ["invalid type: ", "invalid value: "].into_iter().find_map(|said| {
        let rest = message.strip_prefix(said)?;
        let (value, expected) = rest.rsplit_once(", expected ")?;
        let kind = value.split(['"', '`']).next().unwrap_or_default().trim_end();
        Some(format!("{said}{kind}, expected {expected}"))
    });
    quoted.unwrap_or_else(|| message.to_owned())
}

/// Puts the given values over the table's, table by table.
fn overlay(table: &mut toml::Table, given: toml::Table) {
    for (key, value) in given {
        match (table.get_mut(&key), value) {
            (Some(toml::Value::Table(under)), toml::Value::Table(over)) => overlay(under, over),
            (_, value) => {
                table.insert(key, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(text: &str) -> Result<Config, Error> {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("polymirror.toml");
        std::fs::write(&file, text).unwrap();
        Config::load(Some(&file))
    }

    #[test]
    fn the_defaults_are_complete_and_bind_to_loopback() {
        let config = Config::load(None).unwrap();
        assert!(config.api.listen.ip().is_loopback());
    }

    #[test]
    fn a_file_changes_what_it_names_and_nothing_else() {
        let config = with("[ingest]\npoll_ms = 77\n").unwrap();
        assert_eq!(config.ingest.poll_ms, 77);
        assert_eq!(config.ingest.requests_per_second, Config::load(None).unwrap().ingest.requests_per_second);
    }

    #[test]
    fn an_unknown_key_is_an_error_that_names_it() {
        let error = with("[ingest]\npol_ms = 77\n").unwrap_err().to_string();
        assert!(error.contains("pol_ms"), "{error}");
        let error = with("nonsense = 1\n").unwrap_err().to_string();
        assert!(error.contains("nonsense"), "{error}");
        assert!(with("[ingest").is_err());
    }

    #[test]
    fn a_slip_in_the_file_is_told_by_its_place_and_not_by_the_line() {
        for (text, place) in [
            ("[database]\nurl = \"postgres://u:hunter2@h/db\n", "line 2, column "),
            ("[log.kafka_properties]\n\n\"sasl.password\" = hunter2\n", "line 3, column "),
            ("[database]\npostgres://u:hunter2@h/db\n", "line 2, column "),
            ("[database]\nurl = \"a\"\nurl = \"postgres://u:hunter2@h/db\"\n", "line 3, column 1"),
        ] {
            let error = with(text).unwrap_err().to_string();
            assert!(error.contains("polymirror.toml, ") && error.contains(place), "{error}");
            assert!(!error.contains("hunter2"), "{error}");
            assert_eq!(error.lines().count(), 1, "{error}");
        }
    }

    #[test]
    fn a_value_of_the_wrong_kind_is_told_by_its_key_and_not_shown() {
        for (text, key, expected) in [
            ("database = \"postgres://u:hunter2@h/db\"", "`database`", "invalid type: string, expected"),
            (
                "database = \"a, expected \\\"hunter2\\\", expected hunter2\"",
                "`database`",
                "string, expected",
            ),
            ("[log.kafka_properties]\n\"sasl.password\" = 20240917", "sasl.password`", "integer, expected"),
            (
                "[log]\nkafka_properties = \"sasl.password=hunter2\"",
                "`log.kafka_properties`",
                "string, expected",
            ),
            ("[api]\nlisten = \"hunter2\"", "`api.listen`", "address"),
            ("[simulator]\nport = 70000", "`simulator.port`", "invalid value: integer, expected u16"),
        ] {
            let error = with(text).unwrap_err().to_string();
            assert!(error.contains(key) && error.contains(expected), "{error}");
            assert!(!error.contains("hunter2") && !error.contains("20240917"), "{error}");
            assert_eq!(error.lines().count(), 1, "{error}");
        }
    }
}
