//! Notebooks, their environments, the files' volumes, and the visits of browsers.

use domain::{
    access::{Permit, Reach},
    ids::{HostId, NotebookEnvironmentId, NotebookId, PersonId, RunId, TenantId, TransactionId, VolumeId},
    notebooks::{Notebook, NotebookEnvironment, NotebookIntent, NotebookState, Place, Work},
    sessions::{MAX_STEPS, Step},
};
use jiff::Timestamp;
use sea_orm::{ConnectionTrait, FromQueryResult};
use uuid::Uuid;

use crate::{Corrupt, StoreError, Tx, convert, machines, sessions::Written, sql};

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
    steps: String,
    created_ms: i64,
    generation: i64,
}

const COLUMNS: &str = "n.id, n.tenant_id, n.person_id, p.name as person_name, n.name, n.environment_id, \
    e.name as environment_name, n.size, n.labels, n.intent, n.state, n.since_ms, n.cause, n.run_id, n.host_id, \
    h.name as host_name, n.transaction_id, n.start_transaction_id, n.steps, n.created_ms, n.generation";
const TABLES: &str = "notebooks n join people p on p.id = n.person_id \
    join notebook_environments e on e.id = n.environment_id left join hosts h on h.id = n.host_id";

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
            size: convert::word("notebooks.size", &row.size)?,
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
            steps: convert::json("notebooks.steps", &row.steps)?,
            created_at: convert::time("notebooks.created_ms", row.created_ms)?,
            generation: row.generation,
        })
    }
}

fn notebooks(rows: Vec<Row>) -> Result<Vec<Notebook>, StoreError> {
    Ok(rows.into_iter().map(Notebook::try_from).collect::<Result<_, _>>()?)
}

/// False if another notebook has the name already.
pub async fn insert(tx: &Tx, notebook: &Notebook) -> Result<bool, StoreError> {
    let limits = notebook.size.limits();
    let inserted = sql::execute(
        tx.conn(),
        "insert into notebooks (id, tenant_id, person_id, name, environment_id, size, labels, intent, state, since_ms, \
         cpu_millis, memory_bytes, steps, created_ms, generation) \
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, 1) on conflict (name) do nothing",
        [
            notebook.id.uuid().into(),
            notebook.tenant.uuid().into(),
            notebook.person.uuid().into(),
            notebook.name.as_str().into(),
            notebook.environment.uuid().into(),
            notebook.size.word().into(),
            convert::to_json(&notebook.labels).into(),
            notebook.intent.word().into(),
            notebook.state.word().into(),
            notebook.since.as_millisecond().into(),
            i64::from(limits.cpu_millis).into(),
            i64::try_from(limits.memory_bytes).unwrap_or(i64::MAX).into(),
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
    pub intent: NotebookIntent,
    pub state: NotebookState,
    pub since: Timestamp,
    pub cause: Option<&'a str>,
    pub run: Option<RunId>,
    pub host: Option<HostId>,
    pub transaction: Option<TransactionId>,
    pub start: Option<TransactionId>,
    /// Steps are told anew.
    pub is_new_run: bool,
}

impl<'a> Turn<'a> {
    /// What the notebook is, to be changed.
    pub fn of(notebook: &'a Notebook) -> Self {
        Self {
            intent: notebook.intent,
            state: notebook.state,
            since: notebook.since,
            cause: notebook.cause.as_deref(),
            run: notebook.run,
            host: notebook.host,
            transaction: notebook.transaction,
            start: notebook.start,
            is_new_run: false,
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
         generation = generation + 1 where tenant_id = $10 and id = $11 and generation = $12",
        [
            turn.intent.word().into(),
            turn.state.word().into(),
            turn.since.as_millisecond().into(),
            turn.cause.into(),
            turn.run.map(RunId::uuid).into(),
            turn.host.map(HostId::uuid).into(),
            turn.transaction.map(TransactionId::uuid).into(),
            turn.start.map(TransactionId::uuid).into(),
            turn.is_new_run.into(),
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
    let changed = sql::execute(
        tx.conn(),
        "delete from notebooks where tenant_id = $1 and id = $2 and generation = $3",
        [permit.tenant().uuid().into(), read.id.uuid().into(), read.generation.into()],
    )
    .await?;
    Ok(if changed == 1 { Written::Done } else { Written::Stale })
}

/// Adds or updates a step of the run by its name. `Stale` if it is not the notebook's latest, or has its fill of steps.
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
    match steps.iter().position(|known| known.name == step.name) {
        Some(at) => steps[at] = step,
        None if steps.len() >= MAX_STEPS => return Ok(None),
        None => steps.push(step),
    }
    sql::execute(
        conn,
        "update notebooks set steps = $1 where id = $2",
        [convert::to_json(&steps).into(), row.id.into()],
    )
    .await?;
    Ok(Some(NotebookId::from_uuid(row.id)))
}

#[derive(Debug, FromQueryResult)]
struct PlaceRow {
    id: Uuid,
    name: String,
    labels: String,
    intent: String,
    link: String,
    notebooks: Option<String>,
    used_cpu_millis: i64,
    used_memory_bytes: i64,
    used_places: i64,
    has_files: bool,
}

/// The tenant's hosts that take notebooks, with what is taken of them, as `person` finds them. Hosts that take none are
/// not among them. Under a lock until the transaction ends, so that two who place do not both see the same room.
pub async fn places(tx: &Tx, permit: &Permit, person: PersonId) -> Result<Vec<Place>, StoreError> {
    let conn = tx.conn();
    sql::one::<_, Count>(
        conn,
        &format!("select cast(1 as bigint) as count from tenants where id = $1{}", sql::locking(conn)),
        [permit.tenant().uuid().into()],
    )
    .await?;
    let rows: Vec<PlaceRow> = sql::all(
        conn,
        "select h.id, h.name, h.labels, h.intent, h.link, h.notebooks, \
         cast(coalesce(sum(n.cpu_millis), 0) as bigint) as used_cpu_millis, \
         cast(coalesce(sum(n.memory_bytes), 0) as bigint) as used_memory_bytes, count(n.id) as used_places, \
         exists (select 1 from notebook_volumes v where v.host_id = h.id and v.person_id = $2) as has_files \
         from hosts h left join notebooks n on n.host_id = h.id and n.state in ('starting', 'running', 'stopping') \
         where h.tenant_id = $1 and h.deleted_ms is null and h.notebooks is not null \
         group by h.id, h.name, h.labels, h.intent, h.link, h.notebooks order by h.name",
        [permit.tenant().uuid().into(), person.uuid().into()],
    )
    .await?;
    let whole = |value: i64| u64::try_from(value).unwrap_or(0);
    rows.into_iter()
        .map(|row| {
            Ok(Place {
                host: HostId::from_uuid(row.id),
                name: row.name,
                labels: convert::json("hosts.labels", &row.labels)?,
                intent: convert::word("hosts.intent", &row.intent)?,
                link: convert::word("hosts.link", &row.link)?,
                offer: row.notebooks.map(|text| convert::json("hosts.notebooks", &text)).transpose()?,
                used_cpu_millis: whole(row.used_cpu_millis),
                used_memory_bytes: whole(row.used_memory_bytes),
                used_places: u32::try_from(row.used_places).unwrap_or(u32::MAX),
                has_files: row.has_files,
            })
        })
        .collect()
}

/// The person's files on the host; the first time they are noted with this id and size.
pub async fn volume(
    tx: &Tx,
    permit: &Permit,
    person: PersonId,
    host: HostId,
    size_bytes: u64,
    now: Timestamp,
) -> Result<(VolumeId, u64), StoreError> {
    #[derive(FromQueryResult)]
    struct Volume {
        id: Uuid,
        size_bytes: i64,
    }
    let conn = tx.conn();
    sql::execute(
        conn,
        "insert into notebook_volumes (id, tenant_id, person_id, host_id, size_bytes, created_ms) \
         values ($1, $2, $3, $4, $5, $6) on conflict (person_id, host_id) do nothing",
        [
            VolumeId::new().uuid().into(),
            permit.tenant().uuid().into(),
            person.uuid().into(),
            host.uuid().into(),
            i64::try_from(size_bytes).unwrap_or(i64::MAX).into(),
            now.as_millisecond().into(),
        ],
    )
    .await?;
    let row: Option<Volume> = sql::one(
        conn,
        "select id, size_bytes from notebook_volumes where person_id = $1 and host_id = $2",
        [person.uuid().into(), host.uuid().into()],
    )
    .await?;
    let missing = || Corrupt { column: "notebook_volumes.id", why: "what was just written is not there".to_owned() };
    let row = row.ok_or_else(missing)?;
    Ok((VolumeId::from_uuid(row.id), u64::try_from(row.size_bytes).unwrap_or(0)))
}

#[derive(Debug, FromQueryResult)]
struct EnvironmentRow {
    id: Uuid,
    tenant_id: Uuid,
    name: String,
    requirements: String,
    created_by: Option<Uuid>,
    created_ms: i64,
}

impl TryFrom<EnvironmentRow> for NotebookEnvironment {
    type Error = Corrupt;
    fn try_from(row: EnvironmentRow) -> Result<Self, Corrupt> {
        Ok(NotebookEnvironment {
            id: NotebookEnvironmentId::from_uuid(row.id),
            tenant: TenantId::from_uuid(row.tenant_id),
            name: row.name,
            requirements: row.requirements,
            created_by: row.created_by.map(PersonId::from_uuid),
            created_at: convert::time("notebook_environments.created_ms", row.created_ms)?,
        })
    }
}

const ENVIRONMENT_COLUMNS: &str = "id, tenant_id, name, requirements, created_by, created_ms";

/// False if another has the name already.
pub async fn insert_environment(tx: &Tx, environment: &NotebookEnvironment) -> Result<bool, StoreError> {
    let inserted = sql::execute(
        tx.conn(),
        "insert into notebook_environments (id, tenant_id, name, requirements, created_by, created_ms) \
         values ($1, $2, $3, $4, $5, $6) on conflict (tenant_id, name) do nothing",
        [
            environment.id.uuid().into(),
            environment.tenant.uuid().into(),
            environment.name.as_str().into(),
            environment.requirements.as_str().into(),
            environment.created_by.map(PersonId::uuid).into(),
            environment.created_at.as_millisecond().into(),
        ],
    )
    .await?;
    Ok(inserted == 1)
}

/// By name, those after `after`, at most `limit`.
pub async fn environments<C: ConnectionTrait>(
    conn: &C,
    permit: &Permit,
    after: Option<&str>,
    limit: u64,
) -> Result<Vec<NotebookEnvironment>, StoreError> {
    let rows: Vec<EnvironmentRow> = sql::all(
        conn,
        &format!(
            "select {ENVIRONMENT_COLUMNS} from notebook_environments where tenant_id = $1 and name > $2 \
             order by name limit $3"
        ),
        [
            permit.tenant().uuid().into(),
            after.unwrap_or_default().into(),
            i64::try_from(limit).unwrap_or(i64::MAX).into(),
        ],
    )
    .await?;
    Ok(rows.into_iter().map(NotebookEnvironment::try_from).collect::<Result<_, _>>()?)
}

pub async fn environment<C: ConnectionTrait>(
    conn: &C,
    permit: &Permit,
    id: NotebookEnvironmentId,
) -> Result<Option<NotebookEnvironment>, StoreError> {
    environment_by(conn, permit, "id = $2", id.uuid().into()).await
}

pub async fn environment_by_name<C: ConnectionTrait>(
    conn: &C,
    permit: &Permit,
    name: &str,
) -> Result<Option<NotebookEnvironment>, StoreError> {
    environment_by(conn, permit, "name = $2", name.into()).await
}

async fn environment_by<C: ConnectionTrait>(
    conn: &C,
    permit: &Permit,
    which: &str,
    value: sea_orm::Value,
) -> Result<Option<NotebookEnvironment>, StoreError> {
    let row: Option<EnvironmentRow> = sql::one(
        conn,
        &format!("select {ENVIRONMENT_COLUMNS} from notebook_environments where tenant_id = $1 and {which}"),
        [permit.tenant().uuid().into(), value],
    )
    .await?;
    Ok(row.map(NotebookEnvironment::try_from).transpose()?)
}

/// False if a notebook still uses it, or there is none.
pub async fn delete_environment(tx: &Tx, permit: &Permit, id: NotebookEnvironmentId) -> Result<bool, StoreError> {
    let deleted = sql::execute(
        tx.conn(),
        "delete from notebook_environments where tenant_id = $1 and id = $2 and created_by is not null \
         and not exists (select 1 from notebooks where environment_id = notebook_environments.id)",
        [permit.tenant().uuid().into(), id.uuid().into()],
    )
    .await?;
    Ok(deleted == 1)
}

/// What lets a browser in: a ticket once, a visit until its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Visit {
    /// SHA-256 of the secret.
    pub hash: String,
    pub tenant: TenantId,
    pub notebook: NotebookId,
    pub person: PersonId,
    /// The hash of the sign-in by which the visitor came.
    pub sign_in: String,
    pub is_ticket: bool,
    pub expires_at: Timestamp,
}

#[derive(Debug, FromQueryResult)]
struct VisitRow {
    hash: String,
    tenant_id: Uuid,
    notebook_id: Uuid,
    person_id: Uuid,
    sign_in: String,
    is_ticket: bool,
    expires_ms: i64,
}

impl TryFrom<VisitRow> for Visit {
    type Error = Corrupt;
    fn try_from(row: VisitRow) -> Result<Self, Corrupt> {
        Ok(Visit {
            hash: row.hash,
            tenant: TenantId::from_uuid(row.tenant_id),
            notebook: NotebookId::from_uuid(row.notebook_id),
            person: PersonId::from_uuid(row.person_id),
            sign_in: row.sign_in,
            is_ticket: row.is_ticket,
            expires_at: convert::time("notebook_visits.expires_ms", row.expires_ms)?,
        })
    }
}

pub async fn insert_visit(tx: &Tx, visit: &Visit) -> Result<(), StoreError> {
    sql::execute(
        tx.conn(),
        "insert into notebook_visits (hash, tenant_id, notebook_id, person_id, sign_in, is_ticket, expires_ms) \
         values ($1, $2, $3, $4, $5, $6, $7)",
        [
            visit.hash.as_str().into(),
            visit.tenant.uuid().into(),
            visit.notebook.uuid().into(),
            visit.person.uuid().into(),
            visit.sign_in.as_str().into(),
            visit.is_ticket.into(),
            visit.expires_at.as_millisecond().into(),
        ],
    )
    .await?;
    Ok(())
}

/// The visit of this hash at the notebook of this name, of any tenant: this is how a browser says who it is. `None` if it is
/// over, or its sign-in is.
pub async fn visit<C: ConnectionTrait>(
    conn: &C,
    hash: &str,
    name: &str,
    now: Timestamp,
) -> Result<Option<Visit>, StoreError> {
    let row: Option<VisitRow> = sql::one(
        conn,
        "select v.hash, v.tenant_id, v.notebook_id, v.person_id, v.sign_in, v.is_ticket, v.expires_ms \
         from notebook_visits v join notebooks n on n.id = v.notebook_id join sign_ins s on s.id = v.sign_in \
         where v.hash = $1 and n.name = $2 and v.expires_ms > $3 and s.expires_ms > $3",
        [hash.into(), name.into(), now.as_millisecond().into()],
    )
    .await?;
    Ok(row.map(Visit::try_from).transpose()?)
}

/// Uses a ticket up: of two at once only one gets true.
pub async fn use_up(tx: &Tx, ticket: &Visit) -> Result<bool, StoreError> {
    let deleted = sql::execute(
        tx.conn(),
        "delete from notebook_visits where hash = $1 and is_ticket",
        [ticket.hash.as_str().into()],
    )
    .await?;
    Ok(deleted == 1)
}

/// Makes a person's tickets to the notebook void.
pub async fn void_tickets(tx: &Tx, notebook: NotebookId, person: PersonId) -> Result<(), StoreError> {
    sql::execute(
        tx.conn(),
        "delete from notebook_visits where notebook_id = $1 and person_id = $2 and is_ticket",
        [notebook.uuid().into(), person.uuid().into()],
    )
    .await?;
    Ok(())
}

/// Drops those that ended before `now`.
pub async fn prune_visits(tx: &Tx, now: Timestamp) -> Result<u64, StoreError> {
    sql::execute(tx.conn(), "delete from notebook_visits where expires_ms <= $1", [now.as_millisecond().into()]).await
}

/// Whose notebooks a permit shows.
pub fn reach(permit: &Permit) -> Option<PersonId> {
    match permit.reach() {
        Reach::Tenant => None,
        Reach::Own => permit.person(),
    }
}
