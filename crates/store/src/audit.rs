//! The audit log: who did what, written in the transaction that did it.

use domain::{access::Permit, ids::PersonId};
use jiff::Timestamp;
use sea_orm::{ActiveValue::Set, QueryOrder, QuerySelect, entity::prelude::*};

use crate::{Store, StoreError, Tx, convert};

#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "audit")]
pub struct Model {
    #[sea_orm(primary_key)]
    pub id: i64,
    pub tenant_id: Uuid,
    pub at_ms: i64,
    pub person_id: Option<Uuid>,
    pub person_name: String,
    pub action: String,
    pub subject_kind: String,
    pub subject_id: String,
    pub detail: String,
    pub request_id: Option<String>,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}
impl ActiveModelBehavior for ActiveModel {}

/// One line of the log. `detail` is for people; no secrets in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub action: &'static str,
    pub subject_kind: &'static str,
    pub subject_id: String,
    pub detail: String,
}

/// A line as it is read back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    pub id: i64,
    pub at: Timestamp,
    pub person: Option<PersonId>,
    pub person_name: String,
    pub action: String,
    pub subject_kind: String,
    pub subject_id: String,
    pub detail: String,
    pub request_id: Option<String>,
}

/// Rows in one INSERT: databases limit the values of a statement.
const INSERT_CHUNK: usize = 500;

/// Adds a line to those that are written at the commit; `person_name` is kept as it was, so that the log outlives the person.
pub async fn append(
    tx: &Tx,
    permit: &Permit,
    person_name: &str,
    entry: Entry,
    request_id: Option<&str>,
    now: Timestamp,
) -> Result<(), StoreError> {
    let row = ActiveModel {
        tenant_id: Set(permit.tenant().uuid()),
        at_ms: Set(now.as_millisecond()),
        person_id: Set(permit.person().map(PersonId::uuid)),
        person_name: Set(person_name.to_owned()),
        action: Set(entry.action.to_owned()),
        subject_kind: Set(entry.subject_kind.to_owned()),
        subject_id: Set(entry.subject_id),
        detail: Set(entry.detail),
        request_id: Set(request_id.map(str::to_owned)),
        ..Default::default()
    };
    tx.record(row);
    Ok(())
}

/// Writes what a transaction did, before its commit.
pub(crate) async fn write<C: ConnectionTrait>(conn: &C, lines: Vec<ActiveModel>) -> Result<(), StoreError> {
    for chunk in lines.chunks(INSERT_CHUNK) {
        Entity::insert_many(chunk.iter().cloned()).exec_without_returning(conn).await?;
    }
    Ok(())
}

/// Newest first, before line `before` where given, at most `limit`.
pub async fn list(store: &Store, permit: &Permit, before: Option<i64>, limit: u64) -> Result<Vec<Line>, StoreError> {
    let mut query = Entity::find().filter(Column::TenantId.eq(permit.tenant().uuid()));
    if let Some(before) = before {
        query = query.filter(Column::Id.lt(before));
    }
    let rows = query.order_by_desc(Column::Id).limit(limit).all(store.read()).await?;
    rows.into_iter()
        .map(|row| {
            Ok(Line {
                id: row.id,
                at: convert::time("audit.at_ms", row.at_ms)?,
                person: row.person_id.map(PersonId::from_uuid),
                person_name: row.person_name,
                action: row.action,
                subject_kind: row.subject_kind,
                subject_id: row.subject_id,
                detail: row.detail,
                request_id: row.request_id,
            })
        })
        .collect()
}
