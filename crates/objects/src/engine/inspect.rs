//! A look into an object's storage, which runs no code of the user's.

use super::clone::preview;
use super::shared::Shared;
use super::storage::StorageError;
use crate::sqlite::connection::Value as SqlValue;
use crate::sqlite::cursor::ExecError;
use crate::sqlite::kv::Range;
use crate::wire::{EventId, FromEngine, INSPECTED_BYTES, Inspect, Problem};
use serde_json::{Value, json};

/// Bytes of one value shown.
const SHOWN_BYTES: usize = 4_096;

/// Bytes of the value of a key shown, as bytes and as text.
const SHOWN_OF_KEY_BYTES: usize = 1_024;

/// Entries that one look shows.
const MOST_ENTRIES: u32 = 1_000;

/// What they may take of the answer; the rest is for what stands beside them, as names of columns.
const ENTRIES_BYTES: usize = INSPECTED_BYTES - (1 << 20);

#[derive(Debug, thiserror::Error)]
enum InspectError {
    #[error(transparent)]
    Storage(#[from] StorageError),
    #[error(transparent)]
    Sql(#[from] crate::sqlite::SqlError),
    #[error(transparent)]
    Exec(#[from] ExecError),
    #[error("only statements that read are allowed here")]
    Writes,
    #[error("it used up the {cpu_ms} ms of CPU time that an event has")]
    TooLong { cpu_ms: u32 },
}

impl InspectError {
    /// Whether it is what was asked that is wrong: SQL that is none, that writes or takes too much.
    fn is_of_question(&self) -> bool {
        match self {
            Self::Sql(error) | Self::Exec(ExecError::Sql(error)) => !error.is_of_storage(),
            Self::Exec(
                ExecError::NoStatement
                | ExecError::Bindings
                | ExecError::BindingsBefore
                | ExecError::TransactionControl,
            )
            | Self::Writes
            | Self::TooLong { .. } => true,
            Self::Storage(_) => false,
        }
    }
}

pub(super) fn answer(shared: &Shared, event: EventId, what: &Inspect) {
    let (activation, after) = (shared.activation, shared.after());
    let mut looked = look(shared, what);
    // It is not the object's code that took too long: the object goes on.
    if shared.cpu.exceeded.take() && looked.is_err() {
        looked = Err(InspectError::TooLong { cpu_ms: shared.limits().cpu_ms });
    }
    let found = match looked {
        Ok(value) => Ok(value.to_string()),
        Err(error) if error.is_of_question() => Err(error.to_string()),
        Err(error) => {
            let problem = Problem::new("Error", error.to_string());
            return shared.say(FromEngine::Failed { activation, event, after, problem });
        }
    };
    shared.say(FromEngine::Inspected { activation, event, after, found });
}

fn look(shared: &Shared, what: &Inspect) -> Result<Value, InspectError> {
    let mut storage = shared.storage.borrow_mut();
    let database = storage.database()?;
    match what {
        Inspect::Kv { start, limit } => {
            let mut items = Entries::at_most(*limit);
            // One more than is shown says whether there are more.
            let range = Range { start: Some(start.clone()), limit: Some(items.most + 1), ..Range::default() };
            let found = database.kv_list(&range, shared.limits().memory_bytes).map_err(StorageError::Sql)?;
            let mut next_start = None;
            for (key, value) in found {
                let begins = hex::encode(&value[..value.len().min(SHOWN_OF_KEY_BYTES)]);
                let text = preview(&value, SHOWN_OF_KEY_BYTES);
                if !items.push(json!({ "key": key, "bytes": value.len(), "value": begins, "text": text })) {
                    next_start = Some(key);
                    break;
                }
            }
            Ok(json!({ "items": items.shown, "next_start": next_start }))
        }
        Inspect::Sql { query, limit } => {
            if !database.only_reads(query)? {
                return Err(InspectError::Writes);
            }
            let mut cursor = database.exec(query, &[])?;
            let mut rows = Entries::at_most(*limit);
            let mut more = false;
            while let Some(row) = database.next_row(&mut cursor)? {
                more = !rows.push(row.into_iter().map(column).collect());
                if more {
                    break;
                }
            }
            let columns: Vec<String> = cursor.columns().iter().map(|name| beginning(name)).collect();
            database.close_cursor(&mut cursor);
            Ok(json!({ "columns": columns, "rows": rows.shown, "more": more }))
        }
        Inspect::Summary => {
            let found = database.tables(MOST_ENTRIES as usize)?;
            let mut tables = Entries::at_most(MOST_ENTRIES);
            let more = !found.into_iter().all(|table| tables.push(table.into_iter().map(column).collect()));
            let (bytes, alarm) = (database.size_bytes()?, database.alarm()?);
            Ok(json!({ "tables": tables.shown, "more": more, "bytes": bytes, "alarm": alarm }))
        }
    }
}

/// As many as were asked for and have room in an answer. The first always has: SQLite's rows have 100 columns at most, and of
/// each a beginning is shown.
struct Entries {
    shown: Vec<Value>,
    most: u32,
    room_bytes: usize,
}

impl Entries {
    fn at_most(limit: u32) -> Self {
        Self { shown: Vec::new(), most: limit.min(MOST_ENTRIES), room_bytes: ENTRIES_BYTES }
    }

    /// Whether there was room for it.
    fn push(&mut self, entry: Value) -> bool {
        // With the comma behind it.
        let left = self.room_bytes.checked_sub(entry.to_string().len() + 1);
        let Some(left) = left.filter(|_| self.shown.len() < self.most as usize) else { return false };
        self.room_bytes = left;
        self.shown.push(entry);
        true
    }
}

fn beginning(text: &str) -> String {
    text.chars().take(SHOWN_BYTES / 4).collect()
}

fn column(value: SqlValue) -> Value {
    match value {
        SqlValue::Null => Value::Null,
        SqlValue::Integer(value) => value.into(),
        SqlValue::Real(value) => value.into(),
        SqlValue::Text(text) => beginning(&text).into(),
        SqlValue::Blob(blob) => json!({ "hex": hex::encode(&blob[..blob.len().min(SHOWN_BYTES)]) }),
    }
}
