//! The command `berth-server`.

use std::{collections::BTreeMap, path::PathBuf, process::ExitCode};

use anyhow::{Context, Result, bail};
use clap::{Parser, Subcommand};
use server::{
    Server,
    admin::Admin,
    config::{Config, LogFormat},
};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

/// The portal and the agents' port of Berth.
#[derive(Debug, Parser)]
#[command(version)]
struct Options {
    /// The configuration file; BERTH_… variables go over it.
    #[arg(long, global = true)]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve until SIGTERM or Ctrl+C.
    Run {
        /// Write the portal's address into this file once it answers.
        #[arg(long)]
        ready_file: Option<PathBuf>,
    },
    /// Say everything that is wrong in the configuration.
    Check,
    /// Copy the SQLite database into FILE while the server runs.
    Backup { file: PathBuf },
    /// People and links on the server's own database, beside a running server.
    Admin {
        #[command(subcommand)]
        command: Admin,
    },
}

fn main() -> ExitCode {
    // Before anything is read that a project has no business with.
    if std::env::args().nth(1).as_deref() == Some(server::projects::COMMAND) {
        return server::projects::child();
    }
    match start() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("berth-server: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn start() -> Result<()> {
    let options = Options::parse();
    let environment: BTreeMap<String, String> = std::env::vars().collect();
    let config = Config::load(options.config.as_deref(), &environment)?;
    let problems = config.problems();
    if let Command::Check = options.command {
        return report(&problems);
    }
    log(&config)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        match options.command {
            Command::Check => report(&problems),
            Command::Run { ready_file } => {
                report(&problems)?;
                run(config, ready_file).await
            }
            Command::Backup { file } => backup(&config, file).await,
            Command::Admin { command } => server::admin::run(&config, command).await,
        }
    })
}

fn report(problems: &[String]) -> Result<()> {
    if problems.is_empty() {
        return Ok(());
    }
    bail!("the configuration is wrong in {} place(s):\n  {}", problems.len(), problems.join("\n  "))
}

fn log(config: &Config) -> Result<()> {
    let filter: EnvFilter = config.log.filter.parse().context("log.filter")?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match config.log.format {
        LogFormat::Text => builder.init(),
        LogFormat::Json => builder.json().init(),
    }
    Ok(())
}

async fn run(config: Config, ready_file: Option<PathBuf>) -> Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let public_url = config.public_url.clone();
    let server = Server::bind(config).await?;
    tracing::info!(address = %server.address, public_url, "serving");
    if let Some(file) = ready_file {
        std::fs::write(&file, server.address.to_string())
            .with_context(|| format!("cannot write {}", file.display()))?;
    }
    server
        .run(async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        })
        .await
}

async fn backup(config: &Config, file: PathBuf) -> Result<()> {
    if !config.database_url().starts_with("sqlite:") {
        bail!("backup copies SQLite databases; for PostgreSQL use pg_dump (docs/operations/server.md)");
    }
    if file.exists() {
        bail!("{} is already there; name a new file", file.display());
    }
    let services = server::open(config).await?;
    services.backup(&file).await.with_context(|| format!("cannot write {}", file.display()))?;
    println!("{}", file.display());
    Ok(())
}
