//! Roles and migrations on a real server.
#![allow(clippy::unwrap_used, reason = "tests")]

use project::{Connections, Role, check_version, migrate};
use runtime::Chance;

async fn migrated() -> Connections {
    let url = testkit::fresh_database().await;
    let connections = Connections::for_tests(&url).unwrap();
    migrate(&connections, &Chance::system()).await.unwrap();
    connections
}

#[tokio::test]
async fn a_database_is_migrated_once_and_every_role_sees_its_version() {
    let connections = migrated().await;
    migrate(&connections, &Chance::system()).await.unwrap();
    for role in Role::ALL {
        let pool = connections.pool(role, 1).await.unwrap();
        check_version(&pool).await.unwrap();
    }
}
