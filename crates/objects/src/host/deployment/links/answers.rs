//! Calls between hosts and their answers, either way.

use std::{mem, sync::Arc};

use super::{Attempt, CallEnd, Incoming, LinkCall, LinkId, Target, nowhere_found, stopping, stream_of};
use crate::{
    host::{
        deployment::{
            deliver::{BodyIn, EventIn, RequestIn, Waiter, overloaded},
            effects::Context,
            state::{CallTarget, Sink, State},
            stubs::Holder,
        },
        elsewhere::{Peer, Place},
        peer::{
            PeerError, PeerFrame,
            serve::{again, is_streamed, streamed_length},
        },
    },
    wire::{Answer, Body, EventId, ObjectCall, Problem, ToEngine},
};

impl State {
    /// Another host calls an object of this one.
    pub(super) fn called(
        &mut self,
        link: LinkId,
        call: u64,
        target: Target,
        what: ObjectCall,
        context: &mut Context<'_>,
    ) -> Result<(), PeerError> {
        let most = self.version.limits.queue_length as usize;
        let Some(state) = self.links.get_mut(&link) else { return Err(PeerError::Closed) };
        if state.calls.contains_key(&call) {
            return Err(PeerError::Protocol("it gives a number to two calls"));
        }
        if self.draining {
            state.outbox.push(&PeerFrame::Answer { call, result: Err(stopping()) });
            return Ok(());
        }
        if state.calls.len() >= most {
            state.outbox.push(&PeerFrame::Answer { call, result: Err(overloaded()) });
            return Ok(());
        }
        state.last_used = context.now;
        let known = self.version.namespaces.iter().any(|namespace| namespace.uid == target.key.namespace);
        if !known || !matches!(context.place(&target.key), Place::Here { .. }) {
            state.outbox.push(&PeerFrame::Misdirected { call, what: again(what) });
            return Ok(());
        }
        let mut entry = LinkCall::new(CallEnd::Over);
        let kind = match what {
            ObjectCall::Rpc(mut rpc) => {
                if let Some(args) = &mut rpc.args {
                    self.stubs_from_link(link, args);
                }
                EventIn::Rpc(rpc)
            }
            ObjectCall::Fetch(request) => {
                let body = match request.body {
                    Body::None => BodyIn::None,
                    Body::Whole(data) => BodyIn::Whole(data.into()),
                    Body::Stream { length, .. } => {
                        entry.incoming = Some(Incoming::new());
                        BodyIn::Link { link, call, length }
                    }
                };
                EventIn::Fetch(RequestIn { method: request.method, url: request.url, headers: request.headers, body })
            }
        };
        if let Some(state) = self.links.get_mut(&link) {
            state.calls.insert(call, entry);
        }
        let event = self.deliver(target.key, target.name, kind, Waiter::Link { link, call }, context);
        self.link_call_is_event(link, call, event);
        Ok(())
    }

    pub(super) fn link_call_is_event(&mut self, link: LinkId, call: u64, event: EventId) {
        if self.events.contains_key(&event)
            && let Some(state) = self.link_call(link, call)
        {
            state.end = CallEnd::Event(event);
        }
    }

    pub(super) fn call_cancelled(&mut self, link: LinkId, call: u64, context: &mut Context<'_>) {
        let Some(state) = self.link_call(link, call) else { return };
        let (end, outgoing) = (mem::replace(&mut state.end, CallEnd::Over), state.outgoing.take());
        let socket = state.socket.take();
        if let CallEnd::Event(event) = end {
            self.cancel_event(event, context);
        }
        self.cancel_untaken(link, call);
        if let Some((process, stream)) = outgoing {
            self.cancel_body_from(process, stream);
        }
        if let Some(socket) = socket {
            self.peer_vanished(socket, context);
        }
        self.settle_call(link, call);
    }

    pub(super) fn call_misdirected(
        &mut self,
        at: (LinkId, u64),
        peer: Peer,
        what: Option<ObjectCall>,
        context: &mut Context<'_>,
    ) {
        let Some(state) = self.links.get_mut(&at.0).and_then(|link| link.calls.remove(&at.1)) else { return };
        if let Some((process, stream)) = state.outgoing {
            self.cancel_body_from(process, stream);
        }
        let (process, call, target, attempt) = match state.end {
            CallEnd::Caller { process, call, target, attempt } => (process, call, target, attempt),
            CallEnd::StubCaller { process, call } => return self.reply(process, call, Err(nowhere_found())),
            CallEnd::Event(_) | CallEnd::Over => return,
        };
        let what = what.filter(|what| attempt == Attempt::First && !is_streamed_call(what));
        let Some(what) = what else { return self.reply(process, call, Err(nowhere_found())) };
        let again = Arc::clone(context.deployment).call_again(peer, (process, call), target, what);
        // Ends when the object is called again, or whoever called has gone.
        let task = context.deployment.runtime.spawn(again);
        if let Some(process) = self.processes.get_mut(&process) {
            process.calls.insert(call, CallTarget::Internet(task.abort_handle()));
        }
    }

    pub(super) fn call_answered(
        &mut self,
        link: LinkId,
        number: u64,
        result: Result<Answer, Problem>,
        context: &mut Context<'_>,
    ) {
        let Some(state) = self.link_call(link, number) else { return self.unwanted(link, result) };
        let (process, call) = match &state.end {
            CallEnd::Caller { process, call, .. } | CallEnd::StubCaller { process, call } => (*process, *call),
            // The other end gives up what belongs to an answer when it hears that nobody wants it.
            CallEnd::Over => {
                self.unwanted(link, result);
                return self.settle_call(link, number);
            }
            // It answers a call of its own.
            CallEnd::Event(_) => return,
        };
        state.end = CallEnd::Over;
        let result = result.map(|answer| self.take_answer((link, number), process, answer, context));
        self.reply(process, call, result);
        self.settle_call(link, number);
    }

    /// What an answer gave that comes too late.
    fn unwanted(&self, link: LinkId, result: Result<Answer, Problem>) {
        if let Ok(Answer::Value(value)) = result {
            for stub in value.stubs {
                self.link_push(link, &PeerFrame::StubDropped { stub });
            }
        }
    }

    /// Gives body and socket of an answer names in the engine that gets it.
    fn take_answer(
        &mut self,
        at: (LinkId, u64),
        process: u32,
        mut answer: Answer,
        context: &mut Context<'_>,
    ) -> Answer {
        let (link, call) = at;
        if let Some(length) = streamed_length(&answer) {
            if let Some(state) = self.link_call(link, call) {
                state.incoming = Some(Incoming::new());
            }
            let body = self.body_for(process, BodyIn::Link { link, call, length }, context);
            if let Answer::Http(response) = &mut answer {
                response.body = body;
            }
        }
        if let Answer::Value(value) = &mut answer {
            self.stubs_from_link(link, value);
        }
        if let Answer::Http(response) = &mut answer
            && response.socket.is_some()
        {
            let socket = self.remote_socket(at, process);
            response.socket = Some(socket);
            if let Some(state) = self.link_call(link, call) {
                state.socket = Some(socket);
            }
        }
        answer
    }

    /// What an event here gives as its answer to another host.
    pub fn answer_link(&mut self, at: (LinkId, u64), from: u32, result: Result<Answer, Problem>) {
        let (link, call) = at;
        let (mut outgoing, mut socket) = (None, None);
        if let Ok(Answer::Http(response)) = &result {
            outgoing = stream_of(&response.body);
            socket = response.socket;
        }
        let Some(state) = self.link_call(link, call) else {
            if let Some(stream) = outgoing {
                self.send(from, &ToEngine::StreamCancelled { stream });
            }
            if let Ok(Answer::Value(value)) = result {
                for stub in value.stubs {
                    self.drop_stub(stub);
                }
            }
            return;
        };
        state.end = CallEnd::Over;
        state.outgoing = outgoing.map(|stream| (from, stream));
        state.socket = socket;
        if let Ok(Answer::Value(value)) = &result {
            self.stubs_taken(&value.stubs, Holder::Link(link));
        }
        self.link_push(link, &PeerFrame::Answer { call, result });
        if let Some(socket) = socket {
            self.attach_link(socket, link, call);
        }
        self.cancel_untaken(link, call);
        if let Some(stream) = outgoing
            && let Some(process) = self.processes.get_mut(&from)
        {
            process.bodies_from.insert(stream, Sink::Link { link, call });
        }
        self.settle_call(link, call);
    }
}

fn is_streamed_call(what: &ObjectCall) -> bool {
    match what {
        ObjectCall::Fetch(request) => is_streamed(&request.body),
        ObjectCall::Rpc(_) => false,
    }
}
