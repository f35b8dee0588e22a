//! Keys and values, the alarm, transactions.

use super::{bytes, misuse, op, storage_error};
use crate::engine::raw;
use crate::engine::shared::{AlarmRun, Shared};
use crate::engine::storage::{Confirmation, StorageError};
use crate::sqlite::database::Ending;
use crate::sqlite::kv::Range;
use rquickjs::{Array, Ctx, Object, Result, Value};
use std::rc::Rc;

fn confirmation(unconfirmed: bool) -> Confirmation {
    if unconfirmed { Confirmation::Unneeded } else { Confirmation::Needed }
}

fn ending(commit: bool) -> Ending {
    if commit { Ending::Commit } else { Ending::Rollback }
}

fn get<'js>(ctx: &Ctx<'js>, shared: &Shared, key: &str) -> Result<Value<'js>> {
    let mut storage = shared.storage.borrow_mut();
    let found = storage
        .database()
        .and_then(|database| database.kv_get(key, |value| bytes(ctx, value)).map_err(StorageError::from));
    match found {
        Ok(Some(value)) => value,
        Ok(None) => Ok(Value::new_undefined(ctx.clone())),
        Err(error) => Err(storage_error(ctx, shared, &error)),
    }
}

fn write<T>(
    ctx: &Ctx<'_>,
    shared: &Shared,
    confirmation: Confirmation,
    run: impl FnOnce(&mut crate::sqlite::Database) -> std::result::Result<T, crate::sqlite::SqlError>,
) -> Result<T> {
    let mut storage = shared.storage.borrow_mut();
    let done = storage.database().and_then(|database| run(database).map_err(StorageError::from));
    storage.wrote(confirmation);
    drop(storage);
    done.map_err(|error| storage_error(ctx, shared, &error))
}

/// `[start, startAfter, end, prefix, reverse, limit]` to `[key, value, key, value, …]`
fn list<'js>(ctx: &Ctx<'js>, shared: &Shared, options: &Array<'js>) -> Result<Array<'js>> {
    let start: Option<String> = options.get(0)?;
    let after: Option<String> = options.get(1)?;
    let range = Range {
        start_after: after.is_some(),
        start: after.or(start),
        end: options.get(2)?,
        prefix: options.get(3)?,
        reverse: options.get(4)?,
        limit: options.get(5)?,
    };
    let most = shared.limits().memory_bytes;
    let mut storage = shared.storage.borrow_mut();
    let found = storage.database().and_then(|database| database.kv_list(&range, most).map_err(StorageError::from));
    drop(storage);
    let found = found.map_err(|error| storage_error(ctx, shared, &error))?;
    let array = Array::new(ctx.clone())?;
    for (at, (key, value)) in found.into_iter().enumerate() {
        array.set(at * 2, key)?;
        array.set(at * 2 + 1, bytes(ctx, &value)?)?;
    }
    Ok(array)
}

fn alarm<'js>(ctx: &Ctx<'js>, shared: &Shared) -> Result<Value<'js>> {
    let mut storage = shared.storage.borrow_mut();
    let alarm = storage.database().and_then(|database| database.alarm().map_err(StorageError::from));
    drop(storage);
    let alarm = alarm.map_err(|error| storage_error(ctx, shared, &error))?;
    let running = matches!(shared.alarm.get(), AlarmRun::Running { .. });
    match alarm {
        Some(at_ms) if !running => Ok(Value::new_float(ctx.clone(), at_ms as f64)),
        Some(_) | None => Ok(Value::new_null(ctx.clone())),
    }
}

fn set_alarm(ctx: &Ctx<'_>, shared: &Shared, at_ms: Option<f64>, unconfirmed: bool) -> Result<()> {
    // In whole milliseconds, and a time that is over means now.
    let at_ms = at_ms.map(|at_ms| (at_ms as i64).max(shared.process.now_ms.get()));
    if let AlarmRun::Running { event, .. } = shared.alarm.get() {
        shared.alarm.set(AlarmRun::Changed { event });
    }
    write(ctx, shared, confirmation(unconfirmed), |database| database.set_alarm(at_ms))
}

pub(super) fn install<'js>(ctx: &Ctx<'js>, ops: &Object<'js>, owner: &Rc<Shared>) -> Result<()> {
    op!(ctx, ops, owner, "kvGet", |shared, ctx, key: String| get(&ctx, shared, &key));
    op!(ctx, ops, owner, "kvPut", |shared, ctx, key: String, value: Value<'js>, unconfirmed: bool| {
        let done = raw::with_view(&value, |value| {
            write(&ctx, shared, confirmation(unconfirmed), |database| database.kv_put(&key, value))
        });
        done.unwrap_or_else(|| Err(misuse(&ctx)))
    });
    op!(ctx, ops, owner, "kvDelete", |shared, ctx, key: String, unconfirmed: bool| {
        write(&ctx, shared, confirmation(unconfirmed), |database| database.kv_delete(&key))
    });
    op!(ctx, ops, owner, "kvList", |shared, ctx, options: Array<'js>| list(&ctx, shared, &options));
    op!(ctx, ops, owner, "deleteAll", |shared, ctx, unconfirmed: bool| {
        if let AlarmRun::Running { event, .. } = shared.alarm.get() {
            shared.alarm.set(AlarmRun::Changed { event });
        }
        shared.storage.borrow_mut().drop_cursors();
        write(&ctx, shared, confirmation(unconfirmed), |database| database.delete_all())
    });
    op!(ctx, ops, owner, "getAlarm", |shared, ctx| alarm(&ctx, shared));
    op!(ctx, ops, owner, "setAlarm", |shared, ctx, at_ms: Option<f64>, unconfirmed: bool| {
        set_alarm(&ctx, shared, at_ms, unconfirmed)
    });
    op!(ctx, ops, owner, "beginSync", |shared, ctx| {
        write(&ctx, shared, Confirmation::Needed, |database| database.begin_sync())
    });
    op!(ctx, ops, owner, "endSync", |shared, ctx, commit: bool| {
        write(&ctx, shared, Confirmation::Needed, |database| database.end_sync(ending(commit)))
    });
    op!(ctx, ops, owner, "beginTransaction", |shared, ctx| {
        let begun = shared.storage.borrow_mut().begin_transaction();
        begun.map_err(|error| storage_error(&ctx, shared, &error))
    });
    op!(ctx, ops, owner, "endTransaction", |shared, ctx, commit: bool| {
        let ended = shared.storage.borrow_mut().end_transaction(ending(commit));
        match ended {
            Ok(committed) => {
                shared.send_commit(committed);
                Ok(())
            }
            Err(error) => Err(storage_error(&ctx, shared, &error)),
        }
    });
    op!(ctx, ops, owner, "databaseSize", |shared, ctx| {
        let mut storage = shared.storage.borrow_mut();
        let size = storage.database().and_then(|database| database.size_bytes().map_err(StorageError::from));
        drop(storage);
        size.map(|size| size as f64).map_err(|error| storage_error(&ctx, shared, &error))
    });
    op!(ctx, ops, owner, "hasStorage", |shared, _ctx| Ok::<_, rquickjs::Error>(shared.storage.borrow().has_database()));
    // 0: there is nothing to wait for. Otherwise `synced` is called with the number.
    op!(ctx, ops, owner, "sync", |shared, _ctx| {
        let written = shared.storage.borrow().written();
        if shared.storage.borrow().is_durable(written) {
            return Ok::<_, rquickjs::Error>(0);
        }
        let number = shared.last_sync.get().wrapping_add(1).max(1);
        shared.last_sync.set(number);
        shared.syncing.borrow_mut().insert((written, number), shared.origin());
        Ok(number)
    });
    Ok(())
}
