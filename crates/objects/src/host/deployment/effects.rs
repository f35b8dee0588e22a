//! What follows from a change and must not be done under the lock.

use std::{sync::Arc, time::Instant};

use super::{
    Deployment, Handle,
    deliver::{Fetched, RequestIn},
};
use crate::{
    host::{
        HostOptions,
        alarms::Fired,
        elsewhere::Place,
        link::{self, Outbox},
        log::{Commit, Log, ObjectFile, ObjectKey, Submitter},
        outgoing::Answered,
        process,
    },
    wire::{Activation, CallId, Level, Redirect, ToEngine},
};

/// A line that user code wrote to its console.
#[derive(Debug, Clone)]
pub struct ConsoleLine {
    pub deployment: String,
    /// None: the entry worker.
    pub object: Option<ObjectKey>,
    pub class: Option<String>,
    pub name: Option<String>,
    pub level: Level,
    pub text: String,
    /// Unix milliseconds, by the engine's clock.
    pub at_ms: i64,
}

pub enum Effect {
    Start {
        process: u32,
        outbox: Arc<Outbox>,
    },
    Kill(Arc<process::Handle>),
    Commit {
        commit: Commit,
        tag: u64,
    },
    Read {
        process: u32,
        activation: Activation,
        file: Arc<ObjectFile>,
        first: u32,
        count: u32,
    },
    Fetch {
        process: u32,
        call: CallId,
        request: RequestIn,
        redirect: Redirect,
    },
    Console(ConsoleLine),
    AlarmFired {
        key: ObjectKey,
        fired: Fired,
    },
    /// Its end asks for the lock.
    Drop(Fetched),
    Remove {
        key: ObjectKey,
        least_epoch: u64,
    },
}

/// What a change may look at, and where it leaves what follows.
pub struct Context<'a> {
    pub log: &'a Arc<Log>,
    pub options: &'a Arc<HostOptions>,
    pub deployment: &'a Arc<Deployment>,
    pub effects: &'a mut Vec<Effect>,
    pub now: Instant,
}

impl Context<'_> {
    pub fn place(&self, key: &ObjectKey) -> Place {
        match &self.options.elsewhere {
            Some(elsewhere) => elsewhere.directory.place(&self.deployment.name, key),
            None => Place::Here { least_epoch: 0 },
        }
    }
}

impl Deployment {
    pub(super) fn perform(self: &Arc<Self>, effects: Vec<Effect>) {
        if effects.is_empty() {
            return;
        }
        let _entered = self.runtime.enter();
        let mut submitter: Option<Arc<dyn Submitter>> = None;
        for effect in effects {
            match effect {
                Effect::Start { process, outbox } => self.start_engine(process, &outbox),
                Effect::Kill(handle) => handle.kill(),
                Effect::Commit { commit, tag } => {
                    let submitter = submitter.get_or_insert_with(|| Arc::new(Handle(Arc::clone(self))));
                    self.log.submit(commit, Arc::clone(submitter), tag);
                }
                Effect::Read { process, activation, file, first, count } => {
                    let read = file.read_pages(first, count);
                    self.with(|state, context| match read {
                        Ok(data) => state.send(process, &ToEngine::Pages { activation, first, data }),
                        Err(error) => {
                            tracing::error!(%error, "an object's file cannot be read");
                            // The engine waits for pages and for nothing else.
                            state.kill(process, context);
                        }
                    });
                }
                Effect::Fetch { process, call, request, redirect } => {
                    let task = tokio::spawn(Arc::clone(self).fetch_outside(process, call, request, redirect));
                    let handle = task.abort_handle();
                    self.with(|state, _| state.fetching(process, call, handle));
                }
                Effect::Console(line) => {
                    (self.options.console)(&line);
                    self.console.add(line);
                }
                Effect::Drop(fetched) => drop(fetched),
                Effect::Remove { key, least_epoch } => self.remove(key, least_epoch),
                Effect::AlarmFired { key, fired } => self.alarms.fired(key, &fired, self.options.now_ms()),
            }
        }
    }

    fn start_engine(self: &Arc<Self>, process: u32, outbox: &Arc<Outbox>) {
        match process::start(&self.options.program).and_then(|(child, socket, handle)| {
            socket.set_nonblocking(true)?;
            Ok((child, tokio::net::UnixStream::from_std(socket)?, Arc::new(handle)))
        }) {
            Ok((child, socket, handle)) => {
                let pid = child.pid;
                self.with(|state, _| state.started(process, pid, Arc::clone(&handle)));
                link::run(Arc::clone(self), process, child, socket, handle, Arc::clone(outbox));
            }
            Err(error) => {
                tracing::error!(%error, "an engine cannot be started");
                let why = format!("the engine cannot be started: {error}");
                self.with(|state, context| state.process_ended(process, &why, context));
            }
        }
    }

    async fn fetch_outside(self: Arc<Self>, process: u32, call: CallId, request: RequestIn, redirect: Redirect) {
        let result = match self.outgoing().fetch(&self, request, redirect).await {
            Ok(Answered { response, body: _, socket: Some(stream) }) => {
                // Ends with the socket; the call itself is over when it is answered.
                tokio::spawn(async move { self.dialled((process, call), response, stream).await });
                return;
            }
            Ok(Answered { response, body, socket: None }) => Ok((response, body)),
            Err(problem) => Err(problem),
        };
        self.with(|state, context| state.fetched(process, call, result, context));
    }
}
