//! WebSockets: the host holds them, so that they outlive what their objects remember.

mod automatic;
mod client;
mod ends;

use std::{collections::VecDeque, mem, sync::Arc};

use tokio::sync::OwnedSemaphorePermit;

use super::{
    Deployment,
    deliver::{EventIn, Waiter},
    dialled::passed_on,
    effects::Context,
    links::LinkId,
    state::{FIRST_REMOTE, State},
};
use crate::{
    host::log::ObjectKey,
    wire::{Activation, Cloned, HeldSocket, SocketData, SocketId},
};

pub use automatic::KeptAutoResponse;
pub use client::{ClientEnd, ClientSocket, Say, Untaken};
pub use ends::VANISHED;

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
}

impl Peer {
    fn nobody() -> Self {
        Peer::Nobody(Untaken::default())
    }
}

impl Socket {
    /// It was opened to the outside, and no code has it yet.
    pub fn is_untaken(&self) -> bool {
        self.dialled_by.is_some() && self.life.is_none() && self.joined.is_none()
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
}
