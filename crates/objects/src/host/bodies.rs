//! Bodies on their way through the host, both ways, never more of them in memory than there is credit for.

use std::{
    collections::VecDeque,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::deployment::Deployment;
use crate::wire::{Problem, StreamId};

/// A body that an engine sends, until it is read.
#[derive(Debug, Default)]
pub struct Pipe {
    state: Mutex<PipeState>,
}

#[derive(Debug, Default)]
struct PipeState {
    chunks: VecDeque<Bytes>,
    bytes: usize,
    ended: Option<Result<(), Problem>>,
    reader: Option<Waker>,
}

/// The engine sent more than it had credit for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Overrun;

impl Pipe {
    pub fn push(&self, data: Bytes, end: bool, window_bytes: usize) -> Result<(), Overrun> {
        let mut state = self.state.lock();
        state.bytes += data.len();
        if state.bytes > window_bytes {
            return Err(Overrun);
        }
        if !data.is_empty() {
            state.chunks.push_back(data);
        }
        if end {
            state.ended = Some(Ok(()));
        }
        wake(state);
        Ok(())
    }

    pub fn fail(&self, why: Problem) {
        let mut state = self.state.lock();
        if state.ended.is_none() {
            state.ended = Some(Err(why));
        }
        wake(state);
    }

    fn poll(&self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, Problem>>> {
        let mut state = self.state.lock();
        if let Some(chunk) = state.chunks.pop_front() {
            state.bytes -= chunk.len();
            return Poll::Ready(Some(Ok(chunk)));
        }
        match &state.ended {
            Some(Ok(())) => Poll::Ready(None),
            Some(Err(why)) => {
                let why = why.clone();
                state.ended = Some(Ok(()));
                Poll::Ready(Some(Err(why)))
            }
            None => {
                state.reader = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }

    fn is_over(&self) -> bool {
        let state = self.state.lock();
        state.ended.is_some() && state.chunks.is_empty()
    }
}

fn wake(mut state: parking_lot::MutexGuard<'_, PipeState>) {
    let reader = state.reader.take();
    drop(state);
    if let Some(reader) = reader {
        reader.wake();
    }
}

/// The reading end. What is taken is credit for the engine; dropped early, the engine is told.
pub struct BodyReader {
    pipe: Arc<Pipe>,
    deployment: Arc<Deployment>,
    process: u32,
    stream: StreamId,
    length: Option<u64>,
}

impl BodyReader {
    pub fn new(
        pipe: Arc<Pipe>,
        deployment: Arc<Deployment>,
        process: u32,
        stream: StreamId,
        length: Option<u64>,
    ) -> Self {
        BodyReader { pipe, deployment, process, stream, length }
    }

    fn poll_chunk(&self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, Problem>>> {
        let polled = self.pipe.poll(context);
        if let Poll::Ready(Some(Ok(chunk))) = &polled {
            self.deployment.give_credit(self.process, self.stream, chunk.len());
        }
        polled
    }
}

impl Drop for BodyReader {
    fn drop(&mut self) {
        if !self.pipe.is_over() {
            self.deployment.cancel_stream(self.process, self.stream);
        }
    }
}

/// The body of a response, or of an outgoing request.
#[derive(Default)]
pub enum HostBody {
    #[default]
    Empty,
    Whole(Bytes),
    Reader(BodyReader),
}

impl Body for HostBody {
    type Data = Bytes;
    type Error = Problem;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Problem>>> {
        match &mut *self {
            HostBody::Empty => Poll::Ready(None),
            HostBody::Whole(bytes) => {
                let bytes = std::mem::take(bytes);
                *self = HostBody::Empty;
                Poll::Ready((!bytes.is_empty()).then_some(Ok(Frame::data(bytes))))
            }
            HostBody::Reader(reader) => {
                reader.poll_chunk(context).map(|chunk| chunk.map(|chunk| chunk.map(Frame::data)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            HostBody::Empty => true,
            HostBody::Whole(bytes) => bytes.is_empty(),
            HostBody::Reader(reader) => reader.length == Some(0),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            HostBody::Empty => SizeHint::with_exact(0),
            HostBody::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            HostBody::Reader(reader) => reader.length.map_or_else(SizeHint::default, SizeHint::with_exact),
        }
    }
}

impl std::fmt::Debug for HostBody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            HostBody::Empty => "Empty",
            HostBody::Whole(_) => "Whole",
            HostBody::Reader(_) => "Reader",
        })
    }
}

/// A body that the host sends to an engine as fast as that takes it.
#[derive(Debug, Default)]
pub struct Feeder {
    state: Mutex<FeederState>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct FeederState {
    credit: usize,
    target: Option<(u32, StreamId)>,
    cancelled: bool,
}

impl Feeder {
    /// From now on the engine takes it under that name.
    pub fn attach(&self, process: u32, stream: StreamId, window_bytes: usize) {
        let mut state = self.state.lock();
        state.target = Some((process, stream));
        state.credit = window_bytes;
        drop(state);
        self.changed.notify_one();
    }

    pub fn add_credit(&self, bytes: usize) {
        self.state.lock().credit += bytes;
        self.changed.notify_one();
    }

    pub fn cancel(&self) {
        self.state.lock().cancelled = true;
        self.changed.notify_one();
    }

    /// Nobody will attach it any more.
    pub fn cancel_unattached(&self) {
        let mut state = self.state.lock();
        if state.target.is_none() {
            state.cancelled = true;
            drop(state);
            self.changed.notify_one();
        }
    }

    /// Waits until there is credit, or an engine at all. None once nobody wants more.
    async fn ready(&self) -> Option<(u32, StreamId, usize)> {
        loop {
            {
                let state = self.state.lock();
                if state.cancelled {
                    return None;
                }
                if let Some((process, stream)) = state.target.filter(|_| state.credit > 0) {
                    return Some((process, stream, state.credit));
                }
            }
            self.changed.notified().await;
        }
    }

    /// Whoever sends the body may have nothing to say for long.
    async fn unwanted(&self) {
        while !self.state.lock().cancelled {
            self.changed.notified().await;
        }
    }

    fn spend(&self, bytes: usize) {
        self.state.lock().credit -= bytes;
    }

    /// Sends all of `body`; ends when it ends or nobody wants more of it.
    pub async fn feed<B>(&self, deployment: &Deployment, mut body: B, limits: FeedLimits)
    where
        B: Body<Data = Bytes> + Unpin,
        B::Error: std::fmt::Display,
    {
        let mut taken = 0;
        loop {
            let Some((process, stream, _)) = self.ready().await else { return };
            let frame = tokio::select! {
                frame = std::future::poll_fn(|context| Pin::new(&mut body).poll_frame(context)) => frame,
                () = self.unwanted() => return,
            };
            let mut data = match frame {
                None => return deployment.send_chunk(process, stream, Bytes::new(), true),
                Some(Err(error)) => {
                    let why = Problem::new("Error", format!("the body ended early: {error}"));
                    return deployment.send_stream_failed(process, stream, why);
                }
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => data,
                    Err(_trailers) => continue,
                },
            };
            taken += data.len() as u64;
            if taken > limits.body_bytes {
                let why = Problem::new("RangeError", format!("the body is larger than {} bytes", limits.body_bytes));
                return deployment.send_stream_failed(process, stream, why);
            }
            while !data.is_empty() {
                let Some((process, stream, credit)) = self.ready().await else { return };
                let part = data.split_to(data.len().min(credit).min(limits.chunk_bytes));
                self.spend(part.len());
                deployment.send_chunk(process, stream, part, false);
            }
        }
    }
}

#[derive(Debug, Clone, Copy)]
pub struct FeedLimits {
    pub body_bytes: u64,
    pub chunk_bytes: usize,
}
