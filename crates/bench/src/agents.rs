//! `agents`: simulated hosts that speak the real protocol over TLS, on one server. How much memory a link costs, and
//! how long until all are back after the server was killed and started again.

use std::{
    io::{BufRead, BufReader},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use crate::{
    handshakes,
    report::{Report, Row, Wanted},
    server::{Server, binary},
};

const HOSTS: u64 = 10_000;
const MEMORY_BYTES: f64 = 4.0 * 1024.0 * 1024.0 * 1024.0;
/// Enrolment makes a key and two signatures for each host.
const ENROL_TIMEOUT: Duration = Duration::from_secs(900);

/// One line of `berth-agent simulate --report`.
#[derive(Debug, Deserialize)]
struct Line {
    links: u64,
}

/// The simulated hosts, in a process of their own; stopped when dropped.
pub struct Simulated {
    child: Child,
    links: Arc<AtomicU64>,
}

impl Simulated {
    /// Where a line is written for each instruction that starts on one of the hosts.
    pub fn stamps(server: &Server) -> PathBuf {
        server.dir().join("stamps.json")
    }

    /// Enrols and links `hosts` hosts of `machines` machines each.
    pub fn start(server: &Server, hosts: u64, machines: u64) -> Result<Self> {
        let zero = server.dir().join("zero.toml");
        let path = zero.display().to_string();
        server.admin(&["zero-certificate", "--uses", &hosts.to_string(), "--hours", "1", "--out", &path])?;
        let mut child = Command::new(binary("berth-agent")?)
            .args(["simulate", "--hosts", &hosts.to_string(), "--machines", &machines.to_string(), "--report", "1"])
            .arg("--zero")
            .arg(&zero)
            // Whoever has to try again while the server is busy does so; the figures tell.
            .env("BERTH_LOG", "error")
            .arg("--stamps")
            .arg(Self::stamps(server))
            .arg("--state")
            .arg(server.dir().join("simulated"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start berth-agent simulate")?;
        let links = Arc::new(AtomicU64::new(0));
        let stdout = child.stdout.take().context("no output of berth-agent")?;
        let seen = links.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if let Ok(line) = serde_json::from_str::<Line>(&line) {
                    seen.store(line.links, Ordering::Relaxed);
                }
            }
        });
        Ok(Self { child, links })
    }

    /// Waits until exactly so many links are up, and says how long that took.
    pub fn wait(&mut self, links: impl Fn(u64) -> bool, timeout: Duration) -> Result<Duration> {
        let began = Instant::now();
        while !links(self.links.load(Ordering::Relaxed)) {
            if let Some(status) = self.child.try_wait()? {
                bail!("berth-agent simulate ended with {status}");
            }
            if began.elapsed() > timeout {
                bail!("{} links after {} s", self.links.load(Ordering::Relaxed), timeout.as_secs());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(began.elapsed())
    }
}

impl Drop for Simulated {
    fn drop(&mut self) {
        if let Err(error) = self.child.kill().and_then(|()| self.child.wait()) {
            eprintln!("cannot stop berth-agent {}: {error}", self.child.id());
        }
    }
}

#[allow(clippy::cast_precision_loss, reason = "counts far below 2^52")]
pub fn run(report: &mut Report) -> Result<()> {
    let hosts = HOSTS;
    let mut server = Server::start(None)?;
    let before = server.resident_bytes()?;
    let mut simulated = Simulated::start(&server, hosts, 1)?;
    let enrolled = simulated.wait(|links| links == hosts, ENROL_TIMEOUT)?;
    report.add(Row::new(format!("{hosts} hosts enrolled and linked"), enrolled.as_secs_f64(), "s"));
    let after = server.resident_bytes()?;
    report.add(Row::new("server's memory", after as f64, "bytes").target(Wanted::AtMost, MEMORY_BYTES));
    let link = after.saturating_sub(before) as f64 / hosts as f64;
    report.add(Row::new("memory of a link", link, "bytes").target(Wanted::AtMost, 50.0 * 1024.0));
    let killed = Instant::now();
    server.restart()?;
    simulated.wait(|links| links < hosts, Duration::from_secs(30))?;
    simulated.wait(|links| links == hosts, Duration::from_secs(300))?;
    let back = killed.elapsed().as_secs_f64();
    drop(simulated);
    let limit = handshakes::seconds(hosts)?;
    let row = Row::new("all back after a kill -9 of the server (beside their bare TLS handshakes)", back, "s");
    report.add(row.target(Wanted::AtMost, 60.0).beside(limit));
    Ok(())
}
