//! One byte stream through another server: a WebSocket that carries the tunnel's own frames, with the tunnel's own
//! credit, so that a reader that stalls holds back its stream alone and signals pass what waits to be read.
//!
//! The server that was asked plays the tunnel's server ([`open`]); the one that holds the host's tunnel plays the host
//! towards it ([`carry`]).

use std::{sync::Arc, time::Duration};

use axum::{
    extract::ws::{Message as Incoming, WebSocket},
    http::StatusCode,
};
use bytes::{Bytes, BytesMut};
use domain::ids::{HostId, StreamId, TenantId};
use futures_util::{Sink, SinkExt, Stream, StreamExt};
use parking_lot::Mutex;
use protocol::tunnel::{Control, Door, Frame, INITIAL_CREDIT_BYTES, Open};
use services::{
    Services,
    links::{Chunk, Peer, Relayed, StreamReader, StreamWriter, Tunnel},
    replicas::Replica,
};
use tokio::{
    sync::{Mutex as AsyncMutex, Notify, Semaphore},
    time::timeout,
};
use tokio_tungstenite::tungstenite::Message;

use super::{
    call::{self, CallError, Socket},
    port::Part,
};

/// The largest frame: a control of 64 KiB with its head.
pub(super) const MAX_MESSAGE_BYTES: usize = 128 * 1024;
/// The longest until the first frame, and for writing one.
const TALK_LIMIT: Duration = Duration::from_secs(10);

/// Opens the stream through `replica`. It ends with its connection.
pub(super) async fn open(
    services: &Services,
    replica: &Replica,
    tenant: TenantId,
    host: HostId,
    open: &Open,
) -> Result<Relayed, CallError> {
    let part = match open {
        Open::Objects { door: Door::Requests, .. } => Part::Requests,
        Open::Objects { door: Door::Control, .. }
        | Open::Exec { .. }
        | Open::Copy { .. }
        | Open::Terminal { .. }
        | Open::Connect { .. } => Part::People,
    };
    let target = format!("/replica/stream?tenant={tenant}&host={host}&part={}", part.word());
    let socket = match call::websocket(services, replica, &target, MAX_MESSAGE_BYTES).await {
        Ok(socket) => socket,
        Err(CallError::Refused(StatusCode::MISDIRECTED_REQUEST)) => return Ok(Relayed::Elsewhere),
        Err(error) => return Err(error),
    };
    let peer = Peer {
        tenant,
        host,
        name: replica.address.clone(),
        serial: replica.serial.clone(),
        expires_at: jiff::Timestamp::MAX,
    };
    let tunnel = Tunnel::new(peer);
    let stream = tunnel.open(open.clone()).map_err(|error| CallError::Identity(error.to_string()))?;
    // Owned by the stream: it ends when the stream is dropped or over.
    tokio::spawn(pump(socket, tunnel));
    Ok(Relayed::Stream(stream))
}

/// Carries the one stream of `tunnel` until it is over, given up, or the other server is gone.
async fn pump(socket: Socket, tunnel: Arc<Tunnel>) {
    let (mut sink, mut source) = socket.split();
    let write = async {
        loop {
            let frame = tunnel.next().await;
            let is_last = matches!(frame, Frame::Control(_, Control::Reset { .. } | Control::HangUp));
            let Ok(frame) = frame.encode() else { return };
            if !matches!(timeout(TALK_LIMIT, sink.send(Message::Binary(frame))).await, Ok(Ok(()))) || is_last {
                return;
            }
        }
    };
    let read = async {
        while let Some(Ok(message)) = source.next().await {
            match message {
                Message::Binary(frame) => {
                    let received = Frame::decode(frame).map(|frame| tunnel.received(frame));
                    if !matches!(received, Ok(Ok(()))) {
                        tracing::warn!(address = tunnel.peer.name, "another server sent what no tunnel does");
                        return;
                    }
                }
                Message::Ping(_) | Message::Pong(_) => {}
                Message::Text(_) | Message::Close(_) | Message::Frame(_) => return,
            }
        }
    };
    tokio::select! {
        () = write => {}
        () = read => {}
    }
    tunnel.end();
}

/// Input of the other server that the host has not taken yet: never more than the credit.
#[derive(Default)]
struct Input {
    state: Mutex<(BytesMut, bool)>,
    there: Notify,
}

/// The other server broke the rules, or went away.
struct Gone;

type Out<S> = AsyncMutex<S>;

async fn send<S: Sink<Incoming> + Unpin>(sink: &Out<S>, frame: &Frame) -> Result<(), Gone> {
    let frame = frame.encode().map_err(|_| Gone)?;
    match timeout(TALK_LIMIT, sink.lock().await.send(Incoming::Binary(frame))).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) | Err(_) => Err(Gone),
    }
}

/// Opens on `tunnel` what the other server asks for, and carries it until either side ends it.
pub(super) async fn carry(socket: WebSocket, tunnel: Arc<Tunnel>) {
    let (sink, mut source) = socket.split();
    let sink = Out::new(sink);
    let Ok(Some((id, open))) = timeout(TALK_LIMIT, first(&mut source)).await else { return };
    match tunnel.open(open) {
        Ok(stream) => {
            let (reader, writer) = stream.split();
            let (input, credit) = (Input::default(), Semaphore::new(INITIAL_CREDIT_BYTES as usize));
            // Whoever ends first ends the stream: dropping it resets it at the host.
            let ended = tokio::select! {
                ended = listen(&mut source, &writer, &input, &credit) => ended,
                ended = forward(&sink, id, &writer, &input) => ended,
                ended = tell(&sink, id, reader, &credit) => ended,
            };
            if ended.is_err() {
                tracing::debug!(host = %tunnel.peer.name, "another server gave up a stream");
            }
        }
        Err(error) => {
            let reset = Frame::Control(id, Control::Reset { why: error.to_string() });
            if send(&sink, &reset).await.is_err() {
                return;
            }
        }
    }
    let closed = timeout(TALK_LIMIT, async { sink.lock().await.close().await }).await;
    if !matches!(closed, Ok(Ok(()))) {
        tracing::debug!("another server did not take the end of a stream");
    }
}

async fn first<S>(source: &mut S) -> Option<(StreamId, Open)>
where
    S: Stream<Item = Result<Incoming, axum::Error>> + Unpin,
{
    loop {
        match source.next().await?.ok()? {
            Incoming::Binary(frame) => match Frame::decode(frame).ok()? {
                Frame::Open(id, open) => return Some((id, open)),
                Frame::Control(..) | Frame::Data(..) | Frame::ErrorData(..) | Frame::Credit(..) => return None,
            },
            Incoming::Ping(_) | Incoming::Pong(_) => {}
            Incoming::Text(_) | Incoming::Close(_) => return None,
        }
    }
}

/// The other server's frames: input into the buffer, controls past it.
async fn listen<S>(source: &mut S, writer: &StreamWriter, input: &Input, credit: &Semaphore) -> Result<(), Gone>
where
    S: Stream<Item = Result<Incoming, axum::Error>> + Unpin,
{
    loop {
        let frame = match source.next().await {
            Some(Ok(Incoming::Binary(frame))) => Frame::decode(frame).map_err(|_| Gone)?,
            Some(Ok(Incoming::Ping(_) | Incoming::Pong(_))) => continue,
            Some(Ok(Incoming::Text(_) | Incoming::Close(_)) | Err(_)) | None => return Err(Gone),
        };
        match frame {
            Frame::Data(_, data) => {
                let mut state = input.state.lock();
                if state.0.len() + data.len() > INITIAL_CREDIT_BYTES as usize || state.1 {
                    return Err(Gone);
                }
                state.0.extend_from_slice(&data);
                drop(state);
                input.there.notify_one();
            }
            Frame::Control(_, Control::EndOfInput) => {
                input.state.lock().1 = true;
                input.there.notify_one();
            }
            // A stream that has ended says so itself, by its last chunk.
            Frame::Control(_, control @ (Control::Resize(_) | Control::Signal(_) | Control::Received(_))) => {
                if let Err(services::links::StreamClosed::Full) = writer.control(control) {
                    return Err(Gone);
                }
            }
            Frame::Credit(_, bytes) => {
                let room = Semaphore::MAX_PERMITS - credit.available_permits();
                credit.add_permits(usize::try_from(bytes).unwrap_or(usize::MAX).min(room));
            }
            Frame::Control(_, Control::Reset { .. }) => return Ok(()),
            Frame::Control(_, Control::HangUp) => {
                writer.hang_up();
                return Ok(());
            }
            Frame::Open(..)
            | Frame::ErrorData(..)
            | Frame::Control(
                _,
                Control::Opened { .. } | Control::Refused { .. } | Control::Taken { .. } | Control::Exited { .. },
            ) => {
                return Err(Gone);
            }
        }
    }
}

/// The buffered input to the host, and credit for it to the other server.
async fn forward<S: Sink<Incoming> + Unpin>(
    sink: &Out<S>,
    id: StreamId,
    writer: &StreamWriter,
    input: &Input,
) -> Result<(), Gone> {
    loop {
        let (data, is_end) = {
            let mut state = input.state.lock();
            (state.0.split().freeze(), state.1)
        };
        if data.is_empty() {
            if is_end {
                writer.control(Control::EndOfInput).ok();
                return std::future::pending().await;
            }
            input.there.notified().await;
            continue;
        }
        let taken = u32::try_from(data.len()).unwrap_or(u32::MAX);
        // The stream's last chunk says why nothing is taken any more.
        if writer.write(data).await.is_err() {
            return std::future::pending().await;
        }
        send(sink, &Frame::Credit(id, taken)).await?;
    }
}

/// What comes from the host, as far as the other server has granted.
async fn tell<S: Sink<Incoming> + Unpin>(
    sink: &Out<S>,
    id: StreamId,
    mut reader: StreamReader,
    credit: &Semaphore,
) -> Result<(), Gone> {
    let granted = async |data: &Bytes| {
        let bytes = u32::try_from(data.len()).unwrap_or(u32::MAX);
        credit.acquire_many(bytes).await.map_err(|_| Gone)?.forget();
        Ok(())
    };
    loop {
        let (frame, is_last) = match reader.next().await {
            Some(Chunk::Stdout(data)) => {
                granted(&data).await?;
                (Frame::Data(id, data), false)
            }
            Some(Chunk::Stderr(data)) => {
                granted(&data).await?;
                (Frame::ErrorData(id, data), false)
            }
            Some(Chunk::Control(control)) => {
                let is_last = !matches!(control, Control::Opened { .. } | Control::Taken { .. });
                (Frame::Control(id, control), is_last)
            }
            None => {
                let why = "the connection to the host was lost".to_owned();
                (Frame::Control(id, Control::Reset { why }), true)
            }
        };
        send(sink, &frame).await?;
        if is_last {
            return Ok(());
        }
    }
}
