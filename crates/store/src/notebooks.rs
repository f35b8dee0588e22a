//! Notebooks; in files of their own what belongs to them.

pub mod activity;
pub mod environments;
pub mod places;
pub mod policy;
pub mod shares;
pub mod visits;
pub mod volumes;
pub mod warm;

use domain::{
    access::{Permit, Reach},
    ids::{HostId, NotebookEnvironmentId, NotebookId, PersonId, RunId, TenantId, TransactionId},
    notebooks::{Held, Notebook, NotebookIntent, NotebookSize, NotebookState, Work},
    sessions::{Step, put_step},
};
use jiff::Timestamp;
use sea_orm::{ConnectionTrait, FromQueryResult};
use uuid::Uuid;

use crate::{
    Corrupt, StoreError, Tx, addresses,
    convert::{self, signed, whole},
    machines,
    sessions::Written,
    sql,
};

#[derive(Debug, FromQueryResult)]
struct Row {
    id: Uuid,
    tenant_id: Uuid,
    person_id: Uuid,
    person_name: String,
    name: String,
    environment_id: Uuid,
    environment_name: String,
    size: String,
    cpu_millis: i64,
    memory_bytes: i64,
    disk_bytes: i64,
    labels: String,
    intent: String,
    state: String,
    since_ms: i64,
    cause: Option<String>,
    run_id: Option<Uuid>,
    host_id: Option<Uuid>,
    host_name: Option<String>,
    transaction_id: Option<Uuid>,
    start_transaction_id: Option<Uuid>,
    is_given: bool,
    active_ms: Option<i64>,
    warned_ms: Option<i64>,
    stops_ms: Option<i64>,
    steps: String,
    created_ms: i64,
    generation: i64,
}

const COLUMNS: &str = "n.id, n.tenant_id, n.person_id, p.name as person_name, n.name, n.environment_id, \
    e.name as environment_name, n.size, n.cpu_millis, n.memory_bytes, n.disk_bytes, n.labels, n.intent, n.state, \
    n.since_ms, n.cause, n.run_id, n.host_id, h.name as host_name, n.transaction_id, n.start_transaction_id, n.is_given, \
    n.active_ms, n.warned_ms, n.stops_ms, n.steps, n.created_ms, n.generation";
const TABLES: &str = "notebooks n join people p on p.id = n.person_id \
    join notebook_environments e on e.id = n.environment_id left join hosts h on h.id = n.host_id";

fn size(name: String, cpu_millis: i64, memory_bytes: i64, disk_bytes: i64) -> NotebookSize {
    NotebookSize {
        name,
        cpu_millis: u32::try_from(cpu_millis).unwrap_or(u32::MAX),
        memory_bytes: whole(memory_bytes),
        disk_bytes: whole(disk_bytes),
    }
}

impl TryFrom<Row> for Notebook {
    type Error = Corrupt;
    fn try_from(row: Row) -> Result<Self, Corrupt> {
        Ok(Notebook {
            id: NotebookId::from_uuid(row.id),
            tenant: TenantId::from_uuid(row.tenant_id),
            person: PersonId::from_uuid(row.person_id),
            person_name: row.person_name,
            name: row.name,
            environment: NotebookEnvironmentId::from_uuid(row.environment_id),
            environment_name: row.environment_name,
            size: size(row.size, row.cpu_millis, row.memory_bytes, row.disk_bytes),
            labels: convert::json("notebooks.labels", &row.labels)?,
            intent: convert::word("notebooks.intent", &row.intent)?,
            state: convert::word("notebooks.state", &row.state)?,
            since: convert::time("notebooks.since_ms", row.since_ms)?,
            cause: row.cause,
            run: row.run_id.map(RunId::from_uuid),
            host: row.host_id.map(HostId::from_uuid),
            host_name: row.host_name,
            transaction: row.transaction_id.map(TransactionId::from_uuid),
            start: row.start_transaction_id.map(TransactionId::from_uuid),
            is_given: row.is_given,
            active_at: convert::time_opt("notebooks.active_ms", row.active_ms)?,
            warned_at: convert::time_opt("notebooks.warned_ms", row.warned_ms)?,
            // What is left of a warning that is void means nothing.
            stops_at: convert::time_opt("notebooks.stops_ms", row.warned_ms.and(row.stops_ms))?,
            share: None,
            steps: convert::json("notebooks.steps", &row.steps)?,
            created_at: convert::time("notebooks.created_ms", row.created_ms)?,
            generation: row.generation,
        })
    }
}

fn notebooks(rows: Vec<Row>) -> Result<Vec<Notebook>, StoreError> {
    Ok(rows.into_iter().map(Notebook::try_from).collect::<Result<_, _>>()?)
}

/// False if another notebook, or a deployment, has the name already.
pub async fn insert(tx: &Tx, notebook: &Notebook) -> Result<bool, StoreError> {
    if !addresses::take(tx, &notebook.name).await? {
        return Ok(false);
    }
    let inserted = sql::execute(
        tx.conn(),
        "insert into notebooks (id, tenant_id, person_id, name, environment_id, size, labels, intent, state, since_ms, \
         cpu_millis, memory_bytes, disk_bytes, steps, created_ms, generation) \
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, 1) on conflict (name) do nothing",
        [
            notebook.id.uuid().into(),
            notebook.tenant.uuid().into(),
            notebook.person.uuid().into(),
            notebook.name.as_str().into(),
            notebook.environment.uuid().into(),
            notebook.size.name.as_str().into(),
            convert::to_json(&notebook.labels).into(),
            notebook.intent.word().into(),
            notebook.state.word().into(),
            notebook.since.as_millisecond().into(),
            i64::from(notebook.size.cpu_millis).into(),
            signed(notebook.size.memory_bytes).into(),
            signed(notebook.size.disk_bytes).into(),
            convert::to_json(&notebook.steps).into(),
            notebook.created_at.as_millisecond().into(),
        ],
    )
    .await?;
    Ok(inserted == 1)
}

pub async fn get<C: ConnectionTrait>(
    conn: &C,
    permit: &Permit,
    id: NotebookId,
) -> Result<Option<Notebook>, StoreError> {
    one(conn, permit, "n.id = $2", id.uuid().into()).await
}

pub async fn by_name<C: ConnectionTrait>(
    conn: &C,
    permit: &Permit,
    name: &str,
) -> Result<Option<Notebook>, StoreError> {
    one(conn, permit, "n.name = $2", name.into()).await
}

pub async fn by_run<C: ConnectionTrait>(conn: &C, permit: &Permit, run: RunId) -> Result<Option<Notebook>, StoreError> {
    one(conn, permit, "n.run_id = $2", run.uuid().into()).await
}

async fn one<C: ConnectionTrait>(
    conn: &C,
    permit: &Permit,
    which: &str,
    value: sea_orm::Value,
) -> Result<Option<Notebook>, StoreError> {
    let row: Option<Row> = sql::one(
        conn,
        &format!("select {COLUMNS} from {TABLES} where n.tenant_id = $1 and {which}"),
        [permit.tenant().uuid().into(), value],
    )
    .await?;
    Ok(row.map(Notebook::try_from).transpose()?)
}

/// Which notebooks are wanted; all that is given has to hold.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    pub person: Option<PersonId>,
    pub state: Option<NotebookState>,
    pub host: Option<HostId>,
    pub before: Option<NotebookId>,
}

/// Newest first, at most `limit`. Ids rise with time.
pub async fn list<C: ConnectionTrait>(
    conn: &C,
    permit: &Permit,
    filter: &Filter,
    limit: u64,
) -> Result<Vec<Notebook>, StoreError> {
    let mut query = sql::Build::new(&format!("select {COLUMNS} from {TABLES} where n.tenant_id = "));
    query.value(permit.tenant().uuid());
    if let Some(person) = filter.person {
        query.text(" and n.person_id = ").value(person.uuid());
    }
    if let Some(state) = filter.state {
        query.text(" and n.state = ").value(state.word());
    }
    if let Some(host) = filter.host {
        query.text(" and n.host_id = ").value(host.uuid());
    }
    if let Some(before) = filter.before {
        query.text(" and n.id < ").value(before.uuid());
    }
    query.text(" order by n.id desc limit ").value(i64::try_from(limit).unwrap_or(i64::MAX));
    notebooks(sql::all(conn, &query.sql, query.values).await?)
}

#[derive(Debug, FromQueryResult)]
struct Count {
    count: i64,
}

/// How many a person has, in whatever state.
pub async fn count(tx: &Tx, permit: &Permit, person: PersonId) -> Result<u64, StoreError> {
    let row: Option<Count> = sql::one(
        tx.conn(),
        "select count(*) as count from notebooks where tenant_id = $1 and person_id = $2",
        [permit.tenant().uuid().into(), person.uuid().into()],
    )
    .await?;
    Ok(row.map_or(0, |row| u64::try_from(row.count).unwrap_or(0)))
}

/// What the person's notebooks that run or are to run take up, under a lock until the transaction ends: of two launches at once
/// the second sees the first.
pub async fn held(tx: &Tx, permit: &Permit, person: PersonId) -> Result<Held, StoreError> {
    #[derive(FromQueryResult)]
    struct HeldRow {
        count: i64,
        cpu_millis: i64,
        memory_bytes: i64,
    }
    let conn = tx.conn();
    sql::one::<_, Count>(
        conn,
        &format!(
            "select cast(1 as bigint) as count from people where tenant_id = $1 and id = $2{}",
            sql::locking(conn)
        ),
        [permit.tenant().uuid().into(), person.uuid().into()],
    )
    .await?;
    let row: Option<HeldRow> = sql::one(
        conn,
        "select count(*) as count, cast(coalesce(sum(cpu_millis), 0) as bigint) as cpu_millis, \
         cast(coalesce(sum(memory_bytes), 0) as bigint) as memory_bytes from notebooks \
         where tenant_id = $1 and person_id = $2 and (intent = 'run' and state in ('waiting', 'starting', 'running') \
         or state = 'stopping')",
        [permit.tenant().uuid().into(), person.uuid().into()],
    )
    .await?;
    Ok(row.map_or_else(Held::default, |row| Held {
        count: u32::try_from(row.count).unwrap_or(u32::MAX),
        cpu_millis: whole(row.cpu_millis),
        memory_bytes: whole(row.memory_bytes),
    }))
}

/// A notebook that the reconciler has to look at, and how its instruction stands.
#[derive(Debug, Clone)]
pub struct Due {
    pub notebook: Notebook,
    pub work: Option<Work>,
}

#[derive(Debug, FromQueryResult)]
struct DueRow {
    #[sea_orm(nested)]
    notebook: Row,
    work_state: Option<String>,
    work_cause: Option<String>,
}

/// Of all tenants: those that are not at rest, after `after`, at most `limit`, in the order of their ids.
pub async fn due<C: ConnectionTrait>(conn: &C, after: Option<NotebookId>, limit: u64) -> Result<Vec<Due>, StoreError> {
    let rows: Vec<DueRow> = sql::all(
        conn,
        &format!(
            "select {COLUMNS}, t.state as work_state, t.cause as work_cause from {TABLES} \
             left join transactions t on t.id = n.transaction_id \
             where (n.state in ('waiting', 'starting', 'stopping') or (n.state = 'running' and n.intent = 'stop')) \
             and n.id > $1 order by n.id limit $2"
        ),
        [after.map_or(Uuid::nil(), NotebookId::uuid).into(), i64::try_from(limit).unwrap_or(i64::MAX).into()],
    )
    .await?;
    rows.into_iter()
        .map(|row| {
            let work = machines::work(row.work_state, row.work_cause)?;
            let work = work.map(|work| Work { state: work.state, cause: work.cause });
            Ok(Due { notebook: Notebook::try_from(row.notebook)?, work })
        })
        .collect()
}

/// A change of what a notebook is.
#[derive(Debug, Clone)]
pub struct Turn<'a> {
    pub size: &'a NotebookSize,
    pub intent: NotebookIntent,
    pub state: NotebookState,
    pub since: Timestamp,
    pub cause: Option<&'a str>,
    pub run: Option<RunId>,
    pub host: Option<HostId>,
    pub transaction: Option<TransactionId>,
    pub start: Option<TransactionId>,
    pub is_given: bool,
    pub active: Option<Timestamp>,
    pub warned: Option<Timestamp>,
    /// Steps are told anew.
    pub clears_steps: bool,
}

impl<'a> Turn<'a> {
    /// What the notebook is, to be changed.
    pub fn of(notebook: &'a Notebook) -> Self {
        Self {
            size: &notebook.size,
            intent: notebook.intent,
            state: notebook.state,
            since: notebook.since,
            cause: notebook.cause.as_deref(),
            run: notebook.run,
            host: notebook.host,
            transaction: notebook.transaction,
            start: notebook.start,
            is_given: notebook.is_given,
            active: notebook.active_at,
            warned: notebook.warned_at,
            clears_steps: false,
        }
    }
}

/// Writes the change if the notebook is still what the caller read. Steps, which agents tell, are apart from it and stay
/// unless there is a new run.
pub async fn turn(tx: &Tx, permit: &Permit, read: &Notebook, turn: &Turn<'_>) -> Result<Written, StoreError> {
    let changed = sql::execute(
        tx.conn(),
        "update notebooks set intent = $1, state = $2, since_ms = $3, cause = $4, run_id = $5, host_id = $6, \
         transaction_id = $7, start_transaction_id = $8, steps = case when $9 then '[]' else steps end, \
         is_given = $10, active_ms = $11, warned_ms = $12, size = $13, cpu_millis = $14, memory_bytes = $15, \
         disk_bytes = $16, generation = generation + 1 where tenant_id = $17 and id = $18 and generation = $19",
        [
            turn.intent.word().into(),
            turn.state.word().into(),
            turn.since.as_millisecond().into(),
            turn.cause.into(),
            turn.run.map(RunId::uuid).into(),
            turn.host.map(HostId::uuid).into(),
            turn.transaction.map(TransactionId::uuid).into(),
            turn.start.map(TransactionId::uuid).into(),
            turn.clears_steps.into(),
            turn.is_given.into(),
            turn.active.map(Timestamp::as_millisecond).into(),
            turn.warned.map(Timestamp::as_millisecond).into(),
            turn.size.name.as_str().into(),
            i64::from(turn.size.cpu_millis).into(),
            signed(turn.size.memory_bytes).into(),
            signed(turn.size.disk_bytes).into(),
            permit.tenant().uuid().into(),
            read.id.uuid().into(),
            read.generation.into(),
        ],
    )
    .await?;
    Ok(if changed == 1 { Written::Done } else { Written::Stale })
}

/// Deletes the notebook if it is still what the caller read; its person's files stay.
pub async fn delete(tx: &Tx, permit: &Permit, read: &Notebook) -> Result<Written, StoreError> {
    let holder = addresses::Holder {
        kind: addresses::Named::Notebook,
        id: read.id.uuid(),
        generation: read.generation,
        name: &read.name,
    };
    addresses::delete(tx, permit, holder).await
}

/// Adds or updates a step of the run by its name. `None` if it is not a notebook's latest, or has its fill of steps.
pub async fn set_step(tx: &Tx, permit: &Permit, run: RunId, step: Step) -> Result<Option<NotebookId>, StoreError> {
    #[derive(FromQueryResult)]
    struct Steps {
        id: Uuid,
        steps: String,
    }
    let conn = tx.conn();
    let row: Option<Steps> = sql::one(
        conn,
        &format!("select id, steps from notebooks where tenant_id = $1 and run_id = $2{}", sql::locking(conn)),
        [permit.tenant().uuid().into(), run.uuid().into()],
    )
    .await?;
    let Some(row) = row else { return Ok(None) };
    let mut steps: Vec<Step> = convert::json("notebooks.steps", &row.steps)?;
    if !put_step(&mut steps, step) {
        return Ok(None);
    }
    sql::execute(
        conn,
        "update notebooks set steps = $1 where id = $2",
        [convert::to_json(&steps).into(), row.id.into()],
    )
    .await?;
    Ok(Some(NotebookId::from_uuid(row.id)))
}

/// Whose notebooks a permit shows.
pub fn reach(permit: &Permit) -> Option<PersonId> {
    match permit.reach() {
        Reach::Tenant => None,
        Reach::Own => permit.person(),
    }
}
