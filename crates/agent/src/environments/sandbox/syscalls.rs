//! The filter of system calls for everything in a sandbox: what a shell user, compilers, notebooks and servers have no
//! use for, and what holes in the kernel have come through again and again. All else is allowed.
//!
//! bubblewrap gets the program as a file for the first process; the helper puts it on what it starts. Users, capabilities
//! and namespaces already keep most of this from a sandbox; the filter keeps it from reaching the kernel's code at all.

use nix::libc;
use seccompiler::sock_filter;

#[cfg(target_arch = "x86_64")]
const ARCHITECTURE: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
const ARCHITECTURE: u32 = 0xc000_00b7;
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
compile_error!("the agent knows the system calls of x86_64 and aarch64 only");

/// Offsets in the kernel's `struct seccomp_data`. Of arguments the lower half: both architectures are little-endian, and
/// the kernel itself looks at no more of those that are compared here.
const NUMBER: u32 = 0;
const ARCHITECTURE_AT: u32 = 4;
const fn argument(index: u32) -> u32 {
    16 + 8 * index
}

/// Refused as not permitted.
const FORBIDDEN: &[libc::c_long] = &[
    // Keys of the kernel's keyrings, which are not bounded by namespaces.
    libc::SYS_add_key,
    libc::SYS_keyctl,
    libc::SYS_request_key,
    // Programs in the kernel, counters of the processor, faults handled by the program.
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_fanotify_init,
    libc::SYS_lookup_dcookie,
    // Another kernel, and parts of this one.
    libc::SYS_kexec_load,
    libc::SYS_kexec_file_load,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_reboot,
    libc::SYS_syslog,
    // Mounts and namespaces. `unshare` and `clone` are looked at more closely below.
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_move_mount,
    libc::SYS_open_tree,
    OPEN_TREE_ATTR,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_mount_setattr,
    libc::SYS_setns,
    // Files by handle, past every directory's permissions.
    libc::SYS_open_by_handle_at,
    libc::SYS_name_to_handle_at,
    // The host's swap, quotas, accounting, clock.
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_quotactl,
    libc::SYS_quotactl_fd,
    libc::SYS_acct,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_vhangup,
    libc::SYS_nfsservctl,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_iopl,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_ioperm,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_modify_ldt,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_uselib,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_ustat,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_sysfs,
];
/// Newer than the library's list; the same on every architecture.
const OPEN_TREE_ATTR: libc::c_long = 467;

/// Said not to exist, so that programs take the way that they have for older kernels. `clone3` has its flags in memory,
/// where no filter can look.
const ABSENT: &[libc::c_long] =
    &[libc::SYS_clone3, libc::SYS_io_uring_setup, libc::SYS_io_uring_enter, libc::SYS_io_uring_register];

/// Puts characters into a terminal's input as if they had been typed: into the agent's own, should one be at hand.
const TERMINAL_INPUT: [u32; 2] = [0x5412, 0x541c];
/// Unix, IPv4, IPv6, netlink; what else the kernel has is seldom used and seldom looked at.
const FAMILIES: [u32; 4] = [1, 2, 10, 16];
/// CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET.
const NEW_NAMESPACE: u32 = 0x7e02_0000;
/// CLONE_NEWTIME: in `clone` this bit belongs to the signal of the child's end.
const NEW_TIME: u32 = 0x80;

const ALLOW: u32 = 0x7fff_0000;
const KILL: u32 = 0x8000_0000;
const fn refuse(errno: i32) -> u32 {
    0x0005_0000 | errno.cast_unsigned()
}

const fn instruction(code: u32, jt: u8, jf: u8, k: u32) -> sock_filter {
    sock_filter { code: code as u16, jt, jf, k }
}
const fn load(offset: u32) -> sock_filter {
    instruction(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, offset)
}
const fn end(action: u32) -> sock_filter {
    instruction(libc::BPF_RET | libc::BPF_K, 0, 0, action)
}
/// `comparison` of what was loaded with `k`; goes on behind the next instruction unless it holds.
const fn unless(comparison: u32, k: u32) -> sock_filter {
    instruction(libc::BPF_JMP | comparison | libc::BPF_K, 0, 1, k)
}

fn number(call: libc::c_long) -> u32 {
    // Numbers of system calls are small and positive.
    u32::try_from(call).unwrap_or(u32::MAX)
}

/// What is looked at behind a call's number: `body` must end in a verdict.
fn closer(call: libc::c_long, body: Vec<sock_filter>) -> Vec<sock_filter> {
    let past = u8::try_from(body.len()).unwrap_or(u8::MAX);
    let mut program = vec![instruction(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, past, number(call))];
    program.extend(body);
    program
}

/// The filter as the kernel takes it.
pub fn program() -> Vec<sock_filter> {
    // Of another architecture (32-bit programs) the numbers mean other calls: not to be told apart here.
    let mut program = vec![
        load(ARCHITECTURE_AT),
        instruction(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 1, 0, ARCHITECTURE),
        end(KILL),
        load(NUMBER),
    ];
    if cfg!(target_arch = "x86_64") {
        // The same calls once more under numbers of the x32 ABI.
        program.extend([unless(libc::BPF_JGE, 0x4000_0000), end(refuse(libc::ENOSYS))]);
    }
    for (calls, errno) in [(FORBIDDEN, libc::EPERM), (ABSENT, libc::ENOSYS)] {
        for call in calls {
            program.extend([unless(libc::BPF_JEQ, number(*call)), end(refuse(errno))]);
        }
    }
    for (call, flags) in [(libc::SYS_clone, NEW_NAMESPACE), (libc::SYS_unshare, NEW_NAMESPACE | NEW_TIME)] {
        let body = [load(argument(0)), unless(libc::BPF_JSET, flags), end(refuse(libc::EPERM)), end(ALLOW)];
        program.extend(closer(call, body.to_vec()));
    }
    let mut ioctl = vec![load(argument(1))];
    for request in TERMINAL_INPUT {
        ioctl.extend([unless(libc::BPF_JEQ, request), end(refuse(libc::EPERM))]);
    }
    ioctl.push(end(ALLOW));
    program.extend(closer(libc::SYS_ioctl, ioctl));
    let mut socket = vec![load(argument(0))];
    for family in FAMILIES {
        socket.extend([unless(libc::BPF_JEQ, family), end(ALLOW)]);
    }
    socket.push(end(refuse(libc::EAFNOSUPPORT)));
    program.extend(closer(libc::SYS_socket, socket));
    program.push(end(ALLOW));
    program
}

/// The same as bytes, which bubblewrap reads from a descriptor.
pub fn bytes() -> Vec<u8> {
    program()
        .iter()
        .flat_map(|step| {
            let [code_low, code_high] = step.code.to_ne_bytes();
            let [a, b, c, d] = step.k.to_ne_bytes();
            [code_low, code_high, step.jt, step.jf, a, b, c, d]
        })
        .collect()
}

/// Puts the filter on this process and whatever it starts, for good.
pub fn apply() -> Result<(), seccompiler::Error> {
    seccompiler::apply_filter(&program())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the filter says to a call, by the kernel's rules for these instructions.
    fn verdict(architecture: u32, call: u32, arguments: [u64; 6]) -> u32 {
        let mut data = [call.to_le_bytes(), architecture.to_le_bytes()].concat();
        data.extend([0; 8]);
        data.extend(arguments.iter().flat_map(|argument| argument.to_le_bytes()));
        let program = program();
        let (mut at, mut loaded) = (0, 0);
        loop {
            let step = &program[at];
            at += 1;
            let code = u32::from(step.code);
            match code & 0x07 {
                libc::BPF_LD => {
                    let from = step.k as usize;
                    loaded = u32::from_le_bytes(data[from..from + 4].try_into().expect("four bytes"));
                }
                libc::BPF_RET => return step.k,
                _ => {
                    let holds = match code & 0xf0 {
                        libc::BPF_JEQ => loaded == step.k,
                        libc::BPF_JGE => loaded >= step.k,
                        _ => loaded & step.k != 0,
                    };
                    at += usize::from(if holds { step.jt } else { step.jf });
                }
            }
        }
    }

    #[test]
    fn what_is_refused_and_what_is_not() {
        let check = |call: libc::c_long, arguments: [u64; 6], expected: u32| {
            assert_eq!(verdict(ARCHITECTURE, number(call), arguments), expected, "{call} {arguments:?}");
        };
        let with = |first: u64, second: u64| [first, second, 0, 0, 0, 0];
        for call in FORBIDDEN {
            check(*call, [0; 6], refuse(libc::EPERM));
        }
        for call in ABSENT {
            check(*call, [0; 6], refuse(libc::ENOSYS));
        }
        for call in [libc::SYS_read, libc::SYS_execve, libc::SYS_ptrace, libc::SYS_seccomp, libc::SYS_getdents64] {
            check(call, [0; 6], ALLOW);
        }
        // The upper half of an argument is nothing to the kernel, so it must not hide the lower one.
        check(libc::SYS_ioctl, with(0, 0x5412 | 1 << 32), refuse(libc::EPERM));
        check(libc::SYS_ioctl, with(0, 0x5413), ALLOW);
        check(libc::SYS_socket, with(40, 1), refuse(libc::EAFNOSUPPORT));
        check(libc::SYS_socket, with(2, 1), ALLOW);
        check(libc::SYS_clone, with(0x1000_0000 | 17, 0), refuse(libc::EPERM));
        check(libc::SYS_clone, with(0x003d_0f00 | 0x80, 0), ALLOW);
        check(libc::SYS_unshare, with(0x80, 0), refuse(libc::EPERM));
        check(libc::SYS_unshare, with(0x200, 0), ALLOW);
        assert_eq!(verdict(0x4000_0003, 5, [0; 6]), KILL);
        if cfg!(target_arch = "x86_64") {
            assert_eq!(verdict(ARCHITECTURE, 0x4000_0000 | 1, [0; 6]), refuse(libc::ENOSYS));
        }
    }
}
