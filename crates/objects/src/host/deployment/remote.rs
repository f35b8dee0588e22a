//! WebSockets of which one end is on another host: the object there and the client here, or the other way about.

use std::{collections::VecDeque, mem};

use super::{
    deliver::{EventIn, Waiter},
    effects::Context,
    links::LinkId,
    sockets::{Peer, Remote, Say, Socket, Untaken, VANISHED},
    state::State,
};
use crate::{
    host::peer::PeerFrame,
    wire::{SocketData, SocketId},
};

/// Messages of an engine's here that the object has not taken; beyond, it is let go of.
const MAX_UNTAKEN: usize = 10_000;

impl Remote {
    /// Whether the object has left as many messages untaken as may be.
    pub fn is_full(&self) -> bool {
        self.untaken.len() >= MAX_UNTAKEN
    }

    /// What happens at this end, for the object.
    pub fn frame(&mut self, kind: EventIn, waiter: Waiter) -> Option<(LinkId, PeerFrame)> {
        let call = self.call;
        let frame = match kind {
            EventIn::SocketMessage { data, .. } => {
                self.untaken.push_back(waiter);
                PeerFrame::SocketMessage { call, data }
            }
            EventIn::SocketClosed { code, reason, clean, .. } => PeerFrame::SocketClosed { call, code, reason, clean },
            EventIn::SocketFailed { why, .. } => PeerFrame::SocketFailed { call, why },
            EventIn::Fetch(_)
            | EventIn::Rpc(_)
            | EventIn::Stub { .. }
            | EventIn::Alarm { .. }
            | EventIn::Inspect(_) => return None,
        };
        Some((self.link, frame))
    }
}

impl State {
    /// The end of an object's socket that came with an answer from another host.
    pub fn remote_socket(&mut self, at: (LinkId, u64), process: u32) -> SocketId {
        let id = SocketId(self.next_remote_socket);
        self.next_remote_socket += 1;
        let remote = Remote { link: at.0, call: at.1, untaken: VecDeque::new(), closed: false };
        let peer = Peer::Engine { process, activation: None, said: Untaken::default() };
        let mut socket = Socket::new(None, None);
        (socket.remote, socket.peer) = (Some(remote), peer);
        self.sockets.insert(id, socket);
        id
    }

    /// The other end of an object's socket leaves to another host.
    pub fn attach_link(&mut self, id: SocketId, link: LinkId, call: u64) {
        let Some(socket) = self.sockets.get_mut(&id) else { return };
        if socket.is_untaken() {
            let reason = "a WebSocket to the outside does not leave its host".to_owned();
            return self.link_push(link, &PeerFrame::SocketSays { call, say: Say::Close { code: Some(1011), reason } });
        }
        let early = match mem::replace(&mut socket.peer, Peer::Link { link, call }) {
            Peer::Nobody(said) | Peer::Engine { said, activation: None, .. } => said,
            Peer::Engine { .. } | Peer::Client(_) | Peer::Link { .. } => Untaken::default(),
        };
        for say in early {
            self.link_push(link, &PeerFrame::SocketSays { call, say });
        }
    }

    /// The object on the other host has taken a message.
    pub fn remote_took(&mut self, id: SocketId) {
        let remote = self.sockets.get_mut(&id).and_then(|socket| socket.remote.as_mut());
        if let Some(Waiter::LinkSocket { link, call, .. }) = remote.and_then(|remote| remote.untaken.pop_front()) {
            self.link_push(link, &PeerFrame::SocketTaken { call });
        }
    }

    /// The object on the other host says something.
    pub fn remote_says(&mut self, id: SocketId, say: Say, context: &mut Context<'_>) {
        let closes = match &say {
            Say::Close { .. } => true,
            Say::Data(SocketData::Text(_) | SocketData::Binary(_)) => false,
        };
        self.say_to_peer(id, say, context);
        if closes && let Some(socket) = self.sockets.get_mut(&id) {
            let with_engine = matches!(socket.peer, Peer::Engine { .. });
            if let Some(remote) = &mut socket.remote {
                remote.closed = true;
            }
            // A client's end is over when its connection is.
            if with_engine && socket.closing {
                self.socket_over(id);
            }
        }
    }

    /// An engine here that has the other end of a remote socket has closed it.
    pub fn engine_closed_socket(&mut self, id: SocketId) {
        let over = self.sockets.get(&id).is_some_and(|socket| {
            matches!(socket.peer, Peer::Engine { .. }) && socket.remote.as_ref().is_some_and(|remote| remote.closed)
        });
        if over {
            self.socket_over(id);
        }
    }

    /// The connection to the object's host is lost.
    pub fn remote_vanished(&mut self, id: SocketId, context: &mut Context<'_>) {
        let Some(socket) = self.sockets.get(&id) else { return };
        match &socket.peer {
            Peer::Client(_) | Peer::Link { .. } => {
                socket.end("the connection to the object's host was lost", &self.links)
            }
            Peer::Engine { process, activation: Some(activation), .. } => {
                let (process, activation) = (*process, *activation);
                let closed = EventIn::SocketClosed { socket: id, code: VANISHED, reason: String::new(), clean: false };
                self.deliver_at(process, activation, closed, Waiter::Nobody, context);
            }
            Peer::Engine { .. } | Peer::Nobody(_) => {}
        }
        self.sockets.remove(&id);
    }
}
