//! `cargo xtask bench NAME [--full] [--release] [--json FILE]`: builds what is measured and runs it.

use std::process::ExitCode;

use anyhow::Result;

use crate::cargo::{cargo, clean, run};
use crate::paths::{self, Mode};
use crate::{setup, web};

/// Optimised as a release is, but built in a fraction of the time: see the workspace's Cargo.toml.
const PROFILE: &str = "figures";

/// Everything that a benchmark starts, and the benchmarks themselves.
fn packages(name: &str) -> &'static [&'static str] {
    match name {
        "reservations" => &["server", "bench"],
        "objects" => &["cli", "bench"],
        _ => &["server", "agent", "bench"],
    }
}

pub fn command(args: &[String]) -> Result<ExitCode> {
    let (release, args): (Vec<&String>, Vec<&String>) = args.iter().partition(|arg| *arg == "--release");
    let profile = if release.is_empty() { PROFILE } else { Mode::Release.server_folder() };
    let name = args.first().map_or("", |name| name.as_str());
    let tools = if name == "notebooks" {
        setup::ensure(&[setup::BUBBLEWRAP, setup::NODE])?;
        setup::notebooks()?
    } else {
        None
    };
    let beside = if name == "objects" { setup::workerd()? } else { None };
    let mut build = cargo("cargo")?;
    build.args(["build", "--profile", profile]);
    for package in packages(name) {
        build.args(["--package", package]);
    }
    run(&mut build)?;
    // Only the pages need the web half, whose release build takes minutes.
    if name == "pages" {
        web::build(Mode::Release)?;
    }
    let program = paths::target()?.join(profile).join("bench");
    eprintln!("built with the profile '{profile}'");
    let mut bench = clean(program);
    bench.args(args).env("BENCH_SITE", paths::site(Mode::Release)?).env("BENCH_CACHE", paths::cache()?.join("bench"));
    if let Some(program) = beside {
        bench.env("BERTH_WORKERD", program);
    }
    setup::on_path(&mut bench, tools.as_deref())?;
    let status = bench.status()?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
