//! Building an environment of Python packages. What pip runs is nobody's word to trust (a package's `setup.py` is a program),
//! so it runs in bubblewrap as a user of its own, and sees of the agent's state its own directory alone.

use std::{
    collections::BTreeMap,
    fs, io,
    os::{
        fd::OwnedFd,
        unix::fs::{PermissionsExt, chown},
    },
    path::Path,
    time::Duration,
};

use domain::machines::MachineLimits;
use rustix::pipe::{PipeFlags, pipe_with};
use tokio::{io::AsyncReadExt, net::unix::pipe, time::timeout};
use uuid::Uuid;

use super::python::Python;
use crate::environments::{
    Variables,
    cgroup::CgroupError,
    sandbox::{
        Sandbox,
        build::{Build, SHOWN},
        helper::{Bind, Reply},
        host_uid,
    },
};

/// Where an environment is, inside: programs in it know this path.
pub const PLACE: &str = "/srv/berth/python";
/// A disk with less than this left is nearly full, bytes.
pub const LEAST_FREE_BYTES: u64 = 1 << 30;
const LARGEST_FILE_BYTES: u64 = 8 << 30;
const CHUNK_BYTES: usize = 16 * 1024;
const LOOK_AT_DISK: Duration = Duration::from_secs(2);
/// How long after the builder's end its output is still read, if something else holds the pipe open.
const LAST_OUTPUT_LIMIT: Duration = Duration::from_millis(200);
/// How many of its last lines, and bytes, say why a build failed.
const LAST_LINES: usize = 12;
const LAST_BYTES: usize = 2_000;

const WITH_VENV: &str = "set -e
umask 022
mkdir -p /work/tmp
\"$1\" -m venv --symlinks \"$2\"
exec \"$2/bin/python\" -I -m pip install -r /requirements.txt";
const WITH_UV: &str = "set -e
umask 022
mkdir -p /work/tmp
/run/uv venv --quiet --allow-existing --python \"$1\" \"$2\"
exec /run/uv pip install --python \"$2/bin/python\" -r /requirements.txt";

/// Programs and libraries.
const TREES: [&str; 7] = ["/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/opt"];
/// Of the host's configuration what names, certificates and package indexes need.
const CONFIGURATION: [&str; 20] = [
    "/etc/alternatives",
    "/etc/ca-certificates",
    "/etc/ca-certificates.conf",
    "/etc/crypto-policies",
    "/etc/gai.conf",
    "/etc/group",
    "/etc/host.conf",
    "/etc/hosts",
    "/etc/ld.so.cache",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
    "/etc/localtime",
    "/etc/nsswitch.conf",
    "/etc/passwd",
    "/etc/pip.conf",
    "/etc/pki",
    "/etc/ssl/certs",
    "/etc/ssl/openssl.cnf",
    "/etc/uv",
    "/etc/xdg/pip",
];
/// The agent's own variables that say where packages come from.
const PASSED_ON: [&str; 32] = [
    "PIP_INDEX_URL",
    "PIP_EXTRA_INDEX_URL",
    "PIP_NO_INDEX",
    "PIP_FIND_LINKS",
    "PIP_TRUSTED_HOST",
    "PIP_CERT",
    "PIP_PROXY",
    "PIP_TIMEOUT",
    "PIP_DEFAULT_TIMEOUT",
    "PIP_RETRIES",
    "PIP_CONFIG_FILE",
    "PIP_PREFER_BINARY",
    "UV_DEFAULT_INDEX",
    "UV_INDEX",
    "UV_INDEX_URL",
    "UV_EXTRA_INDEX_URL",
    "UV_INDEX_STRATEGY",
    "UV_NO_INDEX",
    "UV_FIND_LINKS",
    "UV_INSECURE_HOST",
    "UV_NATIVE_TLS",
    "UV_HTTP_TIMEOUT",
    "UV_CONFIG_FILE",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "REQUESTS_CA_BUNDLE",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "no_proxy",
];

#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    #[error("cannot prepare the building: {0}")]
    Prepare(#[source] io::Error),
    #[error(transparent)]
    Limits(#[from] CgroupError),
    #[error("cannot start the building: {0}")]
    Start(#[source] io::Error),
    #[error("cannot start the building: {0}")]
    Helper(String),
    #[error("{0}")]
    Failed(String),
    #[error("the disk is nearly full: less than {} MiB are free", LEAST_FREE_BYTES >> 20)]
    Disk,
    #[error("what was built has no JupyterLab: add the line 'jupyterlab' to its requirements")]
    NoJupyter,
    #[error("it took longer than {} minutes", .0.as_secs() / 60)]
    Late(Duration),
    #[error("cannot keep what was built: {0}")]
    Keep(#[source] io::Error),
    #[error("nobody waits for it any more")]
    Abandoned,
}

/// The control group of a build.
pub fn group_name(id: Uuid) -> String {
    format!("{GROUP_PREFIX}{id}")
}

pub const GROUP_PREFIX: &str = "build-";

/// Makes the directories of a build: `python` becomes the environment, `work` is scratch. Blocks.
fn prepare(at: &Path, uid: u32, requirements: &str) -> io::Result<()> {
    fs::create_dir_all(at)?;
    fs::set_permissions(at, fs::Permissions::from_mode(0o755))?;
    for name in ["python", "work"] {
        let path = at.join(name);
        fs::create_dir(&path)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
        chown(&path, Some(uid), Some(uid))?;
    }
    fs::write(at.join("requirements.txt"), requirements)?;
    // It may be a link to below /run, which is covered.
    fs::write(at.join("resolv.conf"), fs::read("/etc/resolv.conf").unwrap_or_default())?;
    for name in ["requirements.txt", "resolv.conf"] {
        fs::set_permissions(at.join(name), fs::Permissions::from_mode(0o644))?;
    }
    Ok(())
}

fn variables() -> BTreeMap<String, String> {
    let mut variables: BTreeMap<String, String> =
        PASSED_ON.iter().filter_map(|name| Some(((*name).to_owned(), std::env::var(name).ok()?))).collect();
    // No cache outlives its build: a program of one person's packages could put into it what another's would run.
    let own = [
        ("PATH", "/usr/local/bin:/usr/bin:/bin"),
        ("HOME", "/work"),
        ("TMPDIR", "/work/tmp"),
        ("LANG", "C.UTF-8"),
        ("PYTHONUNBUFFERED", "1"),
        ("PIP_CACHE_DIR", "/work/cache"),
        ("PIP_DISABLE_PIP_VERSION_CHECK", "1"),
        ("PIP_NO_INPUT", "1"),
        ("PIP_PROGRESS_BAR", "off"),
        ("PIP_NO_COLOR", "1"),
        ("UV_CACHE_DIR", "/work/cache"),
        ("UV_LINK_MODE", "copy"),
        ("UV_COMPILE_BYTECODE", "1"),
        ("UV_NO_PROGRESS", "1"),
        ("UV_PYTHON_DOWNLOADS", "never"),
    ];
    variables.extend(own.map(|(name, value)| (name.to_owned(), value.to_owned())));
    variables
}

/// Certificates, lists of packages and directories of wheels that the variables name.
fn named(variables: &BTreeMap<String, String>) -> impl Iterator<Item = &str> {
    let values = ["PIP_CERT", "PIP_FIND_LINKS", "PIP_CONFIG_FILE", "UV_FIND_LINKS", "UV_CONFIG_FILE"]
        .into_iter()
        .chain(["SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE"])
        .filter_map(|name| variables.get(name));
    values
        .flat_map(|value| value.split([' ', ',', ':']))
        .filter(|path| path.starts_with('/') && !path.starts_with("//"))
}

fn arguments(python: &Python, variables: &BTreeMap<String, String>) -> Vec<String> {
    let mut arguments: Vec<String> = Vec::new();
    let mut add = |parts: &[&str]| arguments.extend(parts.iter().map(|part| (*part).to_owned()));
    add(&["--unshare-all", "--share-net", "--unshare-user", "--disable-userns", "--uid", "1000", "--gid", "1000"]);
    add(&["--hostname", "build"]);
    for path in TREES.into_iter().chain(CONFIGURATION) {
        add(&["--ro-bind-try", path, path]);
    }
    for path in named(variables) {
        add(&["--ro-bind-try", path, path]);
    }
    if !TREES.iter().any(|tree| python.prefix.starts_with(tree)) {
        let prefix = python.prefix.to_string_lossy();
        add(&["--ro-bind", &prefix, &prefix]);
    }
    add(&["--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp"]);
    add(&["--bind", &format!("{SHOWN}/build/python"), PLACE, "--bind", &format!("{SHOWN}/build/work"), "/work"]);
    for (name, inside) in [("requirements.txt", "/requirements.txt"), ("resolv.conf", "/etc/resolv.conf")] {
        add(&["--ro-bind", &format!("{SHOWN}/build/{name}"), inside]);
    }
    let script = if python.uv.is_some() {
        add(&["--ro-bind", &format!("{SHOWN}/uv"), "/run/uv"]);
        WITH_UV
    } else {
        WITH_VENV
    };
    add(&["--remount-ro", "/"]);
    add(&["--chdir", "/work", "--", "/bin/sh", "-c", script, "build", &python.program.to_string_lossy(), PLACE]);
    arguments
}

/// Builds in `at`, which is the build's own; what is left there and in its control group the caller ends.
pub async fn build(
    sandbox: &Sandbox,
    id: Uuid,
    at: &Path,
    (requirements, python): (&str, &Python),
    limits: &MachineLimits,
    note: &(dyn Fn(&[u8]) + Send + Sync),
) -> Result<(), BuildError> {
    let uid = host_uid(id.as_bytes());
    let (place, text) = (at.to_owned(), requirements.to_owned());
    let prepared = tokio::task::spawn_blocking(move || prepare(&place, uid, &text)).await;
    prepared.map_err(io::Error::other).and_then(|done| done).map_err(BuildError::Prepare)?;
    let group = sandbox.group(&group_name(id));
    if let Some(group) = &group {
        group.create(limits)?;
    }
    let variables = variables();
    let bind = |source: &Path, name: &str| Bind {
        source: source.to_owned(),
        target: Path::new(SHOWN).join(name),
        read_only: false,
    };
    let order = Build {
        procs_files: group.as_ref().map(|group| group.procs_files()).unwrap_or_default(),
        shown: [bind(at, "build")].into_iter().chain(python.uv.iter().map(|uv| bind(uv, "uv"))).collect(),
        uid,
        bwrap: sandbox.bwrap().to_owned(),
        bwrap_arguments: arguments(python, &variables),
        variables: Variables(variables),
        largest_file_bytes: LARGEST_FILE_BYTES,
    };
    run(sandbox, order, at, note).await?;
    if at.join("python/bin/jupyter-lab").exists() { Ok(()) } else { Err(BuildError::NoJupyter) }
}

async fn run(
    sandbox: &Sandbox,
    order: Build,
    at: &Path,
    note: &(dyn Fn(&[u8]) + Send + Sync),
) -> Result<(), BuildError> {
    let (read, write): (OwnedFd, OwnedFd) =
        pipe_with(PipeFlags::CLOEXEC).map_err(|error| BuildError::Start(error.into()))?;
    rustix::fs::fcntl_setfl(&read, rustix::fs::OFlags::NONBLOCK).map_err(|error| BuildError::Start(error.into()))?;
    let mut reader = pipe::Receiver::from_owned_fd(read).map_err(BuildError::Start)?;
    let mut helper = sandbox.build(order, write).await.map_err(BuildError::Start)?;
    // It says nothing when it becomes bubblewrap.
    if let Ok(Reply::Failed { message }) = helper.reply().await {
        return Err(BuildError::Helper(message));
    }
    let mut last = Vec::new();
    let read = async {
        let mut chunk = vec![0; CHUNK_BYTES];
        loop {
            match reader.read(&mut chunk).await {
                Ok(0) | Err(_) => return,
                Ok(length) => {
                    note(&chunk[..length]);
                    last.extend_from_slice(&chunk[..length]);
                    let over = last.len().saturating_sub(4 * LAST_BYTES);
                    last.drain(..over);
                }
            }
        }
    };
    let disk = async {
        let mut look = tokio::time::interval(LOOK_AT_DISK);
        while free_bytes(at).is_none_or(|free| free >= LEAST_FREE_BYTES) {
            look.tick().await;
        }
    };
    let ended = {
        tokio::pin!(read, disk);
        let mut open = true;
        let ended = loop {
            tokio::select! {
                status = helper.child.wait() => break status.map_err(BuildError::Start),
                () = &mut read, if open => open = false,
                () = &mut disk => break Err(BuildError::Disk),
            }
        };
        if open {
            // What was written last is in the pipe already.
            drop(timeout(LAST_OUTPUT_LIMIT, read).await);
        }
        ended
    }?;
    if ended.success() { Ok(()) } else { Err(BuildError::Failed(last_words(&last, &ended.to_string()))) }
}

/// What can still be written where `path` is; none if it cannot be told.
pub fn free_bytes(path: &Path) -> Option<u64> {
    let stat = rustix::fs::statvfs(path).ok()?;
    Some(stat.f_bavail.saturating_mul(stat.f_frsize))
}

/// The end of what was said, in whole lines.
pub fn last_words(said: &[u8], otherwise: &str) -> String {
    let text = String::from_utf8_lossy(&said[said.len().saturating_sub(LAST_BYTES)..]).into_owned();
    let cut = if said.len() > LAST_BYTES { text.split_once('\n').map_or("", |(_, rest)| rest) } else { &text };
    let lines: Vec<&str> = cut.lines().map(str::trim_end).filter(|line| !line.is_empty()).collect();
    let last = lines[lines.len().saturating_sub(LAST_LINES)..].join("\n");
    if last.is_empty() { otherwise.to_owned() } else { last }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_words_are_whole_lines() {
        assert_eq!(last_words(b"", "exit status: 1"), "exit status: 1");
        assert_eq!(last_words(b"one\n\ntwo  \n", ""), "one\ntwo");
        let long: String = (0..1_000).map(|line| format!("line {line}\n")).collect();
        let words = last_words(long.as_bytes(), "");
        assert_eq!(words.lines().count(), LAST_LINES);
        assert!(words.ends_with("line 999") && words.starts_with("line "), "{words}");
    }

    #[test]
    fn the_builder_gets_where_packages_come_from_and_nothing_on_its_command_line() {
        let python =
            Python { program: "/usr/bin/python3".into(), prefix: "/usr".into(), version: "3".to_owned(), uv: None };
        let variables: BTreeMap<String, String> = [
            ("PIP_INDEX_URL".to_owned(), "https://ann:secret@packages.example/simple".to_owned()),
            ("PIP_FIND_LINKS".to_owned(), "/opt/wheels https://x.example//y".to_owned()),
            ("SSL_CERT_FILE".to_owned(), "/srv/ca.pem".to_owned()),
        ]
        .into();
        let line = arguments(&python, &variables).join(" ");
        assert!(!line.contains("secret") && line.contains("--ro-bind-try /srv/ca.pem /srv/ca.pem"), "{line}");
        assert!(line.contains("--ro-bind-try /opt/wheels /opt/wheels"), "{line}");
    }
}
