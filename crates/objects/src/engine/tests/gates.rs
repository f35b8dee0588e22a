//! Input and output gates, coalescing, and the same in a simulation with seeds.

use super::host::{Disk, Host};
use crate::wire::{EventId, EventKind, Inspect};

const GATES: &str = r#"
import { DurableObject } from "cloudflare:workers";
export class Test extends DurableObject {
  constructor(ctx, env) {
    super(ctx, env);
    this.log = [];
    if (ctx.id.name === "slow") {
      ctx.blockConcurrencyWhile(async () => { await fetch("http://outside/config"); this.log.push("ready"); });
      this.log.push("constructed");
    }
  }
  async fetch(request) {
    const { pathname, searchParams } = new URL(request.url);
    const kv = this.ctx.storage.kv, s = this.ctx.storage;
    this.log.push(pathname);
    switch (pathname) {
      case "/log": return new Response(this.log.join(" "));
      case "/put": kv.put("a", searchParams.get("v")); return new Response("put");
      case "/loose": await s.put("a", "loose", { allowUnconfirmed: true }); return new Response("loose");
      case "/many": await s.put("a", 1); await s.put("b", 2); kv.put("c", 3); await s.delete("a"); return new Response("many");
      case "/tell": kv.put("a", "told"); await fetch("http://outside/tell"); return new Response("told");
      case "/split": kv.put("a", 1); await fetch("http://outside/x"); kv.put("a", 2); return new Response("split");
      case "/nothing": await s.delete("none"); return new Response("nothing");
      case "/sync": kv.put("a", 1); await s.sync(); return new Response("synced");
      case "/loose-sync": await s.put("a", "loose", { allowUnconfirmed: true }); await s.sync(); return new Response("synced");
      case "/sync-nothing": {
        const nothing = { delete: () => s.delete("none"), alarm: () => s.deleteAlarm(), all: () => s.deleteAll(),
          table: () => s.sql.exec("CREATE TABLE IF NOT EXISTS t (a)"), update: () => s.sql.exec("UPDATE t SET a = 1") };
        await nothing[searchParams.get("by")](); await s.sync(); return new Response("synced");
      }
      case "/table": s.sql.exec("CREATE TABLE t (a)"); return new Response("table");
      case "/abort": this.ctx.abort(`a is ${kv.get("a")}`);
      case "/block": await this.ctx.blockConcurrencyWhile(async () => {
        this.log.push("in"); await fetch("http://outside/b");
        await this.ctx.blockConcurrencyWhile(async () => { this.log.push("inner"); await fetch("http://outside/c"); });
        this.log.push("out");
      }); return new Response("block");
      case "/transaction": await s.transaction(async (t) => { await t.put("a", "in"); await fetch("http://outside/t"); await t.put("a", "done"); });
        return new Response("transaction");
      case "/get": return new Response(String(await s.get("a")));
      case "/timer": await new Promise((done) => setTimeout(done, 50)); return new Response("timer");
      case "/waituntil": this.ctx.waitUntil(fetch("http://outside/later")); return new Response("first");
      case "/transfer": {
        const n = (kv.get("sum") ?? 0) + 1;
        kv.put("sum", n);
        kv.put("twin", n);
        if (searchParams.has("out")) { await fetch(`http://outside/${this.ctx.id.name}/${n}`); kv.put("told", n); }
        return new Response(String(n));
      }
      case "/sums": return new Response(`${kv.get("sum") ?? 0} ${kv.get("twin") ?? 0}`);
    }
  }
}
export default {};
"#;

fn host() -> Host {
    let host = Host::new(GATES, &["Test"]);
    assert!(matches!(host.loaded, Some(Ok(_))), "{:?}", host.loaded);
    host
}

#[test]
fn nothing_leaves_before_the_write_is_durable() {
    let mut host = host();
    host.disk = Disk::Held;
    let put = host.fetch("x", "/put?v=1");
    let read = host.fetch("x", "/get");
    assert_eq!((host.text(put), host.text(read), host.unsynced()), (None, None, 1));
    host.sync();
    assert_eq!((host.text(put).as_deref(), host.text(read).as_deref()), (Some("put"), Some("1")));
    let tell = host.fetch("x", "/tell");
    assert_eq!(host.left, Vec::<String>::new());
    host.sync();
    assert_eq!(host.left, ["GET http://outside/tell"]);
    host.reply("");
    assert_eq!(host.text(tell).as_deref(), Some("told"));
    let loose = host.fetch("x", "/loose");
    assert_eq!((host.text(loose).as_deref(), host.unsynced()), (Some("loose"), 1));
    let sync = host.fetch("x", "/sync");
    assert_eq!(host.text(sync), None);
    host.sync();
    assert_eq!(host.text(sync).as_deref(), Some("synced"));
    let nothing = host.fetch("x", "/nothing");
    assert_eq!((host.text(nothing).as_deref(), host.unsynced()), (Some("nothing"), 0));
}

#[test]
fn sync_waits_for_what_was_written_and_for_nothing_else() {
    let mut host = host();
    host.get("x", "/table");
    for by in ["delete", "alarm", "table", "update"] {
        assert_eq!(host.get("x", &format!("/sync-nothing?by={by}")), "synced", "{by}");
    }
    assert_eq!(host.get("new", "/sync-nothing?by=all"), "synced");
    host.disk = Disk::Held;
    host.fetch("x", "/put?v=1");
    let nothing = host.fetch("x", "/sync-nothing?by=delete");
    assert_eq!((host.text(nothing), host.unsynced()), (None, 1), "what was written before is waited for");
    host.sync();
    assert_eq!(host.text(nothing).as_deref(), Some("synced"));
    let loose = host.fetch("x", "/loose-sync");
    assert_eq!((host.text(loose), host.unsynced()), (None, 1));
    host.sync();
    assert_eq!(host.text(loose).as_deref(), Some("synced"));
}

#[test]
fn a_commit_that_fails_takes_what_waited_with_it() {
    let mut host = host();
    host.get("x", "/put?v=before");
    host.disk = Disk::Held;
    let put = host.fetch("x", "/put?v=lost");
    let tell = host.fetch("x", "/tell");
    host.fail_commits("x");
    assert!(host.left.is_empty());
    assert_eq!(host.resets.len(), 1);
    assert!(host.text(put).is_none_or(|text| text.contains("disk is full")));
    assert!(host.failure(tell).object_reset);
    host.disk = Disk::AtOnce;
    assert_eq!(host.get("x", "/get"), "before");
}

#[test]
fn why_an_object_ends_is_told_when_what_it_rests_on_is_durable() {
    let mut host = host();
    host.disk = Disk::Held;
    let put = host.fetch("x", "/put?v=unseen");
    let abort = host.fetch("x", "/abort");
    assert_eq!((host.text(put), host.text(abort), host.unsynced()), (None, None, 1));
    host.sync();
    assert_eq!(host.text(put).as_deref(), Some("put"));
    assert_eq!(host.failure(abort).message, "a is unseen");
    assert_eq!(host.get("x", "/get"), "unseen");
}

#[test]
fn a_look_into_storage_shows_what_is_durable() {
    let mut host = host();
    host.disk = Disk::Held;
    let keys = || EventKind::Inspect(Inspect::Kv { start: String::new(), limit: 10 });
    // An error may tell what was read as well.
    let wrong = || EventKind::Inspect(Inspect::Sql { query: "none".to_owned(), limit: 10 });
    let put = host.fetch("x", "/put?v=unseen");
    let looks = [host.deliver("x", keys()), host.deliver("x", wrong())];
    assert_eq!((host.text(put), looks.map(|look| host.text(look)), host.unsynced()), (None, [None, None], 1));
    host.sync();
    assert!(host.text(looks[0]).is_some_and(|text| text.contains("unseen")), "{:?}", host.text(looks[0]));
    assert!(host.text(looks[1]).is_some_and(|text| text.contains("syntax error")), "{:?}", host.text(looks[1]));
    // What is put without waiting for it is shown without waiting, too.
    host.fetch("x", "/loose");
    let look = host.deliver("x", keys());
    assert!(host.text(look).is_some_and(|text| text.contains("loose")), "{:?}", host.text(look));
    assert_eq!(host.unsynced(), 1);
}

#[test]
fn writes_with_nothing_between_them_are_one_commit() {
    let mut host = host();
    assert_eq!(host.get("x", "/many"), "many");
    assert_eq!(host.commit_count, 1);
    let split = host.fetch("x", "/split");
    assert_eq!(host.commit_count, 2);
    host.reply("");
    assert_eq!((host.text(split).as_deref(), host.commit_count), (Some("split"), 3));
}

#[test]
fn events_wait_for_a_block() {
    let mut host = host();
    let block = host.fetch("x", "/block");
    let log = host.fetch("x", "/log");
    assert_eq!(host.left, ["GET http://outside/b"]);
    assert_eq!(host.text(log), None);
    host.reply("");
    assert_eq!(host.left.len(), 2);
    assert_eq!(host.text(log), None);
    host.reply("");
    assert_eq!(host.text(log).as_deref(), Some("/block in inner out /log"));
    assert_eq!(host.text(block).as_deref(), Some("block"));
    let slow = host.fetch("slow", "/log");
    assert_eq!(host.text(slow), None);
    host.reply("");
    assert_eq!(host.text(slow).as_deref(), Some("constructed ready /log"));
}

#[test]
fn a_transaction_is_alone_and_whole() {
    let mut host = host();
    let transaction = host.fetch("x", "/transaction");
    let get = host.fetch("x", "/get");
    assert_eq!((host.text(get), host.commit_count), (None, 0));
    host.reply("");
    assert_eq!(host.text(transaction).as_deref(), Some("transaction"));
    assert_eq!((host.text(get).as_deref(), host.commit_count), (Some("done"), 1));
}

#[test]
fn timers_and_what_is_left_running() {
    let mut host = host();
    let timer = host.fetch("x", "/timer");
    let live = host.live("x").unwrap();
    assert_eq!(host.wake_ms, Some(host.now_ms + 50));
    assert!(!host.quiet.contains(&live));
    host.pass(49);
    assert_eq!(host.text(timer), None);
    host.pass(1);
    assert_eq!(host.text(timer).as_deref(), Some("timer"));
    assert!(host.quiet.contains(&live));
    let event = host.fetch("x", "/waituntil");
    assert_eq!(host.text(event).as_deref(), Some("first"));
    assert!(!host.finished.contains(&event));
    host.reply("");
    assert!(host.finished.contains(&event));
}

const NAMES: [&str; 3] = ["a", "b", "c"];

/// A run of the simulation, and who asked for what.
struct Simulation {
    host: Host,
    seed: u64,
    asked: Vec<(EventId, &'static str)>,
}

impl Simulation {
    /// The numbers that the object answered with.
    fn answered(&self, name: &str) -> Vec<u64> {
        let mine = self.asked.iter().filter(|(_, whose)| *whose == name);
        mine.filter_map(|(event, _)| self.host.text(*event)?.parse().ok()).collect()
    }

    /// The numbers that it showed outside.
    fn shown(&self, name: &str) -> Vec<u64> {
        let prefix = format!("GET http://outside/{name}/");
        self.host.left.iter().filter_map(|line| line.strip_prefix(&prefix)?.parse().ok()).collect()
    }

    /// A life begins with what the database has, which is held against what anybody has seen.
    fn recover(&mut self, name: &str) {
        let sums = self.host.get(name, "/sums");
        let (sum, twin) = sums.split_once(' ').expect("two numbers");
        // I6: what was written with nothing between is there as a whole or not at all.
        assert_eq!(sum, twin, "seed {}: a commit is torn", self.seed);
        let sum: u64 = sum.parse().expect("a number");
        // I1: each answer is another number, and none is above what the database says.
        let mut answered = self.answered(name);
        let count = answered.len();
        answered.sort_unstable();
        answered.dedup();
        assert_eq!(answered.len(), count, "seed {}: a number was given twice", self.seed);
        assert!(answered.iter().all(|n| *n <= sum), "seed {}: an answered write is lost", self.seed);
        // I4: nothing outside shows a number that the database does not have.
        let shown = self.shown(name);
        assert!(shown.iter().all(|n| *n <= sum), "seed {}: {shown:?} were shown, {sum} is there", self.seed);
    }
}

/// Random requests, answers, commits, failures and hibernations on a few objects; returns all that the engine said, and how
/// often an object came back that had shown something.
fn simulate(seed: u64) -> (Vec<u8>, u32) {
    let mut host = Host::with(GATES, &["Test"], crate::wire::Limits::default(), seed);
    host.disk = Disk::Held;
    let mut run = Simulation { host, seed, asked: Vec::new() };
    let mut telling = 0;
    for _ in 0..300 {
        let name = NAMES[run.host.random_below(3) as usize];
        match run.host.random_below(12) {
            0..=4 => run.asked.push((run.host.fetch(name, "/transfer"), name)),
            5 => run.asked.push((run.host.fetch(name, "/transfer?out"), name)),
            6..=8 => {
                run.host.sync_one();
            }
            9 => {
                if !run.host.internet.is_empty() {
                    run.host.reply("");
                }
            }
            10 => {
                if run.host.has_unsynced(name) && run.host.random_below(4) == 0 {
                    telling += u32::from(!run.shown(name).is_empty());
                    run.host.fail_commits(name);
                    run.recover(name);
                }
            }
            _ => run.host.pass(i64::from(run.host.random_below(100))),
        }
    }
    run.host.disk = Disk::AtOnce;
    run.host.sync();
    while !run.host.internet.is_empty() {
        run.host.reply("");
    }
    for name in NAMES {
        if run.host.live(name).is_some() {
            run.host.hibernate(name);
        }
        run.recover(name);
    }
    (run.host.said, telling)
}

#[test]
fn a_simulation_keeps_its_promises_and_is_the_same_again() {
    let mut telling = 0;
    for seed in 0..12 {
        let (said, told) = simulate(seed);
        let (again, _) = simulate(seed);
        let differs = said.iter().zip(&again).position(|(a, b)| a != b);
        assert_eq!((said.len(), None), (again.len(), differs), "seed {seed} is not the same twice");
        telling += told;
    }
    assert!(telling > 4, "objects that had shown something came back {telling} times only");
}
