//! A host in memory: it keeps databases, holds back what waits for a commit, and routes calls between objects.

use crate::engine::{Engine, PageError, Surroundings, ops};
use crate::wire::{
    self, Activation, Answer, Body, Commit, Destination, EventId, EventKind, Frames, FromEngine, Headers, HeldSocket,
    HttpRequest, HttpResponse, Limits, Load, Module, ModuleKind, Namespace, NamespaceIndex, ObjectCall, ObjectId, Open,
    PAGE_BYTES, Problem, Redirect, Seq, SocketId, ToEngine,
};
use rand::rngs::StdRng;
use rand::{Rng as _, RngCore as _, SeedableRng as _};
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::rc::Rc;

pub(super) const START_MS: i64 = 1_700_000_000_000;

/// What the engine asks of its process, out of memory and a seed.
pub(super) struct World {
    files: RefCell<HashMap<Activation, Rc<RefCell<Vec<u8>>>>>,
    cpu_ns: Cell<u64>,
    pub cpu_step_ns: Cell<u64>,
    random: RefCell<StdRng>,
}

impl Surroundings for World {
    fn read_pages(&self, activation: Activation, first: u32, count: u32) -> Result<Vec<u8>, PageError> {
        let files = self.files.borrow();
        let last = first + count - 1;
        let file = files.get(&activation).ok_or(PageError::Unavailable { first, last })?.borrow();
        let start = (first as usize - 1) * PAGE_BYTES;
        let mut out = vec![0; count as usize * PAGE_BYTES];
        let have = file.len().saturating_sub(start).min(out.len());
        out[..have].copy_from_slice(&file[start..start + have]);
        Ok(out)
    }

    fn turn_begins(&self, _activation: Activation, _event: Option<EventId>, _cpu_ns: u64) {}

    fn turn_ends(&self) {}

    fn cpu_ns(&self) -> u64 {
        self.cpu_ns.set(self.cpu_ns.get() + self.cpu_step_ns.get());
        self.cpu_ns.get()
    }

    fn fill_random(&self, out: &mut [u8]) {
        self.random.borrow_mut().fill_bytes(out);
    }
}

/// An object as the host knows it.
struct Kept {
    file: Rc<RefCell<Vec<u8>>>,
    seq: Seq,
    alarm: Option<i64>,
    live: Option<Activation>,
    sockets: Vec<HeldSocket>,
}

/// When commits become durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Disk {
    AtOnce,
    /// When the test says so.
    Held,
}

/// Whom an event is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Caller {
    Test,
    Call(wire::CallId),
}

/// How an event ended.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Outcome {
    Response(HttpResponse),
    Value(wire::Passed),
    Failed(Problem),
    Alarm(wire::AlarmOutcome),
    Inspected(String),
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
        let world = Rc::new(World {
            files: RefCell::default(),
            cpu_ns: Cell::new(0),
            cpu_step_ns: Cell::new(1_000),
            random: RefCell::new(StdRng::seed_from_u64(seed)),
        });
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
            FromEngine::Inspected { event, json, .. } => self.answer(event, Outcome::Inspected(json)),
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

    /// Whether it said of itself, when it was quiet last, that it can hibernate.
    pub(super) fn hibernates(&self, name: &str) -> Option<bool> {
        self.hibernates.get(&self.live(name)?).copied()
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

    /// Makes the next commit durable. Whether there was one.
    pub(super) fn sync_one(&mut self) -> bool {
        let Some(commit) = self.commits.pop_front() else { return false };
        let Commit { activation, seq, pages, deltas, alarm, complete } = commit;
        self.commit_count += u32::from(complete);
        let Some(kept) = self.activations.get(&activation).and_then(|key| self.objects.get_mut(key)) else {
            return true;
        };
        let mut file = kept.file.borrow_mut();
        file.resize(pages as usize * PAGE_BYTES, 0);
        for delta in deltas {
            let at = (delta.page as usize - 1) * PAGE_BYTES + usize::from(delta.offset);
            file[at..at + delta.bytes.len()].copy_from_slice(&delta.bytes);
        }
        drop(file);
        if !complete {
            return true;
        }
        assert_eq!(seq, Seq(kept.seq.0 + 1), "commits come in order");
        kept.seq = seq;
        match alarm {
            wire::AlarmChange::Unchanged => {}
            wire::AlarmChange::Cleared => kept.alarm = None,
            wire::AlarmChange::Set { at_ms } => kept.alarm = Some(at_ms),
        }
        self.durable.insert(activation, seq);
        // What the commit held back leaves before the engine is heard again, as with the host.
        let hears = std::mem::replace(&mut self.hearing, true);
        self.send(ToEngine::Durable { activation, seq });
        let (free, held) = std::mem::take(&mut self.held)
            .into_iter()
            .partition::<Vec<_>, _>(|(of, after, _)| *of == activation && *after <= seq);
        self.held = held;
        for (_, _, frame) in free {
            self.act(frame);
        }
        self.hear_all(hears);
        true
    }

    pub(super) fn sync(&mut self) {
        while self.sync_one() {}
    }

    pub(super) fn unsynced(&self) -> usize {
        self.commits.len()
    }

    pub(super) fn has_unsynced(&self, name: &str) -> bool {
        self.live(name).is_some_and(|live| self.commits.iter().any(|commit| commit.activation == live))
    }

    /// The process dies: all activations end, what was not durable is lost, and so is every answer that waited for it.
    pub(super) fn fail_commits(&mut self, name: &str) {
        let activation = self.live(name).unwrap();
        self.commits.retain(|commit| commit.activation != activation);
        let seq = self.durable.get(&activation).copied().unwrap_or(Seq(0));
        self.held.retain(|(of, _, _)| *of != activation);
        let why = Problem::reset("the disk is full");
        self.send(ToEngine::CommitFailed { activation, seq: Seq(seq.0 + 1), why });
    }

    pub(super) fn id(&self, namespace: u16, name: &str) -> ObjectId {
        ops::from_name(&self.namespaces[usize::from(namespace)].key, name)
    }

    pub(super) fn live(&self, name: &str) -> Option<Activation> {
        self.objects.get(&(NamespaceIndex(0), self.id(0, name))).and_then(|kept| kept.live)
    }

    /// Events of the object that the host did not give it.
    pub(super) fn running_inside(&self, activation: Activation) -> u32 {
        self.inside.get(&activation).copied().unwrap_or(0)
    }

    pub(super) fn alarm(&self, name: &str) -> Option<i64> {
        self.objects.get(&(NamespaceIndex(0), self.id(0, name))).and_then(|kept| kept.alarm)
    }

    fn event(
        &mut self,
        namespace: NamespaceIndex,
        id: ObjectId,
        name: Option<String>,
        kind: EventKind,
        caller: Caller,
    ) -> EventId {
        let event = EventId(self.next_event);
        self.next_event += 1;
        self.callers.insert(event, caller);
        let activation = self.open(namespace, id, name);
        self.send(ToEngine::Event { activation, event, kind });
        event
    }

    fn open(&mut self, namespace: NamespaceIndex, id: ObjectId, name: Option<String>) -> Activation {
        // The next life begins when what the last one committed has settled.
        let live = self.objects.get(&(namespace, id)).and_then(|kept| kept.live);
        let unsettled = |host: &Self| {
            host.commits.iter().any(|commit| host.activations.get(&commit.activation) == Some(&(namespace, id)))
        };
        while live.is_none() && unsettled(self) {
            self.sync_one();
        }
        let fresh = || Kept { file: Rc::default(), seq: Seq(0), alarm: None, live: None, sockets: Vec::new() };
        let kept = self.objects.entry((namespace, id)).or_insert_with(fresh);
        if let Some(activation) = kept.live {
            return activation;
        }
        let activation = Activation(self.next_activation);
        self.next_activation += 1;
        kept.live = Some(activation);
        self.world.files.borrow_mut().insert(activation, Rc::clone(&kept.file));
        self.activations.insert(activation, (namespace, id));
        self.durable.insert(activation, kept.seq);
        let pages = (kept.file.borrow().len() / PAGE_BYTES) as u32;
        let open = Open {
            activation,
            namespace,
            id,
            name,
            epoch: u64::from(activation.0),
            seq: kept.seq,
            pages,
            sockets: kept.sockets.clone(),
            auto_response: None,
        };
        self.send(ToEngine::Open(open));
        activation
    }

    pub(super) fn deliver(&mut self, name: &str, kind: EventKind) -> EventId {
        let id = self.id(0, name);
        self.event(NamespaceIndex(0), id, Some(name.to_owned()), kind, Caller::Test)
    }

    /// A request to the object of that name in the first namespace.
    pub(super) fn fetch(&mut self, name: &str, path: &str) -> EventId {
        self.deliver(name, EventKind::Fetch(request(path)))
    }

    /// A request to the entry worker.
    pub(super) fn enter(&mut self, path: &str) -> EventId {
        let event = EventId(self.next_event);
        self.next_event += 1;
        self.callers.insert(event, Caller::Test);
        self.send(ToEngine::Event { activation: Activation::ENTRY, event, kind: EventKind::Fetch(request(path)) });
        event
    }

    pub(super) fn text(&self, event: EventId) -> Option<String> {
        match self.outcomes.get(&event)? {
            Outcome::Response(response) => match &response.body {
                Body::Whole(body) => Some(String::from_utf8_lossy(body).into_owned()),
                Body::None => Some(String::new()),
                Body::Stream { stream, .. } => Some(format!("stream {}", stream.0)),
            },
            Outcome::Failed(problem) => Some(format!("failed: {problem}")),
            Outcome::Value(value) => Some(format!("{value:?}")),
            Outcome::Alarm(outcome) => Some(format!("{outcome:?}")),
            Outcome::Inspected(json) => Some(json.clone()),
        }
    }

    /// The answer to a request, once everything that can happen has happened.
    pub(super) fn get(&mut self, name: &str, path: &str) -> String {
        let event = self.fetch(name, path);
        self.text(event).unwrap_or_else(|| "no answer".to_owned())
    }

    pub(super) fn failure(&self, event: EventId) -> Problem {
        match self.outcomes.get(&event) {
            Some(Outcome::Failed(problem)) => problem.clone(),
            other => panic!("the event did not fail: {other:?}"),
        }
    }

    pub(super) fn pass(&mut self, ms: i64) {
        self.now_ms += ms;
        self.send(ToEngine::Tick { now_ms: self.now_ms });
    }

    pub(super) fn reply(&mut self, text: &str) {
        let (call, _) = self.internet.pop_front().expect("a request went out");
        let response = HttpResponse {
            status: 200,
            status_text: String::new(),
            headers: Headers::default(),
            body: Body::Whole(text.into()),
            socket: None,
            url: String::new(),
            redirected: false,
        };
        self.send(ToEngine::Reply { call, result: Ok(Answer::Http(response)) });
    }

    pub(super) fn hibernate(&mut self, name: &str) {
        let activation = self.live(name).expect("the object is live");
        self.send(ToEngine::Close { activation, why: wire::CloseReason::Hibernate });
    }

    pub(super) fn random_below(&self, below: u32) -> u32 {
        self.world.random.borrow_mut().random_range(0..below)
    }
}

pub(super) fn request(path: &str) -> HttpRequest {
    HttpRequest {
        method: "GET".into(),
        url: format!("http://test{path}"),
        headers: Headers::default(),
        body: Body::None,
        redirect: Redirect::Follow,
    }
}
