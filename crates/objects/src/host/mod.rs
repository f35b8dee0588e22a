//! The trusted half: the log, the files, the sockets, the clock, and the engine's process.

pub mod alarms;
pub mod bodies;
mod budget;
pub mod child;
pub mod console;
pub mod deployment;
pub mod elsewhere;
pub mod http;
mod link;
pub mod log;
pub mod outgoing;
pub mod outputs;
mod peer;
mod process;
mod queue;
mod retries;
pub mod sandbox;
pub mod stats;
mod status;
pub mod trial;
mod watchdog;
mod websocket;

use std::{
    collections::HashMap,
    io,
    path::PathBuf,
    sync::{Arc, Weak},
    time::Duration,
};

use parking_lot::Mutex;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::io::{AsyncRead, AsyncWrite};

use alarms::AlarmClock;
use deployment::{ConsoleLine, Deployment, IdleTimes, Version};
use elsewhere::{Elsewhere, Peer};
use log::{AtRest, Log, LogOptions, OpenLogError, Page, Recovered};
use outgoing::{Outgoing, OutgoingError, Policy};
pub use process::Program;
use trial::TrialError;
use watchdog::Watchdog;

use crate::wire::{ClassInfo, Problem};

/// Every object in memory holds its file open, every client and engine a socket: as many as the system allows this process.
fn raise_open_files() {
    let limit = getrlimit(Resource::Nofile);
    if limit.current == limit.maximum {
        return;
    }
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!(%error, limit = ?limit.current, "the limit on open files stays as it is");
    }
}

const IDLE_LOOK: Duration = Duration::from_secs(1);

/// What a client sees of an error that was not caught.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorPages {
    Plain,
    /// With message and stack: for whoever writes the code.
    Detailed,
}

pub struct HostOptions {
    /// Where all objects' storage is.
    pub directory: PathBuf,
    pub log: LogOptions,
    /// How an engine is started.
    pub program: Program,
    pub idle: IdleTimes,
    pub error_pages: ErrorPages,
    /// WebSockets of clients, of one deployment.
    pub sockets: usize,
    /// Gets every line of every console. Must not block.
    pub console: Box<dyn Fn(&ConsoleLine) + Send + Sync>,
    /// None: all objects are here.
    pub elsewhere: Option<Elsewhere>,
    /// Unix milliseconds.
    pub clock: Box<dyn Fn() -> i64 + Send + Sync>,
}

/// WebSockets of one deployment's clients, where nobody says.
const SOCKETS: usize = 4096;

impl HostOptions {
    /// A host by itself, for whoever writes the code: all objects are here, and errors are shown.
    pub fn alone(directory: PathBuf, program: Program) -> Self {
        HostOptions {
            directory,
            log: LogOptions::default(),
            program,
            idle: IdleTimes::default(),
            error_pages: ErrorPages::Detailed,
            sockets: SOCKETS,
            console: Box::new(|_line| {}),
            elsewhere: None,
            clock: Box::new(system_clock_ms),
        }
    }

    pub fn now_ms(&self) -> i64 {
        (self.clock)()
    }
}

/// Unix milliseconds by the system's clock.
pub fn system_clock_ms() -> i64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
    now.tv_sec * 1000 + now.tv_nsec / 1_000_000
}

#[derive(Debug, thiserror::Error)]
pub enum OpenHostError {
    #[error(transparent)]
    Log(#[from] OpenLogError),
    #[error("cannot read which alarms failed: {0}")]
    Retries(#[source] io::Error),
    #[error("cannot start the watchdog: {0}")]
    Watchdog(#[source] std::io::Error),
}

/// All deployments of one host, and their storage.
pub struct Host {
    log: Arc<Log>,
    options: Arc<HostOptions>,
    alarms: Arc<AlarmClock>,
    deployments: Arc<Deployments>,
    tasks: Vec<tokio::task::AbortHandle>,
    _watchdog: Watchdog,
}

#[derive(Default)]
struct Deployments {
    by_name: Mutex<HashMap<String, Arc<Deployment>>>,
}

impl Deployments {
    fn all(&self) -> Vec<Arc<Deployment>> {
        self.by_name.lock().values().cloned().collect()
    }
}

fn all_of(deployments: &Weak<Deployments>) -> Vec<Arc<Deployment>> {
    deployments.upgrade().map(|deployments| deployments.all()).unwrap_or_default()
}

impl Host {
    /// Replays the log and begins. Within a tokio runtime; blocks for as long as the replay takes.
    pub fn open(options: HostOptions) -> Result<Self, OpenHostError> {
        raise_open_files();
        let log = Arc::new(Log::open(&options.directory, options.log)?);
        let options = Arc::new(options);
        let retries = retries::load(&options.directory).map_err(OpenHostError::Retries)?;
        let alarms = Arc::new(AlarmClock::new(retries));
        let deployments = Arc::new(Deployments::default());
        let known = Arc::downgrade(&deployments);
        let watchdog = {
            let known = known.clone();
            Watchdog::start(move || all_of(&known)).map_err(OpenHostError::Watchdog)?
        };
        let fires = {
            let known = known.clone();
            tokio::spawn(alarms::run(Arc::clone(&alarms), Arc::downgrade(&log), Arc::clone(&options), move || {
                all_of(&known)
            }))
        };
        let idles = tokio::spawn(close_idle(known));
        let tasks = vec![fires.abort_handle(), idles.abort_handle()];
        Ok(Host { log, options, alarms, deployments, tasks, _watchdog: watchdog })
    }

    /// What the start found in the log.
    pub fn recovered(&self) -> &Recovered {
        self.log.recovered()
    }

    /// Takes a version of a deployment, its first or the next, and what its requests to the outside may reach. Objects of
    /// the last one end; requests go to the new one.
    pub fn deploy(&self, name: &str, version: Version, policy: Policy) -> Result<Arc<Deployment>, OutgoingError> {
        self.put(name, version, policy, None)
    }

    /// As [`Self::deploy`], of a version that does not load: no engine is started for it, and who calls gets the problem.
    pub fn deploy_refused(
        &self,
        name: &str,
        version: Version,
        policy: Policy,
        problem: Problem,
    ) -> Result<Arc<Deployment>, OutgoingError> {
        self.put(name, version, policy, Some(problem))
    }

    fn put(
        &self,
        name: &str,
        version: Version,
        policy: Policy,
        problem: Option<Problem>,
    ) -> Result<Arc<Deployment>, OutgoingError> {
        let version = Arc::new(version);
        let mut deployments = self.deployments.by_name.lock();
        if let Some(deployment) = deployments.get(name) {
            if *deployment.outgoing().policy() != policy {
                deployment.set_outgoing(Outgoing::new(policy)?);
            }
            deployment.replace(version, problem);
            return Ok(Arc::clone(deployment));
        }
        let outgoing = Arc::new(Outgoing::new(policy)?);
        let (log, options) = (Arc::clone(&self.log), Arc::clone(&self.options));
        let deployment = Deployment::new(name.to_owned(), version, log, options, outgoing, Arc::clone(&self.alarms));
        if let Some(problem) = problem {
            deployment.refuse(problem);
        }
        deployments.insert(name.to_owned(), Arc::clone(&deployment));
        Ok(deployment)
    }

    /// Whether a version loads, and which classes its main module exports. Nothing that runs is touched by it.
    pub async fn try_version(&self, version: &Version) -> Result<Vec<ClassInfo>, TrialError> {
        trial::load(&self.options, version).await
    }

    pub fn deployment(&self, name: &str) -> Option<Arc<Deployment>> {
        self.deployments.by_name.lock().get(name).cloned()
    }

    pub fn deployments(&self) -> Vec<Arc<Deployment>> {
        self.deployments.all()
    }

    /// Ends a deployment with its engines; what its objects stored stays. Whether there was one.
    pub fn remove(&self, name: &str) -> bool {
        let removed = self.deployments.by_name.lock().remove(name);
        let was_there = removed.is_some();
        if let Some(deployment) = removed {
            deployment.end(Problem::new("Error", "The deployment was removed."));
        }
        was_there
    }

    /// Deletes all that the objects of a namespace have stored, and their alarms; for ever, whatever is under way. May be
    /// repeated, and the next start goes on with it if this process ends in the middle. Blocks for as long as it takes to
    /// remove the files.
    pub fn delete_namespace(&self, namespace: [u8; 16]) -> io::Result<()> {
        self.log.delete_namespace(namespace)
    }

    /// Objects of a namespace that have stored something, in the order of their ids, whether or not a deployment has the
    /// namespace. Blocks for a moment.
    pub fn objects_at_rest(&self, namespace: [u8; 16], page: &Page) -> io::Result<Vec<AtRest>> {
        self.log.at_rest(namespace, page)
    }

    /// Answers another host's calls on a connection until it ends; dropped, the connection is cut. Which host it is, and
    /// whether it may call, was looked at before.
    pub fn serve_peer<C>(&self, connection: C) -> impl Future<Output = ()> + Send + use<C>
    where
        C: AsyncRead + AsyncWrite + Send + Unpin,
    {
        let deployments = Arc::clone(&self.deployments);
        peer::serve(connection, move |name: &str| deployments.by_name.lock().get(name).cloned())
    }

    /// Cuts the connections to a host: calls that are under way there fail.
    pub fn disconnect(&self, peer: Peer) {
        for deployment in self.deployments.all() {
            deployment.disconnect(peer);
        }
    }

    /// The directory says something new: objects that are not at home here any more end.
    pub fn places_changed(&self) {
        for deployment in self.deployments.all() {
            deployment.check_places();
        }
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
        for deployment in self.deployments.all() {
            deployment.stop();
        }
    }
}

async fn close_idle(deployments: Weak<Deployments>) {
    let mut ticks = tokio::time::interval(IDLE_LOOK);
    loop {
        ticks.tick().await;
        for deployment in all_of(&deployments) {
            deployment.close_idle();
        }
    }
}
