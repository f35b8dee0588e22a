//! Hosts: what is intended with them, how their links stand.

use domain::{
    access::Permit,
    deployments::ObjectOffer,
    hosts::{Host, HostIntent, HostLink},
    ids::{HostId, TenantId, ZeroCertificateId},
    labels::Labels,
    names::sort_key,
    notebooks::NotebookOffer,
};
use jiff::Timestamp;
use sea_orm::{
    ActiveValue::Set,
    Condition, ConnectionTrait, QueryOrder, QuerySelect,
    entity::prelude::*,
    sea_query::{CaseStatement, Expr, ExprTrait as _, Func},
};

use crate::{Corrupt, Store, StoreError, Tx, convert};

#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "hosts")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    pub tenant_id: Uuid,
    pub name: String,
    pub labels: String,
    pub intent: String,
    pub link: String,
    pub link_since_ms: i64,
    pub link_owner: Option<Uuid>,
    pub last_heartbeat_ms: Option<i64>,
    pub agent_version: Option<String>,
    pub zero_certificate_id: Option<Uuid>,
    pub enrolled_ms: i64,
    pub certificate_serial: String,
    pub certificate_expires_ms: i64,
    pub deleted_ms: Option<i64>,
    pub tunnel_owner: Option<Uuid>,
    pub sort_name: String,
    pub notebooks: Option<String>,
    pub objects: Option<String>,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}
impl ActiveModelBehavior for ActiveModel {}

impl TryFrom<Model> for Host {
    type Error = Corrupt;
    fn try_from(row: Model) -> Result<Self, Corrupt> {
        Ok(Host {
            id: HostId::from_uuid(row.id),
            tenant: TenantId::from_uuid(row.tenant_id),
            name: row.name,
            labels: convert::json("hosts.labels", &row.labels)?,
            intent: convert::word("hosts.intent", &row.intent)?,
            link: convert::word("hosts.link", &row.link)?,
            link_since: convert::time("hosts.link_since_ms", row.link_since_ms)?,
            last_heartbeat_at: convert::time_opt("hosts.last_heartbeat_ms", row.last_heartbeat_ms)?,
            agent_version: row.agent_version,
            enrolled_at: convert::time("hosts.enrolled_ms", row.enrolled_ms)?,
            certificate_serial: row.certificate_serial,
            certificate_expires_at: convert::time("hosts.certificate_expires_ms", row.certificate_expires_ms)?,
        })
    }
}

/// Which hosts are wanted; all that is given has to hold. Labels are looked at by the caller.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Part of the name, in any case.
    pub name: Option<String>,
    pub intent: Option<HostIntent>,
    pub link: Option<HostLink>,
}

fn of(permit: &Permit) -> Select<Entity> {
    Entity::find().filter(Column::TenantId.eq(permit.tenant().uuid())).filter(Column::DeletedMs.is_null())
}

fn hosts(rows: Vec<Model>) -> Result<Vec<Host>, StoreError> {
    Ok(rows.into_iter().map(Host::try_from).collect::<Result<_, _>>()?)
}

/// A host that has just joined. Its name has to be free: see [`is_name_taken`], in the same transaction.
pub async fn insert(
    tx: &Tx,
    permit: &Permit,
    host: &Host,
    zero_certificate: ZeroCertificateId,
) -> Result<(), StoreError> {
    let row = ActiveModel {
        id: Set(host.id.uuid()),
        tenant_id: Set(permit.tenant().uuid()),
        name: Set(host.name.clone()),
        labels: Set(convert::to_json(&host.labels)),
        intent: Set(host.intent.word().to_owned()),
        link: Set(host.link.word().to_owned()),
        link_since_ms: Set(host.link_since.as_millisecond()),
        link_owner: Set(None),
        last_heartbeat_ms: Set(None),
        agent_version: Set(None),
        zero_certificate_id: Set(Some(zero_certificate.uuid())),
        enrolled_ms: Set(host.enrolled_at.as_millisecond()),
        certificate_serial: Set(host.certificate_serial.clone()),
        certificate_expires_ms: Set(host.certificate_expires_at.as_millisecond()),
        deleted_ms: Set(None),
        tunnel_owner: Set(None),
        sort_name: Set(sort_key(&host.name)),
        notebooks: Set(None),
        objects: Set(None),
    };
    Entity::insert(row).exec_without_returning(tx.conn()).await?;
    Ok(())
}

pub async fn is_name_taken(tx: &Tx, permit: &Permit, name: &str) -> Result<bool, StoreError> {
    Ok(of(permit).filter(Column::Name.eq(name)).one(tx.conn()).await?.is_some())
}

pub async fn get(store: &Store, permit: &Permit, id: HostId) -> Result<Option<Host>, StoreError> {
    get_by(store.read(), permit, id).await
}

/// The host as this transaction sees it.
pub async fn get_in(tx: &Tx, permit: &Permit, id: HostId) -> Result<Option<Host>, StoreError> {
    get_by(tx.conn(), permit, id).await
}

async fn get_by(conn: &impl ConnectionTrait, permit: &Permit, id: HostId) -> Result<Option<Host>, StoreError> {
    let row = of(permit).filter(Column::Id.eq(id.uuid())).one(conn).await?;
    Ok(row.map(Host::try_from).transpose()?)
}

/// By name, those after `after`, at most `limit`.
pub async fn list(
    store: &Store,
    permit: &Permit,
    filter: &Filter,
    after: Option<&str>,
    limit: u64,
) -> Result<Vec<Host>, StoreError> {
    let mut wanted = Condition::all();
    if let Some(name) = &filter.name {
        let part = name.to_lowercase().replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_");
        wanted = wanted.add(
            Expr::expr(Func::lower(Expr::col(Column::Name)))
                .like(sea_orm::sea_query::LikeExpr::new(format!("%{part}%")).escape('\\')),
        );
    }
    if let Some(intent) = filter.intent {
        wanted = wanted.add(Column::Intent.eq(intent.word()));
    }
    if let Some(link) = filter.link {
        wanted = wanted.add(Column::Link.eq(link.word()));
    }
    if let Some(after) = after {
        wanted = wanted.add(Column::SortName.gt(sort_key(after)));
    }
    hosts(of(permit).filter(wanted).order_by_asc(Column::SortName).limit(limit).all(store.read()).await?)
}

/// The hosts of these names; fewer than names if some are unknown.
pub async fn by_names(store: &Store, permit: &Permit, names: &[String]) -> Result<Vec<Host>, StoreError> {
    let query = of(permit).filter(Column::Name.is_in(names.iter().map(String::as_str)));
    hosts(query.order_by_asc(Column::Name).all(store.read()).await?)
}

/// Sets the intent if it is still `from`; false if it changed meanwhile.
pub async fn set_intent(
    tx: &Tx,
    permit: &Permit,
    id: HostId,
    from: HostIntent,
    to: HostIntent,
) -> Result<bool, StoreError> {
    let result = Entity::update_many()
        .col_expr(Column::Intent, Expr::value(to.word()))
        .filter(Column::Id.eq(id.uuid()))
        .filter(Column::TenantId.eq(permit.tenant().uuid()))
        .filter(Column::DeletedMs.is_null())
        .filter(Column::Intent.eq(from.word()))
        .exec(tx.conn())
        .await?;
    Ok(result.rows_affected == 1)
}

/// Whether some session on the host is neither ended nor failed.
pub async fn has_open_sessions(tx: &Tx, permit: &Permit, id: HostId) -> Result<bool, StoreError> {
    let statement = sea_orm::Statement::from_sql_and_values(
        tx.conn().get_database_backend(),
        "select 1 from sessions where tenant_id = $1 and host_id = $2 and state not in ('ended', 'failed') limit 1",
        [permit.tenant().uuid().into(), id.uuid().into()],
    );
    Ok(tx.conn().query_one_raw(statement).await?.is_some())
}

/// Deletes the host: its name and those of its machines are free again, and what joins under them inherits nothing. The
/// rows stay for the history of its sessions, the machines under names that nobody can book.
pub async fn delete(tx: &Tx, permit: &Permit, id: HostId, now: Timestamp) -> Result<bool, StoreError> {
    let conn = tx.conn();
    let result = Entity::update_many()
        .col_expr(Column::DeletedMs, Expr::value(now.as_millisecond()))
        .col_expr(Column::Link, Expr::value(HostLink::Offline.word()))
        .col_expr(Column::LinkOwner, Expr::value(Option::<Uuid>::None))
        .filter(Column::Id.eq(id.uuid()))
        .filter(Column::TenantId.eq(permit.tenant().uuid()))
        .filter(Column::DeletedMs.is_null())
        .exec(conn)
        .await?;
    if result.rows_affected == 0 {
        return Ok(false);
    }
    let mark = format!("~{}", id.uuid().simple());
    let statement = sea_orm::Statement::from_sql_and_values(
        conn.get_database_backend(),
        "update machines set name = name || $1, condition = 'withdrawn', reason = 'its host was deleted', \
         condition_since_ms = $2 where tenant_id = $3 and host_id = $4",
        [mark.into(), now.as_millisecond().into(), permit.tenant().uuid().into(), id.uuid().into()],
    );
    conn.execute_raw(statement).await?;
    Ok(true)
}

/// What a host says of itself when its link comes up.
#[derive(Debug, Clone)]
pub struct LinkUp {
    pub host: HostId,
    pub host_name: String,
    pub owner: uuid::Uuid,
    pub agent_version: String,
    pub labels: Labels,
    /// What it has for notebooks.
    pub notebooks: Option<NotebookOffer>,
    /// `None` where it runs no objects.
    pub objects: Option<ObjectOffer>,
    pub serial: String,
    pub certificate_expires_at: Timestamp,
}

/// The link is up and held by replica `owner`. False if the host was deleted or may not link any more.
pub async fn link_up(tx: &Tx, permit: &Permit, up: &LinkUp, now: Timestamp) -> Result<bool, StoreError> {
    // A link that is replaced by another stays up.
    let since = CaseStatement::new()
        .case(Column::Link.eq(HostLink::Online.word()), Expr::col(Column::LinkSinceMs))
        .finally(now.as_millisecond());
    let result = Entity::update_many()
        .col_expr(Column::SortName, Expr::value(sort_key(&up.host_name)))
        .col_expr(Column::Link, Expr::value(HostLink::Online.word()))
        .col_expr(Column::LinkSinceMs, since.into())
        .col_expr(Column::LinkOwner, Expr::value(Some(up.owner)))
        .col_expr(Column::LastHeartbeatMs, Expr::value(Some(now.as_millisecond())))
        .col_expr(Column::AgentVersion, Expr::value(Some(up.agent_version.clone())))
        .col_expr(Column::Labels, Expr::value(convert::to_json(&up.labels)))
        .col_expr(Column::Notebooks, Expr::value(up.notebooks.as_ref().map(convert::to_json)))
        .col_expr(Column::Objects, Expr::value(up.objects.as_ref().map(convert::to_json)))
        .col_expr(Column::CertificateSerial, Expr::value(up.serial.clone()))
        .col_expr(Column::CertificateExpiresMs, Expr::value(up.certificate_expires_at.as_millisecond()))
        .filter(Column::Id.eq(up.host.uuid()))
        .filter(Column::TenantId.eq(permit.tenant().uuid()))
        .filter(Column::DeletedMs.is_null())
        .filter(Column::Intent.is_not_in([HostIntent::Pending.word(), HostIntent::Revoked.word()]))
        .exec(tx.conn())
        .await?;
    Ok(result.rows_affected == 1)
}

/// The link is down, if it is still `owner`'s.
pub async fn link_down(
    tx: &Tx,
    permit: &Permit,
    id: HostId,
    owner: uuid::Uuid,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let result = Entity::update_many()
        .col_expr(Column::Link, Expr::value(HostLink::Offline.word()))
        .col_expr(Column::LinkSinceMs, Expr::value(now.as_millisecond()))
        .col_expr(Column::LinkOwner, Expr::value(Option::<Uuid>::None))
        .filter(Column::Id.eq(id.uuid()))
        .filter(Column::TenantId.eq(permit.tenant().uuid()))
        .filter(Column::LinkOwner.eq(owner))
        .filter(Column::Link.eq(HostLink::Online.word()))
        .exec(tx.conn())
        .await?;
    Ok(result.rows_affected == 1)
}

/// The host's tunnel is at replica `owner` now.
pub async fn tunnel_up(tx: &Tx, permit: &Permit, id: HostId, owner: uuid::Uuid) -> Result<(), StoreError> {
    Entity::update_many()
        .col_expr(Column::TunnelOwner, Expr::value(Some(owner)))
        .filter(Column::Id.eq(id.uuid()))
        .filter(Column::TenantId.eq(permit.tenant().uuid()))
        .exec(tx.conn())
        .await?;
    Ok(())
}

/// The tunnel is gone, if it was still `owner`'s.
pub async fn tunnel_down(tx: &Tx, permit: &Permit, id: HostId, owner: uuid::Uuid) -> Result<(), StoreError> {
    Entity::update_many()
        .col_expr(Column::TunnelOwner, Expr::value(Option::<Uuid>::None))
        .filter(Column::Id.eq(id.uuid()))
        .filter(Column::TenantId.eq(permit.tenant().uuid()))
        .filter(Column::TunnelOwner.eq(owner))
        .exec(tx.conn())
        .await?;
    Ok(())
}

/// The most hosts in one statement of [`heartbeats`].
pub const HEARTBEAT_CHUNK: usize = 500;

/// These hosts, whose links `owner` holds, were heard of: of any tenant, for it is the server's own observation.
/// At most [`HEARTBEAT_CHUNK`] of them.
pub async fn heartbeats(tx: &Tx, ids: &[HostId], owner: uuid::Uuid, now: Timestamp) -> Result<(), StoreError> {
    Entity::update_many()
        .col_expr(Column::LastHeartbeatMs, Expr::value(now.as_millisecond()))
        .filter(Column::Id.is_in(ids.iter().map(|id| id.uuid())))
        .filter(Column::LinkOwner.eq(owner))
        .exec(tx.conn())
        .await?;
    Ok(())
}

/// Which replica holds the link of a host, and which its tunnel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owned {
    pub host: HostId,
    pub tenant: TenantId,
    pub owner: Option<uuid::Uuid>,
    pub tunnel_owner: Option<uuid::Uuid>,
}

/// Hosts of any tenant that are said to be online and were not heard of since `before`: the replica that held their
/// links is gone. At most `limit`.
pub async fn stale(store: &Store, before: Timestamp, limit: u64) -> Result<Vec<Owned>, StoreError> {
    let rows = Entity::find()
        .filter(Column::Link.eq(HostLink::Online.word()))
        .filter(Column::LastHeartbeatMs.lt(before.as_millisecond()))
        .limit(limit)
        .all(store.read())
        .await?;
    Ok(rows.iter().map(owned).collect())
}

fn owned(row: &Model) -> Owned {
    Owned {
        host: HostId::from_uuid(row.id),
        tenant: TenantId::from_uuid(row.tenant_id),
        owner: row.link_owner,
        tunnel_owner: row.tunnel_owner,
    }
}

/// Which replicas hold link and tunnel of the host now; `None` if there is no such host.
pub async fn owner(store: &Store, permit: &Permit, id: HostId) -> Result<Option<Owned>, StoreError> {
    Ok(of(permit).filter(Column::Id.eq(id.uuid())).one(store.read()).await?.as_ref().map(owned))
}

/// The names of these hosts, those of deleted ones too.
pub async fn names(store: &Store, permit: &Permit, ids: &[HostId]) -> Result<Vec<(HostId, String)>, StoreError> {
    let rows = Entity::find()
        .filter(Column::TenantId.eq(permit.tenant().uuid()))
        .filter(Column::Id.is_in(ids.iter().map(|id| id.uuid())))
        .all(store.read())
        .await?;
    Ok(rows.into_iter().map(|row| (HostId::from_uuid(row.id), row.name)).collect())
}
