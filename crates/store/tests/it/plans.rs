//! What is asked for each host that links is found by an index of its own on SQLite, which guesses where two would do.

use sea_orm::{ConnectionTrait, Statement, Value};
use store::{Store, StoreOptions};

/// How SQLite goes about the statement.
async fn plan(store: &Store, sql: &str, values: usize) -> String {
    let conn = store.read();
    let values = (0..values).map(|_| Value::from(uuid::Uuid::nil()));
    let sql = format!("explain query plan {sql}");
    let statement = Statement::from_sql_and_values(conn.get_database_backend(), sql, values);
    let rows = conn.query_all_raw(statement).await.expect("explains");
    rows.iter().map(|row| row.try_get::<String>("", "detail").expect("a text") + "\n").collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hosts_own_are_found_without_its_tenants_others() {
    let directory = tempfile::tempdir().expect("a directory");
    let url = format!("sqlite:{}", directory.path().join("berth.db").display());
    let store = Store::connect(&StoreOptions { url, max_connections: 2 }).await.expect("connects");
    store.migrate().await.expect("goes up");
    let machines =
        "select m.name from machines m join hosts h on h.id = m.host_id where m.tenant_id = $1 and m.host_id = $2";
    let notebooks = "select n.id from notebooks n join people p on p.id = n.person_id \
                     where n.tenant_id = $1 and n.host_id = $2 order by n.id desc limit 10";
    for (sql, index) in [(machines, "machines_host"), (notebooks, "notebooks_host")] {
        let plan = plan(&store, sql, 2).await;
        assert!(plan.contains(index), "{plan}");
    }
    store.close().await.expect("closes");
}
