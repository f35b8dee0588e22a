//! WebSockets: the host holds them, so that they outlive what their objects remember.

use std::{
    collections::{HashMap, VecDeque},
    mem,
    sync::Arc,
};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, OwnedSemaphorePermit};

use super::{
    Deployment,
    deliver::{EventIn, Waiter},
    dialled::passed_on,
    effects::Context,
    links::{Link, LinkId},
    state::{FIRST_REMOTE, State},
};
use crate::{
    host::{
        budget::{Budget, Share},
        log::ObjectKey,
    },
    wire::{Activation, AutoResponse, Cloned, HeldSocket, Problem, SocketData, SocketId},
};

/// What may wait for a client that does not read, in bytes; then the client is let go of.
const MAX_WAITING_BYTES: usize = 16 << 20;
/// What an object says to a socket that nobody has taken yet, in messages and in bytes.
const MAX_UNTAKEN: usize = 1024;
const MAX_UNTAKEN_BYTES: usize = 4 << 20;
/// Said to peers whose object lost its memory.
const RESET_CODE: u16 = 1011;
/// Said where more was said than was taken.
const TOO_MUCH_CODE: u16 = 1013;
const TOO_MUCH: &str = "more was said than the other end takes";
/// How an object hears of a peer that is gone without a word.
pub const VANISHED: u16 = 1006;

/// What is said to a peer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Say {
    Data(SocketData),
    Close { code: Option<u16>, reason: String },
}

impl Say {
    fn bytes(&self) -> usize {
        match self {
            Say::Data(SocketData::Text(text)) => text.len(),
            Say::Data(SocketData::Binary(data)) => data.len(),
            Say::Close { reason, .. } => reason.len(),
        }
    }
}

/// The client fell too far behind.
#[derive(Debug)]
pub struct Overrun;

/// A socket to somebody outside of all engines.
#[derive(Debug)]
pub struct ClientSocket {
    pub id: SocketId,
    waiting: Mutex<Waiting>,
    changed: Notify,
    accepted: Notify,
}

#[derive(Debug)]
struct Waiting {
    said: VecDeque<Say>,
    bytes: usize,
    share: Share,
    overrun: bool,
}

impl ClientSocket {
    pub fn new(id: SocketId, budget: &Arc<Budget>) -> Self {
        let waiting = Waiting { said: VecDeque::new(), bytes: 0, share: Share::none(budget), overrun: false };
        ClientSocket { id, waiting: Mutex::new(waiting), changed: Notify::new(), accepted: Notify::new() }
    }

    pub fn say(&self, say: Say) {
        let mut waiting = self.waiting.lock();
        let bytes = waiting.bytes + say.bytes();
        if bytes > MAX_WAITING_BYTES || !waiting.share.set(bytes) {
            waiting.overrun = true;
            waiting.said = VecDeque::new();
            waiting.share.set(0);
        } else {
            waiting.bytes = bytes;
        }
        if !waiting.overrun {
            waiting.said.push_back(say);
        }
        drop(waiting);
        self.changed.notify_one();
    }

    /// What is to be said next, if there is anything.
    pub fn next(&self) -> Result<Option<Say>, Overrun> {
        let mut waiting = self.waiting.lock();
        if waiting.overrun {
            return Err(Overrun);
        }
        let say = waiting.said.pop_front();
        waiting.bytes -= say.as_ref().map_or(0, Say::bytes);
        let bytes = waiting.bytes;
        waiting.share.set(bytes);
        Ok(say)
    }

    /// Somebody wants its messages.
    pub fn accept(&self) {
        self.accepted.notify_one();
    }

    pub async fn accepted(&self) {
        self.accepted.notified().await;
    }

    pub async fn changed(&self) {
        self.changed.notified().await;
    }
}

/// A client's end of a socket on its way to the client. Dropped before anybody has taken it, the object hears that the
/// client is gone.
pub struct ClientEnd {
    deployment: Arc<Deployment>,
    socket: Option<Arc<ClientSocket>>,
}

impl ClientEnd {
    pub fn new(deployment: Arc<Deployment>, socket: Arc<ClientSocket>) -> Self {
        ClientEnd { deployment, socket: Some(socket) }
    }

    pub fn take(mut self) -> Option<Arc<ClientSocket>> {
        self.socket.take()
    }
}

impl std::fmt::Debug for ClientEnd {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("ClientEnd").field(&self.socket).finish()
    }
}

impl Drop for ClientEnd {
    fn drop(&mut self) {
        if let Some(socket) = self.socket.take() {
            self.deployment.with(|state, context| state.peer_vanished(socket.id, context));
        }
    }
}

/// What was said to an end that nobody has taken yet.
#[derive(Debug, Default)]
pub struct Untaken {
    said: Vec<Say>,
    bytes: usize,
    /// None while nothing is said.
    share: Option<Share>,
}

impl Untaken {
    /// Whether there was room; for a last word there is.
    fn push(&mut self, say: Say, budget: &Arc<Budget>) -> bool {
        if matches!(self.said.last(), Some(Say::Close { .. })) {
            return true;
        }
        let bytes = self.bytes + say.bytes();
        let share = self.share.get_or_insert_with(|| Share::none(budget));
        let room = self.said.len() < MAX_UNTAKEN && bytes <= MAX_UNTAKEN_BYTES && share.set(bytes);
        if room {
            self.bytes = bytes;
        }
        let taken = room || matches!(say, Say::Close { .. });
        if taken {
            self.said.push(say);
        }
        taken
    }
}

impl IntoIterator for Untaken {
    type Item = Say;
    type IntoIter = std::vec::IntoIter<Say>;

    fn into_iter(self) -> Self::IntoIter {
        self.said.into_iter()
    }
}

pub enum Peer {
    /// The other end has not left in a response yet.
    Nobody(Untaken),
    Client(Arc<ClientSocket>),
    /// The other end is with an engine: an object's, or the entry worker's.
    Engine {
        process: u32,
        activation: Option<Activation>,
        said: Untaken,
    },
    /// The other end is with another host.
    Link {
        link: LinkId,
        call: u64,
    },
}

/// What an object's sockets answer while it is not in memory.
pub struct KeptAutoResponse {
    pub pair: AutoResponse,
    _share: Share,
}

/// An object of another host has the socket.
pub struct Remote {
    pub link: LinkId,
    pub call: u64,
    /// Messages that it has not taken: whoever sent them waits.
    pub untaken: VecDeque<Waiter>,
    /// It has closed.
    pub closed: bool,
}

pub struct Socket {
    /// None: the entry worker's, or of an object of another host.
    owner: Option<ObjectKey>,
    pub remote: Option<Remote>,
    /// The engine whose code opened it to the outside.
    pub dialled_by: Option<u32>,
    /// What comes on it goes out on that one, without any code.
    pub joined: Option<Arc<ClientSocket>>,
    /// Whose memory knows it. None while its object hibernates.
    life: Option<(u32, Activation)>,
    tags: Vec<String>,
    attachment: Option<Cloned>,
    hibernates: bool,
    auto_response_ms: Option<i64>,
    /// The peer has closed, or has failed, and the object was told: it hears no message any more.
    pub closing: bool,
    /// The peer has been told that something was lost: it hears nothing any more.
    failed: bool,
    /// The object is being told of its end.
    telling: bool,
    /// Nothing comes or goes any more.
    over: bool,
    pub peer: Peer,
}

/// What a peer in an engine is told of what its other end says.
fn said_to(socket: SocketId, say: Say) -> EventIn {
    match say {
        Say::Data(data) => EventIn::SocketMessage { socket, data },
        Say::Close { code, reason } => {
            EventIn::SocketClosed { socket, code: code.unwrap_or(1005), reason, clean: true }
        }
    }
}

impl Deployment {
    /// A client's message. `turn` is given back when the object has taken it.
    pub(in crate::host) fn socket_message(
        self: &Arc<Self>,
        id: SocketId,
        data: SocketData,
        turn: OwnedSemaphorePermit,
    ) {
        self.with(|state, context| {
            let now_ms = context.options.now_ms();
            if !state.answer_automatically(id, &data, now_ms) {
                state.socket_event(
                    id,
                    EventIn::SocketMessage { socket: id, data },
                    Waiter::Socket { socket: id, _turn: Some(turn) },
                    context,
                );
            }
        });
    }

    /// The client has closed, or is gone.
    pub(in crate::host) fn socket_closed(self: &Arc<Self>, id: SocketId, code: u16, reason: String, clean: bool) {
        self.with(|state, context| state.peer_closed(id, code, reason, clean, context));
    }

    pub(in crate::host) fn socket_failed(self: &Arc<Self>, id: SocketId, why: String) {
        self.with(|state, context| state.peer_failed(id, why, context));
    }

    /// Nothing comes or goes any more.
    pub(in crate::host) fn socket_over(self: &Arc<Self>, id: SocketId) {
        self.with(|state, _context| state.socket_over(id));
    }
}

impl State {
    pub fn socket_event(&mut self, id: SocketId, kind: EventIn, waiter: Waiter, context: &mut Context<'_>) {
        let Some(socket) = self.sockets.get_mut(&id) else { return };
        if let Some(joined) = &socket.joined {
            if let Some(say) = passed_on(kind) {
                joined.say(say);
            }
            return;
        }
        let is_message = matches!(kind, EventIn::SocketMessage { .. });
        // Behind its end nothing is heard, or there would be a gap before it.
        if is_message && socket.closing {
            return;
        }
        if let Some(remote) = &mut socket.remote {
            if is_message && remote.is_full() {
                return self.fail_socket(id, context);
            }
            if let Some((link, frame)) = remote.frame(kind, waiter) {
                self.link_push(link, &frame);
            }
            return;
        }
        match (socket.owner, socket.life) {
            (Some(key), _) => {
                socket.telling |= matches!(waiter, Waiter::SocketEnd { .. });
                self.deliver(key, None, kind, waiter, context);
            }
            (None, Some((process, activation))) => {
                self.deliver_at(process, activation, kind, waiter, context);
            }
            (None, None) => {}
        }
    }

    pub fn peer_closed(&mut self, id: SocketId, code: u16, reason: String, clean: bool, context: &mut Context<'_>) {
        let Some(socket) = self.sockets.get_mut(&id) else { return };
        if mem::replace(&mut socket.closing, true) {
            return;
        }
        let closed = EventIn::SocketClosed { socket: id, code, reason, clean };
        self.socket_event(id, closed, Waiter::SocketEnd { socket: id }, context);
    }

    pub fn peer_failed(&mut self, id: SocketId, why: String, context: &mut Context<'_>) {
        let Some(socket) = self.sockets.get_mut(&id) else { return };
        if mem::replace(&mut socket.closing, true) {
            return;
        }
        let failed = EventIn::SocketFailed { socket: id, why };
        self.socket_event(id, failed, Waiter::SocketEnd { socket: id }, context);
    }

    /// There was no room for something that one end said: what follows it is not heard either, and both ends are told.
    fn fail_socket(&mut self, id: SocketId, context: &mut Context<'_>) {
        let Some(socket) = self.sockets.get_mut(&id).filter(|socket| !socket.failed) else { return };
        let was_closing = mem::replace(&mut socket.closing, true);
        self.say_to_peer(id, Say::Close { code: Some(TOO_MUCH_CODE), reason: TOO_MUCH.to_owned() }, context);
        if let Some(socket) = self.sockets.get_mut(&id) {
            socket.failed = true;
        }
        if !was_closing {
            let failed = EventIn::SocketFailed { socket: id, why: TOO_MUCH.to_owned() };
            self.socket_event(id, failed, Waiter::SocketEnd { socket: id }, context);
        }
    }

    /// The object has not taken a message: it was too much for it, or its memory went while it was at it.
    pub fn message_lost(&mut self, id: SocketId, problem: &Problem, context: &mut Context<'_>) {
        if problem.overloaded {
            self.fail_socket(id, context);
        } else {
            self.cut_socket(id, &problem.message, context);
        }
    }

    /// The engine that has the other end has not taken what the object said.
    pub fn word_lost(&mut self, id: SocketId, problem: &Problem, context: &mut Context<'_>) {
        if problem.overloaded {
            self.fail_socket(id, context);
        } else {
            self.peer_vanished(id, context);
        }
    }

    /// What one end said will never leave.
    pub fn saying_lost(&mut self, from: (u32, Activation), id: SocketId, why: &str, context: &mut Context<'_>) {
        match self.sockets.get(&id) {
            Some(socket) if socket.is_with_peer(from) => self.peer_vanished(id, context),
            Some(_) => self.cut_socket(id, why, context),
            None => {}
        }
    }

    /// The object knows that it has ended, or never will.
    pub fn socket_told(&mut self, id: SocketId) {
        if let Some(socket) = self.sockets.get_mut(&id) {
            socket.telling = false;
            if socket.over {
                self.remove_socket(id);
            }
        }
    }

    /// The object knows it no more: the other end is told.
    pub fn cut_socket(&mut self, id: SocketId, why: &str, context: &mut Context<'_>) {
        let Some(socket) = self.sockets.get_mut(&id) else { return };
        socket.closing = true;
        self.say_to_peer(id, Say::Close { code: Some(RESET_CODE), reason: cut_to_fit(why) }, context);
        self.remove_socket(id);
    }

    fn cut_sockets(&mut self, why: &str, mine: impl Fn(&Socket) -> bool, context: &mut Context<'_>) {
        let mine = self.sockets.iter().filter(|(_, socket)| mine(socket));
        let mut mine: Vec<SocketId> = mine.map(|(id, _)| *id).collect();
        mine.sort_unstable();
        for id in mine {
            self.cut_socket(id, why, context);
        }
    }

    /// Whether the object's automatic response was all there is to do.
    pub fn answer_automatically(&mut self, id: SocketId, data: &SocketData, now_ms: i64) -> bool {
        let Some(socket) = self.sockets.get_mut(&id).filter(|socket| socket.hibernates) else { return false };
        let pair = socket.owner.and_then(|key| self.auto_responses.get(&key));
        let say = match (data, pair) {
            (SocketData::Text(text), Some(KeptAutoResponse { pair, .. })) if *text == pair.request => {
                Say::Data(SocketData::Text(pair.response.clone()))
            }
            (SocketData::Text(_) | SocketData::Binary(_), _) => return false,
        };
        match &socket.peer {
            Peer::Client(client) => client.say(say),
            Peer::Link { link, call } => {
                if let Some(link) = self.links.get(link) {
                    link.say(*call, say);
                }
            }
            Peer::Nobody(_) | Peer::Engine { .. } => return false,
        }
        socket.auto_response_ms = Some(now_ms);
        true
    }

    pub fn auto_response(&mut self, process: u32, activation: Activation, pair: Option<AutoResponse>) {
        let Some(key) = self.activation(process, activation).and_then(|state| Some(state.object.as_ref()?.key)) else {
            return;
        };
        self.auto_responses.remove(&key);
        let Some(pair) = pair else { return };
        let mut share = Share::none(&self.budget);
        if share.set(size_of::<KeptAutoResponse>() + pair.request.len() + pair.response.len()) {
            self.auto_responses.insert(key, KeptAutoResponse { pair, _share: share });
        } else {
            // The object answers itself, as it would without one.
            tracing::warn!(object = hex::encode(key.id), "there is no room for an automatic answer");
        }
    }

    /// It lasts as long as the object's memory or the last of its sockets.
    pub fn forget_auto_response(&mut self, key: ObjectKey) {
        if self.auto_responses.contains_key(&key)
            && !self.objects.contains_key(&key)
            && !self.sockets.values().any(|socket| socket.owner == Some(key))
        {
            self.auto_responses.remove(&key);
        }
    }

    pub fn remove_socket(&mut self, id: SocketId) -> Option<Socket> {
        let socket = self.sockets.remove(&id)?;
        if let Some(key) = socket.owner {
            self.forget_auto_response(key);
        }
        Some(socket)
    }

    pub fn socket_attachment(&mut self, id: SocketId, value: Option<Cloned>) {
        if let Some(socket) = self.sockets.get_mut(&id) {
            socket.attachment = value;
        }
    }

    /// An object takes its end; or whoever got the other end in a response takes that.
    pub fn socket_accepted(
        &mut self,
        process: u32,
        activation: Activation,
        id: SocketId,
        tags: Vec<String>,
        hibernates: bool,
        context: &mut Context<'_>,
    ) {
        let owner = self.activation(process, activation).and_then(|state| Some(state.object.as_ref()?.key));
        match self.sockets.get_mut(&id) {
            Some(socket) if socket.is_untaken() => {
                (socket.owner, socket.life) = (owner, Some((process, activation)));
                (socket.tags, socket.hibernates) = (tags, hibernates);
                if let Peer::Client(client) = &socket.peer {
                    client.accept();
                }
            }
            Some(socket) if socket.life != Some((process, activation)) => {
                let early = match mem::replace(&mut socket.peer, Peer::nobody()) {
                    Peer::Engine { said, .. } | Peer::Nobody(said) => {
                        socket.peer = Peer::Engine { process, activation: Some(activation), said: Untaken::default() };
                        said
                    }
                    taken @ (Peer::Client(_) | Peer::Link { .. }) => {
                        socket.peer = taken;
                        Untaken::default()
                    }
                };
                // What was said before somebody took this end.
                for say in early {
                    let waiter = Waiter::Peer { socket: id };
                    self.deliver_at(process, activation, said_to(id, say), waiter, context);
                }
            }
            Some(socket) => {
                socket.tags = tags;
                socket.hibernates = hibernates;
            }
            None if id.0 >= FIRST_REMOTE => self.accepted_too_late(process, activation, id, context),
            None => {
                let life = Some((process, activation));
                self.sockets.insert(id, Socket { tags, hibernates, ..Socket::new(owner, life) });
            }
        }
    }

    /// An engine got the other end with an answer that nobody there waits for.
    pub fn socket_untaken(&mut self, process: u32, id: SocketId, context: &mut Context<'_>) {
        let Some(socket) = self.sockets.get(&id) else { return };
        match &socket.peer {
            // From an object of the same engine, without the host.
            Peer::Nobody(_) => self.peer_vanished(id, context),
            Peer::Engine { process: at, activation: None, .. } if *at == process => self.peer_vanished(id, context),
            Peer::Client(client) if socket.is_untaken() && socket.dialled_by == Some(process) => {
                socket.end("whoever asked for the WebSocket has gone", &self.links);
                client.accept();
                self.sockets.remove(&id);
            }
            Peer::Engine { .. } | Peer::Client(_) | Peer::Link { .. } => {}
        }
    }

    /// How many there are to somebody outside.
    pub fn clients(&self) -> usize {
        self.sockets.values().filter(|socket| matches!(socket.peer, Peer::Client(_))).count()
    }

    /// The other end leaves to a client.
    pub fn attach_client(&mut self, id: SocketId, context: &mut Context<'_>) -> Option<Arc<ClientSocket>> {
        debug_assert!(context.options.sockets > 0);
        if self.clients() >= context.options.sockets {
            return None;
        }
        let untaken = self.sockets.get(&id).filter(|socket| socket.is_untaken());
        if let Some(Peer::Client(outside)) = untaken.map(|socket| &socket.peer) {
            let outside = Arc::clone(outside);
            return Some(self.join(id, &outside));
        }
        let socket = self.sockets.get_mut(&id)?;
        let client = Arc::new(ClientSocket::new(id, &self.budget));
        match mem::replace(&mut socket.peer, Peer::Client(Arc::clone(&client))) {
            Peer::Nobody(said) | Peer::Engine { said, activation: None, .. } => {
                for say in said {
                    client.say(say);
                }
            }
            Peer::Engine { .. } | Peer::Client(_) | Peer::Link { .. } => {}
        }
        Some(client)
    }

    /// The other end leaves to whoever called, which may pass it on.
    pub fn attach_engine(&mut self, id: SocketId, process: u32) {
        if let Some(socket) = self.sockets.get_mut(&id) {
            socket.peer = match mem::replace(&mut socket.peer, Peer::nobody()) {
                Peer::Nobody(said) => Peer::Engine { process, activation: None, said },
                taken @ (Peer::Client(_) | Peer::Engine { .. } | Peer::Link { .. }) => taken,
            };
        }
    }

    pub fn socket_send(
        &mut self,
        process: u32,
        activation: Activation,
        id: SocketId,
        data: SocketData,
        context: &mut Context<'_>,
    ) {
        self.say((process, activation), id, Say::Data(data), context);
    }

    pub fn socket_close(
        &mut self,
        process: u32,
        activation: Activation,
        id: SocketId,
        code: Option<u16>,
        reason: String,
        context: &mut Context<'_>,
    ) {
        self.say((process, activation), id, Say::Close { code, reason }, context);
    }

    fn say(&mut self, from: (u32, Activation), id: SocketId, say: Say, context: &mut Context<'_>) {
        let Some(socket) = self.sockets.get_mut(&id) else { return };
        if socket.is_with_peer(from) {
            return match say {
                Say::Data(data) => {
                    let waiter = Waiter::Socket { socket: id, _turn: None };
                    self.socket_event(id, EventIn::SocketMessage { socket: id, data }, waiter, context);
                }
                Say::Close { code, reason } => {
                    self.peer_closed(id, code.unwrap_or(1005), reason, true, context);
                    self.engine_closed_socket(id);
                }
            };
        }
        self.say_to_peer(id, say, context);
    }

    pub fn say_to_peer(&mut self, id: SocketId, say: Say, context: &mut Context<'_>) {
        let Some(socket) = self.sockets.get_mut(&id).filter(|socket| !socket.failed && !socket.over) else { return };
        match &mut socket.peer {
            Peer::Client(client) => client.say(say),
            Peer::Link { link, call } => {
                if let Some(link) = self.links.get(link) {
                    link.say(*call, say);
                }
            }
            Peer::Nobody(said) | Peer::Engine { activation: None, said, .. } => {
                if !said.push(say, &self.budget) {
                    self.fail_socket(id, context);
                }
            }
            Peer::Engine { process, activation: Some(activation), .. } => {
                let (process, activation) = (*process, *activation);
                self.deliver_at(process, activation, said_to(id, say), Waiter::Peer { socket: id }, context);
            }
        }
    }

    /// Sockets that an earlier life left, for the next one.
    pub fn held_sockets(&self, key: ObjectKey) -> Vec<HeldSocket> {
        let held = self.sockets.iter().filter(|(_, socket)| socket.owner == Some(key) && socket.hibernates);
        let mut held: Vec<HeldSocket> = held
            .map(|(id, socket)| HeldSocket {
                socket: *id,
                tags: socket.tags.clone(),
                attachment: socket.attachment.clone(),
                auto_response_ms: socket.auto_response_ms,
                closing: socket.closing,
            })
            .collect();
        held.sort_by_key(|held| held.socket);
        held
    }

    pub fn sockets_open_again(&mut self, key: ObjectKey, process: u32, activation: Activation) {
        for socket in self.sockets.values_mut().filter(|socket| socket.owner == Some(key)) {
            socket.life = Some((process, activation));
        }
    }

    /// The life that knew them is over: those that cannot hibernate end with it. No owner: the entry worker's.
    pub fn sockets_lose_life(&mut self, owner: Option<ObjectKey>, life: (u32, Activation), context: &mut Context<'_>) {
        let mine = |socket: &Socket| socket.life == Some(life) && socket.owner == owner;
        let why = "what had the other end is not in memory any more";
        self.cut_sockets(why, |socket| mine(socket) && !socket.hibernates, context);
        for socket in self.sockets.values_mut().filter(|socket| mine(socket)) {
            socket.life = None;
        }
    }

    /// The object was reset: its peers are told so.
    pub fn drop_sockets(&mut self, key: ObjectKey, problem: &Problem, context: &mut Context<'_>) {
        self.cut_sockets(&problem.message, |socket| socket.owner == Some(key), context);
    }
}

impl Peer {
    fn nobody() -> Self {
        Peer::Nobody(Untaken::default())
    }
}

/// A close frame has room for 123 bytes.
fn cut_to_fit(why: &str) -> String {
    let end = (0..=why.len().min(120)).rev().find(|at| why.is_char_boundary(*at)).unwrap_or(0);
    why[..end].to_owned()
}

impl Socket {
    /// It was opened to the outside, and no code has it yet.
    pub fn is_untaken(&self) -> bool {
        self.dialled_by.is_some() && self.life.is_none() && self.joined.is_none()
    }

    /// Its peer is gone, and its object is told so, once it is in memory: the next life has to know of it until then.
    pub fn outlives_peer(&mut self) -> bool {
        let outlives = self.hibernates && self.telling;
        if outlives {
            self.over = true;
            self.peer = Peer::nobody();
        }
        outlives
    }

    /// Whether that activation has the other end.
    fn is_with_peer(&self, activation: (u32, Activation)) -> bool {
        let Peer::Engine { process, activation: Some(at), .. } = &self.peer else { return false };
        (*process, *at) == activation && self.life != Some(activation)
    }

    /// The object that it is of.
    pub fn owner(&self) -> Option<ObjectKey> {
        self.owner
    }

    pub fn new(owner: Option<ObjectKey>, life: Option<(u32, Activation)>) -> Self {
        Socket {
            owner,
            remote: None,
            dialled_by: None,
            joined: None,
            life,
            tags: Vec::new(),
            attachment: None,
            hibernates: false,
            auto_response_ms: None,
            closing: false,
            failed: false,
            telling: false,
            over: false,
            peer: Peer::nobody(),
        }
    }

    pub fn end(&self, why: &str, links: &HashMap<LinkId, Link>) {
        self.end_with(RESET_CODE, why, links);
    }

    /// Closes it at the other end.
    pub fn end_with(&self, code: u16, why: &str, links: &HashMap<LinkId, Link>) {
        let say = Say::Close { code: Some(code), reason: cut_to_fit(why) };
        match &self.peer {
            Peer::Client(client) => client.say(say),
            Peer::Link { link, call } => {
                if let Some(link) = links.get(link) {
                    link.say(*call, say);
                }
            }
            Peer::Nobody(_) | Peer::Engine { .. } => {}
        }
    }
}
