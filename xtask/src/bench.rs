//! `cargo xtask bench NAME [--full] [--json FILE]`: builds what is measured in release mode and runs it.

use std::process::ExitCode;

use anyhow::Result;

use crate::cargo::{cargo, clean, run};
use crate::paths::{self, Mode};
use crate::web;

/// Everything that a benchmark starts.
const PACKAGES: [&str; 4] = ["server", "agent", "cli", "bench"];

pub fn command(args: &[String]) -> Result<ExitCode> {
    let mut build = cargo("cargo")?;
    build.arg("build").args(Mode::Release.server_flags());
    for package in PACKAGES {
        build.args(["--package", package]);
    }
    run(&mut build)?;
    // Only the pages need the web half, whose release build takes minutes.
    if args.first().is_some_and(|name| name == "pages") {
        web::build(Mode::Release)?;
    }
    let program = paths::target()?.join(Mode::Release.server_folder()).join("bench");
    let status = clean(program).args(args).env("BERTH_BENCH_SITE", paths::site(Mode::Release)?).status()?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
