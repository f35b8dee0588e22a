//! Environments (DESIGN D5): one trait, two implementations. [`sandbox`] runs bubblewrap on the host's own files,
//! [`container`] asks a Docker-compatible socket.
//!
//! An environment outlives the agent: it is no child that dies with it, and what is needed to find it again lies in
//! its state directory. [`Environment::revert`] destroys it and then compares the host with the baseline that was taken
//! before, and says of each check what it found.

pub mod baseline;
pub mod cgroup;
mod connect;
pub mod container;
pub mod namespace;
pub(crate) mod process;
mod record;
pub mod sandbox;
mod setup;
mod steps;
pub mod streams;
mod verify;

use std::{
    collections::BTreeMap,
    fmt, io,
    path::{Path, PathBuf},
    pin::Pin,
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use domain::{environments::EnvironmentSpec, ids::SessionId, machines::MachineKind};
use jiff::Timestamp;
pub use protocol::tunnel::{Size, Target, Transfer};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::mpsc,
};
use tokio_util::sync::CancellationToken;

use crate::config::{AgentConfig, MachineConfig};

/// How long a set-up script may take when nobody said.
pub const DEFAULT_SETUP_TIMEOUT: Duration = Duration::from_secs(600);
/// The most arguments and variables of one [`ExecSpec`] together, and the most bytes of them.
pub const MAX_EXEC_PARTS: usize = 4_096;
pub const MAX_EXEC_BYTES: usize = 512 * 1024;

/// What to make an environment for. The environment's id is its session's.
#[derive(Debug, Clone)]
pub struct PrepareSpec {
    pub session: SessionId,
    pub machine: Arc<MachineConfig>,
    /// What the reservation asks for; empty fields mean the machine's own defaults.
    pub asked: EnvironmentSpec,
    /// Variables that every process of the environment gets; may hold secrets, so they go neither to logs nor to
    /// command lines.
    pub variables: Variables,
}

/// Environment variables whose values are not shown by `Debug`.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Variables(pub BTreeMap<String, String>);

impl fmt::Debug for Variables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// An environment that is up: what the other calls need to reach it.
#[derive(Debug, Clone)]
pub struct Running {
    pub session: SessionId,
    /// The configured machine that it occupies.
    pub machine: String,
    pub kind: MachineKind,
    /// Which isolation it really has, in words for a person ("copy-on-write root, memory 2 GiB, ...").
    pub isolation: String,
    pub(crate) inner: Inner,
}

impl Running {
    /// Where the host sees the environment's files.
    pub(crate) fn root(&self) -> PathBuf {
        let pid = match &self.inner {
            Inner::Sandbox(instance) => instance.first(),
            Inner::Container(instance) => instance.first(),
        };
        PathBuf::from(format!("/proc/{pid}/root"))
    }
}

#[derive(Debug, Clone)]
pub(crate) enum Inner {
    Sandbox(Arc<sandbox::Instance>),
    Container(Arc<container::Instance>),
}

/// The steps of preparing, in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum PrepareStep {
    Baseline,
    Root,
    Limits,
    Start,
    SetUp,
}

impl PrepareStep {
    pub const ALL: [PrepareStep; 5] = [Self::Baseline, Self::Root, Self::Limits, Self::Start, Self::SetUp];

    /// The name on pages and in the protocol's steps.
    pub fn name(self) -> &'static str {
        match self {
            Self::Baseline => "baseline",
            Self::Root => "root",
            Self::Limits => "limits",
            Self::Start => "start",
            Self::SetUp => "set-up",
        }
    }
}

/// What happens to a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StepEvent {
    Began(PrepareStep),
    /// Output of the set-up script, both streams as they came.
    Output(PrepareStep, Vec<u8>),
    Done(PrepareStep, String),
    Failed(PrepareStep, String),
    Skipped(PrepareStep, String),
}

/// Where [`Environment::prepare`] reports its steps. Bounded: a slow listener slows the set-up's output, not the host.
#[derive(Debug, Clone)]
pub struct StepSink(mpsc::Sender<StepEvent>);

impl StepSink {
    /// A sink and its listening end, which holds at most 256 events.
    pub fn new() -> (Self, mpsc::Receiver<StepEvent>) {
        let (sender, receiver) = mpsc::channel(256);
        (Self(sender), receiver)
    }

    pub(crate) async fn send(&self, event: StepEvent) {
        // A listener that went away has no more interest in the steps; preparing goes on without it.
        if self.0.send(event).await.is_err() {
            tracing::debug!("nobody listens to the steps of this environment");
        }
    }
}

/// Why an environment could not be made. It may have left parts behind: call [`Environment::revert`].
#[derive(Debug, thiserror::Error)]
#[error("{}: {cause}", step.name())]
pub struct PrepareError {
    pub step: PrepareStep,
    /// Its words are for the person who waits, with what to do about it where that is known.
    #[source]
    pub cause: Cause,
    pub cancelled: bool,
}

/// What lies behind a failure, whichever part of an environment it came from.
pub type Cause = Box<dyn std::error::Error + Send + Sync>;

impl PrepareError {
    pub(crate) fn new(step: PrepareStep, cause: impl Into<Cause>) -> Self {
        Self { step, cause: cause.into(), cancelled: false }
    }
    pub(crate) fn cancelled(step: PrepareStep) -> Self {
        Self { step, cause: "cancelled".into(), cancelled: true }
    }
}

/// Why a running environment could not be found again.
#[derive(Debug, thiserror::Error)]
pub enum AdoptError {
    #[error("no environment of session {0} is on this host")]
    NotFound(SessionId),
    #[error("the environment of session {session} is gone: {why}")]
    Gone {
        session: SessionId,
        #[source]
        why: Cause,
    },
    #[error("cannot read the state of session {session}: {source}")]
    State { session: SessionId, source: io::Error },
}

/// A process to start in an environment.
#[derive(Debug, Clone, Default)]
pub struct ExecSpec {
    /// Program and arguments; the program is looked up in the environment's PATH.
    pub argv: Vec<String>,
    /// Added to the environment's own variables.
    pub env: Vec<(String, String)>,
    /// The environment's home directory if not given.
    pub cwd: Option<String>,
    /// Some: one pseudo-terminal of this size instead of three pipes.
    pub terminal: Option<Size>,
}

impl ExecSpec {
    /// A program without a terminal.
    pub fn new<S: Into<String>>(argv: impl IntoIterator<Item = S>) -> Self {
        Self { argv: argv.into_iter().map(Into::into).collect(), ..Self::default() }
    }

    pub(crate) fn check(&self) -> Result<(), ExecError> {
        let parts = self.argv.len() + self.env.len();
        let bytes = self.argv.iter().map(String::len).sum::<usize>()
            + self.env.iter().map(|(key, value)| key.len() + value.len()).sum::<usize>();
        if self.argv.first().is_none_or(String::is_empty) {
            Err(ExecError::Bad("no program is named".to_owned()))
        } else if parts > MAX_EXEC_PARTS || bytes > MAX_EXEC_BYTES {
            Err(ExecError::Bad(format!(
                "{parts} arguments and variables of {bytes} bytes: at most {MAX_EXEC_PARTS} of {MAX_EXEC_BYTES} bytes"
            )))
        } else if self.argv.iter().chain(self.env.iter().flat_map(|(k, v)| [k, v])).any(|text| text.contains('\0')) {
            Err(ExecError::Bad("an argument or variable contains a NUL byte".to_owned()))
        } else if self.env.iter().any(|(key, _)| key.is_empty() || key.contains('=')) {
            Err(ExecError::Bad("a variable's name is empty or contains '='".to_owned()))
        } else {
            Ok(())
        }
    }
}

/// The longest path and name of a copy, bytes.
const MAX_PATH_BYTES: usize = 4_096;
const MAX_NAME_BYTES: usize = 255;

/// A copy names one thing, and in a directory one that lies right in it.
pub(crate) fn check_transfer(transfer: &Transfer) -> Result<(), ExecError> {
    let (path, name) = match transfer {
        Transfer::Out { path } => (path, None),
        Transfer::FileIn { path, name, .. } | Transfer::TreeIn { path, name } => (path, Some(name)),
    };
    let is_path = !path.is_empty() && path.len() <= MAX_PATH_BYTES && !path.contains('\0');
    let is_name = |name: &String| {
        !matches!(name.as_str(), "" | "." | "..") && name.len() <= MAX_NAME_BYTES && !name.contains(['/', '\0'])
    };
    if is_path && name.is_none_or(is_name) {
        Ok(())
    } else {
        Err(ExecError::Bad("a copy needs a path of at most 4096 bytes and a plain name".to_owned()))
    }
}

#[derive(Debug, thiserror::Error)]
pub enum ExecError {
    /// The request itself is wrong.
    #[error("{0}")]
    Bad(String),
    /// The program does not exist in the environment or may not be run; shells say 127 and 126, and so do container
    /// engines that start first and look then.
    #[error("cannot run '{program}': {source}")]
    Program { program: String, source: io::Error },
    #[error("the environment is not running: {0}")]
    NotRunning(String),
    #[error("cannot enter the environment: {0}")]
    Enter(#[source] Cause),
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    Code(i32),
    /// Number of the signal that ended it.
    Signal(i32),
}

pub type Reader = Pin<Box<dyn AsyncRead + Send + Sync>>;
pub type Writer = Pin<Box<dyn AsyncWrite + Send + Sync>>;

/// A process in an environment. Dropping it hangs the process up (SIGHUP), like a terminal that is closed.
pub struct ExecHandle {
    /// Dropping it ends the process's input. With a terminal it is the terminal's input and ends nothing.
    pub stdin: Option<Writer>,
    /// With a terminal: everything.
    pub stdout: Reader,
    /// None with a terminal.
    pub stderr: Option<Reader>,
    pub control: Arc<dyn ExecControl>,
}

/// Resize, signal, wait. Cloneable, so that reading, writing and waiting can be different tasks.
#[async_trait]
pub trait ExecControl: Send + Sync {
    /// Changes the terminal's size; without a terminal it does nothing.
    async fn resize(&self, size: Size) -> io::Result<()>;
    /// Sends the signal of this number to the process.
    async fn signal(&self, signal: i32) -> io::Result<()>;
    /// How it ended; waits until it did. May be asked again.
    async fn wait(&self) -> io::Result<Exit>;
}

/// A connection to a socket that listens inside an environment.
pub trait Connection: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Connection for T {}

#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    #[error("the environment is not running: {0}")]
    NotRunning(String),
    #[error("nothing answers at {to} in the environment: {source}")]
    Refused { to: String, source: io::Error },
    #[error("'{0}' is no absolute path of a socket")]
    BadPath(String),
}

/// One thing that a revert compared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// `destroy`, `processes`, `mounts`, `files`, `users`, `ports`, `disk`.
    pub name: String,
    pub ok: bool,
    /// What was found, in words.
    pub detail: String,
}

impl Check {
    pub(crate) fn new(name: &str, ok: bool, detail: impl Into<String>) -> Self {
        Self { name: name.to_owned(), ok, detail: detail.into() }
    }
}

/// Hears of a check when it is done, and of when it began.
pub type Told<'a> = &'a (dyn Fn(&Check, Timestamp) + Send + Sync);

/// What a revert did and found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RevertReport {
    pub checks: Vec<Check>,
    pub took_ms: u64,
}

impl RevertReport {
    /// True only if every check passed: the machine is as if nobody had been there.
    pub fn is_clean(&self) -> bool {
        !self.checks.is_empty() && self.checks.iter().all(|check| check.ok)
    }
    /// Why the machine has to be quarantined, if it has to.
    pub fn reason(&self) -> Option<String> {
        if self.is_clean() {
            return None;
        }
        let failed: Vec<String> =
            self.checks.iter().filter(|c| !c.ok).map(|c| format!("{}: {}", c.name, c.detail)).collect();
        Some(if failed.is_empty() { "nothing was checked".to_owned() } else { failed.join("; ") })
    }
}

/// Something that lies on this host and belongs to a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    pub session: SessionId,
    /// None if its state cannot be read: only a revert is left.
    pub machine: Option<String>,
    pub kind: MachineKind,
    /// Whether [`Environment::adopt`] can take it up: it was prepared to the end and its first process is there.
    pub adoptable: bool,
}

/// What an environment uses now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Processor time since its start, nanoseconds.
    pub cpu_ns: u64,
    pub memory_bytes: u64,
    pub pids: u32,
}

/// Makes, reaches and reverts environments of one kind.
#[async_trait]
pub trait Environment: Send + Sync {
    /// Takes the baseline, makes the environment, runs its set-up script. On any error, and after a cancellation,
    /// the caller reverts.
    async fn prepare(
        &self,
        spec: PrepareSpec,
        steps: &StepSink,
        cancel: &CancellationToken,
    ) -> Result<Running, PrepareError>;
    /// Finds a running environment again after a restart of the agent.
    async fn adopt(&self, session: SessionId) -> Result<Running, AdoptError>;
    async fn exec(&self, running: &Running, spec: ExecSpec) -> Result<ExecHandle, ExecError>;
    /// Copies in or out as the environment's user; ends as a program does. What did not come whole changes nothing.
    async fn copy(&self, running: &Running, transfer: Transfer) -> Result<ExecHandle, ExecError>;
    /// Connects to a loopback port or Unix socket inside.
    async fn connect(&self, running: &Running, to: &Target) -> Result<Box<dyn Connection>, ConnectError>;
    async fn usage(&self, running: &Running) -> io::Result<Usage>;
    /// Waits until the environment has ended by itself (its first process is gone).
    async fn gone(&self, running: &Running);
    /// Destroys what there is of the session and verifies against its baseline. Ends within
    /// [`REVERT_LIMIT`] whatever hangs; safe to repeat, also when nothing is left.
    async fn revert(&self, session: SessionId) -> RevertReport {
        self.revert_told(session, &|_, _| {}).await
    }
    /// [`Environment::revert`] that tells of each check as soon as it is done.
    async fn revert_told(&self, session: SessionId, told: Told<'_>) -> RevertReport;
    /// Everything of this kind on the host that belongs to this agent.
    async fn list(&self) -> io::Result<Vec<Found>>;
}

/// The longest that a revert takes, hung mounts and unkillable processes included.
pub const REVERT_LIMIT: Duration = Duration::from_secs(60);

/// The kinds that this agent offers.
pub struct Environments {
    sandbox: Arc<sandbox::Sandbox>,
    notebooks: Arc<sandbox::Sandbox>,
    notebook_containers: Arc<container::Container>,
    container: Arc<container::Container>,
}

impl Environments {
    /// Makes the state directories; starts nothing.
    pub fn new(config: &AgentConfig) -> io::Result<Self> {
        Self::with_helper(config, PathBuf::from("/proc/self/exe"))
    }

    /// The same with a program of its own as the helper that enters namespaces (see [`sandbox::helper`]): for tests,
    /// whose own program is none.
    pub fn with_helper(config: &AgentConfig, helper: PathBuf) -> io::Result<Self> {
        let sandbox = sandbox::Sandbox::new(config, helper.clone())?;
        let container = container::Container::new(config, helper)?;
        Ok(Self {
            notebooks: Arc::new(sandbox.beside("notebooks")?),
            sandbox: Arc::new(sandbox),
            notebook_containers: Arc::new(container.beside("notebooks")?),
            container: Arc::new(container),
        })
    }

    pub fn of(&self, kind: MachineKind) -> Arc<dyn Environment> {
        match kind {
            MachineKind::Sandbox => self.sandbox.clone(),
            MachineKind::Container => self.container.clone(),
        }
    }

    /// The sandboxes of notebooks' runs, which occupy no machine.
    pub fn notebooks(&self) -> Arc<sandbox::Sandbox> {
        self.notebooks.clone()
    }

    /// The containers of notebooks' runs.
    pub fn notebook_containers(&self) -> Arc<container::Container> {
        self.notebook_containers.clone()
    }

    /// Everything on the host's machines that belongs to this agent: after a restart, adopt it or revert it.
    pub async fn list(&self) -> io::Result<Vec<Found>> {
        let mut found = self.sandbox.list().await?;
        found.extend(self.container.list().await?);
        Ok(found)
    }

    /// Removes what the agent has on the host beside its state directory and its environments: the control groups above
    /// theirs, if there are none. The next environment makes it again.
    pub fn tidy(&self) {
        for sandboxes in [&self.sandbox, &self.notebooks] {
            if let Err(error) = sandboxes.remove_group() {
                tracing::warn!(%error, "an empty control group is left");
            }
        }
    }
}

/// Short name for a directory of state, in control groups and labels: the same after each restart, another for another agent on the host.
pub fn tag(directory: &Path) -> String {
    let digest = Sha256::digest(directory.as_os_str().as_encoded_bytes());
    hex::encode(&digest[..6])
}
