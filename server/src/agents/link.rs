//! `GET /agent/link`: the control link's WebSocket. What is said on it is `services::links`' business.

use std::time::Duration;

use axum::{
    Extension,
    extract::{
        State,
        ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade},
    },
    response::Response,
};
use futures_util::{StreamExt, stream::FuturesUnordered};
use protocol::{CloseReason, FrameError, HEARTBEAT_PERIOD_MS, MAX_FRAME_BYTES, ToAgent, ToServer};
use services::{
    Services,
    links::{self, Attached, Heard, Peer, Trouble},
};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use super::{PeerSerial, Port, host};
use crate::failure::Failure;

/// Small, for there are ten thousand links: a control message seldom has more.
const BUFFER_BYTES: usize = 4 * 1024;
/// The longest until the first message, and for writing one.
const TALK_LIMIT: Duration = Duration::from_secs(10);
/// Three heartbeats: without one for so long the host is offline.
const SILENCE: Duration = Duration::from_millis(3 * HEARTBEAT_PERIOD_MS);
/// Messages whose group commit is awaited before more are read.
const MAX_UNDER_WAY: usize = 64;

pub(super) async fn link(
    State(port): State<Port>,
    serial: Extension<PeerSerial>,
    upgrade: WebSocketUpgrade,
) -> Result<Response, Failure> {
    let standing = host(&port.services, &serial).await?;
    let upgrade = upgrade
        .read_buffer_size(BUFFER_BYTES)
        .write_buffer_size(BUFFER_BYTES)
        .max_write_buffer_size(2 * MAX_FRAME_BYTES)
        .max_message_size(MAX_FRAME_BYTES)
        .max_frame_size(MAX_FRAME_BYTES);
    Ok(upgrade.on_upgrade(move |socket| async move {
        match standing {
            Ok(peer) => Box::pin(talk(port, socket, peer)).await,
            Err(reason) => close(socket, reason).await,
        }
    }))
}

/// Says why, and goes; a host that does not listen is not waited for.
pub(super) async fn close(mut socket: WebSocket, reason: CloseReason) {
    let frame = CloseFrame { code: reason.code(), reason: "".into() };
    let told = async {
        if let Err(error) = socket.send(Message::Close(Some(frame))).await {
            tracing::debug!(%error, "cannot tell a host why its connection is closed");
            return;
        }
        // Until the host answers the close, or the words are lost with the connection.
        while let Some(Ok(_)) = socket.recv().await {}
    };
    if timeout(Duration::from_secs(2), told).await.is_err() {
        tracing::debug!("a host did not take the closing of its connection");
    }
}

/// Why a link ended.
enum End {
    Close(CloseReason),
    /// The host went away.
    Gone,
}

impl From<Trouble> for End {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::Close(reason) => End::Close(reason),
            Trouble::Server(error) => {
                tracing::warn!(%error, "a link is closed because the server cannot go on");
                End::Close(CloseReason::ShuttingDown)
            }
        }
    }
}

async fn talk(port: Port, mut socket: WebSocket, peer: Peer) {
    let name = peer.name.clone();
    match converse(&port.services, &port.stop, &mut socket, peer).await {
        End::Gone => tracing::debug!(host = %name, "a link ended"),
        End::Close(reason) => {
            tracing::info!(host = %name, ?reason, "a link is closed");
            close(socket, reason).await;
        }
    }
}

async fn converse(services: &Services, stop: &CancellationToken, socket: &mut WebSocket, peer: Peer) -> End {
    let hello = match timeout(TALK_LIMIT, receive(socket)).await {
        Ok(Ok(message)) => message,
        Ok(Err(end)) => return end,
        Err(_) => return End::Close(CloseReason::Unexpected),
    };
    let Attached { link, mut outbox, welcome } = match links::attach(services, peer, hello).await {
        Ok(attached) => attached,
        Err(trouble) => return trouble.into(),
    };
    let end = match send(socket, &welcome).await {
        Ok(()) => run(services, stop, socket, &link, &mut outbox).await,
        Err(end) => end,
    };
    links::detach(services, &link).await;
    end
}

async fn run(
    services: &Services,
    stop: &CancellationToken,
    socket: &mut WebSocket,
    link: &std::sync::Arc<links::Link>,
    outbox: &mut tokio::sync::mpsc::Receiver<ToAgent>,
) -> End {
    // In any order: what a host waits for does not wait for the writing down of what it told before.
    let mut answers = FuturesUnordered::new();
    let mut heard_at = Instant::now();
    loop {
        let step: Result<(), End> = tokio::select! {
            biased;
            reason = link.closing.closed() => Err(End::Close(reason)),
            () = stop.cancelled() => Err(End::Close(CloseReason::ShuttingDown)),
            Some(answer) = answers.next(), if !answers.is_empty() => match answer {
                Ok(Some(message)) => send(socket, &message).await,
                Ok(None) => Ok(()),
                Err(trouble) => Err(End::from(trouble)),
            },
            Some(message) = outbox.recv() => send(socket, &message).await,
            () = link.woken() => links::look(services, link).await.map_err(End::from),
            incoming = receive(socket), if answers.len() < MAX_UNDER_WAY => match incoming {
                Ok(message) => {
                    heard_at = Instant::now();
                    match links::heard(services, link, message).await {
                        Ok(Heard::Nothing) => Ok(()),
                        Ok(Heard::Reply(reply)) => send(socket, &reply).await,
                        Ok(Heard::Later(answer)) => {
                            answers.push(answer);
                            Ok(())
                        }
                        Err(trouble) => Err(End::from(trouble)),
                    }
                }
                Err(end) => Err(end),
            },
            () = tokio::time::sleep_until(heard_at + SILENCE) => {
                tracing::info!(host = %link.peer.name, "no heartbeat for {} s", SILENCE.as_secs());
                Err(End::Gone)
            }
        };
        if let Err(end) = step {
            return end;
        }
    }
}

/// The next message of the host. Safe to cancel.
async fn receive(socket: &mut WebSocket) -> Result<ToServer, End> {
    loop {
        match socket.recv().await {
            None => return Err(End::Gone),
            Some(Err(error)) => {
                tracing::debug!(%error, "a link broke");
                // Too large a frame is an error of the WebSocket itself.
                let too_large = error.to_string().contains("too long") || error.to_string().contains("too big");
                return Err(if too_large { End::Close(CloseReason::TooLarge) } else { End::Gone });
            }
            Some(Ok(Message::Binary(frame))) => {
                return protocol::decode(&frame).map_err(|error| {
                    tracing::info!(%error, "a host sent a frame that cannot be read");
                    End::Close(match error {
                        FrameError::TooLarge(_) => CloseReason::TooLarge,
                        FrameError::Malformed(_) | FrameError::Encode(_) => CloseReason::Malformed,
                    })
                });
            }
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
            Some(Ok(Message::Close(_))) => return Err(End::Gone),
            Some(Ok(Message::Text(_))) => return Err(End::Close(CloseReason::Unexpected)),
        }
    }
}

async fn send(socket: &mut WebSocket, message: &ToAgent) -> Result<(), End> {
    let frame = protocol::encode(message).map_err(|error| {
        tracing::error!(%error, "a message to a host cannot be encoded");
        End::Close(CloseReason::ShuttingDown)
    })?;
    match timeout(TALK_LIMIT, socket.send(Message::Binary(frame.into()))).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) => Err(End::Gone),
        Err(_) => Err(End::Close(CloseReason::Overloaded)),
    }
}
