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

const STREAMS: &str = r#"
import { DurableObject, WorkerEntrypoint, exports } from "cloudflare:workers";
const told = async (run) => { try { return await run(); } catch (error) { return `${error.name}: ${error.message}`; } };
let ended = "open";
const source = () => { ended = "open"; return new ReadableStream({ type: "bytes", pull(c) { c.enqueue(new Uint8Array(10)); }, cancel(reason) { ended = String(reason); } }); };
const sink = () => { ended = "open"; return new WritableStream({ abort(reason) { ended = String(reason); } }); };
const give = async (to, how) => {
  switch (how) {
    case "/ignored": return to.ignore(source());
    case "/sink-ignored": return to.ignore(sink());
    case "/thrown": return to.fails(source());
    case "/no-method": return to.nothing(source());
    case "/no-clone": return to.ignore(source(), Symbol());
    case "/too-long": return to.ignore(source(), "x".repeat(9 << 20));
    case "/long-name": return to["x".repeat(1 << 20)](source());
    case "/kept": return to.keep(source());
    case "/gave": { const given = await to.give(); return given.constructor.name; }
    case "/given": return to.ended();
  }
};
const taking = (Base) => class extends Base {
  ignore() { return "ignored"; }
  fails() { throw new Error("fails"); }
  keep(s) { this.s = s; return "kept"; }
  give() { return source(); }
  ended() { return ended; }
};
export class Test extends taking(DurableObject) {
  async fetch(request) {
    const { pathname } = new URL(request.url);
    if (pathname === "/live") return new Response("live");
    if (pathname === "/ended") return new Response(ended);
    if (pathname === "/read") return new Response(String((await this.s.getReader().read()).value.length));
    return new Response(await told(() => give(this.env.TEST.getByName("other"), pathname)));
  }
}
export class Beside extends taking(WorkerEntrypoint) {}
export default {
  async fetch(request, env) {
    const { pathname, search } = new URL(request.url);
    return new Response(await told(() => give(search ? exports.Beside : env.TEST.getByName("other"), pathname)));
  },
};
"#;

fn streams() -> Host {
    let mut host = Host::new(STREAMS, &["Test"]);
    assert!(matches!(host.loaded, Some(Ok(_))), "{:?}", host.loaded);
    host.get("other", "/live");
    host
}

/// So long that what is quiet rests.
const REST_MS: i64 = 3_000;

#[test]
fn a_stream_that_never_arrived_ends() {
    for (how, told) in [
        ("/no-method", "TypeError: The RPC receiver does not implement the method \"nothing\"."),
        ("/no-clone", "DataCloneError: Symbol() could not be cloned."),
        ("/long-name", "TypeError: a method's path of 1048576 bytes is longer than"),
        ("/too-long", "Error: Serialized RPC arguments or return values are limited to 8388608 bytes"),
    ] {
        let mut host = streams();
        let answer = host.get("x", how);
        assert!(answer.starts_with(told), "{answer}");
        assert_eq!(host.get("x", "/ended"), "Error: Network connection lost.", "{how}");
        let event = host.enter(how);
        assert!(host.text(event).is_some_and(|answer| answer.starts_with(told)), "{how}");
        assert_eq!(host.finished.last(), Some(&event), "{how}");
    }
}

#[test]
fn a_stream_that_nobody_can_read_or_write_ends_when_its_holder_rests() {
    for (how, ended) in [
        ("/ignored", "Error: Network connection lost."),
        ("/thrown", "Error: Network connection lost."),
        ("/sink-ignored", "Error: WritableStream received over RPC was disposed before close() was called."),
    ] {
        let mut host = streams();
        host.get("x", how);
        assert_eq!((host.hibernates("x"), host.hibernates("other")), (Some(false), Some(false)), "{how}");
        host.pass(REST_MS);
        assert_eq!(host.get("x", "/ended"), ended, "{how}");
        assert_eq!((host.hibernates("x"), host.hibernates("other")), (Some(true), Some(true)), "{how}");
        let event = host.enter(how);
        assert!(host.text(event).is_some());
        host.pass(REST_MS);
        assert_eq!(host.finished.last(), Some(&event), "{how}");
    }
    // One that was returned.
    let mut host = streams();
    assert_eq!(host.get("x", "/gave"), "ReadableStream");
    host.pass(REST_MS);
    assert_eq!(host.get("other", "/ended"), "Error: Network connection lost.");
}

#[test]
fn a_stream_that_is_kept_is_read_after_the_call() {
    let mut host = streams();
    assert_eq!(host.get("x", "/kept"), "kept");
    host.pass(REST_MS);
    assert_eq!((host.get("x", "/ended"), host.get("other", "/read")), ("open".to_owned(), "10".to_owned()));
}

#[test]
fn a_stream_within_the_entry_worker_holds_up_no_event() {
    let mut host = streams();
    for how in ["/ignored", "/kept", "/sink-ignored", "/no-clone"] {
        let event = host.enter(&format!("{how}?beside"));
        assert!(host.text(event).is_some(), "{how}");
        assert_eq!(host.finished.last(), Some(&event), "{how}");
    }
}
