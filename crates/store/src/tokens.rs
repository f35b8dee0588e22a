//! API tokens: the SHA-256 of each. A token is 256 random bits, so a fast hash is as good as a slow one.

use domain::{
    access::Permit,
    ids::{PersonId, TokenId},
    people::Person,
    tokens::{Scope, Token},
};
use jiff::Timestamp;
use sea_orm::{ActiveValue::Set, ExprTrait as _, PaginatorTrait, QueryOrder, QuerySelect, entity::prelude::*};

use crate::{Corrupt, Store, StoreError, Tx, convert, people, sql};

#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "tokens")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    pub tenant_id: Uuid,
    pub person_id: Uuid,
    pub name: String,
    pub scope: String,
    pub hash: String,
    pub created_ms: i64,
    pub expires_ms: i64,
    pub last_used_ms: Option<i64>,
    pub revoked_ms: Option<i64>,
    pub parent_id: Option<Uuid>,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {
    #[sea_orm(belongs_to = "people::Entity", from = "Column::PersonId", to = "people::Column::Id")]
    People,
}
impl Related<people::Entity> for Entity {
    fn to() -> RelationDef {
        Relation::People.def()
    }
}
impl ActiveModelBehavior for ActiveModel {}

impl TryFrom<Model> for Token {
    type Error = Corrupt;
    fn try_from(row: Model) -> Result<Self, Corrupt> {
        Ok(Token {
            id: TokenId::from_uuid(row.id),
            person: PersonId::from_uuid(row.person_id),
            name: row.name,
            scope: convert::word("tokens.scope", &row.scope)?,
            created_at: convert::time("tokens.created_ms", row.created_ms)?,
            expires_at: convert::time("tokens.expires_ms", row.expires_ms)?,
            last_used_at: convert::time_opt("tokens.last_used_ms", row.last_used_ms)?,
            parent: row.parent_id.map(TokenId::from_uuid),
        })
    }
}

/// What a new token is.
#[derive(Clone)]
pub struct NewToken {
    pub name: String,
    pub scope: Scope,
    /// Hex SHA-256 of the secret.
    pub hash: String,
    pub expires_at: Timestamp,
    /// The token with which it is made.
    pub parent: Option<TokenId>,
}

pub async fn create(
    tx: &Tx,
    permit: &Permit,
    person: PersonId,
    new: NewToken,
    now: Timestamp,
) -> Result<Token, StoreError> {
    let token = Token {
        id: TokenId::new(),
        person,
        name: new.name,
        scope: new.scope,
        created_at: now,
        expires_at: new.expires_at,
        last_used_at: None,
        parent: new.parent,
    };
    let row = ActiveModel {
        id: Set(token.id.uuid()),
        tenant_id: Set(permit.tenant().uuid()),
        person_id: Set(person.uuid()),
        name: Set(token.name.clone()),
        scope: Set(token.scope.word().to_owned()),
        hash: Set(new.hash),
        created_ms: Set(now.as_millisecond()),
        expires_ms: Set(token.expires_at.as_millisecond()),
        last_used_ms: Set(None),
        revoked_ms: Set(None),
        parent_id: Set(token.parent.map(TokenId::uuid)),
    };
    Entity::insert(row).exec_without_returning(tx.conn()).await?;
    Ok(token)
}

fn usable(now: Timestamp) -> Select<Entity> {
    Entity::find().filter(Column::RevokedMs.is_null()).filter(Column::ExpiresMs.gt(now.as_millisecond()))
}

/// The token with this hash and its owner, unless it is revoked or over, or its owner is removed.
pub async fn by_hash(store: &Store, hash: &str, now: Timestamp) -> Result<Option<(Token, Person)>, StoreError> {
    owned(usable(now).filter(Column::Hash.eq(hash)), store).await
}

/// As [`by_hash`], by its id.
pub async fn usable_by_id(
    store: &Store,
    token: TokenId,
    now: Timestamp,
) -> Result<Option<(Token, Person)>, StoreError> {
    owned(usable(now).filter(Column::Id.eq(token.uuid())), store).await
}

async fn owned(query: Select<Entity>, store: &Store) -> Result<Option<(Token, Person)>, StoreError> {
    let found =
        query.find_also_related(people::Entity).filter(people::Column::DeletedMs.is_null()).one(store.read()).await?;
    let Some((token, Some(person))) = found else { return Ok(None) };
    Ok(Some((token.try_into()?, person.try_into()?)))
}

/// It was used; written only if the last use on record is before `stale_before`.
pub async fn touch(tx: &Tx, token: TokenId, stale_before: Timestamp, now: Timestamp) -> Result<(), StoreError> {
    Entity::update_many()
        .col_expr(Column::LastUsedMs, now.as_millisecond().into())
        .filter(Column::Id.eq(token.uuid()))
        .filter(Column::LastUsedMs.is_null().or(Column::LastUsedMs.lt(stale_before.as_millisecond())))
        .exec(tx.conn())
        .await?;
    Ok(())
}

/// A person's tokens that are neither revoked nor over, newest first, before `before` where given, at most `limit`.
pub async fn list(
    store: &Store,
    permit: &Permit,
    person: PersonId,
    before: Option<Uuid>,
    limit: u64,
    now: Timestamp,
) -> Result<Vec<Token>, StoreError> {
    let mut query =
        usable(now).filter(Column::TenantId.eq(permit.tenant().uuid())).filter(Column::PersonId.eq(person.uuid()));
    if let Some(before) = before {
        query = query.filter(Column::Id.lt(before));
    }
    let rows = query.order_by_desc(Column::Id).limit(limit).all(store.read()).await?;
    Ok(rows.into_iter().map(Token::try_from).collect::<Result<_, _>>()?)
}

/// How many usable tokens a person has.
pub async fn count(tx: &Tx, person: PersonId, now: Timestamp) -> Result<u64, StoreError> {
    Ok(usable(now).filter(Column::PersonId.eq(person.uuid())).count(tx.conn()).await?)
}

/// The token, if it is the person's and not revoked.
pub async fn get_in(tx: &Tx, permit: &Permit, person: PersonId, token: TokenId) -> Result<Option<Token>, StoreError> {
    let row = Entity::find_by_id(token.uuid())
        .filter(Column::TenantId.eq(permit.tenant().uuid()))
        .filter(Column::PersonId.eq(person.uuid()))
        .filter(Column::RevokedMs.is_null())
        .one(tx.conn())
        .await?;
    Ok(row.map(Token::try_from).transpose()?)
}

/// Revokes the token and all that were made with it, however far removed. How many there were.
pub async fn revoke(tx: &Tx, permit: &Permit, token: TokenId, now: Timestamp) -> Result<u64, StoreError> {
    let mut revoked = 0;
    loop {
        let more = sql::execute(
            tx.conn(),
            "with recursive line (id) as (select id from tokens where tenant_id = $1 and id = $2 \
             union select t.id from tokens t join line on t.parent_id = line.id) \
             update tokens set revoked_ms = $3 where revoked_ms is null and id in (select id from line)",
            [permit.tenant().uuid().into(), token.uuid().into(), now.as_millisecond().into()],
        )
        .await?;
        // One that was being made meanwhile is seen by the next look; with what is revoked now, none can be made.
        if more == 0 {
            return Ok(revoked);
        }
        revoked += more;
    }
}

/// The token as the transaction sees it and holds it, if it is neither revoked nor over.
pub async fn usable_in(tx: &Tx, token: TokenId, now: Timestamp) -> Result<Option<Token>, StoreError> {
    let row = usable(now).filter(Column::Id.eq(token.uuid())).lock_exclusive().one(tx.conn()).await?;
    Ok(row.map(Token::try_from).transpose()?)
}

/// Takes away all tokens of a removed person.
pub(crate) async fn delete_all(tx: &Tx, permit: &Permit, person: PersonId) -> Result<(), StoreError> {
    Entity::delete_many()
        .filter(Column::TenantId.eq(permit.tenant().uuid()))
        .filter(Column::PersonId.eq(person.uuid()))
        .exec(tx.conn())
        .await?;
    Ok(())
}
