//! Simulated hosts: real enrolment, real links, made-up machines.

use std::{
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
};

use domain::{
    environments::EnvironmentSpec,
    ids::{MachineId, SessionId, TransactionId},
    instructions::Work,
    sessions::StepState,
};
use protocol::{ActualMachine, Outcome, ToAgent, ToServer};

use crate::peer::{Peer, shell, until};

struct Simulation {
    child: Child,
    directory: tempfile::TempDir,
}

impl Drop for Simulation {
    fn drop(&mut self) {
        self.child.kill().expect("kills");
        self.child.wait().expect("is gone");
    }
}

fn simulate(directory: tempfile::TempDir, zero: Option<&Peer>, more: &[&str]) -> Simulation {
    let mut command = Command::new(env!("CARGO_BIN_EXE_berth-agent"));
    command.arg("simulate").arg("--state").arg(directory.path()).args(more).stdin(Stdio::null());
    if let Some(peer) = zero {
        let file = directory.path().join("zero.toml");
        std::fs::write(&file, toml::to_string(&peer.zero()).expect("TOML")).expect("writes");
        command.arg("--zero").arg(file);
    }
    Simulation { child: command.stdout(Stdio::piped()).spawn().expect("starts"), directory }
}

fn directory() -> tempfile::TempDir {
    tempfile::tempdir_in("/var/tmp").expect("a directory")
}

#[tokio::test]
async fn hosts_enrol_link_and_come_back_without_enrolling_again() {
    let mut peer = Peer::start().await;
    let mut simulation = simulate(directory(), Some(&peer), &["--hosts", "20", "--machines", "3", "--report", "1"]);
    let mut serials = std::collections::BTreeSet::new();
    for _ in 0..20 {
        let mut link = peer.raw_link().await;
        let ToServer::Hello { machines, reports, .. } = link.next().await else { panic!("no Hello") };
        assert_eq!((machines.len(), reports.len()), (3, 0), "nothing was done on them yet");
        link.welcome(peer.authority.host).await;
        serials.insert(link.serial.clone());
        tokio::spawn(async move { while link.try_next().await.is_ok() {} });
    }
    assert_eq!((serials.len(), peer.authority.enrolled()), (20, 20));
    let stdout = simulation.child.stdout.take().expect("an output");
    let all_up = tokio::task::spawn_blocking(move || {
        BufReader::new(stdout).lines().map_while(Result::ok).any(|line| {
            let line: serde_json::Value = serde_json::from_str(&line).expect("JSON");
            line["links"] == 20 && line["enrolled"] == 20
        })
    });
    assert!(crate::peer::within("all links", all_up).await.expect("reads"));
    simulation.child.kill().expect("kills");
    simulation.child.wait().expect("is gone");
    let again = tempfile::tempdir_in("/var/tmp").expect("a directory");
    std::fs::copy(simulation.directory.path().join("simulated.db"), again.path().join("simulated.db")).expect("copies");
    let wal = simulation.directory.path().join("simulated.db-wal");
    if wal.exists() {
        std::fs::copy(wal, again.path().join("simulated.db-wal")).expect("copies");
    }
    let _again = simulate(again, None, &["--hosts", "20"]);
    for _ in 0..20 {
        let (link, _) = peer.link().await;
        assert!(serials.contains(&link.serial));
    }
    assert_eq!(peer.authority.enrolled(), 20);
}

#[tokio::test]
async fn a_simulated_machine_is_prepared_and_reverted_with_its_steps() {
    let mut peer = Peer::start().await;
    let stamps = directory();
    let file = stamps.path().join("stamps");
    let more = ["--hosts", "1", "--prepare-ms", "50", "--report", "1", "--stamps", file.to_str().expect("UTF-8")];
    let _simulation = simulate(directory(), Some(&peer), &more);
    let (mut link, _) = peer.link().await;
    let (session, machine, machine_name) = (SessionId::new(), MachineId::new(), "slot-1".to_owned());
    let prepare =
        Work::Prepare { session, machine, machine_name: machine_name.clone(), environment: EnvironmentSpec::default() };
    let id = TransactionId::new();
    link.instruct(id, prepare).await;
    let mut running = false;
    let outcome = loop {
        match link.next().await {
            ToServer::Machine(report) => running |= report.actual == ActualMachine::Running,
            ToServer::Result { outcome, .. } => break outcome,
            ToServer::Progress { .. } | ToServer::Heartbeat { .. } => {}
            other => panic!("unexpected {other:?}"),
        }
    };
    assert!(running);
    assert_eq!(outcome, Outcome::Done { exit_code: None });
    link.acknowledge(id).await;
    let id = TransactionId::new();
    link.instruct(id, Work::Revert { session, machine, machine_name }).await;
    let ended = link.ended(id).await;
    assert!(ended.started);
    assert_eq!(ended.steps.iter().filter(|step| step.state == StepState::Done).count(), 5);
    link.acknowledge(id).await;
    let id = TransactionId::new();
    link.instruct(id, shell("anything")).await;
    assert_eq!(link.ended(id).await.outcome, Outcome::Done { exit_code: Some(0) });
    until("the stamps", || {
        std::fs::read_to_string(&file).is_ok_and(|text| text.lines().count() == 3 && text.contains(&id.to_string()))
    })
    .await;
    link.send(ToAgent::OpenTunnel).await;
    peer.tunnel().await;
}

#[tokio::test]
async fn hosts_that_are_not_enrolled_need_a_zero_certificate() {
    let directory = directory();
    let output = Command::new(env!("CARGO_BIN_EXE_berth-agent"))
        .args(["simulate", "--hosts", "3", "--state"])
        .arg(directory.path())
        .output()
        .expect("runs");
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("3 simulated hosts are not enrolled yet"));
}
