//! Versions of deployments' code, and the modules of which they consist.

use domain::{
    access::Permit,
    deployments::{Digest, Version},
    ids::{DeploymentId, PersonId},
};
use sea_orm::{ConnectionTrait, FromQueryResult};
use uuid::Uuid;

use crate::{Corrupt, StoreError, Tx, convert, sql};

#[derive(Debug, FromQueryResult)]
struct Row {
    deployment_id: Uuid,
    number: i64,
    code: String,
    digest: Vec<u8>,
    bundle_bytes: i64,
    note: String,
    created_by: Uuid,
    created_by_name: String,
    created_ms: i64,
}

pub(super) fn number(column: &'static str, number: i64) -> Result<u32, Corrupt> {
    u32::try_from(number).map_err(|_| Corrupt { column, why: format!("{number} is no version") })
}

pub(super) fn digest(bytes: &[u8]) -> Result<Digest, Corrupt> {
    let digest = <[u8; 32]>::try_from(bytes);
    let why = || format!("{} bytes, not 32", bytes.len());
    Ok(Digest(digest.map_err(|_| Corrupt { column: "deployment_versions.digest", why: why() })?))
}

impl TryFrom<Row> for Version {
    type Error = Corrupt;
    fn try_from(row: Row) -> Result<Self, Corrupt> {
        Ok(Version {
            deployment: DeploymentId::from_uuid(row.deployment_id),
            number: number("deployment_versions.number", row.number)?,
            code: convert::json("deployment_versions.code", &row.code)?,
            bundle: digest(&row.digest)?,
            bundle_bytes: convert::whole(row.bundle_bytes),
            note: row.note,
            created_by: PersonId::from_uuid(row.created_by),
            created_by_name: row.created_by_name,
            created_at: convert::time("deployment_versions.created_ms", row.created_ms)?,
        })
    }
}

const SELECT: &str = "select v.deployment_id, v.number, v.code, v.digest, v.bundle_bytes, v.note, v.created_by, \
                      p.name as created_by_name, v.created_ms from deployment_versions v join people p on p.id = v.created_by";

/// Keeps a version and its modules. Its number must be the next one ([`next_number`]).
pub async fn insert(tx: &Tx, permit: &Permit, version: &Version, body: &[u8]) -> Result<(), StoreError> {
    let (tenant, digest) = (permit.tenant().uuid(), version.bundle.0.to_vec());
    sql::execute(
        tx.conn(),
        "insert into deployment_bundles (tenant_id, digest, body) values ($1, $2, $3) \
         on conflict (tenant_id, digest) do nothing",
        [tenant.into(), digest.clone().into(), body.to_vec().into()],
    )
    .await?;
    sql::execute(
        tx.conn(),
        "insert into deployment_versions (deployment_id, number, tenant_id, code, digest, bundle_bytes, note, created_by, \
         created_ms) values ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        [
            version.deployment.uuid().into(),
            i64::from(version.number).into(),
            tenant.into(),
            convert::to_json(&version.code).into(),
            digest.into(),
            convert::signed(version.bundle_bytes).into(),
            version.note.as_str().into(),
            version.created_by.uuid().into(),
            version.created_at.as_millisecond().into(),
        ],
    )
    .await?;
    Ok(())
}

/// One more than the highest that the deployment has had and keeps.
pub async fn next_number(tx: &Tx, permit: &Permit, deployment: DeploymentId) -> Result<u32, StoreError> {
    #[derive(FromQueryResult)]
    struct Highest {
        highest: Option<i64>,
    }
    let row: Option<Highest> = sql::one(
        tx.conn(),
        "select max(number) as highest from deployment_versions where tenant_id = $1 and deployment_id = $2",
        [permit.tenant().uuid().into(), deployment.uuid().into()],
    )
    .await?;
    let highest = row.and_then(|row| row.highest).unwrap_or(0);
    Ok(number("deployment_versions.number", highest + 1)?)
}

pub async fn get<C: ConnectionTrait>(
    conn: &C,
    permit: &Permit,
    deployment: DeploymentId,
    number: u32,
) -> Result<Option<Version>, StoreError> {
    let row: Option<Row> = sql::one(
        conn,
        &format!("{SELECT} where v.tenant_id = $1 and v.deployment_id = $2 and v.number = $3"),
        [permit.tenant().uuid().into(), deployment.uuid().into(), i64::from(number).into()],
    )
    .await?;
    Ok(row.map(Version::try_from).transpose()?)
}

/// Newest first, those before `before`, at most `limit`.
pub async fn list<C: ConnectionTrait>(
    conn: &C,
    permit: &Permit,
    deployment: DeploymentId,
    before: Option<u32>,
    limit: u64,
) -> Result<Vec<Version>, StoreError> {
    let rows: Vec<Row> = sql::all(
        conn,
        &format!(
            "{SELECT} where v.tenant_id = $1 and v.deployment_id = $2 and v.number < $3 order by v.number desc limit $4"
        ),
        [
            permit.tenant().uuid().into(),
            deployment.uuid().into(),
            before.map_or(i64::MAX, i64::from).into(),
            convert::signed(limit).into(),
        ],
    )
    .await?;
    Ok(rows.into_iter().map(Version::try_from).collect::<Result<_, _>>()?)
}

/// What the versions that the tenant runs say of themselves, together.
pub async fn running_bytes(tx: &Tx, permit: &Permit) -> Result<u64, StoreError> {
    #[derive(FromQueryResult)]
    struct Sum {
        bytes: Option<i64>,
    }
    let sum: Option<Sum> = sql::one(
        tx.conn(),
        "select cast(sum(octet_length(v.code)) as bigint) as bytes from deployments d \
         join deployment_versions v on v.deployment_id = d.id and v.number = d.version where d.tenant_id = $1",
        [permit.tenant().uuid().into()],
    )
    .await?;
    Ok(sum.and_then(|row| row.bytes).map_or(0, convert::whole))
}

/// Deletes the versions up to `number`, but for the one that runs, and what modules no version has any more.
pub async fn forget(tx: &Tx, permit: &Permit, deployment: DeploymentId, number: u32) -> Result<(), StoreError> {
    sql::execute(
        tx.conn(),
        "delete from deployment_versions where tenant_id = $1 and deployment_id = $2 and number <= $3 \
         and number <> (select version from deployments where id = $2)",
        [permit.tenant().uuid().into(), deployment.uuid().into(), i64::from(number).into()],
    )
    .await?;
    forget_bundles(tx, permit).await
}

/// Deletes modules that no version has.
pub async fn forget_bundles(tx: &Tx, permit: &Permit) -> Result<(), StoreError> {
    sql::execute(
        tx.conn(),
        "delete from deployment_bundles where tenant_id = $1 and not exists (select 1 from deployment_versions v \
         where v.tenant_id = deployment_bundles.tenant_id and v.digest = deployment_bundles.digest)",
        [permit.tenant().uuid().into()],
    )
    .await?;
    Ok(())
}

/// The modules of a version, as they were kept.
pub async fn bundle<C: ConnectionTrait>(
    conn: &C,
    permit: &Permit,
    digest: Digest,
) -> Result<Option<Vec<u8>>, StoreError> {
    #[derive(FromQueryResult)]
    struct Body {
        body: Vec<u8>,
    }
    let row: Option<Body> = sql::one(
        conn,
        "select body from deployment_bundles where tenant_id = $1 and digest = $2",
        [permit.tenant().uuid().into(), digest.0.to_vec().into()],
    )
    .await?;
    Ok(row.map(|row| row.body))
}
