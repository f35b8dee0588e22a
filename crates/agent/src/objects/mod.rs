//! Object workers on this host: the objects' host with its storage and engines, kept to the server's plan, and the ways in:
//! the object port, streams of the tunnel, and other hosts.
//!
//! With the server away all goes on by the plan that was kept.

mod apply;
mod bar;
mod code;
mod control;
mod follow;
pub mod group;
mod kept;
mod metrics;
pub mod peers;
mod places;
mod port;
mod refused;
mod server;
pub mod tls;
mod tried;

use std::{
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use domain::{deployments::ObjectOffer, hosts::ObjectMetrics};
use objects::host::{
    ErrorPages, Host, HostOptions, OpenHostError, Program,
    child::COMMAND,
    deployment::{Deployment, IdleTimes},
    elsewhere::Elsewhere,
    log::LogOptions,
};
use protocol::tunnel::Door;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpListener,
    sync::watch,
};
use tokio_util::{
    sync::CancellationToken,
    task::{TaskTracker, task_tracker::TaskTrackerToken},
};

use self::{
    apply::Applier,
    follow::Rounds,
    group::{Group, GroupError},
    kept::{Kept, KeptError},
    peers::Peers,
    places::{Dialing, Places},
};
use crate::{
    clock,
    config::{AgentConfig, ObjectsConfig},
    dial::Dialer,
    identity::Identity,
};

/// WebSockets of clients, of one deployment.
const CLIENT_SOCKETS: usize = 32_768;
/// What is said to whoever asks a host that was revoked.
const REVOKED: &str = "its certificate was revoked";
/// How long connections may take to end with the agent.
const END_LIMIT: Duration = Duration::from_secs(5);

#[derive(Debug, thiserror::Error)]
pub enum ObjectsError {
    #[error("cannot use the directory of objects: {0}")]
    Directory(#[source] io::Error),
    #[error(transparent)]
    Kept(#[from] KeptError),
    #[error("engines cannot be limited: {0}")]
    Group(#[from] GroupError),
    #[error("cannot find this program: {0}")]
    Program(#[source] io::Error),
    #[error("cannot open the objects' storage: {0}")]
    Host(#[from] OpenHostError),
    #[error("cannot listen on {address}, which [objects] says: {source}")]
    Listen { address: SocketAddr, source: io::Error },
    #[error("the work was interrupted: {0}")]
    Interrupted(#[from] tokio::task::JoinError),
}

/// All that objects have on this host is below it.
pub fn directory(state_dir: &Path) -> PathBuf {
    state_dir.join("objects")
}

pub struct Objects {
    offer: ObjectOffer,
    applier: Arc<Applier>,
    sampler: Mutex<metrics::Sampler>,
    rounds: Arc<Rounds>,
    group: Group,
    /// Cancelled when the agent is asked to stop.
    stop: CancellationToken,
    /// How long what is under way then may take.
    drain: Duration,
    /// Clients' requests.
    requests: TaskTracker,
    tasks: TaskTracker,
    /// Cancelled when nothing is under way any more.
    ended: CancellationToken,
}

impl Objects {
    /// None where the configuration has no `[objects]`. Runs what the kept plan says, and follows the server's, until `stop`.
    pub async fn open(
        config: &AgentConfig,
        identity: &Identity,
        dialer: watch::Receiver<Dialer>,
        stop: &CancellationToken,
    ) -> Result<Option<Arc<Self>>, ObjectsError> {
        let Some(wanted) = &config.objects else { return Ok(None) };
        // First: what is listened at twice is a mistake that must not take the storage from another agent.
        let object_port = listen(wanted.listen).await?;
        let peer_port = listen(wanted.peer_listen).await?;
        std::fs::create_dir_all(&config.state_dir).map_err(ObjectsError::Directory)?;
        let state_dir = std::fs::canonicalize(&config.state_dir).map_err(ObjectsError::Directory)?;
        let directory = directory(&state_dir);
        let kept = Kept::open(&directory)?;
        let (rounds, peers) = (Arc::new(Rounds::default()), Arc::new(Peers::default()));
        let places = Arc::new(Places::new(identity.host, rounds.clone()));
        let elsewhere = Elsewhere { directory: places.clone(), dial: Arc::new(Dialing(peers.clone())) };
        let (group, host) = open_host(directory, wanted.clone(), elsewhere).await?;
        let applier = Arc::new(Applier::new(Arc::new(host), places, peers, kept, identity.clone(), wanted));
        let (requests, tasks, ended) = (TaskTracker::new(), TaskTracker::new(), CancellationToken::new());
        if let Err(error) = applier.begin().await {
            tracing::warn!("not all of the plan that was kept runs: {error}");
            // A trial may take long: what does run is not to wait for it.
            tasks.spawn(ended.clone().run_until_cancelled_owned(applier.clone().try_kept()));
        }
        let proxies = Arc::new(wanted.trusted_proxies.clone());
        let serving = port::serve_clients(object_port, applier.clone(), proxies, stop.clone());
        requests.spawn(ended.clone().run_until_cancelled_owned(serving));
        let serving = port::serve_peers(peer_port, applier.clone(), stop.clone());
        tasks.spawn(ended.clone().run_until_cancelled_owned(serving));
        tasks.spawn(follow::follow(rounds.clone(), applier.clone(), dialer, stop.clone()));
        tracing::info!(requests = %wanted.listen, hosts = %wanted.peer_listen, "objects run here");
        let offer = ObjectOffer { address: wanted.peer_address.clone() };
        let sampler = Mutex::default();
        let (stop, drain) = (stop.clone(), wanted.drain);
        let this = Self { offer, applier, sampler, rounds, group, stop, drain, requests, tasks, ended };
        Ok(Some(Arc::new(this)))
    }

    /// What the server is told.
    pub fn offer(&self) -> ObjectOffer {
        self.offer.clone()
    }

    /// For the host's next reading.
    pub fn metrics(&self) -> ObjectMetrics {
        self.sampler.lock().unwrap_or_else(PoisonError::into_inner).sample(&self.applier.host)
    }

    pub fn link_is_up(&self, up: bool) {
        self.rounds.link_is_up(up);
    }

    /// The server says that its plan may have changed.
    pub fn plan_changed(&self) {
        self.rounds.nudge();
    }

    /// Connections to other hosts begin with this certificate from now on.
    pub fn renewed(&self, identity: &Identity) {
        if let Err(error) = self.applier.renewed(identity) {
            tracing::error!(%error, "other hosts are shown the certificate of before");
        }
    }

    /// The server says that this host may do nothing for it any more.
    pub async fn revoked(&self) {
        if let Err(error) = self.applier.bar(REVOKED).await {
            tracing::error!(%error, "that objects are not to run here any more is forgotten with the agent");
        }
    }

    /// Counts as a request that is under way for as long as it is held. None if no more are taken.
    pub fn admit(&self, door: Door) -> Option<TaskTrackerToken> {
        match door {
            Door::Requests if self.stop.is_cancelled() => None,
            Door::Requests => Some(self.requests.token()),
            // The server's questions may wait for long, and nobody waits for them.
            Door::Control => Some(TaskTracker::new().token()),
        }
    }

    /// Serves a stream of the tunnel to its end.
    pub async fn serve<S>(&self, door: Door, stream: S)
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        match door {
            Door::Requests => port::serve_stream(stream, self.applier.clone(), self.stop.clone()).await,
            Door::Control => control::serve(stream, self.applier.clone()).await,
        }
    }

    /// After `stop`: ends when what is under way is done, or has taken too long.
    pub async fn drain(&self) {
        self.requests.close();
        let deployments = self.applier.host.deployments();
        let drained = async {
            tokio::join!(
                futures_util::future::join_all(deployments.iter().map(Deployment::drain)),
                self.requests.wait()
            );
        };
        if tokio::time::timeout(self.drain, drained).await.is_err() {
            let limit_s = self.drain.as_secs();
            tracing::warn!(limit_s, "what objects are at takes too long to wait for: it is cut");
        }
        self.ended.cancel();
    }

    /// After [`Self::drain`]: ends the engines, and removes what limits them.
    pub async fn end(self: Arc<Self>) {
        self.tasks.close();
        if tokio::time::timeout(END_LIMIT, self.tasks.wait()).await.is_err() {
            tracing::warn!("connections to objects could not be ended");
        }
        for deployment in self.applier.host.deployments() {
            deployment.stop();
        }
        let removed = tokio::task::spawn_blocking(move || self.group.remove()).await;
        match removed {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "the engines' control group is left"),
            Err(error) => tracing::warn!(%error, "the engines' control group is left"),
        }
    }
}

async fn listen(address: SocketAddr) -> Result<TcpListener, ObjectsError> {
    TcpListener::bind(address).await.map_err(|source| ObjectsError::Listen { address, source })
}

async fn open_host(
    directory: PathBuf,
    config: ObjectsConfig,
    elsewhere: Elsewhere,
) -> Result<(Group, Host), ObjectsError> {
    tokio::task::spawn_blocking(move || {
        let group = Group::make(&directory, &config)?;
        if group.files().is_empty() {
            tracing::warn!("engines are limited one by one and not together: the agent may make no control groups");
        }
        let mut program = Program::this(COMMAND, config.memory_bytes).map_err(ObjectsError::Program)?;
        program.control_groups = group.files();
        let host = Host::open(HostOptions {
            directory: directory.join("storage"),
            log: LogOptions::default(),
            program,
            idle: IdleTimes { hibernate: config.hibernate, evict: config.evict },
            error_pages: ErrorPages::Plain,
            sockets: CLIENT_SOCKETS,
            console: Box::new(|_line| {}),
            elsewhere: Some(elsewhere),
            clock: Box::new(|| clock::now().as_millisecond()),
        })?;
        Ok((group, host))
    })
    .await?
}
