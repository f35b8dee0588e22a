//! Reservations: no overlap in contended attempts, decisions a second on one machine, bookings a second through REST;
//! beside what the bare claim does in the same database.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use domain::{
    environments::EnvironmentSpec,
    ids::ReservationId,
    interval::Interval,
    people::Role,
    reservations::{Until, When},
    sessions::Keep,
};
use jiff::SignedDuration;
use serde_json::json;
use services::{
    Call, Clock, Error,
    reservations::{Ask, What},
};
use store::{
    Store,
    machines::{Filter, MachineRef},
    reservations::{Claimed, NewReservation},
};
use testkit::{
    World,
    postgres::{Durability, Postgres},
};

use crate::{
    report::{Report, Row, Wanted},
    rest::Rest,
    server::Server,
};

const CLIENTS: u64 = 64;
const ATTEMPTS: u64 = 50_000;
const FULL_ATTEMPTS: u64 = 500_000;
const BARE: u64 = 5_000;
const MACHINES: u64 = 1_000;
const BOOKINGS_EACH: u64 = 100;
const REST_BOOKINGS: u64 = 10_000;

pub async fn run(report: &mut Report, full: bool) -> Result<()> {
    let directory = tempfile::tempdir()?;
    let sqlite = |name: &str| format!("sqlite:{}", directory.path().join(name).display());
    let postgres = tokio::task::spawn_blocking(|| Postgres::start(Durability::Full)).await?;
    let attempts = if full { FULL_ATTEMPTS } else { ATTEMPTS };
    for (kind, url, rest_url) in [
        ("SQLite", sqlite("contended.db"), sqlite("rest.db")),
        ("PostgreSQL", postgres.create("contended").await, postgres.create("rest").await),
    ] {
        let store = testkit::connect(url).await;
        store.migrate().await?;
        let world = World::with_clock(store, Clock::system()).await;
        contended(report, kind, &world, attempts).await?;
        through_rest(report, kind, &rest_url).await?;
    }
    Ok(())
}

/// A start on a grid of 15 minutes in the next 80 days, and a length of 1 to 4 quarters, spread by a counter.
fn slot(world: &World, number: u64) -> Result<Interval> {
    let mixed = number.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 33;
    let quarters = i64::try_from(1 + mixed % (80 * 96))?;
    let start = world.clock.now() + SignedDuration::from_mins(15 * quarters);
    let length = SignedDuration::from_mins(15 * i64::try_from(1 + (mixed >> 13) % 4)?);
    Ok(Interval::new(start, start + length)?)
}

fn ask(machine: &str, interval: Interval) -> Ask {
    Ask {
        what: What::Machines { field: "machine", machines: vec![machine.to_owned()] },
        when: When { start: Some(interval.start()), until: Until::End(interval.end()) },
        environment: EnvironmentSpec::default(),
        purpose: None,
        keep: Keep::Reservation,
    }
}

#[derive(Default)]
struct Tally {
    refused: AtomicU64,
    failed: AtomicU64,
}

async fn contended(report: &mut Report, kind: &str, world: &World, attempts: u64) -> Result<()> {
    let call = world.person("Bench", Role::Engineer).await;
    world.machines("rack", 2, "").await;
    let bare = bare(world, &call).await?;
    let tally = Arc::new(Tally::default());
    let next = Arc::new(AtomicU64::new(0));
    let began = Instant::now();
    let clients = (0..CLIENTS).map(|_| {
        let (world, call, tally, next) = (world.clone(), call.clone(), tally.clone(), next.clone());
        tokio::spawn(async move {
            let mut times = Vec::new();
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= attempts {
                    return Ok::<_, anyhow::Error>(times);
                }
                let ask = ask("rack/0", slot(&world, number)?);
                let asked = Instant::now();
                match services::reservations::create(&world.services, &call, &ask).await {
                    Ok(_) => {}
                    Err(Error::Overlap { .. }) => {
                        tally.refused.fetch_add(1, Ordering::Relaxed);
                    }
                    Err(_) => {
                        tally.failed.fetch_add(1, Ordering::Relaxed);
                    }
                }
                times.push(asked.elapsed());
            }
        })
    });
    let mut times: Vec<Duration> = Vec::new();
    for client in clients.collect::<Vec<_>>() {
        times.extend(client.await??);
    }
    let rate = count(times.len()) / began.elapsed().as_secs_f64();
    let overlaps = store::reservations::overlaps(world.store.read()).await?;
    let failed = tally.failed.load(Ordering::Relaxed);
    let at_most = Wanted::AtMost;
    report.add(
        Row::new(format!("{kind}: overlaps in {attempts} attempts"), real(overlaps), "pairs").target(at_most, 0.0),
    );
    report.add(Row::new(format!("{kind}: failed attempts"), real(failed), "attempts").target(at_most, 0.0));
    let name = format!("{kind}: {CLIENTS} clients on one machine");
    report.add(Row::new(name, rate, "decisions/s").target(Wanted::AtLeast, 500.0).beside(bare));
    report.add(Row::new(format!("{kind}: decision, p99"), p99_ms(&mut times), "ms").target(at_most, 50.0));
    Ok(())
}

/// The claim alone, one transaction after the other.
async fn bare(world: &World, call: &Call) -> Result<f64> {
    let permit = world.permit();
    let machines = store::machines::find(world.store.read(), &permit, &[MachineRef::Name("rack/1".to_owned())]).await?;
    let began = Instant::now();
    for number in 0..BARE {
        let new = NewReservation {
            id: ReservationId::new(),
            person: call.actor.person,
            interval: slot(world, number)?,
            machines: &machines,
            purpose: None,
            environment: &EnvironmentSpec::default(),
            keep: Keep::Reservation,
        };
        let tx = world.store.begin().await?;
        match store::reservations::create(&tx, &permit, &new, world.clock.now()).await? {
            Claimed::Done(_) => tx.commit().await?,
            Claimed::Taken(_) => tx.rollback().await?,
        }
    }
    Ok(real(BARE) / began.elapsed().as_secs_f64())
}

async fn through_rest(report: &mut Report, kind: &str, url: &str) -> Result<()> {
    let server = Server::start(Some(url))?;
    let store: Store = testkit::connect(url.to_owned()).await;
    let (tenant, _) = store::tenants::list(&store).await?.into_iter().next().context("the server made a tenant")?;
    let world = World::of(store, Clock::system(), tenant);
    let call = world.person("Load", Role::Engineer).await;
    fill(&world, &call).await?;
    let free_since = Instant::now();
    let length = SignedDuration::from_hours(1);
    services::machines::free(&world.services, &call, &domain::labels::Labels::default(), length).await?;
    let free_ms = free_since.elapsed().as_secs_f64() * 1_000.0;
    let name = format!("{kind}: next free over {MACHINES} machines x 90 days");
    report.add(Row::new(name, free_ms, "ms").target(Wanted::AtMost, 100.0));
    let rest = Rest::new(&server)?;
    let next = Arc::new(AtomicU64::new(0));
    let base = world.clock.now() + SignedDuration::from_hours(24 * 60);
    let began = Instant::now();
    let clients = (0..CLIENTS).map(|_| {
        let (rest, next) = (rest.clone(), next.clone());
        tokio::spawn(async move {
            let mut times = Vec::new();
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= REST_BOOKINGS {
                    return Ok::<_, anyhow::Error>(times);
                }
                let start = base + SignedDuration::from_hours(i64::try_from(number / MACHINES)?);
                let machine = format!("rack/{}", number % MACHINES);
                let ask = json!({ "machine": machine, "start": start.to_string(), "duration_s": 1_800 });
                let asked = Instant::now();
                rest.post("/reservations", &ask).await?;
                times.push(asked.elapsed());
            }
        })
    });
    let mut times: Vec<Duration> = Vec::new();
    for client in clients.collect::<Vec<_>>() {
        times.extend(client.await??);
    }
    let rate = count(times.len()) / began.elapsed().as_secs_f64();
    let name = format!("{kind}: bookings through REST, {} held", MACHINES * BOOKINGS_EACH);
    report.add(Row::new(name, rate, "bookings/s").target(Wanted::AtLeast, 1_000.0));
    report.add(Row::new(format!("{kind}: booking through REST, p99"), p99_ms(&mut times), "ms"));
    Ok(())
}

/// 1,000 machines with 100 bookings each, half an hour every other hour from tomorrow on.
async fn fill(world: &World, call: &Call) -> Result<()> {
    world.machines("rack", usize::try_from(MACHINES)?, "kind=sandbox").await;
    let permit = world.permit();
    let machines = store::machines::list(world.store.read(), &permit, &Filter::default(), MACHINES).await?;
    let tomorrow = world.clock.now() + SignedDuration::from_hours(24);
    for machine in &machines {
        let tx = world.store.begin().await?;
        for at in 0..BOOKINGS_EACH {
            let start = tomorrow + SignedDuration::from_hours(2 * i64::try_from(at)?);
            let new = NewReservation {
                id: ReservationId::new(),
                person: call.actor.person,
                interval: Interval::new(start, start + SignedDuration::from_mins(30))?,
                machines: std::slice::from_ref(machine),
                purpose: None,
                environment: &EnvironmentSpec::default(),
                keep: Keep::Reservation,
            };
            store::reservations::create(&tx, &permit, &new, world.clock.now()).await?;
        }
        tx.commit().await?;
    }
    Ok(())
}

fn p99_ms(times: &mut [Duration]) -> f64 {
    times.sort();
    let at = times.len().saturating_sub(1) * 99 / 100;
    times.get(at).map_or(0.0, |time| time.as_secs_f64() * 1_000.0)
}

fn real(value: u64) -> f64 {
    u32::try_from(value).map_or(f64::INFINITY, f64::from)
}

fn count(value: usize) -> f64 {
    real(u64::try_from(value).unwrap_or(u64::MAX))
}
