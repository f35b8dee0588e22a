//! Notebooks: a person's JupyterLab on a host that was chosen for it, with files that outlive it.
//!
//! A notebook is asked for once and can run many times; each run is an environment of its own on a host, known there by its
//! [`RunId`]. What people want is [`NotebookIntent`], what is so is [`NotebookState`]; [`next`] brings one to the other.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::{
    access::{Action, Actor},
    hosts::{HostIntent, HostLink},
    ids::{HostId, NotebookEnvironmentId, NotebookId, PersonId, RunId, TenantId, TransactionId, VolumeId},
    instructions::TransactionState,
    labels::Labels,
    machines::MachineLimits,
    sessions::Step,
};

/// The longest requirements.txt, bytes.
pub const MAX_REQUIREMENTS_BYTES: usize = 64 * 1024;
/// The longest time that a run may take to start, its environment's building included.
pub const START_LIMIT: SignedDuration = SignedDuration::from_mins(30);
/// The most notebooks of one person, stopped ones included.
pub const MAX_NOTEBOOKS: u32 = 50;
/// How much a person may keep on one host.
pub const VOLUME_BYTES: u64 = 10 << 30;
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
    }
}

crate::words! {
    pub enum NotebookSize ("size of a notebook") {
        Small = "small",
        Medium = "medium",
        Large = "large",
    }
}

impl NotebookSize {
    /// What a run of this size may use; its disk is what it writes outside of the person's files.
    pub fn limits(self) -> MachineLimits {
        let (cpu_millis, memory_gib) = match self {
            Self::Small => (1_000, 2),
            Self::Medium => (2_000, 4),
            Self::Large => (4_000, 16),
        };
        MachineLimits { cpu_millis, memory_bytes: memory_gib << 30, pids: 1_024, disk_bytes: 4 << 30 }
    }
}

/// Python packages by whose list an environment is made; the host keeps it by the digest of the list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotebookEnvironment {
    pub id: NotebookEnvironmentId,
    pub tenant: TenantId,
    /// Unique within the tenant.
    pub name: String,
    /// As pip and uv read it.
    pub requirements: String,
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
    pub requirements: String,
    pub limits: MachineLimits,
    /// The person's files on this host, made at the first use.
    pub volume: VolumeId,
    pub volume_bytes: u64,
}

/// What a host's configuration says it has for notebooks, all together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotebookOffer {
    pub cpu_millis: u32,
    pub memory_bytes: u64,
    /// The most runs at a time.
    pub places: u32,
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
        if self.state == NotebookState::Running && self.intent == NotebookIntent::Run && may(Action::NotebooksOpen) {
            acts.push(NotebookAct::Open);
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

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "'{0}' cannot be a notebook's name, which is part of its address: 1 to 40 small letters, digits or '-', beginning with a letter and not ending with '-'"
)]
pub struct BadName(String);

/// Names that an address of the server itself may have.
const RESERVED: [&str; 8] = ["www", "api", "apps", "portal", "berth", "localhost", "admin", "mail"];

pub fn check_name(name: &str) -> Result<(), BadName> {
    let fits = name.len() <= 40
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && !name.ends_with('-')
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
        && !name.starts_with("xn--")
        && !RESERVED.contains(&name);
    if fits { Ok(()) } else { Err(BadName(name.chars().take(80).collect())) }
}

/// A host as placement sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    pub host: HostId,
    pub name: String,
    pub labels: Labels,
    pub intent: HostIntent,
    pub link: HostLink,
    /// `None`: the host takes no notebooks.
    pub offer: Option<NotebookOffer>,
    pub used_cpu_millis: u64,
    pub used_memory_bytes: u64,
    pub used_places: u32,
    /// The person's files are here.
    pub has_files: bool,
}

impl Place {
    fn fits(&self, size: MachineLimits) -> bool {
        self.offer.is_some_and(|offer| {
            self.used_places < offer.places
                && self.used_cpu_millis + u64::from(size.cpu_millis) <= u64::from(offer.cpu_millis)
                && self.used_memory_bytes + size.memory_bytes <= offer.memory_bytes
        })
    }
    fn could_ever_fit(&self, size: MachineLimits) -> bool {
        self.offer.is_some_and(|offer| {
            offer.places > 0 && size.cpu_millis <= offer.cpu_millis && size.memory_bytes <= offer.memory_bytes
        })
    }
    fn free_memory(&self) -> u64 {
        self.offer.map_or(0, |offer| offer.memory_bytes.saturating_sub(self.used_memory_bytes))
    }
}

/// The host for a run, or why there is none now. Who has files goes where they are; else the host with the most free memory
/// takes it, of equals the first by name.
pub fn place<'a>(places: &'a [Place], labels: &Labels, size: NotebookSize) -> Result<&'a Place, String> {
    let limits = size.limits();
    let offering: Vec<&Place> = places.iter().filter(|place| place.offer.is_some()).collect();
    if offering.is_empty() {
        return Err("no host takes notebooks; an admin adds [notebooks] to a host's configuration".to_owned());
    }
    let at_home: Vec<&Place> = offering.iter().copied().filter(|place| place.has_files).collect();
    let (among, whose) = if at_home.is_empty() {
        (offering, "no host that takes notebooks")
    } else {
        (at_home, "your files are on a host that")
    };
    let fitting: Vec<&Place> = among.iter().copied().filter(|place| labels.select(&place.labels)).collect();
    if fitting.is_empty() {
        let lacks = if whose.starts_with("no") { "has" } else { "does not have" };
        return Err(format!("{whose} {lacks} the labels {labels}"));
    }
    if !fitting.iter().any(|place| place.could_ever_fit(limits)) {
        let lacks = if whose.starts_with("no") { "is large enough" } else { "is too small" };
        return Err(format!("{whose} {lacks} for the size {size}"));
    }
    let ready: Vec<&Place> = fitting
        .iter()
        .copied()
        .filter(|place| place.link == HostLink::Online && place.intent == HostIntent::InService)
        .collect();
    if ready.is_empty() {
        let names: Vec<&str> = fitting.iter().take(3).map(|place| place.name.as_str()).collect();
        return Err(format!("waits for a host to be online and in service: {}", names.join(", ")));
    }
    ready
        .into_iter()
        .filter(|place| place.fits(limits))
        .min_by(|a, b| b.free_memory().cmp(&a.free_memory()).then_with(|| a.name.cmp(&b.name)))
        .ok_or_else(|| format!("waits for room for the size {size}: other notebooks have it"))
}

/// How the instruction of the notebook stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Work {
    pub state: TransactionState,
    pub cause: Option<String>,
}

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    Wait,
    /// Look for a host and send the instruction to start.
    Place,
    /// The run is up.
    Run,
    /// Send the instruction to stop.
    Stop,
    /// Nothing of it is on a host.
    Stopped,
    /// Nothing of it is on a host, and that is not as it should be.
    Fail {
        cause: String,
    },
    /// Nothing of it is on a host any more: look for one again.
    Again {
        cause: String,
    },
}

/// Decides. Total: every state has an answer, and the same facts have the same one.
pub fn next(notebook: &Notebook, work: Option<&Work>) -> Next {
    use NotebookState::{Failed, Running, Starting, Stopped, Stopping, Waiting};
    use TransactionState as T;
    match (notebook.intent, notebook.state) {
        (_, Stopped | Failed) => Next::Wait,
        (NotebookIntent::Run, Waiting) => Next::Place,
        (NotebookIntent::Stop, Waiting) => Next::Stopped,
        (NotebookIntent::Stop, Starting | Running) => Next::Stop,
        (NotebookIntent::Run, Running) => Next::Wait,
        (NotebookIntent::Run, Starting) => match work {
            None => Next::Again { cause: "its start was lost".to_owned() },
            Some(Work { state, cause }) => match state {
                T::Waiting | T::Offered | T::Claimed | T::Running => Next::Wait,
                T::Done => Next::Run,
                T::Expired | T::NeverDelivered => Next::Again { cause: "its host did not come for it".to_owned() },
                // What may be left of it there is ended before it is tried again.
                T::Unknown => Next::Stop,
                T::Failed | T::Cancelled => {
                    Next::Fail { cause: cause.clone().unwrap_or_else(|| format!("its start ended as {state}")) }
                }
            },
        },
        (intent, Stopping) => match work {
            None => Next::Stop,
            Some(Work { state, cause }) => match state {
                T::Waiting | T::Offered | T::Claimed | T::Running => Next::Wait,
                T::Done => match intent {
                    NotebookIntent::Stop => Next::Stopped,
                    NotebookIntent::Run => Next::Again { cause: "its start was interrupted".to_owned() },
                },
                T::Expired | T::NeverDelivered | T::Unknown | T::Cancelled => Next::Stop,
                T::Failed => Next::Fail { cause: cause.clone().unwrap_or_else(|| "it could not be ended".to_owned()) },
            },
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn a_place(name: &str, memory_gib: u64) -> Place {
        Place {
            host: HostId::new(),
            name: name.to_owned(),
            labels: "room=b4".parse().unwrap(),
            intent: HostIntent::InService,
            link: HostLink::Online,
            offer: Some(NotebookOffer { cpu_millis: 4_000, memory_bytes: memory_gib << 30, places: 2 }),
            used_cpu_millis: 0,
            used_memory_bytes: 0,
            used_places: 0,
            has_files: false,
        }
    }

    fn placed(places: &[Place], labels: &str, size: NotebookSize) -> Result<String, String> {
        place(places, &labels.parse().unwrap(), size).map(|place| place.name.clone())
    }

    #[test]
    fn the_freest_host_that_fits_takes_it_and_files_bind() {
        let (mut a, b) = (a_place("a", 8), a_place("b", 6));
        assert_eq!(placed(&[b.clone(), a.clone()], "", NotebookSize::Small), Ok("a".to_owned()));
        a.used_memory_bytes = 4 << 30;
        assert_eq!(placed(&[a.clone(), b.clone()], "", NotebookSize::Small), Ok("b".to_owned()));
        a.has_files = true;
        assert_eq!(placed(&[a.clone(), b.clone()], "", NotebookSize::Small), Ok("a".to_owned()));
        a.used_places = 2;
        let why = placed(&[a, b], "", NotebookSize::Small).unwrap_err();
        assert!(why.starts_with("waits for room"), "{why}");
    }

    #[test]
    fn where_none_fits_the_reason_is_said() {
        let mut a = a_place("a", 8);
        let why = |places: &[Place], labels, size| placed(places, labels, size).unwrap_err();
        assert!(why(&[], "", NotebookSize::Small).contains("no host takes notebooks"));
        assert_eq!(
            why(&[a.clone()], "gpu=a100", NotebookSize::Small),
            "no host that takes notebooks has the labels gpu=a100"
        );
        assert_eq!(
            why(&[a.clone()], "", NotebookSize::Large),
            "no host that takes notebooks is large enough for the size large"
        );
        a.has_files = true;
        assert_eq!(
            why(&[a.clone()], "", NotebookSize::Large),
            "your files are on a host that is too small for the size large"
        );
        a.link = HostLink::Offline;
        assert_eq!(why(&[a], "", NotebookSize::Small), "waits for a host to be online and in service: a");
    }

    #[test]
    fn names_are_parts_of_an_address() {
        for good in ["a", "ann-1", "x2"] {
            assert_eq!(check_name(good), Ok(()), "{good}");
        }
        for bad in ["", "A", "1a", "a-", "a.b", "www", "xn--a", "a_b", &"a".repeat(41)] {
            assert!(check_name(bad).is_err(), "{bad}");
        }
    }

    fn notebook(intent: NotebookIntent, state: NotebookState) -> Notebook {
        Notebook {
            id: NotebookId::new(),
            tenant: TenantId::new(),
            person: PersonId::new(),
            person_name: "Ann".to_owned(),
            name: "ann".to_owned(),
            environment: NotebookEnvironmentId::new(),
            environment_name: BASE.to_owned(),
            size: NotebookSize::Small,
            labels: Labels::default(),
            intent,
            state,
            since: Timestamp::UNIX_EPOCH,
            cause: None,
            run: None,
            host: None,
            host_name: None,
            transaction: None,
            start: None,
            steps: Vec::new(),
            created_at: Timestamp::UNIX_EPOCH,
            generation: 1,
        }
    }

    #[test]
    fn whatever_happens_a_stop_ends_in_stopped() {
        for state in [NotebookState::Starting, NotebookState::Running] {
            assert_eq!(next(&notebook(NotebookIntent::Stop, state), None), Next::Stop, "{state}");
        }
        assert_eq!(next(&notebook(NotebookIntent::Stop, NotebookState::Waiting), None), Next::Stopped);
        let stopping = notebook(NotebookIntent::Stop, NotebookState::Stopping);
        for (state, expected) in [
            (TransactionState::Offered, Next::Wait),
            (TransactionState::Expired, Next::Stop),
            (TransactionState::Unknown, Next::Stop),
            (TransactionState::Done, Next::Stopped),
        ] {
            assert_eq!(next(&stopping, Some(&Work { state, cause: None })), expected, "{state}");
        }
        let interrupted = notebook(NotebookIntent::Run, NotebookState::Stopping);
        let done = Work { state: TransactionState::Done, cause: None };
        assert!(matches!(next(&interrupted, Some(&done)), Next::Again { .. }));
    }

    #[test]
    fn a_start_that_no_host_came_for_is_tried_elsewhere() {
        let starting = notebook(NotebookIntent::Run, NotebookState::Starting);
        let after = |state| next(&starting, Some(&Work { state, cause: Some("no memory".to_owned()) }));
        assert_eq!(after(TransactionState::Claimed), Next::Wait);
        assert_eq!(after(TransactionState::Done), Next::Run);
        assert!(matches!(after(TransactionState::NeverDelivered), Next::Again { .. }));
        assert_eq!(after(TransactionState::Failed), Next::Fail { cause: "no memory".to_owned() });
        assert_eq!(after(TransactionState::Unknown), Next::Stop);
    }
}
