//! The binary: one program that runs any stage, or all of them, and the operator's commands.

mod cli;
mod config;
mod error;
mod home;
mod installation;
mod logging;
mod screen;
mod signals;
mod simulate;

use std::process::ExitCode;

use clap::Parser;

use crate::{
    cli::{Cli, Command, GlobalArgs},
    config::Config,
    error::Error,
    installation::Installation,
};

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
    if let Command::Simulate(args) = cli.command {
        logging::to_stderr(cli.settings.log_json);
        let clock = runtime::SystemClock::shared();
        return simulate::run(&config, args, clock, signals::stop_on_signal()).await.map(done);
    }
    let installation = Installation::open(config)?;
    let _ = installation;
    Ok(ExitCode::SUCCESS)
}
