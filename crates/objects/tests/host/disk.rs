//! A disk that takes its time to make anything durable, and that has nothing else when the power fails.
//!
//! A process that is killed leaves all that it wrote to the kernel, which is more than a computer leaves that loses its
//! power. So whoever is on such a disk has its `fsync`, `fdatasync` and `syncfs` answered by the test (seccomp's user
//! notification, which needs no rights): after a while the file's contents at that moment are durable. When the power fails,
//! files go back to that. Names of files are taken as durable at once.
#![expect(unsafe_code, reason = "seccomp's notifications have no safe wrapper")]

use std::{
    collections::HashMap,
    fs::{self, File},
    io::{self, Read, Write},
    os::{
        fd::{AsRawFd, FromRawFd, OwnedFd, RawFd},
        unix::fs::MetadataExt,
    },
    path::{Path, PathBuf},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::JoinHandle,
    time::{Duration, SystemTime},
};

use nix::libc;
use rustix::{
    event::{PollFd, PollFlags, poll},
    process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open},
};

use crate::victim::Victim;

nix::ioctl_readwrite!(receive, b'!', 0, libc::seccomp_notif);
nix::ioctl_readwrite!(answer, b'!', 1, libc::seccomp_notif_resp);

/// An inode's number is given again.
type FileId = (u64, Option<SystemTime>);

#[derive(Default)]
struct Medium {
    /// What each file has when the power comes back.
    durable: HashMap<FileId, Vec<u8>>,
    syncs: usize,
    failed: bool,
}

pub struct Disk {
    root: PathBuf,
    medium: Arc<(Mutex<Medium>, Condvar)>,
    thread: JoinHandle<()>,
}

impl Disk {
    /// Starts a victim whose files below `root` are on such a disk. What is there is durable.
    pub fn start(command: &str, directory: &Path, root: PathBuf, latency: Duration) -> (Victim, Self) {
        let mut victim = Victim::spawn(command, directory);
        let number: RawFd = victim.line().parse().expect("the number of a descriptor");
        let pid = Pid::from_raw(i32::try_from(victim.pid()).expect("a pid")).expect("a pid");
        let process = pidfd_open(pid, PidfdFlags::empty()).expect("it runs");
        let listener = pidfd_getfd(process, number, PidfdGetfdFlags::empty()).expect("is the test's as well");
        let mut medium = Medium::default();
        keep_all(&root, &mut medium.durable);
        let medium = Arc::new((Mutex::new(medium), Condvar::new()));
        let served = (Arc::clone(&medium), root.clone());
        let thread = std::thread::spawn(move || serve(&listener, &served.0, &served.1, latency));
        victim.go_on();
        (victim, Disk { root, medium, thread })
    }

    /// The power fails. How often something was made durable before.
    pub fn fail(self, victim: Victim) -> usize {
        let (medium, changed) = &*self.medium;
        locked(medium).failed = true;
        changed.notify_all();
        drop(victim);
        self.thread.join().expect("the disk works");
        let medium = locked(medium);
        for path in files_below(&self.root) {
            let id = id_of(&File::open(&path).expect("is there"));
            fs::write(&path, medium.durable.get(&id).map_or(&[][..], Vec::as_slice)).expect("is written");
        }
        medium.syncs
    }
}

/// In the victim, before it has threads: from here on the test's disk is asked, once it listens.
pub fn attach() -> io::Result<()> {
    let stop = |code: u32, jump: u8, value: u32| libc::sock_filter {
        code: u16::try_from(code).unwrap_or(u16::MAX),
        jt: jump,
        jf: 0,
        k: value,
    };
    let number = |call: libc::c_long| u32::try_from(call).unwrap_or(u32::MAX);
    let mut program = [
        stop(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0),
        stop(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 3, number(libc::SYS_fsync)),
        stop(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 2, number(libc::SYS_fdatasync)),
        stop(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 1, number(libc::SYS_syncfs)),
        stop(libc::BPF_RET | libc::BPF_K, 0, libc::SECCOMP_RET_ALLOW),
        stop(libc::BPF_RET | libc::BPF_K, 0, libc::SECCOMP_RET_USER_NOTIF),
    ];
    let program = libc::sock_fprog { len: 6, filter: program.as_mut_ptr() };
    rustix::thread::set_no_new_privs(true)?;
    // SAFETY: the kernel reads the program, which lives until the call returns.
    let listener = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            libc::SECCOMP_FILTER_FLAG_NEW_LISTENER,
            &raw const program,
        )
    };
    let listener = RawFd::try_from(listener).ok().filter(|listener| *listener >= 0);
    let listener = listener.ok_or_else(io::Error::last_os_error)?;
    // SAFETY: the call made it, for nobody else.
    let listener = unsafe { OwnedFd::from_raw_fd(listener) };
    println!("{}", listener.as_raw_fd());
    io::stdout().flush()?;
    // The test has it by then.
    io::stdin().read_exact(&mut [0])
}

fn serve(listener: &OwnedFd, medium: &(Mutex<Medium>, Condvar), root: &Path, latency: Duration) {
    loop {
        let mut polled = [PollFd::new(listener, PollFlags::IN)];
        poll(&mut polled, None).expect("is listened to");
        if !polled[0].revents().contains(PollFlags::IN) {
            // Nobody is left who could ask.
            return;
        }
        // SAFETY: all zeroes is what the kernel wants of a notification that it is to fill in.
        let mut asked: libc::seccomp_notif = unsafe { std::mem::zeroed() };
        // SAFETY: a listener, and room for one notification.
        if unsafe { receive(listener.as_raw_fd(), &raw mut asked) }.is_err() {
            // Who asked is gone.
            continue;
        }
        let file = File::open(format!("/proc/{}/fd/{}", asked.pid, asked.data.args[0]));
        let mut state = locked(&medium.0);
        if !state.failed {
            let waited = medium.1.wait_timeout_while(state, latency, |medium| !medium.failed);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        if state.failed {
            // Whoever waits is about to end.
            continue;
        }
        let everything = libc::c_long::from(asked.data.nr) == libc::SYS_syncfs;
        match file {
            Ok(_) if everything => keep_all(root, &mut state.durable),
            Ok(file) => keep(file, &mut state.durable),
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::NotFound, "{error}"),
        }
        state.syncs += 1;
        drop(state);
        let mut done = libc::seccomp_notif_resp { id: asked.id, val: 0, error: 0, flags: 0 };
        // SAFETY: a listener, and the answer to what it asked.
        match unsafe { answer(listener.as_raw_fd(), &raw mut done) } {
            // Or who asked is gone.
            Ok(_) | Err(nix::errno::Errno::ENOENT) => {}
            Err(error) => panic!("a sync cannot be answered: {error}"),
        }
    }
}

fn locked(medium: &Mutex<Medium>) -> MutexGuard<'_, Medium> {
    medium.lock().unwrap_or_else(PoisonError::into_inner)
}

fn id_of(file: &File) -> FileId {
    let metadata = file.metadata().expect("is known");
    (metadata.ino(), metadata.created().ok())
}

fn keep(mut file: File, durable: &mut HashMap<FileId, Vec<u8>>) {
    if file.metadata().expect("is known").is_file() {
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).expect("is read");
        durable.insert(id_of(&file), bytes);
    }
}

fn keep_all(root: &Path, durable: &mut HashMap<FileId, Vec<u8>>) {
    for path in files_below(root) {
        // It may have gone meanwhile.
        if let Ok(file) = File::open(path) {
            keep(file, durable);
        }
    }
}

fn files_below(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => found.extend(files_below(&entry.path())),
            Ok(kind) if kind.is_file() => found.push(entry.path()),
            Ok(_) | Err(_) => {}
        }
    }
    found
}
