//! What a migration is made of, and the words that differ between SQLite and PostgreSQL.

use sea_orm_migration::{prelude::*, sea_orm::DbBackend};

/// Statements, separated by lines that hold only `--;`, with words of the dialect in them: `:id` a UUID column's type, `:bytes` a
/// byte string's, `:serial` an ever-rising primary key's.
pub(crate) enum Script {
    Both(&'static str),
    Postgres(&'static str),
    Sqlite(&'static str),
}

/// One step of the schema. The database knows it by its name.
pub(crate) struct Migration {
    pub name: &'static str,
    pub up: &'static [Script],
    pub down: &'static [Script],
}

impl MigrationName for Migration {
    fn name(&self) -> &str {
        self.name
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        run(manager, self.up).await
    }
    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        run(manager, self.down).await
    }
}

async fn run(manager: &SchemaManager<'_>, scripts: &[Script]) -> Result<(), DbErr> {
    let backend = manager.get_database_backend();
    let (id, bytes, serial) = match backend {
        DbBackend::Postgres => ("uuid", "bytea", "bigserial primary key"),
        DbBackend::Sqlite => ("blob", "blob", "integer primary key autoincrement"),
        other @ (DbBackend::MySql | _) => {
            return Err(DbErr::Migration(format!("{other:?} is not supported; use SQLite or PostgreSQL")));
        }
    };
    for script in scripts {
        let sql = match script {
            Script::Both(sql) => sql,
            Script::Postgres(sql) if backend == DbBackend::Postgres => sql,
            Script::Sqlite(sql) if backend == DbBackend::Sqlite => sql,
            Script::Postgres(_) | Script::Sqlite(_) => continue,
        };
        let sql = sql.replace(":id", id).replace(":bytes", bytes).replace(":serial", serial);
        for statement in sql.split("--;").map(str::trim).filter(|s| !s.is_empty()) {
            manager.get_connection().execute_unprepared(statement).await?;
        }
    }
    Ok(())
}
