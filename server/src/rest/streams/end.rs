//! How a connection ends, and what its client is told.

use std::time::Duration;

use api::streams::{CLOSE_CONFLICT, ServerFrame};
use axum::extract::ws::{CloseFrame, Message, WebSocket};
use futures_util::{SinkExt, StreamExt, stream::SplitSink, stream::SplitStream};
use services::live;
use tokio::time::timeout;

/// How long the last words may take to arrive.
const GOODBYE_LIMIT: Duration = Duration::from_secs(5);
/// The longest reason that a close frame has room for (RFC 6455: 125 bytes with the code).
const MAX_REASON_BYTES: usize = 123;

// Close codes of RFC 6455.
const NORMAL: u16 = 1000;
pub(super) const GOING_AWAY: u16 = 1001;
pub(super) const POLICY: u16 = 1008;
pub(super) const TRY_LATER: u16 = 1013;

/// Why a connection ends, and what its client is told.
#[derive(Debug)]
pub(super) enum End {
    /// A last frame, after which nothing can be done with this stream.
    Said(ServerFrame),
    /// The client is out: said in a last frame, and by the close code.
    Ousted(live::Ousted),
    /// The session allows no terminal now: said in a last frame, and by the close code.
    Refused(String),
    /// A close without one: the client may come back.
    Closed(u16, String),
    /// The client has closed the connection: it will not come back.
    Left,
    /// The connection broke: there is nobody to tell.
    Gone,
}

impl End {
    pub(super) fn error(message: impl Into<String>) -> Self {
        End::Said(ServerFrame::Error { message: message.into() })
    }

    /// Whether the client may come back to a program that lasts.
    pub(super) fn is_for_good(&self) -> bool {
        match self {
            End::Said(_) | End::Refused(_) | End::Ousted(_) | End::Left => true,
            End::Closed(code, _) => !matches!(*code, GOING_AWAY | TRY_LATER),
            End::Gone => false,
        }
    }
}

pub(super) type Sink = SplitSink<WebSocket, Message>;
pub(super) type Source = SplitStream<WebSocket>;

pub(super) fn text(frame: &ServerFrame) -> Message {
    // The frames are plain structs of text and numbers, which always have a JSON.
    Message::text(serde_json::to_string(frame).unwrap_or_default())
}

/// The last frame, the close, and the client's own: without waiting for it the last bytes could be lost with the
/// connection.
pub(super) async fn goodbye(mut sink: Sink, mut source: Source, end: End) {
    let (frame, code, reason) = match end {
        End::Said(frame) => (Some(frame), NORMAL, String::new()),
        End::Ousted(why) => (Some(ServerFrame::Error { message: why.to_string() }), POLICY, why.to_string()),
        End::Refused(why) => (Some(ServerFrame::Error { message: why.clone() }), CLOSE_CONFLICT, why),
        End::Closed(code, reason) => (None, code, reason),
        End::Left => (None, NORMAL, String::new()),
        End::Gone => return,
    };
    let reason = &reason[..reason.floor_char_boundary(MAX_REASON_BYTES)];
    let parting = async {
        if let Some(frame) = frame {
            sink.send(text(&frame)).await?;
        }
        sink.send(Message::Close(Some(CloseFrame { code, reason: reason.into() }))).await?;
        while let Some(Ok(message)) = source.next().await {
            if matches!(message, Message::Close(_)) {
                break;
            }
        }
        Ok::<(), axum::Error>(())
    };
    match timeout(GOODBYE_LIMIT, parting).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "a stream's client went away before its end"),
        Err(_) => tracing::debug!("a stream's client did not read its end"),
    }
}
