//! What the operations that JavaScript calls, and the turns in which it does, have in common.

use super::gates::Gate;
use super::handles::Gone;
use super::modules::Library;
use super::realm::Scripts;
use super::storage::Storage;
use super::surroundings::Surroundings;
use super::timers::{Origin, Timers};
use crate::meter::Meter;
use crate::sqlite::database::Committed;
use crate::wire::{
    Activation, Answer, Body, CallId, Commit, EventId, EventKind, FromEngine, Level, Limits, Namespace, NamespaceIndex,
    ObjectId, Problem, Seq, Service, SocketId, StreamId, StubId,
};
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::rc::Rc;
use std::sync::Arc;

/// A commit's frames are no longer than about this.
const COMMIT_PART_BYTES: usize = 4 << 20;

/// What a delta takes beside its bytes, at most.
const DELTA_OVERHEAD_BYTES: usize = 12;

const BODY_OVER: &str = "The body belongs to an event that is over: it can be read no more.";
const BODY_UNREAD: &str = "Nobody can read the body any more.";

/// What all objects of the process have in common.
pub(crate) struct Process {
    pub surroundings: Rc<dyn Surroundings>,
    pub limits: Rc<Limits>,
    pub namespaces: Vec<Namespace>,
    pub services: Vec<Service>,
    pub vars: Vec<(String, String)>,
    pub main: String,
    pub library: Rc<Library>,
    pub scripts: Rc<Scripts>,
    pub now_ms: Cell<i64>,
    /// CPU time at the end of the last turn of this batch: the next one begins there.
    pub cpu_ns: Cell<Option<u64>>,
    pub last_call: Cell<u64>,
    pub last_stream: Cell<u64>,
    pub next_socket: Cell<u64>,
    pub next_stub: Cell<u64>,
    /// Whose calls and streams they are.
    pub routes: RefCell<Routes>,
}

#[derive(Default)]
pub(crate) struct Routes {
    pub calls: HashMap<CallId, Activation>,
    /// Bodies that objects send.
    pub sent: HashMap<StreamId, Activation>,
    /// Bodies that objects receive.
    pub received: HashMap<StreamId, Activation>,
}

fn count_up(cell: &Cell<u64>) -> u64 {
    cell.set(cell.get() + 1);
    cell.get()
}

impl Process {
    pub(crate) fn next_call(&self) -> CallId {
        CallId(count_up(&self.last_call))
    }

    pub(crate) fn next_stream(&self) -> StreamId {
        StreamId(count_up(&self.last_stream))
    }

    pub(crate) fn new_stub(&self) -> StubId {
        StubId(self.next_stub.replace(self.next_stub.get() + 1))
    }

    pub(crate) fn new_socket(&self) -> SocketId {
        SocketId(self.next_socket.replace(self.next_socket.get() + 1))
    }
}

/// Which object this is.
#[derive(Debug, Clone)]
pub(crate) struct Identity {
    pub namespace: NamespaceIndex,
    pub id: ObjectId,
    pub name: Option<String>,
}

/// Something for an object's code.
#[derive(Debug)]
pub(crate) enum Delivery {
    Event { event: EventId, kind: EventKind },
    Cancel { event: EventId },
    Reply { call: CallId, result: Result<Answer, Problem> },
    Timer { number: u32, event: Option<EventId> },
    SectionOver { number: u32, event: Option<EventId> },
    Synced { number: u32, event: Option<EventId> },
    Chunk { stream: StreamId, data: Vec<u8>, end: bool },
    StreamFailed { stream: StreamId, why: Problem },
    Credit { stream: StreamId, bytes: u32 },
    StreamCancelled { stream: StreamId },
    StubDropped { stub: StubId },
}

/// What an event weighs while it waits.
pub(crate) fn weight(kind: &EventKind) -> u64 {
    let bytes = match kind {
        EventKind::Fetch(request) => request.held_bytes(),
        EventKind::Rpc(rpc) | EventKind::Stub { stub: _, rpc } => rpc.held_bytes(),
        EventKind::SocketMessage { data, .. } => data.held_bytes(),
        EventKind::Alarm { .. }
        | EventKind::SocketClosed { .. }
        | EventKind::SocketFailed { .. }
        | EventKind::Inspect(_) => 0,
    };
    bytes as u64
}

impl Delivery {
    /// What the object's memory has of it while it waits. Events have a limit of their own: nobody asked for them.
    fn kept_bytes(&self) -> usize {
        match self {
            Self::Reply { result: Ok(answer), .. } => answer.held_bytes(),
            Self::Reply { result: Err(problem), .. } | Self::StreamFailed { why: problem, .. } => problem.held_bytes(),
            Self::Chunk { data, .. } => data.len(),
            Self::Event { .. }
            | Self::Cancel { .. }
            | Self::Timer { .. }
            | Self::SectionOver { .. }
            | Self::Synced { .. }
            | Self::Credit { .. }
            | Self::StreamCancelled { .. }
            | Self::StubDropped { .. } => 0,
        }
    }
}

/// What a body came with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BodyOf {
    Request,
    Response,
}

/// An event that is not over.
#[derive(Debug, Default)]
pub(crate) struct Running {
    pub answered: bool,
    pub cpu_ns: u64,
    /// Bodies that are received no longer than it runs.
    pub bodies: Vec<StreamId>,
}

/// Why an object is no more.
#[derive(Debug, Clone)]
pub(crate) struct End {
    pub problem: Problem,
}

/// One live object, without its JavaScript.
pub(crate) struct Shared {
    pub process: Rc<Process>,
    pub activation: Activation,
    pub identity: Option<Identity>,
    /// What the turn says; it leaves when the turn is over.
    pub out: RefCell<Vec<FromEngine>>,
    /// How much that is, and what of it is taken from the object's memory.
    pub said_bytes: Cell<usize>,
    pub said_taken_bytes: Cell<usize>,
    pub storage: RefCell<Storage>,
    pub gate: RefCell<Gate<Delivery>>,
    pub origin: RefCell<Origin>,
    pub timers: RefCell<Timers>,
    pub sections: RefCell<HashMap<u32, SectionEntry>>,
    pub events: RefCell<BTreeMap<EventId, Running>>,
    pub calls: RefCell<BTreeMap<CallId, Origin>>,
    /// Bodies under way, either direction.
    pub sending: RefCell<BTreeMap<StreamId, Origin>>,
    pub receiving: RefCell<BTreeMap<StreamId, Origin>>,
    /// Of the bodies that it receives, those that code can reach no more.
    pub unread: Gone,
    /// Those who wait in `storage.sync()`.
    pub syncing: RefCell<BTreeMap<(Seq, u32), Origin>>,
    pub last_sync: Cell<u32>,
    pub known_ids: super::ops::Known,
    pub alarm: Cell<AlarmRun>,
    /// What the object gave others to call, with where it was at then.
    pub given: RefCell<HashMap<StubId, Origin>>,
    /// What it holds that others gave it.
    pub held: RefCell<HashSet<StubId>>,
    /// Of what it holds, what code can reach no more.
    pub lost: Gone,
    /// Sockets of which the object is the only keeper: they do not outlive its memory.
    pub plain_sockets: Cell<u32>,
    pub sockets: Cell<u32>,
    pub end: RefCell<Option<End>>,
    pub cpu: Rc<Cpu>,
    /// Of JavaScript and database.
    pub memory: Arc<Meter>,
    pub lines: Cell<u32>,
    /// Of the events that wait at the gate.
    pub queued_bytes: Cell<u64>,
    /// Promises rejected in this turn that nobody handles, by their address.
    pub rejections: RefCell<Vec<(usize, String)>>,
}

pub(crate) struct SectionEntry {
    pub section: super::gates::Section,
    /// Where it was asked for.
    pub parent: Origin,
    pub timer: Option<u32>,
}

/// What the alarm handler that runs now was started for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum AlarmRun {
    #[default]
    None,
    /// While it runs, the alarm reads as not set, and is deleted when it succeeds.
    Running { event: EventId, scheduled_ms: i64 },
    /// The handler has set or deleted the alarm: what it did stays.
    Changed { event: EventId },
}

impl AlarmRun {
    /// Which event the handler runs for.
    pub(crate) fn event(self) -> Option<EventId> {
        match self {
            Self::None => None,
            Self::Running { event, .. } | Self::Changed { event } => Some(event),
        }
    }
}

/// The limit on CPU time of the delivery that runs.
pub(crate) struct Cpu {
    pub surroundings: Rc<dyn Surroundings>,
    pub until_ns: Cell<u64>,
    pub exceeded: Cell<bool>,
}

impl Cpu {
    /// Whether the time is used up; once it is, it stays so.
    pub(crate) fn over(&self) -> bool {
        if !self.exceeded.get() && self.surroundings.cpu_ns() >= self.until_ns.get() {
            self.exceeded.set(true);
        }
        self.exceeded.get()
    }
}

impl Shared {
    pub(crate) fn limits(&self) -> &Limits {
        &self.process.limits
    }

    pub(crate) fn say(&self, frame: FromEngine) {
        let bytes = frame.held_bytes();
        self.said_bytes.set(self.said_bytes.get() + bytes);
        // The pages of a commit are counted where they are. What has no room ends the object with the turn.
        if !matches!(frame, FromEngine::Commit(_)) && self.memory.take(bytes) {
            self.said_taken_bytes.set(self.said_taken_bytes.get() + bytes);
        }
        self.out.borrow_mut().push(frame);
    }

    /// What was said leaves the object, and how much it is.
    pub(crate) fn take_said(&self) -> (Vec<FromEngine>, usize) {
        self.memory.give_back(self.said_taken_bytes.take());
        (std::mem::take(&mut *self.out.borrow_mut()), self.said_bytes.take())
    }

    pub(crate) fn after(&self) -> Seq {
        self.storage.borrow().after()
    }

    pub(crate) fn origin(&self) -> Origin {
        self.origin.borrow().clone()
    }

    /// The object's life is over when the turn is; the first reason counts.
    pub(crate) fn end_with(&self, problem: Problem) {
        self.end.borrow_mut().get_or_insert(End { problem });
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.end.borrow().is_some() || self.memory_exceeded()
    }

    pub(crate) fn memory_exceeded(&self) -> bool {
        self.memory.exceeded()
    }

    pub(crate) fn push(&self, origin: &Origin, delivery: Delivery) {
        self.memory.take(delivery.kept_bytes());
        self.gate.borrow_mut().push(&origin.section, delivery);
    }

    /// What waited at the gate waits no more.
    pub(crate) fn passed(&self, delivery: &Delivery) {
        self.memory.give_back(delivery.kept_bytes());
    }

    /// A line of the console, cut to its limit.
    pub(crate) fn print(&self, level: Level, mut text: String) {
        let (lines, most) = (self.lines.get(), self.limits().console_lines);
        if lines > most {
            return;
        }
        self.lines.set(lines + 1);
        if lines == most {
            text = "more lines were written than are kept of one delivery".to_owned();
        }
        let bytes = self.limits().console_bytes as usize;
        if text.len() > bytes {
            let cut = (0..=bytes).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
            text.truncate(cut);
            text.push('…');
        }
        let at_ms = self.process.now_ms.get();
        self.say(FromEngine::Console { activation: self.activation, level, text, at_ms });
    }

    /// A transaction leaves as frames that the host takes.
    pub(crate) fn send_commit(&self, committed: Option<Committed>) {
        let Some(Committed { seq, change, alarm }) = committed else { return };
        let mut part = Vec::new();
        let mut bytes = 0;
        let frame = |deltas, complete| {
            FromEngine::Commit(Commit {
                activation: self.activation,
                seq,
                pages: change.pages,
                deltas,
                alarm,
                complete,
            })
        };
        for delta in change.deltas {
            bytes += delta.bytes.len() + DELTA_OVERHEAD_BYTES;
            part.push(delta);
            if bytes >= COMMIT_PART_BYTES {
                self.say(frame(std::mem::take(&mut part), false));
                bytes = 0;
            }
        }
        self.say(frame(part, true));
    }

    /// The event and what it left running are over.
    pub(crate) fn finish(&self, event: EventId) {
        let running = self.events.borrow_mut().remove(&event);
        if let Some(Running { answered: _, cpu_ns, bodies }) = running {
            for stream in bodies {
                self.cut(stream, BODY_OVER);
            }
            self.say(FromEngine::Finished { activation: self.activation, event, cpu_us: cpu_ns / 1_000 });
        }
    }

    pub(crate) fn stop_sending(&self, stream: StreamId) -> bool {
        self.process.routes.borrow_mut().sent.remove(&stream);
        self.sending.borrow_mut().remove(&stream).is_some()
    }

    pub(crate) fn stop_receiving(&self, stream: StreamId) -> Option<Origin> {
        self.process.routes.borrow_mut().received.remove(&stream);
        let origin = self.receiving.borrow_mut().remove(&stream)?;
        let mut events = self.events.borrow_mut();
        if let Some(running) = origin.event.and_then(|event| events.get_mut(&event)) {
            running.bodies.retain(|body| *body != stream);
        }
        drop(events);
        Some(origin)
    }

    /// A body that the host sends comes with a message for this object.
    pub(crate) fn receive_body(&self, body: &Body, origin: &Origin, of: BodyOf) {
        let Body::Stream { stream, .. } = body else { return };
        self.receiving.borrow_mut().insert(*stream, origin.clone());
        self.process.routes.borrow_mut().received.insert(*stream, self.activation);
        // What an object asked for is its own, and may be read in later events. The entry worker has nothing but its events.
        if of == BodyOf::Request || self.activation == Activation::ENTRY {
            let mut events = self.events.borrow_mut();
            match origin.event.and_then(|event| events.get_mut(&event)) {
                Some(running) => running.bodies.push(*stream),
                None => {
                    drop(events);
                    self.cut(*stream, BODY_OVER);
                }
            }
        }
    }

    /// Nobody will read more of a body: whoever sends it is told, and so is the code that may still have it.
    fn cut(&self, stream: StreamId, why: &str) {
        if let Some(origin) = self.stop_receiving(stream) {
            self.say(FromEngine::StreamCancelled { stream });
            self.push(&origin, Delivery::StreamFailed { stream, why: Problem::new("Error", why) });
        }
    }

    /// Ends bodies and drops stubs that code can reach no more.
    pub(crate) fn let_go(&self) {
        for stream in self.unread.take() {
            self.cut(StreamId(stream), BODY_UNREAD);
        }
        for stub in self.lost.take() {
            self.drop_stub(StubId(stub));
        }
    }

    /// What it was given is not called any more.
    pub(crate) fn drop_stub(&self, stub: StubId) {
        if self.held.borrow_mut().remove(&stub) {
            self.say(FromEngine::StubDropped { activation: self.activation, stub, after: self.after() });
        }
    }

    /// Whether something came of what no message led to.
    pub(crate) fn has_to_say(&self) -> bool {
        !self.out.borrow().is_empty()
    }

    /// What came with arguments or a result is the object's from now on; there may be too much of it.
    pub(crate) fn hold(&self, stubs: &[StubId]) -> Result<(), Problem> {
        let most = self.limits().stubs as usize;
        let mut held = self.held.borrow_mut();
        if held.len() + stubs.len() <= most {
            held.extend(stubs);
            return Ok(());
        }
        drop(held);
        for stub in stubs {
            self.say(FromEngine::StubDropped { activation: self.activation, stub: *stub, after: self.after() });
        }
        Err(Problem::new(
            "RangeError",
            format!("more than {most} RPC stubs are held: dispose of those no longer needed"),
        ))
    }

    /// Whether its memory has something that no message brings back.
    pub(crate) fn is_irreplaceable(&self) -> bool {
        self.plain_sockets.get() > 0 || !self.given.borrow().is_empty() || !self.held.borrow().is_empty()
    }

    /// Whether nothing runs, waits or is armed.
    pub(crate) fn is_quiet(&self) -> bool {
        self.events.borrow().is_empty()
            && self.calls.borrow().is_empty()
            && self.sending.borrow().is_empty()
            && self.syncing.borrow().is_empty()
            && self.gate.borrow().is_idle()
            && !self.timers.borrow().code_waits()
    }
}
