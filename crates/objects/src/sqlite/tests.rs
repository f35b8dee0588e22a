//! The database over pages that a test keeps as the host would.

use super::connection::Value;
use super::cursor::ExecError;
use super::database::{Committed, Database, Ending, Within};
use super::kv::Range;
use super::pages::{PageError, PageSource};
use crate::meter::Meter;
use crate::wire::{AlarmChange, Limits, PAGE_BYTES, Seq};
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

const MEMORY_BYTES: usize = 32 << 20;

#[derive(Default)]
struct Disk {
    bytes: Vec<u8>,
    reads: u32,
}

struct Source(Rc<RefCell<Disk>>);

impl PageSource for Source {
    fn read(&self, first: u32, count: u32) -> Result<Vec<u8>, PageError> {
        let mut disk = self.0.borrow_mut();
        disk.reads += 1;
        let start = (first as usize - 1) * PAGE_BYTES;
        let mut out = vec![0; count as usize * PAGE_BYTES];
        let have = disk.bytes.len().saturating_sub(start).min(out.len());
        out[..have].copy_from_slice(&disk.bytes[start..start + have]);
        Ok(out)
    }
}

struct Host {
    disk: Rc<RefCell<Disk>>,
    seq: Seq,
    limits: Rc<Limits>,
}

impl Host {
    fn new() -> Self {
        Self { disk: Rc::default(), seq: Seq(0), limits: Rc::new(Limits { cached_pages: 16, ..Limits::default() }) }
    }

    fn open(&self) -> Database {
        let pages = u32::try_from(self.disk.borrow().bytes.len() / PAGE_BYTES).unwrap();
        let source = Box::new(Source(Rc::clone(&self.disk)));
        let memory = Arc::new(Meter::new(MEMORY_BYTES));
        let within = Within { limits: &self.limits, memory: &memory };
        Database::open(source, (pages, self.seq), within, Box::new(|| false)).unwrap()
    }

    /// Applies a commit as the host does; returns the bytes that were in it.
    fn apply(&mut self, database: &Database, committed: Option<Committed>) -> usize {
        let Some(committed) = committed else { return 0 };
        assert_eq!(committed.seq, Seq(self.seq.0 + 1));
        self.seq = committed.seq;
        let mut disk = self.disk.borrow_mut();
        disk.bytes.resize(committed.change.pages as usize * PAGE_BYTES, 0);
        let mut sum = 0;
        for delta in &committed.change.deltas {
            let at = (delta.page as usize - 1) * PAGE_BYTES + usize::from(delta.offset);
            disk.bytes[at..at + delta.bytes.len()].copy_from_slice(&delta.bytes);
            sum += delta.bytes.len();
        }
        drop(disk);
        database.durable(committed.seq);
        sum
    }

    fn turn(&mut self, database: &mut Database) -> usize {
        let committed = database.end_turn().unwrap();
        self.apply(database, committed)
    }
}

fn rows(database: &mut Database, query: &str, bindings: &[Value]) -> Vec<Vec<Value>> {
    let mut cursor = database.exec(query, bindings).unwrap();
    let mut rows = Vec::new();
    while let Some(row) = database.next_row(&mut cursor).unwrap() {
        rows.push(row);
    }
    rows
}

fn get(database: &mut Database, key: &str) -> Option<Vec<u8>> {
    database.kv_get(key, <[u8]>::to_vec).unwrap()
}

#[test]
fn an_increment_changes_few_bytes_and_survives() {
    let mut host = Host::new();
    let mut database = host.open();
    database.kv_put("count", b"0").unwrap();
    assert!(host.turn(&mut database) > 100);
    for n in 1..200_u32 {
        database.kv_put("count", n.to_string().as_bytes()).unwrap();
        let bytes = host.turn(&mut database);
        assert!((1..200).contains(&bytes), "{bytes} bytes in the commit of an increment");
    }
    drop(database);
    let mut database = host.open();
    assert_eq!(get(&mut database, "count").as_deref(), Some(&b"199"[..]));
    assert_eq!(rows(&mut database, "PRAGMA integrity_check", &[]), [[Value::Text("ok".into())]]);
}

#[test]
fn many_pages_under_a_small_cache_are_what_was_written() {
    let mut host = Host::new();
    let mut database = host.open();
    for round in 0..40_u32 {
        for key in 0..20_u32 {
            database.kv_put(&format!("k{:03}", (round * 7 + key * 13) % 200), &vec![round as u8; 3000]).unwrap();
        }
        host.turn(&mut database);
    }
    let before: Vec<_> = database.kv_list(&Range::default(), u64::MAX).unwrap();
    drop(database);
    let mut database = host.open();
    assert_eq!(database.kv_list(&Range::default(), u64::MAX).unwrap(), before);
    assert!(before.len() > 100);
    assert!(database.pages.borrow().held() <= 17);
    assert_eq!(rows(&mut database, "PRAGMA integrity_check", &[]), [[Value::Text("ok".into())]]);
}

#[test]
fn a_transaction_rolls_back_whole_or_in_part() {
    let mut host = Host::new();
    let mut database = host.open();
    database.kv_put("a", b"1").unwrap();
    database.set_alarm(Some(5)).unwrap();
    let committed = database.end_turn().unwrap().unwrap();
    assert_eq!(committed.alarm, AlarmChange::Set { at_ms: 5 });
    host.apply(&database, Some(committed));

    database.begin_explicit().unwrap();
    database.kv_put("a", b"2").unwrap();
    database.set_alarm(None).unwrap();
    assert!(database.end_turn().unwrap().is_none(), "a transaction outlasts the turn");
    database.begin_explicit().unwrap();
    database.kv_put("a", b"3").unwrap();
    assert!(database.end_explicit(Ending::Rollback).unwrap().is_none());
    assert_eq!(get(&mut database, "a").as_deref(), Some(&b"2"[..]));
    assert!(database.end_explicit(Ending::Rollback).unwrap().is_none());
    assert_eq!(get(&mut database, "a").as_deref(), Some(&b"1"[..]));
    assert_eq!(database.alarm().unwrap(), Some(5));

    database.begin_sync().unwrap();
    database.kv_put("b", b"9").unwrap();
    database.end_sync(Ending::Rollback).unwrap();
    database.begin_sync().unwrap();
    database.kv_put("c", b"9").unwrap();
    database.end_sync(Ending::Commit).unwrap();
    host.turn(&mut database);
    drop(database);
    let mut database = host.open();
    assert_eq!(get(&mut database, "b"), None);
    assert_eq!(get(&mut database, "c").as_deref(), Some(&b"9"[..]));
}

#[test]
fn a_large_transaction_that_spills_rolls_back() {
    let mut host = Host::new();
    let mut database = host.open();
    for n in 0..100_u32 {
        database.kv_put(&format!("{n}"), &[1; 4000]).unwrap();
    }
    host.turn(&mut database);
    let before = host.disk.borrow().bytes.clone();
    database.begin_explicit().unwrap();
    for n in 0..200_u32 {
        database.kv_put(&format!("{n}"), &[2; 4000]).unwrap();
    }
    database.end_explicit(Ending::Rollback).unwrap();
    assert_eq!(host.turn(&mut database), 0);
    assert_eq!(get(&mut database, "5"), Some(vec![1; 4000]));
    assert_eq!(get(&mut database, "150"), None);
    database.kv_put("5", b"x").unwrap();
    host.turn(&mut database);
    assert_ne!(host.disk.borrow().bytes, before);
    let mut again = host.open();
    assert_eq!(rows(&mut again, "PRAGMA integrity_check", &[]), [[Value::Text("ok".into())]]);
    assert_eq!(get(&mut again, "6"), Some(vec![1; 4000]));
}

#[test]
fn ranges_of_keys() {
    let mut host = Host::new();
    let mut database = host.open();
    for key in ["a", "ab", "abc", "b", "ba", "é", "\u{10ffff}"] {
        database.kv_put(key, key.as_bytes()).unwrap();
    }
    host.turn(&mut database);
    let mut check = |range: Range, expected: &[&str]| {
        let found: Vec<String> = database.kv_list(&range, u64::MAX).unwrap().into_iter().map(|(key, _)| key).collect();
        assert_eq!(found, expected, "{range:?}");
    };
    let text = |text: &str| Some(text.to_owned());
    check(Range::default(), &["a", "ab", "abc", "b", "ba", "é", "\u{10ffff}"]);
    check(Range { prefix: text("ab"), ..Range::default() }, &["ab", "abc"]);
    check(Range { prefix: text("\u{10ffff}"), ..Range::default() }, &["\u{10ffff}"]);
    check(Range { start: text("ab"), end: text("ba"), ..Range::default() }, &["ab", "abc", "b"]);
    check(Range { start: text("ab"), start_after: true, end: text("ba"), ..Range::default() }, &["abc", "b"]);
    check(Range { reverse: true, limit: Some(2), end: text("b"), ..Range::default() }, &["abc", "ab"]);
    check(Range { prefix: text("a"), start: text("ab"), reverse: true, ..Range::default() }, &["abc", "ab"]);
}

#[test]
fn sql_reads_what_it_wrote_and_counts() {
    let mut host = Host::new();
    let mut database = host.open();
    database.exec("CREATE TABLE t (a INTEGER, b TEXT); INSERT INTO t VALUES (1, 'x'), (2, 'y')", &[]).unwrap();
    let bindings = [Value::Integer(3), Value::Text("z".into())];
    let written = database.exec("INSERT INTO t VALUES (?, ?)", &bindings).unwrap();
    assert_eq!(written.rows_written(), 1);
    let mut cursor = database.exec("SELECT a, b FROM t WHERE a > ?", &[Value::Integer(1)]).unwrap();
    assert_eq!(cursor.columns(), ["a", "b"]);
    let mut seen = Vec::new();
    while let Some(row) = database.next_row(&mut cursor).unwrap() {
        seen.push(row);
    }
    assert_eq!(seen, [[Value::Integer(2), Value::Text("y".into())], [Value::Integer(3), Value::Text("z".into())],]);
    assert_eq!(cursor.rows_read(), 3);
    // A cursor in the middle of its rows holds up no commit.
    let mut open = database.exec("SELECT a FROM t", &[]).unwrap();
    database.next_row(&mut open).unwrap();
    database.exec("INSERT INTO t VALUES (4, 'w') RETURNING a", &[]).unwrap();
    assert!(host.turn(&mut database) > 0);
    assert!(database.next_row(&mut open).unwrap().is_some());
    assert_eq!(
        rows(&mut database, "SELECT round(sqrt(16.0)), json_extract('{\"a\":7}', '$.a')", &[]),
        [[Value::Real(4.0), Value::Integer(7)]]
    );
    database.exec("CREATE VIRTUAL TABLE f USING fts5(body); INSERT INTO f VALUES ('some words')", &[]).unwrap();
    assert_eq!(rows(&mut database, "SELECT count(*) FROM f WHERE f MATCH 'words'", &[]), [[Value::Integer(1)]]);
    database.kv_put("k", b"v").unwrap();
    database.set_alarm(Some(9)).unwrap();
    host.turn(&mut database);
    database.close_cursor(&mut open);
    database.delete_all().unwrap();
    host.turn(&mut database);
    assert_eq!(
        rows(&mut database, "SELECT count(*) FROM sqlite_master WHERE name NOT LIKE 'sqlite_%'", &[]),
        [[Value::Integer(0)]]
    );
    assert_eq!(database.alarm().unwrap(), None);
    assert_eq!(get(&mut database, "k"), None);
}

#[test]
fn what_is_not_the_users_is_refused() {
    let mut host = Host::new();
    let mut database = host.open();
    database.kv_put("k", b"v").unwrap();
    database.set_alarm(Some(9)).unwrap();
    host.turn(&mut database);
    for query in ["BEGIN", " commit", "SAVEPOINT a", "ROLLBACK", "RELEASE a"] {
        assert!(matches!(database.exec(query, &[]), Err(ExecError::TransactionControl)), "{query}");
    }
    for query in [
        "SELECT * FROM _cf_KV",
        "INSERT INTO _CF_kv VALUES ('a', 'b')",
        "CREATE TABLE _cf_x (a)",
        "DROP TABLE _cf_METADATA",
        "CREATE TRIGGER t AFTER INSERT ON _cf_KV BEGIN SELECT 1; END",
        "CREATE VIEW v AS SELECT * FROM _cf_KV; SELECT * FROM v",
        "ATTACH 'other' AS o",
        "PRAGMA journal_mode = DELETE",
        "PRAGMA writable_schema = ON",
        "PRAGMA page_size = 512",
        "VACUUM",
        "VACUUM INTO 'x'",
        "SELECT load_extension('x')",
        "CREATE TEMP TABLE t (a)",
        "CREATE VIRTUAL TABLE r USING rtree(a, b, c)",
        "SELECT * FROM dbstat",
        "UPDATE sqlite_master SET sql = ''",
    ] {
        assert!(database.exec(query, &[]).is_err(), "{query}");
    }
    assert!(matches!(database.exec("SELECT ?", &[]), Err(ExecError::Bindings)));
    assert!(matches!(database.exec(" ; ", &[]), Err(ExecError::NoStatement)));
    assert_eq!(get(&mut database, "k").as_deref(), Some(&b"v"[..]));
}

#[test]
fn a_long_query_ends_at_the_cpu_limit() {
    let limits = Rc::new(Limits::default());
    let source = Box::new(Source(Rc::default()));
    let within = Within { limits: &limits, memory: &Arc::new(Meter::new(MEMORY_BYTES)) };
    let mut database = Database::open(source, (0, Seq(0)), within, Box::new(|| true)).unwrap();
    let query = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT sum(i) FROM n";
    let Err(ExecError::Sql(error)) = database.exec(query, &[]) else { panic!("the query ended") };
    assert!(error.interrupted());
}

/// Each asks for more than there is, in another of SQLite's ways, and gives all of it back.
#[test]
fn memory_has_its_limit() {
    const LITTLE_BYTES: usize = 4 << 20;
    const NUMBERS: &str = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n)";
    let bombs = [
        // A sorter, a table of those seen, a queue of rows, an index made on the way, a materialized table.
        format!("{NUMBERS} SELECT i FROM n ORDER BY hex(i), randomblob(100)"),
        format!("{NUMBERS} SELECT DISTINCT hex(randomblob(100)) FROM n WHERE i < 0 OR i > 0 ORDER BY 1"),
        "WITH RECURSIVE n(i) AS (SELECT randomblob(100) UNION SELECT randomblob(100) FROM n, (VALUES (1), (2))) SELECT count(*) FROM n".to_owned(),
        format!("{NUMBERS} SELECT count(DISTINCT randomblob(64)) FROM n"),
        format!("{NUMBERS} SELECT i, count(*) FROM n GROUP BY randomblob(64)"),
        format!("{NUMBERS}, m AS MATERIALIZED (SELECT randomblob(500) AS b FROM n) SELECT count(*) FROM m"),
        format!("{NUMBERS} SELECT sum(i) OVER (ORDER BY i ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING) FROM n"),
        // Pages of a transaction, and what it is to give back.
        format!("{NUMBERS} INSERT INTO t SELECT randomblob(1000) FROM n"),
        format!("{NUMBERS} INSERT INTO t SELECT i FROM n RETURNING randomblob(1000)"),
    ];
    for bomb in bombs {
        let host = Host::new();
        let memory = Arc::new(Meter::new(LITTLE_BYTES));
        let within = Within { limits: &host.limits, memory: &memory };
        let source = Box::new(Source(Rc::clone(&host.disk)));
        let mut database = Database::open(source, (0, Seq(0)), within, Box::new(|| false)).unwrap();
        database.exec("CREATE TABLE t (a)", &[]).unwrap();
        let Err(ExecError::Sql(error)) = database.exec(&bomb, &[]) else { panic!("{bomb} goes on") };
        assert_eq!(error.name, "SQLITE_NOMEM", "{bomb}: {error}");
        assert!(memory.exceeded(), "{bomb}");
        drop(database);
        assert_eq!(memory.used_bytes(), 0, "{bomb}");
    }
}
