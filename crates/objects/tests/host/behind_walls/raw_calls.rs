//! System calls that no library makes for an engine, made as hostile code in its process would.
#![expect(unsafe_code, reason = "what hostile code would do has no safe wrapper")]

use std::{ffi::CStr, io, ptr};

use nix::libc::{self, c_long};

/// Makes the call, with a process that is somebody else's.
type Make = fn(libc::pid_t) -> c_long;

/// Calls by the name under which they are tried.
const CALLS: &[(&str, Make)] = &[
    ("ptrace", |victim| call(libc::SYS_ptrace, [libc::PTRACE_SEIZE as c_long, victim.into(), 0, 0, 0, 0])),
    ("process_vm_readv", |victim| across(libc::SYS_process_vm_readv, victim)),
    ("process_vm_writev", |victim| across(libc::SYS_process_vm_writev, victim)),
    ("pidfd_open", |victim| call(libc::SYS_pidfd_open, [victim.into(), 0, 0, 0, 0, 0])),
    // Of itself: what comes before is a wall already.
    ("pidfd_getfd", |_| call(libc::SYS_pidfd_getfd, [0, 1, 0, 0, 0, 0])),
    ("keyctl", |_| call(libc::SYS_keyctl, [KEYCTL_GET_KEYRING_ID, KEY_SPEC_PROCESS_KEYRING, 1, 0, 0, 0])),
    ("add_key", |_| {
        let (kind, name) = (c"user", c"berth");
        call(libc::SYS_add_key, [at(kind), at(name), at(name), 1, KEY_SPEC_PROCESS_KEYRING, 0])
    }),
    ("request_key", |_| {
        let (kind, name) = (c"user", c"berth");
        call(libc::SYS_request_key, [at(kind), at(name), 0, 0, 0, 0])
    }),
    ("userfaultfd", |_| call(libc::SYS_userfaultfd, [UFFD_USER_MODE_ONLY, 0, 0, 0, 0, 0])),
    ("io_uring_setup", |_| {
        // Larger than `struct io_uring_params`.
        let mut parameters = [0_u64; 32];
        call(libc::SYS_io_uring_setup, [1, parameters.as_mut_ptr().expose_provenance() as c_long, 0, 0, 0, 0])
    }),
    ("io_uring_enter", |_| call(libc::SYS_io_uring_enter, [0, 0, 0, 0, 0, 0])),
    ("io_uring_register", |_| call(libc::SYS_io_uring_register, [0, 0, 0, 0, 0, 0])),
    ("bpf", |_| {
        // A map: an array of one number.
        let map = [2_u32, 4, 4, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        call(libc::SYS_bpf, [0, map.as_ptr().expose_provenance() as c_long, 64, 0, 0, 0])
    }),
    ("perf_event_open", |_| {
        // A counter of the program's own page faults.
        let mut event = [0_u32; 32];
        event[0] = 1;
        event[1] = 128;
        event[2] = 2;
        call(libc::SYS_perf_event_open, [event.as_ptr().expose_provenance() as c_long, 0, -1, -1, 0, 0])
    }),
    ("clone3", |_| {
        // A child in namespaces of its own, which ends at once.
        let flags = (libc::CLONE_NEWUSER | libc::CLONE_NEWNS | libc::CLONE_NEWNET) as u64;
        let arguments: [u64; 11] = [flags, 0, 0, 0, libc::SIGCHLD as u64, 0, 0, 0, 0, 0, 0];
        let size = size_of_val(&arguments) as c_long;
        let child = call(libc::SYS_clone3, [arguments.as_ptr().expose_provenance() as c_long, size, 0, 0, 0, 0]);
        if child == 0 {
            call(libc::SYS_exit_group, [0; 6]);
        }
        child
    }),
    ("clone", |_| {
        let flags = c_long::from(libc::CLONE_NEWUSER | libc::CLONE_NEWNET | libc::SIGCHLD);
        let child = call(libc::SYS_clone, [flags, 0, 0, 0, 0, 0]);
        if child == 0 {
            call(libc::SYS_exit_group, [0; 6]);
        }
        child
    }),
    ("setns", |_| call(libc::SYS_setns, [0, 0, 0, 0, 0, 0])),
    ("memfd_create", |_| call(libc::SYS_memfd_create, [at(c"berth"), 0, 0, 0, 0, 0])),
    ("memfd_secret", |_| call(libc::SYS_memfd_secret, [0; 6])),
    ("execveat", |_| {
        // An empty path of a descriptor that is no program: the error is the kernel's, which has looked.
        let none = [ptr::null::<libc::c_char>()];
        let none = none.as_ptr().expose_provenance() as c_long;
        call(libc::SYS_execveat, [0, at(c""), none, none, c_long::from(libc::AT_EMPTY_PATH), 0])
    }),
    ("open_by_handle_at", |_| call(libc::SYS_open_by_handle_at, [0, 0, 0, 0, 0, 0])),
    ("openat2", |_| {
        let how = [0_u64; 3];
        let how = how.as_ptr().expose_provenance() as c_long;
        call(libc::SYS_openat2, [c_long::from(libc::AT_FDCWD), at(c"/"), how, 24, 0, 0])
    }),
    ("fsopen", |_| call(libc::SYS_fsopen, [at(c"tmpfs"), 0, 0, 0, 0, 0])),
    ("open_tree", |_| call(libc::SYS_open_tree, [c_long::from(libc::AT_FDCWD), at(c"/"), 0, 0, 0, 0])),
    ("kcmp", |victim| call(libc::SYS_kcmp, [c_long::from(victim), c_long::from(victim), 1, 0, 0, 0])),
    ("process_madvise", |_| call(libc::SYS_process_madvise, [0, 0, 0, 0, 0, 0])),
    ("pidfd_send_signal", |_| call(libc::SYS_pidfd_send_signal, [0, 0, 0, 0, 0, 0])),
    ("socketpair", |_| {
        let mut pair = [0_i32; 2];
        let to = pair.as_mut_ptr().expose_provenance() as c_long;
        call(libc::SYS_socketpair, [c_long::from(libc::AF_UNIX), c_long::from(libc::SOCK_STREAM), 0, to, 0, 0])
    }),
    ("personality", |_| call(libc::SYS_personality, [0xffff_ffff, 0, 0, 0, 0, 0])),
    // Nowhere: without walls it would be the machine's.
    ("mount", |_| call(libc::SYS_mount, [at(c"none"), at(c""), at(c"tmpfs"), 0, 0, 0])),
];

const KEYCTL_GET_KEYRING_ID: c_long = 0;
const KEY_SPEC_PROCESS_KEYRING: c_long = -2;
const UFFD_USER_MODE_ONLY: c_long = 1;

pub fn names() -> impl Iterator<Item = &'static str> {
    CALLS.iter().map(|(name, _)| *name)
}

pub fn is_one(what: &str) -> bool {
    names().any(|name| name == what)
}

/// What came of it, if this process goes on.
pub fn attempt(what: &str, victim: &str) -> String {
    let victim = victim.parse().unwrap_or(0);
    let made = CALLS.iter().find(|(name, _)| *name == what).map_or(-1, |(_, make)| make(victim));
    if made >= 0 { "open".to_owned() } else { io::Error::last_os_error().to_string() }
}

fn call(number: c_long, arguments: [c_long; 6]) -> c_long {
    let [a, b, c, d, e, f] = arguments;
    // SAFETY: pointers among the arguments lead to what lives until the call is over, of the size that the call wants, and
    // nothing that it changes is looked at afterwards.
    unsafe { libc::syscall(number, a, b, c, d, e, f) }
}

fn at(text: &CStr) -> c_long {
    text.as_ptr().expose_provenance() as c_long
}

/// Between this process's memory and the other's, at the same address.
fn across(number: c_long, victim: libc::pid_t) -> c_long {
    let mut byte = 0_u8;
    let piece = libc::iovec { iov_base: (&raw mut byte).cast(), iov_len: 1 };
    let piece = (&raw const piece).expose_provenance() as c_long;
    call(number, [victim.into(), piece, 1, piece, 1, 0])
}
