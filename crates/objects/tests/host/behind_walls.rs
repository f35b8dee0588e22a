//! Each wall of the sandbox, tried from within by a process that put them up.

use std::{
    fs,
    io::Write,
    net::TcpStream,
    os::unix::{net::UnixStream, process::ExitStatusExt},
    process::{Command, ExitCode, Stdio},
};

use objects::host::sandbox;

use crate::Test;

const COMMAND: &str = "try-a-wall";
const MEMORY_BYTES: u64 = 1 << 30;
const SIGSYS: i32 = 31;

pub const TESTS: &[Test] = &[
    ("walls::files_cannot_be_read_or_written", files),
    ("walls::nothing_can_be_connected_to", network),
    ("walls::no_process_and_no_thread_can_be_started", processes),
    ("walls::nobody_can_be_signalled", signals),
    ("walls::memory_has_its_limit", memory),
    ("walls::there_is_no_environment_and_no_descriptor", inherited),
];

#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    /// It went on, and said this.
    Said(String),
    /// The kernel ended it for the system call.
    Killed,
}

/// Starts this program again behind the walls, to try one thing.
fn attempt(what: &str) -> Outcome {
    let file = fs::File::open("/etc/passwd").expect("a file to leave open");
    // Inherited: the walls have to close it.
    rustix::io::fcntl_setfd(&file, rustix::io::FdFlags::empty()).expect("is inheritable");
    let child = Command::new("/proc/self/exe")
        .args([COMMAND, what])
        .env("SECRET", "1")
        .env_remove("RUST_BACKTRACE")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .output()
        .expect("starts");
    if child.status.signal() == Some(SIGSYS) {
        return Outcome::Killed;
    }
    let (said, complained) = (String::from_utf8_lossy(&child.stdout), String::from_utf8_lossy(&child.stderr));
    assert!(child.status.success(), "{what}: {} {said} {complained}", child.status);
    Outcome::Said(said.into_owned())
}

fn word<T>(result: &std::io::Result<T>) -> &'static str {
    if result.is_ok() { "open" } else { "shut" }
}

pub fn run_if_asked() -> Option<ExitCode> {
    let mut arguments = std::env::args().skip(1);
    if arguments.next()? != COMMAND {
        return None;
    }
    let what = arguments.next()?;
    let environment = std::env::vars_os().count();
    if let Err(error) = sandbox::apply(MEMORY_BYTES) {
        eprintln!("{error}");
        return Some(ExitCode::FAILURE);
    }
    let said = match what.as_str() {
        "nothing" => "went on".to_owned(),
        "read" => word(&fs::read("/etc/passwd")).to_owned(),
        "read-self" => word(&fs::read("/proc/self/maps")).to_owned(),
        "read-root" => word(&fs::read_dir("/")).to_owned(),
        "write" => word(&fs::write("/tmp/from-the-sandbox", "x")).to_owned(),
        "remove" => word(&fs::remove_file("/tmp/from-the-sandbox")).to_owned(),
        "connect" => word(&TcpStream::connect("127.0.0.1:80")).to_owned(),
        "connect-unix" => word(&UnixStream::connect("/run/dbus/system_bus_socket")).to_owned(),
        "spawn" => word(&Command::new("/bin/true").spawn()).to_owned(),
        "thread" => word(&std::thread::Builder::new().spawn(|| {})).to_owned(),
        "signal" => {
            let parent = nix::unistd::getppid();
            word(&nix::sys::signal::kill(parent, None).map_err(Into::into)).to_owned()
        }
        "unshare" => word(&nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWUSER).map_err(Into::into)).to_owned(),
        "memory" => {
            let mut much: Vec<u8> = Vec::new();
            let asked = usize::try_from(MEMORY_BYTES * 2).unwrap_or(usize::MAX);
            if much.try_reserve_exact(asked).is_ok() { "open".to_owned() } else { "shut".to_owned() }
        }
        "environment" => environment.to_string(),
        "descriptor" => {
            let others = (3..64).filter(|number| {
                // Standard input is duplicated onto a number only if none below it is free: the limit is three.
                rustix::io::fcntl_dupfd_cloexec(std::io::stdin(), *number).is_ok()
            });
            others.count().to_string()
        }
        other => format!("there is no {other}"),
    };
    let mut out = std::io::stdout();
    Some(match write!(out, "{said}").and_then(|()| out.flush()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_nobody_listens) => ExitCode::FAILURE,
    })
}

fn shut(what: &str) {
    let outcome = attempt(what);
    assert!(outcome == Outcome::Killed || outcome == Outcome::Said("shut".to_owned()), "{what}: {outcome:?}");
}

fn files() {
    assert_eq!(attempt("nothing"), Outcome::Said("went on".to_owned()), "the walls let the process live");
    for what in ["read", "read-self", "read-root", "write", "remove"] {
        shut(what);
    }
    assert!(!fs::exists("/tmp/from-the-sandbox").expect("can be looked for"));
}

fn network() {
    shut("connect");
    shut("connect-unix");
}

fn processes() {
    assert_eq!(attempt("spawn"), Outcome::Killed);
    assert_eq!(attempt("thread"), Outcome::Killed);
    assert_eq!(attempt("unshare"), Outcome::Killed);
}

fn signals() {
    assert_eq!(attempt("signal"), Outcome::Killed);
}

fn memory() {
    shut("memory");
}

fn inherited() {
    assert_eq!(attempt("descriptor"), Outcome::Said("0".to_owned()));
}
