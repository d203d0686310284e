//! What can go wrong for a person at the terminal: one line each, a code, a remedy, and a page in `docs/errors/`.

/// An error that ends a command.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The configuration does not hold.
    #[error("config_invalid: {0}. See polymirror/src/default.toml for every key and its meaning")]
    Config(String),
    /// An argument does not hold.
    #[error("argument_invalid: {0}")]
    Argument(String),
    /// The data directory cannot be used.
    #[error("data_dir_unusable: {0}")]
    DataDir(String),
    /// There is no database to talk to.
    #[error("database_unreachable: {0}")]
    Database(String),
    /// Somebody else's error, which names itself.
    #[error("{0}")]
    Said(String),
}

impl Error {
    /// Wraps an error that names its own code and remedy.
    pub fn said(error: impl std::fmt::Display) -> Self {
        Self::Said(error.to_string())
    }
}
