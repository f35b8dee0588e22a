//! `dispatch`: instructions at a fixed rate to simulated hosts, and the time from the request to the start on the host,
//! by the clock that all processes of a computer share.

use std::{
    collections::HashMap,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use rustix::time::{ClockId, clock_gettime};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::{
    agents::Simulated,
    report::{Report, Row, Wanted, percentile},
    rest::Rest,
    server::Server,
};

const HOSTS: u64 = 200;
const RATE_PER_S: u32 = 1_000;
/// Requests that may be under way at once: past it the server does not keep up, and the figure says so.
const MAX_UNDER_WAY: usize = 512;
/// Until connections are open and tables are warm; not measured.
const WARM_UP_S: u32 = 2;
const START_LIMIT: Duration = Duration::from_secs(30);
const BARE: usize = 500;

/// A line of the simulated hosts.
#[derive(Debug, Deserialize)]
struct Stamp {
    transaction: String,
    started_ns: u64,
}

/// `CLOCK_MONOTONIC`, nanoseconds.
fn monotonic_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    u64::try_from(i128::from(now.tv_sec) * 1_000_000_000 + i128::from(now.tv_nsec)).unwrap_or_default()
}

#[allow(clippy::cast_precision_loss, reason = "nanoseconds of a run, far below 2^52")]
pub async fn run(report: &mut Report, full: bool) -> Result<()> {
    let seconds = if full { 60 } else { 10 };
    let server = Server::start(None)?;
    let mut simulated = Simulated::start(&server, HOSTS, 1)?;
    simulated.wait(|links| links == HOSTS, Duration::from_secs(300))?;
    let rest = Rest::new(&server)?;
    let hosts: Vec<String> =
        rest.all("/hosts").await?.iter().filter_map(|host| host["name"].as_str().map(str::to_owned)).collect();
    if hosts.is_empty() {
        bail!("the server knows no hosts");
    }
    let mut bare = bare(&rest).await?;
    give(&rest, &hosts, WARM_UP_S).await?;
    let began = Instant::now();
    let asked = give(&rest, &hosts, seconds).await?;
    let rate = f64::from(RATE_PER_S * seconds) / began.elapsed().as_secs_f64();
    let row = Row::new("instructions taken", rate, "/s");
    report.add(row.target(Wanted::AtLeast, 0.95 * f64::from(RATE_PER_S)).beside(f64::from(RATE_PER_S)));
    let started = started(&Simulated::stamps(&server), &asked).await?;
    let mut latencies: Vec<f64> = asked
        .iter()
        .map(|(transaction, asked_ns)| {
            let started_ns = started.get(transaction).copied().unwrap_or(u64::MAX);
            started_ns.saturating_sub(*asked_ns) as f64 / 1e6
        })
        .collect();
    let (bare_p50, bare_p99) = (percentile(&mut bare, 0.5), percentile(&mut bare, 0.99));
    let p50 = percentile(&mut latencies, 0.5);
    report.add(Row::new("request to start on the host, p50 (beside an empty request)", p50, "ms").beside(bare_p50));
    let p99 = percentile(&mut latencies, 0.99);
    let row = Row::new("request to start on the host, p99 (beside an empty request)", p99, "ms");
    report.add(row.target(Wanted::AtMost, 100.0).beside(bare_p99));
    report.add(Row::new("request to start on the host, longest", percentile(&mut latencies, 1.0), "ms"));
    Ok(())
}

/// Requests that do nothing, on the idle server; ms.
async fn bare(rest: &Rest) -> Result<Vec<f64>> {
    let mut times = Vec::with_capacity(BARE);
    for _ in 0..BARE {
        let began = Instant::now();
        rest.page("/healthz").await?;
        times.push(began.elapsed().as_secs_f64() * 1_000.0);
    }
    Ok(times)
}

/// Gives instructions at the rate; the transactions with the times of their requests.
async fn give(rest: &Rest, hosts: &[String], seconds: u32) -> Result<Vec<(String, u64)>> {
    let count = usize::try_from(RATE_PER_S * seconds)?;
    let mut ticks = tokio::time::interval(Duration::from_secs(1) / RATE_PER_S);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Burst);
    let mut under_way: JoinSet<Result<(String, u64)>> = JoinSet::new();
    let mut given = Vec::with_capacity(count);
    for host in hosts.iter().cycle().take(count) {
        ticks.tick().await;
        if under_way.len() >= MAX_UNDER_WAY {
            given.push(under_way.join_next().await.context("no request under way")???);
        }
        let (rest, ask) = (rest.clone(), json!({ "hosts": [host], "argv": ["true"] }));
        under_way.spawn(async move {
            let asked_ns = monotonic_ns();
            let answer: Value = rest.post("/instructions", &ask).await?;
            let id = answer["transactions"][0]["id"].as_str().context("an instruction without a transaction")?;
            Ok((id.to_owned(), asked_ns))
        });
    }
    while let Some(one) = under_way.join_next().await {
        given.push(one??);
    }
    Ok(given)
}

/// When each started, once all have.
async fn started(stamps: &Path, asked: &[(String, u64)]) -> Result<HashMap<String, u64>> {
    let began = Instant::now();
    loop {
        let text = tokio::fs::read_to_string(stamps).await?;
        // The last line may not be whole yet.
        let lines = text.lines().filter_map(|line| serde_json::from_str::<Stamp>(line).ok());
        let started: HashMap<String, u64> = lines.map(|stamp| (stamp.transaction, stamp.started_ns)).collect();
        let missing = asked.iter().filter(|(transaction, _)| !started.contains_key(transaction)).count();
        if missing == 0 {
            return Ok(started);
        }
        if began.elapsed() > START_LIMIT {
            bail!("{missing} of {} instructions did not start in {} s", asked.len(), START_LIMIT.as_secs());
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}
