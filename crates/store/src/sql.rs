//! Plain statements, for what has to be one statement or reads better as SQL. `$1`, `$2`, … on both databases.

use sea_orm::{ConnectionTrait, DbBackend, FromQueryResult, Statement, Value};
use uuid::Uuid;

use crate::StoreError;

fn statement<C: ConnectionTrait>(conn: &C, sql: &str, values: impl IntoIterator<Item = Value>) -> Statement {
    Statement::from_sql_and_values(conn.get_database_backend(), sql, values)
}

/// Rows that the statement changed.
pub(crate) async fn execute<C: ConnectionTrait>(
    conn: &C,
    sql: &str,
    values: impl IntoIterator<Item = Value>,
) -> Result<u64, StoreError> {
    Ok(conn.execute_raw(statement(conn, sql, values)).await?.rows_affected())
}

pub(crate) async fn all<C: ConnectionTrait, R: FromQueryResult>(
    conn: &C,
    sql: &str,
    values: impl IntoIterator<Item = Value>,
) -> Result<Vec<R>, StoreError> {
    let rows = conn.query_all_raw(statement(conn, sql, values)).await?;
    Ok(rows.iter().map(|row| R::from_query_result(row, "")).collect::<Result<_, _>>()?)
}

pub(crate) async fn one<C: ConnectionTrait, R: FromQueryResult>(
    conn: &C,
    sql: &str,
    values: impl IntoIterator<Item = Value>,
) -> Result<Option<R>, StoreError> {
    let row = conn.query_one_raw(statement(conn, sql, values)).await?;
    Ok(row.map(|row| R::from_query_result(&row, "")).transpose()?)
}

/// Ends a `select` of rows that no other transaction may change until this one ends.
pub(crate) fn locking<C: ConnectionTrait>(conn: &C) -> &'static str {
    // SQLite's transaction holds the writer's lock already.
    if conn.get_database_backend() == DbBackend::Postgres { " for update" } else { "" }
}

/// A statement's text and its values as it is put together from parts that are there or not.
#[derive(Default)]
pub(crate) struct Build {
    pub sql: String,
    pub values: Vec<Value>,
}

/// Which way a list goes that is ordered by start.
#[derive(Clone, Copy)]
pub(crate) enum ByStart {
    OldestFirst,
    NewestFirst,
}

impl Build {
    pub(crate) fn new(sql: &str) -> Self {
        Self { sql: sql.to_owned(), values: Vec::new() }
    }
    /// Appends text.
    pub(crate) fn text(&mut self, sql: &str) -> &mut Self {
        self.sql.push_str(sql);
        self
    }
    /// Appends a value's placeholder.
    pub(crate) fn value(&mut self, value: impl Into<Value>) -> &mut Self {
        self.values.push(value.into());
        let place = format!("${}", self.values.len());
        self.text(&place)
    }
    /// Ends a list of what `alias` names (a table with `start_ms` and `id`) with one page: what comes after `after` in this
    /// order, at most `limit`.
    pub(crate) fn page(&mut self, alias: &str, order: ByStart, after: Option<(i64, Uuid)>, limit: u64) -> &mut Self {
        let (past, direction) = match order {
            ByStart::OldestFirst => (">", ""),
            ByStart::NewestFirst => ("<", " desc"),
        };
        if let Some((start_ms, id)) = after {
            self.text(&format!(" and ({alias}.start_ms {past} ")).value(start_ms);
            self.text(&format!(" or ({alias}.start_ms = ")).value(start_ms);
            self.text(&format!(" and {alias}.id {past} ")).value(id).text("))");
        }
        self.text(&format!(" order by {alias}.start_ms{direction}, {alias}.id{direction} limit "));
        self.value(i64::try_from(limit).unwrap_or(i64::MAX))
    }
    /// Appends `(…)` with a placeholder for each; never empty, so that `in ()` cannot arise.
    pub(crate) fn among(&mut self, ids: impl IntoIterator<Item = Uuid>) -> &mut Self {
        self.text("(");
        let mut any = false;
        for id in ids {
            if any {
                self.text(", ");
            }
            any = true;
            self.value(id);
        }
        if !any {
            self.text("null");
        }
        self.text(")")
    }
}
