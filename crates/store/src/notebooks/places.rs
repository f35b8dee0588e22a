//! Hosts as a run that looks for a place sees them.

use domain::{
    access::Permit,
    ids::{HostId, NotebookEnvironmentId, PersonId, RunId},
    notebooks::{NotebookSize, Place},
};
use sea_orm::FromQueryResult;
use uuid::Uuid;

use crate::{
    StoreError, Tx,
    convert::{self, signed, whole},
    sql,
};

/// Warm runs looked at in one go.
const MAX_WAITING: i64 = 10_000;

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

#[derive(Debug, FromQueryResult)]
struct WaitingRow {
    run_id: Uuid,
    host_id: Uuid,
    is_wanted: bool,
}

/// For whom a place is looked for.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// Whose files bind it; nobody's for a run that is to wait warm.
    pub person: Option<PersonId>,
    pub environment: NotebookEnvironmentId,
    pub size: &'a NotebookSize,
}

/// The tenant's hosts that take notebooks, with what is taken of them, as `wanted` finds them. Hosts that take none are
/// not among them. Under a lock until the transaction ends, so that two who place do not both see the same room.
pub async fn of(tx: &Tx, permit: &Permit, wanted: &Wanted<'_>) -> Result<Vec<Place>, StoreError> {
    let conn = tx.conn();
    sql::one::<_, super::Count>(
        conn,
        &format!("select cast(1 as bigint) as count from tenants where id = $1{}", sql::locking(conn)),
        [permit.tenant().uuid().into()],
    )
    .await?;
    let rows: Vec<PlaceRow> = sql::all(
        conn,
        "select h.id, h.name, h.labels, h.intent, h.link, h.notebooks, \
         cast(coalesce(sum(u.cpu_millis), 0) as bigint) as used_cpu_millis, \
         cast(coalesce(sum(u.memory_bytes), 0) as bigint) as used_memory_bytes, count(u.id) as used_places, \
         exists (select 1 from notebook_volumes v where v.host_id = h.id and v.person_id = $2 and v.transaction_id is null) \
         as has_files \
         from hosts h left join ( \
             select id, host_id, cpu_millis, memory_bytes from notebooks \
             where tenant_id = $1 and state in ('starting', 'running', 'stopping') \
             union all \
             select run_id, host_id, cpu_millis, memory_bytes from notebook_warm_runs \
             where tenant_id = $1 and state in ('starting', 'ready', 'stopping') \
         ) u on u.host_id = h.id \
         where h.tenant_id = $1 and h.deleted_ms is null and h.notebooks is not null \
         group by h.id, h.name, h.labels, h.intent, h.link, h.notebooks order by h.name",
        [permit.tenant().uuid().into(), wanted.person.map_or(Uuid::nil(), PersonId::uuid).into()],
    )
    .await?;
    let waiting: Vec<WaitingRow> = sql::all(
        conn,
        "select run_id, host_id, (environment_id = $2 and size = $3 and cpu_millis = $4 and memory_bytes = $5 \
         and disk_bytes = $6) as is_wanted from notebook_warm_runs \
         where tenant_id = $1 and state = 'ready' order by run_id limit $7",
        [
            permit.tenant().uuid().into(),
            wanted.environment.uuid().into(),
            wanted.size.name.as_str().into(),
            i64::from(wanted.size.cpu_millis).into(),
            signed(wanted.size.memory_bytes).into(),
            signed(wanted.size.disk_bytes).into(),
            MAX_WAITING.into(),
        ],
    )
    .await?;
    let waits = |host: Uuid, is_wanted: bool| {
        let here = waiting.iter().filter(|run| run.host_id == host && run.is_wanted == is_wanted);
        here.map(|run| RunId::from_uuid(run.run_id)).collect()
    };
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
                warm: waits(row.id, true),
                spare: waits(row.id, false),
            })
        })
        .collect()
}
