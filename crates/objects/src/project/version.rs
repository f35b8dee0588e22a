//! A project as a host takes it.

use std::{collections::HashSet, fs, io, io::Read, os::unix::fs::OpenOptionsExt, path::Path};

use hmac::{Hmac, Mac};
use sha2::{Digest, Sha256};

use super::{Config, Project};
use crate::{
    host::{
        deployment::{NamespaceInfo, Version},
        outgoing::Policy,
    },
    wire::Limits,
};

/// What the ids of a host's objects are authenticated with.
#[derive(Clone)]
pub struct Secret([u8; 32]);

impl Secret {
    pub fn of(bytes: [u8; 32]) -> Self {
        Secret(bytes)
    }

    /// The one in the file, which is made if it is not there.
    pub fn in_file(path: &Path) -> io::Result<Self> {
        let mut bytes = [0; 32];
        match fs::File::open(path) {
            Ok(mut file) => {
                file.read_exact(&mut bytes)?;
                return Ok(Secret(bytes));
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        rand::fill(&mut bytes);
        // Whole or not there at all, whenever this process ends.
        let next = path.with_extension("next");
        let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&next)?;
        io::Write::write_all(&mut file, &bytes)?;
        file.sync_all()?;
        fs::rename(&next, path)?;
        Ok(Secret(bytes))
    }

    fn key(&self, deployment: &str, class: &str) -> [u8; 32] {
        // Any length of key is possible for this function.
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(&self.0) else { return [0; 32] };
        mac.update(deployment.as_bytes());
        mac.update(&[0]);
        mac.update(class.as_bytes());
        mac.finalize().into_bytes().into()
    }
}

/// A class keeps its objects when it is renamed by a migration: what counts is the name it had first.
fn first_name<'a>(config: &'a Config, class: &'a str) -> &'a str {
    let mut name = class;
    for migration in config.migrations.iter().rev() {
        if let Some(renamed) = migration.renamed_classes.iter().find(|renamed| renamed.to == name) {
            name = &renamed.from;
        }
    }
    name
}

fn uid(deployment: &str, class: &str) -> [u8; 16] {
    let digest = Sha256::new().chain_update(deployment).chain_update([0]).chain_update(class).finalize();
    let mut uid = [0; 16];
    uid.copy_from_slice(&digest[..16]);
    uid
}

impl Project {
    /// What outgoing requests may reach beyond the public network.
    pub fn policy(&self) -> Policy {
        let allowed: HashSet<String> =
            self.config.berth.allow_private.iter().map(|name| name.to_ascii_lowercase()).collect();
        Policy { allowed }
    }

    pub fn into_version(self, number: u64, secret: &Secret, limits: Limits) -> Version {
        let name = &self.config.name;
        let namespaces = self.config.durable_objects.bindings.iter().map(|binding| {
            let class = first_name(&self.config, &binding.class_name);
            NamespaceInfo {
                uid: uid(name, class),
                binding: binding.name.clone(),
                class: binding.class_name.clone(),
                key: secret.key(name, class),
            }
        });
        Version {
            number,
            namespaces: namespaces.collect(),
            services: self.config.own_services(),
            vars: self.config.vars.iter().map(|(name, value)| (name.clone(), value.to_string())).collect(),
            modules: self.modules,
            main: self.main,
            limits: limits.with_cpu_ms(self.config.limits.cpu_ms),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_renamed_class_keeps_its_objects() {
        let directory = tempfile::tempdir().expect("a directory");
        let config = |class: &str, migrations: &str| {
            let text = format!(
                "name = \"a\"\nmain = \"x.js\"\n[[durable_objects.bindings]]\nname = \"B\"\nclass_name = \"{class}\"\n{migrations}"
            );
            fs::write(directory.path().join("wrangler.toml"), text).expect("is written");
            fs::write(directory.path().join("x.js"), "").expect("is written");
            let project = Project::read(directory.path()).expect("is read");
            let secret = Secret::in_file(&directory.path().join("secret")).expect("is made");
            let version = project.into_version(1, &secret, Limits::default());
            (version.namespaces[0].uid, version.namespaces[0].key)
        };
        let renamed = "[[migrations]]\ntag = \"1\"\nnew_classes = [\"Old\"]\n[[migrations]]\ntag = \"2\"\n\
            renamed_classes = [{ from = \"Old\", to = \"New\" }]\n";
        assert_eq!(config("Old", ""), config("New", renamed));
        assert_ne!(config("Old", ""), config("New", ""));
    }
}
