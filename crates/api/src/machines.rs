//! Machines, as REST v1, the command line and the pages see them.

use std::collections::BTreeMap;

use domain::{
    access::Actor,
    machines::{LiveMachine, MachineAction, MachineKind, MachineState},
    sessions::{EndCause, SessionState},
};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::Slot;

/// A machine, who has it, and what comes next on it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Machine {
    pub id: Uuid,
    pub name: String,
    pub host: String,
    pub host_id: Uuid,
    pub kind: MachineKind,
    pub labels: BTreeMap<String, String>,
    pub limits: MachineLimits,
    pub state: MachineState,
    /// RFC 3339; when it entered its state.
    pub since: String,
    /// Why it is quarantined or withdrawn.
    pub reason: Option<String>,
    /// Who has it now.
    pub holder: Option<Holder>,
    /// The next claim that has not begun.
    pub next_booking: Option<Booking>,
    /// What the caller can do with it now.
    pub actions: Vec<MachineAction>,
}

/// The most that a session on the machine may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct MachineLimits {
    pub cpu_millis: u32,
    pub memory_bytes: u64,
    pub pids: u32,
    pub disk_bytes: u64,
}

/// Who has a machine now, and until when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Holder {
    pub person: String,
    pub person_id: Uuid,
    pub reservation: Uuid,
    pub session: Uuid,
    /// RFC 3339.
    pub until: String,
}

/// A claim on a machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Booking {
    pub reservation: Uuid,
    pub session: Uuid,
    pub machine_id: Uuid,
    pub person: String,
    pub person_id: Uuid,
    /// RFC 3339.
    pub start: String,
    /// RFC 3339.
    pub end: String,
    pub state: SessionState,
    pub cause: Option<EndCause>,
}

/// A machine with its claims in a window of time, and what was on it before.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct MachineDetail {
    #[serde(flatten)]
    pub machine: Machine,
    /// In the window that was asked for, by start.
    pub bookings: Vec<Booking>,
    /// The last sessions that are over, newest first.
    pub history: Vec<Booking>,
}

/// What an admin does with a machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct MachineChange {
    /// `quarantine`, `verify` or `release`.
    #[cfg_attr(feature = "openapi", schema(pattern = "^(quarantine|verify|release)$"))]
    pub action: String,
    /// Needed for `quarantine` and `release`: kept in the audit log and shown on the machine's page.
    pub reason: Option<String>,
}

/// A machine and when it is free for what was asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct FreeMachine {
    pub id: Uuid,
    pub name: String,
    pub labels: BTreeMap<String, String>,
    /// By start, at least as long as what was asked.
    pub free: Vec<Slot>,
}

/// Machines that fit, the one that is free first at the top.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct FreeMachines {
    pub items: Vec<FreeMachine>,
    /// Why nothing fits, where nothing does.
    pub why_none: Option<String>,
}

impl From<domain::machines::Holder> for Holder {
    fn from(holder: domain::machines::Holder) -> Self {
        Holder {
            person: holder.person_name,
            person_id: holder.person.uuid(),
            reservation: holder.reservation.uuid(),
            session: holder.session.uuid(),
            until: holder.until.to_string(),
        }
    }
}

impl From<domain::machines::Booking> for Booking {
    fn from(booking: domain::machines::Booking) -> Self {
        Booking {
            reservation: booking.reservation.uuid(),
            session: booking.session.uuid(),
            machine_id: booking.machine.uuid(),
            person: booking.person_name,
            person_id: booking.person.uuid(),
            start: booking.interval.start().to_string(),
            end: booking.interval.end().to_string(),
            state: booking.state,
            cause: booking.cause,
        }
    }
}

impl From<domain::machines::MachineLimits> for MachineLimits {
    fn from(limits: domain::machines::MachineLimits) -> Self {
        let domain::machines::MachineLimits { cpu_millis, memory_bytes, pids, disk_bytes } = limits;
        MachineLimits { cpu_millis, memory_bytes, pids, disk_bytes }
    }
}

impl Machine {
    /// As `actor` sees it.
    pub fn new(live: LiveMachine, actor: &Actor) -> Self {
        let (state, since) = (live.state(), live.since());
        let actions = domain::machines::actions(&live.machine, actor);
        let machine = live.machine;
        Machine {
            id: machine.id.uuid(),
            name: machine.name,
            host: machine.host_name,
            host_id: machine.host.uuid(),
            kind: machine.kind,
            labels: machine.labels.into(),
            limits: machine.limits.into(),
            state,
            since: since.to_string(),
            reason: machine.reason,
            holder: live.holder.map(Holder::from),
            next_booking: live.next.map(Booking::from),
            actions,
        }
    }
}
