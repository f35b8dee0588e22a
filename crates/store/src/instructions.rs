//! Instructions and their transactions. Each change of a transaction's state is a compare-and-set (D3).

use domain::{
    access::Permit,
    ids::{HostId, InstructionId, PersonId, SessionId, TenantId, TransactionId},
    instructions::{Instruction, MAX_OUTPUT_BYTES, OutputChannel, Transaction, TransactionState, Work},
};
use jiff::Timestamp;
use sea_orm::{
    ActiveValue::Set, ConnectionTrait, FromQueryResult, QueryOrder, QuerySelect, QueryTrait, Statement, UpdateMany,
    Value, entity::prelude::*, sea_query::Expr,
};

use crate::{Corrupt, Store, StoreError, Tx, convert};

mod instruction {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
    #[sea_orm(table_name = "instructions")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: Uuid,
        pub tenant_id: Uuid,
        pub created_by: Option<Uuid>,
        pub created_ms: i64,
        pub title: String,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}
    impl ActiveModelBehavior for ActiveModel {}
}

#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "transactions")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    pub tenant_id: Uuid,
    pub instruction_id: Uuid,
    pub host_id: Uuid,
    pub session_id: Option<Uuid>,
    pub work: String,
    pub idempotent: bool,
    pub state: String,
    pub created_ms: i64,
    pub offered_ms: Option<i64>,
    pub claimed_ms: Option<i64>,
    pub claimed_serial: Option<String>,
    pub started_ms: Option<i64>,
    pub ended_ms: Option<i64>,
    pub expires_ms: i64,
    pub exit_code: Option<i32>,
    pub cause: Option<String>,
    pub cancel_requested: bool,
    pub output_bytes: i32,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}
impl ActiveModelBehavior for ActiveModel {}

/// A transaction, and whether somebody asked to cancel it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    pub transaction: Transaction,
    pub cancel_requested: bool,
}

impl TryFrom<Model> for Stored {
    type Error = Corrupt;
    fn try_from(row: Model) -> Result<Self, Corrupt> {
        Ok(Stored {
            cancel_requested: row.cancel_requested,
            transaction: Transaction {
                id: TransactionId::from_uuid(row.id),
                instruction: InstructionId::from_uuid(row.instruction_id),
                tenant: TenantId::from_uuid(row.tenant_id),
                host: HostId::from_uuid(row.host_id),
                session: row.session_id.map(SessionId::from_uuid),
                work: convert::json("transactions.work", &row.work)?,
                state: convert::word("transactions.state", &row.state)?,
                created_at: convert::time("transactions.created_ms", row.created_ms)?,
                offered_at: convert::time_opt("transactions.offered_ms", row.offered_ms)?,
                claimed_at: convert::time_opt("transactions.claimed_ms", row.claimed_ms)?,
                started_at: convert::time_opt("transactions.started_ms", row.started_ms)?,
                ended_at: convert::time_opt("transactions.ended_ms", row.ended_ms)?,
                expires_at: convert::time("transactions.expires_ms", row.expires_ms)?,
                exit_code: row.exit_code,
                cause: row.cause,
            },
        })
    }
}

impl TryFrom<instruction::Model> for Instruction {
    type Error = Corrupt;
    fn try_from(row: instruction::Model) -> Result<Self, Corrupt> {
        Ok(Instruction {
            id: InstructionId::from_uuid(row.id),
            tenant: TenantId::from_uuid(row.tenant_id),
            created_by: row.created_by.map(PersonId::from_uuid),
            created_at: convert::time("instructions.created_ms", row.created_ms)?,
            title: row.title,
        })
    }
}

fn stored(rows: Vec<Model>) -> Result<Vec<Stored>, StoreError> {
    Ok(rows.into_iter().map(Stored::try_from).collect::<Result<_, _>>()?)
}

/// In no final state. In the words of the index `transactions_open`, which SQLite does not take for values that are bound.
const OPEN: &str = r#""transactions"."state" in ('waiting', 'offered', 'claimed', 'running')"#;
/// Rows in one INSERT: databases limit the values of a statement.
const INSERT_CHUNK: usize = 200;

/// Stores the instruction with its transactions.
pub async fn create(
    tx: &Tx,
    permit: &Permit,
    instruction: &Instruction,
    transactions: &[Transaction],
) -> Result<(), StoreError> {
    let row = instruction::ActiveModel {
        id: Set(instruction.id.uuid()),
        tenant_id: Set(permit.tenant().uuid()),
        created_by: Set(instruction.created_by.map(PersonId::uuid)),
        created_ms: Set(instruction.created_at.as_millisecond()),
        title: Set(instruction.title.clone()),
    };
    instruction::Entity::insert(row).exec_without_returning(tx.conn()).await?;
    for chunk in transactions.chunks(INSERT_CHUNK) {
        let rows = chunk.iter().map(|t| ActiveModel {
            id: Set(t.id.uuid()),
            tenant_id: Set(permit.tenant().uuid()),
            instruction_id: Set(t.instruction.uuid()),
            host_id: Set(t.host.uuid()),
            session_id: Set(t.session.map(SessionId::uuid)),
            work: Set(convert::to_json(&t.work)),
            idempotent: Set(t.work.is_idempotent()),
            state: Set(t.state.word().to_owned()),
            created_ms: Set(t.created_at.as_millisecond()),
            offered_ms: Set(t.offered_at.map(Timestamp::as_millisecond)),
            claimed_ms: Set(None),
            claimed_serial: Set(None),
            started_ms: Set(None),
            ended_ms: Set(None),
            expires_ms: Set(t.expires_at.as_millisecond()),
            exit_code: Set(None),
            cause: Set(None),
            cancel_requested: Set(false),
            output_bytes: Set(0),
        });
        Entity::insert_many(rows).exec_without_returning(tx.conn()).await?;
    }
    Ok(())
}

pub async fn get(store: &Store, permit: &Permit, id: InstructionId) -> Result<Option<Instruction>, StoreError> {
    let row = instruction::Entity::find_by_id(id.uuid())
        .filter(instruction::Column::TenantId.eq(permit.tenant().uuid()))
        .one(store.read())
        .await?;
    Ok(row.map(Instruction::try_from).transpose()?)
}

/// Those that people gave, newest first, those before `before`, at most `limit`. Ids rise with time.
pub async fn list(
    store: &Store,
    permit: &Permit,
    before: Option<InstructionId>,
    limit: u64,
) -> Result<Vec<Instruction>, StoreError> {
    let mut query = instruction::Entity::find()
        .filter(instruction::Column::TenantId.eq(permit.tenant().uuid()))
        .filter(instruction::Column::CreatedBy.is_not_null());
    if let Some(before) = before {
        query = query.filter(instruction::Column::Id.lt(before.uuid()));
    }
    let rows = query.order_by_desc(instruction::Column::Id).limit(limit).all(store.read()).await?;
    Ok(rows.into_iter().map(Instruction::try_from).collect::<Result<_, _>>()?)
}

#[derive(FromQueryResult)]
struct CountRow {
    instruction_id: Uuid,
    state: String,
    n: i64,
}

/// How many transactions of each of these instructions are in which state.
pub async fn states(
    store: &Store,
    permit: &Permit,
    ids: &[InstructionId],
) -> Result<Vec<(InstructionId, TransactionState, u32)>, StoreError> {
    let rows = Entity::find()
        .select_only()
        .column(Column::InstructionId)
        .column(Column::State)
        .column_as(Column::Id.count(), "n")
        .filter(Column::TenantId.eq(permit.tenant().uuid()))
        .filter(Column::InstructionId.is_in(ids.iter().map(|id| id.uuid())))
        .group_by(Column::InstructionId)
        .group_by(Column::State)
        .into_model::<CountRow>()
        .all(store.read())
        .await?;
    rows.into_iter()
        .map(|row| {
            let state = convert::word("transactions.state", &row.state)?;
            Ok((InstructionId::from_uuid(row.instruction_id), state, u32::try_from(row.n).unwrap_or(u32::MAX)))
        })
        .collect()
}

/// The instruction's transactions in the order of their making, at most `limit`.
pub async fn transactions(
    store: &Store,
    permit: &Permit,
    id: InstructionId,
    limit: u64,
) -> Result<Vec<Stored>, StoreError> {
    let rows = Entity::find()
        .filter(Column::TenantId.eq(permit.tenant().uuid()))
        .filter(Column::InstructionId.eq(id.uuid()))
        .order_by_asc(Column::Id)
        .limit(limit)
        .all(store.read())
        .await?;
    stored(rows)
}

pub async fn transaction(store: &Store, permit: &Permit, id: TransactionId) -> Result<Option<Stored>, StoreError> {
    transaction_by(store.read(), permit, id).await
}

/// As this transaction of the database sees it.
pub async fn transaction_in(tx: &Tx, permit: &Permit, id: TransactionId) -> Result<Option<Stored>, StoreError> {
    transaction_by(tx.conn(), permit, id).await
}

async fn transaction_by(
    conn: &impl ConnectionTrait,
    permit: &Permit,
    id: TransactionId,
) -> Result<Option<Stored>, StoreError> {
    let row = Entity::find_by_id(id.uuid()).filter(Column::TenantId.eq(permit.tenant().uuid())).one(conn).await?;
    Ok(row.map(Stored::try_from).transpose()?)
}

/// The host's transactions that are in no final state, oldest first, at most `limit`.
pub async fn open_of(store: &Store, permit: &Permit, host: HostId, limit: u64) -> Result<Vec<Stored>, StoreError> {
    stored(find_open(permit, host).order_by_asc(Column::Id).limit(limit).all(store.read()).await?)
}

fn find_open(permit: &Permit, host: HostId) -> Select<Entity> {
    Entity::find()
        .filter(Column::TenantId.eq(permit.tenant().uuid()))
        .filter(Column::HostId.eq(host.uuid()))
        .filter(Expr::cust(OPEN))
}

/// Transactions of any tenant that are in no final state and whose claim window was over at `now`: what the sweeper looks
/// at. After `after`, oldest first, at most `limit`.
pub async fn past_window(
    store: &Store,
    now: Timestamp,
    after: Option<TransactionId>,
    limit: u64,
) -> Result<Vec<Stored>, StoreError> {
    let mut query = find_past_window(now);
    if let Some(after) = after {
        query = query.filter(Column::Id.gt(after.uuid()));
    }
    stored(query.order_by_asc(Column::Id).limit(limit).all(store.read()).await?)
}

/// Which they are stands apart from their order: SQLite would go through all there ever were for the sake of that.
fn find_past_window(now: Timestamp) -> Select<Entity> {
    let past = Entity::find().select_only().column(Column::Id).filter(Expr::cust(OPEN));
    let past = past.filter(Column::ExpiresMs.lte(now.as_millisecond()));
    Entity::find().filter(Column::Id.in_subquery(past.into_query()))
}

#[derive(FromQueryResult)]
struct HostRow {
    host_id: Uuid,
}

/// The hosts on which the instruction is in no final state.
pub async fn open_hosts(store: &Store, permit: &Permit, id: InstructionId) -> Result<Vec<HostId>, StoreError> {
    let rows = Entity::find()
        .select_only()
        .column(Column::HostId)
        .filter(Column::TenantId.eq(permit.tenant().uuid()))
        .filter(Column::InstructionId.eq(id.uuid()))
        .filter(Expr::cust(OPEN))
        .into_model::<HostRow>()
        .all(store.read())
        .await?;
    Ok(rows.into_iter().map(|row| HostId::from_uuid(row.host_id)).collect())
}

/// Hosts of any tenant whose link replica `owner` holds and for which something waits, or was offered before
/// `offered_before` and not claimed, or is to be cancelled. At most `limit`.
pub async fn hosts_with_work(
    store: &Store,
    owner: uuid::Uuid,
    offered_before: Timestamp,
    limit: u64,
) -> Result<Vec<HostId>, StoreError> {
    let conn = store.read();
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let statement = Statement::from_sql_and_values(
        conn.get_database_backend(),
        "select distinct t.host_id from transactions t join hosts h on h.id = t.host_id \
         where t.state in ('waiting', 'offered', 'claimed', 'running') and (t.state = 'waiting' \
         or (t.state = 'offered' and t.offered_ms < $2) or (t.state in ('claimed', 'running') and t.cancel_requested)) \
         and h.link_owner = $1 limit $3",
        [owner.into(), offered_before.as_millisecond().into(), limit.into()],
    );
    let rows = HostRow::find_by_statement(statement).all(conn).await?;
    Ok(rows.into_iter().map(|row| HostId::from_uuid(row.host_id)).collect())
}

async fn change(
    tx: &Tx,
    permit: &Permit,
    id: TransactionId,
    sql: &str,
    values: Vec<Value>,
) -> Result<bool, StoreError> {
    let mut all: Vec<Value> = vec![id.uuid().into(), permit.tenant().uuid().into()];
    all.extend(values);
    let sql = format!("update transactions set {sql} and id = $1 and tenant_id = $2");
    let statement = Statement::from_sql_and_values(tx.conn().get_database_backend(), sql, all);
    Ok(tx.conn().execute_raw(statement).await?.rows_affected() == 1)
}

/// Waiting → offered.
pub async fn offer(tx: &Tx, permit: &Permit, id: TransactionId, now: Timestamp) -> Result<bool, StoreError> {
    let sql = "state = 'offered', offered_ms = $3 where state = 'waiting' and expires_ms > $3 and not cancel_requested";
    change(tx, permit, id, sql, vec![now.as_millisecond().into()]).await
}

/// Offered → waiting for all of a host whose link went down before it claimed them.
pub async fn withdraw_offers(tx: &Tx, permit: &Permit, host: HostId) -> Result<u64, StoreError> {
    Ok(withdrawal(permit, host).exec(tx.conn()).await?.rows_affected)
}

fn withdrawal(permit: &Permit, host: HostId) -> UpdateMany<Entity> {
    Entity::update_many()
        .col_expr(Column::State, Expr::value(TransactionState::Waiting.word()))
        .col_expr(Column::OfferedMs, Expr::value(Option::<i64>::None))
        .filter(Column::TenantId.eq(permit.tenant().uuid()))
        .filter(Column::HostId.eq(host.uuid()))
        .filter(Expr::cust(OPEN))
        .filter(Column::State.eq(TransactionState::Offered.word()))
}

/// What a claim brings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claimed {
    pub instruction: InstructionId,
    pub session: Option<SessionId>,
    pub work: Work,
}

#[derive(FromQueryResult)]
struct ClaimedRow {
    instruction_id: Uuid,
    session_id: Option<Uuid>,
    work: String,
}

/// Offered → claimed, once only, by the host itself with a certificate of its own that is not revoked.
pub async fn claim(
    tx: &Tx,
    permit: &Permit,
    id: TransactionId,
    host: HostId,
    serial: &str,
    now: Timestamp,
) -> Result<Option<Claimed>, StoreError> {
    let statement = Statement::from_sql_and_values(
        tx.conn().get_database_backend(),
        "update transactions set state = 'claimed', claimed_ms = $3, claimed_serial = $4 \
         where id = $1 and tenant_id = $2 and host_id = $5 and state = 'offered' and expires_ms > $3 \
         and not cancel_requested and exists (select 1 from host_certificates c \
         where c.serial = $4 and c.host_id = $5 and c.revoked_ms is null) \
         returning instruction_id, session_id, work",
        [
            id.uuid().into(),
            permit.tenant().uuid().into(),
            now.as_millisecond().into(),
            serial.into(),
            host.uuid().into(),
        ],
    );
    let row = ClaimedRow::find_by_statement(statement).one(tx.conn()).await?;
    row.map(|row| {
        Ok(Claimed {
            instruction: InstructionId::from_uuid(row.instruction_id),
            session: row.session_id.map(SessionId::from_uuid),
            work: convert::json("transactions.work", &row.work)?,
        })
    })
    .transpose()
}

/// Claimed → running.
pub async fn start(
    tx: &Tx,
    permit: &Permit,
    id: TransactionId,
    host: HostId,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let sql = "state = 'running', started_ms = $3 where state = 'claimed' and host_id = $4";
    change(tx, permit, id, sql, vec![now.as_millisecond().into(), host.uuid().into()]).await
}

/// How a transaction ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ending {
    pub state: TransactionState,
    pub exit_code: Option<i32>,
    pub cause: Option<String>,
}

/// `from` → the ending's state. False if it is not in `from` any more.
pub async fn end(
    tx: &Tx,
    permit: &Permit,
    id: TransactionId,
    from: TransactionState,
    ending: &Ending,
    now: Timestamp,
) -> Result<bool, StoreError> {
    if !from.may_become(ending.state) || !ending.state.is_final() {
        return Ok(false);
    }
    let sql = "state = $3, exit_code = $4, cause = $5, ended_ms = $6 where state = $7";
    let values = vec![
        ending.state.word().into(),
        ending.exit_code.into(),
        ending.cause.clone().into(),
        now.as_millisecond().into(),
        from.word().into(),
    ];
    change(tx, permit, id, sql, values).await
}

/// Claimed or running → waiting, for what is idempotent and the host has no longer; to be offered again until `expires`.
pub async fn offer_again(tx: &Tx, permit: &Permit, id: TransactionId, expires: Timestamp) -> Result<bool, StoreError> {
    let sql = "state = 'waiting', offered_ms = null, claimed_ms = null, claimed_serial = null, started_ms = null, \
               expires_ms = $3 where idempotent and not cancel_requested and state in ('claimed', 'running')";
    change(tx, permit, id, sql, vec![expires.as_millisecond().into()]).await
}

/// Asks that a claimed or running one be cancelled; false if it is neither, or asked already.
pub async fn request_cancel(tx: &Tx, permit: &Permit, id: TransactionId) -> Result<bool, StoreError> {
    let sql = "cancel_requested = $3 where state in ('claimed', 'running') and not cancel_requested";
    change(tx, permit, id, sql, vec![true.into()]).await
}

/// A piece of a transaction's output; `seq` is the progress message's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    pub seq: i64,
    pub channel: OutputChannel,
    pub content: Vec<u8>,
}

/// Keeps a piece of output, unless it is a repeat or the limit is reached. True if something was kept.
pub async fn keep_output(
    tx: &Tx,
    permit: &Permit,
    id: TransactionId,
    host: HostId,
    piece: &Piece,
) -> Result<bool, StoreError> {
    let conn = tx.conn();
    let limit = i32::try_from(MAX_OUTPUT_BYTES).unwrap_or(i32::MAX);
    let length = i32::try_from(piece.content.len()).unwrap_or(i32::MAX);
    let statement = Statement::from_sql_and_values(
        conn.get_database_backend(),
        "insert into transaction_outputs (transaction_id, seq, channel, content) \
         select t.id, $3, $4, $5 from transactions t where t.id = $1 and t.tenant_id = $2 and t.host_id = $6 \
         and t.output_bytes + $7 <= $8 and t.state in ('claimed', 'running') on conflict do nothing",
        [
            id.uuid().into(),
            permit.tenant().uuid().into(),
            piece.seq.into(),
            piece.channel.word().into(),
            piece.content.clone().into(),
            host.uuid().into(),
            length.into(),
            limit.into(),
        ],
    );
    if conn.execute_raw(statement).await?.rows_affected() == 0 {
        return Ok(false);
    }
    let sql = "output_bytes = output_bytes + $3 where state in ('claimed', 'running')";
    change(tx, permit, id, sql, vec![length.into()]).await
}

#[derive(FromQueryResult)]
struct PieceRow {
    seq: i64,
    channel: String,
    content: Vec<u8>,
}

/// The transaction's output after `seq`, in order.
pub async fn output(
    store: &Store,
    permit: &Permit,
    id: TransactionId,
    after: Option<i64>,
) -> Result<Vec<Piece>, StoreError> {
    let conn = store.read();
    let statement = Statement::from_sql_and_values(
        conn.get_database_backend(),
        "select o.seq, o.channel, o.content from transaction_outputs o join transactions t on t.id = o.transaction_id \
         where o.transaction_id = $1 and t.tenant_id = $2 and o.seq > $3 order by o.seq",
        [id.uuid().into(), permit.tenant().uuid().into(), after.unwrap_or(-1).into()],
    );
    let rows = PieceRow::find_by_statement(statement).all(conn).await?;
    rows.into_iter()
        .map(|row| {
            let channel = convert::word("transaction_outputs.channel", &row.channel)?;
            Ok(Piece { seq: row.seq, channel, content: row.content })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::StoreOptions;

    /// How SQLite, which guesses, goes about what is asked at each turn of a transaction: not by way of those that are over.
    #[tokio::test(flavor = "multi_thread")]
    async fn what_is_open_is_found_by_its_own_index() {
        let directory = tempfile::tempdir().expect("a directory");
        let url = format!("sqlite:{}", directory.path().join("berth.db").display());
        let store = Store::connect(&StoreOptions { url, max_connections: 2 }).await.expect("connects");
        store.migrate().await.expect("goes up");
        let backend = store.read().get_database_backend();
        let (permit, host) = (Permit::system(TenantId::new()), HostId::new());
        let of_host = find_open(&permit, host).order_by_asc(Column::Id).limit(10).build(backend);
        let past = find_past_window(Timestamp::UNIX_EPOCH).order_by_asc(Column::Id).limit(10).build(backend);
        for mut statement in [of_host, past, withdrawal(&permit, host).build(backend)] {
            statement.sql.insert_str(0, "explain query plan ");
            let rows = store.read().query_all_raw(statement.clone()).await.expect("explains");
            let plan: String = rows.iter().map(|row| row.try_get::<String>("", "detail").expect("a text")).collect();
            assert!(plan.contains("transactions_open"), "{}: {plan}", statement.sql);
        }
        store.close().await.expect("closes");
    }
}
