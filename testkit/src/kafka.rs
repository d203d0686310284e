//! A real Kafka for tests: the one that `KAFKA_BROKERS` names, else a private single-node broker.
//!
//! The private one is Apache Kafka itself (KRaft, no container), from the jars that `make setup` puts under
//! `.deps/kafka/libs`. It is up about four seconds after it was asked for, and takes some 300 MB.

use std::env;
use std::fs::{self, File};
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::OnceCell;

use crate::background;
use crate::janitor::Janitor;
use crate::places::workspace_root;
use crate::skips::skip;

/// Kafka 4 does not run on an older one.
const OLDEST_JAVA: u32 = 17;
/// 16 bytes ("polymirror-tests") in Kafka's alphabet: asking Kafka for an id costs a start of Java.
const CLUSTER_ID: &str = "cG9seW1pcnJvci10ZXN0cw";
const START_WITHIN: Duration = Duration::from_secs(90);
const PORT_TRIES: u32 = 4;

/// Whether there is a Kafka to test against.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kafka {
    /// Its bootstrap servers.
    Available(String),
    /// Why not.
    Missing(String),
}

/// The Kafka of this test binary, started on first use. One that is there and does not work fails the test:
/// only what is absent may be skipped.
pub async fn kafka() -> Kafka {
    static KAFKA: OnceCell<(Kafka, Option<PrivateKafka>)> = OnceCell::const_new();
    let (kafka, _server) = KAFKA.get_or_init(|| background::run(find())).await;
    kafka.clone()
}

/// The bootstrap servers, or `None` after saying loudly that `test` is skipped. Under `CI=true` a missing
/// Kafka fails the test.
///
/// ```no_run
/// # async fn reads_what_was_written() {
/// let Some(brokers) = testkit::kafka_or_skip("reads_what_was_written").await else { return };
/// # drop(brokers);
/// # }
/// ```
pub async fn kafka_or_skip(test: &str) -> Option<String> {
    match kafka().await {
        Kafka::Available(servers) => Some(servers),
        Kafka::Missing(why) => {
            skip(test, &why);
            None
        }
    }
}

async fn find() -> (Kafka, Option<PrivateKafka>) {
    if let Some(servers) = env::var("KAFKA_BROKERS").ok().filter(|servers| !servers.is_empty()) {
        let first = servers.split(',').next().unwrap_or_default().trim().to_owned();
        // Better one clear word here than a timeout in every test.
        let answer = tokio::time::timeout(Duration::from_secs(20), answers(&first)).await;
        assert!(
            matches!(answer, Ok(Ok(()))),
            "KAFKA_BROKERS is {servers}, and no Kafka answers at {first} ({answer:?}): correct or unset it"
        );
        return (Kafka::Available(servers), None);
    }
    match PrivateKafka::start().await {
        Ok(server) => (Kafka::Available(server.servers.clone()), Some(server)),
        Err(StartError::Missing(why)) => (Kafka::Missing(why), None),
        Err(StartError::Broken(why)) => panic!("the private Kafka does not start: {why}"),
    }
}

/// Why a private broker is not there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StartError {
    /// This machine lacks something that `make setup` brings.
    Missing(String),
    /// Everything is there, and it does not work.
    Broken(String),
}

impl StartError {
    fn broken(doing: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |error| Self::Broken(format!("cannot {doing}: {error}"))
    }
}

/// A broker of one's own on loopback. Dropping it ends the broker and removes its data.
#[derive(Debug)]
pub struct PrivateKafka {
    servers: String,
    // Before the child: it ends what the child then is waited for.
    janitor: Option<Janitor>,
    java: Child,
}

impl PrivateKafka {
    /// Starts one and returns when it answers.
    pub async fn start() -> Result<Self, StartError> {
        let libs = libs()?;
        let java = java()?;
        let mut last = String::new();
        for _ in 0..PORT_TRIES {
            match Self::attempt(&java, &libs).await {
                // Somebody took one of its ports between our look and its own.
                Err(StartError::Broken(why)) if why.contains("Address already in use") => last = why,
                result => return result,
            }
        }
        Err(StartError::Broken(last))
    }

    /// Where it listens, as a client wants it.
    pub fn bootstrap_servers(&self) -> &str {
        &self.servers
    }

    async fn attempt(java: &Path, libs: &Path) -> Result<Self, StartError> {
        let dir = tempfile::Builder::new().prefix("polymirror-test-kafka-").tempdir();
        let dir = dir.map_err(StartError::broken("make a temporary directory"))?;
        let (port, controller) = two_ports().map_err(StartError::broken("find free ports"))?;
        let properties = properties(port, controller, dir.path());
        fs::write(dir.path().join("server.properties"), properties)
            .map_err(StartError::broken("write server.properties"))?;

        let classpath = libs.join("*");
        let jvm = |main: &str| {
            let mut command = Command::new(java);
            command
                .args(["-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"])
                .arg("-Dorg.slf4j.simpleLogger.defaultLogLevel=warn")
                .arg("-cp")
                .arg(&classpath)
                .arg(main)
                .current_dir(dir.path())
                .stdin(Stdio::null());
            command
        };
        let mut format = jvm("kafka.tools.StorageTool");
        format.args(["format", "-t", CLUSTER_ID, "-c", "server.properties"]);
        let formatted = output(format).await?;
        if !formatted.status.success() {
            return Err(StartError::Broken(format!("its storage cannot be made: {}", both(&formatted))));
        }

        let log =
            File::create(dir.path().join("kafka.log")).map_err(StartError::broken("write kafka.log"))?;
        let errors = log.try_clone().map_err(StartError::broken("write kafka.log"))?;
        let java = jvm("kafka.Kafka")
            .arg("server.properties")
            .stdout(log)
            .stderr(errors)
            .process_group(0)
            .spawn()
            .map_err(StartError::broken("run java"))?;
        let janitor = Janitor::over(java.id(), dir.path(), "KILL", dir.path());
        let servers = format!("127.0.0.1:{port}");
        let mut kafka = match janitor {
            Ok(janitor) => Self { servers, janitor: Some(janitor), java },
            Err(error) => {
                let mut java = java;
                let _ = java.kill().and_then(|()| java.wait());
                return Err(StartError::broken("start a shell")(error));
            }
        };
        let dir = dir.keep(); // the janitor's from here on
        match tokio::time::timeout(START_WITHIN, kafka.ready()).await {
            Ok(Ok(())) => Ok(kafka),
            Ok(Err(how)) => Err(StartError::Broken(format!("{how}: {}", tail(&dir)))),
            Err(_) => Err(StartError::Broken(format!("not ready after {START_WITHIN:?}: {}", tail(&dir)))),
        }
    }

    /// Until it answers a request. It opens its port when the controller has accepted it, not before.
    async fn ready(&mut self) -> Result<(), String> {
        loop {
            if let Ok(Some(status)) = self.java.try_wait() {
                return Err(format!("it ended ({status})"));
            }
            if matches!(
                tokio::time::timeout(Duration::from_secs(5), answers(&self.servers)).await,
                Ok(Ok(()))
            ) {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

impl Drop for PrivateKafka {
    fn drop(&mut self) {
        drop(self.janitor.take());
        let _ = self.java.wait();
    }
}

/// Asks a broker which requests it knows: the one that needs nothing before it.
async fn answers(server: &str) -> io::Result<()> {
    const API_VERSIONS: [u8; 14] = [
        0, 0, 0, 10, // ten bytes follow
        0, 18, 0, 0, // ApiVersions, version 0
        0, 0, 0, 77, // correlation id
        0xff, 0xff, // no client id
    ];
    let mut stream = TcpStream::connect(server).await?;
    stream.write_all(&API_VERSIONS).await?;
    let mut head = [0; 10]; // size, correlation id, error code
    stream.read_exact(&mut head).await?;
    if head[4..] == [0, 0, 0, 77, 0, 0] {
        Ok(())
    } else {
        Err(io::Error::new(io::ErrorKind::InvalidData, format!("this is no answer of Kafka: {head:?}")))
    }
}

fn libs() -> Result<PathBuf, StartError> {
    let libs = workspace_root().join(".deps/kafka/libs");
    let complete = fs::read_dir(&libs).into_iter().flatten().flatten().any(|entry| {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        name.starts_with("kafka_2.13-") && name.ends_with(".jar")
    });
    if complete {
        Ok(libs)
    } else {
        Err(StartError::Missing(
            "there are no Kafka jars under .deps/kafka/libs; `make setup` fetches them".to_owned(),
        ))
    }
}

/// The Java of `JAVA_HOME`, else the one on `PATH`, if it is new enough.
fn java() -> Result<PathBuf, StartError> {
    let home = env::var_os("JAVA_HOME").filter(|home| !home.is_empty());
    let java = home.map_or_else(|| PathBuf::from("java"), |home| PathBuf::from(home).join("bin/java"));
    let need = format!("Kafka needs Java {OLDEST_JAVA} or newer");
    let output = Command::new(&java).arg("-version").stdin(Stdio::null()).output().map_err(|error| {
        StartError::Missing(format!(
            "{need}, and {} does not run ({error}); `make setup` installs one",
            java.display()
        ))
    })?;
    let said = both(&output);
    match java_major(&said) {
        Some(major) if major >= OLDEST_JAVA => Ok(java),
        _ => Err(StartError::Missing(format!("{need}, and {} says: {said}", java.display()))),
    }
}

/// `openjdk version "17.0.15" …` is 17, `java version "1.8.0_402"` is 8.
fn java_major(said: &str) -> Option<u32> {
    let version = said.split_once("version \"")?.1;
    let mut parts = version.split(|c: char| !c.is_ascii_digit()).map(str::parse::<u32>);
    match parts.next()?.ok()? {
        1 => parts.next()?.ok(),
        major => Some(major),
    }
}

/// Two ports that are free now: for clients, and for the controller.
fn two_ports() -> io::Result<(u16, u16)> {
    let (a, b) = (TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?, TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?);
    Ok((a.local_addr()?.port(), b.local_addr()?.port()))
}

fn properties(port: u16, controller: u16, dir: &Path) -> String {
    let data = dir.join("data");
    format!(
        "\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs={data}
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
auto.create.topics.enable=false
# Tests of dead members and dead producers wait for these.
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
transaction.abort.timed.out.transaction.cleanup.interval.ms=1000
",
        data = data.display()
    )
}

/// Runs a command to its end without holding up the runtime.
async fn output(mut command: Command) -> Result<Output, StartError> {
    tokio::task::spawn_blocking(move || command.output())
        .await
        .map_err(|error| StartError::Broken(format!("a thread ended: {error}")))?
        .map_err(StartError::broken("run java"))
}

fn both(output: &Output) -> String {
    let text = [&output.stdout[..], &output.stderr[..]].concat();
    String::from_utf8_lossy(&text).trim().replace('\n', " | ")
}

/// The last lines of the broker's log.
fn tail(dir: &Path) -> String {
    let log = fs::read_to_string(dir.join("kafka.log")).unwrap_or_default();
    let lines: Vec<&str> = log.trim().lines().collect();
    lines[lines.len().saturating_sub(15)..].join(" | ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn javas_version_is_read() {
        assert_eq!(java_major("openjdk version \"17.0.15\" 2025-04-15"), Some(17));
        assert_eq!(java_major("openjdk version \"21\" 2023-09-19"), Some(21));
        assert_eq!(java_major("java version \"1.8.0_402\""), Some(8));
        assert_eq!(java_major("Picked up X | openjdk version \"22-ea\" 2024"), Some(22));
        assert_eq!(java_major("no java here"), None);
    }

    #[tokio::test]
    async fn what_is_no_kafka_is_not_taken_for_one() {
        let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let other = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
        });
        assert!(answers(&address).await.is_err());
        other.await.unwrap();
        assert!(answers(&address).await.is_err(), "nobody listens any more");
    }
}
