//! What the agent keeps of the server's plan, so that objects go on without it: the plan itself, with the keys of
//! namespaces in it, and the bundles that it names. For its owner alone to read.

use std::{
    collections::BTreeSet,
    fs, io,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
};

use domain::deployments::{GROUPS, MAX_BINDINGS, MAX_BUNDLE_BYTES, MAX_DEPLOYMENTS};
use protocol::{
    bundle::{Bundle, BundleError},
    objects::{MAX_PLAN_BYTES, Plan, Planned, control::Refused},
};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::whole;

/// What a bundle's encoding and the names in it add to its modules, at most.
const BUNDLE_OVERHEAD_BYTES: usize = 2 * 1024 * 1024;
pub const MAX_ENCODED_BUNDLE_BYTES: usize = MAX_BUNDLE_BYTES + BUNDLE_OVERHEAD_BYTES;
const MAX_HOSTS: usize = 100_000;
const MAX_REASON_BYTES: usize = 1_000;

#[derive(Debug, thiserror::Error)]
pub enum BadPlan {
    #[error("it is no plan: {0}")]
    Decode(#[from] rmp_serde::decode::Error),
    #[error("{count} {what}; at most {most}")]
    TooMany { what: &'static str, count: usize, most: usize },
    #[error("there are two {what} '{name}'")]
    Twice { what: &'static str, name: String },
    #[error("'{name}' has {count} groups, not {GROUPS}")]
    Groups { name: String, count: usize },
    #[error("'{name}' binds the class '{class}', of which it has no namespace")]
    NoClass { name: String, class: String },
}

fn within(what: &'static str, count: usize, most: usize) -> Result<(), BadPlan> {
    if count <= most { Ok(()) } else { Err(BadPlan::TooMany { what, count, most }) }
}

/// Reads a plan and checks what the agent relies on.
pub fn read_plan(bytes: &[u8]) -> Result<Plan, BadPlan> {
    within("bytes", bytes.len(), MAX_PLAN_BYTES)?;
    let plan: Plan = rmp_serde::from_slice(bytes)?;
    within("deployments", plan.deployments.len(), MAX_DEPLOYMENTS as usize)?;
    within("hosts", plan.hosts.len(), MAX_HOSTS)?;
    let (mut ids, mut names) = (BTreeSet::new(), BTreeSet::new());
    for planned in &plan.deployments {
        if !ids.insert(planned.id) {
            return Err(BadPlan::Twice { what: "deployments", name: planned.id.to_string() });
        }
        if !names.insert(&planned.name) {
            return Err(BadPlan::Twice { what: "deployments", name: planned.name.clone() });
        }
        check(planned)?;
    }
    let mut hosts = BTreeSet::new();
    match plan.hosts.iter().find(|peer| !hosts.insert(peer.host)) {
        Some(peer) => Err(BadPlan::Twice { what: "hosts", name: peer.host.to_string() }),
        None => Ok(plan),
    }
}

fn check(planned: &Planned) -> Result<(), BadPlan> {
    let name = || planned.name.clone();
    within("bindings", planned.bindings.len() + planned.services.len(), MAX_BINDINGS)?;
    if planned.groups.len() != usize::from(GROUPS) {
        return Err(BadPlan::Groups { name: name(), count: planned.groups.len() });
    }
    let known = |class: &str| planned.classes.iter().any(|known| known.class == class);
    match planned.bindings.iter().find(|binding| !known(&binding.class)) {
        Some(binding) => Err(BadPlan::NoClass { name: name(), class: binding.class.clone() }),
        None => Ok(()),
    }
}

#[derive(Debug, thiserror::Error)]
pub enum KeptError {
    #[error("{path}: {source}")]
    File { path: PathBuf, source: io::Error },
    #[error("{path} is damaged: {source}")]
    Plan { path: PathBuf, source: BadPlan },
    #[error("{path} cannot be written: {source}")]
    Encode { path: PathBuf, source: rmp_serde::encode::Error },
    #[error("the work was interrupted: {0}")]
    Interrupted(#[from] tokio::task::JoinError),
}

/// A version that does not load.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct KeptRefusal {
    pub planned: Planned,
    pub refused: Refused,
    /// What runs in its place.
    pub before: Option<Planned>,
}

#[derive(Debug, thiserror::Error)]
pub enum BadBundle {
    #[error("it is {0} bytes; at most {MAX_ENCODED_BUNDLE_BYTES}")]
    TooLarge(usize),
    #[error("its bytes are not those that the plan names")]
    Digest,
    #[error(transparent)]
    Decode(#[from] BundleError),
}

/// The bundle of this digest, whoever gave the bytes.
pub fn read_bundle(digest: &[u8; 32], bytes: &[u8]) -> Result<Bundle, BadBundle> {
    if bytes.len() > MAX_ENCODED_BUNDLE_BYTES {
        return Err(BadBundle::TooLarge(bytes.len()));
    }
    if Sha256::digest(bytes).as_slice() != digest {
        return Err(BadBundle::Digest);
    }
    Ok(Bundle::decode(bytes)?)
}

/// The directory. Its functions block.
#[derive(Debug, Clone)]
pub struct Kept(PathBuf);

fn failed(path: &Path) -> impl FnOnce(io::Error) -> KeptError {
    let path = path.to_owned();
    move |source| KeptError::File { path, source }
}

fn read(path: &Path, limit: usize) -> Result<Option<Vec<u8>>, KeptError> {
    match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed(path)(error)),
        Ok(found) if found.len() > limit as u64 => Err(failed(path)(io::ErrorKind::FileTooLarge.into())),
        Ok(_) => fs::read(path).map(Some).map_err(failed(path)),
    }
}

fn entries(directory: &Path) -> Result<Vec<PathBuf>, KeptError> {
    let entries = fs::read_dir(directory).map_err(failed(directory))?;
    entries.map(|entry| Ok(entry.map_err(failed(directory))?.path())).collect()
}

fn remove(path: &Path) -> Result<(), KeptError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed(path)(error)),
        Ok(()) | Err(_) => Ok(()),
    }
}

impl Kept {
    pub fn open(directory: &Path) -> Result<Self, KeptError> {
        let this = Self(directory.to_owned());
        for below in [this.bundles(), this.all_tried()] {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(&below).map_err(failed(&below))?;
        }
        Ok(this)
    }

    pub fn plan_path(&self) -> PathBuf {
        self.0.join("plan")
    }
    fn bundles(&self) -> PathBuf {
        self.0.join("bundles")
    }
    fn all_tried(&self) -> PathBuf {
        self.0.join("tried")
    }
    fn bundle_path(&self, digest: &[u8; 32]) -> PathBuf {
        self.bundles().join(hex::encode(digest))
    }

    pub fn plan(&self) -> Result<Option<Plan>, KeptError> {
        let path = self.plan_path();
        let Some(bytes) = read(&path, MAX_PLAN_BYTES)? else { return Ok(None) };
        read_plan(&bytes).map(Some).map_err(|source| KeptError::Plan { path, source })
    }

    /// `bytes` are a plan's, as it was read from the server.
    pub fn keep_plan(&self, bytes: &[u8]) -> Result<(), KeptError> {
        let path = self.plan_path();
        whole::write(&path, bytes).map_err(failed(&path))
    }

    /// None if it is not here, or not whole.
    pub fn bundle(&self, digest: &[u8; 32]) -> Result<Option<Bundle>, KeptError> {
        let path = self.bundle_path(digest);
        let Some(bytes) = read(&path, MAX_ENCODED_BUNDLE_BYTES)? else { return Ok(None) };
        match read_bundle(digest, &bytes) {
            Ok(bundle) => Ok(Some(bundle)),
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "a bundle is damaged and is fetched again");
                Ok(None)
            }
        }
    }

    pub fn keep_bundle(&self, digest: &[u8; 32], bytes: &[u8]) -> Result<(), KeptError> {
        let path = self.bundle_path(digest);
        whole::write(&path, bytes).map_err(failed(&path))
    }

    /// Versions that do not load, with what runs in their place.
    pub fn refused(&self) -> Result<Vec<KeptRefusal>, KeptError> {
        let path = self.0.join("refused");
        let Some(bytes) = read(&path, MAX_PLAN_BYTES)? else { return Ok(Vec::new()) };
        rmp_serde::from_slice(&bytes).map_err(|error| KeptError::Plan { path, source: error.into() })
    }

    pub fn keep_refused(&self, refused: &[KeptRefusal]) -> Result<(), KeptError> {
        let path = self.0.join("refused");
        if refused.is_empty() {
            return remove(&path);
        }
        let bytes =
            rmp_serde::to_vec_named(refused).map_err(|source| KeptError::Encode { path: path.clone(), source })?;
        whole::write(&path, &bytes).map_err(failed(&path))
    }

    /// The last version of each deployment that was found to load. One whose file is damaged is left out.
    pub fn tried(&self) -> Result<Vec<Planned>, KeptError> {
        let mut tried = Vec::new();
        for path in entries(&self.all_tried())? {
            let Some(bytes) = read(&path, MAX_PLAN_BYTES)? else { continue };
            match rmp_serde::from_slice(&bytes) {
                Ok(planned) => tried.push(planned),
                Err(error) => tracing::warn!(path = %path.display(), %error, "is damaged: that version is tried again"),
            }
        }
        Ok(tried)
    }

    pub fn keep_tried(&self, planned: &Planned) -> Result<(), KeptError> {
        let path = self.all_tried().join(planned.id.to_string());
        let bytes =
            rmp_serde::to_vec_named(planned).map_err(|source| KeptError::Encode { path: path.clone(), source })?;
        whole::write(&path, &bytes).map_err(failed(&path))
    }

    /// Why this host may run no objects, if it may not.
    pub fn barred(&self) -> Result<Option<String>, KeptError> {
        let bytes = read(&self.0.join("barred"), MAX_REASON_BYTES)?;
        Ok(bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
    }

    pub fn keep_barred(&self, why: Option<&str>) -> Result<(), KeptError> {
        let path = self.0.join("barred");
        match why {
            Some(why) => {
                let end = (0..=why.len().min(MAX_REASON_BYTES)).rev().find(|at| why.is_char_boundary(*at)).unwrap_or(0);
                whole::write(&path, &why.as_bytes()[..end]).map_err(failed(&path))
            }
            None => remove(&path),
        }
    }

    /// Removes the bundles that nobody names, and what is known of other deployments.
    pub fn forget_others<'a>(&self, named: impl Iterator<Item = &'a Planned>) -> Result<(), KeptError> {
        let (digests, ids): (BTreeSet<String>, BTreeSet<String>) =
            named.map(|planned| (hex::encode(planned.digest), planned.id.to_string())).unzip();
        for (below, wanted) in [(self.bundles(), digests), (self.all_tried(), ids)] {
            for path in entries(&below)? {
                let name = path.file_name().and_then(|name| name.to_str());
                if name.is_none_or(|name| !wanted.contains(name)) {
                    fs::remove_file(&path).map_err(failed(&path))?;
                }
            }
        }
        Ok(())
    }
}
