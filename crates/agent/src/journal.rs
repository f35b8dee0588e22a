//! The agent's journal: which transactions it took and what came of them, and which session is on which machine.
//!
//! A SQLite file of its own, synced on every write (WAL, synchronous FULL). A transaction's id is here before anything
//! is started, so a restarted agent neither runs it twice nor loses its result. No secret is ever written.

use std::{
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use domain::{
    ids::{SessionId, TransactionId},
    instructions::Work,
};
use jiff::{SignedDuration, Timestamp};
use protocol::{Outcome, ProgressEvent};
use rusqlite::{Connection, OptionalExtension, params};

/// How long the ids of finished transactions are kept, so that a replayed one is recognised.
pub const KEEP: SignedDuration = SignedDuration::from_hours(24 * 30);

#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    #[error("the journal cannot be used (is the disk full?): {0}")]
    Database(#[from] rusqlite::Error),
    #[error("the journal holds what this version cannot read: {0}")]
    Decode(#[from] serde_json::Error),
    #[error("the journal was made by a newer agent (schema {0})")]
    Newer(i64),
    #[error("the journal's task was stopped")]
    Stopped,
}

/// What the journal knows of an id that is offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Known {
    No,
    /// It was started and has no outcome yet.
    Open,
    /// Its outcome waits for the server's acknowledgement.
    Ended,
    Acknowledged,
}

/// A transaction that is not acknowledged.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    pub id: TransactionId,
    pub work: Work,
    /// How often it was begun: 1, and one more for each restart.
    pub attempt: u32,
    pub ended: Option<(Outcome, Vec<ProgressEvent>)>,
}

/// Who is on a machine, as last known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MachineEntry {
    pub name: String,
    pub session: Option<SessionId>,
    /// Why it is dirty, if it is.
    pub dirty: Option<String>,
}

const SCHEMA_VERSION: i64 = 1;
const SCHEMA: &str = "
    CREATE TABLE transactions (
        id TEXT PRIMARY KEY,
        work TEXT NOT NULL,
        attempt INTEGER NOT NULL,
        outcome TEXT,
        events TEXT,
        acknowledged INTEGER NOT NULL DEFAULT 0,
        at_ms INTEGER NOT NULL
    ) WITHOUT ROWID;
    CREATE INDEX transactions_open ON transactions (acknowledged, at_ms);
    CREATE TABLE machines (name TEXT PRIMARY KEY, session TEXT, dirty TEXT) WITHOUT ROWID;
";

#[derive(Clone)]
pub struct Journal(Arc<Mutex<Connection>>);

impl Journal {
    /// Opens or makes it, and forgets acknowledged ids that are older than [`KEEP`].
    pub fn open(path: &Path, now: Timestamp) -> Result<Self, JournalError> {
        let mut connection = Connection::open(path)?;
        connection.busy_timeout(Duration::from_secs(5))?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        let version: i64 = connection.query_row("PRAGMA user_version", [], |row| row.get(0))?;
        if version > SCHEMA_VERSION {
            return Err(JournalError::Newer(version));
        }
        if version < SCHEMA_VERSION {
            let transaction = connection.transaction()?;
            transaction.execute_batch(SCHEMA)?;
            transaction.pragma_update(None, "user_version", SCHEMA_VERSION)?;
            transaction.commit()?;
        }
        connection.execute(
            "DELETE FROM transactions WHERE acknowledged = 1 AND at_ms < ?1",
            [(now - KEEP).as_millisecond()],
        )?;
        Ok(Self(Arc::new(Mutex::new(connection))))
    }

    async fn with<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Connection) -> Result<T, JournalError> + Send + 'static,
    ) -> Result<T, JournalError> {
        let connection = self.0.clone();
        tokio::task::spawn_blocking(move || {
            // A panic in SQLite's binding leaves its connection usable: every write is one statement or transaction.
            work(&mut connection.lock().unwrap_or_else(PoisonError::into_inner))
        })
        .await
        .map_err(|_| JournalError::Stopped)?
    }

    /// Records the id before its work starts. Anything but [`Known::No`] means that it must not be started.
    pub async fn accept(&self, id: TransactionId, work: &Work, now: Timestamp) -> Result<Known, JournalError> {
        let text = serde_json::to_string(work)?;
        self.with(move |connection| {
            let inserted = connection.execute(
                "INSERT INTO transactions (id, work, attempt, at_ms) VALUES (?1, ?2, 1, ?3) ON CONFLICT DO NOTHING",
                params![id.to_string(), text, now.as_millisecond()],
            )?;
            if inserted == 1 { Ok(Known::No) } else { known(connection, id) }
        })
        .await
    }

    pub async fn known(&self, id: TransactionId) -> Result<Known, JournalError> {
        self.with(move |connection| known(connection, id)).await
    }

    /// Counts one more attempt of an idempotent transaction.
    pub async fn begin_again(&self, id: TransactionId) -> Result<(), JournalError> {
        self.with(move |connection| {
            connection
                .execute("UPDATE transactions SET attempt = attempt + 1 WHERE id = ?1", [id.to_string()])
                .map(|_| ())
                .map_err(JournalError::from)
        })
        .await
    }

    /// Records the outcome and the progress that the server may not have seen. The first outcome stays.
    pub async fn finish(
        &self,
        id: TransactionId,
        outcome: &Outcome,
        events: &[ProgressEvent],
    ) -> Result<(), JournalError> {
        let (outcome, events) = (serde_json::to_string(outcome)?, serde_json::to_string(events)?);
        self.with(move |connection| {
            connection.execute(
                "UPDATE transactions SET outcome = ?2, events = ?3 WHERE id = ?1 AND outcome IS NULL",
                params![id.to_string(), outcome, events],
            )?;
            Ok(())
        })
        .await
    }

    /// The server has the result: the id stays, the rest goes.
    pub async fn acknowledge(&self, id: TransactionId) -> Result<(), JournalError> {
        self.with(move |connection| {
            connection.execute(
                "UPDATE transactions SET acknowledged = 1, events = NULL WHERE id = ?1 AND outcome IS NOT NULL",
                [id.to_string()],
            )?;
            Ok(())
        })
        .await
    }

    /// Everything that is not acknowledged, oldest first.
    pub async fn open_entries(&self) -> Result<Vec<Entry>, JournalError> {
        self.with(|connection| {
            let mut statement = connection.prepare(
                "SELECT id, work, attempt, outcome, events FROM transactions WHERE acknowledged = 0 ORDER BY at_ms, id",
            )?;
            let rows = statement.query_map([], |row| {
                Ok((
                    row.get::<_, String>(0)?,
                    row.get::<_, String>(1)?,
                    row.get::<_, u32>(2)?,
                    row.get::<_, Option<String>>(3)?,
                    row.get::<_, Option<String>>(4)?,
                ))
            })?;
            let mut entries = Vec::new();
            for row in rows {
                let (id, work, attempt, outcome, events) = row?;
                let ended = match outcome {
                    Some(outcome) => {
                        let events = events.as_deref().map_or(Ok(Vec::new()), serde_json::from_str)?;
                        Some((serde_json::from_str(&outcome)?, events))
                    }
                    None => None,
                };
                let id = serde_json::from_value(serde_json::Value::String(id))?;
                entries.push(Entry { id, work: serde_json::from_str(&work)?, attempt, ended });
            }
            Ok(entries)
        })
        .await
    }

    pub async fn set_machine(&self, entry: MachineEntry) -> Result<(), JournalError> {
        self.with(move |connection| {
            connection.execute(
                "INSERT INTO machines (name, session, dirty) VALUES (?1, ?2, ?3)
                 ON CONFLICT (name) DO UPDATE SET session = excluded.session, dirty = excluded.dirty",
                params![entry.name, entry.session.map(|session| session.to_string()), entry.dirty],
            )?;
            Ok(())
        })
        .await
    }

    pub async fn machines(&self) -> Result<Vec<MachineEntry>, JournalError> {
        self.with(|connection| {
            let mut statement = connection.prepare("SELECT name, session, dirty FROM machines ORDER BY name")?;
            let rows = statement.query_map([], |row| {
                Ok((row.get::<_, String>(0)?, row.get::<_, Option<String>>(1)?, row.get::<_, Option<String>>(2)?))
            })?;
            let mut entries = Vec::new();
            for row in rows {
                let (name, session, dirty) = row?;
                let session =
                    session.map(|text| serde_json::from_value(serde_json::Value::String(text))).transpose()?;
                entries.push(MachineEntry { name, session, dirty });
            }
            Ok(entries)
        })
        .await
    }
}

fn known(connection: &Connection, id: TransactionId) -> Result<Known, JournalError> {
    let row: Option<(bool, bool)> = connection
        .query_row(
            "SELECT outcome IS NOT NULL, acknowledged FROM transactions WHERE id = ?1",
            [id.to_string()],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )
        .optional()?;
    Ok(match row {
        None => Known::No,
        Some((_, true)) => Known::Acknowledged,
        Some((true, false)) => Known::Ended,
        Some((false, false)) => Known::Open,
    })
}
