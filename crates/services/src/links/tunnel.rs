//! The server's half of the byte tunnel: many streams on one connection, each with credit of its own, taking turns.
//!
//! No I/O here: the connection's reader gives [`Tunnel::received`] what came, its writer sends what [`Tunnel::next`]
//! gives. A reader of a stream that stalls holds back its own stream alone, for the host may not send more than the
//! credit that was granted.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use bytes::Bytes;
use domain::ids::{DeploymentId, StreamId};
use parking_lot::Mutex;
use protocol::tunnel::{
    Control, Door, Frame, INITIAL_CREDIT_BYTES, MAX_CONTROL_STREAMS, MAX_DATA_BYTES, MAX_DEPLOYMENT_STREAMS,
    MAX_REQUEST_STREAMS, MAX_STREAMS, Open,
};
use tokio::sync::Notify;

use super::{Closing, Peer};

/// Bytes that a stream keeps for sending before its writer has to wait.
const SEND_BUFFER_BYTES: usize = 64 * 1024;
/// Credit is granted in portions of at least this, so that it costs few frames.
const GRANT_BYTES: u32 = INITIAL_CREDIT_BYTES / 4;
/// Controls that wait to be sent on one stream.
const MAX_CONTROLS: usize = 64;
/// Controls of the host that wait to be read on one stream: `Opened`, and `Taken` for what was granted of its input.
const MAX_TOLD: usize = 8;

/// What came from the host on a stream.
#[derive(Debug, Clone, PartialEq)]
pub enum Chunk {
    Stdout(Bytes),
    Stderr(Bytes),
    /// `Opened` or `Refused` first; `Exited` or `Reset` last.
    Control(Control),
}

/// Nothing can be sent on the stream any more.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StreamClosed {
    #[error("the stream has ended")]
    Ended,
    #[error("too many messages wait to be sent on the stream")]
    Full,
    #[error("the host has {MAX_STREAMS} streams open already")]
    TooMany,
    #[error("the host has {MAX_REQUEST_STREAMS} requests to deployments under way already")]
    TooManyRequests,
    #[error("the host has {MAX_DEPLOYMENT_STREAMS} requests to this deployment under way already")]
    TooManyOfDeployment,
    #[error("the host is asked {MAX_CONTROL_STREAMS} questions about objects already")]
    TooManyQuestions,
    #[error("the host's tunnel is gone")]
    TunnelGone,
}

/// The host broke the rules of the tunnel itself.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Violation(pub &'static str);

/// Whose part of the tunnel a stream takes up. What anybody may send, and what is asked about it, leaves room for people's own
/// terminals, programs and notebooks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Share {
    #[default]
    People,
    Requests(Option<DeploymentId>),
    Questions,
}

impl Share {
    fn of(open: &Open) -> Self {
        match open {
            Open::Objects { door: Door::Requests, deployment } => Share::Requests(*deployment),
            Open::Objects { door: Door::Control, deployment: _ } => Share::Questions,
            Open::Exec { .. } | Open::Copy { .. } | Open::Terminal { .. } | Open::Connect { .. } => Share::People,
        }
    }
}

/// How many streams each share has open.
#[derive(Debug, Default)]
struct Shares {
    all: usize,
    requests: usize,
    questions: usize,
    /// Of each deployment that has any.
    deployments: HashMap<DeploymentId, usize>,
}

impl Shares {
    fn take(&mut self, share: Share) -> Result<(), StreamClosed> {
        if self.all >= MAX_STREAMS {
            return Err(StreamClosed::TooMany);
        }
        match share {
            Share::People => {}
            Share::Requests(deployment) => {
                if self.requests >= MAX_REQUEST_STREAMS {
                    return Err(StreamClosed::TooManyRequests);
                }
                if let Some(deployment) = deployment {
                    let open = self.deployments.entry(deployment).or_default();
                    if *open >= MAX_DEPLOYMENT_STREAMS {
                        return Err(StreamClosed::TooManyOfDeployment);
                    }
                    *open += 1;
                }
                self.requests += 1;
            }
            Share::Questions if self.questions >= MAX_CONTROL_STREAMS => return Err(StreamClosed::TooManyQuestions),
            Share::Questions => self.questions += 1,
        }
        self.all += 1;
        Ok(())
    }

    fn give_back(&mut self, share: Share) {
        self.all -= 1;
        match share {
            Share::People => {}
            Share::Requests(deployment) => {
                self.requests -= 1;
                if let Some(deployment) = deployment
                    && let Some(open) = self.deployments.get_mut(&deployment)
                {
                    *open -= 1;
                    if *open == 0 {
                        self.deployments.remove(&deployment);
                    }
                }
            }
            Share::Questions => self.questions -= 1,
        }
    }
}

enum Out {
    Data(Bytes),
    /// In its place among the data.
    EndOfInput,
}

#[derive(Default)]
struct Stream {
    share: Share,
    opening: Option<Open>,
    controls: VecDeque<Control>,
    out: VecDeque<Out>,
    out_bytes: usize,
    /// What we may send.
    credit: u32,
    /// What the host may send still.
    window: u32,
    /// What the reader took and was not granted anew.
    taken: u32,
    inbox: VecDeque<Chunk>,
    is_ready: bool,
    /// Whoever held it will not come back to what it led to.
    is_hung_up: bool,
    /// The last chunk is in the inbox, or was taken: the host knows the stream no longer.
    is_over: bool,
    readable: Arc<Notify>,
    writable: Arc<Notify>,
}

impl Stream {
    fn can_send(&self) -> bool {
        self.opening.is_some()
            || self.taken >= GRANT_BYTES
            || !self.controls.is_empty()
            || match self.out.front() {
                Some(Out::Data(_)) => self.credit > 0,
                Some(Out::EndOfInput) => true,
                None => false,
            }
    }

    fn take(&mut self, id: StreamId) -> Option<Frame> {
        if let Some(open) = self.opening.take() {
            return Some(Frame::Open(id, open));
        }
        if self.taken >= GRANT_BYTES {
            let granted = std::mem::take(&mut self.taken);
            self.window = self.window.saturating_add(granted);
            return Some(Frame::Credit(id, granted));
        }
        if let Some(control) = self.controls.pop_front() {
            return Some(Frame::Control(id, control));
        }
        match self.out.front_mut()? {
            Out::EndOfInput => {
                self.out.pop_front();
                self.writable.notify_waiters();
                Some(Frame::Control(id, Control::EndOfInput))
            }
            Out::Data(data) => {
                let most = data.len().min(MAX_DATA_BYTES).min(usize::try_from(self.credit).unwrap_or(usize::MAX));
                if most == 0 {
                    return None;
                }
                let piece = data.split_to(most);
                if data.is_empty() {
                    self.out.pop_front();
                }
                self.out_bytes -= piece.len();
                self.credit -= u32::try_from(piece.len()).unwrap_or(u32::MAX);
                self.writable.notify_waiters();
                Some(Frame::Data(id, piece))
            }
        }
    }

    fn end(&mut self, last: Control) {
        if !self.is_over {
            self.is_over = true;
            self.inbox.push_back(Chunk::Control(last));
            self.out.clear();
            self.out_bytes = 0;
            self.readable.notify_waiters();
            self.writable.notify_waiters();
        }
    }
}

#[derive(Default)]
struct State {
    streams: HashMap<StreamId, Stream>,
    shares: Shares,
    /// Streams with something to send, in turn.
    ready: VecDeque<StreamId>,
    /// Resets of streams that are gone from the table.
    resets: VecDeque<(StreamId, Control)>,
    is_gone: bool,
}

impl State {
    fn make_ready(&mut self, id: StreamId) {
        if let Some(stream) = self.streams.get_mut(&id)
            && !stream.is_ready
            && !stream.is_over
            && stream.can_send()
        {
            stream.is_ready = true;
            self.ready.push_back(id);
        }
    }
}

/// One host's tunnel.
pub struct Tunnel {
    pub peer: Peer,
    pub closing: Closing,
    state: Mutex<State>,
    sendable: Notify,
}

impl Tunnel {
    pub fn new(peer: Peer) -> Arc<Self> {
        Arc::new(Self { peer, closing: Closing::default(), state: Mutex::default(), sendable: Notify::new() })
    }

    /// A new stream; it can be written to at once, within the first credit.
    pub fn open(self: &Arc<Self>, open: Open) -> Result<ByteStream, StreamClosed> {
        let id = StreamId::new();
        let share = Share::of(&open);
        let stream = Stream {
            share,
            opening: Some(open),
            credit: INITIAL_CREDIT_BYTES,
            window: INITIAL_CREDIT_BYTES,
            ..Stream::default()
        };
        let (readable, writable) = (stream.readable.clone(), stream.writable.clone());
        let mut state = self.state.lock();
        if state.is_gone {
            return Err(StreamClosed::TunnelGone);
        }
        state.shares.take(share)?;
        state.streams.insert(id, stream);
        state.make_ready(id);
        drop(state);
        self.sendable.notify_one();
        let handle = Arc::new(Handle { tunnel: self.clone(), id, readable, writable });
        Ok(ByteStream { reader: StreamReader(handle.clone()), writer: StreamWriter(handle) })
    }

    /// The next frame to send; streams take turns, frame by frame. Only the connection's writer calls it.
    pub async fn next(&self) -> Frame {
        loop {
            if let Some(frame) = self.take() {
                return frame;
            }
            self.sendable.notified().await;
        }
    }

    fn take(&self) -> Option<Frame> {
        let mut state = self.state.lock();
        if let Some((id, reset)) = state.resets.pop_front() {
            return Some(Frame::Control(id, reset));
        }
        while let Some(id) = state.ready.pop_front() {
            let Some(stream) = state.streams.get_mut(&id) else { continue };
            stream.is_ready = false;
            let frame = stream.take(id);
            state.make_ready(id);
            if frame.is_some() {
                return frame;
            }
        }
        None
    }

    /// What the host sent. What belongs to a stream that was given up is dropped: it was on its way.
    pub fn received(&self, frame: Frame) -> Result<(), Violation> {
        let mut state = self.state.lock();
        let (id, chunk) = match frame {
            Frame::Open(..) => return Err(Violation("a host cannot open streams")),
            Frame::Credit(id, bytes) => {
                if let Some(stream) = state.streams.get_mut(&id) {
                    stream.credit = stream.credit.saturating_add(bytes);
                }
                state.make_ready(id);
                drop(state);
                self.sendable.notify_one();
                return Ok(());
            }
            Frame::Control(id, control) => match control {
                Control::Opened { .. } | Control::Taken { .. } => (id, Chunk::Control(control)),
                Control::Refused { .. } | Control::Exited { .. } | Control::Reset { .. } => {
                    if let Some(stream) = state.streams.get_mut(&id) {
                        stream.end(control);
                    }
                    return Ok(());
                }
                Control::Resize(_)
                | Control::Signal(_)
                | Control::EndOfInput
                | Control::Received(_)
                | Control::HangUp => {
                    return Err(Violation("a host sends no such control"));
                }
            },
            // Empty pieces cost no credit and so could come without end.
            Frame::Data(_, data) | Frame::ErrorData(_, data) if data.is_empty() => return Ok(()),
            Frame::Data(id, data) => (id, Chunk::Stdout(data)),
            Frame::ErrorData(id, data) => (id, Chunk::Stderr(data)),
        };
        let Some(stream) = state.streams.get_mut(&id) else { return Ok(()) };
        if stream.is_over {
            return Ok(());
        }
        let length = match &chunk {
            Chunk::Stdout(data) | Chunk::Stderr(data) => u32::try_from(data.len()).unwrap_or(u32::MAX),
            // More than these, and it is a flood.
            Chunk::Control(_) if stream.inbox.iter().filter(|c| matches!(c, Chunk::Control(_))).count() > MAX_TOLD => {
                u32::MAX
            }
            Chunk::Control(_) => 0,
        };
        match stream.window.checked_sub(length) {
            Some(left) => {
                stream.window = left;
                stream.inbox.push_back(chunk);
                stream.readable.notify_waiters();
            }
            None => {
                let reset = Control::Reset { why: "the host sent more than it was granted".to_owned() };
                stream.end(reset.clone());
                state.resets.push_back((id, reset));
                drop(state);
                self.sendable.notify_one();
            }
        }
        Ok(())
    }

    /// The connection is gone: every stream ends.
    pub fn end(&self) {
        let mut state = self.state.lock();
        state.is_gone = true;
        for stream in state.streams.values_mut() {
            stream.end(Control::Reset { why: "the connection to the host was lost".to_owned() });
        }
        state.ready.clear();
        state.resets.clear();
    }

    /// Streams that are open.
    pub fn streams(&self) -> usize {
        self.state.lock().streams.len()
    }
}

struct Handle {
    tunnel: Arc<Tunnel>,
    id: StreamId,
    readable: Arc<Notify>,
    writable: Arc<Notify>,
}

impl Handle {
    fn with<T>(&self, act: impl FnOnce(&mut Stream) -> T) -> Option<T> {
        let mut state = self.tunnel.state.lock();
        let done = act(state.streams.get_mut(&self.id)?);
        state.make_ready(self.id);
        let has_work = !state.ready.is_empty();
        drop(state);
        if has_work {
            self.tunnel.sendable.notify_one();
        }
        Some(done)
    }
}

impl Drop for Handle {
    /// A stream that nobody holds any more is given up.
    fn drop(&mut self) {
        let mut state = self.tunnel.state.lock();
        let Some(stream) = state.streams.remove(&self.id) else { return };
        state.shares.give_back(stream.share);
        if !stream.is_over && stream.opening.is_none() {
            let last = if stream.is_hung_up {
                Control::HangUp
            } else {
                Control::Reset { why: "the other side went away".to_owned() }
            };
            state.resets.push_back((self.id, last));
            drop(state);
            self.tunnel.sendable.notify_one();
        }
    }
}

/// A byte stream to something on a host. Dropping it gives it up.
pub struct ByteStream {
    reader: StreamReader,
    writer: StreamWriter,
}

impl ByteStream {
    /// See [`StreamReader::next`].
    pub async fn next(&mut self) -> Option<Chunk> {
        self.reader.next().await
    }
    /// See [`StreamWriter::write`].
    pub async fn write(&self, data: Bytes) -> Result<(), StreamClosed> {
        self.writer.write(data).await
    }
    /// See [`StreamWriter::control`].
    pub fn control(&self, control: Control) -> Result<(), StreamClosed> {
        self.writer.control(control)
    }
    /// Two halves for two tasks; the stream is given up when both are dropped.
    pub fn split(self) -> (StreamReader, StreamWriter) {
        (self.reader, self.writer)
    }
}

/// What comes from the host.
pub struct StreamReader(Arc<Handle>);

impl StreamReader {
    /// The next chunk; `None` after the last. Safe to cancel.
    pub async fn next(&mut self) -> Option<Chunk> {
        loop {
            let readable = self.0.readable.notified();
            tokio::pin!(readable);
            // Registered before the look, or a chunk that comes between is missed.
            readable.as_mut().enable();
            let taken = self.0.with(|stream| match stream.inbox.pop_front() {
                Some(chunk) => {
                    if let Chunk::Stdout(data) | Chunk::Stderr(data) = &chunk {
                        stream.taken = stream.taken.saturating_add(u32::try_from(data.len()).unwrap_or(u32::MAX));
                    }
                    Some(Some(chunk))
                }
                None if stream.is_over => Some(None),
                None => None,
            })?;
            match taken {
                Some(answer) => return answer,
                None => readable.await,
            }
        }
    }
}

/// What goes to the host.
#[derive(Clone)]
pub struct StreamWriter(Arc<Handle>);

impl StreamWriter {
    /// Queues the bytes; waits while the host does not take them.
    pub async fn write(&self, mut data: Bytes) -> Result<(), StreamClosed> {
        while !data.is_empty() {
            let writable = self.0.writable.notified();
            tokio::pin!(writable);
            writable.as_mut().enable();
            let room = self.0.with(|stream| {
                if stream.is_over {
                    return Err(StreamClosed::Ended);
                }
                let room = SEND_BUFFER_BYTES.saturating_sub(stream.out_bytes).min(data.len());
                if room > 0 {
                    stream.out_bytes += room;
                    stream.out.push_back(Out::Data(data.split_to(room)));
                }
                Ok(room)
            });
            match room {
                None => return Err(StreamClosed::Ended),
                Some(Err(error)) => return Err(error),
                Some(Ok(0)) => writable.await,
                Some(Ok(_)) => {}
            }
        }
        Ok(())
    }

    /// Waits until everything that was queued is on its way, or the stream has ended: what is given up before loses the rest.
    pub async fn flushed(&self) {
        loop {
            let writable = self.0.writable.notified();
            tokio::pin!(writable);
            writable.as_mut().enable();
            if self.0.with(|stream| stream.is_over || stream.out.is_empty()).unwrap_or(true) {
                return;
            }
            writable.await;
        }
    }

    /// When the stream is given up, what it leads to ends, lasting or not.
    pub fn hang_up(&self) {
        self.0.with(|stream| stream.is_hung_up = true);
    }

    /// Queues a control: the end of input behind what was written, others before it.
    pub fn control(&self, control: Control) -> Result<(), StreamClosed> {
        self.0
            .with(|stream| {
                if stream.is_over {
                    return Err(StreamClosed::Ended);
                }
                if control == Control::EndOfInput {
                    stream.out.push_back(Out::EndOfInput);
                } else if let (Control::Received(_), Some(last @ Control::Received(_))) =
                    (&control, stream.controls.back_mut())
                {
                    *last = control;
                } else if stream.controls.len() >= MAX_CONTROLS {
                    return Err(StreamClosed::Full);
                } else {
                    stream.controls.push_back(control);
                }
                Ok(())
            })
            .unwrap_or(Err(StreamClosed::Ended))
    }
}

#[cfg(test)]
#[path = "tunnel_tests.rs"]
mod tests;
