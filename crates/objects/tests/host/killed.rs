//! A host that is killed in the middle of its work, and a recorder outside that remembers what it was told.

use std::{
    io::{BufRead, BufReader},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, ExitCode, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use crate::{
    Test,
    hosted::{Hosted, Setting, ask, write_project},
};

const COMMAND: &str = "serve-until-killed";
const ROUNDS: u32 = 12;
const CLIENTS: usize = 8;

pub const TESTS: &[Test] = &[
    ("killed::nothing_that_was_told_is_lost", host_killed),
    ("killed::an_engine_that_is_killed_loses_nothing_that_was_told", engine_killed),
    ("killed::a_full_disk_lets_nothing_out_and_nothing_in", full_disk),
];

/// Two keys in one batch: one without the other would be a torn batch.
const MODULE: &str = r#"
import { DurableObject } from "cloudflare:workers";
export class Counter extends DurableObject {
  async fetch(request) {
    const left = (await this.ctx.storage.get("left")) ?? 0;
    const right = (await this.ctx.storage.get("right")) ?? 0;
    if (left !== right) return new Response(`torn: ${left} ${right}`, { status: 500 });
    if (request.method === "GET") {
      return new Response(`${left}`);
    }
    this.ctx.storage.put("left", left + 1);
    this.ctx.storage.put("right", right + 1);
    return new Response(`${left + 1}`);
  }
}
export default { fetch: (request, env) => env.Counter.getByName(new URL(request.url).pathname).fetch(request) };
"#;

pub fn run_if_asked() -> Option<ExitCode> {
    let mut arguments = std::env::args().skip(1);
    if arguments.next()? != COMMAND {
        return None;
    }
    let directory = PathBuf::from(arguments.next()?);
    let hosted = Hosted::start(&directory, &directory.join("state"), Setting::default());
    println!("{}", hosted.address);
    loop {
        std::thread::park();
    }
}

struct Victim {
    child: Child,
    address: SocketAddr,
}

impl Victim {
    fn start(directory: &Path) -> Self {
        let mut child = Command::new("/proc/self/exe")
            .arg(COMMAND)
            .arg(directory)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("starts");
        let mut line = String::new();
        let out = child.stdout.take().expect("is piped");
        BufReader::new(out).read_line(&mut line).expect("says where");
        let address = line.trim().parse().unwrap_or_else(|_| panic!("it said {line:?}"));
        Victim { child, address }
    }

    fn kill(mut self) {
        self.child.kill().and_then(|()| self.child.wait()).expect("is killed");
    }
}

/// What a recorder knows: told (the highest value that was answered) and asked (how many increments were sent at all).
#[derive(Default)]
struct Recorder {
    told: AtomicU64,
    asked: AtomicU64,
    stop: AtomicBool,
}

async fn increment_until_stopped(address: SocketAddr, recorder: Arc<Recorder>) {
    let client = reqwest::Client::builder().no_proxy().build().expect("a client");
    while !recorder.stop.load(Ordering::SeqCst) {
        recorder.asked.fetch_add(1, Ordering::SeqCst);
        let Ok(response) = client.post(format!("http://{address}/one")).send().await else { continue };
        let status = response.status();
        let Ok(text) = response.text().await else { continue };
        assert!(!text.contains("torn"), "{text}");
        if status.is_success() {
            let value: u64 = text.parse().unwrap_or_else(|_| panic!("told {text:?}"));
            recorder.told.fetch_max(value, Ordering::SeqCst);
        }
    }
}

/// Increments from many clients until so many were told; then `strike`, while they go on.
fn storm(
    runtime: &tokio::runtime::Runtime,
    address: SocketAddr,
    recorder: &Arc<Recorder>,
    more: u64,
    strike: impl FnOnce(),
) {
    recorder.stop.store(false, Ordering::SeqCst);
    let goal = recorder.told.load(Ordering::SeqCst) + more;
    let clients: Vec<_> =
        (0..CLIENTS).map(|_| runtime.spawn(increment_until_stopped(address, Arc::clone(recorder)))).collect();
    crate::hosted::eventually("increments", || recorder.told.load(Ordering::SeqCst) >= goal);
    strike();
    recorder.stop.store(true, Ordering::SeqCst);
    for client in clients {
        runtime.block_on(client).expect("the recorder lives");
    }
}

fn value(text: &str) -> u64 {
    text.parse().unwrap_or_else(|_| panic!("said {text:?}"))
}

fn host_killed() {
    let directory = tempfile::tempdir().expect("a directory");
    write_project(directory.path(), &["Counter"], MODULE);
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let recorder = Arc::new(Recorder::default());
    for round in 0..ROUNDS {
        let victim = Victim::start(directory.path());
        let address = victim.address;
        let (status, text) = runtime.block_on(ask(address, "GET", "/one", String::new()));
        assert_eq!(status, 200, "{text}");
        let (told, asked) = (recorder.told.load(Ordering::SeqCst), recorder.asked.load(Ordering::SeqCst));
        let found = value(&text);
        assert!(found >= told, "round {round}: told {told}, and {found} is there");
        assert!(found <= asked, "round {round}: asked {asked} times, and {found} is there");
        // At another point of its work each time.
        storm(&runtime, address, &recorder, 20 + u64::from(round) * 37, || victim.kill());
    }
    let victim = Victim::start(directory.path());
    let (_, text) = runtime.block_on(ask(victim.address, "GET", "/one", String::new()));
    assert!(value(&text) >= recorder.told.load(Ordering::SeqCst));
    println!(
        "{ROUNDS} kills, {} increments told, {} asked, {text} there",
        recorder.told.load(Ordering::SeqCst),
        recorder.asked.load(Ordering::SeqCst)
    );
    victim.kill();
}

fn engine_killed() {
    let directory = tempfile::tempdir().expect("a directory");
    write_project(directory.path(), &["Counter"], MODULE);
    let hosted = Hosted::start(directory.path(), &directory.path().join("state"), Setting::default());
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let recorder = Arc::new(Recorder::default());
    for round in 0..2 {
        storm(&runtime, hosted.address, &recorder, 50 + round * 31, || {
            for pid in hosted.deployment.engines() {
                let pid = nix::unistd::Pid::from_raw(i32::try_from(pid).expect("a pid"));
                nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).expect("it runs");
            }
            let told = recorder.told.load(Ordering::SeqCst);
            crate::hosted::eventually("the next engine", || recorder.told.load(Ordering::SeqCst) > told + 10);
        });
        let (status, text) = hosted.get("/one");
        assert_eq!(status, 200, "{text}");
        let (told, asked) = (recorder.told.load(Ordering::SeqCst), recorder.asked.load(Ordering::SeqCst));
        assert!((told..=asked).contains(&value(&text)), "told {told}, asked {asked}, found {text}");
    }
}

/// A file system of its own; as root, as all tests that fill disks.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let (kind, none) = (Some("tmpfs"), nix::mount::MsFlags::empty());
        nix::mount::mount(kind, directory.path(), kind, none, Some("size=12m")).expect("is mounted");
        SmallDisk(directory)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        nix::mount::umount2(self.0.path(), nix::mount::MntFlags::MNT_DETACH).expect("is unmounted");
    }
}

const GROWING: &str = r#"
import { DurableObject } from "cloudflare:workers";
export class Store extends DurableObject {
  async fetch(request) {
    const size = Number(new URL(request.url).searchParams.get("size"));
    let n = (await this.ctx.storage.get("n")) ?? 0;
    if (request.method === "POST") {
      n += 1;
      this.ctx.storage.put("n", n);
      this.ctx.storage.put("blob", "x".repeat(size));
    }
    return new Response(`${n} ${((await this.ctx.storage.get("blob")) ?? "").length}`);
  }
}
export default { fetch: (request, env) => env.Store.getByName("s").fetch(request) };
"#;

fn full_disk() {
    let directory = tempfile::tempdir().expect("a directory");
    write_project(directory.path(), &["Store"], GROWING);
    let disk = SmallDisk::new();
    let hosted = Hosted::start(directory.path(), &disk.0.path().join("state"), Setting::default());
    assert_eq!(hosted.ask("POST", "/?size=100", ""), (200, "1 100".to_owned()));
    let filler = disk.0.path().join("filler");
    let file = std::fs::File::create(&filler).expect("is made");
    while std::io::Write::write_all(&mut &file, &[1; 4096]).is_ok() {}
    drop(file);
    let (status, text) = hosted.ask("POST", "/?size=900000", "");
    assert!(status == 500 && !text.contains("2 900000"), "{status} {text}");
    assert_eq!(hosted.get("/"), (200, "1 100".to_owned()), "the object begins anew with what is on the disk");
    // What needs no more room than it has still goes.
    assert_eq!(hosted.ask("POST", "/?size=50", ""), (200, "2 50".to_owned()));
    std::fs::remove_file(&filler).expect("is removed");
    assert_eq!(hosted.ask("POST", "/?size=900000", ""), (200, "3 900000".to_owned()));
    drop(hosted);
    let hosted = Hosted::start(directory.path(), &disk.0.path().join("state"), Setting::default());
    assert_eq!(hosted.get("/"), (200, "3 900000".to_owned()));
}
