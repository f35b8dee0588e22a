//! Events: written in the transaction that makes the change, read in the order of their revisions (D6).

use domain::{
    access::Permit,
    events::{Event, EventKind},
    ids::TenantId,
};
use jiff::Timestamp;
use sea_orm::{ActiveValue::Set, ConnectionTrait, DbBackend, QueryOrder, QuerySelect, entity::prelude::*};

use crate::{Corrupt, Store, StoreError, Tx, convert, outcome};

#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "events")]
pub struct Model {
    #[sea_orm(primary_key)]
    pub revision: i64,
    pub tenant_id: Uuid,
    pub kind: String,
    pub subject: Uuid,
    pub word: String,
    pub at_ms: i64,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}
impl ActiveModelBehavior for ActiveModel {}

impl TryFrom<Model> for Event {
    type Error = Corrupt;
    fn try_from(row: Model) -> Result<Self, Corrupt> {
        Ok(Event {
            revision: row.revision,
            tenant: TenantId::from_uuid(row.tenant_id),
            kind: convert::word("events.kind", &row.kind)?,
            subject: row.subject,
            word: row.word,
            at: convert::time("events.at_ms", row.at_ms)?,
        })
    }
}

/// The channel on which PostgreSQL tells the replicas that there are new events.
const CHANNEL: &str = "berth_events";

/// Key of the lock under which PostgreSQL numbers events; any number that nothing else uses.
const LOCK: i64 = 4211;
/// Rows in one INSERT: databases limit the values of a statement.
const INSERT_CHUNK: usize = 500;

/// Tells of a change: its event is written when the transaction commits, and only then. See [`write`].
pub async fn append(
    tx: &Tx,
    permit: &Permit,
    kind: EventKind,
    subject: impl Into<Uuid> + Send,
    word: &str,
    now: Timestamp,
) -> Result<(), StoreError> {
    tx.tell([row(permit.tenant(), kind, subject.into(), word, now)]);
    Ok(())
}

fn row(tenant: TenantId, kind: EventKind, subject: Uuid, word: &str, now: Timestamp) -> ActiveModel {
    ActiveModel {
        tenant_id: Set(tenant.uuid()),
        kind: Set(kind.word().to_owned()),
        subject: Set(subject),
        word: Set(word.to_owned()),
        at_ms: Set(now.as_millisecond()),
        ..Default::default()
    }
}

/// Writes what a transaction tells, as the last thing before its commit. On PostgreSQL it takes a lock until then, so that
/// revisions become visible in their order and no reader can pass over one. As nothing is waited for under that lock,
/// it cannot deadlock with the locks of rows; those who have much to write share it by writing in groups.
///
/// PostgreSQL's number of the transaction, by which it is asked what became of a commit whose answer was lost.
pub(crate) async fn write<C: ConnectionTrait>(conn: &C, told: Vec<ActiveModel>) -> Result<Option<String>, StoreError> {
    if told.is_empty() {
        return Ok(None);
    }
    let number = if conn.get_database_backend() == DbBackend::Postgres {
        outcome::number(conn, &format!("pg_advisory_xact_lock({LOCK}), pg_notify('{CHANNEL}', '')")).await?
    } else {
        None
    };
    for chunk in told.chunks(INSERT_CHUNK) {
        Entity::insert_many(chunk.iter().cloned()).exec_without_returning(conn).await?;
    }
    Ok(number)
}

/// What [`append_all`] is to tell.
#[derive(Debug, Clone)]
pub struct Told {
    pub tenant: TenantId,
    pub kind: EventKind,
    pub subject: Uuid,
    pub word: &'static str,
}

/// As [`append`], for many changes in one transaction, of any tenants: each was made under a permit of its own.
pub fn append_all(tx: &Tx, told: &[Told], now: Timestamp) {
    tx.tell(told.iter().map(|told| row(told.tenant, told.kind, told.subject, told.word, now)));
}

/// Events of all tenants after `revision`, in order, at most `limit`: what the live hub fans out.
pub async fn after(store: &Store, revision: i64, limit: u64) -> Result<Vec<Event>, StoreError> {
    read(store, Entity::find(), revision, limit).await
}

/// The tenant's events after `revision`, in order, at most `limit`: what a browser that comes back missed.
pub async fn after_for(store: &Store, permit: &Permit, revision: i64, limit: u64) -> Result<Vec<Event>, StoreError> {
    read(store, Entity::find().filter(Column::TenantId.eq(permit.tenant().uuid())), revision, limit).await
}

async fn read(store: &Store, of: Select<Entity>, revision: i64, limit: u64) -> Result<Vec<Event>, StoreError> {
    let newer = of.filter(Column::Revision.gt(revision)).order_by_asc(Column::Revision).limit(limit);
    let rows = newer.all(store.read()).await?;
    Ok(rows.into_iter().map(Event::try_from).collect::<Result<_, _>>()?)
}

/// The newest revision, 0 if nothing ever happened.
pub async fn newest(store: &Store) -> Result<i64, StoreError> {
    let row = Entity::find().order_by_desc(Column::Revision).limit(1).one(store.read()).await?;
    Ok(row.map_or(0, |row| row.revision))
}

/// The oldest revision that is still kept; a reader from before it has to fetch anew.
pub async fn oldest(store: &Store) -> Result<i64, StoreError> {
    let row = Entity::find().order_by_asc(Column::Revision).limit(1).one(store.read()).await?;
    Ok(row.map_or(0, |row| row.revision))
}

/// Drops events before `before`; browsers that were away longer fetch anew.
pub async fn prune(tx: &Tx, before: Timestamp) -> Result<u64, StoreError> {
    let result = Entity::delete_many().filter(Column::AtMs.lt(before.as_millisecond())).exec(tx.conn()).await?;
    Ok(result.rows_affected)
}

/// What other replicas commit, as it is committed.
pub struct Notices(sea_orm::sqlx::postgres::PgListener);

impl Notices {
    /// `None` on SQLite, which has no other replicas.
    pub async fn listen(store: &Store) -> Result<Option<Self>, StoreError> {
        if store.backend() != DbBackend::Postgres {
            return Ok(None);
        }
        let outside =
            |error: sea_orm::sqlx::Error| DbErr::Conn(sea_orm::RuntimeErr::SqlxError(std::sync::Arc::new(error)));
        let pool = store.read().get_postgres_connection_pool();
        let mut listener = sea_orm::sqlx::postgres::PgListener::connect_with(pool).await.map_err(outside)?;
        listener.listen(CHANNEL).await.map_err(outside)?;
        Ok(Some(Self(listener)))
    }
    /// Waits for the next notice. After a lost connection it connects anew and returns, as something may have been missed.
    pub async fn next(&mut self) -> Result<(), StoreError> {
        self.0
            .try_recv()
            .await
            .map_err(|error| DbErr::Conn(sea_orm::RuntimeErr::SqlxError(std::sync::Arc::new(error))))?;
        Ok(())
    }
}
