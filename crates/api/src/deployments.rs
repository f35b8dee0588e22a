//! Deployments of object workers, as REST v1, the command line and the pages see them.

use std::collections::BTreeMap;

use domain::{
    access::{Action, Actor},
    deployments::ModuleKind,
};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

#[cfg(feature = "project")]
mod project;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Deployment {
    pub id: Uuid,
    /// The first part of its address.
    pub name: String,
    /// Where it answers: an origin such as `http://chat.localhost:8080`.
    pub address: String,
    /// The version that runs.
    pub version: u32,
    pub person: String,
    pub person_id: Uuid,
    /// RFC 3339.
    pub created_at: String,
    /// RFC 3339; when its version changed last.
    pub changed_at: String,
    /// Whether the caller may deploy to it, have other versions run, and delete it.
    pub can_manage: bool,
}

impl Deployment {
    /// As `actor` sees it, who reaches it at `address`.
    pub fn new(deployment: domain::deployments::Deployment, actor: &Actor, address: String) -> Self {
        let permit = actor.permit(Action::DeploymentsManage);
        Self {
            id: deployment.id.uuid(),
            name: deployment.name,
            address,
            version: deployment.version,
            can_manage: permit.is_ok_and(|permit| permit.check_owner(deployment.created_by).is_ok()),
            person: deployment.created_by_name,
            person_id: deployment.created_by.uuid(),
            created_at: deployment.created_at.to_string(),
            changed_at: deployment.changed_at.to_string(),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DeploymentVersion {
    /// 1 is the first.
    pub number: u32,
    pub main: String,
    pub modules: Vec<ModuleInfo>,
    /// Of all modules together.
    pub bytes: u64,
    /// SHA-256 of the modules, hexadecimal.
    pub digest: String,
    /// Plain values in `env`; null to those who may not deploy to it.
    pub vars: BTreeMap<String, serde_json::Value>,
    pub bindings: Vec<Binding>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub services: Vec<Service>,
    #[serde(default)]
    pub limits: CodeLimits,
    pub note: String,
    pub person: String,
    pub person_id: Uuid,
    /// RFC 3339.
    pub created_at: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ModuleInfo {
    pub name: String,
    pub kind: ModuleKind,
    pub bytes: u64,
}

impl From<domain::deployments::Version> for DeploymentVersion {
    fn from(version: domain::deployments::Version) -> Self {
        let domain::deployments::Code { main, modules, vars, bindings, services, limits, migrations: _ } = version.code;
        let info = |domain::deployments::ModuleInfo { name, kind, bytes }| ModuleInfo { name, kind, bytes };
        Self {
            number: version.number,
            main,
            modules: modules.into_iter().map(info).collect(),
            bytes: version.bundle_bytes,
            digest: version.bundle.0.iter().map(|byte| format!("{byte:02x}")).collect(),
            vars: vars.into_iter().collect(),
            bindings: bindings.into_iter().map(Into::into).collect(),
            services: services.into_iter().map(Into::into).collect(),
            limits: limits.into(),
            note: version.note,
            person: version.created_by_name,
            person_id: version.created_by.uuid(),
            created_at: version.created_at.to_string(),
        }
    }
}

/// A name in `env` for the objects of a class.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Binding {
    #[cfg_attr(feature = "openapi", schema(min_length = 1, max_length = 128))]
    pub name: String,
    #[cfg_attr(feature = "openapi", schema(min_length = 1, max_length = 128))]
    pub class: String,
}

impl From<domain::deployments::Binding> for Binding {
    fn from(domain::deployments::Binding { name, class }: domain::deployments::Binding) -> Self {
        Self { name, class }
    }
}

impl From<Binding> for domain::deployments::Binding {
    fn from(Binding { name, class }: Binding) -> Self {
        Self { name, class }
    }
}

/// A name in `env` for an entry point of the deployment itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Service {
    #[cfg_attr(feature = "openapi", schema(min_length = 1, max_length = 128))]
    pub name: String,
    /// `default`, or the name of a class that extends `WorkerEntrypoint`.
    #[cfg_attr(feature = "openapi", schema(min_length = 1, max_length = 128))]
    pub entrypoint: String,
}

impl From<domain::deployments::Service> for Service {
    fn from(domain::deployments::Service { name, entrypoint }: domain::deployments::Service) -> Self {
        Self { name, entrypoint }
    }
}

impl From<Service> for domain::deployments::Service {
    fn from(Service { name, entrypoint }: Service) -> Self {
        Self { name, entrypoint }
    }
}

/// What a version limits itself to. Hosts have limits of their own, of which it gets no more.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CodeLimits {
    /// Processor time of one event, milliseconds.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(minimum = 1, maximum = 300_000))]
    pub cpu_ms: Option<u32>,
}

impl CodeLimits {
    /// It leaves all of them to the hosts.
    pub fn are_hosts(&self) -> bool {
        *self == Self::default()
    }
}

impl From<domain::deployments::CodeLimits> for CodeLimits {
    fn from(domain::deployments::CodeLimits { cpu_ms }: domain::deployments::CodeLimits) -> Self {
        Self { cpu_ms }
    }
}

impl From<CodeLimits> for domain::deployments::CodeLimits {
    fn from(CodeLimits { cpu_ms }: CodeLimits) -> Self {
        Self { cpu_ms }
    }
}

/// `POST /deployments`: a new version, under a new name or one of the caller's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Deploy {
    /// The first part of its address: 1 to 40 small letters, digits or `-`.
    #[cfg_attr(feature = "openapi", schema(min_length = 1, max_length = 40))]
    pub name: String,
    /// Name of the module whose exports are the deployment's.
    #[cfg_attr(feature = "openapi", schema(min_length = 1, max_length = 512))]
    pub main: String,
    #[cfg_attr(feature = "openapi", schema(min_items = 1, max_items = 1_000))]
    pub modules: Vec<Module>,
    /// Plain values in `env`.
    #[serde(default)]
    pub vars: BTreeMap<String, serde_json::Value>,
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(max_items = 64))]
    pub bindings: Vec<Binding>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "openapi", schema(max_items = 64))]
    pub services: Vec<Service>,
    #[serde(default, skip_serializing_if = "CodeLimits::are_hosts")]
    pub limits: CodeLimits,
    /// All that there ever were, in order: those behind the one that was taken last are taken.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(max_items = 200))]
    pub migrations: Vec<Migration>,
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(max_length = 500))]
    pub note: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Module {
    /// As other modules import it, relative to the root: `lib/a.js`.
    #[cfg_attr(feature = "openapi", schema(min_length = 1, max_length = 512))]
    pub name: String,
    pub kind: ModuleKind,
    /// Its content, or `base64`.
    #[serde(default)]
    pub text: Option<String>,
    #[serde(default)]
    pub base64: Option<String>,
}

/// What becomes of classes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Migration {
    #[cfg_attr(feature = "openapi", schema(min_length = 1, max_length = 128))]
    pub tag: String,
    #[serde(default)]
    pub new: Vec<String>,
    #[serde(default)]
    pub renamed: Vec<RenamedClass>,
    /// With all that their objects hold.
    #[serde(default)]
    pub deleted: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RenamedClass {
    pub from: String,
    pub to: String,
}

impl From<Migration> for domain::deployments::Migration {
    fn from(Migration { tag, new, renamed, deleted }: Migration) -> Self {
        let rename = |RenamedClass { from, to }| domain::deployments::Rename { from, to };
        Self { tag, new, renamed: renamed.into_iter().map(rename).collect(), deleted }
    }
}

/// What a deployment came to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Deployed {
    pub deployment: Deployment,
    pub version: DeploymentVersion,
    /// False where what runs was just this already.
    pub is_new: bool,
}

/// `POST /deployments/{id}/run`: which version runs from now on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RunVersion {
    #[cfg_attr(feature = "openapi", schema(minimum = 1))]
    pub version: u32,
}
