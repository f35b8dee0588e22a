//! Runs that wait warm.

use domain::{
    access::Permit,
    ids::{HostId, NotebookEnvironmentId, RunId, TenantId, TransactionId},
    notebooks::{WarmRun, WarmState, Work},
};
use jiff::Timestamp;
use sea_orm::{ConnectionTrait, FromQueryResult};
use uuid::Uuid;

use super::size;
use crate::{
    Corrupt, StoreError, Tx,
    convert::{self, signed},
    machines,
    sessions::Written,
    sql,
};

#[derive(Debug, FromQueryResult)]
struct Row {
    run_id: Uuid,
    tenant_id: Uuid,
    environment_id: Uuid,
    size: String,
    cpu_millis: i64,
    memory_bytes: i64,
    disk_bytes: i64,
    host_id: Uuid,
    host_name: String,
    state: String,
    since_ms: i64,
    cause: Option<String>,
    transaction_id: Option<Uuid>,
    work_state: Option<String>,
    work_cause: Option<String>,
}

const SELECT: &str = "select w.run_id, w.tenant_id, w.environment_id, w.size, w.cpu_millis, w.memory_bytes, w.disk_bytes, \
    w.host_id, h.name as host_name, w.state, w.since_ms, w.cause, w.transaction_id, t.state as work_state, \
    t.cause as work_cause from notebook_warm_runs w join hosts h on h.id = w.host_id \
    left join transactions t on t.id = w.transaction_id";

/// A warm run, and how its instruction stands.
#[derive(Debug, Clone)]
pub struct Warm {
    pub run: WarmRun,
    pub work: Option<Work>,
}

impl TryFrom<Row> for Warm {
    type Error = Corrupt;
    fn try_from(row: Row) -> Result<Self, Corrupt> {
        let work = machines::work(row.work_state, row.work_cause)?;
        let run = WarmRun {
            run: RunId::from_uuid(row.run_id),
            tenant: TenantId::from_uuid(row.tenant_id),
            environment: NotebookEnvironmentId::from_uuid(row.environment_id),
            size: size(row.size, row.cpu_millis, row.memory_bytes, row.disk_bytes),
            host: HostId::from_uuid(row.host_id),
            host_name: row.host_name,
            state: convert::word("notebook_warm_runs.state", &row.state)?,
            since: convert::time("notebook_warm_runs.since_ms", row.since_ms)?,
            cause: row.cause,
            transaction: row.transaction_id.map(TransactionId::from_uuid),
        };
        Ok(Warm { run, work: work.map(|work| Work { state: work.state, cause: work.cause }) })
    }
}

pub async fn insert(tx: &Tx, run: &WarmRun) -> Result<(), StoreError> {
    sql::execute(
        tx.conn(),
        "insert into notebook_warm_runs (run_id, tenant_id, environment_id, size, cpu_millis, memory_bytes, disk_bytes, \
         host_id, state, since_ms, cause, transaction_id) values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)",
        [
            run.run.uuid().into(),
            run.tenant.uuid().into(),
            run.environment.uuid().into(),
            run.size.name.as_str().into(),
            i64::from(run.size.cpu_millis).into(),
            signed(run.size.memory_bytes).into(),
            signed(run.size.disk_bytes).into(),
            run.host.uuid().into(),
            run.state.word().into(),
            run.since.as_millisecond().into(),
            run.cause.as_deref().into(),
            run.transaction.map(TransactionId::uuid).into(),
        ],
    )
    .await?;
    Ok(())
}

/// The tenant's, oldest first, at most `limit`.
pub async fn list<C: ConnectionTrait>(conn: &C, permit: &Permit, limit: u64) -> Result<Vec<Warm>, StoreError> {
    let rows: Vec<Row> = sql::all(
        conn,
        &format!("{SELECT} where w.tenant_id = $1 order by w.run_id limit $2"),
        [permit.tenant().uuid().into(), signed(limit).into()],
    )
    .await?;
    Ok(rows.into_iter().map(Warm::try_from).collect::<Result<_, _>>()?)
}

/// The tenants that have some, at most `limit`.
pub async fn tenants<C: ConnectionTrait>(conn: &C, limit: u64) -> Result<Vec<TenantId>, StoreError> {
    #[derive(FromQueryResult)]
    struct Tenant {
        tenant_id: Uuid,
    }
    let rows: Vec<Tenant> =
        sql::all(conn, "select distinct tenant_id from notebook_warm_runs limit $1", [signed(limit).into()]).await?;
    Ok(rows.into_iter().map(|row| TenantId::from_uuid(row.tenant_id)).collect())
}

/// How a warm run changes.
#[derive(Debug, Clone, Copy)]
pub struct Turn<'a> {
    pub state: WarmState,
    pub since: Timestamp,
    pub cause: Option<&'a str>,
    pub transaction: Option<TransactionId>,
}

/// Writes the change if the run is still in the state, under the instruction, that the caller read.
pub async fn turn(tx: &Tx, permit: &Permit, read: &WarmRun, new: &Turn<'_>) -> Result<Written, StoreError> {
    let changed = sql::execute(
        tx.conn(),
        "update notebook_warm_runs set state = $1, since_ms = $2, cause = $3, transaction_id = $4 where tenant_id = $5 \
         and run_id = $6 and state = $7 and (transaction_id = $8 or (transaction_id is null and $8 is null))",
        [
            new.state.word().into(),
            new.since.as_millisecond().into(),
            new.cause.into(),
            new.transaction.map(TransactionId::uuid).into(),
            permit.tenant().uuid().into(),
            read.run.uuid().into(),
            read.state.word().into(),
            read.transaction.map(TransactionId::uuid).into(),
        ],
    )
    .await?;
    Ok(if changed == 1 { Written::Done } else { Written::Stale })
}

/// Takes a run that waits, for a notebook: of two at once only one gets true.
pub async fn take(tx: &Tx, permit: &Permit, run: RunId) -> Result<bool, StoreError> {
    let deleted = sql::execute(
        tx.conn(),
        "delete from notebook_warm_runs where tenant_id = $1 and run_id = $2 and state = 'ready'",
        [permit.tenant().uuid().into(), run.uuid().into()],
    )
    .await?;
    Ok(deleted == 1)
}

/// Nothing of it is left.
pub async fn forget(tx: &Tx, permit: &Permit, run: RunId) -> Result<Written, StoreError> {
    let deleted = sql::execute(
        tx.conn(),
        "delete from notebook_warm_runs where tenant_id = $1 and run_id = $2",
        [permit.tenant().uuid().into(), run.uuid().into()],
    )
    .await?;
    Ok(if deleted == 1 { Written::Done } else { Written::Stale })
}
