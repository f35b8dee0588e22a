//! Answers on their way to whoever waits.

use std::sync::Arc;

use super::{
    deliver::{BodyIn, Fetched, InspectError, Waiter, body_from},
    effects::{Context, Effect},
    sockets::ClientEnd,
    state::{CallTarget, Phase, Sink, State},
};
use crate::{
    host::{
        alarms::Fired,
        bodies::{BodyReader, HostBody, Pipe},
        peer::PeerFrame,
    },
    wire::{
        Activation, AlarmOutcome, Answer, Body, CallId, EventId, HttpResponse, Passed, Problem, SocketId, StreamId,
        ToEngine,
    },
};

impl State {
    fn waiter_of(&mut self, event: EventId) -> Option<Waiter> {
        let state = self.events.get_mut(&event)?;
        let waiter = state.waiter.take();
        if state.finished {
            self.events.remove(&event);
        }
        if let Some(Waiter::LinkSocket { link, call, .. }) = &waiter {
            self.link_push(*link, &PeerFrame::SocketTaken { call: *call });
        }
        waiter
    }

    /// A body for somebody outside, from an engine.
    pub fn reader_of(&mut self, body: BodyIn, context: &mut Context<'_>) -> HostBody {
        match body {
            BodyIn::None | BodyIn::Feeder { .. } => HostBody::Empty,
            BodyIn::Whole(data) => HostBody::Whole(data),
            // Other hosts' bodies are for objects alone.
            BodyIn::Link { link, call, .. } => {
                self.link_body_cancelled(link, call);
                HostBody::Empty
            }
            BodyIn::Relay { process, stream, length } => {
                let pipe = Arc::new(Pipe::default());
                if self.processes.contains_key(&process) {
                    self.route_body(process, stream, Sink::Pipe(Arc::clone(&pipe)), context);
                } else {
                    pipe.fail(Problem::reset("the engine was lost before the body ended"));
                }
                HostBody::Reader(BodyReader::new(pipe, Arc::clone(context.deployment), process, stream, length))
            }
        }
    }

    /// A response has passed the gate.
    pub fn respond(&mut self, from: u32, event: EventId, response: HttpResponse, context: &mut Context<'_>) {
        let stream = match &response.body {
            Body::Stream { stream, .. } => Some(*stream),
            Body::None | Body::Whole(_) => None,
        };
        match self.waiter_of(event) {
            Some(Waiter::Http(waiter)) => {
                let socket = response.socket.and_then(|socket| self.client_end(socket, context));
                let body = self.reader_of(body_from(from, response.body), context);
                let fetched = Fetched { status: response.status, headers: response.headers, body, socket };
                if let Err(Ok(fetched)) = waiter.send(Ok(fetched)) {
                    // Its reader's end would ask for this lock.
                    context.effects.push(Effect::Drop(fetched));
                }
            }
            Some(Waiter::Call { process, call }) => self.reply_response(from, (process, call), response, context),
            Some(Waiter::Link { link, call }) => self.answer_link((link, call), from, Ok(Answer::Http(response))),
            Some(Waiter::Inspect(waiter)) => drop(waiter.send(Err(unexpected().into()))),
            Some(
                Waiter::Alarm(_)
                | Waiter::Socket { .. }
                | Waiter::LinkSocket { .. }
                | Waiter::Peer { .. }
                | Waiter::SocketEnd { .. }
                | Waiter::Nobody,
            ) => {}
            None => {
                if let Some(stream) = stream {
                    self.nobody_reads(from, stream);
                }
                if let Some(socket) = response.socket {
                    self.peer_vanished(socket, context);
                }
            }
        }
    }

    /// None: there are too many clients, and the object hears that this one is gone.
    fn client_end(&mut self, socket: SocketId, context: &mut Context<'_>) -> Option<ClientEnd> {
        let Some(client) = self.attach_client(socket, context) else {
            self.peer_vanished(socket, context);
            return None;
        };
        Some(ClientEnd::new(Arc::clone(context.deployment), client))
    }

    fn nobody_reads(&mut self, process: u32, stream: StreamId) {
        self.send(process, &ToEngine::StreamCancelled { stream });
    }

    fn reply_response(&mut self, from: u32, to: (u32, CallId), mut response: HttpResponse, context: &mut Context<'_>) {
        let (process, call) = to;
        if let Some(socket) = response.socket {
            self.attach_engine(socket, process);
        }
        let body = body_from(from, std::mem::take(&mut response.body));
        response.body = self.body_for(process, body, context);
        self.reply(process, call, Ok(Answer::Http(response)));
    }

    pub fn returned(&mut self, from: u32, event: EventId, value: Passed) {
        match self.waiter_of(event) {
            Some(Waiter::Call { process, call }) => self.reply(process, call, Ok(Answer::Value(value))),
            Some(Waiter::Link { link, call }) => self.answer_link((link, call), from, Ok(Answer::Value(value))),
            Some(Waiter::Http(waiter)) => drop(waiter.send(Err(unexpected()))),
            Some(Waiter::Inspect(waiter)) => drop(waiter.send(Err(unexpected().into()))),
            Some(
                Waiter::Alarm(_)
                | Waiter::Socket { .. }
                | Waiter::LinkSocket { .. }
                | Waiter::Peer { .. }
                | Waiter::SocketEnd { .. }
                | Waiter::Nobody,
            )
            | None => {
                for stub in value.stubs {
                    self.drop_stub(stub);
                }
            }
        }
    }

    pub fn inspected(&mut self, event: EventId, found: Result<String, String>) {
        if let Some(Waiter::Inspect(waiter)) = self.waiter_of(event) {
            // Whoever asked may have gone.
            drop(waiter.send(found.map_err(InspectError::Question)));
        }
    }

    pub fn alarm_ran(
        &mut self,
        by: (u32, Activation),
        event: EventId,
        outcome: AlarmOutcome,
        context: &mut Context<'_>,
    ) {
        let Some(Waiter::Alarm(key)) = self.waiter_of(event) else { return };
        let lives =
            self.activation(by.0, by.1).is_some_and(|state| state.phase == Phase::Live && state.outputs.is_whole());
        let fired = match outcome {
            // Its handler was cut by the host, or by the disk.
            AlarmOutcome::Failed { problem } if !lives => Fired::NotRun(problem),
            AlarmOutcome::Done | AlarmOutcome::NotDue { .. } | AlarmOutcome::Failed { .. } => Fired::Ran(outcome),
        };
        context.effects.push(Effect::AlarmFired { key, fired });
    }

    /// As [`Self::fail_event`], of an event at which the object's code ended its engine.
    pub fn blame_event(&mut self, event: EventId, problem: Problem, context: &mut Context<'_>) {
        let waiter = self.events.get(&event).and_then(|event| event.waiter.as_ref());
        if let Some(Waiter::Alarm(key)) = waiter {
            let (key, fired) = (*key, Fired::Ran(AlarmOutcome::Failed { problem: problem.clone() }));
            context.effects.push(Effect::AlarmFired { key, fired });
            self.waiter_of(event);
        } else {
            self.fail_event(event, problem, context);
        }
    }

    /// Whoever waits gets the problem.
    pub fn fail_event(&mut self, event: EventId, problem: Problem, context: &mut Context<'_>) {
        match self.waiter_of(event) {
            Some(Waiter::Http(waiter)) => drop(waiter.send(Err(problem))),
            Some(Waiter::Inspect(waiter)) => drop(waiter.send(Err(problem.into()))),
            Some(Waiter::Call { process, call }) => self.reply(process, call, Err(problem)),
            Some(Waiter::Link { link, call }) => self.answer_link((link, call), 0, Err(problem)),
            Some(Waiter::Alarm(key)) => {
                context.effects.push(Effect::AlarmFired { key, fired: Fired::NotRun(problem) });
            }
            Some(Waiter::Socket { socket, .. } | Waiter::LinkSocket { socket, .. }) => {
                self.message_lost(socket, &problem, context);
            }
            Some(Waiter::Peer { socket }) => self.word_lost(socket, &problem, context),
            Some(Waiter::SocketEnd { socket }) => self.socket_told(socket),
            Some(Waiter::Nobody) | None => {}
        }
    }

    /// The engine is done with an event that it has not answered.
    pub fn event_over(&mut self, event: EventId, context: &mut Context<'_>) {
        let Some(waiter) = self.events.get(&event).and_then(|event| event.waiter.as_ref()) else { return };
        match waiter {
            Waiter::Http(_) | Waiter::Call { .. } | Waiter::Alarm(_) | Waiter::Link { .. } | Waiter::Inspect(_) => {
                self.fail_event(event, Problem::new("Error", "the event ended without an answer"), context);
            }
            // Nobody answers these: they are taken.
            Waiter::SocketEnd { socket } => {
                let socket = *socket;
                self.waiter_of(event);
                self.socket_told(socket);
            }
            Waiter::Socket { .. } | Waiter::LinkSocket { .. } | Waiter::Peer { .. } | Waiter::Nobody => {
                self.waiter_of(event);
            }
        }
    }

    /// An outgoing request has begun.
    pub fn fetching(&mut self, process: u32, call: CallId, task: tokio::task::AbortHandle) {
        if let Some(process) = self.processes.get_mut(&process)
            && !task.is_finished()
        {
            process.calls.insert(call, CallTarget::Internet(task));
        }
    }

    /// An outgoing request was answered.
    pub fn fetched(
        &mut self,
        process: u32,
        call: CallId,
        result: Result<(HttpResponse, BodyIn), Problem>,
        context: &mut Context<'_>,
    ) {
        let result = result.map(|(mut response, body)| {
            response.body = self.body_for(process, body, context);
            Answer::Http(response)
        });
        self.reply(process, call, result);
    }

    pub fn cancel_call(&mut self, process: u32, call: CallId, context: &mut Context<'_>) {
        let Some(state) = self.processes.get_mut(&process) else { return };
        let (target, untaken) = (state.calls.remove(&call), state.untaken.remove(&call));
        if let Some(stream) = untaken {
            self.cancel_body_from(process, stream);
        }
        match target {
            Some(CallTarget::Event(event)) => self.cancel_event(event, context),
            Some(CallTarget::Internet(task)) => task.abort(),
            Some(CallTarget::Link { link, call }) => self.cancel_link_call(link, call),
            // Answered in the meantime.
            None => {}
        }
    }
}

fn unexpected() -> Problem {
    Problem::new("Error", "the engine's answer is of another kind than what was asked")
}
