//! One deployment on this host: its engines, which object lives where, what is under way.
//!
//! [`State`] is all of it behind one lock, held for as long as one message takes. What takes longer (the log, files,
//! the network) is an [`effects::Effect`], done after the lock is let go of.

mod answers;
mod deliver;
mod dialled;
mod drain;
mod effects;
mod ends;
mod entry;
mod links;
mod manage;
mod remote;
mod said;
mod sizes;
mod sockets;
mod state;
mod streams;
mod stubs;

use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::{
    ErrorPages, HostOptions,
    alarms::AlarmClock,
    bodies::HostBody,
    console::Console,
    log::{Log, Settled, Submitter},
    outgoing::Outgoing,
    stats::{Bucket, Stats, Totals},
};
use crate::wire::{
    EventId, FromEngine, Limits, Load, Module, Namespace, Problem, Service, SocketId, StreamId, ToEngine,
};

pub use deliver::{BodyIn, Feeding, Fetched, InspectError, RequestIn};
pub use effects::ConsoleLine;
pub use ends::IdleTimes;
pub use links::LinkId;
pub use manage::{DeleteObjectError, ObjectDetail};
pub use sockets::{ClientEnd, ClientSocket, Say};
pub use state::ObjectStatus;

use state::State;

/// A class of objects and the way to it.
#[derive(Clone)]
pub struct NamespaceInfo {
    /// Of the objects' files: the same for all versions of a deployment, and never used for another class.
    pub uid: [u8; 16],
    pub binding: String,
    pub class: String,
    /// Ids are authenticated with it.
    pub key: [u8; 32],
}

/// What is deployed, in one version.
pub struct Version {
    pub number: u64,
    pub modules: Vec<Module>,
    pub main: String,
    pub vars: Vec<(String, String)>,
    pub namespaces: Vec<NamespaceInfo>,
    /// Bindings to the deployment's own entry points.
    pub services: Vec<Service>,
    pub limits: Limits,
}

impl Version {
    /// What an engine is given. `cpu_ms`: no event may take more, where the version's own limit is higher.
    pub(super) fn load(&self, first_socket: SocketId, cpu_ms: u32, now_ms: i64) -> Load {
        let namespace = |namespace: &NamespaceInfo| Namespace {
            binding: namespace.binding.clone(),
            class: namespace.class.clone(),
            key: namespace.key,
            here: true,
        };
        Load {
            modules: self.modules.clone(),
            main: self.main.clone(),
            vars: self.vars.clone(),
            namespaces: self.namespaces.iter().map(namespace).collect(),
            services: self.services.clone(),
            limits: self.limits.clone().with_cpu_ms(Some(cpu_ms)),
            first_socket,
            now_ms,
        }
    }
}

/// A deployment that takes events.
pub struct Deployment {
    pub name: String,
    log: Arc<Log>,
    options: Arc<HostOptions>,
    outgoing: Mutex<Arc<Outgoing>>,
    alarms: Arc<AlarmClock>,
    console: Console,
    stats: Stats,
    /// Effects of what the log tells come on its thread.
    runtime: tokio::runtime::Handle,
    /// While it is drained: nothing is under way any more.
    at_rest: Notify,
    state: Mutex<State>,
}

impl Deployment {
    /// Within a tokio runtime.
    pub fn new(
        name: String,
        version: Arc<Version>,
        log: Arc<Log>,
        options: Arc<HostOptions>,
        outgoing: Arc<Outgoing>,
        alarms: Arc<AlarmClock>,
    ) -> Arc<Self> {
        let (runtime, state) = (tokio::runtime::Handle::current(), Mutex::new(State::new(version)));
        Arc::new(Deployment {
            name,
            log,
            options,
            outgoing: Mutex::new(outgoing),
            alarms,
            console: Console::default(),
            stats: Stats::default(),
            runtime,
            at_rest: Notify::new(),
            state,
        })
    }

    /// Requests from now on are sent by it.
    pub(super) fn set_outgoing(&self, outgoing: Outgoing) {
        *self.outgoing.lock() = Arc::new(outgoing);
    }

    pub(super) fn outgoing(&self) -> Arc<Outgoing> {
        Arc::clone(&self.outgoing.lock())
    }

    pub fn console(&self) -> &Console {
        &self.console
    }

    /// The last quarter of an hour: [`super::stats::BUCKETS`] of [`super::stats::BUCKET_MS`].
    pub fn buckets(&self) -> Vec<Bucket> {
        self.stats.buckets(self.options.now_ms())
    }

    /// Since it was deployed first, in this process.
    pub fn totals(&self) -> Totals {
        self.stats.totals()
    }

    /// Changes the state, then does what follows from it.
    fn with<T>(self: &Arc<Self>, change: impl FnOnce(&mut State, &mut effects::Context<'_>) -> T) -> T {
        let mut effects = Vec::new();
        let result = {
            let mut state = self.state.lock();
            let mut context = effects::Context {
                log: &self.log,
                options: &self.options,
                deployment: self,
                effects: &mut effects,
                now: std::time::Instant::now(),
            };
            let result = change(&mut state, &mut context);
            state.flush();
            if state.draining && state.is_at_rest() {
                self.at_rest.notify_waiters();
            }
            result
        };
        self.perform(effects);
        result
    }

    /// Everything that an engine said in one piece.
    pub(super) fn take(self: &Arc<Self>, process: u32, said: Vec<FromEngine>) {
        self.with(|state, context| {
            for message in said {
                state.take(process, message, context);
            }
        });
    }

    pub(super) fn give_credit(self: &Arc<Self>, process: u32, stream: StreamId, bytes: usize) {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        self.with(|state, _| state.send(process, &ToEngine::Credit { stream, bytes }));
    }

    pub(super) fn cancel_stream(self: &Arc<Self>, process: u32, stream: StreamId) {
        self.with(|state, _| state.cancel_body_from(process, stream));
    }

    pub(super) fn send_chunk(&self, process: u32, stream: StreamId, data: Bytes, end: bool) {
        let mut state = self.state.lock();
        if end {
            state.forget_body_to(process, stream);
        }
        state.send(process, &ToEngine::Chunk { stream, data: data.into(), end });
        state.flush();
    }

    pub(super) fn send_stream_failed(&self, process: u32, stream: StreamId, why: Problem) {
        let mut state = self.state.lock();
        state.forget_body_to(process, stream);
        state.send(process, &ToEngine::StreamFailed { stream, why });
        state.flush();
    }

    pub(super) fn cancel_event(self: &Arc<Self>, event: EventId) {
        self.with(|state, context| state.cancel_event(event, context));
    }

    pub fn limits(&self) -> Limits {
        self.state.lock().version.limits.clone()
    }

    pub(super) fn error_pages(&self) -> ErrorPages {
        self.options.error_pages
    }

    /// A body of an engine's, for somebody outside.
    pub(super) fn body_out(self: &Arc<Self>, body: BodyIn) -> HostBody {
        self.with(|state, context| state.reader_of(body, context))
    }

    /// Ends all engines, and the connections to other hosts.
    pub fn stop(&self) {
        self.state.lock().close_links();
        for (_, handle, _) in self.running_engines() {
            handle.kill();
        }
    }

    pub(super) fn now_ms(&self) -> i64 {
        self.options.now_ms()
    }

    /// Which objects live here now.
    pub fn objects(&self) -> Vec<ObjectStatus> {
        self.state.lock().objects()
    }

    /// Pids of the engines.
    pub fn engines(&self) -> Vec<u32> {
        self.state.lock().processes.values().filter_map(|process| process.pid).collect()
    }
}

impl Submitter for Handle {
    fn settled(&self, settled: Vec<Settled>) {
        self.0.with(|state, context| {
            for settled in settled {
                state.settled(settled, context);
            }
        });
    }
}

/// What the log tells of commits.
pub(super) struct Handle(pub Arc<Deployment>);
