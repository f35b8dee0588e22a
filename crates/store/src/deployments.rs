//! Deployments of object workers; in files of their own what belongs to them.

pub mod groups;
pub mod namespaces;
pub mod plan;
pub mod versions;

use domain::{
    access::Permit,
    deployments::Deployment,
    ids::{DeploymentId, PersonId, TenantId},
};
use jiff::Timestamp;
use sea_orm::{ConnectionTrait, FromQueryResult};
use uuid::Uuid;

use crate::{Corrupt, StoreError, Tx, addresses, convert, sessions::Written, sql};

#[derive(Debug, FromQueryResult)]
struct Row {
    id: Uuid,
    tenant_id: Uuid,
    name: String,
    version: i64,
    created_by: Uuid,
    created_by_name: String,
    created_ms: i64,
    changed_ms: i64,
    generation: i64,
}

impl TryFrom<Row> for Deployment {
    type Error = Corrupt;
    fn try_from(row: Row) -> Result<Self, Corrupt> {
        Ok(Deployment {
            id: DeploymentId::from_uuid(row.id),
            tenant: TenantId::from_uuid(row.tenant_id),
            name: row.name,
            version: versions::number("deployments.version", row.version)?,
            created_by: PersonId::from_uuid(row.created_by),
            created_by_name: row.created_by_name,
            created_at: convert::time("deployments.created_ms", row.created_ms)?,
            changed_at: convert::time("deployments.changed_ms", row.changed_ms)?,
            generation: row.generation,
        })
    }
}

const SELECT: &str = "select d.id, d.tenant_id, d.name, d.version, d.created_by, p.name as created_by_name, d.created_ms, \
                      d.changed_ms, d.generation from deployments d join people p on p.id = d.created_by";

/// False if another deployment, or a notebook, has the name already.
pub async fn insert(tx: &Tx, deployment: &Deployment) -> Result<bool, StoreError> {
    if !addresses::take(tx, &deployment.name).await? {
        return Ok(false);
    }
    sql::execute(
        tx.conn(),
        "insert into deployments (id, tenant_id, name, version, created_by, created_ms, changed_ms, generation) \
         values ($1, $2, $3, $4, $5, $6, $7, $8)",
        [
            deployment.id.uuid().into(),
            deployment.tenant.uuid().into(),
            deployment.name.as_str().into(),
            i64::from(deployment.version).into(),
            deployment.created_by.uuid().into(),
            deployment.created_at.as_millisecond().into(),
            deployment.changed_at.as_millisecond().into(),
            deployment.generation.into(),
        ],
    )
    .await?;
    Ok(true)
}

pub async fn get<C: ConnectionTrait>(
    conn: &C,
    permit: &Permit,
    id: DeploymentId,
) -> Result<Option<Deployment>, StoreError> {
    one(conn, permit, "d.id = $2", id.uuid().into()).await
}

pub async fn by_name<C: ConnectionTrait>(
    conn: &C,
    permit: &Permit,
    name: &str,
) -> Result<Option<Deployment>, StoreError> {
    one(conn, permit, "d.name = $2", name.into()).await
}

async fn one<C: ConnectionTrait>(
    conn: &C,
    permit: &Permit,
    which: &str,
    value: sea_orm::Value,
) -> Result<Option<Deployment>, StoreError> {
    let query = format!("{SELECT} where d.tenant_id = $1 and {which}");
    let row: Option<Row> = sql::one(conn, &query, [permit.tenant().uuid().into(), value]).await?;
    Ok(row.map(Deployment::try_from).transpose()?)
}

/// By name, those after `after`, at most `limit`.
pub async fn list<C: ConnectionTrait>(
    conn: &C,
    permit: &Permit,
    after: Option<&str>,
    limit: u64,
) -> Result<Vec<Deployment>, StoreError> {
    let rows: Vec<Row> = sql::all(
        conn,
        &format!("{SELECT} where d.tenant_id = $1 and d.name > $2 order by d.name limit $3"),
        [permit.tenant().uuid().into(), after.unwrap_or_default().into(), convert::signed(limit).into()],
    )
    .await?;
    Ok(rows.into_iter().map(Deployment::try_from).collect::<Result<_, _>>()?)
}

pub async fn count(tx: &Tx, permit: &Permit) -> Result<u64, StoreError> {
    #[derive(FromQueryResult)]
    struct Count {
        count: i64,
    }
    let count: Option<Count> = sql::one(
        tx.conn(),
        "select count(*) as count from deployments where tenant_id = $1",
        [permit.tenant().uuid().into()],
    )
    .await?;
    Ok(count.map_or(0, |row| convert::whole(row.count)))
}

/// The deployment runs `version` from now on, if it is still what the caller read.
pub async fn set_version(
    tx: &Tx,
    permit: &Permit,
    read: &Deployment,
    version: u32,
    now: Timestamp,
) -> Result<Written, StoreError> {
    let changed = sql::execute(
        tx.conn(),
        "update deployments set version = $1, changed_ms = $2, generation = generation + 1 \
         where tenant_id = $3 and id = $4 and generation = $5",
        [
            i64::from(version).into(),
            now.as_millisecond().into(),
            permit.tenant().uuid().into(),
            read.id.uuid().into(),
            read.generation.into(),
        ],
    )
    .await?;
    Ok(if changed == 1 { Written::Done } else { Written::Stale })
}

/// Deletes it with its versions, if it is still what the caller read. Its namespaces are left, as deleted: see
/// [`namespaces::delete_all`].
pub async fn delete(tx: &Tx, permit: &Permit, read: &Deployment) -> Result<Written, StoreError> {
    let holder = addresses::Holder {
        kind: addresses::Named::Deployment,
        id: read.id.uuid(),
        generation: read.generation,
        name: &read.name,
    };
    addresses::delete(tx, permit, holder).await
}
