//! How sockets end: a peer closes or is gone, something said is lost, or nobody has an end of them in memory any more.

use std::{collections::HashMap, mem};

use super::{Peer, Say, Socket};
use crate::{
    host::{
        deployment::{
            deliver::{EventIn, Waiter},
            effects::Context,
            links::{Link, LinkId},
            state::State,
        },
        log::ObjectKey,
    },
    wire::{Activation, Problem, SocketId},
};

/// Said to peers whose object lost its memory.
const RESET_CODE: u16 = 1011;
/// Said where more was said than was taken.
const TOO_MUCH_CODE: u16 = 1013;
const TOO_MUCH: &str = "more was said than the other end takes";
/// How an object hears of a peer that is gone without a word.
pub const VANISHED: u16 = 1006;

impl State {
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

    /// Whoever has the other end is gone without a word, or wants no more of it.
    pub fn peer_vanished(&mut self, id: SocketId, context: &mut Context<'_>) {
        self.peer_closed(id, VANISHED, String::new(), false, context);
        self.socket_over(id);
    }

    /// The memory is gone that had other ends of sockets, or was about to be given them: nobody has them any more.
    pub fn peers_left(&mut self, ended: (u32, Option<Activation>), context: &mut Context<'_>) {
        let orphans = self.sockets.iter().filter(|(_, socket)| {
            matches!(socket.peer, Peer::Engine { process, activation, .. } if (process, activation) == ended)
        });
        let mut orphans: Vec<SocketId> = orphans.map(|(id, _)| *id).collect();
        orphans.sort_unstable();
        for id in orphans {
            self.peer_vanished(id, context);
        }
    }

    /// There was no room for something that one end said: what follows it is not heard either, and both ends are told.
    pub(super) fn fail_socket(&mut self, id: SocketId, context: &mut Context<'_>) {
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

    /// Nothing comes or goes on it any more. One of an object's that may not be in memory is kept until the object knows.
    pub fn socket_over(&mut self, id: SocketId) {
        if self.sockets.get_mut(&id).is_some_and(Socket::outlives_peer) {
            return;
        }
        if let Some(Socket { remote: Some(remote), .. }) = self.remove_socket(id) {
            self.socket_left_link(remote.link, remote.call);
        }
    }

    pub fn remove_socket(&mut self, id: SocketId) -> Option<Socket> {
        let socket = self.sockets.remove(&id)?;
        if let Some(key) = socket.owner {
            self.forget_auto_response(key);
        }
        Some(socket)
    }
}

impl Socket {
    /// Its peer is gone, and its object is told so, once it is in memory: the next life has to know of it until then.
    fn outlives_peer(&mut self) -> bool {
        let outlives = self.hibernates && self.telling;
        if outlives {
            self.over = true;
            self.peer = Peer::nobody();
        }
        outlives
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

/// A close frame has room for 123 bytes.
fn cut_to_fit(why: &str) -> String {
    let end = (0..=why.len().min(120)).rev().find(|at| why.is_char_boundary(*at)).unwrap_or(0);
    why[..end].to_owned()
}
