//! Zero certificates, and who joined with them. Uses are counted by the database (D4).

use domain::{
    access::Permit,
    certificates::ZeroCertificate,
    ids::{HostId, PersonId, TenantId, ZeroCertificateId},
};
use jiff::Timestamp;
use sea_orm::{
    ActiveValue::Set,
    ConnectionTrait, FromQueryResult, QueryOrder, QuerySelect, Statement,
    entity::prelude::*,
    sea_query::{Expr, ExprTrait as _},
};

use crate::{Corrupt, Store, StoreError, Tx, convert};

#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "zero_certificates")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    pub tenant_id: Uuid,
    pub name: String,
    pub join_policy: String,
    pub max_uses: i32,
    pub uses: i32,
    pub serial: String,
    pub created_by: Option<Uuid>,
    pub created_ms: i64,
    pub expires_ms: i64,
    pub revoked_ms: Option<i64>,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}
impl ActiveModelBehavior for ActiveModel {}

fn count(column: &'static str, value: i32) -> Result<u32, Corrupt> {
    u32::try_from(value).map_err(|e| Corrupt { column, why: e.to_string() })
}

impl TryFrom<Model> for ZeroCertificate {
    type Error = Corrupt;
    fn try_from(row: Model) -> Result<Self, Corrupt> {
        Ok(ZeroCertificate {
            id: ZeroCertificateId::from_uuid(row.id),
            tenant: TenantId::from_uuid(row.tenant_id),
            name: row.name,
            join: convert::word("zero_certificates.join_policy", &row.join_policy)?,
            max_uses: count("zero_certificates.max_uses", row.max_uses)?,
            uses: count("zero_certificates.uses", row.uses)?,
            created_by: row.created_by.map(PersonId::from_uuid),
            created_at: convert::time("zero_certificates.created_ms", row.created_ms)?,
            expires_at: convert::time("zero_certificates.expires_ms", row.expires_ms)?,
            revoked_at: convert::time_opt("zero_certificates.revoked_ms", row.revoked_ms)?,
        })
    }
}

pub async fn insert(tx: &Tx, permit: &Permit, zero: &ZeroCertificate, serial: &str) -> Result<(), StoreError> {
    let row = ActiveModel {
        id: Set(zero.id.uuid()),
        tenant_id: Set(permit.tenant().uuid()),
        name: Set(zero.name.clone()),
        join_policy: Set(zero.join.word().to_owned()),
        max_uses: Set(i32::try_from(zero.max_uses).unwrap_or(i32::MAX)),
        uses: Set(0),
        serial: Set(serial.to_owned()),
        created_by: Set(zero.created_by.map(PersonId::uuid)),
        created_ms: Set(zero.created_at.as_millisecond()),
        expires_ms: Set(zero.expires_at.as_millisecond()),
        revoked_ms: Set(None),
    };
    Entity::insert(row).exec_without_returning(tx.conn()).await?;
    Ok(())
}

fn of(permit: &Permit) -> Select<Entity> {
    Entity::find().filter(Column::TenantId.eq(permit.tenant().uuid()))
}

pub async fn get(store: &Store, permit: &Permit, id: ZeroCertificateId) -> Result<Option<ZeroCertificate>, StoreError> {
    let row = of(permit).filter(Column::Id.eq(id.uuid())).one(store.read()).await?;
    Ok(row.map(ZeroCertificate::try_from).transpose()?)
}

/// Newest first, those before `before`, at most `limit`. Ids rise with time.
pub async fn list(
    store: &Store,
    permit: &Permit,
    before: Option<ZeroCertificateId>,
    limit: u64,
) -> Result<Vec<ZeroCertificate>, StoreError> {
    let mut query = of(permit);
    if let Some(before) = before {
        query = query.filter(Column::Id.lt(before.uuid()));
    }
    let rows = query.order_by_desc(Column::Id).limit(limit).all(store.read()).await?;
    Ok(rows.into_iter().map(ZeroCertificate::try_from).collect::<Result<_, _>>()?)
}

/// Whose zero certificate has this serial, of any tenant: this is how a joining host says who it is.
pub(crate) async fn by_serial(
    store: &Store,
    serial: &str,
) -> Result<Option<(TenantId, ZeroCertificateId)>, StoreError> {
    let row = Entity::find().filter(Column::Serial.eq(serial)).one(store.read()).await?;
    Ok(row.map(|row| (TenantId::from_uuid(row.tenant_id), ZeroCertificateId::from_uuid(row.id))))
}

/// False if it was revoked already.
pub async fn revoke(tx: &Tx, permit: &Permit, id: ZeroCertificateId, now: Timestamp) -> Result<bool, StoreError> {
    let result = Entity::update_many()
        .col_expr(Column::RevokedMs, Expr::value(now.as_millisecond()))
        .filter(Column::Id.eq(id.uuid()))
        .filter(Column::TenantId.eq(permit.tenant().uuid()))
        .filter(Column::RevokedMs.is_null())
        .exec(tx.conn())
        .await?;
    Ok(result.rows_affected == 1)
}

/// The zero certificate, which no other transaction can change until this one ends: joiners take turns.
pub async fn lock(tx: &Tx, permit: &Permit, id: ZeroCertificateId) -> Result<Option<ZeroCertificate>, StoreError> {
    let row = of(permit).filter(Column::Id.eq(id.uuid())).lock_exclusive().one(tx.conn()).await?;
    Ok(row.map(ZeroCertificate::try_from).transpose()?)
}

/// Takes one use; false if it is used up, expired at `now`, or revoked.
pub async fn take_use(tx: &Tx, permit: &Permit, id: ZeroCertificateId, now: Timestamp) -> Result<bool, StoreError> {
    let result = Entity::update_many()
        .col_expr(Column::Uses, Expr::col(Column::Uses).add(1))
        .filter(Column::Id.eq(id.uuid()))
        .filter(Column::TenantId.eq(permit.tenant().uuid()))
        .filter(Expr::col(Column::Uses).lt(Expr::col(Column::MaxUses)))
        .filter(Column::RevokedMs.is_null())
        .filter(Column::ExpiresMs.gt(now.as_millisecond()))
        .exec(tx.conn())
        .await?;
    Ok(result.rows_affected == 1)
}

/// An earlier answer to the same key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Enrollment {
    pub host: HostId,
    pub certificate_pem: String,
}

#[derive(FromQueryResult)]
struct EnrollmentRow {
    host_id: Uuid,
    certificate_pem: String,
}

/// Whether the key has joined with this zero certificate already.
pub async fn enrollment(
    tx: &Tx,
    id: ZeroCertificateId,
    public_key_hash: &str,
) -> Result<Option<Enrollment>, StoreError> {
    let statement = Statement::from_sql_and_values(
        tx.conn().get_database_backend(),
        "select host_id, certificate_pem from enrollments where zero_certificate_id = $1 and public_key_hash = $2",
        [id.uuid().into(), public_key_hash.into()],
    );
    let row = EnrollmentRow::find_by_statement(statement).one(tx.conn()).await?;
    Ok(row.map(|row| Enrollment { host: HostId::from_uuid(row.host_id), certificate_pem: row.certificate_pem }))
}

/// Keeps the answer for a repeated question.
pub async fn insert_enrollment(
    tx: &Tx,
    id: ZeroCertificateId,
    public_key_hash: &str,
    enrollment: &Enrollment,
    now: Timestamp,
) -> Result<(), StoreError> {
    let statement = Statement::from_sql_and_values(
        tx.conn().get_database_backend(),
        "insert into enrollments (zero_certificate_id, public_key_hash, host_id, certificate_pem, created_ms) \
         values ($1, $2, $3, $4, $5)",
        [
            id.uuid().into(),
            public_key_hash.into(),
            enrollment.host.uuid().into(),
            enrollment.certificate_pem.clone().into(),
            now.as_millisecond().into(),
        ],
    );
    tx.conn().execute_raw(statement).await?;
    Ok(())
}
