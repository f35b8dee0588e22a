//! Notebooks: a person's JupyterLab on a host that was chosen for it, with files that outlive it.
//!
//! A notebook is asked for once and can run many times; each run is an environment of its own on a host, known there by its
//! [`RunId`]. What people want is [`NotebookIntent`], what is so is [`NotebookState`]; [`next`] brings one to the other.

mod idle;
mod next;
mod placement;
mod policy;
mod shares;
mod warm;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

pub use self::{
    idle::{Asked, Facts, IDLE_CAUSE, Idle, IdleRule, Warned, idle},
    next::{Next, Work, next},
    placement::{Place, Placed, place},
    policy::{BadPolicy, Held, MAX_SIZES, NotebookPolicy, NotebookSize, OverLimit},
    shares::{Access, MAX_SHARES, Share},
    warm::{BUILD_PAUSE, MAX_WARM, Pool, WarmRun, WarmState, plan as plan_warm},
};
use crate::{
    access::{Action, Actor},
    ids::{HostId, NotebookEnvironmentId, NotebookId, PersonId, RunId, TenantId, TransactionId, VolumeId},
    labels::Labels,
    machines::MachineLimits,
    sessions::Step,
};

/// The longest requirements.txt, bytes.
pub const MAX_REQUIREMENTS_BYTES: usize = 64 * 1024;
/// The longest time that a run may take to start, its environment's building included.
pub const START_LIMIT: SignedDuration = SignedDuration::from_mins(30);
/// The longest name of an image.
pub const MAX_IMAGE_CHARS: usize = 255;
/// The socket at which JupyterLab listens, inside its environment.
pub const SOCKET: &str = "/run/user/1000/jupyter.sock";
/// The secret by whose name a run's own token is handed to the host.
pub const TOKEN: &str = "JUPYTER_TOKEN";
/// A ticket lets its browser in once, within this time.
pub const TICKET_LIFETIME: SignedDuration = SignedDuration::from_mins(1);
/// A browser that came in with a ticket need not come again for this long.
pub const VISIT_LIFETIME: SignedDuration = SignedDuration::from_hours(12);

/// What every tenant can launch without asking anybody.
pub const BASE: &str = "base";
/// The packages of [`BASE`].
pub const BASE_REQUIREMENTS: &str = "jupyterlab==4.6.*\nipykernel\nnumpy\npandas\nmatplotlib\npyarrow\n";
/// What any other environment gets besides what it asks for: without it nothing would open.
pub const NEEDED_REQUIREMENTS: &str = "jupyterlab==4.6.*\nipykernel\n";

crate::words! {
    pub enum NotebookIntent ("intent for a notebook") {
        Run = "run",
        Stop = "stop",
    }
}

crate::words! {
    pub enum NotebookState ("state of a notebook") {
        /// No host has room for it, or none fits; the cause says why.
        Waiting = "waiting",
        Starting = "starting",
        Running = "running",
        Stopping = "stopping",
        Stopped = "stopped",
        /// It could not start, or ended by itself; the cause says why. Its files are there.
        Failed = "failed",
    }
}

impl NotebookState {
    /// Whether it takes up room on its host.
    pub fn is_placed(self) -> bool {
        match self {
            Self::Starting | Self::Running | Self::Stopping => true,
            Self::Waiting | Self::Stopped | Self::Failed => false,
        }
    }
}

crate::words! {
    /// What one can do with a notebook.
    pub enum NotebookAct ("act on a notebook") {
        Open = "open",
        Start = "start",
        Stop = "stop",
        Delete = "delete",
        /// Say that it is still needed, though nothing seems to happen in it.
        Keep = "keep",
    }
}

/// What an environment is made from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Software {
    /// Python packages, as pip and uv read their list; a sandbox with them. The host keeps it by the digest of the list.
    Packages { requirements: String },
    /// A container from an image that has JupyterLab, as its engine names it.
    Image { image: String },
}

impl Software {
    /// The list, or the image's name.
    pub fn text(&self) -> &str {
        match self {
            Self::Packages { requirements } => requirements,
            Self::Image { image } => image,
        }
    }
}

/// What notebooks are made from; each host makes it once and keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotebookEnvironment {
    pub id: NotebookEnvironmentId,
    pub tenant: TenantId,
    /// Unique within the tenant.
    pub name: String,
    pub software: Software,
    /// How many started ones wait for whoever asks next.
    pub pool: Option<Pool>,
    /// `None` for what the server itself made ([`BASE`]).
    pub created_by: Option<PersonId>,
    pub created_at: Timestamp,
}

/// What the host needs to know to start a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunSpec {
    pub notebook: NotebookId,
    pub run: RunId,
    /// As people know the notebook.
    pub name: String,
    pub software: Software,
    pub limits: MachineLimits,
    /// The person's files on this host, made at the first use.
    pub volume: VolumeId,
    pub volume_bytes: u64,
}

/// What the host needs to know to start a run that waits for whoever asks next, with nobody's files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WarmSpec {
    pub run: RunId,
    /// As people know the environment.
    pub name: String,
    pub software: Software,
    pub limits: MachineLimits,
}

/// A person's files on a host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Volume {
    pub id: VolumeId,
    pub tenant: TenantId,
    pub person: PersonId,
    pub person_name: String,
    pub host: HostId,
    pub host_name: String,
    /// What there is room for.
    pub size_bytes: u64,
    pub created_at: Timestamp,
    /// The instruction that deletes them.
    pub removal: Option<TransactionId>,
    /// Why they could not be deleted.
    pub cause: Option<String>,
}

/// What a host's configuration says it has for notebooks, all together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotebookOffer {
    pub cpu_millis: u32,
    pub memory_bytes: u64,
    /// The most runs at a time.
    pub places: u32,
    /// It has an engine that runs images.
    #[serde(default)]
    pub takes_images: bool,
    /// It can put a person's files into a run that is up.
    #[serde(default)]
    pub gives_warm: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notebook {
    pub id: NotebookId,
    pub tenant: TenantId,
    pub person: PersonId,
    pub person_name: String,
    /// The first label of its address; unique on this server.
    pub name: String,
    pub environment: NotebookEnvironmentId,
    pub environment_name: String,
    pub size: NotebookSize,
    /// What its host must have.
    pub labels: Labels,
    pub intent: NotebookIntent,
    pub state: NotebookState,
    pub since: Timestamp,
    pub cause: Option<String>,
    /// The latest run, and where it is or was.
    pub run: Option<RunId>,
    pub host: Option<HostId>,
    pub host_name: Option<String>,
    /// The instruction that starts or stops the run.
    pub transaction: Option<TransactionId>,
    /// The latest that started it: what that wrote is the log.
    pub start: Option<TransactionId>,
    /// The run was warm when this notebook got it.
    pub is_given: bool,
    /// The last sign of use that is known; `None` when it does not run.
    pub active_at: Option<Timestamp>,
    /// Its person was told then that it stops if it is not used.
    pub warned_at: Option<Timestamp>,
    /// When it stops if it is not used; `None` where nobody was told.
    pub stops_at: Option<Timestamp>,
    /// How far it is shared with whoever asked; `None` for its owner, and where that was not looked up.
    pub share: Option<Access>,
    pub steps: Vec<Step>,
    pub created_at: Timestamp,
    /// Rises with each change of what it is to be or is.
    pub generation: i64,
}

impl Notebook {
    /// What `actor` can do now; the server enforces the same.
    pub fn acts(&self, actor: &Actor) -> Vec<NotebookAct> {
        let may = |action: Action| actor.permit(action).and_then(|permit| permit.check_owner(self.person)).is_ok();
        let mut acts = Vec::new();
        if let (NotebookState::Running, NotebookIntent::Run, Some(access)) =
            (self.state, self.intent, self.access(actor))
        {
            acts.push(NotebookAct::Open);
            if access == Access::Full && self.stops_at.is_some() {
                acts.push(NotebookAct::Keep);
            }
        }
        if !may(Action::NotebooksManage) {
            return acts;
        }
        match (self.intent, self.state) {
            (NotebookIntent::Run, NotebookState::Waiting | NotebookState::Starting | NotebookState::Running) => {
                acts.push(NotebookAct::Stop);
            }
            (_, NotebookState::Stopped | NotebookState::Failed) => {
                acts.extend([NotebookAct::Start, NotebookAct::Delete]);
            }
            (NotebookIntent::Stop, NotebookState::Waiting | NotebookState::Starting | NotebookState::Running)
            | (_, NotebookState::Stopping) => {}
        }
        acts
    }
}
