//! Whether this host can keep what the configuration offers: for `berth-agent check`, before anyone books it.

use std::{fs, net::ToSocketAddrs, os::unix::net::UnixStream, path::Path, process::Command};

use domain::machines::MachineKind;

use crate::{
    config::{AgentConfig, NotebooksConfig, ObjectsConfig, Problem},
    environments::{
        cgroup::Layout,
        sandbox::volume::{self, Unsupported},
    },
    notebooks::python,
    objects::group::Group,
};

/// The oldest bubblewrap that can forbid namespaces inside (`--disable-userns`).
const OLDEST_BWRAP: (u32, u32) = (0, 8);

fn problem(what: impl Into<String>, mend: impl Into<String>) -> Problem {
    Problem { line: None, what: what.into(), mend: mend.into() }
}

/// Everything that would keep the offered machines from working as promised; empty if all is well.
pub fn host(config: &AgentConfig) -> Vec<Problem> {
    let offers = |kind: MachineKind| config.machines.iter().any(|machine| machine.kind == kind);
    let mut problems = Vec::new();
    if offers(MachineKind::Sandbox) || config.notebooks.is_some() {
        problems.extend(bubblewrap(&config.bwrap));
        problems.extend(namespaces());
        problems.extend(rights());
    }
    if let Some(wanted) = &config.objects {
        problems.extend(objects(wanted));
    }
    if offers(MachineKind::Container) {
        problems.extend(engine(config.container_socket.as_deref()));
    }
    if let Some(wanted) = &config.notebooks {
        problems.extend(notebooks(wanted, &std::env::var("PATH").unwrap_or_default()));
    }
    for machine in &config.machines {
        let name = &machine.name;
        if machine.kind == MachineKind::Sandbox && !machine.root.join("bin/sh").exists() {
            let root = machine.root.display();
            problems.push(problem(
                format!("machine {name}: {root} has no bin/sh"),
                "name a root directory with a system in it",
            ));
        }
        for path in machine.writable.iter().filter(|path| !path.is_dir()) {
            problems.push(problem(
                format!("machine {name}: writable {} is no directory", path.display()),
                "make it, or leave it out",
            ));
        }
    }
    problems.extend(memory(config));
    problems
}

fn bubblewrap(program: &Path) -> Option<Problem> {
    let output = match Command::new(program).arg("--version").output() {
        Ok(output) => output,
        Err(error) => {
            return Some(problem(
                format!("sandboxes need bubblewrap, and {} cannot be run: {error}", program.display()),
                "apt-get install bubblewrap, or name it: bwrap = \"/path/to/bwrap\"",
            ));
        }
    };
    let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    match version(&text) {
        Some(found) if found >= OLDEST_BWRAP => None,
        Some(_) | None => Some(problem(
            format!("'{text}' is too old"),
            format!("bubblewrap {}.{} or newer", OLDEST_BWRAP.0, OLDEST_BWRAP.1),
        )),
    }
}

/// Of `bubblewrap 0.8.0`.
fn version(text: &str) -> Option<(u32, u32)> {
    let mut parts = text.rsplit(' ').next()?.split('.');
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

fn namespaces() -> Vec<Problem> {
    let number = |path: &str| fs::read_to_string(path).ok().and_then(|text| text.trim().parse::<u64>().ok());
    let mut problems = Vec::new();
    for (path, wanted) in [
        ("/proc/sys/user/max_user_namespaces", "user.max_user_namespaces=15000"),
        ("/proc/sys/kernel/unprivileged_userns_clone", "kernel.unprivileged_userns_clone=1"),
    ] {
        if number(path) == Some(0) {
            problems.push(problem("this host allows no user namespaces", format!("sysctl -w {wanted}")));
        }
    }
    if number("/proc/sys/kernel/apparmor_restrict_unprivileged_userns") == Some(1)
        && !Path::new("/etc/apparmor.d/bwrap-userns-restrict").exists()
    {
        problems.push(problem(
            "AppArmor keeps bubblewrap from making user namespaces",
            "an AppArmor profile for bwrap, or sysctl -w kernel.apparmor_restrict_unprivileged_userns=0",
        ));
    }
    problems
}

fn rights() -> Vec<Problem> {
    if !rustix::process::geteuid().is_root() {
        return vec![problem(
            "not root: sandboxes get the host's files read-only and no limits are enforced",
            "run berth-agent as root",
        )];
    }
    let mut problems = Vec::new();
    if !Layout::of_host().is_ok_and(|layout| layout.can_limit()) {
        problems.push(problem(
            "no control groups for memory, cpu and pids: no limits are enforced",
            "mount cgroup2 at /sys/fs/cgroup with these controllers",
        ));
    }
    let mend = match volume::supported() {
        Ok(()) | Err(Unsupported::NotRoot) => None,
        Err(why @ Unsupported::Loop(_)) => Some((why, "modprobe loop, and let the agent use /dev/loop-control")),
        Err(why @ Unsupported::Mkfs) => Some((why, "apt-get install e2fsprogs")),
    };
    if let Some((why, mend)) = mend {
        problems.push(problem(format!("the disk of sandboxes is not limited: {why}"), mend));
    }
    let known = fs::read_to_string("/proc/filesystems").unwrap_or_default();
    if !known.lines().any(|line| line.trim_start_matches("nodev").trim() == "overlay") {
        problems.push(problem("the kernel does not have overlayfs loaded", "modprobe overlay"));
    }
    problems
}

/// What notebooks need beyond sandboxes: a Python to make environments of, and files that are mounted.
fn notebooks(config: &NotebooksConfig, search_path: &str) -> Vec<Problem> {
    let mut problems = Vec::new();
    if let Err(why) = volume::supported() {
        let mend = match &why {
            Unsupported::NotRoot => "run berth-agent as root",
            Unsupported::Loop(_) => "modprobe loop, and let the agent use /dev/loop-control",
            Unsupported::Mkfs => "apt-get install e2fsprogs",
        };
        problems.push(problem(format!("[notebooks]: people's files cannot be kept: {why}"), mend));
    }
    if let Err(error) = python::find(config.python.as_deref(), search_path) {
        let mend =
            "apt-get install python3 python3-venv, or install uv and name a Python: python = \"/usr/bin/python3\"";
        problems.push(problem(format!("[notebooks]: {error}"), mend));
    }
    problems
}

/// What objects need: walls around their engines, limits of all of them together, and an address that others can find.
fn objects(config: &ObjectsConfig) -> Vec<Problem> {
    let mut problems = Vec::new();
    let modules = fs::read_to_string("/sys/kernel/security/lsm").unwrap_or_default();
    if !modules.split(',').any(|module| module.trim() == "landlock") {
        let closed = namespaces().into_iter().next();
        problems.extend(closed.map(|closed| {
            problem(
                format!("[objects]: {}, and the kernel has no Landlock: engines do not start", closed.what),
                closed.mend,
            )
        }));
    }
    if !Group::is_possible() {
        problems.push(problem(
            "[objects]: engines are limited one by one, not all together: memory and cpus do not hold",
            "run berth-agent as root, with cgroup2 at /sys/fs/cgroup",
        ));
    }
    if let Err(error) = config.peer_address.to_socket_addrs() {
        problems.push(problem(
            format!("[objects]: peer_address {} cannot be found: {error}", config.peer_address),
            "a name that hosts can resolve, or an address",
        ));
    }
    problems
}

fn engine(socket: Option<&Path>) -> Option<Problem> {
    let socket = socket?;
    let error = UnixStream::connect(socket).err()?;
    Some(problem(
        format!("no container engine answers at {}: {error}", socket.display()),
        "systemctl enable --now podman.socket (or docker.socket), or name its socket in [container]",
    ))
}

fn memory(config: &AgentConfig) -> Option<Problem> {
    let meminfo = fs::read_to_string("/proc/meminfo").ok()?;
    let total_kib: u64 = meminfo
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))?
        .trim()
        .trim_end_matches("kB")
        .trim()
        .parse()
        .ok()?;
    let notebooks = config.notebooks.as_ref().map_or(0, |notebooks| notebooks.offer.memory_bytes);
    let machines: u64 = config.machines.iter().map(|machine| machine.limits.memory_bytes).sum();
    let objects = config.objects.as_ref().map_or(0, |objects| objects.memory_bytes);
    let offered = machines.saturating_add(notebooks).saturating_add(objects);
    (offered > total_kib * 1024).then(|| {
        problem(
            format!(
                "machines, notebooks and objects are offered {} MiB of memory together, the host has {} MiB",
                offered >> 20,
                total_kib >> 10
            ),
            "less memory for some, or fewer machines",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions() {
        assert_eq!(version("bubblewrap 0.8.0"), Some((0, 8)));
        assert_eq!(version("bubblewrap 1.0"), Some((1, 0)));
        assert_eq!(version("what"), None);
    }

    #[test]
    fn what_is_missing_is_told_with_how_to_mend_it() {
        let config = AgentConfig::parse(
            "bwrap = \"/nonexistent/bwrap\"\n[objects]\ncpus = 1\nmemory = \"1GiB\"\npeer_address = \"host.invalid:1\"\n[notebooks]\ncpus = 1\nmemory = \"1GiB\"\npython = \"/nonexistent/python\"\n[container]\nsocket = \"/nonexistent/sock\"\n\
             [[machines]]\nname = \"a\"\nkind = \"sandbox\"\nroot = \"/nonexistent\"\nwritable = [\"/nonexistent/data\"]\nmemory = \"900TiB\"\n\
             [[machines]]\nname = \"b\"\nkind = \"container\"\nimage = \"x\"\n",
        )
        .expect("is right as a file");
        let found = host(&config);
        for words in [
            "bubblewrap",
            "has no bin/sh",
            "is no directory",
            "no container engine answers",
            "of memory together",
            "nonexistent/python",
            "peer_address host.invalid:1 cannot be found",
        ] {
            assert!(found.iter().any(|p| p.what.contains(words) && !p.mend.is_empty()), "{words}: {found:#?}");
        }
    }
}
