//! Errors as RFC 9457 problem details.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// `application/problem+json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Problem {
    /// `urn:berth:problem:NAME`; what programs should look at.
    #[serde(rename = "type")]
    pub kind: String,
    pub title: String,
    pub status: u16,
    /// What happened and what to do, for a person.
    pub detail: String,
    /// Names the request in the server's log.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub request_id: Option<String>,
    /// The field of the request that is wrong.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub field: Option<String>,
    /// 409 for an overlap: who holds the machine.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub held_by: Option<Vec<HeldBy>>,
    /// 409 for an overlap: when what was asked for is free.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub next_free: Option<Vec<Slot>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct HeldBy {
    pub machine: String,
    pub machine_id: Uuid,
    pub reservation: Uuid,
    pub person: String,
    /// RFC 3339.
    pub start: String,
    /// RFC 3339.
    pub end: String,
}

/// A stretch of time `[start, end)`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Slot {
    /// RFC 3339.
    pub start: String,
    /// RFC 3339.
    pub end: String,
}

impl From<domain::interval::Interval> for Slot {
    fn from(interval: domain::interval::Interval) -> Self {
        Slot { start: interval.start().to_string(), end: interval.end().to_string() }
    }
}

impl From<domain::reservations::HeldBy> for HeldBy {
    fn from(held: domain::reservations::HeldBy) -> Self {
        HeldBy {
            machine: held.machine_name,
            machine_id: held.machine.uuid(),
            reservation: held.reservation.uuid(),
            person: held.person_name,
            start: held.interval.start().to_string(),
            end: held.interval.end().to_string(),
        }
    }
}
