//! `storage.sql`.

use super::{bytes, op, plain_error, sql_error, storage_error, type_error};
use crate::engine::shared::Shared;
use crate::engine::storage::Confirmation;
use crate::engine::{handles, raw};
use crate::sqlite::connection::Value as SqlValue;
use crate::sqlite::cursor::ExecError;
use rquickjs::{Array, Ctx, Object, Result, Value};
use std::rc::Rc;

fn binding(ctx: &Ctx<'_>, value: &Value<'_>) -> Result<SqlValue> {
    if value.is_null() || value.is_undefined() {
        return Ok(SqlValue::Null);
    }
    if let Some(number) = value.as_number() {
        return Ok(SqlValue::Real(number));
    }
    if let Some(text) = value.as_string() {
        return Ok(SqlValue::Text(text.to_string()?));
    }
    if let Some(flag) = value.as_bool() {
        return Ok(SqlValue::Integer(i64::from(flag)));
    }
    raw::view_bytes(value).map(SqlValue::Blob).ok_or_else(|| type_error(ctx, "a value cannot be bound to SQL"))
}

fn column<'js>(ctx: &Ctx<'js>, value: SqlValue) -> Result<Value<'js>> {
    Ok(match value {
        SqlValue::Null => Value::new_null(ctx.clone()),
        // As the documentation says: numbers are JavaScript's, also where an integer is too large for them.
        SqlValue::Integer(value) => Value::new_number(ctx.clone(), value as f64),
        SqlValue::Real(value) => Value::new_number(ctx.clone(), value),
        SqlValue::Text(text) => rquickjs::String::from_str(ctx.clone(), &text)?.into_value(),
        SqlValue::Blob(blob) => bytes(ctx, &blob)?,
    })
}

/// The cursor, null where it has no rows to give; rows read and written; its columns' names after them.
fn exec<'js>(ctx: &Ctx<'js>, shared: &Shared, query: &str, bindings: &Array<'js>) -> Result<Array<'js>> {
    let mut values = Vec::with_capacity(bindings.len());
    for value in bindings.iter::<Value<'js>>() {
        values.push(binding(ctx, &value?)?);
    }
    let mut storage = shared.storage.borrow_mut();
    storage.close_dropped();
    let database = storage.database().map_err(|error| storage_error(ctx, shared, &error))?;
    let done = database.exec(query, &values);
    if database.has_written() {
        storage.wrote(Confirmation::Needed);
    }
    let mut cursor = done.map_err(|error| match &error {
        ExecError::Sql(error) => sql_error(ctx, shared, error),
        ExecError::NoStatement | ExecError::Bindings | ExecError::BindingsBefore | ExecError::TransactionControl => {
            plain_error(ctx, &error.to_string())
        }
    })?;
    let columns = cursor.columns().to_vec();
    let (rows_read, rows_written) = (cursor.rows_read(), cursor.rows_written());
    let handle = if cursor.is_over() {
        Value::new_null(ctx.clone())
    } else {
        let number = storage.keep_cursor(cursor).map_err(|error| storage_error(ctx, shared, &error))?;
        handles::wrap(ctx, number, storage.dropped())?
    };
    let array = Array::new(ctx.clone())?;
    array.set(0, handle)?;
    array.set(1, rows_read as f64)?;
    array.set(2, rows_written as f64)?;
    for (at, name) in columns.into_iter().enumerate() {
        array.set(at + 3, name)?;
    }
    Ok(array)
}

/// The next row, `undefined` after the last.
fn next<'js>(ctx: &Ctx<'js>, shared: &Shared, number: u64) -> Result<Value<'js>> {
    let mut storage = shared.storage.borrow_mut();
    let Some((database, cursor)) = storage.with_cursor(number) else { return Ok(Value::new_undefined(ctx.clone())) };
    let row = database.next_row(cursor).map_err(|error| sql_error(ctx, shared, &error))?;
    drop(storage);
    let Some(row) = row else { return Ok(Value::new_undefined(ctx.clone())) };
    let array = Array::new(ctx.clone())?;
    for (at, value) in row.into_iter().enumerate() {
        array.set(at, column(ctx, value)?)?;
    }
    Ok(array.into_value())
}

pub(super) fn install<'js>(ctx: &Ctx<'js>, ops: &Object<'js>, owner: &Rc<Shared>) -> Result<()> {
    op!(ctx, ops, owner, "sqlExec", |shared, ctx, query: String, bindings: Array<'js>| {
        exec(&ctx, shared, &query, &bindings)
    });
    op!(ctx, ops, owner, "sqlNext", |shared, ctx, cursor: Value<'js>| {
        next(&ctx, shared, handles::number(&cursor)?)
    });
    op!(ctx, ops, owner, "sqlCounts", |shared, _ctx, cursor: Value<'js>| {
        let mut storage = shared.storage.borrow_mut();
        let counts = storage
            .cursor(handles::number(&cursor)?)
            .map(|cursor| vec![cursor.rows_read() as f64, cursor.rows_written() as f64]);
        Ok::<_, rquickjs::Error>(counts)
    });
    op!(ctx, ops, owner, "sqlClose", |shared, _ctx, cursor: Value<'js>| {
        shared.storage.borrow_mut().drop_cursor(handles::number(&cursor)?);
        Ok::<_, rquickjs::Error>(())
    });
    Ok(())
}
