//! Answers to events.

use super::{id, misuse, op, read_problem, refuse_long};
use crate::engine::raw;
use crate::engine::shared::{AlarmRun, Shared};
use crate::engine::storage::StorageError;
use crate::wire::{AlarmOutcome, Body, EventId, FromEngine, Headers, HttpResponse, SocketId, StreamId};
use rquickjs::{Array, Ctx, Object, Result, Value};
use std::rc::Rc;

/// `name\nvalue\n` of each.
pub(super) fn headers(ctx: &Ctx<'_>, text: String) -> Result<Headers> {
    refuse_long(ctx, "a message's headers", text.len())?;
    Ok(Headers::from_text(text))
}

/// `null`, text, bytes, or the number of a stream with its length.
pub(super) fn body(ctx: &Ctx<'_>, value: &Value<'_>, length: Option<f64>) -> Result<Body> {
    if value.is_null() || value.is_undefined() {
        return Ok(Body::None);
    }
    if let Some(number) = value.as_number() {
        return Ok(Body::Stream { stream: StreamId(id(number)), length: length.map(id) });
    }
    if let Some(text) = value.as_string() {
        return Ok(Body::Whole(text.to_string()?.into_bytes()));
    }
    raw::view_bytes(value).map(Body::Whole).ok_or_else(|| misuse(ctx))
}

/// Whether the event still waits for an answer; it does not any more.
fn answer(shared: &Shared, event: EventId) -> bool {
    let mut events = shared.events.borrow_mut();
    events.get_mut(&event).is_some_and(|running| !std::mem::replace(&mut running.answered, true))
}

/// Whose `more` is `[length, socket]`.
fn respond(
    ctx: &Ctx<'_>,
    shared: &Shared,
    event: EventId,
    head: (u16, String, String),
    content: &Value<'_>,
    more: Option<&Array<'_>>,
) -> Result<()> {
    let (status, status_text, header_text) = head;
    refuse_long(ctx, "a status text", status_text.len())?;
    let (length, socket): (Option<f64>, Option<f64>) = match more {
        Some(more) => (more.get(0)?, more.get(1)?),
        None => (None, None),
    };
    let response = HttpResponse {
        status,
        status_text,
        headers: headers(ctx, header_text)?,
        body: body(ctx, content, length)?,
        socket: socket.map(|number| SocketId(id(number))),
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
    op!(ctx, ops, owner, "respond", |shared,
                                     ctx,
                                     event: f64,
                                     status: u16,
                                     text: String,
                                     headers: String,
                                     content: Value<'js>,
                                     more: Option<Array<'js>>| {
        respond(&ctx, shared, EventId(id(event)), (status, text, headers), &content, more.as_ref())
    });
    op!(ctx, ops, owner, "returned", |shared, ctx, event: f64, value: Value<'js>, stubs: Option<Vec<f64>>| {
        let event = EventId(id(event));
        let value = raw::view_bytes(&value).ok_or_else(|| misuse(&ctx))?;
        let value = super::calls::passed(&ctx, shared, value, stubs)?;
        if answer(shared, event) {
            let (activation, after) = (shared.activation, shared.after());
            shared.say(FromEngine::Returned { activation, event, after, value });
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
