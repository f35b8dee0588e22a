//! Bodies on their way: from engines to whoever takes them, and to engines from wherever they come.

use std::{collections::VecDeque, mem};

use bytes::Bytes;

use super::{
    effects::Context,
    state::{Piece, Sink, Source, State},
};
use crate::wire::{Body, CallId, Problem, StreamId, ToEngine};

impl State {
    /// A body that comes with a call: it may come before anybody takes it.
    pub fn hold_body(&mut self, process: u32, call: CallId, body: &Body) {
        let Body::Stream { stream, .. } = body else { return };
        if let Some(state) = self.processes.get_mut(&process) {
            state.bodies_from.insert(*stream, Sink::Held { pieces: VecDeque::new(), bytes: 0 });
            state.untaken.insert(call, *stream);
        }
    }

    /// From now on somebody takes a body. What was held of it goes first; to an engine, behind the message that names it.
    pub fn route_body(&mut self, process: u32, stream: StreamId, sink: Sink, context: &mut Context<'_>) {
        let Some(state) = self.processes.get_mut(&process) else { return };
        state.untaken.retain(|_, untaken| *untaken != stream);
        let relayed = match &sink {
            Sink::Relay { process, stream } => Some((*process, *stream)),
            Sink::Held { .. } | Sink::Pipe(_) | Sink::Link { .. } => None,
        };
        let Some(Sink::Held { pieces, .. }) = state.bodies_from.insert(stream, sink) else { return };
        let over = matches!(pieces.back(), Some(Piece::End | Piece::Failed(_)));
        match relayed {
            Some((to, named)) => {
                if over {
                    state.bodies_from.remove(&stream);
                    self.forget_body_to(to, named);
                }
                self.after.extend(pieces.into_iter().map(|piece| (to, piece.into_message(named))));
            }
            None => {
                for piece in pieces {
                    match piece {
                        Piece::Data(data) => self.chunk(process, stream, data, false, context),
                        Piece::End => self.chunk(process, stream, Bytes::new(), true, context),
                        Piece::Failed(why) => self.body_failed(process, stream, why),
                    }
                }
            }
        }
    }

    pub fn chunk(&mut self, process: u32, stream: StreamId, data: Bytes, end: bool, context: &mut Context<'_>) {
        let window_bytes = self.version.limits.stream_window_bytes as usize;
        let Some(state) = self.processes.get_mut(&process) else { return };
        let overrun = match state.bodies_from.get_mut(&stream) {
            Some(Sink::Held { pieces, bytes }) => {
                *bytes += data.len();
                let overrun = *bytes > window_bytes;
                if !data.is_empty() {
                    pieces.push_back(Piece::Data(data));
                }
                if end {
                    pieces.push_back(Piece::End);
                }
                if overrun {
                    self.kill(process, context);
                }
                // It ends when somebody has taken it.
                return;
            }
            Some(Sink::Pipe(pipe)) => pipe.push(data, end, window_bytes).is_err(),
            Some(Sink::Relay { process, stream }) => {
                let (process, stream) = (*process, *stream);
                if end {
                    self.forget_body_to(process, stream);
                }
                self.send(process, &ToEngine::Chunk { stream, data: data.into(), end });
                false
            }
            Some(Sink::Link { link, call }) => {
                let (link, call) = (*link, *call);
                self.link_chunk(link, call, data, end);
                false
            }
            // Nobody reads it any more; the engine has been told.
            None => false,
        };
        if overrun {
            return self.kill(process, context);
        }
        if end && let Some(state) = self.processes.get_mut(&process) {
            state.bodies_from.remove(&stream);
        }
    }

    pub fn body_failed(&mut self, process: u32, stream: StreamId, why: Problem) {
        let Some(state) = self.processes.get_mut(&process) else { return };
        if let Some(Sink::Held { pieces, .. }) = state.bodies_from.get_mut(&stream) {
            return pieces.push_back(Piece::Failed(why));
        }
        if let Some(sink) = state.bodies_from.remove(&stream) {
            self.fail_sink(sink, why);
        }
    }

    fn fail_sink(&mut self, sink: Sink, why: Problem) {
        match sink {
            Sink::Held { .. } => {}
            Sink::Pipe(pipe) => pipe.fail(why),
            Sink::Relay { process, stream } => {
                self.forget_body_to(process, stream);
                self.send(process, &ToEngine::StreamFailed { stream, why });
            }
            Sink::Link { link, call } => self.link_body_ended(link, call, Some(why)),
        }
    }

    pub fn credit(&mut self, process: u32, stream: StreamId, bytes: u32) {
        match self.processes.get(&process).and_then(|state| state.bodies_to.get(&stream)) {
            Some(Source::Feeder(feeder)) => feeder.add_credit(bytes as usize),
            Some(Source::Relay { process, stream }) => {
                let (process, stream) = (*process, *stream);
                self.send(process, &ToEngine::Credit { stream, bytes });
            }
            Some(Source::Link { link, call }) => {
                let (link, call) = (*link, *call);
                self.link_credit(link, call, bytes);
            }
            None => {}
        }
    }

    /// The engine reads no more of a body.
    pub fn body_cancelled(&mut self, process: u32, stream: StreamId) {
        let source = self.processes.get_mut(&process).and_then(|state| state.bodies_to.remove(&stream));
        if let Some(source) = source {
            self.cancel_source(source);
        }
    }

    fn cancel_source(&mut self, source: Source) {
        match source {
            Source::Feeder(feeder) => feeder.cancel(),
            Source::Relay { process, stream } => self.cancel_body_from(process, stream),
            Source::Link { link, call } => self.link_body_cancelled(link, call),
        }
    }

    /// An engine is gone, with both ends of what it sent and took.
    pub fn bodies_end(&mut self, process: u32, why: &Problem) {
        let Some(state) = self.processes.get_mut(&process) else { return };
        let (sinks, sources) = (mem::take(&mut state.bodies_from), mem::take(&mut state.bodies_to));
        state.untaken.clear();
        for sink in sinks.into_values() {
            self.fail_sink(sink, why.clone());
        }
        for source in sources.into_values() {
            self.cancel_source(source);
        }
    }
}
