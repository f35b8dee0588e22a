//! Who is on which machine, was, and will be.

use std::collections::HashMap;

use domain::{
    access::Permit,
    ids::{MachineId, PersonId, ReservationId, SessionId},
    interval::Interval,
    machines::{Booking, Holder},
};
use jiff::Timestamp;
use sea_orm::{ConnectionTrait, FromQueryResult};
use uuid::Uuid;

use crate::{Corrupt, StoreError, convert, sql};

/// The most bookings that one call returns.
pub const MAX_BOOKINGS: u64 = 5_000;

#[derive(Debug, FromQueryResult)]
struct BookingRow {
    reservation_id: Uuid,
    id: Uuid,
    machine_id: Uuid,
    person_id: Uuid,
    person_name: String,
    start_ms: i64,
    end_ms: i64,
    state: String,
    since_ms: i64,
    cause: Option<String>,
}

const BOOKING: &str = "s.reservation_id, s.id, s.machine_id, s.person_id, p.name as person_name, s.start_ms, s.end_ms, \
    s.state, s.since_ms, s.cause from sessions s join people p on p.id = s.person_id";

pub(crate) fn interval(start_ms: i64, end_ms: i64) -> Result<Interval, Corrupt> {
    let (start, end) = (convert::time("sessions.start_ms", start_ms)?, convert::time("sessions.end_ms", end_ms)?);
    Interval::new(start, end).map_err(|e| Corrupt { column: "sessions.end_ms", why: e.to_string() })
}

impl TryFrom<BookingRow> for Booking {
    type Error = Corrupt;
    fn try_from(row: BookingRow) -> Result<Self, Corrupt> {
        Ok(Booking {
            reservation: ReservationId::from_uuid(row.reservation_id),
            session: SessionId::from_uuid(row.id),
            machine: MachineId::from_uuid(row.machine_id),
            person: PersonId::from_uuid(row.person_id),
            person_name: row.person_name,
            interval: interval(row.start_ms, row.end_ms)?,
            state: convert::word("sessions.state", &row.state)?,
            cause: row.cause.map(|cause| convert::word("sessions.cause", &cause)).transpose()?,
        })
    }
}

fn bookings_of(rows: Vec<BookingRow>) -> Result<Vec<Booking>, StoreError> {
    Ok(rows.into_iter().map(Booking::try_from).collect::<Result<_, _>>()?)
}

/// Who is on which machine at `now`: sessions that are being prepared, used or reverted, and claims whose time has come.
/// An environment that is still there goes before a claim that waits for it.
pub async fn holders<C: ConnectionTrait>(
    conn: &C,
    permit: &Permit,
    now: Timestamp,
) -> Result<HashMap<MachineId, Holder>, StoreError> {
    let rows: Vec<BookingRow> = sql::all(
        conn,
        &format!(
            "select {BOOKING} where s.tenant_id = $1 and (s.state in ('preparing', 'active', 'reverting') \
             or (s.state = 'scheduled' and s.holds and s.start_ms <= $2)) order by s.state = 'scheduled' desc"
        ),
        [permit.tenant().uuid().into(), now.as_millisecond().into()],
    )
    .await?;
    let mut holders = HashMap::with_capacity(rows.len());
    for row in rows {
        let since = convert::time("sessions.since_ms", row.since_ms)?;
        let booking = Booking::try_from(row)?;
        holders.insert(
            booking.machine,
            Holder {
                person: booking.person,
                person_name: booking.person_name,
                reservation: booking.reservation,
                session: booking.session,
                state: booking.state,
                since,
                until: booking.interval.end(),
            },
        );
    }
    Ok(holders)
}

/// The next claim on each of the machines that begins after `now`.
pub async fn next_bookings<C: ConnectionTrait>(
    conn: &C,
    permit: &Permit,
    machines: &[MachineId],
    now: Timestamp,
) -> Result<HashMap<MachineId, Booking>, StoreError> {
    let mut query = sql::Build::new(&format!("select {BOOKING} where s.tenant_id = "));
    query
        .value(permit.tenant().uuid())
        .text(" and s.id in (select (select n.id from sessions n where n.machine_id = m.id");
    query.text(" and n.holds and n.start_ms > ").value(now.as_millisecond());
    query.text(" order by n.start_ms limit 1) from machines m where m.id in ");
    query.among(machines.iter().map(|id| id.uuid())).text(")");
    let rows = bookings_of(sql::all(conn, &query.sql, query.values).await?)?;
    Ok(rows.into_iter().map(|booking| (booking.machine, booking)).collect())
}

/// Claims on the machines in `window`, by start, at most [`MAX_BOOKINGS`]; also those that are over.
pub async fn bookings<C: ConnectionTrait>(
    conn: &C,
    permit: &Permit,
    machines: &[MachineId],
    window: Interval,
) -> Result<Vec<Booking>, StoreError> {
    let mut query = sql::Build::new(&format!("select {BOOKING} where s.tenant_id = "));
    query.value(permit.tenant().uuid()).text(" and s.machine_id in ").among(machines.iter().map(|id| id.uuid()));
    query.text(" and s.start_ms < ").value(window.end().as_millisecond());
    query.text(" and s.end_ms > ").value(window.start().as_millisecond());
    query.text(" and (s.holds or s.state <> 'scheduled') order by s.start_ms limit ");
    query.value(i64::try_from(MAX_BOOKINGS).unwrap_or(i64::MAX));
    bookings_of(sql::all(conn, &query.sql, query.values).await?)
}

/// The machine's sessions that are over, newest first.
pub async fn history<C: ConnectionTrait>(
    conn: &C,
    permit: &Permit,
    machine: MachineId,
    limit: u64,
) -> Result<Vec<Booking>, StoreError> {
    let rows = sql::all(
        conn,
        &format!(
            "select {BOOKING} where s.tenant_id = $1 and s.machine_id = $2 and s.state in ('ended', 'failed') \
             order by s.start_ms desc limit $3"
        ),
        [permit.tenant().uuid().into(), machine.uuid().into(), i64::try_from(limit).unwrap_or(i64::MAX).into()],
    )
    .await?;
    bookings_of(rows)
}
