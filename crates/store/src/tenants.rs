//! Tenants.

use domain::ids::TenantId;
use jiff::Timestamp;
use sea_orm::{ActiveValue::Set, QueryOrder, entity::prelude::*};

use crate::{Store, StoreError, Tx};

#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "tenants")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    pub name: String,
    pub created_ms: i64,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}
impl ActiveModelBehavior for ActiveModel {}

/// A new tenant: made by the operator on first start, so there is nobody yet who could hold a permit for it.
pub async fn create(tx: &Tx, name: &str, now: Timestamp) -> Result<TenantId, StoreError> {
    let id = TenantId::new();
    let row = ActiveModel { id: Set(id.uuid()), name: Set(name.to_owned()), created_ms: Set(now.as_millisecond()) };
    Entity::insert(row).exec(tx.conn()).await?;
    Ok(id)
}

/// All tenants, oldest first: the server's own reconcilers walk them.
pub async fn list(store: &Store) -> Result<Vec<(TenantId, String)>, StoreError> {
    let rows = Entity::find().order_by_asc(Column::CreatedMs).all(store.read()).await?;
    Ok(rows.into_iter().map(|row| (TenantId::from_uuid(row.id), row.name)).collect())
}

/// As [`list`], within a change.
pub async fn list_in(tx: &Tx) -> Result<Vec<(TenantId, String)>, StoreError> {
    let rows = Entity::find().order_by_asc(Column::CreatedMs).all(tx.conn()).await?;
    Ok(rows.into_iter().map(|row| (TenantId::from_uuid(row.id), row.name)).collect())
}
