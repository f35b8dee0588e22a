//! Browsers' sign-ins, and the attempts that are counted against guessing.
//!
//! The key is the SHA-256 of what the cookie holds: who reads the database cannot sign in with it.

use domain::ids::{PersonId, TenantId};
use jiff::Timestamp;
use sea_orm::{
    ActiveValue::Set, ConnectionTrait, DbBackend, ExprTrait as _, PaginatorTrait, QueryOrder, QuerySelect, Statement,
    entity::prelude::*,
};

use crate::{Store, StoreError, Tx, convert};

#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "sign_ins")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: String,
    pub tenant_id: Option<Uuid>,
    pub person_id: Option<Uuid>,
    pub data: String,
    pub created_ms: i64,
    pub last_seen_ms: i64,
    pub expires_ms: i64,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}
impl ActiveModelBehavior for ActiveModel {}

/// One browser that is signed in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignIn {
    /// Hex SHA-256 of the cookie's value.
    pub id_hash: String,
    pub tenant: TenantId,
    pub person: PersonId,
    /// What the session layer keeps, as JSON.
    pub data: String,
    pub created_at: Timestamp,
    pub last_seen_at: Timestamp,
    /// The end of its life, however busy it is.
    pub expires_at: Timestamp,
}

pub async fn create(tx: &Tx, sign_in: &SignIn) -> Result<(), StoreError> {
    let row = ActiveModel {
        id: Set(sign_in.id_hash.clone()),
        tenant_id: Set(Some(sign_in.tenant.uuid())),
        person_id: Set(Some(sign_in.person.uuid())),
        data: Set(sign_in.data.clone()),
        created_ms: Set(sign_in.created_at.as_millisecond()),
        last_seen_ms: Set(sign_in.last_seen_at.as_millisecond()),
        expires_ms: Set(sign_in.expires_at.as_millisecond()),
    };
    Entity::insert(row).exec_without_returning(tx.conn()).await?;
    Ok(())
}

/// Writes the data anew; makes none, so that a request under way cannot bring back a sign-in that was ended.
pub async fn set_data(tx: &Tx, id_hash: &str, data: String) -> Result<(), StoreError> {
    let update = Entity::update_many().col_expr(Column::Data, data.into()).filter(Column::Id.eq(id_hash));
    update.exec(tx.conn()).await?;
    Ok(())
}

pub async fn get(store: &Store, id_hash: &str) -> Result<Option<SignIn>, StoreError> {
    let Some(row) = Entity::find_by_id(id_hash.to_owned()).one(store.read()).await? else { return Ok(None) };
    let (Some(tenant), Some(person)) = (row.tenant_id, row.person_id) else { return Ok(None) };
    Ok(Some(SignIn {
        id_hash: row.id,
        tenant: TenantId::from_uuid(tenant),
        person: PersonId::from_uuid(person),
        data: row.data,
        created_at: convert::time("sign_ins.created_ms", row.created_ms)?,
        last_seen_at: convert::time("sign_ins.last_seen_ms", row.last_seen_ms)?,
        expires_at: convert::time("sign_ins.expires_ms", row.expires_ms)?,
    }))
}

/// It was used; the time of its last use never goes back.
pub async fn touch(tx: &Tx, id_hash: &str, now: Timestamp) -> Result<(), StoreError> {
    Entity::update_many()
        .col_expr(Column::LastSeenMs, now.as_millisecond().into())
        .filter(Column::Id.eq(id_hash))
        .filter(Column::LastSeenMs.lt(now.as_millisecond()))
        .exec(tx.conn())
        .await?;
    Ok(())
}

/// Ends one. Whether there was one.
pub async fn end(tx: &Tx, id_hash: &str) -> Result<bool, StoreError> {
    Ok(Entity::delete_by_id(id_hash.to_owned()).exec(tx.conn()).await?.rows_affected > 0)
}

/// Ends all of a person's, but not `except` where given. How many there were.
pub async fn end_all(tx: &Tx, person: PersonId, except: Option<&str>) -> Result<u64, StoreError> {
    let mut delete = Entity::delete_many().filter(Column::PersonId.eq(person.uuid()));
    if let Some(except) = except {
        delete = delete.filter(Column::Id.ne(except));
    }
    Ok(delete.exec(tx.conn()).await?.rows_affected)
}

/// Drops those that ended before `now` or were last used before `idle_since`.
pub async fn prune(tx: &Tx, now: Timestamp, idle_since: Timestamp) -> Result<u64, StoreError> {
    let over = Column::ExpiresMs.lte(now.as_millisecond()).or(Column::LastSeenMs.lt(idle_since.as_millisecond()));
    Ok(Entity::delete_many().filter(over).exec(tx.conn()).await?.rows_affected)
}

/// Attempts to sign in, counted in the database so that the count holds over all replicas.
pub mod attempts {
    use super::*;

    #[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
    #[sea_orm(table_name = "sign_in_attempts")]
    pub struct Model {
        #[sea_orm(primary_key)]
        pub id: i64,
        pub attempt_key: String,
        pub at_ms: i64,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}
    impl ActiveModelBehavior for ActiveModel {}

    /// Holds back other attempts on the same key until the commit, so that a hundred at once are counted one after the
    /// other. Take the keys in one order everywhere. SQLite has one writer anyway.
    pub async fn lock(tx: &Tx, key: &str) -> Result<(), StoreError> {
        let conn = tx.conn();
        if conn.get_database_backend() == DbBackend::Postgres {
            let lock = Statement::from_sql_and_values(
                DbBackend::Postgres,
                "select 1 as n from (select pg_advisory_xact_lock(hashtextextended($1, 4212))) as l",
                [key.into()],
            );
            conn.query_one_raw(lock).await?;
        }
        Ok(())
    }

    /// How many since `since`, and when the first of them was.
    pub async fn count(tx: &Tx, key: &str, since: Timestamp) -> Result<(u64, Option<Timestamp>), StoreError> {
        let query =
            || Entity::find().filter(Column::AttemptKey.eq(key)).filter(Column::AtMs.gt(since.as_millisecond()));
        let count = query().count(tx.conn()).await?;
        let first = query().order_by_asc(Column::AtMs).limit(1).one(tx.conn()).await?;
        Ok((count, convert::time_opt("sign_in_attempts.at_ms", first.map(|row| row.at_ms))?))
    }

    pub async fn add(tx: &Tx, key: &str, now: Timestamp) -> Result<(), StoreError> {
        let row =
            ActiveModel { attempt_key: Set(key.to_owned()), at_ms: Set(now.as_millisecond()), ..Default::default() };
        Entity::insert(row).exec_without_returning(tx.conn()).await?;
        Ok(())
    }

    /// No attempt's key, for those are hashes.
    pub(crate) const FILLER: &str = "room?";
    const FILLER_ROWS: usize = 5_000;

    /// A hundred kilobytes of rows that count for nobody.
    pub(crate) async fn fill(tx: &Tx) -> Result<(), StoreError> {
        let row = || ActiveModel { attempt_key: Set(FILLER.to_owned()), at_ms: Set(0), ..Default::default() };
        for _ in 0..FILLER_ROWS / 500 {
            Entity::insert_many((0..500).map(|_| row())).exec_without_returning(tx.conn()).await?;
        }
        Ok(())
    }

    /// Forgets the attempts on `key`.
    pub async fn clear(tx: &Tx, key: &str) -> Result<(), StoreError> {
        Entity::delete_many().filter(Column::AttemptKey.eq(key)).exec(tx.conn()).await?;
        Ok(())
    }

    /// Takes back the newest attempt on `key`: it was none.
    pub async fn take_back(tx: &Tx, key: &str) -> Result<(), StoreError> {
        let newest =
            Entity::find().filter(Column::AttemptKey.eq(key)).order_by_desc(Column::Id).limit(1).one(tx.conn()).await?;
        if let Some(row) = newest {
            Entity::delete_by_id(row.id).exec(tx.conn()).await?;
        }
        Ok(())
    }

    pub async fn prune(tx: &Tx, before: Timestamp) -> Result<u64, StoreError> {
        let old = Entity::delete_many().filter(Column::AtMs.lt(before.as_millisecond()));
        Ok(old.exec(tx.conn()).await?.rows_affected)
    }
}
