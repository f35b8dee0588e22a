//! The control group of all engines of this host. Engines end with the agent, so whatever is in it at a start is of an agent
//! that was killed.

use std::{io, path::Path, time::Duration};

use domain::machines::MachineLimits;

use crate::{
    config::ObjectsConfig,
    environments::{
        cgroup::{Cgroup, CgroupError, Layout},
        tag,
    },
};

/// An engine is one process, and a deployment has few.
const MAX_PROCESSES: u32 = 4_096;
const KILL_LIMIT: Duration = Duration::from_secs(5);

#[derive(Debug, thiserror::Error)]
pub enum GroupError {
    #[error("cannot read this host's control groups: {0}")]
    Layout(#[source] io::Error),
    #[error(transparent)]
    Group(#[from] CgroupError),
    #[error("engines of before cannot be ended: {0:?}")]
    Left(std::collections::BTreeSet<i32>),
    #[error("cannot remove the control group: {0}")]
    Remove(String),
}

/// None where the agent may make no groups; then each engine's own limits are all there is.
pub struct Group(Option<Levels>);

struct Levels {
    above: Cgroup,
    engines: Cgroup,
}

impl Group {
    /// Whether engines can be limited together here.
    pub fn is_possible() -> bool {
        rustix::process::geteuid().is_root() && Layout::of_host().is_ok_and(|layout| layout.can_limit())
    }

    fn of(directory: &Path) -> Result<Self, GroupError> {
        if !Self::is_possible() {
            return Ok(Self(None));
        }
        let layout = Layout::of_host().map_err(GroupError::Layout)?;
        let above = format!("berth/{}", tag(directory));
        Ok(Self(Some(Levels { engines: layout.group(&format!("{above}/engines")), above: layout.group(&above) })))
    }

    /// Makes the group, empty. Blocks for as long as the kernel takes to end what an agent that was killed has left.
    pub fn make(directory: &Path, config: &ObjectsConfig) -> Result<Self, GroupError> {
        let this = Self::of(directory)?;
        if let Some(Levels { engines, .. }) = &this.0 {
            if !engines.kill(KILL_LIMIT) {
                return Err(GroupError::Left(engines.processes()));
            }
            engines.create(&MachineLimits {
                cpu_millis: config.cpu_millis,
                memory_bytes: config.memory_bytes,
                pids: MAX_PROCESSES,
                disk_bytes: 0,
            })?;
        }
        Ok(this)
    }

    /// What a process writes `0` to so as to join.
    pub fn files(&self) -> Vec<std::path::PathBuf> {
        self.0.as_ref().map_or_else(Vec::new, |levels| levels.engines.procs_files())
    }

    /// Ends what is in the group, and removes it. Blocks.
    pub fn remove(&self) -> Result<(), GroupError> {
        let Some(Levels { above, engines }) = &self.0 else { return Ok(()) };
        if !engines.kill(KILL_LIMIT) {
            return Err(GroupError::Left(engines.processes()));
        }
        engines.remove(KILL_LIMIT).map_err(GroupError::Remove)?;
        Ok(above.remove_if_empty()?)
    }

    /// What an agent that is not there any more has left in this directory's group.
    pub fn clear(directory: &Path) -> Result<(), GroupError> {
        Self::of(directory)?.remove()
    }
}
