//! The schema goes up and down on both, and up again.

use store::{Store, StoreOptions};

async fn up_down_up(url: String) {
    let store = Store::connect(&StoreOptions { url, max_connections: 2 }).await.expect("connects");
    assert!(!store.is_migrated().await.expect("answers"));
    store.migrate().await.expect("goes up");
    assert!(store.is_migrated().await.expect("answers"));
    store.unmigrate().await.expect("goes down");
    assert!(!store.is_migrated().await.expect("answers"));
    store.migrate().await.expect("goes up again");
    store.close().await.expect("closes");
}

#[tokio::test(flavor = "multi_thread")]
async fn on_sqlite() {
    let directory = tempfile::tempdir().expect("a directory");
    up_down_up(format!("sqlite:{}", directory.path().join("berth.db").display())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn on_postgres() {
    up_down_up(testkit::postgres::bare_database().await).await;
}
