//! Environments in bubblewrap: namespaces of their own, a copy-on-write root from the host's files or a given tree,
//! limits by control group. No image, no daemon.
//!
//! A sandbox is one long-lived first process and whatever is started into its namespaces. Its root is mounted in a
//! mount namespace of its own, so killing its processes unmounts it, and nothing of it shows on the host.

pub mod build;
mod cannot;
pub mod copy;
pub mod daemon;
mod destroy;
pub(super) mod exec;
pub(super) mod forward;
pub mod give;
pub mod helper;
pub mod mend;
mod root;
mod start;
mod syscalls;
pub mod volume;

pub(super) use root::FIRST_PROCESS;
pub(crate) use root::{HOME, PATH, USER, host_uid, is_hidden};

use std::{
    collections::BTreeMap,
    fs, io,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use async_trait::async_trait;
use domain::{ids::SessionId, machines::MachineKind};
use tokio_util::sync::CancellationToken;

use self::{
    build::Build,
    copy::Copying,
    daemon::{Daemon, Link, Placed},
    exec::Helper,
    give::Files,
    helper::{Bind, Request},
    volume::Unsupported,
};
use super::{
    AdoptError, ConnectError, Connection, Environment, ExecError, ExecHandle, ExecSpec, Found, Inner, PrepareError,
    PrepareSpec, RevertReport, Running, StepSink, Target, Told, Transfer, Usage, Variables,
    baseline::Identity,
    cgroup::{Cgroup, CgroupError, Layout},
    process::{self, FIRST_GONE},
    record::{Ready, Scratch},
};
use crate::config::AgentConfig;

/// A sandbox that is up.
#[derive(Debug)]
pub struct Instance {
    machine: String,
    /// Its first process, as the host sees it.
    pid: i32,
    started_ticks: u64,
    identity: Identity,
    variables: Variables,
    /// None where the agent may not make groups.
    cgroup: Option<Cgroup>,
    largest_file_bytes: u64,
}

impl Instance {
    pub(super) fn first(&self) -> i32 {
        self.pid
    }
    /// Whether its first process is still there and the same.
    fn is_there(&self) -> bool {
        process::is_there(self.pid, self.started_ticks)
    }
}

/// What a sandbox of a notebook has beyond its machine's configuration.
#[derive(Debug, Clone)]
pub struct Given {
    /// Mounted at the home directory. The sandbox runs as their owner, as other sandboxes with the same files do at the same
    /// time. None: a home of its own, over which files can be given later.
    pub files: Option<Files>,
    /// Shown inside beside what the machine's configuration says.
    pub shown: Vec<Bind>,
    /// No file grows beyond this or the machine's disk, whichever is more.
    pub largest_file_bytes: u64,
}

/// Makes sandboxes.
#[derive(Debug, Clone)]
pub struct Sandbox {
    state_dir: PathBuf,
    /// The directory of all sandboxes of this agent.
    sandboxes: PathBuf,
    /// What is mounted below is let go of in each sandbox's mount namespace.
    host_mounts: PathBuf,
    bwrap: PathBuf,
    helper: PathBuf,
    layout: Layout,
    /// The group above all of this agent's groups.
    group: String,
    is_root: bool,
    /// Whether the sum of what a sandbox writes can be limited.
    volumes: Result<(), Unsupported>,
}

impl Sandbox {
    /// `helper` is the program that is started as [`helper`].
    pub fn new(config: &AgentConfig, helper: PathBuf) -> io::Result<Self> {
        let sandboxes = config.state_dir.join("sandboxes");
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&sandboxes)?;
        let state_dir = fs::canonicalize(&config.state_dir)?;
        Ok(Self {
            sandboxes: state_dir.join("sandboxes"),
            group: format!("berth/{}", super::tag(&state_dir)),
            host_mounts: state_dir.join("mounts"),
            state_dir,
            bwrap: config.bwrap.clone(),
            helper,
            layout: Layout::of_host()?,
            is_root: rustix::process::geteuid().is_root(),
            volumes: volume::supported(),
        })
    }

    /// Sandboxes of another purpose, which are listed apart from these: in a directory of their own below the state
    /// directory, under groups of their own.
    pub fn beside(&self, purpose: &str) -> io::Result<Self> {
        let directory = self.state_dir.join(purpose);
        let sandboxes = directory.join("runs");
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&sandboxes)?;
        Ok(Self { sandboxes, group: format!("berth/{}", super::tag(&directory)), ..self.clone() })
    }

    /// Why nothing can be limited here, or files mounted that last.
    pub fn volumes(&self) -> &Result<(), Unsupported> {
        &self.volumes
    }

    /// A sandbox with files that outlive it.
    pub async fn prepare_given(
        &self,
        spec: PrepareSpec,
        given: &Given,
        steps: &StepSink,
        cancel: &CancellationToken,
    ) -> Result<Running, PrepareError> {
        start::prepare(self, spec, Some(given), steps, cancel).await
    }

    /// The sandbox's directory; what is put there goes with it.
    pub fn directory(&self, session: SessionId) -> PathBuf {
        self.scratch(session).path().to_owned()
    }

    /// Starts a program that outlives the agent, after writing the files and links, with its output in `log`; says which process of the host it is.
    pub async fn daemon(
        &self,
        running: &Running,
        spec: ExecSpec,
        (files, links): (Vec<Placed>, Vec<Link>),
        log: fs::File,
        log_bytes: u64,
    ) -> Result<i32, ExecError> {
        let instance = instance(running).ok_or_else(|| ExecError::NotRunning(NO_SANDBOX.to_owned()))?;
        spec.check()?;
        let enter = exec::entry(instance, spec);
        daemon::start(&self.helper, Daemon { enter, files, links, log_bytes }, log).await
    }

    /// Starts what builds for sandboxes; its output goes to `output`.
    pub(crate) async fn build(&self, build: Build, output: std::os::fd::OwnedFd) -> io::Result<Helper> {
        Helper::start(&self.helper, &Request::Build(build), vec![output]).await
    }

    /// The bubblewrap program.
    pub fn bwrap(&self) -> &Path {
        &self.bwrap
    }

    /// Where what is mounted on the host for others is, which no sandbox is to keep busy.
    pub fn host_mounts(&self) -> &Path {
        &self.host_mounts
    }

    /// A group beside those of the sandboxes.
    pub fn group(&self, name: &str) -> Option<Cgroup> {
        (self.is_root && self.layout.can_limit()).then(|| self.layout.group(&format!("{}/{name}", self.group)))
    }

    /// The names of all groups below this agent's.
    pub fn groups(&self) -> std::collections::BTreeSet<String> {
        self.layout.children(&self.group)
    }

    /// How often the kernel has ended a process of this sandbox for want of memory.
    pub fn out_of_memory(&self, running: &Running) -> u64 {
        instance(running).and_then(|instance| instance.cgroup.as_ref()).map_or(0, Cgroup::out_of_memory)
    }

    fn scratch(&self, session: SessionId) -> Scratch {
        Scratch::new(&self.sandboxes, session)
    }

    fn cgroup(&self, session: SessionId) -> Cgroup {
        self.layout.group(&format!("{}/{session}", self.group))
    }

    /// Removes the group above this agent's groups where it has none.
    pub(super) fn remove_group(&self) -> Result<(), CgroupError> {
        self.layout.group(&self.group).remove_if_empty()
    }

    fn state_dir(&self) -> &Path {
        &self.state_dir
    }
}

fn instance(running: &Running) -> Option<&Arc<Instance>> {
    match &running.inner {
        Inner::Sandbox(instance) => Some(instance),
        Inner::Container(_) => None,
    }
}

const NO_SANDBOX: &str = "it is no sandbox";

#[async_trait]
impl Environment for Sandbox {
    async fn prepare(
        &self,
        spec: PrepareSpec,
        steps: &StepSink,
        cancel: &CancellationToken,
    ) -> Result<Running, PrepareError> {
        start::prepare(self, spec, None, steps, cancel).await
    }

    async fn adopt(&self, session: SessionId) -> Result<Running, AdoptError> {
        let Ready { record, pid, started_ticks, isolation } = self.scratch(session).ready(session)?;
        let instance = Instance {
            machine: record.machine.clone(),
            pid,
            started_ticks,
            cgroup: record.identity.cgroup.as_ref().map(|name| self.layout.group(name)),
            identity: record.identity,
            variables: record.variables,
            largest_file_bytes: record.largest_file_bytes,
        };
        let inner = Inner::Sandbox(Arc::new(instance));
        Ok(Running { session, machine: record.machine, kind: MachineKind::Sandbox, isolation, inner })
    }

    async fn exec(&self, running: &Running, spec: ExecSpec) -> Result<ExecHandle, ExecError> {
        let instance = instance(running).ok_or_else(|| ExecError::NotRunning(NO_SANDBOX.to_owned()))?;
        if !instance.is_there() {
            return Err(ExecError::NotRunning(FIRST_GONE.to_owned()));
        }
        exec::exec(&self.helper, instance, spec).await
    }

    async fn copy(&self, running: &Running, transfer: Transfer) -> Result<ExecHandle, ExecError> {
        let instance = instance(running).ok_or_else(|| ExecError::NotRunning(NO_SANDBOX.to_owned()))?;
        if !instance.is_there() {
            return Err(ExecError::NotRunning(FIRST_GONE.to_owned()));
        }
        let order = Copying {
            procs_files: instance.cgroup.as_ref().map(|group| group.procs_files()).unwrap_or_default(),
            pid: instance.pid,
            uid: root::UID,
            gid: root::UID,
            cwd: root::HOME.to_owned(),
            largest_file_bytes: Some(instance.largest_file_bytes),
            transfer,
        };
        exec::copy(&self.helper, order).await
    }

    async fn connect(&self, running: &Running, to: &Target) -> Result<Box<dyn Connection>, ConnectError> {
        let instance = instance(running).ok_or_else(|| ConnectError::NotRunning(NO_SANDBOX.to_owned()))?;
        if !instance.is_there() {
            return Err(ConnectError::NotRunning(FIRST_GONE.to_owned()));
        }
        super::connect::connect(instance.pid, to).await
    }

    async fn usage(&self, running: &Running) -> io::Result<Usage> {
        let cgroup = instance(running).and_then(|instance| instance.cgroup.clone());
        cgroup.ok_or_else(|| io::Error::from(io::ErrorKind::Unsupported))?.usage()
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
        for entry in fs::read_dir(&self.sandboxes)? {
            let name = entry?.file_name();
            let Some(session) = name.to_str().and_then(|text| text.parse::<SessionId>().ok()) else { continue };
            let machine = self.scratch(session).read().ok().map(|record| record.machine);
            let adoptable = self.adopt(session).await.is_ok();
            found.insert(session, Found { session, machine, kind: MachineKind::Sandbox, adoptable });
        }
        // A group without a directory: the agent was killed in the middle of a revert.
        for name in self.layout.children(&self.group) {
            if let Ok(session) = name.parse::<SessionId>() {
                found.entry(session).or_insert(Found {
                    session,
                    machine: None,
                    kind: MachineKind::Sandbox,
                    adoptable: false,
                });
            }
        }
        Ok(found.into_values().collect())
    }
}
