//! A host in memory: it keeps databases, holds back what waits for a commit, and routes calls between objects.

mod asks;
mod disk;
mod world;

pub(super) use asks::{Outcome, request};
pub(super) use disk::Disk;

use crate::engine::{Engine, Surroundings};
use crate::wire::{
    self, Activation, Answer, Commit, Destination, EventId, EventKind, Frames, FromEngine, HeldSocket, HttpRequest,
    Limits, Load, Module, ModuleKind, Namespace, NamespaceIndex, ObjectCall, ObjectId, Problem, Seq, SocketId,
    ToEngine,
};
use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::rc::Rc;
use world::World;

pub(super) const START_MS: i64 = 1_700_000_000_000;

/// An object as the host knows it.
struct Kept {
    file: Rc<RefCell<Vec<u8>>>,
    seq: Seq,
    alarm: Option<i64>,
    live: Option<Activation>,
    sockets: Vec<HeldSocket>,
}

/// Whom an event is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Caller {
    Test,
    Call(wire::CallId),
}

pub(super) struct Host {
    engine: Engine,
    pub world: Rc<World>,
    pub now_ms: i64,
    pub disk: Disk,
    namespaces: Vec<Namespace>,
    objects: BTreeMap<(NamespaceIndex, ObjectId), Kept>,
    activations: HashMap<Activation, (NamespaceIndex, ObjectId)>,
    next_activation: u32,
    next_event: u64,
    callers: HashMap<EventId, Caller>,
    heard: VecDeque<FromEngine>,
    hearing: bool,
    /// Frames that wait for a commit of their activation.
    held: Vec<(Activation, Seq, FromEngine)>,
    /// Commits that are not durable yet, in order.
    commits: VecDeque<Commit>,
    durable: HashMap<Activation, Seq>,
    pub outcomes: HashMap<EventId, Outcome>,
    pub finished: Vec<EventId>,
    pub console: Vec<String>,
    /// What left the machine: requests to the internet and frames of sockets, in order.
    pub left: Vec<String>,
    pub internet: VecDeque<(wire::CallId, HttpRequest)>,
    pub resets: Vec<Problem>,
    pub quiet: Vec<Activation>,
    hibernates: HashMap<Activation, bool>,
    pub wake_ms: Option<i64>,
    pub loaded: Option<Result<Vec<String>, Problem>>,
    pub commit_count: u32,
    /// Calls that the host was asked to deliver.
    pub calls: u32,
    /// Objects that would not be closed.
    pub stays: u32,
    inside: HashMap<Activation, u32>,
    /// Who gave them.
    stubs: HashMap<wire::StubId, Activation>,
    /// Every frame of the engine, as its bytes: two runs of the same seed say the same.
    pub said: Vec<u8>,
}

impl Host {
    pub(super) fn new(source: &str, classes: &[&str]) -> Self {
        Self::with(source, classes, Limits::default(), 7)
    }

    pub(super) fn with(source: &str, classes: &[&str], limits: Limits, seed: u64) -> Self {
        let namespaces: Vec<Namespace> = classes
            .iter()
            .enumerate()
            .map(|(at, class)| Namespace {
                binding: class.to_uppercase(),
                class: (*class).to_owned(),
                key: [at as u8 + 1; 32],
                here: true,
            })
            .collect();
        let world = Rc::new(World::new(seed));
        let surroundings: Rc<dyn Surroundings> = Rc::clone(&world) as _;
        let mut host = Self {
            engine: Engine::new(surroundings),
            world,
            now_ms: START_MS,
            disk: Disk::AtOnce,
            namespaces: namespaces.clone(),
            objects: BTreeMap::new(),
            activations: HashMap::new(),
            next_activation: 1,
            next_event: 1,
            callers: HashMap::new(),
            heard: VecDeque::new(),
            hearing: false,
            held: Vec::new(),
            commits: VecDeque::new(),
            durable: HashMap::new(),
            outcomes: HashMap::new(),
            finished: Vec::new(),
            console: Vec::new(),
            left: Vec::new(),
            internet: VecDeque::new(),
            resets: Vec::new(),
            quiet: Vec::new(),
            hibernates: HashMap::new(),
            wake_ms: None,
            loaded: None,
            commit_count: 0,
            calls: 0,
            stays: 0,
            inside: HashMap::new(),
            stubs: HashMap::new(),
            said: Vec::new(),
        };
        host.send(ToEngine::Load(Load {
            modules: vec![Module { name: "index.js".into(), kind: ModuleKind::Esm, body: source.into() }],
            main: "index.js".into(),
            vars: vec![("GREETING".into(), "\"hello\"".into())],
            namespaces,
            services: Vec::new(),
            limits,
            first_socket: SocketId(1),
            now_ms: START_MS,
        }));
        host
    }

    /// One frame to the engine through its bytes, and all that it leads to that waits for nothing.
    #[expect(clippy::needless_pass_by_value, reason = "it is sent")]
    pub(super) fn send(&mut self, message: ToEngine) {
        let mut bytes = Vec::new();
        wire::write_frame(&message, &mut bytes).unwrap();
        let mut frames = Frames::default();
        frames.push(&bytes);
        self.engine.take(frames.next_message().unwrap().unwrap());
        self.engine.end_batch();
        let mut said = Vec::new();
        for frame in self.engine.drain() {
            wire::write_frame(&frame, &mut said).unwrap();
        }
        self.said.extend_from_slice(&said);
        let mut frames = Frames::default();
        frames.push(&said);
        while let Some(frame) = frames.next_message::<FromEngine>().unwrap() {
            self.heard.push_back(frame);
        }
        // What a frame leads to comes after the frames before it.
        let hears = std::mem::replace(&mut self.hearing, true);
        self.hear_all(hears);
    }

    fn hear_all(&mut self, hears: bool) {
        if !hears {
            while let Some(frame) = self.heard.pop_front() {
                self.hear(frame);
            }
            self.hearing = false;
        }
    }

    fn hear(&mut self, mut frame: FromEngine) {
        let gated = frame.gated().map(|gated| (gated.activation, *gated.after));
        if let Some((activation, after)) = gated
            && after > self.durable.get(&activation).copied().unwrap_or(Seq(0))
        {
            self.held.push((activation, after, frame));
            return;
        }
        self.act(frame);
    }

    fn act(&mut self, frame: FromEngine) {
        match frame {
            FromEngine::Loaded { handlers, .. } => self.loaded = Some(Ok(handlers)),
            FromEngine::LoadFailed { problem } => self.loaded = Some(Err(problem)),
            FromEngine::ReadPages { .. } => unreachable!("pages are read through the surroundings"),
            FromEngine::Commit(commit) => {
                self.commits.push_back(commit);
                if self.disk == Disk::AtOnce {
                    self.sync();
                }
            }
            FromEngine::Response { event, response, .. } => self.answer(event, Outcome::Response(response)),
            FromEngine::Returned { activation, event, value, .. } => {
                self.give(activation, &value.stubs);
                self.answer(event, Outcome::Value(value));
            }
            FromEngine::Failed { event, problem, .. } => self.answer(event, Outcome::Failed(problem)),
            FromEngine::AlarmRan { event, outcome, .. } => self.answer(event, Outcome::Alarm(outcome)),
            FromEngine::Inspected { event, found, .. } => self.answer(event, Outcome::Inspected(found)),
            FromEngine::Finished { event, .. } => self.finished.push(event),
            FromEngine::Call { activation, call, destination, .. } => {
                let args = match &destination {
                    Destination::Object { what: ObjectCall::Rpc(rpc), .. } | Destination::Stub { rpc, .. } => {
                        rpc.args.as_ref()
                    }
                    Destination::Object { what: ObjectCall::Fetch(_), .. } | Destination::Internet(_) => None,
                };
                if let Some(args) = args {
                    self.give(activation, &args.stubs);
                }
                self.calls += 1;
                self.route(call, destination);
            }
            FromEngine::SocketAccept { activation, socket, tags, hibernates } => {
                if hibernates
                    && let Some(kept) = self.activations.get(&activation).and_then(|key| self.objects.get_mut(key))
                {
                    kept.sockets.push(HeldSocket {
                        socket,
                        tags,
                        attachment: None,
                        auto_response_ms: None,
                        closing: false,
                    });
                }
                self.left.push(format!("accept {}", socket.0));
            }
            FromEngine::SocketSend { socket, data, .. } => self.left.push(match data {
                wire::SocketData::Text(text) => format!("{} <- {text}", socket.0),
                wire::SocketData::Binary(bytes) => format!("{} <- {bytes:?}", socket.0),
            }),
            FromEngine::SocketClose { socket, code, reason, .. } => {
                self.left.push(format!("close {} {code:?} {reason}", socket.0));
            }
            FromEngine::SocketAttachment { activation, socket, value } => {
                if let Some(kept) = self.activations.get(&activation).and_then(|key| self.objects.get_mut(key)) {
                    for held in kept.sockets.iter_mut().filter(|held| held.socket == socket) {
                        held.attachment = value.clone();
                    }
                }
            }
            FromEngine::Chunk { stream, data, end, .. } => {
                self.left.push(format!("chunk {} {} {end}", stream.0, data.len()));
                self.send(ToEngine::Credit { stream, bytes: data.len() as u32 });
            }
            FromEngine::StreamFailed { stream, .. } => self.left.push(format!("stream {} failed", stream.0)),
            FromEngine::Console { level, text, .. } => self.console.push(format!("{level:?} {text}")),
            FromEngine::Quiet { activation, hibernates } => {
                self.quiet.push(activation);
                self.hibernates.insert(activation, hibernates);
            }
            FromEngine::Reset { activation, problem } => {
                self.resets.push(problem);
                self.forget(activation);
            }
            FromEngine::Closed { activation } => self.forget(activation),
            FromEngine::Wake { at_ms } => self.wake_ms = at_ms,
            FromEngine::CancelCall { call } => self.callers.retain(|_, caller| *caller != Caller::Call(call)),
            FromEngine::SocketUntaken { socket } => self.left.push(format!("untaken {}", socket.0)),
            FromEngine::StreamCancelled { stream } => self.left.push(format!("cancel {}", stream.0)),
            FromEngine::AutoResponse { .. } | FromEngine::Credit { .. } => {}
            FromEngine::Inside { activation, running, .. } => {
                self.inside.insert(activation, running);
            }
            FromEngine::Stays { .. } => self.stays += 1,
            FromEngine::StubDropped { stub, .. } => {
                if let Some(activation) = self.stubs.remove(&stub) {
                    self.send(ToEngine::StubDropped { activation, stub });
                }
            }
            FromEngine::StubWithdrawn { stub } => drop(self.stubs.remove(&stub)),
            FromEngine::StubsPassed { activation, stubs } => self.give(activation, &stubs),
        }
    }

    /// What the activation had committed still becomes durable, and what rests on that leaves then.
    fn forget(&mut self, activation: Activation) {
        if let Some(kept) = self.activations.get(&activation).and_then(|key| self.objects.get_mut(key)) {
            kept.live = None;
        }
    }

    fn answer(&mut self, event: EventId, outcome: Outcome) {
        match self.callers.remove(&event) {
            Some(Caller::Call(call)) => {
                let result = match outcome {
                    Outcome::Response(response) => Ok(Answer::Http(response)),
                    Outcome::Value(value) => Ok(Answer::Value(value)),
                    Outcome::Failed(problem) => Err(problem),
                    Outcome::Alarm(_) | Outcome::Inspected(_) => return,
                };
                self.send(ToEngine::Reply { call, result });
            }
            Some(Caller::Test) => {
                self.outcomes.insert(event, outcome);
            }
            None => {}
        }
    }

    fn give(&mut self, activation: Activation, stubs: &[wire::StubId]) {
        self.stubs.extend(stubs.iter().map(|stub| (*stub, activation)));
    }

    fn route(&mut self, call: wire::CallId, destination: Destination) {
        match destination {
            Destination::Stub { stub, rpc } => {
                let activation = self.stubs[&stub];
                let event = EventId(self.next_event);
                self.next_event += 1;
                self.callers.insert(event, Caller::Call(call));
                self.send(ToEngine::Event { activation, event, kind: EventKind::Stub { stub, rpc } });
            }
            Destination::Internet(request) => {
                self.left.push(format!("{} {}", request.method, request.url));
                self.internet.push_back((call, request));
            }
            Destination::Object { namespace, id, name, what } => {
                let kind = match what {
                    ObjectCall::Fetch(request) => EventKind::Fetch(request),
                    ObjectCall::Rpc(rpc) => EventKind::Rpc(rpc),
                };
                self.event(namespace, id, name, kind, Caller::Call(call));
            }
        }
    }
}
