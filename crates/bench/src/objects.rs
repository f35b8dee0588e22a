//! Objects under `berth objects dev`, beside npm workerd with the same module, one after the other in the same run; and what
//! there is no peer for, on hosts in this process.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

use client::{Connection, rate, timed};

use crate::{
    report::{Report, Row, Wanted, percentile},
    server::binary,
};

mod client;
mod forwarding;
mod here;

const READY: Duration = Duration::from_secs(20);
/// Objects that nobody has touched yet, asked for one after the other.
const NEW_OBJECTS: usize = 300;

/// The module that both run: plain JavaScript, as a user would write it.
const MODULE: &str = r#"
import { DurableObject } from "cloudflare:workers";
export class Counter extends DurableObject {
  constructor(ctx, env) {
    super(ctx, env);
    ctx.blockConcurrencyWhile(async () => { this.value = (await ctx.storage.get("value")) ?? 0; });
  }
  async fetch(request) {
    if (request.method === "POST") {
      this.value += 1;
      this.ctx.storage.put("value", this.value);
    }
    return new Response(String(this.value));
  }
}
export default {
  fetch(request, env) {
    return env.COUNTERS.getByName(new URL(request.url).pathname).fetch(request);
  },
};
"#;

const WRANGLER: &str = r#"
name = "bench"
main = "index.js"
compatibility_date = "2026-01-01"
[[durable_objects.bindings]]
name = "COUNTERS"
class_name = "Counter"
[[migrations]]
tag = "v1"
new_sqlite_classes = ["Counter"]
"#;

/// A server that is measured; stopped when dropped.
struct Served {
    child: Child,
    address: SocketAddr,
}

impl Drop for Served {
    fn drop(&mut self) {
        if let Err(error) = self.child.kill().and_then(|()| self.child.wait()) {
            eprintln!("cannot stop {}: {error}", self.child.id());
        }
    }
}

fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}

async fn ready(mut served: Served) -> Result<Served> {
    let deadline = Instant::now() + READY;
    loop {
        if let Ok(mut connection) = Connection::open(served.address).await
            && connection.ask("GET", "/ready").await.is_ok()
        {
            return Ok(served);
        }
        if let Some(status) = served.child.try_wait()? {
            bail!("the server ended: {status}");
        }
        if Instant::now() > deadline {
            bail!("the server did not answer within {READY:?}");
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn berth(directory: &Path) -> Result<Served> {
    fs::write(directory.join("wrangler.toml"), WRANGLER)?;
    fs::write(directory.join("index.js"), MODULE)?;
    let address = free_address()?;
    let mut command = Command::new(binary("berth")?);
    command.args(["objects", "dev"]).arg(directory).args(["--port", &address.port().to_string()]);
    let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    ready(Served { child, address }).await
}

/// `BERTH_WORKERD`, or where the conformance suite looks for it.
fn workerd_program() -> Option<PathBuf> {
    if let Some(path) = std::env::var_os("BERTH_WORKERD") {
        return Some(path.into());
    }
    let home = std::env::var_os("HOME")?;
    let path = Path::new(&home).join(".cache/berth/workerd/node_modules/.bin/workerd");
    path.is_file().then_some(path)
}

async fn workerd(program: &Path, directory: &Path) -> Result<Served> {
    let address = free_address()?;
    fs::create_dir(directory.join("disk"))?;
    fs::write(directory.join("index.js"), MODULE)?;
    let disk = directory.join("disk").display().to_string();
    let config = format!(
        r#"using Workerd = import "/workerd/workerd.capnp";
const config :Workerd.Config = (
  services = [
    (name = "main", worker = (
      modules = [(name = "index.js", esModule = embed "index.js")],
      compatibilityDate = "2026-01-01",
      durableObjectNamespaces = [(className = "Counter", uniqueKey = "bench", enableSql = true)],
      durableObjectStorage = (localDisk = "disk"),
      bindings = [(name = "COUNTERS", durableObjectNamespace = "Counter")])),
    (name = "disk", disk = (path = {disk:?}, writable = true)),
  ],
  sockets = [(name = "http", address = "{address}", http = (), service = "main")]
);
"#
    );
    fs::write(directory.join("config.capnp"), config)?;
    let mut command = Command::new(program);
    command.args(["serve", "config.capnp"]).current_dir(directory);
    let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    ready(Served { child, address }).await
}

/// Milliseconds to the first answer of objects that nobody has asked before.
async fn first_answers(served: &Served) -> Result<Vec<f64>> {
    let mut connection = Connection::open(served.address).await?;
    let mut samples = Vec::with_capacity(NEW_OBJECTS);
    for number in 0..NEW_OBJECTS {
        samples.push(timed(&mut connection, "POST", &format!("/new-{number}")).await?);
    }
    Ok(samples)
}

struct Figures {
    writes: f64,
    reads: f64,
    new_p50_ms: f64,
    new_p99_ms: f64,
}

async fn measure(served: &Served, seconds: u64) -> Result<Figures> {
    let mut new = first_answers(served).await?;
    let writes = rate(served.address, "POST", "/one", seconds).await?.0;
    let reads = rate(served.address, "GET", "/one", seconds).await?.0;
    Ok(Figures { writes, reads, new_p50_ms: percentile(&mut new, 0.5), new_p99_ms: percentile(&mut new, 0.99) })
}

/// What is measured, one after the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Part {
    /// Writes, reads and new objects, beside workerd.
    Peer,
    Forwarding,
    Wakes,
    Limits,
    Neighbours,
    Live,
    AtRest,
}

impl Part {
    const ALL: [Self; 7] =
        [Self::Peer, Self::Forwarding, Self::Wakes, Self::Limits, Self::Neighbours, Self::Live, Self::AtRest];

    async fn run(self, report: &mut Report, full: bool) -> Result<()> {
        let seconds = if full { 20 } else { 5 };
        let directory = tempfile::tempdir().context("a directory")?;
        let place = directory.path();
        match self {
            Self::Peer => beside_workerd(report, seconds).await,
            Self::Forwarding => forwarding::run(report, place, seconds).await,
            Self::Wakes => here::wakes(report, place).await,
            Self::Limits => here::limits(report, place).await,
            Self::Neighbours => here::neighbours(report, place, seconds).await,
            Self::Live => here::live(report, place).await,
            Self::AtRest => here::at_rest(report, place, if full { 1_000_000 } else { 50_000 }).await,
        }
    }
}

/// All parts, or only one.
pub async fn run(report: &mut Report, full: bool, only: Option<Part>) -> Result<()> {
    for part in Part::ALL.into_iter().filter(|part| only.is_none_or(|only| only == *part)) {
        Box::pin(part.run(report, full)).await.with_context(|| format!("{part:?}"))?;
    }
    Ok(())
}

async fn beside_workerd(report: &mut Report, seconds: u64) -> Result<()> {
    let (ours_dir, theirs_dir) = (tempfile::tempdir()?, tempfile::tempdir()?);
    let ours = {
        let served = berth(ours_dir.path()).await.context("berth objects dev")?;
        measure(&served, seconds).await?
    };
    let theirs = match workerd_program() {
        Some(program) => {
            let served = workerd(&program, theirs_dir.path()).await.context("workerd")?;
            Some(measure(&served, seconds).await?)
        }
        None => {
            eprintln!("npm workerd is not installed: no peer in this run");
            None
        }
    };
    let beside = |row: Row, peer: fn(&Figures) -> f64| match &theirs {
        Some(theirs) => row.beside(peer(theirs)),
        None => row,
    };
    let times = |wanted: f64, peer: fn(&Figures) -> f64| theirs.as_ref().map(|theirs| wanted * peer(theirs));
    let mut writes = Row::new("durable increments of one object, 16 connections", ours.writes, "/s");
    if let Some(target) = times(5.0, |figures| figures.writes) {
        writes = writes.target(Wanted::AtLeast, target);
    }
    report.add(beside(writes, |figures| figures.writes));
    let mut reads = Row::new("reads of one object, 16 connections", ours.reads, "/s");
    if let Some(target) = times(5.0, |figures| figures.reads) {
        reads = reads.target(Wanted::AtLeast, target);
    }
    report.add(beside(reads, |figures| figures.reads));
    let p50 = Row::new("new object, first answer after a durable write, p50", ours.new_p50_ms, "ms");
    report.add(beside(p50.target(Wanted::AtMost, 5.0), |figures| figures.new_p50_ms));
    let p99 = Row::new("the same, p99", ours.new_p99_ms, "ms");
    report.add(beside(p99, |figures| figures.new_p99_ms));
    Ok(())
}
