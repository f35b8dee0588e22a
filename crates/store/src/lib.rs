//! The database: entities and queries, a file a resource. The only place with SQL.
//!
//! Reading calls take [`Store::read`]'s connection; changing ones a [`Tx`], which [`Store::begin`] starts and
//! [`Tx::commit`] ends, so that a change of state and its event are one transaction. Every call that touches a
//! tenant's things takes a [`domain::access::Permit`].

use std::time::Duration;

use parking_lot::Mutex;
use sea_orm::{
    ConnectOptions, ConnectionTrait, Database, DatabaseConnection, DatabaseTransaction, DbBackend, DbErr, RuntimeErr,
    SqliteTransactionMode, TransactionOptions, TransactionTrait,
};
use sea_orm_migration::MigratorTrait;

pub mod addresses;
pub mod audit;
pub mod certificates;
mod convert;
pub mod deployments;
pub mod events;
pub mod hosts;
pub mod idempotency;
pub mod instructions;
pub mod machines;
pub mod notebooks;
pub mod one_time_links;
mod outcome;
pub mod people;
pub mod replicas;
pub mod reservations;
pub mod sessions;
pub mod sign_ins;
mod sql;
pub mod tenants;
pub mod tokens;
pub mod zero_certificates;

pub use convert::Corrupt;
pub use migrations::Migrator;

/// What can go wrong with the database itself. What a caller did wrong is said by each call's own return type.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("the database: {0}")]
    Database(#[from] DbErr),
    #[error("the database holds {0}")]
    Corrupt(#[from] Corrupt),
    #[error("'{0}' is no database address: use sqlite:FILE or postgres://USER@HOST/NAME")]
    BadUrl(String),
    /// The connection was lost at the commit, and whether that was done could not be found out.
    #[error("the database was lost at a commit: {0}")]
    OutcomeUnknown(#[source] DbErr),
}

impl StoreError {
    /// Whether trying again at once may help: a deadlock, a serialisation failure, or a busy database.
    pub fn is_transient(&self) -> bool {
        let text = match self {
            StoreError::Database(error) => error.to_string(),
            StoreError::Corrupt(_) | StoreError::BadUrl(_) | StoreError::OutcomeUnknown(_) => return false,
        };
        ["40P01", "40001", "deadlock", "database is locked"].iter().any(|sign| text.contains(sign))
    }
    /// Whether the database's disk is full.
    pub fn is_full(&self) -> bool {
        let text = self.to_string();
        ["database or disk is full", "53100", "No space left"].iter().any(|sign| text.contains(sign))
    }
    /// Whether the connection was lost, or none could be had: no fault of what was asked.
    pub fn is_lost(&self) -> bool {
        use sea_orm::sqlx::Error;
        let error = match self {
            StoreError::Database(DbErr::Conn(_) | DbErr::ConnectionAcquire(_)) => return true,
            StoreError::Database(
                DbErr::Exec(RuntimeErr::SqlxError(error)) | DbErr::Query(RuntimeErr::SqlxError(error)),
            ) => error,
            StoreError::Database(_)
            | StoreError::Corrupt(_)
            | StoreError::BadUrl(_)
            | StoreError::OutcomeUnknown(_) => return false,
        };
        let is_cut = matches!(
            error.as_ref(),
            Error::Io(_) | Error::Protocol(_) | Error::PoolTimedOut | Error::PoolClosed | Error::WorkerCrashed
        );
        // Connection exceptions, and the server's own stop or restart.
        let is_told = |code: &str| code.starts_with("08") || code.starts_with("57P");
        is_cut || error.as_database_error().and_then(|error| error.code()).is_some_and(|code| is_told(&code))
    }
    /// The same for another who waited for the same transaction; its text is what is logged and looked at.
    pub fn copy(&self) -> StoreError {
        match self {
            StoreError::OutcomeUnknown(error) => StoreError::OutcomeUnknown(DbErr::Custom(error.to_string())),
            StoreError::Database(_) | StoreError::Corrupt(_) | StoreError::BadUrl(_) => {
                StoreError::Database(DbErr::Custom(self.to_string()))
            }
        }
    }
    /// Whether the rule refused a write that at most one session's environment is on a machine.
    pub fn is_occupied(&self) -> bool {
        let text = self.to_string();
        text.contains("sessions_occupant") || text.contains("UNIQUE constraint failed: sessions.machine_id")
    }
    /// Whether the no-overlap rule (D1) refused a write.
    pub fn is_overlap(&self) -> bool {
        self.to_string().contains("sessions_no_overlap")
    }
}

/// How to reach the database.
#[derive(Debug, Clone)]
pub struct StoreOptions {
    /// `sqlite:FILE` or `postgres://…`. May hold a password: never logged.
    pub url: String,
    /// Connections for reading (SQLite) or in all (PostgreSQL).
    pub max_connections: u32,
}

/// Who asks while the database is away is told so after this long.
const ACQUIRE_LIMIT: Duration = Duration::from_secs(5);

/// Pages of SQLite's log after which the writer moves them itself, should nobody else have done so: 64 MiB.
const WAL_LIMIT_PAGES: &str = "16384";

/// The database. Cheap to clone.
#[derive(Clone)]
pub struct Store {
    read: DatabaseConnection,
    /// On SQLite one connection, so that writers queue here in order and never meet a busy database; on PostgreSQL the
    /// same pool as `read`.
    write: DatabaseConnection,
    backend: DbBackend,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("backend", &self.backend).finish_non_exhaustive()
    }
}

impl Store {
    /// Connects; makes an SQLite file that is not there.
    pub async fn connect(options: &StoreOptions) -> Result<Self, StoreError> {
        if let Some(path) = options.url.strip_prefix("sqlite:") {
            let url = format!("sqlite:{}?mode=rwc", path.trim_start_matches("//"));
            let connect = |connections: u32| {
                let mut with = ConnectOptions::new(url.clone());
                with.max_connections(connections)
                    .min_connections(1)
                    .acquire_timeout(Duration::from_secs(10))
                    .sqlx_logging(false)
                    .test_before_acquire(false)
                    .map_sqlx_sqlite_opts(|o| {
                        o.journal_mode(sea_orm::sqlx::sqlite::SqliteJournalMode::Wal)
                            // What was promised survives a power failure, as on PostgreSQL; writing in groups pays for it.
                            .synchronous(sea_orm::sqlx::sqlite::SqliteSynchronous::Full)
                            .busy_timeout(Duration::from_secs(5))
                            .foreign_keys(true)
                            .pragma("cache_size", "-65536")
                            .pragma("temp_store", "memory")
                            // Past the usual 1,000 pages the writer itself would wait for the disk: see `checkpoint`.
                            .pragma("wal_autocheckpoint", WAL_LIMIT_PAGES)
                    });
                Database::connect(with)
            };
            let write = connect(1).await?;
            let read = connect(options.max_connections.max(1)).await?;
            return Ok(Self { read, write, backend: DbBackend::Sqlite });
        }
        if !options.url.starts_with("postgres:") && !options.url.starts_with("postgresql:") {
            return Err(StoreError::BadUrl(options.url.split(':').next().unwrap_or_default().to_owned() + ":…"));
        }
        let mut with = ConnectOptions::new(options.url.clone());
        with.max_connections(options.max_connections.max(2))
            .acquire_timeout(ACQUIRE_LIMIT)
            .sqlx_logging(false)
            .test_before_acquire(false);
        let pool = Database::connect(with).await?;
        Ok(Self { read: pool.clone(), write: pool, backend: DbBackend::Postgres })
    }

    /// Brings the schema up to this build's.
    pub async fn migrate(&self) -> Result<(), StoreError> {
        Ok(Migrator::up(&self.write, None).await?)
    }

    /// Whether the schema is this build's.
    pub async fn is_migrated(&self) -> Result<bool, StoreError> {
        Ok(Migrator::get_pending_migrations(&self.write).await?.is_empty())
    }

    pub fn backend(&self) -> DbBackend {
        self.backend
    }

    /// For calls that only read.
    pub fn read(&self) -> &DatabaseConnection {
        &self.read
    }

    /// Begins a change. On SQLite it takes the writer's lock at once (BEGIN IMMEDIATE): a deferred one ignores
    /// the busy timeout when it turns into a writer.
    pub async fn begin(&self) -> Result<Tx, StoreError> {
        let options = TransactionOptions {
            sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate),
            ..TransactionOptions::default()
        };
        let inner = self.write.begin_with_options(options).await?;
        Ok(Tx { inner, pool: self.write.clone(), lines: Mutex::default(), told: Mutex::default() })
    }

    /// A copy of the SQLite database in `file`, consistent while the server runs.
    pub async fn backup(&self, file: &std::path::Path) -> Result<(), StoreError> {
        let statement = sea_orm::Statement::from_sql_and_values(
            self.backend,
            "vacuum into ?",
            [file.to_string_lossy().into_owned().into()],
        );
        self.read.execute_raw(statement).await?;
        Ok(())
    }

    /// Moves what SQLite's log holds into the database's file, beside the writer, which need not wait for the disk then.
    /// Nothing on PostgreSQL, which does so itself.
    pub async fn checkpoint(&self) -> Result<(), StoreError> {
        if self.backend == DbBackend::Sqlite {
            self.read.execute_unprepared("pragma wal_checkpoint(passive)").await?;
        }
        Ok(())
    }

    /// Closes the connections.
    pub async fn close(self) -> Result<(), StoreError> {
        self.write.close().await?;
        Ok(self.read.close().await?)
    }

    /// Takes the schema down to nothing: everything in it is lost.
    pub async fn unmigrate(&self) -> Result<(), StoreError> {
        Ok(Migrator::down(&self.write, None).await?)
    }

    /// Writes as much as a few hundred changes do, and takes it away again: a small write may still find room on a full
    /// disk, in pages that are there already.
    pub async fn try_room(&self) -> Result<(), StoreError> {
        let tx = self.begin().await?;
        sign_ins::attempts::fill(&tx).await?;
        tx.commit().await?;
        let tx = self.begin().await?;
        sign_ins::attempts::clear(&tx, sign_ins::attempts::FILLER).await?;
        tx.commit().await
    }

    /// Whether the database answers.
    pub async fn ping(&self) -> Result<(), StoreError> {
        self.read.execute_unprepared("select 1").await?;
        Ok(())
    }
}

/// One change in the making. Dropped without [`Tx::commit`], nothing happened.
#[derive(Debug)]
pub struct Tx {
    inner: DatabaseTransaction,
    /// Where to ask what became of it, should its connection be lost at the commit.
    pool: DatabaseConnection,
    /// The lines of the audit log and the events of the change, which are written at its end, each in one statement.
    lines: Mutex<Vec<audit::ActiveModel>>,
    told: Mutex<Vec<events::ActiveModel>>,
}

impl Tx {
    /// # Errors
    /// Nothing of the change is there, unless it is [`StoreError::OutcomeUnknown`]; or the connection was lost and the change
    /// told of nothing.
    pub async fn commit(self) -> Result<(), StoreError> {
        audit::write(&self.inner, self.lines.into_inner()).await?;
        let number = events::write(&self.inner, self.told.into_inner()).await?;
        match (self.inner.commit().await, number) {
            (Ok(()), _) => Ok(()),
            (Err(error), Some(number)) => outcome::of(&self.pool, &number, error).await,
            (Err(error), None) => Err(error.into()),
        }
    }
    pub async fn rollback(self) -> Result<(), StoreError> {
        Ok(self.inner.rollback().await?)
    }
    /// The connection, for the queries of this crate.
    pub fn conn(&self) -> &DatabaseTransaction {
        &self.inner
    }
    fn record(&self, line: audit::ActiveModel) {
        self.lines.lock().push(line);
    }
    fn tell(&self, events: impl IntoIterator<Item = events::ActiveModel>) {
        self.told.lock().extend(events);
    }
}
