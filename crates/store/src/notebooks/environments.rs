//! What notebooks are made from.

use domain::{
    access::Permit,
    ids::{NotebookEnvironmentId, PersonId, TenantId},
    notebooks::{NotebookEnvironment, Pool, Software},
};
use sea_orm::{ConnectionTrait, FromQueryResult};
use uuid::Uuid;

use crate::{
    Corrupt, StoreError, Tx,
    convert::{self, signed},
    sql,
};

#[derive(Debug, FromQueryResult)]
struct Row {
    id: Uuid,
    tenant_id: Uuid,
    name: String,
    requirements: String,
    image: Option<String>,
    warm_count: i64,
    warm_size: Option<String>,
    created_by: Option<Uuid>,
    created_ms: i64,
}

impl TryFrom<Row> for NotebookEnvironment {
    type Error = Corrupt;
    fn try_from(row: Row) -> Result<Self, Corrupt> {
        Ok(NotebookEnvironment {
            id: NotebookEnvironmentId::from_uuid(row.id),
            tenant: TenantId::from_uuid(row.tenant_id),
            name: row.name,
            software: match row.image {
                Some(image) => Software::Image { image },
                None => Software::Packages { requirements: row.requirements },
            },
            pool: row.warm_size.map(|size| Pool { count: u32::try_from(row.warm_count).unwrap_or(0), size }),
            created_by: row.created_by.map(PersonId::from_uuid),
            created_at: convert::time("notebook_environments.created_ms", row.created_ms)?,
        })
    }
}

const COLUMNS: &str = "id, tenant_id, name, requirements, image, warm_count, warm_size, created_by, created_ms";

/// False if another has the name already.
pub async fn insert(tx: &Tx, environment: &NotebookEnvironment) -> Result<bool, StoreError> {
    let (requirements, image) = match &environment.software {
        Software::Packages { requirements } => (requirements.as_str(), None),
        Software::Image { image } => ("", Some(image.as_str())),
    };
    let inserted = sql::execute(
        tx.conn(),
        "insert into notebook_environments (id, tenant_id, name, requirements, image, created_by, created_ms) \
         values ($1, $2, $3, $4, $5, $6, $7) on conflict (tenant_id, name) do nothing",
        [
            environment.id.uuid().into(),
            environment.tenant.uuid().into(),
            environment.name.as_str().into(),
            requirements.into(),
            image.into(),
            environment.created_by.map(PersonId::uuid).into(),
            environment.created_at.as_millisecond().into(),
        ],
    )
    .await?;
    Ok(inserted == 1)
}

/// By name, those after `after`, at most `limit`.
pub async fn list<C: ConnectionTrait>(
    conn: &C,
    permit: &Permit,
    after: Option<&str>,
    limit: u64,
) -> Result<Vec<NotebookEnvironment>, StoreError> {
    let rows: Vec<Row> = sql::all(
        conn,
        &format!(
            "select {COLUMNS} from notebook_environments where tenant_id = $1 and name > $2 \
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

pub async fn get<C: ConnectionTrait>(
    conn: &C,
    permit: &Permit,
    id: NotebookEnvironmentId,
) -> Result<Option<NotebookEnvironment>, StoreError> {
    one(conn, permit, "id = $2", id.uuid().into()).await
}

pub async fn by_name<C: ConnectionTrait>(
    conn: &C,
    permit: &Permit,
    name: &str,
) -> Result<Option<NotebookEnvironment>, StoreError> {
    one(conn, permit, "name = $2", name.into()).await
}

async fn one<C: ConnectionTrait>(
    conn: &C,
    permit: &Permit,
    which: &str,
    value: sea_orm::Value,
) -> Result<Option<NotebookEnvironment>, StoreError> {
    let row: Option<Row> = sql::one(
        conn,
        &format!("select {COLUMNS} from notebook_environments where tenant_id = $1 and {which}"),
        [permit.tenant().uuid().into(), value],
    )
    .await?;
    Ok(row.map(NotebookEnvironment::try_from).transpose()?)
}

/// False if a notebook or a warm run still uses it, or there is none.
pub async fn delete(tx: &Tx, permit: &Permit, id: NotebookEnvironmentId) -> Result<bool, StoreError> {
    let deleted = sql::execute(
        tx.conn(),
        "delete from notebook_environments where tenant_id = $1 and id = $2 and created_by is not null \
         and not exists (select 1 from notebooks where environment_id = notebook_environments.id) \
         and not exists (select 1 from notebook_warm_runs where environment_id = notebook_environments.id)",
        [permit.tenant().uuid().into(), id.uuid().into()],
    )
    .await?;
    Ok(deleted == 1)
}

/// Sets how many started ones wait. False if there is no such environment.
pub async fn set_pool(
    tx: &Tx,
    permit: &Permit,
    id: NotebookEnvironmentId,
    pool: Option<&Pool>,
) -> Result<bool, StoreError> {
    let changed = sql::execute(
        tx.conn(),
        "update notebook_environments set warm_count = $1, warm_size = $2 where tenant_id = $3 and id = $4",
        [
            i64::from(pool.map_or(0, |pool| pool.count)).into(),
            pool.map(|pool| pool.size.as_str()).into(),
            permit.tenant().uuid().into(),
            id.uuid().into(),
        ],
    )
    .await?;
    Ok(changed == 1)
}

/// Those of all tenants of which started ones are to wait.
pub async fn pooled<C: ConnectionTrait>(conn: &C, limit: u64) -> Result<Vec<NotebookEnvironment>, StoreError> {
    let rows: Vec<Row> = sql::all(
        conn,
        &format!("select {COLUMNS} from notebook_environments where warm_count > 0 order by tenant_id, name limit $1"),
        [signed(limit).into()],
    )
    .await?;
    Ok(rows.into_iter().map(NotebookEnvironment::try_from).collect::<Result<_, _>>()?)
}
