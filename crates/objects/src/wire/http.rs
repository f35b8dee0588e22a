//! Requests and responses.

use super::{SocketId, StreamId};
use serde::{Deserialize, Serialize};

/// In order, names in lower case; a name may come several times. Each `char` of a value is one byte of it.
pub type Headers = Vec<(String, String)>;

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Body {
    #[default]
    None,
    Whole(#[serde(with = "serde_bytes")] Vec<u8>),
    /// Chunks follow, as many bytes as there is credit for: [`super::Limits::stream_window_bytes`] at first.
    Stream {
        stream: StreamId,
        length: Option<u64>,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Redirect {
    #[default]
    Follow,
    Manual,
    Error,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HttpRequest {
    pub method: String,
    pub url: String,
    pub headers: Headers,
    pub body: Body,
    /// Counts for [`super::Destination::Internet`].
    pub redirect: Redirect,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HttpResponse {
    pub status: u16,
    /// Empty: the usual one.
    pub status_text: String,
    pub headers: Headers,
    pub body: Body,
    /// The answer to an upgrade: the end of a WebSocket that goes to whoever asked.
    pub socket: Option<SocketId>,
    /// Where it came from in the end, empty where that is the URL asked for.
    pub url: String,
    pub redirected: bool,
}
