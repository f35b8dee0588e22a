//! The sandbox's root: what it sees of the host, what is hidden, and what is its own.

use std::{
    fs, io,
    os::unix::fs::{PermissionsExt, chown},
    path::{Path, PathBuf},
};

use super::{
    super::{
        baseline::{MARKER, SESSION_UIDS, mounts},
        record::Scratch,
    },
    Given,
    helper::{Bind, Root, Volume},
    volume::{DISK, FILES},
};
use crate::config::MachineConfig;

/// The user inside.
pub const USER: &str = "berth";
pub const UID: u32 = 1000;
pub const HOME: &str = "/home/berth";
/// Where the helper shows the root to bubblewrap, in a mount namespace of its own.
const EXPOSED: &str = "/run/root";
pub const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// In the sandbox's directory: where files are mounted that outlive it.
pub const LASTING: &str = "lasting";
/// Printed by the first process once everything is mounted.
pub const READY: &str = "berth-ready";

/// Waits for ever and lets the kernel reap every orphan. As process 1 no signal from inside ends it. Where `env` cannot
/// ignore SIGCHLD, bash can; a plain shell reaps by itself but has to start its `sleep` again when that is killed.
pub const FIRST_PROCESS: &str = r#"
echo berth-ready
exec </dev/null >/dev/null 2>&1
trap '' HUP INT TERM
if env --ignore-signal=CHLD true; then exec env --ignore-signal=CHLD sleep 2147483647; fi
if [ -x /bin/bash ]; then exec /bin/bash -c 'trap "" CHLD; exec sleep 2147483647'; fi
while :; do sleep 2147483647; done
"#;

/// Paths of the host that no sandbox sees, beside the agent's own.
const HIDDEN: [&str; 18] = [
    "/root",
    "/home",
    "/run",
    "/boot",
    "/tmp",
    "/var/tmp",
    "/etc/shadow",
    "/etc/shadow-",
    "/etc/gshadow",
    "/etc/gshadow-",
    "/etc/sudoers",
    "/etc/sudoers.d",
    "/etc/ssl/private",
    "/etc/berth",
    "/var/lib/berth",
    "/var/lib/docker",
    "/var/lib/containers",
    "/var/spool",
];

/// Trees of programs that a host may keep on file systems of their own, which an overlay of `/` does not show.
const PROGRAM_TREES: [&str; 7] = ["/usr", "/opt", "/nix", "/lib", "/lib64", "/bin", "/sbin"];

/// A user of the host that no other session has.
pub fn host_uid(session: &[u8; 16]) -> u32 {
    let tail = u32::from_le_bytes([session[12], session[13], session[14], session[15]]);
    SESSION_UIDS.start + tail % (SESSION_UIDS.end - SESSION_UIDS.start)
}

/// Makes the directories that become the root. `owner` is the session's host user, if the agent can give files away.
pub fn create(scratch: &Scratch, machine: &MachineConfig, owner: Option<u32>) -> io::Result<()> {
    let disk = disk(scratch);
    fs::create_dir(scratch.join("merged"))?;
    fs::create_dir(scratch.join(LASTING))?;
    fs::create_dir(&disk)?;
    for (name, mode) in [
        ("", 0o755),
        ("upper", 0o755),
        ("upper/etc", 0o755),
        ("work", 0o700),
        ("home", 0o700),
        ("tmp", 0o1777),
        ("vartmp", 0o1777),
    ] {
        let path = disk.join(name);
        fs::create_dir_all(&path)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(mode))?;
    }
    fs::write(scratch.join("empty"), "")?;
    fs::set_permissions(scratch.join("empty"), fs::Permissions::from_mode(0o0))?;
    if let Some(uid) = owner {
        chown(disk.join("home"), Some(uid), Some(uid))?;
    }
    let host_file = |name: &str| {
        let path = machine.root.join("etc").join(name);
        match fs::read_to_string(&path) {
            Ok(text) => Ok(text),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
            Err(error) => Err(error),
        }
    };
    let shell = if machine.root.join("bin/bash").exists() { "/bin/bash" } else { "/bin/sh" };
    let accounts = format!("{USER}:x:{UID}:{UID}:Berth session:{HOME}:{shell}\n{}", without_id(&host_file("passwd")?));
    let groups = format!("{USER}:x:{UID}:\n{}", without_id(&host_file("group")?));
    let hosts = format!("127.0.0.1 localhost {0}\n::1 localhost {0}\n", machine.name);
    for (name, text) in [
        ("passwd", accounts),
        ("group", groups),
        ("hosts", hosts),
        ("hostname", format!("{}\n", machine.name)),
        ("resolv.conf", String::new()),
    ] {
        let path = disk.join("upper/etc").join(name);
        fs::write(&path, text)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644))?;
    }
    Ok(())
}

/// Where everything lies that the sandbox writes; limited by a [`super::volume`] where the host can.
fn disk(scratch: &Scratch) -> PathBuf {
    scratch.join(DISK)
}

/// Whether no sandbox sees this path of the host.
pub fn is_hidden(path: &Path) -> bool {
    HIDDEN.iter().any(|hidden| path.starts_with(hidden))
}

/// The account lines of others than the session's user.
fn without_id(text: &str) -> String {
    let id = UID.to_string();
    text.lines()
        .filter(|line| {
            let mut fields = line.split(':');
            fields.next() != Some(USER) && fields.nth(1) != Some(&id)
        })
        .flat_map(|line| [line, "\n"])
        .collect()
}

/// What a sandbox must not see.
fn hidden(state_dir: &Path, machine: &MachineConfig) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = HIDDEN.iter().map(PathBuf::from).collect();
    paths.push(state_dir.to_owned());
    paths.extend(machine.hide.iter().cloned());
    paths.sort();
    paths.dedup();
    paths
}

fn own_binds(scratch: &Scratch, machine: &MachineConfig, given: Option<&Given>) -> Vec<Bind> {
    let bind = |source: PathBuf, target: &str| Bind { source, target: target.into(), read_only: false };
    let disk = disk(scratch);
    let has_files = given.is_some_and(|given| given.files.is_some());
    let home = if has_files { scratch.join(LASTING).join(FILES) } else { disk.join("home") };
    let mut binds = vec![bind(home, HOME), bind(disk.join("tmp"), "/tmp"), bind(disk.join("vartmp"), "/var/tmp")];
    binds.extend(machine.writable.iter().map(|path| Bind {
        source: path.clone(),
        target: path.clone(),
        read_only: false,
    }));
    binds
}

/// What the helper mounts when the agent is root.
pub fn overlay(
    scratch: &Scratch,
    state_dir: &Path,
    machine: &MachineConfig,
    uid: u32,
    volume: Option<PathBuf>,
    given: Option<&Given>,
    apart: &Path,
) -> io::Result<Root> {
    let mut binds = Vec::new();
    if machine.root == Path::new("/") {
        let apart = mounts().map_err(io::Error::other)?;
        let apart = apart.into_iter().filter(|mount| PROGRAM_TREES.iter().any(|tree| mount.point.starts_with(tree)));
        binds.extend(apart.map(|mount| Bind { source: mount.point.clone(), target: mount.point, read_only: true }));
    }
    binds.extend(own_binds(scratch, machine, given));
    binds.extend(given.iter().flat_map(|given| given.shown.clone()));
    Ok(Root {
        lower: machine.root.clone(),
        upper: disk(scratch).join("upper"),
        work: disk(scratch).join("work"),
        volume: volume.map(|image| Volume { image, at: disk(scratch) }),
        files: given
            .and_then(|given| given.files.as_ref())
            .map(|files| Volume { image: files.image.clone(), at: scratch.join(LASTING) }),
        merged: scratch.join("merged"),
        exposed: EXPOSED.into(),
        hidden: hidden(state_dir, machine),
        empty_file: scratch.join("empty"),
        binds,
        uid,
        apart: apart.to_owned(),
    })
}

/// bubblewrap's arguments. With an overlay the root is ready at its exposed place; without, the tree is shown
/// read-only with what is hidden and what is writable on top of it.
pub fn bwrap_arguments(
    scratch: &Scratch,
    state_dir: &Path,
    machine: &MachineConfig,
    session: &str,
    overlay: bool,
) -> Vec<String> {
    let mut arguments: Vec<String> = Vec::new();
    let mut add = |parts: &[&str]| arguments.extend(parts.iter().map(|part| (*part).to_owned()));
    let id = UID.to_string();
    // Without "user" named, "all" means it only as far as possible. No namespaces can be made inside, so that what
    // the kernel offers to their owners is out of reach.
    add(&["--unshare-all", "--unshare-user", "--disable-userns", "--as-pid-1", "--uid", &id, "--gid", &id]);
    add(&["--hostname", &machine.name]);
    if overlay {
        add(&["--bind", EXPOSED, "/"]);
    } else {
        add(&["--ro-bind", &machine.root.to_string_lossy(), "/"]);
        for path in hidden(state_dir, machine) {
            let shown = path.to_string_lossy();
            let inside = machine.root.join(path.strip_prefix("/").unwrap_or(&path));
            match fs::symlink_metadata(&inside) {
                Ok(data) if data.is_dir() => add(&["--tmpfs", &shown]),
                Ok(data) if data.is_file() => add(&["--ro-bind", &scratch.join("empty").to_string_lossy(), &shown]),
                // Nothing to hide, or a link whose target is hidden under its own name.
                Ok(_) | Err(_) => {}
            }
        }
        for name in ["passwd", "group", "hosts", "hostname"] {
            add(&["--ro-bind", &disk(scratch).join("upper/etc").join(name).to_string_lossy(), &format!("/etc/{name}")]);
        }
        for bind in own_binds(scratch, machine, None) {
            add(&["--bind", &bind.source.to_string_lossy(), &bind.target.to_string_lossy()]);
        }
    }
    add(&["--proc", "/proc", "--dev", "/dev", "--tmpfs", "/run", "--perms", "0700", "--dir", "/run/user/1000"]);
    add(&["--chdir", "/", "--clearenv", "--setenv", "PATH", PATH, "--setenv", MARKER, session]);
    add(&["--", "/bin/sh", "-c", FIRST_PROCESS]);
    arguments
}

/// The variables that every process of the sandbox starts with.
pub fn variables(machine: &str, session: &str) -> Vec<(String, String)> {
    [
        ("PATH", PATH),
        ("HOME", HOME),
        ("USER", USER),
        ("LOGNAME", USER),
        ("LANG", "C.UTF-8"),
        ("XDG_RUNTIME_DIR", "/run/user/1000"),
        ("BERTH_MACHINE", machine),
        (MARKER, session),
    ]
    .map(|(key, value)| (key.to_owned(), value.to_owned()))
    .to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_user_is_no_user_of_the_system() {
        for bytes in [[0u8; 16], [0xff; 16]] {
            assert!(SESSION_UIDS.contains(&host_uid(&bytes)));
        }
    }

    #[test]
    fn only_the_session_has_its_id() {
        assert_eq!(without_id("root:x:0:0::/:\ndebian:x:1000:1000::/:\nberth:x:7:7::/:\n"), "root:x:0:0::/:\n");
    }
}
