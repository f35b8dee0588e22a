//! What a deployment knows: engines, activations, events, calls, bodies.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::Instant,
};

use bytes::Bytes;

use super::{
    Version,
    deliver::{EventIn, Waiter},
    effects::{Context, Effect},
    entry::EntryHealth,
    links::{Link, LinkId},
    manage::Deletion,
    sockets::{KeptAutoResponse, Socket},
    stubs::{Holder, Stubs},
};
use crate::{
    host::{
        bodies::{Feeder, Pipe},
        budget::{Budget, Share},
        elsewhere::Peer,
        link::Outbox,
        log::{Commit, ObjectFile, ObjectKey},
        outputs::Outputs,
        process,
    },
    wire::{
        Activation, Answer, CallId, EventId, FromEngine, Limits, NamespaceIndex, ObjectId, Problem, SocketId, StreamId,
        ToEngine,
    },
};

/// Sockets of one process have ids of their own range.
const SOCKETS_OF_A_PROCESS: u32 = 32;
/// Sockets to objects of other hosts and to the outside have ids from here on, and stubs from there.
pub const FIRST_REMOTE: u64 = 3 << 51;

/// Of a deployment's automatic answers and of what its objects say, until it is stored or taken.
const HELD_BYTES: usize = 256 << 20;

pub struct State {
    pub version: Arc<Version>,
    /// Why its modules do not load: it would be the same each time.
    pub unloadable: Option<Problem>,
    pub processes: HashMap<u32, Process>,
    /// The engine for new activations that are under no suspicion.
    pub current: Option<u32>,
    next_process: u32,
    next_event: u64,
    pub objects: HashMap<ObjectKey, Placed>,
    pub events: HashMap<EventId, Event>,
    pub sockets: HashMap<SocketId, Socket>,
    pub auto_responses: HashMap<ObjectKey, KeptAutoResponse>,
    /// What all this holds for objects and clients.
    pub budget: Arc<Budget>,
    /// How often an engine died while it ran the object's code.
    pub deaths: HashMap<ObjectKey, u32>,
    /// Who waits for the end of which object.
    pub deletions: HashMap<ObjectKey, Vec<Deletion>>,
    pub entry: EntryHealth,
    pub links: HashMap<LinkId, Link>,
    pub links_to: HashMap<Peer, LinkId>,
    pub next_link: u64,
    pub next_remote_socket: u64,
    pub stubs: Stubs,
    pub next_remote_stub: u64,
    /// The host is about to end: see [`super::Deployment::drain`].
    pub draining: bool,
    /// Follows the message that is about to be sent.
    pub after: Vec<(u32, ToEngine)>,
}

/// Where an object is.
pub enum Placed {
    Live {
        process: u32,
        activation: Activation,
    },
    /// Its last life is not over yet: not before that is the next one begun.
    Leaving {
        waiting: Waiting,
    },
}

/// Events for an object's next life.
#[derive(Default)]
pub struct Waiting {
    events: VecDeque<Pending>,
    bytes: usize,
}

impl Waiting {
    /// Whether there was room.
    pub fn push(&mut self, pending: Pending, limits: &Limits) -> Result<(), Pending> {
        let bytes = self.bytes + pending.kind.bytes();
        let room = self.events.is_empty() || bytes as u64 <= limits.queue_bytes;
        if (self.events.len() >= limits.queue_length as usize || !room) && !pending.kind.ends_socket() {
            return Err(pending);
        }
        self.bytes = bytes;
        self.events.push_back(pending);
        Ok(())
    }

    pub fn remove(&mut self, event: EventId) {
        if let Some(at) = self.events.iter().position(|pending| pending.event == event)
            && let Some(removed) = self.events.remove(at)
        {
            self.bytes -= removed.kind.bytes();
        }
    }

    pub fn into_events(self) -> VecDeque<Pending> {
        self.events
    }
}

/// An event for an object whose next life has not begun.
pub struct Pending {
    pub event: EventId,
    pub kind: EventIn,
    pub name: Option<String>,
}

/// Something delivered, until it is answered and finished.
pub struct Event {
    pub target: Option<ObjectKey>,
    /// None until it is delivered.
    pub place: Option<(u32, Activation)>,
    /// None once it is answered, or nobody waits any more.
    pub waiter: Option<Waiter>,
    /// The engine has answered: what it said may still be behind the gate.
    pub answered: bool,
    pub finished: bool,
    /// What its object's memory has of it.
    pub bytes: usize,
}

/// How far an activation's life has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    Live,
    /// The engine was told to close it.
    Closing,
    /// The engine knows it no more; commits may be on their way to the disk.
    Ended,
}

pub struct ActivationState {
    /// None: the entry worker.
    pub object: Option<Object>,
    pub phase: Phase,
    pub outputs: Outputs<FromEngine>,
    /// Of what waits there.
    pub held: Share,
    /// Commits whose end is not known.
    pub in_flight: usize,
    pub partial: Option<Partial>,
    /// Delivered and not finished.
    pub running: usize,
    /// Events that others in its engine gave it, and that run.
    pub inside: usize,
    /// Of what was delivered and is not finished.
    pub running_bytes: usize,
    /// Since when it has nothing to do, and whether it can hibernate.
    pub quiet: Option<(Instant, bool)>,
    pub last_used: Instant,
}

/// A commit of which more is to come.
pub struct Partial {
    pub commit: Commit,
    /// Of all of it that has come, encoded; of one that is too large `commit` has no deltas.
    pub bytes: usize,
}

pub struct Object {
    pub key: ObjectKey,
    pub namespace: NamespaceIndex,
    pub epoch: u64,
    pub name: Option<String>,
    /// The name is not in the file yet.
    pub name_is_new: bool,
    pub file: Arc<ObjectFile>,
}

pub enum CallTarget {
    Event(EventId),
    /// A task that ends in an answer.
    Internet(tokio::task::AbortHandle),
    /// An object of another host.
    Link {
        link: LinkId,
        call: u64,
    },
}

/// Of a body that nobody takes yet.
pub enum Piece {
    Data(Bytes),
    End,
    Failed(Problem),
}

impl Piece {
    pub fn into_message(self, stream: StreamId) -> ToEngine {
        match self {
            Piece::Data(data) => ToEngine::Chunk { stream, data: data.into(), end: false },
            Piece::End => ToEngine::Chunk { stream, data: Vec::new(), end: true },
            Piece::Failed(why) => ToEngine::StreamFailed { stream, why },
        }
    }
}

/// Where the chunks of a body go that an engine sends.
pub enum Sink {
    /// To whoever will take it: it comes with a call that has not arrived.
    Held {
        pieces: VecDeque<Piece>,
        bytes: usize,
    },
    Pipe(Arc<Pipe>),
    Relay {
        process: u32,
        stream: StreamId,
    },
    Link {
        link: LinkId,
        call: u64,
    },
}

/// Where a body comes from that an engine gets.
pub enum Source {
    Feeder(Arc<Feeder>),
    Relay { process: u32, stream: StreamId },
    Link { link: LinkId, call: u64 },
}

pub struct Process {
    pub version: Arc<Version>,
    pub outbox: Arc<Outbox>,
    pub handle: Option<Arc<process::Handle>>,
    pub pid: Option<u32>,
    pub loaded: bool,
    /// The only object that lives in it.
    pub alone: Option<ObjectKey>,
    pub activations: HashMap<Activation, ActivationState>,
    next_activation: u32,
    next_stream: u64,
    pub calls: HashMap<CallId, CallTarget>,
    /// Bodies that come with calls and that nobody has taken.
    pub untaken: HashMap<CallId, StreamId>,
    pub bodies_from: HashMap<StreamId, Sink>,
    pub bodies_to: HashMap<StreamId, Source>,
}

/// What is said of an object that lives.
#[derive(Debug, Clone)]
pub struct ObjectStatus {
    pub key: ObjectKey,
    pub class: String,
    pub name: Option<String>,
    pub pages: u32,
    pub events: usize,
    pub last_used: Instant,
}

impl State {
    pub fn new(version: Arc<Version>) -> Self {
        State {
            version,
            unloadable: None,
            processes: HashMap::new(),
            current: None,
            next_process: 1,
            next_event: 1,
            objects: HashMap::new(),
            events: HashMap::new(),
            sockets: HashMap::new(),
            auto_responses: HashMap::new(),
            budget: Arc::new(Budget::new(HELD_BYTES)),
            deaths: HashMap::new(),
            deletions: HashMap::new(),
            entry: EntryHealth::default(),
            links: HashMap::new(),
            links_to: HashMap::new(),
            next_link: 0,
            next_remote_socket: FIRST_REMOTE,
            stubs: Stubs::default(),
            next_remote_stub: FIRST_REMOTE,
            draining: false,
            after: Vec::new(),
        }
    }

    pub fn next_event(&mut self) -> EventId {
        self.next_event += 1;
        EventId(self.next_event)
    }

    /// The engine that takes new activations; starts one if there is none.
    pub fn current_process(&mut self, context: &mut Context<'_>) -> u32 {
        match self.current {
            Some(number) => number,
            None => {
                let number = self.start_process(None, context);
                self.current = Some(number);
                number
            }
        }
    }

    pub fn start_process(&mut self, alone: Option<ObjectKey>, context: &mut Context<'_>) -> u32 {
        let number = self.next_process;
        self.next_process += 1;
        let version = Arc::clone(&self.version);
        let outbox = Arc::new(Outbox::default());
        let first_socket = SocketId(u64::from(number) << SOCKETS_OF_A_PROCESS);
        let load = version.load(first_socket, u32::MAX, context.options.now_ms());
        let mut process = Process {
            version,
            outbox: Arc::clone(&outbox),
            handle: None,
            pid: None,
            loaded: false,
            alone,
            activations: HashMap::new(),
            next_activation: 0,
            next_stream: 0,
            calls: HashMap::new(),
            untaken: HashMap::new(),
            bodies_from: HashMap::new(),
            bodies_to: HashMap::new(),
        };
        process.activations.insert(Activation::ENTRY, ActivationState::new(None, 0, &self.budget, context.now));
        self.processes.insert(number, process);
        self.send(number, &ToEngine::Load(load));
        context.effects.push(Effect::Start { process: number, outbox });
        number
    }

    pub fn activation(&mut self, process: u32, activation: Activation) -> Option<&mut ActivationState> {
        self.processes.get_mut(&process)?.activations.get_mut(&activation)
    }

    /// Queues a message for an engine; nothing happens if it is gone.
    pub fn send(&mut self, process: u32, message: &ToEngine) {
        if let Some(process) = self.processes.get(&process) {
            process.outbox.push(message);
        }
    }

    /// A message that names bodies, and what of them is there already.
    pub fn send_with_bodies(&mut self, process: u32, message: &ToEngine) {
        self.send(process, message);
        for (process, message) in std::mem::take(&mut self.after) {
            self.send(process, &message);
        }
    }

    /// Ends a call of an engine's.
    pub fn reply(&mut self, process: u32, call: CallId, result: Result<Answer, Problem>) {
        if let Some(state) = self.processes.get_mut(&process) {
            state.calls.remove(&call);
            if let Some(stream) = state.untaken.remove(&call) {
                self.cancel_body_from(process, stream);
            }
        }
        if let Ok(Answer::Value(value)) = &result {
            self.stubs_taken(&value.stubs, Holder::Engine(process));
        }
        self.send_with_bodies(process, &ToEngine::Reply { call, result });
    }

    /// Wakes the writers of all that was queued.
    pub fn flush(&self) {
        for process in self.processes.values() {
            process.outbox.flush();
        }
        self.flush_links();
    }

    pub fn forget_body_to(&mut self, process: u32, stream: StreamId) {
        if let Some(process) = self.processes.get_mut(&process) {
            process.bodies_to.remove(&stream);
        }
    }

    pub fn cancel_body_from(&mut self, process: u32, stream: StreamId) {
        if let Some(process) = self.processes.get_mut(&process)
            && process.bodies_from.remove(&stream).is_some()
        {
            process.outbox.push(&ToEngine::StreamCancelled { stream });
        }
    }

    pub fn objects(&self) -> Vec<ObjectStatus> {
        let activations = self
            .processes
            .values()
            .flat_map(|process| process.activations.values().map(move |activation| (process, activation)));
        activations
            .filter_map(|(process, activation)| {
                let object = activation.object.as_ref()?;
                let class = &process.version.namespaces.get(usize::from(object.namespace.0))?.class;
                Some(ObjectStatus {
                    key: object.key,
                    class: class.clone(),
                    name: object.name.clone(),
                    pages: object.file.header().map_or(0, |header| header.pages),
                    events: activation.running + activation.inside,
                    last_used: activation.last_used,
                })
            })
            .collect()
    }
}

impl ActivationState {
    pub fn new(object: Option<Object>, seq: u64, budget: &Arc<Budget>, now: Instant) -> Self {
        ActivationState {
            object,
            phase: Phase::Live,
            outputs: Outputs::new(seq),
            held: Share::none(budget),
            in_flight: 0,
            partial: None,
            running: 0,
            inside: 0,
            running_bytes: 0,
            quiet: None,
            last_used: now,
        }
    }
}

impl Process {
    pub fn next_activation(&mut self) -> Activation {
        self.next_activation += 1;
        Activation(self.next_activation)
    }

    pub fn next_stream(&mut self) -> StreamId {
        self.next_stream += 1;
        StreamId(self.next_stream)
    }
}

/// The key of an object's file.
pub fn key_of(version: &Version, namespace: NamespaceIndex, id: ObjectId) -> Option<ObjectKey> {
    let namespace = version.namespaces.get(usize::from(namespace.0))?;
    Some(ObjectKey { namespace: namespace.uid, id: id.0 })
}
