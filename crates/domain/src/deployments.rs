//! Deployments: versions of object workers' code under a name, and where their objects are.
//!
//! A deployment has many versions and runs one of them. Its objects keep what they store over versions: each class of
//! objects has a namespace, which [`migrate`] makes, renames and deletes as the code's configuration says.

mod directory;
mod migrations;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub use self::{
    directory::{Candidate, GROUPS, Group, Held, MAX_ADDRESS_BYTES, ObjectOffer, spread},
    migrations::{BadMigration, Class, MAX_CLASSES, Migrated, Migration, Rename, migrate},
};
use crate::ids::{DeploymentId, NamespaceId, PersonId, TenantId};

/// All modules of a version together, bytes.
pub const MAX_BUNDLE_BYTES: usize = 10 * 1024 * 1024;
pub const MAX_MODULES: usize = 1_000;
pub const MAX_BINDINGS: usize = 64;
pub const MAX_VARS: usize = 128;
/// All variables of a version together, bytes.
pub const MAX_VARS_BYTES: usize = 64 * 1024;
/// A module's name: a path without `.` and `..`.
pub const MAX_MODULE_NAME_BYTES: usize = 512;
/// The highest [`CodeLimits::cpu_ms`]: what Cloudflare documents.
pub const MAX_CPU_MS: u32 = 300_000;
/// A class, a binding, a variable.
pub const MAX_IDENTIFIER_BYTES: usize = 128;
/// What a version's maker says of it.
pub const MAX_NOTE_CHARS: usize = 500;
/// Versions of one deployment that are kept; the oldest that do not run go.
pub const KEPT_VERSIONS: u32 = 100;
/// Deployments of a tenant.
pub const MAX_DEPLOYMENTS: u32 = 500;
/// What the versions that a tenant runs say of themselves ([`Code`]), together: every host that runs objects is told of all.
pub const MAX_RUNNING_BYTES: u64 = 8 * 1024 * 1024;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deployment {
    pub id: DeploymentId,
    pub tenant: TenantId,
    /// The first part of its address.
    pub name: String,
    /// The version that runs.
    pub version: u32,
    pub created_by: PersonId,
    pub created_by_name: String,
    pub created_at: Timestamp,
    /// When its version changed last.
    pub changed_at: Timestamp,
    /// Rises with each change.
    pub generation: i64,
}

/// One state of a deployment's code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    pub deployment: DeploymentId,
    /// 1 is the first.
    pub number: u32,
    pub code: Code,
    pub bundle: Digest,
    pub bundle_bytes: u64,
    pub note: String,
    pub created_by: PersonId,
    pub created_by_name: String,
    pub created_at: Timestamp,
}

/// SHA-256 of a version's modules, as they are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(pub [u8; 32]);

/// What a version says of itself, without its modules' text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Code {
    /// Name of the module whose exports are the deployment's.
    pub main: String,
    pub modules: Vec<ModuleInfo>,
    /// Plain values in `env`: name and JSON.
    pub vars: Vec<(String, serde_json::Value)>,
    pub bindings: Vec<Binding>,
    /// To its own entry points.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub services: Vec<Service>,
    #[serde(default, skip_serializing_if = "CodeLimits::are_hosts")]
    pub limits: CodeLimits,
    pub migrations: Vec<Migration>,
}

/// What a version limits itself to. Hosts have limits of their own, of which it gets no more.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CodeLimits {
    /// Processor time of one event, 1 to [`MAX_CPU_MS`] milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_ms: Option<u32>,
}

impl CodeLimits {
    /// It leaves all of them to the hosts.
    pub fn are_hosts(&self) -> bool {
        *self == Self::default()
    }
}

crate::words! {
    /// How a module is imported.
    pub enum ModuleKind ("kind of module") {
        Esm = "esm",
        Text = "text",
        Json = "json",
        Data = "data",
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModuleInfo {
    pub name: String,
    pub kind: ModuleKind,
    pub bytes: u64,
}

/// A name in `env` for the objects of a class.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Binding {
    pub name: String,
    pub class: String,
}

/// A name in `env` for an entry point of the deployment itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Service {
    pub name: String,
    /// `default`, or the name of a class.
    pub entrypoint: String,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadCode {
    #[error("the main module '{0}' is not among the modules")]
    NoMain(String),
    #[error("the main module '{0}' is no JavaScript module")]
    MainKind(String),
    #[error("'{0}' is no name of a module: a path as in 'lib/a.js', without '.', '..' and an empty part")]
    ModuleName(String),
    #[error("there are two modules '{0}'")]
    TwoModules(String),
    #[error("{count} {what}; at most {most}")]
    TooMany { what: &'static str, count: usize, most: usize },
    #[error("{bytes} bytes of {what}; at most {most}")]
    TooLarge { what: &'static str, bytes: u64, most: usize },
    #[error(
        "'{name}' is no name of a {what}: 1 to {MAX_IDENTIFIER_BYTES} letters, digits, '_' or '$', not beginning with a digit"
    )]
    Identifier { what: &'static str, name: String },
    #[error("cpu_ms is {0}: 1 to {MAX_CPU_MS} milliseconds are possible")]
    CpuMs(u32),
    #[error("env.{0} is given twice")]
    TwoInEnv(String),
}

fn identifier(what: &'static str, name: &str) -> Result<(), BadCode> {
    let fits = (1..=MAX_IDENTIFIER_BYTES).contains(&name.len())
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && name.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '$'));
    if fits { Ok(()) } else { Err(BadCode::Identifier { what, name: shortened(name) }) }
}

fn shortened(name: &str) -> String {
    name.chars().take(64).collect()
}

fn within(what: &'static str, count: usize, most: usize) -> Result<(), BadCode> {
    if count <= most { Ok(()) } else { Err(BadCode::TooMany { what, count, most }) }
}

impl Code {
    pub fn check(&self) -> Result<(), BadCode> {
        self.check_modules()?;
        within("bindings", self.bindings.len() + self.services.len(), MAX_BINDINGS)?;
        within("variables", self.vars.len(), MAX_VARS)?;
        let mut env: Vec<&str> = Vec::new();
        for (name, _) in &self.vars {
            identifier("variable", name)?;
            env.push(name);
        }
        for Binding { name, class } in &self.bindings {
            identifier("binding", name)?;
            identifier("class", class)?;
            env.push(name);
        }
        for Service { name, entrypoint } in &self.services {
            identifier("binding", name)?;
            identifier("entry point", entrypoint)?;
            env.push(name);
        }
        env.sort_unstable();
        if let Some(twice) = env.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(BadCode::TwoInEnv(twice[0].to_owned()));
        }
        let bytes = self.vars.iter().map(|(_, value)| value.to_string().len()).sum::<usize>();
        if bytes > MAX_VARS_BYTES {
            return Err(BadCode::TooLarge { what: "variables", bytes: bytes as u64, most: MAX_VARS_BYTES });
        }
        if let Some(cpu_ms) = self.limits.cpu_ms.filter(|cpu_ms| !(1..=MAX_CPU_MS).contains(cpu_ms)) {
            return Err(BadCode::CpuMs(cpu_ms));
        }
        Ok(())
    }

    fn check_modules(&self) -> Result<(), BadCode> {
        within("modules", self.modules.len(), MAX_MODULES)?;
        let bytes = self.modules.iter().map(|module| module.bytes).sum::<u64>();
        if bytes > MAX_BUNDLE_BYTES as u64 {
            return Err(BadCode::TooLarge { what: "modules", bytes, most: MAX_BUNDLE_BYTES });
        }
        let mut names: Vec<&str> = Vec::new();
        for ModuleInfo { name, .. } in &self.modules {
            let is_path = name.len() <= MAX_MODULE_NAME_BYTES
                && name.split('/').all(|part| !matches!(part, "" | "." | ".."))
                && !name.chars().any(|c| c.is_control() || c == '\\');
            if !is_path {
                return Err(BadCode::ModuleName(shortened(name)));
            }
            names.push(name);
        }
        names.sort_unstable();
        if let Some(twice) = names.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(BadCode::TwoModules(twice[0].to_owned()));
        }
        match self.modules.iter().find(|module| module.name == self.main) {
            None => Err(BadCode::NoMain(shortened(&self.main))),
            Some(module) if module.kind != ModuleKind::Esm => Err(BadCode::MainKind(shortened(&self.main))),
            Some(_) => Ok(()),
        }
    }
}

/// The objects of one class.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Namespace {
    pub id: NamespaceId,
    pub deployment: DeploymentId,
    /// As the code that runs calls it.
    pub class: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn module(name: &str) -> ModuleInfo {
        ModuleInfo { name: name.to_owned(), kind: ModuleKind::Esm, bytes: 10 }
    }

    pub(super) fn good() -> Code {
        Code {
            main: "index.js".to_owned(),
            modules: vec![module("index.js"), module("lib/a.js")],
            vars: vec![("GREETING".to_owned(), "hello".into())],
            bindings: vec![Binding { name: "ROOMS".to_owned(), class: "Room".to_owned() }],
            services: vec![Service { name: "SELF".to_owned(), entrypoint: "default".to_owned() }],
            limits: CodeLimits { cpu_ms: Some(50) },
            migrations: Vec::new(),
        }
    }

    fn check(change: &dyn Fn(&mut Code), expected: Result<(), &str>) {
        let mut code = good();
        change(&mut code);
        let said = code.check();
        assert!(
            match (&said, expected) {
                (Ok(()), Ok(())) => true,
                (Err(said), Err(expected)) => said.to_string().contains(expected),
                (Ok(()), Err(_)) | (Err(_), Ok(())) => false,
            },
            "{said:?}, not {expected:?}"
        );
    }

    #[test]
    fn what_cannot_be_run_is_refused() {
        check(&|_| {}, Ok(()));
        check(&|code| code.main = "other.js".to_owned(), Err("'other.js' is not among"));
        check(&|code| code.modules[0].kind = ModuleKind::Text, Err("no JavaScript module"));
        for name in ["", "/etc/passwd", "../a.js", "a//b.js", "a/./b.js", "a\\b.js", "a\nb.js"] {
            check(&|code| code.modules[1].name = name.to_owned(), Err("is no name of a module"));
        }
        check(&|code| code.modules.push(module("lib/a.js")), Err("two modules 'lib/a.js'"));
        check(&|code| code.modules[1].bytes = MAX_BUNDLE_BYTES as u64, Err("bytes of modules"));
        let many = |count: usize| (0..count).map(|number| module(&format!("{number}.js"))).collect::<Vec<_>>();
        check(&|code| code.modules.extend(many(MAX_MODULES - 2)), Ok(()));
        check(&|code| code.modules.extend(many(MAX_MODULES - 1)), Err("modules; at most 1000"));
    }

    #[test]
    fn limits_are_within_reason() {
        check(&|code| code.limits.cpu_ms = Some(MAX_CPU_MS), Ok(()));
        for cpu_ms in [0, MAX_CPU_MS + 1] {
            check(&|code| code.limits.cpu_ms = Some(cpu_ms), Err("cpu_ms"));
        }
    }

    #[test]
    fn what_env_cannot_hold_is_refused() {
        check(&|code| code.bindings[0].name = "GREETING".to_owned(), Err("env.GREETING is given twice"));
        check(&|code| code.bindings[0].name = "1".to_owned(), Err("is no name of a binding"));
        check(&|code| code.bindings[0].class = "A B".to_owned(), Err("is no name of a class"));
        check(&|code| code.services[0].name = "ROOMS".to_owned(), Err("env.ROOMS is given twice"));
        check(&|code| code.services[0].entrypoint = "A B".to_owned(), Err("is no name of a entry point"));
        check(&|code| code.vars[0].0 = "a-b".to_owned(), Err("is no name of a variable"));
        check(&|code| code.vars[0].1 = "x".repeat(MAX_VARS_BYTES).into(), Err("bytes of variables"));
    }
}
