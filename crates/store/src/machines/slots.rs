//! When machines are taken, and when they are free.

use std::collections::HashMap;

use domain::{
    access::Permit,
    ids::MachineId,
    interval::{Interval, free_slots},
};
use jiff::SignedDuration;
use sea_orm::{ConnectionTrait, DbBackend, FromQueryResult};
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

/// Claims read in one go while a gap is looked for.
const CHUNK: usize = 256;

#[derive(FromQueryResult)]
struct SpansRow {
    spans: Option<String>,
}

/// The stretches of `window` of at least that length in which nobody holds the machine, by start, at most `limit`: as
/// [`free_slots`] finds them in all of its claims, but no more of those are read than it takes.
pub async fn free<C: ConnectionTrait>(
    conn: &C,
    permit: &Permit,
    machine: MachineId,
    window: Interval,
    at_least: SignedDuration,
    limit: usize,
) -> Result<Vec<Interval>, StoreError> {
    let sql = format!(
        "select {}(start_ms || ' ' || end_ms, ' ') as spans from (select start_ms, end_ms from sessions \
         where machine_id = $1 and tenant_id = $2 and holds and end_ms > $3 and start_ms < $4 order by end_ms limit {CHUNK}) as claims",
        aggregate(conn)
    );
    let mut found = Vec::new();
    let mut rest = window;
    loop {
        let values = [
            machine.uuid().into(),
            permit.tenant().uuid().into(),
            rest.start().as_millisecond().into(),
            rest.end().as_millisecond().into(),
        ];
        let row: Option<SpansRow> = sql::one(conn, &sql, values).await?;
        let taken = row.and_then(|row| row.spans).map_or(Ok(vec![]), |text| spans(&text))?;
        let last = taken.iter().map(|claim| claim.end()).max();
        let is_all = taken.len() < CHUNK;
        // What follows a chunk's last claim belongs to the next chunk.
        let read = match last.filter(|_| !is_all).and_then(|last| Interval::new(rest.start(), last).ok()) {
            Some(read) => read,
            None => rest,
        };
        found.extend(free_slots(read, &taken, at_least, limit - found.len()));
        match Interval::new(read.end(), window.end()) {
            Ok(next) if !is_all && found.len() < limit => rest = next,
            Ok(_) | Err(_) => return Ok(found),
        }
    }
}
