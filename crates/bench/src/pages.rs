//! `pages`: the machines page with 200 machines, the way of an event to a browser, and the size of the page's code.

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use futures_util::StreamExt;
use serde_json::json;

use crate::{
    agents::Simulated,
    report::{Report, Row, Wanted, percentile},
    rest::Rest,
    server::Server,
};

const HOSTS: u64 = 20;
const MACHINES_PER_HOST: u64 = 10;
const EVENT_TIMEOUT: Duration = Duration::from_secs(10);

#[allow(clippy::cast_precision_loss, reason = "sizes far below 2^52")]
pub async fn run(report: &mut Report, full: bool) -> Result<()> {
    let repeats = if full { 1_000 } else { 200 };
    let server = Server::start(None)?;
    let mut simulated = Simulated::start(&server, HOSTS, MACHINES_PER_HOST)?;
    simulated.wait(|links| links == HOSTS, Duration::from_secs(120))?;
    let rest = Rest::new(&server)?;
    let machines = rest.all("/machines").await?;
    if machines.len() as u64 != HOSTS * MACHINES_PER_HOST {
        bail!("{} machines instead of {}", machines.len(), HOSTS * MACHINES_PER_HOST);
    }
    let shown = rest.page("/machines").await?;
    let count =
        machines.iter().filter_map(|machine| machine["name"].as_str()).filter(|name| shown.contains(*name)).count();
    if count == 0 {
        bail!("the machines page shows no machine");
    }
    let mut bare = Vec::new();
    let mut page = Vec::new();
    for _ in 0..repeats {
        bare.push(timed(&rest, "/healthz").await?);
        page.push(timed(&rest, "/machines").await?);
    }
    let floor = percentile(&mut bare, 0.5);
    let p50 = percentile(&mut page, 0.5);
    report.add(
        Row::new(format!("machines page, {count} of 200 machines, p50 (beside an empty request)"), p50, "ms")
            .beside(floor),
    );
    let p95 = percentile(&mut page, 0.95);
    let row = Row::new(format!("machines page, {count} of 200 machines, p95"), p95, "ms");
    report.add(row.target(Wanted::AtMost, 100.0).beside(floor));
    let name = machines[0]["name"].as_str().context("a machine without a name")?;
    let mut ways = events(&rest, name, repeats / 4).await?;
    let p50 = percentile(&mut ways, 0.5);
    report.add(Row::new("request to its event in the browser, p50", p50, "ms"));
    let p99 = percentile(&mut ways, 0.99);
    report.add(Row::new("request to its event in the browser, p99", p99, "ms").target(Wanted::AtMost, 100.0));
    let site = PathBuf::from(std::env::var_os("BENCH_SITE").context("run it as `cargo xtask bench pages`")?);
    let wasm = site.join("pkg/app_bg.wasm.gz");
    let size = std::fs::metadata(&wasm).with_context(|| format!("{} is not there", wasm.display()))?.len();
    report.add(Row::new("wasm, gzipped", size as f64, "bytes").target(Wanted::AtMost, 400_000.0));
    Ok(())
}

async fn timed(rest: &Rest, path: &str) -> Result<f64> {
    let began = Instant::now();
    rest.page(path).await?;
    Ok(began.elapsed().as_secs_f64() * 1_000.0)
}

/// Books and cancels, and measures from the sending of each booking to its event on an open stream: the request itself
/// is part of the figure, so the event's own way is shorter still.
async fn events(rest: &Rest, machine: &str, repeats: usize) -> Result<Vec<f64>> {
    let mut stream = Box::pin(rest.stream("/events").await?);
    let mut text = String::new();
    wait_for(&mut stream, &mut text, "event: hello").await?;
    let mut ways = Vec::with_capacity(repeats);
    for day in 0..repeats {
        let start = jiff::Timestamp::from_second(now_s() + 86_400 + i64::try_from(day)? * 3_600)?;
        let ask = json!({ "machine": machine, "start": start.to_string(), "duration_s": 3_600 });
        text.clear();
        let began = Instant::now();
        let booking = rest.post("/reservations", &ask);
        let (booked, seen) = tokio::join!(booking, async {
            wait_for(&mut stream, &mut text, "\"kind\":\"reservation\"").await.map(|()| began.elapsed())
        });
        booked?;
        ways.push(seen?.as_secs_f64() * 1_000.0);
    }
    Ok(ways)
}

async fn wait_for<S, B>(stream: &mut S, text: &mut String, sign: &str) -> Result<()>
where
    S: futures_util::Stream<Item = reqwest::Result<B>> + Unpin,
    B: AsRef<[u8]>,
{
    let reading = async {
        while !text.contains(sign) {
            let piece = stream.next().await.context("the event stream ended")??;
            text.push_str(&String::from_utf8_lossy(piece.as_ref()));
        }
        anyhow::Ok(())
    };
    tokio::time::timeout(EVENT_TIMEOUT, reading).await.with_context(|| format!("no {sign} on the event stream"))?
}

#[allow(clippy::disallowed_methods, reason = "a benchmark books in the real future of the server that it started")]
fn now_s() -> i64 {
    jiff::Timestamp::now().as_second()
}
