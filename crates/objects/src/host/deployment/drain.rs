//! The end of a host in good order: what is under way is finished, nothing new begins.

use std::sync::Arc;

use super::{Deployment, links::Link, sockets::Peer, state::State};
use crate::wire::Problem;

/// Said to clients whose WebSocket's host is about to be gone: "service restart".
const RESTART_CODE: u16 = 1012;
const RESTART: &str = "the host is being stopped: connect again";

impl Deployment {
    /// No work from now on but what is under way: other hosts' calls are refused, alarms wait for the next start, clients'
    /// WebSockets are closed. Ends when nothing runs any more. Requests from outside are not to be passed to it.
    pub async fn drain(self: &Arc<Self>) {
        self.with(|state, _context| state.drain());
        loop {
            let at_rest = self.at_rest.notified();
            if self.state.lock().is_at_rest() {
                return;
            }
            at_rest.await;
        }
    }

    /// Whoever calls it from now on gets the problem, until the next version.
    pub(in crate::host) fn refuse(self: &Arc<Self>, problem: Problem) {
        self.with(|state, _context| state.unloadable = Some(problem));
    }
}

impl State {
    fn drain(&mut self) {
        self.draining = true;
        for socket in self.sockets.values() {
            socket.end_with(RESTART_CODE, RESTART, &self.links);
        }
    }

    /// Nothing is under way.
    pub fn is_at_rest(&self) -> bool {
        let told = self.sockets.values().all(|socket| match socket.peer {
            Peer::Client(_) | Peer::Link { .. } => false,
            Peer::Nobody(_) | Peer::Engine { .. } => true,
        });
        told && self.events.is_empty() && !self.links.values().any(Link::has_bodies)
    }
}
