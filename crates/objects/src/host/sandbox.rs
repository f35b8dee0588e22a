//! The walls around an engine's process, put up by that process itself before it reads anything that users wrote.
//!
//! Behind them are its memory, the processor, and the descriptors it was started with: the socket to the host, the page
//! that says what it is at, and its log. Each wall stands by itself: with the namespaces gone there is still Landlock,
//! with both gone the filter of system calls, which knows neither files nor sockets.

#![expect(
    unsafe_code,
    reason = "landlock and close_range have no safe wrapper; they take plain numbers and one struct"
)]

use std::{
    collections::BTreeMap,
    fs, io,
    os::fd::{FromRawFd, OwnedFd},
};

use nix::{
    libc,
    mount::{MntFlags, MsFlags, mount, umount2},
    sched::{CloneFlags, unshare},
    unistd::{Gid, Uid, chdir, pivot_root, setgroups, setresgid, setresuid},
};
use rustix::{
    process::{
        DumpableBehavior, Resource, Rlimit, Signal, set_dumpable_behavior, set_parent_process_death_signal, setrlimit,
    },
    thread::{CapabilitySet, CapabilitySets, remove_capability_from_bounding_set, set_capabilities, set_no_new_privs},
};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule, TargetArch,
};

/// Who an engine is to the host's kernel, if whoever starts it may give it away.
const NOBODY: u32 = 65_534;
/// Descriptors 0, 1 and 2 are all that it is given.
const FIRST_OTHER: libc::c_uint = 3;

#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    #[error("cannot {what}: {source}")]
    Call { what: &'static str, source: io::Error },
    #[error("neither namespaces nor Landlock can keep the engine from files here")]
    NoFiles,
    #[error("the filter of system calls cannot be made: {0}")]
    Filter(#[from] seccompiler::BackendError),
    #[error("the filter of system calls cannot be put on: {0}")]
    Apply(#[from] seccompiler::Error),
    #[error("engines run on x86_64 and aarch64 only")]
    Architecture,
}

/// Which of the walls that not every host allows are up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Walls {
    pub namespaces: bool,
    pub landlock: bool,
}

/// One of the walls. Each keeps off by itself what it can.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wall {
    /// No descriptor but the first three.
    Descriptors,
    /// The process ends with whoever started it.
    EndsWithHost,
    NoNewPrivileges,
    /// Not root, and of no group.
    User,
    Namespaces,
    Capabilities,
    Landlock,
    NoTraces,
    Limits,
    /// The filter of system calls.
    Calls,
}

/// Whether a wall is up: not every host allows all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stands {
    Yes,
    No,
}

fn failed<E: Into<io::Error>>(what: &'static str) -> impl FnOnce(E) -> SandboxError {
    move |error| SandboxError::Call { what, source: error.into() }
}

/// Puts up all walls, for good. Must run before the process has threads. `memory_bytes`: of the whole process.
pub fn apply(memory_bytes: u64) -> Result<Walls, SandboxError> {
    // The change of user gives back what the end with the host asked for: it comes twice.
    for wall in [Wall::Descriptors, Wall::EndsWithHost, Wall::NoNewPrivileges, Wall::User, Wall::EndsWithHost] {
        put_up(wall, memory_bytes)?;
    }
    let namespaces = put_up(Wall::Namespaces, memory_bytes)? == Stands::Yes;
    put_up(Wall::Capabilities, memory_bytes)?;
    let landlock = put_up(Wall::Landlock, memory_bytes)? == Stands::Yes;
    if !namespaces && !landlock {
        return Err(SandboxError::NoFiles);
    }
    for wall in [Wall::NoTraces, Wall::Limits, Wall::Calls] {
        put_up(wall, memory_bytes)?;
    }
    Ok(Walls { namespaces, landlock })
}

/// Puts up one wall, for good. [`apply`] knows in which order they all go up.
pub fn put_up(wall: Wall, memory_bytes: u64) -> Result<Stands, SandboxError> {
    match wall {
        Wall::Descriptors => close_inherited()?,
        Wall::EndsWithHost => {
            set_parent_process_death_signal(Some(Signal::KILL)).map_err(failed("ask for the end with the host"))?;
        }
        Wall::NoNewPrivileges => set_no_new_privs(true).map_err(failed("give up new privileges"))?,
        Wall::User => give_up_root()?,
        // A host may forbid them; Landlock must hold then.
        Wall::Namespaces => return Ok(if enter_namespaces().is_ok() { Stands::Yes } else { Stands::No }),
        Wall::Capabilities => drop_capabilities()?,
        Wall::Landlock => return forbid_files(),
        Wall::NoTraces => set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(failed("forbid traces"))?,
        Wall::Limits => limit(memory_bytes)?,
        Wall::Calls => filter_calls()?,
    }
    Ok(Stands::Yes)
}

/// The socket and the page that the process was started with in place of standard input and output. Once.
pub fn standard_streams() -> (OwnedFd, OwnedFd) {
    // SAFETY: an engine's process has these two open from its start; nothing else in it uses or closes them.
    unsafe { (OwnedFd::from_raw_fd(0), OwnedFd::from_raw_fd(1)) }
}

fn close_inherited() -> Result<(), SandboxError> {
    // SAFETY: nothing in this process has opened a descriptor yet; the call takes plain numbers.
    let closed = unsafe { libc::syscall(libc::SYS_close_range, FIRST_OTHER, libc::c_uint::MAX, 0) };
    if closed == 0 { Ok(()) } else { Err(failed("close descriptors")(io::Error::last_os_error())) }
}

fn give_up_root() -> Result<(), SandboxError> {
    if !Uid::effective().is_root() {
        return Ok(());
    }
    setgroups(&[]).map_err(failed("leave groups"))?;
    let (gid, uid) = (Gid::from_raw(NOBODY), Uid::from_raw(NOBODY));
    setresgid(gid, gid, gid).map_err(failed("change the group"))?;
    setresuid(uid, uid, uid).map_err(failed("change the user"))
}

fn enter_namespaces() -> io::Result<()> {
    let all = CloneFlags::CLONE_NEWUSER
        | CloneFlags::CLONE_NEWNS
        | CloneFlags::CLONE_NEWNET
        | CloneFlags::CLONE_NEWIPC
        | CloneFlags::CLONE_NEWUTS
        | CloneFlags::CLONE_NEWCGROUP
        | CloneFlags::CLONE_NEWPID;
    let (uid, gid) = (Uid::effective(), Gid::effective());
    // A process that gave up root is not dumpable and its files in /proc are root's.
    set_dumpable_behavior(DumpableBehavior::Dumpable)?;
    unshare(all)?;
    fs::write("/proc/self/setgroups", "deny")?;
    fs::write("/proc/self/uid_map", format!("{uid} {uid} 1"))?;
    fs::write("/proc/self/gid_map", format!("{gid} {gid} 1"))?;
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)?;
    // Some directory that is there on every system; what it held is not needed any more.
    let over = "/proc";
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount(Some("none"), over, Some("tmpfs"), flags, Some("size=4k,mode=0555"))?;
    chdir(over)?;
    pivot_root(".", ".")?;
    umount2(".", MntFlags::MNT_DETACH)?;
    chdir("/")?;
    mount(None::<&str>, "/", None::<&str>, flags | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY, None::<&str>)?;
    Ok(())
}

fn drop_capabilities() -> Result<(), SandboxError> {
    for capability in CapabilitySet::all().iter() {
        // Without the right to it there is nothing to give up: the sets below are what counts.
        if remove_capability_from_bounding_set(capability).is_err() {
            break;
        }
    }
    let none = CapabilitySets {
        effective: CapabilitySet::empty(),
        permitted: CapabilitySet::empty(),
        inheritable: CapabilitySet::empty(),
    };
    set_capabilities(None, none).map_err(failed("give up capabilities"))
}

/// The kernel's `struct landlock_ruleset_attr` of ABI 6.
#[repr(C)]
struct Ruleset {
    files: u64,
    network: u64,
    scoped: u64,
}

/// Denies every access that this kernel's Landlock knows. Whether there is Landlock.
fn forbid_files() -> Result<Stands, SandboxError> {
    const VERSION: libc::c_uint = 1;
    // SAFETY: asks for the version: no pointer, no size.
    let version =
        unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, std::ptr::null::<Ruleset>(), 0_usize, VERSION) };
    if version < 1 {
        return Ok(Stands::No);
    }
    let files = match version {
        1 => (1 << 13) - 1,
        2 => (1 << 14) - 1,
        3 | 4 => (1 << 15) - 1,
        _newer => (1 << 16) - 1,
    };
    let ruleset = Ruleset { files, network: 0b11, scoped: 0b11 };
    let known = match version {
        1..=3 => size_of::<u64>(),
        4 | 5 => 2 * size_of::<u64>(),
        _newer => size_of::<Ruleset>(),
    };
    // SAFETY: the kernel reads `known` bytes, all of them within `ruleset`.
    let made = unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, &raw const ruleset, known, 0) };
    if made < 0 {
        return Err(failed("make Landlock's rules")(io::Error::last_os_error()));
    }
    // SAFETY: `made` is the descriptor of the rules, and plain numbers are all there is.
    let restricted = unsafe { libc::syscall(libc::SYS_landlock_restrict_self, made, 0) };
    let outcome = if restricted == 0 { Ok(Stands::Yes) } else { Err(io::Error::last_os_error()) };
    close_inherited()?;
    outcome.map_err(failed("put on Landlock's rules"))
}

fn limit(memory_bytes: u64) -> Result<(), SandboxError> {
    for (resource, value) in [
        (Resource::As, memory_bytes),
        (Resource::Core, 0),
        // The page that says what it is at counts as a file.
        (Resource::Fsize, 4096),
        (Resource::Nproc, 0),
        (Resource::Nofile, 3),
        (Resource::Memlock, 0),
        (Resource::Msgqueue, 0),
    ] {
        let same = Rlimit { current: Some(value), maximum: Some(value) };
        setrlimit(resource, same).map_err(failed("set limits"))?;
    }
    Ok(())
}

/// What an engine does: memory, time, its descriptors.
const ALLOWED: &[libc::c_long] = &[
    libc::SYS_read,
    libc::SYS_readv,
    libc::SYS_write,
    libc::SYS_writev,
    libc::SYS_pwrite64,
    libc::SYS_recvfrom,
    libc::SYS_sendto,
    libc::SYS_ppoll,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_madvise,
    libc::SYS_brk,
    libc::SYS_futex,
    libc::SYS_clock_gettime,
    libc::SYS_gettimeofday,
    libc::SYS_getrandom,
    libc::SYS_rt_sigreturn,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_sigaltstack,
    libc::SYS_sched_yield,
    libc::SYS_getpid,
    libc::SYS_gettid,
    libc::SYS_restart_syscall,
    libc::SYS_exit,
    libc::SYS_exit_group,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_poll,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_time,
];

/// What libraries try and can do without.
const REFUSED: &[libc::c_long] = &[
    libc::SYS_openat,
    libc::SYS_newfstatat,
    libc::SYS_fstat,
    libc::SYS_statx,
    libc::SYS_readlinkat,
    libc::SYS_faccessat,
    libc::SYS_getcwd,
    libc::SYS_ioctl,
    libc::SYS_fcntl,
    libc::SYS_lseek,
    libc::SYS_close,
    libc::SYS_uname,
    libc::SYS_sysinfo,
    libc::SYS_getrusage,
    libc::SYS_prlimit64,
    libc::SYS_sched_getaffinity,
    libc::SYS_socket,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_open,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_stat,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_access,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_readlink,
];

fn condition(argument: u8, operation: SeccompCmpOp, value: u64) -> Result<SeccompRule, seccompiler::BackendError> {
    SeccompRule::new(vec![SeccompCondition::new(argument, SeccompCmpArgLen::Dword, operation, value)?])
}

fn programs() -> Result<[BpfProgram; 2], SandboxError> {
    let architecture = TargetArch::try_from(std::env::consts::ARCH).map_err(|_unknown| SandboxError::Architecture)?;
    let every = |calls: &[libc::c_long]| -> BTreeMap<i64, Vec<SeccompRule>> {
        calls.iter().map(|call| (*call, Vec::new())).collect()
    };
    let executable = u64::from(libc::PROT_EXEC.cast_unsigned());
    // Putting on the second filter takes these two, which can only take more away.
    let other_than = |operation: libc::c_int| {
        let value = u64::from(operation.cast_unsigned());
        SeccompCondition::new(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Ne, value)
    };
    let prctl = SeccompRule::new(vec![other_than(libc::PR_SET_NO_NEW_PRIVS)?, other_than(libc::PR_SET_SECCOMP)?])?;
    let mut known = every(ALLOWED);
    known.extend(every(REFUSED));
    known.insert(libc::SYS_prctl, Vec::new());
    let mut refusals = every(REFUSED);
    refusals.insert(libc::SYS_prctl, vec![prctl]);
    // No page that was written is ever run.
    for call in [libc::SYS_mmap, libc::SYS_mprotect] {
        known.insert(call, vec![condition(2, SeccompCmpOp::MaskedEq(executable), 0)?]);
    }
    // A panic aborts this very process, and no signal reaches another one.
    known.insert(libc::SYS_tgkill, vec![condition(0, SeccompCmpOp::Eq, u64::from(std::process::id()))?]);
    let kill = SeccompFilter::new(known, SeccompAction::KillProcess, SeccompAction::Allow, architecture)?;
    let refuse = SeccompAction::Errno(libc::EACCES.cast_unsigned());
    let refused = SeccompFilter::new(refusals, SeccompAction::Allow, refuse, architecture)?;
    Ok([kill.try_into()?, refused.try_into()?])
}

fn filter_calls() -> Result<(), SandboxError> {
    // Of two verdicts the kernel takes the harder one. The one that kills is put on last: it does not know `seccomp`.
    let [kill, refuse] = programs()?;
    seccompiler::apply_filter(&refuse)?;
    seccompiler::apply_filter(&kill)?;
    Ok(())
}
