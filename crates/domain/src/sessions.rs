//! Sessions: the environment that runs on a machine during a reservation.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::{
    access::{Action, Actor},
    ids::{HostId, MachineId, PersonId, ReservationId, SessionId, TenantId, TransactionId},
    interval::Interval,
};

mod next;

pub use next::{Before, Facts, Next, Occupant, PREPARE_AHEAD, RELEASE_NOTICE, Rules, Waits, Warning, Work, next};

/// How often a client says that the session is in use.
pub const KEEPALIVE_PERIOD: SignedDuration = SignedDuration::from_secs(15);
/// Without a sign for this long, a session that a client daemon keeps has lapsed (two keepalives).
pub const KEEPALIVE_GRACE: SignedDuration = SignedDuration::from_secs(30);
/// A host that was away for this long while a session ran on it is lost to that session.
pub const HOST_LOST_AFTER: SignedDuration = SignedDuration::from_mins(10);
/// The most steps that are kept of one session, and the most bytes of one step's detail.
pub const MAX_STEPS: usize = 64;
pub const MAX_STEP_DETAIL_BYTES: usize = 4 * 1024;
/// The most bytes of logs that are kept of one session.
pub const MAX_LOG_BYTES: usize = 256 * 1024;

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
        /// It ended by itself, or was gone when its host came back.
        EnvironmentLost = "environment-lost",
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

/// Adds a step, or puts it in place of the one of its name, its detail cut to [`MAX_STEP_DETAIL_BYTES`]. False if there are
/// [`MAX_STEPS`] others already.
pub fn put_step(steps: &mut Vec<Step>, mut step: Step) -> bool {
    if let Some(detail) = &mut step.detail {
        detail.truncate(detail.floor_char_boundary(MAX_STEP_DETAIL_BYTES));
    }
    match steps.iter().position(|known| known.name == step.name) {
        Some(at) => steps[at] = step,
        None if steps.len() >= MAX_STEPS => return false,
        None => steps.push(step),
    }
    true
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
    pub person_name: String,
    pub machine: MachineId,
    pub machine_name: String,
    pub host: HostId,
    /// The reservation's, or what was left of it when the session ended early.
    pub interval: Interval,
    pub state: SessionState,
    /// When it entered its state.
    pub since: Timestamp,
    pub cause: Option<EndCause>,
    /// The cause in words, where there is more to say than its name; before its end what it waits for, or what the person
    /// was warned of.
    pub cause_detail: Option<String>,
    pub keep: Keep,
    pub last_keepalive_at: Option<Timestamp>,
    /// Whether a person or client has touched it since it became active (no-show release looks at it).
    pub taken_up: bool,
    /// Which warning of its end was given last.
    pub warned: Option<Warning>,
    pub steps: Vec<Step>,
    /// The instruction that prepares or reverts it now.
    pub transaction: Option<TransactionId>,
    /// Rises with every change of state; a write names the one it read.
    pub generation: i64,
}

/// One piece of what the set-up script or the agent's checks said; kept after the session's end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLine {
    pub seq: i64,
    pub at: Timestamp,
    /// `prepare` or `revert`.
    pub source: String,
    pub content: String,
}

crate::words! {
    /// What one can do with a session.
    pub enum SessionAction ("action on a session") {
        /// Terminal, commands, copies: only its owner, only while it is active.
        Use = "use",
        KeepAlive = "keep-alive",
        End = "end",
    }
}

/// The session's state does not allow what was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the session is {state}{}: {action} is not possible", cause.map(|c| format!(" ({c})")).unwrap_or_default())]
pub struct WrongState {
    pub action: SessionAction,
    pub state: SessionState,
    pub cause: Option<EndCause>,
}

impl SessionAction {
    /// What a caller has to be allowed to do for it.
    pub fn permission(self) -> Action {
        match self {
            Self::Use | Self::KeepAlive => Action::SessionsUse,
            Self::End => Action::SessionsEnd,
        }
    }
    /// Whether the session's state allows it.
    pub fn check(self, session: &Session) -> Result<(), WrongState> {
        use SessionState::{Active, Ended, Failed, Preparing, Reverting, Scheduled};
        let allowed = match (self, session.state) {
            (Self::Use, Active) | (Self::KeepAlive | Self::End, Scheduled | Preparing | Active) => true,
            (Self::Use, Scheduled | Preparing)
            | (Self::Use | Self::KeepAlive | Self::End, Reverting | Ended | Failed) => false,
        };
        if allowed { Ok(()) } else { Err(WrongState { action: self, state: session.state, cause: session.cause }) }
    }
}

/// What `actor` can do with the session now: the rule that the server enforces, for the page to show.
pub fn actions(session: &Session, actor: &Actor) -> Vec<SessionAction> {
    let may = |action: &SessionAction| {
        actor.permit(action.permission()).and_then(|permit| permit.check_owner(session.person)).is_ok()
            && action.check(session).is_ok()
    };
    SessionAction::ALL.iter().copied().filter(may).collect()
}
