//! Calls between objects of one process, and of its entry worker to them, delivered without the host.
//!
//! The gates hold as they do there. A call that must wait for what its caller wrote goes by the host, which holds it back, and
//! so do all later ones of the caller to the same object until that one is answered: calls arrive in order. What the called
//! object says waits here until its commits are durable. The host learns what runs from [`FromEngine::Inside`].

use crate::meter::{Meter, Taken};
use crate::wire::{
    Activation, Answer, Body, CallId, Destination, EventId, EventKind, FromEngine, ObjectCall, ObjectId, Problem, Seq,
    StreamId, ToEngine,
};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

/// Ids from here on are ours, those below the host's.
const FIRST: u64 = 1 << 52;

/// The memory of whoever made a call.
pub(super) type MemoryOf<'a> = &'a dyn Fn(CallId) -> Option<Arc<Meter>>;

/// Which call an event of ours answers.
struct Event {
    call: CallId,
    answered: bool,
}

/// What an object says to another one here.
enum Said {
    Reply { call: CallId, result: Result<Answer, Problem>, taken: Option<Taken> },
    Chunk { stream: StreamId, data: Vec<u8>, end: bool },
    StreamFailed { stream: StreamId, why: Problem },
}

impl Said {
    fn queued(self) -> Queued {
        match self {
            Self::Reply { call, result, taken } => Queued { frame: ToEngine::Reply { call, result }, taken },
            Self::Chunk { stream, data, end } => ToEngine::Chunk { stream, data, end }.into(),
            Self::StreamFailed { stream, why } => ToEngine::StreamFailed { stream, why }.into(),
        }
    }

    /// What is said in its stead where it rests on what is lost.
    fn lost(self, why: Problem) -> Self {
        match self {
            Self::Reply { call, .. } => Self::Reply { call, result: Err(why), taken: None },
            Self::Chunk { stream, .. } | Self::StreamFailed { stream, .. } => Self::StreamFailed { stream, why },
        }
    }
}

/// A frame on its way, and what the memory of whoever asked for it has of it.
struct Queued {
    frame: ToEngine,
    taken: Option<Taken>,
}

impl From<ToEngine> for Queued {
    fn from(frame: ToEngine) -> Self {
        Self { frame, taken: None }
    }
}

/// What waits for a commit of whoever said it.
struct Gate {
    durable: Seq,
    held: VecDeque<(Seq, Said)>,
    /// The object is gone: what it had committed may still become durable.
    over: bool,
}

/// What the host has not been told yet about an object's events.
#[derive(Default)]
struct Count {
    running: u32,
    ended: u32,
    cpu_us: u64,
}

#[derive(Default)]
pub(super) struct Inside {
    places: HashMap<ObjectId, Activation>,
    gates: HashMap<Activation, Gate>,
    last_event: u64,
    events: HashMap<EventId, Event>,
    /// Calls of ours, with the event and whose it is.
    calls: HashMap<CallId, (EventId, Activation)>,
    /// Calls to objects that went by the host.
    abroad: HashMap<CallId, (Activation, ObjectId)>,
    abroad_to: HashMap<(Activation, ObjectId), u32>,
    /// Bodies that objects send to others here: who sends.
    bodies: HashMap<StreamId, Activation>,
    counts: BTreeMap<Activation, Count>,
    running: HashMap<Activation, u32>,
    queue: VecDeque<Queued>,
}

impl Inside {
    pub(super) fn opened(&mut self, activation: Activation, id: ObjectId, seq: Seq) {
        self.places.insert(id, activation);
        self.gates.insert(activation, Gate { durable: seq, held: VecDeque::new(), over: false });
    }

    pub(super) fn over(&mut self, activation: Activation, id: Option<ObjectId>) {
        if let Some(id) = id
            && self.places.get(&id) == Some(&activation)
        {
            self.places.remove(&id);
        }
        if let Some(gate) = self.gates.get_mut(&activation) {
            gate.over = true;
        }
        self.drop_gate(activation);
        self.running.remove(&activation);
    }

    fn drop_gate(&mut self, activation: Activation) {
        if self.gates.get(&activation).is_some_and(|gate| gate.over && gate.held.is_empty()) {
            self.gates.remove(&activation);
        }
    }

    /// Whether the object is at something that the host may not have heard of.
    pub(super) fn runs(&self, activation: Activation) -> bool {
        self.running.get(&activation).is_some_and(|running| *running > 0)
    }

    pub(super) fn next(&mut self) -> Option<ToEngine> {
        let Queued { frame, taken } = self.queue.pop_front()?;
        // From here on the gate of whoever gets it counts it.
        drop(taken);
        Some(frame)
    }

    pub(super) fn waits(&self) -> bool {
        !self.queue.is_empty()
    }

    /// An answer of the host's has come.
    pub(super) fn replied(&mut self, call: CallId) {
        let Some(key) = self.abroad.remove(&call) else { return };
        if let Some(count) = self.abroad_to.get_mut(&key) {
            *count -= 1;
            if *count == 0 {
                self.abroad_to.remove(&key);
            }
        }
    }

    pub(super) fn durable(&mut self, activation: Activation, seq: Seq) {
        let Some(gate) = self.gates.get_mut(&activation) else { return };
        gate.durable = gate.durable.max(seq);
        while let Some((_, said)) = gate.held.pop_front_if(|(after, _)| *after <= seq) {
            self.queue.push_back(said.queued());
        }
        self.drop_gate(activation);
    }

    /// Nothing from `seq` on will be durable: whoever waits for what rests on it is told so instead.
    pub(super) fn commit_failed(&mut self, activation: Activation, seq: Seq, why: &Problem) {
        let Some(gate) = self.gates.get_mut(&activation) else { return };
        let keep = gate.held.iter().take_while(|(after, _)| *after < seq).count();
        let lost = gate.held.split_off(keep);
        self.queue.extend(lost.into_iter().map(|(_, said)| said.lost(why.clone()).queued()));
        self.drop_gate(activation);
    }

    /// For the host, at the end of a batch.
    pub(super) fn tell(&mut self, out: &mut Vec<FromEngine>) {
        for (activation, Count { running, ended, cpu_us }) in std::mem::take(&mut self.counts) {
            out.push(FromEngine::Inside { activation, running, ended, cpu_us });
        }
    }

    /// Takes what an object says if it is for another one here; gives back what is for the host.
    #[expect(clippy::wildcard_enum_match_arm, reason = "all that is not named is for the host, whatever it is")]
    pub(super) fn hear(&mut self, frame: FromEngine, memory_of: MemoryOf<'_>) -> Option<FromEngine> {
        match frame {
            FromEngine::Call { activation, call, after, destination } => {
                self.call(activation, call, after, destination)
            }
            FromEngine::Response { activation, event, after, mut response } if event.0 >= FIRST => {
                if let Body::Stream { stream, length } = response.body {
                    self.bodies.insert(stream, activation);
                    response.body = Body::Stream { stream: StreamId(FIRST | stream.0), length };
                }
                let socket = response.socket;
                let waited_for = self.answer(activation, event, after, Ok(Answer::Http(response)), memory_of);
                socket.filter(|_| !waited_for).map(|socket| FromEngine::SocketUntaken { socket })
            }
            FromEngine::Returned { activation, event, after, value } if event.0 >= FIRST => {
                let stubs = value.stubs.clone();
                let waited_for = self.answer(activation, event, after, Ok(Answer::Value(value)), memory_of);
                (waited_for && !stubs.is_empty()).then_some(FromEngine::StubsPassed { activation, stubs })
            }
            FromEngine::Failed { activation, event, after, problem } if event.0 >= FIRST => {
                self.answer(activation, event, after, Err(problem), memory_of);
                None
            }
            FromEngine::Finished { activation, event, cpu_us } if event.0 >= FIRST => {
                self.finished(activation, event, cpu_us);
                None
            }
            FromEngine::Chunk { activation, stream, after, data, end } if self.bodies.contains_key(&stream) => {
                if end {
                    self.bodies.remove(&stream);
                }
                self.pass(activation, after, Said::Chunk { stream: StreamId(FIRST | stream.0), data, end });
                None
            }
            FromEngine::StreamFailed { activation, stream, after, why } if self.bodies.remove(&stream).is_some() => {
                self.pass(activation, after, Said::StreamFailed { stream: StreamId(FIRST | stream.0), why });
                None
            }
            FromEngine::Credit { stream, bytes } if stream.0 >= FIRST => {
                self.queue.push_back(ToEngine::Credit { stream: StreamId(stream.0 ^ FIRST), bytes }.into());
                None
            }
            FromEngine::StreamCancelled { stream } if stream.0 >= FIRST => {
                let stream = StreamId(stream.0 ^ FIRST);
                if self.bodies.remove(&stream).is_some() {
                    self.queue.push_back(ToEngine::StreamCancelled { stream }.into());
                }
                None
            }
            FromEngine::CancelCall { call } => match self.calls.remove(&call) {
                Some((event, activation)) => {
                    self.queue.push_back(ToEngine::CancelEvent { activation, event }.into());
                    None
                }
                None => {
                    self.replied(call);
                    Some(frame)
                }
            },
            frame => Some(frame),
        }
    }

    fn is_durable(&self, activation: Activation, seq: Seq) -> bool {
        seq <= self.gates.get(&activation).map_or(Seq(0), |gate| gate.durable)
    }

    fn call(&mut self, caller: Activation, call: CallId, after: Seq, destination: Destination) -> Option<FromEngine> {
        let Destination::Object { namespace, id, name, what } = destination else {
            return Some(FromEngine::Call { activation: caller, call, after, destination });
        };
        let place = self.places.get(&id).copied();
        // The host knows whose these are.
        let carries = match &what {
            ObjectCall::Fetch(request) => matches!(request.body, Body::Stream { .. }),
            ObjectCall::Rpc(rpc) => rpc.args.as_ref().is_some_and(|args| !args.stubs.is_empty()),
        };
        let key = (caller, id);
        let target = place.filter(|_| !carries && self.is_durable(caller, after) && !self.abroad_to.contains_key(&key));
        let Some(target) = target else {
            self.abroad.insert(call, key);
            *self.abroad_to.entry(key).or_default() += 1;
            let destination = Destination::Object { namespace, id, name, what };
            return Some(FromEngine::Call { activation: caller, call, after, destination });
        };
        self.last_event += 1;
        let event = EventId(FIRST | self.last_event);
        self.events.insert(event, Event { call, answered: false });
        self.calls.insert(call, (event, target));
        let running = self.running.entry(target).or_default();
        *running += 1;
        self.counts.entry(target).or_default().running = *running;
        let kind = match what {
            ObjectCall::Fetch(request) => EventKind::Fetch(request),
            ObjectCall::Rpc(rpc) => EventKind::Rpc(rpc),
        };
        self.queue.push_back(ToEngine::Event { activation: target, event, kind }.into());
        None
    }

    /// Whether somebody waits for it.
    fn answer(
        &mut self,
        activation: Activation,
        event: EventId,
        after: Seq,
        result: Result<Answer, Problem>,
        memory_of: MemoryOf<'_>,
    ) -> bool {
        let Some(state) = self.events.get_mut(&event).filter(|state| !state.answered) else { return false };
        state.answered = true;
        let call = state.call;
        if self.calls.remove(&call).is_some() {
            let bytes = result.as_ref().map_or_else(Problem::held_bytes, Answer::held_bytes);
            let taken = memory_of(call).map(|memory| Taken::of(&memory, bytes));
            self.pass(activation, after, Said::Reply { call, result, taken });
            return true;
        }
        match result {
            Ok(Answer::Http(response)) => {
                if let Body::Stream { stream, .. } = response.body {
                    let stream = StreamId(stream.0 ^ FIRST);
                    self.bodies.remove(&stream);
                    self.queue.push_back(ToEngine::StreamCancelled { stream }.into());
                }
            }
            Ok(Answer::Value(value)) => {
                let dropped = |stub| ToEngine::StubDropped { activation, stub }.into();
                self.queue.extend(value.stubs.into_iter().map(dropped));
            }
            Err(_) => {}
        }
        false
    }

    fn finished(&mut self, activation: Activation, event: EventId, cpu_us: u64) {
        let Some(Event { call, answered }) = self.events.remove(&event) else { return };
        if !answered && self.calls.remove(&call).is_some() {
            let problem = Problem::new("Error", "the event ended without an answer");
            self.queue.push_back(ToEngine::Reply { call, result: Err(problem) }.into());
        }
        let Some(running) = self.running.get_mut(&activation) else { return };
        *running = running.saturating_sub(1);
        let count = self.counts.entry(activation).or_default();
        count.running = *running;
        count.ended += 1;
        count.cpu_us += cpu_us;
    }

    /// Through the gate of whoever says it.
    fn pass(&mut self, activation: Activation, after: Seq, said: Said) {
        match self.gates.get_mut(&activation) {
            Some(gate) if after > gate.durable || !gate.held.is_empty() => gate.held.push_back((after, said)),
            Some(_) | None => self.queue.push_back(said.queued()),
        }
    }
}
