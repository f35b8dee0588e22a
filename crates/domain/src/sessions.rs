//! Sessions: the environment that runs on a machine during a reservation.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::ids::{HostId, MachineId, PersonId, ReservationId, SessionId, TenantId};

/// How often a client says that the session is in use.
pub const KEEPALIVE_PERIOD: SignedDuration = SignedDuration::from_secs(15);
/// Without a sign for this long, a session that a client daemon keeps has lapsed (two keepalives).
pub const KEEPALIVE_GRACE: SignedDuration = SignedDuration::from_secs(30);

crate::words! {
    pub enum SessionState ("state of a session") {
        Scheduled = "scheduled",
        Preparing = "preparing",
        Active = "active",
        Reverting = "reverting",
        Ended = "ended",
        Failed = "failed",
    }
}

impl SessionState {
    pub fn is_final(self) -> bool {
        match self {
            Self::Scheduled | Self::Preparing | Self::Active | Self::Reverting => false,
            Self::Ended | Self::Failed => true,
        }
    }
    pub fn may_become(self, next: SessionState) -> bool {
        use SessionState::{Active, Ended, Failed, Preparing, Reverting, Scheduled};
        match self {
            Scheduled => matches!(next, Preparing | Ended | Failed),
            Preparing => matches!(next, Active | Reverting | Failed),
            Active => matches!(next, Reverting | Failed),
            Reverting => matches!(next, Ended | Failed),
            Ended | Failed => false,
        }
    }
}

crate::words! {
    /// Why a session ends or failed.
    pub enum EndCause ("cause of a session's end") {
        /// Notice of completion: the person or their client ended it.
        Completed = "completed",
        /// The reservation's time is over.
        TimeUp = "time-up",
        /// The keepalive lapsed past the grace time.
        Lapsed = "lapsed",
        Cancelled = "cancelled",
        NoShow = "no-show",
        EndedByAdmin = "ended-by-admin",
        HostRevoked = "host-revoked",
        HostLost = "host-lost",
        PrepareFailed = "prepare-failed",
        RevertFailed = "revert-failed",
    }
}

crate::words! {
    pub enum StepState ("state of a step") {
        Pending = "pending",
        Running = "running",
        Done = "done",
        Failed = "failed",
        Skipped = "skipped",
    }
}

/// One named step of preparing or reverting, as the agent reports it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    pub name: String,
    pub state: StepState,
    pub started_at: Option<Timestamp>,
    pub ended_at: Option<Timestamp>,
    /// What a person should know of it; output for the set-up script, the finding for a check.
    pub detail: Option<String>,
}

crate::words! {
    /// What keeps a session.
    pub enum Keep ("way of keeping a session") {
        /// Until the reservation's end: booked in a browser or by REST.
        Reservation = "reservation",
        /// As long as a client daemon or an open page sends keepalives.
        Keepalive = "keepalive",
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    pub id: SessionId,
    pub tenant: TenantId,
    pub reservation: ReservationId,
    pub person: PersonId,
    pub machine: MachineId,
    pub machine_name: String,
    pub host: HostId,
    pub state: SessionState,
    /// When it entered its state.
    pub since: Timestamp,
    pub cause: Option<EndCause>,
    /// The cause in words, where there is more to say than its name.
    pub cause_detail: Option<String>,
    pub keep: Keep,
    pub last_keepalive_at: Option<Timestamp>,
    /// Whether a person or client has touched it since it became active (no-show release looks at it).
    pub taken_up: bool,
    pub steps: Vec<Step>,
    pub generation: i64,
}
