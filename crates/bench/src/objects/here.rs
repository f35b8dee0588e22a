//! Figures of hosts in this process: waking up, memory, many objects, limits, neighbours.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use ::objects::{
    host::{
        Host, HostOptions, Program,
        child::COMMAND,
        deployment::{Deployment, IdleTimes},
        http,
        outgoing::Policy,
    },
    project::{Project, Secret},
    wire::Limits,
};
use anyhow::{Context, Result, bail, ensure};
use tokio::{net::TcpListener, task::JoinHandle};

use super::client::{Connection, timed};
use crate::report::{Report, Row, Wanted, percentile};

const WAKES: usize = 200;
const LIVE: usize = 10_000;
const CPU_MS: u32 = 300;
const PATIENCE: Duration = Duration::from_secs(60);
/// Quiet objects have given back what they can do without.
const RESTED: Duration = Duration::from_millis(2_500);

const MODULE: &str = r#"
import { DurableObject } from "cloudflare:workers";
export class Counter extends DurableObject {
  async fetch(request) {
    let value = (await this.ctx.storage.get("value")) ?? 0;
    if (request.method === "POST") this.ctx.storage.put("value", ++value);
    return new Response(String(value));
  }
}
const deeds = {
  search() { return "a".repeat(2e7).indexOf("a".repeat(1e7) + "b"); },
  regex() { return /^(a+)+$/.test("a".repeat(60) + "b"); },
  loop() { for (;;); },
  sql() { return this.ctx.storage.sql.exec("WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM t) SELECT count(*) FROM t").one(); },
};
export class Runaway extends DurableObject {
  fetch(request) { return new Response(String(deeds[new URL(request.url).pathname.split("/")[2]].call(this))); }
}
export default {
  fetch(request, env) {
    const { pathname } = new URL(request.url);
    return (pathname.startsWith("/runaway/") ? env.Runaway : env.Counter).getByName(pathname).fetch(request);
  },
};
"#;

/// A deployment on a host of its own.
struct Here {
    // Dropped first: its connections lead to the others.
    served: JoinHandle<()>,
    deployment: Arc<Deployment>,
    host: Host,
    address: SocketAddr,
}

impl Drop for Here {
    fn drop(&mut self) {
        self.served.abort();
    }
}

fn options(state: &Path, idle: IdleTimes) -> Result<HostOptions> {
    Ok(HostOptions { idle, ..HostOptions::alone(state.to_owned(), Program::this(COMMAND, 16 << 30)?) })
}

async fn serve(deployment: &Arc<Deployment>) -> Result<(JoinHandle<()>, SocketAddr)> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let address = listener.local_addr()?;
    let served = Arc::clone(deployment);
    Ok((tokio::spawn(http::serve(listener, 1000, move |_| Some(Arc::clone(&served)))), address))
}

fn deploy(host: &Host, place: &Path, name: &str) -> Result<Arc<Deployment>> {
    let mut config = format!("name = \"{name}\"\nmain = \"index.js\"\n");
    for class in ["Counter", "Runaway"] {
        config.push_str(&format!("[[durable_objects.bindings]]\nname = \"{class}\"\nclass_name = \"{class}\"\n"));
    }
    fs::write(place.join("wrangler.toml"), config)?;
    fs::write(place.join("index.js"), MODULE)?;
    let limits = Limits { cpu_ms: CPU_MS, ..Limits::default() };
    let version = Project::read(place)?.into_version(1, &Secret::of([7; 32]), limits);
    Ok(host.deploy(name, version, Policy::default())?)
}

impl Here {
    async fn start(place: &Path, idle: IdleTimes) -> Result<Self> {
        let host = Host::open(options(&place.join("state"), idle)?)?;
        let deployment = deploy(&host, place, "bench")?;
        let (served, address) = serve(&deployment).await?;
        Ok(Here { served, deployment, host, address })
    }

    async fn until_none_lives(&self) -> Result<()> {
        let begun = Instant::now();
        while !self.deployment.objects().is_empty() {
            ensure!(begun.elapsed() < PATIENCE, "the objects do not hibernate");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }
}

fn hibernating(after: Duration) -> IdleTimes {
    IdleTimes { hibernate: after, evict: after }
}

fn median_row(name: &str, samples: &mut [f64], unit: &'static str) -> Row {
    Row::new(name, percentile(samples, 0.5), unit)
}

pub async fn wakes(report: &mut Report, place: &Path) -> Result<()> {
    let here = Here::start(place, hibernating(Duration::from_millis(100))).await?;
    let mut connection = Connection::open(here.address).await?;
    for number in 0..WAKES {
        connection.ask("POST", &format!("/{number}")).await?;
    }
    here.until_none_lives().await?;
    let mut samples = Vec::with_capacity(WAKES);
    for number in 0..WAKES {
        samples.push(timed(&mut connection, "GET", &format!("/{number}")).await?);
    }
    report.add(median_row("wake from hibernation, p50", &mut samples, "ms").target(Wanted::AtMost, 3.0));
    report.add(Row::new("the same, p99", percentile(&mut samples, 0.99), "ms"));
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "far fewer than 2^52")]
pub async fn live(report: &mut Report, place: &Path) -> Result<()> {
    let here = Here::start(place, hibernating(Duration::from_secs(3600))).await?;
    let mut connection = Connection::open(here.address).await?;
    connection.ask("POST", "/first").await?;
    let before = here.deployment.engines_memory_bytes();
    for number in 0..LIVE {
        connection.ask("POST", &format!("/{number}")).await?;
    }
    tokio::time::sleep(RESTED).await;
    let each = here.deployment.engines_memory_bytes().saturating_sub(before) as f64 / LIVE as f64 / 1024.0;
    report.add(
        Row::new(format!("memory of each of {LIVE} idle live objects, with storage"), each, "KiB")
            .target(Wanted::AtMost, 512.0),
    );
    let live = here.deployment.objects().len();
    report.add(Row::new("objects live on one host", live as f64, "").target(Wanted::AtLeast, LIVE as f64));
    let mut samples = Vec::new();
    for number in (0..LIVE).step_by(10) {
        samples.push(timed(&mut connection, "GET", &format!("/{number}")).await?);
    }
    report.add(median_row("a read of one of them, p50", &mut samples, "ms"));
    report.add(Row::new("the same, p99", percentile(&mut samples, 0.99), "ms"));
    Ok(())
}

/// The only file below a folder.
fn only_file(folder: &Path) -> Result<PathBuf> {
    let mut at = folder.to_owned();
    while at.is_dir() {
        at = fs::read_dir(&at)?.next().context("the object left no file")??.path();
    }
    Ok(at)
}

/// Copies of an object's file, under ids that nobody asks for.
fn copies(state: &Path, count: u64) -> Result<()> {
    let file = only_file(&state.join("objects"))?;
    let folder = file.parent().and_then(Path::parent).context("an object's file lies in two folders")?;
    let content = fs::read(&file)?;
    for part in 0..=u8::MAX {
        fs::create_dir_all(folder.join(format!("{part:02x}")))?;
    }
    for number in 0..count {
        let name = format!("{:062x}", number / 256);
        fs::write(folder.join(format!("{:02x}", number % 256)).join(name), &content)?;
    }
    Ok(())
}

pub async fn at_rest(report: &mut Report, place: &Path, count: u64) -> Result<()> {
    let state = place.join("state");
    {
        let here = Here::start(place, hibernating(Duration::from_millis(100))).await?;
        Connection::open(here.address).await?.ask("POST", "/known").await?;
        here.until_none_lives().await?;
    }
    copies(&state, count)?;
    let begun = Instant::now();
    let here = Here::start(place, hibernating(Duration::from_secs(10))).await?;
    let opened = begun.elapsed().as_secs_f64();
    let name = format!("a host with {count} objects at rest opens");
    report.add(Row::new(name, opened, "s").target(Wanted::AtMost, 2.0));
    let mut connection = Connection::open(here.address).await?;
    // The engine starts with the first request, whatever it is for.
    connection.ask("GET", "/unknown").await?;
    let touched = timed(&mut connection, "GET", "/known").await?;
    report.add(Row::new("the first touch of one of them", touched, "ms").target(Wanted::AtMost, 10.0));
    let namespace = here.deployment.objects().first().context("an object lives")?.key.namespace;
    let begun = Instant::now();
    let listed =
        here.host.objects_at_rest(namespace, &::objects::host::log::Page { limit: 100, ..Default::default() })?;
    ensure!(!listed.is_empty(), "no objects are listed");
    report.add(Row::new("a page of 100 of their list", begun.elapsed().as_secs_f64() * 1000.0, "ms"));
    Ok(())
}

pub async fn limits(report: &mut Report, place: &Path) -> Result<()> {
    let here = Here::start(place, IdleTimes::default()).await?;
    for (what, deed) in
        [("a native search", "search"), ("a regular expression", "regex"), ("SQL", "sql"), ("a loop", "loop")]
    {
        let mut samples = Vec::new();
        for number in 0..5 {
            let mut connection = Connection::open(here.address).await?;
            connection.ask("GET", "/warm").await?;
            let begun = Instant::now();
            let (status, text) = connection.answer("GET", &format!("/runaway/{deed}/{number}")).await?;
            let over = begun.elapsed().as_secs_f64() * 1000.0 - f64::from(CPU_MS);
            if status == 200 {
                bail!("{what} came to an end by itself: {text}");
            }
            samples.push(over);
        }
        let name = format!("{what} stopped after its CPU limit, median of 5");
        report.add(median_row(&name, &mut samples, "ms").target(Wanted::AtMost, 100.0));
    }
    Ok(())
}

async fn reads(address: SocketAddr, seconds: u64) -> Result<Vec<f64>> {
    let mut connection = Connection::open(address).await?;
    let until = Instant::now() + Duration::from_secs(seconds);
    let mut samples = Vec::new();
    while Instant::now() < until {
        samples.push(timed(&mut connection, "GET", "/good").await?);
    }
    Ok(samples)
}

pub async fn neighbours(report: &mut Report, place: &Path, seconds: u64) -> Result<()> {
    let here = Here::start(place, IdleTimes::default()).await?;
    reads(here.address, 1).await?;
    let alone = percentile(&mut reads(here.address, seconds).await?, 0.99);
    let other = deploy(&here.host, place, "runaway")?;
    let (served, address) = serve(&other).await?;
    let runs = tokio::spawn(async move {
        for number in 0_u64.. {
            let mut connection = Connection::open(address).await?;
            connection.answer("GET", &format!("/runaway/loop/{number}")).await?;
        }
        anyhow::Ok(())
    });
    reads(here.address, 1).await?;
    let beside = percentile(&mut reads(here.address, seconds).await?, 0.99);
    runs.abort();
    served.abort();
    let row = Row::new("a neighbour's read with a runaway tenant, p99 (peer: without)", beside, "ms");
    report.add(row.target(Wanted::AtMost, alone * 1.1).beside(alone));
    Ok(())
}
