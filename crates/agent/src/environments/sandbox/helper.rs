//! The helper: this program started again as `berth-agent sandbox-helper`, single-threaded, to do what a process can do
//! only to itself: join control groups and namespaces, give up its user, become bubblewrap.
//!
//! Its standard input is a socket to the agent. The request comes over it (never on the command line, which every user
//! of the host can read), file descriptors with its first byte; replies go back as lines of JSON.

use std::{
    fs,
    io::{self, IoSlice, IoSliceMut, Read, Seek, Write},
    mem::MaybeUninit,
    os::{
        fd::{AsFd, OwnedFd},
        unix::{net::UnixStream, process::CommandExt, process::ExitStatusExt},
    },
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use nix::{
    mount::{MntFlags, MsFlags, mount, umount2},
    sched::{CloneFlags, setns, unshare},
    sys::signal::SigSet,
    unistd::{Gid, Uid, setgroups, setresgid, setresuid, setsid},
};
use rustix::{
    cmsg_space,
    event::{PollFd, PollFlags, poll},
    fs::{MemfdFlags, memfd_create},
    net::{
        RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
        recvmsg, sendmsg,
    },
    process::{Pid, PidfdFlags, Resource, Rlimit, Signal, kill_process, pidfd_open, setrlimit},
    thread::{
        CapabilitySet, ThreadNameSpaceType, move_into_thread_name_spaces, remove_capability_from_bounding_set,
        set_no_new_privs,
    },
};
use serde::{Deserialize, Serialize};

use super::{
    super::baseline::mounts,
    build::{self, Build},
    cannot::{Cannot, cannot},
    copy::{self, Copying},
    daemon::{self, Daemon},
    forward,
    give::{self, Give},
    syscalls, volume,
};

/// The word after the program's name that asks for the helper.
pub const COMMAND: &str = "sandbox-helper";
/// The longest request, bytes.
const MAX_REQUEST_BYTES: u32 = 4 * 1024 * 1024;
/// Processes of environments are the first that the kernel kills when the whole host is out of memory.
const OOM_SCORE: &str = "500";

/// What the agent asks of a helper.
#[derive(Debug, Serialize, Deserialize)]
pub enum Request {
    /// Mount the root and become bubblewrap. Descriptors: where bubblewrap and the first process report, the log.
    Start(Box<Start>),
    /// Run a program in the sandbox. Descriptors: its standard input, output and error.
    Enter(Enter),
    /// Copy in or out. Descriptors: standard input, output and error.
    Copy(Copying),
    /// Carry connections from the sandbox's loopback to the host's.
    Forward(Forward),
    /// Start a program in the sandbox that outlives the agent, and keep its log. Descriptor: the log.
    Daemon(Daemon),
    /// Mount a person's files as the home of a sandbox that runs. Descriptor: a user namespace that maps their user.
    Give(Box<Give>),
    /// Stay in a new user namespace until the agent hangs up.
    Users,
    /// Become bubblewrap to build something for sandboxes. Descriptor: standard output and error.
    Build(Build),
}

#[derive(Debug, Serialize, Deserialize)]
pub struct Start {
    pub procs_files: Vec<PathBuf>,
    /// None: not root, bubblewrap alone makes the root.
    pub root: Option<Root>,
    pub bwrap: PathBuf,
    pub bwrap_arguments: Vec<String>,
    pub largest_file_bytes: u64,
}

/// The copy-on-write root and what lies on it, in the order of mounting.
#[derive(Debug, Serialize, Deserialize)]
pub struct Root {
    pub lower: PathBuf,
    pub upper: PathBuf,
    pub work: PathBuf,
    /// None where this host cannot limit the disk: then it is an ordinary directory.
    pub volume: Option<Volume>,
    /// Files that outlive the sandbox and that others may have mounted at the same time.
    pub files: Option<Volume>,
    pub merged: PathBuf,
    /// Where bubblewrap, which runs as the session's user, finds it.
    pub exposed: PathBuf,
    /// Host paths that must not be seen.
    pub hidden: Vec<PathBuf>,
    /// An empty file that takes the place of hidden files.
    pub empty_file: PathBuf,
    /// Source on the host, target in the root.
    pub binds: Vec<Bind>,
    pub uid: u32,
    /// Mounts of the host below this are let go of, which the sandbox would keep busy otherwise.
    pub apart: PathBuf,
}

/// The file system on which everything lies that the sandbox writes.
#[derive(Debug, Serialize, Deserialize)]
pub struct Volume {
    pub image: PathBuf,
    pub at: PathBuf,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bind {
    pub source: PathBuf,
    pub target: PathBuf,
    pub read_only: bool,
}

#[derive(Debug, Serialize, Deserialize)]
pub struct Enter {
    pub procs_files: Vec<PathBuf>,
    /// The sandbox's first process, as the host sees it.
    pub pid: i32,
    pub uid: u32,
    pub argv: Vec<String>,
    pub env: Vec<(String, String)>,
    pub cwd: String,
    pub terminal: bool,
    pub largest_file_bytes: u64,
}

#[derive(Debug, Serialize, Deserialize)]
pub struct Forward {
    pub procs_files: Vec<PathBuf>,
    pub pid: i32,
    /// The user that it becomes once it listens.
    pub uid: Option<u32>,
    pub ports: Vec<u16>,
}

#[derive(Debug, Serialize, Deserialize)]
pub enum Reply {
    Started,
    /// Started, as the process of this number.
    StartedAs {
        pid: i32,
    },
    ExitedCode(i32),
    ExitedSignal(i32),
    /// The program could not be started: what the system said.
    NoProgram {
        errno: i32,
    },
    Failed {
        message: String,
    },
}

/// Call this first in `main`: if the program was started as a helper it does its work and never returns. It must run
/// before any thread exists, because a process with threads cannot change its user namespace.
pub fn run_if_asked() {
    if std::env::args_os().nth(1).is_none_or(|word| word != COMMAND) {
        return;
    }
    let status = match io::stdin().as_fd().try_clone_to_owned() {
        Ok(socket) => serve(UnixStream::from(socket)),
        Err(_) => 1,
    };
    std::process::exit(status)
}

fn serve(mut socket: UnixStream) -> i32 {
    let done = receive(&mut socket).and_then(|(request, descriptors)| match request {
        Request::Start(start) => become_bwrap(&start, descriptors),
        Request::Enter(enter) => run(&mut socket, &enter, descriptors),
        Request::Copy(order) => copy::serve(&mut socket, &order, descriptors),
        Request::Forward(order) => forward::serve(&mut socket, &order),
        Request::Daemon(order) => daemon::serve(&mut socket, &order, descriptors),
        Request::Give(order) => give::serve(&mut socket, &order, descriptors),
        Request::Users => give::serve_users(&mut socket),
        Request::Build(order) => build::become_bwrap(&order, descriptors),
    });
    match done {
        Ok(()) => 0,
        Err(error) => {
            // If the agent is gone there is nobody to tell.
            drop(send_reply(&mut socket, &Reply::Failed { message: error.to_string() }));
            1
        }
    }
}

/// One line to the agent.
pub(super) fn send_reply(socket: &mut UnixStream, reply: &Reply) -> Result<(), Cannot> {
    let mut line = serde_json::to_vec(reply).map_err(cannot("write an answer"))?;
    line.push(b'\n');
    socket.write_all(&line).map_err(cannot("answer"))
}

/// The agent's half of the greeting: one byte that carries the descriptors. The request follows with its length.
pub(super) fn send_descriptors(socket: &UnixStream, descriptors: &[OwnedFd]) -> io::Result<()> {
    let borrowed: Vec<_> = descriptors.iter().map(AsFd::as_fd).collect();
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(3))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !borrowed.is_empty() && !control.push(SendAncillaryMessage::ScmRights(&borrowed)) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    sendmsg(socket, &[IoSlice::new(b"B")], &mut control, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// The request with its length before it.
pub(super) fn encode(request: &Request) -> io::Result<Vec<u8>> {
    let body = serde_json::to_vec(request)?;
    let length =
        u32::try_from(body.len()).ok().filter(|l| *l <= MAX_REQUEST_BYTES).ok_or(io::ErrorKind::InvalidInput)?;
    let mut bytes = length.to_le_bytes().to_vec();
    bytes.extend(body);
    Ok(bytes)
}

fn receive(socket: &mut UnixStream) -> Result<(Request, Vec<OwnedFd>), Cannot> {
    let mut greeting = [0u8; 1];
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(3))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    recvmsg(&*socket, &mut [IoSliceMut::new(&mut greeting)], &mut control, RecvFlags::CMSG_CLOEXEC)
        .map_err(cannot("take a request"))?;
    let mut descriptors = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            descriptors.extend(rights);
        }
    }
    let read = |socket: &mut UnixStream, bytes: &mut [u8]| {
        socket.read_exact(bytes).map_err(cannot("read the request to its end"))
    };
    let mut length = [0u8; 4];
    read(socket, &mut length)?;
    let length = u32::from_le_bytes(length);
    if length > MAX_REQUEST_BYTES {
        return Err(cannot("take a request")(format!("it has {length} bytes")));
    }
    let mut body = vec![0u8; length as usize];
    read(socket, &mut body)?;
    Ok((serde_json::from_slice(&body).map_err(cannot("read the request"))?, descriptors))
}

pub(super) fn join_cgroups(procs_files: &[PathBuf]) -> Result<(), Cannot> {
    for file in procs_files {
        fs::write(file, "0").map_err(cannot(format!("join {}", file.display())))?;
    }
    // Lowering would need rights; raising never does.
    drop(fs::write("/proc/self/oom_score_adj", OOM_SCORE));
    Ok(())
}

/// No core files, and no file larger than the machine's disk: a runaway log ends its writer, not the host.
pub(super) fn limit_files(largest_bytes: u64) -> Result<(), Cannot> {
    let limit = |most: u64| Rlimit { current: Some(most), maximum: Some(most) };
    setrlimit(Resource::Core, limit(0))
        .and_then(|()| setrlimit(Resource::Fsize, limit(largest_bytes)))
        .map_err(cannot("limit the size of files"))
}

/// Gives up root for good.
pub(super) fn become_user(uid: u32) -> Result<(), Cannot> {
    setgroups(&[]).map_err(cannot("drop groups"))?;
    setresgid(Gid::from_raw(uid), Gid::from_raw(uid), Gid::from_raw(uid)).map_err(cannot("change the group"))?;
    setresuid(Uid::from_raw(uid), Uid::from_raw(uid), Uid::from_raw(uid)).map_err(cannot("change the user"))
}

fn become_bwrap(start: &Start, descriptors: Vec<OwnedFd>) -> Result<(), Cannot> {
    let Ok([report, log]) = <[OwnedFd; 2]>::try_from(descriptors) else {
        return Err(cannot("start")("it needs two descriptors"));
    };
    // Its own session, so that nothing that happens to the agent's terminal or group reaches the sandbox.
    setsid().map_err(cannot("begin a session"))?;
    join_cgroups(&start.procs_files)?;
    limit_files(start.largest_file_bytes)?;
    if let Some(root) = &start.root {
        mount_root(root)?;
        become_user(root.uid)?;
    }
    // bubblewrap must inherit this one; this process has no other thread that could leak it.
    let information = rustix::io::dup(&report).map_err(cannot("hand over where to report"))?;
    let filter = filter().map_err(cannot("hand over the filter of system calls"))?;
    let error = Command::new(&start.bwrap)
        .arg("--info-fd")
        .arg(std::os::fd::AsRawFd::as_raw_fd(&information).to_string())
        .arg("--seccomp")
        .arg(std::os::fd::AsRawFd::as_raw_fd(&filter).to_string())
        .args(&start.bwrap_arguments)
        .env_clear()
        .stdin(Stdio::null())
        .stdout(Stdio::from(report))
        .stderr(Stdio::from(log))
        .exec();
    Err(cannot(format!("run {} (is bubblewrap installed?)", start.bwrap.display()))(error))
}

/// The filter of system calls to be read by bubblewrap, which closes it: without close-on-exec.
pub(super) fn filter() -> io::Result<OwnedFd> {
    let file = memfd_create("filter", MemfdFlags::empty())?;
    let mut file = fs::File::from(file);
    file.write_all(&syscalls::bytes())?;
    file.seek(io::SeekFrom::Start(0))?;
    Ok(file.into())
}

pub(super) fn mount_with(source: &Path, target: &Path, flags: MsFlags) -> Result<(), Cannot> {
    mount(Some(source), target, None::<&str>, flags, None::<&str>).map_err(cannot(format!(
        "mount {} on {}",
        source.display(),
        target.display()
    )))
}

pub(super) fn mount_tmpfs(target: &Path, options: &str) -> Result<(), Cannot> {
    mount(Some("tmpfs"), target, Some("tmpfs"), MsFlags::MS_NOSUID | MsFlags::MS_NODEV, Some(options))
        .map_err(cannot(format!("hide {}", target.display())))
}

/// A mount namespace of its own. Unmounting on the host still reaches it, so a sandbox never keeps a host's disk busy;
/// nothing of it reaches the host.
pub(super) fn unshare_mounts() -> Result<(), Cannot> {
    unshare(CloneFlags::CLONE_NEWNS).map_err(cannot("make a mount namespace"))?;
    mount_with(Path::new("none"), Path::new("/"), MsFlags::MS_REC | MsFlags::MS_SLAVE)
}

/// Mounts in a mount namespace of its own: when its last process is gone, so are the mounts.
fn mount_root(root: &Root) -> Result<(), Cannot> {
    unshare_mounts()?;
    let mounted = mounts().map_err(cannot("see the host's mounts"))?;
    for mount in mounted.iter().rev().filter(|mount| mount.point.starts_with(&root.apart)) {
        umount2(&mount.point, MntFlags::MNT_DETACH).map_err(cannot(format!("let go of {}", mount.point.display())))?;
    }
    if let Some(Volume { image, at }) = &root.volume {
        volume::mount(image, at).map_err(cannot("mount the sandbox's disk"))?;
    }
    if let Some(Volume { image, at }) = &root.files {
        volume::mount_shared(image, at).map_err(cannot("mount the person's files"))?;
    }
    let options =
        format!("lowerdir={},upperdir={},workdir={}", root.lower.display(), root.upper.display(), root.work.display());
    mount(
        Some("overlay"),
        &root.merged,
        Some("overlay"),
        MsFlags::MS_NOSUID | MsFlags::MS_NODEV,
        Some(options.as_str()),
    )
    .map_err(cannot(format!("mount the copy-on-write root over {}", root.lower.display())))?;
    for path in &root.hidden {
        hide(root, path)?;
    }
    for bind in &root.binds {
        let target = inside(&root.merged, &bind.target);
        fs::create_dir_all(&target).map_err(cannot(format!("make {}", target.display())))?;
        mount_with(&bind.source, &target, MsFlags::MS_BIND | MsFlags::MS_REC)?;
        let mut flags = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
        flags.set(MsFlags::MS_RDONLY, bind.read_only);
        mount_with(&bind.source, &target, flags)?;
    }
    // The session's user may not pass through the agent's state directory, so the root is shown at a place that it
    // may pass: on a tmpfs over the parent of `exposed`. Opened before, because that may cover the state directory.
    let merged = fs::File::open(&root.merged).map_err(cannot("open the sandbox's root"))?;
    let merged = PathBuf::from(format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&merged)));
    let parent = root.exposed.parent().unwrap_or(Path::new("/run"));
    mount_tmpfs(parent, "mode=0755,size=64k")?;
    fs::create_dir(&root.exposed).map_err(cannot("make the place where the root is shown"))?;
    mount_with(&merged, &root.exposed, MsFlags::MS_BIND | MsFlags::MS_REC)
}

fn inside(root: &Path, path: &Path) -> PathBuf {
    root.join(path.strip_prefix("/").unwrap_or(path))
}

fn hide(root: &Root, path: &Path) -> Result<(), Cannot> {
    let target = inside(&root.merged, path);
    // Through a symbolic link the cover would land somewhere else; what it points to is covered under its own name.
    let Ok(real) = fs::canonicalize(&target) else { return Ok(()) };
    if real != target {
        return Ok(());
    }
    if target.is_dir() {
        mount_tmpfs(&target, "mode=0755,size=64k")
    } else {
        mount_with(&root.empty_file, &target, MsFlags::MS_BIND)
    }
}

fn run(socket: &mut UnixStream, enter: &Enter, descriptors: Vec<OwnedFd>) -> Result<(), Cannot> {
    let Ok([stdin, stdout, stderr]) = <[OwnedFd; 3]>::try_from(descriptors) else {
        return Err(cannot("enter")("it needs three descriptors"));
    };
    join_cgroups(&enter.procs_files)?;
    setsid().map_err(cannot("begin a session"))?;
    if enter.terminal {
        rustix::process::ioctl_tiocsctty(&stdin).map_err(cannot("take the terminal"))?;
    }
    settle_in(enter)?;
    let mut child = match spawn(enter, Stdio::from(stdin), Stdio::from(stdout), Stdio::from(stderr))? {
        Ok(child) => child,
        Err(error) => return send_reply(socket, &Reply::NoProgram { errno: error.raw_os_error().unwrap_or(0) }),
    };
    // This process leads the terminal's session and shares its foreground group with the program until that makes
    // groups of its own, so what the keyboard sends must not end it. Not before: the program inherits what is blocked.
    SigSet::all().thread_block().map_err(cannot("leave the keyboard's signals to the program"))?;
    send_reply(socket, &Reply::Started)?;
    // `child.id()` is the pid that this process's own pid namespace gives it.
    let pid = Pid::from_child(&child);
    let exited = pidfd_open(pid, PidfdFlags::empty()).map_err(cannot("watch the program"))?;
    attend(socket, pid, &exited)?;
    let status = child.wait().map_err(cannot("learn how the program ended"))?;
    let reply = match (status.code(), status.signal()) {
        (Some(code), _) => Reply::ExitedCode(code),
        (None, Some(signal)) => Reply::ExitedSignal(signal),
        (None, None) => Reply::Failed { message: "it ended without a status".to_owned() },
    };
    send_reply(socket, &reply)
}

/// Becomes the sandbox's user in its namespaces, with all that holds there.
pub(super) fn settle_in(enter: &Enter) -> Result<(), Cannot> {
    settle(&Inside::find(enter.pid, NAMESPACES)?, enter)
}

pub(super) fn settle(inside: &Inside, enter: &Enter) -> Result<(), Cannot> {
    inside.join(inside.wanted)?;
    limit_files(enter.largest_file_bytes)?;
    for capability in CapabilitySet::all().iter() {
        // A kernel that does not know it has nothing to drop.
        let _ = remove_capability_from_bounding_set(capability);
    }
    const BECOME: &str = "become the sandbox's user";
    setresgid(Gid::from_raw(enter.uid), Gid::from_raw(enter.uid), Gid::from_raw(enter.uid)).map_err(cannot(BECOME))?;
    setresuid(Uid::from_raw(enter.uid), Uid::from_raw(enter.uid), Uid::from_raw(enter.uid)).map_err(cannot(BECOME))?;
    set_no_new_privs(true).map_err(cannot("forbid new privileges"))?;
    syscalls::apply().map_err(cannot("filter system calls"))?;
    Ok(())
}

/// Starts the program; the inner error is that of a program that cannot be run.
pub(super) fn spawn(
    enter: &Enter,
    stdin: Stdio,
    stdout: Stdio,
    stderr: Stdio,
) -> Result<io::Result<std::process::Child>, Cannot> {
    let (program, arguments) = enter.argv.split_first().ok_or("it has no program").map_err(cannot("enter"))?;
    Ok(Command::new(program)
        .args(arguments)
        .env_clear()
        .envs(enter.env.iter().map(|(key, value)| (key, value)))
        .current_dir(&enter.cwd)
        .stdin(stdin)
        .stdout(stdout)
        .stderr(stderr)
        .spawn())
}

/// All that a sandbox has of its own.
pub(super) const NAMESPACES: ThreadNameSpaceType = ThreadNameSpaceType::MOUNT
    .union(ThreadNameSpaceType::PROCESS_ID)
    .union(ThreadNameSpaceType::NETWORK)
    .union(ThreadNameSpaceType::INTER_PROCESS_COMMUNICATION)
    .union(ThreadNameSpaceType::HOST_NAME_AND_NIS_DOMAIN_NAME)
    .union(ThreadNameSpaceType::CONTROL_GROUP)
    .union(ThreadNameSpaceType::USER);

pub(super) fn enter_namespaces(pid: i32, wanted: ThreadNameSpaceType) -> Result<(), Cannot> {
    let inside = Inside::find(pid, wanted)?;
    inside.join(inside.wanted)
}

/// The namespaces of a sandbox, found while the host's `/proc` can be seen.
pub(super) struct Inside {
    first: OwnedFd,
    wanted: ThreadNameSpaceType,
}

impl Inside {
    pub(super) fn find(pid: i32, mut wanted: ThreadNameSpaceType) -> Result<Self, Cannot> {
        const FIND: &str = "find the sandbox's first process";
        let first = Pid::from_raw(pid).ok_or("it has no number").map_err(cannot(FIND))?;
        let first = pidfd_open(first, PidfdFlags::empty()).map_err(cannot(FIND))?;
        // One's own cannot be joined, and a container seldom has another.
        let users = |of: &str| fs::read_link(format!("/proc/{of}/ns/user")).map_err(cannot(FIND));
        if users("self")? == users(&pid.to_string())? {
            wanted.remove(ThreadNameSpaceType::USER);
        }
        Ok(Self { first, wanted })
    }

    pub(super) fn join(&self, which: ThreadNameSpaceType) -> Result<(), Cannot> {
        if nix::unistd::geteuid().is_root() {
            // Here, because in the user namespace of the sandbox it is forbidden.
            setgroups(&[]).map_err(cannot("drop groups"))?;
        }
        move_into_thread_name_spaces(self.first.as_fd(), which).map_err(cannot("enter the sandbox"))
    }
}

/// Passes signals on until the child has ended. When the agent hangs up, so does the child's terminal or pipe.
fn attend(socket: &mut UnixStream, child: Pid, exited: &OwnedFd) -> Result<(), Cannot> {
    let mut connected = true;
    loop {
        let mut wanted = vec![PollFd::new(exited, PollFlags::IN)];
        if connected {
            wanted.push(PollFd::new(&*socket, PollFlags::IN));
        }
        match poll(&mut wanted, None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(cannot("wait for the program")(error)),
        }
        if !wanted[0].revents().is_empty() {
            return Ok(());
        }
        if wanted.get(1).is_some_and(|entry| !entry.revents().is_empty()) {
            let mut number = [0u8; 1];
            let signal = match socket.read(&mut number) {
                Ok(1) => Signal::from_named_raw(i32::from(number[0])),
                Ok(_) | Err(_) => {
                    connected = false;
                    Some(Signal::HUP)
                }
            };
            if let Some(signal) = signal {
                // It may have ended meanwhile; then the next turn sees it.
                let _ = kill_process(child, signal);
            }
        }
    }
}

/// Runs `work` in the network namespace of a process, on a thread that ends with it.
pub(super) fn in_network_of<T: Send>(pid: i32, work: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
    let namespace = fs::File::open(format!("/proc/{pid}/ns/net"))?;
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            setns(&namespace, CloneFlags::CLONE_NEWNET)?;
            work()
        });
        thread.join().unwrap_or_else(|_| Err(io::Error::other("the thread in the sandbox's network failed")))
    })
}
