//! Keys and values: one table, as `storage.get` and `storage.put` see it.

use super::connection::{Connection, SqlError, Statement};
use super::database::Database;
use rusqlite::ffi;

/// Of the table, which is there. Each is prepared when it is first needed: an object that was woken may do no more than read.
#[derive(Default)]
pub(super) struct KvStatements {
    get: Option<Statement>,
    put: Option<Statement>,
    delete: Option<Statement>,
}

const GET: &str = "SELECT value FROM _cf_KV WHERE key = ?";
const PUT: &str = "INSERT INTO _cf_KV VALUES (?, ?) ON CONFLICT DO UPDATE SET value = excluded.value";
const DELETE: &str = "DELETE FROM _cf_KV WHERE key = ?";

fn prepared<'a>(
    statement: &'a mut Option<Statement>,
    connection: &Connection,
    text: &str,
) -> Result<&'a mut Statement, SqlError> {
    match statement {
        Some(statement) => Ok(statement),
        none @ None => Ok(none.insert(connection.prepare_one(text)?)),
    }
}

/// Which keys, and in which order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Range {
    /// The first key that may be in it.
    pub start: Option<String>,
    /// The first key after `start` that is in no case; with `start_after`, not even `start` itself.
    pub end: Option<String>,
    pub start_after: bool,
    pub prefix: Option<String>,
    pub reverse: bool,
    pub limit: Option<u32>,
}

/// Bounds in bytes, the lower one included, the upper one not.
fn bounds(range: &Range) -> (Vec<u8>, Option<Vec<u8>>) {
    let mut low = range.start.clone().unwrap_or_default().into_bytes();
    if range.start_after {
        // The least text above another is that with one byte more.
        low.push(0);
    }
    let mut high = range.end.as_ref().map(|end| end.as_bytes().to_vec());
    if let Some(prefix) = range.prefix.as_ref().map(String::as_bytes).filter(|prefix| !prefix.is_empty()) {
        low = low.max(prefix.to_vec());
        let mut after = prefix.to_vec();
        // UTF-8 has no byte 255, so the last one can always be raised.
        if let Some(last) = after.last_mut() {
            *last += 1;
        }
        high = Some(match high {
            Some(high) => high.min(after),
            None => after,
        });
    }
    (low, high)
}

impl Database {
    fn kv_exists(&mut self) -> Result<bool, SqlError> {
        let _trust = self.connection.trust();
        let there = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = '_cf_KV'";
        self.connection.prepare_one(there)?.step()
    }

    /// `None`: there is no table yet.
    fn kv_to_read(&mut self) -> Result<Option<&mut KvStatements>, SqlError> {
        if self.kv.is_none() && self.kv_exists()? {
            self.kv = Some(KvStatements::default());
        }
        Ok(self.kv.as_mut())
    }

    fn kv_to_write(&mut self) -> Result<&mut KvStatements, SqlError> {
        self.before_write()?;
        if self.kv_to_read()?.is_none() {
            {
                let _trust = self.connection.trust();
                self.connection.run("CREATE TABLE _cf_KV (key TEXT PRIMARY KEY, value BLOB) WITHOUT ROWID")?;
            }
            self.kv = Some(KvStatements::default());
        }
        self.kv.as_mut().ok_or_else(|| SqlError::of_code(ffi::SQLITE_INTERNAL))
    }

    /// Hands the value's bytes to `use_value`, where there is one.
    pub(crate) fn kv_get<T>(&mut self, key: &str, use_value: impl FnOnce(&[u8]) -> T) -> Result<Option<T>, SqlError> {
        let connection = self.connection.clone();
        let Some(kv) = self.kv_to_read()? else { return Ok(None) };
        let _trust = connection.trust();
        let get = prepared(&mut kv.get, &connection, GET)?;
        get.bind_text(1, key)?;
        let found = get.step().map(|there| there.then(|| use_value(get.blob(0))));
        get.reset();
        found
    }

    pub(crate) fn kv_put(&mut self, key: &str, value: &[u8]) -> Result<(), SqlError> {
        let connection = self.connection.clone();
        let kv = self.kv_to_write()?;
        let _trust = connection.trust();
        let put = prepared(&mut kv.put, &connection, PUT)?;
        put.bind_text(1, key)?;
        put.bind_blob(2, value)?;
        let done = put.step();
        put.reset();
        done.map(|_| ())
    }

    /// Whether there was one.
    pub(crate) fn kv_delete(&mut self, key: &str) -> Result<bool, SqlError> {
        if self.kv_to_read()?.is_none() {
            return Ok(false);
        }
        let connection = self.connection.clone();
        let before = connection.total_changes();
        let kv = self.kv_to_write()?;
        let _trust = connection.trust();
        let delete = prepared(&mut kv.delete, &connection, DELETE)?;
        delete.bind_text(1, key)?;
        let done = delete.step();
        delete.reset();
        done.map(|_| connection.total_changes() != before)
    }

    /// At most `most_bytes` of keys and values, or an error that says the result is too large.
    pub(crate) fn kv_list(&mut self, range: &Range, most_bytes: u64) -> Result<Vec<(String, Vec<u8>)>, SqlError> {
        if self.kv_to_read()?.is_none() {
            return Ok(Vec::new());
        }
        let (low, high) = bounds(range);
        let order = if range.reverse { "DESC" } else { "ASC" };
        let upper = if high.is_some() { "AND key < ?3" } else { "" };
        let query = format!("SELECT key, value FROM _cf_KV WHERE key >= ?1 {upper} ORDER BY key {order} LIMIT ?2");
        let connection = self.connection.clone();
        let _trust = connection.trust();
        let mut statement = self.statements.take(&connection, &query)?;
        let result = read_list(&mut statement, &low, high.as_deref(), range.limit, most_bytes);
        self.statements.give_back(query, statement);
        result
    }
}

fn read_list(
    statement: &mut Statement,
    low: &[u8],
    high: Option<&[u8]>,
    limit: Option<u32>,
    most_bytes: u64,
) -> Result<Vec<(String, Vec<u8>)>, SqlError> {
    statement.bind_text_bytes(1, low)?;
    statement.bind_integer(2, limit.map_or(-1, i64::from))?;
    if let Some(high) = high {
        statement.bind_text_bytes(3, high)?;
    }
    let mut found = Vec::new();
    let mut bytes = 0;
    while statement.step()? {
        let super::connection::Value::Text(key) = statement.column(0) else {
            return Err(SqlError::of_code(ffi::SQLITE_CORRUPT));
        };
        let value = statement.blob(1).to_vec();
        bytes += (key.len() + value.len()) as u64;
        if bytes > most_bytes {
            return Err(SqlError::of_code(ffi::SQLITE_TOOBIG));
        }
        found.push((key, value));
    }
    Ok(found)
}
