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
        error::ProtocolError,
        protocol::{CloseFrame, WebSocketConfig, frame::coding::CloseCode},
    },
};

pub use tokio_tungstenite::tungstenite::protocol::Role;

use super::deployment::{ClientSocket, Deployment, Say};
use crate::wire::SocketData;

/// Messages of one client that its object has not taken; then no more are read.
const UNTAKEN: usize = 64;
/// What a client has not taken by then it never will.
const WRITE_LIMIT: Duration = Duration::from_secs(20);
/// For the client's own close frame once the object has closed.
const CLOSE_LIMIT: Duration = Duration::from_secs(10);
/// Of sockets that were dialled here: how long nothing may be heard, and how often the other end is asked for a word.
const SILENCE_LIMIT: Duration = Duration::from_secs(100);
const PING_EVERY: Duration = Duration::from_secs(30);
/// Said where a peer closed without a code, or vanished.
const NO_CODE: u16 = 1005;
const VANISHED: u16 = 1006;

/// How it ended, as the object hears of it.
#[derive(Debug, PartialEq, Eq)]
struct End {
    code: u16,
    reason: String,
    clean: bool,
}

impl End {
    fn vanished() -> Self {
        End { code: VANISHED, reason: String::new(), clean: false }
    }
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
                if heard.elapsed() >= SILENCE_LIMIT {
                    break End::vanished();
                }
                if let Err(end) = in_time(WRITE_LIMIT, stream.send(Message::Ping(Bytes::new()))).await {
                    break end;
                }
            }
            () = socket.changed() => match say(&mut stream, socket, WRITE_LIMIT).await {
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
                (Some(Err(Error::Protocol(ProtocolError::ResetWithoutClosingHandshake))), _) => break End::vanished(),
                (Some(Err(error @ (Error::Capacity(_) | Error::Protocol(_) | Error::Utf8(_)))), _) => {
                    let code = if matches!(error, Error::Capacity(_)) { CloseCode::Size } else { CloseCode::Protocol };
                    let frame = CloseFrame { code, reason: "not what a WebSocket says here".into() };
                    // Whether it arrives is the client's affair.
                    drop(timeout(CLOSE_LIMIT, stream.close(Some(frame))).await);
                    return deployment.socket_failed(socket.id, error.to_string());
                }
                (Some(Err(_)) | None, _) | (_, Err(_)) => break End::vanished(),
            },
        }
    };
    deployment.socket_closed(socket.id, end.code, end.reason, end.clean);
}

#[derive(Debug, PartialEq, Eq)]
enum Said {
    Open,
    Closed,
}

/// All that waits. `limit`: how long the client may take for each message.
async fn say<S>(stream: &mut WebSocketStream<S>, socket: &ClientSocket, limit: Duration) -> Result<Said, End>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    loop {
        let Ok(next) = socket.next() else {
            tracing::info!("a client that does not read is let go of");
            return Err(End::vanished());
        };
        match next {
            Some(Say::Data(SocketData::Text(text))) => in_time(limit, stream.feed(Message::Text(text.into()))).await?,
            Some(Say::Data(SocketData::Binary(data))) => {
                in_time(limit, stream.feed(Message::Binary(data.into()))).await?;
            }
            Some(Say::Close { code, reason }) => {
                let frame = code.map(|code| CloseFrame { code: code.into(), reason: reason.into() });
                in_time(limit, stream.close(frame)).await?;
                return Ok(Said::Closed);
            }
            None => {
                in_time(limit, stream.flush()).await?;
                return Ok(Said::Open);
            }
        }
    }
}

async fn in_time(limit: Duration, written: impl Future<Output = Result<(), Error>>) -> Result<(), End> {
    match timeout(limit, written).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => {
            tracing::debug!(%error, "a client is gone");
            Err(End::vanished())
        }
        Err(_late) => {
            tracing::info!("a client that does not read is let go of");
            Err(End::vanished())
        }
    }
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
        End::vanished()
    });
    answered.await.unwrap_or(End::vanished())
}

fn end_of(frame: Option<CloseFrame>) -> End {
    match frame {
        Some(frame) => End { code: frame.code.into(), reason: frame.reason.as_str().to_owned(), clean: true },
        None => End { code: NO_CODE, reason: String::new(), clean: true },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{host::budget::Budget, wire::SocketId};

    const LIMIT: Duration = Duration::from_millis(50);
    /// For the test itself.
    const PATIENCE: Duration = Duration::from_secs(20);

    /// A socket to say things on, and the other end, which takes so many bytes unread.
    async fn ends(bytes: usize) -> (WebSocketStream<tokio::io::DuplexStream>, tokio::io::DuplexStream) {
        let (ours, theirs) = tokio::io::duplex(bytes);
        (WebSocketStream::from_raw_socket(ours, Role::Server, None).await, theirs)
    }

    fn text(bytes: usize) -> Say {
        Say::Data(SocketData::Text("x".repeat(bytes)))
    }

    #[tokio::test]
    async fn a_client_that_takes_nothing_is_let_go_of() {
        let last_words = [text(1 << 20), text(1), Say::Close { code: None, reason: String::new() }];
        for word in last_words {
            let (mut stream, _theirs) = ends(0x100).await;
            let socket = ClientSocket::new(SocketId(1), &Arc::new(Budget::new(usize::MAX)));
            // As much as the stream itself takes.
            socket.say(text(100 << 10));
            socket.say(word);
            let said = timeout(PATIENCE, say(&mut stream, &socket, LIMIT)).await.expect("does not wait for ever");
            assert_eq!(said, Err(End::vanished()));
        }
    }

    #[tokio::test]
    async fn a_client_that_fell_too_far_behind_is_let_go_of_in_the_middle() {
        let (mut stream, mut theirs) = ends(0x100).await;
        let socket = ClientSocket::new(SocketId(1), &Arc::new(Budget::new(usize::MAX)));
        socket.say(text(1 << 20));
        let reading = async {
            // It takes a little, and meanwhile more is said than may wait.
            tokio::io::AsyncReadExt::read_exact(&mut theirs, &mut [0; 0x100]).await.expect("is read");
            for _ in 0..20 {
                socket.say(text(1 << 20));
            }
            tokio::io::copy(&mut theirs, &mut tokio::io::sink()).await.expect("is read");
        };
        let said = timeout(PATIENCE, async {
            tokio::select! {
                // What the stream itself had taken is still sent.
                said = async {
                    assert_eq!(say(&mut stream, &socket, PATIENCE).await, Ok(Said::Open));
                    say(&mut stream, &socket, PATIENCE).await
                } => said,
                () = reading => panic!("the stream has ended"),
            }
        });
        assert_eq!(said.await.expect("does not wait for ever"), Err(End::vanished()));
    }
}
