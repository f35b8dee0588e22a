//! A copy into an environment or out of it, by the helper: in the environment's mounts and as its user, so that a path means
//! what it means to the session's programs and leads to nothing else; and needing nothing that has to be there.

use std::{
    env,
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    os::{
        fd::OwnedFd,
        unix::{
            fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
            net::UnixStream,
        },
    },
    path::{Path, PathBuf},
};

use nix::{
    sys::{
        signal::SigSet,
        stat::{Mode, umask},
    },
    unistd::{Gid, Uid, setgroups, setresgid, setresuid, setsid},
};
use protocol::tunnel::Transfer;
use rustix::{
    event::{PollFd, PollFlags, poll},
    process::{Pid, PidfdFlags, Signal, pidfd_open},
    thread::{
        CapabilitySet, CapabilitySets, ThreadNameSpaceType, capabilities, remove_capability_from_bounding_set,
        set_capabilities, set_no_new_privs,
    },
};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{
    cannot::{Cannot, cannot},
    helper::{NAMESPACES, Reply, enter_namespaces, join_cgroups, limit_files, send_reply},
    syscalls,
};

#[derive(Debug, Serialize, Deserialize)]
pub struct Copying {
    pub procs_files: Vec<PathBuf>,
    /// The environment's first process, as the host sees it.
    pub pid: i32,
    /// The user that copies, as the environment sees it.
    pub uid: u32,
    pub gid: u32,
    /// Where relative paths begin.
    pub cwd: String,
    pub largest_file_bytes: Option<u64>,
    pub transfer: Transfer,
}

/// What a container's root has over the files in it.
const FILE_CAPABILITIES: CapabilitySet = CapabilitySet::DAC_OVERRIDE.union(CapabilitySet::FOWNER);

/// Descriptors: standard input, output and error.
pub(super) fn serve(socket: &mut UnixStream, order: &Copying, descriptors: Vec<OwnedFd>) -> Result<(), Cannot> {
    let Ok([stdin, stdout, stderr]) = <[OwnedFd; 3]>::try_from(descriptors) else {
        return Err(cannot("copy")("it needs three descriptors"));
    };
    join_cgroups(&order.procs_files)?;
    setsid().map_err(cannot("begin a session"))?;
    const FIND: &str = "find the environment's first process";
    let first = Pid::from_raw(order.pid).ok_or("it has no number").map_err(cannot(FIND))?;
    let first = pidfd_open(first, PidfdFlags::empty()).map_err(cannot(FIND))?;
    // Who has another namespace for its children's ids can make no threads.
    enter_namespaces(order.pid, NAMESPACES.difference(ThreadNameSpaceType::PROCESS_ID))?;
    if let Some(bytes) = order.largest_file_bytes {
        limit_files(bytes)?;
        // A file that is too large is an error to tell and to clean up after, and does not end this process.
        let mut too_large = SigSet::empty();
        too_large.add(nix::sys::signal::Signal::SIGXFSZ);
        too_large.thread_block().map_err(cannot("be told of a file that is too large"))?;
    }
    become_user(order.uid, order.gid)?;
    syscalls::apply().map_err(cannot("filter system calls"))?;
    umask(Mode::from_bits_truncate(0o022));
    // An image need not have the directory.
    if env::set_current_dir(&order.cwd).is_err() {
        env::set_current_dir("/").map_err(cannot("go to the environment's root"))?;
    }
    send_reply(socket, &Reply::Started)?;
    let orders = socket.try_clone().map_err(cannot("listen to the agent"))?;
    // Ends with this process.
    std::thread::spawn(move || end_with(orders, &first));
    let code = match transfer(&order.transfer, File::from(stdin), File::from(stdout)) {
        Ok(skipped) => {
            tell(stderr, skipped.iter().map(|path| format!("left out {path}: neither file, directory nor link")));
            0
        }
        Err(error) => {
            tell(stderr, [error.to_string()]);
            1
        }
    };
    send_reply(socket, &Reply::ExitedCode(code))
}

fn become_user(uid: u32, gid: u32) -> Result<(), Cannot> {
    const BECOME: &str = "become the environment's user";
    for capability in CapabilitySet::all().iter() {
        // A kernel that does not know it has nothing to drop.
        let _ = remove_capability_from_bounding_set(capability);
    }
    if nix::unistd::geteuid().is_root() {
        // Where a user namespace forbids it there are none to drop.
        let _ = setgroups(&[]);
    }
    let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
    setresgid(gid, gid, gid).map_err(cannot(BECOME))?;
    setresuid(uid, uid, uid).map_err(cannot(BECOME))?;
    // A container's root keeps what it takes to write its own files, and nothing by which it could leave them.
    let wanted = if uid.is_root() { FILE_CAPABILITIES } else { CapabilitySet::empty() };
    let held = capabilities(None).map_err(cannot(BECOME))?.permitted & wanted;
    let kept = CapabilitySets { effective: held, permitted: held, inheritable: CapabilitySet::empty() };
    set_capabilities(None, kept).map_err(cannot(BECOME))?;
    set_no_new_privs(true).map_err(cannot("forbid new privileges"))
}

/// Ends this process with the environment, or by force; a copy whose stream is over ends by itself, and cleans up.
fn end_with(mut orders: UnixStream, first: &OwnedFd) {
    let mut listens = true;
    loop {
        let mut wanted = vec![PollFd::new(first, PollFlags::IN)];
        if listens {
            wanted.push(PollFd::new(&orders, PollFlags::IN));
        }
        // Interrupted or not: what there is to see is seen below.
        let _ = poll(&mut wanted, None);
        if !wanted[0].revents().is_empty() {
            std::process::exit(1);
        }
        if wanted.get(1).is_some_and(|entry| !entry.revents().is_empty()) {
            let mut number = [0u8; 1];
            match orders.read(&mut number) {
                Ok(1) if i32::from(number[0]) == Signal::KILL.as_raw() => std::process::exit(1),
                Ok(1) => {}
                Ok(_) | Err(_) => listens = false,
            }
        }
    }
}

fn tell(stderr: OwnedFd, lines: impl IntoIterator<Item = String>) {
    let mut stderr = File::from(stderr);
    for line in lines {
        // Whoever does not listen is not told.
        let _ = writeln!(stderr, "{line}");
    }
}

fn transfer(transfer: &Transfer, stdin: File, stdout: File) -> io::Result<Vec<String>> {
    match transfer {
        Transfer::Out { path } => out(Path::new(path), stdout),
        Transfer::FileIn { path, name, mode, size } => {
            file_in(&target(path, name)?, stdin, *mode, *size).map(|()| Vec::new())
        }
        Transfer::TreeIn { path, name } => tree_in(&target(path, name)?, stdin),
    }
}

fn named(path: &Path) -> impl FnOnce(io::Error) -> io::Error {
    let path = path.display().to_string();
    move |error| {
        if error.kind() == io::ErrorKind::NotFound {
            io::Error::other(format!("there is no '{path}'"))
        } else {
            io::Error::new(error.kind(), format!("'{path}': {error}"))
        }
    }
}

fn out(path: &Path, mut stdout: File) -> io::Result<Vec<String>> {
    let metadata = fs::metadata(path).map_err(named(path))?;
    if metadata.is_dir() {
        stdout.write_all(b"d\n")?;
        return archive::send(path, &mut stdout, &|file| file);
    }
    if !metadata.is_file() {
        return Err(io::Error::other(format!("'{}' is neither a file nor a directory", path.display())));
    }
    let file = File::open(path).map_err(named(path))?;
    let size = metadata.len();
    writeln!(stdout, "f {:o} {size}", metadata.permissions().mode() & 0o777)?;
    // One that grows meanwhile is copied as far as it went; of a shorter one the other side sees that bytes are missing.
    io::copy(&mut file.take(size), &mut stdout)?;
    Ok(Vec::new())
}

/// `path`, or `name` in it if it is a directory.
fn target(path: &str, name: &str) -> io::Result<PathBuf> {
    let there = PathBuf::from(path);
    let target = if there.is_dir() {
        there.join(name)
    } else if path.ends_with('/') {
        return Err(io::Error::other(format!("there is no directory '{path}'")));
    } else {
        there
    };
    let parent = parent(&target);
    if parent.is_dir() {
        Ok(target)
    } else {
        Err(io::Error::other(format!("there is no directory '{}'", parent.display())))
    }
}

fn parent(target: &Path) -> &Path {
    target.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// What is not whole yet, beside its place; removed unless it was renamed.
struct Temporary(PathBuf);

impl Temporary {
    fn beside(target: &Path) -> Self {
        Self(parent(target).join(format!(".berth-cp.{}", Uuid::new_v4().simple())))
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        // After a rename there may be nothing of this name; whatever else fails here, the first error is the one to tell.
        drop(if self.0.is_dir() { fs::remove_dir_all(&self.0) } else { fs::remove_file(&self.0) });
    }
}

fn file_in(target: &Path, stdin: File, mode: u32, size: u64) -> io::Result<()> {
    if target.is_dir() {
        return Err(io::Error::other(format!("'{}' is a directory", target.display())));
    }
    let temporary = Temporary::beside(target);
    let mut file =
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary.0).map_err(named(target))?;
    // A stream that broke off looks like one that ended: the size tells.
    let copied = io::copy(&mut stdin.take(size), &mut file)?;
    if copied != size {
        return Err(io::Error::other(format!("only {copied} of {size} bytes arrived")));
    }
    file.set_permissions(fs::Permissions::from_mode(mode & 0o777))?;
    fs::rename(&temporary.0, target).map_err(named(target))
}

fn tree_in(target: &Path, stdin: File) -> io::Result<Vec<String>> {
    if target.symlink_metadata().is_ok() {
        return Err(io::Error::other(format!("'{}' is there already; remove it first", target.display())));
    }
    let temporary = Temporary::beside(target);
    fs::DirBuilder::new().mode(0o700).create(&temporary.0).map_err(named(target))?;
    let received = archive::receive(stdin, &temporary.0)?;
    received.place(target).map_err(named(target))?;
    Ok(received.skipped)
}
