//! A look into an object's storage, which runs no code of the user's.

use super::clone::preview;
use super::shared::Shared;
use crate::sqlite::connection::Value as SqlValue;
use crate::sqlite::kv::Range;
use crate::wire::{EventId, FromEngine, Inspect, Problem, Seq};
use serde_json::{Value, json};

/// Bytes of one value shown.
const SHOWN_BYTES: usize = 4_096;

/// Bytes of the value of a key shown, as bytes and as text.
const SHOWN_OF_KEY_BYTES: usize = 1_024;

/// Bytes of all that one look shows; what is beyond is left out.
const MOST_BYTES: usize = 4 << 20;

/// Entries that one look reads.
const MOST_ENTRIES: u32 = 1_000;

#[derive(Debug, thiserror::Error)]
enum InspectError {
    #[error(transparent)]
    Storage(#[from] super::storage::StorageError),
    #[error(transparent)]
    Sql(#[from] crate::sqlite::SqlError),
    #[error(transparent)]
    Exec(#[from] crate::sqlite::cursor::ExecError),
    #[error("only statements that read are allowed here")]
    Writes,
    #[error("it used up the {cpu_ms} ms of CPU time that an event has")]
    TooLong { cpu_ms: u32 },
}

pub(super) fn answer(shared: &Shared, event: EventId, what: &Inspect) {
    let activation = shared.activation;
    let mut looked = look(shared, what);
    // It is not the object's code that took too long: the object goes on.
    if shared.cpu.exceeded.take() && looked.is_err() {
        looked = Err(InspectError::TooLong { cpu_ms: shared.limits().cpu_ms });
    }
    match looked {
        Ok(value) => shared.say(FromEngine::Inspected { activation, event, json: value.to_string() }),
        Err(error) => {
            let problem = Problem::new("Error", error.to_string());
            shared.say(FromEngine::Failed { activation, event, after: Seq(0), problem });
        }
    }
}

fn look(shared: &Shared, what: &Inspect) -> Result<Value, InspectError> {
    let mut storage = shared.storage.borrow_mut();
    let database = storage.database()?;
    match what {
        Inspect::Kv { start, limit } => {
            let range =
                Range { start: Some(start.clone()), limit: Some((*limit).min(MOST_ENTRIES)), ..Range::default() };
            let found = database.kv_list(&range, shared.limits().memory_bytes)?;
            let shown = found.into_iter().map(|(key, value)| {
                let begins = hex::encode(&value[..value.len().min(SHOWN_OF_KEY_BYTES)]);
                json!({ "key": key, "bytes": value.len(), "value": begins, "text": preview(&value, SHOWN_OF_KEY_BYTES) })
            });
            Ok(shown.collect())
        }
        Inspect::Sql { query, limit } => {
            if !database.only_reads(query)? {
                return Err(InspectError::Writes);
            }
            let mut cursor = database.exec(query, &[])?;
            let mut rows = Vec::new();
            let mut room = MOST_BYTES;
            while rows.len() < (*limit).min(MOST_ENTRIES) as usize {
                let Some(row) = database.next_row(&mut cursor)? else { break };
                let row: Vec<Value> = row.into_iter().map(column).collect();
                let Some(left) = room.checked_sub(row.iter().map(size).sum()) else { break };
                room = left;
                rows.push(row);
            }
            let columns = cursor.columns().to_vec();
            database.close_cursor(&mut cursor);
            Ok(json!({ "columns": columns, "rows": rows }))
        }
        Inspect::Summary => {
            let tables = database.tables(MOST_ENTRIES as usize)?;
            let tables: Vec<Vec<Value>> =
                tables.into_iter().map(|table| table.into_iter().map(column).collect()).collect();
            Ok(json!({ "tables": tables, "bytes": database.size_bytes()?, "alarm": database.alarm()? }))
        }
    }
}

/// About how long a value is as JSON.
fn size(value: &Value) -> usize {
    value.to_string().len() + 1
}

fn column(value: SqlValue) -> Value {
    match value {
        SqlValue::Null => Value::Null,
        SqlValue::Integer(value) => value.into(),
        SqlValue::Real(value) => value.into(),
        SqlValue::Text(text) => text.chars().take(SHOWN_BYTES / 4).collect::<String>().into(),
        SqlValue::Blob(blob) => json!({ "hex": hex::encode(&blob[..blob.len().min(SHOWN_BYTES)]) }),
    }
}
