//! Each wall of the sandbox, tried from within by a process that put them up.

mod raw_calls;

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    net::TcpStream,
    os::unix::{
        net::{UnixListener, UnixStream},
        process::ExitStatusExt,
    },
    process::{Command, ExitCode, Stdio},
};

use objects::host::sandbox::{self, SandboxError, Stands, Wall};

use crate::{
    Test,
    hosted::{Hosted, Setting, eventually, write_project},
};

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
    ("walls::each_holds_by_itself", one_by_one),
    ("walls::the_kernels_back_doors_are_shut", back_doors),
    ("walls::an_engine_ends_with_its_host", ends_with_host),
    ("walls::a_real_engine_stands_behind_all_of_them", real_engine),
];

const WALLS: &[(&str, Wall)] = &[
    ("descriptors", Wall::Descriptors),
    ("ends-with-host", Wall::EndsWithHost),
    ("no-new-privileges", Wall::NoNewPrivileges),
    ("user", Wall::User),
    ("namespaces", Wall::Namespaces),
    ("capabilities", Wall::Capabilities),
    ("landlock", Wall::Landlock),
    ("no-traces", Wall::NoTraces),
    ("limits", Wall::Limits),
    ("calls", Wall::Calls),
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
    attempt_behind("all", what, "")
}

const WRITTEN: &str = "/tmp/from-the-sandbox";

/// Behind `walls`: `all`, `none`, or one of [`WALLS`].
fn attempt_behind(walls: &str, what: &str, with: &str) -> Outcome {
    let file = fs::File::open("/etc/passwd").expect("a file to leave open");
    // Inherited: the walls have to close it.
    rustix::io::fcntl_setfd(&file, rustix::io::FdFlags::empty()).expect("is inheritable");
    let child = Command::new("/proc/self/exe")
        .args([COMMAND, walls, what, with])
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
    let (walls, what, with) = (arguments.next()?, arguments.next()?, arguments.next()?);
    let environment = std::env::vars_os().count();
    match put_up(&walls) {
        Ok(Stands::Yes) => {}
        Ok(Stands::No) => {
            print!("not here");
            return Some(ExitCode::SUCCESS);
        }
        Err(error) => {
            eprintln!("{error}");
            return Some(ExitCode::FAILURE);
        }
    }
    let said = match what.as_str() {
        "nothing" => "went on".to_owned(),
        "read" => word(&fs::read("/etc/passwd")).to_owned(),
        "read-self" => word(&fs::read("/proc/self/maps")).to_owned(),
        "read-root" => word(&fs::read_dir("/")).to_owned(),
        "proc-memory" => word(&fs::File::open("/proc/self/mem")).to_owned(),
        "proc-parent" => word(&fs::read(format!("/proc/{with}/maps"))).to_owned(),
        "proc-environment" => word(&fs::read("/proc/self/environ")).to_owned(),
        "write" => word(&fs::write(WRITTEN, "x")).to_owned(),
        "remove" => word(&fs::remove_file(&with)).to_owned(),
        "connect-unix" => word(&UnixStream::connect(&with)).to_owned(),
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
        "read-secret" => word(&fs::read("/etc/shadow")).to_owned(),
        "connect-to" => word(&TcpStream::connect(&with)).to_owned(),
        "mounts" => word(&nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS).map_err(Into::into)).to_owned(),
        "duplicate" => word(&rustix::io::dup(std::io::stdin()).map_err(Into::into)).to_owned(),
        "inherited" => {
            let mut open = fs::read_dir("/proc/self/fd").into_iter().flatten().flatten();
            let leads_out =
                |entry: fs::DirEntry| fs::read_link(entry.path()).is_ok_and(|path| path.ends_with("passwd"));
            if open.any(leads_out) { "open".to_owned() } else { "shut".to_owned() }
        }
        "privileges" => match rustix::thread::no_new_privs() {
            Ok(true) => "shut".to_owned(),
            Ok(false) | Err(_) => "open".to_owned(),
        },
        "traces" => match rustix::process::dumpable_behavior() {
            Ok(rustix::process::DumpableBehavior::NotDumpable) => "shut".to_owned(),
            Ok(_) | Err(_) => "open".to_owned(),
        },
        "outlive" => match rustix::process::parent_process_death_signal() {
            Ok(Some(rustix::process::Signal::KILL)) => "shut".to_owned(),
            Ok(_) | Err(_) => "open".to_owned(),
        },
        "wait" => {
            println!("ready");
            loop {
                std::thread::park();
            }
        }
        // Starts one that waits behind a wall, and leaves it alone.
        "leave-one" => leave_one(&with).unwrap_or_else(|error| error.to_string()),
        what if raw_calls::is_one(what) => raw_calls::attempt(what, &with),
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

fn leave_one(walls: &str) -> std::io::Result<String> {
    let mut command = Command::new("/proc/self/exe");
    let mut child = command.args([COMMAND, walls, "wait", ""]).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
    if let Some(out) = child.stdout.take() {
        // Its wall is up when it says so.
        BufReader::new(out).read_line(&mut String::new())?;
    }
    Ok(child.id().to_string())
}

fn put_up(walls: &str) -> Result<Stands, SandboxError> {
    if walls == "all" {
        return sandbox::apply(MEMORY_BYTES).map(|_walls| Stands::Yes);
    }
    match WALLS.iter().find(|(name, _)| *name == walls) {
        Some((_, wall)) => sandbox::put_up(*wall, MEMORY_BYTES),
        None => Ok(Stands::Yes),
    }
}

/// Without the wall it goes, and with that wall alone it does not.
fn one_by_one() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    for (wall, whats) in [
        ("descriptors", &["inherited"][..]),
        ("ends-with-host", &["outlive"]),
        ("no-new-privileges", &["privileges"]),
        ("user", &["read-secret", "mounts"]),
        ("namespaces", &["read", "read-secret", "write", "connect-to"]),
        ("capabilities", &["mounts"]),
        ("landlock", &["read", "read-secret", "read-root", "write", "connect-to"]),
        ("no-traces", &["traces"]),
        ("limits", &["memory", "duplicate"]),
        ("calls", &["read", "read-root", "connect-to", "duplicate", "mounts", "thread", "spawn", "signal", "unshare"]),
    ] {
        for what in whats {
            let open = attempt_behind("none", what, &address);
            assert_eq!(open, Outcome::Said("open".to_owned()), "{what} without any wall");
            match attempt_behind(wall, what, &address) {
                Outcome::Killed => {}
                Outcome::Said(said) if said == "not here" => println!("this host has no {wall}: not tried"),
                Outcome::Said(said) => assert_eq!(said, "shut", "{what} behind {wall}"),
            }
        }
    }
    assert!(WALLS.iter().all(|(name, _)| attempt_behind(name, "nothing", "") != Outcome::Killed));
    if fs::exists(WRITTEN).expect("can be looked for") {
        fs::remove_file(WRITTEN).expect("is removed");
    }
}

/// System calls that reach around other walls. Each goes without the filter, or is refused by this kernel to anybody, which is
/// said; the filter alone ends whoever makes it.
fn back_doors() {
    let victim = std::process::id().to_string();
    for what in raw_calls::names() {
        match attempt_behind("none", what, &victim) {
            Outcome::Said(said) if said == "open" => {}
            Outcome::Said(said) => println!("{what}: {said} without any wall"),
            Outcome::Killed => panic!("{what}: nothing is there that could end it"),
        }
        for walls in ["calls", "all"] {
            assert_eq!(attempt_behind(walls, what, &victim), Outcome::Killed, "{what} behind {walls}");
        }
    }
    // What the filter refuses in place of killing, as libraries try it.
    for what in ["proc-memory", "proc-parent", "proc-environment"] {
        assert_eq!(attempt_behind("none", what, &victim), Outcome::Said("open".to_owned()), "{what} without any wall");
        for walls in ["calls", "all", "namespaces", "landlock"] {
            match attempt_behind(walls, what, &victim) {
                Outcome::Killed => {}
                Outcome::Said(said) => assert!(said == "shut" || said == "not here", "{what} behind {walls}: {said}"),
            }
        }
    }
}

fn ends_with_host() {
    let left = |wall: &str| match attempt_behind("none", "leave-one", wall) {
        Outcome::Said(pid) => pid.parse::<i32>().unwrap_or_else(|_| panic!("{pid}")),
        Outcome::Killed => panic!("was killed"),
    };
    let runs = |pid: i32| fs::exists(format!("/proc/{pid}/exe")).unwrap_or(false);
    let pid = left("ends-with-host");
    eventually("it ends with whoever started it", || !runs(pid));
    let pid = left("none");
    assert!(runs(pid), "without the wall it goes on");
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL).expect("it runs");
}

/// As the kernel sees it from outside.
fn real_engine() {
    let directory = tempfile::tempdir().expect("a directory");
    write_project(directory.path(), &[], "export default { fetch: () => new Response('here') };");
    let hosted = Hosted::start(directory.path(), &directory.path().join("state"), Setting::default());
    assert_eq!(hosted.get("/"), (200, "here".to_owned()));
    let pid = hosted.deployment.engines()[0];
    let of = |name: &str| fs::read_to_string(format!("/proc/{pid}/{name}")).expect("is read");
    assert_eq!(of("environ"), "", "no environment");
    let status = of("status");
    let line = |name: &str| {
        status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("no {name}")).trim()
    };
    assert_eq!((line("Seccomp:"), line("NoNewPrivs:"), line("Threads:")), ("2", "1", "1"));
    for set in ["CapInh:", "CapPrm:", "CapEff:", "CapAmb:"] {
        assert!(line(set).chars().all(|digit| digit == '0'), "{set} {}", line(set));
    }
    assert!(line("Uid:").split_whitespace().all(|uid| uid == "65534"), "{}", line("Uid:"));
    assert_eq!(line("Groups:"), "");
    let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).expect("is read").count();
    assert_eq!(descriptors, 3, "the socket, the page and the log");
    for namespace in ["net", "mnt", "user", "ipc", "uts", "cgroup"] {
        let link = |whose: &str| fs::read_link(format!("/proc/{whose}/ns/{namespace}")).expect("is read");
        assert_ne!(link(&pid.to_string()), link("self"), "{namespace}");
    }
    assert_eq!(fs::read_dir(format!("/proc/{pid}/root")).expect("is read").count(), 0, "an empty root");
}

fn shut(what: &str, with: &str) {
    let outcome = attempt_behind("all", what, with);
    assert!(outcome == Outcome::Killed || outcome == Outcome::Said("shut".to_owned()), "{what}: {outcome:?}");
}

/// Without any wall it goes.
fn open(what: &str, with: &str) {
    assert_eq!(attempt_behind("none", what, with), Outcome::Said("open".to_owned()), "{what} without any wall");
}

fn files() {
    assert_eq!(attempt("nothing"), Outcome::Said("went on".to_owned()), "the walls let the process live");
    for what in ["read", "read-self", "read-root", "write"] {
        open(what, "");
    }
    // Behind the walls it is neither written nor, now that it is there, removed.
    fs::remove_file(WRITTEN).expect("was written");
    for what in ["read", "read-self", "read-root", "write"] {
        shut(what, "");
    }
    assert!(!fs::exists(WRITTEN).expect("can be looked for"));
    let file = tempfile::NamedTempFile::new().expect("a file");
    let path = file.path().to_str().expect("is text");
    shut("remove", path);
    assert!(fs::exists(path).expect("can be looked for"));
    open("remove", path);
}

fn network() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("socket");
    let _unix = UnixListener::bind(&path).expect("a socket");
    for (what, with) in [("connect-to", address.as_str()), ("connect-unix", path.to_str().expect("is text"))] {
        open(what, with);
        shut(what, with);
    }
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
    open("memory", "");
    shut("memory", "");
}

fn inherited() {
    assert_eq!(attempt("descriptor"), Outcome::Said("0".to_owned()));
}
