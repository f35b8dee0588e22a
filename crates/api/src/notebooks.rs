//! Notebooks, as REST v1, the command line and the pages see them.

use domain::{
    access::Actor,
    notebooks::{Access, NotebookAct, NotebookIntent, NotebookState, Software, WarmState},
};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::sessions::Step;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Notebook {
    pub id: Uuid,
    /// The first part of its address.
    pub name: String,
    pub person: String,
    pub person_id: Uuid,
    /// The environment's name.
    pub environment: String,
    pub environment_id: Uuid,
    /// The size's name, and what it was when this was launched or started last.
    pub size: String,
    pub cpu_millis: u32,
    pub memory_bytes: u64,
    /// What its host must have, `key=value,key=value`.
    pub labels: String,
    /// What is wanted: `run` or `stop`.
    pub intent: NotebookIntent,
    pub state: NotebookState,
    /// RFC 3339; when it entered its state.
    pub since: String,
    /// Why it waits, or why it ended.
    pub cause: Option<String>,
    /// Where it runs, or ran last.
    pub host: Option<String>,
    pub host_id: Option<Uuid>,
    /// RFC 3339; the last sign of use that is known, while it runs.
    pub active_at: Option<String>,
    /// RFC 3339; when it stops if nothing runs in it before. Null where it is in use, or is never stopped for that.
    pub stops_at: Option<String>,
    /// The caller's.
    pub is_own: bool,
    /// How far the caller gets in; null: not at all.
    pub access: Option<Access>,
    /// Of the latest start.
    pub steps: Vec<Step>,
    /// RFC 3339.
    pub created_at: String,
    /// What the caller can do with it now.
    pub actions: Vec<NotebookAct>,
}

impl Notebook {
    /// As `actor` sees it.
    pub fn new(notebook: domain::notebooks::Notebook, actor: &Actor) -> Self {
        Self {
            actions: notebook.acts(actor),
            access: notebook.access(actor),
            is_own: notebook.person == actor.person,
            active_at: notebook.active_at.map(|at| at.to_string()),
            stops_at: notebook.stops_at.map(|at| at.to_string()),
            id: notebook.id.uuid(),
            name: notebook.name,
            person: notebook.person_name,
            person_id: notebook.person.uuid(),
            environment: notebook.environment_name,
            environment_id: notebook.environment.uuid(),
            size: notebook.size.name,
            cpu_millis: notebook.size.cpu_millis,
            memory_bytes: notebook.size.memory_bytes,
            labels: notebook.labels.to_string(),
            intent: notebook.intent,
            state: notebook.state,
            since: notebook.since.to_string(),
            cause: notebook.cause,
            host: notebook.host_name,
            host_id: notebook.host.map(domain::ids::HostId::uuid),
            steps: notebook.steps.into_iter().map(Step::from).collect(),
            created_at: notebook.created_at.to_string(),
        }
    }
}

/// `POST /notebooks`. Whatever is left away is chosen.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct LaunchNotebook {
    /// The first part of its address: small letters, digits and `-`. Made up where it is left away.
    #[cfg_attr(feature = "openapi", schema(min_length = 1, max_length = 40))]
    pub name: Option<String>,
    /// Name or id of an environment; `base` where it is left away.
    pub environment: Option<String>,
    /// A size of the policy; its first where it is left away.
    #[cfg_attr(feature = "openapi", schema(min_length = 1, max_length = 32))]
    pub size: Option<String>,
    /// `key=value,key=value`: what its host must have.
    pub labels: Option<String>,
}

/// `POST /notebooks/{id}/start`. May be left away.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct StartNotebook {
    /// Another size from now on.
    #[cfg_attr(feature = "openapi", schema(min_length = 1, max_length = 32))]
    pub size: Option<String>,
}

/// With whom a notebook is shared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NotebookShare {
    pub person_id: Uuid,
    pub person: String,
    pub email: String,
    pub access: Access,
    /// RFC 3339.
    pub created_at: String,
}

impl From<domain::notebooks::Share> for NotebookShare {
    fn from(share: domain::notebooks::Share) -> Self {
        Self {
            person_id: share.person.uuid(),
            person: share.person_name,
            email: share.person_email,
            access: share.access,
            created_at: share.created_at.to_string(),
        }
    }
}

/// `GET /notebooks/{id}/shares`: 50 at most.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NotebookShares {
    pub items: Vec<NotebookShare>,
}

/// `PUT /notebooks/{id}/shares/{person}`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ShareNotebook {
    /// `read`: sees all documents and files of the owner's home, and what runs; `full`: also runs code as the owner, and changes
    /// and deletes files.
    pub access: Access,
}

/// A piece of what a notebook's latest run wrote.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NotebookLogPiece {
    pub seq: i64,
    pub content: String,
}

/// `GET /notebooks/{id}/logs`: the first 256 KiB.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NotebookLogs {
    pub items: Vec<NotebookLogPiece>,
    /// Nothing follows before it is started again.
    pub complete: bool,
}

/// Started ones of an environment that wait for whoever asks next.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NotebookPool {
    #[cfg_attr(feature = "openapi", schema(minimum = 0, maximum = 50))]
    pub count: u32,
    /// A size of the policy.
    #[cfg_attr(feature = "openapi", schema(min_length = 1, max_length = 32))]
    pub size: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NotebookEnvironment {
    pub id: Uuid,
    pub name: String,
    /// Python packages as pip and uv read them (requirements.txt); null where it is an image.
    pub requirements: Option<String>,
    /// A container image that has JupyterLab; null where it is a list of packages.
    pub image: Option<String>,
    /// How many started ones wait for whoever asks next.
    pub pool: Option<NotebookPool>,
    /// Null for what comes with the server.
    pub created_by: Option<Uuid>,
    /// RFC 3339.
    pub created_at: String,
}

impl From<domain::notebooks::NotebookEnvironment> for NotebookEnvironment {
    fn from(environment: domain::notebooks::NotebookEnvironment) -> Self {
        let (requirements, image) = match environment.software {
            Software::Packages { requirements } => (Some(requirements), None),
            Software::Image { image } => (None, Some(image)),
        };
        Self {
            id: environment.id.uuid(),
            name: environment.name,
            requirements,
            image,
            pool: environment.pool.map(|pool| NotebookPool { count: pool.count, size: pool.size }),
            created_by: environment.created_by.map(domain::ids::PersonId::uuid),
            created_at: environment.created_at.to_string(),
        }
    }
}

/// `POST /notebook-environments`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CreateNotebookEnvironment {
    #[cfg_attr(feature = "openapi", schema(min_length = 1, max_length = 63))]
    pub name: String,
    /// A package a line, no options. JupyterLab and ipykernel are added.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(max_length = 65_536))]
    pub requirements: Option<String>,
    /// A container image that has JupyterLab, in place of packages.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(min_length = 1, max_length = 255))]
    pub image: Option<String>,
}

/// What a notebook may use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NotebookSize {
    #[cfg_attr(feature = "openapi", schema(min_length = 1, max_length = 32))]
    pub name: String,
    /// 1,000 are one CPU.
    #[cfg_attr(feature = "openapi", schema(minimum = 100, maximum = 1_024_000))]
    pub cpu_millis: u32,
    #[cfg_attr(feature = "openapi", schema(minimum = 268_435_456))]
    pub memory_bytes: u64,
    /// For what is written outside of the person's files.
    #[cfg_attr(feature = "openapi", schema(minimum = 67_108_864))]
    pub disk_bytes: u64,
}

impl From<domain::notebooks::NotebookSize> for NotebookSize {
    fn from(size: domain::notebooks::NotebookSize) -> Self {
        let domain::notebooks::NotebookSize { name, cpu_millis, memory_bytes, disk_bytes } = size;
        Self { name, cpu_millis, memory_bytes, disk_bytes }
    }
}

impl From<NotebookSize> for domain::notebooks::NotebookSize {
    fn from(size: NotebookSize) -> Self {
        let NotebookSize { name, cpu_millis, memory_bytes, disk_bytes } = size;
        Self { name, cpu_millis, memory_bytes, disk_bytes }
    }
}

/// `GET` and `PUT /notebook-policy`: what holds for all notebooks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NotebookPolicy {
    /// To choose from; the first is taken where none is named.
    #[cfg_attr(feature = "openapi", schema(min_items = 1, max_items = 20))]
    pub sizes: Vec<NotebookSize>,
    /// The most of one person, stopped ones included.
    #[cfg_attr(feature = "openapi", schema(minimum = 1, maximum = 1_000))]
    pub max_notebooks: u32,
    /// The most of one person that run or are to run.
    #[cfg_attr(feature = "openapi", schema(minimum = 1, maximum = 1_000))]
    pub max_running: u32,
    /// What these may have together; null is no limit.
    #[cfg_attr(feature = "openapi", schema(minimum = 100, maximum = 1_024_000))]
    pub max_cpu_millis: Option<u32>,
    #[cfg_attr(feature = "openapi", schema(minimum = 268_435_456))]
    pub max_memory_bytes: Option<u64>,
    /// How much a person may keep on one host.
    #[cfg_attr(feature = "openapi", schema(minimum = 67_108_864))]
    pub volume_bytes: u64,
    /// A notebook that nobody has used for this long stops; null is never.
    #[cfg_attr(feature = "openapi", schema(minimum = 1, maximum = 10_080))]
    pub idle_after_min: Option<u32>,
    /// So long before it stops its person is told.
    pub warn_before_min: u32,
    /// Rises with each change. A `PUT` that gives it is refused if somebody else was faster.
    #[serde(default)]
    pub generation: Option<i64>,
}

impl NotebookPolicy {
    pub fn new(policy: domain::notebooks::NotebookPolicy, generation: i64) -> Self {
        Self {
            sizes: policy.sizes.into_iter().map(NotebookSize::from).collect(),
            max_notebooks: policy.max_notebooks,
            max_running: policy.max_running,
            max_cpu_millis: policy.max_cpu_millis,
            max_memory_bytes: policy.max_memory_bytes,
            volume_bytes: policy.volume_bytes,
            idle_after_min: policy.idle_after_min,
            warn_before_min: policy.warn_before_min,
            generation: Some(generation),
        }
    }
}

impl From<NotebookPolicy> for domain::notebooks::NotebookPolicy {
    fn from(policy: NotebookPolicy) -> Self {
        Self {
            sizes: policy.sizes.into_iter().map(Into::into).collect(),
            max_notebooks: policy.max_notebooks,
            max_running: policy.max_running,
            max_cpu_millis: policy.max_cpu_millis,
            max_memory_bytes: policy.max_memory_bytes,
            volume_bytes: policy.volume_bytes,
            idle_after_min: policy.idle_after_min,
            warn_before_min: policy.warn_before_min,
        }
    }
}

/// A started JupyterLab that waits for whoever asks next.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct WarmNotebook {
    pub run: Uuid,
    pub environment_id: Uuid,
    pub size: String,
    pub host: String,
    pub host_id: Uuid,
    pub state: WarmState,
    /// RFC 3339; when it entered its state.
    pub since: String,
    /// Why it could not be started.
    pub cause: Option<String>,
}

impl From<domain::notebooks::WarmRun> for WarmNotebook {
    fn from(run: domain::notebooks::WarmRun) -> Self {
        Self {
            run: run.run.uuid(),
            environment_id: run.environment.uuid(),
            size: run.size.name,
            host: run.host_name,
            host_id: run.host.uuid(),
            state: run.state,
            since: run.since.to_string(),
            cause: run.cause,
        }
    }
}

/// `GET /notebook-warm`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct WarmNotebooks {
    pub items: Vec<WarmNotebook>,
}

/// A person's files on a host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NotebookVolume {
    pub id: Uuid,
    pub person: String,
    pub person_id: Uuid,
    pub host: String,
    pub host_id: Uuid,
    /// What there is room for.
    pub size_bytes: u64,
    /// RFC 3339.
    pub created_at: String,
    /// They are being deleted.
    pub is_leaving: bool,
    /// Why they could not be deleted.
    pub cause: Option<String>,
}

impl From<domain::notebooks::Volume> for NotebookVolume {
    fn from(volume: domain::notebooks::Volume) -> Self {
        Self {
            id: volume.id.uuid(),
            person: volume.person_name,
            person_id: volume.person.uuid(),
            host: volume.host_name,
            host_id: volume.host.uuid(),
            size_bytes: volume.size_bytes,
            created_at: volume.created_at.to_string(),
            is_leaving: volume.removal.is_some(),
            cause: volume.cause,
        }
    }
}
