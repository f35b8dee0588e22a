//! A user's SQL: statements kept prepared, and cursors over what they give.

use super::connection::{Connection, SqlError, Statement, Value};
use super::database::Database;
use crate::meter::Taken;
use rusqlite::ffi;
use std::collections::VecDeque;

/// Statements kept prepared for an object.
const KEPT: usize = 64;

/// Statements that nobody uses, the last used at the end.
#[derive(Default)]
pub(super) struct Statements {
    idle: VecDeque<(String, Statement)>,
}

impl Statements {
    pub(super) fn clear(&mut self) {
        self.idle.clear();
    }

    fn find(&mut self, query: &str) -> Option<Statement> {
        let at = self.idle.iter().rposition(|(kept, _)| kept == query)?;
        self.idle.remove(at).map(|(_, statement)| statement)
    }

    pub(super) fn take(&mut self, connection: &Connection, query: &str) -> Result<Statement, SqlError> {
        match self.find(query) {
            Some(statement) => Ok(statement),
            None => connection.prepare_one(query),
        }
    }

    pub(super) fn give_back(&mut self, query: String, mut statement: Statement) {
        statement.reset();
        if self.idle.len() == KEPT {
            self.idle.pop_front();
        }
        self.idle.push_back((query, statement));
    }
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum ExecError {
    #[error(transparent)]
    Sql(#[from] SqlError),
    #[error("SQL code did not contain a statement.")]
    NoStatement,
    #[error("Wrong number of parameter bindings for SQL query.")]
    Bindings,
    #[error("When executing multiple SQL statements in a single call, only the last statement can have parameters.")]
    BindingsBefore,
    #[error(
        "To execute a transaction, please use the state.storage.transaction() or state.storage.transactionSync() APIs \
         instead of the SQL BEGIN TRANSACTION or SAVEPOINT statements. The JavaScript API is safer because it will \
         automatically roll back on exceptions, and because it interacts correctly with Durable Objects' automatic atomic \
         write coalescing."
    )]
    TransactionControl,
}

/// What one `sql.exec` gives. A statement that writes has run to its end before the first row is asked for, so that it
/// holds up no commit; one that reads goes as far as it is asked.
pub(crate) struct Cursor {
    columns: Vec<String>,
    rows: Rows,
    rows_read: u64,
    rows_written: u64,
}

enum Rows {
    Held {
        rows: VecDeque<Vec<Value>>,
        _taken: Option<Taken>,
    },
    /// `first`: what the statement stands on is still to be given.
    Reading {
        statement: Statement,
        query: Option<String>,
        first: bool,
    },
}

impl Rows {
    fn none() -> Self {
        Rows::Held { rows: VecDeque::new(), _taken: None }
    }
}

impl Cursor {
    pub(crate) fn columns(&self) -> &[String] {
        &self.columns
    }

    /// Whether it has no more rows to give, so that nothing is lost with it.
    pub(crate) fn is_over(&self) -> bool {
        match &self.rows {
            Rows::Held { rows, .. } => rows.is_empty(),
            Rows::Reading { .. } => false,
        }
    }

    pub(crate) fn rows_written(&self) -> u64 {
        self.rows_written
    }

    pub(crate) fn rows_read(&mut self) -> u64 {
        if let Rows::Reading { statement, .. } = &mut self.rows {
            self.rows_read += statement.take_rows_visited();
        }
        self.rows_read
    }
}

fn controls_transaction(query: &str) -> bool {
    let word = query.trim_start().split(|c: char| !c.is_ascii_alphabetic()).next().unwrap_or_default();
    ["BEGIN", "COMMIT", "END", "ROLLBACK", "SAVEPOINT", "RELEASE"].iter().any(|w| word.eq_ignore_ascii_case(w))
}

/// Whether there is no further statement: only white space, semicolons and comments.
fn is_blank(text: &str) -> bool {
    let mut rest = text;
    loop {
        rest = rest.trim_start_matches(|c: char| c.is_ascii_whitespace() || c == ';');
        if let Some(comment) = rest.strip_prefix("--") {
            rest = comment.split_once('\n').map_or("", |(_, after)| after);
        } else if let Some(comment) = rest.strip_prefix("/*") {
            rest = comment.split_once("*/").map_or("", |(_, after)| after);
        } else {
            return rest.is_empty();
        }
    }
}

fn row(statement: &Statement) -> Vec<Value> {
    (0..statement.columns()).map(|column| statement.column(column)).collect()
}

impl Database {
    /// Runs all statements of the text; the bindings and the cursor are of the last.
    pub(crate) fn exec(&mut self, query: &str, bindings: &[Value]) -> Result<Cursor, ExecError> {
        self.uses_sql = true;
        if let Some(statement) = self.statements.find(query) {
            return self.start(statement, bindings, Some(query.to_owned()));
        }
        let mut rest = query;
        loop {
            let prepared = self.connection.prepare(rest);
            let (statement, used) = prepared.map_err(|error| match error.code & 0xff {
                ffi::SQLITE_AUTH if controls_transaction(rest) => ExecError::TransactionControl,
                _ => ExecError::Sql(error),
            })?;
            let alone = rest.len() == query.len();
            rest = rest.get(used..).unwrap_or_default();
            let last = is_blank(rest);
            match statement {
                Some(statement) if last => return self.start(statement, bindings, alone.then(|| query.to_owned())),
                // What follows may need what this one makes.
                Some(mut statement) => self.run_through(&mut statement)?,
                None if last => return Err(ExecError::NoStatement),
                None => {}
            }
        }
    }

    /// Whether the text is one statement that changes nothing.
    pub(crate) fn only_reads(&mut self, query: &str) -> Result<bool, SqlError> {
        let (statement, used) = self.connection.prepare(query)?;
        Ok(statement.is_some_and(|statement| statement.read_only()) && is_blank(query.get(used..).unwrap_or_default()))
    }

    fn run_through(&mut self, statement: &mut Statement) -> Result<(), ExecError> {
        if statement.parameters() != 0 {
            return Err(ExecError::BindingsBefore);
        }
        if !statement.read_only() {
            self.before_write()?;
        }
        while statement.step()? {}
        Ok(())
    }

    fn start(
        &mut self,
        mut statement: Statement,
        bindings: &[Value],
        query: Option<String>,
    ) -> Result<Cursor, ExecError> {
        if statement.parameters() != bindings.len() {
            if let Some(query) = query {
                self.statements.give_back(query, statement);
            }
            return Err(ExecError::Bindings);
        }
        for (index, value) in bindings.iter().enumerate() {
            statement.bind(index + 1, value)?;
        }
        let columns = (0..statement.columns()).map(|column| statement.column_name(column)).collect();
        if statement.read_only() {
            let there = statement.step()?;
            let rows_read = statement.take_rows_visited();
            let rows = if there {
                Rows::Reading { statement, query, first: true }
            } else {
                self.finish(statement, query);
                Rows::none()
            };
            return Ok(Cursor { columns, rows, rows_read, rows_written: 0 });
        }
        self.before_write()?;
        let before = self.connection.total_changes();
        let mut rows = VecDeque::new();
        let mut taken = Taken::none(self.connection.memory());
        while statement.step()? {
            let row = row(&statement);
            if !taken.more(row.iter().map(Value::held_bytes).sum()) {
                return Err(SqlError::of_code(ffi::SQLITE_NOMEM).into());
            }
            rows.push_back(row);
        }
        let rows_read = statement.take_rows_visited();
        let rows_written = u64::try_from(self.connection.total_changes() - before).unwrap_or(0);
        self.finish(statement, query);
        Ok(Cursor { columns, rows: Rows::Held { rows, _taken: Some(taken) }, rows_read, rows_written })
    }

    fn finish(&mut self, statement: Statement, query: Option<String>) {
        if let Some(query) = query {
            self.statements.give_back(query, statement);
        }
    }

    pub(crate) fn next_row(&mut self, cursor: &mut Cursor) -> Result<Option<Vec<Value>>, SqlError> {
        match &mut cursor.rows {
            Rows::Held { rows, .. } => Ok(rows.pop_front()),
            Rows::Reading { statement, first, .. } => {
                if std::mem::take(first) || statement.step()? {
                    return Ok(Some(row(statement)));
                }
                cursor.rows_read += statement.take_rows_visited();
                self.close_cursor(cursor);
                Ok(None)
            }
        }
    }

    /// The statement is free for the next who asks the same.
    pub(crate) fn close_cursor(&mut self, cursor: &mut Cursor) {
        match std::mem::replace(&mut cursor.rows, Rows::none()) {
            Rows::Held { .. } => {}
            Rows::Reading { statement, query, .. } => self.finish(statement, query),
        }
    }
}
