//! Sessions: what the reconciler reads and writes, what agents report, and their logs.

use domain::{
    access::Permit,
    ids::{HostId, MachineId, PersonId, ReservationId, SessionId, TenantId, TransactionId},
    machines::Machine,
    reservations::ReservationState,
    sessions::{
        Before, EndCause, LogLine, MAX_LOG_BYTES, Occupant, Session, SessionState, Step, Warning, Work, put_step,
    },
};
use jiff::{SignedDuration, Timestamp};
use sea_orm::{ConnectionTrait, FromQueryResult};
use uuid::Uuid;

use crate::{
    Corrupt, StoreError, Tx, convert,
    machines::{self, interval},
    sql,
};

#[derive(Debug, FromQueryResult)]
struct Row {
    s_id: Uuid,
    s_tenant_id: Uuid,
    s_reservation_id: Uuid,
    s_person_id: Uuid,
    s_person_name: String,
    s_machine_id: Uuid,
    s_machine_name: String,
    s_host_id: Uuid,
    s_start_ms: i64,
    s_end_ms: i64,
    s_state: String,
    s_since_ms: i64,
    s_cause: Option<String>,
    s_cause_detail: Option<String>,
    s_keep: String,
    s_last_keepalive_ms: Option<i64>,
    s_taken_up: bool,
    s_warned: Option<String>,
    s_steps: String,
    s_transaction_id: Option<Uuid>,
    s_generation: i64,
}

const COLUMNS: &str = "s.id as s_id, s.tenant_id as s_tenant_id, s.reservation_id as s_reservation_id, \
    s.person_id as s_person_id, p.name as s_person_name, s.machine_id as s_machine_id, m.name as s_machine_name, \
    s.host_id as s_host_id, s.start_ms as s_start_ms, s.end_ms as s_end_ms, s.state as s_state, s.since_ms as s_since_ms, \
    s.cause as s_cause, s.cause_detail as s_cause_detail, s.keep as s_keep, s.last_keepalive_ms as s_last_keepalive_ms, \
    s.taken_up as s_taken_up, s.warned as s_warned, s.steps as s_steps, s.transaction_id as s_transaction_id, \
    s.generation as s_generation";
const TABLES: &str = "sessions s join people p on p.id = s.person_id join machines m on m.id = s.machine_id";

impl TryFrom<Row> for Session {
    type Error = Corrupt;
    fn try_from(row: Row) -> Result<Self, Corrupt> {
        Ok(Session {
            id: SessionId::from_uuid(row.s_id),
            tenant: TenantId::from_uuid(row.s_tenant_id),
            reservation: ReservationId::from_uuid(row.s_reservation_id),
            person: PersonId::from_uuid(row.s_person_id),
            person_name: row.s_person_name,
            machine: MachineId::from_uuid(row.s_machine_id),
            machine_name: row.s_machine_name,
            host: HostId::from_uuid(row.s_host_id),
            interval: interval(row.s_start_ms, row.s_end_ms)?,
            state: convert::word("sessions.state", &row.s_state)?,
            since: convert::time("sessions.since_ms", row.s_since_ms)?,
            cause: row.s_cause.map(|cause| convert::word("sessions.cause", &cause)).transpose()?,
            cause_detail: row.s_cause_detail,
            keep: convert::word("sessions.keep", &row.s_keep)?,
            last_keepalive_at: convert::time_opt("sessions.last_keepalive_ms", row.s_last_keepalive_ms)?,
            taken_up: row.s_taken_up,
            warned: row.s_warned.map(|warned| convert::word("sessions.warned", &warned)).transpose()?,
            steps: convert::json("sessions.steps", &row.s_steps)?,
            transaction: row.s_transaction_id.map(TransactionId::from_uuid),
            generation: row.s_generation,
        })
    }
}

fn sessions(rows: Vec<Row>) -> Result<Vec<Session>, StoreError> {
    Ok(rows.into_iter().map(Session::try_from).collect::<Result<_, _>>()?)
}

pub async fn get<C: ConnectionTrait>(conn: &C, permit: &Permit, id: SessionId) -> Result<Option<Session>, StoreError> {
    let row: Option<Row> = sql::one(
        conn,
        &format!("select {COLUMNS} from {TABLES} where s.tenant_id = $1 and s.id = $2"),
        [permit.tenant().uuid().into(), id.uuid().into()],
    )
    .await?;
    Ok(row.map(Session::try_from).transpose()?)
}

/// By reservation and machine.
pub async fn of_reservations<C: ConnectionTrait>(
    conn: &C,
    permit: &Permit,
    reservations: &[ReservationId],
) -> Result<Vec<Session>, StoreError> {
    if reservations.is_empty() {
        return Ok(vec![]);
    }
    let mut query = sql::Build::new(&format!("select {COLUMNS} from {TABLES} where s.tenant_id = "));
    query.value(permit.tenant().uuid()).text(" and s.reservation_id in ");
    query.among(reservations.iter().map(|id| id.uuid())).text(" order by s.reservation_id, s.machine_id");
    sessions(sql::all(conn, &query.sql, query.values).await?)
}

/// Where a page of the list begins: after this one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct After {
    /// It is among what is over, which comes last.
    pub over: bool,
    pub start_ms: i64,
    pub id: SessionId,
}

/// Which sessions are wanted; all that is given has to hold.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    pub person: Option<PersonId>,
    pub machine: Option<MachineId>,
    pub state: Option<SessionState>,
    pub after: Option<After>,
}

/// What is not over first, in the order of its start: what runs, then what comes next. Then what is over, the newest
/// start first. A session that ends while somebody reads may come twice; none is left out.
pub async fn list<C: ConnectionTrait>(
    conn: &C,
    permit: &Permit,
    filter: &Filter,
    limit: u64,
) -> Result<Vec<Session>, StoreError> {
    let mut found = match filter.after {
        Some(After { over: true, .. }) => vec![],
        Some(After { over: false, .. }) | None => part(conn, permit, filter, Part::Open, limit).await?,
    };
    let room = limit.saturating_sub(found.len().try_into().unwrap_or(u64::MAX));
    if room > 0 {
        found.extend(part(conn, permit, filter, Part::Over, room).await?);
    }
    Ok(found)
}

/// Each part has an order of its own.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Open,
    Over,
}

async fn part<C: ConnectionTrait>(
    conn: &C,
    permit: &Permit,
    filter: &Filter,
    part: Part,
    limit: u64,
) -> Result<Vec<Session>, StoreError> {
    let (over, order) = match part {
        Part::Open => (false, sql::ByStart::OldestFirst),
        Part::Over => (true, sql::ByStart::NewestFirst),
    };
    let states = filter.state.map_or_else(|| SessionState::ALL.to_vec(), |state| vec![state]);
    let states: Vec<&str> =
        states.into_iter().filter(|state| state.is_final() == over).map(SessionState::word).collect();
    if states.is_empty() {
        return Ok(vec![]);
    }
    let mut query = sql::Build::new(&format!("select {COLUMNS} from {TABLES} where s.tenant_id = "));
    query.value(permit.tenant().uuid());
    if let Some(person) = filter.person {
        query.text(" and s.person_id = ").value(person.uuid());
    }
    if let Some(machine) = filter.machine {
        query.text(" and s.machine_id = ").value(machine.uuid());
    }
    query.text(&format!(" and s.state in ('{}')", states.join("', '")));
    let after = filter.after.filter(|after| after.over == over);
    query.page("s", order, after.map(|after| (after.start_ms, after.id.uuid())), limit);
    sessions(sql::all(conn, &query.sql, query.values).await?)
}

/// A session that the reconciler has to look at, with all that the decision needs.
#[derive(Debug, Clone)]
pub struct Due {
    pub session: Session,
    pub reservation: ReservationState,
    pub machine: Machine,
    pub occupant: Occupant,
    pub before: Before,
    pub work: Option<Work>,
}

#[derive(Debug, FromQueryResult)]
struct DueRow {
    #[sea_orm(nested)]
    session: Row,
    #[sea_orm(nested)]
    machine: machines::Row,
    reservation_state: String,
    occupied: bool,
    claimed_before: bool,
    work_state: Option<String>,
    work_cause: Option<String>,
}

/// Of all tenants: sessions that are not over and have begun, or begin within `ahead`, at most `limit`; those that wait
/// longest first.
pub async fn due<C: ConnectionTrait>(
    conn: &C,
    now: Timestamp,
    ahead: SignedDuration,
    after: Option<SessionId>,
    limit: u64,
) -> Result<Vec<Due>, StoreError> {
    let machine_columns = machines::COLUMNS;
    let rows: Vec<DueRow> = sql::all(
        conn,
        &format!(
            "select {COLUMNS}, {machine_columns}, r.state as reservation_state, \
             exists (select 1 from sessions o where o.machine_id = s.machine_id and o.id <> s.id \
                 and o.state in ('preparing', 'active', 'reverting')) as occupied, \
             s.state = 'scheduled' and exists (select 1 from sessions b where b.machine_id = s.machine_id and b.id <> s.id and b.holds \
                 and b.end_ms > $1 and b.start_ms < s.start_ms) as claimed_before, \
             t.state as work_state, t.cause as work_cause \
             from {TABLES} join hosts h on h.id = m.host_id join reservations r on r.id = s.reservation_id \
             left join transactions t on t.id = s.transaction_id \
             where (s.state in ('preparing', 'active', 'reverting') or (s.state = 'scheduled' and s.start_ms <= $2)) \
             and s.id > $3 order by s.id limit $4"
        ),
        [
            now.as_millisecond().into(),
            now.saturating_add(ahead).unwrap_or(now).as_millisecond().into(),
            after.map_or(Uuid::nil(), SessionId::uuid).into(),
            i64::try_from(limit).unwrap_or(i64::MAX).into(),
        ],
    )
    .await?;
    rows.into_iter()
        .map(|row| {
            Ok(Due {
                session: Session::try_from(row.session)?,
                reservation: convert::word("reservations.state", &row.reservation_state)?,
                machine: Machine::try_from(row.machine)?,
                occupant: if row.occupied { Occupant::AnotherSession } else { Occupant::Nobody },
                before: if row.claimed_before { Before::Claimed } else { Before::Free },
                work: machines::work(row.work_state, row.work_cause)?,
            })
        })
        .collect()
}

/// When the next scheduled session begins after `now`.
pub async fn next_start<C: ConnectionTrait>(conn: &C, now: Timestamp) -> Result<Option<Timestamp>, StoreError> {
    #[derive(FromQueryResult)]
    struct At {
        at: Option<i64>,
    }
    let row: Option<At> = sql::one(
        conn,
        "select min(start_ms) as at from sessions where state = 'scheduled' and start_ms > $1",
        [now.as_millisecond().into()],
    )
    .await?;
    Ok(convert::time_opt("sessions.start_ms", row.and_then(|row| row.at))?)
}

/// What a write of a session came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written {
    Done,
    /// Somebody else changed it since the caller read it.
    Stale,
}

/// Whether a session goes on claiming its machine's time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claim {
    Keeps,
    /// The rest of its time is free for others; its end becomes the given time if it had begun.
    LetsGo(Timestamp),
}

/// A change of a session's state.
#[derive(Debug, Clone)]
pub struct Turn<'a> {
    pub state: SessionState,
    pub since: Timestamp,
    pub cause: Option<EndCause>,
    pub cause_detail: Option<&'a str>,
    pub transaction: Option<TransactionId>,
    pub warned: Option<Warning>,
    pub claim: Claim,
}

/// Writes the change if the session is still what the caller read. What clients and agents tell of it (keepalives, steps)
/// is apart from it and stays.
pub async fn turn(tx: &Tx, permit: &Permit, read: &Session, turn: &Turn<'_>) -> Result<Written, StoreError> {
    let (holds, end_ms) = match turn.claim {
        Claim::Keeps => (None, read.interval.end().as_millisecond()),
        Claim::LetsGo(at) => {
            let begun = at > read.interval.start();
            (Some(false), if begun { at.min(read.interval.end()) } else { read.interval.end() }.as_millisecond())
        }
    };
    let changed = sql::execute(
        tx.conn(),
        "update sessions set state = $1, since_ms = $2, cause = $3, cause_detail = $4, transaction_id = $5, warned = $6, \
         holds = coalesce($7, holds), end_ms = $8, generation = generation + 1 \
         where tenant_id = $9 and id = $10 and generation = $11",
        [
            turn.state.word().into(),
            turn.since.as_millisecond().into(),
            turn.cause.map(EndCause::word).into(),
            turn.cause_detail.into(),
            turn.transaction.map(TransactionId::uuid).into(),
            turn.warned.map(Warning::word).into(),
            holds.into(),
            end_ms.into(),
            permit.tenant().uuid().into(),
            read.id.uuid().into(),
            read.generation.into(),
        ],
    )
    .await?;
    Ok(if changed == 1 { Written::Done } else { Written::Stale })
}

/// Somebody uses it: notes the time of the client's sign, where there is one, and that it is taken up; what it was warned
/// of as unused is over. `Stale` if it is over itself.
pub async fn touch(
    tx: &Tx,
    permit: &Permit,
    session: SessionId,
    keepalive_at: Option<Timestamp>,
) -> Result<Written, StoreError> {
    let changed = sql::execute(
        tx.conn(),
        "update sessions set taken_up = $1, last_keepalive_ms = coalesce($2, last_keepalive_ms), \
         cause_detail = case when state = 'active' then null else cause_detail end \
         where tenant_id = $3 and id = $4 and state in ('scheduled', 'preparing', 'active')",
        [
            true.into(),
            keepalive_at.map(Timestamp::as_millisecond).into(),
            permit.tenant().uuid().into(),
            session.uuid().into(),
        ],
    )
    .await?;
    Ok(if changed == 1 { Written::Done } else { Written::Stale })
}

#[derive(Debug, FromQueryResult)]
struct StepsRow {
    steps: String,
}

/// Adds or updates a step by its name. `Stale` if there is no such session, or it has its fill of steps.
pub async fn set_step(tx: &Tx, permit: &Permit, session: SessionId, step: Step) -> Result<Written, StoreError> {
    let conn = tx.conn();
    let row: Option<StepsRow> = sql::one(
        conn,
        &format!("select steps from sessions where tenant_id = $1 and id = $2{}", sql::locking(conn)),
        [permit.tenant().uuid().into(), session.uuid().into()],
    )
    .await?;
    let Some(row) = row else { return Ok(Written::Stale) };
    let mut steps: Vec<Step> = convert::json("sessions.steps", &row.steps)?;
    if !put_step(&mut steps, step) {
        return Ok(Written::Stale);
    }
    sql::execute(
        conn,
        "update sessions set steps = $1 where tenant_id = $2 and id = $3",
        [convert::to_json(&steps).into(), permit.tenant().uuid().into(), session.uuid().into()],
    )
    .await?;
    Ok(Written::Done)
}

#[derive(Debug, FromQueryResult)]
struct LogSizeRow {
    next_seq: i64,
    size_bytes: i64,
}

/// Appends to the session's log, up to [`MAX_LOG_BYTES`] in all; the rest is dropped, and `Stale` says so.
pub async fn append_log(
    tx: &Tx,
    permit: &Permit,
    session: SessionId,
    source: &str,
    content: &str,
    now: Timestamp,
) -> Result<Written, StoreError> {
    let conn = tx.conn();
    let known: Option<StepsRow> = sql::one(
        conn,
        &format!("select steps from sessions where tenant_id = $1 and id = $2{}", sql::locking(conn)),
        [permit.tenant().uuid().into(), session.uuid().into()],
    )
    .await?;
    if known.is_none() {
        return Ok(Written::Stale);
    }
    let size: Option<LogSizeRow> = sql::one(
        conn,
        "select coalesce(max(seq), -1) + 1 as next_seq, cast(coalesce(sum(length(content)), 0) as bigint) as size_bytes \
         from session_logs where session_id = $1",
        [session.uuid().into()],
    )
    .await?;
    let (next_seq, size_bytes) = size.map_or((0, 0), |row| (row.next_seq, row.size_bytes));
    let room = MAX_LOG_BYTES.saturating_sub(usize::try_from(size_bytes).unwrap_or(usize::MAX));
    let content = &content[..content.floor_char_boundary(room)];
    if content.is_empty() {
        return Ok(Written::Stale);
    }
    sql::execute(
        conn,
        "insert into session_logs (session_id, seq, at_ms, source, content) values ($1, $2, $3, $4, $5)",
        [session.uuid().into(), next_seq.into(), now.as_millisecond().into(), source.into(), content.into()],
    )
    .await?;
    Ok(Written::Done)
}

#[derive(Debug, FromQueryResult)]
struct LogRow {
    seq: i64,
    at_ms: i64,
    source: String,
    content: String,
}

/// In order, after `after`.
pub async fn logs<C: ConnectionTrait>(
    conn: &C,
    permit: &Permit,
    session: SessionId,
    after: Option<i64>,
    limit: u64,
) -> Result<Vec<LogLine>, StoreError> {
    let rows: Vec<LogRow> = sql::all(
        conn,
        "select l.seq, l.at_ms, l.source, l.content from session_logs l join sessions s on s.id = l.session_id \
         where s.tenant_id = $1 and l.session_id = $2 and l.seq > $3 order by l.seq limit $4",
        [
            permit.tenant().uuid().into(),
            session.uuid().into(),
            after.unwrap_or(-1).into(),
            i64::try_from(limit).unwrap_or(i64::MAX).into(),
        ],
    )
    .await?;
    rows.into_iter()
        .map(|row| {
            Ok(LogLine {
                seq: row.seq,
                at: convert::time("session_logs.at_ms", row.at_ms)?,
                source: row.source,
                content: row.content,
            })
        })
        .collect()
}
