//! One object's database: transactions, the alarm, and what leaves as commits.

use super::connection::{Connection, SqlError, Statement, Value};
use super::cursor::{ExecError, Statements};
use super::kv::KvStatements;
use super::pages::{Change, PageLimits, PageSource, Pages};
use crate::meter::Meter;
use crate::wire::{AlarmChange, Limits, PAGE_BYTES, Seq};
use rusqlite::ffi;
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

const ALARM_KEY: i64 = 1;

/// What the open transaction is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Transaction {
    None,
    /// Begun by the turn's first write, over when the turn is.
    Implicit,
    /// `storage.transaction`, which lasts over turns; so many deep.
    Explicit {
        depth: u32,
    },
}

/// A transaction that left.
pub(crate) struct Committed {
    pub seq: Seq,
    pub change: Change,
    pub alarm: AlarmChange,
}

/// What a database may take.
#[derive(Clone, Copy)]
pub(crate) struct Within<'a> {
    pub limits: &'a Limits,
    pub memory: &'a Arc<Meter>,
}

/// How a `storage.transaction` ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    Commit,
    Rollback,
}

pub(crate) struct Database {
    pub(super) connection: Connection,
    pub(super) pages: Rc<RefCell<Pages>>,
    pub(super) kv: Option<KvStatements>,
    pub(super) statements: Statements,
    begin: Statement,
    commit: Statement,
    rollback: Statement,
    transaction: Transaction,
    sync_depth: u32,
    /// Code has run statements of its own: what those leave in the connection beside the data is theirs to keep.
    pub(super) uses_sql: bool,
    seq: Seq,
    /// As the database says now and as of the last commit; `None` where it has not been asked since.
    alarm: Option<Option<i64>>,
    alarm_committed: Option<i64>,
}

impl Database {
    /// `over` says whether the object has used up its CPU time.
    pub(crate) fn open(
        source: Box<dyn PageSource>,
        (pages, seq): (u32, Seq),
        within: Within<'_>,
        over: Box<dyn Fn() -> bool>,
    ) -> Result<Self, SqlError> {
        let Within { limits, memory } = within;
        let dirty = usize::try_from(limits.memory_bytes).unwrap_or(usize::MAX) / PAGE_BYTES;
        let page_limits = PageLimits { cached: limits.cached_pages as usize, dirty };
        let pages = Rc::new(RefCell::new(Pages::new(source, pages, seq, page_limits, memory)));
        let connection = Connection::open(Rc::clone(&pages), within, over)?;
        let most = limits.database_bytes / PAGE_BYTES as u64;
        connection.run(&format!(
            "PRAGMA page_size = {PAGE_BYTES}; PRAGMA journal_mode = MEMORY; PRAGMA synchronous = OFF; \
             PRAGMA locking_mode = EXCLUSIVE; PRAGMA temp_store = MEMORY; PRAGMA cache_size = {}; \
             PRAGMA max_page_count = {most}; PRAGMA foreign_keys = ON;",
            limits.cached_pages,
        ))?;
        let begin = connection.prepare_one("BEGIN IMMEDIATE")?;
        let commit = connection.prepare_one("COMMIT")?;
        let rollback = connection.prepare_one("ROLLBACK")?;
        connection.distrust();
        let mut database = Self {
            connection,
            pages,
            kv: None,
            statements: Statements::default(),
            begin,
            commit,
            rollback,
            transaction: Transaction::None,
            sync_depth: 0,
            uses_sql: false,
            seq,
            alarm: None,
            alarm_committed: None,
        };
        database.alarm_committed = database.alarm()?;
        Ok(database)
    }

    /// Number of the commit that the next write will be in.
    pub(crate) fn next_seq(&self) -> Seq {
        Seq(self.seq.0 + 1)
    }

    /// Whether a write now is part of a `storage.transaction`, which leaves when that does.
    pub(crate) fn in_explicit(&self) -> bool {
        matches!(self.transaction, Transaction::Explicit { .. })
    }

    /// Whether a transaction is open.
    pub(crate) fn has_written(&self) -> bool {
        self.transaction != Transaction::None
    }

    pub(crate) fn durable(&self, seq: Seq) {
        self.pages.borrow_mut().durable(seq);
    }

    /// Gives back the memory that an idle object can do without.
    pub(crate) fn rest(&mut self) {
        self.statements.clear();
        self.connection.release_memory();
        self.pages.borrow_mut().rest();
    }

    /// How many pages it has, if nothing would be lost by closing it.
    pub(crate) fn may_close(&self) -> Option<u32> {
        let idle = !self.uses_sql && self.transaction == Transaction::None && self.sync_depth == 0;
        let pages = self.pages.borrow();
        (idle && pages.is_at_rest()).then(|| pages.count())
    }

    /// What comes before every write.
    pub(super) fn before_write(&mut self) -> Result<(), SqlError> {
        match self.transaction {
            Transaction::Implicit | Transaction::Explicit { .. } => Ok(()),
            Transaction::None => {
                run_once(&self.connection, &mut self.begin)?;
                self.transaction = Transaction::Implicit;
                Ok(())
            }
        }
    }

    /// The turn is over: what it wrote leaves as one commit. After an error nothing of it is left.
    pub(crate) fn end_turn(&mut self) -> Result<Option<Committed>, SqlError> {
        match self.transaction {
            Transaction::None | Transaction::Explicit { .. } => Ok(None),
            Transaction::Implicit => self.commit(),
        }
    }

    fn commit(&mut self) -> Result<Option<Committed>, SqlError> {
        self.transaction = Transaction::None;
        if self.connection.is_outside_transaction() {
            self.undo()?;
            return Err(SqlError::no_room());
        }
        if let Err(error) = run_once(&self.connection, &mut self.commit) {
            self.undo()?;
            return Err(error);
        }
        let alarm = self.alarm()?;
        let seq = self.next_seq();
        let Some(change) = self.pages.borrow_mut().take_change(seq) else { return Ok(None) };
        self.seq = seq;
        let alarm_change = match alarm {
            same if same == self.alarm_committed => AlarmChange::Unchanged,
            Some(at_ms) => AlarmChange::Set { at_ms },
            None => AlarmChange::Cleared,
        };
        self.alarm_committed = alarm;
        Ok(Some(Committed { seq, change, alarm: alarm_change }))
    }

    /// Rolls back whatever is open.
    fn undo(&mut self) -> Result<(), SqlError> {
        self.transaction = Transaction::None;
        let undone = run_once(&self.connection, &mut self.rollback);
        self.pages.borrow_mut().discard();
        self.forget();
        // SQLite may have rolled back by itself, and then says that no transaction is open.
        match undone {
            Err(error) if error.code & 0xff != ffi::SQLITE_ERROR => Err(error),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// What is remembered of the database may be wrong.
    fn forget(&mut self) {
        self.alarm = None;
        self.kv = None;
    }

    /// Begins a `storage.transaction`, or one within it.
    pub(crate) fn begin_explicit(&mut self) -> Result<(), SqlError> {
        self.transaction = match self.transaction {
            Transaction::None => {
                run_once(&self.connection, &mut self.begin)?;
                Transaction::Explicit { depth: 1 }
            }
            // Sections start in turns of their own, in which nothing was written before.
            Transaction::Implicit => return Err(SqlError::of_code(ffi::SQLITE_MISUSE)),
            Transaction::Explicit { depth } => {
                let _trust = self.connection.trust();
                self.connection.run(&format!("SAVEPOINT _cf_transaction_{depth}"))?;
                Transaction::Explicit { depth: depth + 1 }
            }
        };
        Ok(())
    }

    /// Ends the innermost; the outermost leaves as a commit.
    pub(crate) fn end_explicit(&mut self, ending: Ending) -> Result<Option<Committed>, SqlError> {
        let Transaction::Explicit { depth } = self.transaction else {
            return Err(SqlError::of_code(ffi::SQLITE_MISUSE));
        };
        if depth == 1 {
            return match ending {
                Ending::Commit => self.commit(),
                Ending::Rollback => self.undo().map(|()| None),
            };
        }
        let inner = depth - 1;
        self.transaction = Transaction::Explicit { depth: inner };
        self.end_savepoint(&format!("_cf_transaction_{inner}"), ending)?;
        Ok(None)
    }

    fn end_savepoint(&mut self, name: &str, ending: Ending) -> Result<(), SqlError> {
        let _trust = self.connection.trust();
        if ending == Ending::Rollback {
            self.connection.run(&format!("ROLLBACK TO {name}"))?;
        }
        self.connection.run(&format!("RELEASE {name}"))?;
        if ending == Ending::Rollback {
            self.alarm = None;
            self.kv = None;
        }
        Ok(())
    }

    /// Begins a `storage.transactionSync`.
    pub(crate) fn begin_sync(&mut self) -> Result<(), SqlError> {
        self.before_write()?;
        let _trust = self.connection.trust();
        self.connection.run(&format!("SAVEPOINT _cf_sync_{}", self.sync_depth))?;
        self.sync_depth += 1;
        Ok(())
    }

    pub(crate) fn end_sync(&mut self, ending: Ending) -> Result<(), SqlError> {
        let Some(depth) = self.sync_depth.checked_sub(1) else { return Err(SqlError::of_code(ffi::SQLITE_MISUSE)) };
        self.sync_depth = depth;
        self.end_savepoint(&format!("_cf_sync_{depth}"), ending)
    }

    /// When the alarm is set for, Unix milliseconds.
    pub(crate) fn alarm(&mut self) -> Result<Option<i64>, SqlError> {
        if let Some(alarm) = self.alarm {
            return Ok(alarm);
        }
        let _trust = self.connection.trust();
        let there = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = '_cf_METADATA'";
        let alarm = if self.connection.prepare_one(there)?.step()? {
            let mut get = self.connection.prepare_one("SELECT value FROM _cf_METADATA WHERE key = ?")?;
            get.bind_integer(1, ALARM_KEY)?;
            if get.step()? { get.integer(0) } else { None }
        } else {
            None
        };
        self.alarm = Some(alarm);
        Ok(alarm)
    }

    pub(crate) fn set_alarm(&mut self, at_ms: Option<i64>) -> Result<(), SqlError> {
        if self.alarm()? == at_ms {
            return Ok(());
        }
        self.before_write()?;
        let _trust = self.connection.trust();
        self.connection.run("CREATE TABLE IF NOT EXISTS _cf_METADATA (key INTEGER PRIMARY KEY, value BLOB)")?;
        let mut set = match at_ms {
            Some(at_ms) => {
                let mut set = self.connection.prepare_one("INSERT OR REPLACE INTO _cf_METADATA VALUES (?, ?)")?;
                set.bind_integer(2, at_ms)?;
                set
            }
            None => self.connection.prepare_one("DELETE FROM _cf_METADATA WHERE key = ?")?,
        };
        set.bind_integer(1, ALARM_KEY)?;
        while set.step()? {}
        self.alarm = Some(at_ms);
        Ok(())
    }

    /// Tables of users and ours, the alarm with them; part of the open transaction as any write.
    pub(crate) fn delete_all(&mut self) -> Result<(), SqlError> {
        self.before_write()?;
        self.statements.clear();
        self.forget();
        let _trust = self.connection.trust();
        self.connection.run("PRAGMA defer_foreign_keys = ON")?;
        // A virtual table takes its shadow tables with it, so each round asks what is left.
        let next = "SELECT type, name FROM sqlite_master WHERE name NOT LIKE 'sqlite\\_%' ESCAPE '\\' \
                    AND type IN ('table', 'view') ORDER BY sql NOT LIKE 'CREATE VIRTUAL%' LIMIT 1";
        loop {
            let mut find = self.connection.prepare_one(next)?;
            if !find.step()? {
                return Ok(());
            }
            let (kind, name) = (find.column(0), find.column(1));
            drop(find);
            let (Value::Text(kind), Value::Text(name)) = (kind, name) else {
                return Err(SqlError::of_code(ffi::SQLITE_CORRUPT));
            };
            self.connection.run(&format!("DROP {kind} \"{}\"", name.replace('"', "\"\"")))?;
        }
    }

    /// What users have created, at most so many: kind, name and the statement that made it.
    pub(crate) fn tables(&mut self, most: usize) -> Result<Vec<Vec<Value>>, ExecError> {
        let query = "SELECT type, name, sql FROM sqlite_master WHERE name NOT LIKE '\\_cf\\_%' ESCAPE '\\' \
                     AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY name";
        let mut cursor = self.exec(query, &[])?;
        let mut tables = Vec::new();
        while tables.len() < most {
            let Some(row) = self.next_row(&mut cursor)? else { break };
            tables.push(row);
        }
        self.close_cursor(&mut cursor);
        Ok(tables)
    }

    /// Bytes of the pages in use.
    pub(crate) fn size_bytes(&self) -> Result<u64, SqlError> {
        let _trust = self.connection.trust();
        let query =
            "SELECT (SELECT page_count FROM pragma_page_count) - (SELECT freelist_count FROM pragma_freelist_count)";
        let mut statement = self.connection.prepare_one(query)?;
        let pages = if statement.step()? { statement.integer(0).unwrap_or(0) } else { 0 };
        Ok(u64::try_from(pages).unwrap_or(0) * PAGE_BYTES as u64)
    }
}

/// Runs a statement of ours that gives no rows.
fn run_once(connection: &Connection, statement: &mut Statement) -> Result<(), SqlError> {
    let _trust = connection.trust();
    let result = statement.step();
    statement.reset();
    result.map(|_| ())
}
