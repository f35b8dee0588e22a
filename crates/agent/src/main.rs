//! The command line of berth-agent.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use agent::{
    clear::{self, ClearError, Cleared},
    config::{AgentConfig, ConfigError},
    enroll::{self, EnrollError, Enrolled, Existing},
    identity::{IdentityError, StateDir, Validity},
    run::{self, RunError},
    simulate::{self, SimulateError},
};
use clap::{Parser, Subcommand};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

const DEFAULT_CONFIG: &str = "/etc/berth/agent.toml";

/// Runs on each host, offers its machines, and keeps their environments.
#[derive(Parser)]
#[command(name = "berth-agent", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Args)]
struct Place {
    /// The configuration file [default: /etc/berth/agent.toml, where it exists]
    #[arg(long, env = "BERTH_AGENT_CONFIG")]
    config: Option<PathBuf>,
    /// The state directory, instead of the configuration's
    #[arg(long, env = "BERTH_AGENT_STATE")]
    state: Option<PathBuf>,
}

#[derive(Subcommand)]
enum Command {
    /// Make this computer a host, with a zero certificate file from the portal. Safe to repeat
    Enroll {
        file: PathBuf,
        #[command(flatten)]
        place: Place,
        /// The host's name in the portal [default: this computer's name]
        #[arg(long)]
        name: Option<String>,
        /// Forget what this computer was enrolled as before
        #[arg(long)]
        replace: bool,
    },
    /// Keep the link to the server and do what it asks, until SIGTERM. Sessions go on without the agent
    Run {
        #[command(flatten)]
        place: Place,
    },
    /// End and revert every session and notebook that this host holds, for taking it out of use; the agent must not run
    Clear {
        #[command(flatten)]
        place: Place,
    },
    /// Simulate many hosts that speak the real protocol, for benchmarks and demonstrations
    Simulate {
        #[arg(long)]
        hosts: u32,
        /// Machines on each host
        #[arg(long, default_value_t = 1)]
        machines: u32,
        /// Zero certificate file for the hosts that are not in the state directory yet
        #[arg(long)]
        zero: Option<PathBuf>,
        /// Where their keys and certificates are kept
        #[arg(long, default_value = "simulated")]
        state: PathBuf,
        /// They are called PREFIX-0001 and so on
        #[arg(long, default_value = "sim")]
        prefix: String,
        /// How long preparing and reverting take, milliseconds
        #[arg(long, default_value_t = 300)]
        prepare_ms: u64,
        /// How long a command takes, milliseconds
        #[arg(long, default_value_t = 0)]
        command_ms: u64,
        /// Write counters to standard output as a line of JSON, every so many seconds
        #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=3600))]
        report: Option<u64>,
        /// Write a line of JSON for each instruction that starts: transaction, offered_ns, started_ns (CLOCK_MONOTONIC)
        #[arg(long)]
        stamps: Option<PathBuf>,
    },
    /// Say what is wrong with the configuration and the enrolment
    Check {
        #[command(flatten)]
        place: Place,
    },
}

#[derive(Debug, thiserror::Error)]
enum MainError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Enroll(#[from] EnrollError),
    #[error(transparent)]
    Identity(#[from] IdentityError),
    #[error(transparent)]
    Run(#[from] RunError),
    #[error(transparent)]
    Clear(#[from] ClearError),
    #[error(transparent)]
    Simulate(#[from] SimulateError),
    #[error("{0}")]
    System(#[from] std::io::Error),
}

impl Place {
    fn load(&self) -> Result<AgentConfig, ConfigError> {
        let default = Path::new(DEFAULT_CONFIG);
        let mut config = match &self.config {
            Some(path) => AgentConfig::load(path)?,
            None if default.exists() => AgentConfig::load(default)?,
            None => AgentConfig::parse("")
                .map_err(|problems| ConfigError::Invalid { path: default.to_owned(), problems })?,
        };
        if let Some(state) = &self.state {
            config.state_dir =
                std::path::absolute(state).map_err(|source| ConfigError::Read { path: state.clone(), source })?;
        }
        Ok(config)
    }
}

fn main() -> ExitCode {
    // An engine of object workers is this program again; it must be one before there is anything else.
    if let Some(code) = objects::host::child::run_if_asked() {
        return code;
    }
    if let Err(error) = agent::inherited::close() {
        eprintln!("berth-agent: cannot close what was left open (Linux 5.9 or newer?): {error}");
        return ExitCode::FAILURE;
    }
    if let Err(error) = agent::inherited::ignore_alone() {
        eprintln!("berth-agent: cannot set how signals are handled: {error}");
        return ExitCode::FAILURE;
    }
    // Before anything that makes threads: the helper enters namespaces.
    agent::environments::sandbox::helper::run_if_asked();
    let arguments = Arguments::parse();
    tracing_subscriber::fmt()
        .with_env_filter(
            tracing_subscriber::EnvFilter::try_from_env("BERTH_LOG")
                .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info")),
        )
        .with_writer(std::io::stderr)
        .init();
    let done = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(MainError::from)
        .and_then(|runtime| runtime.block_on(Box::pin(command(arguments.command))));
    match done {
        Ok(code) => code,
        Err(error) => {
            eprintln!("berth-agent: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn command(command: Command) -> Result<ExitCode, MainError> {
    match command {
        Command::Enroll { file, place, name, replace } => {
            let config = place.load()?;
            let file = enroll::read_file(&file)?;
            let state = StateDir::open(&config.state_dir)?;
            let name = match name {
                Some(name) => name,
                None => host_name(),
            };
            let existing = if replace { Existing::Replace } else { Existing::Keep };
            match Box::pin(enroll::enroll(&file, &state, &name, existing)).await? {
                Enrolled::Now { name, pending_approval: false } => {
                    println!("enrolled as '{name}'; now start 'berth-agent run'");
                }
                Enrolled::Now { name, pending_approval: true } => println!(
                    "enrolled as '{name}', waiting for an admin's approval in the portal; 'berth-agent run' can be started now"
                ),
                Enrolled::Already { name } => println!("already enrolled as '{name}'"),
            }
            Ok(ExitCode::SUCCESS)
        }
        Command::Run { place } => {
            let config = place.load()?;
            let stop = stop_on_signals()?;
            Box::pin(run::run(&config, stop)).await?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Simulate { hosts, machines, zero, state, prefix, prepare_ms, command_ms, report, stamps } => {
            let options = simulate::Options {
                hosts,
                machines,
                zero: zero.as_deref().map(enroll::read_file).transpose()?,
                state,
                prefix,
                prepare: Duration::from_millis(prepare_ms),
                command: Duration::from_millis(command_ms),
                report: report.map(Duration::from_secs),
                stamps,
            };
            let stop = stop_on_signals()?;
            Box::pin(simulate::run(options, stop)).await?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Clear { place } => {
            let cleared = Box::pin(clear::clear(&place.load()?)).await?;
            for Cleared { session, machine, reason } in &cleared {
                let machine = machine.as_deref().unwrap_or("an unknown machine");
                let how = reason.as_deref().unwrap_or("clean");
                println!("session {session} on {machine}: {how}");
            }
            println!("{} sessions ended", cleared.len());
            let clean = cleared.iter().all(|cleared| cleared.reason.is_none());
            Ok(if clean { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
        Command::Check { place } => check(&place),
    }
}

fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// SIGTERM and SIGINT ask for a stop in good order; a second one is not needed, the stop has a limit.
fn stop_on_signals() -> Result<CancellationToken, std::io::Error> {
    let stop = CancellationToken::new();
    let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let token = stop.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = term.recv() => {}
            _ = int.recv() => {}
        }
        token.cancel();
    });
    Ok(stop)
}

fn check(place: &Place) -> Result<ExitCode, MainError> {
    let config = place.load()?;
    println!("configuration: {} machines", config.machines.len());
    for machine in &config.machines {
        println!("  {} ({}) {}", machine.name, machine.kind, machine.labels);
    }
    match &config.notebooks {
        None => println!("notebooks: none"),
        Some(notebooks) => {
            let offer = notebooks.offer;
            let (cpus, memory_mib) = (f64::from(offer.cpu_millis) / 1000.0, offer.memory_bytes >> 20);
            println!("notebooks: {} at a time, {cpus} CPUs and {memory_mib} MiB together", offer.places);
        }
    }
    match &config.objects {
        None => println!("objects: none"),
        Some(objects) => {
            let (cpus, memory_mib) = (f64::from(objects.cpu_millis) / 1000.0, objects.memory_bytes >> 20);
            println!("objects: at {}, {cpus} CPUs and {memory_mib} MiB together", objects.listen);
            println!("  other hosts reach them at {}, which is {} here", objects.peer_address, objects.peer_listen);
        }
    }
    let problems = agent::check::host(&config);
    for problem in &problems {
        println!("problem: {problem}");
    }
    let host = if problems.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    println!("state: {}", config.state_dir.display());
    if !config.state_dir.is_dir() {
        println!("enrolment: none yet");
        return Ok(host);
    }
    match StateDir::open(&config.state_dir)?.identity()? {
        None => println!("enrolment: none yet"),
        Some(identity) => {
            let validity = Validity::of(&identity.certificate_pem)?;
            println!("enrolment: '{}' with {}", identity.name, identity.server);
            println!("certificate: valid until {}, renewed from {}", validity.not_after, validity.renew_at());
            if agent::clock::now() >= validity.not_after {
                println!("the certificate has expired: enrol again with a zero certificate and --replace");
                return Ok(ExitCode::FAILURE);
            }
        }
    }
    Ok(host)
}
