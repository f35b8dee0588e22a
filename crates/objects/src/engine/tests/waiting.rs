//! What an event waits for before it is over.

use super::host::Host;

const WAITS: &str = r#"
import { DurableObject, waitUntil } from "cloudflare:workers";
const log = () => fetch("http://outside/log");
let lent;
const late = () => new ReadableStream({ async pull(c) { await scheduler.wait(50); c.close(); } });
export class Test extends DurableObject {
  async fetch(request) {
    const { pathname } = new URL(request.url);
    if (pathname === "/section") await this.ctx.blockConcurrencyWhile(async () => { this.ctx.waitUntil(log()); });
    if (pathname === "/after-section") { await this.ctx.blockConcurrencyWhile(() => {}); this.ctx.waitUntil(log()); }
    if (pathname === "/after-sync") { this.ctx.storage.kv.put("a", Math.random()); await this.ctx.storage.sync(); this.ctx.waitUntil(log()); }
    return new Response("answered");
  }
}
export default {
  async fetch(request, env, ctx) {
    const { pathname } = new URL(request.url);
    if (pathname === "/quick") return new Response("quick");
    if (pathname === "/uses") { lent.waitUntil(log()); return new Response("used"); }
    if (pathname === "/lends") lent = ctx;
    await fetch("http://outside/first");
    if (pathname === "/ctx") ctx.waitUntil(log());
    if (pathname === "/module") waitUntil(log());
    if (pathname === "/body") fetch("http://outside/log", { method: "POST", body: late() });
    return new Response("answered");
  },
};
"#;

fn host() -> Host {
    let host = Host::new(WAITS, &["Test"]);
    assert!(matches!(host.loaded, Some(Ok(_))), "{:?}", host.loaded);
    host
}

#[test]
fn it_is_its_own_event_that_waits_and_not_the_last_that_came() {
    let mut host = host();
    for path in ["/ctx", "/module", "/body"] {
        let event = host.enter(path);
        let quick = host.enter("/quick");
        assert_eq!(host.finished.last(), Some(&quick));
        host.reply("");
        assert_eq!(host.text(event).as_deref(), Some("answered"), "{path}");
        assert_eq!(host.finished.last(), Some(&quick), "{path}");
        host.pass(50);
        host.reply("");
        assert_eq!(host.finished.last(), Some(&event), "{path}");
    }
}

#[test]
fn it_is_the_event_of_the_context_that_waits() {
    let mut host = host();
    let lends = host.enter("/lends");
    let uses = host.enter("/uses");
    assert_eq!(host.finished, [uses]);
    host.reply("");
    assert_eq!((host.text(lends).as_deref(), host.finished.len()), (Some("answered"), 1));
    host.reply("");
    assert_eq!(host.finished, [uses, lends]);
}

#[test]
fn it_waits_for_what_was_begun_in_a_section_or_after_one() {
    let mut host = host();
    for path in ["/section", "/after-section", "/after-sync"] {
        let event = host.fetch("x", path);
        assert_eq!(host.text(event).as_deref(), Some("answered"), "{path}");
        assert_ne!(host.finished.last(), Some(&event), "{path}");
        host.reply("");
        assert_eq!(host.finished.last(), Some(&event), "{path}");
    }
}
