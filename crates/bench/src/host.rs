//! A host of the benchmark's own: a real agent, enrolled and linked.

use std::{
    fs,
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use crate::{
    rest::Rest,
    server::{Server, binary},
};

const LIMIT: Duration = Duration::from_secs(60);

/// An agent; stopped when dropped, with what it left running.
pub struct Host {
    child: Child,
    config: PathBuf,
}

fn command(config: &PathBuf) -> Result<Command> {
    let mut command = Command::new(binary("berth-agent")?);
    command.env("BERTH_AGENT_CONFIG", config).env("BERTH_LOG", "warn").stdin(Stdio::null());
    Ok(command)
}

impl Host {
    /// Joins under the name `bench` and offers what `offer` says in the agent's configuration.
    pub async fn start(server: &Server, rest: &Rest, offer: &str) -> Result<Self> {
        let ask = json!({ "name": "bench", "max_uses": 1, "lifetime_hours": 1, "join": "open" });
        let made = rest.post("/zero-certificates", &ask).await?;
        let (zero, config) = (server.dir().join("zero.toml"), server.dir().join("agent.toml"));
        fs::write(&zero, made["file"].as_str().context("no zero certificate")?)?;
        let state = server.dir().join("agent").display().to_string();
        fs::write(&config, format!("state_dir = \"{state}\"\n{offer}"))?;
        let joined = command(&config)?.arg("enroll").arg(&zero).args(["--name", "bench"]).output()?;
        if !joined.status.success() {
            bail!("berth-agent enroll: {}", String::from_utf8_lossy(&joined.stderr));
        }
        Ok(Self { child: command(&config)?.arg("run").spawn()?, config })
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        if let Err(error) = self.child.kill().and_then(|()| self.child.wait()) {
            eprintln!("cannot stop berth-agent {}: {error}", self.child.id());
        }
        match command(&self.config).and_then(|mut clear| Ok(clear.arg("clear").output()?)) {
            Ok(output) if output.status.success() => {}
            Ok(output) => eprintln!("berth-agent clear: {}", String::from_utf8_lossy(&output.stderr)),
            Err(error) => eprintln!("berth-agent clear: {error:#}"),
        }
    }
}

/// Asks until `done` finds what it looks for.
pub async fn until<T>(rest: &Rest, path: &str, done: impl Fn(&Value) -> Option<T>) -> Result<T> {
    let began = Instant::now();
    loop {
        let answer = rest.get(path).await?;
        if let Some(found) = done(&answer) {
            return Ok(found);
        }
        if began.elapsed() > LIMIT {
            bail!("waited in vain at {path}: {answer}");
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

pub fn milliseconds(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1_000.0
}
