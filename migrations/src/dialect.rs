//! The words that differ between SQLite and PostgreSQL.

use sea_orm_migration::{prelude::*, sea_orm::DbBackend};

/// Runs the statements of `sql`, separated by lines that hold only `--;`, with the dialect's words put in:
/// `:id` a UUID column's type, `:bytes` a byte string's, `:serial` an ever-rising primary key's.
pub(crate) async fn run(manager: &SchemaManager<'_>, sql: &str) -> Result<(), DbErr> {
    let (id, bytes, serial) = match manager.get_database_backend() {
        DbBackend::Postgres => ("uuid", "bytea", "bigserial primary key"),
        DbBackend::Sqlite => ("blob", "blob", "integer primary key autoincrement"),
        other @ (DbBackend::MySql | _) => {
            return Err(DbErr::Migration(format!("{other:?} is not supported; use SQLite or PostgreSQL")));
        }
    };
    let sql = sql.replace(":id", id).replace(":bytes", bytes).replace(":serial", serial);
    for statement in sql.split("--;").map(str::trim).filter(|s| !s.is_empty()) {
        manager.get_connection().execute_unprepared(statement).await?;
    }
    Ok(())
}

/// As [`run`], on one of the two only.
pub(crate) async fn run_on(manager: &SchemaManager<'_>, backend: DbBackend, sql: &str) -> Result<(), DbErr> {
    if manager.get_database_backend() == backend { run(manager, sql).await } else { Ok(()) }
}
