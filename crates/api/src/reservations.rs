//! Reservations, as REST v1, the command line and the pages see them.

use std::collections::BTreeMap;

use domain::{
    access::Actor,
    reservations::{ReservationAction, ReservationState},
    sessions::Keep,
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::sessions::Session;

/// What one asks for: exactly one of `machine`, `machines` and `labels`, and exactly one of `end` and `duration_s`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(default, deny_unknown_fields)]
pub struct NewReservation {
    /// Id or name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub machine: Option<String>,
    /// Ids or names: all of them or none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub machines: Option<Vec<String>>,
    /// Any `count` machines that carry these.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub labels: Option<LabelsAsk>,
    /// With `labels`: how many machines; 1 if not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(minimum = 1))]
    pub count: Option<u32>,
    /// RFC 3339; now if not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(format = DateTime))]
    pub start: Option<String>,
    /// RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(format = DateTime))]
    pub end: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(minimum = 1))]
    pub duration_s: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub environment: Option<Environment>,
    /// What it is for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub purpose: Option<String>,
    /// `reservation` (the default): until its end. `keepalive`: as long as the client sends keepalives.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keep: Option<Keep>,
}

/// `{"os": "debian12"}` or `"os=debian12,gpu=a100"`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(untagged)]
pub enum LabelsAsk {
    Map(BTreeMap<String, String>),
    Text(String),
}

/// What a session starts from; empty means the machine's own default.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(default, deny_unknown_fields)]
pub struct Environment {
    /// A container image, for machines of kind `container`.
    pub image: Option<String>,
    /// Run by `/bin/sh` before the session becomes active.
    pub setup: Option<String>,
    /// Seconds that the set-up script may take; 600 if not given.
    #[cfg_attr(feature = "openapi", schema(minimum = 1, maximum = 3_600))]
    pub setup_timeout_s: Option<u32>,
}

/// A change; what is left away stays as it is. A new start without an end moves the whole booking.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(default, deny_unknown_fields)]
pub struct ReservationChange {
    /// RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(format = DateTime))]
    pub start: Option<String>,
    /// RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(format = DateTime))]
    pub end: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(minimum = 1))]
    pub duration_s: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub purpose: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Reservation {
    pub id: Uuid,
    pub state: ReservationState,
    pub person: String,
    pub person_id: Uuid,
    /// RFC 3339.
    pub start: String,
    /// RFC 3339.
    pub end: String,
    pub purpose: Option<String>,
    pub environment: Environment,
    /// RFC 3339.
    pub created_at: String,
    /// Names of the machines.
    pub machines: Vec<String>,
    pub sessions: Vec<Session>,
    /// Also sent as ETag; give it as If-Match with a change.
    pub generation: i64,
    /// What the caller can do with it now.
    pub actions: Vec<ReservationAction>,
}

impl From<domain::environments::EnvironmentSpec> for Environment {
    fn from(spec: domain::environments::EnvironmentSpec) -> Self {
        let domain::environments::EnvironmentSpec { image, setup, setup_timeout_s } = spec;
        Environment { image, setup, setup_timeout_s }
    }
}

impl From<Environment> for domain::environments::EnvironmentSpec {
    fn from(environment: Environment) -> Self {
        let Environment { image, setup, setup_timeout_s } = environment;
        domain::environments::EnvironmentSpec { image, setup, setup_timeout_s }
    }
}

impl Reservation {
    /// As `actor` sees it at `now`.
    pub fn new(reservation: domain::reservations::Reservation, actor: &Actor, now: Timestamp) -> Self {
        let actions = domain::reservations::actions(&reservation, actor, now);
        Reservation {
            id: reservation.id.uuid(),
            state: reservation.state,
            person: reservation.person_name,
            person_id: reservation.person.uuid(),
            start: reservation.interval.start().to_string(),
            end: reservation.interval.end().to_string(),
            purpose: reservation.purpose,
            environment: reservation.environment.into(),
            created_at: reservation.created_at.to_string(),
            machines: reservation.sessions.iter().map(|s| s.machine_name.clone()).collect(),
            sessions: reservation.sessions.into_iter().map(|s| Session::new(s, actor)).collect(),
            generation: reservation.generation,
            actions,
        }
    }
}
