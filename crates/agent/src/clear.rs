//! `berth-agent clear`: ends every session and every notebook's run that this host holds, what is being built for
//! notebooks, and engines of objects, for taking a host out of use. People's files and what objects store stay.

use std::io;

use domain::ids::SessionId;

use crate::{
    config::AgentConfig,
    environments::Environments,
    identity::{IdentityError, StateDir},
    notebooks::Notebooks,
    objects::{
        self,
        group::{Group, GroupError},
    },
};

#[derive(Debug, thiserror::Error)]
pub enum ClearError {
    #[error(transparent)]
    Identity(#[from] IdentityError),
    #[error("cannot set up the environments: {0}")]
    Environments(#[source] io::Error),
    #[error("cannot look for sessions: {0}")]
    List(#[source] io::Error),
    #[error("cannot end what is there of notebooks: {0}")]
    Notebooks(#[source] io::Error),
    #[error("cannot find the directory of objects: {0}")]
    Directory(#[source] io::Error),
    #[error("cannot end the engines of objects: {0}")]
    Objects(#[from] GroupError),
    #[error("the work was interrupted: {0}")]
    Interrupted(#[from] tokio::task::JoinError),
}

/// A session, or a notebook's run, that was ended.
#[derive(Debug)]
pub struct Cleared {
    pub session: SessionId,
    pub machine: Option<String>,
    /// What the revert found left behind; none if the machine is clean.
    pub reason: Option<String>,
}

/// Reverts what there is, one after the other, each within [`crate::environments::REVERT_LIMIT`]. The server hears of it
/// when the agent runs again. Fails while the agent runs.
pub async fn clear(config: &AgentConfig) -> Result<Vec<Cleared>, ClearError> {
    let state = StateDir::open(&config.state_dir)?;
    let _lock = state.lock().await?;
    let environments = Environments::new(config).map_err(ClearError::Environments)?;
    let mut cleared = Vec::new();
    for found in environments.list().await.map_err(ClearError::List)? {
        let report = environments.of(found.kind).revert(found.session).await;
        cleared.push(Cleared { session: found.session, machine: found.machine, reason: report.reason() });
    }
    let notebooks = Notebooks::new(config, &environments).map_err(ClearError::Environments)?;
    cleared.extend(notebooks.clear().await.map_err(ClearError::Notebooks)?);
    let state_dir = std::fs::canonicalize(&config.state_dir).map_err(ClearError::Directory)?;
    tokio::task::spawn_blocking(move || Group::clear(&objects::directory(&state_dir))).await??;
    environments.tidy();
    Ok(cleared)
}
