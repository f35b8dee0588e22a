//! Answers to events.

use super::{id, misuse, op, read_problem, refuse_long};
use crate::engine::raw;
use crate::engine::shared::{AlarmRun, Shared};
use crate::engine::storage::StorageError;
use crate::wire::{AlarmOutcome, Body, Cloned, EventId, FromEngine, HttpResponse, SocketId, StreamId};
use rquickjs::{Array, Ctx, Object, Result, Value};
use std::rc::Rc;

/// `[name, value]` each.
pub(super) fn headers(ctx: &Ctx<'_>, list: &Array<'_>) -> Result<crate::wire::Headers> {
    let mut headers = crate::wire::Headers::new();
    let mut bytes = 0;
    for pair in list.iter::<Array<'_>>() {
        let pair = pair?;
        let (name, value): (String, String) = (pair.get(0)?, pair.get(1)?);
        bytes += name.len() + value.len();
        refuse_long(ctx, "a message's headers", bytes)?;
        headers.push((name, value));
    }
    Ok(headers)
}

/// `null`, bytes, or the number of a stream with its length.
pub(super) fn body(ctx: &Ctx<'_>, value: &Value<'_>, length: Option<f64>) -> Result<Body> {
    if value.is_null() || value.is_undefined() {
        return Ok(Body::None);
    }
    if let Some(number) = value.as_number() {
        return Ok(Body::Stream { stream: StreamId(id(number)), length: length.map(id) });
    }
    raw::view_bytes(value).map(Body::Whole).ok_or_else(|| misuse(ctx))
}

/// Whether the event still waits for an answer; it does not any more.
fn answer(shared: &Shared, event: EventId) -> bool {
    let mut events = shared.events.borrow_mut();
    events.get_mut(&event).is_some_and(|running| !std::mem::replace(&mut running.answered, true))
}

/// `[status, statusText, headers, body, length, socket]`
fn respond(ctx: &Ctx<'_>, shared: &Shared, event: EventId, parts: &Array<'_>) -> Result<()> {
    let status_text = parts.get::<Option<String>>(1)?.unwrap_or_default();
    refuse_long(ctx, "a status text", status_text.len())?;
    let response = HttpResponse {
        status: parts.get(0)?,
        status_text,
        headers: headers(ctx, &parts.get(2)?)?,
        body: body(ctx, &parts.get(3)?, parts.get(4)?)?,
        socket: parts.get::<Option<f64>>(5)?.map(|number| SocketId(id(number))),
        url: String::new(),
        redirected: false,
    };
    if answer(shared, event) {
        shared.say(FromEngine::Response { activation: shared.activation, event, after: shared.after(), response });
    }
    Ok(())
}

/// The alarm that ran is over, unless the handler set another.
fn finish_alarm(ctx: &Ctx<'_>, shared: &Shared, event: EventId, problem: Option<&Array<'_>>) -> Result<()> {
    let outcome = match problem {
        Some(problem) => AlarmOutcome::Failed { problem: read_problem(problem)? },
        None => {
            if matches!(shared.alarm.get(), AlarmRun::Running { .. }) {
                let mut storage = shared.storage.borrow_mut();
                let done = storage.database().and_then(|database| database.set_alarm(None).map_err(StorageError::from));
                storage.wrote(crate::engine::storage::Confirmation::Needed);
                drop(storage);
                done.map_err(|error| super::storage_error(ctx, shared, &error))?;
            }
            AlarmOutcome::Done
        }
    };
    shared.alarm.set(AlarmRun::None);
    if answer(shared, event) {
        shared.say(FromEngine::AlarmRan { activation: shared.activation, event, after: shared.after(), outcome });
    }
    Ok(())
}

pub(super) fn install<'js>(ctx: &Ctx<'js>, ops: &Object<'js>, owner: &Rc<Shared>) -> Result<()> {
    op!(ctx, ops, owner, "respond", |shared, ctx, event: f64, parts: Array<'js>| {
        respond(&ctx, shared, EventId(id(event)), &parts)
    });
    op!(ctx, ops, owner, "returned", |shared, ctx, event: f64, value: Value<'js>| {
        let event = EventId(id(event));
        let value = raw::view_bytes(&value).ok_or_else(|| misuse(&ctx))?;
        if answer(shared, event) {
            let (activation, after) = (shared.activation, shared.after());
            shared.say(FromEngine::Returned { activation, event, after, value: Cloned(value) });
        }
        Ok(())
    });
    op!(ctx, ops, owner, "failed", |shared, _ctx, event: f64, problem: Array<'js>| {
        let event = EventId(id(event));
        let problem = read_problem(&problem)?;
        if answer(shared, event) {
            shared.say(FromEngine::Failed { activation: shared.activation, event, after: shared.after(), problem });
        }
        Ok::<_, rquickjs::Error>(())
    });
    op!(ctx, ops, owner, "alarmRan", |shared, ctx, event: f64, problem: Option<Array<'js>>| {
        finish_alarm(&ctx, shared, EventId(id(event)), problem.as_ref())
    });
    op!(ctx, ops, owner, "finished", |shared, _ctx, event: f64| {
        shared.finish(EventId(id(event)));
        Ok::<_, rquickjs::Error>(())
    });
    Ok(())
}
