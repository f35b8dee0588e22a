//! The agent's one configuration file: which machines this host offers.
//!
//! ```toml
//! state_dir = "/var/lib/berth"
//! labels = { os = "debian12", room = "b4" }
//!
//! [container]
//! socket = "/run/podman/podman.sock"
//!
//! [[machines]]
//! name = "slot-1"
//! kind = "sandbox"
//! cpus = 1.5
//! memory = "2GiB"
//! ```

mod machines;
mod notebooks;
mod objects;

use std::{
    collections::BTreeSet,
    fmt, io,
    path::{Path, PathBuf},
};

use domain::labels::Labels;
use serde::Deserialize;
use toml::Spanned;

use self::{machines::MachineText, notebooks::NotebooksText, objects::ObjectsText};
pub use self::{
    machines::{MachineConfig, Network},
    notebooks::NotebooksConfig,
    objects::ObjectsConfig,
};

/// The most machines that one host may offer.
pub const MAX_MACHINES: usize = 256;
/// The longest configuration file, bytes.
pub const MAX_CONFIG_BYTES: u64 = 1024 * 1024;
/// Of a machine, and of all notebooks together.
const MIN_MEMORY_BYTES: u64 = 16 * 1024 * 1024;

/// What the file says, checked.
#[derive(Debug, Clone, PartialEq)]
pub struct AgentConfig {
    /// Where the agent keeps its journal, its keys and its environments; hidden from every environment.
    pub state_dir: PathBuf,
    /// Labels of the host, which each of its machines has as well unless it says otherwise.
    pub labels: Labels,
    /// The Docker-compatible socket, where machines of kind `container` are offered.
    pub container_socket: Option<PathBuf>,
    /// The bubblewrap program.
    pub bwrap: PathBuf,
    pub machines: Vec<MachineConfig>,
    /// `None`: the host takes no notebooks.
    pub notebooks: Option<NotebooksConfig>,
    /// `None`: the host runs no object workers.
    pub objects: Option<ObjectsConfig>,
}

/// Something wrong with the file or the host, and how to mend it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Line of the file, from 1, where one is known.
    pub line: Option<usize>,
    pub what: String,
    pub mend: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(line) = self.line {
            write!(f, "line {line}: ")?;
        }
        write!(f, "{}", self.what)?;
        if self.mend.is_empty() { Ok(()) } else { write!(f, " ({})", self.mend) }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("cannot read {path}: {source}")]
    Read { path: PathBuf, source: io::Error },
    #[error("{path} is wrong:{}", problems.iter().map(|p| format!("\n  {p}")).collect::<String>())]
    Invalid { path: PathBuf, problems: Vec<Problem> },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileText {
    state_dir: Option<Spanned<PathBuf>>,
    #[serde(default)]
    labels: Option<Spanned<std::collections::BTreeMap<String, String>>>,
    bwrap: Option<Spanned<PathBuf>>,
    container: Option<ContainerText>,
    notebooks: Option<NotebooksText>,
    objects: Option<ObjectsText>,
    #[serde(default)]
    machines: Vec<Spanned<MachineText>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ContainerText {
    socket: Spanned<PathBuf>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Bytes {
    Number(u64),
    Text(String),
}

/// `2GiB`, `512 MiB`, `1000000`: bytes.
pub fn parse_bytes(text: &str) -> Option<u64> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let number: u64 = text[..digits].parse().ok()?;
    let unit: u64 = match text[digits..].trim() {
        "" | "B" => 1,
        "K" | "KiB" => 1 << 10,
        "M" | "MiB" => 1 << 20,
        "G" | "GiB" => 1 << 30,
        "T" | "TiB" => 1 << 40,
        "kB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "TB" => 1_000_000_000_000,
        _ => return None,
    };
    number.checked_mul(unit)
}

impl Bytes {
    fn value(&self) -> Option<u64> {
        match self {
            Self::Number(number) => Some(*number),
            Self::Text(text) => parse_bytes(text),
        }
    }
}

/// Collects problems with the line that each is on.
struct Checker<'a> {
    text: &'a str,
    problems: Vec<Problem>,
}

impl Checker<'_> {
    fn line(&self, offset: usize) -> usize {
        self.text.as_bytes().iter().take(offset).filter(|byte| **byte == b'\n').count() + 1
    }
    fn problem<T>(&mut self, at: &Spanned<T>, what: impl Into<String>, mend: impl Into<String>) {
        let line = Some(self.line(at.span().start));
        self.problems.push(Problem { line, what: what.into(), mend: mend.into() });
    }
    fn labels(&mut self, text: Option<&Spanned<std::collections::BTreeMap<String, String>>>) -> Labels {
        let Some(text) = text else { return Labels::default() };
        match Labels::try_from(text.get_ref().clone()) {
            Ok(labels) => labels,
            Err(bad) => {
                self.problem(text, bad.to_string(), "labels = { os = \"debian12\" }");
                Labels::default()
            }
        }
    }
    fn absolute(&mut self, key: &str, path: &Spanned<PathBuf>) -> PathBuf {
        let value = path.get_ref();
        let plain = value
            .components()
            .all(|part| matches!(part, std::path::Component::RootDir | std::path::Component::Normal(_)));
        if !value.is_absolute() || !plain {
            self.problem(
                path,
                format!("{key} '{}' is no plain absolute path", value.display()),
                "begin it with / and leave out . and ..",
            );
        }
        if value.to_string_lossy().contains([',', ':', '\\']) {
            self.problem(
                path,
                format!("{key} contains ',', ':' or a backslash"),
                "mounts cannot name it: choose another path",
            );
        }
        value.clone()
    }
    fn bytes(&mut self, key: &str, text: &Spanned<Bytes>) -> Option<u64> {
        let bytes = text.get_ref().value();
        if bytes.is_none() {
            self.problem(text, format!("{key} is no size"), format!("{key} = \"2GiB\""));
        }
        bytes
    }
    fn size(&mut self, key: &str, text: Option<&Spanned<Bytes>>, default: u64, least: u64) -> u64 {
        let Some(text) = text else { return default };
        match self.bytes(key, text) {
            Some(bytes) if bytes < least => {
                self.problem(
                    text,
                    format!("{key} of {bytes} bytes is too small to be of use"),
                    format!("at least {} MiB", least >> 20),
                );
                default
            }
            Some(bytes) => bytes,
            None => default,
        }
    }
    /// In thousandths.
    fn cpus(&mut self, spanned: &Spanned<f64>) -> u32 {
        let cpus = *spanned.get_ref();
        if !(0.01..=4096.0).contains(&cpus) {
            self.problem(spanned, format!("cpus = {cpus} cannot be"), "a number such as 1.5, from 0.01 to 4096");
        }
        // In range by the check above; out of range the problem is already recorded.
        (cpus.clamp(0.01, 4096.0) * 1000.0).round() as u32
    }
}

impl AgentConfig {
    /// Reads and checks the file.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let read = |source| ConfigError::Read { path: path.to_owned(), source };
        let size = std::fs::metadata(path).map_err(read)?.len();
        if size > MAX_CONFIG_BYTES {
            return Err(ConfigError::Invalid {
                path: path.to_owned(),
                problems: vec![Problem {
                    line: None,
                    what: format!("{size} bytes"),
                    mend: format!("at most {MAX_CONFIG_BYTES}"),
                }],
            });
        }
        let text = std::fs::read_to_string(path).map_err(read)?;
        Self::parse(&text).map_err(|problems| ConfigError::Invalid { path: path.to_owned(), problems })
    }

    /// Checks the text of a file; on error all problems at once.
    pub fn parse(text: &str) -> Result<Self, Vec<Problem>> {
        let mut checker = Checker { text, problems: Vec::new() };
        let file: FileText = match toml::from_str(text) {
            Ok(file) => file,
            Err(error) => {
                let line = error.span().map(|span| checker.line(span.start));
                return Err(vec![Problem { line, what: error.message().trim().to_owned(), mend: String::new() }]);
            }
        };
        let labels = checker.labels(file.labels.as_ref());
        let state_dir = file
            .state_dir
            .as_ref()
            .map_or_else(|| PathBuf::from("/var/lib/berth"), |path| checker.absolute("state_dir", path));
        let bwrap =
            file.bwrap.as_ref().map_or_else(|| PathBuf::from("/usr/bin/bwrap"), |path| checker.absolute("bwrap", path));
        let container_socket = file.container.as_ref().map(|container| checker.absolute("socket", &container.socket));
        if file.machines.len() > MAX_MACHINES {
            checker.problems.push(Problem {
                line: None,
                what: format!("{} machines", file.machines.len()),
                mend: format!("at most {MAX_MACHINES} on one host"),
            });
        }
        let mut names = BTreeSet::new();
        let mut machines = Vec::new();
        for spanned in file.machines.iter().take(MAX_MACHINES) {
            let name = &spanned.get_ref().name;
            if !names.insert(name.get_ref().clone()) {
                checker.problem(
                    name,
                    format!("two machines are called '{}'", name.get_ref()),
                    "give each a name of its own",
                );
            }
            machines.extend(checker.machine(spanned, &labels, container_socket.is_some()));
        }
        let notebooks = file.notebooks.as_ref().map(|text| checker.notebooks(text));
        let objects = file.objects.as_ref().map(|text| checker.objects(text));
        if checker.problems.is_empty() {
            Ok(Self { state_dir, labels, container_socket, bwrap, machines, notebooks, objects })
        } else {
            Err(checker.problems)
        }
    }

    pub fn machine(&self, name: &str) -> Option<&MachineConfig> {
        self.machines.iter().find(|machine| machine.name == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(text: &str) -> Vec<String> {
        AgentConfig::parse(text).expect_err("must be refused").iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_full_file_is_read() {
        let config = AgentConfig::parse(
            r#"
            state_dir = "/srv/berth"
            labels = { os = "debian12" }
            [container]
            socket = "/run/podman/podman.sock"
            [[machines]]
            name = "a"
            kind = "sandbox"
            cpus = 1.5
            memory = "2GiB"
            network = { loopback_ports = [5432, 80] }
            [[machines]]
            name = "b"
            kind = "container"
            image = "debian:12"
            labels = { gpu = "a100", os = "other" }
            network = "bridge"
            "#,
        )
        .expect("is right");
        assert_eq!(config.state_dir, Path::new("/srv/berth"));
        let [a, b] = config.machines.as_slice() else { panic!("two machines: {:?}", config.machines) };
        assert_eq!((a.limits.cpu_millis, a.limits.memory_bytes, a.limits.pids), (1500, 2 << 30, 512));
        assert_eq!(a.network, Network::LoopbackPorts(vec![80, 5432]));
        assert_eq!(a.labels.to_string(), "kind=sandbox,os=debian12");
        assert_eq!(b.labels.to_string(), "gpu=a100,kind=container,os=other");
    }

    #[test]
    fn an_empty_file_offers_nothing() {
        assert_eq!(AgentConfig::parse("").expect("is right").machines, []);
    }

    #[test]
    fn every_mistake_is_told_with_its_line() {
        let found = problems(
            "[[machines]]\nname = \"../x\"\nkind = \"sandbox\"\nmemory = \"much\"\n[[machines]]\nname = \"b\"\nkind = \"container\"\npids = 1\n",
        );
        for (start, part) in [
            ("line 2:", "no name for a machine"),
            ("line 4:", "memory is no size"),
            ("line 5:", "names no image"),
            ("line 7:", "socket"),
            ("line 8:", "pids = 1"),
        ] {
            assert!(found.iter().any(|p| p.starts_with(start) && p.contains(part)), "{start} {part}: {found:#?}");
        }
    }

    #[test]
    fn a_word_that_toml_does_not_know_is_told_with_its_line() {
        let found = problems("labels = {}\nmachin = 3\n");
        assert!(found[0].starts_with("line 2: unknown field `machin`"), "{found:?}");
    }

    #[test]
    fn twins_and_odd_kinds_are_refused() {
        let found = problems("[[machines]]\nname=\"a\"\nkind=\"sandbox\"\n[[machines]]\nname=\"a\"\nkind=\"vm\"\n");
        assert!(found.iter().any(|p| p.contains("two machines are called 'a'")), "{found:?}");
        assert!(found.iter().any(|p| p.contains("'vm'") || p.contains("vm")), "{found:?}");
    }

    #[test]
    fn paths_that_cannot_be_mounted_are_refused() {
        for path in ["relative", "/a/../b", "/a:b", "/a,b"] {
            let found = problems(&format!("state_dir = '{path}'"));
            assert!(found[0].starts_with("line 1: state_dir"), "{path}: {found:?}");
        }
    }

    #[test]
    fn sizes() {
        for (text, bytes) in [
            ("2GiB", Some(2 << 30)),
            ("512 MiB", Some(512 << 20)),
            ("7", Some(7)),
            ("1GB", Some(1_000_000_000)),
            ("x", None),
            ("99999999999TiB", None),
            ("", None),
        ] {
            assert_eq!(parse_bytes(text), bytes, "{text}");
        }
    }
}
