//! When notebooks were last in use, who was told that theirs stop, and their stop for it. Each write names what it was decided
//! on, so that use in between is never lost.

use domain::{
    access::Permit,
    ids::{NotebookId, RunId},
    notebooks::Notebook,
};
use jiff::Timestamp;
use sea_orm::ConnectionTrait;
use uuid::Uuid;

use super::{COLUMNS, Row, TABLES, notebooks};
use crate::{StoreError, Tx, sessions::Written, sql};

/// What a sign of use came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Noted {
    /// The run is over, or a later sign is known.
    Nothing,
    Used,
    /// It was to be stopped, and is not any more.
    Kept,
}

/// The run was in use at that time.
pub async fn note(
    tx: &Tx,
    permit: &Permit,
    notebook: NotebookId,
    run: RunId,
    at: Timestamp,
) -> Result<Noted, StoreError> {
    let values =
        || [at.as_millisecond().into(), permit.tenant().uuid().into(), notebook.uuid().into(), run.uuid().into()];
    let kept = sql::execute(
        tx.conn(),
        "update notebooks set active_ms = $1, warned_ms = null, stops_ms = null \
         where tenant_id = $2 and id = $3 and run_id = $4 and state = 'running' and warned_ms is not null",
        values(),
    )
    .await?;
    if kept == 1 {
        return Ok(Noted::Kept);
    }
    let used = sql::execute(
        tx.conn(),
        "update notebooks set active_ms = $1 where tenant_id = $2 and id = $3 and run_id = $4 and state = 'running' \
         and (active_ms is null or active_ms < $1)",
        values(),
    )
    .await?;
    Ok(if used == 1 { Noted::Used } else { Noted::Nothing })
}

/// Notes that its person is told now, if it was not used meanwhile.
pub async fn warn(
    tx: &Tx,
    permit: &Permit,
    read: &Notebook,
    at: Timestamp,
    stops_at: Timestamp,
) -> Result<Written, StoreError> {
    let changed = sql::execute(
        tx.conn(),
        "update notebooks set warned_ms = $1, stops_ms = $2 where tenant_id = $3 and id = $4 and generation = $5 \
         and state = 'running' and intent = 'run' and warned_ms is null and coalesce(active_ms, -1) = $6",
        [
            at.as_millisecond().into(),
            stops_at.as_millisecond().into(),
            permit.tenant().uuid().into(),
            read.id.uuid().into(),
            read.generation.into(),
            read.active_at.map_or(-1, Timestamp::as_millisecond).into(),
        ],
    )
    .await?;
    Ok(if changed == 1 { Written::Done } else { Written::Stale })
}

/// It is to stop, for that cause, if it was not used since its person was told.
pub async fn stop(tx: &Tx, permit: &Permit, read: &Notebook, cause: &str) -> Result<Written, StoreError> {
    let changed = sql::execute(
        tx.conn(),
        "update notebooks set intent = 'stop', cause = $1, warned_ms = null, stops_ms = null, generation = generation + 1 \
         where tenant_id = $2 and id = $3 and generation = $4 and state = 'running' and intent = 'run' \
         and warned_ms = $5 and coalesce(active_ms, -1) = $6",
        [
            cause.into(),
            permit.tenant().uuid().into(),
            read.id.uuid().into(),
            read.generation.into(),
            read.warned_at.map(Timestamp::as_millisecond).into(),
            read.active_at.map_or(-1, Timestamp::as_millisecond).into(),
        ],
    )
    .await?;
    Ok(if changed == 1 { Written::Done } else { Written::Stale })
}

/// Of all tenants: those that run and are to, after `after`, at most `limit`, in the order of their ids.
pub async fn running<C: ConnectionTrait>(
    conn: &C,
    after: Option<NotebookId>,
    limit: u64,
) -> Result<Vec<Notebook>, StoreError> {
    let rows: Vec<Row> = sql::all(
        conn,
        &format!(
            "select {COLUMNS} from {TABLES} where n.state = 'running' and n.intent = 'run' and n.id > $1 \
             order by n.id limit $2"
        ),
        [after.map_or(Uuid::nil(), NotebookId::uuid).into(), i64::try_from(limit).unwrap_or(i64::MAX).into()],
    )
    .await?;
    notebooks(rows)
}
