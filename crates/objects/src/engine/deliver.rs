//! From a delivery to the call of our script that takes it.

use super::object::{Exports, TurnError};
use super::ops::write_problem;
use super::shared::{AlarmRun, BodyOf, Delivery, Shared};
use super::untaken;
use crate::wire::{
    Answer, Body, ClassInfo, EventId, EventKind, FromEngine, HeldSocket, HttpRequest, HttpResponse, Passed, Problem,
    Rpc, SocketData, StubId,
};
use rquickjs::{Array, Ctx, Function, Null, Object, TypedArray, Value};

type Done = Result<(), TurnError>;

fn function<'js>(on: &Object<'js>, name: &str) -> Result<Function<'js>, TurnError> {
    Ok(on.get(name)?)
}

fn bytes<'js>(ctx: &Ctx<'js>, data: &[u8]) -> Result<Value<'js>, TurnError> {
    Ok(TypedArray::<u8>::new_copy(ctx.clone(), data)?.into_value())
}

/// Plain text up to this length is given to JavaScript as such: much cheaper there than an array of bytes.
const MOST_TEXT_BYTES: usize = 64 << 10;

/// `null`, text, bytes, or the stream's number.
fn body<'js>(ctx: &Ctx<'js>, body: &Body) -> Result<Value<'js>, TurnError> {
    match body {
        Body::None => Ok(Value::new_null(ctx.clone())),
        Body::Whole(data) => match std::str::from_utf8(data) {
            Ok(text) if text.len() <= MOST_TEXT_BYTES && text.is_ascii() => {
                Ok(rquickjs::String::from_str(ctx.clone(), text)?.into_value())
            }
            Ok(_) | Err(_) => bytes(ctx, data),
        },
        Body::Stream { stream, .. } => Ok(Value::new_number(ctx.clone(), stream.0 as f64)),
    }
}

fn data<'js>(ctx: &Ctx<'js>, data: &SocketData) -> Result<Value<'js>, TurnError> {
    match data {
        SocketData::Text(text) => Ok(rquickjs::String::from_str(ctx.clone(), text)?.into_value()),
        SocketData::Binary(data) => bytes(ctx, data),
    }
}

/// `blockConcurrencyWhile` may call what it was given.
pub(super) fn section<'js>(_ctx: &Ctx<'js>, on: &Object<'js>, number: u32) -> Done {
    Ok(function(on, "section")?.call((number,))?)
}

pub(super) fn delivery<'js>(ctx: &Ctx<'js>, on: &Object<'js>, shared: &Shared, delivery: Delivery) -> Done {
    match delivery {
        Delivery::Event { event, kind } => self::event(ctx, on, shared, event, kind),
        Delivery::Cancel { event } => Ok(function(on, "cancel")?.call((event.0 as f64,))?),
        Delivery::Reply { call, result } => {
            shared.process.routes.borrow_mut().calls.remove(&call);
            if shared.calls.borrow_mut().remove(&call).is_none() {
                // It was cancelled while its answer waited at the gate.
                if let Ok(answer) = &result {
                    untaken::answer(shared.activation, answer, &mut shared.out.borrow_mut());
                }
                return Ok(());
            }
            let number = call.0 as f64;
            match result {
                Ok(Answer::Http(response)) => {
                    shared.receive_body(&response.body, &shared.origin(), BodyOf::Response);
                    self::response(ctx, &function(on, "response")?, number, &response)
                }
                Ok(Answer::Value(passed)) => match shared.hold(&passed.stubs) {
                    Ok(()) => {
                        let (value, stubs) = self::passed(ctx, &passed)?;
                        Ok(function(on, "value")?.call((number, value, stubs))?)
                    }
                    Err(problem) => Ok(function(on, "callFailed")?.call((number, write_problem(ctx, &problem)?))?),
                },
                Err(problem) => Ok(function(on, "callFailed")?.call((number, write_problem(ctx, &problem)?))?),
            }
        }
        Delivery::Timer { number, event: _ } => Ok(function(on, "timer")?.call((number,))?),
        Delivery::SectionOver { number, event: _ } => Ok(function(on, "sectionOver")?.call((number,))?),
        Delivery::Synced { number, event: _ } => Ok(function(on, "synced")?.call((number,))?),
        Delivery::Chunk { stream, data, end } => {
            if end {
                shared.stop_receiving(stream);
            }
            Ok(function(on, "chunk")?.call((stream.0 as f64, bytes(ctx, &data)?, end))?)
        }
        Delivery::StreamFailed { stream, why } => {
            shared.stop_receiving(stream);
            Ok(function(on, "streamFailed")?.call((stream.0 as f64, write_problem(ctx, &why)?))?)
        }
        Delivery::Credit { stream, bytes } => Ok(function(on, "credit")?.call((stream.0 as f64, bytes))?),
        Delivery::StubDropped { stub } => Ok(function(on, "stubDropped")?.call((stub.0 as f64,))?),
        Delivery::StreamCancelled { stream } => {
            shared.stop_sending(stream);
            Ok(function(on, "streamCancelled")?.call((stream.0 as f64,))?)
        }
    }
}

/// Bytes, and the numbers of stubs where there are any.
fn passed<'js>(ctx: &Ctx<'js>, passed: &Passed) -> Result<(Value<'js>, Option<Vec<f64>>), TurnError> {
    let stubs = &passed.stubs;
    let numbers = (!stubs.is_empty()).then(|| stubs.iter().map(|stub| stub.0 as f64).collect());
    Ok((bytes(ctx, &passed.value.0)?, numbers))
}

/// `event, path, args, stubs` and the number of what is called, if that is not the object itself.
fn call_in<'js>(
    ctx: &Ctx<'js>,
    on: &Object<'js>,
    shared: &Shared,
    event: EventId,
    called: Option<StubId>,
    Rpc { path, args }: Rpc,
) -> Done {
    let (args, stubs) = match &args {
        Some(args) => {
            if let Err(problem) = shared.hold(&args.stubs) {
                fail(shared, event, problem);
                return Ok(());
            }
            passed(ctx, args)?
        }
        None => (Value::new_null(ctx.clone()), None),
    };
    let (number, called) = (event.0 as f64, called.map(|stub| stub.0 as f64));
    Ok(function(on, "rpc")?.call((number, path, args, stubs, called))?)
}

fn fail(shared: &Shared, event: EventId, problem: Problem) {
    let (activation, after) = (shared.activation, shared.after());
    shared.say(FromEngine::Failed { activation, event, after, problem });
    shared.finish(event);
}

fn event<'js>(ctx: &Ctx<'js>, on: &Object<'js>, shared: &Shared, event: EventId, kind: EventKind) -> Done {
    let number = event.0 as f64;
    match kind {
        EventKind::Fetch(HttpRequest { method, url, headers: list, body: content, redirect: _ }) => {
            let call = function(on, "fetch")?;
            Ok(call.call((number, method, url, list.as_text(), body(ctx, &content)?))?)
        }
        EventKind::Rpc(rpc) => call_in(ctx, on, shared, event, None, rpc),
        EventKind::Stub { stub, rpc } => call_in(ctx, on, shared, event, Some(stub), rpc),
        EventKind::Alarm { scheduled_ms, retry } => {
            let scheduled_ms = match shared.alarm.get() {
                AlarmRun::Running { scheduled_ms, .. } => scheduled_ms,
                AlarmRun::None | AlarmRun::Changed { .. } => scheduled_ms,
            };
            Ok(function(on, "alarm")?.call((number, scheduled_ms as f64, retry))?)
        }
        EventKind::SocketMessage { socket, data: message } => {
            Ok(function(on, "message")?.call((number, socket.0 as f64, data(ctx, &message)?))?)
        }
        EventKind::SocketClosed { socket, code, reason, clean } => {
            Ok(function(on, "closed")?.call((number, socket.0 as f64, code, reason, clean))?)
        }
        EventKind::SocketFailed { socket, why } => {
            Ok(function(on, "socketFailed")?.call((number, socket.0 as f64, why))?)
        }
        EventKind::Inspect(_) => Ok(()),
    }
}

/// `number, status, statusText, headers, body` and, where one of them is not what it mostly is, `[socket, url, redirected]`.
fn response<'js>(ctx: &Ctx<'js>, call: &Function<'js>, number: f64, response: &HttpResponse) -> Done {
    let more = if response.socket.is_none() && response.url.is_empty() && !response.redirected {
        Value::new_undefined(ctx.clone())
    } else {
        let more = Array::new(ctx.clone())?;
        match response.socket {
            Some(socket) => more.set(0, socket.0 as f64)?,
            None => more.set(0, Null)?,
        }
        more.set(1, response.url.as_str())?;
        more.set(2, response.redirected)?;
        more.into_value()
    };
    let (status_text, headers) = (response.status_text.as_str(), response.headers.as_text());
    Ok(call.call((number, response.status, status_text, headers, body(ctx, &response.body)?, more))?)
}

/// `[[socket, tags, attachment, time of the last automatic answer, closing], …]`
pub(super) fn held<'js>(ctx: &Ctx<'js>, sockets: &[HeldSocket]) -> Result<Array<'js>, TurnError> {
    let list = Array::new(ctx.clone())?;
    for (at, socket) in sockets.iter().enumerate() {
        let entry = Array::new(ctx.clone())?;
        entry.set(0, socket.socket.0 as f64)?;
        entry.set(1, socket.tags.clone())?;
        match &socket.attachment {
            Some(attachment) => entry.set(2, bytes(ctx, &attachment.0)?)?,
            None => entry.set(2, Null)?,
        }
        match socket.auto_response_ms {
            Some(at_ms) => entry.set(3, at_ms as f64)?,
            None => entry.set(3, Null)?,
        }
        entry.set(4, socket.closing)?;
        list.set(at, entry)?;
    }
    Ok(list)
}

/// `[[class, whether it has RPC], …]` and the names of handlers.
pub(super) fn exports<'js>(_ctx: &Ctx<'js>, on: &Object<'js>) -> Result<Exports, TurnError> {
    let found: Array<'js> = function(on, "exports")?.call(())?;
    let mut classes = Vec::new();
    for class in found.get::<Array<'js>>(0)?.iter::<Array<'js>>() {
        let class = class?;
        classes.push(ClassInfo { name: class.get(0)?, rpc: class.get(1)? });
    }
    Ok(Exports { classes, handlers: found.get(1)? })
}
