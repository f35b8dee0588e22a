//! What hosts are told of deployments, read for all of a tenant at once; and what of it is not settled yet.

use std::collections::{HashMap, HashSet};

use domain::{
    access::Permit,
    deployments::{Candidate, Class, Code, Digest, Held, ObjectOffer},
    hosts::{HostIntent, HostLink},
    ids::{DeploymentId, HostId, NamespaceId, TenantId},
};
use jiff::Timestamp;
use sea_orm::{ConnectionTrait, FromQueryResult};
use uuid::Uuid;

use super::{groups, versions};
use crate::{Corrupt, StoreError, convert, sql};

/// A deployment and what it runs.
#[derive(Debug, Clone)]
pub struct Running {
    pub id: DeploymentId,
    pub name: String,
    pub version: u32,
    pub code: Code,
    pub bundle: Digest,
    pub classes: Vec<Class>,
    pub groups: Vec<Held>,
}

/// All of the tenant's, by name, at most `limit`.
pub async fn running<C: ConnectionTrait>(conn: &C, permit: &Permit, limit: u64) -> Result<Vec<Running>, StoreError> {
    #[derive(FromQueryResult)]
    struct Row {
        id: Uuid,
        name: String,
        version: i64,
        code: String,
        digest: Vec<u8>,
    }
    let tenant = permit.tenant().uuid();
    let rows: Vec<Row> = sql::all(
        conn,
        "select d.id, d.name, d.version, v.code, v.digest from deployments d \
         join deployment_versions v on v.deployment_id = d.id and v.number = d.version \
         where d.tenant_id = $1 order by d.name limit $2",
        [tenant.into(), convert::signed(limit).into()],
    )
    .await?;
    let mut classes = classes(conn, permit).await?;
    let mut groups = groups::all(conn, permit).await?;
    let running = rows.into_iter().map(|row| {
        let id = DeploymentId::from_uuid(row.id);
        Ok(Running {
            id,
            name: row.name,
            version: versions::number("deployments.version", row.version)?,
            code: convert::json("deployment_versions.code", &row.code)?,
            bundle: versions::digest(&row.digest)?,
            classes: classes.remove(&id).unwrap_or_default(),
            groups: groups.remove(&id).unwrap_or_default(),
        })
    });
    Ok(running.collect::<Result<_, Corrupt>>()?)
}

async fn classes<C: ConnectionTrait>(
    conn: &C,
    permit: &Permit,
) -> Result<HashMap<DeploymentId, Vec<Class>>, StoreError> {
    #[derive(FromQueryResult)]
    struct Row {
        id: Uuid,
        deployment_id: Uuid,
        class: String,
    }
    let rows: Vec<Row> = sql::all(
        conn,
        "select id, deployment_id, class from deployment_namespaces \
         where tenant_id = $1 and deleted_ms is null and deployment_id is not null order by class",
        [permit.tenant().uuid().into()],
    )
    .await?;
    let mut classes: HashMap<DeploymentId, Vec<Class>> = HashMap::new();
    for row in rows {
        let class = Class { name: row.class, namespace: NamespaceId::from_uuid(row.id) };
        classes.entry(DeploymentId::from_uuid(row.deployment_id)).or_default().push(class);
    }
    Ok(classes)
}

/// The namespaces that were deleted since, newest first, at most `limit`.
pub async fn deleted<C: ConnectionTrait>(
    conn: &C,
    permit: &Permit,
    since: Timestamp,
    limit: u64,
) -> Result<Vec<NamespaceId>, StoreError> {
    #[derive(FromQueryResult)]
    struct Row {
        id: Uuid,
    }
    let rows: Vec<Row> = sql::all(
        conn,
        "select id from deployment_namespaces where tenant_id = $1 and deleted_ms >= $2 order by deleted_ms desc limit $3",
        [permit.tenant().uuid().into(), since.as_millisecond().into(), convert::signed(limit).into()],
    )
    .await?;
    Ok(rows.into_iter().map(|row| NamespaceId::from_uuid(row.id)).collect())
}

/// A host that runs objects.
#[derive(Debug, Clone)]
pub struct ObjectHost {
    pub host: HostId,
    pub name: String,
    pub offer: ObjectOffer,
    pub is_online: bool,
    pub intent: HostIntent,
}

impl ObjectHost {
    pub fn candidate(&self) -> Candidate {
        Candidate { host: self.host, is_ready: self.is_online && self.intent == HostIntent::InService }
    }
}

/// Those that may link, by name, at most `limit`.
pub async fn hosts<C: ConnectionTrait>(conn: &C, permit: &Permit, limit: u64) -> Result<Vec<ObjectHost>, StoreError> {
    #[derive(FromQueryResult)]
    struct Row {
        id: Uuid,
        name: String,
        objects: String,
        link: String,
        intent: String,
    }
    let rows: Vec<Row> = sql::all(
        conn,
        "select id, name, objects, link, intent from hosts \
         where tenant_id = $1 and deleted_ms is null and objects is not null and intent not in ($2, $3) \
         order by name limit $4",
        [
            permit.tenant().uuid().into(),
            HostIntent::Pending.word().into(),
            HostIntent::Revoked.word().into(),
            convert::signed(limit).into(),
        ],
    )
    .await?;
    let hosts = rows.into_iter().map(|row| {
        Ok(ObjectHost {
            host: HostId::from_uuid(row.id),
            name: row.name,
            offer: convert::json("hosts.objects", &row.objects)?,
            is_online: convert::word::<HostLink>("hosts.link", &row.link)? == HostLink::Online,
            intent: convert::word("hosts.intent", &row.intent)?,
        })
    });
    Ok(hosts.collect::<Result<_, Corrupt>>()?)
}

/// Deployments some of whose groups have no host, or one that was deleted: of any tenant that has a host which is ready to take
/// them, at most `limit`.
pub async fn unplaced<C: ConnectionTrait>(
    conn: &C,
    groups: u16,
    limit: u64,
) -> Result<Vec<(TenantId, DeploymentId)>, StoreError> {
    #[derive(FromQueryResult)]
    struct Row {
        tenant_id: Uuid,
        id: Uuid,
    }
    let rows: Vec<Row> = sql::all(
        conn,
        "select d.tenant_id, d.id from deployments d where (select count(*) from object_groups g \
         join hosts h on h.id = g.host_id and h.deleted_ms is null where g.deployment_id = d.id) < $1 \
         and exists (select 1 from hosts r where r.tenant_id = d.tenant_id and r.deleted_ms is null \
         and r.objects is not null and r.link = $2 and r.intent = $3) \
         order by d.id limit $4",
        [
            i64::from(groups).into(),
            HostLink::Online.word().into(),
            HostIntent::InService.word().into(),
            convert::signed(limit).into(),
        ],
    )
    .await?;
    let ids = |row: Row| (TenantId::from_uuid(row.tenant_id), DeploymentId::from_uuid(row.id));
    Ok(rows.into_iter().map(ids).collect())
}

/// Those of these deployments that have classes of objects, and some of whose groups have no host, or one that was deleted.
pub async fn unplaced_of<C: ConnectionTrait>(
    conn: &C,
    permit: &Permit,
    groups: u16,
    of: &[DeploymentId],
) -> Result<HashSet<DeploymentId>, StoreError> {
    #[derive(FromQueryResult)]
    struct Row {
        id: Uuid,
    }
    let mut build = sql::Build::new("select d.id from deployments d where d.tenant_id = ");
    build.value(permit.tenant().uuid()).text(" and d.id in ").among(of.iter().map(|id| id.uuid()));
    build.text(
        " and exists (select 1 from deployment_namespaces n where n.deployment_id = d.id and n.deleted_ms is null) \
         and (select count(*) from object_groups g join hosts h on h.id = g.host_id and h.deleted_ms is null \
         where g.deployment_id = d.id) < ",
    );
    build.value(i64::from(groups));
    let rows: Vec<Row> = sql::all(conn, &build.sql, build.values).await?;
    Ok(rows.into_iter().map(|row| DeploymentId::from_uuid(row.id)).collect())
}

/// What an address leads to: a deployment of some tenant.
pub async fn by_address<C: ConnectionTrait>(
    conn: &C,
    name: &str,
) -> Result<Option<(TenantId, DeploymentId)>, StoreError> {
    #[derive(FromQueryResult)]
    struct Row {
        tenant_id: Uuid,
        id: Uuid,
    }
    let row: Option<Row> =
        sql::one(conn, "select tenant_id, id from deployments where name = $1", [name.into()]).await?;
    Ok(row.map(|row| (TenantId::from_uuid(row.tenant_id), DeploymentId::from_uuid(row.id))))
}
