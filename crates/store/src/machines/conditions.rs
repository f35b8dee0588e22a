//! Conditions of machines, and the checks of those in quarantine.

use domain::{
    access::Permit,
    ids::{MachineId, TransactionId},
    machines::{Machine, MachineCondition},
};
use jiff::Timestamp;
use sea_orm::{ConnectionTrait, FromQueryResult};
use uuid::Uuid;

use super::{COLUMNS, Row};
use crate::{Corrupt, StoreError, Tx, convert, sql};

/// What a change of condition came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turned {
    Done,
    /// It was not in the condition that the caller had read.
    Stale,
}

/// A new condition, with what goes with it.
#[derive(Debug, Clone)]
pub struct NewCondition<'a> {
    pub condition: MachineCondition,
    pub reason: Option<&'a str>,
    /// When the first check of its own is due; `None` leaves it to a person.
    pub verify_at: Option<Timestamp>,
}

/// From `old` to the new condition. The count of checks begins anew.
pub async fn turn(
    tx: &Tx,
    permit: &Permit,
    machine: MachineId,
    old: MachineCondition,
    new: NewCondition<'_>,
    now: Timestamp,
) -> Result<Turned, StoreError> {
    let changed = sql::execute(
        tx.conn(),
        "update machines set condition = $1, reason = $2, condition_since_ms = $3, verifications = 0, \
         verify_at_ms = $4, verify_transaction_id = null where tenant_id = $5 and id = $6 and condition = $7",
        [
            new.condition.word().into(),
            new.reason.into(),
            now.as_millisecond().into(),
            new.verify_at.map(Timestamp::as_millisecond).into(),
            permit.tenant().uuid().into(),
            machine.uuid().into(),
            old.word().into(),
        ],
    )
    .await?;
    Ok(if changed == 1 { Turned::Done } else { Turned::Stale })
}

/// A quarantined machine with a check due or under way.
#[derive(Debug, Clone)]
pub struct Verification {
    pub machine: Machine,
    pub verify_at: Option<Timestamp>,
    /// The instruction of the check under way, its state and cause.
    pub transaction: Option<TransactionId>,
    pub work: Option<domain::sessions::Work>,
}

#[derive(Debug, FromQueryResult)]
struct VerificationRow {
    #[sea_orm(nested)]
    machine: Row,
    verify_at_ms: Option<i64>,
    verify_transaction_id: Option<Uuid>,
    work_state: Option<String>,
    work_cause: Option<String>,
}

pub(crate) fn work(state: Option<String>, cause: Option<String>) -> Result<Option<domain::sessions::Work>, Corrupt> {
    state
        .map(|state| Ok(domain::sessions::Work { state: convert::word("transactions.state", &state)?, cause }))
        .transpose()
}

/// Of all tenants: machines in quarantine, with no session on them, whose check is due at `now` or under way, at most `limit`.
pub async fn verifications<C: ConnectionTrait>(
    conn: &C,
    now: Timestamp,
    limit: u64,
) -> Result<Vec<Verification>, StoreError> {
    let rows: Vec<VerificationRow> = sql::all(
        conn,
        &format!(
            "select {COLUMNS}, m.verify_at_ms, m.verify_transaction_id, t.state as work_state, t.cause as work_cause \
             from machines m join hosts h on h.id = m.host_id left join transactions t on t.id = m.verify_transaction_id \
             where m.condition = 'quarantined' and m.verify_at_ms <= $1 and not exists (select 1 from sessions o \
             where o.machine_id = m.id and o.state in ('preparing', 'active', 'reverting')) order by m.verify_at_ms limit $2"
        ),
        [now.as_millisecond().into(), i64::try_from(limit).unwrap_or(i64::MAX).into()],
    )
    .await?;
    rows.into_iter()
        .map(|row| {
            Ok(Verification {
                machine: Machine::try_from(row.machine)?,
                verify_at: convert::time_opt("machines.verify_at_ms", row.verify_at_ms)?,
                transaction: row.verify_transaction_id.map(TransactionId::from_uuid),
                work: work(row.work_state, row.work_cause)?,
            })
        })
        .collect()
}

/// When the next check is due after `now`.
pub async fn next_verification<C: ConnectionTrait>(conn: &C, now: Timestamp) -> Result<Option<Timestamp>, StoreError> {
    #[derive(FromQueryResult)]
    struct At {
        at: Option<i64>,
    }
    let row: Option<At> = sql::one(
        conn,
        "select min(verify_at_ms) as at from machines where condition = 'quarantined' and verify_at_ms > $1",
        [now.as_millisecond().into()],
    )
    .await?;
    Ok(convert::time_opt("machines.verify_at_ms", row.and_then(|row| row.at))?)
}

/// Where the check of a quarantined machine stands.
#[derive(Debug, Clone, Copy)]
pub struct CheckState<'a> {
    pub transaction: Option<TransactionId>,
    pub verifications: u32,
    /// While one is under way, when it was due; `None` when only a person can go on.
    pub verify_at: Option<Timestamp>,
    pub reason: Option<&'a str>,
}

/// Writes where the check stands, if it still is at `read`.
pub async fn set_check(
    tx: &Tx,
    permit: &Permit,
    machine: MachineId,
    read: Option<TransactionId>,
    check: CheckState<'_>,
) -> Result<Turned, StoreError> {
    let count = i32::try_from(check.verifications).unwrap_or(i32::MAX);
    let mut query = sql::Build::new("update machines set verify_transaction_id = ");
    query.value(check.transaction.map(TransactionId::uuid)).text(", verifications = ").value(count);
    query.text(", verify_at_ms = ").value(check.verify_at.map(Timestamp::as_millisecond));
    if let Some(reason) = check.reason {
        query.text(", reason = ").value(reason);
    }
    query.text(" where condition = 'quarantined' and tenant_id = ").value(permit.tenant().uuid());
    query.text(" and id = ").value(machine.uuid()).text(" and verify_transaction_id ");
    match read {
        Some(transaction) => query.text("= ").value(transaction.uuid()),
        None => query.text("is null"),
    };
    let changed = sql::execute(tx.conn(), &query.sql, query.values).await?;
    Ok(if changed == 1 { Turned::Done } else { Turned::Stale })
}
