//! What must be told to nobody is told to nobody: a tenant's token, its signing key and its API credentials stand in no
//! log line, no answer, no table, no record of the log and no command's output, after a run in which each was used.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::{
    io::{Read, Write},
    net::TcpStream,
    path::Path,
    time::Duration,
};

use execute::{SealingKey, Secret};
use simulator::{Options, Prints, Seeding, Simulator};
use sqlx::PgPool;
use system_tests::install::{Install, LogKind};
use uuid::Uuid;

const BINARY: &str = env!("CARGO_BIN_EXE_polymirror-under-test");
const DEADLINE: Duration = Duration::from_secs(120);
/// The key of a wallet that holds nothing anywhere.
const KEY: &str = "9d3c1fb0a7e24d5886c1f0e9b2a4d7c35e6f8091a2b3c4d5e6f708192a3b4c5d";

/// Asks the server, and gives all that it says.
fn ask(address: &str, method: &str, path: &str, token: &str, body: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    let length = body.len();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {token}\r\nconnection: close\r\n\
         content-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
    );
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// Every row of every table, as text.
async fn tables(admin: &PgPool) -> String {
    let tables: Vec<String> = sqlx::query_scalar(
        "select format('%I.%I', n.nspname, c.relname) from pg_class c join pg_namespace n on n.oid = c.relnamespace
         where c.relkind = 'r' and n.nspname in ('public', 'execution')",
    )
    .fetch_all(admin)
    .await
    .unwrap();
    let mut all = String::new();
    for table in tables {
        let sql = format!("select row_to_json(t)::text from {table} t");
        let rows: Vec<String> = sqlx::query_scalar(sqlx::AssertSqlSafe(sql)).fetch_all(admin).await.unwrap();
        all.push_str(&rows.join("\n"));
    }
    all
}

/// Every file under the directory but those that hold keys by purpose.
fn files(dir: &Path) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() {
            found.extend(files(&path));
        } else if !["wallet.key", "sealing.key", "database-passwords.toml"].contains(&name.as_str()) {
            found.push((name, std::fs::read(&path).unwrap()));
        }
    }
    found
}

fn contains(hay: &[u8], needle: &[u8]) -> bool {
    hay.windows(needle.len()).any(|window| window == needle)
}

fn bytes_of(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn no_log_answer_table_or_record_holds_a_token_a_signing_key_or_api_credentials() {
    let seeding = Seeding { mean_gap: Duration::from_millis(100), leaders: 3, ..Seeding::default() };
    let options = Options { prints: Prints::Seeded(seeding), ..Options::default() };
    let simulator = Simulator::builder().options(options).start().await.unwrap();
    let mut install = Install::new(BINARY, LogKind::Sqlite).await;
    install.venue(&simulator.base_url);
    let key_file = install.dir().join("wallet.key");
    std::fs::write(&key_file, format!("0x{KEY}\n")).unwrap();
    let mut said = install.ok(&["tenant", "create", "ada", "--key-file", &key_file.to_string_lossy()]);
    said += &install.ok(&["grant", "set", "--tenant", "ada", "--per-order", "100", "--daily", "5000"]);
    for leader in simulator.handle().leaders() {
        said += &install.ok(&["target", "add", "--tenant", "ada", &leader.to_string()]);
    }
    // Printed once, here, and meant to be: the one thing that is left out of what is looked at.
    let token = install.ok(&["token", "create", "--tenant", "ada"]).trim().to_owned();
    said += &install.ok(&["token", "list", "--tenant", "ada"]);
    // As much as the program itself can say.
    let level = "debug,librdkafka=warn";
    let stages: Vec<_> = ["api", "ingest", "decide", "execute", "project"]
        .map(|name| install.stage_logging(name, level))
        .into();
    let admin = install.admin().await;
    let sealed = testkit::wait_for_some("orders, and the credentials they were sent with", DEADLINE, async || {
        let sent: i64 = sqlx::query_scalar("select count(*) from poly_copy_trade_fills where order_id is not null")
            .fetch_one(&admin)
            .await
            .unwrap();
        let sealed: Option<(Uuid, Vec<u8>)> = sqlx::query_as(
            "select id, api_credentials_sealed from poly_wallet_connections where api_credentials_sealed is not null",
        )
        .fetch_optional(&admin)
        .await
        .unwrap();
        sealed.filter(|_| sent > 3)
    })
    .await;
    let key = SealingKey::from_file(&install.dir().join("data").join("sealing.key")).unwrap();
    let credentials = key.open(sealed.0, Secret::ApiCredentials, &sealed.1).unwrap();
    let credentials: serde_json::Value = serde_json::from_slice(&credentials).unwrap();
    let address = stages[0].listens().await;
    for (method, path, token, body) in [
        ("GET", "/api/v1/poly/copy-trade/targets", token.as_str(), ""),
        ("GET", "/api/v1/poly/copy-trade/orders", &token, ""),
        ("GET", "/api/v1/poly/copy-trade/decisions", &token, ""),
        ("PUT", "/api/v1/poly/copy-trade/pause", &token, r#"{"paused":true}"#),
        ("POST", "/api/v1/poly/copy-trade/targets", &token, r#"{"wallet":1}"#),
        ("GET", "/api/v1/poly/wallet/grants", &token[1..], ""),
        ("GET", &format!("/api/v1/poly/copy-trade/orders?cursor={token}"), "", ""),
        ("GET", "/api/v1/openapi.json", "", ""),
        ("GET", "/api/v1/status", "", ""),
        ("GET", "/metrics", "", ""),
    ] {
        said += &ask(&address, method, path, token, body);
    }
    assert!(
        said.contains("\"order_id\":\"0x") && said.contains("401"),
        "the answers are not what they were: {said}"
    );
    said += &install.ok(&["token", "revoke", "--tenant", "ada"]);
    for stage in stages {
        stage.stop();
    }
    let mut places = files(install.dir());
    assert!(
        places.iter().any(|(name, _)| name == "log.sqlite")
            && places.iter().any(|(name, _)| name.contains("execute"))
    );
    places.push(("answers and outputs".to_owned(), said.into_bytes()));
    places.push(("tables".to_owned(), tables(&admin).await.into_bytes()));
    let random = token.strip_prefix(api::accounts::TOKEN_PREFIX).unwrap();
    let field = |name: &str| credentials[name].as_str().unwrap().as_bytes().to_vec();
    let secrets = [
        ("the token", random.as_bytes().to_vec()),
        ("the token's bytes", bytes_of(random)),
        ("the signing key", KEY.as_bytes().to_vec()),
        ("the signing key's bytes", bytes_of(KEY)),
        ("the API secret", field("secret")),
        ("the API passphrase", field("passphrase")),
    ];
    for (place, bytes) in &places {
        for (name, secret) in &secrets {
            assert!(secret.len() > 12, "{name} is too short to be looked for");
            assert!(!contains(bytes, secret), "{place} holds {name}");
        }
    }
    // It would be found: the address, which is no secret, is.
    assert!(places.iter().any(|(_, bytes)| contains(bytes, b"ada")));
}
