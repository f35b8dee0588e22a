//! Who else gets into a notebook, and how far.

use domain::{
    access::Permit,
    ids::{NotebookId, PersonId},
    notebooks::{Access, Notebook, Share},
};
use jiff::Timestamp;
use sea_orm::{ConnectionTrait, FromQueryResult};
use uuid::Uuid;

use super::{COLUMNS, Row, TABLES};
use crate::{Corrupt, StoreError, Tx, convert, sql};

#[derive(Debug, FromQueryResult)]
struct ShareRow {
    person_id: Uuid,
    person_name: String,
    person_email: String,
    access: String,
    created_ms: i64,
}

impl TryFrom<ShareRow> for Share {
    type Error = Corrupt;
    fn try_from(row: ShareRow) -> Result<Self, Corrupt> {
        Ok(Share {
            person: PersonId::from_uuid(row.person_id),
            person_name: row.person_name,
            person_email: row.person_email,
            access: convert::word("notebook_shares.access", &row.access)?,
            created_at: convert::time("notebook_shares.created_ms", row.created_ms)?,
        })
    }
}

/// How far the notebook is shared with the person.
pub async fn access<C: ConnectionTrait>(
    conn: &C,
    permit: &Permit,
    notebook: NotebookId,
    person: PersonId,
) -> Result<Option<Access>, StoreError> {
    #[derive(FromQueryResult)]
    struct Found {
        access: String,
    }
    let row: Option<Found> = sql::one(
        conn,
        "select access from notebook_shares where tenant_id = $1 and notebook_id = $2 and person_id = $3",
        [permit.tenant().uuid().into(), notebook.uuid().into(), person.uuid().into()],
    )
    .await?;
    Ok(row.map(|row| convert::word("notebook_shares.access", &row.access)).transpose()?)
}

/// With whom the notebook is shared, by name, at most `limit`.
pub async fn list<C: ConnectionTrait>(
    conn: &C,
    permit: &Permit,
    notebook: NotebookId,
    limit: u64,
) -> Result<Vec<Share>, StoreError> {
    let rows: Vec<ShareRow> = sql::all(
        conn,
        "select s.person_id, p.name as person_name, p.email as person_email, s.access, s.created_ms \
         from notebook_shares s join people p on p.id = s.person_id \
         where s.tenant_id = $1 and s.notebook_id = $2 order by p.name, p.email limit $3",
        [permit.tenant().uuid().into(), notebook.uuid().into(), i64::try_from(limit).unwrap_or(i64::MAX).into()],
    )
    .await?;
    Ok(rows.into_iter().map(Share::try_from).collect::<Result<_, _>>()?)
}

/// What others share with the person, newest first, each as far as it is shared; at most `limit` before `before`.
pub async fn with_person<C: ConnectionTrait>(
    conn: &C,
    permit: &Permit,
    person: PersonId,
    before: Option<NotebookId>,
    limit: u64,
) -> Result<Vec<Notebook>, StoreError> {
    #[derive(FromQueryResult)]
    struct Shared {
        #[sea_orm(nested)]
        notebook: Row,
        access: String,
    }
    let mut query = sql::Build::new(&format!(
        "select {COLUMNS}, s.access from {TABLES} join notebook_shares s on s.notebook_id = n.id where n.tenant_id = "
    ));
    query.value(permit.tenant().uuid());
    query.text(" and s.person_id = ").value(person.uuid());
    if let Some(before) = before {
        query.text(" and n.id < ").value(before.uuid());
    }
    query.text(" order by n.id desc limit ").value(i64::try_from(limit).unwrap_or(i64::MAX));
    let rows: Vec<Shared> = sql::all(conn, &query.sql, query.values).await?;
    rows.into_iter()
        .map(|row| {
            let share = Some(convert::word("notebook_shares.access", &row.access)?);
            Ok(Notebook { share, ..Notebook::try_from(row.notebook)? })
        })
        .collect()
}

/// How many the notebook is shared with.
pub async fn count(tx: &Tx, notebook: NotebookId) -> Result<u64, StoreError> {
    #[derive(FromQueryResult)]
    struct Count {
        count: i64,
    }
    let row: Option<Count> = sql::one(
        tx.conn(),
        "select count(*) as count from notebook_shares where notebook_id = $1",
        [notebook.uuid().into()],
    )
    .await?;
    Ok(row.map_or(0, |row| u64::try_from(row.count).unwrap_or(0)))
}

/// Shares it with the person, as far as that; whoever had it another way has it this way now.
pub async fn put(
    tx: &Tx,
    permit: &Permit,
    notebook: NotebookId,
    person: PersonId,
    access: Access,
    by: PersonId,
    now: Timestamp,
) -> Result<(), StoreError> {
    sql::execute(
        tx.conn(),
        "insert into notebook_shares (notebook_id, person_id, tenant_id, access, created_by, created_ms) \
         values ($1, $2, $3, $4, $5, $6) on conflict (notebook_id, person_id) do update set access = excluded.access",
        [
            notebook.uuid().into(),
            person.uuid().into(),
            permit.tenant().uuid().into(),
            access.word().into(),
            by.uuid().into(),
            now.as_millisecond().into(),
        ],
    )
    .await?;
    Ok(())
}

/// Takes it back, and the person's visits with it. False if it was not shared.
pub async fn remove(tx: &Tx, permit: &Permit, notebook: NotebookId, person: PersonId) -> Result<bool, StoreError> {
    let removed = sql::execute(
        tx.conn(),
        "delete from notebook_shares where tenant_id = $1 and notebook_id = $2 and person_id = $3",
        [permit.tenant().uuid().into(), notebook.uuid().into(), person.uuid().into()],
    )
    .await?;
    if removed == 1 {
        end_visits(tx, notebook, person).await?;
    }
    Ok(removed == 1)
}

/// Ends the person's visits to the notebook: whoever has a cookie or ticket comes in anew, or not.
pub async fn end_visits(tx: &Tx, notebook: NotebookId, person: PersonId) -> Result<(), StoreError> {
    sql::execute(
        tx.conn(),
        "delete from notebook_visits where notebook_id = $1 and person_id = $2",
        [notebook.uuid().into(), person.uuid().into()],
    )
    .await?;
    Ok(())
}
