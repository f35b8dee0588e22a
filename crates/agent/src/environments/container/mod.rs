//! Environments in containers, of any engine with a Docker-compatible socket on this host (Docker, Podman).

mod copy;
pub mod daemon;
mod destroy;
mod error;
mod exec;
mod start;

use std::{
    collections::{BTreeMap, HashMap},
    fs, io,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use async_trait::async_trait;
use bollard::{
    API_DEFAULT_VERSION, Docker,
    query_parameters::{InspectContainerOptions, ListContainersOptionsBuilder, StatsOptionsBuilder},
};
use domain::{ids::SessionId, machines::MachineKind};
use futures_util::StreamExt;
use tokio_util::sync::CancellationToken;

pub use self::error::EngineError;
use self::error::Operation;
use super::{
    AdoptError, ConnectError, Connection, Environment, ExecError, ExecHandle, ExecSpec, Found, Inner, PrepareError,
    PrepareSpec, RevertReport, Running, StepSink, Target, Told, Transfer, Usage, Variables,
    baseline::Identity,
    process::{self, FIRST_GONE},
    record::{Ready, Scratch},
};
use crate::config::AgentConfig;

/// How long the engine may take to answer a request, seconds; pulling an image streams its progress.
const ENGINE_LIMIT_S: u64 = 60;
/// Label of containers with the session, and with the agent that made them.
const SESSION_LABEL: &str = "berth.session";
const AGENT_LABEL: &str = "berth.agent";

/// A container that is up.
#[derive(Debug)]
pub struct Instance {
    machine: String,
    /// The container's name.
    name: String,
    /// Its first process, as the host sees it.
    pid: i32,
    started_ticks: u64,
    identity: Identity,
    variables: Variables,
}

impl Instance {
    pub(super) fn first(&self) -> i32 {
        self.pid
    }
}

/// Makes containers.
#[derive(Debug)]
pub struct Container {
    /// None if the configuration names no engine: nothing is offered then.
    socket: Option<PathBuf>,
    records: PathBuf,
    /// Tells the containers of this agent from those of others on the host.
    tag: String,
    /// The program that copies.
    helper: PathBuf,
}

const NO_CONTAINER: &str = "it is no container";

impl Container {
    pub fn new(config: &AgentConfig, helper: PathBuf) -> io::Result<Self> {
        let records = config.state_dir.join("containers");
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&records)?;
        let records = fs::canonicalize(&records)?;
        Ok(Self { socket: config.container_socket.clone(), tag: super::tag(&records), records, helper })
    }

    fn scratch(&self, session: SessionId) -> Scratch {
        Scratch::new(&self.records, session)
    }

    fn socket(&self) -> Result<&Path, EngineError> {
        self.socket.as_deref().ok_or(EngineError::NotConfigured)
    }

    /// A client of the engine; it connects with the first request.
    fn engine(&self) -> Result<Docker, EngineError> {
        let socket = self.socket()?;
        Docker::connect_with_unix(&socket.to_string_lossy(), ENGINE_LIMIT_S, API_DEFAULT_VERSION)
            .map_err(|source| EngineError::Unreachable { socket: socket.to_owned(), source })
    }
}

fn name(session: SessionId) -> String {
    format!("berth-{session}")
}

fn instance(running: &Running) -> Option<&Arc<Instance>> {
    match &running.inner {
        Inner::Container(instance) => Some(instance),
        Inner::Sandbox(_) => None,
    }
}

fn is_missing(error: &bollard::errors::Error) -> bool {
    matches!(error, bollard::errors::Error::DockerResponseServerError { status_code: 404, .. })
}

#[async_trait]
impl Environment for Container {
    async fn prepare(
        &self,
        spec: PrepareSpec,
        steps: &StepSink,
        cancel: &CancellationToken,
    ) -> Result<Running, PrepareError> {
        Box::pin(start::prepare(self, spec, None, steps, cancel)).await
    }

    async fn adopt(&self, session: SessionId) -> Result<Running, AdoptError> {
        let Ready { record, pid, started_ticks, isolation } = self.scratch(session).ready(session)?;
        let inspected = match self.engine() {
            Ok(engine) => {
                let asked = engine.inspect_container(&name(session), None::<InspectContainerOptions>).await;
                asked.map(|_| ()).map_err(EngineError::of(Operation::InspectContainer))
            }
            Err(error) => Err(error),
        };
        inspected.map_err(|error| AdoptError::Gone { session, why: error.into() })?;
        let instance = Instance {
            machine: record.machine.clone(),
            name: name(session),
            pid,
            started_ticks,
            identity: record.identity,
            variables: record.variables,
        };
        let inner = Inner::Container(Arc::new(instance));
        Ok(Running { session, machine: record.machine, kind: MachineKind::Container, isolation, inner })
    }

    async fn exec(&self, running: &Running, spec: ExecSpec) -> Result<ExecHandle, ExecError> {
        let instance = instance(running).ok_or_else(|| ExecError::NotRunning(NO_CONTAINER.to_owned()))?;
        if !process::is_there(instance.pid, instance.started_ticks) {
            return Err(ExecError::NotRunning(FIRST_GONE.to_owned()));
        }
        let enter = |error: EngineError| ExecError::Enter(error.into());
        let engine = self.engine().map_err(enter)?;
        let socket = self.socket().map_err(enter)?;
        exec::exec(engine, socket, instance.clone(), spec).await
    }

    async fn copy(&self, running: &Running, transfer: Transfer) -> Result<ExecHandle, ExecError> {
        let instance = instance(running).ok_or_else(|| ExecError::NotRunning(NO_CONTAINER.to_owned()))?;
        if !process::is_there(instance.pid, instance.started_ticks) {
            return Err(ExecError::NotRunning(FIRST_GONE.to_owned()));
        }
        copy::copy(&self.helper, instance.pid, transfer).await
    }

    async fn connect(&self, running: &Running, to: &Target) -> Result<Box<dyn Connection>, ConnectError> {
        let instance = instance(running).ok_or_else(|| ConnectError::NotRunning(NO_CONTAINER.to_owned()))?;
        if !process::is_there(instance.pid, instance.started_ticks) {
            return Err(ConnectError::NotRunning(FIRST_GONE.to_owned()));
        }
        super::connect::connect(instance.pid, to).await
    }

    async fn usage(&self, running: &Running) -> io::Result<Usage> {
        let instance = instance(running).ok_or(io::ErrorKind::Unsupported)?;
        let engine = self.engine().map_err(io::Error::other)?;
        let once = StatsOptionsBuilder::new().stream(false).one_shot(true).build();
        let stats = engine.stats(&instance.name, Some(once)).next().await.ok_or(io::ErrorKind::UnexpectedEof)?;
        let stats = stats.map_err(io::Error::other)?;
        let cpu = stats.cpu_stats.and_then(|cpu| cpu.cpu_usage).and_then(|usage| usage.total_usage);
        let pids = stats.pids_stats.and_then(|pids| pids.current);
        Ok(Usage {
            cpu_ns: cpu.unwrap_or(0),
            memory_bytes: stats.memory_stats.and_then(|memory| memory.usage).unwrap_or(0),
            pids: pids.and_then(|count| u32::try_from(count).ok()).unwrap_or(0),
        })
    }

    async fn gone(&self, running: &Running) {
        if let Some(instance) = instance(running) {
            process::gone(instance.pid, instance.started_ticks).await;
        }
    }

    async fn revert_told(&self, session: SessionId, told: Told<'_>) -> RevertReport {
        destroy::revert(self, session, told).await
    }

    async fn list(&self) -> io::Result<Vec<Found>> {
        let mut found: BTreeMap<SessionId, Found> = BTreeMap::new();
        for entry in fs::read_dir(&self.records)? {
            let file_name = entry?.file_name();
            let Some(session) = file_name.to_str().and_then(|text| text.parse::<SessionId>().ok()) else { continue };
            let machine = self.scratch(session).read().ok().map(|record| record.machine);
            let adoptable = self.adopt(session).await.is_ok();
            found.insert(session, Found { session, machine, kind: MachineKind::Container, adoptable });
        }
        if self.socket.is_none() {
            return Ok(found.into_values().collect());
        }
        // A container without a record: the agent was killed in the middle of a revert.
        let filters = HashMap::from([("label".to_owned(), vec![format!("{AGENT_LABEL}={}", self.tag)])]);
        let options = ListContainersOptionsBuilder::new().all(true).filters(&filters).build();
        let listed = match self.engine() {
            Ok(engine) => {
                engine.list_containers(Some(options)).await.map_err(EngineError::of(Operation::ListContainers))
            }
            Err(error) => Err(error),
        };
        // The engine may be down while the sandboxes of this host go on: what the records say is still true.
        let summaries = listed.unwrap_or_else(|error| {
            tracing::warn!(%error, "containers without a record, if there are any, are not seen");
            Vec::new()
        });
        for summary in summaries {
            let session = summary.labels.and_then(|labels| labels.get(SESSION_LABEL)?.parse::<SessionId>().ok());
            if let Some(session) = session {
                let orphan = Found { session, machine: None, kind: MachineKind::Container, adoptable: false };
                found.entry(session).or_insert(orphan);
            }
        }
        Ok(found.into_values().collect())
    }
}
