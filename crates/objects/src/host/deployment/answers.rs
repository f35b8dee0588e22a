//! Answers on their way to whoever waits.

use std::sync::Arc;

use super::{
    deliver::{BodyIn, Fetched, Waiter, body_from},
    effects::{Context, Effect},
    state::{CallTarget, Sink, State},
};
use crate::{
    host::bodies::{BodyReader, HostBody, Pipe},
    wire::{AlarmOutcome, Answer, Body, CallId, Cloned, EventId, HttpResponse, Problem, StreamId, ToEngine},
};

impl State {
    fn waiter_of(&mut self, event: EventId) -> Option<Waiter> {
        let state = self.events.get_mut(&event)?;
        let waiter = state.waiter.take();
        if state.finished {
            self.events.remove(&event);
        }
        if let Some(Waiter::Call { process, call }) = &waiter
            && let Some(process) = self.processes.get_mut(process)
        {
            process.calls.remove(call);
        }
        waiter
    }

    /// A body for somebody outside, from an engine.
    pub fn reader_of(&mut self, body: BodyIn, context: &Context<'_>) -> HostBody {
        match body {
            BodyIn::None | BodyIn::Feeder { .. } => HostBody::Empty,
            BodyIn::Whole(data) => HostBody::Whole(data),
            BodyIn::Relay { process, stream, length } => {
                let pipe = Arc::new(Pipe::default());
                match self.processes.get_mut(&process) {
                    Some(state) => {
                        state.bodies_from.insert(stream, Sink::Pipe(Arc::clone(&pipe)));
                    }
                    None => pipe.fail(Problem::reset("the engine was lost before the body ended")),
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
                let socket = response.socket.and_then(|socket| self.attach_client(socket, context));
                let body = self.reader_of(body_from(from, response.body), context);
                let fetched = Fetched { status: response.status, headers: response.headers, body, socket };
                if let Err(Ok(fetched)) = waiter.send(Ok(fetched)) {
                    // Its reader's end would ask for this lock.
                    context.effects.push(Effect::Drop(fetched));
                }
            }
            Some(Waiter::Call { process, call }) => self.reply_response(from, (process, call), response),
            Some(Waiter::Inspect(waiter)) => drop(waiter.send(Err(unexpected()))),
            Some(Waiter::Alarm(_) | Waiter::Socket { .. } | Waiter::Nobody) => {}
            None => {
                if let Some(stream) = stream {
                    self.nobody_reads(from, stream);
                }
            }
        }
    }

    fn nobody_reads(&mut self, process: u32, stream: StreamId) {
        self.send(process, &ToEngine::StreamCancelled { stream });
    }

    fn reply_response(&mut self, from: u32, to: (u32, CallId), mut response: HttpResponse) {
        let (process, call) = to;
        if let Some(socket) = response.socket {
            self.attach_engine(socket, process);
        }
        let body = body_from(from, std::mem::take(&mut response.body));
        response.body = self.body_for(process, body);
        self.send(process, &ToEngine::Reply { call, result: Ok(Answer::Http(response)) });
    }

    pub fn returned(&mut self, event: EventId, value: Cloned) {
        match self.waiter_of(event) {
            Some(Waiter::Call { process, call }) => {
                self.send(process, &ToEngine::Reply { call, result: Ok(Answer::Value(value)) });
            }
            Some(Waiter::Http(waiter)) => drop(waiter.send(Err(unexpected()))),
            Some(Waiter::Inspect(waiter)) => drop(waiter.send(Err(unexpected()))),
            Some(Waiter::Alarm(_) | Waiter::Socket { .. } | Waiter::Nobody) | None => {}
        }
    }

    pub fn inspected(&mut self, event: EventId, json: String) {
        if let Some(Waiter::Inspect(waiter)) = self.waiter_of(event) {
            // Whoever asked may have gone.
            drop(waiter.send(Ok(json)));
        }
    }

    pub fn alarm_ran(&mut self, event: EventId, outcome: AlarmOutcome, context: &mut Context<'_>) {
        if let Some(Waiter::Alarm(key)) = self.waiter_of(event) {
            context.effects.push(Effect::AlarmRan { key, outcome });
        }
    }

    /// Whoever waits gets the problem.
    pub fn fail_event(&mut self, event: EventId, problem: Problem, context: &mut Context<'_>) {
        match self.waiter_of(event) {
            Some(Waiter::Http(waiter)) => drop(waiter.send(Err(problem))),
            Some(Waiter::Inspect(waiter)) => drop(waiter.send(Err(problem))),
            Some(Waiter::Call { process, call }) => {
                self.send(process, &ToEngine::Reply { call, result: Err(problem) });
            }
            Some(Waiter::Alarm(key)) => {
                context.effects.push(Effect::AlarmRan { key, outcome: AlarmOutcome::Failed { problem } });
            }
            Some(Waiter::Socket { .. } | Waiter::Nobody) | None => {}
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
        if let Some(state) = self.processes.get_mut(&process) {
            state.calls.remove(&call);
        }
        let result = result.map(|(mut response, body)| {
            response.body = self.body_for(process, body);
            Answer::Http(response)
        });
        debug_assert!(context.effects.is_empty());
        self.send(process, &ToEngine::Reply { call, result });
    }

    pub fn cancel_call(&mut self, process: u32, call: CallId, context: &mut Context<'_>) {
        match self.processes.get_mut(&process).and_then(|process| process.calls.remove(&call)) {
            Some(CallTarget::Event(event)) => self.cancel_event(event, context),
            Some(CallTarget::Internet(task)) => task.abort(),
            // Answered in the meantime.
            None => {}
        }
    }
}

fn unexpected() -> Problem {
    Problem::new("Error", "the engine's answer is of another kind than what was asked")
}
