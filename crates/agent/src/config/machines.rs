//! `[[machines]]`: what each machine of the host is, what it may have and what its environments reach.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use domain::{
    environments::MAX_SETUP_BYTES,
    labels::Labels,
    machines::{MachineKind, MachineLimits},
};
use protocol::OfferedMachine;
use serde::Deserialize;
use toml::Spanned;

use super::{Bytes, Checker, MIN_MEMORY_BYTES};

const MAX_NAME_BYTES: usize = 63;
const MAX_LOOPBACK_PORTS: usize = 32;
const MIN_PIDS: u32 = 8;
const MIN_DISK_BYTES: u64 = 16 * 1024 * 1024;

/// One machine that the host offers.
#[derive(Debug, Clone, PartialEq)]
pub struct MachineConfig {
    pub name: String,
    pub kind: MachineKind,
    pub labels: Labels,
    pub limits: MachineLimits,
    /// Sandbox: the tree whose copy-on-write copy is the environment's root.
    pub root: PathBuf,
    /// Container: the image unless the reservation asks for another.
    pub image: Option<String>,
    pub network: Network,
    /// Host directories that the environment may write to, at the same path. A revert compares them.
    pub writable: Vec<PathBuf>,
    /// More host paths that the sandbox must not see.
    pub hide: Vec<PathBuf>,
    /// Script that every session's environment is set up with, before the reservation's own.
    pub setup: Option<String>,
}

impl MachineConfig {
    /// What the server is told of it.
    pub fn offered(&self) -> OfferedMachine {
        OfferedMachine { name: self.name.clone(), kind: self.kind, labels: self.labels.clone(), limits: self.limits }
    }
}

/// What an environment may reach.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Network {
    /// Its own loopback only.
    None,
    /// These TCP ports of the host's loopback, at the same port of its own.
    LoopbackPorts(Vec<u16>),
    /// Container: the engine's default network.
    Bridge,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MachineText {
    pub(super) name: Spanned<String>,
    kind: Spanned<String>,
    labels: Option<Spanned<BTreeMap<String, String>>>,
    cpus: Option<Spanned<f64>>,
    memory: Option<Spanned<Bytes>>,
    memory_bytes: Option<Spanned<u64>>,
    pids: Option<Spanned<u32>>,
    disk: Option<Spanned<Bytes>>,
    root: Option<Spanned<PathBuf>>,
    image: Option<Spanned<String>>,
    network: Option<Spanned<NetworkText>>,
    #[serde(default)]
    writable: Vec<Spanned<PathBuf>>,
    #[serde(default)]
    hide: Vec<Spanned<PathBuf>>,
    setup: Option<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(untagged)]
pub(super) enum NetworkText {
    Word(String),
    Ports { loopback_ports: Vec<u16> },
}

impl Checker<'_> {
    pub(super) fn machine(
        &mut self,
        spanned: &Spanned<MachineText>,
        host_labels: &Labels,
        socket: bool,
    ) -> Option<MachineConfig> {
        let text = spanned.get_ref();
        let before = self.problems.len();
        let name = text.name.get_ref();
        let plain = name.len() <= MAX_NAME_BYTES
            && name.starts_with(|c: char| c.is_ascii_alphanumeric())
            && name.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c));
        if !plain {
            self.problem(
                &text.name,
                format!("'{}' is no name for a machine", name.chars().take(80).collect::<String>()),
                format!("1 to {MAX_NAME_BYTES} letters, digits, '.', '_' or '-', beginning with a letter or digit"),
            );
        }
        let kind = match text.kind.get_ref().parse::<MachineKind>() {
            Ok(kind) => kind,
            Err(bad) => {
                self.problem(&text.kind, bad.to_string(), "kind = \"sandbox\" needs no image and no daemon");
                return None;
            }
        };
        let limits = self.limits(text);
        let network = self.network(text.network.as_ref(), kind);
        let root = match &text.root {
            Some(root) if kind == MachineKind::Container => {
                self.problem(root, "a container has no root directory", "name an image instead");
                PathBuf::from("/")
            }
            Some(root) => self.absolute("root", root),
            None => PathBuf::from("/"),
        };
        match (&text.image, kind) {
            (Some(image), MachineKind::Sandbox) => {
                self.problem(image, "a sandbox has no image", "name a root directory instead, or kind = \"container\"");
            }
            (Some(image), MachineKind::Container) if image.get_ref().is_empty() => {
                self.problem(image, "the image has no name", "image = \"debian:12\"");
            }
            (Some(_), MachineKind::Container) | (None, MachineKind::Sandbox) => {}
            (None, MachineKind::Container) => {
                self.problem(spanned, format!("machine '{name}' names no image"), "image = \"debian:12\"");
            }
        }
        if kind == MachineKind::Container && !socket {
            self.problem(
                &text.kind,
                "containers need a Docker-compatible socket",
                "add [container] with socket = \"/run/podman/podman.sock\"",
            );
        }
        if let Some(setup) = &text.setup
            && setup.get_ref().len() > MAX_SETUP_BYTES
        {
            self.problem(
                setup,
                format!("the set-up script is longer than {MAX_SETUP_BYTES} bytes"),
                "put it into the root or image",
            );
        }
        let writable: Vec<PathBuf> = text.writable.iter().map(|path| self.absolute("writable", path)).collect();
        for path in &text.writable {
            if path.get_ref() == Path::new("/") {
                self.problem(path, "the whole host cannot be writable", "name a directory of its own");
            }
        }
        let hide = text.hide.iter().map(|path| self.absolute("hide", path)).collect();
        let mut labels: BTreeMap<String, String> = host_labels.clone().into();
        labels.insert("kind".to_owned(), kind.word().to_owned());
        labels.extend(BTreeMap::from(self.labels(text.labels.as_ref())));
        let labels = match Labels::try_from(labels) {
            Ok(labels) => labels,
            Err(bad) => {
                self.problem(spanned, bad.to_string(), "fewer labels on the host or the machine");
                return None;
            }
        };
        (self.problems.len() == before).then(|| MachineConfig {
            name: name.clone(),
            kind,
            labels,
            limits,
            root,
            image: text.image.as_ref().map(|image| image.get_ref().clone()),
            network,
            writable,
            hide,
            setup: text.setup.as_ref().map(|setup| setup.get_ref().clone()),
        })
    }

    fn limits(&mut self, text: &MachineText) -> MachineLimits {
        let cpu_millis = text.cpus.as_ref().map_or(1_000, |cpus| self.cpus(cpus));
        let mut memory_bytes = self.size("memory", text.memory.as_ref(), 1 << 30, MIN_MEMORY_BYTES);
        if let Some(bytes) = &text.memory_bytes {
            if text.memory.is_some() {
                self.problem(bytes, "memory and memory_bytes are both given", "leave one out");
            } else if *bytes.get_ref() < MIN_MEMORY_BYTES {
                self.problem(
                    bytes,
                    "too little memory to be of use",
                    format!("at least {} MiB", MIN_MEMORY_BYTES >> 20),
                );
            } else {
                memory_bytes = *bytes.get_ref();
            }
        }
        let pids = text.pids.as_ref().map_or(512, |pids| *pids.get_ref());
        if let Some(spanned) = &text.pids
            && pids < MIN_PIDS
        {
            self.problem(spanned, format!("pids = {pids} leaves no room for a shell"), format!("at least {MIN_PIDS}"));
        }
        let disk_bytes = self.size("disk", text.disk.as_ref(), 10 << 30, MIN_DISK_BYTES);
        MachineLimits { cpu_millis, memory_bytes, pids, disk_bytes }
    }

    pub(super) fn network(&mut self, text: Option<&Spanned<NetworkText>>, kind: MachineKind) -> Network {
        let Some(spanned) = text else { return Network::None };
        match (spanned.get_ref(), kind) {
            (NetworkText::Word(word), _) if word == "none" => Network::None,
            (NetworkText::Word(word), MachineKind::Container) if word == "bridge" => Network::Bridge,
            (NetworkText::Word(word), _) => {
                let word: String = word.chars().take(40).collect();
                self.problem(
                    spanned,
                    format!("network = '{word}' is not known for this kind"),
                    "\"none\", for a sandbox { loopback_ports = [5432] }, for a container \"bridge\"",
                );
                Network::None
            }
            (NetworkText::Ports { loopback_ports }, MachineKind::Sandbox) => {
                let distinct: BTreeSet<u16> = loopback_ports.iter().copied().collect();
                if distinct.contains(&0) || loopback_ports.len() > MAX_LOOPBACK_PORTS {
                    self.problem(
                        spanned,
                        "loopback_ports holds port 0 or too many ports",
                        format!("at most {MAX_LOOPBACK_PORTS} ports from 1 to 65535"),
                    );
                }
                Network::LoopbackPorts(distinct.into_iter().collect())
            }
            (NetworkText::Ports { .. }, MachineKind::Container) => {
                self.problem(spanned, "loopback_ports are for sandboxes", "network = \"none\" or \"bridge\"");
                Network::None
            }
        }
    }
}
