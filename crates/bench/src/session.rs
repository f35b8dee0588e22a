//! `session`: from "book now" to a shell's prompt in a sandbox, and the time of the revert, beside a bare bubblewrap.

use std::{
    io::{Read, Write},
    process::{Command, Stdio},
    time::Instant,
};

use anyhow::{Context, Result, bail};
use api::streams::ExecAsk;
use cli::{
    client::Client,
    exec::{Ends, Exec},
    settings::{Secret, Settings, server_url},
};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::{
    host::{Host, milliseconds, until},
    report::{Report, Row, Wanted, percentile},
    rest::Rest,
    server::Server,
};

const SLOT: &str = "[[machines]]\nname = \"slot\"\nkind = \"sandbox\"\ncpus = 1\nmemory = \"512MiB\"\n";

/// Books, waits, starts a shell, has it answer; then gives back and waits for the machine. Both times in ms.
async fn once(rest: &Rest, client: &Client) -> Result<(f64, f64)> {
    let began = Instant::now();
    let ask = json!({ "labels": "kind=sandbox", "duration_s": 600 });
    let booked = rest.post("/reservations", &ask).await?;
    let id = booked["sessions"][0]["id"].as_str().context("no session")?.to_owned();
    let path = format!("/sessions/{id}");
    let state = |session: &Value| session["state"].as_str().map(str::to_owned).unwrap_or_default();
    let state = until(rest, &path, |session| {
        let state = state(session);
        matches!(state.as_str(), "active" | "failed" | "ended").then_some(state)
    })
    .await?;
    if state != "active" {
        bail!("the session {state} before it was ready");
    }
    let ask = ExecAsk { argv: vec!["/bin/sh".to_owned()], ..ExecAsk::default() };
    let exec = Exec::start(client, &id, &ask).await?;
    let (mut typed, stdin) = tokio::io::duplex(1_024);
    let (mut screen, stdout) = tokio::io::duplex(1_024);
    let (_controls, controls) = tokio::sync::mpsc::channel(1);
    let shell = tokio::spawn(exec.run(Ends { stdin, stdout, stderr: tokio::io::sink(), controls, tell: |_| () }));
    typed.write_all(b"echo ready\n").await?;
    let mut answer = [0; 6];
    screen.read_exact(&mut answer).await?;
    let to_prompt = milliseconds(began);
    drop(typed);
    shell.await??;
    let ended = Instant::now();
    rest.post(&format!("{path}/end"), &json!({})).await?;
    until(rest, &path, |session| (session["state"] == "ended").then_some(())).await?;
    Ok((to_prompt, milliseconds(ended)))
}

/// A shell in a bare sandbox of all its own namespaces that answers the same; ms.
fn bare() -> Result<f64> {
    let began = Instant::now();
    let mut child = Command::new("bwrap")
        .args(["--unshare-all", "--ro-bind", "/", "/", "--proc", "/proc", "--dev", "/dev", "/bin/sh"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start bwrap")?;
    child.stdin.take().context("no input")?.write_all(b"echo ready\n")?;
    let mut answer = [0; 6];
    child.stdout.take().context("no output")?.read_exact(&mut answer)?;
    let took = milliseconds(began);
    child.wait()?;
    Ok(took)
}

pub async fn run(report: &mut Report, full: bool) -> Result<()> {
    let rounds = if full { 200 } else { 40 };
    let server = Server::start(None)?;
    let rest = Rest::new(&server)?;
    let _host = Host::start(&server, &rest, SLOT).await?;
    let is_free = |list: &Value| (list["items"][0]["state"] == "free").then_some(());
    until(&rest, "/machines", is_free).await?;
    let settings = Settings { server: server_url(&server.url)?, token: Some(Secret::new(&server.token)?), ca: None };
    let client = Client::new(&settings)?;
    // The first is slower by what is made once.
    once(&rest, &client).await?;
    let (mut prompts, mut reverts, mut bares) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..rounds {
        until(&rest, "/machines", is_free).await?;
        let (prompt, revert) = once(&rest, &client).await?;
        prompts.push(prompt);
        reverts.push(revert);
        bares.push(bare()?);
    }
    let row = |name: &str, value: f64| Row::new(name, value, "ms");
    let (bare_p50, bare_p95) = (percentile(&mut bares, 0.5), percentile(&mut bares, 0.95));
    report.add(row("book now to a shell that answers, p50", percentile(&mut prompts, 0.5)).beside(bare_p50));
    let p95 = percentile(&mut prompts, 0.95);
    report.add(row("book now to a shell that answers, p95", p95).target(Wanted::AtMost, 300.0).beside(bare_p95));
    report.add(row("end to machine verified, p50", percentile(&mut reverts, 0.5)));
    report.add(row("end to machine verified, p95", percentile(&mut reverts, 0.95)));
    Ok(())
}
