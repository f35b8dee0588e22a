//! Sandboxes outlive the process that made them.

use std::{
    io::{BufRead, BufReader},
    process::{Command, Stdio},
};

use agent::environments::{AdoptError, ExecSpec, PrepareSpec, StepSink, Variables};
use domain::{environments::EnvironmentSpec, ids::SessionId};
use tokio_util::sync::CancellationToken;

use crate::support::{Bench, assert_clean, collect};

/// Names the directory in which the owner, a process of this same program, prepares.
const OWNER: &str = "BERTH_IT_OWNER";

/// No test by itself: the process that [`a_sandbox_outlives_its_owner`] starts and kills.
#[tokio::test]
async fn owner() {
    let Ok(directory) = std::env::var(OWNER) else { return };
    let text = format!("state_dir = \"{directory}/state\"\n[[machines]]\nname = \"m\"\nkind = \"sandbox\"\n");
    let config = agent::config::AgentConfig::parse(&text).expect("is right");
    let environments = agent::environments::Environments::with_helper(&config, crate::support::helper()).expect("made");
    let environment = environments.of(domain::machines::MachineKind::Sandbox);
    let session = SessionId::new();
    let spec = PrepareSpec {
        session,
        machine: std::sync::Arc::new(config.machines[0].clone()),
        asked: EnvironmentSpec::default(),
        variables: Variables([("GIVEN".to_owned(), "kept".to_owned())].into()),
    };
    let (sink, _events) = StepSink::new();
    let running = environment.prepare(spec, &sink, &CancellationToken::new()).await.expect("prepares");
    let handle = environment
        .exec(&running, ExecSpec::new(["sh", "-c", "echo before > ~/file; sleep 1000 >/dev/null 2>&1 & echo $!"]))
        .await;
    collect(handle.expect("runs"), b"").await;
    println!("session {session}");
    std::future::pending::<()>().await;
}

#[tokio::test]
async fn a_sandbox_outlives_its_owner() {
    let bench = Bench::sandbox("");
    let mut owner = Command::new(std::env::current_exe().expect("a program"))
        .args(["adoption::owner", "--exact", "--nocapture"])
        .env(OWNER, bench.directory.path())
        .stdout(Stdio::piped())
        .spawn()
        .expect("starts");
    let lines = BufReader::new(owner.stdout.take().expect("a pipe")).lines();
    let session: SessionId = lines
        .map(|line| line.expect("is read"))
        .find_map(|line| line.split_once("session ").and_then(|(_, id)| id.trim().parse().ok()))
        .expect("names its session");
    owner.kill().expect("is killed");
    owner.wait().expect("is reaped");

    let found = bench.environment.list().await.expect("is listed");
    assert!(found.len() == 1 && found[0].session == session && found[0].adoptable, "{found:?}");
    let running = bench.environment.adopt(session).await.expect("is adopted");
    assert_eq!(running.machine, "m");
    assert_eq!(bench.sh(&running, "cat ~/file; echo $GIVEN").await.stdout, "before\nkept\n");
    let sleeping = bench.sh(&running, "cat /proc/[0-9]*/cmdline | tr '\\0' ' '").await;
    assert!(sleeping.stdout.contains("sleep 1000"), "{sleeping:?}");
    assert_clean(&bench.revert(&running).await);
    assert!(matches!(bench.environment.adopt(session).await, Err(AdoptError::NotFound(_))));
}

#[tokio::test]
async fn a_sandbox_whose_first_process_is_gone_is_not_adopted() {
    let bench = Bench::sandbox("");
    let running = bench.prepare().await;
    let record = bench.directory.path().join(format!("state/sandboxes/{}/environment.json", running.session));
    let text = std::fs::read_to_string(&record).expect("a record");
    let mut value: serde_json::Value = serde_json::from_str(&text).expect("is JSON");
    // Another process has the pid now: it was started at another time.
    value["phase"]["Ready"]["started_ticks"] = 1.into();
    std::fs::write(&record, value.to_string()).expect("written");
    assert!(matches!(bench.environment.adopt(running.session).await, Err(AdoptError::Gone { .. })));
    assert_clean(&bench.revert(&running).await);
}
