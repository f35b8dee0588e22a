//! Calls to objects of other hosts and from there: which call is under way on which connection, and what belongs to it.

mod answers;
mod bodies;
mod stubs;

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;

use self::stubs::{OF_ANSWERER, is_of_here};
use super::{
    Deployment,
    deliver::{EventIn, Waiter, overloaded},
    effects::Context,
    sockets::Say,
    state::{CallTarget, Piece, Sink, State},
    stubs::Holder,
};
use crate::{
    host::{
        elsewhere::{Peer, Place},
        log::ObjectKey,
        peer::{self, LinkUse, Outbox, PeerError, PeerFrame, VERSION},
    },
    wire::{Body, CallId, EventId, Frames, ObjectCall, Problem, SocketData, SocketId, StreamId, ToEngine},
};

const DIAL_LIMIT: Duration = Duration::from_secs(10);
/// For the directory to become as new as it can be had.
const ASK_LIMIT: Duration = Duration::from_secs(10);
/// A connection that nobody uses is kept so long by whoever dialled it; twice as long by the other end.
const IDLE_LIMIT: Duration = Duration::from_secs(60);
/// Connections of other hosts.
const MAX_LINKS: usize = 1_000;
/// Of a body that an engine has not taken, where its own limit is smaller: the other end's may be larger.
const LEAST_WINDOW_BYTES: usize = 4 << 20;

/// A connection to another host, or of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LinkId(u64);

#[cfg(test)]
impl LinkId {
    pub(super) fn of(number: u64) -> Self {
        Self(number)
    }
}

pub struct Link {
    outbox: Arc<Outbox>,
    /// None: it was dialled from there.
    to: Option<Peer>,
    calls: HashMap<u64, LinkCall>,
    next_call: u64,
    last_used: Instant,
}

/// A call on a connection, for as long as anything belongs to it.
struct LinkCall {
    end: CallEnd,
    /// The body that comes from the other end.
    incoming: Option<Incoming>,
    /// The body that an engine here sends to the other end.
    outgoing: Option<(u32, StreamId)>,
    socket: Option<SocketId>,
}

enum CallEnd {
    /// An engine here waits for the answer.
    Caller { process: u32, call: CallId, target: Target, attempt: Attempt },
    /// As [`Self::Caller`], of what the other end gave.
    StubCaller { process: u32, call: CallId },
    /// An event here gives the answer.
    Event(EventId),
    /// Answered, or nobody waits any more.
    Over,
}

/// Which object is called, by what name.
#[derive(Debug, Clone)]
pub struct Target {
    pub key: ObjectKey,
    pub name: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attempt {
    First,
    Second,
}

struct Incoming {
    /// None: no engine has it yet.
    to: Option<(u32, StreamId)>,
    /// What came before one had.
    held: VecDeque<Piece>,
    /// Bytes that nobody has taken.
    untaken: usize,
}

impl Link {
    /// None if there are too many.
    fn new_call(&mut self, call: LinkCall, most: usize) -> Option<u64> {
        if self.calls.len() >= most {
            return None;
        }
        let number = self.next_call;
        self.next_call += 1;
        self.calls.insert(number, call);
        Some(number)
    }

    /// Whether there is room for a call of the other end's.
    fn heard_call(&mut self, call: u64, most: usize) -> Result<bool, PeerError> {
        if self.calls.contains_key(&call) {
            return Err(PeerError::Protocol("it gives a number to two calls"));
        }
        let room = self.calls.len() < most;
        if room {
            self.calls.insert(call, LinkCall::new(CallEnd::Over));
        }
        Ok(room)
    }

    /// Whether bodies are on their way.
    pub fn has_bodies(&self) -> bool {
        self.calls.values().any(LinkCall::has_body)
    }

    /// What the object says on the call's socket.
    pub fn say(&self, call: u64, say: Say) {
        self.outbox.push(&PeerFrame::SocketSays { call, say });
    }
}

impl LinkCall {
    fn new(end: CallEnd) -> Self {
        LinkCall { end, incoming: None, outgoing: None, socket: None }
    }

    /// Whether a body is on its way.
    fn has_body(&self) -> bool {
        self.incoming.is_some() || self.outgoing.is_some()
    }

    fn is_over(&self) -> bool {
        let answered = matches!(self.end, CallEnd::Over);
        answered && self.incoming.is_none() && self.outgoing.is_none() && self.socket.is_none()
    }
}

impl Incoming {
    fn new() -> Self {
        Incoming { to: None, held: VecDeque::new(), untaken: 0 }
    }
}

fn lost(why: &dyn std::fmt::Display) -> Problem {
    let message = format!("The connection to the object's host was lost: {why}.");
    Problem { retryable: true, ..Problem::new("Error", message) }
}

fn stopping() -> Problem {
    Problem { retryable: true, ..Problem::new("Error", "The object's host is being stopped: try again in a moment.") }
}

fn nowhere_found() -> Problem {
    Problem { retryable: true, ..Problem::new("Error", "The object is moving: no host says that it has it.") }
}

impl Deployment {
    /// A connection that another host opened. None if there are too many.
    pub(in crate::host) fn accept_link(self: &Arc<Self>) -> Option<(LinkId, Arc<Outbox>)> {
        self.with(|state, context| {
            let accepted = state.links.values().filter(|link| link.to.is_none()).count();
            (accepted < MAX_LINKS).then(|| state.new_link(None, context))
        })
    }

    /// Everything that the other end said in one piece.
    pub(in crate::host) fn link_said(self: &Arc<Self>, link: LinkId, said: Vec<PeerFrame>) -> Result<(), PeerError> {
        self.with(|state, context| said.into_iter().try_for_each(|frame| state.link_frame(link, frame, context)))
    }

    pub(in crate::host) fn link_ended(self: &Arc<Self>, link: LinkId, why: &PeerError) {
        self.with(|state, context| state.link_ended(link, why, context));
    }

    /// Time has passed: asks the other end for a word if one is waited for.
    pub(in crate::host) fn link_ticks(self: &Arc<Self>, link: LinkId) -> LinkUse {
        self.with(|state, context| state.link_ticks(link, context.now))
    }

    /// No connections to that host any more.
    pub(in crate::host) fn disconnect(self: &Arc<Self>, peer: Peer) {
        self.with(|state, context| {
            if let Some(link) = state.links_to.get(&peer).copied() {
                state.link_ended(link, &PeerError::Closed, context);
            }
        });
    }

    async fn dial(self: Arc<Self>, link: LinkId, peer: Peer, outbox: Arc<Outbox>) {
        let Some(elsewhere) = self.options.elsewhere.clone() else { return };
        let dialled = tokio::time::timeout(DIAL_LIMIT, elsewhere.dial.dial(peer)).await;
        let why = match dialled {
            Ok(Ok(connection)) => peer::run(&self, link, connection, Frames::default(), &outbox).await,
            Ok(Err(error)) => PeerError::Dial(error),
            Err(_late) => PeerError::Silent,
        };
        if !matches!(why, PeerError::Closed) {
            tracing::info!(%why, "a connection to another host has ended");
        }
        self.link_ended(link, &why);
    }

    /// Asks the directory anew, and calls the object once more.
    async fn call_again(self: Arc<Self>, by: Peer, caller: (u32, CallId), target: Target, what: ObjectCall) {
        if let Some(elsewhere) = self.options.elsewhere.clone() {
            let asked = elsewhere.directory.misdirected(&self.name, &target.key, by);
            // As new as it is by then.
            drop(tokio::time::timeout(ASK_LIMIT, asked).await);
        }
        self.with(|state, context| state.call_placed(caller, target, what, Attempt::Second, context));
    }
}

impl State {
    fn new_link(&mut self, to: Option<Peer>, context: &Context<'_>) -> (LinkId, Arc<Outbox>) {
        self.next_link += 1;
        let link = LinkId(self.next_link);
        let outbox = Arc::new(Outbox::default());
        let next_call = if to.is_some() { 1 } else { OF_ANSWERER };
        let state = Link { outbox: Arc::clone(&outbox), to, calls: HashMap::new(), next_call, last_used: context.now };
        self.links.insert(link, state);
        (link, outbox)
    }

    pub fn link_push(&self, link: LinkId, frame: &PeerFrame) {
        if let Some(link) = self.links.get(&link) {
            link.outbox.push(frame);
        }
    }

    pub fn flush_links(&self) {
        for link in self.links.values() {
            link.outbox.flush();
        }
    }

    pub fn close_links(&mut self) {
        for link in self.links.values() {
            link.outbox.close();
        }
    }

    fn link_call(&mut self, link: LinkId, call: u64) -> Option<&mut LinkCall> {
        self.links.get_mut(&link)?.calls.get_mut(&call)
    }

    /// Forgets a call once nothing belongs to it any more.
    fn settle_call(&mut self, link: LinkId, call: u64) {
        if let Some(link) = self.links.get_mut(&link)
            && link.calls.get(&call).is_some_and(LinkCall::is_over)
        {
            link.calls.remove(&call);
        }
    }

    fn link_ticks(&mut self, id: LinkId, now: Instant) -> LinkUse {
        // Worth its keep for what can be called by it.
        let stubs = self.stubs.any_of(id);
        let Some(link) = self.links.get_mut(&id) else { return LinkUse::Idle };
        if stubs || !link.calls.is_empty() {
            link.last_used = now;
            link.outbox.push(&PeerFrame::Ping);
            return LinkUse::Used;
        }
        let limit = if link.to.is_some() { IDLE_LIMIT } else { IDLE_LIMIT * 2 };
        if now.saturating_duration_since(link.last_used) < limit {
            return LinkUse::Unused;
        }
        // It is about to end: the next call begins another one.
        if let Some(peer) = link.to {
            self.links_to.remove(&peer);
        }
        LinkUse::Idle
    }

    /// Calls an object wherever it is.
    pub fn call_placed(
        &mut self,
        caller: (u32, CallId),
        target: Target,
        what: ObjectCall,
        attempt: Attempt,
        context: &mut Context<'_>,
    ) {
        let (process, call) = caller;
        match context.place(&target.key) {
            Place::Here { .. } => self.call_here(caller, target, what, context),
            Place::At(peer) => self.call_peer(peer, caller, target, what, attempt, context),
            Place::Nowhere(problem) => self.reply(process, call, Err(problem)),
        }
    }

    fn link_to(&mut self, peer: Peer, context: &Context<'_>) -> LinkId {
        if let Some(link) = self.links_to.get(&peer) {
            return *link;
        }
        let (link, outbox) = self.new_link(Some(peer), context);
        self.links_to.insert(peer, link);
        outbox.push(&PeerFrame::Hello { version: VERSION, deployment: context.deployment.name.clone() });
        let dial = Arc::clone(context.deployment).dial(link, peer, outbox);
        // Ends with the connection, which the deployment's end closes.
        context.deployment.runtime.spawn(dial);
        link
    }

    fn call_peer(
        &mut self,
        peer: Peer,
        caller: (u32, CallId),
        target: Target,
        what: ObjectCall,
        attempt: Attempt,
        context: &mut Context<'_>,
    ) {
        let (process, call) = caller;
        let most = self.version.limits.queue_length as usize;
        let id = self.link_to(peer, context);
        let Some(link) = self.links.get_mut(&id) else { return };
        if link.calls.len() >= most {
            return self.reply(process, call, Err(overloaded()));
        }
        link.last_used = context.now;
        let number = link.next_call;
        link.next_call += 1;
        let ObjectKey { namespace, id: object } = target.key;
        let (outgoing, stubs) = match &what {
            ObjectCall::Fetch(request) => (stream_of(&request.body), Vec::new()),
            ObjectCall::Rpc(rpc) => (None, rpc.args.as_ref().map(|args| args.stubs.clone()).unwrap_or_default()),
        };
        let frame = PeerFrame::Call { call: number, namespace, id: object, name: target.name.clone(), what };
        link.outbox.push(&frame);
        let mut state = LinkCall::new(CallEnd::Caller { process, call, target, attempt });
        state.outgoing = outgoing.map(|stream| (process, stream));
        link.calls.insert(number, state);
        self.stubs_taken(&stubs, Holder::Link(id));
        if let Some(process) = self.processes.get_mut(&process) {
            process.calls.insert(call, CallTarget::Link { link: id, call: number });
        }
        if let Some(stream) = outgoing {
            self.route_body(process, stream, Sink::Link { link: id, call: number }, context);
        }
    }

    /// The engine that called wants no answer any more.
    pub fn cancel_link_call(&mut self, link: LinkId, call: u64) {
        if let Some(state) = self.link_call(link, call) {
            state.end = CallEnd::Over;
            self.link_push(link, &PeerFrame::Cancel { call });
            self.settle_call(link, call);
        }
    }

    fn link_frame(&mut self, link: LinkId, frame: PeerFrame, context: &mut Context<'_>) -> Result<(), PeerError> {
        let Some(dialled) = self.links.get(&link).map(|link| link.to) else { return Err(PeerError::Closed) };
        match (frame, dialled) {
            (PeerFrame::Call { call, namespace, id, name, what }, None) => {
                let target = Target { key: ObjectKey { namespace, id }, name };
                return self.called(link, call, target, what, context);
            }
            (PeerFrame::StubDropped { stub }, _) => self.stub_dropped(stub, Holder::Link(link)),
            (PeerFrame::StubWithdrawn { stub }, _) => self.link_stub_withdrawn(link, stub),
            (PeerFrame::Cancel { call } | PeerFrame::StubCall { call, .. }, _) if is_of_here(call, dialled) => {
                return Err(PeerError::Protocol("it says of a call what only this end may"));
            }
            (PeerFrame::Answer { call, .. }, _) if !is_of_here(call, dialled) => {
                return Err(PeerError::Protocol("it answers a call of its own"));
            }
            (PeerFrame::StubCall { call, stub, rpc }, _) => {
                return self.link_calls_stub((link, call), stub, rpc, context);
            }
            (PeerFrame::Cancel { call }, _) => self.call_cancelled(link, call, context),
            (PeerFrame::Misdirected { call, what }, Some(peer)) => {
                self.call_misdirected((link, call), peer, what, context);
            }
            (PeerFrame::Answer { call, result }, _) => self.call_answered(link, call, result, context),
            (PeerFrame::Chunk { call, data, end }, _) => return self.piece(link, call, Bytes::from(data), end),
            (PeerFrame::BodyFailed { call, why }, _) => self.body_lost(link, call, why),
            (PeerFrame::Credit { call, bytes }, _) => {
                if let Some((process, stream)) = self.link_call(link, call).and_then(|call| call.outgoing) {
                    self.send(process, &ToEngine::Credit { stream, bytes });
                }
            }
            (PeerFrame::BodyCancelled { call }, _) => {
                if let Some((process, stream)) = self.link_call(link, call).and_then(|call| call.outgoing.take()) {
                    self.cancel_body_from(process, stream);
                    self.settle_call(link, call);
                }
            }
            (PeerFrame::SocketMessage { call, data }, None) => self.link_socket_message((link, call), data, context),
            (PeerFrame::SocketClosed { call, code, reason, clean }, None) => {
                if let Some(socket) = self.socket_of(link, call) {
                    self.peer_closed(socket, code, reason, clean, context);
                }
            }
            (PeerFrame::SocketFailed { call, why }, None) => {
                if let Some(socket) = self.socket_of(link, call) {
                    self.peer_failed(socket, why, context);
                }
            }
            (PeerFrame::SocketOver { call }, None) => {
                if let Some(socket) = self.link_call(link, call).and_then(|call| call.socket.take()) {
                    self.socket_over(socket);
                    self.settle_call(link, call);
                }
            }
            (PeerFrame::SocketTaken { call }, Some(_)) => {
                if let Some(socket) = self.socket_of(link, call) {
                    self.remote_took(socket);
                }
            }
            (PeerFrame::SocketSays { call, say }, Some(_)) => {
                if let Some(socket) = self.socket_of(link, call) {
                    self.remote_says(socket, say, context);
                }
            }
            (PeerFrame::Ping, _) => self.link_push(link, &PeerFrame::Pong),
            (PeerFrame::Pong, _) => {}
            (PeerFrame::Hello { .. }, _)
            | (PeerFrame::Call { .. }, Some(_))
            | (PeerFrame::Misdirected { .. }, None)
            | (
                PeerFrame::SocketMessage { .. }
                | PeerFrame::SocketClosed { .. }
                | PeerFrame::SocketFailed { .. }
                | PeerFrame::SocketOver { .. },
                Some(_),
            )
            | (PeerFrame::SocketTaken { .. } | PeerFrame::SocketSays { .. }, None) => {
                return Err(PeerError::Protocol("it says what only this end may"));
            }
        }
        Ok(())
    }

    fn link_socket_message(&mut self, at: (LinkId, u64), data: SocketData, context: &mut Context<'_>) {
        let (link, call) = at;
        let now_ms = context.options.now_ms();
        match self.socket_of(link, call) {
            Some(socket) if !self.answer_automatically(socket, &data, now_ms) => {
                let kind = EventIn::SocketMessage { socket, data };
                self.socket_event(socket, kind, Waiter::LinkSocket { socket, link, call }, context);
            }
            Some(_) | None => self.link_push(link, &PeerFrame::SocketTaken { call }),
        }
    }

    fn socket_of(&mut self, link: LinkId, call: u64) -> Option<SocketId> {
        self.link_call(link, call)?.socket
    }

    pub fn socket_left_link(&mut self, link: LinkId, call: u64) {
        if let Some(state) = self.link_call(link, call) {
            state.socket = None;
            self.link_push(link, &PeerFrame::SocketOver { call });
            self.settle_call(link, call);
        }
    }

    pub fn link_ended(&mut self, id: LinkId, why: &PeerError, context: &mut Context<'_>) {
        let Some(link) = self.links.remove(&id) else { return };
        link.outbox.close();
        if let Some(peer) = link.to.filter(|peer| self.links_to.get(peer) == Some(&id)) {
            self.links_to.remove(&peer);
        }
        for call in link.calls.into_values() {
            if let Some((process, stream)) = call.outgoing {
                self.cancel_body_from(process, stream);
            }
            if let Some(Incoming { to: Some((process, stream)), .. }) = call.incoming {
                self.forget_body_to(process, stream);
                self.send(process, &ToEngine::StreamFailed { stream, why: lost(why) });
            }
            match call.end {
                CallEnd::Caller { process, call, .. } | CallEnd::StubCaller { process, call } => {
                    self.reply(process, call, Err(lost(why)));
                }
                CallEnd::Event(event) => self.cancel_event(event, context),
                CallEnd::Over => {}
            }
            match (call.socket, link.to) {
                (Some(socket), Some(_)) => self.remote_vanished(socket, context),
                (Some(socket), None) => self.peer_vanished(socket, context),
                (None, _) => {}
            }
        }
        self.stubs_of_link_end(id);
    }
}

fn stream_of(body: &Body) -> Option<StreamId> {
    match body {
        Body::Stream { stream, .. } => Some(*stream),
        Body::None | Body::Whole(_) => None,
    }
}
