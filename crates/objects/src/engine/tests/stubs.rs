//! Functions and targets that objects give each other: gates, and ends.

use super::host::{Disk, Host};
use crate::wire::Limits;

const OBJECTS: &str = r#"
import { DurableObject, RpcTarget } from "cloudflare:workers";
const told = (error) => `${error.name}: ${error.message} ${error.remote === true} ${error.durableObjectReset === true}`;
class Held extends RpcTarget { constructor(o) { super(); this.o = o; } tell() { return this.o.word ?? "nothing"; } [Symbol.dispose]() { this.o.disposed = (this.o.disposed ?? 0) + 1; } }
export class Test extends DurableObject {
  keep(f) { this.f = f.dup(); }
  held() { return new Held(this); }
  async fetch(request) {
    const { pathname } = new URL(request.url);
    const other = this.env.TEST.getByName("other"), { kv } = this.ctx.storage;
    try {
      switch (pathname) {
        case "/live": return new Response("live");
        case "/disposed": return new Response(String(this.disposed ?? 0));
        case "/word": this.word = "heard"; return new Response("");
        case "/give": await other.keep(async (write) => { if (write) kv.put("w", write); return `called ${write ?? ""}`; }); return new Response("given");
        case "/give-blocked": return new Response(await this.ctx.blockConcurrencyWhile(async () => {
          await other.keep(() => "inside"); await fetch("http://outside/wait"); return "done"; }));
        case "/call": return new Response(await this.f());
        case "/call-to-write": return new Response(await this.f("it"));
        case "/write-and-call": kv.put("a", 1); return new Response(await this.f());
        case "/take": this.t = await other.held(); return new Response("taken");
        case "/tell": return new Response(await this.t.tell());
        case "/drop": this.t[Symbol.dispose](); return new Response("");
        case "/many": { const all = []; for (;;) all.push(await other.held()); }
        case "/abort": this.ctx.abort("enough");
      }
    } catch (error) { return new Response(told(error)); }
  }
}
export default {};
"#;

fn host() -> Host {
    let mut host = Host::new(OBJECTS, &["Test"]);
    assert!(matches!(host.loaded, Some(Ok(_))), "{:?}", host.loaded);
    host.get("other", "/live");
    host
}

#[test]
fn a_call_of_a_stub_leaves_after_what_was_written_before_it() {
    let mut host = host();
    assert_eq!(host.get("x", "/give"), "given");
    assert_eq!(host.get("other", "/call"), "called ");
    host.disk = Disk::Held;
    host.calls = 0;
    let called = host.fetch("other", "/write-and-call");
    assert_eq!((host.text(called), host.calls, host.unsynced()), (None, 0, 1));
    host.sync();
    assert_eq!((host.text(called).as_deref(), host.calls), (Some("called "), 1));
    // And its answer after what was written by it.
    let called = host.fetch("other", "/call-to-write");
    assert_eq!((host.text(called), host.unsynced()), (None, 1));
    host.sync();
    assert_eq!(host.text(called).as_deref(), Some("called it"));
}

#[test]
fn what_is_given_in_a_section_is_called_in_it() {
    let mut host = host();
    let given = host.fetch("x", "/give-blocked");
    let waits = host.fetch("x", "/live");
    assert_eq!(host.get("other", "/call"), "inside");
    assert_eq!((host.text(given), host.text(waits)), (None, None));
    host.reply("");
    assert_eq!((host.text(given).as_deref(), host.text(waits).as_deref()), (Some("done"), Some("live")));
}

#[test]
fn who_gave_hears_when_nobody_has_it_any_more() {
    let mut host = host();
    for end in ["/drop", "/abort"] {
        assert_eq!(host.get("x", "/take"), "taken");
        assert_eq!(host.get("x", "/tell"), "nothing");
        let before: u32 = host.get("other", "/disposed").parse().unwrap();
        host.fetch("x", end);
        let after: u32 = host.get("other", "/disposed").parse().unwrap();
        assert_eq!(after, before + 1, "{end}");
    }
}

#[test]
fn an_object_with_stubs_is_not_replaced_by_one_without() {
    let mut host = host();
    assert_eq!(host.hibernates("other"), Some(true));
    assert_eq!(host.get("x", "/take"), "taken");
    assert_eq!((host.hibernates("x"), host.hibernates("other")), (Some(false), Some(false)));
    host.get("x", "/drop");
    host.get("other", "/live");
    assert_eq!((host.hibernates("x"), host.hibernates("other")), (Some(true), Some(true)));
}

#[test]
fn an_object_holds_so_many_and_no_more() {
    let limits = Limits { stubs: 5, ..Limits::default() };
    let mut host = Host::with(OBJECTS, &["Test"], limits, 7);
    let told = host.get("x", "/many");
    assert!(told.contains("more than 5 RPC stubs"), "{told}");
}
