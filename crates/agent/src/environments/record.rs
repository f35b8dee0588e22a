//! What the agent keeps of an environment on disk, so that it finds it again after a restart: `environment.json` in
//! the environment's directory.

use std::{
    fs, io,
    io::Write,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use domain::ids::SessionId;
use serde::{Deserialize, Serialize};

use super::{
    AdoptError, Variables,
    baseline::{Baseline, Identity, RECORD},
    process::{self, FIRST_GONE},
};

/// How far the preparing came.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Phase {
    /// Whatever was made so far can only be reverted.
    Preparing,
    Ready {
        pid: i32,
        /// Clock ticks between the host's start and the process's: a pid that is used again has another.
        started_ticks: u64,
        isolation: String,
    },
}

/// Readable by the agent alone: the variables may hold secrets, which an adopted environment goes on needing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    pub session: SessionId,
    pub machine: String,
    pub phase: Phase,
    pub identity: Identity,
    pub baseline: Baseline,
    pub variables: Variables,
    /// No file of the environment grows beyond this, where the environment can enforce it.
    pub largest_file_bytes: u64,
    /// Volumes that a container engine made for it.
    #[serde(default)]
    pub volumes: Vec<String>,
}

/// What is known of an environment that was prepared to its end.
pub struct Ready {
    pub record: Record,
    pub pid: i32,
    pub started_ticks: u64,
    pub isolation: String,
}

/// The directories and files of one environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scratch(PathBuf);

impl Scratch {
    pub fn new(above: &Path, session: SessionId) -> Self {
        Self(above.join(session.to_string()))
    }
    pub fn path(&self) -> &Path {
        &self.0
    }
    pub fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
    pub fn log(&self) -> PathBuf {
        self.0.join("log")
    }
    /// Makes the environment's own directory, for the agent alone; fails if it is there.
    pub fn create(&self) -> io::Result<()> {
        fs::DirBuilder::new().mode(0o700).create(&self.0)
    }
    fn record(&self) -> PathBuf {
        self.0.join(RECORD)
    }

    pub fn read(&self) -> io::Result<Record> {
        Ok(serde_json::from_slice(&fs::read(self.record())?)?)
    }

    /// The record of an environment that can be taken up again, if its first process is still there.
    pub fn ready(&self, session: SessionId) -> Result<Ready, AdoptError> {
        let record = self.read().map_err(|source| {
            if source.kind() == io::ErrorKind::NotFound {
                AdoptError::NotFound(session)
            } else {
                AdoptError::State { session, source }
            }
        })?;
        let gone = |why: &str| AdoptError::Gone { session, why: why.into() };
        let Phase::Ready { pid, started_ticks, isolation } = record.phase.clone() else {
            return Err(gone("it was never ready"));
        };
        if !process::is_there(pid, started_ticks) {
            return Err(gone(FIRST_GONE));
        }
        Ok(Ready { record, pid, started_ticks, isolation })
    }

    /// Replaces the record whole or not at all, and is on disk when it returns.
    pub fn write(&self, record: &Record) -> io::Result<()> {
        let new = self.0.join("environment.json.new");
        let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        file.write_all(&serde_json::to_vec(record)?)?;
        file.sync_data()?;
        fs::rename(&new, self.record())
    }
}
