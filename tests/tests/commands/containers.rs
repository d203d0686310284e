//! What `docker-compose.yml` gives each container is enough, and no container has what it does not need.

use std::{process::Command, time::Duration};

use simulator::{Options, Prints, Seeding, Simulator};
use system_tests::install::{Install, LogKind};

use crate::BINARY;

const DEADLINE: Duration = Duration::from_secs(120);
const ROLES: [&str; 5] = ["OWNER", "APP_USER", "PROJECTOR", "EXECUTOR", "RELAY"];

/// What the file says of a service.
fn service(name: &str) -> String {
    let text = std::fs::read_to_string(testkit::workspace_root().join("docker-compose.yml")).unwrap();
    let (_, rest) = text.split_once(&format!("\n  {name}:\n")).unwrap();
    let own: Vec<&str> =
        rest.lines().take_while(|line| line.starts_with("    ") || line.is_empty()).collect();
    own.join("\n")
}

/// The command as its container runs it: with a data directory of its own, and the secrets that it is given.
fn inside(install: &Install, name: &str, args: &[&str]) -> Command {
    let given = service(name);
    let mut command = install.command(args);
    command.env("POLYMIRROR_DATA_DIR", install.dir().join(name)).env("RUST_LOG", "info,librdkafka=warn");
    for role in ROLES {
        let variable = format!("POLYMIRROR_DB_PASSWORD_{role}");
        if !given.contains(&format!("{variable}: ")) {
            command.env_remove(variable);
        }
    }
    if given.contains("POLYMIRROR_SEALING_KEY: ") {
        command.env("POLYMIRROR_SEALING_KEY", "42".repeat(32));
    }
    // Where the database is, without the administrator's login.
    let url = install.variable("DATABASE_URL");
    let (_, place) = url.rsplit_once('@').unwrap();
    command.env_remove("DATABASE_URL");
    if given.contains("*database") {
        command.env("DATABASE_URL", format!("postgres://{place}"));
    }
    command
}

#[test]
fn no_container_has_what_it_does_not_need() {
    for (name, needs) in [
        ("simulator", [].as_slice()),
        ("ingest", &[]),
        ("decide", &[]),
        ("execute", &["POLYMIRROR_DB_PASSWORD_EXECUTOR", "POLYMIRROR_SEALING_KEY"]),
        ("project", &["POLYMIRROR_DB_PASSWORD_PROJECTOR"]),
        ("api", &["POLYMIRROR_DB_PASSWORD_APP_USER", "POLYMIRROR_DB_PASSWORD_RELAY"]),
    ] {
        let given = service(name);
        let has: Vec<&str> = given
            .lines()
            .filter_map(|line| line.trim().split_once(": "))
            .map(|(variable, _)| variable)
            .filter(|v| v.contains("PASSWORD") || v.contains("KEY") || v.contains("DATABASE_URL"))
            .collect();
        assert_eq!(has, needs, "{name}");
    }
    let text = std::fs::read_to_string(testkit::workspace_root().join("docker-compose.yml")).unwrap();
    let (shared, _) = text.split_once("\nservices:").unwrap();
    assert!(!shared.contains("PASSWORD") && !shared.contains("KEY"), "what all have holds no secret");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trade_becomes_an_order_with_what_each_container_is_given() {
    let name = "a_trade_becomes_an_order_with_what_each_container_is_given";
    let Some(brokers) = testkit::kafka_or_skip(name).await else { return };
    let seeding = Seeding { mean_gap: Duration::from_millis(100), leaders: 3, ..Seeding::default() };
    let options = Options { prints: Prints::Seeded(seeding), ..Options::default() };
    let simulator = Simulator::builder().options(options).start().await.unwrap();
    let mut install = Install::new(BINARY, LogKind::kafka(brokers)).await;
    install.venue(&simulator.base_url);
    let operator = |args: &[&str]| {
        let output = inside(&install, "operator", args).output().unwrap();
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    };
    operator(&["tenant", "create", "ada"]);
    operator(&["grant", "set", "--tenant", "ada", "--per-order", "100", "--daily", "5000"]);
    for leader in simulator.handle().leaders() {
        operator(&["target", "add", "--tenant", "ada", &leader.to_string()]);
    }
    let _stages = ["api", "ingest", "decide", "execute", "project"]
        .map(|stage| install.spawn(stage, inside(&install, stage, &[stage])));
    let admin = install.admin().await;
    testkit::wait_for("an order that was sent", DEADLINE, async || {
        let sent = "select count(*) from poly_copy_trade_fills where order_id is not null";
        sqlx::query_scalar::<_, i64>(sent).fetch_one(&admin).await.unwrap() > 0
    })
    .await;
}
