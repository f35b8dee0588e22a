//! When machines are taken, and when they are free.

use std::collections::HashMap;

use domain::{access::Permit, ids::MachineId, interval::Interval};
use jiff::SignedDuration;
use sea_orm::{ConnectionTrait, DbBackend, FromQueryResult, Value};
use uuid::Uuid;

use super::interval;
use crate::{Corrupt, StoreError, sql};

#[derive(Debug, FromQueryResult)]
struct TakenRow {
    machine_id: Uuid,
    spans: String,
}

/// When machines are taken within `window`: of `machines`, or of all where none is named. One row comes back for each
/// machine, its intervals in one text: a row for each booking would take most of the time.
pub async fn taken<C: ConnectionTrait>(
    conn: &C,
    permit: &Permit,
    machines: Option<&[MachineId]>,
    window: Interval,
) -> Result<HashMap<MachineId, Vec<Interval>>, StoreError> {
    let mut query =
        sql::Build::new(&format!("select machine_id, {}(start_ms || ' ' || end_ms, ' ') as spans", aggregate(conn)));
    query.text(" from sessions where holds and tenant_id = ").value(permit.tenant().uuid());
    if let Some(machines) = machines {
        query.text(" and machine_id in ").among(machines.iter().map(|id| id.uuid()));
    }
    query.text(" and end_ms > ").value(window.start().as_millisecond());
    query.text(" and start_ms < ").value(window.end().as_millisecond()).text(" group by machine_id");
    let rows: Vec<TakenRow> = sql::all(conn, &query.sql, query.values).await?;
    rows.into_iter().map(|row| Ok((MachineId::from_uuid(row.machine_id), spans(&row.spans)?))).collect()
}

fn aggregate<C: ConnectionTrait>(conn: &C) -> &'static str {
    if conn.get_database_backend() == DbBackend::Postgres { "string_agg" } else { "group_concat" }
}

fn spans(text: &str) -> Result<Vec<Interval>, Corrupt> {
    let bad = || Corrupt { column: "sessions.start_ms", why: "not pairs of numbers".to_owned() };
    let mut numbers = text.split(' ').map(|n| n.parse::<i64>().map_err(|_| bad()));
    let mut spans = Vec::new();
    while let Some(start) = numbers.next() {
        spans.push(interval(start?, numbers.next().ok_or_else(bad)??)?);
    }
    Ok(spans)
}

#[derive(FromQueryResult)]
struct GapRow {
    gap_start: i64,
    gap_end: i64,
}

/// What lies between a claim and the one before it: as claims never overlap, that is free. Both go along the index only
/// until there are enough: SQLite, whose windows are sorted first, looks up the one before; PostgreSQL would do so slowly.
const GAPS_SQLITE: &str = "select coalesce((select b.end_ms from sessions b where b.machine_id = $1 and b.tenant_id = $2 \
    and b.holds and b.end_ms > $3 and b.end_ms < c.end_ms order by b.end_ms desc limit 1), $3) as gap_start, \
    c.start_ms as gap_end from sessions c where c.machine_id = $1 and c.tenant_id = $2 and c.holds and c.end_ms > $3 \
    and c.start_ms < $4 and c.start_ms - coalesce((select b.end_ms from sessions b where b.machine_id = $1 \
    and b.tenant_id = $2 and b.holds and b.end_ms > $3 and b.end_ms < c.end_ms order by b.end_ms desc limit 1), $3) >= $5 \
    order by c.end_ms limit $6";
const GAPS_POSTGRES: &str = "select gap_start, gap_end from (select lag(end_ms, 1, $3) over (order by end_ms) as gap_start, \
    start_ms as gap_end, end_ms from sessions where machine_id = $1 and tenant_id = $2 and holds \
    and end_ms > $3 and start_ms < $4) as gaps where gap_end - gap_start >= $5 order by end_ms limit $6";

/// From the last claim's end to the window's.
const REST: &str = "select coalesce((select end_ms from sessions where machine_id = $1 and tenant_id = $2 and holds \
    and end_ms > $3 and start_ms < $4 order by end_ms desc limit 1), $3) as gap_start, $4 as gap_end";

/// The stretches of `window` of at least that length in which nobody holds the machine, by start, at most `limit`: as
/// [`domain::interval::free_slots`] finds them in all of its claims, but the database looks and no claim is read.
pub async fn free<C: ConnectionTrait>(
    conn: &C,
    permit: &Permit,
    machine: MachineId,
    window: Interval,
    at_least: SignedDuration,
    limit: usize,
) -> Result<Vec<Interval>, StoreError> {
    let least_ms = i64::try_from(at_least.as_millis()).unwrap_or(i64::MAX).max(1);
    let of_window: [Value; 4] = [
        machine.uuid().into(),
        permit.tenant().uuid().into(),
        window.start().as_millisecond().into(),
        window.end().as_millisecond().into(),
    ];
    let count = i64::try_from(limit).unwrap_or(i64::MAX);
    let values = of_window.iter().cloned().chain([least_ms.into(), count.into()]);
    let sql = if conn.get_database_backend() == DbBackend::Postgres { GAPS_POSTGRES } else { GAPS_SQLITE };
    let mut gaps: Vec<GapRow> = sql::all(conn, sql, values).await?;
    if gaps.len() < limit {
        let rest: Option<GapRow> = sql::one(conn, REST, of_window).await?;
        gaps.extend(rest.filter(|rest| rest.gap_end.saturating_sub(rest.gap_start) >= least_ms));
    }
    Ok(gaps.into_iter().map(|gap| interval(gap.gap_start, gap.gap_end)).collect::<Result<_, _>>()?)
}
