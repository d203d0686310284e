//! The binary: one program that runs any stage, or all of them, and the operator's commands.

mod admin;
mod cli;
mod config;
mod demo;
mod doctor;
mod drain;
mod error;
mod grant;
mod home;
mod installation;
mod logging;
mod recall;
mod replay_command;
mod screen;
mod signals;
mod simulate;
mod stages;
mod up;

use std::process::ExitCode;

use clap::Parser;

use crate::{
    admin::Admin,
    cli::{Cli, Command, GlobalArgs},
    config::Config,
    error::Error,
    installation::Installation,
    stages::Shared,
};

/// Decides a third more a second than with glibc's: BENCHMARKS.md.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Parses the command line, runs the command, and turns its end into an exit code. One clear line for whatever
/// went wrong.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    // The one TLS provider of the process; a second installation would be an error of ours alone.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: runtime_failed: {error}. The machine has no threads left");
            return ExitCode::FAILURE;
        }
    };
    let outcome = runtime.block_on(run(cli));
    // Threads that a dead broker holds are not waited for.
    runtime.shutdown_timeout(std::time::Duration::from_secs(2));
    match outcome {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The configuration: file, then environment and command line.
fn configure(args: &GlobalArgs) -> Result<Config, Error> {
    let mut config = Config::load(args.config.as_deref())?;
    if let Some(dir) = &args.data_dir {
        config.data_dir.clone_from(dir);
    }
    let overlay = |to: &mut String, from: &Option<String>| {
        if let Some(from) = from {
            to.clone_from(from);
        }
    };
    overlay(&mut config.log.kafka, &args.kafka);
    overlay(&mut config.log.kafka_prefix, &args.kafka_prefix);
    overlay(&mut config.log.schema_registry, &args.schema_registry);
    overlay(&mut config.database.url, &args.database_url);
    overlay(&mut config.venue.simulator_url, &args.simulator);
    if let Some(listen) = args.api_listen {
        config.api.listen = listen;
    }
    Ok(config)
}

async fn run(cli: Cli) -> Result<ExitCode, Error> {
    let config = configure(&cli.settings)?;
    let done = |()| ExitCode::SUCCESS;
    let json = cli.settings.log_json;
    if let Command::Simulate(args) = cli.command {
        logging::to_stderr(json);
        let clock = runtime::SystemClock::shared();
        return simulate::run(&config, args, clock, signals::stop_on_signal()).await.map(done);
    }
    if matches!(cli.command, Command::Doctor) {
        logging::to_stderr(json);
        return Ok(doctor::run(&Installation::look(config)?).await);
    }
    let installation = Installation::open(config)?;
    match &cli.command {
        // The terminal shows what flows, and nothing else.
        Command::Up(_) => logging::to_file(&installation.home.program_log(), json)?,
        _ => logging::to_stderr(json),
    }
    match cli.command {
        Command::Simulate(_) | Command::Doctor => Ok(ExitCode::SUCCESS),
        Command::Up(args) => up::run(installation, args, signals::stop_on_signal()).await,
        Command::Ingest => {
            let url = installation.simulator_url()?.to_owned();
            let shared = Shared::open(&installation).await?;
            stages::ingest(&shared, &url, signals::stop_on_signal()).await.map(done)
        }
        Command::Decide => {
            let shared = Shared::open(&installation).await?;
            stages::decide(&shared, signals::stop_on_signal()).await.map(done)
        }
        Command::Execute => {
            let url = installation.simulator_url()?.to_owned();
            let shared = Shared::open(&installation).await?;
            let database = installation.database().await?;
            let run = stages::execute(&shared, &database.connections, &url, signals::stop_on_signal()).await;
            database.close().await.and(run).map(done)
        }
        Command::Project => {
            let shared = Shared::open(&installation).await?;
            let database = installation.database().await?;
            let run = stages::project(&shared, &database.connections, signals::stop_on_signal()).await;
            database.close().await.and(run).map(done)
        }
        Command::Api => {
            let shared = Shared::open(&installation).await?;
            let database = installation.database().await?;
            let run = stages::api(&shared, &database.connections, signals::stop_on_signal()).await;
            database.close().await.and(run).map(done)
        }
        Command::Migrate => {
            let database = installation.database_to_set_up().await?;
            let run = installation.migrate(&database).await;
            database.close().await.and(run).map(done)
        }
        Command::Replay(args) => replay_command::run(&Shared::open(&installation).await?, args.show).await,
        Command::Tenant(command) => {
            administer(&installation, async |admin| admin.tenant(&command).await).await
        }
        Command::Wallet(command) => {
            administer(&installation, async |admin| admin.wallet(&command).await).await
        }
        Command::Target(command) => {
            administer(&installation, async |admin| admin.target(&command).await).await
        }
        Command::Grant(command) => administer(&installation, async |admin| admin.grant(&command).await).await,
        Command::Token(command) => administer(&installation, async |admin| admin.token(&command).await).await,
    }
}

/// Runs an operator's command on the database, which is brought to this program's version first where it is our own.
async fn administer(
    installation: &Installation,
    command: impl AsyncFnOnce(&Admin<'_>) -> Result<(), Error>,
) -> Result<ExitCode, Error> {
    let database = installation.database().await?;
    let run = async {
        // A cluster that this process started is nobody else's at the moment; a running one was migrated at its start.
        if database.cluster.is_some() {
            installation.migrate(&database).await?;
        }
        let admin = Admin::open(installation, &database).await?;
        let done = command(&admin).await;
        admin.close().await;
        done
    };
    let outcome = run.await;
    database.close().await.and(outcome).map(|()| ExitCode::SUCCESS)
}
