//! What the host looked like before an environment was made, and the comparison with it afterwards.
//!
//! The host goes on living beside its environments, so a difference counts only if it can be the environment's:
//! processes by user, namespaces, control group, marker variable or open files; mounts by where they are; ports by
//! who listens; files by owner and by the writable paths that the environment had.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};

use super::{
    Check,
    namespace::{KINDS, Kind, Likeness, Namespace},
    process::started_ticks,
};

/// The most files below the writable paths of one environment: more cannot be compared in good time.
pub const MAX_WRITABLE_FILES: usize = 100_000;
/// Users of the host that sessions run as, each its own: far above those that systems give out.
pub const SESSION_UIDS: std::ops::Range<u32> = 0x4000_0000..0x6000_0000;
/// How long a killed process may take to end.
const SETTLE_LIMIT: Duration = Duration::from_secs(2);
/// How many findings a check names; it counts the rest.
const MAX_NAMED: usize = 5;
/// The most files looked at in the host's shared temporary directories.
const MAX_TEMPORARY_FILES: usize = 50_000;
/// Directories of the host where any user may leave something.
const SHARED_DIRECTORIES: [&str; 4] = ["/tmp", "/var/tmp", "/dev/shm", "/run/lock"];
/// The file in an environment's directory that says what it is.
pub const RECORD: &str = "environment.json";
/// Every process of an environment carries this variable with the session's id.
pub const MARKER: &str = "BERTH_SESSION";

/// One mount of the host's own mount namespace.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Mount {
    pub id: u64,
    pub point: PathBuf,
    pub fstype: String,
    pub source: String,
    /// Super block options: an overlay's name its directories.
    pub options: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct FileMark {
    size: u64,
    mtime_ns: i128,
    mode: u32,
    uid: u32,
    inode: u64,
}

/// A listening socket of the host's network namespace.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Listener {
    pub protocol: String,
    pub port: u16,
    pub uid: u32,
    pub inode: u64,
}

/// The host before the environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Baseline {
    mounts: Vec<Mount>,
    /// Lines of the host's account file by name.
    accounts: BTreeMap<String, String>,
    writable: BTreeMap<PathBuf, BTreeMap<PathBuf, FileMark>>,
    listeners: Vec<Listener>,
}

#[derive(Debug, thiserror::Error)]
pub enum BaselineError {
    #[error("cannot read {path}: {source}")]
    Read { path: PathBuf, source: io::Error },
    #[error(
        "{path} holds more than {MAX_WRITABLE_FILES} files, which cannot be verified afterwards: offer a smaller directory"
    )]
    TooManyFiles { path: PathBuf },
}

/// By what a thing on the host is known to be the environment's.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Identity {
    pub session: String,
    /// The host user that it alone has; none where it shares one.
    pub uid: Option<u32>,
    pub namespaces: BTreeSet<Namespace>,
    /// When all that was known of it had been killed, clock ticks since the host's start: what was started later and
    /// has one of its namespaces' numbers has got the number anew, on kernels that tell no more than the number.
    pub ended_ticks: Option<u64>,
    /// Its directory on the host; empty if it has none.
    pub scratch: PathBuf,
    /// The name of its control group.
    pub cgroup: Option<String>,
}

/// A process that should not be there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leftover {
    pub pid: i32,
    pub name: String,
    pub why: &'static str,
}

fn read(path: &str) -> Result<String, BaselineError> {
    // Command lines and names may hold any bytes; what is compared here is ASCII.
    fs::read(path)
        .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        .map_err(|source| BaselineError::Read { path: path.into(), source })
}

/// Undoes the kernel's octal escapes of blanks in paths.
fn unescape(text: &str) -> PathBuf {
    PathBuf::from(text.replace("\\040", " ").replace("\\011", "\t").replace("\\012", "\n").replace("\\134", "\\"))
}

/// The mounts of the calling process's namespace.
pub fn mounts() -> Result<Vec<Mount>, BaselineError> {
    Ok(parse_mounts(&read("/proc/self/mountinfo")?))
}

pub(crate) fn parse_mounts(text: &str) -> Vec<Mount> {
    text.lines()
        .filter_map(|line| {
            let (left, right) = line.split_once(" - ")?;
            let mut left = left.split(' ');
            let (id, point) = (left.next()?.parse().ok()?, unescape(left.nth(3)?));
            let mut right = right.split(' ');
            let (fstype, source) = (right.next()?.to_owned(), right.next()?.to_owned());
            Some(Mount { id, point, fstype, source, options: right.next().unwrap_or_default().to_owned() })
        })
        .collect()
}

fn accounts() -> Result<BTreeMap<String, String>, BaselineError> {
    Ok(read("/etc/passwd")?
        .lines()
        .filter_map(|line| line.split_once(':').map(|(name, _)| (name.to_owned(), line.to_owned())))
        .collect())
}

fn listeners() -> Result<Vec<Listener>, BaselineError> {
    let mut found = Vec::new();
    for protocol in ["tcp", "tcp6", "udp", "udp6"] {
        let path = format!("/proc/net/{protocol}");
        // A kernel without IPv6 has no such file.
        if Path::new(&path).exists() {
            found.extend(parse_listeners(protocol, &read(&path)?));
        }
    }
    found.sort();
    Ok(found)
}

fn parse_listeners(protocol: &str, text: &str) -> Vec<Listener> {
    text.lines()
        .skip(1)
        .filter_map(|line| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let port = u16::from_str_radix(fields.get(1)?.rsplit_once(':')?.1, 16).ok()?;
            // 0A is LISTEN; a bound UDP socket without a peer is 07.
            let listens = *fields.get(3)? == if protocol.starts_with("tcp") { "0A" } else { "07" };
            listens.then_some(Listener {
                protocol: protocol.to_owned(),
                port,
                uid: fields.get(7)?.parse().ok()?,
                inode: fields.get(9)?.parse().ok()?,
            })
        })
        .collect()
}

fn listing(root: &Path) -> Result<BTreeMap<PathBuf, FileMark>, BaselineError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| BaselineError::Read { path, source }
    };
    let mut marks = BTreeMap::new();
    let mut open = vec![root.to_owned()];
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(&directory).map_err(failed(&directory))? {
            let path = entry.map_err(failed(&directory))?.path();
            let data = match fs::symlink_metadata(&path) {
                Ok(data) => data,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(failed(&path)(error)),
            };
            if data.is_dir() {
                open.push(path.clone());
            }
            // A directory's times and size change with its entries, which are compared themselves.
            let (size, mtime_ns) = if data.is_dir() {
                (0, 0)
            } else {
                (data.len(), i128::from(data.mtime()) * 1_000_000_000 + i128::from(data.mtime_nsec()))
            };
            let mark = FileMark { size, mtime_ns, mode: data.mode(), uid: data.uid(), inode: data.ino() };
            marks.insert(path, mark);
            if marks.len() > MAX_WRITABLE_FILES {
                return Err(BaselineError::TooManyFiles { path: root.to_owned() });
            }
        }
    }
    Ok(marks)
}

impl Baseline {
    /// Reads the host. `writable` are the host paths that the environment will be able to write to. Blocks.
    pub fn take(writable: &[PathBuf]) -> Result<Self, BaselineError> {
        let writable =
            writable.iter().map(|path| listing(path).map(|marks| (path.clone(), marks))).collect::<Result<_, _>>()?;
        Ok(Self { mounts: mounts()?, accounts: accounts()?, writable, listeners: listeners()? })
    }

    /// Counts, for the step's line.
    pub fn summary(&self) -> String {
        let files: usize = self.writable.values().map(BTreeMap::len).sum();
        format!(
            "{} mounts, {} listening ports, {} accounts, {files} files in writable paths",
            self.mounts.len(),
            self.listeners.len(),
            self.accounts.len()
        )
    }

    /// Compares the host with the baseline in what the kernel itself tells: `processes`, `mounts`, `users`, `ports`. Blocks.
    pub fn compare(&self, identity: &Identity) -> Vec<Check> {
        let leftovers = settled_leftovers(identity);
        let (processes, pids) = match leftovers {
            Ok(left) => {
                let pids: Vec<i32> = left.iter().map(|l| l.pid).collect();
                let named = left.iter().map(|l| format!("{} ({}, {})", l.pid, l.name, l.why)).collect();
                (finding("processes", "none left", "still running", named), pids)
            }
            Err(error) => (Check::new("processes", false, error.to_string()), Vec::new()),
        };
        vec![processes, self.mounts_check(identity), self.users_check(identity), self.ports_check(identity, &pids)]
    }

    fn mounts_check(&self, identity: &Identity) -> Check {
        let now = match mounts() {
            Ok(now) => now,
            Err(error) => return Check::new("mounts", false, error.to_string()),
        };
        let known: BTreeSet<(u64, &Path)> = self.mounts.iter().map(|m| (m.id, m.point.as_path())).collect();
        let new = || now.iter().filter(|m| !known.contains(&(m.id, m.point.as_path())));
        let scratch = identity.scratch.as_path();
        let has_scratch = scratch != Path::new("");
        let mine = new()
            .filter(|mount| {
                (has_scratch
                    && (mount.point.starts_with(scratch) || mount.options.contains(&*scratch.to_string_lossy())))
                    || mount.point.to_string_lossy().contains(&identity.session)
                    || self.writable.keys().any(|path| mount.point.starts_with(path))
            })
            .map(|mount| format!("{} on {}", mount.fstype, mount.point.display()))
            .collect();
        let gone: Vec<String> = self
            .mounts
            .iter()
            .filter(|mount| self.writable.keys().any(|path| mount.point.starts_with(path)))
            .filter(|mount| !now.iter().any(|m| m.point == mount.point))
            .map(|mount| format!("{} is no longer mounted", mount.point.display()))
            .collect();
        finding("mounts", "as before", "left", [mine, gone].concat())
    }

    /// Compares `files`. Blocks, for ever if one of the file systems does.
    pub fn files_check(&self, identity: &Identity) -> Check {
        let mut found = Vec::new();
        if identity.scratch != Path::new("")
            && let Ok(entries) = fs::read_dir(&identity.scratch)
        {
            // The record of the environment goes last, when this comparison is through.
            let left = entries.filter_map(Result::ok).map(|entry| entry.path()).filter(|path| !path.ends_with(RECORD));
            found.extend(left.map(|path| format!("{} is still there", path.display())));
        }
        for (root, before) in &self.writable {
            match listing(root) {
                Ok(now) => {
                    found.extend(now.iter().filter_map(|(path, mark)| match before.get(path) {
                        None => Some(format!("{} is new", path.display())),
                        Some(old) if old != mark => Some(format!("{} was changed", path.display())),
                        Some(_) => None,
                    }));
                    found.extend(
                        before.keys().filter(|p| !now.contains_key(*p)).map(|p| format!("{} is gone", p.display())),
                    );
                }
                Err(error) => found.push(error.to_string()),
            }
        }
        if let Some(uid) = identity.uid {
            found.extend(
                owned_by(uid).into_iter().map(|path| format!("{} belongs to the session's user", path.display())),
            );
        }
        finding("files", "scratch removed, host paths as before", "differ", found)
    }

    fn users_check(&self, identity: &Identity) -> Check {
        let now = match accounts() {
            Ok(now) => now,
            Err(error) => return Check::new("users", false, error.to_string()),
        };
        // System accounts that packages add meanwhile cannot log in and are the host's own affair.
        let matters = |line: &str| {
            let fields: Vec<&str> = line.split(':').collect();
            let uid: Option<u32> = fields.get(2).and_then(|uid| uid.parse().ok());
            let shell = fields.get(6).copied().unwrap_or_default();
            uid.is_none()
                || uid == Some(0)
                || uid == identity.uid
                || !(shell.ends_with("nologin") || shell.ends_with("false"))
        };
        let mut found: Vec<String> = now
            .iter()
            .filter(|(name, line)| self.accounts.get(*name) != Some(line) && matters(line))
            .map(|(name, _)| format!("account {name} is new or changed"))
            .collect();
        found.extend(
            self.accounts
                .iter()
                .filter(|(name, line)| !now.contains_key(*name) && matters(line))
                .map(|(name, _)| format!("account {name} is gone")),
        );
        finding("users", "accounts as before", "differ", found)
    }

    fn ports_check(&self, identity: &Identity, leftovers: &[i32]) -> Check {
        let now = match listeners() {
            Ok(now) => now,
            Err(error) => return Check::new("ports", false, error.to_string()),
        };
        let held: BTreeSet<u64> = leftovers.iter().flat_map(|pid| socket_inodes(*pid)).collect();
        let found = now
            .iter()
            .filter(|listener| !self.listeners.contains(listener))
            .filter(|listener| identity.uid == Some(listener.uid) || held.contains(&listener.inode))
            .map(|listener| format!("{} {}", listener.protocol, listener.port))
            .collect();
        finding("ports", "none left", "still listening", found)
    }
}

fn finding(name: &str, fine: &str, wrong: &str, mut found: Vec<String>) -> Check {
    if found.is_empty() {
        return Check::new(name, true, fine);
    }
    let more = found.len().saturating_sub(MAX_NAMED);
    found.truncate(MAX_NAMED);
    let rest = if more == 0 { String::new() } else { format!(" and {more} more") };
    Check::new(name, false, format!("{wrong}: {}{rest}", found.join(", ")))
}

/// Files of that user in the host's shared temporary directories.
fn owned_by(uid: u32) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut seen = 0;
    let mut open: Vec<(PathBuf, u8)> = SHARED_DIRECTORIES.iter().map(|d| (PathBuf::from(d), 0)).collect();
    while let Some((directory, depth)) = open.pop() {
        let Ok(entries) = fs::read_dir(&directory) else { continue };
        for path in entries.filter_map(Result::ok).map(|entry| entry.path()) {
            seen += 1;
            if seen > MAX_TEMPORARY_FILES {
                return found;
            }
            let Ok(data) = fs::symlink_metadata(&path) else { continue };
            if data.uid() == uid {
                found.push(path);
            } else if data.is_dir() && depth < 2 && data.mode() & 0o002 != 0 {
                open.push((path, depth + 1));
            }
        }
    }
    found
}

fn socket_inodes(pid: i32) -> Vec<u64> {
    let Ok(entries) = fs::read_dir(format!("/proc/{pid}/fd")) else { return Vec::new() };
    entries
        .filter_map(Result::ok)
        .filter_map(|entry| fs::read_link(entry.path()).ok())
        .filter_map(|link| link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok())
        .collect()
}

/// What is left when processes that were killed have had the time to end: one that is ending has left its control
/// group already, but not its user and its namespaces.
fn settled_leftovers(identity: &Identity) -> io::Result<Vec<Leftover>> {
    let deadline = Instant::now() + SETTLE_LIMIT;
    loop {
        let left = leftovers(identity)?;
        if left.is_empty() || Instant::now() >= deadline {
            return Ok(left);
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Every process on the host that is the environment's. The calling process is not looked at: the agent itself may
/// have the scratch open.
pub fn leftovers(identity: &Identity) -> io::Result<Vec<Leftover>> {
    let own = std::process::id();
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let Some(pid) = entry?.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else { continue };
        if pid.unsigned_abs() == own {
            continue;
        }
        // A process that ends while it is looked at is none that was left.
        let Ok(status) = fs::read(format!("/proc/{pid}/status")) else { continue };
        let status = String::from_utf8_lossy(&status);
        let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
        if field("State:").is_some_and(|state| state.starts_with('Z') || state.starts_with('X')) {
            continue;
        }
        if let Some(why) = belongs(pid, field("Uid:").unwrap_or_default(), identity)
            && !waits_for_others(pid, field("State:").unwrap_or_default())
        {
            found.push(Leftover { pid, name: field("Name:").unwrap_or_default().to_owned(), why });
        }
    }
    Ok(found)
}

/// Whether the process was the first of a pid namespace, has ended, and waits only for others of it to be reaped. By then it
/// has let go of its files and its other namespaces, which no process that can still run is without; one that hangs while it
/// closes a file is not in this state.
fn waits_for_others(pid: i32, state: &str) -> bool {
    state.starts_with('S') && Namespace::of(pid, Kind::Mnt).is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
}

fn belongs(pid: i32, uids: &str, identity: &Identity) -> Option<&'static str> {
    if let Some(uid) = identity.uid {
        let mut uids = uids.split_whitespace().filter_map(|text| text.parse::<u32>().ok()).peekable();
        let another = uids.peek().is_some_and(|real| SESSION_UIDS.contains(real) && *real != uid);
        if uids.any(|other| other == uid) {
            return Some("runs as the session's user");
        }
        if another {
            return None;
        }
    }
    if let Some(cgroup) = &identity.cgroup {
        let groups = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
        if groups.lines().any(|line| {
            line.splitn(3, ':').nth(2).is_some_and(|path| Path::new(path).starts_with(Path::new("/").join(cgroup)))
        }) {
            return Some("is in the session's control group");
        }
    }
    if is_inside(pid, identity) {
        return Some("is in the session's namespaces");
    }
    if !identity.session.is_empty() {
        let marker = format!("{MARKER}={}", identity.session);
        let variables = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        if variables.split(|byte| *byte == 0).any(|variable| variable == marker.as_bytes()) {
            return Some("carries the session's marker");
        }
    }
    let scratch = identity.scratch.as_path();
    if scratch == Path::new("") {
        return None;
    }
    let inside = |path: PathBuf| fs::read_link(path).is_ok_and(|link| link.starts_with(scratch));
    if ["cwd", "root", "exe"].iter().any(|link| inside(PathBuf::from(format!("/proc/{pid}/{link}")))) {
        return Some("is in the session's files");
    }
    let files = fs::read_dir(format!("/proc/{pid}/fd")).ok()?;
    files.filter_map(Result::ok).any(|entry| inside(entry.path())).then_some("holds the session's files open")
}

fn is_inside(pid: i32, identity: &Identity) -> bool {
    let likeness = |kind: &Kind| Some(Namespace::of(pid, *kind).ok()?.among(&identity.namespaces));
    match KINDS.iter().filter_map(likeness).max().unwrap_or(Likeness::Different) {
        Likeness::Different => false,
        Likeness::Same => true,
        // A stranger may have got the number since.
        Likeness::Number => {
            identity.ended_ticks.is_none_or(|ended| started_ticks(pid).is_ok_and(|ticks| ticks <= ended))
                && !is_anothers(
                    &fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default(),
                    &identity.session,
                )
        }
    }
}

/// Whether these control groups are of the agent's making for something else (another session, the building of an environment),
/// where none but the agent puts a process: it was started while this one's namespaces were let go, and has got their numbers.
fn is_anothers(groups: &str, session: &str) -> bool {
    groups.lines().filter_map(|line| line.splitn(3, ':').nth(2)).any(|path| {
        let mut parts = path.split('/').skip_while(|part| *part != "berth");
        parts.nth(2).is_some_and(|name| !name.is_empty() && name != session)
    })
}

#[cfg(test)]
mod tests {
    use domain::ids::SessionId;

    use super::*;

    #[test]
    fn another_sessions_control_group_is_known() {
        let (own, other) = (SessionId::new().to_string(), SessionId::new().to_string());
        let check = |group: String, expected: bool| assert_eq!(is_anothers(&group, &own), expected, "{group}");
        check(format!("4:memory:/berth/0123456789ab/{other}\n0::/\n"), true);
        check(format!("0::/machine.slice/berth/0123456789ab/{other}\n"), true);
        check(format!("4:memory:/berth/0123456789ab/build-{other}\n0::/\n"), true);
        check(format!("4:memory:/berth/0123456789ab/{own}\n"), false);
        check(format!("4:memory:/{other}\n0::/\n"), false);
        check("0::/libpod_parent/libpod-4711\n".to_owned(), false);
        check("4:memory:/berth/0123456789ab\n".to_owned(), false);
        check(String::new(), false);
    }

    #[test]
    fn mountinfo_is_read_with_escapes() {
        let mounts = parse_mounts(
            "36 35 98:0 /mnt1 /mnt/with\\040blank rw,noatime master:1 - ext3 /dev/root rw,errors=continue\n\
             bad line\n40 35 0:5 / /x rw - overlay overlay rw,upperdir=/s/1/upper\n",
        );
        assert_eq!(mounts.len(), 2);
        assert_eq!(mounts[0].point, Path::new("/mnt/with blank"));
        assert_eq!((mounts[1].fstype.as_str(), mounts[1].options.as_str()), ("overlay", "rw,upperdir=/s/1/upper"));
    }

    #[test]
    fn listening_sockets_are_read() {
        let text = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
            0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 4242 1 0\n\
            1: 0100007F:1F91 0100007F:0001 01 00000000:00000000 00:00000000 00000000  1000        0 4243 1 0\n";
        assert_eq!(
            parse_listeners("tcp", text),
            [Listener { protocol: "tcp".to_owned(), port: 8080, uid: 1000, inode: 4242 }]
        );
    }

    #[test]
    fn files_on_writable_paths_are_compared() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = |name: &str| directory.path().join(name);
        for name in ["same", "changed", "removed"] {
            fs::write(path(name), "before").expect("written");
        }
        let baseline = Baseline::take(&[directory.path().to_owned()]).expect("is read");
        assert!(baseline.files_check(&Identity::default()).ok);
        fs::write(path("changed"), "afterwards").expect("written");
        fs::write(path("new"), "").expect("written");
        fs::remove_file(path("removed")).expect("removed");
        let check = baseline.files_check(&Identity::default());
        assert!(!check.ok);
        for part in ["changed was changed", "new is new", "removed is gone"] {
            assert!(check.detail.contains(part), "{part}: {}", check.detail);
        }
        assert!(!check.detail.contains("same"), "{}", check.detail);
    }

    #[test]
    fn findings_are_counted_past_the_first() {
        let check = finding("x", "fine", "left", (0..8).map(|n| n.to_string()).collect());
        assert_eq!(check, Check::new("x", false, "left: 0, 1, 2, 3, 4 and 3 more"));
    }
}
