//! Objects of one deployment on several hosts: one instance, whichever host takes the request.

mod beside;
mod bodies;

use std::{
    collections::BTreeSet,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use nix::sys::signal::Signal;
use objects::host::{deployment::IdleTimes, elsewhere::Place};
use tempfile::TempDir;

use crate::{
    Test, chat,
    cluster::{self, Member, nowhere, peer},
    hosted::{Setting, ask, eventually},
    victim,
};

pub use beside::run_if_asked;

pub const TESTS: &[Test] = &[
    ("several::one_instance_whichever_host_is_asked", one_instance),
    ("several::what_an_object_sees_is_the_same_from_everywhere", seen),
    ("several::errors_are_the_same_from_everywhere", errors),
    ("several::long_bodies_stream_both_ways", bodies::long),
    ("several::who_does_not_read_is_not_sent_more", bodies::unread),
    ("several::a_caller_that_leaves_is_told_to_the_object", caller_leaves),
    ("several::sockets_across_hosts_outlive_hibernation_in_order", sockets),
    ("several::code_on_one_host_holds_a_socket_to_an_object_on_another", socket_of_code),
    ("several::an_object_calls_one_that_calls_one", chain),
    ("several::a_stale_directory_is_asked_anew_once", stale),
    ("several::an_object_that_moved_begins_there_and_ends_here", moved),
    ("several::a_peer_that_is_killed_is_an_error_to_its_callers_and_comes_back", beside::killed),
    ("several::a_peer_that_hangs_is_an_error_to_its_callers", beside::hung),
    ("several::figures_of_a_call_to_another_host", figures),
];

const MODULE: &str = r#"
import { DurableObject } from "cloudflare:workers";
class Odd extends RangeError { constructor(message) { super(message); this.name = "Odd"; this.code = 42; this.more = { list: [1n, new Date(5)] }; } }
let produced = 0, cancelled = 0, aborted = 0, waiting = 0;
export class Obj extends DurableObject {
  async increment() { const n = ((await this.ctx.storage.get("n")) ?? 0) + 1; this.ctx.storage.put("n", n); return n; }
  async read() { return (await this.ctx.storage.get("n")) ?? 0; }
  fail() { throw new Odd("not like this"); }
  reset() { this.ctx.abort("enough"); }
  notCloneable() { return new WeakMap(); }
  seen() { return { produced, cancelled, aborted, waiting }; }
  async through(env, names) { return names.length === 0 ? this.ctx.id.name : this.ctx.id.name + ">" + await this.env.Obj.getByName(names[0]).through(null, names.slice(1)); }
  async fetch(request) {
    const url = new URL(request.url);
    switch (url.pathname.split("/")[2]) {
      case "see": return Response.json({ method: request.method, url: request.url, header: request.headers.get("x-mine"), host: request.headers.get("host"),
        name: this.ctx.id.name, body: await request.text() }, { status: 207, statusText: "Mine", headers: [["x-more", "1"], ["x-more", "2"]] });
      case "echo": return new Response(request.body);
      case "fail": throw new Odd("not like this");
      case "endless": return new Response(new ReadableStream({
        pull(controller) { produced += 65536; controller.enqueue(new Uint8Array(65536)); },
        cancel() { cancelled += 1; },
      }));
      case "wait": {
        waiting += 1;
        await new Promise((resolve) => request.signal.addEventListener("abort", resolve));
        aborted += 1;
        return new Response("left");
      }
      case "broken": return new Response(new ReadableStream({
        start(controller) { controller.enqueue(new TextEncoder().encode("some")); },
        pull() { throw new Odd("in the middle"); },
      }));
      case "socket": {
        const [client, server] = Object.values(new WebSocketPair());
        this.ctx.acceptWebSocket(server);
        return new Response(null, { status: 101, webSocket: client });
      }
    }
    return new Response("?", { status: 404 });
  }
  async webSocketMessage(socket, message) {
    if (message === "close") return socket.close(4001, "as asked");
    socket.send(`${message} ${await this.increment()}`);
  }
  webSocketClose(socket, code, reason, clean) { this.ctx.storage.kv.put("closed", [code, reason, clean]); }
  closed() { return this.ctx.storage.kv.get("closed") ?? null; }
}
const told = (error) => ({ name: error.name, message: error.message, code: error.code, more: error.more ? String(error.more.list) : undefined,
  error: error instanceof Error, remote: error.remote, retryable: error.retryable, overloaded: error.overloaded, reset: error.durableObjectReset });
export default {
  async fetch(request, env) {
    const url = new URL(request.url), [, name, what] = url.pathname.split("/");
    const stub = env.Obj.getByName(name);
    try {
      switch (what) {
        case "increment": return Response.json(await stub.increment());
        case "call": return Response.json((await stub[url.searchParams.get("method")]()) ?? null);
        case "through": return new Response(await stub.through(null, url.searchParams.getAll("to")));
        case "leave": return await stub.fetch(new Request(url.origin + "/" + name + "/wait", { signal: request.signal }));
        case "talk": {
          const response = await stub.fetch(url.origin + "/" + name + "/socket", { headers: { upgrade: "websocket" } });
          const socket = response.webSocket, heard = [];
          socket.accept();
          const over = new Promise((resolve) => {
            socket.addEventListener("message", (event) => { heard.push(event.data); if (heard.length === 3) socket.send("close"); });
            socket.addEventListener("close", (event) => { heard.push([event.code, event.reason]); socket.close(event.code, event.reason); resolve(); });
          });
          for (const word of ["a", "b", "c"]) socket.send(word);
          await over;
          return Response.json(heard);
        }
        case "broken": { const response = await stub.fetch(request); try { return new Response(await response.text()); } catch (error) { return Response.json(told(error), { status: 500 }); } }
      }
      return await stub.fetch(request);
    } catch (error) {
      return Response.json(told(error), { status: 500 });
    }
  },
};
"#;

fn start(hosts: usize) -> (TempDir, Vec<Member>) {
    cluster::of_module(MODULE, hosts)
}

/// A name whose object is at the host of that number; all have the same.
fn name_at(members: &[Member], number: usize) -> String {
    (0..1000)
        .map(|at| format!("name-{at}"))
        .find(|name| {
            assert_eq!(members[0].hosted.get(&format!("/{name}/call?method=read")).0, 200);
            let lives = |member: &Member| {
                let status = member.hosted.deployment.objects();
                status.iter().any(|object| object.name.as_deref() == Some(name))
            };
            let found: Vec<bool> = members.iter().map(lives).collect();
            assert_eq!(found.iter().filter(|here| **here).count(), 1, "{name} lives once: {found:?}");
            found[number]
        })
        .expect("some name is there")
}

fn one_instance() {
    const CLIENTS: usize = 24;
    const EACH: usize = 20;
    let (_kept, members) = start(3);
    for number in 0..3 {
        let name = name_at(&members, number);
        let addresses: Vec<SocketAddr> = members.iter().map(|member| member.hosted.address).collect();
        let clients = (0..CLIENTS).map(|client| {
            let (address, path) = (addresses[client % 3], format!("/{name}/increment"));
            async move {
                let mut told = Vec::new();
                for _ in 0..EACH {
                    let (status, text) = ask(address, "POST", &path, String::new()).await;
                    assert_eq!(status, 200, "{text}");
                    told.push(text.parse::<usize>().expect("a number"));
                }
                told
            }
        });
        let told = members[0].hosted.run(futures_util::future::join_all(clients));
        assert!(told.iter().all(|told| told.is_sorted()), "each sees it grow");
        let all: BTreeSet<usize> = told.into_iter().flatten().collect();
        assert_eq!(all, (1..=CLIENTS * EACH).collect(), "no number twice, none left out");
    }
    // However much is under way, there is one connection for each direction.
    assert!(members.iter().all(|member| member.map.dialled.load(Ordering::SeqCst) <= 2));
}

fn seen() {
    let (_kept, members) = start(2);
    let name = name_at(&members, 1);
    let client = reqwest::Client::builder().no_proxy().build().expect("a client");
    let mut answers = Vec::new();
    for member in &members {
        let url = format!("http://{}/{name}/see?a=%20b&c", member.hosted.address);
        let request =
            client.put(url).header("host", "test.example:81").header("x-mine", "r\u{e9}sum\u{e9}").body("a body");
        let answer = members[0].hosted.run(async {
            let response = request.send().await.expect("is answered");
            let more: Vec<_> = response.headers().get_all("x-more").iter().cloned().collect();
            (response.status().as_u16(), more, response.text().await.expect("has a body"))
        });
        answers.push(answer);
    }
    assert_eq!(answers[0], answers[1]);
    let (status, more, text) = &answers[0];
    assert_eq!((*status, more.len()), (207, 2));
    for part in [
        r#""method":"PUT""#,
        &format!(r#""url":"http://test.example:81/{name}/see?a=%20b&c""#),
        r#""host":"test.example:81""#,
        &format!(r#""name":"{name}""#),
        r#""body":"a body""#,
    ] {
        assert!(text.contains(part), "{text} has no {part}");
    }
}

fn errors() {
    let (_kept, members) = start(2);
    let name = name_at(&members, 1);
    for what in
        ["call?method=fail", "call?method=reset", "call?method=notCloneable", "call?method=nothing", "fail", "broken"]
    {
        let path = format!("/{name}/{what}");
        let (far, near) = (members[0].hosted.get(&path), members[1].hosted.get(&path));
        assert_eq!(far.0, 500, "{what}: {}", far.1);
        assert_eq!(far, near, "{what}");
    }
    let (_, text) = members[0].hosted.get(&format!("/{name}/call?method=fail"));
    assert!(
        text.contains(r#""name":"Odd""#) && text.contains(r#""code":42"#) && text.contains(r#""remote":true"#),
        "{text}"
    );
    let (_, text) = members[0].hosted.get(&format!("/{name}/call?method=reset"));
    assert!(text.contains("enough"), "{text}");
    let (_, text) = members[0].hosted.get(&format!("/{name}/broken"));
    assert!(text.contains("in the middle"), "{text}");
}

/// A figure of what the object's module has seen.
fn figure(member: &Member, name: &str, what: &str) -> u64 {
    let (status, text) = member.hosted.get(&format!("/{name}/call?method=seen"));
    assert_eq!(status, 200, "{text}");
    let rest = text.split_once(&format!("\"{what}\":")).map(|(_, rest)| rest).unwrap_or_else(|| panic!("{text}"));
    rest.split(|c: char| !c.is_ascii_digit())
        .next()
        .and_then(|digits| digits.parse().ok())
        .unwrap_or_else(|| panic!("{text}"))
}

fn caller_leaves() {
    let (_kept, members) = start(2);
    let name = name_at(&members, 1);
    let url = format!("http://{}/{name}/leave", members[0].hosted.address);
    let client = reqwest::Client::builder().no_proxy().build().expect("a client");
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    members[0].hosted.spawn(async move {
        tokio::select! {
            response = client.get(url).send() => panic!("it was answered: {response:?}"),
            _told = stopped => {}
        }
    });
    eventually("it waits", || figure(&members[1], &name, "waiting") == 1);
    stop.send(()).expect("the client waits");
    eventually("the object hears of it", || figure(&members[1], &name, "aborted") == 1);
    // The caller's engine dies: the same.
    let (address, path) = (members[0].hosted.address, format!("/{name}/leave"));
    members[0].hosted.spawn(async move { assert_eq!(ask(address, "GET", &path, String::new()).await.0, 500) });
    eventually("it waits again", || figure(&members[1], &name, "waiting") == 2);
    for pid in members[0].hosted.deployment.engines() {
        victim::send(pid, Signal::SIGKILL);
    }
    eventually("the object hears of that too", || figure(&members[1], &name, "aborted") == 2);
}

fn sockets() {
    let state = TempDir::new().expect("a directory");
    let example = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../examples/objects/chat");
    let idle = IdleTimes { hibernate: Duration::from_millis(50), evict: Duration::from_millis(100) };
    let directory = state.path().join("chat");
    copy(&example, &directory);
    let members = cluster::start(&directory, 2, || Setting { idle, ..Setting::default() });
    let asleep = || members.iter().all(|member| member.hosted.deployment.objects().is_empty());
    for room in ["room", "other", "third", "fourth"] {
        let at = |member: usize| (members[member].hosted.address, room);
        members[0].hosted.run(chat::talk(at(0), at(1), 100, asleep));
    }
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("is made");
    for entry in std::fs::read_dir(from).expect("is read") {
        let entry = entry.expect("is read");
        let target = to.join(entry.file_name());
        if entry.file_type().expect("has one").is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).expect("is copied");
        }
    }
}

fn socket_of_code() {
    let (_kept, members) = start(2);
    let name = name_at(&members, 1);
    let (status, text) = members[0].hosted.get(&format!("/{name}/talk"));
    assert_eq!((status, text.as_str()), (200, r#"["a 1","b 2","c 3",[4001,"as asked"]]"#));
    eventually("the object hears the close", || {
        members[1].hosted.get(&format!("/{name}/call?method=closed")).1.contains("4001")
    });
}

fn chain() {
    let (_kept, members) = start(3);
    let names: Vec<String> = (0..3).map(|number| name_at(&members, number)).collect();
    let [a, b, c] = [&names[0], &names[1], &names[2]];
    let path = format!("/{b}/through?to={c}&to={a}&to={b}x&to={c}");
    for member in &members {
        assert_eq!(member.hosted.get(&path), (200, format!("{b}>{c}>{a}>{b}x>{c}")));
    }
}

fn stale() {
    let (_kept, members) = start(3);
    let name = name_at(&members, 1);
    let map = &members[0].map;
    let believe = |place: Place| *map.belief.lock().expect("no panic") = Some(place);
    believe(Place::At(peer(2)));
    let (status, text) = members[0].hosted.ask("POST", &format!("/{name}/see"), "short");
    assert!(status == 207 && text.contains("short"), "{status} {text}");
    assert_eq!(map.told_wrong.load(Ordering::SeqCst), 1);
    believe(Place::At(peer(2)));
    assert_eq!(members[0].hosted.get(&format!("/{name}/increment")), (200, "1".to_owned()));
    // What was sent in pieces is gone: whoever sent it may do so again.
    believe(Place::At(peer(2)));
    let (status, text) = members[0].hosted.ask("POST", &format!("/{name}/echo"), &"x".repeat(300_000));
    assert!(status == 500 && text.contains(r#""retryable":true"#), "{status} {text}");
    *map.belief.lock().expect("no panic") = None;
    // A directory that never learns: once more, and no further.
    let told = map.told_wrong.load(Ordering::SeqCst);
    *map.faith.lock().expect("no panic") = Some(Place::At(peer(2)));
    let (status, text) = members[0].hosted.get(&format!("/{name}/increment"));
    assert!(status == 500 && text.contains(r#""retryable":true"#), "{status} {text}");
    assert_eq!(map.told_wrong.load(Ordering::SeqCst), told + 1);
    *map.faith.lock().expect("no panic") = Some(nowhere());
    let (status, text) = members[0].hosted.get(&format!("/{name}/increment"));
    assert!(status == 500 && text.contains("nobody has it") && text.contains(r#""retryable":true"#), "{status} {text}");
    // A host that nobody knows the way to.
    *map.faith.lock().expect("no panic") = Some(Place::At(peer(9)));
    let (status, text) = members[0].hosted.get(&format!("/{name}/increment"));
    assert!(status == 500 && text.contains("connection") && text.contains(r#""retryable":true"#), "{status} {text}");
    *map.faith.lock().expect("no panic") = None;
    assert_eq!(members[0].hosted.get(&format!("/{name}/increment")), (200, "2".to_owned()));
}

fn moved() {
    let (_kept, members) = start(2);
    let name = name_at(&members, 1);
    assert_eq!(members[0].hosted.get(&format!("/{name}/increment")), (200, "1".to_owned()));
    let to = |place: fn(u64) -> Place| {
        *members[0].map.faith.lock().expect("no panic") = Some(place(7));
        *members[1].map.faith.lock().expect("no panic") =
            Some(if place(7) == Place::At(peer(1)) { Place::Here { least_epoch: 7 } } else { Place::At(peer(0)) });
        for member in &members {
            member.hosted.host.places_changed();
        }
    };
    to(|least_epoch| Place::Here { least_epoch });
    eventually("it ends there", || members[1].hosted.deployment.live_objects() == 0);
    for member in &members {
        let (status, text) = member.hosted.get(&format!("/{name}/increment"));
        assert_eq!(status, 200, "{text}");
    }
    assert_eq!(
        members[0].hosted.get(&format!("/{name}/call?method=read")),
        (200, "2".to_owned()),
        "without its storage"
    );
    to(|_| Place::At(peer(1)));
    assert_eq!(members[0].hosted.get(&format!("/{name}/call?method=read")), (200, "1".to_owned()));
    assert_eq!(members[0].hosted.deployment.live_objects(), 0);
}

/// What it costs that the object is on another host: printed, and bounded loosely, for this is no optimised build.
fn figures() {
    const CALLS: usize = 400;
    const CLIENTS: usize = 16;
    let (_kept, members) = start(2);
    let name = name_at(&members, 1);
    let mut medians = Vec::new();
    for (member, words) in [(&members[1], "there"), (&members[0], "from another host")] {
        let url = format!("http://{}/{name}/call?method=read", member.hosted.address);
        let client = reqwest::Client::builder().no_proxy().build().expect("a client");
        let once = || async { client.get(&url).send().await.expect("is answered").text().await.expect("has a body") };
        let (median, rate) = member.hosted.run(async {
            let mut took = Vec::new();
            for _ in 0..CALLS {
                let begun = Instant::now();
                once().await;
                took.push(begun.elapsed());
            }
            took.sort_unstable();
            let begun = Instant::now();
            let clients = (0..CLIENTS).map(|_| async {
                for _ in 0..CALLS / 4 {
                    once().await;
                }
            });
            futures_util::future::join_all(clients).await;
            (took[CALLS / 2], (CLIENTS * CALLS / 4) as f64 / begun.elapsed().as_secs_f64())
        });
        println!("{words}: {median:?} at the median, {rate:.0} a second with {CLIENTS} clients");
        medians.push(median);
    }
    assert!(medians[1] < medians[0] + Duration::from_millis(20), "{medians:?}");
}
