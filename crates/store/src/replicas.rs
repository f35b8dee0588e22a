//! The servers that share the database: where each is reached by the others, and when it was last heard of.

use jiff::{SignedDuration, Timestamp};
use sea_orm::{
    ActiveValue::Set, ConnectionTrait, DbBackend, ExprTrait as _, entity::prelude::*, sea_query::OnConflict,
};

use crate::{Store, StoreError, Tx};

#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "replicas")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    pub address: String,
    pub serial: String,
    pub started_ms: i64,
    pub heartbeat_ms: i64,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}
impl ActiveModelBehavior for ActiveModel {}

/// A server that was not heard of for this long is gone.
pub const GONE_AFTER: SignedDuration = SignedDuration::from_secs(15);

/// One server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replica {
    pub id: Uuid,
    /// `HOST:PORT` of its agents' port.
    pub address: String,
    /// Of the certificate with which it calls the others; lower-case hex.
    pub serial: String,
}

fn living(now: Timestamp) -> Select<Entity> {
    let since = now.saturating_sub(GONE_AFTER).unwrap_or(now);
    Entity::find().filter(Column::HeartbeatMs.gt(since.as_millisecond()))
}

fn replica(row: Model) -> Replica {
    Replica { id: row.id, address: row.address, serial: row.serial }
}

/// This server is here, or still here. Another one at the same address is gone, and on SQLite any other: a file has one
/// server.
pub async fn heartbeat(tx: &Tx, replica: &Replica, now: Timestamp) -> Result<(), StoreError> {
    let conn = tx.conn();
    let gone = now.saturating_sub(GONE_AFTER * 4).unwrap_or(now);
    let mut others = Column::Address.eq(replica.address.as_str()).or(Column::HeartbeatMs.lt(gone.as_millisecond()));
    if conn.get_database_backend() == DbBackend::Sqlite {
        others = others.or(Column::Id.ne(replica.id));
    }
    Entity::delete_many().filter(Column::Id.ne(replica.id)).filter(others).exec(conn).await?;
    let row = ActiveModel {
        id: Set(replica.id),
        address: Set(replica.address.clone()),
        serial: Set(replica.serial.clone()),
        started_ms: Set(now.as_millisecond()),
        heartbeat_ms: Set(now.as_millisecond()),
    };
    let known = OnConflict::column(Column::Id)
        .update_columns([Column::Address, Column::Serial, Column::HeartbeatMs])
        .to_owned();
    Entity::insert(row).on_conflict(known).exec_without_returning(conn).await?;
    Ok(())
}

/// This server goes: the others need not wait until it is missed.
pub async fn leave(tx: &Tx, id: Uuid) -> Result<(), StoreError> {
    Entity::delete_by_id(id).exec(tx.conn()).await?;
    Ok(())
}

/// Those that were heard of lately.
pub async fn list(store: &Store, now: Timestamp) -> Result<Vec<Replica>, StoreError> {
    Ok(living(now).all(store.read()).await?.into_iter().map(replica).collect())
}

/// The ids of those that were heard of lately, within a change.
pub async fn living_in(tx: &Tx, now: Timestamp) -> Result<Vec<Uuid>, StoreError> {
    Ok(living(now).all(tx.conn()).await?.into_iter().map(|row| row.id).collect())
}

/// The one that calls with this certificate, if it was heard of lately.
pub async fn by_serial(store: &Store, serial: &str, now: Timestamp) -> Result<Option<Replica>, StoreError> {
    Ok(living(now).filter(Column::Serial.eq(serial)).one(store.read()).await?.map(replica))
}
