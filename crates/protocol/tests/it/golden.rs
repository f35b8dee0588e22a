//! Every message as version 1 writes it. A change here breaks agents that are out there: add a field with a default, or
//! raise the version. `BLESS=1 cargo test -p protocol` writes the file anew.

use std::{
    fmt::{Debug, Write as _},
    path::PathBuf,
};

use domain::{
    deployments::ObjectOffer,
    environments::EnvironmentSpec,
    hosts::{HostMetrics, ObjectMetrics},
    ids::{HostId, MachineId, SessionId, StreamId, TransactionId},
    instructions::Work,
    labels::Labels,
    machines::{MachineKind, MachineLimits},
    notebooks::{NotebookOffer, RunSpec, Software, TOKEN, WarmSpec},
    sessions::{Step, StepState},
};
use protocol::{
    ActualMachine, MachineReport, OfferedMachine, Outcome, ProgressEvent, Secrets, ToAgent, ToServer, decode, encode,
    tunnel::{Control, Door, Frame, Lasting, Open, Position, Size, Standing, Target, Transfer},
};
use serde::{Serialize, de::DeserializeOwned};
use uuid::Uuid;

const ID: Uuid = Uuid::from_u128(0x0198_c0de_0000_7000_8000_0000_0000_0001);

fn transaction() -> TransactionId {
    ID.into()
}

fn session() -> SessionId {
    ID.into()
}

fn labels() -> Labels {
    "gpu=a100,os=debian12".parse().expect("labels")
}

fn step() -> Step {
    Step {
        name: "root".to_owned(),
        state: StepState::Running,
        started_at: Some("2026-01-02T03:04:05.006Z".parse().expect("a time")),
        ended_at: None,
        detail: Some("copy on write".to_owned()),
    }
}

fn report(actual: ActualMachine) -> MachineReport {
    MachineReport { name: "slot-1".to_owned(), session: Some(session()), actual }
}

fn to_server() -> Vec<(&'static str, ToServer)> {
    let progress = |event| ToServer::Progress { transaction: transaction(), seq: 7, event };
    let result = |outcome| ToServer::Result { transaction: transaction(), outcome };
    let metrics =
        HostMetrics { at_ms: 1_767_323_045_006, cpu_used: 0.25, load_1m: 1.5, cores: 8, ..HostMetrics::default() };
    // Of an agent that offers nothing.
    let hello = |notebooks, runs, objects| ToServer::Hello {
        oldest_version: 1,
        newest_version: 1,
        agent_version: "0.1.0".to_owned(),
        labels: labels(),
        machines: vec![],
        reports: vec![],
        notebooks,
        objects,
        runs,
        open: vec![],
    };
    let notebooks =
        NotebookOffer { cpu_millis: 8_000, memory_bytes: 32 << 30, places: 16, takes_images: false, gives_warm: true };
    let reading = ObjectMetrics {
        live: 12,
        engines: 2,
        memory_bytes: 1 << 26,
        cpu: 0.5,
        requests_per_s: 20.0,
        errors_per_s: 0.25,
    };
    let offered = OfferedMachine {
        name: "slot-1".to_owned(),
        kind: MachineKind::Sandbox,
        labels: labels(),
        limits: MachineLimits { cpu_millis: 1500, memory_bytes: 1 << 30, pids: 512, disk_bytes: 10 << 30 },
    };
    vec![
        (
            "hello",
            ToServer::Hello {
                oldest_version: 1,
                newest_version: 1,
                agent_version: "0.1.0".to_owned(),
                labels: labels(),
                machines: vec![offered],
                reports: vec![report(ActualMachine::Clean)],
                notebooks: None,
                objects: None,
                runs: vec![],
                open: vec![transaction()],
            },
        ),
        ("heartbeat", ToServer::Heartbeat { available: true, metrics }),
        (
            "heartbeat-objects",
            ToServer::Heartbeat { available: true, metrics: HostMetrics { objects: Some(reading), ..metrics } },
        ),
        ("claim", ToServer::Claim { transaction: transaction() }),
        ("progress-started", progress(ProgressEvent::Started)),
        ("progress-step", progress(ProgressEvent::Step(step()))),
        ("progress-stdout", progress(ProgressEvent::Stdout(b"out\n".to_vec()))),
        ("progress-stderr", progress(ProgressEvent::Stderr(vec![0, 255]))),
        ("result-done", result(Outcome::Done { exit_code: Some(0) })),
        ("result-failed", result(Outcome::Failed { exit_code: Some(3), cause: "exit code 3".to_owned() })),
        ("result-cancelled", result(Outcome::Cancelled)),
        ("result-unknown", result(Outcome::Unknown { cause: "restarted".to_owned() })),
        ("machine-preparing", ToServer::Machine(report(ActualMachine::Preparing))),
        ("machine-running", ToServer::Machine(report(ActualMachine::Running))),
        ("machine-reverting", ToServer::Machine(report(ActualMachine::Reverting))),
        ("machine-dirty", ToServer::Machine(report(ActualMachine::Dirty { reason: "a mount is left".to_owned() }))),
        ("renew", ToServer::Renew { csr_der: vec![0x30, 0x82] }),
        ("hello-notebooks", hello(Some(notebooks), vec![ID.into()], None)),
        ("hello-objects", hello(None, vec![], Some(ObjectOffer { address: "10.0.0.7:7443".to_owned() }))),
        ("run-ended", ToServer::RunEnded { run: ID.into(), why: "out of memory".to_owned() }),
    ]
}

fn to_agent() -> Vec<(&'static str, ToAgent)> {
    let (transaction, session, machine): (_, _, MachineId) = (transaction(), session(), ID.into());
    let machine_name = "slot-1".to_owned();
    let instructions = |work| ToAgent::Instructions { transaction, work, secrets: None };
    let environment =
        EnvironmentSpec { image: None, setup: Some("apt-get update".to_owned()), setup_timeout_s: Some(60) };
    let secrets = Secrets([("TOKEN".to_owned(), "t".to_owned())].into());
    let prepare = Work::Prepare { session, machine, machine_name: machine_name.clone(), environment };
    let host: HostId = ID.into();
    let spec = RunSpec {
        notebook: ID.into(),
        run: ID.into(),
        name: "ann-1".to_owned(),
        software: Software::Packages { requirements: "jupyterlab\n".to_owned() },
        limits: MachineLimits { cpu_millis: 1_000, memory_bytes: 2 << 30, pids: 1_024, disk_bytes: 4 << 30 },
        volume: ID.into(),
        volume_bytes: 10 << 30,
    };
    let token = Secrets([(TOKEN.to_owned(), "t".to_owned())].into());
    let start = Work::StartNotebook { spec };
    let packages = Software::Packages { requirements: "jupyterlab\n".to_owned() };
    let limits = MachineLimits { cpu_millis: 1_000, memory_bytes: 2 << 30, pids: 1_024, disk_bytes: 4 << 30 };
    let warm = WarmSpec { run: ID.into(), name: "base".to_owned(), software: packages, limits };
    let warm = Work::WarmNotebook { spec: warm };
    let give = Work::GiveNotebook {
        run: ID.into(),
        notebook: ID.into(),
        name: "ann-1".to_owned(),
        volume: ID.into(),
        volume_bytes: 10 << 30,
    };
    let remove = Work::RemoveVolume { volume: ID.into(), name: "Ann".to_owned() };
    let stop = Work::StopNotebook { notebook: ID.into(), run: ID.into(), name: "ann-1".to_owned() };
    vec![
        ("welcome", ToAgent::Welcome { version: 1, host, host_name: "h".to_owned(), server_time_ms: 1 }),
        ("offer", ToAgent::Offer { transaction }),
        ("instructions-run", instructions(Work::Run { argv: vec!["true".to_owned()], timeout_s: 60 })),
        ("instructions-prepare", ToAgent::Instructions { transaction, work: prepare, secrets: Some(secrets) }),
        ("instructions-revert", instructions(Work::Revert { session, machine, machine_name: machine_name.clone() })),
        ("instructions-verify", instructions(Work::Verify { machine, machine_name })),
        ("not-yours", ToAgent::NotYours { transaction }),
        ("acknowledge", ToAgent::Acknowledge { transaction }),
        ("cancel", ToAgent::Cancel { transaction }),
        ("renewed", ToAgent::Renewed { certificate_pem: "C".to_owned(), ca_pem: "A".to_owned() }),
        ("open-tunnel", ToAgent::OpenTunnel),
        ("plan-changed", ToAgent::PlanChanged),
        ("instructions-start-notebook", ToAgent::Instructions { transaction, work: start, secrets: Some(token) }),
        ("instructions-stop-notebook", instructions(stop)),
        ("instructions-warm-notebook", instructions(warm)),
        ("instructions-give-notebook", instructions(give)),
        ("instructions-remove-volume", instructions(remove)),
    ]
}

fn frames() -> Vec<(&'static str, Frame)> {
    let (stream, session): (StreamId, _) = (ID.into(), session());
    let size = Size { columns: 80, rows: 24 };
    let exec = Open::Exec {
        session,
        argv: vec!["ls".to_owned(), "-l".to_owned()],
        env: vec![("A".to_owned(), "b".to_owned())],
        cwd: Some("/tmp".to_owned()),
        terminal: Some(size),
        lasting: None,
    };
    let position = Position { stdout: 70_000, stderr: 3 };
    let lasting = Open::Exec {
        session,
        argv: vec!["ls".to_owned()],
        env: Vec::new(),
        cwd: None,
        terminal: None,
        lasting: Some(Lasting { id: ID, resume: Some(position) }),
    };
    let transfer = Transfer::FileIn { path: "/tmp".to_owned(), name: "a".to_owned(), mode: 0o640, size: 70_000 };
    let standing = Standing { received: 9, taken: 7, was_held: true };
    let control = |control| Frame::Control(stream, control);
    vec![
        ("open-exec", Frame::Open(stream, exec)),
        ("open-terminal", Frame::Open(stream, Open::Terminal { session, attach: Some(ID), size })),
        ("open-port", Frame::Open(stream, Open::Connect { session, to: Target::Port(8888) })),
        ("open-socket", Frame::Open(stream, Open::Connect { session, to: Target::UnixSocket("/run/s".to_owned()) })),
        ("opened", control(Control::Opened { terminal: Some(ID), standing: None })),
        ("refused", control(Control::Refused { why: "no".to_owned() })),
        ("resize", control(Control::Resize(size))),
        ("signal", control(Control::Signal(15))),
        ("end-of-input", control(Control::EndOfInput)),
        ("exited", control(Control::Exited { code: Some(3), signal: None })),
        ("reset", control(Control::Reset { why: "gone".to_owned() })),
        ("data", Frame::Data(stream, b"in".as_slice().into())),
        ("error-data", Frame::ErrorData(stream, b"err".as_slice().into())),
        ("credit", Frame::Credit(stream, 65_536)),
        ("open-copy", Frame::Open(stream, Open::Copy { session, transfer })),
        ("open-lasting", Frame::Open(stream, lasting)),
        ("opened-lasting", control(Control::Opened { terminal: None, standing: Some(standing) })),
        ("taken", control(Control::Taken { bytes: 65_536 })),
        ("received", control(Control::Received(position))),
        ("hang-up", control(Control::HangUp)),
        ("open-objects", Frame::Open(stream, Open::Objects { door: Door::Requests, deployment: None })),
        ("open-objects-control", Frame::Open(stream, Open::Objects { door: Door::Control, deployment: None })),
        ("open-objects-of", Frame::Open(stream, Open::Objects { door: Door::Requests, deployment: Some(ID.into()) })),
    ]
}

fn check(file: &str, found: &str) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(file);
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(&path, found).expect("writes");
    }
    let expected = std::fs::read_to_string(&path).expect("the golden file");
    for (expected, found) in expected.lines().zip(found.lines()) {
        assert_eq!(found, expected, "in {file}");
    }
    assert_eq!(found.lines().count(), expected.lines().count(), "in {file}");
}

fn check_messages<M>(file: &str, messages: Vec<(&str, M)>)
where
    M: Serialize + DeserializeOwned + PartialEq + Debug,
{
    let mut text = String::new();
    for (name, message) in messages {
        let frame = encode(&message).expect("encodes");
        assert_eq!(decode::<M>(&frame).expect("decodes"), message);
        writeln!(text, "{name} {}", hex::encode(frame)).expect("writes");
    }
    check(file, &text);
}

#[test]
fn messages_to_the_server() {
    check_messages("to-server.v1", to_server());
}

#[test]
fn messages_to_the_agent() {
    check_messages("to-agent.v1", to_agent());
}

#[test]
fn tunnel_frames() {
    let mut text = String::new();
    for (name, frame) in frames() {
        let bytes = frame.encode().expect("encodes");
        writeln!(text, "{name} {}", hex::encode(&bytes)).expect("writes");
        assert_eq!(Frame::decode(bytes).expect("decodes"), frame);
    }
    check("tunnel.v1", &text);
}

#[test]
fn a_field_of_a_later_version_is_ignored() {
    // {"Offer": {"transaction": bin16, "later": 1}}
    let mut frame = b"\x81\xa5Offer\x82\xabtransaction\xc4\x10".to_vec();
    frame.extend(ID.as_bytes());
    frame.extend(b"\xa5later\x01");
    let message: ToAgent = decode(&frame).expect("decodes");
    assert_eq!(message, ToAgent::Offer { transaction: transaction() });
}

#[test]
fn secrets_are_not_shown() {
    let secrets = Secrets([("TOKEN".to_owned(), "hunter2".to_owned())].into());
    let shown = format!(
        "{:?}",
        ToAgent::Instructions {
            transaction: transaction(),
            work: Work::Run { argv: vec![], timeout_s: 1 },
            secrets: Some(secrets),
        }
    );
    assert!(!shown.contains("hunter2"), "{shown}");
}
