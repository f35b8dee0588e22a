//! Keys and certificates of simulated hosts: one file for all, where ten thousand would cost ten thousand syncs.

use std::{
    collections::HashMap,
    fs, io,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use rusqlite::{Connection, params};

use crate::identity::Identity;

#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("{path}: {source}")]
    File { path: PathBuf, source: io::Error },
    #[error("the simulated hosts' state cannot be used: {0}")]
    Database(#[from] rusqlite::Error),
    #[error("the simulated hosts' state is damaged; remove it to enrol them again: {0}")]
    Damaged(#[from] serde_json::Error),
}

/// What is there of one host.
#[derive(Default)]
pub struct Cached {
    /// Made, and perhaps enrolled with an answer that was lost.
    pub key_pem: Option<String>,
    pub identity: Option<Identity>,
}

pub struct Store(Mutex<Connection>);

impl Store {
    pub fn open(state: &Path) -> Result<Self, StoreError> {
        let path = state.join("simulated.db");
        let file = |source| StoreError::File { path: path.clone(), source };
        fs::DirBuilder::new().recursive(true).mode(0o700).create(state).map_err(file)?;
        // Private keys: made with the right mode before SQLite opens it.
        fs::OpenOptions::new().create(true).append(true).mode(0o600).open(&path).map_err(file)?;
        let connection = Connection::open(&path)?;
        connection.busy_timeout(Duration::from_secs(5))?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        // A crash of the computer may cost the last few keys: their hosts then enrol anew.
        connection.pragma_update(None, "synchronous", "NORMAL")?;
        connection.execute_batch(
            "CREATE TABLE IF NOT EXISTS hosts (number INTEGER PRIMARY KEY, key_pem TEXT NOT NULL, identity TEXT)",
        )?;
        Ok(Self(Mutex::new(connection)))
    }

    pub fn all(&self, hosts: u32) -> Result<HashMap<u32, Cached>, StoreError> {
        let connection = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut statement = connection.prepare("SELECT number, key_pem, identity FROM hosts WHERE number <= ?1")?;
        let rows = statement.query_map([hosts], |row| {
            Ok((row.get::<_, u32>(0)?, row.get::<_, String>(1)?, row.get::<_, Option<String>>(2)?))
        })?;
        let mut all = HashMap::new();
        for row in rows {
            let (number, key_pem, identity) = row?;
            let identity = identity.as_deref().map(serde_json::from_str).transpose()?;
            all.insert(number, Cached { key_pem: Some(key_pem), identity });
        }
        Ok(all)
    }

    pub fn put_key(&self, number: u32, key_pem: &str) -> Result<(), StoreError> {
        let connection = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        connection.execute("INSERT INTO hosts (number, key_pem) VALUES (?1, ?2)", params![number, key_pem])?;
        Ok(())
    }

    pub fn put_identity(&self, number: u32, identity: &Identity) -> Result<(), StoreError> {
        let text = serde_json::to_string(identity)?;
        let connection = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        connection.execute(
            "UPDATE hosts SET key_pem = ?2, identity = ?3 WHERE number = ?1",
            params![number, identity.key_pem, text],
        )?;
        Ok(())
    }
}
