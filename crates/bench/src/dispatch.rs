//! `dispatch`: instructions at a fixed rate to simulated hosts, and the time from the request to the start on the host.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use futures_util::{StreamExt, TryStreamExt, stream};
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
const READERS: usize = 16;

#[allow(clippy::cast_precision_loss, reason = "counts far below 2^52")]
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
    let count = RATE_PER_S * seconds;
    let mut ticks = tokio::time::interval(Duration::from_secs(1) / RATE_PER_S);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Burst);
    let began = Instant::now();
    let mut under_way = JoinSet::new();
    let mut ids = Vec::new();
    for host in hosts.iter().cycle().take(usize::try_from(count)?) {
        ticks.tick().await;
        if under_way.len() >= MAX_UNDER_WAY {
            ids.push(under_way.join_next().await.context("no request under way")???);
        }
        let (rest, ask) = (rest.clone(), json!({ "hosts": [host], "argv": ["true"] }));
        under_way
            .spawn(async move { Ok::<Value, anyhow::Error>(rest.post("/instructions", &ask).await?["id"].take()) });
    }
    while let Some(id) = under_way.join_next().await {
        ids.push(id??);
    }
    let rate = f64::from(count) / began.elapsed().as_secs_f64();
    report.add(Row::new("instructions accepted", rate, "/s").target(Wanted::AtLeast, 0.95 * f64::from(RATE_PER_S)));
    let mut latencies: Vec<f64> =
        stream::iter(ids).map(|id| started(&rest, id)).buffer_unordered(READERS).try_collect::<Vec<f64>>().await?;
    let p50 = percentile(&mut latencies, 0.5);
    report.add(Row::new("request to start on the host, p50", p50, "ms"));
    let p99 = percentile(&mut latencies, 0.99);
    report.add(Row::new("request to start on the host, p99", p99, "ms").target(Wanted::AtMost, 100.0));
    Ok(())
}

/// Milliseconds from the request to the host's word that it started.
#[allow(clippy::cast_precision_loss, reason = "milliseconds of a run")]
async fn started(rest: &Rest, id: Value) -> Result<f64> {
    let path = format!("/instructions/{}", id.as_str().context("an instruction without an id")?);
    for _ in 0..100 {
        let instruction = rest.get(&path).await?;
        let transaction = &instruction["transactions"][0];
        if let (Some(created), Some(started)) = (transaction["created_at"].as_str(), transaction["started_at"].as_str())
        {
            let created: jiff::Timestamp = created.parse()?;
            let started: jiff::Timestamp = started.parse()?;
            return Ok((started.as_millisecond() - created.as_millisecond()) as f64);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    bail!("{path} was not started in 5 s")
}
