//! Roles belong to a server, and a server may be another installation's.

use system_tests::install::{Install, LogKind};

use crate::BINARY;

#[tokio::test]
async fn an_installation_does_not_take_over_the_roles_of_another_and_leaves_no_passwords_of_its_own() {
    let first = Install::new(BINARY, LogKind::Sqlite).await;
    let second = tempfile::tempdir().unwrap();
    let run = |args: &[&str]| {
        let mut command = first.command(args);
        command.env("POLYMIRROR_DATA_DIR", second.path());
        for role in ["OWNER", "APP_USER", "PROJECTOR", "EXECUTOR", "RELAY"] {
            command.env_remove(format!("POLYMIRROR_DB_PASSWORD_{role}"));
        }
        let output = command.output().unwrap();
        assert!(!output.status.success(), "{args:?}");
        String::from_utf8(output.stderr).unwrap()
    };
    for args in [["migrate"].as_slice(), &["migrate"], &["tenant", "list"]] {
        let said = run(args);
        assert!(said.contains("database_password_missing: "), "{args:?}: {said}");
        assert!(!second.path().join("database-passwords.toml").exists(), "{args:?}");
    }
    first.ok(&["tenant", "list"]);
}
