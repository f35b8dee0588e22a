//! What tests are made of: a database for each test on both kinds, a tenant with people, hosts and machines, services
//! with a clock that the test sets.
//!
//! Real parts only: PostgreSQL is a private server of the test process ([`postgres`]), SQLite a file.

#![allow(clippy::missing_panics_doc, reason = "in tests a panic is the report")]

use std::future::Future;

use store::{Store, StoreOptions};

pub mod kernel;
pub mod lab;
mod ports;
pub mod postgres;
mod world;

pub use ports::free_port;
pub use world::World;

/// A module of objects that count: each says which life of it answers, echoes bodies, and holds sockets. Binding
/// `COUNTERS`, class `Counter`.
pub const COUNTER: &str = include_str!("../objects/counter.js");

/// Connections of one test's store.
const CONNECTIONS: u32 = 8;

/// Runs the test on SQLite and then on PostgreSQL, each time with a database of its own.
///
/// ```text
/// #[tokio::test(flavor = "multi_thread")]
/// async fn books() { testkit::both(|store| async move { … }).await }
/// ```
pub async fn both<F, Fut>(test: F)
where
    F: Fn(Store) -> Fut,
    Fut: Future<Output = ()>,
{
    eprintln!("on SQLite");
    let directory = tempfile::tempdir().expect("a directory");
    test(sqlite(directory.path()).await).await;
    eprintln!("on PostgreSQL");
    test(connect(postgres::database().await).await).await;
}

/// A store on a new SQLite file in `directory`, with this build's schema.
pub async fn sqlite(directory: &std::path::Path) -> Store {
    let store = connect(format!("sqlite:{}", directory.join("berth.db").display())).await;
    store.migrate().await.expect("migrations run");
    store
}

/// A store at `url`, whatever is there.
pub async fn connect(url: String) -> Store {
    Store::connect(&StoreOptions { url, max_connections: CONNECTIONS }).await.expect("the database answers")
}
