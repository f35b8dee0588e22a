//! The byte tunnel: a second WebSocket from the agent, which carries many byte streams (terminals, copies, later
//! notebooks) beside the control link and cannot delay it.
//!
//! Every WebSocket message is one [`Frame`]: 1 byte kind, 16 bytes stream id, payload. Flow control is by credit: a
//! sender may have at most the granted bytes outstanding on a stream; [`Frame::Credit`] grants more. Each channel of a
//! stream (stdin; stdout, stderr) shares the stream's credit in its direction.

use bytes::{BufMut, Bytes, BytesMut};
use domain::ids::{SessionId, StreamId};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Bytes that either side may send on a new stream before the first [`Frame::Credit`].
pub const INITIAL_CREDIT_BYTES: u32 = 256 * 1024;
/// The largest payload of one data frame, bytes: small, so that streams take turns.
pub const MAX_DATA_BYTES: usize = 16 * 1024;
/// The most streams on one tunnel.
pub const MAX_STREAMS: usize = 1_024;

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
    },
    /// A login shell in a terminal that outlives the stream; `attach` names one that is already there.
    Terminal { session: SessionId, attach: Option<Uuid>, size: Size },
    /// A socket that listens inside the session's environment.
    Connect { session: SessionId, to: Target },
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Target {
    Port(u16),
    UnixSocket(String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Size {
    pub columns: u16,
    pub rows: u16,
}

/// What goes beside the bytes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Control {
    /// Agent: the stream is connected; a terminal says its id.
    Opened {
        terminal: Option<Uuid>,
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
    /// Agent: the process ended, with its exit code or the signal that ended it; a socket was closed, with neither.
    /// Last on its stream.
    Exited {
        code: Option<i32>,
        signal: Option<i32>,
    },
    /// Either side: the stream is given up; nothing follows.
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
