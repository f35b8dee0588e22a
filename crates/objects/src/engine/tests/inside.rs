//! Calls between objects of one process: they do not go by the host, and the gates hold all the same.

use super::host::{Disk, Host};
use crate::wire::{CloseReason, ToEngine};

const OBJECTS: &str = r#"
import { DurableObject } from "cloudflare:workers";
export class Test extends DurableObject {
  async fetch(request) {
    const { pathname, searchParams } = new URL(request.url);
    const other = this.env.TEST.getByName("other");
    switch (pathname) {
      case "/put": this.ctx.storage.kv.put("n", (this.ctx.storage.kv.get("n") ?? 0) + 1); return new Response("put");
      case "/wait": await fetch("http://outside/wait"); return new Response("waited");
      case "/ask": return other.fetch(`http://o${searchParams.get("path")}`);
      case "/write-and-ask": this.ctx.storage.kv.put("a", 1); return other.fetch("http://o/log?of=first");
      case "/in-order": {
        this.ctx.storage.kv.put("a", 1);
        const calls = [other.fetch("http://o/log?of=1")];
        await this.ctx.storage.sync();
        for (const of of [2, 3]) calls.push(other.fetch(`http://o/log?of=${of}`));
        await Promise.all(calls);
        return other.fetch("http://o/logged");
      }
      case "/log": (this.log ??= []).push(searchParams.get("of")); return new Response("");
      case "/logged": return new Response((this.log ?? []).join(" "));
      case "/stream": return new Response(new ReadableStream({
        start(c) { c.enqueue(new TextEncoder().encode("x".repeat(300_000))); c.enqueue(new TextEncoder().encode("end")); c.close(); } }));
      case "/length": return new Response(String((await (await other.fetch("http://o/stream")).text()).length));
      case "/abort": this.ctx.abort("enough");
      case "/endless": for (;;) { await other.fetch("http://o/log?of=x"); if (Date.now() >= Number(searchParams.get("until"))) return new Response("late"); }
    }
  }
}
export default {};
"#;

fn host() -> Host {
    let mut host = Host::new(OBJECTS, &["Test"]);
    assert!(matches!(host.loaded, Some(Ok(_))), "{:?}", host.loaded);
    host.get("other", "/logged");
    host
}

#[test]
fn the_host_sees_neither_call_nor_answer() {
    let mut host = host();
    host.calls = 0;
    assert_eq!(host.get("x", "/ask?path=/logged"), "");
    assert_eq!(host.get("x", "/length"), "300003");
    assert_eq!(host.calls, 0);
}

#[test]
fn an_answer_waits_for_what_the_called_object_wrote() {
    let mut host = host();
    host.disk = Disk::Held;
    let asked = host.fetch("x", "/ask?path=/put");
    assert_eq!((host.text(asked), host.unsynced()), (None, 1));
    host.sync();
    assert_eq!(host.text(asked).as_deref(), Some("put"));
    let asked = host.fetch("x", "/ask?path=/put");
    host.fail_commits("other");
    assert!(host.failure(asked).message.contains("disk is full"), "{:?}", host.failure(asked));
}

#[test]
fn a_call_waits_for_what_its_caller_wrote_and_later_ones_do_not_overtake_it() {
    let mut host = host();
    host.disk = Disk::Held;
    let asked = host.fetch("x", "/write-and-ask");
    assert_eq!((host.text(asked), host.get("other", "/logged")), (None, String::new()));
    host.sync();
    assert_eq!(host.get("other", "/logged"), "first");
    let ordered = host.fetch("y", "/in-order");
    host.sync();
    assert_eq!(host.text(ordered).as_deref(), Some("first 1 2 3"));
}

#[test]
fn an_object_at_such_an_event_is_not_closed() {
    let mut host = host();
    let other = host.live("other").unwrap();
    let asked = host.fetch("x", "/ask?path=/wait");
    assert_eq!(host.running_inside(other), 1);
    host.send(ToEngine::Close { activation: other, why: CloseReason::Hibernate });
    assert_eq!((host.stays, host.live("other")), (1, Some(other)));
    host.reply("");
    assert_eq!((host.text(asked).as_deref(), host.running_inside(other)), (Some("waited"), 0));
    host.hibernate("other");
    assert_eq!(host.live("other"), None);
}

#[test]
fn callers_of_an_object_that_ends_learn_of_it() {
    let mut host = host();
    let asked = host.fetch("x", "/ask?path=/abort");
    assert!(host.failure(asked).message.contains("enough"), "{:?}", host.failure(asked));
    // Its next life is reached anew.
    assert_eq!(host.get("x", "/ask?path=/logged"), "");
}

#[test]
fn they_learn_why_when_what_that_rests_on_is_durable() {
    let mut host = host();
    host.disk = Disk::Held;
    let put = host.fetch("other", "/put");
    let asked = host.fetch("x", "/ask?path=/abort");
    assert_eq!((host.text(put), host.text(asked), host.unsynced()), (None, None, 1));
    host.sync();
    assert_eq!(host.text(put).as_deref(), Some("put"));
    assert!(host.failure(asked).message.contains("enough"), "{:?}", host.failure(asked));
}

#[test]
fn two_that_call_each_other_for_ever_let_the_host_be_heard() {
    let mut host = host();
    let until = host.now_ms + 5;
    let endless = host.fetch("x", &format!("/endless?until={until}"));
    assert_eq!(host.text(endless), None);
    assert_eq!(host.wake_ms, Some(host.now_ms));
    assert_eq!(host.get("z", "/logged"), "");
    host.pass(5);
    assert_eq!(host.text(endless).as_deref(), Some("late"));
}
