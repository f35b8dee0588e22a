//! `berth objects`.

use std::{
    collections::HashMap,
    fs,
    io::{self, Write},
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use objects::{
    host::{
        Host, HostOptions, Program,
        child::COMMAND,
        deployment::{ConsoleLine, Deployment},
        http,
        log::LogOptions,
    },
    project::{Project, ProjectError, Secret},
    wire::{Level, Limits},
};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};

use crate::{
    args::ObjectsDev,
    fault::Fault,
    table::{printable, printable_lines},
};

/// How often the project's files are looked at.
const LOOK: Duration = Duration::from_millis(200);
const CONNECTIONS: usize = 4096;
/// Of an engine's whole process.
const ENGINE_MEMORY_BYTES: u64 = 4 << 30;
const SEGMENT_BYTES: u64 = 16 << 20;

fn unusable(error: &ProjectError) -> Fault {
    Fault::Usage(error.to_string())
}

/// Serves a project until it is asked to end.
pub async fn dev(ask: &ObjectsDev) -> Result<(), Fault> {
    tracing_subscriber::fmt()
        .with_max_level(tracing_subscriber::filter::LevelFilter::WARN)
        .with_writer(io::stderr)
        .init();
    let project = Project::read(&ask.directory).map_err(|error| unusable(&error))?;
    let state = ask.state.clone().unwrap_or_else(|| ask.directory.join(".berth/objects"));
    fs::create_dir_all(&state).map_err(Fault::io(format!("cannot make {}", state.display())))?;
    let secret =
        Secret::in_file(&state.join("secret")).map_err(Fault::io(format!("cannot use {}", state.display())))?;
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, ask.port));
    let listener = TcpListener::bind(address).await.map_err(Fault::io(format!("cannot listen on {address}")))?;
    let bound = listener.local_addr().map_err(Fault::io("cannot listen"))?;
    let program = Program::this(COMMAND, ENGINE_MEMORY_BYTES).map_err(Fault::io("cannot find this program"))?;
    let host = Host::open(HostOptions {
        log: LogOptions { segment_bytes: SEGMENT_BYTES, ..LogOptions::default() },
        console: Box::new(print),
        ..HostOptions::alone(state, program)
    })
    .map_err(|error| Fault::Failed(error.to_string()))?;
    let mut terminated = signal(SignalKind::terminate()).map_err(Fault::io("cannot listen for signals"))?;
    let mut interrupted = signal(SignalKind::interrupt()).map_err(Fault::io("cannot listen for signals"))?;
    let mut watched = Watched::new(&project);
    let name = project.config.name.clone();
    let deployment = deploy(&host, project, 1, &secret)?;
    eprintln!("{name}: http://{bound}");
    let served = Arc::clone(&deployment);
    let serving = http::serve(listener, CONNECTIONS, move |_| Some(Arc::clone(&served)));
    let reloads = async {
        let mut number = 1;
        loop {
            watched.changed().await;
            number += 1;
            let begun = Instant::now();
            // What is wrong is told, and the last version that was right goes on.
            match reload(&host, &ask.directory, &name, number, &secret, &mut watched) {
                Ok(()) => eprintln!("reloaded in {} ms", begun.elapsed().as_millis()),
                Err(error) => eprintln!("error: {}", printable(&error.to_string())),
            }
        }
    };
    tokio::select! {
        () = serving => {}
        () = reloads => {}
        _ = terminated.recv() => {}
        _ = interrupted.recv() => {}
    }
    Ok(())
}

fn deploy(host: &Host, project: Project, number: u64, secret: &Secret) -> Result<Arc<Deployment>, Fault> {
    for warning in &project.warnings {
        eprintln!("warning: {}", printable(warning));
    }
    let (name, policy) = (project.config.name.clone(), project.policy());
    let version = project.into_version(number, secret, Limits::default());
    host.deploy(&name, version, policy).map_err(|error| Fault::Failed(error.to_string()))
}

/// Why the files as they are now do not run.
#[derive(Debug, thiserror::Error)]
enum ReloadError {
    #[error(transparent)]
    Project(#[from] ProjectError),
    #[error("the name cannot change while it runs: start again")]
    Name,
    #[error(transparent)]
    Deploy(#[from] Fault),
}

fn reload(
    host: &Host,
    directory: &Path,
    name: &str,
    number: u64,
    secret: &Secret,
    watched: &mut Watched,
) -> Result<(), ReloadError> {
    let project = Project::read(directory)?;
    if project.config.name != name {
        return Err(ReloadError::Name);
    }
    *watched = Watched::new(&project);
    deploy(host, project, number, secret)?;
    Ok(())
}

/// The files of a project as they were when they were read.
struct Watched {
    files: HashMap<PathBuf, Seen>,
}

type Seen = Option<(std::time::SystemTime, u64)>;

fn look(path: &Path) -> Seen {
    let found = fs::metadata(path).ok()?;
    Some((found.modified().ok()?, found.len()))
}

impl Watched {
    fn new(project: &Project) -> Self {
        Watched { files: project.files.iter().map(|path| (path.clone(), look(path))).collect() }
    }

    async fn changed(&mut self) {
        loop {
            tokio::time::sleep(LOOK).await;
            let mut changed = false;
            for (path, seen) in &mut self.files {
                let now = look(path);
                changed |= now != *seen;
                *seen = now;
            }
            if changed {
                return;
            }
        }
    }
}

fn print(line: &ConsoleLine) {
    let who = match (&line.class, &line.name, &line.object) {
        (Some(class), Some(name), _) => format!("{class} {name}"),
        (Some(class), None, Some(key)) => format!("{class} {}", hex_start(&key.id)),
        (Some(_) | None, _, _) => "worker".to_owned(),
    };
    let text = format!("[{}] {}", printable(&who), printable_lines(&line.text));
    let written = match line.level {
        Level::Debug | Level::Info | Level::Log => writeln!(io::stdout(), "{text}"),
        Level::Warn | Level::Error | Level::Uncaught => writeln!(io::stderr(), "{text}"),
    };
    // Whoever read it has gone: the objects go on.
    drop(written);
}

fn hex_start(id: &[u8; 32]) -> String {
    id.iter().take(4).map(|byte| format!("{byte:02x}")).collect()
}
