//! Objects from their first event on: storage, SQL, RPC, alarms, limits, errors.

use super::host::{Host, START_MS};
use crate::wire::{EventKind, INSPECTED_BYTES, Inspect, Limits, Problem};

const COUNTER: &str = r#"
import { DurableObject } from "cloudflare:workers";
export class Counter extends DurableObject {
  async fetch(request) {
    const url = new URL(request.url);
    if (url.pathname === "/add") {
      const n = (this.ctx.storage.kv.get("n") ?? 0) + 1;
      this.ctx.storage.kv.put("n", n);
      return new Response(String(n));
    }
    return new Response(`${await this.ctx.storage.get("n")} ${this.ctx.id.name}`);
  }
  async add(by) { const n = ((await this.ctx.storage.get("n")) ?? 0) + by; await this.ctx.storage.put("n", n); return n; }
}
export default {
  async fetch(request, env) {
    const stub = env.COUNTER.getByName("a");
    if (new URL(request.url).pathname === "/rpc") return new Response(`${env.GREETING} ${await stub.add(5)}`);
    return stub.fetch(request);
  },
};
"#;

#[test]
fn a_counter_counts_and_remembers() {
    let mut host = Host::new(COUNTER, &["Counter"]);
    assert_eq!(host.loaded, Some(Ok(vec!["fetch".to_owned()])));
    for n in 1..=5 {
        assert_eq!(host.get("a", "/add"), n.to_string());
    }
    assert_eq!(host.commit_count, 5);
    assert_eq!(host.get("b", "/add"), "1");
    host.hibernate("a");
    assert_eq!(host.get("a", "/"), "5 a");
    assert_eq!(host.live("a").map(|activation| host.quiet.contains(&activation)), Some(true));
}

#[test]
fn the_entry_worker_reaches_objects_by_fetch_and_rpc() {
    let mut host = Host::new(COUNTER, &["Counter"]);
    let event = host.enter("/add");
    assert_eq!(host.text(event).as_deref(), Some("1"));
    let event = host.enter("/rpc");
    assert_eq!(host.text(event).as_deref(), Some("hello 6"));
}

#[test]
fn a_module_that_is_wrong_does_not_load() {
    let check = |source: &str, name: &str, message: &str| {
        let host = Host::new(source, &[]);
        let Some(Err(problem)) = host.loaded else { panic!("{source} loaded") };
        assert_eq!((problem.name.as_str(), problem.message.contains(message)), (name, true), "{problem}");
    };
    check("export default {", "SyntaxError", "");
    check("import './none.js'; export default {};", "Error", "No such module \"./none.js\"");
    check("throw new TypeError('at start');", "TypeError", "at start");
    check("await new Promise(() => {});", "Error", "waits at its top level");
}

fn run(body: &str) -> Host {
    let source = format!(
        "import {{ DurableObject, RpcTarget }} from 'cloudflare:workers';
         export class Test extends DurableObject {{
           async fetch(request) {{
             const s = this.ctx.storage, ctx = this.ctx, out = [];
             const print = (...values) => out.push(values.map((v) => typeof v === 'string' ? v : JSON.stringify(v)).join(' '));
             const fails = async (f) => {{ try {{ await f(); print('did not fail'); }} catch (e) {{ print(e.name + ': ' + e.message); }} }};
             {body}
             return new Response(out.join('\\n'));
           }}
           alarm() {{}}
         }}
         export default {{}};"
    );
    Host::new(&source, &["Test"])
}

#[track_caller]
fn check(body: &str, expected: &str) {
    let mut host = run(body);
    assert_eq!(host.loaded.as_ref().map(Result::is_ok), Some(true), "{:?}", host.loaded);
    let got = host.get("x", "/");
    assert_eq!(got, expected, "console: {:?} resets: {:?}", host.console, host.resets);
}

#[test]
fn keys_and_values() {
    check(
        "await s.put('b', new Map([[1, new Set([2n])]])); await s.put({ a: 1, c: [3], d: undefined });
         const all = await s.list(); print([...all.keys()]);
         const b = await s.get('b'); print(b instanceof Map, b.get(1).has(2n));
         print([...await s.get(['c', 'zz', 'a'])]);
         print([...(await s.list({ reverse: true, limit: 2 })).keys()], [...(await s.list({ start: 'b', end: 'c' })).keys()],
           [...(await s.list({ startAfter: 'a' })).keys()], [...(await s.list({ prefix: 'c' })).keys()]);
         print(await s.delete('a'), await s.delete('a'), await s.delete(['b', 'zz']), await s.get('a') === undefined);
         await fails(() => s.put('u', undefined)); await fails(() => s.put('f', () => 1));
         await fails(() => s.get(Array.from({ length: 129 }, (_, i) => 'k' + i)));
         s.kv.put('k', { x: 1 }); print(s.kv.get('k'), s.kv.delete('k'), s.kv.get('k') === undefined, [...s.kv.list()]);
         await s.setAlarm(Date.now() + 1000); await s.deleteAll(); print((await s.list()).size, await s.getAlarm());",
        "[\"a\",\"b\",\"c\"]\ntrue true\n[[\"a\",1],[\"c\",[3]]]\n[\"c\",\"b\"] [\"b\"] [\"b\",\"c\"] [\"c\"]\ntrue false 1 true\n\
         TypeError: put() called with undefined value.\nDataCloneError: () => 1 could not be cloned.\n\
         RangeError: Maximum number of keys is 128.\n{\"x\":1} true true [[\"c\",[3]]]\n0 null",
    );
}

#[test]
fn transactions_roll_back() {
    check(
        "await s.put('a', 1);
         await fails(() => s.transaction(async (t) => { await t.put('a', 2); throw new RangeError('no'); }));
         print(await s.get('a'));
         print(await s.transaction(async (t) => { await t.put('a', 3); return 'done'; }), await s.get('a'));
         await s.transaction(async (t) => { await t.put('a', 4); t.rollback(); }); print(await s.get('a'));
         await fails(() => s.transactionSync(() => { s.kv.put('a', 5); throw new Error('sync'); }));
         print(await s.get('a'), s.transactionSync(() => { s.kv.put('a', 6); return 7; }), s.kv.get('a'));",
        "RangeError: no\n1\ndone 3\n3\nError: sync\n3 7 6",
    );
}

#[test]
fn sql_has_the_whole_cursor() {
    check(
        "const q = (...a) => s.sql.exec(...a);
         q('CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT, b BLOB); INSERT INTO t VALUES (1, ?, ?)', 'x', new Uint8Array([1, 2]));
         q('INSERT INTO t VALUES (2, ?, NULL)', 'y');
         const c = q('SELECT id, v FROM t ORDER BY id'); print(c.columnNames, c.next(), c.toArray(), c.next());
         print(q('SELECT v FROM t WHERE id = ?', 1).one(), [...q('SELECT id FROM t').raw()], q('SELECT b FROM t WHERE id = 1').one().b.byteLength);
         for (const row of q('SELECT id FROM t ORDER BY id DESC')) print(row);
         await fails(() => q('SELECT 1 WHERE 0').one()); await fails(() => q('SELECT * FROM t').one());
         await fails(() => q('SELEC')); await fails(() => q('SELECT ?')); await fails(() => q('BEGIN'));
         await fails(() => q('SELECT * FROM _cf_KV')); await fails(() => q(\"INSERT INTO t VALUES (1, 'z', NULL)\"));
         const w = q('UPDATE t SET v = 1'); print(w.rowsWritten, s.sql.databaseSize > 4096);",
        "[\"id\",\"v\"] {\"done\":false,\"value\":{\"id\":1,\"v\":\"x\"}} [{\"id\":2,\"v\":\"y\"}] {\"done\":true}\n\
         {\"v\":\"x\"} [[1],[2]] 2\n{\"id\":2}\n{\"id\":1}\n\
         Error: Expected exactly one result from SQL query, but got no results.\n\
         Error: Expected exactly one result from SQL query, but got multiple results.\n\
         Error: near \"SELEC\": syntax error at offset 0: SQLITE_ERROR\nError: Wrong number of parameter bindings for SQL query.\n\
         Error: To execute a transaction, please use the state.storage.transaction() or state.storage.transactionSync() APIs instead of the SQL BEGIN TRANSACTION or SAVEPOINT statements. The JavaScript API is safer because it will automatically roll back on exceptions, and because it interacts correctly with Durable Objects' automatic atomic write coalescing.\n\
         Error: no such table: _cf_KV: SQLITE_ERROR\nError: UNIQUE constraint failed: t.id: SQLITE_CONSTRAINT (extended: SQLITE_CONSTRAINT_PRIMARYKEY)\n2 true",
    );
}

#[test]
fn a_cursor_that_nobody_reads_is_not_kept() {
    check(
        "const q = (...a) => s.sql.exec(...a);
         q('CREATE TABLE t (id INTEGER PRIMARY KEY)');
         for (let i = 0; i < 1200; i++) q('INSERT INTO t VALUES (?)', i);
         const none = []; for (let i = 0; i < 1200; i++) none.push(q('SELECT id FROM t WHERE id < 0'));
         let sum = 0;
         for (let i = 0; i < 1200; i++) sum += q('SELECT id FROM t').next().value.id;
         for (let i = 0; i < 1200; i++) for (const { id } of q('SELECT id FROM t WHERE id > 0')) { sum += id; break; }
         for (let i = 0; i < 1200; i++) sum += q('SELECT id FROM t').raw().next().value[0];
         const w = q('UPDATE t SET id = id + 10000'), r = q('SELECT id FROM t LIMIT 2').raw();
         print(sum, w.rowsWritten, w.next(), w.columnNames, r.next().value, r.toArray());
         q('DROP TABLE t');
         const kept = []; await fails(() => { for (;;) kept.push(q('SELECT 1')); }); print(kept.length);",
        "1200 1200 {\"done\":true} [] [10000] [[10001]]\nError: more than 1000 cursors are open\n1000",
    );
}

const ALARMS: &str = r#"
export class Test {
  constructor(ctx) { this.ctx = ctx; }
  async fetch(request) {
    const at = Number(new URL(request.url).searchParams.get("at"));
    if (at) await this.ctx.storage.setAlarm(at);
    return new Response(JSON.stringify([await this.ctx.storage.getAlarm(), this.ctx.storage.kv.get("runs") ?? 0]));
  }
  async alarm(info) {
    const kv = this.ctx.storage.kv;
    if (!info.isRetry && kv.get("runs") === 1) throw new Error("try again");
    kv.put("runs", (kv.get("runs") ?? 0) + 1);
    console.log(info.retryCount, info.scheduledTime, await this.ctx.storage.getAlarm());
    if (kv.get("runs") === 2) await this.ctx.storage.setAlarm(info.scheduledTime + 50);
  }
}
export default {};
"#;

#[test]
fn an_alarm_runs_when_the_database_says() {
    let mut host = Host::new(ALARMS, &["Test"]);
    let at = START_MS + 100;
    assert_eq!(host.get("x", &format!("/?at={at}")), format!("[{at},0]"));
    assert_eq!(host.alarm("x"), Some(at));
    let early = host.deliver("x", EventKind::Alarm { scheduled_ms: at, retry: 0 });
    assert_eq!(host.text(early).unwrap(), format!("NotDue {{ at_ms: Some({at}) }}"));
    host.pass(100);
    let first = host.deliver("x", EventKind::Alarm { scheduled_ms: at, retry: 0 });
    assert_eq!(host.text(first).unwrap(), "Done", "{:?}", host.console);
    assert_eq!((host.alarm("x"), host.console.clone()), (None, vec![format!("Log 0 {at} null")]));
    host.get("x", &format!("/?at={}", at + 1));
    host.pass(1);
    let failing = host.deliver("x", EventKind::Alarm { scheduled_ms: at + 1, retry: 0 });
    assert!(host.text(failing).unwrap().contains("try again"));
    assert_eq!(host.alarm("x"), Some(at + 1), "a failed alarm stays");
    let retry = host.deliver("x", EventKind::Alarm { scheduled_ms: at + 1, retry: 1 });
    assert_eq!(host.text(retry).unwrap(), "Done");
    assert_eq!(host.alarm("x"), Some(at + 51), "what the handler set stays");
}

const FAULTY: &str = r#"
import { DurableObject } from "cloudflare:workers";
class Special extends Error { constructor(m) { super(m); this.name = "Special"; this.code = 42; } }
export class Test extends DurableObject {
  constructor(ctx, env) { super(ctx, env); this.life = Math.random(); if (ctx.id.name === "bad") throw new Error("in constructor"); }
  async fetch(request) {
    const path = new URL(request.url).pathname;
    if (path === "/loop") for (;;);
    if (path === "/memory") { const all = []; for (;;) all.push(new Array(1000).fill(all.length)); }
    if (path === "/deep") { const f = () => f() + 1; f(); }
    if (path === "/sql") this.ctx.storage.sql.exec("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT sum(i) FROM n");
    if (path === "/abort") { this.ctx.storage.kv.put("n", 1); this.ctx.abort("stop"); }
    if (path === "/block") await this.ctx.blockConcurrencyWhile(async () => { throw new RangeError("in block"); });
    if (path === "/forever") await this.ctx.blockConcurrencyWhile(() => new Promise(() => {}));
    if (path === "/wait") await fetch("http://outside/");
    if (path === "/none") return 5;
    if (path === "/headers") return new Response("", { headers: { a: "x".repeat(1 << 20) } });
    if (path === "/message") throw new Error("x".repeat(1 << 20));
    if (path === "/reject") { Promise.reject(new Error("nobody")); }
    return new Response(`${this.life} ${this.ctx.storage.kv.get("n")}`);
  }
  fail() { throw new Special("remote"); }
  get own() { return 7; }
}
export default {
  async fetch(request, env) {
    const stub = env.TEST.getByName("x");
    try { await stub[new URL(request.url).pathname.slice(1)](); } catch (e) {
      return new Response(JSON.stringify([e instanceof Error, e.name, e.message, e.code, e.remote, e.durableObjectReset]));
    }
    return new Response(`fine ${await stub.own}`);
  },
};
"#;

fn faulty(memory_bytes: u64) -> Host {
    Host::with(FAULTY, &["Test"], Limits { cpu_ms: 20, memory_bytes, ..Limits::default() }, 7)
}

#[track_caller]
fn resets(path: &str, message: &str) {
    let mut host = faulty(16 << 20);
    let before = host.get("x", "/");
    let waiting = host.fetch("x", "/wait");
    let event = host.fetch("x", path);
    host.pass(30_000);
    let problem = host.failure(event);
    assert!(problem.message.contains(message), "{problem}");
    assert!(problem.object_reset, "{problem:?}");
    assert_eq!(host.failure(waiting).message, problem.message, "those in flight get the error");
    assert_eq!(host.resets.len(), 1);
    let after = host.get("x", "/");
    assert_ne!(before, after);
    assert!(after.ends_with("undefined"), "nothing uncommitted stays: {after}");
    for event in [waiting, event] {
        assert_eq!(host.finished.iter().filter(|finished| **finished == event).count(), 1);
    }
}

#[test]
fn what_goes_too_far_resets_the_object() {
    resets("/loop", "CPU time limit");
    resets("/sql", "CPU time limit");
    resets("/abort", "stop");
    resets("/block", "in block");
    resets("/forever", "waited for too long");
}

#[test]
fn memory_has_a_limit() {
    resets("/memory", "memory limit");
}

#[test]
fn errors_keep_what_they_were() {
    let mut host = faulty(128 << 20);
    let deep = host.fetch("x", "/deep");
    assert_eq!(host.failure(deep).name, "RangeError");
    let long = host.fetch("y", "/headers");
    assert!(host.failure(long).message.contains("longer than"), "{}", host.failure(long).message.len());
    let long = host.fetch("z", "/message");
    assert_eq!(host.failure(long).message.len(), 64 << 10);
    let none = host.fetch("x", "/none");
    assert!(host.failure(none).message.contains("did not resolve to 'Response'"));
    assert!(host.get("x", "/reject").ends_with("undefined"));
    assert_eq!(host.resets, Vec::<Problem>::new());
    let bad = host.fetch("bad", "/");
    assert_eq!(host.failure(bad).message, "in constructor");
    let event = host.enter("/fail");
    assert_eq!(host.text(event).unwrap(), r#"[true,"Special","remote",42,true,null]"#);
    let event = host.enter("/none");
    assert!(host.text(event).unwrap().contains("does not implement"), "{:?}", host.text(event));
}

#[test]
fn storage_can_be_looked_into() {
    let mut host = Host::new(COUNTER, &["Counter"]);
    host.get("a", "/add");
    let look = |host: &mut Host, what| {
        let event = host.deliver("a", EventKind::Inspect(what));
        host.text(event).unwrap()
    };
    let kv = look(&mut host, Inspect::Kv { start: String::new(), limit: 10 });
    assert!(kv.contains("\"key\":\"n\""), "{kv}");
    let sql = look(&mut host, Inspect::Sql { query: "SELECT 1 AS one, 'x'".into(), limit: 10 });
    assert_eq!(sql, r#"{"columns":["one","'x'"],"more":false,"rows":[[1,"x"]]}"#);
    assert!(
        look(&mut host, Inspect::Sql { query: "CREATE TABLE t (a)".into(), limit: 10 })
            .contains("only statements that read")
    );
    assert!(look(&mut host, Inspect::Summary).contains("\"alarm\":null"));
}

/// What a look finds, which no answer is too short for.
fn found(host: &mut Host, what: Inspect) -> serde_json::Value {
    let event = host.deliver("a", EventKind::Inspect(what));
    let text = host.text(event).unwrap();
    assert!(text.len() <= INSPECTED_BYTES, "{} bytes", text.len());
    serde_json::from_str(&text).unwrap()
}

/// In JSON its keys are six times as long.
const LONG_KEYS: &str = r#"
import { DurableObject } from "cloudflare:workers";
export class Long extends DurableObject {
  fetch() {
    for (let n = 100; n < 600; n++) this.ctx.storage.kv.put(`${n}${"\u0001".repeat(2000)}`, "x");
    return new Response("put");
  }
}
export default {};
"#;

#[test]
fn a_look_at_keys_says_where_to_go_on_when_it_has_no_room() {
    let mut host = Host::new(LONG_KEYS, &["Long"]);
    assert_eq!(host.get("a", "/"), "put");
    let mut seen: Vec<u32> = Vec::new();
    let mut start = String::new();
    loop {
        let mut page = found(&mut host, Inspect::Kv { start, limit: 500 });
        let keys = page["items"].as_array().unwrap().iter().map(|item| item["key"].as_str().unwrap());
        seen.extend(keys.map(|key| key[..3].parse::<u32>().unwrap()));
        let serde_json::Value::String(next) = page["next_start"].take() else { break };
        start = next;
    }
    assert!(seen.iter().copied().eq(100..600), "{seen:?}");
}

#[test]
fn a_look_by_sql_says_that_there_are_more_rows_than_have_room() {
    let mut host = Host::new(COUNTER, &["Counter"]);
    // A thousand of these are a little longer than an answer, by what stands between them alone.
    let (wide, name) = ("x".repeat(1024), "n".repeat(80_000));
    let rows = format!(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 1000) \
         SELECT i, t, t, t, t, '{}' FROM n, (SELECT '{wide}' AS t)",
        "x".repeat(78)
    );
    for query in [rows.clone(), rows.replacen("SELECT i,", &format!("SELECT i AS {name},"), 1)] {
        let found = found(&mut host, Inspect::Sql { query, limit: 1_000 });
        let shown = found["rows"].as_array().unwrap().len();
        assert!(shown > 500 && shown < 1_000, "{shown} rows");
        assert!(found["columns"][0].as_str().unwrap().len() <= 1024);
        assert_eq!(found["more"], true);
    }
    for (limit, more) in [(9, true), (10, false), (11, false)] {
        let found = found(&mut host, Inspect::Sql { query: format!("{rows} LIMIT 10"), limit });
        assert_eq!((found["rows"].as_array().unwrap().len(), &found["more"]), (limit.min(10) as usize, &more.into()));
    }
}

/// What a stub has of its own is made when something looks at it: whatever that is must find it.
const LOOKS: &str = r#"
import { DurableObject } from "cloudflare:workers";
export class Counter extends DurableObject {}
const looks = {
  keys: (stub) => Object.keys(stub),
  descriptor: (stub) => Object.getOwnPropertyDescriptor(stub, "name"),
  id: (stub) => [stub.id.name, stub.id === stub.id],
  define: (stub) => [Reflect.defineProperty(stub, "name", { value: 1 }), stub.name],
  remove: (stub) => [delete stub.name, Object.keys(stub)],
  set: (stub) => [Reflect.set(stub, "name", "other"), stub.name],
  freeze: (stub) => [Object.isFrozen(Object.freeze(stub)), stub.name],
};
export default {
  fetch(request, env) {
    const said = [];
    for (const [name, look] of Object.entries(looks)) said.push(`${name} ${JSON.stringify(look(env.COUNTER.getByName("a")))}`);
    return new Response(said.join("\n"));
  },
};
"#;

#[test]
fn a_stub_has_its_name_and_id_whatever_looks_first() {
    let mut host = Host::new(LOOKS, &["Counter"]);
    let event = host.enter("/");
    let expected = r#"keys ["name","id"]
descriptor {"value":"a","writable":false,"enumerable":true,"configurable":true}
id ["a",true]
define [true,1]
remove [true,["id"]]
set [false,"a"]
freeze [true,"a"]"#;
    assert_eq!(host.text(event).as_deref(), Some(expected));
}

/// A text body is a string until somebody asks for more than that.
const BODIES: &str = r#"
const looks = {
  used: async (message) => [message.bodyUsed, await message.text(), message.bodyUsed],
  twice: async (message) => { await message.text(); try { return await message.text(); } catch (error) { return error.name; } },
  clone: async (message) => { const copy = message.clone(); return [await message.text(), await copy.text()]; },
  stream: async (message) => { const { value } = await message.body.getReader().read(); return new TextDecoder().decode(value); },
  bytes: async (message) => (await message.bytes()).length,
  moved: async (message) => {
    if (message instanceof Response) return "none";
    const copy = new Request(message);
    return [message.bodyUsed, await copy.text()];
  },
};
export default {
  async fetch() {
    const said = [];
    for (const [name, look] of Object.entries(looks)) {
      const response = await look(new Response("body"));
      const request = await look(new Request("http://a/", { method: "POST", body: "body" }));
      said.push(`${name} ${JSON.stringify([response, request])}`);
    }
    const response = new Response(said.join("\n"));
    globalThis.last?.text().catch(() => {});
    globalThis.last = response;
    return response;
  },
};
"#;

#[test]
fn a_text_body_is_all_that_a_body_is() {
    let mut host = Host::new(BODIES, &[]);
    let expected = r#"used [[false,"body",true],[false,"body",true]]
twice ["TypeError","TypeError"]
clone [["body","body"],["body","body"]]
stream ["body","body"]
bytes [4,4]
moved ["none",[true,"body"]]"#;
    for _ in 0..2 {
        let event = host.enter("/");
        assert_eq!(host.text(event).as_deref(), Some(expected));
    }
}

/// Accessors where what is not there yet will be: of our scripts and operations, as they are first used.
const TRAPS: &str = r#"
import { DurableObject } from "cloudflare:workers";
const seen = [];
const names = ["exported", "rpcAllowed", "section", "eventTime", "limits", "digest", "digester", "hmacSign", "multipart", "compressor"];
for (const name of names) {
  Object.defineProperty(Object.prototype, name, {
    configurable: true,
    get() { seen.push(`read ${name}`); },
    set(value) { seen.push(name); Object.defineProperty(this, name, { value, writable: true, configurable: true }); },
  });
}
export class Test extends DurableObject {
  async fetch() {
    await this.ctx.blockConcurrencyWhile(async () => {});
    const { byteLength } = await crypto.subtle.digest("SHA-256", new Uint8Array(1));
    const form = new FormData();
    form.set("a", "b");
    const sent = await new Response(form).formData();
    const packed = await new Response(new Blob(["text"]).stream().pipeThrough(new CompressionStream("gzip"))).bytes();
    return new Response(`${byteLength} ${sent.get("a")} ${packed[0]} ${seen}`);
  }
}
export default {};
"#;

#[test]
fn what_code_puts_on_every_object_is_not_on_ours() {
    let mut host = Host::new(TRAPS, &["Test"]);
    assert_eq!(host.get("x", "/"), "32 b 31 ");
}
