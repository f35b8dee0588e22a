//! Control groups of environments, on the unified hierarchy (v2), on v1 hierarchies, and on both beside each other
//! ("hybrid": limits on v1, `cgroup.kill` on the unified one).
//!
//! Each environment has the group `berth/TAG/SESSION` in every hierarchy that is of use, where TAG tells agents on one
//! host apart.

use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use domain::machines::MachineLimits;
use rustix::process::{Pid, Signal, kill_process};

use super::Usage;

/// The v1 controllers that are used where they are mounted.
const V1_CONTROLLERS: [&str; 5] = ["memory", "cpu", "cpuacct", "pids", "freezer"];
const V2_CONTROLLERS: [&str; 3] = ["memory", "cpu", "pids"];
const CPU_PERIOD_US: u64 = 100_000;

/// Which hierarchies this host has.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Layout {
    /// Mount point of the unified hierarchy.
    unified: Option<PathBuf>,
    /// Whether the unified hierarchy has the controllers (v2) or only serves to kill and freeze (hybrid).
    unified_limits: bool,
    /// Controller and mount point of each v1 hierarchy of use.
    v1: Vec<(String, PathBuf)>,
}

/// What the limits of an environment rest on.
#[derive(Debug, thiserror::Error)]
pub enum CgroupError {
    #[error("cannot set {what} at {path}: {source}")]
    Write { what: &'static str, path: PathBuf, source: io::Error },
    #[error("cannot remove {path}: {source}")]
    Remove { path: PathBuf, source: io::Error },
    #[error("this host has no cgroup controller for {0}")]
    Missing(&'static str),
}

impl Layout {
    /// Reads the host's layout from the text of `/proc/self/mountinfo`.
    pub fn of_mounts(mountinfo: &str) -> Self {
        let mut layout = Self::default();
        for line in mountinfo.lines() {
            let Some((left, right)) = line.split_once(" - ") else { continue };
            let Some(point) = left.split(' ').nth(4).map(PathBuf::from) else { continue };
            let mut right = right.split(' ');
            let (fstype, options) = (right.next().unwrap_or_default(), right.nth(1).unwrap_or_default());
            match fstype {
                "cgroup2" if layout.unified.is_none() => layout.unified = Some(point),
                "cgroup" => {
                    for controller in options.split(',').filter(|o| V1_CONTROLLERS.contains(o)) {
                        if !layout.v1.iter().any(|(known, _)| known == controller) {
                            layout.v1.push((controller.to_owned(), point.clone()));
                        }
                    }
                }
                _ => {}
            }
        }
        if let Some(unified) = &layout.unified {
            let controllers = fs::read_to_string(unified.join("cgroup.controllers")).unwrap_or_default();
            layout.unified_limits =
                V2_CONTROLLERS.iter().all(|wanted| controllers.split_whitespace().any(|c| c == *wanted));
        }
        layout
    }

    pub fn of_host() -> io::Result<Self> {
        Ok(Self::of_mounts(&fs::read_to_string("/proc/self/mountinfo")?))
    }

    fn v1(&self, controller: &str) -> Option<&Path> {
        self.v1.iter().find(|(name, _)| name == controller).map(|(_, point)| point.as_path())
    }

    /// Whether memory, processor and processes can be limited.
    pub fn can_limit(&self) -> bool {
        self.unified_limits || ["memory", "cpu", "pids"].iter().all(|controller| self.v1(controller).is_some())
    }

    /// The group of that name, whether or not it exists.
    pub fn group(&self, name: &str) -> Cgroup {
        Cgroup { layout: self.clone(), name: name.to_owned() }
    }

    /// Names of the groups directly below `parent`, over all hierarchies.
    pub fn children(&self, parent: &str) -> BTreeSet<String> {
        let roots = self.v1.iter().map(|(_, point)| point).chain(self.unified.as_ref());
        roots
            .filter_map(|root| fs::read_dir(root.join(parent)).ok())
            .flatten()
            .filter_map(Result::ok)
            .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
            .filter_map(|entry| entry.file_name().into_string().ok())
            .collect()
    }
}

/// One group in every hierarchy of the host that is of use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cgroup {
    layout: Layout,
    name: String,
}

fn write(what: &'static str, path: PathBuf, value: &str) -> Result<(), CgroupError> {
    fs::write(&path, value).map_err(|source| CgroupError::Write { what, path, source })
}

impl Cgroup {
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The group's directories, one a hierarchy.
    fn directories(&self) -> Vec<PathBuf> {
        let mut directories: Vec<PathBuf> = self.layout.v1.iter().map(|(_, point)| point.join(&self.name)).collect();
        directories.extend(self.layout.unified.iter().map(|point| point.join(&self.name)));
        directories.sort();
        directories.dedup();
        directories
    }

    /// The files to which a process writes `0` to join the group everywhere.
    pub fn procs_files(&self) -> Vec<PathBuf> {
        self.directories().into_iter().map(|directory| directory.join("cgroup.procs")).collect()
    }

    /// Makes the group and sets its limits.
    pub fn create(&self, limits: &MachineLimits) -> Result<(), CgroupError> {
        for directory in self.directories() {
            fs::create_dir_all(&directory).map_err(|source| CgroupError::Write {
                what: "the group",
                path: directory.clone(),
                source,
            })?;
        }
        let quota_us = u64::from(limits.cpu_millis) * CPU_PERIOD_US / 1000;
        if self.layout.unified_limits
            && let Some(unified) = &self.layout.unified
        {
            self.delegate(unified)?;
            let group = unified.join(&self.name);
            write("memory", group.join("memory.max"), &limits.memory_bytes.to_string())?;
            // Without swap accounting the file is missing and the memory limit alone holds.
            if group.join("memory.swap.max").exists() {
                write("swap", group.join("memory.swap.max"), "0")?;
            }
            write("cpu", group.join("cpu.max"), &format!("{quota_us} {CPU_PERIOD_US}"))?;
            return write("pids", group.join("pids.max"), &limits.pids.to_string());
        }
        let group = |controller: &'static str| {
            self.layout.v1(controller).map(|p| p.join(&self.name)).ok_or(CgroupError::Missing(controller))
        };
        let memory = group("memory")?;
        let bytes = limits.memory_bytes.to_string();
        write("memory", memory.join("memory.limit_in_bytes"), &bytes)?;
        if memory.join("memory.memsw.limit_in_bytes").exists() {
            write("memory and swap", memory.join("memory.memsw.limit_in_bytes"), &bytes)?;
        }
        let cpu = group("cpu")?;
        write("cpu", cpu.join("cpu.cfs_period_us"), &CPU_PERIOD_US.to_string())?;
        write("cpu", cpu.join("cpu.cfs_quota_us"), &quota_us.max(1_000).to_string())?;
        write("pids", group("pids")?.join("pids.max"), &limits.pids.to_string())
    }

    /// On v2 a group has a controller only if every group above hands it down.
    fn delegate(&self, unified: &Path) -> Result<(), CgroupError> {
        let mut above = unified.to_owned();
        let parts: Vec<&str> = self.name.split('/').collect();
        for part in std::iter::once(&"").chain(parts.iter().take(parts.len().saturating_sub(1))) {
            above = if part.is_empty() { above } else { above.join(part) };
            let file = above.join("cgroup.subtree_control");
            let has = fs::read_to_string(&file).unwrap_or_default();
            for controller in V2_CONTROLLERS.iter().filter(|c| !has.split_whitespace().any(|h| h == **c)) {
                write("a controller of the groups below", file.clone(), &format!("+{controller}"))?;
            }
        }
        Ok(())
    }

    /// Every process in the group, of all hierarchies.
    pub fn processes(&self) -> BTreeSet<i32> {
        let mut found = BTreeSet::new();
        for file in self.procs_files() {
            let text = fs::read_to_string(file).unwrap_or_default();
            found.extend(text.lines().filter_map(|line| line.trim().parse::<i32>().ok()).filter(|pid| *pid > 0));
        }
        found
    }

    /// Kills everything in the group and waits until it is empty, at most `limit`. Blocks. True if it is empty.
    pub fn kill(&self, limit: Duration) -> bool {
        let deadline = Instant::now() + limit;
        let unified = self.layout.unified.as_ref().map(|point| point.join(&self.name));
        let freezer = self.layout.v1("freezer").map(|point| point.join(&self.name).join("freezer.state"));
        let mut pause = Duration::from_millis(1);
        loop {
            let processes = self.processes();
            if processes.is_empty() {
                return true;
            }
            if Instant::now() >= deadline {
                return false;
            }
            if let Some(unified) = &unified {
                // Missing before Linux 5.14, and the signals below do the same more slowly.
                drop(fs::write(unified.join("cgroup.kill"), "1"));
                drop(fs::write(unified.join("cgroup.freeze"), "0"));
            }
            // Frozen, nothing can fork away from the signals; thawed, they take effect.
            if let Some(freezer) = &freezer {
                drop(fs::write(freezer, "FROZEN"));
            }
            for pid in self.processes().into_iter().filter_map(Pid::from_raw) {
                // It may have gone since it was listed.
                let _ = kill_process(pid, Signal::KILL);
            }
            if let Some(freezer) = &freezer {
                drop(fs::write(freezer, "THAWED"));
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(50));
        }
    }

    /// Removes the group with the groups below it. Blocks at most `limit`; empty groups take a moment to let go.
    pub fn remove(&self, limit: Duration) -> Result<(), String> {
        let deadline = Instant::now() + limit;
        loop {
            let left: Vec<String> = self
                .directories()
                .iter()
                .filter_map(|directory| remove_tree(directory).err().map(|e| format!("{}: {e}", directory.display())))
                .collect();
            if left.is_empty() {
                return Ok(());
            }
            if Instant::now() >= deadline {
                return Err(left.join(", "));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// How often the kernel has ended a process of the group for want of memory; 0 where it does not say.
    pub fn out_of_memory(&self) -> u64 {
        let count = |path: PathBuf| {
            let text = fs::read_to_string(path).ok()?;
            text.lines().find_map(|line| line.strip_prefix("oom_kill "))?.trim().parse::<u64>().ok()
        };
        let unified = self.layout.unified.as_ref().filter(|_| self.layout.unified_limits);
        let file = unified
            .map(|point| point.join(&self.name).join("memory.events"))
            .or_else(|| self.layout.v1("memory").map(|point| point.join(&self.name).join("memory.oom_control")));
        file.and_then(count).unwrap_or(0)
    }

    /// Removes the group where nothing is in it, neither process nor group.
    pub fn remove_if_empty(&self) -> Result<(), CgroupError> {
        self.directories().into_iter().try_for_each(|path| match fs::remove_dir(&path) {
            Err(source)
                if !matches!(
                    source.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::ResourceBusy | io::ErrorKind::DirectoryNotEmpty
                ) =>
            {
                Err(CgroupError::Remove { path, source })
            }
            Ok(()) | Err(_) => Ok(()),
        })
    }

    /// What the group uses now.
    pub fn usage(&self) -> io::Result<Usage> {
        let number = |path: PathBuf| -> io::Result<u64> {
            fs::read_to_string(path)?.trim().parse().map_err(|_| io::Error::from(io::ErrorKind::InvalidData))
        };
        let pids = u32::try_from(self.processes().len()).unwrap_or(u32::MAX);
        if self.layout.unified_limits
            && let Some(unified) = &self.layout.unified
        {
            let group = unified.join(&self.name);
            let stat = fs::read_to_string(group.join("cpu.stat"))?;
            let usage_us: u64 = stat
                .lines()
                .find_map(|line| line.strip_prefix("usage_usec "))
                .and_then(|text| text.trim().parse().ok())
                .unwrap_or(0);
            return Ok(Usage { cpu_ns: usage_us * 1000, memory_bytes: number(group.join("memory.current"))?, pids });
        }
        let file = |controller: &str, name: &str| -> io::Result<u64> {
            let root = self.layout.v1(controller).ok_or(io::ErrorKind::Unsupported)?;
            number(root.join(&self.name).join(name))
        };
        Ok(Usage {
            cpu_ns: file("cpuacct", "cpuacct.usage")?,
            memory_bytes: file("memory", "memory.usage_in_bytes")?,
            pids,
        })
    }
}

fn remove_tree(directory: &Path) -> io::Result<()> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_tree(&entry.path())?;
        }
    }
    match fs::remove_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits() -> MachineLimits {
        MachineLimits { cpu_millis: 1500, memory_bytes: 1 << 30, pids: 64, disk_bytes: 1 << 30 }
    }

    #[test]
    fn hybrid_is_read_from_mountinfo() {
        let layout = Layout::of_mounts(
            "32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu,cpuacct\n\
             35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
             39 31 0:36 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids\n\
             41 31 0:38 / /nonexistent/unified rw shared:3 - cgroup2 cgroup2 rw,nsdelegate\n",
        );
        assert!(layout.can_limit() && !layout.unified_limits, "{layout:?}");
        assert_eq!(layout.v1("cpuacct"), Some(Path::new("/sys/fs/cgroup/cpu")));
        assert_eq!(layout.group("a/b").directories().len(), 4);
    }

    #[test]
    fn a_unified_hierarchy_hands_controllers_down_and_limits() {
        let root = tempfile::tempdir().expect("a directory");
        fs::write(root.path().join("cgroup.controllers"), "cpuset cpu io memory pids\n").expect("written");
        let layout = Layout::of_mounts(&format!("1 0 0:1 / {} rw - cgroup2 cgroup2 rw\n", root.path().display()));
        assert!(layout.can_limit());
        layout.group("berth/x/y").create(&limits()).expect("limits are written");
        let read = |name: &str| fs::read_to_string(root.path().join(name)).expect("was written");
        // A plain directory keeps the last write only; the kernel adds each.
        assert_eq!(read("cgroup.subtree_control"), "+pids");
        assert_eq!(read("berth/x/cgroup.subtree_control"), "+pids");
        assert_eq!(read("berth/x/y/memory.max"), (1u64 << 30).to_string());
        assert_eq!(read("berth/x/y/cpu.max"), "150000 100000");
        assert_eq!(read("berth/x/y/pids.max"), "64");
    }

    #[test]
    fn a_host_without_controllers_says_which_is_missing() {
        let error = Layout::default().group("x").create(&limits()).expect_err("nothing to limit with");
        assert!(error.to_string().contains("memory"), "{error}");
    }
}
