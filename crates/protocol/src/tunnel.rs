//! The byte tunnel: a second WebSocket from the agent, which carries many byte streams (terminals, copies, later
//! notebooks) beside the control link and cannot delay it.
//!
//! Every WebSocket message is one [`Frame`]: 1 byte kind, 16 bytes stream id, payload. Flow control is by credit: a
//! sender may have at most the granted bytes outstanding on a stream; [`Frame::Credit`] grants more. Each channel of a
//! stream (stdin; stdout, stderr) shares the stream's credit in its direction.

use bytes::{BufMut, Bytes, BytesMut};
use domain::ids::{DeploymentId, SessionId, StreamId};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Bytes that either side may send on a new stream before the first [`Frame::Credit`].
pub const INITIAL_CREDIT_BYTES: u32 = 256 * 1024;
/// The largest payload of one data frame, bytes: small, so that streams take turns.
pub const MAX_DATA_BYTES: usize = 16 * 1024;
/// What is kept of each channel of a lasting process until [`Control::Received`] says that it arrived, bytes. At this much
/// the process waits, as behind a full pipe.
pub const KEPT_BYTES: usize = 1024 * 1024;
/// A lasting process that no stream has come to for this long is hung up, seconds.
pub const AWAY_LIMIT_S: u64 = 120;
/// The most streams on one tunnel.
pub const MAX_STREAMS: usize = 1_024;
/// Of those, the most that carry requests to deployments: anybody may send these, and as many as they like.
pub const MAX_REQUEST_STREAMS: usize = MAX_STREAMS / 2;
/// Of those, the most that carry requests to one deployment.
pub const MAX_DEPLOYMENT_STREAMS: usize = MAX_REQUEST_STREAMS / 2;
/// The most that carry the server's questions about objects.
pub const MAX_CONTROL_STREAMS: usize = MAX_STREAMS / 4;

/// What the server asks the agent to connect the stream to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Open {
    /// A process in a session's environment.
    Exec {
        session: SessionId,
        argv: Vec<String>,
        env: Vec<(String, String)>,
        cwd: Option<String>,
        terminal: Option<Size>,
        /// Some: it outlives the stream, and can be come back to.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        lasting: Option<Lasting>,
    },
    /// A copy by the agent itself, as the environment's user; it ends as a process does.
    Copy { session: SessionId, transfer: Transfer },
    /// A login shell in a terminal that outlives the stream; `attach` names one that is already there.
    Terminal { session: SessionId, attach: Option<Uuid>, size: Size },
    /// A socket that listens inside the environment of a session, or of a notebook's run under the same number.
    Connect { session: SessionId, to: Target },
    /// HTTP/1.1 to the host's objects; one or several requests, one after the other.
    Objects {
        door: Door,
        /// Which one requests are for: see [`MAX_DEPLOYMENT_STREAMS`]. To the host their `Host` says it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        deployment: Option<DeploymentId>,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Door {
    /// To deployments: as on the host's object port.
    Requests,
    /// See [`crate::objects::control`].
    Control,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Target {
    Port(u16),
    UnixSocket(String),
}

/// What is copied. Relative paths begin at the environment's home directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Transfer {
    /// To standard output: a line `f MODE SIZE` and a file's bytes, or a line `d` and an archive.
    Out { path: String },
    /// A file of so many bytes from standard input, to `path`, or to `name` in it if that is a directory.
    FileIn { path: String, name: String, mode: u32, size: u64 },
    /// An archive from standard input, to the same.
    TreeIn { path: String, name: String },
}

/// A process that goes on for [`AWAY_LIMIT_S`] without a stream and keeps what it writes meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lasting {
    /// Chosen by whoever starts it, so that a start whose answer was lost can be repeated.
    pub id: Uuid,
    /// Some: nothing is started; the process's output goes on from here.
    pub resume: Option<Position>,
}

/// So many bytes of each channel have arrived, from the process's start on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    pub stdout: u64,
    pub stderr: u64,
}

/// Where a lasting process stands when a stream comes to it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// Bytes of input that have arrived: what follows is to be sent.
    pub received: u64,
    /// Bytes of input that the process has taken.
    pub taken: u64,
    /// It had to wait while nobody took its output: [`KEPT_BYTES`] were waiting.
    pub was_held: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Size {
    pub columns: u16,
    pub rows: u16,
}

/// What goes beside the bytes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Control {
    /// Agent: the stream is connected; a terminal says its id, a lasting process where it stands.
    Opened {
        terminal: Option<Uuid>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        standing: Option<Standing>,
    },
    /// Agent: it could not be, in words for the person.
    Refused {
        why: String,
    },
    Resize(Size),
    /// Signal number for the process.
    Signal(i32),
    /// Server: no more input.
    EndOfInput,
    /// Agent: a lasting process has taken so many bytes of its input more.
    Taken {
        bytes: u32,
    },
    /// Server: so much of a lasting process's output has arrived for good and need not be kept.
    Received(Position),
    /// Server: nobody will come back to the lasting process; it is hung up.
    HangUp,
    /// Agent: the process ended, with its exit code or the signal that ended it; a socket was closed, with neither.
    /// Last on its stream.
    Exited {
        code: Option<i32>,
        signal: Option<i32>,
    },
    /// Either side: the stream is given up; nothing follows. What is not lasting is hung up.
    Reset {
        why: String,
    },
}

#[derive(Debug, Clone, PartialEq)]
pub enum Frame {
    Open(StreamId, Open),
    Control(StreamId, Control),
    /// Standard input towards the agent; standard output (or a socket's bytes) towards the server.
    Data(StreamId, Bytes),
    /// Standard error, towards the server.
    ErrorData(StreamId, Bytes),
    /// The receiver has taken so many bytes; the sender may send as many more.
    Credit(StreamId, u32),
}

#[derive(Debug, thiserror::Error)]
pub enum TunnelError {
    #[error("a tunnel frame of {0} bytes is too short or over the limit")]
    Length(usize),
    #[error("a tunnel frame of unknown kind {0}")]
    Kind(u8),
    #[error("a malformed tunnel frame: {0}")]
    Malformed(#[from] rmp_serde::decode::Error),
    #[error("cannot encode the tunnel frame: {0}")]
    Encode(#[from] rmp_serde::encode::Error),
}

const HEAD_BYTES: usize = 17;
/// The largest payload of an Open or Control frame, bytes.
const MAX_CONTROL_BYTES: usize = 64 * 1024;

impl Frame {
    pub fn encode(&self) -> Result<Bytes, TunnelError> {
        let head = |kind: u8, stream: &StreamId, capacity: usize| {
            let mut frame = BytesMut::with_capacity(HEAD_BYTES + capacity);
            frame.put_u8(kind);
            frame.put_slice(stream.uuid().as_bytes());
            frame
        };
        let frame = match self {
            Frame::Open(stream, open) => {
                let payload = rmp_serde::to_vec_named(open)?;
                let mut frame = head(1, stream, payload.len());
                frame.put_slice(&payload);
                frame
            }
            Frame::Control(stream, control) => {
                let payload = rmp_serde::to_vec_named(control)?;
                let mut frame = head(2, stream, payload.len());
                frame.put_slice(&payload);
                frame
            }
            Frame::Data(stream, data) => {
                let mut frame = head(3, stream, data.len());
                frame.put_slice(data);
                frame
            }
            Frame::ErrorData(stream, data) => {
                let mut frame = head(4, stream, data.len());
                frame.put_slice(data);
                frame
            }
            Frame::Credit(stream, bytes) => {
                let mut frame = head(5, stream, 4);
                frame.put_u32(*bytes);
                frame
            }
        };
        if frame.len() > HEAD_BYTES + MAX_CONTROL_BYTES {
            Err(TunnelError::Length(frame.len()))
        } else {
            Ok(frame.freeze())
        }
    }

    pub fn decode(mut frame: Bytes) -> Result<Frame, TunnelError> {
        let length = frame.len();
        if length < HEAD_BYTES {
            return Err(TunnelError::Length(length));
        }
        let head = frame.split_to(HEAD_BYTES);
        let payload = frame;
        let kind = head[0];
        let stream = StreamId::from_uuid(Uuid::from_slice(&head[1..]).map_err(|_| TunnelError::Length(length))?);
        let limit = if kind == 3 || kind == 4 { MAX_DATA_BYTES } else { MAX_CONTROL_BYTES };
        if payload.len() > limit {
            return Err(TunnelError::Length(length));
        }
        match kind {
            1 => Ok(Frame::Open(stream, rmp_serde::from_slice(&payload)?)),
            2 => Ok(Frame::Control(stream, rmp_serde::from_slice(&payload)?)),
            3 => Ok(Frame::Data(stream, payload)),
            4 => Ok(Frame::ErrorData(stream, payload)),
            5 => {
                let bytes: [u8; 4] = payload.as_ref().try_into().map_err(|_| TunnelError::Length(length))?;
                Ok(Frame::Credit(stream, u32::from_be_bytes(bytes)))
            }
            other => Err(TunnelError::Kind(other)),
        }
    }
}
