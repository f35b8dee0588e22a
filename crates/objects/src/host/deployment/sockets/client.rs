//! What is said to a socket's other end and waits there: for a client, or for nobody yet.

use std::{collections::VecDeque, sync::Arc};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

use crate::{
    host::{
        budget::{Budget, Share},
        deployment::Deployment,
    },
    wire::{SocketData, SocketId},
};

/// What may wait for a client that does not read, in bytes; then the client is let go of.
const MAX_WAITING_BYTES: usize = 16 << 20;
/// What an object says to a socket that nobody has taken yet, in messages and in bytes.
const MAX_UNTAKEN: usize = 1024;
const MAX_UNTAKEN_BYTES: usize = 4 << 20;

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
    pub(super) fn push(&mut self, say: Say, budget: &Arc<Budget>) -> bool {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_for_all_of_a_deployments_clients_has_one_limit() {
        let budget = Arc::new(Budget::new(100));
        let socket = |id| ClientSocket::new(SocketId(id), &budget);
        let text = |bytes| Say::Data(SocketData::Text("x".repeat(bytes)));
        let (one, other) = (socket(1), socket(2));
        one.say(text(60));
        other.say(text(41));
        assert!(other.next().is_err(), "there was no room");
        assert_eq!(one.next().expect("has what it was told"), Some(text(60)));
        one.say(text(100));
        assert_eq!(one.next().expect("what was taken has left, and what is lost"), Some(text(100)));

        one.say(text(60));
        let mut untaken = Untaken::default();
        assert!(untaken.push(text(40), &budget) && !untaken.push(text(1), &budget));
        assert!(untaken.push(Say::Close { code: None, reason: "over".to_owned() }, &budget), "the last word");
        drop(untaken);
        assert!(Untaken::default().push(text(40), &budget));
    }
}
