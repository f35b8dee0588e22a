//! Machines: what a person can book.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    ids::{HostId, MachineId, PersonId, ReservationId, SessionId, TenantId},
    labels::Labels,
};

crate::words! {
    /// What a machine is made of.
    pub enum MachineKind ("kind of machine") {
        /// A slot in which a bubblewrap sandbox runs.
        Sandbox = "sandbox",
        /// A slot in which a container runs.
        Container = "container",
    }
}

crate::words! {
    /// Whether the machine can be handed out, apart from who holds it. Stored; [`MachineState`] is computed.
    pub enum MachineCondition ("condition of a machine") {
        Ready = "ready",
        /// A revert failed its checks; never handed out until it is clean or a person decides.
        Quarantined = "quarantined",
        /// The host's configuration offers it no longer; kept for its history.
        Withdrawn = "withdrawn",
    }
}

crate::words! {
    /// What a page shows.
    pub enum MachineState ("state of a machine") {
        Free = "free",
        /// Reserved for now, nothing runs yet (preparing).
        Held = "held",
        InUse = "in-use",
        Reverting = "reverting",
        Quarantined = "quarantined",
        Offline = "offline",
        InMaintenance = "in-maintenance",
        Withdrawn = "withdrawn",
    }
}

/// The most that a session on the machine may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct MachineLimits {
    pub cpu_millis: u32,
    pub memory_bytes: u64,
    pub pids: u32,
    pub disk_bytes: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    pub id: MachineId,
    pub tenant: TenantId,
    pub host: HostId,
    /// Unique within the tenant, `HOST/NAME`-like: what people type.
    pub name: String,
    pub kind: MachineKind,
    pub labels: Labels,
    pub limits: MachineLimits,
    pub condition: MachineCondition,
    /// Why it is quarantined or withdrawn.
    pub reason: Option<String>,
    pub condition_since: Timestamp,
}

/// Who has a machine now, and until when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    pub person: PersonId,
    pub person_name: String,
    pub reservation: ReservationId,
    pub session: Option<SessionId>,
    pub until: Timestamp,
}
