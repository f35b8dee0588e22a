//! Questions to the outside, and bodies both ways.

use super::events::{body, headers};
use super::{id, misuse, op, plain_error, read_problem, refuse_long, type_error};
use crate::engine::shared::Shared;
use crate::engine::{handles, raw};
use crate::wire::{
    CallId, Cloned, Destination, FromEngine, HttpRequest, NamespaceIndex, ObjectCall, Passed, Redirect, Rpc, StreamId,
    StubId,
};
use rquickjs::{Array, Ctx, Object, Result, Value};
use std::rc::Rc;

fn request(
    ctx: &Ctx<'_>,
    head: (String, String, String),
    content: &Value<'_>,
    length: Option<f64>,
    redirect: &str,
) -> Result<HttpRequest> {
    let (method, url, header_text) = head;
    refuse_long(ctx, "a method or URL", method.len() + url.len())?;
    Ok(HttpRequest {
        method,
        url,
        headers: headers(ctx, header_text)?,
        body: body(ctx, content, length)?,
        redirect: match redirect {
            "manual" => Redirect::Manual,
            "error" => Redirect::Error,
            _ => Redirect::Follow,
        },
    })
}

fn call(ctx: &Ctx<'_>, shared: &Shared, destination: Destination) -> Result<f64> {
    let most = shared.limits().calls;
    if shared.calls.borrow().len() >= most as usize {
        let message = format!("more than {most} requests of the object are under way");
        return Err(plain_error(ctx, &message));
    }
    let call = shared.process.next_call();
    shared.calls.borrow_mut().insert(call, shared.origin());
    shared.process.routes.borrow_mut().calls.insert(call, shared.activation);
    shared.say(FromEngine::Call { activation: shared.activation, call, after: shared.after(), destination });
    Ok(call.0 as f64)
}

/// `[namespace, id, name]`
fn object(ctx: &Ctx<'_>, shared: &Shared, target: &Array<'_>, what: ObjectCall) -> Result<Destination> {
    let namespace: u16 = target.get(0)?;
    let text: String = target.get(1)?;
    let key = shared.process.namespaces.get(usize::from(namespace)).map(|namespace| &namespace.key);
    let id = key.and_then(|key| shared.known_ids.checked(key, namespace, text));
    let id = id.ok_or_else(|| type_error(ctx, "the id is not one of the namespace"))?;
    let name: Option<String> = target.get(2)?;
    refuse_long(ctx, "an object's name", name.as_ref().map_or(0, String::len))?;
    Ok(Destination::Object { namespace: NamespaceIndex(namespace), id, name, what })
}

/// Members of members of members.
const MOST_PATH: usize = 64;

fn rpc(ctx: &Ctx<'_>, shared: &Shared, path: Vec<String>, args: &Value<'_>, stubs: Option<Vec<f64>>) -> Result<Rpc> {
    refuse_long(ctx, "a method's path", path.iter().map(String::len).sum())?;
    if path.len() > MOST_PATH {
        return Err(type_error(ctx, &format!("a method's path has more than {MOST_PATH} parts")));
    }
    let args = match raw::view_bytes(args) {
        Some(bytes) => Some(passed(ctx, shared, bytes, stubs)?),
        None => None,
    };
    Ok(Rpc { path, args })
}

/// What arguments or a result are sent as.
pub(super) fn passed(ctx: &Ctx<'_>, shared: &Shared, bytes: Vec<u8>, stubs: Option<Vec<f64>>) -> Result<Passed> {
    let stubs: Vec<StubId> = stubs.unwrap_or_default().into_iter().map(|stub| StubId(id(stub))).collect();
    let most = shared.limits().rpc_stubs;
    if stubs.len() > most as usize {
        return Err(type_error(ctx, &format!("more than {most} functions, RpcTargets and streams in one RPC call")));
    }
    Ok(Passed { value: Cloned(bytes), stubs })
}

fn send_chunk(ctx: &Ctx<'_>, shared: &Shared, stream: StreamId, data: &Value<'_>, end: bool) -> Result<()> {
    let data = raw::view_bytes(data).ok_or_else(|| misuse(ctx))?;
    let (activation, after) = (shared.activation, shared.after());
    if end {
        shared.stop_sending(stream);
    }
    shared.say(FromEngine::Chunk { activation, stream, after, data, end });
    Ok(())
}

pub(super) fn install<'js>(ctx: &Ctx<'js>, ops: &Object<'js>, owner: &Rc<Shared>) -> Result<()> {
    op!(ctx, ops, owner, "callInternet", |shared,
                                          ctx,
                                          method: String,
                                          url: String,
                                          headers: String,
                                          content: Value<'js>,
                                          length: Option<f64>,
                                          redirect: String| {
        let request = request(&ctx, (method, url, headers), &content, length, &redirect)?;
        call(&ctx, shared, Destination::Internet(request))
    });
    op!(ctx, ops, owner, "callFetch", |shared,
                                       ctx,
                                       target: Array<'js>,
                                       method: String,
                                       url: String,
                                       headers: String,
                                       content: Value<'js>,
                                       length: Option<f64>| {
        // Redirects are its caller's affair.
        let what = ObjectCall::Fetch(request(&ctx, (method, url, headers), &content, length, "manual")?);
        let destination = object(&ctx, shared, &target, what)?;
        call(&ctx, shared, destination)
    });
    op!(ctx, ops, owner, "callRpc", |shared,
                                     ctx,
                                     target: Array<'js>,
                                     path: Vec<String>,
                                     args: Value<'js>,
                                     stubs: Option<Vec<f64>>| {
        let rpc = rpc(&ctx, shared, path, &args, stubs)?;
        let destination = object(&ctx, shared, &target, ObjectCall::Rpc(rpc))?;
        call(&ctx, shared, destination)
    });
    op!(ctx, ops, owner, "callStub", |shared,
                                      ctx,
                                      stub: f64,
                                      path: Vec<String>,
                                      args: Value<'js>,
                                      stubs: Option<Vec<f64>>| {
        let rpc = rpc(&ctx, shared, path, &args, stubs)?;
        call(&ctx, shared, Destination::Stub { stub: StubId(id(stub)), rpc })
    });
    op!(ctx, ops, owner, "newStub", |shared, ctx| {
        let most = shared.limits().stubs;
        if shared.given.borrow().len() >= most as usize {
            return Err(plain_error(&ctx, &format!("more than {most} RPC stubs were given that are not disposed of")));
        }
        let stub = shared.process.new_stub();
        shared.given.borrow_mut().insert(stub, shared.origin());
        Ok(stub.0 as f64)
    });
    op!(ctx, ops, owner, "dropStub", |shared, _ctx, stub: f64| {
        shared.drop_stub(StubId(id(stub)));
        Ok::<_, rquickjs::Error>(())
    });
    // Held as long as the stub can be called.
    op!(ctx, ops, owner, "stubHandle", |shared, ctx, stub: f64| handles::wrap(&ctx, id(stub), &shared.lost));
    op!(ctx, ops, owner, "withdrawStub", |shared, _ctx, stub: f64| {
        let stub = StubId(id(stub));
        if shared.given.borrow_mut().remove(&stub).is_some() {
            shared.say(FromEngine::StubWithdrawn { stub });
        }
        Ok::<_, rquickjs::Error>(())
    });
    op!(ctx, ops, owner, "cancelCall", |shared, _ctx, number: f64| {
        let call = CallId(id(number));
        if shared.calls.borrow_mut().remove(&call).is_some() {
            shared.process.routes.borrow_mut().calls.remove(&call);
            shared.say(FromEngine::CancelCall { call });
        }
        Ok::<_, rquickjs::Error>(())
    });
    op!(ctx, ops, owner, "newStream", |shared, _ctx| {
        let stream = shared.process.next_stream();
        shared.sending.borrow_mut().insert(stream, shared.origin());
        shared.process.routes.borrow_mut().sent.insert(stream, shared.activation);
        Ok::<_, rquickjs::Error>(stream.0 as f64)
    });
    op!(ctx, ops, owner, "sendChunk", |shared, ctx, stream: f64, data: Value<'js>, end: bool| {
        send_chunk(&ctx, shared, StreamId(id(stream)), &data, end)
    });
    op!(ctx, ops, owner, "failStream", |shared, _ctx, stream: f64, problem: Array<'js>| {
        let (stream, why) = (StreamId(id(stream)), read_problem(&problem)?);
        shared.stop_sending(stream);
        let (activation, after) = (shared.activation, shared.after());
        shared.say(FromEngine::StreamFailed { activation, stream, after, why });
        Ok::<_, rquickjs::Error>(())
    });
    op!(ctx, ops, owner, "credit", |shared, _ctx, stream: f64, bytes: u32| {
        shared.say(FromEngine::Credit { stream: StreamId(id(stream)), bytes });
        Ok::<_, rquickjs::Error>(())
    });
    // Held as long as the body can be read.
    op!(ctx, ops, owner, "streamHandle", |shared, ctx, stream: f64| handles::wrap(&ctx, id(stream), &shared.unread));
    op!(ctx, ops, owner, "cancelStream", |shared, _ctx, stream: f64| {
        let stream = StreamId(id(stream));
        if shared.stop_receiving(stream).is_some() {
            shared.say(FromEngine::StreamCancelled { stream });
        }
        Ok::<_, rquickjs::Error>(())
    });
    Ok(())
}
