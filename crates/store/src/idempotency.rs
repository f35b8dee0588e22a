//! Answers to requests that were sent with an Idempotency-Key, so that a repeated one gets the same answer.

use domain::{access::Permit, events::EventKind, ids::PersonId};
use jiff::{SignedDuration, Timestamp};
use sea_orm::{ActiveValue::Set, ExprTrait as _, QueryFilter, QuerySelect, entity::prelude::*, sea_query::OnConflict};

use crate::{StoreError, Tx, convert, replicas};

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
    pub owner: Option<Uuid>,
    pub claim: Option<Uuid>,
    pub made_kind: Option<String>,
    pub made_id: Option<Uuid>,
    pub headers: Option<String>,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}
impl ActiveModelBehavior for ActiveModel {}

/// An answer is given again for this long.
pub const KEPT_FOR: SignedDuration = SignedDuration::from_hours(24);
/// A request without an answer for this long was given up by its server: twice the longest that a request may take.
pub const ABANDONED_AFTER: SignedDuration = SignedDuration::from_secs(60);

/// What a request made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Made {
    pub kind: EventKind,
    pub id: Uuid,
}

/// The answer to a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    pub status: i32,
    /// Names and values.
    pub headers: Vec<(String, String)>,
    pub body: String,
}

/// What is known of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Known {
    /// Nothing: the caller now holds the key by this claim and does the work.
    Claimed(Uuid),
    /// Another request holds it.
    InFlight { request_hash: String },
    /// It was done, and its server died before it could keep the answer. The caller holds the key now.
    Done { request_hash: String, made: Made, claim: Uuid },
    /// This was the answer.
    Answered { request_hash: String, answer: Answer },
}

fn rows(permit: &Permit, person: PersonId, key: &str) -> sea_orm::Condition {
    sea_orm::Condition::all()
        .add(Column::TenantId.eq(permit.tenant().uuid()))
        .add(Column::PersonId.eq(person.uuid()))
        .add(Column::IdempotencyKey.eq(key))
}

/// Who asks for a key.
pub struct Claimant<'a> {
    /// The server.
    pub owner: Uuid,
    /// Whether that server still works under this claim.
    pub works_under: &'a (dyn Fn(Uuid) -> bool + Sync),
}

/// Claims the key, or says what is known of it. An answer older than [`KEPT_FOR`] is forgotten, and a claim under which
/// nobody works any more is taken over: should its request live after all, it no longer [`holds`].
pub async fn claim(
    tx: &Tx,
    permit: &Permit,
    person: PersonId,
    key: &str,
    request_hash: &str,
    claimant: Claimant<'_>,
    now: Timestamp,
) -> Result<Known, StoreError> {
    let claim = Uuid::now_v7();
    let fresh = ActiveModel {
        tenant_id: Set(permit.tenant().uuid()),
        person_id: Set(person.uuid()),
        idempotency_key: Set(key.to_owned()),
        request_hash: Set(request_hash.to_owned()),
        status: Set(None),
        response: Set(None),
        created_ms: Set(now.as_millisecond()),
        owner: Set(Some(claimant.owner)),
        claim: Set(Some(claim)),
        made_kind: Set(None),
        made_id: Set(None),
        headers: Set(None),
    };
    let inserted = Entity::insert(fresh.clone())
        .on_conflict(
            OnConflict::columns([Column::TenantId, Column::PersonId, Column::IdempotencyKey]).do_nothing().to_owned(),
        )
        .exec_without_returning(tx.conn())
        .await?;
    if inserted > 0 {
        return Ok(Known::Claimed(claim));
    }
    let known = Entity::find_by_id((permit.tenant().uuid(), person.uuid(), key.to_owned()));
    // Forgotten by another request between the two statements: the caller asks again.
    let Some(known) = known.lock_exclusive().one(tx.conn()).await? else {
        return Ok(Known::InFlight { request_hash: request_hash.to_owned() });
    };
    let is_older = |life: SignedDuration| {
        known.created_ms < now.as_millisecond() - i64::try_from(life.as_millis()).unwrap_or(i64::MAX)
    };
    let is_left = match known.owner {
        _ if is_older(ABANDONED_AFTER) => true,
        Some(owner) if owner == claimant.owner => !known.claim.is_some_and(claimant.works_under),
        Some(owner) => !replicas::living_in(tx, now).await?.contains(&owner),
        None => false,
    };
    let take = |row: ActiveModel| Entity::update_many().set(row).filter(rows(permit, person, key)).exec(tx.conn());
    match known {
        _ if is_older(KEPT_FOR) => {
            take(fresh).await?;
            Ok(Known::Claimed(claim))
        }
        Model { request_hash, status: Some(status), response: Some(body), headers, .. } => {
            let headers = headers.map(|headers| convert::json("idempotency_keys.headers", &headers)).transpose()?;
            Ok(Known::Answered { request_hash, answer: Answer { status, headers: headers.unwrap_or_default(), body } })
        }
        Model { request_hash, .. } if !is_left => Ok(Known::InFlight { request_hash }),
        Model { request_hash, made_kind: Some(kind), made_id: Some(id), .. } => {
            let kind = convert::word("idempotency_keys.made_kind", &kind)?;
            let (owner, claimed) = (Set(Some(claimant.owner)), Set(Some(claim)));
            let row = ActiveModel { owner, claim: claimed, created_ms: Set(known.created_ms), ..Default::default() };
            take(row).await?;
            Ok(Known::Done { request_hash, made: Made { kind, id }, claim })
        }
        Model { .. } => {
            take(fresh).await?;
            Ok(Known::Claimed(claim))
        }
    }
}

/// Whether the claim holds: nobody took the key over. It goes on holding until the transaction ends.
pub async fn holds(tx: &Tx, permit: &Permit, person: PersonId, key: &str, claim: Uuid) -> Result<bool, StoreError> {
    let row = Entity::find().filter(rows(permit, person, key)).filter(Column::Claim.eq(claim));
    Ok(row.lock_exclusive().one(tx.conn()).await?.is_some())
}

/// Notes what the request made under a claim that [`holds`], in the transaction that makes it.
pub async fn bind(
    tx: &Tx,
    permit: &Permit,
    person: PersonId,
    key: &str,
    claim: Uuid,
    made: Made,
) -> Result<(), StoreError> {
    let row = ActiveModel {
        made_kind: Set(Some(made.kind.word().to_owned())),
        made_id: Set(Some(made.id)),
        ..Default::default()
    };
    let update = Entity::update_many().set(row).filter(rows(permit, person, key)).filter(Column::Claim.eq(claim));
    update.exec(tx.conn()).await?;
    Ok(())
}

/// Keeps the answer, if the claim still holds.
pub async fn answer(
    tx: &Tx,
    permit: &Permit,
    person: PersonId,
    key: &str,
    claim: Uuid,
    answer: Answer,
) -> Result<(), StoreError> {
    let row = ActiveModel {
        status: Set(Some(answer.status)),
        headers: Set(Some(convert::to_json(&answer.headers))),
        response: Set(Some(answer.body)),
        ..Default::default()
    };
    let update = Entity::update_many().set(row).filter(rows(permit, person, key)).filter(Column::Claim.eq(claim));
    update.exec(tx.conn()).await?;
    Ok(())
}

/// Gives the key back: the request changed nothing and may be sent again. If it did make something after all, whoever sends
/// it again is told of that.
pub async fn release(tx: &Tx, permit: &Permit, person: PersonId, key: &str, claim: Uuid) -> Result<(), StoreError> {
    let unanswered = Column::Status.is_null().and(Column::MadeId.is_null()).and(Column::Claim.eq(claim));
    Entity::delete_many().filter(rows(permit, person, key)).filter(unanswered).exec(tx.conn()).await?;
    Ok(())
}

/// Drops what is from before `before`.
pub async fn prune(tx: &Tx, before: Timestamp) -> Result<u64, StoreError> {
    let old = Entity::delete_many().filter(Column::CreatedMs.lt(before.as_millisecond()));
    Ok(old.exec(tx.conn()).await?.rows_affected)
}
