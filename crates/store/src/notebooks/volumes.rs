//! People's files on hosts.

use domain::{
    access::Permit,
    ids::{HostId, PersonId, TenantId, TransactionId, VolumeId},
    notebooks::{Volume, Work},
};
use jiff::Timestamp;
use sea_orm::{ConnectionTrait, FromQueryResult};
use uuid::Uuid;

use crate::{
    Corrupt, StoreError, Tx,
    convert::{self, signed, whole},
    machines, sql,
};

#[derive(Debug, FromQueryResult)]
struct Row {
    id: Uuid,
    tenant_id: Uuid,
    person_id: Uuid,
    person_name: String,
    host_id: Uuid,
    host_name: String,
    size_bytes: i64,
    created_ms: i64,
    transaction_id: Option<Uuid>,
    cause: Option<String>,
}

const COLUMNS: &str = "v.id, v.tenant_id, v.person_id, p.name as person_name, v.host_id, h.name as host_name, v.size_bytes, \
    v.created_ms, v.transaction_id, v.cause";
const TABLES: &str = "notebook_volumes v join people p on p.id = v.person_id join hosts h on h.id = v.host_id";

impl TryFrom<Row> for Volume {
    type Error = Corrupt;
    fn try_from(row: Row) -> Result<Self, Corrupt> {
        Ok(Volume {
            id: VolumeId::from_uuid(row.id),
            tenant: TenantId::from_uuid(row.tenant_id),
            person: PersonId::from_uuid(row.person_id),
            person_name: row.person_name,
            host: HostId::from_uuid(row.host_id),
            host_name: row.host_name,
            size_bytes: whole(row.size_bytes),
            created_at: convert::time("notebook_volumes.created_ms", row.created_ms)?,
            removal: row.transaction_id.map(TransactionId::from_uuid),
            cause: row.cause,
        })
    }
}

/// The person's files on the host; the first time they are noted. They have room for `size_bytes` from now on, if that is more
/// than before. `None` while they are being deleted.
pub async fn ensure(
    tx: &Tx,
    permit: &Permit,
    person: PersonId,
    host: HostId,
    size_bytes: u64,
    now: Timestamp,
) -> Result<Option<(VolumeId, u64)>, StoreError> {
    #[derive(FromQueryResult)]
    struct Ensured {
        id: Uuid,
        size_bytes: i64,
    }
    let row: Option<Ensured> = sql::one(
        tx.conn(),
        "insert into notebook_volumes (id, tenant_id, person_id, host_id, size_bytes, created_ms) \
         values ($1, $2, $3, $4, $5, $6) on conflict (person_id, host_id) do update set size_bytes = \
         case when notebook_volumes.size_bytes < excluded.size_bytes then excluded.size_bytes \
         else notebook_volumes.size_bytes end where notebook_volumes.transaction_id is null returning id, size_bytes",
        [
            VolumeId::new().uuid().into(),
            permit.tenant().uuid().into(),
            person.uuid().into(),
            host.uuid().into(),
            signed(size_bytes).into(),
            now.as_millisecond().into(),
        ],
    )
    .await?;
    Ok(row.map(|row| (VolumeId::from_uuid(row.id), whole(row.size_bytes))))
}

/// Oldest first, after `after`, at most `limit`; those of one person, or the tenant's.
pub async fn list<C: ConnectionTrait>(
    conn: &C,
    permit: &Permit,
    person: Option<PersonId>,
    after: Option<VolumeId>,
    limit: u64,
) -> Result<Vec<Volume>, StoreError> {
    let mut query = sql::Build::new(&format!("select {COLUMNS} from {TABLES} where v.tenant_id = "));
    query.value(permit.tenant().uuid());
    if let Some(person) = person {
        query.text(" and v.person_id = ").value(person.uuid());
    }
    if let Some(after) = after {
        query.text(" and v.id > ").value(after.uuid());
    }
    query.text(" order by v.id limit ").value(signed(limit));
    let rows: Vec<Row> = sql::all(conn, &query.sql, query.values).await?;
    Ok(rows.into_iter().map(Volume::try_from).collect::<Result<_, _>>()?)
}

pub async fn get<C: ConnectionTrait>(conn: &C, permit: &Permit, id: VolumeId) -> Result<Option<Volume>, StoreError> {
    let row: Option<Row> = sql::one(
        conn,
        &format!("select {COLUMNS} from {TABLES} where v.tenant_id = $1 and v.id = $2"),
        [permit.tenant().uuid().into(), id.uuid().into()],
    )
    .await?;
    Ok(row.map(Volume::try_from).transpose()?)
}

/// Notes the instruction that deletes them, in place of `read`. False if a notebook of the person is on that host, or somebody
/// else was first.
pub async fn begin_removal(
    tx: &Tx,
    permit: &Permit,
    volume: &Volume,
    transaction: TransactionId,
) -> Result<bool, StoreError> {
    let changed = sql::execute(
        tx.conn(),
        "update notebook_volumes set transaction_id = $1, cause = null where tenant_id = $2 and id = $3 \
         and (transaction_id is null or transaction_id = $4) and not exists (select 1 from notebooks n \
         where n.person_id = notebook_volumes.person_id and n.host_id = notebook_volumes.host_id \
         and n.state in ('starting', 'running', 'stopping'))",
        [
            transaction.uuid().into(),
            permit.tenant().uuid().into(),
            volume.id.uuid().into(),
            volume.removal.map(TransactionId::uuid).into(),
        ],
    )
    .await?;
    Ok(changed == 1)
}

/// They could not be deleted, and are there as they were.
pub async fn keep(tx: &Tx, permit: &Permit, volume: &Volume, cause: &str) -> Result<(), StoreError> {
    sql::execute(
        tx.conn(),
        "update notebook_volumes set transaction_id = null, cause = $1 where tenant_id = $2 and id = $3",
        [cause.into(), permit.tenant().uuid().into(), volume.id.uuid().into()],
    )
    .await?;
    Ok(())
}

pub async fn forget(tx: &Tx, permit: &Permit, volume: &Volume) -> Result<(), StoreError> {
    sql::execute(
        tx.conn(),
        "delete from notebook_volumes where tenant_id = $1 and id = $2",
        [permit.tenant().uuid().into(), volume.id.uuid().into()],
    )
    .await?;
    Ok(())
}

#[derive(Debug, FromQueryResult)]
struct DueRow {
    #[sea_orm(nested)]
    volume: Row,
    work_state: Option<String>,
    work_cause: Option<String>,
}

/// Of all tenants: those that are being deleted, and how that stands; at most `limit`.
pub async fn due<C: ConnectionTrait>(conn: &C, limit: u64) -> Result<Vec<(Volume, Option<Work>)>, StoreError> {
    let rows: Vec<DueRow> = sql::all(
        conn,
        &format!(
            "select {COLUMNS}, t.state as work_state, t.cause as work_cause from {TABLES} \
             left join transactions t on t.id = v.transaction_id where v.transaction_id is not null order by v.id limit $1"
        ),
        [signed(limit).into()],
    )
    .await?;
    rows.into_iter()
        .map(|row| {
            let work = machines::work(row.work_state, row.work_cause)?;
            let work = work.map(|work| Work { state: work.state, cause: work.cause });
            Ok((Volume::try_from(row.volume)?, work))
        })
        .collect()
}
