//! Hosts as REST, command line and pages see them.

use std::collections::BTreeMap;

use domain::hosts::{HostAct, HostIntent, HostLink};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Host {
    pub id: Uuid,
    pub name: String,
    pub labels: BTreeMap<String, String>,
    /// `pending`, `in-service`, `draining`, `maintenance` or `revoked`.
    pub intent: HostIntent,
    /// `online` or `offline`.
    pub link: HostLink,
    /// When the link went up or down; RFC 3339.
    pub link_since: String,
    /// RFC 3339; null if it never sent one.
    pub last_heartbeat_at: Option<String>,
    pub agent_version: Option<String>,
    pub enrolled_at: String,
    /// Hex; the certificate that the host uses now.
    pub certificate_serial: String,
    pub certificate_expires_at: String,
    /// The newest reading, while the host is online.
    pub metrics: Option<HostReading>,
    /// What an admin can do with it now: `approve`, `put-in-service`, `drain`, `put-in-maintenance`, `revoke`, `delete`.
    pub can: Vec<HostAct>,
}

/// One reading of a host.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct HostReading {
    /// Milliseconds since 1970 in UTC.
    pub at_ms: i64,
    /// 0 to 1 over all cores.
    pub cpu_used: f32,
    pub load_1m: f32,
    pub cores: u16,
    pub memory_used_bytes: u64,
    pub memory_total_bytes: u64,
    pub disk_used_bytes: u64,
    pub disk_total_bytes: u64,
    /// Share of time in which some task waited for it, 0 to 1.
    pub psi_cpu: f32,
    pub psi_memory: f32,
    pub psi_io: f32,
    pub rx_bytes_per_s: u64,
    pub tx_bytes_per_s: u64,
    /// Null where it runs no objects.
    #[serde(default)]
    pub objects: Option<ObjectReading>,
}

/// A host's objects, in a reading of the host.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ObjectReading {
    /// Objects in memory.
    pub live: u32,
    /// Processes that run them, and what these have in memory together.
    pub engines: u32,
    pub memory_bytes: u64,
    /// Processors that they keep busy: 1 is one of them all the time.
    pub cpu: f32,
    /// Requests that came to this host.
    pub requests_per_s: f32,
    /// Those of them that failed.
    pub errors_per_s: f32,
}

/// `GET /hosts/{id}/metrics`: the last ten minutes, oldest first, one reading every five seconds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct HostReadings {
    pub items: Vec<HostReading>,
}

/// `PATCH /hosts/{id}`: only what is given changes.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ChangeHost {
    /// `in-service`, `draining` or `maintenance`; approving and revoking have routes of their own.
    pub intent: Option<HostIntent>,
}

/// `DELETE /hosts/{id}`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::IntoParams))]
#[cfg_attr(feature = "openapi", into_params(parameter_in = Query))]
pub struct DeleteHost {
    /// So many deployments may lose the objects that they have on this host alone; 0 where it is left away. Where it has those of
    /// more, the host stays, and the refusal says of how many.
    #[serde(default)]
    pub lose_objects_of: u32,
}

/// `GET /hosts`: all that are given have to hold.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::IntoParams))]
#[cfg_attr(feature = "openapi", into_params(parameter_in = Query))]
pub struct ListHosts {
    /// Part of the name, in any case.
    pub name: Option<String>,
    /// `key=value,key=value`; all have to be there.
    pub labels: Option<String>,
    /// One of the words of an intent.
    #[cfg_attr(feature = "openapi", param(inline))]
    pub intent: Option<HostIntent>,
    /// `online` or `offline`.
    #[cfg_attr(feature = "openapi", param(inline))]
    pub link: Option<HostLink>,
    /// 1 to 500; 100 where it is left away.
    #[cfg_attr(feature = "openapi", param(minimum = 1, maximum = 500))]
    pub limit: Option<u64>,
    #[cfg_attr(feature = "openapi", param(min_length = 1))]
    pub cursor: Option<String>,
}

impl From<domain::hosts::HostMetrics> for HostReading {
    /// Named one by one, so that a reading that gains a field is not shown without it.
    fn from(metrics: domain::hosts::HostMetrics) -> Self {
        let domain::hosts::HostMetrics {
            at_ms,
            cpu_used,
            load_1m,
            cores,
            memory_used_bytes,
            memory_total_bytes,
            disk_used_bytes,
            disk_total_bytes,
            psi_cpu,
            psi_memory,
            psi_io,
            rx_bytes_per_s,
            tx_bytes_per_s,
            objects,
        } = metrics;
        HostReading {
            at_ms,
            cpu_used,
            load_1m,
            cores,
            memory_used_bytes,
            memory_total_bytes,
            disk_used_bytes,
            disk_total_bytes,
            psi_cpu,
            psi_memory,
            psi_io,
            rx_bytes_per_s,
            tx_bytes_per_s,
            objects: objects.map(ObjectReading::from),
        }
    }
}

impl From<domain::hosts::ObjectMetrics> for ObjectReading {
    fn from(metrics: domain::hosts::ObjectMetrics) -> Self {
        let domain::hosts::ObjectMetrics { live, engines, memory_bytes, cpu, requests_per_s, errors_per_s } = metrics;
        ObjectReading { live, engines, memory_bytes, cpu, requests_per_s, errors_per_s }
    }
}

impl Host {
    /// With its newest reading, which lies beside the record and not in it.
    pub fn new(host: domain::hosts::Host, metrics: Option<domain::hosts::HostMetrics>) -> Self {
        Host {
            id: host.id.uuid(),
            name: host.name,
            labels: host.labels.into(),
            can: host.intent.acts(),
            intent: host.intent,
            link: host.link,
            link_since: host.link_since.to_string(),
            last_heartbeat_at: host.last_heartbeat_at.map(|at| at.to_string()),
            agent_version: host.agent_version,
            enrolled_at: host.enrolled_at.to_string(),
            certificate_serial: host.certificate_serial,
            certificate_expires_at: host.certificate_expires_at.to_string(),
            metrics: metrics.map(HostReading::from),
        }
    }
}
