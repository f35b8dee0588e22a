//! What a host lets objects and events have, by its configuration, and less by their own version's.

use super::fleet::{Fleet, Member, ask};
use crate::peer::Peer;
use domain::deployments::CodeLimits;
use tokio::net::TcpStream;

const LIMITS: &str = "[objects.limits]\ncpu_ms = 2000\nqueue = 2\nrequest = \"4KiB\"\nvalue = \"8KiB\"\ndatabase = \"1MiB\"\nmemory = \"16MiB\"";

const CODE: &str = r#"
import { DurableObject } from "cloudflare:workers";
export class Counter extends DurableObject {
  value(bytes) { this.ctx.storage.kv.put("value", "x".repeat(bytes)); }
  fill() { for (let key = 0; key < 1000; key++) this.ctx.storage.kv.put(`${key}`, "x".repeat(4000)); }
  memory() { const all = []; for (;;) all.push(new Uint8Array(1 << 20).fill(1)); }
  loop() { for (;;); }
  block() { return this.ctx.blockConcurrencyWhile(() => new Promise((resolve) => setTimeout(resolve, 500))); }
}
export default {
  async fetch(request, env) {
    const [, what, number] = new URL(request.url).pathname.split("/");
    const stub = env.COUNTERS.getByName("one");
    try {
      if (what === "queue") {
        const all = await Promise.allSettled([stub.block(), ...Array.from({ length: 8 }, () => stub.value(1))]);
        const refused = all.filter((one) => one.reason?.overloaded);
        return new Response(`${refused.length > 0} ${refused.length < 8} ${refused[0]?.reason}`);
      }
      if (["value", "fill", "memory", "loop"].includes(what)) await stub[what](Number(number));
      return new Response("done");
    } catch (error) { return new Response(`${error}`, { status: 500 }); }
  },
};
"#;

async fn says(member: &Member, path: &str, expected: (u16, &str)) {
    let (status, text) = member.ask("GET", "counters", path).await;
    assert_eq!(status, expected.0, "{path}: {text}");
    assert!(text.contains(expected.1), "{path}: {text}");
}

#[tokio::test]
async fn objects_and_events_have_what_their_host_lets_them() {
    let mut fleet = Fleet::with(Peer::start().await, 1, LIMITS).await;
    fleet.plan_counters("counters", CODE);
    fleet.tell().await;
    fleet.answers(&fleet.members[0], "GET", |status, _| status == 200).await;
    let member = &fleet.members[0];
    says(member, "/value/7000", (200, "done")).await;
    says(member, "/value/9000", (500, "8192")).await;
    says(member, "/fill", (500, "full")).await;
    says(member, "/memory", (500, "memory")).await;
    says(member, "/loop", (500, "CPU time limit")).await;
    says(member, "/queue", (200, "true true Error: Durable Object is overloaded")).await;
    for (bytes, expected) in [(4 << 10, 200), (5 << 10, 413)] {
        let stream = TcpStream::connect(member.requests).await.expect("is there");
        let answer = ask(stream, "POST", "counters", "/", "", &vec![b'x'; bytes]).await.expect("is answered");
        assert_eq!(answer.0, expected, "{bytes}: {}", answer.1);
    }
}

#[tokio::test]
async fn a_version_may_limit_itself_to_less() {
    let mut fleet = Fleet::of(1).await;
    fleet.plan_counters("counters", CODE);
    fleet.plan.deployments[0].limits = CodeLimits { cpu_ms: Some(100) };
    fleet.tell().await;
    fleet.answers(&fleet.members[0], "GET", |status, _| status == 200).await;
    // The hosts' own limit is 30 seconds, as long as a test waits.
    let begun = std::time::Instant::now();
    says(&fleet.members[0], "/loop", (500, "CPU time limit")).await;
    assert!(begun.elapsed().as_secs() < 20, "{:?}", begun.elapsed());
}
