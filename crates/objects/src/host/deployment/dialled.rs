//! WebSockets that code opens to the outside.

use std::{sync::Arc, time::Duration};

use tokio::time::timeout;

use super::{
    Deployment,
    deliver::EventIn,
    effects::Context,
    sockets::{ClientSocket, Peer, Say, Socket, VANISHED},
    state::State,
};
use crate::{
    host::websocket::{self, Role},
    wire::{Answer, CallId, HttpResponse, Problem, SocketId},
};

/// For the code that opened it to say that it wants its messages.
const ACCEPT_LIMIT: Duration = Duration::from_secs(60);
/// Said to one end where the other is gone without a word.
const OTHER_END_GONE: u16 = 1011;

impl Deployment {
    /// The other end has agreed: it is the caller's, which answers for it or passes it on.
    pub(super) async fn dialled(
        self: &Arc<Self>,
        caller: (u32, CallId),
        response: HttpResponse,
        stream: reqwest::Upgraded,
    ) {
        let Some(socket) = self.with(|state, context| state.dialled(caller, response, context)) else { return };
        if timeout(ACCEPT_LIMIT, socket.accepted()).await.is_ok() {
            websocket::run(self, &socket, stream, Role::Client).await;
        }
        self.socket_over(socket.id);
    }
}

/// What one end of two that are joined says to the other.
pub fn passed_on(kind: EventIn) -> Option<Say> {
    match kind {
        EventIn::SocketMessage { data, .. } => Some(Say::Data(data)),
        EventIn::SocketClosed { code, reason, clean, .. } => {
            let code = if clean { Some(code).filter(|code| *code != 1005) } else { Some(OTHER_END_GONE) };
            Some(Say::Close { code, reason })
        }
        EventIn::SocketFailed { why: _, .. } => Some(Say::Close { code: Some(OTHER_END_GONE), reason: String::new() }),
        EventIn::Fetch(_) | EventIn::Rpc(_) | EventIn::Stub { .. } | EventIn::Alarm { .. } | EventIn::Inspect(_) => {
            None
        }
    }
}

impl State {
    fn next_dialled(&mut self) -> SocketId {
        let id = SocketId(self.next_remote_socket);
        self.next_remote_socket += 1;
        id
    }

    fn dialled(
        &mut self,
        caller: (u32, CallId),
        mut response: HttpResponse,
        context: &mut Context<'_>,
    ) -> Option<Arc<ClientSocket>> {
        let (process, call) = caller;
        if self.clients() >= context.options.sockets {
            let message = "The deployment has as many WebSockets open as it may.";
            self.reply(process, call, Err(Problem { overloaded: true, ..Problem::new("Error", message) }));
            return None;
        }
        let id = self.next_dialled();
        let client = Arc::new(ClientSocket::new(id, &self.budget));
        let mut socket = Socket::new(None, None);
        socket.peer = Peer::Client(Arc::clone(&client));
        socket.dialled_by = Some(process);
        self.sockets.insert(id, socket);
        response.socket = Some(id);
        self.reply(process, call, Ok(Answer::Http(response)));
        Some(client)
    }

    /// It leaves to a client as it is: the two are joined.
    pub fn join(&mut self, id: SocketId, outside: &Arc<ClientSocket>) -> Arc<ClientSocket> {
        let other = self.next_dialled();
        let client = Arc::new(ClientSocket::new(other, &self.budget));
        if let Some(socket) = self.sockets.get_mut(&id) {
            socket.joined = Some(Arc::clone(&client));
        }
        let mut socket = Socket::new(None, None);
        socket.peer = Peer::Client(Arc::clone(&client));
        socket.joined = Some(Arc::clone(outside));
        self.sockets.insert(other, socket);
        outside.accept();
        client
    }

    /// It was not accepted in time, or its other end is gone.
    pub fn accepted_too_late(
        &mut self,
        process: u32,
        activation: crate::wire::Activation,
        id: SocketId,
        context: &mut Context<'_>,
    ) {
        let closed = EventIn::SocketClosed { socket: id, code: VANISHED, reason: String::new(), clean: false };
        self.deliver_at(process, activation, closed, super::deliver::Waiter::Nobody, context);
    }

    /// The engine is gone that opened them: those that no object has go with it.
    pub fn dialled_end(&mut self, process: u32) {
        let links = &self.links;
        self.sockets.retain(|_, socket| {
            let over = socket.dialled_by == Some(process) && socket.owner().is_none() && socket.joined.is_none();
            if over {
                socket.end("the worker is not in memory any more", links);
                if let Peer::Client(client) = &socket.peer {
                    client.accept();
                }
            }
            !over
        });
    }
}
