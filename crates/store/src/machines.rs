//! Machines: what hosts offer.

use domain::{
    access::Permit,
    ids::{HostId, MachineId, TenantId},
    interval::Interval,
    labels::Labels,
    machines::{Machine, MachineKind, MachineLimits},
    names::sort_key,
};
use jiff::Timestamp;
use sea_orm::{ConnectionTrait, FromQueryResult};
use uuid::Uuid;

use crate::{Corrupt, StoreError, Tx, convert, sql};

mod bookings;
mod conditions;
mod slots;

pub(crate) use bookings::interval;
pub use bookings::{MAX_BOOKINGS, bookings, history, holders, next_bookings};
pub(crate) use conditions::work;
pub use conditions::{
    CheckState, NewCondition, Turned, Verification, next_verification, set_check, turn, verifications,
};
pub use slots::{free, taken};

/// The columns of [`Row`], for a query that calls machines `m` and hosts `h`.
pub(crate) const COLUMNS: &str = "m.id as m_id, m.tenant_id as m_tenant_id, m.host_id as m_host_id, m.name as m_name, \
    m.local_name as m_local_name, m.kind as m_kind, m.labels as m_labels, m.cpu_millis as m_cpu_millis, m.memory_bytes as m_memory_bytes, \
    m.pids as m_pids, m.disk_bytes as m_disk_bytes, m.condition as m_condition, m.reason as m_reason, \
    m.condition_since_ms as m_condition_since_ms, m.verifications as m_verifications, h.name as h_name, \
    h.intent as h_intent, h.link as h_link, h.link_since_ms as h_link_since_ms";

#[derive(Debug, FromQueryResult)]
pub(crate) struct Row {
    m_id: Uuid,
    m_tenant_id: Uuid,
    m_host_id: Uuid,
    m_name: String,
    m_local_name: String,
    m_kind: String,
    m_labels: String,
    m_cpu_millis: i32,
    m_memory_bytes: i64,
    m_pids: i32,
    m_disk_bytes: i64,
    m_condition: String,
    m_reason: Option<String>,
    m_condition_since_ms: i64,
    m_verifications: i32,
    h_name: String,
    h_intent: String,
    h_link: String,
    h_link_since_ms: i64,
}

fn natural<T: TryFrom<i64>>(column: &'static str, value: i64) -> Result<T, Corrupt> {
    T::try_from(value).map_err(|_| Corrupt { column, why: format!("{value} is out of range") })
}

impl TryFrom<Row> for Machine {
    type Error = Corrupt;
    fn try_from(row: Row) -> Result<Self, Corrupt> {
        Ok(Machine {
            id: MachineId::from_uuid(row.m_id),
            tenant: TenantId::from_uuid(row.m_tenant_id),
            host: HostId::from_uuid(row.m_host_id),
            host_name: row.h_name,
            host_intent: convert::word("hosts.intent", &row.h_intent)?,
            host_link: convert::word("hosts.link", &row.h_link)?,
            host_link_since: convert::time("hosts.link_since_ms", row.h_link_since_ms)?,
            name: row.m_name,
            local_name: row.m_local_name,
            kind: convert::word("machines.kind", &row.m_kind)?,
            labels: convert::json("machines.labels", &row.m_labels)?,
            limits: MachineLimits {
                cpu_millis: natural("machines.cpu_millis", i64::from(row.m_cpu_millis))?,
                memory_bytes: natural("machines.memory_bytes", row.m_memory_bytes)?,
                pids: natural("machines.pids", i64::from(row.m_pids))?,
                disk_bytes: natural("machines.disk_bytes", row.m_disk_bytes)?,
            },
            condition: convert::word("machines.condition", &row.m_condition)?,
            reason: row.m_reason,
            condition_since: convert::time("machines.condition_since_ms", row.m_condition_since_ms)?,
            verifications: natural("machines.verifications", i64::from(row.m_verifications))?,
        })
    }
}

pub(crate) fn machines(rows: Vec<Row>) -> Result<Vec<Machine>, StoreError> {
    Ok(rows.into_iter().map(Machine::try_from).collect::<Result<_, _>>()?)
}

/// What a person typed to name a machine.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum MachineRef {
    Id(MachineId),
    Name(String),
}

/// Those that are there, in no order; withdrawn ones only by id.
pub async fn find<C: ConnectionTrait>(
    conn: &C,
    permit: &Permit,
    wanted: &[MachineRef],
) -> Result<Vec<Machine>, StoreError> {
    if wanted.is_empty() {
        return Ok(vec![]);
    }
    let mut query = sql::Build::new(&format!(
        "select {COLUMNS} from machines m join hosts h on h.id = m.host_id where m.tenant_id = "
    ));
    query.value(permit.tenant().uuid()).text(" and (");
    for (at, machine) in wanted.iter().enumerate() {
        if at > 0 {
            query.text(" or ");
        }
        match machine {
            MachineRef::Id(id) => query.text("m.id = ").value(id.uuid()),
            MachineRef::Name(name) => {
                query.text("(m.condition <> 'withdrawn' and m.name = ").value(name.as_str()).text(")")
            }
        };
    }
    query.text(")");
    machines(sql::all(conn, &query.sql, query.values).await?)
}

/// Which machines are wanted.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Part of the name, in any case.
    pub q: Option<String>,
    pub host: Option<HostId>,
    /// Names after this one.
    pub after: Option<String>,
}

/// By name, as people count; those that are not withdrawn.
pub async fn list<C: ConnectionTrait>(
    conn: &C,
    permit: &Permit,
    filter: &Filter,
    limit: u64,
) -> Result<Vec<Machine>, StoreError> {
    let mut query = sql::Build::new(&format!(
        "select {COLUMNS} from machines m join hosts h on h.id = m.host_id where m.condition <> 'withdrawn' and m.tenant_id = "
    ));
    query.value(permit.tenant().uuid());
    if let Some(q) = &filter.q {
        let pattern = format!("%{}%", q.to_lowercase().replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_"));
        query.text(" and lower(m.name) like ").value(pattern).text(" escape '\\'");
    }
    if let Some(host) = filter.host {
        query.text(" and m.host_id = ").value(host.uuid());
    }
    if let Some(after) = &filter.after {
        query.text(" and m.sort_name > ").value(sort_key(after));
    }
    query.text(" order by m.sort_name limit ").value(i64::try_from(limit).unwrap_or(i64::MAX));
    machines(sql::all(conn, &query.sql, query.values).await?)
}

/// A machine that might take a booking.
#[derive(Debug, Clone)]
pub struct Candidate {
    pub machine: Machine,
    /// Somebody holds it in the interval that was asked about.
    pub taken: bool,
    /// An environment is on it now.
    pub occupied: bool,
}

#[derive(Debug, FromQueryResult)]
struct CandidateRow {
    #[sea_orm(nested)]
    machine: Row,
    taken: bool,
    occupied: bool,
}

/// Every machine of the tenant that is not withdrawn, and whether it is taken in `interval`.
pub async fn candidates<C: ConnectionTrait>(
    conn: &C,
    permit: &Permit,
    interval: Interval,
) -> Result<Vec<Candidate>, StoreError> {
    let rows: Vec<CandidateRow> = sql::all(
        conn,
        &format!(
            "select {COLUMNS}, \
             exists (select 1 from sessions s where s.machine_id = m.id and s.holds and s.end_ms > $2 and s.start_ms < $3) as taken, \
             exists (select 1 from sessions s where s.machine_id = m.id and s.state in ('preparing', 'active', 'reverting')) as occupied \
             from machines m join hosts h on h.id = m.host_id where m.tenant_id = $1 and m.condition <> 'withdrawn'"
        ),
        [
            permit.tenant().uuid().into(),
            interval.start().as_millisecond().into(),
            interval.end().as_millisecond().into(),
        ],
    )
    .await?;
    let candidate = |row: CandidateRow| {
        Ok(Candidate { machine: Machine::try_from(row.machine)?, taken: row.taken, occupied: row.occupied })
    };
    rows.into_iter().map(candidate).collect()
}

/// A machine as its host's configuration offers it.
#[derive(Debug, Clone)]
pub struct Offer {
    /// Unique on the host.
    pub local_name: String,
    pub kind: MachineKind,
    pub labels: Labels,
    pub limits: MachineLimits,
}

#[derive(Debug, FromQueryResult)]
struct IdRow {
    id: Uuid,
}

/// Adds or updates a machine of `host`. One that was withdrawn comes back `ready`; a quarantined one stays so.
pub async fn offer(
    tx: &Tx,
    permit: &Permit,
    host: HostId,
    host_name: &str,
    offer: &Offer,
    now: Timestamp,
) -> Result<MachineId, StoreError> {
    let limits = offer.limits;
    let clamp = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
    let small = |value: u32| i32::try_from(value).unwrap_or(i32::MAX);
    let name = format!("{host_name}/{}", offer.local_name);
    let row: Option<IdRow> = sql::one(
        tx.conn(),
        "insert into machines (id, tenant_id, host_id, name, sort_name, local_name, kind, labels, cpu_millis, memory_bytes, pids, \
         disk_bytes, condition, reason, condition_since_ms, verifications) \
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, 'ready', null, $13, 0) \
         on conflict (host_id, local_name) do update set name = excluded.name, sort_name = excluded.sort_name, kind = excluded.kind, \
         labels = excluded.labels, cpu_millis = excluded.cpu_millis, memory_bytes = excluded.memory_bytes, \
         pids = excluded.pids, disk_bytes = excluded.disk_bytes, \
         reason = case when machines.condition = 'withdrawn' then null else machines.reason end, \
         condition_since_ms = case when machines.condition = 'withdrawn' then excluded.condition_since_ms \
             else machines.condition_since_ms end, \
         condition = case when machines.condition = 'withdrawn' then 'ready' else machines.condition end \
         returning id",
        [
            MachineId::new().uuid().into(),
            permit.tenant().uuid().into(),
            host.uuid().into(),
            name.as_str().into(),
            sort_key(&name).into(),
            offer.local_name.as_str().into(),
            offer.kind.word().into(),
            convert::to_json(&offer.labels).into(),
            small(limits.cpu_millis).into(),
            clamp(limits.memory_bytes).into(),
            small(limits.pids).into(),
            clamp(limits.disk_bytes).into(),
            now.as_millisecond().into(),
        ],
    )
    .await?;
    let row = row.ok_or(Corrupt { column: "machines.id", why: "an upsert returned no row".to_owned() })?;
    Ok(MachineId::from_uuid(row.id))
}

/// Withdraws the machines of `host` that are not among `offered`; returns them.
pub async fn withdraw_others(
    tx: &Tx,
    permit: &Permit,
    host: HostId,
    offered: &[MachineId],
    reason: &str,
    now: Timestamp,
) -> Result<Vec<MachineId>, StoreError> {
    let mut query = sql::Build::new("update machines set condition = 'withdrawn', verify_at_ms = null, reason = ");
    query.value(reason).text(", condition_since_ms = ").value(now.as_millisecond());
    query.text(" where condition <> 'withdrawn' and tenant_id = ").value(permit.tenant().uuid());
    query.text(" and host_id = ").value(host.uuid());
    if !offered.is_empty() {
        query.text(" and id not in ").among(offered.iter().map(|id| id.uuid()));
    }
    query.text(" returning id");
    let rows: Vec<IdRow> = sql::all(tx.conn(), &query.sql, query.values).await?;
    Ok(rows.into_iter().map(|row| MachineId::from_uuid(row.id)).collect())
}

/// All machines of `host`, withdrawn ones too.
pub async fn of_host<C: ConnectionTrait>(conn: &C, permit: &Permit, host: HostId) -> Result<Vec<Machine>, StoreError> {
    let rows: Vec<Row> = sql::all(
        conn,
        &format!(
            "select {COLUMNS} from machines m join hosts h on h.id = m.host_id where m.tenant_id = $1 and m.host_id = $2"
        ),
        [permit.tenant().uuid().into(), host.uuid().into()],
    )
    .await?;
    Ok(rows.into_iter().map(Machine::try_from).collect::<Result<_, _>>()?)
}

/// The machine that the host's agent knows by `local_name`.
pub async fn by_local_name<C: ConnectionTrait>(
    conn: &C,
    permit: &Permit,
    host: HostId,
    local_name: &str,
) -> Result<Option<Machine>, StoreError> {
    let row: Option<Row> = sql::one(
        conn,
        &format!(
            "select {COLUMNS} from machines m join hosts h on h.id = m.host_id \
             where m.tenant_id = $1 and m.host_id = $2 and m.local_name = $3"
        ),
        [permit.tenant().uuid().into(), host.uuid().into(), local_name.into()],
    )
    .await?;
    Ok(row.map(Machine::try_from).transpose()?)
}
