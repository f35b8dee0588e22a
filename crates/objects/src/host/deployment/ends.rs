//! Ends: of activations, orderly or not, of engines, of idleness.

use std::{
    mem,
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    Deployment, Version,
    effects::{Context, Effect},
    entry::EntryHealth,
    state::{CallTarget, Phase, Placed, State},
    stubs::Holder,
};
use crate::{
    host::process,
    wire::{Activation, CloseReason, EventId, Problem, ToEngine},
};

/// When what does nothing is taken out of memory.
#[derive(Debug, Clone, Copy)]
pub struct IdleTimes {
    pub hibernate: Duration,
    /// Of what would lose something by it.
    pub evict: Duration,
}

impl Default for IdleTimes {
    fn default() -> Self {
        IdleTimes { hibernate: Duration::from_secs(10), evict: Duration::from_secs(100) }
    }
}

impl Deployment {
    /// Closes what has been idle for long enough. Called every second or so.
    pub fn close_idle(self: &Arc<Self>) {
        let times = self.options.idle;
        self.with(|state, context| state.close_idle(times, context));
    }

    /// From now on new activations run this version; what lives is closed, its callers served by the next life.
    /// `problem`: why it does not load.
    pub(in crate::host) fn replace(self: &Arc<Self>, version: Arc<Version>, problem: Option<Problem>) {
        self.with(|state, context| {
            state.version = version;
            state.unloadable = problem;
            state.deaths.clear();
            state.entry = EntryHealth::default();
            state.retire_current(context);
        });
    }

    /// An engine's process has ended, or cannot be talked to any more.
    pub(in crate::host) fn engine_ended(self: &Arc<Self>, process: u32, why: &str) {
        self.with(|state, context| state.process_ended(process, why, context));
    }

    /// What each engine is at: number, handle, and its limit for one event.
    pub(in crate::host) fn running_engines(&self) -> Vec<(u32, Arc<process::Handle>, Duration)> {
        let state = self.state.lock();
        let engines = state.processes.iter();
        engines
            .filter_map(|(number, process)| {
                let limit = Duration::from_millis(u64::from(process.version.limits.cpu_ms));
                Some((*number, Arc::clone(process.handle.as_ref()?), limit))
            })
            .collect()
    }
}

impl State {
    pub fn started(&mut self, process: u32, pid: u32, handle: Arc<process::Handle>) {
        if let Some(process) = self.processes.get_mut(&process) {
            process.pid = Some(pid);
            process.handle = Some(handle);
        }
    }

    /// Ends an engine that does what no engine of ours does. The rest follows when its socket closes.
    pub fn kill(&mut self, process: u32, context: &mut Context<'_>) {
        if let Some(handle) = self.processes.get(&process).and_then(|process| process.handle.clone()) {
            context.effects.push(Effect::Kill(handle));
        }
    }

    pub fn load_failed(&mut self, process: u32, problem: &Problem, context: &mut Context<'_>) {
        tracing::info!(%problem, "a deployment's modules do not load");
        let current = self.processes.get(&process).is_some_and(|state| Arc::ptr_eq(&state.version, &self.version));
        if current {
            self.unloadable = Some(problem.clone());
        }
        for event in self.events_of(process) {
            self.fail_event(event, problem.clone(), context);
        }
        self.kill(process, context);
        self.process_ended(process, &problem.to_string(), context);
    }

    fn events_of(&self, process: u32) -> Vec<EventId> {
        let here = self.events.iter().filter(|(_, event)| event.place.is_some_and(|(at, _)| at == process));
        let mut events: Vec<EventId> = here.map(|(event, _)| *event).collect();
        events.sort();
        events
    }

    /// The process is gone. What it had committed still becomes durable, and what rested on that still leaves.
    pub fn process_ended(&mut self, process: u32, why: &str, context: &mut Context<'_>) {
        if self.current == Some(process) {
            self.current = None;
        }
        let suspect = self.suspect(process, context.now);
        self.entry.process_ended(process);
        let Some(state) = self.processes.get_mut(&process) else { return };
        if state.alone.is_some() {
            state.alone = None;
        }
        state.handle = None;
        let problem = Problem::reset(format!("Durable Object was reset: {why}."));
        let calls = mem::take(&mut state.calls);
        self.bodies_end(process, &problem);
        self.dialled_end(process);
        self.holder_ended(Holder::Engine(process));
        for target in calls.into_values() {
            match target {
                CallTarget::Event(event) => self.cancel_event(event, context),
                CallTarget::Internet(task) => task.abort(),
                CallTarget::Link { link, call } => self.cancel_link_call(link, call),
            }
        }
        for event in self.events_of(process) {
            let Some(state) = self.events.get_mut(&event) else { continue };
            state.finished = true;
            if state.answered {
                continue;
            }
            let at_its_code = suspect.is_some_and(|suspect| state.place == Some((process, suspect)));
            if at_its_code {
                self.blame_event(event, problem.clone(), context);
            } else {
                self.fail_event(event, problem.clone(), context);
            }
        }
        let activations: Vec<Activation> =
            self.processes.get(&process).map(|state| state.activations.keys().copied().collect()).unwrap_or_default();
        for activation in activations {
            self.activation_ended(process, activation, context);
        }
        self.peers_left((process, None), context);
    }

    /// Whose code ran when the process died is under suspicion: it gets a process of its own next time.
    fn suspect(&mut self, process: u32, now: Instant) -> Option<Activation> {
        let state = self.processes.get(&process)?;
        let turn = state.handle.as_ref().and_then(|handle| handle.status().read().ok().flatten());
        let activation = turn.and_then(|turn| turn.activation).map(Activation)?;
        if activation == Activation::ENTRY {
            self.entry.died(now);
            return Some(activation);
        }
        let key = state.activations.get(&activation).and_then(|state| Some(state.object.as_ref()?.key));
        if let Some(key) = key {
            let deaths = self.deaths.entry(key).or_default();
            *deaths += 1;
            tracing::warn!(deaths, object = hex::encode(key.id), "an engine died while it ran an object's code");
        }
        Some(activation)
    }

    /// The engine gave up an object's memory.
    pub fn reset(&mut self, process: u32, activation: Activation, problem: &Problem, context: &mut Context<'_>) {
        let Some(state) = self.activation(process, activation) else { return };
        let in_flight = state.in_flight;
        let Some(key) = state.object.as_ref().map(|object| object.key) else {
            // The entry worker begins anew by itself, under its old name.
            self.sockets_lose_life(None, (process, activation), context);
            return self.peers_left((process, Some(activation)), context);
        };
        if in_flight == 0 {
            self.drop_sockets(key, problem, context);
        } else {
            // What the problem tells may rest on what is not durable.
            self.drop_sockets(key, &Problem::reset("The object was reset."), context);
        }
        self.activation_ended(process, activation, context);
    }

    /// The engine knows the activation no more.
    pub fn activation_ended(&mut self, process: u32, activation: Activation, context: &mut Context<'_>) {
        let Some(state) = self.activation(process, activation) else { return };
        state.phase = Phase::Ended;
        // What was not whole is not committed.
        state.partial = None;
        let key = state.object.as_ref().map(|object| object.key);
        self.giver_ended(process, activation);
        if let Some(key) = key {
            self.leave_place(key, process, activation);
        }
        self.sockets_lose_life(key, (process, activation), context);
        self.bury(process, activation, context);
        self.peers_left((process, Some(activation)), context);
    }

    fn leave_place(&mut self, key: crate::host::log::ObjectKey, process: u32, activation: Activation) {
        let place = self.objects.entry(key).or_insert(Placed::Leaving { waiting: Default::default() });
        if let Placed::Live { process: at, activation: which } = place
            && *at == process
            && *which == activation
        {
            *place = Placed::Leaving { waiting: Default::default() };
        }
    }

    /// Forgets an ended activation once all its commits have settled, and begins the next life if one is wanted.
    pub fn bury(&mut self, process: u32, activation: Activation, context: &mut Context<'_>) {
        let Some(state) = self.activation(process, activation) else { return };
        if state.phase != Phase::Ended || state.in_flight > 0 {
            return;
        }
        let key = state.object.as_ref().map(|object| object.key);
        let lost = state.outputs.give_up();
        if let Some(process) = self.processes.get_mut(&process) {
            process.activations.remove(&activation);
        }
        for message in lost {
            self.lost(process, message, context);
        }
        let dead = self.processes.get(&process).is_some_and(|state| state.activations.is_empty());
        if dead {
            self.processes.remove(&process);
        }
        let Some(key) = key else { return };
        if let Some(Placed::Leaving { .. }) = self.objects.get(&key)
            && !self.delete_now(key, context)
            && let Some(Placed::Leaving { waiting }) = self.objects.remove(&key)
        {
            self.deliver_waiting(key, waiting, context);
            self.forget_auto_response(key);
        }
        self.retire_if_empty(process, context);
    }

    /// A process that takes no new activations ends with its last one.
    fn retire_if_empty(&mut self, process: u32, context: &mut Context<'_>) {
        let Some(state) = self.processes.get(&process) else { return };
        let only_entry = state.activations.keys().all(|activation| *activation == Activation::ENTRY);
        let entry_idle = state.activations.get(&Activation::ENTRY).is_none_or(|entry| entry.running == 0);
        if self.current != Some(process) && !self.entry.is_in(process) && only_entry && entry_idle {
            self.kill(process, context);
        }
    }

    pub fn close(&mut self, process: u32, activation: Activation, why: CloseReason) {
        let Some(state) = self.activation(process, activation).filter(|state| state.phase == Phase::Live) else {
            return;
        };
        state.phase = Phase::Closing;
        let key = state.object.as_ref().map(|object| object.key);
        if let Some(key) = key {
            self.leave_place(key, process, activation);
        }
        self.send(process, &ToEngine::Close { activation, why });
    }

    /// The engine did not close it: others in its process keep it busy.
    pub fn stays(&mut self, process: u32, activation: Activation, context: &mut Context<'_>) {
        let Some(state) = self.activation(process, activation).filter(|state| state.phase == Phase::Closing) else {
            return;
        };
        state.phase = Phase::Live;
        state.quiet = None;
        let Some(key) = state.object.as_ref().map(|object| object.key) else { return };
        let Some(Placed::Leaving { waiting }) = self.objects.insert(key, Placed::Live { process, activation }) else {
            return;
        };
        self.deliver_waiting(key, waiting, context);
        self.stays_or_goes(key, process, activation, context);
    }

    fn close_idle(&mut self, times: IdleTimes, context: &mut Context<'_>) {
        self.entry.forgive(context.now);
        let mut due = Vec::new();
        for (number, process) in &self.processes {
            for (activation, state) in &process.activations {
                let busy = state.running + state.inside > 0 || state.outputs.held() > 0;
                if state.object.is_none() || state.phase != Phase::Live || busy {
                    continue;
                }
                let Some((since, hibernates)) = state.quiet else { continue };
                let idle = context.now.saturating_duration_since(since.max(state.last_used));
                let (limit, why) = match hibernates {
                    true => (times.hibernate, CloseReason::Hibernate),
                    false => (times.evict, CloseReason::Evict),
                };
                if idle >= limit {
                    due.push((*number, *activation, why));
                }
            }
        }
        for (process, activation, why) in due {
            self.close(process, activation, why);
        }
        let numbers: Vec<u32> = self.processes.keys().copied().collect();
        for process in numbers {
            self.retire_if_empty(process, context);
        }
    }

    fn retire_current(&mut self, context: &mut Context<'_>) {
        let all: Vec<(u32, Activation)> = self
            .processes
            .iter()
            .flat_map(|(number, process)| process.activations.keys().map(move |activation| (*number, *activation)))
            .filter(|(_, activation)| *activation != Activation::ENTRY)
            .collect();
        self.current = None;
        for (process, activation) in all {
            let problem = Problem::reset("The deployment was replaced by another version.");
            self.close(process, activation, CloseReason::Abort(problem));
        }
        let numbers: Vec<u32> = self.processes.keys().copied().collect();
        for process in numbers {
            self.retire_if_empty(process, context);
        }
    }
}
