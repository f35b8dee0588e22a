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
}
