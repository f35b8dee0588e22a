//! What an engine says: through the gate of the activation that says it, then on to whom it is for.

use bytes::Bytes;

use super::{
    deliver::request_from,
    effects::{ConsoleLine, Context, Effect},
    sizes,
    state::{Partial, Phase, State},
    stubs::Holder,
};
use crate::{
    host::{
        log::{AlarmChange, BadCommit, Commit, Delta, MAX_COMMIT_BYTES, Settled},
        outputs::Passage,
    },
    wire::{self, Activation, CloseReason, Destination, EventId, FromEngine, ObjectCall, Problem, Rpc, Seq, ToEngine},
};

/// What one activation may have waiting for its commits; beyond, something is wrong with its engine.
const MAX_HELD: usize = 200_000;
const MAX_HELD_BYTES: usize = 64 << 20;
/// Pages asked for at once.
const MAX_PAGES_READ: u32 = 1024;

/// Names process and activation in the log.
pub fn tag(process: u32, activation: Activation) -> u64 {
    u64::from(process) << 32 | u64::from(activation.0)
}

fn untag(tag: u64) -> (u32, Activation) {
    let process = u32::try_from(tag >> 32).unwrap_or(0);
    let activation = u32::try_from(tag & u64::from(u32::MAX)).unwrap_or(0);
    (process, Activation(activation))
}

impl State {
    pub fn take(&mut self, process: u32, message: FromEngine, context: &mut Context<'_>) {
        let Some(state) = self.processes.get(&process) else { return };
        if sizes::is_beyond(&message, &state.version.limits) {
            tracing::warn!(process, "an engine says more than one of ours may");
            return self.kill(process, context);
        }
        match message {
            FromEngine::Loaded { .. } => {
                if let Some(process) = self.processes.get_mut(&process) {
                    process.loaded = true;
                }
            }
            FromEngine::LoadFailed { problem } => self.load_failed(process, &problem, context),
            FromEngine::ReadPages { activation, first, count } => self.read(process, activation, first, count, context),
            FromEngine::Commit(commit) => self.commit(process, commit, context),
            FromEngine::Response { activation, event, after, .. }
            | FromEngine::Returned { activation, event, after, .. }
            | FromEngine::Failed { activation, event, after, .. }
            | FromEngine::AlarmRan { activation, event, after, .. }
            | FromEngine::Inspected { activation, event, after, .. } => {
                if let Some(event) = self.events.get_mut(&event) {
                    event.answered = true;
                }
                self.pass(process, activation, after, message, context);
            }
            FromEngine::Call { activation, after, .. }
            | FromEngine::SocketSend { activation, after, .. }
            | FromEngine::SocketClose { activation, after, .. }
            | FromEngine::Chunk { activation, after, .. }
            | FromEngine::StreamFailed { activation, after, .. }
            | FromEngine::StubDropped { activation, after, .. } => {
                self.pass(process, activation, after, message, context);
            }
            FromEngine::Finished { activation, event, cpu_us } => {
                context.deployment.stats.cpu(context.options.now_ms(), cpu_us);
                self.finished(process, activation, event, context);
            }
            FromEngine::CancelCall { call } => self.cancel_call(process, call, context),
            FromEngine::SocketAccept { activation, socket, tags, hibernates } => {
                self.socket_accepted(process, activation, socket, tags, hibernates, context);
            }
            FromEngine::SocketUntaken { socket } => self.socket_untaken(process, socket, context),
            FromEngine::SocketAttachment { socket, value, .. } => self.socket_attachment(socket, value),
            FromEngine::AutoResponse { activation, pair } => self.auto_response(process, activation, pair),
            FromEngine::Credit { stream, bytes } => self.credit(process, stream, bytes),
            FromEngine::StreamCancelled { stream } => self.body_cancelled(process, stream),
            FromEngine::StubWithdrawn { stub } => self.stub_withdrawn(process, stub),
            FromEngine::StubsPassed { activation, stubs } => {
                self.stubs_given(process, activation, &stubs);
                self.stubs_taken(&stubs, Holder::Engine(process));
            }
            FromEngine::Console { activation, level, text, at_ms } => {
                let line = self.console_line(process, activation, level, text, at_ms, context);
                context.effects.push(Effect::Console(line));
            }
            FromEngine::Quiet { activation, hibernates } => {
                let now = context.now;
                if let Some(state) = self.activation(process, activation) {
                    state.quiet = Some((now, hibernates));
                }
            }
            FromEngine::Inside { activation, running, cpu_us, .. } => {
                context.deployment.stats.cpu(context.options.now_ms(), cpu_us);
                let now = context.now;
                if let Some(state) = self.activation(process, activation) {
                    state.last_used = now;
                    state.inside = running as usize;
                }
            }
            FromEngine::Stays { activation } => self.stays(process, activation, context),
            FromEngine::Reset { activation, problem } => self.reset(process, activation, &problem, context),
            FromEngine::Closed { activation } => self.activation_ended(process, activation, context),
            FromEngine::Wake { at_ms } => {
                if let Some(process) = self.processes.get(&process) {
                    process.outbox.wake_at(at_ms);
                }
            }
        }
    }

    fn pass(
        &mut self,
        process: u32,
        activation: Activation,
        after: Seq,
        message: FromEngine,
        context: &mut Context<'_>,
    ) {
        let Some(state) = self.activation(process, activation).filter(|state| state.phase != Phase::Ended) else {
            return self.late(process, message, context);
        };
        match state.outputs.offer(after.0, message.held_bytes(), message) {
            Passage::Leaves(message) => self.leave(process, message, context),
            Passage::Waits => {
                let bytes = state.outputs.held_bytes();
                if state.outputs.held() > MAX_HELD || bytes > MAX_HELD_BYTES || !state.held.set(bytes) {
                    self.overflow(process, activation, context);
                }
            }
            Passage::Lost(message) => self.lost(process, message, context),
        }
    }

    /// It has said more than may wait for the disk: nobody hears it, and its life ends.
    fn overflow(&mut self, process: u32, activation: Activation, context: &mut Context<'_>) {
        let Some(state) = self.activation(process, activation) else { return };
        let lost = state.outputs.overflow();
        state.held.set(0);
        let Some(key) = state.object.as_ref().map(|object| object.key) else { return self.kill(process, context) };
        tracing::warn!(object = hex::encode(key.id), "an object said more than may wait for the disk");
        let problem = Problem::reset("Durable Object said more than may wait for what it wrote to be stored.");
        // Its sockets first: they would be told that it could not be stored.
        self.drop_sockets(key, &problem, context);
        for message in lost {
            self.lost(process, message, context);
        }
        self.close(process, activation, CloseReason::Abort(problem));
    }

    /// From an activation that has ended: what was on its way to it is refused, and whoever waits for that has to learn of it.
    fn late(&mut self, process: u32, message: FromEngine, context: &mut Context<'_>) {
        if let FromEngine::Failed { event, problem, .. } = message {
            self.fail_event(event, problem, context);
        } else {
            self.lost(process, message, context);
        }
    }

    /// What rests on it is durable.
    fn leave(&mut self, process: u32, message: FromEngine, context: &mut Context<'_>) {
        match message {
            FromEngine::Response { event, response, .. } => self.respond(process, event, response, context),
            FromEngine::Returned { activation, event, value, .. } => {
                self.stubs_given(process, activation, &value.stubs);
                self.returned(process, event, value);
            }
            FromEngine::Failed { event, problem, .. } => self.fail_event(event, problem, context),
            FromEngine::AlarmRan { activation, event, outcome, .. } => {
                self.alarm_ran((process, activation), event, outcome, context);
            }
            FromEngine::Inspected { event, found, .. } => self.inspected(event, found),
            FromEngine::StubDropped { stub, .. } => self.stub_dropped(stub, Holder::Engine(process)),
            FromEngine::Call { activation, call, destination, .. } => match destination {
                Destination::Internet(request) => {
                    let redirect = request.redirect;
                    self.hold_body(process, call, &request.body);
                    let request = request_from(process, request);
                    context.effects.push(Effect::Fetch { process, call, request, redirect });
                }
                Destination::Object { namespace, id, name, what } => {
                    if let ObjectCall::Rpc(Rpc { args: Some(args), .. }) = &what {
                        self.stubs_given(process, activation, &args.stubs);
                    }
                    self.call_object((process, call), (namespace, id, name), what, context);
                }
                Destination::Stub { stub, rpc } => {
                    if let Some(args) = &rpc.args {
                        self.stubs_given(process, activation, &args.stubs);
                    }
                    self.call_stub((process, call), stub, rpc, context);
                }
            },
            FromEngine::SocketSend { activation, socket, data, .. } => {
                self.socket_send(process, activation, socket, data, context);
            }
            FromEngine::SocketClose { activation, socket, code, reason, .. } => {
                self.socket_close(process, activation, socket, code, reason, context);
            }
            FromEngine::Chunk { stream, data, end, .. } => self.chunk(process, stream, data.into(), end, context),
            FromEngine::StreamFailed { stream, why, .. } => self.body_failed(process, stream, why),
            FromEngine::Loaded { .. }
            | FromEngine::LoadFailed { .. }
            | FromEngine::ReadPages { .. }
            | FromEngine::Commit(_)
            | FromEngine::Finished { .. }
            | FromEngine::CancelCall { .. }
            | FromEngine::SocketAccept { .. }
            | FromEngine::SocketUntaken { .. }
            | FromEngine::SocketAttachment { .. }
            | FromEngine::AutoResponse { .. }
            | FromEngine::Credit { .. }
            | FromEngine::StreamCancelled { .. }
            | FromEngine::StubWithdrawn { .. }
            | FromEngine::StubsPassed { .. }
            | FromEngine::Console { .. }
            | FromEngine::Quiet { .. }
            | FromEngine::Reset { .. }
            | FromEngine::Closed { .. }
            | FromEngine::Inside { .. }
            | FromEngine::Stays { .. }
            | FromEngine::Wake { .. } => {}
        }
    }

    /// What it rests on is not durable and never will be: nobody sees it.
    pub fn lost(&mut self, process: u32, message: FromEngine, context: &mut Context<'_>) {
        self.lost_for(
            process,
            message,
            "Durable Object storage could not be written: what was not confirmed is lost.",
            context,
        );
    }

    fn lost_for(&mut self, process: u32, mut message: FromEngine, why: &str, context: &mut Context<'_>) {
        if let FromEngine::StubDropped { stub, .. } = &message {
            return self.drop_stub(*stub);
        }
        // Its activation may have ended before, and left the socket for the next one.
        if let FromEngine::SocketSend { activation, socket, .. } | FromEngine::SocketClose { activation, socket, .. } =
            &message
        {
            return self.saying_lost((process, *activation), *socket, why, context);
        }
        // Its calls and bodies end with the activation, which it is about to.
        if let Some(event) = message.gated().and_then(|gated| gated.answers) {
            self.fail_event(event, Problem::reset(why), context);
        }
    }

    fn read(&mut self, process: u32, activation: Activation, first: u32, count: u32, context: &mut Context<'_>) {
        let file = self.activation(process, activation).and_then(|state| state.object.as_ref()).map(|o| o.file.clone());
        match file {
            Some(file) if count <= MAX_PAGES_READ && first > 0 => {
                context.effects.push(Effect::Read { process, activation, file, first, count });
            }
            Some(_) | None => self.kill(process, context),
        }
    }

    fn commit(&mut self, process: u32, part: wire::Commit, context: &mut Context<'_>) {
        let tag = tag(process, part.activation);
        let most = MAX_COMMIT_BYTES.min(self.version.limits.commit_bytes as usize);
        let Some(state) = self.activation(process, part.activation) else { return };
        let Some(object) = &mut state.object else { return };
        let partial = state.partial.get_or_insert_with(|| {
            let commit = Commit {
                key: object.key,
                epoch: object.epoch,
                seq: part.seq.0,
                pages: part.pages,
                alarm: AlarmChange::Unchanged,
                name: if std::mem::take(&mut object.name_is_new) { object.name.clone() } else { None },
                deltas: Vec::new(),
                removed: false,
            };
            Partial { bytes: commit.encoded_bytes(), commit }
        });
        if partial.commit.seq != part.seq.0 {
            return self.kill(process, context);
        }
        let commit = &mut partial.commit;
        commit.pages = part.pages;
        match part.alarm {
            wire::AlarmChange::Unchanged => {}
            wire::AlarmChange::Cleared => commit.alarm = AlarmChange::Cleared,
            wire::AlarmChange::Set { at_ms } => commit.alarm = AlarmChange::SetTo(at_ms),
        }
        let delta =
            |delta: wire::Delta| Delta { page: delta.page, offset: delta.offset, bytes: Bytes::from(delta.bytes) };
        let deltas = part.deltas.into_iter().map(delta);
        if partial.bytes <= most {
            let had = commit.deltas.len();
            commit.deltas.extend(deltas);
            partial.bytes += commit.deltas[had..].iter().map(Delta::encoded_bytes).sum::<usize>();
        } else {
            // The rest of what is refused anyway is counted, and not kept.
            partial.bytes += deltas.map(|delta| delta.encoded_bytes()).sum::<usize>();
        }
        if partial.bytes > most {
            commit.deltas = Vec::new();
        }
        if !part.complete {
            return;
        }
        let Some(Partial { commit, bytes }) = state.partial.take() else { return };
        state.in_flight += 1;
        if bytes > most {
            let (key, seq) = (commit.key, commit.seq);
            let result = Err(BadCommit::TooLarge { bytes, most }.into());
            return self.settled(Settled { key, seq, tag, result }, context);
        }
        context.effects.push(Effect::Commit { commit, tag });
    }

    /// The log has told how a commit ended.
    pub fn settled(&mut self, settled: Settled, context: &mut Context<'_>) {
        let (process, activation) = untag(settled.tag);
        let Some(state) = self.activation(process, activation) else { return };
        state.in_flight -= 1;
        match settled.result {
            Ok(()) => {
                let released = state.outputs.release(settled.seq);
                state.held.set(state.outputs.held_bytes());
                self.send(process, &ToEngine::Durable { activation, seq: Seq(settled.seq) });
                for message in released {
                    self.leave(process, message, context);
                }
            }
            Err(error) => {
                tracing::warn!(%error, seq = settled.seq, "a commit is lost");
                let lost = state.outputs.fail(settled.seq);
                state.held.set(state.outputs.held_bytes());
                let why = format!("Durable Object storage could not be written: {error}.");
                let problem = Problem::reset(why.clone());
                self.send(process, &ToEngine::CommitFailed { activation, seq: Seq(settled.seq), why: problem });
                for message in lost {
                    self.lost_for(process, message, &why, context);
                }
            }
        }
        self.bury(process, activation, context);
    }

    fn finished(&mut self, process: u32, activation: Activation, event: EventId, context: &mut Context<'_>) {
        let now = context.now;
        let bytes = self.events.get(&event).map_or(0, |event| event.bytes);
        if let Some(state) = self.activation(process, activation) {
            state.running = state.running.saturating_sub(1);
            state.running_bytes = state.running_bytes.saturating_sub(bytes);
            state.last_used = now;
        }
        let Some(state) = self.events.get_mut(&event) else { return };
        state.finished = true;
        if state.waiter.is_none() {
            self.events.remove(&event);
        } else if !state.answered {
            self.event_over(event, context);
        }
    }

    fn console_line(
        &self,
        process: u32,
        activation: Activation,
        level: wire::Level,
        text: String,
        at_ms: i64,
        context: &Context<'_>,
    ) -> ConsoleLine {
        let process = self.processes.get(&process);
        let object = process.and_then(|state| state.activations.get(&activation)?.object.as_ref());
        let class = object.and_then(|object| process?.version.namespaces.get(usize::from(object.namespace.0)));
        ConsoleLine {
            deployment: context.deployment.name.clone(),
            object: object.map(|object| object.key),
            class: class.map(|namespace| namespace.class.clone()),
            name: object.and_then(|object| object.name.clone()),
            level,
            text,
            at_ms,
        }
    }
}
