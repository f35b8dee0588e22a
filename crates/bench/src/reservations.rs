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
use jiff::{SignedDuration, Timestamp};
use reqwest::StatusCode;
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
use tokio::task::JoinSet;

use crate::{
    kills,
    report::{Report, Row, Wanted, percentile},
    rest::Rest,
    server::Server,
};

const CLIENTS: u64 = 64;
/// On each database.
const ATTEMPTS: u64 = 100_000;
const FULL_ATTEMPTS: u64 = 1_000_000;
const BARE: u64 = 5_000;
const MACHINES: u64 = 1_000;
const BOOKINGS_EACH: u64 = 100;
const REST_BOOKINGS: u64 = 10_000;
const REST_DECISIONS: u64 = 10_000;
const DECISIONS_PER_S: u32 = 500;

pub async fn run(report: &mut Report, full: bool) -> Result<()> {
    let directory = tempfile::tempdir()?;
    let sqlite = |name: &str| format!("sqlite:{}", directory.path().join(name).display());
    let postgres = tokio::task::spawn_blocking(|| Postgres::start(Durability::Full)).await?;
    let attempts = if full { FULL_ATTEMPTS } else { ATTEMPTS };
    let of_postgres =
        [postgres.create("contended").await, postgres.create("rest").await, postgres.create("kills").await];
    for (kind, [url, rest_url, kills_url], servers) in
        [("SQLite", ["contended.db", "rest.db", "kills.db"].map(sqlite), 1), ("PostgreSQL", of_postgres, 2)]
    {
        let store = testkit::connect(url).await;
        store.migrate().await?;
        let world = World::with_clock(store, Clock::system()).await;
        let bare = contended(report, kind, &world, attempts).await?;
        through_rest(report, kind, &rest_url, bare).await?;
        kills::run(report, kind, &kills_url, servers, full).await?;
    }
    Ok(())
}

/// A start on a grid of 15 minutes in the next 80 days, and a length of 1 to 4 quarters, spread by a counter.
pub fn slot(base: Timestamp, number: u64) -> Result<Interval> {
    let mixed = number.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 33;
    let quarters = i64::try_from(1 + mixed % (80 * 96))?;
    let start = base + SignedDuration::from_mins(15 * quarters);
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

/// How fast the clients ask.
#[derive(Clone, Copy)]
pub enum Pace {
    /// Each asks again when it has its answer.
    Full,
    /// So often, all together, whether answers come or not.
    PerSecond(u32),
}

/// Runs `work` for each number below `count`, [`CLIENTS`] at a time; how long each took (ms), and all together (s). With a
/// pace the time runs from when the request was due, so that a client that waits hides nothing.
pub async fn clients<F, Fut>(count: u64, pace: Pace, work: F) -> Result<(Vec<f64>, f64)>
where
    F: Fn(u64) -> Fut + Clone + Send + 'static,
    Fut: Future<Output = Result<()>> + Send,
{
    let next = Arc::new(AtomicU64::new(0));
    let began = Instant::now();
    let mut tasks = JoinSet::new();
    for _ in 0..CLIENTS {
        let (next, work) = (next.clone(), work.clone());
        tasks.spawn(async move {
            let mut times = Vec::new();
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= count {
                    return Ok::<_, anyhow::Error>(times);
                }
                let asked = match pace {
                    Pace::Full => Instant::now(),
                    Pace::PerSecond(rate) => {
                        let due = began + Duration::from_secs(number) / rate;
                        tokio::time::sleep_until(due.into()).await;
                        due
                    }
                };
                work(number).await?;
                times.push(asked.elapsed().as_secs_f64() * 1_000.0);
            }
        });
    }
    let mut times = Vec::new();
    while let Some(done) = tasks.join_next().await {
        times.extend(done??);
    }
    Ok((times, began.elapsed().as_secs_f64()))
}

/// Attempts of many clients on one machine, without REST around them, so that there are many; returns the bare rate.
async fn contended(report: &mut Report, kind: &str, world: &World, attempts: u64) -> Result<f64> {
    let call = world.person("Bench", Role::Engineer).await;
    world.machines("rack", 2, "").await;
    let bare = bare(world, &call).await?;
    let failed = Arc::new(AtomicU64::new(0));
    let (tally, site, base) = (failed.clone(), world.clone(), world.clock.now());
    let (times, took_s) = clients(attempts, Pace::Full, move |number| {
        let (world, call, failed) = (site.clone(), call.clone(), tally.clone());
        async move {
            let ask = ask("rack/0", slot(base, number)?);
            match services::reservations::create(&world.services, &call, &ask).await {
                Ok(_) | Err(Error::Overlap { .. }) => {}
                Err(error) => {
                    eprintln!("{error}");
                    failed.fetch_add(1, Ordering::Relaxed);
                }
            }
            Ok(())
        }
    })
    .await?;
    let overlaps = store::reservations::overlaps(world.store.read()).await?;
    let failed = failed.load(Ordering::Relaxed);
    report.add(
        Row::new(format!("{kind}: overlaps in {attempts} contended attempts"), real(overlaps), "pairs")
            .target(Wanted::AtMost, 0.0),
    );
    let name = format!("{kind}: attempts that failed");
    report.add(Row::new(name, real(failed), "attempts").target(Wanted::AtMost, 0.0));
    let name = format!("{kind}: {CLIENTS} clients on one machine, without REST");
    report.add(Row::new(name, count(times.len()) / took_s, "decisions/s").beside(bare));
    Ok(bare)
}

/// The claim alone, one transaction after the other.
async fn bare(world: &World, call: &Call) -> Result<f64> {
    let permit = world.permit();
    let machines = store::machines::find(world.store.read(), &permit, &[MachineRef::Name("rack/1".to_owned())]).await?;
    let (began, base) = (Instant::now(), world.clock.now());
    for number in 0..BARE {
        let new = NewReservation {
            id: ReservationId::new(),
            person: call.actor.person,
            interval: slot(base, number)?,
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

async fn through_rest(report: &mut Report, kind: &str, url: &str, bare: f64) -> Result<()> {
    let server = Server::start(Some(url))?;
    let store: Store = testkit::connect(url.to_owned()).await;
    let (tenant, _) = store::tenants::list(&store).await?.into_iter().next().context("the server made a tenant")?;
    let world = World::of(store, Clock::system(), tenant);
    let call = world.person("Load", Role::Engineer).await;
    eprintln!("{kind}: {} bookings are made", MACHINES * BOOKINGS_EACH);
    fill(&world, &call).await?;
    let free_since = Instant::now();
    let length = SignedDuration::from_hours(1);
    services::machines::free(&world.services, &call, &domain::labels::Labels::default(), length).await?;
    let free_ms = free_since.elapsed().as_secs_f64() * 1_000.0;
    let name = format!("{kind}: next free over {MACHINES} machines x 90 days");
    report.add(Row::new(name, free_ms, "ms").target(Wanted::AtMost, 100.0));
    let rest = Rest::new(&server)?;
    one_machine(report, kind, &world, &rest, bare).await?;
    many_machines(report, kind, &world, &rest, bare).await
}

/// Everybody wants the same machine: as fast as they can, and at the rate of the target.
async fn one_machine(report: &mut Report, kind: &str, world: &World, rest: &Rest, bare: f64) -> Result<()> {
    let faults = Arc::new(AtomicU64::new(0));
    let (tally, base, door) = (faults.clone(), world.clock.now(), rest.clone());
    let decide = move |number| {
        let (rest, faults) = (door.clone(), tally.clone());
        async move {
            let wanted = slot(base, number)?;
            let (start, end) = (wanted.start().to_string(), wanted.end().to_string());
            let ask = json!({ "machine": "rack/0", "start": start, "end": end });
            match rest.try_post("/reservations", &ask).await? {
                StatusCode::CREATED | StatusCode::CONFLICT => {}
                status => {
                    eprintln!("a decision of {status}");
                    faults.fetch_add(1, Ordering::Relaxed);
                }
            }
            Ok(())
        }
    };
    let (mut times, took_s) = clients(REST_DECISIONS, Pace::Full, decide.clone()).await?;
    let name = format!("{kind}: {CLIENTS} clients on one machine through REST");
    let rate = count(times.len()) / took_s;
    report.add(Row::new(name, rate, "decisions/s").target(Wanted::AtLeast, f64::from(DECISIONS_PER_S)).beside(bare));
    report.add(Row::new(format!("{kind}: decision at that rate, p99"), percentile(&mut times, 0.99), "ms"));
    let (mut times, _) = clients(REST_DECISIONS / 2, Pace::PerSecond(DECISIONS_PER_S), decide).await?;
    let name = format!("{kind}: decision at {DECISIONS_PER_S} a second, p99");
    report.add(Row::new(name, percentile(&mut times, 0.99), "ms").target(Wanted::AtMost, 50.0));
    let faults = real(faults.load(Ordering::Relaxed));
    let name = format!("{kind}: answers other than 201 and 409");
    report.add(Row::new(name, faults, "answers").target(Wanted::AtMost, 0.0));
    Ok(())
}

/// Each booking finds its machine free: they are later than all others.
async fn many_machines(report: &mut Report, kind: &str, world: &World, rest: &Rest, bare: f64) -> Result<()> {
    let base = world.clock.now() + SignedDuration::from_hours(24 * 82);
    let door = rest.clone();
    let (mut times, took_s) = clients(REST_BOOKINGS, Pace::Full, move |number| {
        let rest = door.clone();
        async move {
            let start = base + SignedDuration::from_hours(i64::try_from(number / MACHINES)?);
            let machine = format!("rack/{}", number % MACHINES);
            let ask = json!({ "machine": machine, "start": start.to_string(), "duration_s": 1_800 });
            rest.post("/reservations", &ask).await.map(drop)
        }
    })
    .await?;
    let name = format!("{kind}: bookings through REST, {} held", MACHINES * BOOKINGS_EACH);
    let rate = count(times.len()) / took_s;
    report.add(Row::new(name, rate, "bookings/s").target(Wanted::AtLeast, 1_000.0).beside(bare));
    report.add(Row::new(format!("{kind}: booking through REST, p50"), percentile(&mut times, 0.5), "ms"));
    report.add(Row::new(format!("{kind}: booking through REST, p99"), percentile(&mut times, 0.99), "ms"));
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

pub fn real(value: u64) -> f64 {
    u32::try_from(value).map_or(f64::INFINITY, f64::from)
}

pub fn count(value: usize) -> f64 {
    real(u64::try_from(value).unwrap_or(u64::MAX))
}
