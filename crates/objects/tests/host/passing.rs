//! Functions, targets and streams that objects of several hosts pass each other.

use tempfile::TempDir;

use crate::{
    Test,
    cluster::{self, Member},
    hosted::eventually,
};

pub const TESTS: &[Test] = &[
    ("passing::what_is_passed_is_called_back_from_everywhere", everywhere),
    ("passing::stubs_end_with_the_event_that_gave_them", event_over),
    ("passing::stubs_of_an_object_that_is_reset_say_so", reset),
    ("passing::stubs_of_an_engine_that_dies_say_so", died),
    ("passing::streams_carry_no_more_than_is_asked_for", unread),
];

const MODULE: &str = r#"
import { DurableObject, RpcTarget } from "cloudflare:workers";
class Box extends RpcTarget {
  constructor(o, v) { super(); this.o = o; this.v = v; }
  get() { return this.v; }
  get value() { return this.v; }
  nested() { return new Box(this.o, this.v + "n"); }
  fail() { throw Object.assign(new RangeError("thrown"), { code: 7 }); }
  [Symbol.dispose]() { this.o.disposed = (this.o.disposed ?? 0) + 1; }
}
export class Obj extends DurableObject {
  live() { return "live"; }
  box(v) { return new Box(this, v); }
  async call(f, ...args) { return await f(...args); }
  async twice(f) { const g = await f((x) => `${this.ctx.id.name} ${x}`); return [await g(1), await g(2)]; }
  async stored(f) { await this.ctx.storage.put("k", "before"); const seen = await f(); await this.ctx.storage.put("k", "after"); return [seen, await this.ctx.storage.get("k")]; }
  get(k) { return this.ctx.storage.get(k); }
  async read(s) { let n = 0; for await (const part of s) n += part.length; return n; }
  zeros(n) { return new ReadableStream({ type: "bytes", pull(c) { if (n <= 0) { c.close(); c.byobRequest?.respond(0); return; } c.enqueue(new Uint8Array(Math.min(n, 50000))); n -= 50000; } }); }
  endless() { const o = this; o.produced = 0; o.cancelled = 0; return new ReadableStream({ pull(c) { o.produced += 100000; c.enqueue(new Uint8Array(100000)); }, cancel() { o.cancelled = 1; } }); }
  respond() { return new Response(this.zeros(300000), { status: 203, headers: { a: "b" } }); }
  seen() { return [this.disposed ?? 0, this.produced ?? 0, this.cancelled ?? 0]; }
  async keep(f) { this.f?.[Symbol.dispose](); this.f = f.dup(); return "kept"; }
  async use() { return await this.f("used"); }
  reset() { this.ctx.abort("enough"); }
  // The same, asked by an object.
  async ask(name, what, ...args) { return this[what](name, ...args); }
  async take(name) { this.taken = await this.env.Obj.getByName(name).box("taken"); return this.taken.get(); }
  tell() { return this.taken.get(); }
  async hold(name) { this.stream = (await this.env.Obj.getByName(name).endless()).getReader(); return (await this.stream.read()).value.length; }
  async leave() { await this.stream.cancel("left"); return "left"; }
  all(name) { return all(this.env.Obj.getByName(name)); }
}
const all = async (o) => {
  const told = [];
  told.push(await o.call((a, b) => a + b, 1, 2), await o.twice((f) => { const g = f.dup(); return async (x) => `${await g(x)}!`; }), await o.stored(() => o.get("k")));
  const b = await o.box("v");
  told.push(await b.get(), await b.value, await b.nested().nested().get(), await o.box("p").get());
  try { await b.fail(); } catch (e) { told.push([e.name, e.message, e.code, e.remote]); }
  try { await o.call(() => { throw new SyntaxError("back"); }); } catch (e) { told.push([e.name, e.message, e.remote]); }
  b[Symbol.dispose]();
  const s = await o.zeros(1000000);
  told.push(await o.read(s), await o.read(new Response("some text").body), await o.call((s) => o.read(s), new Response("passed on").body));
  const r = await o.respond();
  told.push(r.status, r.headers.get("a"), (await r.arrayBuffer()).byteLength);
  return told;
};
const told = (e) => ({ name: e.name, message: e.message, remote: e.remote, retryable: e.retryable, reset: e.durableObjectReset });
export default {
  async fetch(request, env) {
    const [, name, what, ...args] = new URL(request.url).pathname.split("/");
    const o = env.Obj.getByName(name);
    try {
      if (what === "everything") return Response.json(await all(o));
      if (what === "keep") return new Response(await o.keep((x) => `here ${x}`));
      if (what === "keep-and-use") return Response.json([await o.keep((x) => `here ${x}`), await o.use()]);
      return Response.json(await o[what](...args));
    } catch (error) { return Response.json(told(error), { status: 500 }); }
  },
};
"#;

fn start(hosts: usize) -> (TempDir, Vec<Member>) {
    cluster::of_module(MODULE, hosts)
}

/// A name of that kind whose object is at the host of that number.
fn named_at(members: &[Member], kind: &str, number: usize) -> String {
    let lives = |name: &str| {
        let objects = members[number].hosted.deployment.objects();
        objects.iter().any(|object| object.name.as_deref() == Some(name))
    };
    (0..1000)
        .map(|at| format!("{kind}-{at}"))
        .find(|name| {
            assert_eq!(members[0].hosted.get(&format!("/{name}/live")), (200, "\"live\"".to_owned()));
            lives(name)
        })
        .expect("some name is there")
}

const EVERYTHING: &str = r#"[3,["NAME 1!","NAME 2!"],["before","after"],"v","v","vnn","p",["RangeError","thrown",7,true],["SyntaxError","back",true],1000000,9,9,203,"b",300000]"#;

fn everywhere() {
    let (_kept, members) = start(3);
    let names: Vec<String> = (0..3).map(|number| named_at(&members, "giver", number)).collect();
    for name in &names {
        // By the entry worker of the first host.
        let told = members[0].hosted.get(&format!("/{name}/everything"));
        assert_eq!(told, (200, EVERYTHING.replace("NAME", name)), "{name}");
    }
    for asks in &names {
        for asked in &names {
            if asks != asked {
                let told = members[0].hosted.get(&format!("/{asks}/all/{asked}"));
                assert_eq!(told, (200, EVERYTHING.replace("NAME", asked)), "{asks} asks {asked}");
            }
        }
    }
    // What was disposed of is gone everywhere; what an event of an entry worker was given goes with it.
    for (number, name) in names.iter().enumerate() {
        eventually("all of an entry worker is disposed of", || {
            let (_, told) = members[number].hosted.get(&format!("/{name}/seen"));
            // By the entry worker: a box, two that were nested, and the one that was called at once.
            told.split([',', '[']).nth(1).and_then(|count| count.parse().ok()).is_some_and(|count: u32| count >= 4)
        });
    }
}

fn event_over() {
    let (_kept, members) = start(2);
    for number in 0..2 {
        let name = named_at(&members, "giver", number);
        let get = |what: &str| members[0].hosted.get(&format!("/{name}/{what}"));
        assert_eq!(get("keep-and-use"), (200, r#"["kept","here used"]"#.to_owned()));
        assert_eq!(get("keep").0, 200);
        let (status, text) = get("use");
        assert!(status == 500 && text.contains("cannot be called any more"), "{status} {text}");
    }
}

fn reset() {
    let (_kept, members) = start(2);
    for (holder, giver) in [(0, 1), (1, 0), (0, 0)] {
        let giver = named_at(&members, "giver", giver);
        let holder = named_at(&members, "holder", holder);
        let get = |name: &str, what: &str| members[0].hosted.get(&format!("/{name}/{what}"));
        assert_eq!(get(&holder, &format!("take/{giver}")), (200, "\"taken\"".to_owned()));
        assert_eq!(get(&holder, "tell"), (200, "\"taken\"".to_owned()));
        assert_eq!(get(&giver, "reset").0, 500);
        let mut told = (0, String::new());
        eventually("it is gone", || {
            told = get(&holder, "tell");
            told.0 == 500
        });
        assert!(told.1.contains("cannot be called any more"), "{told:?}");
        // The object itself begins anew.
        assert_eq!(get(&holder, &format!("take/{giver}")), (200, "\"taken\"".to_owned()));
    }
}

fn died() {
    let (_kept, members) = start(2);
    let (giver, holder) = (named_at(&members, "giver", 1), named_at(&members, "holder", 0));
    let get = |name: &str, what: &str| members[0].hosted.get(&format!("/{name}/{what}"));
    assert_eq!(get(&holder, &format!("take/{giver}")), (200, "\"taken\"".to_owned()));
    for pid in members[1].hosted.deployment.engines() {
        let pid = nix::unistd::Pid::from_raw(i32::try_from(pid).expect("a pid"));
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).expect("it runs");
    }
    eventually("the holder's stub is of no use", || get(&holder, "tell").0 == 500);
    let (_, text) = get(&holder, "tell");
    assert!(text.contains("cannot be called any more"), "{text}");
    // The holder's engine dies: whoever gave hears of it.
    assert_eq!(get(&holder, &format!("take/{giver}")), (200, "\"taken\"".to_owned()));
    for pid in members[0].hosted.deployment.engines() {
        let pid = nix::unistd::Pid::from_raw(i32::try_from(pid).expect("a pid"));
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).expect("it runs");
    }
    eventually("the giver hears of it", || members[1].hosted.get(&format!("/{giver}/seen")).1 == "[1,0,0]");
}

fn unread() {
    let (_kept, members) = start(2);
    let (giver, holder) = (named_at(&members, "giver", 1), named_at(&members, "holder", 0));
    let get = |name: &str, what: &str| members[0].hosted.get(&format!("/{name}/{what}"));
    assert_eq!(get(&holder, &format!("hold/{giver}")).0, 200);
    let (_, told) = get(&giver, "seen");
    let produced: u64 = told.split(',').nth(1).and_then(|bytes| bytes.parse().ok()).unwrap_or_else(|| panic!("{told}"));
    assert!(produced <= 1_000_000, "{told}");
    assert_eq!(get(&holder, "leave"), (200, "\"left\"".to_owned()));
    eventually("the giver hears of it", || get(&giver, "seen").1.ends_with(",1]"));
}
