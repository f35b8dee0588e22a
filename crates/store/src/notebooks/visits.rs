//! The visits of browsers to notebooks.

use domain::ids::{NotebookId, PersonId, TenantId};
use jiff::Timestamp;
use sea_orm::{ConnectionTrait, FromQueryResult};
use uuid::Uuid;

use crate::{Corrupt, StoreError, Tx, convert, sql};

/// What lets a browser in: a ticket once, a visit until its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Visit {
    /// SHA-256 of the secret.
    pub hash: String,
    pub tenant: TenantId,
    pub notebook: NotebookId,
    pub person: PersonId,
    /// The hash of the sign-in by which the visitor came.
    pub sign_in: String,
    pub is_ticket: bool,
    pub expires_at: Timestamp,
}

#[derive(Debug, FromQueryResult)]
struct Row {
    hash: String,
    tenant_id: Uuid,
    notebook_id: Uuid,
    person_id: Uuid,
    sign_in: String,
    is_ticket: bool,
    expires_ms: i64,
}

impl TryFrom<Row> for Visit {
    type Error = Corrupt;
    fn try_from(row: Row) -> Result<Self, Corrupt> {
        Ok(Visit {
            hash: row.hash,
            tenant: TenantId::from_uuid(row.tenant_id),
            notebook: NotebookId::from_uuid(row.notebook_id),
            person: PersonId::from_uuid(row.person_id),
            sign_in: row.sign_in,
            is_ticket: row.is_ticket,
            expires_at: convert::time("notebook_visits.expires_ms", row.expires_ms)?,
        })
    }
}

pub async fn insert(tx: &Tx, visit: &Visit) -> Result<(), StoreError> {
    sql::execute(
        tx.conn(),
        "insert into notebook_visits (hash, tenant_id, notebook_id, person_id, sign_in, is_ticket, expires_ms) \
         values ($1, $2, $3, $4, $5, $6, $7)",
        [
            visit.hash.as_str().into(),
            visit.tenant.uuid().into(),
            visit.notebook.uuid().into(),
            visit.person.uuid().into(),
            visit.sign_in.as_str().into(),
            visit.is_ticket.into(),
            visit.expires_at.as_millisecond().into(),
        ],
    )
    .await?;
    Ok(())
}

/// The visit of this hash at the notebook of this name, of any tenant: this is how a browser says who it is. `None` if it is
/// over, or its sign-in is.
pub async fn get<C: ConnectionTrait>(
    conn: &C,
    hash: &str,
    name: &str,
    now: Timestamp,
) -> Result<Option<Visit>, StoreError> {
    let row: Option<Row> = sql::one(
        conn,
        "select v.hash, v.tenant_id, v.notebook_id, v.person_id, v.sign_in, v.is_ticket, v.expires_ms \
         from notebook_visits v join notebooks n on n.id = v.notebook_id join sign_ins s on s.id = v.sign_in \
         where v.hash = $1 and n.name = $2 and v.expires_ms > $3 and s.expires_ms > $3",
        [hash.into(), name.into(), now.as_millisecond().into()],
    )
    .await?;
    Ok(row.map(Visit::try_from).transpose()?)
}

/// Uses a ticket up: of two at once only one gets true.
pub async fn use_up(tx: &Tx, ticket: &Visit) -> Result<bool, StoreError> {
    let deleted = sql::execute(
        tx.conn(),
        "delete from notebook_visits where hash = $1 and is_ticket",
        [ticket.hash.as_str().into()],
    )
    .await?;
    Ok(deleted == 1)
}

/// Makes a person's tickets to the notebook void.
pub async fn void_tickets(tx: &Tx, notebook: NotebookId, person: PersonId) -> Result<(), StoreError> {
    sql::execute(
        tx.conn(),
        "delete from notebook_visits where notebook_id = $1 and person_id = $2 and is_ticket",
        [notebook.uuid().into(), person.uuid().into()],
    )
    .await?;
    Ok(())
}

/// Drops those that ended before `now`.
pub async fn prune(tx: &Tx, now: Timestamp) -> Result<u64, StoreError> {
    sql::execute(tx.conn(), "delete from notebook_visits where expires_ms <= $1", [now.as_millisecond().into()]).await
}
