//! People of a tenant.

use domain::{
    access::Permit,
    ids::{PersonId, TenantId},
    people::{Person, Role},
};
use jiff::Timestamp;
use sea_orm::{
    ActiveValue::Set, ConnectionTrait, DbBackend, PaginatorTrait, QueryOrder, QuerySelect, Statement,
    entity::prelude::*, sea_query::OnConflict,
};

use crate::{Corrupt, Store, StoreError, Tx, convert, one_time_links, sign_ins, tokens};

#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "people")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    pub tenant_id: Uuid,
    pub email: String,
    pub name: String,
    pub role: String,
    pub locked: bool,
    pub password_hash: Option<String>,
    pub created_ms: i64,
    pub deleted_ms: Option<i64>,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}
impl ActiveModelBehavior for ActiveModel {}

impl TryFrom<Model> for Person {
    type Error = Corrupt;
    fn try_from(row: Model) -> Result<Self, Corrupt> {
        Ok(Person {
            id: PersonId::from_uuid(row.id),
            tenant: TenantId::from_uuid(row.tenant_id),
            email: row.email,
            name: row.name,
            role: convert::word("people.role", &row.role)?,
            locked: row.locked,
            has_password: row.password_hash.is_some(),
            created_at: convert::time("people.created_ms", row.created_ms)?,
        })
    }
}

/// A person with the hash of their password (PHC string), for the check at sign-in.
#[derive(Clone)]
pub struct WithPassword {
    pub person: Person,
    pub password_hash: Option<String>,
}

/// What a new person starts with.
#[derive(Debug, Clone)]
pub struct NewPerson {
    /// Normalised by [`domain::people::email`].
    pub email: String,
    pub name: String,
    pub role: Role,
}

fn of_tenant(permit: &Permit) -> Select<Entity> {
    Entity::find().filter(Column::TenantId.eq(permit.tenant().uuid())).filter(Column::DeletedMs.is_null())
}

/// The person with this address, in whichever tenant: who signs in does not name one. The oldest, if several tenants
/// know the address.
pub async fn by_email(store: &Store, email: &str) -> Result<Option<WithPassword>, StoreError> {
    let row = Entity::find()
        .filter(Column::Email.eq(email))
        .filter(Column::DeletedMs.is_null())
        .order_by_asc(Column::CreatedMs)
        .order_by_asc(Column::Id)
        .limit(1)
        .one(store.read())
        .await?;
    row.map(|row| {
        let password_hash = row.password_hash.clone();
        Ok(WithPassword { person: row.try_into()?, password_hash })
    })
    .transpose()
}

/// The person, unless removed, as a sign-in or token names them: their tenant is not known before.
pub async fn for_door(store: &Store, person: PersonId) -> Result<Option<Person>, StoreError> {
    let row = Entity::find_by_id(person.uuid()).filter(Column::DeletedMs.is_null()).one(store.read()).await?;
    Ok(row.map(Person::try_from).transpose()?)
}

pub async fn get(store: &Store, permit: &Permit, person: PersonId) -> Result<Option<Person>, StoreError> {
    let row = of_tenant(permit).filter(Column::Id.eq(person.uuid())).one(store.read()).await?;
    Ok(row.map(Person::try_from).transpose()?)
}

/// As [`get`], within a change.
pub async fn get_in(tx: &Tx, permit: &Permit, person: PersonId) -> Result<Option<Person>, StoreError> {
    let row = of_tenant(permit).filter(Column::Id.eq(person.uuid())).one(tx.conn()).await?;
    Ok(row.map(Person::try_from).transpose()?)
}

/// The tenant's person with this address.
pub async fn by_email_in(tx: &Tx, permit: &Permit, email: &str) -> Result<Option<Person>, StoreError> {
    let row = of_tenant(permit).filter(Column::Email.eq(email)).one(tx.conn()).await?;
    Ok(row.map(Person::try_from).transpose()?)
}

/// The hash of a person's password.
pub async fn password_hash(store: &Store, permit: &Permit, person: PersonId) -> Result<Option<String>, StoreError> {
    let row = of_tenant(permit).filter(Column::Id.eq(person.uuid())).one(store.read()).await?;
    Ok(row.and_then(|row| row.password_hash))
}

/// By address, after `after` where given, at most `limit`.
pub async fn list(
    store: &Store,
    permit: &Permit,
    after: Option<String>,
    limit: u64,
) -> Result<Vec<Person>, StoreError> {
    let mut query = of_tenant(permit);
    if let Some(after) = after {
        query = query.filter(Column::Email.gt(after));
    }
    let rows = query.order_by_asc(Column::Email).limit(limit).all(store.read()).await?;
    Ok(rows.into_iter().map(Person::try_from).collect::<Result<_, _>>()?)
}

/// Makes the person; `None` if the tenant has one with this address.
pub async fn create(tx: &Tx, permit: &Permit, new: NewPerson, now: Timestamp) -> Result<Option<Person>, StoreError> {
    let row = Model {
        id: PersonId::new().uuid(),
        tenant_id: permit.tenant().uuid(),
        email: new.email,
        name: new.name,
        role: new.role.word().to_owned(),
        locked: false,
        password_hash: None,
        created_ms: now.as_millisecond(),
        deleted_ms: None,
    };
    let active: ActiveModel = row.clone().into();
    let inserted = Entity::insert(active.reset_all())
        .on_conflict(OnConflict::columns([Column::TenantId, Column::Email]).do_nothing().to_owned())
        .exec_without_returning(tx.conn())
        .await?;
    Ok(if inserted == 0 { None } else { Some(row.try_into()?) })
}

/// Holds back every other change of the tenant's admins until the commit, so that two of them cannot each take away the
/// other's role. SQLite has one writer anyway.
pub async fn lock_admins(tx: &Tx, permit: &Permit) -> Result<(), StoreError> {
    let conn = tx.conn();
    if conn.get_database_backend() == DbBackend::Postgres {
        let lock = Statement::from_sql_and_values(
            DbBackend::Postgres,
            "select id from tenants where id = $1 for update",
            [permit.tenant().uuid().into()],
        );
        conn.query_one_raw(lock).await?;
    }
    Ok(())
}

/// How many people other than `person` are admins and not locked.
pub async fn other_admins(tx: &Tx, permit: &Permit, person: PersonId) -> Result<u64, StoreError> {
    Ok(of_tenant(permit)
        .filter(Column::Role.eq(Role::Admin.word()))
        .filter(Column::Locked.eq(false))
        .filter(Column::Id.ne(person.uuid()))
        .count(tx.conn())
        .await?)
}

/// Writes name, role and lock as `person` has them.
pub async fn update(tx: &Tx, permit: &Permit, person: &Person) -> Result<(), StoreError> {
    let row = ActiveModel {
        name: Set(person.name.clone()),
        role: Set(person.role.word().to_owned()),
        locked: Set(person.locked),
        ..Default::default()
    };
    Entity::update_many()
        .set(row)
        .filter(Column::TenantId.eq(permit.tenant().uuid()))
        .filter(Column::Id.eq(person.id.uuid()))
        .exec(tx.conn())
        .await?;
    Ok(())
}

/// `hash` is a PHC string.
pub async fn set_password(tx: &Tx, permit: &Permit, person: PersonId, hash: String) -> Result<(), StoreError> {
    Entity::update_many()
        .col_expr(Column::PasswordHash, hash.into())
        .filter(Column::TenantId.eq(permit.tenant().uuid()))
        .filter(Column::Id.eq(person.uuid()))
        .exec(tx.conn())
        .await?;
    Ok(())
}

async fn exists(tx: &Tx, sql: &str, person: PersonId) -> Result<bool, StoreError> {
    let statement = Statement::from_sql_and_values(tx.conn().get_database_backend(), sql, [person.uuid().into()]);
    Ok(tx.conn().query_one_raw(statement).await?.is_some())
}

/// Whether the person holds machines now or has booked some for later.
pub async fn holds_machines(tx: &Tx, person: PersonId) -> Result<bool, StoreError> {
    exists(tx, "select 1 as n from sessions where person_id = $1 and holds limit 1", person).await
}

/// Whether bookings, hosts or instructions name the person, so that the row has to stay for them.
async fn is_named(tx: &Tx, person: PersonId) -> Result<bool, StoreError> {
    for sql in [
        "select 1 as n from reservations where person_id = $1 limit 1",
        "select 1 as n from sessions where person_id = $1 limit 1",
        "select 1 as n from zero_certificates where created_by = $1 limit 1",
        "select 1 as n from instructions where created_by = $1 limit 1",
        "select 1 as n from notebooks where person_id = $1 limit 1",
        "select 1 as n from notebook_volumes where person_id = $1 limit 1",
        "select 1 as n from notebook_environments where created_by = $1 limit 1",
        "select 1 as n from notebook_shares where created_by = $1 limit 1",
    ] {
        if exists(tx, sql, person).await? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// What [`remove`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Removal {
    Deleted,
    Anonymised,
}

/// Takes away all ways in, and then the person: the row itself if nothing names it, otherwise name and address.
pub async fn remove(tx: &Tx, permit: &Permit, person: PersonId, now: Timestamp) -> Result<Removal, StoreError> {
    sign_ins::end_all(tx, person, None).await?;
    one_time_links::delete_all(tx, person).await?;
    tokens::delete_all(tx, permit, person).await?;
    for sql in [
        "delete from idempotency_keys where person_id = $1",
        "delete from notebook_shares where person_id = $1",
        "delete from notebook_visits where person_id = $1",
    ] {
        let values = [person.uuid().into()];
        let deletion = Statement::from_sql_and_values(tx.conn().get_database_backend(), sql, values);
        tx.conn().execute_raw(deletion).await?;
    }
    if !is_named(tx, person).await? {
        Entity::delete_many()
            .filter(Column::TenantId.eq(permit.tenant().uuid()))
            .filter(Column::Id.eq(person.uuid()))
            .exec(tx.conn())
            .await?;
        return Ok(Removal::Deleted);
    }
    let row = ActiveModel {
        email: Set(format!("removed-{person}")),
        name: Set("removed person".to_owned()),
        locked: Set(true),
        password_hash: Set(None),
        deleted_ms: Set(Some(now.as_millisecond())),
        ..Default::default()
    };
    Entity::update_many()
        .set(row)
        .filter(Column::TenantId.eq(permit.tenant().uuid()))
        .filter(Column::Id.eq(person.uuid()))
        .exec(tx.conn())
        .await?;
    Ok(Removal::Anonymised)
}
