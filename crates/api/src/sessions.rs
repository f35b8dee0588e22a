//! Sessions, as REST v1, the command line and the pages see them.

use domain::{
    access::Actor,
    sessions::{EndCause, Keep, SessionAction, SessionState, StepState},
};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Session {
    pub id: Uuid,
    pub reservation: Uuid,
    /// The machine's name.
    pub machine: String,
    pub machine_id: Uuid,
    pub host_id: Uuid,
    pub person: String,
    pub person_id: Uuid,
    pub state: SessionState,
    /// RFC 3339; when it entered its state.
    pub since: String,
    /// Why it ends, ended or failed.
    pub cause: Option<EndCause>,
    /// The cause in words; while it is scheduled and its time has come, what it waits for; while it is active and nobody has
    /// used it, when it is released.
    pub cause_detail: Option<String>,
    /// RFC 3339.
    pub start: String,
    /// RFC 3339; earlier than booked if it ended early.
    pub end: String,
    pub keep: Keep,
    /// RFC 3339.
    pub last_keepalive_at: Option<String>,
    /// Whether a person or client has used it.
    pub taken_up: bool,
    pub steps: Vec<Step>,
    pub generation: i64,
    /// What the caller can do with it now.
    pub actions: Vec<SessionAction>,
}

/// One step of preparing or reverting, as the agent reported it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Step {
    pub name: String,
    pub state: StepState,
    /// RFC 3339.
    pub started_at: Option<String>,
    /// RFC 3339.
    pub ended_at: Option<String>,
    /// Output of the set-up script, or what a check found.
    pub detail: Option<String>,
}

/// Answer to a keepalive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct KeptAlive {
    pub state: SessionState,
    /// RFC 3339; when the session ends whatever the client does.
    pub end: String,
    /// Send the next one after this many seconds.
    pub again_in_s: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SessionLogLine {
    pub seq: i64,
    /// RFC 3339.
    pub at: String,
    /// `prepare` or `revert`.
    pub source: String,
    pub content: String,
}

impl From<domain::sessions::Step> for Step {
    fn from(step: domain::sessions::Step) -> Self {
        Step {
            name: step.name,
            state: step.state,
            started_at: step.started_at.map(|at| at.to_string()),
            ended_at: step.ended_at.map(|at| at.to_string()),
            detail: step.detail,
        }
    }
}

impl From<domain::sessions::LogLine> for SessionLogLine {
    fn from(line: domain::sessions::LogLine) -> Self {
        SessionLogLine { seq: line.seq, at: line.at.to_string(), source: line.source, content: line.content }
    }
}

impl Session {
    /// As `actor` sees it.
    pub fn new(session: domain::sessions::Session, actor: &Actor) -> Self {
        let actions = domain::sessions::actions(&session, actor);
        Session {
            id: session.id.uuid(),
            reservation: session.reservation.uuid(),
            machine: session.machine_name,
            machine_id: session.machine.uuid(),
            host_id: session.host.uuid(),
            person: session.person_name,
            person_id: session.person.uuid(),
            state: session.state,
            since: session.since.to_string(),
            cause: session.cause,
            cause_detail: session.cause_detail,
            start: session.interval.start().to_string(),
            end: session.interval.end().to_string(),
            keep: session.keep,
            last_keepalive_at: session.last_keepalive_at.map(|at| at.to_string()),
            taken_up: session.taken_up,
            steps: session.steps.into_iter().map(Step::from).collect(),
            generation: session.generation,
            actions,
        }
    }
}
