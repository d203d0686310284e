//! What a tenant trades from, and the demo's tenant, who must be whole.

use std::path::PathBuf;

use sqlx::PgPool;
use system_tests::install::{Install, LogKind};

use crate::BINARY;

/// A file with the key of a wallet that holds nothing anywhere.
fn key_file(install: &Install, digit: char) -> String {
    let file: PathBuf = install.dir().join(format!("{digit}.key"));
    std::fs::write(&file, format!("0x{}\n", digit.to_string().repeat(64))).unwrap();
    file.to_string_lossy().into_owned()
}

/// What a command that has to fail says.
fn refused(install: &Install, args: &[&str]) -> String {
    let output = install.run(args);
    assert!(!output.status.success(), "{args:?}");
    String::from_utf8(output.stderr).unwrap()
}

async fn count(admin: &PgPool, of: &str) -> i64 {
    let sql = format!("select count(*) from {of}");
    sqlx::query_scalar(sqlx::AssertSqlSafe(sql)).fetch_one(admin).await.unwrap()
}

#[tokio::test]
async fn a_tenant_with_somebody_elses_key_is_not_half_made() {
    let install = Install::new(BINARY, LogKind::Sqlite).await;
    let (first, second) = (key_file(&install, '1'), key_file(&install, '2'));
    install.ok(&["tenant", "create", "ada", "--key-file", &first]);
    let said = refused(&install, &["tenant", "create", "bob", "--key-file", &first]);
    assert!(said.contains("wallet_connected_elsewhere: "), "{said}");
    install.ok(&["tenant", "create", "bob", "--key-file", &second]);
    assert_eq!(count(&install.admin().await, "poly_wallet_connections").await, 2);
}

#[tokio::test]
async fn a_wallet_is_taken_back_and_connected_by_the_commands_that_error_pages_name() {
    let install = Install::new(BINARY, LogKind::Sqlite).await;
    let (first, second) = (key_file(&install, '1'), key_file(&install, '2'));
    install.ok(&["tenant", "create", "ada", "--key-file", &first]);
    install.ok(&["tenant", "create", "bob", "--key-file", &second]);
    let said = refused(&install, &["wallet", "connect", "bob", "--key-file", &first]);
    assert!(
        said.contains("wallet_connected_elsewhere: ") && said.contains("polymirror wallet revoke"),
        "{said}"
    );
    install.ok(&["wallet", "revoke", "ada"]);
    let said = refused(&install, &["wallet", "revoke", "ada"]);
    assert!(said.contains("not_found: "), "{said}");
    install.ok(&["wallet", "connect", "bob", "--key-file", &first]);
    let admin = install.admin().await;
    assert_eq!(count(&admin, "poly_wallet_connections where revoked_at is null").await, 1);
    // The installation's key is lost, and with it the seal of bob's.
    let sealed = "select signing_key_sealed from poly_wallet_connections where revoked_at is null";
    let before: Vec<u8> = sqlx::query_scalar(sealed).fetch_one(&admin).await.unwrap();
    std::fs::remove_file(install.dir().join("data/sealing.key")).unwrap();
    install.ok(&["wallet", "connect", "bob", "--key-file", &first]);
    let (row, after): (uuid::Uuid, Vec<u8>) =
        sqlx::query_as("select id, signing_key_sealed from poly_wallet_connections where revoked_at is null")
            .fetch_one(&admin)
            .await
            .unwrap();
    assert_ne!(before, after);
    let key = execute::SealingKey::from_file(&install.dir().join("data/sealing.key")).unwrap();
    assert_eq!(*key.open(row, execute::Secret::SigningKey, &after).unwrap(), [0x11; 32]);
}

#[tokio::test]
async fn a_demo_that_was_half_made_is_completed_and_one_that_was_changed_is_left() {
    let install = Install::new(BINARY, LogKind::Sqlite).await;
    let admin = install.admin().await;
    // As an earlier program left it that died before the wallet.
    sqlx::raw_sql(
        "insert into users (id, handle, created_at) values (gen_random_uuid(), 'demo', now());
         insert into billing_accounts (id, owner_user_id, name, created_at)
             select gen_random_uuid(), id, 'main', now() from users",
    )
    .execute(&admin)
    .await
    .unwrap();
    let up = ["up", "--plain", "--stop-after", "1"];
    install.ok(&up);
    for (table, rows) in
        [("poly_wallet_connections", 1), ("poly_copy_trade_targets", 3), ("poly_wallet_grants", 1)]
    {
        assert_eq!(count(&admin, table).await, rows, "{table}");
    }
    install.ok(&["grant", "set", "--tenant", "demo", "--revoke"]);
    install.ok(&["wallet", "revoke", "demo"]);
    install.ok(&up);
    for (table, rows) in [
        ("poly_wallet_connections where revoked_at is null", 0),
        ("poly_copy_trade_targets", 3),
        ("poly_wallet_grants where revoked_at is null", 0),
    ] {
        assert_eq!(count(&admin, table).await, rows, "{table}");
    }
}
