//! One-time links: the SHA-256 of a secret that lets a person in once.

use domain::{
    access::Permit,
    ids::{PersonId, TenantId},
};
use jiff::Timestamp;
use sea_orm::{ActiveValue::Set, entity::prelude::*};

use crate::{StoreError, Tx};

#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "one_time_links")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub token_hash: String,
    pub tenant_id: Uuid,
    pub person_id: Uuid,
    pub created_ms: i64,
    pub expires_ms: i64,
    pub used_ms: Option<i64>,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}
impl ActiveModelBehavior for ActiveModel {}

/// Makes a link, and makes the person's earlier ones void: whoever asks for a new one has lost or leaked the old.
pub async fn create(
    tx: &Tx,
    permit: &Permit,
    person: PersonId,
    token_hash: String,
    expires_at: Timestamp,
    now: Timestamp,
) -> Result<(), StoreError> {
    delete_all(tx, person).await?;
    let row = ActiveModel {
        token_hash: Set(token_hash),
        tenant_id: Set(permit.tenant().uuid()),
        person_id: Set(person.uuid()),
        created_ms: Set(now.as_millisecond()),
        expires_ms: Set(expires_at.as_millisecond()),
        used_ms: Set(None),
    };
    Entity::insert(row).exec_without_returning(tx.conn()).await?;
    Ok(())
}

/// Uses the link up, in one statement, so that of two at once only one gets in. Whose it is; `None` if there is none, or
/// it is used or over.
pub async fn use_up(tx: &Tx, token_hash: &str, now: Timestamp) -> Result<Option<(TenantId, PersonId)>, StoreError> {
    let used = Entity::update_many()
        .col_expr(Column::UsedMs, now.as_millisecond().into())
        .filter(Column::TokenHash.eq(token_hash))
        .filter(Column::UsedMs.is_null())
        .filter(Column::ExpiresMs.gt(now.as_millisecond()))
        .exec(tx.conn())
        .await?;
    if used.rows_affected == 0 {
        return Ok(None);
    }
    let row = Entity::find_by_id(token_hash.to_owned()).one(tx.conn()).await?;
    Ok(row.map(|row| (TenantId::from_uuid(row.tenant_id), PersonId::from_uuid(row.person_id))))
}

/// Makes all links of a person void.
pub async fn delete_all(tx: &Tx, person: PersonId) -> Result<(), StoreError> {
    Entity::delete_many().filter(Column::PersonId.eq(person.uuid())).exec(tx.conn()).await?;
    Ok(())
}

/// Drops what ended before `before`.
pub async fn prune(tx: &Tx, before: Timestamp) -> Result<u64, StoreError> {
    let old = Entity::delete_many().filter(Column::ExpiresMs.lt(before.as_millisecond()));
    Ok(old.exec(tx.conn()).await?.rows_affected)
}
