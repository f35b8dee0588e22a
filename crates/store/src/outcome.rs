//! What became of a commit whose answer was lost: the request may have reached PostgreSQL, or not. It remembers the end
//! of each numbered transaction.

use std::time::{Duration, Instant};

use sea_orm::{ConnectionTrait, DatabaseConnection, DbErr, FromQueryResult};

use crate::{StoreError, sql};

/// A database that does not say in this time has nobody left who waits for it.
const LIMIT: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(20);

#[derive(Debug, FromQueryResult)]
struct Number {
    number: String,
}

/// The number of PostgreSQL's transaction that goes on on `conn`, by way of a statement that has other things to do as well.
pub(crate) async fn number<C: ConnectionTrait>(conn: &C, also: &str) -> Result<Option<String>, StoreError> {
    let sql = format!("select pg_current_xact_id()::text as number, {also}");
    Ok(sql::one(conn, &sql, []).await?.map(|row: Number| row.number))
}

#[derive(Debug, FromQueryResult)]
struct Status {
    status: Option<String>,
}

/// `lost` is what the commit of transaction `number` ended with.
pub(crate) async fn of(pool: &DatabaseConnection, number: &str, lost: DbErr) -> Result<(), StoreError> {
    let began = Instant::now();
    loop {
        let asked = sql::one(pool, "select pg_xact_status($1::text::xid8) as status", [number.into()]).await;
        let status = asked.map(|row: Option<Status>| row.and_then(|row| row.status));
        match status.as_ref().map(Option::as_deref) {
            Ok(Some("committed")) => return Ok(()),
            Ok(Some("aborted")) => return Err(lost.into()),
            // It is under way still, or the database is not back.
            Ok(_) | Err(_) if began.elapsed() < LIMIT => tokio::time::sleep(PAUSE).await,
            Ok(_) | Err(_) => return Err(StoreError::OutcomeUnknown(lost)),
        }
    }
}
