//! How an object's JavaScript begins: a realm, the user's modules, and the object of the class.

use super::Object;
use super::turn::{TurnError, drain, explain};
use crate::engine::modules::{Shelf, WORKERS, WORKERS_GLOBAL};
use crate::engine::realm::Realm;
use crate::engine::shared::{End, Shared};
use crate::engine::{deliver, ops};
use crate::wire::{AutoResponse, ClassInfo, HeldSocket, Problem};
use rquickjs::promise::PromiseState;
use rquickjs::{Ctx, Function, Module, Object as JsObject, Promise, Value};
use std::cell::RefCell;
use std::rc::Rc;

/// What the start of the entry worker finds.
pub(crate) struct Exports {
    pub classes: Vec<ClassInfo>,
    pub handlers: Vec<String>,
}

impl Object {
    pub(super) fn start(&mut self) -> Result<(), TurnError> {
        let shared = Rc::clone(&self.shared);
        let stack_bytes = shared.limits().stack_bytes as usize;
        let (scripts, memory) = (&shared.process.scripts, &shared.memory);
        let realm = Realm::within(scripts, memory, stack_bytes, |ctx, ops| ops::install(ctx, ops, &shared))?;
        realm
            .runtime()
            .set_loader(Shelf(Rc::clone(&shared.process.library)), Shelf(Rc::clone(&shared.process.library)));
        let watch = Rc::downgrade(&shared);
        realm.runtime().set_interrupt_handler(Some(Box::new(move || {
            watch.upgrade().is_none_or(|shared| shared.has_ended() || shared.cpu.over())
        })));
        let watch = Rc::downgrade(&shared);
        realm.runtime().set_host_promise_rejection_tracker(Some(Box::new(move |ctx, promise, reason, handled| {
            if let Some(shared) = watch.upgrade() {
                shared.rejected(&ctx, &promise, &reason, handled);
            }
        })));
        let (sockets, auto_response) = (std::mem::take(&mut self.sockets), self.auto_response.take());
        let started = realm.context().with(|ctx| {
            let core = realm.core(&ctx)?;
            let started = start(&ctx, &core, &shared, &sockets, auto_response.as_ref());
            let started = started.map_err(|error| explain(&ctx, error));
            drain(&ctx, &shared);
            started
        });
        self.realm = Some(realm);
        started
    }

    /// What the deployment's main module exports; starts the entry worker.
    pub(crate) fn exports(&mut self) -> Result<Exports, Problem> {
        let found: RefCell<Option<Exports>> = RefCell::new(None);
        let root = self.shared.origin();
        self.turn(root, |ctx, on| {
            found.replace(Some(deliver::exports(ctx, on)?));
            Ok(())
        });
        if let Some(End { problem }) = self.shared.end.borrow().clone() {
            return Err(problem);
        }
        found.into_inner().ok_or_else(|| Problem::new("Error", "the main module did not start"))
    }
}

/// Evaluates a module, whose code may not wait for anything outside.
fn import<'js>(ctx: &Ctx<'js>, shared: &Shared, name: &str) -> Result<JsObject<'js>, TurnError> {
    let promise: Promise<'js> = Module::import(ctx, name)?;
    drain(ctx, shared);
    match promise.state() {
        PromiseState::Pending => {
            let message = format!("{name} waits at its top level for something that cannot come while it is loaded");
            Err(TurnError::Thrown(Problem::new("Error", message)))
        }
        PromiseState::Resolved | PromiseState::Rejected => match promise.result::<JsObject<'js>>() {
            Some(result) => Ok(result?),
            None => Err(TurnError::Thrown(Problem::new("Error", format!("{name} did not load")))),
        },
    }
}

fn start<'js>(
    ctx: &Ctx<'js>,
    core: &JsObject<'js>,
    shared: &Shared,
    sockets: &[HeldSocket],
    auto_response: Option<&AutoResponse>,
) -> Result<(), TurnError> {
    let globals = ctx.globals();
    globals.set(WORKERS_GLOBAL, core.get::<_, Value<'js>>("workers")?)?;
    import(ctx, shared, WORKERS)?;
    globals.remove(WORKERS_GLOBAL)?;
    let exports = import(ctx, shared, &shared.process.main)?;
    let on: JsObject<'js> = core.get("on")?;
    match &shared.identity {
        None => on.get::<_, Function<'js>>("startEntry")?.call::<_, ()>((exports,))?,
        Some(identity) => {
            let namespace = shared.process.namespaces.get(usize::from(identity.namespace.0));
            let class = namespace.map(|namespace| namespace.class.clone()).unwrap_or_default();
            let id = hex::encode(identity.id.0);
            let held = deliver::held(ctx, sockets)?;
            let pair = auto_response.map(|pair| vec![pair.request.clone(), pair.response.clone()]);
            let start: Function<'js> = on.get("start")?;
            start.call::<_, ()>((exports, class, id, identity.name.clone(), held, pair))?;
        }
    }
    Ok(())
}
