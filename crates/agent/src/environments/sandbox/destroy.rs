//! Reverting a sandbox: kill, unmount, remove, compare. Every wait has a limit; what hangs ends as a failed check.

use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use domain::ids::SessionId;
use nix::{
    errno::Errno,
    mount::{MntFlags, umount2},
};
use rustix::process::{Pid, Signal, kill_process};

use super::{
    super::{
        Check, RevertReport, Told,
        baseline::{Identity, RECORD, leftovers, mounts},
        cgroup::Cgroup,
        process,
        record::{Phase, Record},
        steps::within,
        verify::Reverting,
    },
    Sandbox, root, volume,
};

/// How long the sandbox's own programs may take to end when its first process is killed, before force is used.
const FIRST_LIMIT: Duration = Duration::from_secs(1);
const KILL_LIMIT: Duration = Duration::from_secs(5);
const GROUP_LIMIT: Duration = Duration::from_secs(2);
const UNMOUNT_LIMIT: Duration = Duration::from_secs(15);
/// How long the kernel may take to write what was written last and let go of the sandbox's disk.
const RELEASE_LIMIT: Duration = Duration::from_secs(12);
const REMOVE_LIMIT: Duration = Duration::from_secs(15);

pub(super) async fn revert(sandbox: &Sandbox, session: SessionId, told: Told<'_>) -> RevertReport {
    let scratch = sandbox.scratch(session);
    let path = scratch.path().to_owned();
    let mut reverting = Reverting::begin(scratch, told, || Identity {
        session: session.to_string(),
        uid: sandbox.is_root.then(|| root::host_uid(session.uuid().as_bytes())),
        namespaces: BTreeSet::new(),
        ended_ticks: None,
        scratch: path.clone(),
        cgroup: Some(sandbox.cgroup(session).name().to_owned()),
    });
    let cgroup = reverting.identity.cgroup.as_ref().map(|name| sandbox.layout.group(name));
    let first = reverting.record().and_then(first_process);
    reverting.note(kill(&path, cgroup, first, reverting.identity.clone()).await);
    reverting.killed();
    let at = path.clone();
    reverting.note(within(&path, "unmount", UNMOUNT_LIMIT, move || unmount(&at)).await);
    if reverting.is_clean() {
        let at = path.clone();
        reverting.note(within(&path, "remove", REMOVE_LIMIT, move || remove(&at)).await);
    } else {
        reverting.note(Check::new("remove", false, "not tried: the files may still be in use"));
    }
    reverting.conclude(sandbox.sandboxes.clone()).await
}

fn first_process(record: &Record) -> Option<(i32, u64)> {
    match &record.phase {
        Phase::Preparing => None,
        Phase::Ready { pid, started_ticks, .. } => Some((*pid, *started_ticks)),
    }
}

async fn kill(scratch: &Path, cgroup: Option<Cgroup>, first: Option<(i32, u64)>, identity: Identity) -> Check {
    let limit = FIRST_LIMIT + KILL_LIMIT + GROUP_LIMIT + Duration::from_secs(1);
    within(scratch, "destroy", limit, move || {
        // Everything else in its pid namespace goes with the first process. Whoever has children in there from outside is
        // let live until they are reaped: otherwise that is left to the host's first process, which may take its time or
        // never do it, and the sandbox's first process does not end before.
        if let Some((pid, ticks)) = first
            && let Err(error) = process::end(pid, ticks, FIRST_LIMIT)
        {
            tracing::debug!(%error, pid, "the sandbox's first process is still to be reaped");
        }
        let Some(cgroup) = cgroup else { return kill_by_identity(&identity) };
        if !cgroup.kill(KILL_LIMIT) {
            let left: Vec<String> = cgroup.processes().iter().map(i32::to_string).collect();
            return Check::new("destroy", false, format!("cannot be killed: {}", left.join(", ")));
        }
        match cgroup.remove(GROUP_LIMIT) {
            Ok(()) => Check::new("destroy", true, "all processes killed, control group removed"),
            Err(why) => Check::new("destroy", false, format!("the control group stays: {why}")),
        }
    })
    .await
}

/// Without a control group: what is known to be the sandbox's, until none is left.
fn kill_by_identity(identity: &Identity) -> Check {
    let deadline = Instant::now() + KILL_LIMIT;
    loop {
        let left = match leftovers(identity) {
            Ok(left) => left,
            Err(error) => return Check::new("destroy", false, error.to_string()),
        };
        if left.is_empty() {
            return Check::new("destroy", true, "all processes killed");
        }
        if Instant::now() >= deadline {
            let left: Vec<String> = left.iter().map(|l| l.pid.to_string()).collect();
            return Check::new("destroy", false, format!("cannot be killed: {}", left.join(", ")));
        }
        for pid in left.iter().filter_map(|leftover| Pid::from_raw(leftover.pid)) {
            // Gone meanwhile, or not ours to kill: the next look tells.
            let _ = kill_process(pid, Signal::KILL);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The sandbox's own mounts go with its processes; this is for what somebody put into its directory on the host.
fn unmount(scratch: &Path) -> Check {
    let mut points: Vec<PathBuf> = match mounts() {
        Ok(all) => all.into_iter().map(|mount| mount.point).filter(|point| point.starts_with(scratch)).collect(),
        Err(error) => return Check::new("unmount", false, error.to_string()),
    };
    if points.is_empty() {
        return match volume::released(scratch, RELEASE_LIMIT) {
            Ok(()) => Check::new("unmount", true, "nothing is mounted"),
            Err(why) => Check::new("unmount", false, why.to_string()),
        };
    }
    // The newest first: a mount may lie on another.
    points.reverse();
    let mut stuck = Vec::new();
    for point in &points {
        match umount2(point, MntFlags::UMOUNT_NOFOLLOW) {
            Ok(()) => {}
            Err(error) => {
                // Out of the way at least, so that nothing new gets at it; but somebody still holds it.
                let detached = umount2(point, MntFlags::UMOUNT_NOFOLLOW | MntFlags::MNT_DETACH);
                let how = if detached.is_ok() { "detached" } else { "stays" };
                let why = if error == Errno::EBUSY { "in use".to_owned() } else { error.to_string() };
                stuck.push(format!("{} ({why}, {how})", point.display()));
            }
        }
    }
    if let Err(why) = volume::released(scratch, RELEASE_LIMIT) {
        stuck.push(why.to_string());
    }
    if stuck.is_empty() {
        Check::new("unmount", true, format!("{} unmounted", points.len()))
    } else {
        Check::new("unmount", false, format!("cannot unmount {}", stuck.join(", ")))
    }
}

/// Removes the sandbox's files, all but its record. Never through a mount: that would be the host's files.
fn remove(scratch: &Path) -> Check {
    let mounted = match mounts() {
        Ok(all) => all.into_iter().any(|mount| mount.point.starts_with(scratch)),
        Err(error) => return Check::new("remove", false, error.to_string()),
    };
    if mounted {
        return Check::new("remove", false, "something is still mounted there");
    }
    let emptied = entries(scratch).and_then(|entries| {
        entries.iter().filter(|entry| !entry.ends_with(RECORD)).try_for_each(|entry| {
            if fs::symlink_metadata(entry)?.is_dir() { fs::remove_dir_all(entry) } else { fs::remove_file(entry) }
        })
    });
    match emptied {
        Ok(()) => Check::new("remove", true, "the sandbox's files are removed"),
        Err(error) => Check::new("remove", false, format!("cannot remove the sandbox's files: {error}")),
    }
}

fn entries(directory: &Path) -> io::Result<Vec<PathBuf>> {
    match fs::read_dir(directory) {
        Ok(entries) => entries.map(|entry| Ok(entry?.path())).collect(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}
