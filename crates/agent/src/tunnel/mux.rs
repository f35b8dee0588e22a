//! Many streams on one socket: each may send only what the other side granted, and all take turns frame by frame.

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use bytes::Bytes;
use domain::ids::StreamId;
use protocol::tunnel::{
    Control, Frame, INITIAL_CREDIT_BYTES, MAX_DATA_BYTES, MAX_STREAMS, Open, Position, Size, Standing,
};
use tokio::sync::Notify;

/// Bytes of one stream that wait for their turn.
const MAX_WAITING_BYTES: usize = 4 * MAX_DATA_BYTES;
/// Taken bytes are granted again in pieces of this size: few frames, and never an idle sender.
const GRANT_BYTES: u32 = INITIAL_CREDIT_BYTES / 4;
/// Control messages of one stream that wait to be acted on.
const MAX_CONTROLS: usize = 256;
/// Answers to frames of streams that are none, before the server is taken for mad.
const MAX_STRAY: usize = 2 * MAX_STREAMS;

/// The stream is over: reset by the server, or its tunnel is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the stream is over")]
pub struct Gone;

/// The server broke the tunnel's rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Broken(pub &'static str);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Channel {
    Output,
    Error,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    Data(Bytes),
    End,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    Resize(Size),
    Signal(i32),
    /// So much of the output need not be kept any more.
    Received(Position),
}

#[derive(Default)]
struct Signals {
    /// There is input, or the end.
    input: Notify,
    orders: Notify,
    /// There is credit or room.
    room: Notify,
    /// What had come when the server gave the stream up, and nobody had taken yet.
    rest: Mutex<VecDeque<Input>>,
    /// The server gave the stream up for good.
    is_hung_up: AtomicBool,
}

impl Signals {
    fn rest(&self) -> MutexGuard<'_, VecDeque<Input>> {
        self.rest.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Lane {
    waiting: VecDeque<Frame>,
    waiting_bytes: usize,
    credit: u32,
    /// Taken by the stream's owner and not yet granted again.
    taken: u32,
    /// Received and not yet granted again.
    outstanding: u32,
    input: VecDeque<Input>,
    orders: VecDeque<Order>,
    /// The last frame is waiting; nothing may follow it.
    finished: bool,
    in_turn: bool,
    signals: Arc<Signals>,
}

#[derive(Default)]
struct State {
    lanes: HashMap<StreamId, Lane>,
    turn: VecDeque<StreamId>,
    stray: VecDeque<Frame>,
    closed: bool,
}

#[derive(Default)]
pub struct Mux {
    state: Mutex<State>,
    writer: Notify,
}

impl Mux {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes one frame from the server; a new stream is returned with what it is to be connected to.
    pub fn take(self: &Arc<Self>, frame: Frame) -> Result<Option<(Stream, Open)>, Broken> {
        let mut state = self.state();
        match frame {
            Frame::Open(id, open) => {
                if state.lanes.contains_key(&id) {
                    return Err(Broken("a stream was opened twice"));
                }
                if state.lanes.len() >= MAX_STREAMS {
                    let why = format!("this host has {MAX_STREAMS} streams open already");
                    return self.stray(&mut state, Frame::Control(id, Control::Refused { why })).map(|()| None);
                }
                let signals = Arc::new(Signals::default());
                let lane = Lane {
                    waiting: VecDeque::new(),
                    waiting_bytes: 0,
                    credit: INITIAL_CREDIT_BYTES,
                    taken: 0,
                    outstanding: 0,
                    input: VecDeque::new(),
                    orders: VecDeque::new(),
                    finished: false,
                    in_turn: false,
                    signals: signals.clone(),
                };
                state.lanes.insert(id, lane);
                return Ok(Some((Stream { id, mux: self.clone(), signals }, open)));
            }
            Frame::Data(id, data) => {
                // A stream that is over may have data under way to it.
                let Some(lane) = state.lanes.get_mut(&id).filter(|lane| !lane.finished) else { return Ok(None) };
                let length = u32::try_from(data.len()).map_err(|_| Broken("a frame is too long"))?;
                lane.outstanding = lane.outstanding.saturating_add(length);
                if lane.outstanding > INITIAL_CREDIT_BYTES {
                    return Err(Broken("a stream got more bytes than were granted"));
                }
                lane.input.push_back(Input::Data(data));
                lane.signals.input.notify_one();
            }
            Frame::ErrorData(..) => return Err(Broken("standard error goes towards the server only")),
            Frame::Credit(id, bytes) => {
                let Some(lane) = state.lanes.get_mut(&id) else { return Ok(None) };
                lane.credit = lane
                    .credit
                    .checked_add(bytes)
                    .filter(|credit| *credit <= INITIAL_CREDIT_BYTES)
                    .ok_or(Broken("a stream was granted more than was taken"))?;
                lane.signals.room.notify_waiters();
            }
            Frame::Control(id, control) => return self.take_control(&mut state, id, control).map(|()| None),
        }
        Ok(None)
    }

    fn take_control(&self, state: &mut State, id: StreamId, control: Control) -> Result<(), Broken> {
        let order = match control {
            Control::Resize(size) => Order::Resize(size),
            Control::Signal(number) => Order::Signal(number),
            Control::Received(position) => Order::Received(position),
            Control::EndOfInput => {
                if let Some(lane) = state.lanes.get_mut(&id).filter(|lane| !lane.finished) {
                    if lane.input.back() == Some(&Input::End) {
                        return Err(Broken("the input ended twice"));
                    }
                    lane.input.push_back(Input::End);
                    lane.signals.input.notify_one();
                }
                return Ok(());
            }
            Control::Reset { why } => {
                if let Some(mut lane) = state.lanes.remove(&id) {
                    tracing::debug!(stream = %id, why, "reset by the server");
                    *lane.signals.rest() = std::mem::take(&mut lane.input);
                    lane.wake_all();
                }
                return Ok(());
            }
            Control::HangUp => {
                if let Some(lane) = state.lanes.remove(&id) {
                    lane.signals.is_hung_up.store(true, Ordering::Release);
                    lane.wake_all();
                }
                return Ok(());
            }
            Control::Opened { .. } | Control::Refused { .. } | Control::Taken { .. } | Control::Exited { .. } => {
                return Err(Broken("a control message that only the agent sends"));
            }
        };
        if let Some(lane) = state.lanes.get_mut(&id).filter(|lane| !lane.finished) {
            if let (Order::Received(_), Some(last @ Order::Received(_))) = (&order, lane.orders.back_mut()) {
                *last = order;
            } else if lane.orders.len() >= MAX_CONTROLS {
                return Err(Broken("more control messages than a stream takes"));
            } else {
                lane.orders.push_back(order);
            }
            lane.signals.orders.notify_one();
        }
        Ok(())
    }

    fn stray(&self, state: &mut State, frame: Frame) -> Result<(), Broken> {
        if state.stray.len() >= MAX_STRAY {
            return Err(Broken("too many streams are opened at once"));
        }
        state.stray.push_back(frame);
        self.writer.notify_one();
        Ok(())
    }

    /// The next frame to write, in turn among the streams.
    pub fn try_next(&self) -> Option<Frame> {
        let mut state = self.state();
        if let Some(frame) = state.stray.pop_front() {
            return Some(frame);
        }
        while let Some(id) = state.turn.pop_front() {
            let Some(lane) = state.lanes.get_mut(&id) else { continue };
            lane.in_turn = false;
            let frame = if lane.taken >= GRANT_BYTES && !lane.finished {
                let bytes = std::mem::take(&mut lane.taken);
                lane.outstanding = lane.outstanding.saturating_sub(bytes);
                Some(Frame::Credit(id, bytes))
            } else {
                let frame = lane.waiting.pop_front();
                if let Some(Frame::Data(_, data) | Frame::ErrorData(_, data)) = &frame {
                    lane.waiting_bytes -= data.len();
                    lane.signals.room.notify_waiters();
                }
                frame
            };
            if lane.finished && lane.waiting.is_empty() {
                if let Some(lane) = state.lanes.remove(&id) {
                    lane.wake_all();
                }
            } else if !lane.waiting.is_empty() {
                lane.in_turn = true;
                state.turn.push_back(id);
            }
            if frame.is_some() {
                return frame;
            }
        }
        None
    }

    pub async fn wait(&self) {
        self.writer.notified().await;
    }

    /// The tunnel is lost: every stream is over.
    pub fn close(&self) {
        let mut state = self.state();
        state.closed = true;
        for (_, lane) in state.lanes.drain() {
            lane.wake_all();
        }
    }

    fn enter_turn(&self, turn: &mut VecDeque<StreamId>, id: StreamId, lane: &mut Lane) {
        if !lane.in_turn {
            lane.in_turn = true;
            turn.push_back(id);
        }
        self.writer.notify_one();
    }
}

impl Lane {
    fn wake_all(&self) {
        self.signals.input.notify_one();
        self.signals.orders.notify_one();
        self.signals.room.notify_waiters();
    }
}

/// One stream, for the tasks that serve it. Dropping it resets what is not finished.
pub struct Stream {
    id: StreamId,
    mux: Arc<Mux>,
    signals: Arc<Signals>,
}

impl Stream {
    fn with<T>(&self, work: impl FnOnce(&mut VecDeque<StreamId>, &mut Lane) -> T) -> Result<T, Gone> {
        let mut state = self.mux.state();
        let state = &mut *state;
        let lane = state.lanes.get_mut(&self.id).ok_or(Gone)?;
        Ok(work(&mut state.turn, lane))
    }

    /// The next input. Only one task may ask.
    pub async fn input(&self) -> Result<Input, Gone> {
        loop {
            if let Some(input) = self.with(|_, lane| lane.input.pop_front())? {
                return Ok(input);
            }
            self.signals.input.notified().await;
        }
    }

    /// Input that came before the server gave the stream up, for what goes on without it.
    pub fn rest(&self) -> Vec<Bytes> {
        let rest = std::mem::take(&mut *self.signals.rest());
        rest.into_iter()
            .filter_map(|input| match input {
                Input::Data(data) => Some(data),
                Input::End => None,
            })
            .collect()
    }

    /// The next order. Only one task may ask. Ends with the stream.
    pub async fn order(&self) -> Result<Order, Gone> {
        loop {
            if let Some(order) = self.with(|_, lane| lane.orders.pop_front())? {
                return Ok(order);
            }
            self.signals.orders.notified().await;
        }
    }

    /// So many bytes of input were passed on; the server may send as many more.
    pub fn taken(&self, bytes: usize) {
        // Over or not: who asks for the next input learns of it.
        let noted = self.with(|turn, lane| {
            lane.taken = lane.taken.saturating_add(u32::try_from(bytes).unwrap_or(u32::MAX));
            if lane.taken >= GRANT_BYTES {
                self.mux.enter_turn(turn, self.id, lane);
            }
        });
        if noted.is_err() {
            tracing::trace!(stream = %self.id, "input taken of a stream that is over");
        }
    }

    /// Sends all of it, as fast as the server grants.
    pub async fn send(&self, channel: Channel, mut data: Bytes) -> Result<(), Gone> {
        while !data.is_empty() {
            let room = self.signals.room.notified();
            tokio::pin!(room);
            room.as_mut().enable();
            let sent = self.with(|turn, lane| {
                if lane.finished {
                    return Err(Gone);
                }
                let length = data
                    .len()
                    .min(MAX_DATA_BYTES)
                    .min(usize::try_from(lane.credit).unwrap_or(usize::MAX))
                    .min(MAX_WAITING_BYTES.saturating_sub(lane.waiting_bytes));
                if length == 0 {
                    return Ok(false);
                }
                let piece = data.split_to(length);
                lane.credit = lane.credit.saturating_sub(u32::try_from(length).unwrap_or(u32::MAX));
                lane.waiting_bytes += length;
                lane.waiting.push_back(match channel {
                    Channel::Output => Frame::Data(self.id, piece),
                    Channel::Error => Frame::ErrorData(self.id, piece),
                });
                self.mux.enter_turn(turn, self.id, lane);
                Ok(true)
            })??;
            if !sent {
                room.await;
            }
        }
        Ok(())
    }

    pub fn opened(&self, terminal: Option<uuid::Uuid>, standing: Option<Standing>) -> Result<(), Gone> {
        self.tell(Control::Opened { terminal, standing })
    }

    /// A control message behind what waits. Whoever calls it bounds how many there are.
    pub fn tell(&self, control: Control) -> Result<(), Gone> {
        self.with(|turn, lane| {
            lane.waiting.push_back(Frame::Control(self.id, control));
            self.mux.enter_turn(turn, self.id, lane);
        })
    }

    /// Tells whether the stream is over, also to who does not have it.
    pub fn end(&self) -> impl Fn() -> bool + Send + Sync + 'static {
        let (mux, id) = (Arc::clone(&self.mux), self.id);
        move || !mux.state().lanes.contains_key(&id)
    }

    /// The stream is over, and nobody will come back to what it led to.
    pub fn is_hung_up(&self) -> bool {
        self.signals.is_hung_up.load(Ordering::Acquire)
    }

    /// The last frame; what waits before it is still sent.
    pub fn finish(&self, last: Control) {
        let finished = self.with(|turn, lane| {
            if !lane.finished {
                lane.finished = true;
                lane.waiting.push_back(Frame::Control(self.id, last));
                lane.wake_all();
                self.mux.enter_turn(turn, self.id, lane);
            }
        });
        if finished.is_err() {
            tracing::trace!(stream = %self.id, "finished after its end");
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.finish(Control::Reset { why: "the host gave the stream up".to_owned() });
    }
}

#[cfg(test)]
mod tests {
    use domain::ids::SessionId;
    use protocol::tunnel::Target;

    use super::*;

    fn open(mux: &Arc<Mux>) -> Stream {
        let open = Open::Connect { session: SessionId::new(), to: Target::Port(1) };
        mux.take(Frame::Open(StreamId::new(), open)).expect("is allowed").expect("is new").0
    }

    #[tokio::test]
    async fn streams_take_turns() {
        let mux = Arc::new(Mux::default());
        let (a, b) = (open(&mux), open(&mux));
        a.send(Channel::Output, Bytes::from(vec![b'a'; 3 * MAX_DATA_BYTES])).await.expect("fits");
        b.send(Channel::Error, Bytes::from_static(b"b")).await.expect("fits");
        let order: Vec<char> = std::iter::from_fn(|| mux.try_next())
            .map(|frame| match frame {
                Frame::Data(..) => 'a',
                Frame::ErrorData(..) => 'b',
                Frame::Open(..) | Frame::Control(..) | Frame::Credit(..) => '?',
            })
            .collect();
        assert_eq!(order, ['a', 'b', 'a', 'a']);
    }

    #[tokio::test]
    async fn a_sender_stops_at_its_credit_and_goes_on_with_more() {
        let mux = Arc::new(Mux::default());
        let stream = Arc::new(open(&mux));
        let all = INITIAL_CREDIT_BYTES as usize + 10;
        let sender = tokio::spawn({
            let stream = stream.clone();
            async move { stream.send(Channel::Output, Bytes::from(vec![0; all])).await }
        });
        let mut sent = 0;
        while sent < INITIAL_CREDIT_BYTES as usize {
            match mux.try_next() {
                Some(Frame::Data(_, data)) => sent += data.len(),
                Some(other) => panic!("unexpected {other:?}"),
                None => mux.wait().await,
            }
        }
        assert_eq!(sent, INITIAL_CREDIT_BYTES as usize);
        tokio::task::yield_now().await;
        assert_eq!(mux.try_next(), None);
        mux.take(Frame::Credit(stream.id, 10)).expect("is allowed");
        sender.await.expect("ends").expect("is sent");
        assert!(matches!(mux.try_next(), Some(Frame::Data(_, data)) if data.len() == 10));
    }

    #[tokio::test]
    async fn more_input_than_granted_is_refused_and_taken_input_is_granted() {
        let mux = Arc::new(Mux::default());
        let stream = open(&mux);
        let piece = || Bytes::from(vec![0; MAX_DATA_BYTES]);
        for _ in 0..INITIAL_CREDIT_BYTES as usize / MAX_DATA_BYTES {
            mux.take(Frame::Data(stream.id, piece())).expect("is granted");
        }
        assert!(mux.take(Frame::Data(stream.id, Bytes::from_static(b"x"))).is_err());
        for _ in 0..4 {
            assert!(matches!(stream.input().await, Ok(Input::Data(_))));
            stream.taken(MAX_DATA_BYTES);
        }
        assert_eq!(mux.try_next(), Some(Frame::Credit(stream.id, GRANT_BYTES)));
    }

    #[tokio::test]
    async fn a_lost_tunnel_ends_every_wait() {
        let mux = Arc::new(Mux::default());
        let stream = open(&mux);
        let waiting = stream.input();
        tokio::pin!(waiting);
        assert!(futures_util::poll!(waiting.as_mut()).is_pending());
        mux.close();
        assert_eq!(waiting.await, Err(Gone));
        assert_eq!(stream.send(Channel::Output, Bytes::from_static(b"x")).await, Err(Gone));
    }

    #[tokio::test]
    async fn what_came_before_a_reset_is_not_lost() {
        let mux = Arc::new(Mux::default());
        let stream = open(&mux);
        mux.take(Frame::Data(stream.id, Bytes::from_static(b"typed last"))).expect("is granted");
        mux.take(Frame::Control(stream.id, Control::Reset { why: "gone".to_owned() })).expect("is allowed");
        assert_eq!(stream.input().await, Err(Gone));
        assert_eq!(stream.rest(), [Bytes::from_static(b"typed last")]);
        assert_eq!(stream.rest(), [] as [Bytes; 0]);
    }

    #[tokio::test]
    async fn what_waits_goes_before_the_last_frame() {
        let mux = Arc::new(Mux::default());
        let stream = open(&mux);
        stream.send(Channel::Output, Bytes::from_static(b"end")).await.expect("fits");
        stream.finish(Control::Exited { code: Some(0), signal: None });
        drop(stream);
        assert!(matches!(mux.try_next(), Some(Frame::Data(..))));
        assert!(matches!(mux.try_next(), Some(Frame::Control(_, Control::Exited { .. }))));
        assert_eq!(mux.try_next(), None);
    }
}
