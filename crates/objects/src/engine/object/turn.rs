//! A turn: code of the object runs until nothing of it is ready, within its limits; then what it wrote and said leaves.

use super::Object;
use crate::engine::problem;
use crate::engine::realm::RealmError;
use crate::engine::shared::{Delivery, Shared};
use crate::engine::surroundings::Surroundings;
use crate::engine::timers::Origin;
use crate::engine::{CPU_EXCEEDED, MEMORY_EXCEEDED, raw};
use crate::wire::{EventId, Level, Problem, Seq};
use rquickjs::{Ctx, Object as JsObject, Value};

/// Promises rejected in one turn that are remembered.
const MOST_REJECTIONS: usize = 64;

/// What a failed turn leaves.
#[derive(Debug, thiserror::Error)]
pub(in crate::engine) enum TurnError {
    #[error(transparent)]
    JavaScript(#[from] rquickjs::Error),
    #[error("{0}")]
    Thrown(Problem),
    #[error(transparent)]
    Realm(#[from] RealmError),
}

impl Object {
    /// Runs code of the object until nothing of it is ready, and ends what it wrote.
    pub(super) fn turn(
        &mut self,
        origin: Origin,
        run: impl for<'js> FnOnce(&Ctx<'js>, &JsObject<'js>) -> Result<(), TurnError>,
    ) {
        let event = origin.event;
        self.shared.lines.set(0);
        *self.shared.origin.borrow_mut() = origin;
        let ran = self.timed(event, |object| object.run(run));
        let shared = &self.shared;
        if shared.cpu.exceeded.get() {
            shared.end_with(Problem::reset(CPU_EXCEEDED));
        }
        if shared.memory_exceeded() {
            shared.end_with(Problem::reset(MEMORY_EXCEEDED));
        }
        if let Err(error) = ran {
            shared.end_with(thrown(error));
        }
        shared.tell_rejections();
        shared.let_go();
        self.settle();
    }

    /// Does something of an event's within its limit on CPU time, in sight of whoever watches from outside.
    pub(super) fn timed<T>(&mut self, event: Option<EventId>, work: impl FnOnce(&mut Self) -> T) -> T {
        let shared = &self.shared;
        let begin_ns = shared.process.cpu_ns.get().unwrap_or_else(|| shared.surroundings().cpu_ns());
        shared.surroundings().turn_begins(shared.activation, event, begin_ns);
        shared.cpu.until_ns.set(begin_ns.saturating_add(u64::from(shared.limits().cpu_ms) * 1_000_000));
        let done = work(self);
        let shared = &self.shared;
        let end_ns = shared.surroundings().cpu_ns();
        shared.process.cpu_ns.set(Some(end_ns));
        let spent_ns = end_ns.saturating_sub(begin_ns);
        if let Some(event) = event
            && let Some(running) = shared.events.borrow_mut().get_mut(&event)
        {
            running.cpu_ns += spent_ns;
        }
        shared.cpu.until_ns.set(u64::MAX);
        shared.surroundings().turn_ends();
        done
    }

    fn run(
        &mut self,
        run: impl for<'js> FnOnce(&Ctx<'js>, &JsObject<'js>) -> Result<(), TurnError>,
    ) -> Result<(), TurnError> {
        if self.realm.is_none() {
            self.start()?;
        }
        let Some(realm) = &self.realm else { return Ok(()) };
        if self.shared.has_ended() {
            return Ok(());
        }
        let shared = &self.shared;
        realm.context().with(|ctx| {
            let core = realm.core(&ctx)?;
            let on: JsObject<'_> = core.get("on")?;
            let done = run(&ctx, &on).map_err(|error| explain(&ctx, error));
            drain(&ctx, shared);
            done
        })
    }

    /// What the turn wrote leaves, and what it said after it.
    pub(super) fn settle(&mut self) {
        let shared = &self.shared;
        if shared.has_ended() {
            return;
        }
        let (provisional, awaited, ended) = {
            let mut storage = shared.storage.borrow_mut();
            (storage.after(), storage.written(), storage.end_turn())
        };
        match ended {
            Ok(Some(committed)) => shared.send_commit(Some(committed)),
            Ok(None) => {
                // Nothing was changed after all: nobody need wait for a commit that never comes.
                self.await_written(awaited);
                let confirmed = shared.storage.borrow().confirmed();
                if provisional > confirmed {
                    for frame in shared.out.borrow_mut().iter_mut() {
                        if let Some(after) = frame.after_mut().filter(|after| **after == provisional) {
                            *after = confirmed;
                        }
                    }
                }
            }
            Err(error) => shared.end_with(Problem::reset(format!("The object's storage failed: {error}"))),
        }
    }

    /// Who waits in `storage.sync()` for the turn's commit, which is none, waits for the one before.
    fn await_written(&self, commit: Seq) {
        let shared = &self.shared;
        let storage = shared.storage.borrow();
        let written = storage.written();
        if commit == written {
            return;
        }
        let mut syncing = shared.syncing.borrow_mut();
        for ((_, number), origin) in syncing.split_off(&(commit, 0)) {
            if storage.is_durable(written) {
                let event = origin.event;
                shared.push(&origin, Delivery::Synced { number, event });
            } else {
                syncing.insert((written, number), origin);
            }
        }
    }
}

/// Runs what promises have made ready.
pub(super) fn drain(ctx: &Ctx<'_>, shared: &Shared) {
    while !shared.has_ended() && !shared.cpu.exceeded.get() && ctx.execute_pending_job() {}
}

fn thrown(error: TurnError) -> Problem {
    match error {
        TurnError::Thrown(mut problem) => {
            problem.object_reset = true;
            problem
        }
        TurnError::JavaScript(error) => Problem::reset(format!("The JavaScript engine failed: {error}")),
        TurnError::Realm(error) => Problem::reset(format!("The object could not start: {error}")),
    }
}

/// With what was thrown instead of the word that something was.
pub(super) fn explain(ctx: &Ctx<'_>, error: TurnError) -> TurnError {
    match error {
        TurnError::JavaScript(rquickjs::Error::Exception) => TurnError::Thrown(problem::of_exception(&ctx.catch())),
        TurnError::JavaScript(_) | TurnError::Thrown(_) | TurnError::Realm(_) => error,
    }
}

impl Shared {
    fn surroundings(&self) -> &dyn Surroundings {
        &*self.process.surroundings
    }

    pub(super) fn rejected(&self, ctx: &Ctx<'_>, promise: &Value<'_>, reason: &Value<'_>, handled: bool) {
        let address = raw::address(promise);
        if handled {
            self.rejections.borrow_mut().retain(|(of, _)| *of != address);
        } else if self.rejections.borrow().len() < MOST_REJECTIONS {
            let problem = problem::of_exception(reason);
            // Reading it may have thrown, which is nobody's business here.
            ctx.catch();
            let stack = problem.stack.as_deref().unwrap_or_default();
            let text = format!("Uncaught (in promise) {problem}\n{stack}");
            self.rejections.borrow_mut().push((address, text));
        }
    }

    /// The promises that nobody has handled by the turn's end are told on the console.
    fn tell_rejections(&self) {
        for (_, text) in std::mem::take(&mut *self.rejections.borrow_mut()) {
            self.print(Level::Uncaught, text);
        }
    }
}
