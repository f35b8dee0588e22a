//! Turns: the host is heard between them, and what they take is counted.

use super::host::Host;
use crate::wire::{EventKind, Inspect, Limits};

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
    }
    return new Response("done");
  }
}
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
