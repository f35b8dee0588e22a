//! `GET /agent/tunnel`: the byte tunnel's WebSocket, a connection of its own so that no stream can delay the control
//! link. Streams and credit are `services::links::tunnel`'s business.

use std::{sync::Arc, time::Duration};

use axum::{
    Extension,
    extract::{
        State,
        ws::{Message, WebSocket, WebSocketUpgrade},
    },
    response::Response,
};
use futures_util::{Sink, SinkExt, Stream, StreamExt};
use protocol::{CloseReason, tunnel::Frame};
use services::links::{self, Tunnel};
use tokio::time::timeout;

use super::{PeerSerial, Port, host, link::close};
use crate::failure::Failure;

const BUFFER_BYTES: usize = 32 * 1024;
/// The largest frame: a control of 64 KiB with its head.
const MAX_TUNNEL_FRAME_BYTES: usize = 128 * 1024;
const PING_PERIOD: Duration = Duration::from_secs(15);
/// Without any sign, not even an answer to a ping, for so long the tunnel is gone.
const SILENCE: Duration = Duration::from_secs(45);
const WRITE_LIMIT: Duration = Duration::from_secs(30);

pub(super) async fn tunnel(
    State(port): State<Port>,
    serial: Extension<PeerSerial>,
    upgrade: WebSocketUpgrade,
) -> Result<Response, Failure> {
    let standing = host(&port.services, &serial).await?;
    let upgrade = upgrade
        .read_buffer_size(BUFFER_BYTES)
        .write_buffer_size(BUFFER_BYTES)
        .max_write_buffer_size(4 * MAX_TUNNEL_FRAME_BYTES)
        .max_message_size(MAX_TUNNEL_FRAME_BYTES)
        .max_frame_size(MAX_TUNNEL_FRAME_BYTES);
    Ok(upgrade.on_upgrade(move |socket| async move {
        match standing {
            Ok(peer) => Box::pin(carry(port, socket, Tunnel::new(peer))).await,
            Err(reason) => close(socket, reason).await,
        }
    }))
}

async fn carry(port: Port, mut socket: WebSocket, tunnel: Arc<Tunnel>) {
    links::tunnel_up(&port.services, &tunnel).await;
    let reason = {
        let (sink, stream) = (&mut socket).split();
        // Reading goes on while a write waits: the two do not hold each other up.
        tokio::select! {
            reason = tunnel.closing.closed() => Some(reason),
            () = port.stop.cancelled() => Some(CloseReason::ShuttingDown),
            reason = read(stream, &tunnel) => reason,
            () = write(sink, &tunnel) => None,
        }
    };
    links::tunnel_down(&port.services, &tunnel).await;
    if let Some(reason) = reason {
        tracing::info!(host = %tunnel.peer.name, ?reason, "a tunnel is closed");
        close(socket, reason).await;
    }
}

/// Until the host goes away (`None`) or breaks the rules.
async fn read(
    mut stream: impl Stream<Item = Result<Message, axum::Error>> + Unpin,
    tunnel: &Tunnel,
) -> Option<CloseReason> {
    loop {
        let frame = match timeout(SILENCE, stream.next()).await {
            Err(_) | Ok(None | Some(Err(_) | Ok(Message::Close(_)))) => return None,
            Ok(Some(Ok(Message::Binary(frame)))) => frame,
            Ok(Some(Ok(Message::Ping(_) | Message::Pong(_)))) => continue,
            Ok(Some(Ok(Message::Text(_)))) => return Some(CloseReason::Unexpected),
        };
        match Frame::decode(frame) {
            Err(error) => {
                tracing::info!(host = %tunnel.peer.name, %error, "a host sent a tunnel frame that cannot be read");
                return Some(CloseReason::Malformed);
            }
            Ok(frame) => {
                if let Err(violation) = tunnel.received(frame) {
                    tracing::info!(host = %tunnel.peer.name, %violation, "a host broke the tunnel's rules");
                    return Some(CloseReason::Unexpected);
                }
            }
        }
    }
}

/// Until nothing can be written any more.
async fn write(mut sink: impl Sink<Message, Error = axum::Error> + Unpin, tunnel: &Tunnel) {
    let mut pings = tokio::time::interval(PING_PERIOD);
    pings.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        let message = tokio::select! {
            frame = tunnel.next() => match frame.encode() {
                Ok(frame) => Message::Binary(frame),
                Err(error) => {
                    tracing::error!(%error, "a tunnel frame cannot be encoded");
                    return;
                }
            },
            _ = pings.tick() => Message::Ping(bytes::Bytes::new()),
        };
        match timeout(WRITE_LIMIT, sink.send(message)).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) | Err(_) => return,
        }
    }
}
