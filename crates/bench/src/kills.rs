//! Bookings that many want at once, while servers are killed: nothing is held twice, and what was promised is there, once.

use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use domain::people::Role;
use jiff::Timestamp;
use parking_lot::Mutex;
use reqwest::StatusCode;
use serde_json::{Value, json};
use services::Clock;
use testkit::World;

use crate::{
    report::{Report, Row, Wanted, percentile},
    reservations::{Pace, clients, count, real, slot},
    rest::Rest,
    server::Server,
};

const ATTEMPTS: u64 = 5_000;
const FULL_ATTEMPTS: u64 = 50_000;
const KILLS: u64 = 10;
/// Who has no decision by then goes without one: longer than a server takes to be missed by the others.
const PATIENCE: Duration = Duration::from_secs(60);
/// Between two tries of one client.
const PAUSE: Duration = Duration::from_millis(20);
const OVERLAP: &str = "urn:berth:problem:overlap";

/// What became of the attempts.
#[derive(Default)]
struct Tally {
    decided: AtomicU64,
    /// No client asks any more.
    over: AtomicBool,
    repeated: AtomicU64,
    wrong: AtomicU64,
    /// Ids of the bookings that clients were told of.
    told: Mutex<Vec<String>>,
}

/// One attempt of a client: asks again, at the next server, with the same key, until it has its decision.
async fn attempt(doors: &[Rest], tally: &Tally, base: Timestamp, number: u64) -> Result<()> {
    let wanted = slot(base, number)?;
    let ask = json!({ "machine": "rack/0", "start": wanted.start().to_string(), "end": wanted.end().to_string() });
    let began = Instant::now();
    for door in doors.iter().cycle().skip(usize::try_from(number)? % doors.len()) {
        match door.insist("/reservations", &format!("attempt-{number}"), &ask).await {
            Ok((StatusCode::CREATED, body)) => {
                tally.told.lock().push(body["id"].as_str().context("a booking without an id")?.to_owned());
                break;
            }
            Ok((StatusCode::CONFLICT, body)) if body["type"] == OVERLAP => break,
            // A server that is not there, or stops; or the first request with this key is under way still.
            Err(_) | Ok((StatusCode::SERVICE_UNAVAILABLE | StatusCode::CONFLICT, _)) => {}
            Ok((status, body)) => {
                eprintln!("a decision of {status}: {body}");
                tally.wrong.fetch_add(1, Ordering::Relaxed);
            }
        }
        if began.elapsed() > PATIENCE {
            bail!("attempt {number} has no decision after {} s", PATIENCE.as_secs());
        }
        tally.repeated.fetch_add(1, Ordering::Relaxed);
        tokio::time::sleep(PAUSE).await;
    }
    tally.decided.fetch_add(1, Ordering::Relaxed);
    Ok(())
}

/// Kills one server after the other, spread over the attempts, and starts each again at once.
fn kill(mut servers: Vec<Server>, tally: &Tally, attempts: u64) -> Result<Vec<Server>> {
    let count = servers.len();
    for (number, at) in (1..=KILLS).zip((0..count).cycle()) {
        while tally.decided.load(Ordering::Relaxed) < number * attempts / (KILLS + 1) {
            if tally.over.load(Ordering::Relaxed) {
                bail!("the attempts ended before the kill {number} of {KILLS}");
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        if let Some(server) = servers.get_mut(at) {
            server.restart()?;
        }
    }
    Ok(servers)
}

/// On SQLite with one server, on PostgreSQL with two.
pub async fn run(report: &mut Report, kind: &str, url: &str, servers: usize, full: bool) -> Result<()> {
    let attempts = if full { FULL_ATTEMPTS } else { ATTEMPTS };
    let mut running = vec![Server::start(Some(url))?];
    while running.len() < servers {
        running.push(Server::beside(&running[0])?);
    }
    let store = testkit::connect(url.to_owned()).await;
    let (tenant, _) = store::tenants::list(&store).await?.into_iter().next().context("the server made a tenant")?;
    let world = World::of(store, Clock::system(), tenant);
    world.person("Load", Role::Engineer).await;
    world.machines("rack", 1, "kind=sandbox").await;
    let doors: Arc<[Rest]> = running.iter().map(Rest::new).collect::<Result<_>>()?;
    let (tally, base) = (Arc::new(Tally::default()), world.clock.now());
    let (seen, door) = (tally.clone(), doors.clone());
    let killer = tokio::task::spawn_blocking(move || kill(running, &seen, attempts));
    let seen = tally.clone();
    let asking = clients(attempts, Pace::Full, move |number| {
        let (doors, tally) = (door.clone(), seen.clone());
        async move { attempt(&doors, &tally, base, number).await }
    });
    let asked = asking.await;
    tally.over.store(true, Ordering::Relaxed);
    let (mut waits, _) = asked?;
    let _running = killer.await??;

    let overlaps = store::reservations::overlaps(world.store.read()).await?;
    let killed = if servers == 1 { "its server".to_owned() } else { format!("{servers} servers in turn") };
    let name = format!("{kind}: overlaps in {attempts} contended attempts, {killed} killed {KILLS} times");
    report.add(Row::new(name, real(overlaps), "pairs").target(Wanted::AtMost, 0.0));
    let there: Vec<Value> = doors[0].all("/reservations").await?;
    let there: HashSet<&str> = there.iter().filter_map(|booking| booking["id"].as_str()).collect();
    let told = tally.told.lock();
    let promised: HashSet<&str> = told.iter().map(String::as_str).collect();
    let strays = promised.symmetric_difference(&there).count() + (told.len() - promised.len());
    let name = format!("{kind}: bookings lost by that, or made and told to nobody, of {}", promised.len());
    report.add(Row::new(name, count(strays), "bookings").target(Wanted::AtMost, 0.0));
    let wrong = real(tally.wrong.load(Ordering::Relaxed));
    report.add(Row::new(format!("{kind}: unclear answers meanwhile"), wrong, "answers").target(Wanted::AtMost, 0.0));
    report.add(Row::new(
        format!("{kind}: requests sent again"),
        real(tally.repeated.load(Ordering::Relaxed)),
        "requests",
    ));
    report.add(Row::new(format!("{kind}: longest wait for a decision meanwhile"), percentile(&mut waits, 1.0), "ms"));
    Ok(())
}
