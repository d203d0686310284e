//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use schemas::Mode;

use crate::stages::MODES;

/// Event-sourced copy trading for Polymarket.
#[derive(Debug, Parser)]
#[command(name = "polymirror", version, about, propagate_version = true)]
pub struct Cli {
    /// Settings that differ from the defaults.
    #[command(flatten)]
    pub settings: GlobalArgs,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Settings that every command understands.
#[derive(Debug, Args)]
pub struct GlobalArgs {
    /// A TOML file with the settings that differ from the defaults.
    #[arg(long, global = true, env = "POLYMIRROR_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// The one directory under which everything of this installation lives [default: .polymirror].
    #[arg(long, global = true, env = "POLYMIRROR_DATA_DIR", value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Kafka's bootstrap servers, instead of the SQLite log.
    #[arg(long, global = true, env = "POLYMIRROR_KAFKA", value_name = "HOST:PORT,…")]
    pub kafka: Option<String>,
    /// Stands before every topic and group: several logs can share one broker.
    #[arg(long, global = true, env = "POLYMIRROR_KAFKA_PREFIX", value_name = "PREFIX")]
    pub kafka_prefix: Option<String>,
    /// A Confluent schema registry, instead of the bundled ids.
    #[arg(long, global = true, env = "POLYMIRROR_SCHEMA_REGISTRY", value_name = "URL")]
    pub schema_registry: Option<String>,
    /// The administrator's URL of a Postgres, instead of the private cluster.
    #[arg(long, global = true, env = "DATABASE_URL", value_name = "URL", hide_env_values = true)]
    pub database_url: Option<String>,
    /// The base URL of a simulator that runs already.
    #[arg(long, global = true, env = "POLYMIRROR_SIMULATOR", value_name = "URL")]
    pub simulator: Option<String>,
    /// Where the HTTP API listens [default: 127.0.0.1:8780].
    #[arg(long, global = true, env = "POLYMIRROR_API_LISTEN", value_name = "ADDRESS:PORT")]
    pub api_listen: Option<std::net::SocketAddr>,
    /// Logs as JSON lines instead of text.
    #[arg(long, global = true, env = "POLYMIRROR_LOG_JSON")]
    pub log_json: bool,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Runs everything in one process and shows what flows.
    Up(UpArgs),
    /// Runs ingest alone: wallets into fills.
    Ingest,
    /// Runs decide alone: fills into decisions and intents.
    Decide,
    /// Runs execute alone: intents into orders at the venue.
    Execute,
    /// Runs project alone: the log into tables.
    Project,
    /// Runs the HTTP API and the relay of its outbox alone.
    Api,
    /// Creates or updates the database's roles and tables.
    Migrate,
    /// Runs the simulated venue alone.
    Simulate(SimulateArgs),
    /// Decides everything in the log again and says how many decisions are identical.
    Replay(ReplayArgs),
    /// Checks every component and says what to fix. Only looks: makes, starts and changes nothing.
    Doctor,
    /// Tenants.
    #[command(subcommand)]
    Tenant(TenantCommand),
    /// What a tenant trades from.
    #[command(subcommand)]
    Wallet(WalletCommand),
    /// Whom a tenant follows.
    #[command(subcommand)]
    Target(TargetCommand),
    /// What a tenant allows.
    #[command(subcommand)]
    Grant(GrantCommand),
    /// What lets a tenant's programs use the HTTP API.
    #[command(subcommand)]
    Token(TokenCommand),
}

/// `up`.
#[derive(Debug, Args)]
pub struct UpArgs {
    /// Leaders, fills and markets of the simulator come from this recording instead of a seed.
    #[command(flatten)]
    pub tape: TapeArgs,
    /// Fills a second of the simulated leaders.
    #[arg(long, value_name = "N")]
    pub fills_per_second: Option<u32>,
    /// Do not create the demo tenant.
    #[arg(long)]
    pub no_demo: bool,
    /// Print one line every few seconds instead of a live screen.
    #[arg(long)]
    pub plain: bool,
    /// Drain and stop after this many seconds.
    #[arg(long, value_name = "SECONDS")]
    pub stop_after: Option<u64>,
}

/// A recorded tape and how it is played.
#[derive(Debug, Args, Clone, Default)]
pub struct TapeArgs {
    /// Data API rows: a JSON array, JSON lines or CSV; plain, gzip or zstd.
    #[arg(long, value_name = "FILE")]
    pub tape: Option<PathBuf>,
    /// How many times faster than it happened.
    #[arg(long, value_name = "N", requires = "tape")]
    pub speed: Option<u32>,
    /// Market facts for the tape: Gamma rows.
    #[arg(long, value_name = "FILE", requires = "tape")]
    pub markets: Option<PathBuf>,
    /// Keep rows that are equal to another one of the tape.
    #[arg(long, requires = "tape")]
    pub keep_equal: bool,
}

/// `simulate`.
#[derive(Debug, Args)]
pub struct SimulateArgs {
    /// The recording to play.
    #[command(flatten)]
    pub tape: TapeArgs,
    /// What the simulated leaders do follows from this number.
    #[arg(long, value_name = "N", conflicts_with = "tape")]
    pub seed: Option<u64>,
    /// Fills a second of the simulated leaders.
    #[arg(long, value_name = "N", conflicts_with = "tape")]
    pub fills_per_second: Option<u32>,
    /// How many simulated leaders there are.
    #[arg(long, value_name = "N", conflicts_with = "tape")]
    pub leaders: Option<u32>,
    /// After how many of a thousand trades a leader splits or merges; 0: never.
    #[arg(long, value_name = "N", conflicts_with = "tape")]
    pub changes_per_thousand: Option<u32>,
    /// All simulated leaders trade equally often.
    #[arg(long, conflicts_with = "tape")]
    pub even: bool,
    /// The port to listen on, on loopback; 0 takes any free one.
    #[arg(long, value_name = "PORT")]
    pub port: Option<u16>,
    /// Where accounts and orders are kept, so that a restart knows them.
    #[arg(long, value_name = "FILE")]
    pub state: Option<PathBuf>,
    /// Limits and delays as the venue documents them; without it nothing is limited and nothing delayed.
    #[arg(long)]
    pub documented_limits: bool,
    /// Posted orders meet the errors of this recording as often as they came there: a CSV of orders' lives.
    #[arg(long, value_name = "FILE")]
    pub outcomes: Option<PathBuf>,
    /// Start a tape's first row this long after the start, in milliseconds: time to follow its wallets.
    #[arg(long, value_name = "MS", requires = "tape")]
    pub lead_in_ms: Option<u64>,
}

/// `replay`.
#[derive(Debug, Args)]
pub struct ReplayArgs {
    /// How many differing decisions to print.
    #[arg(long, default_value_t = 10, value_name = "N")]
    pub show: usize,
}

/// `tenant`.
#[derive(Debug, Subcommand)]
pub enum TenantCommand {
    /// Creates a tenant: a user, a billing account, and a wallet to trade from.
    Create {
        /// The tenant's handle: lower-case letters, digits, `_`, `-`, `.`.
        handle: String,
        /// Signing key of the wallet, as a file with `0x` and 64 hex digits; without it one is made.
        #[arg(long, value_name = "FILE")]
        key_file: Option<PathBuf>,
    },
    /// Lists the tenants of this installation.
    List,
}

/// `wallet`.
#[derive(Debug, Subcommand)]
pub enum WalletCommand {
    /// Connects a wallet in place of the one that was; the same one again with its key sealed anew.
    Connect {
        /// The tenant's handle.
        tenant: String,
        /// Signing key of the wallet, as a file with `0x` and 64 hex digits.
        #[arg(long, value_name = "FILE")]
        key_file: PathBuf,
    },
    /// Takes the wallet back: nothing is signed with it any more, exits neither.
    Revoke {
        /// The tenant's handle.
        tenant: String,
    },
}

/// `target`.
#[derive(Debug, Subcommand)]
pub enum TargetCommand {
    /// Follows a wallet.
    Add {
        /// The tenant's handle.
        #[arg(long)]
        tenant: String,
        /// The wallet.
        wallet: String,
        /// A setting of the policy, as `name=value`; may be repeated.
        #[arg(long = "set", value_name = "NAME=VALUE")]
        settings: Vec<String>,
        /// Whether its copies go to the simulator, or are filled on paper against the recorded book.
        #[arg(long, value_parser = MODES.map(Mode::as_str))]
        mode: Option<String>,
    },
    /// Stops following a wallet.
    Remove {
        /// The tenant's handle.
        #[arg(long)]
        tenant: String,
        /// The wallet.
        wallet: String,
        /// What happens to what is held: follow the leader's exits, sell at once, or keep it.
        #[arg(long, default_value = "follow", value_parser = ["follow", "close", "keep"])]
        positions: String,
    },
    /// Lists a tenant's targets.
    List {
        /// The tenant's handle.
        #[arg(long)]
        tenant: String,
    },
}

/// `grant`.
#[derive(Debug, Subcommand)]
pub enum GrantCommand {
    /// Sets what the mirror may spend. What is not named stays as it is.
    Set {
        /// The tenant's handle.
        #[arg(long)]
        tenant: String,
        /// What changes.
        #[command(flatten)]
        terms: GrantTerms,
        /// Takes the grant back.
        #[arg(long, conflicts_with = "GrantTerms")]
        revoke: bool,
    },
}

/// What a grant says. In a new one, what is not named has its default.
#[derive(Debug, Args)]
pub struct GrantTerms {
    /// What may be traded: `buy,sell`, one of them, or `none` [default in a new grant: buy,sell].
    #[arg(long, value_name = "WHAT", value_parser = ["buy,sell", "sell,buy", "buy", "sell", "none"])]
    pub scopes: Option<String>,
    /// The most one order may cost, in dollars [default in a new grant: 5].
    #[arg(long, value_name = "USDC")]
    pub per_order: Option<String>,
    /// The most that 24 hours may cost, in dollars [default in a new grant: 100].
    #[arg(long, value_name = "USDC")]
    pub daily: Option<String>,
    /// The most orders in an hour [default in a new grant: 100].
    #[arg(long, value_name = "N")]
    pub hourly_orders: Option<i64>,
    /// The most that one market may hold, in dollars; `none`: as much as the other caps let it.
    #[arg(long, value_name = "USDC")]
    pub per_market: Option<String>,
    /// Ends by itself after this many hours from now; `never`: not by itself.
    #[arg(long, value_name = "HOURS")]
    pub expires_in_hours: Option<String>,
}

/// `token`.
#[derive(Debug, Subcommand)]
pub enum TokenCommand {
    /// Makes a token, and prints it this once.
    Create {
        /// The tenant's handle.
        #[arg(long)]
        tenant: String,
        /// What to call it: lower-case letters, digits, `_`, `-`, `.`.
        #[arg(long, default_value = "default")]
        name: String,
        /// Ends by itself after this many days.
        #[arg(long, value_name = "DAYS")]
        expires_in_days: Option<u32>,
    },
    /// Lists a tenant's tokens, without what they say.
    List {
        /// The tenant's handle.
        #[arg(long)]
        tenant: String,
    },
    /// Takes a token back.
    Revoke {
        /// The tenant's handle.
        #[arg(long)]
        tenant: String,
        /// What it is called.
        #[arg(long, default_value = "default")]
        name: String,
    },
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_holds_together() {
        Cli::command().debug_assert();
    }
}
