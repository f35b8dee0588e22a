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

#[cfg(test)]
mod tests {
    use domain::deployments::{
        GROUPS, MAX_ADDRESS_BYTES, MAX_CLASSES, MAX_DEPLOYMENTS, MAX_IDENTIFIER_BYTES, MAX_RUNNING_BYTES,
    };

    use super::*;

    /// As `services::objects` has them.
    const HOSTS: usize = 10_000;
    const DELETED: usize = 10_000;

    fn bytes(value: &impl Serialize) -> usize {
        rmp_serde::to_vec_named(value).expect("encodes").len()
    }

    #[test]
    fn the_largest_plan_that_can_come_about_can_be_told() {
        let holder = Holder { host: HostId::new(), epoch: u64::MAX };
        let class =
            PlannedClass { class: "x".repeat(MAX_IDENTIFIER_BYTES), namespace: NamespaceId::new(), key: [0xff; 32] };
        let planned = Planned {
            id: DeploymentId::new(),
            name: "x".repeat(64),
            version: u32::MAX,
            digest: [0xff; 32],
            main: String::new(),
            vars: Vec::new(),
            bindings: Vec::new(),
            services: Vec::new(),
            limits: CodeLimits::default(),
            classes: vec![class; MAX_CLASSES],
            groups: vec![Some(holder); usize::from(GROUPS)],
        };
        let peer = Peer { host: HostId::new(), name: "x".repeat(63), address: "x".repeat(MAX_ADDRESS_BYTES) };
        // The rest is the versions' own, which is kept as JSON: what grows most in the plan is a number such as `0.5`.
        let numbers = serde_json::json!(vec![0.5; 1_000]);
        let running = usize::try_from(MAX_RUNNING_BYTES).expect("small");
        let of_versions = running * bytes(&numbers) / numbers.to_string().len();
        let all = [
            usize::try_from(MAX_DEPLOYMENTS).expect("small") * bytes(&planned),
            of_versions,
            HOSTS * bytes(&peer),
            DELETED * bytes(&NamespaceId::new()),
        ];
        let sum: usize = all.iter().sum();
        assert!(sum < MAX_PLAN_BYTES * 31 / 32, "{all:?}");
    }
}
