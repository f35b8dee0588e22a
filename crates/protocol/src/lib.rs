//! The messages between server and agent (DESIGN D3): MessagePack frames over WebSocket, versioned on connect.
//!
//! Two connections, both dialled by the agent to the same port with its own certificate: the control link
//! (`/agent/link`, this file's [`ToServer`] and [`ToAgent`]) and the byte tunnel (`/agent/tunnel`, [`tunnel`]).
//! A message that a state does not expect is refused: the connection is closed with [`CloseReason::Unexpected`].

pub mod bundle;
pub mod enroll;
pub mod objects;
pub mod tunnel;

use domain::{
    deployments::ObjectOffer,
    hosts::HostMetrics,
    ids::{HostId, RunId, SessionId, TransactionId},
    instructions::Work,
    labels::Labels,
    machines::{MachineKind, MachineLimits},
    notebooks::NotebookOffer,
    sessions::Step,
};
use serde::{Deserialize, Serialize};

/// The newest version that this build speaks, and the oldest. A connection uses the highest that both know.
pub const VERSION: u16 = 1;
pub const OLDEST_VERSION: u16 = 1;
/// The largest control frame, bytes; longer ones close the link.
pub const MAX_FRAME_BYTES: usize = 1024 * 1024;
/// An agent sends a heartbeat this often, and the server takes a link for dead after three without one.
pub const HEARTBEAT_PERIOD_MS: u64 = 5_000;
/// The largest piece of output in one progress message, bytes.
pub const MAX_PROGRESS_BYTES: usize = 32 * 1024;

/// A machine that the host's configuration file offers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OfferedMachine {
    /// Unique on the host.
    pub name: String,
    pub kind: MachineKind,
    pub labels: Labels,
    pub limits: MachineLimits,
}

/// What the agent found or does on a machine that it offers, told on connect and with each change.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MachineReport {
    pub name: String,
    /// The session whose environment is there, prepared or being prepared.
    pub session: Option<SessionId>,
    pub actual: ActualMachine,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum ActualMachine {
    /// Verified: as if nobody had been there.
    Clean,
    Preparing,
    Running,
    Reverting,
    /// The last revert or check failed.
    Dirty {
        reason: String,
    },
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Outcome {
    Done {
        exit_code: Option<i32>,
    },
    Failed {
        exit_code: Option<i32>,
        cause: String,
    },
    Cancelled,
    /// The agent was restarted while it ran and cannot say what came of it.
    Unknown {
        cause: String,
    },
}

/// From the agent to the server.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum ToServer {
    /// First message on the link.
    Hello {
        oldest_version: u16,
        newest_version: u16,
        agent_version: String,
        labels: Labels,
        machines: Vec<OfferedMachine>,
        reports: Vec<MachineReport>,
        /// What the host has for notebooks; `None` where it takes none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        notebooks: Option<NotebookOffer>,
        /// The runs of notebooks that are up.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        runs: Vec<RunId>,
        /// `None` where the host runs no objects.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        objects: Option<ObjectOffer>,
        /// Claimed transactions whose result the server has not acknowledged yet; their results follow.
        open: Vec<TransactionId>,
    },
    Heartbeat {
        /// Whether the agent takes offers now.
        available: bool,
        metrics: HostMetrics,
    },
    /// The host comes for the instructions of an offered transaction, with a request of its own.
    Claim {
        transaction: TransactionId,
    },
    /// What a running transaction does. `seq` counts from 0 within the transaction; after a restart of the agent it
    /// goes on from a higher number. All is told again on each link until the result is acknowledged, and the server
    /// drops what is not above the last that it has.
    Progress {
        transaction: TransactionId,
        seq: u32,
        event: ProgressEvent,
    },
    /// Repeated after each connect until acknowledged.
    Result {
        transaction: TransactionId,
        outcome: Outcome,
    },
    Machine(MachineReport),
    /// A notebook's run ended without having been told to. Told again on each link until the run is stopped.
    RunEnded {
        run: RunId,
        why: String,
    },
    /// A new certificate, please: a CSR in DER of which only the public key is used.
    Renew {
        csr_der: Vec<u8>,
    },
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum ProgressEvent {
    Started,
    Step(Step),
    Stdout(Vec<u8>),
    Stderr(Vec<u8>),
}

/// From the server to the agent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum ToAgent {
    /// Answer to Hello.
    Welcome {
        version: u16,
        host: HostId,
        host_name: String,
        server_time_ms: i64,
    },
    /// There is something to claim.
    Offer {
        transaction: TransactionId,
    },
    /// The claim matched: the instructions, once only.
    Instructions {
        transaction: TransactionId,
        work: Work,
        secrets: Option<Secrets>,
    },
    /// The claim did not match; the agent forgets the id.
    NotYours {
        transaction: TransactionId,
    },
    /// The result is stored; the agent may drop it from its journal.
    Acknowledge {
        transaction: TransactionId,
    },
    Cancel {
        transaction: TransactionId,
    },
    /// Answer to Renew.
    Renewed {
        certificate_pem: String,
        ca_pem: String,
    },
    /// Open the byte tunnel now (sent when a stream is wanted and none is open).
    OpenTunnel,
    /// What the host runs of objects, or where others are, may have changed: see [`objects::PLAN_PATH`].
    PlanChanged,
}

/// What a session's environment may know that no log may.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct Secrets(pub std::collections::BTreeMap<String, String>);

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Secrets({} withheld)", self.0.len())
    }
}

/// WebSocket close codes and words of ours (4000 to 4999 are free for applications).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CloseReason {
    /// No common version: the agent or the server has to be updated.
    Version,
    Malformed,
    TooLarge,
    Unexpected,
    Revoked,
    /// The same host connected again; the newer link stays.
    Replaced,
    /// Pending approval: try again later.
    NotApproved,
    ShuttingDown,
    /// The reader is too slow; its queue was full.
    Overloaded,
}

impl CloseReason {
    pub fn code(self) -> u16 {
        match self {
            Self::Version => 4001,
            Self::Malformed => 4002,
            Self::TooLarge => 4003,
            Self::Unexpected => 4004,
            Self::Revoked => 4005,
            Self::Replaced => 4006,
            Self::NotApproved => 4007,
            Self::ShuttingDown => 4008,
            Self::Overloaded => 4009,
        }
    }
    pub fn from_code(code: u16) -> Option<Self> {
        [
            Self::Version,
            Self::Malformed,
            Self::TooLarge,
            Self::Unexpected,
            Self::Revoked,
            Self::Replaced,
            Self::NotApproved,
            Self::ShuttingDown,
            Self::Overloaded,
        ]
        .into_iter()
        .find(|reason| reason.code() == code)
    }
}

#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    #[error("a frame of {0} bytes is over the limit of {MAX_FRAME_BYTES}")]
    TooLarge(usize),
    #[error("a malformed frame: {0}")]
    Malformed(#[from] rmp_serde::decode::Error),
    #[error("cannot encode the frame: {0}")]
    Encode(#[from] rmp_serde::encode::Error),
}

/// One message as a MessagePack frame, fields by name so that versions can add some.
pub fn encode<T: Serialize>(message: &T) -> Result<Vec<u8>, FrameError> {
    let frame = rmp_serde::to_vec_named(message)?;
    if frame.len() > MAX_FRAME_BYTES { Err(FrameError::TooLarge(frame.len())) } else { Ok(frame) }
}

pub fn decode<T: for<'de> Deserialize<'de>>(frame: &[u8]) -> Result<T, FrameError> {
    if frame.len() > MAX_FRAME_BYTES {
        return Err(FrameError::TooLarge(frame.len()));
    }
    Ok(rmp_serde::from_slice(frame)?)
}
