//! Answers to requests that were sent with an Idempotency-Key, so that a repeated one gets the same answer.

use domain::{access::Permit, ids::PersonId};
use jiff::{SignedDuration, Timestamp};
use sea_orm::{ActiveValue::Set, ExprTrait as _, QueryFilter, entity::prelude::*, sea_query::OnConflict};

use crate::{StoreError, Tx};

#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "idempotency_keys")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub tenant_id: Uuid,
    #[sea_orm(primary_key, auto_increment = false)]
    pub person_id: Uuid,
    #[sea_orm(primary_key, auto_increment = false)]
    pub idempotency_key: String,
    pub request_hash: String,
    pub status: Option<i32>,
    pub response: Option<String>,
    pub created_ms: i64,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}
impl ActiveModelBehavior for ActiveModel {}

/// An answer is given again for this long.
pub const KEPT_FOR: SignedDuration = SignedDuration::from_hours(24);
/// A request without an answer for this long died with its server.
pub const ABANDONED_AFTER: SignedDuration = SignedDuration::from_mins(5);

/// What is known of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Known {
    /// Nothing: the caller now holds the key and does the work.
    Claimed,
    /// Another request holds it.
    InFlight { request_hash: String },
    /// This was the answer.
    Answered { request_hash: String, status: i32, response: String },
}

fn row(permit: &Permit, person: PersonId, key: &str) -> Select<Entity> {
    Entity::find_by_id((permit.tenant().uuid(), person.uuid(), key.to_owned()))
}

fn rows(permit: &Permit, person: PersonId, key: &str) -> sea_orm::Condition {
    sea_orm::Condition::all()
        .add(Column::TenantId.eq(permit.tenant().uuid()))
        .add(Column::PersonId.eq(person.uuid()))
        .add(Column::IdempotencyKey.eq(key))
}

/// Claims the key in one statement, or says what is known of it. An answer older than [`KEPT_FOR`], or a claim older than
/// [`ABANDONED_AFTER`], is forgotten first.
pub async fn claim(
    tx: &Tx,
    permit: &Permit,
    person: PersonId,
    key: &str,
    request_hash: &str,
    now: Timestamp,
) -> Result<Known, StoreError> {
    let before = |life: SignedDuration| now.as_millisecond() - i64::try_from(life.as_millis()).unwrap_or(i64::MAX);
    let over = Column::CreatedMs
        .lt(before(KEPT_FOR))
        .or(Column::Status.is_null().and(Column::CreatedMs.lt(before(ABANDONED_AFTER))));
    Entity::delete_many().filter(rows(permit, person, key)).filter(over).exec(tx.conn()).await?;
    let new = ActiveModel {
        tenant_id: Set(permit.tenant().uuid()),
        person_id: Set(person.uuid()),
        idempotency_key: Set(key.to_owned()),
        request_hash: Set(request_hash.to_owned()),
        status: Set(None),
        response: Set(None),
        created_ms: Set(now.as_millisecond()),
    };
    let inserted = Entity::insert(new)
        .on_conflict(
            OnConflict::columns([Column::TenantId, Column::PersonId, Column::IdempotencyKey]).do_nothing().to_owned(),
        )
        .exec_without_returning(tx.conn())
        .await?;
    if inserted > 0 {
        return Ok(Known::Claimed);
    }
    Ok(match row(permit, person, key).one(tx.conn()).await? {
        Some(Model { request_hash, status: Some(status), response: Some(response), .. }) => {
            Known::Answered { request_hash, status, response }
        }
        Some(Model { request_hash, .. }) => Known::InFlight { request_hash },
        // Forgotten by another request between the two statements.
        None => Known::InFlight { request_hash: request_hash.to_owned() },
    })
}

/// Keeps the answer.
pub async fn answer(
    tx: &Tx,
    permit: &Permit,
    person: PersonId,
    key: &str,
    status: i32,
    response: String,
) -> Result<(), StoreError> {
    let row = ActiveModel { status: Set(Some(status)), response: Set(Some(response)), ..Default::default() };
    Entity::update_many().set(row).filter(rows(permit, person, key)).exec(tx.conn()).await?;
    Ok(())
}

/// Gives the key back: the request changed nothing and may be sent again.
pub async fn release(tx: &Tx, permit: &Permit, person: PersonId, key: &str) -> Result<(), StoreError> {
    Entity::delete_many().filter(rows(permit, person, key)).filter(Column::Status.is_null()).exec(tx.conn()).await?;
    Ok(())
}

/// Drops what is from before `before`.
pub async fn prune(tx: &Tx, before: Timestamp) -> Result<u64, StoreError> {
    let old = Entity::delete_many().filter(Column::CreatedMs.lt(before.as_millisecond()));
    Ok(old.exec(tx.conn()).await?.rows_affected)
}
