//! `with-kafka COMMAND…`: runs a command beside one private Kafka, whose bootstrap servers it finds in
//! `KAFKA_BROKERS`. `make test` uses it so that all test binaries share one broker.
//!
//! Where `KAFKA_BROKERS` is set already, or Kafka is missing, the command runs without one: the tests say
//! what that means for them. A Kafka that is there and does not start is an error.

use std::process::{ExitCode, ExitStatus};

use testkit::kafka::{PrivateKafka, StartError};

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match run().await {
        // Ended by a signal: the number that shells use would tell us nothing more.
        Ok(status) => {
            status.code().and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::FAILURE, ExitCode::from)
        }
        Err(why) => {
            eprintln!("with-kafka: {why}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<ExitStatus, String> {
    let mut arguments = std::env::args_os().skip(1);
    let program = arguments.next().ok_or("say which command to run: with-kafka COMMAND…")?;
    let mut command = tokio::process::Command::new(&program);
    command.args(arguments);

    let kafka = broker().await?;
    if let Some(kafka) = &kafka {
        eprintln!("with-kafka: Kafka answers at {}", kafka.bootstrap_servers());
        command.env("KAFKA_BROKERS", kafka.bootstrap_servers());
    }
    let status =
        command.status().await.map_err(|error| format!("cannot run {}: {error}", program.display()))?;
    drop(kafka);
    Ok(status)
}

/// A broker, where none is given and this machine can run one.
async fn broker() -> Result<Option<PrivateKafka>, String> {
    if std::env::var_os("KAFKA_BROKERS").is_some_and(|servers| !servers.is_empty()) {
        return Ok(None);
    }
    match PrivateKafka::start().await {
        Ok(kafka) => Ok(Some(kafka)),
        Err(StartError::Missing(why)) => {
            eprintln!("with-kafka: no Kafka here: {why}");
            Ok(None)
        }
        Err(StartError::Broken(why)) => Err(why),
    }
}
