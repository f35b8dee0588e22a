//! The hostile half: runs what users wrote, and reaches the outside by frames alone.
//!
//! [`Engine`] is a state machine: frames in, frames out, the clock a frame as well. What it needs at once (pages of a
//! database, randomness, CPU time) it has from [`Surroundings`]. So the same frames give the same frames again.

pub mod clone;
mod deliver;
mod gates;
mod handles;
mod inside;
mod inspect;
mod memory;
mod modules;
mod object;
mod ops;
mod problem;
mod raw;
pub mod realm;
mod scripts;
mod shared;
mod storage;
mod surroundings;
mod timers;
mod untaken;
pub mod web;

pub use ops::from_name as id_from_name;
pub use surroundings::{PageError, Surroundings};

use crate::sqlite;
use crate::wire::{
    Activation, CallId, CloseReason, EventId, EventKind, FromEngine, Load, Problem, Seq, StreamId, ToEngine,
};
use inside::Inside;
use modules::Library;
use object::{Left, Object};
use realm::Scripts;
use shared::{Delivery, Process, Routes};
use std::cell::{Cell, RefCell};
use std::collections::{BTreeSet, HashMap};
use std::rc::Rc;
use std::sync::Arc;

const CPU_EXCEEDED: &str = "Durable Object exceeded its CPU time limit and was reset.";
const MEMORY_EXCEEDED: &str = "Durable Object exceeded its memory limit and was reset.";
const BLOCKED_TOO_LONG: &str = "A call to blockConcurrencyWhile() in a Durable Object waited for too long. The call was \
                                canceled and the Durable Object was reset.";

/// Deliveries between objects in a row, before the host is listened to again.
const MOST_INSIDE: usize = 256;

/// Turns of one object in a row, before the host is listened to again.
const MOST_TURNS: usize = 256;

/// What is said before the host takes it; the turn in which it becomes so much is the last one.
const MOST_SAID_BYTES: usize = 16 << 20;

/// Objects that end before it is worth the while to give their memory back to the kernel.
const TRIM_AFTER: u32 = 16;

/// An object that has been quiet for so long gives back what it can do without.
const REST_AFTER_MS: i64 = 1_000;

/// The engine of one deployment version.
pub struct Engine {
    surroundings: Rc<dyn Surroundings>,
    /// `None` until it is loaded, or where that failed.
    process: Option<Rc<Process>>,
    objects: HashMap<Activation, Object>,
    out: Vec<FromEngine>,
    /// How much that is, about.
    said_bytes: usize,
    /// Objects with which something happened since the last [`Engine::end_batch`].
    touched: BTreeSet<Activation>,
    /// Next timers.
    wakes: BTreeSet<(i64, Activation)>,
    wake_of: HashMap<Activation, i64>,
    /// Since when objects have been quiet, as far as is known.
    quiet_since: HashMap<Activation, i64>,
    /// The same objects, by when it is looked whether they rest.
    rests: BTreeSet<(i64, Activation)>,
    inside: Inside,
    /// Objects that ended since memory was given back.
    ended: u32,
    told_wake_ms: Option<i64>,
}

impl Engine {
    pub fn new(surroundings: Rc<dyn Surroundings>) -> Self {
        Self {
            surroundings,
            process: None,
            objects: HashMap::new(),
            out: Vec::new(),
            said_bytes: 0,
            touched: BTreeSet::new(),
            wakes: BTreeSet::new(),
            wake_of: HashMap::new(),
            quiet_since: HashMap::new(),
            rests: BTreeSet::new(),
            inside: Inside::default(),
            ended: 0,
            told_wake_ms: None,
        }
    }

    /// Takes one frame; what it leads to is in [`Engine::drain`].
    pub fn take(&mut self, message: ToEngine) {
        self.take_one(message);
        for _ in 0..MOST_INSIDE {
            if self.said_bytes > MOST_SAID_BYTES {
                return;
            }
            let Some(message) = self.inside.next() else { return };
            self.take_one(message);
        }
    }

    fn take_one(&mut self, message: ToEngine) {
        match message {
            ToEngine::Load(load) => self.load(load),
            ToEngine::Tick { now_ms } => self.tick(now_ms),
            ToEngine::Open(open) => {
                if let Some(process) = &self.process {
                    self.inside.opened(open.activation, open.id, open.seq);
                    self.objects.insert(open.activation, Object::open(process, open));
                }
            }
            ToEngine::Event { activation, event, kind } => {
                if self.objects.contains_key(&activation) {
                    self.with(activation, |object| object.arrive(event, kind));
                } else {
                    self.refuse(activation, event, &kind);
                }
            }
            ToEngine::CancelEvent { activation, event } => self.with(activation, |object| {
                let section = object.shared.gate.borrow().root();
                let running = object.shared.events.borrow().contains_key(&event);
                if running {
                    object.shared.gate.borrow_mut().push(&section, Delivery::Cancel { event });
                }
            }),
            ToEngine::Reply { call, result } => {
                self.inside.replied(call);
                self.route_call(call, Delivery::Reply { call, result });
            }
            ToEngine::Chunk { stream, data, end } => {
                self.route_received(stream, Delivery::Chunk { stream, data, end });
            }
            ToEngine::StreamFailed { stream, why } => {
                self.route_received(stream, Delivery::StreamFailed { stream, why });
            }
            ToEngine::Credit { stream, bytes } => self.route_sent(stream, Delivery::Credit { stream, bytes }),
            ToEngine::StreamCancelled { stream } => self.route_sent(stream, Delivery::StreamCancelled { stream }),
            ToEngine::StubDropped { activation, stub } => self.with(activation, |object| {
                let origin = object.shared.given.borrow_mut().remove(&stub);
                if let Some(origin) = origin {
                    object.shared.push(&origin, Delivery::StubDropped { stub });
                }
            }),
            // An answer to a question that nobody asks any more.
            ToEngine::Pages { .. } => {}
            ToEngine::Durable { activation, seq } => {
                self.inside.durable(activation, seq);
                self.with(activation, |object| object.durable(seq));
            }
            ToEngine::CommitFailed { activation, seq, why } => {
                self.inside.commit_failed(activation, seq, &why);
                self.with(activation, |object| {
                    object.shared.storage.borrow_mut().failed(seq);
                    object.shared.end_with(why);
                });
            }
            ToEngine::Close { activation, why } => self.close(activation, &why),
        }
    }

    /// What there is to say of the batch as a whole: who is quiet, when to tick.
    pub fn end_batch(&mut self) {
        let Some(process) = self.process.clone() else { return };
        let now_ms = process.now_ms.get();
        process.cpu_ns.set(None);
        self.inside.tell(&mut self.out);
        for activation in std::mem::take(&mut self.touched) {
            let Some(object) = self.objects.get(&activation) else { continue };
            if activation != Activation::ENTRY && object.shared.is_quiet() {
                let hibernates = !object.shared.is_irreplaceable();
                self.out.push(FromEngine::Quiet { activation, hibernates });
                if self.quiet_since.insert(activation, now_ms).is_none() {
                    self.rests.insert((now_ms + REST_AFTER_MS, activation));
                }
            }
        }
        if self.ended >= TRIM_AFTER {
            self.ended = 0;
            crate::meter::trim();
        }
        let timer = self.wakes.first().map(|(at_ms, _)| *at_ms);
        let rest = self.rests.first().map(|(at_ms, _)| *at_ms);
        let mut wake = timer.into_iter().chain(rest).min();
        if self.inside.waits() {
            wake = Some(now_ms);
        }
        if wake.is_some_and(|at_ms| at_ms <= now_ms) {
            // Goes on with the next frame, which says what time it is: the host is asked for one each time.
            self.told_wake_ms = None;
        }
        if wake != self.told_wake_ms {
            self.told_wake_ms = wake;
            self.out.push(FromEngine::Wake { at_ms: wake });
        }
    }

    /// What the engine has said, in order.
    pub fn drain(&mut self) -> std::vec::Drain<'_, FromEngine> {
        self.said_bytes = 0;
        self.out.drain(..)
    }

    fn load(&mut self, load: Load) {
        if self.process.is_some() {
            return;
        }
        let Load { modules, main, vars, namespaces, services, limits, first_socket, now_ms } = load;
        sqlite::set_now(now_ms);
        let scripts = match Scripts::compile(&scripts::all()) {
            Ok(scripts) => scripts,
            Err(error) => {
                let problem = Problem::new("Error", format!("the engine did not start: {error}"));
                return self.out.push(FromEngine::LoadFailed { problem });
            }
        };
        let library = match Library::compile(&modules) {
            Ok(library) => library,
            Err(problem) => return self.out.push(FromEngine::LoadFailed { problem }),
        };
        let process = Rc::new(Process {
            surroundings: Rc::clone(&self.surroundings),
            limits: Rc::new(limits),
            namespaces,
            services,
            vars,
            main,
            library,
            scripts,
            now_ms: Cell::new(now_ms),
            cpu_ns: Cell::new(None),
            last_call: Cell::new(0),
            last_stream: Cell::new(0),
            next_socket: Cell::new(first_socket.0),
            next_stub: Cell::new(first_socket.0),
            routes: RefCell::new(Routes::default()),
        });
        let mut entry = Object::entry(&process);
        let exports = entry.exports();
        self.out.append(&mut entry.shared.take_said().0);
        match exports {
            Ok(object::Exports { classes, handlers }) => {
                self.out.push(FromEngine::Loaded { classes, handlers });
                self.objects.insert(Activation::ENTRY, entry);
                self.process = Some(process);
            }
            Err(mut problem) => {
                problem.object_reset = false;
                self.out.push(FromEngine::LoadFailed { problem });
            }
        }
    }

    fn tick(&mut self, now_ms: i64) {
        let Some(process) = &self.process else { return };
        // Time does not go back for those who live in it.
        let now_ms = now_ms.max(process.now_ms.get());
        process.now_ms.set(now_ms);
        sqlite::set_now(now_ms);
        let mut due = Vec::new();
        while let Some((at_ms, activation)) = self.wakes.first().copied().filter(|(at_ms, _)| *at_ms <= now_ms) {
            self.wakes.remove(&(at_ms, activation));
            self.wake_of.remove(&activation);
            due.push(activation);
        }
        // Each once: code whose timers set others for now would keep the engine from the host for ever.
        for activation in due {
            self.with(activation, |object| {
                object.tick();
            });
        }
        while let Some((at_ms, activation)) = self.rests.first().copied().filter(|(at_ms, _)| *at_ms <= now_ms) {
            self.rests.remove(&(at_ms, activation));
            self.rest(activation, now_ms);
        }
    }

    /// It rests if it has been quiet for long enough; if not, it is looked at again.
    fn rest(&mut self, activation: Activation, now_ms: i64) {
        let Some(since_ms) = self.quiet_since.get(&activation).copied() else { return };
        let due_ms = since_ms + REST_AFTER_MS;
        if due_ms > now_ms {
            self.rests.insert((due_ms, activation));
            return;
        }
        self.quiet_since.remove(&activation);
        if let Some(object) = self.objects.get_mut(&activation).filter(|object| object.shared.is_quiet()) {
            object.rest();
            if object.shared.has_to_say() {
                self.with(activation, |_| {});
            }
        }
    }

    /// Does something with an object, and then all that it leads to.
    fn with(&mut self, activation: Activation, run: impl FnOnce(&mut Object)) {
        let Some(object) = self.objects.get_mut(&activation) else { return };
        run(object);
        let left = object.pump();
        // Also where none of the object's code ran: it gets no turn any more in which this would be seen.
        if object.shared.memory_exceeded() {
            object.shared.end_with(Problem::reset(MEMORY_EXCEEDED));
        }
        let end = object.shared.end.borrow().clone();
        if let Some(end) = end {
            return self.end(activation, end.problem);
        }
        let (said, said_bytes) = object.shared.take_said();
        self.said_bytes += said_bytes;
        let next = match left {
            Left::Nothing => object.shared.timers.borrow().next_ms(),
            Left::Turns => Some(object.shared.process.now_ms.get()),
        };
        self.hear(said);
        self.touched.insert(activation);
        self.set_wake(activation, next);
    }

    /// What is for an object here stays here.
    fn hear(&mut self, said: Vec<FromEngine>) {
        let Self { process, objects, inside, out, .. } = self;
        let memory_of = |call: CallId| {
            let caller = process.as_ref()?.routes.borrow().calls.get(&call).copied()?;
            Some(Arc::clone(&objects.get(&caller)?.shared.memory))
        };
        for frame in said {
            out.extend(inside.hear(frame, &memory_of));
        }
    }

    fn set_wake(&mut self, activation: Activation, next_ms: Option<i64>) {
        let before = match next_ms {
            Some(next_ms) => self.wake_of.insert(activation, next_ms),
            None => self.wake_of.remove(&activation),
        };
        if before == next_ms {
            return;
        }
        if let Some(before) = before {
            self.wakes.remove(&(before, activation));
        }
        if let Some(next_ms) = next_ms {
            self.wakes.insert((next_ms, activation));
        }
    }

    fn end(&mut self, activation: Activation, problem: Problem) {
        let Some(object) = self.objects.remove(&activation) else { return };
        self.bury(activation, object, &problem);
        self.out.push(FromEngine::Reset { activation, problem });
        if activation == Activation::ENTRY
            && let Some(process) = &self.process
        {
            self.objects.insert(activation, Object::entry(process));
        }
    }

    fn bury(&mut self, activation: Activation, object: Object, problem: &Problem) {
        let id = object.shared.identity.as_ref().map(|identity| identity.id);
        let mut said = Vec::new();
        object.end(problem, &mut said);
        self.hear(said);
        self.inside.over(activation, id);
        self.ended += 1;
        self.quiet_since.remove(&activation);
        self.set_wake(activation, None);
    }

    fn close(&mut self, activation: Activation, why: &CloseReason) {
        // The host did not know of it yet when it thought the object idle.
        if !matches!(why, CloseReason::Abort(_)) && self.inside.runs(activation) {
            return self.out.push(FromEngine::Stays { activation });
        }
        let Some(object) = self.objects.remove(&activation) else {
            return self.out.push(FromEngine::Closed { activation });
        };
        let problem = match why {
            CloseReason::Hibernate | CloseReason::Evict => {
                Problem { retryable: true, ..Problem::reset("The object was evicted.") }
            }
            CloseReason::Abort(problem) => problem.clone(),
        };
        self.bury(activation, object, &problem);
        self.out.push(FromEngine::Closed { activation });
    }

    /// An event for an object that is not open: it was reset while the event was on its way.
    fn refuse(&mut self, activation: Activation, event: EventId, kind: &EventKind) {
        let problem = Problem { retryable: true, ..Problem::reset("The object was reset.") };
        let failed = FromEngine::Failed { activation, event, after: Seq(0), problem };
        let mut said = vec![failed, FromEngine::Finished { activation, event, cpu_us: 0 }];
        untaken::event(activation, kind, &mut said);
        self.hear(said);
    }

    fn routes(&self) -> Option<std::cell::Ref<'_, Routes>> {
        self.process.as_ref().map(|process| process.routes.borrow())
    }

    fn route_call(&mut self, call: CallId, delivery: Delivery) {
        let Some(activation) = self.routes().and_then(|routes| routes.calls.get(&call).copied()) else {
            // It was cancelled while its answer was on its way.
            let mut said = Vec::new();
            untaken::delivery(Activation::ENTRY, &delivery, &mut said);
            return self.hear(said);
        };
        self.with(activation, |object| {
            let origin = object.shared.calls.borrow().get(&call).cloned();
            if let Some(origin) = origin {
                object.shared.push(&origin, delivery);
            }
        });
    }

    fn route_received(&mut self, stream: StreamId, delivery: Delivery) {
        let Some(activation) = self.routes().and_then(|routes| routes.received.get(&stream).copied()) else { return };
        self.with(activation, |object| {
            let origin = object.shared.receiving.borrow().get(&stream).cloned();
            if let Some(origin) = origin {
                object.shared.push(&origin, delivery);
            }
        });
    }

    fn route_sent(&mut self, stream: StreamId, delivery: Delivery) {
        let Some(activation) = self.routes().and_then(|routes| routes.sent.get(&stream).copied()) else { return };
        self.with(activation, |object| {
            let origin = object.shared.sending.borrow().get(&stream).cloned();
            if let Some(origin) = origin {
                object.shared.push(&origin, delivery);
            }
        });
    }
}

#[cfg(test)]
mod tests;
