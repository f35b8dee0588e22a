//! A person's files as the home of a sandbox that runs already.
//!
//! On disk they belong to the files' own host user; the sandbox runs as another. So the image is mounted in a mount namespace
//! of the helper's own, a copy of that mount is made that shows the one user as the other (an idmapped mount), and the
//! copy is moved over the home in the sandbox's mount namespace. Who looks up the home from then on sees the files.

use std::{
    fs, io,
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::{fs::DirBuilderExt, net::UnixStream},
    },
    path::{Path, PathBuf},
    time::Duration,
};

use nix::{
    libc,
    sched::{CloneFlags, unshare},
};
use rustix::{
    fs::{CWD, Mode, OFlags, ResolveFlags, openat2},
    mount::{MoveMountFlags, OpenTreeFlags, move_mount, open_tree},
    thread::ThreadNameSpaceType,
};
use serde::{Deserialize, Serialize};
use tokio::time::timeout;

use super::{
    super::{ExecSpec, Running, baseline::parse_mounts, process::FIRST_GONE},
    NO_SANDBOX, Sandbox,
    cannot::{Cannot, cannot},
    daemon::Link,
    exec::{self, Helper},
    helper::{Enter, Inside, NAMESPACES, Reply, Request, join_cgroups, send_reply, settle, unshare_mounts},
    instance, root,
    volume::{self, FILES},
};

/// How long the giving may take; mounting an image takes some milliseconds.
const GIVE_LIMIT: Duration = Duration::from_secs(15);

/// Why files could not be given.
#[derive(Debug, thiserror::Error)]
pub enum GiveError {
    #[error("the sandbox is not running: {0}")]
    NotRunning(&'static str),
    #[error("cannot see the sandbox's mounts: {0}")]
    Mounts(#[source] io::Error),
    #[error("cannot map the files' user to another: {0}")]
    Users(#[source] io::Error),
    #[error("cannot start the helper: {0}")]
    Helper(#[source] io::Error),
    #[error("{0}")]
    Failed(String),
    #[error("not done within {} s", GIVE_LIMIT.as_secs())]
    Late,
}

/// The image of [`volume::make_files`], and the host user to whom its files belong on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Files {
    pub image: PathBuf,
    pub uid: u32,
}

impl Sandbox {
    /// Mounts the files as the home of a sandbox that was prepared without, and makes in it the directories and links that
    /// are wanted, as the sandbox's user. Safe to repeat.
    pub async fn give(
        &self,
        running: &Running,
        files: &Files,
        directories: Vec<String>,
        links: Vec<Link>,
    ) -> Result<(), GiveError> {
        let instance = instance(running).ok_or(GiveError::NotRunning(NO_SANDBOX))?;
        if !instance.is_there() {
            return Err(GiveError::NotRunning(FIRST_GONE));
        }
        let text = fs::read_to_string(format!("/proc/{}/mountinfo", instance.pid)).map_err(GiveError::Mounts)?;
        let homes = parse_mounts(&text).into_iter().filter(|mount| mount.point == Path::new(root::HOME)).count();
        let taker =
            Taker { enter: exec::entry(instance, ExecSpec::default()), is_mounted: homes > 1, directories, links };
        let uid = root::host_uid(running.session.uuid().as_bytes());
        let at = self.scratch(running.session).join(root::LASTING);
        self.show(files, at, uid, Some(taker)).await
    }

    /// Whether this host can give files: tried with `files`, mounted at `at`.
    pub async fn can_give(&self, files: &Files, at: PathBuf) -> Result<(), GiveError> {
        self.show(files, at, root::host_uid(&[0; 16]), None).await
    }

    /// Has the files shown as if they belonged to `uid`.
    async fn show(&self, files: &Files, at: PathBuf, uid: u32, to: Option<Taker>) -> Result<(), GiveError> {
        let work = async {
            let users = self.users(files.uid, uid).await.map_err(GiveError::Users)?;
            let request = Request::Give(Box::new(Give { image: files.image.clone(), at, to }));
            let mut helper = Helper::start(&self.helper, &request, vec![users]).await.map_err(GiveError::Helper)?;
            match helper.reply().await.map_err(GiveError::Helper)? {
                Reply::Started => {}
                Reply::Failed { message } => return Err(GiveError::Failed(message)),
                Reply::StartedAs { .. } | Reply::ExitedCode(_) | Reply::ExitedSignal(_) | Reply::NoProgram { .. } => {
                    return Err(GiveError::Failed("the helper's answer makes no sense".to_owned()));
                }
            }
            // With it goes the mount that it made for itself.
            helper.child.wait().await.map(|_| ()).map_err(GiveError::Helper)
        };
        timeout(GIVE_LIMIT, work).await.unwrap_or(Err(GiveError::Late))
    }

    /// A user namespace that shows what belongs to `from` on disk as belonging to `to`.
    async fn users(&self, from: u32, to: u32) -> io::Result<OwnedFd> {
        let mut helper = Helper::start(&self.helper, &Request::Users, Vec::new()).await?;
        let reply = helper.reply().await?;
        if !matches!(reply, Reply::Started) {
            return Err(io::Error::other(format!("no user namespace: {reply:?}")));
        }
        let pid = helper.child.id().ok_or(io::ErrorKind::NotFound)?;
        for map in ["uid_map", "gid_map"] {
            fs::write(format!("/proc/{pid}/{map}"), format!("{from} {to} 1"))?;
        }
        let users = fs::File::open(format!("/proc/{pid}/ns/user"))?;
        // The descriptor keeps the namespace; the helper ends with its line to the agent.
        drop((helper.orders, helper.replies));
        helper.child.wait().await?;
        Ok(users.into())
    }
}

/// What is asked of the helper. Descriptor: the user namespace that maps the files' user.
#[derive(Debug, Serialize, Deserialize)]
pub struct Give {
    pub image: PathBuf,
    /// Where it is mounted meanwhile.
    pub at: PathBuf,
    /// None: only to see whether it can be done.
    pub to: Option<Taker>,
}

#[derive(Debug, Serialize, Deserialize)]
pub struct Taker {
    pub enter: Enter,
    /// Whether an earlier giving came that far.
    pub is_mounted: bool,
    pub directories: Vec<String>,
    pub links: Vec<Link>,
}

pub(super) fn serve(socket: &mut UnixStream, order: &Give, descriptors: Vec<OwnedFd>) -> Result<(), Cannot> {
    let Ok([users]) = <[OwnedFd; 1]>::try_from(descriptors) else {
        return Err(cannot("give files")("it needs one descriptor"));
    };
    let to = match &order.to {
        Some(taker) => {
            join_cgroups(&taker.enter.procs_files)?;
            Some((taker, Inside::find(taker.enter.pid, NAMESPACES)?))
        }
        None => None,
    };
    if order.to.as_ref().is_none_or(|taker| !taker.is_mounted) {
        unshare_mounts()?;
        volume::mount_shared(&order.image, &order.at).map_err(cannot("mount the person's files"))?;
        let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
        let files = open_tree(CWD, order.at.join(FILES), flags).map_err(cannot("open the person's files"))?;
        map_users(&files, &users).map_err(cannot("show the person's files to the sandbox's user"))?;
        if let Some((_, inside)) = &to {
            hand_over(&files, inside)?;
        }
    }
    if let Some((taker, inside)) = &to {
        settle(inside, &taker.enter)?;
        for directory in &taker.directories {
            let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(directory);
            made.map_err(cannot(format!("make {directory}")))?;
        }
        for link in &taker.links {
            link.make().map_err(cannot(format!("make {}", link.path)))?;
        }
    }
    send_reply(socket, &Reply::Started)
}

/// Moves the files over the sandbox's home.
fn hand_over(files: &OwnedFd, inside: &Inside) -> Result<(), Cannot> {
    inside.join(ThreadNameSpaceType::MOUNT)?;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    // The sandbox's user can put nothing in the home's place, which is a mount; this says that nothing else has.
    let home = openat2(CWD, root::HOME, flags, Mode::empty(), ResolveFlags::NO_SYMLINKS)
        .map_err(cannot("find the sandbox's home"))?;
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    move_mount(files, "", &home, "", flags).map_err(cannot("mount the person's files as the sandbox's home"))
}

/// Makes the mount one that shows users as the namespace maps them, and that has neither devices nor privileges to give.
fn map_users(mount: &OwnedFd, users: &OwnedFd) -> io::Result<()> {
    let attributes = libc::mount_attr {
        attr_set: libc::MOUNT_ATTR_IDMAP | libc::MOUNT_ATTR_NODEV | libc::MOUNT_ATTR_NOSUID,
        attr_clr: 0,
        propagation: 0,
        userns_fd: u64::try_from(users.as_raw_fd()).unwrap_or(u64::MAX),
    };
    #[expect(
        unsafe_code,
        reason = "no safe wrapper exists; the kernel reads one structure, of the size that it is told"
    )]
    let done = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH,
            &raw const attributes,
            size_of::<libc::mount_attr>(),
        )
    };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Makes a user namespace and stays in it until the agent has mapped its users and hangs up.
pub(super) fn serve_users(socket: &mut UnixStream) -> Result<(), Cannot> {
    unshare(CloneFlags::CLONE_NEWUSER).map_err(cannot("make a user namespace"))?;
    send_reply(socket, &Reply::Started)?;
    io::copy(socket, &mut io::sink()).map(|_| ()).map_err(cannot("wait for the agent"))
}
