//! The part of SQLite's C interface that is used, with a safe face.
#![expect(
    unsafe_code,
    reason = "cursors that outlive a call, an authorizer with two levels of trust and scan counters need SQLite's own interface"
)]

use super::authorizer::{self, Verdict};
use super::database::Within;
use super::memory::{self, Charge};
use super::vfs::{self, Mounted};
use crate::meter::Meter;
use crate::wire::Limits;
use rusqlite::ffi;
use std::cell::{Cell, RefCell};
use std::ffi::{CStr, c_char, c_int, c_void};
use std::ptr;
use std::rc::Rc;
use std::sync::Arc;

/// Virtual machine steps between two looks at the CPU limit.
const PROGRESS_STEPS: c_int = 4096;

/// What SQLite said.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{message}{}: {name}{extended}", offset.map(|at| format!(" at offset {at}")).unwrap_or_default())]
pub(crate) struct SqlError {
    pub code: c_int,
    pub message: String,
    pub name: &'static str,
    /// Which kind of constraint failed.
    pub extended: &'static str,
    /// Where in the statement.
    pub offset: Option<u32>,
}

impl SqlError {
    /// Whether the database itself cannot be read or written, whatever was asked of it.
    pub(crate) fn is_of_storage(&self) -> bool {
        matches!(self.code & 0xff, ffi::SQLITE_IOERR | ffi::SQLITE_CORRUPT | ffi::SQLITE_NOTADB)
    }

    /// Of a transaction that SQLite has undone.
    pub(super) fn no_room() -> Self {
        let message = "the transaction was undone: the database is full, or there was no memory for it".to_owned();
        Self { code: ffi::SQLITE_FULL, message, name: code_name(ffi::SQLITE_FULL), extended: "", offset: None }
    }
}

fn code_name(code: c_int) -> &'static str {
    match code & 0xff {
        ffi::SQLITE_ERROR => "SQLITE_ERROR",
        ffi::SQLITE_ABORT => "SQLITE_ABORT",
        ffi::SQLITE_AUTH => "SQLITE_AUTH",
        ffi::SQLITE_BUSY => "SQLITE_BUSY",
        ffi::SQLITE_CANTOPEN => "SQLITE_CANTOPEN",
        ffi::SQLITE_CONSTRAINT => "SQLITE_CONSTRAINT",
        ffi::SQLITE_CORRUPT => "SQLITE_CORRUPT",
        ffi::SQLITE_FULL => "SQLITE_FULL",
        ffi::SQLITE_INTERRUPT => "SQLITE_INTERRUPT",
        ffi::SQLITE_IOERR => "SQLITE_IOERR",
        ffi::SQLITE_LOCKED => "SQLITE_LOCKED",
        ffi::SQLITE_MISMATCH => "SQLITE_MISMATCH",
        ffi::SQLITE_MISUSE => "SQLITE_MISUSE",
        ffi::SQLITE_NOMEM => "SQLITE_NOMEM",
        ffi::SQLITE_RANGE => "SQLITE_RANGE",
        ffi::SQLITE_READONLY => "SQLITE_READONLY",
        ffi::SQLITE_SCHEMA => "SQLITE_SCHEMA",
        ffi::SQLITE_TOOBIG => "SQLITE_TOOBIG",
        // SQLite may number more of them than there are names for here.
        _ => "SQLITE_UNKNOWN",
    }
}

fn extended_name(code: c_int) -> &'static str {
    match code {
        ffi::SQLITE_CONSTRAINT_CHECK => " (extended: SQLITE_CONSTRAINT_CHECK)",
        ffi::SQLITE_CONSTRAINT_FOREIGNKEY => " (extended: SQLITE_CONSTRAINT_FOREIGNKEY)",
        ffi::SQLITE_CONSTRAINT_NOTNULL => " (extended: SQLITE_CONSTRAINT_NOTNULL)",
        ffi::SQLITE_CONSTRAINT_PRIMARYKEY => " (extended: SQLITE_CONSTRAINT_PRIMARYKEY)",
        ffi::SQLITE_CONSTRAINT_ROWID => " (extended: SQLITE_CONSTRAINT_ROWID)",
        ffi::SQLITE_CONSTRAINT_TRIGGER => " (extended: SQLITE_CONSTRAINT_TRIGGER)",
        ffi::SQLITE_CONSTRAINT_UNIQUE => " (extended: SQLITE_CONSTRAINT_UNIQUE)",
        ffi::SQLITE_CONSTRAINT_DATATYPE => " (extended: SQLITE_CONSTRAINT_DATATYPE)",
        // The others have no name of their own.
        _ => "",
    }
}

impl SqlError {
    pub(super) fn of_code(code: c_int) -> Self {
        // SAFETY: the text is static.
        let message = unsafe { CStr::from_ptr(ffi::sqlite3_errstr(code)) }.to_string_lossy().into_owned();
        Self { code, message, name: code_name(code), extended: "", offset: None }
    }

    /// The limit on CPU time was reached.
    pub(crate) fn interrupted(&self) -> bool {
        self.code & 0xff == ffi::SQLITE_INTERRUPT
    }
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    Null,
    Integer(i64),
    Real(f64),
    Text(String),
    Blob(Vec<u8>),
}

impl Value {
    /// What it takes in memory.
    pub(super) fn held_bytes(&self) -> usize {
        let beside = match self {
            Self::Null | Self::Integer(_) | Self::Real(_) => 0,
            Self::Text(text) => text.len(),
            Self::Blob(bytes) => bytes.len(),
        };
        size_of::<Self>() + beside
    }
}

/// What SQLite's callbacks look at. It has a stable address.
struct Policy {
    /// Statements of ours, which may do all.
    trusted: Cell<bool>,
    /// What the last refusal was of.
    refused: RefCell<Option<String>>,
    /// Whether the object has used up its CPU time.
    over: Box<dyn Fn() -> bool>,
}

struct Inner {
    db: *mut ffi::sqlite3,
    policy: Box<Policy>,
    memory: Arc<Meter>,
    _mounted: Mounted,
}

impl Drop for Inner {
    fn drop(&mut self) {
        let _charge = memory::charge(&self.memory);
        // SAFETY: statements hold a reference to `Inner`, so there are none left, and closing
        // cannot fail.
        unsafe { ffi::sqlite3_close(self.db) };
    }
}

#[derive(Clone)]
pub(crate) struct Connection {
    inner: Rc<Inner>,
}

/// Restores the level of trust when it goes out of scope.
pub(super) struct Trust<'a> {
    policy: &'a Policy,
    before: bool,
}

impl Drop for Trust<'_> {
    fn drop(&mut self) {
        self.policy.trusted.set(self.before);
    }
}

impl Connection {
    pub(super) fn open(
        pages: Rc<RefCell<super::pages::Pages>>,
        within: Within<'_>,
        over: Box<dyn Fn() -> bool>,
    ) -> Result<Self, SqlError> {
        check(vfs::register())?;
        let _charge = memory::charge(within.memory);
        let mounted = Mounted::new(pages);
        let name = mounted.name();
        let mut db = ptr::null_mut();
        let flags = ffi::SQLITE_OPEN_READWRITE | ffi::SQLITE_OPEN_CREATE | ffi::SQLITE_OPEN_NOMUTEX;
        // SAFETY: both names end in NUL; the handle is owned by `Inner` from here on, also where opening failed.
        let code = unsafe { ffi::sqlite3_open_v2(name.as_ptr(), &mut db, flags, vfs::NAME.as_ptr()) };
        let policy = Box::new(Policy { trusted: Cell::new(true), refused: RefCell::new(None), over });
        let inner = Rc::new(Inner { db, policy, memory: Arc::clone(within.memory), _mounted: mounted });
        check(code)?;
        configure(&inner, within.limits);
        Ok(Self { inner })
    }

    /// Statements prepared or run while the result lives may do all.
    pub(super) fn trust(&self) -> Trust<'_> {
        let policy = &*self.inner.policy;
        Trust { before: policy.trusted.replace(true), policy }
    }

    pub(super) fn distrust(&self) {
        self.inner.policy.trusted.set(false);
    }

    /// What SQLite takes while the result lives is the object's.
    fn charge(&self) -> Charge<'_> {
        memory::charge(&self.inner.memory)
    }

    pub(super) fn memory(&self) -> &Arc<Meter> {
        &self.inner.memory
    }

    fn error(&self, code: c_int) -> SqlError {
        // SAFETY: the message is copied before anything else is done with the connection.
        let message = unsafe { CStr::from_ptr(ffi::sqlite3_errmsg(self.inner.db)) }.to_string_lossy().into_owned();
        let refused = self.inner.policy.refused.take();
        let message = if code & 0xff == ffi::SQLITE_AUTH { refused.unwrap_or(message) } else { message };
        // SAFETY: as above.
        let offset = u32::try_from(unsafe { ffi::sqlite3_error_offset(self.inner.db) }).ok();
        SqlError { code, message, name: code_name(code), extended: extended_name(code), offset }
    }

    /// The first statement of the text, `None` if there is none, and how many bytes of the text it took.
    pub(super) fn prepare(&self, text: &str) -> Result<(Option<Statement>, usize), SqlError> {
        let length = c_int::try_from(text.len()).map_err(|_| SqlError::of_code(ffi::SQLITE_TOOBIG))?;
        let mut statement = ptr::null_mut();
        let mut tail = ptr::null();
        self.inner.policy.refused.replace(None);
        let _charge = self.charge();
        // SAFETY: the text is lent with its length, and `tail` points into it.
        let (code, used) = unsafe {
            let start: *const c_char = text.as_ptr().cast();
            let code = ffi::sqlite3_prepare_v3(
                self.inner.db,
                start,
                length,
                ffi::SQLITE_PREPARE_PERSISTENT as _,
                &mut statement,
                &mut tail,
            );
            let used = if tail.is_null() { text.len() } else { tail.offset_from(start) as usize };
            (code, used)
        };
        if code != ffi::SQLITE_OK {
            return Err(self.error(code));
        }
        let statement = (!statement.is_null()).then(|| Statement { raw: statement, connection: self.clone() });
        Ok((statement, used))
    }

    pub(super) fn prepare_one(&self, text: &str) -> Result<Statement, SqlError> {
        self.prepare(text)?.0.ok_or_else(|| SqlError::of_code(ffi::SQLITE_MISUSE))
    }

    /// Runs statements of ours that give no rows that matter.
    pub(super) fn run(&self, text: &str) -> Result<(), SqlError> {
        let mut rest = text;
        while !rest.is_empty() {
            let (statement, used) = self.prepare(rest)?;
            if let Some(mut statement) = statement {
                while statement.step()? {}
            }
            rest = rest.get(used..).unwrap_or_default();
        }
        Ok(())
    }

    /// Whether no transaction is open: SQLite itself ends one for which there is no room.
    pub(super) fn is_outside_transaction(&self) -> bool {
        // SAFETY: the connection is open.
        unsafe { ffi::sqlite3_get_autocommit(self.inner.db) != 0 }
    }

    pub(super) fn total_changes(&self) -> i64 {
        // SAFETY: an open connection.
        unsafe { ffi::sqlite3_total_changes64(self.inner.db) }
    }

    pub(super) fn release_memory(&self) {
        let _charge = self.charge();
        // SAFETY: an open connection.
        unsafe { ffi::sqlite3_db_release_memory(self.inner.db) };
    }
}

fn configure(inner: &Inner, limits: &Limits) {
    let db = inner.db;
    let value = c_int::try_from(limits.value_bytes).unwrap_or(c_int::MAX).saturating_add(64 << 10);
    let sql = c_int::try_from(limits.sql_bytes).unwrap_or(c_int::MAX);
    let caps = [
        (ffi::SQLITE_LIMIT_LENGTH, value),
        (ffi::SQLITE_LIMIT_SQL_LENGTH, sql),
        (ffi::SQLITE_LIMIT_COLUMN, 100),
        (ffi::SQLITE_LIMIT_EXPR_DEPTH, 100),
        (ffi::SQLITE_LIMIT_COMPOUND_SELECT, 5),
        (ffi::SQLITE_LIMIT_VDBE_OP, 25_000),
        (ffi::SQLITE_LIMIT_FUNCTION_ARG, 32),
        (ffi::SQLITE_LIMIT_ATTACHED, 0),
        (ffi::SQLITE_LIMIT_LIKE_PATTERN_LENGTH, 50),
        (ffi::SQLITE_LIMIT_VARIABLE_NUMBER, 100),
        (ffi::SQLITE_LIMIT_TRIGGER_DEPTH, 10),
        (ffi::SQLITE_LIMIT_WORKER_THREADS, 0),
    ];
    let switches = [
        (ffi::SQLITE_DBCONFIG_DEFENSIVE, 1),
        (ffi::SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0),
        (ffi::SQLITE_DBCONFIG_ENABLE_LOAD_EXTENSION, 0),
        (ffi::SQLITE_DBCONFIG_ENABLE_FTS3_TOKENIZER, 0),
    ];
    let policy: *const Policy = &*inner.policy;
    // SAFETY: the arguments are those that each option takes; the policy lives as long as the connection.
    unsafe {
        ffi::sqlite3_db_config(
            db,
            ffi::SQLITE_DBCONFIG_LOOKASIDE,
            ptr::null_mut::<c_void>(),
            256 as c_int,
            64 as c_int,
        );
        ffi::sqlite3_extended_result_codes(db, 1);
        for (limit, value) in caps {
            ffi::sqlite3_limit(db, limit, value);
        }
        for (switch, value) in switches {
            ffi::sqlite3_db_config(db, switch, value as c_int, ptr::null_mut::<c_int>());
        }
        ffi::sqlite3_set_authorizer(db, Some(authorize), policy.cast_mut().cast());
        ffi::sqlite3_progress_handler(db, PROGRESS_STEPS, Some(progress), policy.cast_mut().cast());
    }
}

/// # Safety
/// `text` is null or ends in NUL, and lives as long as the result.
unsafe fn lent<'a>(text: *const c_char) -> Option<&'a str> {
    // SAFETY: by the caller's promise.
    if text.is_null() { None } else { unsafe { CStr::from_ptr(text) }.to_str().ok() }
}

unsafe extern "C" fn authorize(
    policy: *mut c_void,
    action: c_int,
    first: *const c_char,
    second: *const c_char,
    schema: *const c_char,
    _inner: *const c_char,
) -> c_int {
    // SAFETY: the pointer is to the connection's policy; the texts are SQLite's for the time of the call.
    let (policy, first, second, schema) =
        unsafe { (&*policy.cast::<Policy>(), lent(first), lent(second), lent(schema)) };
    if policy.trusted.get() {
        return ffi::SQLITE_OK;
    }
    match authorizer::judge(action, first, second, schema) {
        Verdict::Allowed => ffi::SQLITE_OK,
        Verdict::Denied => {
            let refused = match (action, first, second) {
                (ffi::SQLITE_READ, Some(table), Some(column)) => format!("access to {table}.{column} is prohibited"),
                _ => "not authorized".to_owned(),
            };
            policy.refused.replace(Some(refused));
            ffi::SQLITE_DENY
        }
    }
}

unsafe extern "C" fn progress(policy: *mut c_void) -> c_int {
    // SAFETY: the pointer is to the connection's policy.
    let policy = unsafe { &*policy.cast::<Policy>() };
    c_int::from((policy.over)())
}

fn check(code: c_int) -> Result<(), SqlError> {
    if code == ffi::SQLITE_OK { Ok(()) } else { Err(SqlError::of_code(code)) }
}

pub(crate) struct Statement {
    raw: *mut ffi::sqlite3_stmt,
    connection: Connection,
}

impl Drop for Statement {
    fn drop(&mut self) {
        // SAFETY: the statement is this value's alone; the connection is still open, for it is held.
        unsafe { ffi::sqlite3_finalize(self.raw) };
    }
}

impl Statement {
    fn check(&self, code: c_int) -> Result<(), SqlError> {
        if code == ffi::SQLITE_OK { Ok(()) } else { Err(self.connection.error(code)) }
    }

    /// Parameters count from 1. The value is copied.
    pub(super) fn bind(&mut self, index: usize, value: &Value) -> Result<(), SqlError> {
        match value {
            Value::Null => self.bind_null(index),
            Value::Integer(value) => self.bind_integer(index, *value),
            Value::Real(value) => {
                // SAFETY: SQLite checks the index.
                let code = unsafe { ffi::sqlite3_bind_double(self.raw, index as c_int, *value) };
                self.check(code)
            }
            Value::Text(text) => self.bind_text(index, text),
            Value::Blob(bytes) => self.bind_blob(index, bytes),
        }
    }

    fn bind_null(&mut self, index: usize) -> Result<(), SqlError> {
        // SAFETY: SQLite checks the index.
        let code = unsafe { ffi::sqlite3_bind_null(self.raw, index as c_int) };
        self.check(code)
    }

    pub(super) fn bind_integer(&mut self, index: usize, value: i64) -> Result<(), SqlError> {
        // SAFETY: SQLite checks the index.
        let code = unsafe { ffi::sqlite3_bind_int64(self.raw, index as c_int, value) };
        self.check(code)
    }

    pub(super) fn bind_text(&mut self, index: usize, text: &str) -> Result<(), SqlError> {
        self.bind_text_bytes(index, text.as_bytes())
    }

    /// Text that need not be whole characters: a bound between keys.
    pub(super) fn bind_text_bytes(&mut self, index: usize, text: &[u8]) -> Result<(), SqlError> {
        let _charge = self.connection.charge();
        // SAFETY: the bytes are lent with their length, and SQLite copies them.
        let code = unsafe {
            ffi::sqlite3_bind_text64(
                self.raw,
                index as c_int,
                text.as_ptr().cast(),
                text.len() as u64,
                ffi::SQLITE_TRANSIENT(),
                ffi::SQLITE_UTF8 as _,
            )
        };
        self.check(code)
    }

    pub(super) fn bind_blob(&mut self, index: usize, bytes: &[u8]) -> Result<(), SqlError> {
        let _charge = self.connection.charge();
        // SAFETY: the bytes are lent with their length, and SQLite copies them. An empty slice's pointer is not null.
        let code = unsafe {
            ffi::sqlite3_bind_blob64(
                self.raw,
                index as c_int,
                bytes.as_ptr().cast(),
                bytes.len() as u64,
                ffi::SQLITE_TRANSIENT(),
            )
        };
        self.check(code)
    }

    /// Whether there is a row.
    pub(super) fn step(&mut self) -> Result<bool, SqlError> {
        self.connection.inner.policy.refused.replace(None);
        let _charge = self.connection.charge();
        // SAFETY: a statement of an open connection.
        match unsafe { ffi::sqlite3_step(self.raw) } {
            ffi::SQLITE_ROW => Ok(true),
            ffi::SQLITE_DONE => Ok(false),
            code => Err(self.connection.error(code)),
        }
    }

    /// Ready to run again; what was bound is gone. The error of the last step is not told twice.
    pub(super) fn reset(&mut self) {
        let _charge = self.connection.charge();
        // SAFETY: a statement of an open connection.
        unsafe {
            ffi::sqlite3_reset(self.raw);
            ffi::sqlite3_clear_bindings(self.raw);
        }
    }

    pub(super) fn parameters(&self) -> usize {
        // SAFETY: a statement of an open connection.
        unsafe { ffi::sqlite3_bind_parameter_count(self.raw) as usize }
    }

    pub(super) fn read_only(&self) -> bool {
        // SAFETY: a statement of an open connection.
        unsafe { ffi::sqlite3_stmt_readonly(self.raw) != 0 }
    }

    pub(super) fn columns(&self) -> usize {
        // SAFETY: a statement of an open connection.
        unsafe { ffi::sqlite3_column_count(self.raw) as usize }
    }

    pub(super) fn column_name(&self, column: usize) -> String {
        let _charge = self.connection.charge();
        // SAFETY: SQLite checks the column; the text is copied at once.
        unsafe { lent(ffi::sqlite3_column_name(self.raw, column as c_int)) }.unwrap_or_default().to_owned()
    }

    pub(super) fn column(&self, column: usize) -> Value {
        let at = column as c_int;
        let _charge = self.connection.charge();
        // SAFETY: the statement stands on a row; SQLite checks the column.
        unsafe {
            match ffi::sqlite3_column_type(self.raw, at) {
                ffi::SQLITE_INTEGER => Value::Integer(ffi::sqlite3_column_int64(self.raw, at)),
                ffi::SQLITE_FLOAT => Value::Real(ffi::sqlite3_column_double(self.raw, at)),
                ffi::SQLITE_TEXT => Value::Text(String::from_utf8_lossy(self.text_bytes(at)).into_owned()),
                ffi::SQLITE_BLOB => Value::Blob(self.blob(column).to_vec()),
                _ => Value::Null,
            }
        }
    }

    /// # Safety
    /// The statement stands on a row, and neither moves nor converts the column while the bytes are lent.
    unsafe fn text_bytes(&self, at: c_int) -> &[u8] {
        // SAFETY: SQLite gives as many bytes as it says, valid until the statement is stepped or the column converted.
        unsafe {
            let start = ffi::sqlite3_column_text(self.raw, at);
            let length = ffi::sqlite3_column_bytes(self.raw, at);
            if start.is_null() { &[] } else { std::slice::from_raw_parts(start.cast(), length as usize) }
        }
    }

    /// The bytes of a blob, lent until the statement is stepped or reset, which needs it exclusively.
    pub(super) fn blob(&self, column: usize) -> &[u8] {
        let at = column as c_int;
        let _charge = self.connection.charge();
        // SAFETY: as in `text_bytes`; a blob is not converted by reading it as one.
        unsafe {
            let start = ffi::sqlite3_column_blob(self.raw, at);
            let length = ffi::sqlite3_column_bytes(self.raw, at);
            if start.is_null() { &[] } else { std::slice::from_raw_parts(start.cast(), length as usize) }
        }
    }

    pub(super) fn integer(&self, column: usize) -> Option<i64> {
        // SAFETY: the statement stands on a row; SQLite checks the column.
        unsafe {
            (ffi::sqlite3_column_type(self.raw, column as c_int) != ffi::SQLITE_NULL)
                .then(|| ffi::sqlite3_column_int64(self.raw, column as c_int))
        }
    }

    /// Rows that the statement's loops have visited since this was last asked.
    pub(super) fn take_rows_visited(&mut self) -> u64 {
        let mut sum = 0;
        let mut index = 0;
        // SAFETY: the counter asked for is an i64; SQLite says when there is no loop of the number.
        unsafe {
            loop {
                let mut visited: i64 = 0;
                let out: *mut i64 = &mut visited;
                let code = ffi::sqlite3_stmt_scanstatus(self.raw, index, ffi::SQLITE_SCANSTAT_NVISIT as _, out.cast());
                if code != 0 {
                    break;
                }
                sum += u64::try_from(visited).unwrap_or(0);
                index += 1;
            }
            ffi::sqlite3_stmt_scanstatus_reset(self.raw);
        }
        sum
    }
}
