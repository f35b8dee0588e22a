//! `cargo xtask bench NAME`: builds for release what the benchmark runs, and runs it.

use std::process::ExitCode;

use anyhow::Result;

use crate::paths::{self, Mode};
use crate::{cargo, setup, web};

pub fn command(args: &[String]) -> Result<ExitCode> {
    let mode = Mode::Release;
    setup::ensure(&[setup::BUBBLEWRAP, setup::POSTGRES])?;
    let mut build = cargo::cargo("cargo")?;
    build.args([
        "build",
        "--locked",
        "--package",
        "server",
        "--package",
        "agent",
        "--package",
        "cli",
        "--package",
        "bench",
    ]);
    cargo::run(build.args(mode.server_flags()))?;
    let mut bench = cargo::clean(paths::target()?.join(mode.server_folder()).join("bench"));
    if args.iter().any(|arg| arg == "pages") {
        bench.env("BERTH_BENCH_SITE", web::build(mode)?);
    }
    let status = bench.args(args).status()?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
