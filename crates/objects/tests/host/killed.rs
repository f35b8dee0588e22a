//! A host that is killed in the middle of its work, and a recorder outside that remembers what it was told.

use std::{
    net::SocketAddr,
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use futures_util::{SinkExt, StreamExt};
use nix::sys::signal::Signal;
use tokio_tungstenite::tungstenite::Message;

use crate::{
    Test,
    disk::{self, Disk},
    hosted::{Hosted, LIMIT, Setting, ask, write_project},
    victim::{self, Victim},
};

const COMMAND: &str = "serve-until-killed";
const COMMAND_ON_DISK: &str = "serve-until-the-power-fails";
const ROUNDS: u32 = 12;
const CLIENTS: usize = 8;

pub const TESTS: &[Test] = &[
    ("killed::nothing_that_was_told_is_lost", host_killed),
    ("killed::a_power_failure_loses_nothing_that_was_told", power_failed),
    ("killed::an_engine_that_is_killed_loses_nothing_that_was_told", engine_killed),
    ("killed::who_says_more_than_may_wait_for_the_disk_is_reset_alone", too_loud),
    ("killed::a_full_disk_lets_nothing_out_and_nothing_in", full_disk),
];

/// Two keys in one batch: one without the other would be a torn batch.
const MODULE: &str = r#"
import { DurableObject } from "cloudflare:workers";
export class Counter extends DurableObject {
  async count(more) {
    const left = (await this.ctx.storage.get("left")) ?? 0;
    const right = (await this.ctx.storage.get("right")) ?? 0;
    if (left !== right) return `torn: ${left} ${right}`;
    if (more) {
      this.ctx.storage.put("left", left + more);
      this.ctx.storage.put("right", right + more);
    }
    return `${left + more}`;
  }
  async fetch(request) {
    if (request.headers.get("upgrade") === "websocket") {
      const [client, server] = Object.values(new WebSocketPair());
      this.ctx.acceptWebSocket(server);
      return new Response(null, { status: 101, webSocket: client });
    }
    return new Response(await this.count(request.method === "GET" ? 0 : 1));
  }
  async webSocketMessage(socket) { socket.send(await this.count(1)); }
}
export default { fetch: (request, env) => env.Counter.getByName(new URL(request.url).pathname).fetch(request) };
"#;

pub fn run_if_asked() -> Option<ExitCode> {
    let directory = victim::directory_if_asked(COMMAND)?;
    let hosted = Hosted::start(&directory, &directory.join("state"), Setting::default());
    victim::serves(hosted.address)
}

pub fn run_on_disk_if_asked() -> Option<ExitCode> {
    let directory = victim::directory_if_asked(COMMAND_ON_DISK)?;
    disk::attach().expect("the test answers for the disk");
    let hosted = Hosted::start(&directory, &directory.join("state"), Setting::default());
    victim::serves(hosted.address)
}

/// What a recorder knows: told (the highest value that was answered) and asked (how many increments were sent at all).
#[derive(Default)]
struct Recorder {
    told: AtomicU64,
    asked: AtomicU64,
    stop: AtomicBool,
}

impl Recorder {
    fn check(&self, round: u32, found: u64) {
        let (told, asked) = (self.told.load(Ordering::SeqCst), self.asked.load(Ordering::SeqCst));
        assert!(found >= told, "round {round}: told {told}, and {found} is there");
        assert!(found <= asked, "round {round}: asked {asked} times, and {found} is there");
    }
}

async fn increment_until_stopped(address: SocketAddr, recorder: Arc<Recorder>) {
    let client = reqwest::Client::builder().no_proxy().build().expect("a client");
    while !recorder.stop.load(Ordering::SeqCst) {
        recorder.asked.fetch_add(1, Ordering::SeqCst);
        let Ok(response) = client.post(format!("http://{address}/one")).send().await else { continue };
        let status = response.status();
        let Ok(text) = response.text().await else { continue };
        if status.is_success() {
            recorder.told.fetch_max(value(&text), Ordering::SeqCst);
        }
    }
}

/// The same through a WebSocket: what an object sends there passes the host's gate, what it answers to the entry worker beside
/// it the engine's.
async fn increment_by_messages(address: SocketAddr, recorder: Arc<Recorder>) {
    while !recorder.stop.load(Ordering::SeqCst) {
        let Ok((mut socket, _)) = tokio_tungstenite::connect_async(format!("ws://{address}/one")).await else {
            continue;
        };
        while !recorder.stop.load(Ordering::SeqCst) {
            recorder.asked.fetch_add(1, Ordering::SeqCst);
            let Ok(()) = socket.send(Message::text("+")).await else { break };
            // What is not answered ends the socket.
            let answer = tokio::time::timeout(LIMIT, socket.next()).await.expect("nobody waits for ever");
            let Some(Ok(Message::Text(text))) = answer else { break };
            recorder.told.fetch_max(value(&text), Ordering::SeqCst);
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
    let asking = (0..CLIENTS).map(|_| runtime.spawn(increment_until_stopped(address, Arc::clone(recorder))));
    let talking = (0..CLIENTS).map(|_| runtime.spawn(increment_by_messages(address, Arc::clone(recorder))));
    let clients: Vec<_> = asking.chain(talking).collect();
    crate::hosted::eventually("increments", || recorder.told.load(Ordering::SeqCst) >= goal);
    strike();
    recorder.stop.store(true, Ordering::SeqCst);
    for client in clients {
        runtime.block_on(client).expect("the recorder lives");
    }
}

fn value(text: &str) -> u64 {
    text.parse().unwrap_or_else(|_| panic!("told {text:?}"))
}

fn host_killed() {
    let directory = tempfile::tempdir().expect("a directory");
    write_project(directory.path(), &["Counter"], MODULE);
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let recorder = Arc::new(Recorder::default());
    for round in 0..ROUNDS {
        let mut victim = Victim::spawn(COMMAND, directory.path());
        let address = victim.address();
        let (status, text) = runtime.block_on(ask(address, "GET", "/one", String::new()));
        assert_eq!(status, 200, "{text}");
        recorder.check(round, value(&text));
        // At another point of its work each time.
        storm(&runtime, address, &recorder, 20 + u64::from(round) * 37, || drop(victim));
    }
    let mut victim = Victim::spawn(COMMAND, directory.path());
    let (_, text) = runtime.block_on(ask(victim.address(), "GET", "/one", String::new()));
    assert!(value(&text) >= recorder.told.load(Ordering::SeqCst));
    println!(
        "{ROUNDS} kills, {} increments told, {} asked, {text} there",
        recorder.told.load(Ordering::SeqCst),
        recorder.asked.load(Ordering::SeqCst)
    );
}

/// What is caught here and nowhere else: an answer that leaves before its commit is durable, and a commit that nothing makes
/// durable.
fn power_failed() {
    const ROUNDS: u32 = 5;
    const LATENCY: Duration = Duration::from_millis(5);
    let directory = tempfile::tempdir().expect("a directory");
    write_project(directory.path(), &["Counter"], MODULE);
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let recorder = Arc::new(Recorder::default());
    let begin = || Disk::start(COMMAND_ON_DISK, directory.path(), directory.path().join("state"), LATENCY);
    for round in 0..ROUNDS {
        let (mut victim, disk) = begin();
        let address = victim.address();
        let (status, text) = runtime.block_on(ask(address, "GET", "/one", String::new()));
        assert_eq!(status, 200, "{text}");
        recorder.check(round, value(&text));
        let mut syncs = 0;
        storm(&runtime, address, &recorder, 20 + u64::from(round) * 37, || syncs = disk.fail(victim));
        println!("round {round}: {syncs} times something was made durable");
    }
    let (mut victim, disk) = begin();
    let (_, text) = runtime.block_on(ask(victim.address(), "GET", "/one", String::new()));
    recorder.check(ROUNDS, value(&text));
    disk.fail(victim);
}

const LOUD: &str = r#"
import { DurableObject } from "cloudflare:workers";
export class Loud extends DurableObject {
  asked = 0;
  fetch(request) {
    if (request.headers.get("upgrade") !== "websocket") return new Response(`${++this.asked}`);
    const [client, server] = Object.values(new WebSocketPair());
    this.ctx.acceptWebSocket(server);
    return new Response(null, { status: 101, webSocket: client });
  }
  webSocketMessage(socket, much) {
    this.ctx.storage.put("much", much);
    const megabyte = "x".repeat(1 << 20);
    for (let n = 0; n < Number(much); n++) socket.send(megabyte);
  }
}
export default { fetch: (request, env) => env.Loud.getByName(new URL(request.url).pathname).fetch(request) };
"#;

fn too_loud() {
    // Long enough for all of it to wait.
    const LATENCY: Duration = Duration::from_secs(5);
    let directory = tempfile::tempdir().expect("a directory");
    write_project(directory.path(), &["Loud"], LOUD);
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let (mut victim, disk) = Disk::start(COMMAND_ON_DISK, directory.path(), directory.path().join("state"), LATENCY);
    let address = victim.address();
    let get = |path: &str| runtime.block_on(ask(address, "GET", path, String::new()));
    assert_eq!(get("/neighbour"), (200, "1".to_owned()));
    let last = runtime.block_on(async {
        let (mut socket, _) =
            tokio_tungstenite::connect_async(format!("ws://{address}/loud")).await.expect("is let in");
        socket.send(Message::text("80")).await.expect("is sent");
        tokio::time::timeout(LIMIT, socket.next()).await.expect("in time").expect("a word").expect("fine")
    });
    let Message::Close(Some(frame)) = last else { panic!("{} bytes", last.len()) };
    assert!(frame.reason.contains("said more than may wait"), "{frame}");
    assert_eq!(get("/neighbour"), (200, "2".to_owned()), "is where it was");
    assert_eq!(get("/loud").0, 200, "begins anew");
    disk.fail(victim);
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
                victim::send(pid, Signal::SIGKILL);
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
