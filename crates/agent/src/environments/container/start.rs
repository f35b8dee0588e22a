//! Preparing a container, step by step.

use std::{collections::HashMap, sync::Arc, time::Duration};

use bollard::{
    Docker,
    models::{ContainerCreateBody, HostConfig},
    query_parameters::{
        CreateContainerOptionsBuilder, CreateImageOptionsBuilder, InspectContainerOptions, StartContainerOptions,
    },
};
use domain::{ids::SessionId, machines::MachineKind};
use futures_util::StreamExt;

use super::{
    super::{
        Inner, PrepareError, PrepareSpec, PrepareStep, Running, StepSink,
        baseline::{Baseline, Identity, MARKER},
        namespace::{self, Kind},
        process::started_ticks,
        record::{Phase, Record},
        sandbox::{FIRST_PROCESS, HOME, forward},
        setup,
        steps::{blocking, step},
    },
    AGENT_LABEL, Container, Instance, SESSION_LABEL,
    daemon::{GivenHome, RUNTIME_DIRECTORY, procs_files},
    error::{EngineError, Operation},
    is_missing, name,
};
use crate::config::{MachineConfig, Network};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

const BASELINE_LIMIT: Duration = Duration::from_secs(60);
/// How long the engine may take from saying that a container runs to its first program, and how often that is looked for.
const FIRST_PROGRAM_LIMIT: Duration = Duration::from_secs(5);
const LOOK_AGAIN: Duration = Duration::from_millis(5);
const RUNTIME_OPTIONS: &str = "rw,nosuid,nodev,mode=1777,size=64m";
const NAMESPACES: [Kind; 4] = [Kind::Mnt, Kind::Pid, Kind::Net, Kind::Ipc];

pub(super) async fn prepare(
    container: &Container,
    spec: PrepareSpec,
    given: Option<&GivenHome>,
    steps: &StepSink,
    cancel: &CancellationToken,
) -> Result<Running, PrepareError> {
    let session = spec.session;
    let scratch = container.scratch(session);
    let machine = spec.machine.clone();

    let baseline = step(steps, cancel, PrepareStep::Baseline, async {
        let writable = machine.writable.clone();
        let taken = blocking(BASELINE_LIMIT, move || Baseline::take(&writable)).await;
        let baseline = taken.ok_or(EngineError::BaselineHangs)??;
        let summary = baseline.summary();
        Ok::<_, EngineError>((baseline, summary))
    })
    .await?;
    let mut record = Record {
        session,
        machine: machine.name.clone(),
        phase: Phase::Preparing,
        identity: Identity { session: session.to_string(), ..Identity::default() },
        baseline,
        variables: spec.variables.clone(),
        largest_file_bytes: machine.limits.disk_bytes,
        volumes: Vec::new(),
    };

    let (engine, image) = step(steps, cancel, PrepareStep::Root, async {
        // On disk before anything else exists, so that whatever comes next can be found and cleaned.
        scratch.create().and_then(|()| scratch.write(&record)).map_err(EngineError::Record)?;
        let image = spec.asked.image.clone().or_else(|| machine.image.clone()).ok_or(EngineError::NoImage)?;
        let engine = container.engine()?;
        let how = obtain(&engine, &image, &|_| {}).await?;
        Ok::<_, EngineError>(((engine, image.clone()), format!("image {image}, {how}")))
    })
    .await?;

    let limits = step(steps, cancel, PrepareStep::Limits, async {
        let limits = &machine.limits;
        let body = body(container, &machine, &record.identity.session, &image, given)?;
        let disk = Box::pin(create(&engine, session, body, limits.disk_bytes)).await?;
        let cpus = f64::from(limits.cpu_millis) / 1000.0;
        let text = format!("memory {} MiB, CPU {cpus}, processes {}, {disk}", limits.memory_bytes >> 20, limits.pids);
        Ok::<_, EngineError>((text.clone(), text))
    })
    .await?;

    let isolation = format!("image {image}; limits: {limits}; network: {}", network(&machine.network));
    let instance = step(steps, cancel, PrepareStep::Start, async {
        engine
            .start_container(&name(session), None::<StartContainerOptions>)
            .await
            .map_err(EngineError::of(Operation::StartContainer))?;
        let (pid, ticks) = look(&engine, &mut record).await?;
        if let Network::LoopbackPorts(ports) = &machine.network {
            let groups = procs_files(record.identity.cgroup.as_deref()).map_err(EngineError::Record)?;
            let uid = given.map(|given| given.uid);
            forward::start(&container.helper, groups, pid, uid, ports).await.map_err(EngineError::Ports)?;
        }
        record.phase = Phase::Ready { pid, started_ticks: ticks, isolation: isolation.clone() };
        let instance = Instance {
            machine: machine.name.clone(),
            name: name(session),
            pid,
            started_ticks: ticks,
            identity: record.identity.clone(),
            variables: spec.variables.clone(),
        };
        Ok::<_, EngineError>((Arc::new(instance), format!("process {pid}; network: {}", network(&machine.network))))
    })
    .await?;

    let inner = Inner::Container(instance);
    let running = Running { session, machine: machine.name.clone(), kind: MachineKind::Container, isolation, inner };
    setup::run(container, &running, &spec, steps, cancel).await?;
    // Only now: a container that was not set up to the end is not to be adopted.
    scratch.write(&record).map_err(|error| PrepareError::new(PrepareStep::SetUp, EngineError::Record(error)))?;
    Ok(running)
}

/// Pulls the image if the engine does not have it.
pub(super) async fn obtain(
    engine: &Docker,
    image: &str,
    said: &(dyn Fn(&str) + Send + Sync),
) -> Result<&'static str, EngineError> {
    match engine.inspect_image(image).await {
        Ok(_) => return Ok("which the engine has"),
        Err(error) if is_missing(&error) => {}
        Err(error) => return Err(EngineError::of(Operation::InspectImage)(error)),
    }
    let mut pulling = engine.create_image(Some(CreateImageOptionsBuilder::new().from_image(image).build()), None, None);
    while let Some(progress) = pulling.next().await {
        let progress = progress.map_err(|source| EngineError::Pull { image: image.to_owned(), source })?;
        if let Some(status) = progress.status {
            said(&match progress.id {
                Some(layer) => format!("{layer}: {status}"),
                None => status,
            });
        }
    }
    Ok("pulled")
}

/// Makes the container with a limit of what it writes, or without where the engine's storage has none. In words, which of
/// the two.
async fn create(
    engine: &Docker,
    session: SessionId,
    body: ContainerCreateBody,
    disk_bytes: u64,
) -> Result<String, EngineError> {
    let options = || Some(CreateContainerOptionsBuilder::new().name(&name(session)).build());
    let mut limited = body.clone();
    if let Some(host) = &mut limited.host_config {
        host.storage_opt = Some(HashMap::from([("size".to_owned(), disk_bytes.to_string())]));
    }
    match engine.create_container(options(), limited).await {
        Ok(_) => return Ok(format!("disk {} MiB", disk_bytes >> 20)),
        Err(error) => tracing::debug!(%error, "no container with a limit of its disk"),
    }
    // Whatever else was wrong is so without the limit as well, and is told then.
    let created = engine.create_container(options(), body).await;
    created.map_err(EngineError::of(Operation::CreateContainer))?;
    Ok("no limit of the disk, because the engine's storage has none".to_owned())
}

/// What the engine is asked for; the host's ports come into it by a program of the agent's.
fn network(network: &Network) -> &'static str {
    match network {
        Network::Bridge => "bridge",
        Network::None | Network::LoopbackPorts(_) => "none",
    }
}

fn body(
    container: &Container,
    machine: &MachineConfig,
    session: &str,
    image: &str,
    given: Option<&GivenHome>,
) -> Result<ContainerCreateBody, EngineError> {
    let limits = &machine.limits;
    let memory = i64::try_from(limits.memory_bytes).map_err(|_| EngineError::Memory)?;
    let binds = machine.writable.iter().map(|path| format!("{0}:{0}", path.display()));
    let binds = binds.chain(given.map(|given| format!("{}:{HOME}", given.source.display()))).collect();
    // In memory, and open to the one user that there is.
    let runtime = given.map(|_| HashMap::from([(RUNTIME_DIRECTORY.to_owned(), RUNTIME_OPTIONS.to_owned())]));
    Ok(ContainerCreateBody {
        image: Some(image.to_owned()),
        hostname: Some(machine.name.clone()),
        entrypoint: Some(vec!["/bin/sh".to_owned(), "-c".to_owned(), FIRST_PROCESS.to_owned()]),
        cmd: Some(Vec::new()),
        user: given.map(|given| format!("{0}:{0}", given.uid)),
        working_dir: given.map(|_| HOME.to_owned()),
        env: Some(vec![format!("{MARKER}={session}"), format!("BERTH_MACHINE={}", machine.name)]),
        labels: Some(HashMap::from([
            (SESSION_LABEL.to_owned(), session.to_owned()),
            (AGENT_LABEL.to_owned(), container.tag.clone()),
        ])),
        host_config: Some(HostConfig {
            memory: Some(memory),
            // The same as memory: no swap.
            memory_swap: Some(memory),
            nano_cpus: Some(i64::from(limits.cpu_millis) * 1_000_000),
            pids_limit: Some(i64::from(limits.pids)),
            network_mode: Some(network(&machine.network).to_owned()),
            binds: Some(binds),
            tmpfs: runtime,
            security_opt: Some(vec!["no-new-privileges".to_owned()]),
            ..HostConfig::default()
        }),
        ..ContainerCreateBody::default()
    })
}

/// Whether the process carries the marker. The engine says that a container runs a moment before its first program does:
/// until then the process is the engine's own.
async fn carries(pid: i32, marker: &str) -> bool {
    let deadline = Instant::now() + FIRST_PROGRAM_LIMIT;
    loop {
        let variables = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        if variables.split(|byte| *byte == 0).any(|variable| variable == marker.as_bytes()) {
            return true;
        }
        if Instant::now() >= deadline {
            return false;
        }
        sleep(LOOK_AGAIN).await;
    }
}

/// Finds the container's first process and what else is known to be its own.
async fn look(engine: &Docker, record: &mut Record) -> Result<(i32, u64), EngineError> {
    let inspected = engine
        .inspect_container(&name(record.session), None::<InspectContainerOptions>)
        .await
        .map_err(EngineError::of(Operation::InspectContainer))?;
    let pid = inspected.state.and_then(|state| state.pid).and_then(|pid| i32::try_from(pid).ok()).unwrap_or(0);
    let ticks = started_ticks(pid).map_err(EngineError::Ended)?;
    if !carries(pid, &format!("{MARKER}={}", record.session)).await {
        return Err(EngineError::Elsewhere);
    }
    record.identity.namespaces = namespace::own(pid, &NAMESPACES).map_err(EngineError::Ended)?;
    if let Some(id) = inspected.id {
        let groups = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
        record.identity.cgroup = groups
            .lines()
            .filter_map(|line| line.splitn(3, ':').nth(2))
            .find(|path| path.contains(&id))
            .map(|path| path.trim_start_matches('/').to_owned());
    }
    let layers = inspected.graph_driver.map(|driver| driver.data).unwrap_or_default();
    if let Some(layer) = layers.get("UpperDir").and_then(|upper| std::path::Path::new(upper).parent()) {
        record.identity.scratch = layer.to_owned();
    }
    record.volumes = inspected
        .mounts
        .unwrap_or_default()
        .into_iter()
        .filter(|mount| mount.typ.as_deref() == Some("volume"))
        .filter_map(|mount| mount.name)
        .collect();
    Ok((pid, ticks))
}
