//! Turns: the host is heard between them, and what they take is counted.

use super::host::{Disk, Host};
use crate::wire::{EventKind, Inspect, Limits, Passed, Rpc};

const BUSY: &str = r#"
import { DurableObject } from "cloudflare:workers";
export class Test extends DurableObject {
  n = 0;
  async fetch(request) {
    const { pathname, searchParams } = new URL(request.url);
    const times = Number(searchParams.get("times"));
    switch (pathname) {
      case "/count": return new Response(String(this.n));
      case "/interval": {
        const { promise, resolve } = Promise.withResolvers();
        const every = setInterval(() => { if (++this.n === times) { clearInterval(every); resolve(); } }, Number(searchParams.get("every")));
        await promise;
        break;
      }
      case "/timeouts": for (; this.n < times; this.n++) await scheduler.wait(0); break;
      case "/sections": for (; this.n < times; this.n++) await this.ctx.blockConcurrencyWhile(async () => {}); break;
      case "/socket": { const { 0: client, 1: server } = new WebSocketPair(); this.ctx.acceptWebSocket(server); return new Response(null, { status: 101, webSocket: client }); }
      case "/send": for (let n = 0; n < times; n++) for (const socket of this.ctx.getWebSockets()) socket.send(MEGABYTE); break;
      case "/small": for (let n = 0; n < times; n++) for (const socket of this.ctx.getWebSockets()) socket.send(""); break;
      case "/ask-and-block": {
        for (let n = 0; n < times; n++) this.ctx.waitUntil(fetch("http://outside/"));
        await this.ctx.blockConcurrencyWhile(() => new Promise(() => {}));
        break;
      }
      case "/gather": {
        const other = this.env.TEST.getByName("other"), asked = [];
        // Of an answer that has come nothing is kept.
        const ask = async () => { const { length } = await other.big(); this.n += length; };
        for (let n = 0; n < times; n++) asked.push(ask());
        await Promise.all(asked);
        return new Response(String(this.n));
      }
    }
    return new Response("done");
  }
  big() { this.ctx.storage.kv.put("n", ++this.n); return MEGABYTE; }
}
const MEGABYTE = "x".repeat(1 << 20);
export default {};
"#;

fn host() -> Host {
    let host = Host::new(BUSY, &["Test"]);
    assert!(matches!(host.loaded, Some(Ok(_))), "{:?}", host.loaded);
    host
}

/// Each tick fires once what is due, and the next one is asked for, also for the same millisecond.
#[test]
fn timers_for_now_leave_the_host_its_say() {
    let mut host = host();
    let waits = host.fetch("x", "/timeouts?times=5");
    for n in 0..5 {
        assert_eq!((host.get("x", "/count"), host.text(waits)), (n.to_string(), None));
        assert_eq!(host.wake_ms.take(), Some(host.now_ms), "before {n}");
        host.pass(0);
    }
    assert_eq!(host.text(waits).as_deref(), Some("done"));
    assert_ne!(host.wake_ms, Some(host.now_ms));
}

#[test]
fn intervals_are_at_least_a_millisecond_apart() {
    for every in ["0", "-1", "0.5", "Infinity", "none"] {
        let mut host = host();
        let event = host.fetch("x", &format!("/interval?times=3&every={every}"));
        for n in 0..3 {
            host.pass(0);
            assert_eq!((host.get("x", "/count"), host.text(event)), (n.to_string(), None), "{every}");
            assert_eq!(host.wake_ms, Some(host.now_ms + 1), "{every}");
            host.pass(1);
        }
        assert_eq!(host.text(event).as_deref(), Some("done"), "{every}");
    }
}

/// Each is two turns, and no frame comes between them.
#[test]
fn sections_without_end_leave_the_host_its_say() {
    let mut host = host();
    let event = host.fetch("x", "/sections?times=1000");
    assert_eq!(host.text(event), None);
    assert_eq!(host.get("y", "/count"), "0");
    for _ in 0..10 {
        assert_eq!(host.wake_ms.take(), Some(host.now_ms));
        host.pass(0);
        if host.text(event).is_some() {
            break;
        }
    }
    assert_eq!(host.text(event).as_deref(), Some("done"));
    assert_eq!(host.get("x", "/count"), "1000");
}

/// With so much memory for each object.
fn small(memory_bytes: u64) -> Host {
    let limits = Limits { cpu_ms: u32::MAX, memory_bytes, queue_bytes: 1 << 20, ..Limits::default() };
    Host::with(BUSY, &["Test"], limits, 7)
}

#[track_caller]
fn ended_by_memory(host: &Host) {
    assert_eq!(host.resets.len(), 1);
    assert!(host.resets[0].message.contains("memory limit"), "{:?}", host.resets);
}

#[test]
fn what_a_turn_says_is_in_its_objects_memory_until_it_leaves() {
    for (path, few, many) in [("/send", 8, 32), ("/small", 10_000, 200_000)] {
        let mut host = small(16 << 20);
        host.get("x", "/socket");
        for _ in 0..4 {
            assert_eq!(host.get("x", &format!("{path}?times={few}")), "done", "{path}: {:?}", host.resets);
        }
        let event = host.fetch("x", &format!("{path}?times={many}"));
        assert!(host.failure(event).message.contains("memory limit"), "{path}: {:?}", host.text(event));
        ended_by_memory(&host);
    }
}

#[test]
fn answers_that_wait_at_the_gate_are_in_the_objects_memory() {
    let mut host = small(16 << 20);
    host.fetch("x", "/ask-and-block?times=32");
    for _ in 0..32 {
        if host.resets.is_empty() {
            host.reply(&"x".repeat(1 << 20));
        }
    }
    ended_by_memory(&host);
}

#[test]
fn answers_of_others_here_that_wait_for_the_disk_are_in_the_callers_memory() {
    let mut host = small(16 << 20);
    host.get("other", "/count");
    assert_eq!(host.get("x", "/gather?times=8"), (8 << 20).to_string());
    host.disk = Disk::Held;
    let event = host.fetch("y", "/gather?times=32");
    let live = host.live("other");
    // So much is said that the host is heard in between.
    while host.wake_ms == Some(host.now_ms) {
        host.wake_ms = None;
        host.pass(0);
    }
    host.sync();
    assert!(host.failure(event).message.contains("memory limit"), "{:?}", host.text(event));
    ended_by_memory(&host);
    assert_eq!((host.get("other", "/count"), host.live("other")), ("40".to_owned(), live), "it goes on");
}

#[test]
fn the_path_of_a_call_weighs_what_it_is_long() {
    let mut host = small(16 << 20);
    host.fetch("x", "/ask-and-block?times=0");
    let long = || Rpc { path: vec!["x".repeat(250 << 10)], args: Some(Passed::default()) };
    let calls: Vec<_> = (0..5).map(|_| host.deliver("x", EventKind::Rpc(long()))).collect();
    let refused: Vec<bool> = calls.iter().map(|call| host.text(*call).is_some()).collect();
    assert_eq!(refused, [false, false, false, false, true]);
    assert!(host.failure(calls[4]).overloaded);
}

fn look(host: &mut Host, query: &str) -> String {
    let event = host.deliver("x", EventKind::Inspect(Inspect::Sql { query: query.to_owned(), limit: 10 }));
    host.text(event).unwrap_or_else(|| "no answer".to_owned())
}

const NUMBERS: &str = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n)";

#[test]
fn a_look_has_the_limit_of_an_event_and_the_object_goes_on() {
    let mut host = Host::with(BUSY, &["Test"], Limits { cpu_ms: 20, ..Limits::default() }, 7);
    assert_eq!(host.get("x", "/count"), "0");
    let live = host.live("x");
    let told = look(&mut host, &format!("{NUMBERS} SELECT count(*) FROM n"));
    assert!(told.contains("20 ms of CPU time"), "{told}");
    assert_eq!((host.get("x", "/count"), host.live("x"), host.resets.len()), ("0".to_owned(), live, 0));
    assert!(look(&mut host, "SELECT 7").contains("[[7]]"));
}

#[test]
fn a_look_that_takes_all_memory_ends_the_object_and_does_not_wedge_it() {
    let limits = Limits { cpu_ms: u32::MAX, memory_bytes: 8 << 20, ..Limits::default() };
    let mut host = Host::with(BUSY, &["Test"], limits, 7);
    assert_eq!(host.get("x", "/count"), "0");
    let told = look(&mut host, &format!("{NUMBERS} SELECT count(DISTINCT randomblob(64)) FROM n"));
    assert!(told.contains("failed"), "{told}");
    assert_eq!(host.resets.len(), 1);
    assert!(host.resets[0].message.contains("memory limit"), "{:?}", host.resets);
    assert_eq!(host.get("x", "/count"), "0");
}
