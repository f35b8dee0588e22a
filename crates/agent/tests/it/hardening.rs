//! What a sandbox must not get: descriptors of whoever started the agent, and the kernel's rarely used doors.

use std::fs;

use agent::environments::{ExecSpec, Size};
use nix::libc;
use rustix::io::{FdFlags, fcntl_setfd};

use crate::support::{Bench, Ran, assert_clean, collect};

#[tokio::test]
async fn no_descriptor_is_inherited() {
    let bench = Bench::sandbox("");
    // Open without close-on-exec in the process that starts the helpers, as if whoever started it had left it.
    let secret = fs::File::create(bench.directory.path().join("secret")).expect("made");
    fcntl_setfd(&secret, FdFlags::empty()).expect("is inherited from now on");
    let running = bench.prepare().await;
    let of = |ran: Ran| ran.stdout.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let first = bench.sh(&running, "ls /proc/1/fd").await;
    assert_eq!(of(first), ["0", "1", "2"]);
    let started = bench.sh(&running, "ls /proc/$$/fd").await;
    assert_eq!(of(started), ["0", "1", "2"]);
    let mut terminal = ExecSpec::new(["dash", "-c", "ls /proc/$$/fd"]);
    terminal.terminal = Some(Size { columns: 80, rows: 24 });
    let started = collect(bench.start(&running, terminal).await, b"").await;
    assert_eq!(of(started), ["0", "1", "2"]);
    drop(secret);
    assert_clean(&bench.revert(&running).await);
}

/// System calls that an ordinary user of this kernel may try, with what they say inside. Without the filter each of them
/// says something else or works.
#[tokio::test]
async fn the_kernels_rarely_used_doors_are_shut() {
    let bench = Bench::sandbox("");
    let running = bench.prepare().await;
    const TIOCSTI: i64 = 0x5412;
    const NEWUSER: i64 = 0x1000_0000;
    let calls: [(libc::c_long, [i64; 3], i32); 14] = [
        (libc::SYS_keyctl, [0, -3, 1], libc::EPERM),
        (libc::SYS_add_key, [0; 3], libc::EPERM),
        (libc::SYS_request_key, [0; 3], libc::EPERM),
        (libc::SYS_perf_event_open, [0; 3], libc::EPERM),
        (libc::SYS_userfaultfd, [1, 0, 0], libc::EPERM),
        (libc::SYS_unshare, [NEWUSER, 0, 0], libc::EPERM),
        (libc::SYS_clone, [NEWUSER | 17, 0, 0], libc::EPERM),
        (libc::SYS_name_to_handle_at, [0; 3], libc::EPERM),
        (libc::SYS_fsopen, [0; 3], libc::EPERM),
        (libc::SYS_ioctl, [0, TIOCSTI, 0], libc::EPERM),
        (libc::SYS_ioctl, [0, TIOCSTI | 1 << 40, 0], libc::EPERM),
        (libc::SYS_io_uring_setup, [0; 3], libc::ENOSYS),
        (libc::SYS_clone3, [0; 3], libc::ENOSYS),
        (libc::SYS_socket, [40, 1, 0], libc::EAFNOSUPPORT),
    ];
    let list: Vec<String> = calls.iter().map(|(call, [a, b, c], _)| format!("({call},{a},{b},{c})")).collect();
    let script = format!(
        "import ctypes\nlibc=ctypes.CDLL(None,use_errno=True)\n\
         for call in [{}]:\n  ctypes.set_errno(0)\n  libc.syscall(*map(ctypes.c_long,call),0,0)\n  print(ctypes.get_errno())\n",
        list.join(",")
    );
    let mut spec = ExecSpec::new(["python3", "-c", &script]);
    spec.terminal = Some(Size { columns: 80, rows: 24 });
    let ran = collect(bench.start(&running, spec).await, b"").await;
    let said: Vec<i32> = ran.stdout.split_whitespace().map(|text| text.parse().expect("a number")).collect();
    for ((call, arguments, expected), said) in calls.iter().zip(&said) {
        assert_eq!(said, expected, "{call} {arguments:?}");
    }
    assert_eq!(said.len(), calls.len(), "{ran:?}");
    // Also on the first process, which no helper started.
    let ran = bench.sh(&running, "grep -h ^Seccomp: /proc/1/status /proc/self/status").await;
    assert_eq!(ran.stdout, "Seccomp:\t2\nSeccomp:\t2\n");
    // What people do need: threads, child processes, a debugger's first call.
    let script = "import ctypes,subprocess,threading\n\
        t=threading.Thread(target=lambda:None); t.start(); t.join(); subprocess.run(['true'],check=True)\n\
        print(ctypes.CDLL(None).ptrace(0,0,0,0))";
    let ran = collect(bench.start(&running, ExecSpec::new(["python3", "-c", script])).await, b"").await;
    assert_eq!(ran.stdout, "0\n", "{ran:?}");
    assert_clean(&bench.revert(&running).await);
}
