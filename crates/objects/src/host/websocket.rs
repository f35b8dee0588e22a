//! A WebSocket to somebody outside: its messages are events, what the object says goes out in order.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::Semaphore,
    time::{MissedTickBehavior, interval, timeout},
};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        Error, Message,
        protocol::{CloseFrame, WebSocketConfig, frame::coding::CloseCode},
    },
};

pub use tokio_tungstenite::tungstenite::protocol::Role;

use super::deployment::{ClientSocket, Deployment, Say};
use crate::wire::SocketData;

/// Messages of one client that its object has not taken; then no more are read.
const UNTAKEN: usize = 64;
/// For the client's own close frame once the object has closed.
const CLOSE_LIMIT: Duration = Duration::from_secs(10);
/// Of sockets that were dialled here: how long nothing may be heard, and how often the other end is asked for a word.
const SILENCE_LIMIT: Duration = Duration::from_secs(100);
const PING_EVERY: Duration = Duration::from_secs(30);
/// Said where a peer closed without a code, or vanished.
const NO_CODE: u16 = 1005;
const VANISHED: u16 = 1006;

/// How it ended, as the object hears of it.
struct End {
    code: u16,
    reason: String,
    clean: bool,
}

/// Runs until the socket is closed both ways. `role`: that of this end.
pub async fn run<S>(deployment: &Arc<Deployment>, socket: &ClientSocket, stream: S, role: Role)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let most = deployment.limits().socket_message_bytes as usize;
    let config = WebSocketConfig::default().max_message_size(Some(most)).max_frame_size(Some(most));
    let mut stream = WebSocketStream::from_raw_socket(stream, role, Some(config)).await;
    let mut pings = interval(PING_EVERY);
    pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut heard = Instant::now();
    let turns = Arc::new(Semaphore::new(UNTAKEN));
    let end = loop {
        // A place for the next message is there before the message is read.
        let turn = Arc::clone(&turns).acquire_owned();
        tokio::select! {
            _now = pings.tick(), if role == Role::Client => {
                let silent = heard.elapsed() >= SILENCE_LIMIT;
                if silent || stream.send(Message::Ping(Bytes::new())).await.is_err() {
                    break End { code: VANISHED, reason: String::new(), clean: false };
                }
            }
            () = socket.changed() => match say(&mut stream, socket).await {
                Ok(Said::Open) => {}
                Ok(Said::Closed) => break closed(&mut stream).await,
                Err(end) => break end,
            },
            message = async {
                let turn = turn.await;
                let message = stream.next().await;
                heard = Instant::now();
                (message, turn)
            } => match message {
                (Some(Ok(Message::Text(text))), Ok(turn)) => {
                    deployment.socket_message(socket.id, SocketData::Text(text.as_str().to_owned()), turn);
                }
                (Some(Ok(Message::Binary(data))), Ok(turn)) => {
                    deployment.socket_message(socket.id, SocketData::Binary(data.into()), turn);
                }
                (Some(Ok(Message::Close(frame))), _) => {
                    let end = end_of(frame);
                    // The answer to the close frame is queued by now; whether it arrives is the client's affair.
                    drop(timeout(CLOSE_LIMIT, stream.flush()).await);
                    break end;
                }
                (Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))), _) => {}
                (Some(Err(error @ (Error::Capacity(_) | Error::Protocol(_) | Error::Utf8(_)))), _) => {
                    let code = if matches!(error, Error::Capacity(_)) { CloseCode::Size } else { CloseCode::Protocol };
                    let frame = CloseFrame { code, reason: "not what a WebSocket says here".into() };
                    // Whether it arrives is the client's affair.
                    drop(timeout(CLOSE_LIMIT, stream.close(Some(frame))).await);
                    return deployment.socket_failed(socket.id, error.to_string());
                }
                (Some(Err(_gone)), _) => break End { code: VANISHED, reason: String::new(), clean: false },
                (None, _) | (_, Err(_)) => break End { code: VANISHED, reason: String::new(), clean: false },
            },
        }
    };
    deployment.socket_closed(socket.id, end.code, end.reason, end.clean);
}

enum Said {
    Open,
    Closed,
}

async fn say<S>(stream: &mut WebSocketStream<S>, socket: &ClientSocket) -> Result<Said, End>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let gone = |_error: Error| End { code: VANISHED, reason: String::new(), clean: false };
    let Some(said) = socket.take() else {
        tracing::info!("a client that does not read is let go of");
        return Err(End { code: VANISHED, reason: String::new(), clean: false });
    };
    for say in said {
        match say {
            Say::Data(SocketData::Text(text)) => stream.feed(Message::Text(text.into())).await.map_err(gone)?,
            Say::Data(SocketData::Binary(data)) => stream.feed(Message::Binary(data.into())).await.map_err(gone)?,
            Say::Close { code, reason } => {
                let frame = code.map(|code| CloseFrame { code: code.into(), reason: reason.into() });
                stream.close(frame).await.map_err(gone)?;
                return Ok(Said::Closed);
            }
        }
    }
    stream.flush().await.map_err(gone)?;
    Ok(Said::Open)
}

/// The object has closed: what the client says until it closes too is not heard any more.
async fn closed<S>(stream: &mut WebSocketStream<S>) -> End
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let answered = timeout(CLOSE_LIMIT, async {
        while let Some(Ok(message)) = stream.next().await {
            if let Message::Close(frame) = message {
                return end_of(frame);
            }
        }
        End { code: VANISHED, reason: String::new(), clean: false }
    });
    answered.await.unwrap_or(End { code: VANISHED, reason: String::new(), clean: false })
}

fn end_of(frame: Option<CloseFrame>) -> End {
    match frame {
        Some(frame) => End { code: frame.code.into(), reason: frame.reason.as_str().to_owned(), clean: true },
        None => End { code: NO_CODE, reason: String::new(), clean: true },
    }
}
