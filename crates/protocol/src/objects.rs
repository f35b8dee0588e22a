//! What hosts that run objects are told: which deployments there are, and which host has which objects. A host fetches it
//! with a request of its own ([`PLAN_PATH`], MessagePack) when its link comes up and when the link says that it changed
//! ([`crate::ToAgent::PlanChanged`]), and keeps it: with the server away, objects go on.
//!
//! The other way about, the server asks a host about its objects through the tunnel: [`control`].

pub mod control;

use domain::{
    deployments::{Binding, CodeLimits, Service},
    ids::{DeploymentId, HostId, NamespaceId, TenantId},
};
use serde::{Deserialize, Serialize};

/// Where the plan is fetched.
pub const PLAN_PATH: &str = "/agent/objects";
/// Below it each [`crate::bundle::Bundle`] by the SHA-256 of its bytes, in lower-case hexadecimal.
pub const BUNDLES_PATH: &str = "/agent/objects/bundles";
/// The largest plan, bytes.
pub const MAX_PLAN_BYTES: usize = 32 * 1024 * 1024;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    pub tenant: TenantId,
    /// The newest event of the server's when it was made; a plan of a lower one is older.
    pub revision: i64,
    pub deployments: Vec<Planned>,
    /// The hosts of the tenant that run objects; no other may ask for objects here.
    pub hosts: Vec<Peer>,
    /// The authority that signs hosts' certificates: by it hosts know each other.
    pub peers_ca_pem: String,
    /// Whose objects are to be deleted, with all that they hold.
    pub deleted: Vec<NamespaceId>,
}

/// What a deployment runs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Planned {
    pub id: DeploymentId,
    /// The first label of its address.
    pub name: String,
    pub version: u32,
    /// SHA-256 of its bundle.
    pub digest: [u8; 32],
    pub main: String,
    pub vars: Vec<(String, serde_json::Value)>,
    pub bindings: Vec<Binding>,
    /// Bindings to its own entry points.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub services: Vec<Service>,
    #[serde(default, skip_serializing_if = "CodeLimits::are_hosts")]
    pub limits: CodeLimits,
    pub classes: Vec<PlannedClass>,
    /// Which host has each group of objects, by the group's number; `None` where none has it yet.
    pub groups: Vec<Option<Holder>>,
}

/// A class and the namespace of its objects.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedClass {
    pub class: String,
    pub namespace: NamespaceId,
    /// With which the ids of its objects are authenticated.
    pub key: [u8; 32],
}

impl std::fmt::Debug for PlannedClass {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Whoever has the key makes ids that pass for the namespace's.
        f.debug_struct("PlannedClass")
            .field("class", &self.class)
            .field("namespace", &self.namespace)
            .finish_non_exhaustive()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    pub host: HostId,
    /// Fences what an earlier holder still has to say.
    pub epoch: u64,
}

/// A host that runs objects.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peer {
    pub host: HostId,
    pub name: String,
    /// `HOST:PORT` at which other hosts reach it.
    pub address: String,
}
