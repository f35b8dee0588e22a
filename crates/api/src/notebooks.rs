//! Notebooks, as REST v1, the command line and the pages see them.

use domain::{
    access::Actor,
    notebooks::{NotebookAct, NotebookIntent, NotebookSize, NotebookState},
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
    pub size: NotebookSize,
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
            id: notebook.id.uuid(),
            name: notebook.name,
            person: notebook.person_name,
            person_id: notebook.person.uuid(),
            environment: notebook.environment_name,
            environment_id: notebook.environment.uuid(),
            size: notebook.size,
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
    /// `small` where it is left away.
    pub size: Option<NotebookSize>,
    /// `key=value,key=value`: what its host must have.
    pub labels: Option<String>,
}

/// A piece of what a notebook's latest start wrote.
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

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NotebookEnvironment {
    pub id: Uuid,
    pub name: String,
    /// Python packages as pip and uv read them (requirements.txt).
    pub requirements: String,
    /// Null for what comes with the server.
    pub created_by: Option<Uuid>,
    /// RFC 3339.
    pub created_at: String,
}

impl From<domain::notebooks::NotebookEnvironment> for NotebookEnvironment {
    fn from(environment: domain::notebooks::NotebookEnvironment) -> Self {
        Self {
            id: environment.id.uuid(),
            name: environment.name,
            requirements: environment.requirements,
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
    #[cfg_attr(feature = "openapi", schema(max_length = 65_536))]
    pub requirements: String,
}
