//! Code that means harm, or loops: an error for its caller, and nothing for its neighbours.

use std::time::{Duration, Instant};

use objects::{
    engine::id_from_name,
    host::{deployment::InspectError, log::ObjectKey},
    project::{Project, Secret},
    wire::{Inspect, Limits},
};

use crate::{
    Test,
    hosted::{Hosted, Setting, write_project},
};

pub const TESTS: &[Test] = &[
    ("hostile::an_endless_loop_is_stopped", endless_loop),
    ("hostile::a_loop_in_native_code_is_killed_in_time", native_loop),
    ("hostile::memory_is_limited", memory),
    ("hostile::memory_that_sql_takes_is_the_objects", memory_of_sql),
    ("hostile::recursion_is_limited", recursion),
    ("hostile::one_that_never_rests_leaves_the_host_its_say", restless),
    ("hostile::the_outside_is_not_there", outside),
    ("hostile::a_poison_object_hurts_itself_alone", poison),
    ("hostile::a_poison_entry_worker_leaves_objects_alone_and_has_to_wait", poison_entry),
];

const MODULE: &str = r#"
import { DurableObject } from "cloudflare:workers";
export class Good extends DurableObject {
  async fetch() {
    const n = ((await this.ctx.storage.get("n")) ?? 0) + 1;
    this.ctx.storage.put("n", n);
    return new Response(`good ${n}`);
  }
}
const deeds = {
  loop() { for (;;); },
  async promises() { for (;;) await null; },
  native() { return "a".repeat(2e7).indexOf("a".repeat(1e7) + "b"); },
  sort() { for (;;) new Float64Array(2e7).map(() => 1).sort(); },
  async keys() {
    const algorithm = { name: "RSA-OAEP", modulusLength: 4096, publicExponent: new Uint8Array([1, 0, 1]), hash: "SHA-256" };
    // A caught error is no way out.
    for (;;) try { await crypto.subtle.generateKey(algorithm, true, ["encrypt", "decrypt"]); } catch {}
  },
  regex() { return /^(a+)+$/.test("a".repeat(60) + "b"); },
  memory() { const kept = []; for (;;) kept.push(new Uint8Array(1 << 20).fill(1)); },
  strings() { let text = "x"; for (;;) text += text; },
  objects() { const kept = []; for (;;) kept.push({ a: [kept.length] }); },
  recursion() { const down = (n) => down(n + 1) + 1; return down(0); },
  json() { return JSON.parse("[".repeat(1e6) + "]".repeat(1e6)); },
  getter() { const o = {}; Object.defineProperty(o, "a", { get() { return o.a; } }); return o.a; },
  sql() { return this.ctx.storage.sql.exec("WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM t) SELECT count(*) FROM t").one(); },
  sorter() { return this.ctx.storage.sql.exec(numbers + "SELECT i FROM n ORDER BY randomblob(100)").next(); },
  distinct() { return this.ctx.storage.sql.exec(numbers + "SELECT count(DISTINCT randomblob(64)) FROM n").one(); },
  queue() { return this.ctx.storage.sql.exec("WITH RECURSIVE n(i) AS (SELECT randomblob(99) UNION SELECT randomblob(99) FROM n, (VALUES (1), (2))) SELECT count(*) FROM n").one(); },
  transaction() { this.ctx.storage.sql.exec("CREATE TABLE t (a); " + numbers + "INSERT INTO t SELECT randomblob(1000) FROM n"); },
  returning() { this.ctx.storage.sql.exec("CREATE TABLE t (a)"); this.ctx.storage.sql.exec(numbers + "INSERT INTO t SELECT i FROM n RETURNING randomblob(1000)"); },
  statements() {
    const kept = [];
    // A caught error is no way out.
    for (;;) try { kept.push(this.ctx.storage.sql.exec("SELECT randomblob(2e6) UNION ALL SELECT 1")); } catch {}
  },
  timers() { (async () => { for (;;) await scheduler.wait(0); })(); setInterval(() => {}, 0); },
  sections() { (async () => { for (;;) await this.ctx.blockConcurrencyWhile(async () => {}); })(); },
  both() {
    // Half by itself, the rest in the database.
    const kept = new Uint8Array(4 << 20).fill(1);
    this.ctx.storage.sql.exec("CREATE TABLE t (a)");
    for (;;) this.ctx.storage.sql.exec(`INSERT INTO t VALUES (randomblob(${1e6 + kept[0]}))`);
  },
};
const numbers = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) ";
export class Bad extends DurableObject {
  async fetch(request) {
    const deed = new URL(request.url).pathname.split("/")[2];
    const result = await deeds[deed].call(this);
    return new Response(`did ${deed}: ${result}`);
  }
}
export default {
  fetch(request, env) {
    const [, who, deed] = new URL(request.url).pathname.split("/");
    return (who === "good" ? env.Good : env.Bad).getByName(deed ?? "").fetch(request);
  },
};
"#;

const CPU: Duration = Duration::from_millis(300);

fn start() -> (tempfile::TempDir, Hosted) {
    start_with(Limits { cpu_ms: 300, memory_bytes: 64 << 20, ..Limits::default() })
}

fn start_with(limits: Limits) -> (tempfile::TempDir, Hosted) {
    let directory = tempfile::tempdir().expect("a directory");
    write_project(directory.path(), &["Good", "Bad"], MODULE);
    let setting = Setting { limits, ..Setting::default() };
    let hosted = Hosted::start(directory.path(), &directory.path().join("state"), setting);
    assert_eq!(hosted.get("/good"), (200, "good 1".to_owned()));
    (directory, hosted)
}

/// The deed ends in an error, and the neighbour goes on where it was. How long the deed took, and the error.
fn ends_in_an_error(hosted: &Hosted, deed: &str) -> (Duration, String) {
    let (_, before) = hosted.get("/good");
    let begun = Instant::now();
    let (status, text) = hosted.get(&format!("/bad/{deed}"));
    let took = begun.elapsed();
    assert_eq!(status, 500, "{deed}: {text}");
    let (_, after) = hosted.get("/good");
    let number = |text: &str| text.strip_prefix("good ").and_then(|number| number.parse::<u32>().ok());
    assert_eq!(number(&after), number(&before).map(|number| number + 1), "{deed}: the neighbour");
    (took, text)
}

fn endless_loop() {
    let (_kept, hosted) = start();
    let engines = hosted.deployment.engines();
    for deed in ["loop", "promises", "sql", "keys"] {
        let (took, text) = ends_in_an_error(&hosted, deed);
        assert!(took < CPU * 10, "{deed} took {took:?}");
        assert!(text.contains("exceeded its CPU time limit"), "{deed}: {text}");
    }
    assert_eq!(hosted.deployment.engines(), engines, "the engine lives: it heard the interrupt");
}

fn native_loop() {
    let (_kept, hosted) = start();
    for deed in ["native", "sort", "regex"] {
        let (took, _) = ends_in_an_error(&hosted, deed);
        println!("{deed}: answered after {took:?}, the limit is {CPU:?}");
        assert!(took < CPU * 10, "{deed} took {took:?}");
    }
}

fn memory() {
    let (_kept, hosted) = start();
    for deed in ["memory", "strings", "objects"] {
        ends_in_an_error(&hosted, deed);
    }
}

fn memory_of_sql() {
    let (_kept, hosted) = start_with(Limits { memory_bytes: 8 << 20, ..Limits::default() });
    let engines = hosted.deployment.engines();
    for deed in ["sorter", "distinct", "queue", "transaction", "returning", "statements", "both"] {
        let (took, text) = ends_in_an_error(&hosted, deed);
        println!("{deed}: {took:?}");
        assert!(text.contains("exceeded its memory limit"), "{deed}: {text}");
    }
    assert_eq!(hosted.deployment.engines(), engines, "the engine lives: its other objects have noticed nothing");
}

fn recursion() {
    let (_kept, hosted) = start();
    for deed in ["recursion", "json", "getter"] {
        ends_in_an_error(&hosted, deed);
    }
}

/// No turn of theirs is long: neither their limit nor the watchdog has anything to say.
fn restless() {
    let (_kept, hosted) = start();
    let engines = hosted.deployment.engines();
    for (n, deed) in [(2, "timers"), (3, "sections")] {
        assert_eq!(hosted.get(&format!("/bad/{deed}")), (200, format!("did {deed}: undefined")));
        assert_eq!(hosted.get("/good"), (200, format!("good {n}")), "beside {deed}");
    }
    assert_eq!(hosted.deployment.engines(), engines);
}

fn outside() {
    let module = r#"
        export default {
          async fetch() {
            const found = [];
            for (const name of ["process", "require", "Deno", "Bun", "std", "os", "core", "ops", "XMLHttpRequest", "importScripts", "scriptArgs"]) {
              if (name in globalThis) found.push(name);
            }
            for (const name of ["std", "os", "fs", "node:fs", "file:///etc/passwd", "/etc/passwd", "../../../../etc/passwd"]) {
              try { await import(name); found.push("import " + name); } catch {}
            }
            for (const url of ["http://127.0.0.1:22/", "http://169.254.169.254/latest/meta-data/", "http://localhost/", "http://[::1]/",
                "file:///etc/passwd", "http://0.0.0.0/", "http://2130706433/"]) {
              try { await fetch(url); found.push("fetch " + url); } catch {}
            }
            return new Response(JSON.stringify(found));
          },
        };
    "#;
    let directory = tempfile::tempdir().expect("a directory");
    write_project(directory.path(), &[], module);
    let hosted = Hosted::start(directory.path(), &directory.path().join("state"), Setting::default());
    assert_eq!(hosted.get("/"), (200, "[]".to_owned()));
}

/// Kills its engine again and again: it gets an engine of its own, and is given up in the end.
fn poison() {
    let (kept, hosted) = start();
    let mut texts = Vec::new();
    for _ in 0..5 {
        let (status, text) = hosted.get("/bad/native");
        assert_eq!(status, 500);
        texts.push(text);
        assert_eq!(hosted.get("/good").0, 200);
    }
    assert!(texts.iter().any(|text| text.contains("quarantined")), "{texts:?}");
    let engines = hosted.deployment.engines();
    hosted.get("/bad/native");
    let version = Project::read(kept.path()).expect("is read").into_version(1, &Secret::of([7; 32]), Limits::default());
    let bad = version.namespaces.iter().find(|namespace| namespace.class == "Bad").expect("is there");
    let key = ObjectKey { namespace: bad.uid, id: id_from_name(&bad.key, "native").0 };
    let looked =
        hosted.run(hosted.deployment.inspect(key, Inspect::Summary)).expect_err("its code would not run either");
    assert!(matches!(&looked, InspectError::Object(problem) if problem.message.contains("quarantined")), "{looked}");
    assert_eq!(hosted.deployment.engines(), engines, "the neighbours' engine is not touched any more");
}

/// Counts in memory: a life that ended begins anew.
const ENTRY: &str = r#"
import { DurableObject } from "cloudflare:workers";
export class Good extends DurableObject {
  n = 0;
  fetch() { this.n += 1; return new Response(`${this.n}`); }
}
export default {
  fetch(request, env) {
    if (request.method === "POST") "a".repeat(2e7).indexOf("a".repeat(1e7) + "b");
    return env.Good.getByName("one").fetch(request);
  },
};
"#;

fn poison_entry() {
    let directory = tempfile::tempdir().expect("a directory");
    write_project(directory.path(), &["Good"], ENTRY);
    let setting = Setting { limits: Limits { cpu_ms: 100, ..Limits::default() }, ..Setting::default() };
    let hosted = Hosted::start(directory.path(), &directory.path().join("state"), setting);
    assert_eq!(hosted.get("/"), (200, "1".to_owned()));
    assert_eq!(hosted.ask("POST", "/", "").0, 500);
    assert_eq!(hosted.get("/"), (200, "1".to_owned()), "the first death takes along who lives beside it");
    let mut lives = 1;
    for _ in 0..2 {
        assert_eq!(hosted.ask("POST", "/", "").0, 500);
        let (status, text) = hosted.get("/");
        if status == 200 {
            lives += 1;
            assert_eq!(text, lives.to_string(), "later ones do not");
        }
    }
    let (status, text) = hosted.get("/");
    assert!(status == 503 && text.contains("ended its engine 3 times"), "{status} {text}");
    crate::hosted::eventually("it is started again", || hosted.get("/").0 == 200);
    let (status, text) = hosted.get("/");
    assert!(status == 200 && text.parse::<u32>().is_ok_and(|count| count > lives), "{status} {text}");
}
