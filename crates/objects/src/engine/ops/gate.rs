//! Sections, timers, and the end.

use super::{op, plain_error, read_problem};
use crate::engine::shared::{Delivery, SectionEntry, Shared};
use crate::engine::timers::Purpose;
use rquickjs::{Array, Ctx, Object, Result};
use std::rc::Rc;

fn ask(ctx: &Ctx<'_>, shared: &Shared) -> Result<u32> {
    let parent = shared.origin();
    let section = shared.gate.borrow_mut().ask(&parent.section);
    let section = section.map_err(|error| plain_error(ctx, &error.to_string()))?;
    let number = section.number();
    shared.sections.borrow_mut().insert(number, SectionEntry { section, parent, timer: None });
    Ok(number)
}

fn end(shared: &Shared, number: u32) {
    let Some(entry) = shared.sections.borrow_mut().remove(&number) else { return };
    if let Some(timer) = entry.timer {
        shared.timers.borrow_mut().clear(timer);
    }
    shared.gate.borrow_mut().end(&entry.section);
    let event = entry.parent.event;
    shared.push(&entry.parent, Delivery::SectionOver { number, event });
}

pub(super) fn install<'js>(ctx: &Ctx<'js>, ops: &Object<'js>, owner: &Rc<Shared>) -> Result<()> {
    op!(ctx, ops, owner, "askSection", |shared, ctx| ask(&ctx, shared));
    op!(ctx, ops, owner, "endSection", |shared, _ctx, number: u32| {
        end(shared, number);
        Ok::<_, rquickjs::Error>(())
    });
    op!(ctx, ops, owner, "setTimer", |shared, ctx, delay_ms: f64| {
        // As browsers do: no number, or a negative one, means at once.
        let delay_ms = if delay_ms.is_finite() { delay_ms.clamp(0.0, f64::from(i32::MAX)) as i64 } else { 0 };
        let at_ms = shared.process.now_ms.get().saturating_add(delay_ms);
        let most = shared.limits().timers;
        let set = shared.timers.borrow_mut().set(at_ms, Purpose::Code, shared.origin(), most);
        set.map_err(|error| plain_error(&ctx, &error.to_string()))
    });
    op!(ctx, ops, owner, "clearTimer", |shared, _ctx, number: u32| {
        shared.timers.borrow_mut().clear(number);
        Ok::<_, rquickjs::Error>(())
    });
    op!(ctx, ops, owner, "reset", |shared, ctx, problem: Array<'js>| {
        shared.end_with(read_problem(&problem)?);
        Err::<(), _>(plain_error(&ctx, "The object was reset."))
    });
    Ok(())
}
