//! Reservations, and the one place that claims machines (D1).

use std::collections::HashMap;

use domain::{
    access::Permit,
    environments::EnvironmentSpec,
    ids::{MachineId, PersonId, ReservationId, SessionId, TenantId},
    interval::Interval,
    machines::Machine,
    reservations::{HeldBy, Reservation, ReservationState},
    sessions::{Keep, Session},
};
use jiff::Timestamp;
use sea_orm::{ConnectionTrait, DbBackend, FromQueryResult, Value};
use uuid::Uuid;

use crate::{Corrupt, StoreError, Tx, convert, machines::interval, sessions, sql};

/// The most holders that a refusal names.
const MAX_HELD_BY: i64 = 16;

#[derive(Debug, FromQueryResult)]
struct Row {
    id: Uuid,
    tenant_id: Uuid,
    person_id: Uuid,
    person_name: String,
    start_ms: i64,
    end_ms: i64,
    state: String,
    purpose: Option<String>,
    environment: String,
    created_ms: i64,
    generation: i64,
}

const COLUMNS: &str = "r.id, r.tenant_id, r.person_id, p.name as person_name, r.start_ms, r.end_ms, r.state, r.purpose, \
    r.environment, r.created_ms, r.generation from reservations r join people p on p.id = r.person_id";

impl TryFrom<Row> for Reservation {
    type Error = Corrupt;
    fn try_from(row: Row) -> Result<Self, Corrupt> {
        Ok(Reservation {
            id: ReservationId::from_uuid(row.id),
            tenant: TenantId::from_uuid(row.tenant_id),
            person: PersonId::from_uuid(row.person_id),
            person_name: row.person_name,
            interval: interval(row.start_ms, row.end_ms)?,
            state: convert::word("reservations.state", &row.state)?,
            purpose: row.purpose,
            environment: convert::json("reservations.environment", &row.environment)?,
            created_at: convert::time("reservations.created_ms", row.created_ms)?,
            generation: row.generation,
            sessions: vec![],
        })
    }
}

/// A booking to be made.
#[derive(Debug, Clone)]
pub struct NewReservation<'a> {
    pub id: ReservationId,
    pub person: PersonId,
    pub interval: Interval,
    pub machines: &'a [Machine],
    pub purpose: Option<&'a str>,
    pub environment: &'a EnvironmentSpec,
    pub keep: Keep,
}

/// What claiming came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Claimed {
    /// The ids of the new sessions, each with its machine, in the order of the machines' ids.
    Done(Vec<(SessionId, MachineId)>),
    /// This machine is held by somebody in that time.
    Taken(MachineId),
}

const INSERT_SESSION: &str = "insert into sessions (id, tenant_id, reservation_id, person_id, machine_id, host_id, \
    start_ms, end_ms, holds, state, since_ms, keep, taken_up, steps, generation)";
const SESSION: &str = "$1, $2, $3, $4, $5, $6, $7, $8, true, 'scheduled', $9, $10, false, '[]', 1";
const INSERT_RESERVATION: &str = "insert into reservations (id, tenant_id, person_id, start_ms, end_ms, state, purpose, \
    environment, created_ms, generation)";
const RESERVATION: &str = "$1, $2, $3, $4, $5, 'confirmed', $6, $7, $8, 1";

/// SQLite's condition that nobody holds the machine. As intervals that hold a machine never overlap, the first one that
/// ends after the new start is also the first to begin: looking at that one alone decides.
fn is_free(machine: &str, start: &str, end: &str) -> String {
    format!(
        "not exists (select 1 from (select start_ms from sessions \
         where machine_id = {machine} and holds and end_ms > {start} order by end_ms limit 1) where start_ms < {end})"
    )
}

fn reservation_values(permit: &Permit, new: &NewReservation<'_>, now: Timestamp) -> Vec<Value> {
    vec![
        new.id.uuid().into(),
        permit.tenant().uuid().into(),
        new.person.uuid().into(),
        new.interval.start().as_millisecond().into(),
        new.interval.end().as_millisecond().into(),
        new.purpose.into(),
        convert::to_json(new.environment).into(),
        now.as_millisecond().into(),
    ]
}

fn session_values(
    permit: &Permit,
    new: &NewReservation<'_>,
    (id, machine): (SessionId, &Machine),
    now: Timestamp,
) -> Vec<Value> {
    vec![
        id.uuid().into(),
        permit.tenant().uuid().into(),
        new.id.uuid().into(),
        new.person.uuid().into(),
        machine.id.uuid().into(),
        machine.host.uuid().into(),
        new.interval.start().as_millisecond().into(),
        new.interval.end().as_millisecond().into(),
        now.as_millisecond().into(),
        new.keep.word().into(),
    ]
}

/// Books all of the machines or none. After [`Claimed::Taken`] nothing of it is in the transaction, which may go on with
/// others. The database decides, in one statement for each machine: on PostgreSQL `on conflict do nothing` on the
/// exclusion constraint, on SQLite `where not exists`, under the writer's lock that [`crate::Store::begin`] took.
pub async fn create(tx: &Tx, permit: &Permit, new: &NewReservation<'_>, now: Timestamp) -> Result<Claimed, StoreError> {
    match new.machines {
        [machine] => create_one(tx.conn(), permit, new, machine, now).await,
        _ => create_set(tx.conn(), permit, new, now).await,
    }
}

/// As most bookings are: nothing is written before it is known that the machine is free, so it needs no savepoint.
async fn create_one<C: ConnectionTrait>(
    conn: &C,
    permit: &Permit,
    new: &NewReservation<'_>,
    machine: &Machine,
    now: Timestamp,
) -> Result<Claimed, StoreError> {
    let id = SessionId::new();
    let mut session = session_values(permit, new, (id, machine), now);
    let booked = if conn.get_database_backend() == DbBackend::Postgres {
        // One round trip. Foreign keys are checked at the statement's end, when both rows are there.
        session.extend([new.purpose.into(), convert::to_json(new.environment).into()]);
        let sql = format!(
            "with claim as ({INSERT_SESSION} values ({SESSION}) on conflict do nothing returning reservation_id) \
             {INSERT_RESERVATION} select reservation_id, $2, $4, $7, $8, 'confirmed', $11, $12, $9, 1 from claim"
        );
        sql::execute(conn, &sql, session).await?
    } else {
        let mut reservation = reservation_values(permit, new, now);
        reservation.push(machine.id.uuid().into());
        let sql = format!("{INSERT_RESERVATION} select {RESERVATION} where {}", is_free("$9", "$4", "$5"));
        let booked = sql::execute(conn, &sql, reservation).await?;
        if booked == 1 {
            sql::execute(conn, &format!("{INSERT_SESSION} values ({SESSION})"), session).await?;
        }
        booked
    };
    Ok(if booked == 1 { Claimed::Done(vec![(id, machine.id)]) } else { Claimed::Taken(machine.id) })
}

/// In the order of the machines' ids, so that two sets cannot wait for each other.
async fn create_set<C: ConnectionTrait>(
    conn: &C,
    permit: &Permit,
    new: &NewReservation<'_>,
    now: Timestamp,
) -> Result<Claimed, StoreError> {
    conn.execute_unprepared("savepoint claims").await?;
    let sql = format!("{INSERT_RESERVATION} values ({RESERVATION})");
    sql::execute(conn, &sql, reservation_values(permit, new, now)).await?;
    let mut machines: Vec<&Machine> = new.machines.iter().collect();
    machines.sort_by_key(|machine| machine.id);
    let insert = if conn.get_database_backend() == DbBackend::Postgres {
        format!("{INSERT_SESSION} values ({SESSION}) on conflict do nothing")
    } else {
        format!("{INSERT_SESSION} select {SESSION} where {}", is_free("$5", "$7", "$8"))
    };
    let mut claimed = Vec::with_capacity(machines.len());
    for machine in machines {
        let id = SessionId::new();
        if sql::execute(conn, &insert, session_values(permit, new, (id, machine), now)).await? == 0 {
            conn.execute_unprepared("rollback to savepoint claims").await?;
            conn.execute_unprepared("release savepoint claims").await?;
            return Ok(Claimed::Taken(machine.id));
        }
        claimed.push((id, machine.id));
    }
    conn.execute_unprepared("release savepoint claims").await?;
    Ok(Claimed::Done(claimed))
}

/// What a change came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Changed {
    Done,
    /// Somebody else changed it since the caller read it; the caller rolls back.
    Stale,
    /// A machine is held by somebody else in the new time; the caller rolls back.
    Taken(MachineId),
}

/// Moves the reservation and its sessions that still hold their machines, all or nothing; the warnings of the end are given anew.
pub async fn reschedule(
    tx: &Tx,
    permit: &Permit,
    reservation: &Reservation,
    interval: Interval,
    purpose: Option<&str>,
) -> Result<Changed, StoreError> {
    let (start_ms, end_ms) = (interval.start().as_millisecond(), interval.end().as_millisecond());
    let changed = sql::execute(
        tx.conn(),
        "update reservations set start_ms = $1, end_ms = $2, purpose = $3, generation = generation + 1 \
         where tenant_id = $4 and id = $5 and generation = $6",
        [
            start_ms.into(),
            end_ms.into(),
            purpose.into(),
            permit.tenant().uuid().into(),
            reservation.id.uuid().into(),
            reservation.generation.into(),
        ],
    )
    .await?;
    if changed != 1 {
        return Ok(Changed::Stale);
    }
    if interval == reservation.interval {
        return Ok(Changed::Done);
    }
    let mut sessions: Vec<&Session> = reservation.sessions.iter().collect();
    sessions.sort_by_key(|session| session.machine);
    for session in sessions {
        let moved = sql::execute(
            tx.conn(),
            "update sessions set start_ms = $1, end_ms = $2, warned = null, generation = generation + 1 \
             where tenant_id = $3 and id = $4 and holds",
            [start_ms.into(), end_ms.into(), permit.tenant().uuid().into(), session.id.uuid().into()],
        )
        .await;
        match moved {
            Ok(_) => {}
            Err(error) if error.is_overlap() => return Ok(Changed::Taken(session.machine)),
            Err(error) => return Err(error),
        }
    }
    Ok(Changed::Done)
}

/// A final state; its machines are let go by the sessions' own changes.
pub async fn finish(
    tx: &Tx,
    permit: &Permit,
    reservation: ReservationId,
    state: ReservationState,
) -> Result<Changed, StoreError> {
    let changed = sql::execute(
        tx.conn(),
        "update reservations set state = $1, generation = generation + 1 \
         where tenant_id = $2 and id = $3 and state = 'confirmed'",
        [state.word().into(), permit.tenant().uuid().into(), reservation.uuid().into()],
    )
    .await?;
    Ok(if changed == 1 { Changed::Done } else { Changed::Stale })
}

/// As [`finish`], if none of its sessions holds a machine any more.
pub async fn finish_if_over(
    tx: &Tx,
    permit: &Permit,
    reservation: ReservationId,
    state: ReservationState,
) -> Result<Changed, StoreError> {
    let changed = sql::execute(
        tx.conn(),
        "update reservations set state = $1, generation = generation + 1 where tenant_id = $2 and id = $3 \
         and state = 'confirmed' and not exists (select 1 from sessions s where s.reservation_id = $3 and s.holds)",
        [state.word().into(), permit.tenant().uuid().into(), reservation.uuid().into()],
    )
    .await?;
    Ok(if changed == 1 { Changed::Done } else { Changed::Stale })
}

/// With its sessions.
pub async fn get<C: ConnectionTrait>(
    conn: &C,
    permit: &Permit,
    id: ReservationId,
) -> Result<Option<Reservation>, StoreError> {
    let row: Option<Row> = sql::one(
        conn,
        &format!("select {COLUMNS} where r.tenant_id = $1 and r.id = $2"),
        [permit.tenant().uuid().into(), id.uuid().into()],
    )
    .await?;
    let reservations = with_sessions(conn, permit, row.into_iter().collect()).await?;
    Ok(reservations.into_iter().next())
}

async fn with_sessions<C: ConnectionTrait>(
    conn: &C,
    permit: &Permit,
    rows: Vec<Row>,
) -> Result<Vec<Reservation>, StoreError> {
    let mut reservations: Vec<Reservation> =
        rows.into_iter().map(Reservation::try_from).collect::<Result<_, Corrupt>>()?;
    let ids: Vec<ReservationId> = reservations.iter().map(|r| r.id).collect();
    let mut sessions: HashMap<ReservationId, Vec<Session>> = HashMap::new();
    for session in sessions::of_reservations(conn, permit, &ids).await? {
        sessions.entry(session.reservation).or_default().push(session);
    }
    for reservation in &mut reservations {
        reservation.sessions = sessions.remove(&reservation.id).unwrap_or_default();
    }
    Ok(reservations)
}

/// Where a page of the list begins: after this one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct After {
    pub start_ms: i64,
    pub id: ReservationId,
}

/// Which reservations are wanted; all that is given has to hold.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    pub person: Option<PersonId>,
    pub machine: Option<MachineId>,
    pub state: Option<ReservationState>,
    /// Those that touch it.
    pub window: Option<Interval>,
    pub after: Option<After>,
}

/// By start, with their sessions.
pub async fn list<C: ConnectionTrait>(
    conn: &C,
    permit: &Permit,
    filter: &Filter,
    limit: u64,
) -> Result<Vec<Reservation>, StoreError> {
    let mut query = sql::Build::new(&format!("select {COLUMNS} where r.tenant_id = "));
    query.value(permit.tenant().uuid());
    if let Some(person) = filter.person {
        query.text(" and r.person_id = ").value(person.uuid());
    }
    if let Some(machine) = filter.machine {
        query.text(" and r.id in (select s.reservation_id from sessions s where s.machine_id = ").value(machine.uuid());
        if let Some(window) = filter.window {
            query.text(" and s.start_ms < ").value(window.end().as_millisecond());
        }
        query.text(")");
    }
    if let Some(state) = filter.state {
        query.text(" and r.state = ").value(state.word());
    }
    if let Some(window) = filter.window {
        query.text(" and r.start_ms < ").value(window.end().as_millisecond());
        query.text(" and r.end_ms > ").value(window.start().as_millisecond());
    }
    query.page("r", sql::ByStart::OldestFirst, filter.after.map(|after| (after.start_ms, after.id.uuid())), limit);
    let rows = sql::all(conn, &query.sql, query.values).await?;
    with_sessions(conn, permit, rows).await
}

#[derive(Debug, FromQueryResult)]
struct HeldRow {
    machine_id: Uuid,
    machine_name: String,
    reservation_id: Uuid,
    person_name: String,
    start_ms: i64,
    end_ms: i64,
}

/// Who holds the machines in `interval`, apart from `except`; by start, a few at most.
pub async fn held_by<C: ConnectionTrait>(
    conn: &C,
    permit: &Permit,
    machines: &[MachineId],
    interval: Interval,
    except: Option<ReservationId>,
) -> Result<Vec<HeldBy>, StoreError> {
    // Claims of one machine never overlap: those that end after the start are looked at in order, and only until there
    // are enough, however many the machine has later.
    const SQL: &str = "select s.machine_id, m.name as machine_name, s.reservation_id, p.name as person_name, s.start_ms, \
        s.end_ms from (select * from sessions where machine_id = $1 and tenant_id = $2 and holds and end_ms > $3 \
        order by end_ms limit $4) as s join machines m on m.id = s.machine_id join people p on p.id = s.person_id \
        where s.start_ms < $5 order by s.start_ms";
    let mut rows: Vec<HeldRow> = Vec::new();
    for machine in machines {
        let values = [
            machine.uuid().into(),
            permit.tenant().uuid().into(),
            interval.start().as_millisecond().into(),
            // One more, as the excepted one may be among them.
            (MAX_HELD_BY + 1).into(),
            interval.end().as_millisecond().into(),
        ];
        rows.extend(sql::all::<_, HeldRow>(conn, SQL, values).await?);
    }
    rows.retain(|row| except.is_none_or(|except| row.reservation_id != except.uuid()));
    rows.sort_by_key(|row| row.start_ms);
    rows.truncate(usize::try_from(MAX_HELD_BY).unwrap_or(usize::MAX));
    rows.into_iter()
        .map(|row| {
            Ok(HeldBy {
                machine: MachineId::from_uuid(row.machine_id),
                machine_name: row.machine_name,
                reservation: ReservationId::from_uuid(row.reservation_id),
                person_name: row.person_name,
                interval: self::interval(row.start_ms, row.end_ms)?,
            })
        })
        .collect()
}

/// Pairs of claims that hold one machine at the same time: none, whatever happened. For tests and figures.
pub async fn overlaps<C: ConnectionTrait>(conn: &C) -> Result<u64, StoreError> {
    #[derive(FromQueryResult)]
    struct Count {
        pairs: i64,
    }
    // In the order of their starts, each claim has to begin after all before it have ended.
    let row: Option<Count> = sql::one(
        conn,
        "select count(*) as pairs from (select start_ms, max(end_ms) over (partition by machine_id \
         order by start_ms, end_ms rows between unbounded preceding and 1 preceding) as before_ms \
         from sessions where holds) as claims where start_ms < before_ms",
        [],
    )
    .await?;
    Ok(row.map_or(0, |row| u64::try_from(row.pairs).unwrap_or(0)))
}
