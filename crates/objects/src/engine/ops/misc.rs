//! Time, randomness, the console, and what the deployment's configuration gives.

use super::{bytes, id, op, type_error};
use crate::engine::shared::Shared;
use crate::wire::{EventId, Level};
use rquickjs::{Array, Ctx, Object, Result};
use std::rc::Rc;

/// Bytes of randomness that one call gives, as `crypto.getRandomValues` has it.
const MOST_RANDOM: usize = 65_536;

fn level(number: u8) -> Level {
    match number {
        0 => Level::Debug,
        1 => Level::Info,
        2 => Level::Log,
        3 => Level::Warn,
        4 => Level::Error,
        5.. => Level::Uncaught,
    }
}

/// `[[name, JSON], …]`
fn vars<'js>(ctx: &Ctx<'js>, shared: &Shared) -> Result<Array<'js>> {
    let array = Array::new(ctx.clone())?;
    for (at, (name, json)) in shared.process.vars.iter().enumerate() {
        array.set(at, vec![name.as_str(), json.as_str()])?;
    }
    Ok(array)
}

pub(super) fn install<'js>(ctx: &Ctx<'js>, ops: &Object<'js>, owner: &Rc<Shared>) -> Result<()> {
    op!(ctx, ops, owner, "now", |shared, _ctx| Ok::<_, rquickjs::Error>(shared.process.now_ms.get() as f64));
    op!(ctx, ops, owner, "random", |shared, ctx, count: usize| {
        if count > MOST_RANDOM {
            return Err(type_error(&ctx, "too much randomness at once"));
        }
        let mut out = vec![0; count];
        shared.process.surroundings.fill_random(&mut out);
        bytes(&ctx, &out)
    });
    // Asked by what runs long without coming back to code.
    op!(ctx, ops, owner, "cpuSpent", |shared, _ctx| Ok::<_, rquickjs::Error>(shared.cpu.over()));
    op!(ctx, ops, owner, "print", |shared, _ctx, number: u8, text: String| {
        shared.print(level(number), text);
        Ok::<_, rquickjs::Error>(())
    });
    op!(ctx, ops, owner, "vars", |shared, ctx| vars(&ctx, shared));
    op!(ctx, ops, owner, "bindings", |shared, _ctx| {
        let names: Vec<String> = shared.process.namespaces.iter().map(|namespace| namespace.binding.clone()).collect();
        Ok::<_, rquickjs::Error>(names)
    });
    // The one that is asked about if it is not over, or else the event that what runs now belongs to.
    op!(ctx, ops, owner, "event", |shared, _ctx, of: Option<f64>| {
        let events = shared.events.borrow();
        let of = of.map(|event| EventId(id(event)));
        let mut either = of.into_iter().chain(shared.origin.borrow().event);
        let event = either.find(|event| events.contains_key(event));
        Ok::<_, rquickjs::Error>(event.map(|event| event.0 as f64))
    });
    op!(ctx, ops, owner, "classes", |shared, _ctx| {
        let names: Vec<String> = shared.process.namespaces.iter().map(|namespace| namespace.class.clone()).collect();
        Ok::<_, rquickjs::Error>(names)
    });
    op!(ctx, ops, owner, "services", |shared, _ctx| {
        let services = shared.process.services.iter();
        let names: Vec<Vec<String>> = services.map(|of| vec![of.binding.clone(), of.entrypoint.clone()]).collect();
        Ok::<_, rquickjs::Error>(names)
    });
    let limits = Object::new(ctx.clone())?;
    let of = owner.limits();
    limits.set("keyBytes", of.key_bytes)?;
    limits.set("valueBytes", of.value_bytes)?;
    limits.set("keysAtOnce", of.keys_at_once)?;
    limits.set("blockMs", of.block_ms)?;
    limits.set("wholeBody", of.whole_body_bytes)?;
    limits.set("window", of.stream_window_bytes)?;
    limits.set("chunk", of.chunk_bytes)?;
    limits.set("rpcBytes", of.rpc_bytes)?;
    limits.set("rpcStubs", of.rpc_stubs)?;
    limits.set("attachment", of.attachment_bytes)?;
    limits.set("message", of.socket_message_bytes)?;
    limits.set("tags", of.tags)?;
    limits.set("tagBytes", of.tag_bytes)?;
    ops.set("limits", limits)?;
    Ok(())
}
