//! Sandboxes of an agent that is not root: a read-only root and no limits, but the same isolation and the same revert.

use std::{
    fs,
    os::unix::{fs::PermissionsExt, process::CommandExt},
    process::Command,
};

use agent::{
    config::AgentConfig,
    environments::{
        Environments, ExecSpec, Exit, PrepareSpec, RevertReport, Running, Size, StepSink, Target, Variables,
    },
};
use domain::{environments::EnvironmentSpec, ids::SessionId, machines::MachineKind};
use tokio_util::sync::CancellationToken;

use crate::support::{assert_clean, collect, helper};

/// Names the directory of the inner process.
const INNER: &str = "BERTH_IT_ROOTLESS";
/// Debian's `nobody`.
const NOBODY: u32 = 65534;

#[tokio::test]
async fn an_agent_without_root() {
    if std::env::var(INNER).is_ok() {
        return;
    }
    let directory = tempfile::Builder::new().prefix("berth-it-").tempdir_in("/var/tmp").expect("a directory");
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).expect("opened");
    // Copies, because the build's directory may be closed to others.
    for (from, name) in [(std::env::current_exe().expect("a program"), "it"), (helper(), "berth-agent")] {
        fs::copy(from, directory.path().join(name)).expect("copied");
        fs::set_permissions(directory.path().join(name), fs::Permissions::from_mode(0o755)).expect("opened");
    }
    let state = directory.path().join("state");
    fs::create_dir(&state).expect("made");
    std::os::unix::fs::chown(&state, Some(NOBODY), Some(NOBODY)).expect("given away");
    let output = Command::new(directory.path().join("it"))
        .args(["rootless::inner", "--exact", "--nocapture"])
        .env(INNER, directory.path())
        .current_dir("/")
        .uid(NOBODY)
        .gid(NOBODY)
        .output()
        .expect("starts");
    assert!(
        output.status.success(),
        "{}\n{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

/// No test by itself: what [`an_agent_without_root`] runs as another user.
#[tokio::test]
async fn inner() {
    let Ok(at) = std::env::var(INNER) else { return };
    let text = format!("state_dir = \"{at}/state\"\n[[machines]]\nname = \"m\"\nkind = \"sandbox\"\n");
    let config = AgentConfig::parse(&text).expect("is right");
    fs::write(format!("{at}/state/key"), "s3cret").expect("written");
    let environments = Environments::with_helper(&config, format!("{at}/berth-agent").into()).expect("made");
    let environment = environments.of(MachineKind::Sandbox);
    let spec = PrepareSpec {
        session: SessionId::new(),
        machine: std::sync::Arc::new(config.machines[0].clone()),
        asked: EnvironmentSpec::default(),
        variables: Variables::default(),
    };
    let (sink, _events) = StepSink::new();
    let running: Running = environment.prepare(spec, &sink, &CancellationToken::new()).await.expect("prepares");
    assert!(
        running.isolation.contains("read-only") && running.isolation.contains("none enforced"),
        "{}",
        running.isolation
    );
    let script = format!(
        "id -un; echo x > ~/file && cat ~/file; echo x > /tmp/file; echo x > /etc/file; cat {at}/state/key; (sleep 1000 >/dev/null 2>&1 &); kill -0 {}; exit 3",
        std::process::id()
    );
    let handle = environment.exec(&running, ExecSpec::new(["sh", "-c", &script])).await.expect("runs");
    let ran = collect(handle, b"").await;
    assert_eq!((ran.stdout.as_str(), ran.exit), ("berth\nx\n", Exit::Code(3)), "{ran:?}");
    assert!(ran.stderr.contains("Read-only file system") && ran.stderr.contains("No such process"), "{ran:?}");
    let mut spec = ExecSpec::new(["sh", "-c", "stty size; tty"]);
    spec.terminal = Some(Size { columns: 97, rows: 31 });
    let handle = environment.exec(&running, spec).await.expect("runs");
    assert!(collect(handle, b"").await.stdout.contains("31 97"));
    assert!(environment.connect(&running, &Target::Port(1)).await.is_err());
    assert!(environment.adopt(running.session).await.is_ok());
    let report: RevertReport = environment.revert(running.session).await;
    assert_clean(&report);
    assert!(environment.adopt(running.session).await.is_err());
}
