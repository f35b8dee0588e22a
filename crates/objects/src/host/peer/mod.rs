//! Calls to objects of other hosts, over one connection for each deployment and host.
//!
//! A frame is its length and the message in postcard, as to an engine ([`crate::wire`]); many leave in one write. A call
//! and all that belongs to it (its body, its answer's, a WebSocket) is named by the number that the caller gave it.
//! Bodies have credit, as everywhere: what is under way of one is bounded at both ends. Whoever dialled calls objects; what
//! either end gave in a call or an answer is called by the other.

mod connection;
pub mod serve;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

use super::{deployment::Say, queue::FrameQueue};
use crate::wire::{Answer, FrameError, ObjectCall, Problem, Rpc, SocketData, StubId};

pub use connection::{LinkUse, run};
pub use serve::serve;

/// Hosts of other versions are not talked to.
pub const VERSION: u16 = 2;
/// What the other end has not taken yet; beyond, it is hung or flooded.
const MAX_QUEUED_BYTES: usize = 64 << 20;

#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum PeerFrame {
    /// First, from whoever dialled.
    Hello {
        version: u16,
        deployment: String,
    },
    /// A streamed body's number means nothing: its frames carry the call's.
    Call {
        call: u64,
        namespace: [u8; 16],
        id: [u8; 32],
        name: Option<String>,
        what: ObjectCall,
    },
    /// Whoever called has gone: nothing of the answer is wanted.
    Cancel {
        call: u64,
    },
    /// The object is not here. The call comes back, unless its body was streamed.
    Misdirected {
        call: u64,
        what: Option<ObjectCall>,
    },
    /// A WebSocket's number means nothing but that there is one.
    Answer {
        call: u64,
        result: Result<Answer, Problem>,
    },
    /// More of the body that this end sends.
    Chunk {
        call: u64,
        #[serde(with = "serde_bytes")]
        data: Vec<u8>,
        end: bool,
    },
    BodyFailed {
        call: u64,
        why: Problem,
    },
    /// So much more of the other end's body was taken.
    Credit {
        call: u64,
        bytes: u32,
    },
    /// The other end's body is not read any more.
    BodyCancelled {
        call: u64,
    },
    /// To the object, as [`crate::wire::EventKind`].
    SocketMessage {
        call: u64,
        data: SocketData,
    },
    SocketClosed {
        call: u64,
        code: u16,
        reason: String,
        clean: bool,
    },
    SocketFailed {
        call: u64,
        why: String,
    },
    /// Nothing comes or goes any more.
    SocketOver {
        call: u64,
    },
    /// The object has taken one message more.
    SocketTaken {
        call: u64,
    },
    SocketSays {
        call: u64,
        say: Say,
    },
    /// Of what the other end gave, under the name that it has there. Answered as a call; the numbers that whoever answered
    /// the connection gives to its calls have the highest bit.
    StubCall {
        call: u64,
        stub: StubId,
        rpc: Rpc,
    },
    /// Nobody at this end has what the other end gave.
    StubDropped {
        stub: StubId,
    },
    /// What this end gave cannot be called any more.
    StubWithdrawn {
        stub: StubId,
    },
    /// Answered by [`Self::Pong`].
    Ping,
    Pong,
}

/// Why a connection is given up.
#[derive(Debug, thiserror::Error)]
pub enum PeerError {
    #[error("it was closed")]
    Closed,
    #[error("it cannot be read: {0}")]
    Read(#[source] std::io::Error),
    #[error("it cannot be written to: {0}")]
    Write(#[source] std::io::Error),
    #[error("the other end does not answer")]
    Silent,
    #[error("the other end does not take what it is sent")]
    Flooded,
    #[error("the other end does not keep to the protocol: {0}")]
    Frame(#[from] FrameError),
    #[error("the other end does not keep to the protocol: {0}")]
    Protocol(&'static str),
    #[error("no connection: {0}")]
    Dial(#[source] std::io::Error),
    #[error("too many connections of one deployment")]
    TooMany,
}

/// What is to be sent.
#[derive(Debug, Default)]
pub struct Outbox {
    queue: Mutex<Queue>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Queue {
    frames: FrameQueue,
    closed: bool,
}

impl Outbox {
    /// Queues a frame; it leaves after the next [`Self::flush`].
    pub fn push(&self, frame: &PeerFrame) {
        let mut queue = self.queue.lock();
        if !queue.closed {
            queue.frames.push(frame, MAX_QUEUED_BYTES, "another host");
        }
    }

    pub fn flush(&self) {
        if self.queue.lock().frames.tells(false) {
            self.changed.notify_one();
        }
    }

    /// The connection ends when what is queued has left.
    pub fn close(&self) {
        self.queue.lock().closed = true;
        self.changed.notify_one();
    }

    /// What is to be written now. `bytes` is empty; its memory is used again.
    fn take(&self, bytes: &mut Vec<u8>) -> Result<Open, PeerError> {
        let mut queue = self.queue.lock();
        if !queue.frames.is_looked_at() {
            return Err(PeerError::Flooded);
        }
        std::mem::swap(bytes, &mut queue.frames.bytes);
        Ok(if queue.closed { Open::No } else { Open::Yes })
    }
}

/// Whether more may come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Open {
    Yes,
    No,
}
