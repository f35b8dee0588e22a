//! Preparing a sandbox, step by step.

use std::{fs, io, os::fd::OwnedFd, path::PathBuf, sync::Arc, time::Duration};

use domain::machines::MachineKind;
use rustix::pipe::{PipeFlags, pipe_with};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    net::unix::pipe,
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use super::{
    super::{
        Cause, Inner, PrepareError, PrepareSpec, PrepareStep, Running, StepSink,
        baseline::{Baseline, Identity},
        namespace,
        process::started_ticks,
        record::{Phase, Record, Scratch},
        setup,
        steps::{blocking, step},
    },
    Given, Instance, Sandbox,
    exec::{HELPER_LIMIT, Helper},
    forward,
    helper::{Reply, Request, Start},
    root,
    volume::{self, Unsupported},
};
use crate::config::{MachineConfig, Network};

const BASELINE_LIMIT: Duration = Duration::from_secs(60);
const ROOT_LIMIT: Duration = Duration::from_secs(30);

pub(super) async fn prepare(
    sandbox: &Sandbox,
    spec: PrepareSpec,
    given: Option<&Given>,
    steps: &StepSink,
    cancel: &CancellationToken,
) -> Result<Running, PrepareError> {
    let session = spec.session;
    let scratch = sandbox.scratch(session);
    let machine = spec.machine.clone();
    let files = given.and_then(|given| given.files.as_ref());
    let uid =
        sandbox.is_root.then(|| files.map_or_else(|| root::host_uid(session.uuid().as_bytes()), |files| files.uid));
    let largest_file_bytes =
        given.map_or(machine.limits.disk_bytes, |given| given.largest_file_bytes.max(machine.limits.disk_bytes));

    let baseline = step(steps, cancel, PrepareStep::Baseline, async {
        let writable = machine.writable.clone();
        let taken = blocking(BASELINE_LIMIT, move || Baseline::take(&writable)).await;
        let baseline = taken.ok_or("the host could not be read in time")??;
        let summary = baseline.summary();
        Ok::<_, Cause>((baseline, summary))
    })
    .await?;

    let cgroup = (sandbox.is_root && sandbox.layout.can_limit()).then(|| sandbox.cgroup(session));
    let mut record = Record {
        session,
        machine: machine.name.clone(),
        phase: Phase::Preparing,
        identity: Identity {
            session: session.to_string(),
            // Whose user others have too is not known by it.
            uid: uid.filter(|_| files.is_none()),
            namespaces: Default::default(),
            ended_ticks: None,
            scratch: scratch.path().to_owned(),
            cgroup: cgroup.as_ref().map(|group| group.name().to_owned()),
        },
        baseline,
        variables: spec.variables.clone(),
        largest_file_bytes,
        volumes: Vec::new(),
    };

    let (root_mode, volume) = step(steps, cancel, PrepareStep::Root, async {
        scratch.create().map_err(|error| format!("cannot make {}: {error}", scratch.path().display()))?;
        // On disk before anything else exists, so that whatever comes next can be found and cleaned.
        scratch.write(&record).map_err(|error| format!("cannot write the sandbox's record: {error}"))?;
        let disk_bytes = sandbox.volumes.is_ok().then_some(machine.limits.disk_bytes);
        let volume = make_root(&scratch, &machine, uid, disk_bytes).await?;
        let mode = if sandbox.is_root {
            format!("copy-on-write over {}", machine.root.display())
        } else {
            format!("{} read-only, with a home and /tmp of its own (the agent is not root)", machine.root.display())
        };
        Ok::<_, Cause>(((mode.clone(), volume), mode))
    })
    .await?;

    let limits = step(steps, cancel, PrepareStep::Limits, async {
        let limits = &machine.limits;
        let Some(cgroup) = &cgroup else {
            let why = if sandbox.is_root {
                "this host has no memory, cpu and pids controllers"
            } else {
                "the agent is not root"
            };
            let text = format!("none enforced: {why}");
            return Ok::<_, Cause>((text.clone(), text));
        };
        cgroup.create(limits)?;
        let text = format!(
            "memory {} MiB, CPU {}, processes {}, {}",
            limits.memory_bytes >> 20,
            f64::from(limits.cpu_millis) / 1000.0,
            limits.pids,
            disk_words(limits.disk_bytes, &sandbox.volumes)
        );
        Ok((text.clone(), text))
    })
    .await?;

    let isolation = format!("root: {root_mode}; limits: {limits}; network: {}", network_words(&machine.network));
    let instance = step(steps, cancel, PrepareStep::Start, async {
        let place = Place { scratch: &scratch, machine: &machine, session: &record.identity.session, given };
        let pid = start(sandbox, &place, cgroup.as_ref(), uid, volume, largest_file_bytes).await?;
        let failed = |error: io::Error| format!("the sandbox ended at once: {error}");
        record.identity.namespaces = namespace::own(pid, &namespace::KINDS).map_err(failed)?;
        let ticks = started_ticks(pid).map_err(failed)?;
        if let Network::LoopbackPorts(ports) = &machine.network {
            let groups = cgroup.as_ref().map(|group| group.procs_files()).unwrap_or_default();
            forward::start(&sandbox.helper, groups, pid, uid, ports).await?;
        }
        record.phase = Phase::Ready { pid, started_ticks: ticks, isolation: isolation.clone() };
        let instance = Instance {
            machine: machine.name.clone(),
            pid,
            started_ticks: ticks,
            identity: record.identity.clone(),
            variables: spec.variables.clone(),
            cgroup: cgroup.clone(),
            largest_file_bytes,
        };
        Ok::<_, Cause>((Arc::new(instance), format!("process {pid}; network: {}", network_words(&machine.network))))
    })
    .await?;

    let running = Running {
        session,
        machine: machine.name.clone(),
        kind: MachineKind::Sandbox,
        isolation,
        inner: Inner::Sandbox(instance),
    };
    setup::run(sandbox, &running, &spec, steps, cancel).await?;
    // Only now: a sandbox that was not set up to the end is not to be adopted.
    scratch.write(&record).map_err(|error| {
        PrepareError::new(PrepareStep::SetUp, format!("cannot write the sandbox's record: {error}"))
    })?;
    Ok(running)
}

/// Makes the root's directories, and the image that limits them.
async fn make_root(
    scratch: &Scratch,
    machine: &Arc<MachineConfig>,
    uid: Option<u32>,
    disk_bytes: Option<u64>,
) -> Result<Option<PathBuf>, Cause> {
    let (scratch, machine) = (scratch.clone(), machine.clone());
    let made = blocking(ROOT_LIMIT, move || {
        root::create(&scratch, &machine, uid).map_err(|error| format!("cannot make the root: {error}"))?;
        Ok(disk_bytes.map(|bytes| volume::make(&scratch, bytes)).transpose()?)
    });
    made.await.unwrap_or_else(|| {
        Err(format!("the disk hangs: the root was not made within {} s", ROOT_LIMIT.as_secs()).into())
    })
}

/// The disk's limit in words; what it does not do is said as well.
fn disk_words(bytes: u64, volumes: &Result<(), Unsupported>) -> String {
    let size = bytes >> 20;
    match volumes {
        Ok(()) => format!("disk {size} MiB"),
        Err(why) => format!("each file up to {size} MiB but no limit of the disk, because {why}"),
    }
}

fn network_words(network: &Network) -> String {
    match network {
        Network::None | Network::Bridge => "none".to_owned(),
        Network::LoopbackPorts(ports) => {
            let ports: Vec<String> = ports.iter().map(u16::to_string).collect();
            format!("the host's loopback ports {}", ports.join(", "))
        }
    }
}

/// What is started, and where it lies.
struct Place<'a> {
    scratch: &'a Scratch,
    machine: &'a MachineConfig,
    session: &'a str,
    given: Option<&'a Given>,
}

async fn start(
    sandbox: &Sandbox,
    place: &Place<'_>,
    cgroup: Option<&super::Cgroup>,
    uid: Option<u32>,
    volume: Option<PathBuf>,
    largest_file_bytes: u64,
) -> Result<i32, Cause> {
    let Place { scratch, machine, session, given: _ } = *place;
    let overlay = match uid {
        Some(uid) => {
            Some(root::overlay(scratch, sandbox.state_dir(), machine, uid, volume, place.given, sandbox.host_mounts())?)
        }
        None => None,
    };
    let bwrap_arguments = root::bwrap_arguments(scratch, sandbox.state_dir(), machine, session, overlay.is_some());
    let request = Request::Start(Box::new(Start {
        procs_files: cgroup.map(|group| group.procs_files()).unwrap_or_default(),
        root: overlay,
        bwrap: sandbox.bwrap.clone(),
        bwrap_arguments,
        largest_file_bytes,
    }));
    let log = fs::File::create(scratch.log())?;
    let (report, reporting) = pipe_with(PipeFlags::CLOEXEC)?;
    rustix::fs::fcntl_setfl(&report, rustix::fs::OFlags::NONBLOCK)?;
    let mut helper = Helper::start(&sandbox.helper, &request, vec![reporting, OwnedFd::from(log)]).await?;
    let mut lines = BufReader::new(pipe::Receiver::from_owned_fd(report)?).lines();
    let mut pid = None;
    let reading = async {
        while let Some(line) = lines.next_line().await? {
            // bubblewrap's own words: `"child-pid": 4711,`
            if let Some(number) = line.trim().strip_prefix("\"child-pid\":") {
                pid = number.trim().trim_end_matches(',').parse::<i32>().ok();
            }
            if line == root::READY {
                return pid.ok_or_else(|| "bubblewrap did not say which process it started".into());
            }
        }
        Err(why_not(&mut helper, scratch).await.into())
    };
    let started = timeout(HELPER_LIMIT, reading).await;
    started.unwrap_or_else(|_| Err(format!("the sandbox did not start within {} s", HELPER_LIMIT.as_secs()).into()))
}

/// What the helper or bubblewrap said before it ended.
async fn why_not(helper: &mut Helper, scratch: &Scratch) -> String {
    if let Ok(Ok(Reply::Failed { message })) = timeout(Duration::from_secs(2), helper.reply()).await {
        return message;
    }
    let log = fs::read(scratch.log()).unwrap_or_default();
    let tail = String::from_utf8_lossy(&log[log.len().saturating_sub(2000)..]).trim().to_owned();
    if tail.is_empty() { "the sandbox ended before it was ready".to_owned() } else { tail }
}
