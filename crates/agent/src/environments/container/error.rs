//! What can go wrong between the agent and a container engine.

use std::path::PathBuf;

use bollard::errors::Error;

/// Operations of the engine, as they are told to people.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    InspectContainer,
    InspectImage,
    CreateContainer,
    StartContainer,
    ListContainers,
    CreateExec,
    InspectExec,
}

impl Operation {
    fn words(self) -> &'static str {
        match self {
            Self::InspectContainer => "tell about the container",
            Self::InspectImage => "tell about the image",
            Self::CreateContainer => "make the container",
            Self::StartContainer => "start the container",
            Self::ListContainers => "list its containers",
            Self::CreateExec => "prepare a process",
            Self::InspectExec => "tell about a process",
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    #[error("no engine is configured: add [container] with its socket to the agent's configuration")]
    NotConfigured,
    #[error("the container engine at {socket} cannot be reached: {source}")]
    Unreachable { socket: PathBuf, source: Error },
    #[error("the container engine does not {}: {source}", operation.words())]
    Refused { operation: Operation, source: Error },
    #[error("no image is named")]
    NoImage,
    #[error("cannot pull the image {image}: {source}")]
    Pull { image: String, source: Error },
    #[error("the memory limit is too large")]
    Memory,
    #[error("the container ended at once: is there a /bin/sh in the image?")]
    Ended(#[source] std::io::Error),
    #[error("the engine runs containers elsewhere than on this host, where they cannot be verified")]
    Elsewhere,
    #[error("the container's record cannot be written: {0}")]
    Record(#[source] std::io::Error),
    #[error("the host's ports cannot be reached from it: {0}")]
    Ports(#[source] crate::environments::Cause),
    #[error("the host could not be read in time")]
    BaselineHangs,
    #[error(transparent)]
    Baseline(#[from] crate::environments::baseline::BaselineError),
}

impl EngineError {
    pub fn of(operation: Operation) -> impl FnOnce(Error) -> Self {
        move |source| Self::Refused { operation, source }
    }
}
