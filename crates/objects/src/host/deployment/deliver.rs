//! Events on their way to an engine.

use std::{sync::Arc, time::Instant};

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::{
    Deployment,
    effects::Context,
    links::{Attempt, LinkId, Target},
    sockets::ClientEnd,
    state::{ActivationState, Event, Object, Pending, Phase, Placed, Sink, Source, State, Waiting, key_of},
    stubs::Holder,
};
use crate::{
    host::{
        bodies::{Feeder, HostBody},
        elsewhere::Place,
        log::{MAX_NAME_BYTES, ObjectKey},
        stats::Ended,
    },
    wire::{
        Activation, Body, CallId, EventId, EventKind, Headers, HttpRequest, Inspect, NamespaceIndex, ObjectCall,
        ObjectId, Open, Problem, Redirect, Rpc, Seq, SocketData, SocketId, StreamId, StubId, ToEngine,
    },
};

/// An engine's process has died so often while it ran an object's code that nobody runs it any more.
pub const DEATHS_TO_QUARANTINE: u32 = 3;

/// A body before it has a name in the engine that gets it.
pub enum BodyIn {
    None,
    Whole(Bytes),
    Feeder {
        feeder: Feeding,
        length: Option<u64>,
    },
    /// Of the engine that sends it.
    Relay {
        process: u32,
        stream: StreamId,
        length: Option<u64>,
    },
    /// Of another host.
    Link {
        link: LinkId,
        call: u64,
        length: Option<u64>,
    },
}

/// A body that some task feeds as soon as an engine takes it; dropped before, the task ends.
pub struct Feeding(pub Arc<Feeder>);

impl Drop for Feeding {
    fn drop(&mut self) {
        self.0.cancel_unattached();
    }
}

pub struct RequestIn {
    pub method: String,
    pub url: String,
    pub headers: Headers,
    pub body: BodyIn,
}

/// What is delivered; as [`EventKind`], with bodies that no engine knows yet.
pub enum EventIn {
    Fetch(RequestIn),
    Rpc(Rpc),
    Stub { stub: StubId, rpc: Rpc },
    Alarm { scheduled_ms: i64, retry: u32 },
    SocketMessage { socket: SocketId, data: SocketData },
    SocketClosed { socket: SocketId, code: u16, reason: String, clean: bool },
    SocketFailed { socket: SocketId, why: String },
    Inspect(Inspect),
}

impl EventIn {
    /// Of each socket one, and so there is always room for it.
    pub fn ends_socket(&self) -> bool {
        match self {
            EventIn::SocketClosed { .. } | EventIn::SocketFailed { .. } => true,
            EventIn::Fetch(_)
            | EventIn::Rpc(_)
            | EventIn::Stub { .. }
            | EventIn::Alarm { .. }
            | EventIn::SocketMessage { .. }
            | EventIn::Inspect(_) => false,
        }
    }

    /// What it takes of memory, about, until it is finished; bodies in pieces have windows of their own.
    pub fn bytes(&self) -> usize {
        match self {
            EventIn::Fetch(request) => {
                let body = match &request.body {
                    BodyIn::Whole(data) => data.len(),
                    BodyIn::None | BodyIn::Feeder { .. } | BodyIn::Relay { .. } | BodyIn::Link { .. } => 0,
                };
                request.url.len() + request.headers.as_text().len() + body
            }
            EventIn::Rpc(rpc) | EventIn::Stub { stub: _, rpc } => {
                rpc.args.as_ref().map_or(0, |args| args.value.0.len())
            }
            EventIn::SocketMessage { data: SocketData::Text(text), .. } => text.len(),
            EventIn::SocketMessage { data: SocketData::Binary(data), .. } => data.len(),
            EventIn::SocketClosed { reason, .. } => reason.len(),
            EventIn::SocketFailed { why, .. } => why.len(),
            EventIn::Alarm { .. } | EventIn::Inspect(_) => 0,
        }
    }
}

/// An answer for somebody outside of all engines.
#[derive(Debug)]
pub struct Fetched {
    pub status: u16,
    pub headers: Headers,
    pub body: HostBody,
    pub socket: Option<ClientEnd>,
}

/// Why a look into an object's storage shows nothing.
#[derive(Debug, thiserror::Error)]
pub enum InspectError {
    /// What was asked is wrong: SQL that is none, that writes or takes too much.
    #[error("{0}")]
    Question(String),
    #[error("the object cannot be looked into: {0}")]
    Object(#[from] Problem),
}

/// Who waits for an event.
pub enum Waiter {
    Http(oneshot::Sender<Result<Fetched, Problem>>),
    Call {
        process: u32,
        call: CallId,
    },
    Alarm(ObjectKey),
    /// A message on a socket of the object's: if it is lost, so is the socket.
    Socket {
        socket: SocketId,
        /// The client's next message may be read when this one was taken.
        _turn: Option<OwnedSemaphorePermit>,
    },
    /// A message of the object's to the other end of its socket, which an engine has.
    Peer {
        socket: SocketId,
    },
    /// The object hears of its socket's end.
    SocketEnd {
        socket: SocketId,
    },
    /// Another host.
    Link {
        link: LinkId,
        call: u64,
    },
    /// As [`Self::Socket`], of another host's client.
    LinkSocket {
        socket: SocketId,
        link: LinkId,
        call: u64,
    },
    Inspect(oneshot::Sender<Result<String, InspectError>>),
    Nobody,
}

/// Tells the engine when whoever asked has gone.
struct CancelOnDrop {
    deployment: Arc<Deployment>,
    event: Option<EventId>,
}

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        if let Some(event) = self.event.take() {
            self.deployment.cancel_event(event);
        }
    }
}

fn gone() -> Problem {
    Problem::reset("the engine was lost before it answered")
}

impl Deployment {
    /// A request to the deployment's entry worker.
    pub async fn fetch(self: &Arc<Self>, request: RequestIn) -> Result<Fetched, Problem> {
        let (sender, receiver) = oneshot::channel();
        let event =
            self.with(|state, context| state.deliver_to_entry(EventIn::Fetch(request), Waiter::Http(sender), context));
        let mut cancel = CancelOnDrop { deployment: Arc::clone(self), event: Some(event) };
        let begun = Instant::now();
        let result = receiver.await.unwrap_or_else(|_gone| Err(gone()));
        cancel.event = None;
        let ended = if result.as_ref().is_ok_and(|fetched| fetched.status < 500) { Ended::Well } else { Ended::Badly };
        self.stats.request(self.options.now_ms(), begun.elapsed(), ended);
        result
    }

    /// A look at an object's storage, without running its code.
    pub async fn inspect(self: &Arc<Self>, key: ObjectKey, what: Inspect) -> Result<String, InspectError> {
        let (sender, receiver) = oneshot::channel();
        self.with(|state, context| {
            state.deliver(key, None, EventIn::Inspect(what), Waiter::Inspect(sender), context);
        });
        receiver.await.unwrap_or_else(|_gone| Err(gone().into()))
    }

    /// The index says that the object's alarm is due. Whether the object is of this deployment.
    pub fn fire_alarm(self: &Arc<Self>, key: ObjectKey, scheduled_ms: i64, retry: u32) -> bool {
        self.with(|state, context| {
            let known = state.version.namespaces.iter().any(|namespace| namespace.uid == key.namespace)
                && matches!(context.place(&key), Place::Here { .. });
            // One that is not fired any more is due when the host has begun anew.
            if known && !state.draining {
                state.deliver(key, None, EventIn::Alarm { scheduled_ms, retry }, Waiter::Alarm(key), context);
            }
            known
        })
    }
}

impl State {
    fn new_event(&mut self, target: Option<ObjectKey>, waiter: Waiter) -> EventId {
        let event = self.next_event();
        let waiter = Some(waiter);
        self.events.insert(event, Event { target, place: None, waiter, answered: false, finished: false, bytes: 0 });
        event
    }

    pub fn deliver_to_entry(&mut self, kind: EventIn, waiter: Waiter, context: &mut Context<'_>) -> EventId {
        let event = self.new_event(None, waiter);
        match self.entry_process(context) {
            Err(problem) => self.refuse(event, problem, context),
            Ok(process) => self.place(event, kind, process, Activation::ENTRY, context),
        }
        event
    }

    pub fn deliver(
        &mut self,
        key: ObjectKey,
        name: Option<String>,
        kind: EventIn,
        waiter: Waiter,
        context: &mut Context<'_>,
    ) -> EventId {
        let event = self.new_event(Some(key), waiter);
        self.deliver_event(key, Pending { event, kind, name }, context);
        event
    }

    /// Delivers to an activation that is there already.
    pub fn deliver_at(
        &mut self,
        process: u32,
        activation: Activation,
        kind: EventIn,
        waiter: Waiter,
        context: &mut Context<'_>,
    ) -> EventId {
        let event = self.new_event(None, waiter);
        self.place(event, kind, process, activation, context);
        event
    }

    pub fn deliver_event(&mut self, key: ObjectKey, pending: Pending, context: &mut Context<'_>) {
        match self.objects.get_mut(&key) {
            Some(Placed::Live { process, activation }) => {
                let (process, activation) = (*process, *activation);
                self.place(pending.event, pending.kind, process, activation, context);
            }
            Some(Placed::Leaving { waiting }) => {
                if let Err(pending) = waiting.push(pending, &self.version.limits) {
                    self.refuse(pending.event, overloaded(), context);
                }
            }
            None => match self.open(key, pending.name.as_deref(), context) {
                Ok((process, activation)) => self.place(pending.event, pending.kind, process, activation, context),
                Err(problem) => self.refuse(pending.event, problem, context),
            },
        }
    }

    /// Ends an event that never reached an engine.
    fn refuse(&mut self, event: EventId, problem: Problem, context: &mut Context<'_>) {
        self.fail_event(event, problem, context);
        self.events.remove(&event);
    }

    /// Begins a life of the object.
    fn open(
        &mut self,
        key: ObjectKey,
        name: Option<&str>,
        context: &mut Context<'_>,
    ) -> Result<(u32, Activation), Problem> {
        if let Some(problem) = &self.unloadable {
            return Err(problem.clone());
        }
        let deaths = self.deaths.get(&key).copied().unwrap_or(0);
        if deaths >= DEATHS_TO_QUARANTINE {
            return Err(Problem::new(
                "Error",
                format!("the object is quarantined: its code ended the engine {deaths} times"),
            ));
        }
        let index = self.version.namespaces.iter().position(|namespace| namespace.uid == key.namespace);
        let index = index.and_then(|index| u16::try_from(index).ok());
        let namespace =
            index.map(NamespaceIndex).ok_or_else(|| Problem::new("Error", "there is no such class any more"))?;
        let least_epoch = match context.place(&key) {
            Place::Here { least_epoch } => least_epoch,
            Place::At(_) => return Err(Problem { retryable: true, ..Problem::new("Error", "the object has moved") }),
            Place::Nowhere(problem) => return Err(problem),
        };
        let opened = context.log.object(key).and_then(|file| file.begin_epoch(least_epoch).map(|begun| (file, begun)));
        let (file, (epoch, header)) = opened.map_err(|error| {
            tracing::error!(%error, "an object cannot be opened");
            Problem::new("Error", "the object's storage cannot be opened")
        })?;
        let process = match self.process_alone(key) {
            Some(process) => process,
            None if deaths > 0 => self.start_process(Some(key), context),
            None => self.current_process(context),
        };
        let kept = name.filter(|name| name.len() <= MAX_NAME_BYTES);
        let name_is_new = header.name.is_none() && kept.is_some();
        let name = header.name.or_else(|| name.map(str::to_owned));
        let sockets = self.held_sockets(key);
        let auto_response = self.auto_responses.get(&key).map(|kept| kept.pair.clone());
        let Some(state) = self.processes.get_mut(&process) else { return Err(gone()) };
        let activation = state.next_activation();
        let object = Object { key, namespace, epoch, name: name.clone(), name_is_new, file };
        state.activations.insert(activation, ActivationState::new(Some(object), header.seq, &self.budget, context.now));
        self.objects.insert(key, Placed::Live { process, activation });
        self.sockets_open_again(key, process, activation);
        let open = Open {
            activation,
            namespace,
            id: ObjectId(key.id),
            name,
            epoch,
            seq: Seq(header.seq),
            pages: header.pages,
            sockets,
            auto_response,
        };
        self.send(process, &ToEngine::Open(open));
        Ok((process, activation))
    }

    fn process_alone(&self, key: ObjectKey) -> Option<u32> {
        self.processes.iter().find(|(_, process)| process.alone == Some(key)).map(|(number, _)| *number)
    }

    fn place(
        &mut self,
        event: EventId,
        kind: EventIn,
        process: u32,
        activation: Activation,
        context: &mut Context<'_>,
    ) {
        let (most, most_bytes) = (self.version.limits.queue_length as usize, self.version.limits.queue_bytes);
        let (bytes, always) = (kind.bytes(), kind.ends_socket());
        let now = context.now;
        let Some(state) = self.activation(process, activation).filter(|state| state.phase == Phase::Live) else {
            return self.refuse(event, gone(), context);
        };
        let room = state.running == 0 || (state.running_bytes + bytes) as u64 <= most_bytes;
        if (state.running >= most || !room) && !always {
            return self.refuse(event, overloaded(), context);
        }
        state.running += 1;
        state.running_bytes += bytes;
        state.quiet = None;
        state.last_used = now;
        let kind = self.kind_for(process, kind, context);
        if let Some(event) = self.events.get_mut(&event) {
            event.place = Some((process, activation));
            event.bytes = bytes;
        }
        self.send_with_bodies(process, &ToEngine::Event { activation, event, kind });
    }

    fn kind_for(&mut self, process: u32, kind: EventIn, context: &mut Context<'_>) -> EventKind {
        match kind {
            EventIn::Fetch(request) => EventKind::Fetch(HttpRequest {
                method: request.method,
                url: request.url,
                headers: request.headers,
                body: self.body_for(process, request.body, context),
                redirect: Redirect::Follow,
            }),
            EventIn::Rpc(rpc) => EventKind::Rpc(self.rpc_for(process, rpc)),
            EventIn::Stub { stub, rpc } => EventKind::Stub { stub, rpc: self.rpc_for(process, rpc) },
            EventIn::Alarm { scheduled_ms, retry } => EventKind::Alarm { scheduled_ms, retry },
            EventIn::SocketMessage { socket, data } => EventKind::SocketMessage { socket, data },
            EventIn::SocketClosed { socket, code, reason, clean } => {
                EventKind::SocketClosed { socket, code, reason, clean }
            }
            EventIn::SocketFailed { socket, why } => EventKind::SocketFailed { socket, why },
            EventIn::Inspect(inspect) => EventKind::Inspect(inspect),
        }
    }

    fn rpc_for(&mut self, process: u32, rpc: Rpc) -> Rpc {
        if let Some(args) = &rpc.args {
            self.stubs_taken(&args.stubs, Holder::Engine(process));
        }
        rpc
    }

    /// Gives a body a name in the engine that gets it, by the next message.
    pub fn body_for(&mut self, process: u32, body: BodyIn, context: &mut Context<'_>) -> Body {
        let window_bytes = self.version.limits.stream_window_bytes as usize;
        let Some(state) = self.processes.get_mut(&process) else { return Body::None };
        match body {
            BodyIn::None => Body::None,
            BodyIn::Whole(data) => Body::Whole(data.into()),
            BodyIn::Feeder { feeder, length } => {
                let stream = state.next_stream();
                feeder.0.attach(process, stream, window_bytes);
                state.bodies_to.insert(stream, Source::Feeder(Arc::clone(&feeder.0)));
                Body::Stream { stream, length }
            }
            BodyIn::Relay { process: from, stream: source, length } => {
                let stream = state.next_stream();
                state.bodies_to.insert(stream, Source::Relay { process: from, stream: source });
                self.route_body(from, source, Sink::Relay { process, stream }, context);
                Body::Stream { stream, length }
            }
            BodyIn::Link { link, call, length } => {
                let stream = state.next_stream();
                self.body_of_link(process, link, call, stream);
                Body::Stream { stream, length }
            }
        }
    }

    /// A call of an engine's to an object.
    pub fn call_object(
        &mut self,
        caller: (u32, CallId),
        destination: (NamespaceIndex, ObjectId, Option<String>),
        what: ObjectCall,
        context: &mut Context<'_>,
    ) {
        let (process, call) = caller;
        let (namespace, id, name) = destination;
        let version = self.processes.get(&process).map(|process| Arc::clone(&process.version));
        let Some(key) = version.and_then(|version| key_of(&version, namespace, id)) else {
            let problem = Problem::new("Error", "there is no such namespace");
            return self.reply(process, call, Err(problem));
        };
        if let ObjectCall::Fetch(request) = &what {
            self.hold_body(process, call, &request.body);
        }
        self.call_placed(caller, Target { key, name }, what, Attempt::First, context);
    }

    /// Calls an object of this host.
    pub fn call_here(&mut self, caller: (u32, CallId), target: Target, what: ObjectCall, context: &mut Context<'_>) {
        let (process, call) = caller;
        let kind = match what {
            ObjectCall::Rpc(rpc) => EventIn::Rpc(rpc),
            ObjectCall::Fetch(request) => EventIn::Fetch(request_from(process, request)),
        };
        let event = self.deliver(target.key, target.name, kind, Waiter::Call { process, call }, context);
        if self.events.contains_key(&event)
            && let Some(process) = self.processes.get_mut(&process)
        {
            process.calls.insert(call, super::state::CallTarget::Event(event));
        }
    }

    /// Whoever waited has gone.
    pub fn cancel_event(&mut self, event: EventId, context: &mut Context<'_>) {
        let Some(state) = self.events.get_mut(&event) else { return };
        state.waiter = None;
        let (place, target, answered) = (state.place, state.target, state.answered);
        match (place, target) {
            (Some((process, activation)), _) if !answered => {
                self.send(process, &ToEngine::CancelEvent { activation, event });
            }
            (None, Some(key)) => {
                if let Some(Placed::Leaving { waiting }) = self.objects.get_mut(&key) {
                    waiting.remove(event);
                }
                self.refuse(event, gone(), context);
            }
            (Some(_) | None, _) => {}
        }
    }

    /// The object's next life begins with what waited for the end of the last one.
    pub fn deliver_waiting(&mut self, key: ObjectKey, waiting: Waiting, context: &mut Context<'_>) {
        for pending in waiting.into_events() {
            self.deliver_event(key, pending, context);
        }
    }
}

pub fn request_from(process: u32, request: HttpRequest) -> RequestIn {
    RequestIn {
        method: request.method,
        url: request.url,
        headers: request.headers,
        body: body_from(process, request.body),
    }
}

pub fn body_from(process: u32, body: Body) -> BodyIn {
    match body {
        Body::None => BodyIn::None,
        Body::Whole(data) => BodyIn::Whole(data.into()),
        Body::Stream { stream, length } => BodyIn::Relay { process, stream, length },
    }
}

pub fn overloaded() -> Problem {
    Problem { overloaded: true, ..Problem::new("Error", "Durable Object is overloaded. Too many requests queued.") }
}
