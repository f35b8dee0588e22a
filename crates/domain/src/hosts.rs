//! Hosts: computers that run an agent, each with a certificate of its own.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    ids::{HostId, TenantId},
    labels::Labels,
};

crate::words! {
    /// What an admin intends with the host. Stored.
    pub enum HostIntent ("intent for a host") {
        /// Enrolled, waits for an admin's approval.
        Pending = "pending",
        InService = "in-service",
        /// Takes no new sessions; those that run go on until they end.
        Draining = "draining",
        /// Takes no sessions.
        Maintenance = "maintenance",
        /// Its certificates are worth nothing any more.
        Revoked = "revoked",
    }
}

crate::words! {
    /// What an admin can do with a host.
    pub enum HostAct ("act on a host") {
        Approve = "approve",
        PutInService = "put-in-service",
        Drain = "drain",
        PutInMaintenance = "put-in-maintenance",
        Revoke = "revoke",
        Delete = "delete",
    }
}

impl HostIntent {
    /// What can be done with a host of this intent; the server enforces the same.
    pub fn acts(self) -> Vec<HostAct> {
        use HostAct::{Approve, Delete, Drain, PutInMaintenance, PutInService, Revoke};
        match self {
            Self::Pending => vec![Approve, Revoke, Delete],
            Self::InService => vec![Drain, PutInMaintenance, Revoke, Delete],
            Self::Draining => vec![PutInService, PutInMaintenance, Revoke, Delete],
            Self::Maintenance => vec![PutInService, Drain, Revoke, Delete],
            Self::Revoked => vec![Delete],
        }
    }
    /// The act that leads from `self` to `next`; `None` where there is none.
    pub fn act_towards(self, next: HostIntent) -> Option<HostAct> {
        let act = match next {
            Self::Pending => return None,
            Self::InService if self == Self::Pending => HostAct::Approve,
            Self::InService => HostAct::PutInService,
            Self::Draining => HostAct::Drain,
            Self::Maintenance => HostAct::PutInMaintenance,
            Self::Revoked => HostAct::Revoke,
        };
        self.acts().contains(&act).then_some(act)
    }
    /// Whether its agent may hold a link.
    pub fn may_link(self) -> bool {
        match self {
            Self::InService | Self::Draining | Self::Maintenance => true,
            Self::Pending | Self::Revoked => false,
        }
    }
}

crate::words! {
    pub enum HostLink ("state of a host's link") {
        Online = "online",
        Offline = "offline",
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Host {
    pub id: HostId,
    pub tenant: TenantId,
    /// Unique within the tenant.
    pub name: String,
    pub labels: Labels,
    pub intent: HostIntent,
    pub link: HostLink,
    /// When the link went up or down.
    pub link_since: Timestamp,
    pub last_heartbeat_at: Option<Timestamp>,
    pub agent_version: Option<String>,
    pub enrolled_at: Timestamp,
    /// Serial of the certificate in use, hex.
    pub certificate_serial: String,
    pub certificate_expires_at: Timestamp,
}

/// One reading of a host, sent with each heartbeat. All rates are over the time since the reading before.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct HostMetrics {
    pub at_ms: i64,
    /// 0 to 1 over all cores.
    pub cpu_used: f32,
    pub load_1m: f32,
    pub cores: u16,
    pub memory_used_bytes: u64,
    pub memory_total_bytes: u64,
    pub disk_used_bytes: u64,
    pub disk_total_bytes: u64,
    /// Share of time in which some task waited (PSI `some`), 0 to 1.
    pub psi_cpu: f32,
    pub psi_memory: f32,
    pub psi_io: f32,
    pub rx_bytes_per_s: u64,
    pub tx_bytes_per_s: u64,
    /// None where it runs no objects.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub objects: Option<ObjectMetrics>,
}

/// A host's objects, in a reading of the host.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct ObjectMetrics {
    /// In memory.
    pub live: u32,
    /// Processes, and what they have in memory together.
    pub engines: u32,
    pub memory_bytes: u64,
    /// Processors that they keep busy: 1 is one of them all the time.
    pub cpu: f32,
    /// Of clients, that came here.
    pub requests_per_s: f32,
    /// Those of them that failed.
    pub errors_per_s: f32,
}
