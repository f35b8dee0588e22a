//! Turns: the host is heard between them, and what they take is counted.

use super::host::Host;

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
