//! Certificate authorities, and the certificates of hosts. A certificate is known by its serial, lower-case hex.

use domain::{
    access::Permit,
    hosts::HostIntent,
    ids::{HostId, TenantId, ZeroCertificateId},
};
use jiff::Timestamp;
use sea_orm::{
    ActiveValue::Set, ConnectionTrait, FromQueryResult, QueryOrder, Statement, entity::prelude::*, sea_query::Expr,
};

use crate::{Store, StoreError, Tx, convert};

#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "host_certificates")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub serial: String,
    pub tenant_id: Uuid,
    pub host_id: Uuid,
    pub public_key_hash: String,
    pub issued_ms: i64,
    pub expires_ms: i64,
    pub first_used_ms: Option<i64>,
    pub revoked_ms: Option<i64>,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}
impl ActiveModelBehavior for ActiveModel {}

/// An authority as it is stored: its key is sealed with the server's own.
#[derive(Debug, Clone, FromQueryResult)]
pub struct Authority {
    pub certificate_pem: String,
    pub sealed_key: String,
}

/// The authority of the agents' port, if there is one yet.
pub async fn server_authority(store: &Store) -> Result<Option<Authority>, StoreError> {
    let conn = store.read();
    let sql = "select certificate_pem, sealed_key from server_authority where id = 1";
    Ok(Authority::find_by_statement(Statement::from_string(conn.get_database_backend(), sql)).one(conn).await?)
}

/// Keeps the authority of the agents' port unless another replica was quicker; false then.
pub async fn insert_server_authority(tx: &Tx, authority: &Authority, now: Timestamp) -> Result<bool, StoreError> {
    let statement = Statement::from_sql_and_values(
        tx.conn().get_database_backend(),
        "insert into server_authority (id, certificate_pem, sealed_key, created_ms) values (1, $1, $2, $3) \
         on conflict do nothing",
        [authority.certificate_pem.clone().into(), authority.sealed_key.clone().into(), now.as_millisecond().into()],
    );
    Ok(tx.conn().execute_raw(statement).await?.rows_affected() == 1)
}

/// The tenant's authority, if there is one yet.
pub async fn authority(store: &Store, permit: &Permit) -> Result<Option<Authority>, StoreError> {
    let conn = store.read();
    let statement = Statement::from_sql_and_values(
        conn.get_database_backend(),
        "select certificate_pem, sealed_key from certificate_authorities where tenant_id = $1",
        [permit.tenant().uuid().into()],
    );
    Ok(Authority::find_by_statement(statement).one(conn).await?)
}

/// Keeps the tenant's authority unless another replica was quicker; false then.
pub async fn insert_authority(
    tx: &Tx,
    permit: &Permit,
    authority: &Authority,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let statement = Statement::from_sql_and_values(
        tx.conn().get_database_backend(),
        "insert into certificate_authorities (tenant_id, certificate_pem, sealed_key, created_ms) \
         values ($1, $2, $3, $4) on conflict do nothing",
        [
            permit.tenant().uuid().into(),
            authority.certificate_pem.clone().into(),
            authority.sealed_key.clone().into(),
            now.as_millisecond().into(),
        ],
    );
    Ok(tx.conn().execute_raw(statement).await?.rows_affected() == 1)
}

/// The authorities' certificates of all tenants: whose certificates the agents' port accepts.
pub async fn authorities(store: &Store) -> Result<Vec<String>, StoreError> {
    let conn = store.read();
    let sql = "select certificate_pem, sealed_key from certificate_authorities order by created_ms";
    let rows = Authority::find_by_statement(Statement::from_string(conn.get_database_backend(), sql)).all(conn).await?;
    Ok(rows.into_iter().map(|row| row.certificate_pem).collect())
}

/// A certificate that was issued to a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issued {
    pub serial: String,
    pub host: HostId,
    pub public_key_hash: String,
    pub issued_at: Timestamp,
    pub expires_at: Timestamp,
}

pub async fn insert(tx: &Tx, permit: &Permit, issued: &Issued) -> Result<(), StoreError> {
    let row = ActiveModel {
        serial: Set(issued.serial.clone()),
        tenant_id: Set(permit.tenant().uuid()),
        host_id: Set(issued.host.uuid()),
        public_key_hash: Set(issued.public_key_hash.clone()),
        issued_ms: Set(issued.issued_at.as_millisecond()),
        expires_ms: Set(issued.expires_at.as_millisecond()),
        first_used_ms: Set(None),
        revoked_ms: Set(None),
    };
    Entity::insert(row).exec_without_returning(tx.conn()).await?;
    Ok(())
}

/// Who comes with a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Holder {
    Host { tenant: TenantId, host: HostId, name: String, intent: HostIntent, expires_at: Timestamp, revoked: bool },
    Zero { tenant: TenantId, zero_certificate: ZeroCertificateId },
}

#[derive(FromQueryResult)]
struct HolderRow {
    tenant_id: Uuid,
    host_id: Uuid,
    name: String,
    intent: String,
    expires_ms: i64,
    revoked_ms: Option<i64>,
}

/// Whose certificate it is, of any tenant: this is how an agent says who it is. `None` if it is nobody's (any more).
pub async fn holder(store: &Store, serial: &str) -> Result<Option<Holder>, StoreError> {
    let conn = store.read();
    let statement = Statement::from_sql_and_values(
        conn.get_database_backend(),
        "select c.tenant_id, c.host_id, h.name, h.intent, c.expires_ms, c.revoked_ms from host_certificates c \
         join hosts h on h.id = c.host_id where c.serial = $1 and h.deleted_ms is null",
        [serial.into()],
    );
    if let Some(row) = HolderRow::find_by_statement(statement).one(conn).await? {
        return Ok(Some(Holder::Host {
            tenant: TenantId::from_uuid(row.tenant_id),
            host: HostId::from_uuid(row.host_id),
            name: row.name,
            intent: convert::word("hosts.intent", &row.intent)?,
            expires_at: convert::time("host_certificates.expires_ms", row.expires_ms)?,
            revoked: row.revoked_ms.is_some(),
        }));
    }
    Ok(crate::zero_certificates::by_serial(store, serial)
        .await?
        .map(|(tenant, zero_certificate)| Holder::Zero { tenant, zero_certificate }))
}

/// The first use of a certificate makes all others of its host worthless. True if this was it.
pub async fn use_first(
    tx: &Tx,
    permit: &Permit,
    host: HostId,
    serial: &str,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let first = Entity::update_many()
        .col_expr(Column::FirstUsedMs, Expr::value(now.as_millisecond()))
        .filter(Column::Serial.eq(serial))
        .filter(Column::HostId.eq(host.uuid()))
        .filter(Column::TenantId.eq(permit.tenant().uuid()))
        .filter(Column::FirstUsedMs.is_null())
        .filter(Column::RevokedMs.is_null())
        .exec(tx.conn())
        .await?;
    if first.rows_affected == 0 {
        return Ok(false);
    }
    revoke_where(tx, permit, host, Column::Serial.ne(serial), now).await?;
    Ok(true)
}

/// Revokes all certificates of the host.
pub async fn revoke_all(tx: &Tx, permit: &Permit, host: HostId, now: Timestamp) -> Result<(), StoreError> {
    revoke_where(tx, permit, host, Column::Serial.is_not_null(), now).await
}

/// Revokes those that were issued to the host and never used: a newer one takes their place.
pub async fn revoke_unused(tx: &Tx, permit: &Permit, host: HostId, now: Timestamp) -> Result<(), StoreError> {
    revoke_where(tx, permit, host, Column::FirstUsedMs.is_null(), now).await
}

async fn revoke_where(tx: &Tx, permit: &Permit, host: HostId, which: Expr, now: Timestamp) -> Result<(), StoreError> {
    Entity::update_many()
        .col_expr(Column::RevokedMs, Expr::value(now.as_millisecond()))
        .filter(Column::HostId.eq(host.uuid()))
        .filter(Column::TenantId.eq(permit.tenant().uuid()))
        .filter(Column::RevokedMs.is_null())
        .filter(which)
        .exec(tx.conn())
        .await?;
    Ok(())
}

/// Serials of any tenant that were revoked at `since` or later: what each replica looks for among its links.
pub async fn revoked_since(store: &Store, since: Timestamp) -> Result<Vec<(HostId, String)>, StoreError> {
    let rows = Entity::find()
        .filter(Column::RevokedMs.is_not_null())
        .filter(Column::RevokedMs.gte(since.as_millisecond()))
        .order_by_asc(Column::RevokedMs)
        .all(store.read())
        .await?;
    Ok(rows.into_iter().map(|row| (HostId::from_uuid(row.host_id), row.serial)).collect())
}
