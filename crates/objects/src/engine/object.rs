//! One live object: its JavaScript, and what comes for it.

mod start;
mod turn;

pub(crate) use start::Exports;
pub(super) use turn::TurnError;

use super::gates::Gate;
use super::handles::Gone;
use super::realm::Realm;
use super::shared::{AlarmRun, BodyOf, Cpu, Delivery, Identity, Process, Running, Shared, weight};
use super::storage::{Opening, Storage};
use super::timers::{Origin, Purpose, Timers};
use super::{BLOCKED_TOO_LONG, MOST_SAID_BYTES, MOST_TURNS, deliver, ops, untaken};
use crate::meter::Meter;
use crate::wire::{
    Activation, AlarmOutcome, AutoResponse, EventId, EventKind, FromEngine, HeldSocket, Open, Problem, Seq,
};
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

pub(crate) struct Object {
    // Dropped before what its functions hold.
    realm: Option<Realm>,
    pub(crate) shared: Rc<Shared>,
    sockets: Vec<HeldSocket>,
    auto_response: Option<AutoResponse>,
}

/// What an object was left with when it had its turns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Left {
    Nothing,
    /// The gate may let more through.
    Turns,
}

impl Object {
    pub(crate) fn entry(process: &Rc<Process>) -> Self {
        Self::new(process, Activation::ENTRY, None, Seq(0), None)
    }

    pub(crate) fn open(process: &Rc<Process>, open: Open) -> Self {
        let Open { activation, namespace, id, name, epoch: _, seq, pages, sockets, auto_response } = open;
        let identity = Identity { namespace, id, name };
        let mut object = Self::new(process, activation, Some(identity), seq, Some(pages));
        object.shared.sockets.set(u32::try_from(sockets.len()).unwrap_or(u32::MAX));
        object.sockets = sockets;
        object.auto_response = auto_response;
        object
    }

    fn new(
        process: &Rc<Process>,
        activation: Activation,
        identity: Option<Identity>,
        seq: Seq,
        pages: Option<u32>,
    ) -> Self {
        let surroundings = Rc::clone(&process.surroundings);
        let cpu = Rc::new(Cpu {
            surroundings: Rc::clone(&surroundings),
            until_ns: Cell::new(u64::MAX),
            exceeded: Cell::new(false),
        });
        let memory_bytes = usize::try_from(process.limits.memory_bytes).unwrap_or(usize::MAX);
        let memory = Arc::new(Meter::new(memory_bytes));
        let opening = pages.map(|pages| {
            let cpu = Rc::clone(&cpu);
            let memory = Arc::clone(&memory);
            let over = Rc::new(move || cpu.over());
            Opening { surroundings, activation, limits: Rc::clone(&process.limits), memory, pages, over }
        });
        let gate = Gate::new(process.limits.block_depth);
        let origin = Origin { section: gate.root(), event: None };
        let shared = Shared {
            process: Rc::clone(process),
            activation,
            identity,
            out: RefCell::default(),
            said_bytes: Cell::new(0),
            said_taken_bytes: Cell::new(0),
            storage: RefCell::new(Storage::new(opening, seq)),
            gate: RefCell::new(gate),
            origin: RefCell::new(origin),
            timers: RefCell::new(Timers::default()),
            sections: RefCell::default(),
            events: RefCell::default(),
            calls: RefCell::default(),
            sending: RefCell::default(),
            receiving: RefCell::default(),
            unread: Gone::default(),
            syncing: RefCell::default(),
            given: RefCell::default(),
            held: RefCell::default(),
            lost: Gone::default(),
            last_sync: Cell::new(0),
            known_ids: ops::Known::default(),
            alarm: Cell::new(AlarmRun::None),
            plain_sockets: Cell::new(0),
            sockets: Cell::new(0),
            end: RefCell::new(None),
            cpu,
            lines: Cell::new(0),
            queued_bytes: Cell::new(0),
            rejections: RefCell::default(),
            memory,
        };
        Self { realm: None, shared: Rc::new(shared), sockets: Vec::new(), auto_response: None }
    }

    /// An event has come: it waits at the gate.
    pub(crate) fn arrive(&mut self, event: EventId, kind: EventKind) {
        let shared = &self.shared;
        let mut section = shared.gate.borrow().root();
        if let EventKind::Stub { stub, .. } = &kind
            && let Some(given) = shared.given.borrow().get(stub)
        {
            // Part of what was going on when it was given.
            section = given.section.clone();
        }
        let origin = Origin { section, event: Some(event) };
        shared.events.borrow_mut().insert(event, Running::default());
        let queued_bytes = shared.queued_bytes.get() + weight(&kind);
        let full = shared.gate.borrow().waiting() >= shared.limits().queue_length as usize
            || queued_bytes > shared.limits().queue_bytes;
        // Of each socket one: the host lets them through as well.
        let always = matches!(kind, EventKind::SocketClosed { .. } | EventKind::SocketFailed { .. });
        if full && !always {
            let problem = Problem {
                overloaded: true,
                ..Problem::new("Error", "Durable Object is overloaded. Too many requests queued.")
            };
            let (activation, after) = (shared.activation, Seq(0));
            shared.say(FromEngine::Failed { activation, event, after, problem });
            shared.finish(event);
            return untaken::event(activation, &kind, &mut shared.out.borrow_mut());
        }
        if let EventKind::Fetch(request) = &kind {
            shared.receive_body(&request.body, &origin, BodyOf::Request);
        }
        shared.queued_bytes.set(queued_bytes);
        shared.push(&origin, Delivery::Event { event, kind });
    }

    /// Delivers what the gate lets through; code that goes from section to section always has more.
    pub(crate) fn pump(&mut self) -> Left {
        for _ in 0..MOST_TURNS {
            if self.shared.has_ended() || !self.advance() {
                return Left::Nothing;
            }
            if self.shared.said_bytes.get() > MOST_SAID_BYTES {
                return Left::Turns;
            }
        }
        Left::Turns
    }

    /// The next turn. Whether there was one.
    fn advance(&mut self) -> bool {
        if self.realm.is_none() && !self.shared.gate.borrow().is_idle() {
            // A turn of its own: the constructor may hold up the event that started the object.
            let section = self.shared.gate.borrow().root();
            self.turn(Origin { section, event: None }, |_, _| Ok(()));
            return true;
        }
        let begun = self.shared.gate.borrow_mut().begin();
        if let Some(section) = begun {
            let number = section.number();
            let event = self.shared.sections.borrow().get(&number).and_then(|entry| entry.parent.event);
            self.watch_section(number);
            self.turn(Origin { section, event }, |ctx, on| deliver::section(ctx, on, number));
            return true;
        }
        let passed = self.shared.gate.borrow_mut().pass();
        let Some((section, delivery)) = passed else { return false };
        self.shared.passed(&delivery);
        self.deliver(Origin { section, event: delivery.event(&self.shared) }, delivery);
        true
    }

    fn watch_section(&self, number: u32) {
        let shared = &self.shared;
        let at_ms = shared.process.now_ms.get() + i64::from(shared.limits().block_ms);
        let timer = shared.timers.borrow_mut().set(at_ms, Purpose::Block(number), shared.origin(), u32::MAX);
        if let (Ok(timer), Some(entry)) = (timer, shared.sections.borrow_mut().get_mut(&number)) {
            entry.timer = Some(timer);
        }
    }

    fn deliver(&mut self, origin: Origin, delivery: Delivery) {
        if let Delivery::Event { event, kind } = &delivery {
            let queued_bytes = self.shared.queued_bytes.get().saturating_sub(weight(kind));
            self.shared.queued_bytes.set(queued_bytes);
            match kind {
                EventKind::Alarm { .. } if !self.alarm_is_due(*event) => return self.settle(),
                EventKind::Inspect(what) => {
                    self.timed(Some(*event), |object| super::inspect::answer(&object.shared, *event, what));
                    self.shared.finish(*event);
                    return self.settle();
                }
                EventKind::Fetch(_)
                | EventKind::Rpc(_)
                | EventKind::Stub { .. }
                | EventKind::Alarm { .. }
                | EventKind::SocketMessage { .. }
                | EventKind::SocketClosed { .. }
                | EventKind::SocketFailed { .. } => {}
            }
        }
        let shared = Rc::clone(&self.shared);
        self.turn(origin, |ctx, on| deliver::delivery(ctx, on, &shared, delivery));
    }

    /// The database has the last word on whether there is an alarm to run.
    fn alarm_is_due(&self, event: EventId) -> bool {
        let shared = &self.shared;
        let mut storage = shared.storage.borrow_mut();
        let alarm = match storage.database().and_then(|database| Ok(database.alarm()?)) {
            Ok(alarm) => alarm,
            Err(error) => {
                drop(storage);
                shared.end_with(Problem::reset(format!("The object's storage failed: {error}")));
                return false;
            }
        };
        drop(storage);
        match alarm {
            Some(at_ms) if at_ms <= shared.process.now_ms.get() => {
                shared.alarm.set(AlarmRun::Running { event, scheduled_ms: at_ms });
                true
            }
            Some(_) | None => {
                let outcome = AlarmOutcome::NotDue { at_ms: alarm };
                let (activation, after) = (shared.activation, shared.after());
                shared.say(FromEngine::AlarmRan { activation, event, after, outcome });
                shared.finish(event);
                false
            }
        }
    }

    /// A timer of the object's is due.
    pub(crate) fn tick(&mut self) -> bool {
        let shared = Rc::clone(&self.shared);
        let mut any = false;
        loop {
            let due = shared.timers.borrow_mut().take_due(shared.process.now_ms.get());
            let Some((number, purpose, origin)) = due else { return any };
            any = true;
            match purpose {
                Purpose::Code => shared.push(&origin, Delivery::Timer { number, event: origin.event }),
                Purpose::Block(_) => {
                    shared.end_with(Problem::reset(BLOCKED_TOO_LONG));
                    return true;
                }
            }
        }
    }

    pub(crate) fn durable(&mut self, seq: Seq) {
        let shared = &self.shared;
        shared.storage.borrow_mut().durable(seq);
        let mut syncing = shared.syncing.borrow_mut();
        while let Some(entry) = syncing.first_entry().filter(|entry| entry.key().0 <= seq) {
            let ((_, number), origin) = entry.remove_entry();
            shared.push(&origin, Delivery::Synced { number, event: origin.event });
        }
    }

    /// Ends its life: what waits for it fails. The last frames of the object are appended to `out`.
    pub(crate) fn end(self, problem: &Problem, out: &mut Vec<FromEngine>) {
        let shared = &self.shared;
        let activation = shared.activation;
        // The problem may tell what was read: it waits as an answer would.
        let written = shared.storage.borrow().confirmed();
        // What was said in the turn may rest on writes that never happen.
        let (said, _) = shared.take_said();
        out.extend(said.into_iter().filter_map(|mut frame| match frame.after_mut() {
            // Nobody hears it; but who waits for an answer gets one.
            Some(after) if *after > written => {
                let event = frame.gated().and_then(|gated| gated.answers)?;
                Some(FromEngine::Failed { activation, event, after: written, problem: problem.clone() })
            }
            Some(_) | None => Some(frame),
        }));
        let alarm = shared.alarm.get().event();
        for (event, running) in std::mem::take(&mut *shared.events.borrow_mut()) {
            if !running.answered {
                let problem = problem.clone();
                out.push(if alarm == Some(event) {
                    // An attempt: the handler had begun.
                    let outcome = AlarmOutcome::Failed { problem };
                    FromEngine::AlarmRan { activation, event, after: written, outcome }
                } else {
                    FromEngine::Failed { activation, event, after: written, problem }
                });
            }
            out.push(FromEngine::Finished { activation, event, cpu_us: running.cpu_ns / 1_000 });
        }
        for call in std::mem::take(&mut *shared.calls.borrow_mut()).into_keys() {
            shared.process.routes.borrow_mut().calls.remove(&call);
            out.push(FromEngine::CancelCall { call });
        }
        for stream in std::mem::take(&mut *shared.sending.borrow_mut()).into_keys() {
            shared.process.routes.borrow_mut().sent.remove(&stream);
            out.push(FromEngine::StreamFailed { activation, stream, after: written, why: problem.clone() });
        }
        for stream in std::mem::take(&mut *shared.receiving.borrow_mut()).into_keys() {
            shared.process.routes.borrow_mut().received.remove(&stream);
            out.push(FromEngine::StreamCancelled { stream });
        }
        for stub in std::mem::take(&mut *shared.held.borrow_mut()) {
            out.push(FromEngine::StubDropped { activation, stub, after: written });
        }
        for delivery in shared.gate.borrow_mut().take_all() {
            untaken::delivery(activation, &delivery, out);
        }
        drop(self.realm);
    }

    /// Gives back what an idle object can do without.
    pub(crate) fn rest(&mut self) {
        if let Some(realm) = &self.realm {
            realm.runtime().run_gc();
        }
        self.shared.let_go();
        self.shared.storage.borrow_mut().rest();
    }
}

impl Delivery {
    /// The event that it is about.
    fn event(&self, shared: &Shared) -> Option<EventId> {
        match self {
            Self::Event { event, .. } | Self::Cancel { event } => Some(*event),
            Self::Reply { call, .. } => shared.calls.borrow().get(call).and_then(|origin| origin.event),
            Self::Chunk { stream, .. } | Self::StreamFailed { stream, .. } => {
                shared.receiving.borrow().get(stream).and_then(|origin| origin.event)
            }
            Self::Credit { stream, .. } | Self::StreamCancelled { stream } => {
                shared.sending.borrow().get(stream).and_then(|origin| origin.event)
            }
            Self::Timer { event, .. } | Self::SectionOver { event, .. } | Self::Synced { event, .. } => *event,
            Self::StubDropped { .. } => None,
        }
    }
}
