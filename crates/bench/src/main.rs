//! `cargo xtask bench NAME`: each benchmark prints its table, with the peer or the physical limit measured in the same run.

use std::{path::PathBuf, process::ExitCode};

use anyhow::{Result, bail};
use clap::{Parser, Subcommand};

mod agents;
mod dispatch;
mod handshakes;
mod host;
mod kills;
mod notebooks;
mod objects;
mod others;
mod pages;
mod report;
mod reservations;
mod rest;
mod server;
mod session;

use others::Others;
use report::{Report, Row};

#[derive(Debug, Parser)]
struct Options {
    /// Write the rows as JSON into this file too.
    #[arg(long, global = true)]
    json: Option<PathBuf>,
    /// The long form: as many attempts as the promise names.
    #[arg(long, global = true)]
    full: bool,
    /// Only this part of the benchmark of objects.
    #[arg(long, global = true)]
    only: Option<objects::Part>,
    #[command(subcommand)]
    name: Name,
}

#[derive(Debug, Clone, Copy, Subcommand)]
enum Name {
    /// Many links on one server; all back after its restart; memory of each.
    Agents,
    /// Instructions at 1,000 a second: request to start on the host.
    Dispatch,
    /// Launch to a JupyterLab that is usable, one at a time and 50 at once; round trips to a kernel; a restart of the server.
    /// Beside a bare JupyterLab and JupyterHub.
    Notebooks,
    /// One object's durable writes and reads, and the first answer of new ones, beside npm workerd with the same module;
    /// forwarding between two hosts; memory, limits, and many objects.
    Objects,
    /// The machines page, the way of an event to a browser, the size of the page's code.
    Pages,
    /// "Book now" to a shell in a sandbox, and the revert; beside a bare bubblewrap.
    Session,
    /// No overlap in contended attempts; decisions and bookings a second, on both databases.
    Reservations,
}

fn main() -> ExitCode {
    // Hosts of objects in this process start it again as their engines.
    if let Some(code) = ::objects::host::child::run_if_asked() {
        return code;
    }
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let options = Options::parse();
    if rustls::crypto::ring::default_provider().install_default().is_err() {
        bail!("TLS has a provider already");
    }
    let mut report = Report::default();
    let others = Others::watch()?;
    match options.name {
        Name::Agents => agents::run(&mut report)?,
        Name::Notebooks => runtime()?.block_on(notebooks::run(&mut report, options.full))?,
        Name::Objects => runtime()?.block_on(objects::run(&mut report, options.full, options.only))?,
        Name::Pages => runtime()?.block_on(pages::run(&mut report, options.full))?,
        Name::Reservations => runtime()?.block_on(reservations::run(&mut report, options.full))?,
        Name::Session => runtime()?.block_on(session::run(&mut report, options.full))?,
        Name::Dispatch => runtime()?.block_on(dispatch::run(&mut report, options.full))?,
    }
    let cores = std::thread::available_parallelism()?;
    report.add(Row::new(format!("of {cores} cores, busy with other work meanwhile"), others.cores()?, "cores"));
    report.print();
    options.json.map_or(Ok(()), |file| report.write(&file))
}

fn runtime() -> Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_multi_thread().enable_all().build()?)
}
