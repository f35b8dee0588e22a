//! WebSockets that reach beyond the object.

use super::{id, misuse, op, plain_error, refuse_long};
use crate::engine::raw;
use crate::engine::shared::Shared;
use crate::wire::{AUTO_RESPONSE_BYTES, AutoResponse, Cloned, FromEngine, SocketData, SocketId};
use rquickjs::{Ctx, Object, Result, Value};
use std::rc::Rc;

fn data(ctx: &Ctx<'_>, value: &Value<'_>) -> Result<SocketData> {
    if let Some(text) = value.as_string() {
        return Ok(SocketData::Text(text.to_string()?));
    }
    raw::view_bytes(value).map(SocketData::Binary).ok_or_else(|| misuse(ctx))
}

pub(super) fn install<'js>(ctx: &Ctx<'js>, ops: &Object<'js>, owner: &Rc<Shared>) -> Result<()> {
    op!(ctx, ops, owner, "newSocket", |shared, _ctx| Ok::<_, rquickjs::Error>(shared.process.new_socket().0 as f64));
    op!(ctx, ops, owner, "socketAccept", |shared, ctx, socket: f64, tags: Vec<String>, hibernates: bool| {
        let most = shared.limits().sockets;
        if shared.sockets.get() >= most {
            return Err(plain_error(&ctx, &format!("the object has more than {most} WebSockets")));
        }
        shared.sockets.set(shared.sockets.get() + 1);
        if !hibernates {
            shared.plain_sockets.set(shared.plain_sockets.get() + 1);
        }
        let socket = SocketId(id(socket));
        shared.say(FromEngine::SocketAccept { activation: shared.activation, socket, tags, hibernates });
        Ok(())
    });
    // The socket is no more, whoever closed it.
    op!(ctx, ops, owner, "socketGone", |shared, _ctx, hibernates: bool| {
        shared.sockets.set(shared.sockets.get().saturating_sub(1));
        if !hibernates {
            shared.plain_sockets.set(shared.plain_sockets.get().saturating_sub(1));
        }
        Ok::<_, rquickjs::Error>(())
    });
    op!(ctx, ops, owner, "socketSend", |shared, ctx, socket: f64, value: Value<'js>| {
        let (activation, after) = (shared.activation, shared.after());
        let data = data(&ctx, &value)?;
        shared.say(FromEngine::SocketSend { activation, socket: SocketId(id(socket)), after, data });
        Ok(())
    });
    op!(ctx, ops, owner, "socketClose", |shared, ctx, socket: f64, code: Option<u16>, reason: String| {
        refuse_long(&ctx, "a reason", reason.len())?;
        let (activation, after) = (shared.activation, shared.after());
        shared.say(FromEngine::SocketClose { activation, socket: SocketId(id(socket)), after, code, reason });
        Ok::<_, rquickjs::Error>(())
    });
    op!(ctx, ops, owner, "socketAttachment", |shared, _ctx, socket: f64, value: Value<'js>| {
        let (activation, socket) = (shared.activation, SocketId(id(socket)));
        let value = raw::view_bytes(&value).map(Cloned);
        shared.say(FromEngine::SocketAttachment { activation, socket, value });
        Ok::<_, rquickjs::Error>(())
    });
    op!(ctx, ops, owner, "autoResponse", |shared, ctx, request: Option<String>, response: Option<String>| {
        // What code that overrides the pair's getters gets past the script.
        if request.iter().chain(&response).any(|text| text.len() > AUTO_RESPONSE_BYTES) {
            return Err(plain_error(&ctx, "an automatic answer is too large"));
        }
        let pair = request.zip(response).map(|(request, response)| AutoResponse { request, response });
        shared.say(FromEngine::AutoResponse { activation: shared.activation, pair });
        Ok(())
    });
    Ok(())
}
