//! `cargo xtask test`: everything that must hold, and a last line that sums it up.

use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use serde::Deserialize;

use crate::jobs::{self, Job, Tally, count_cargo, count_node};
use crate::paths::{self, Mode};
use crate::{cargo, dev, setup, tidy};

const THREADS: &str = "RUST_TEST_THREADS";
/// Test programs at a time: they wait for limits and for each other's processes more than they compute. Pages take what the
/// processor has, and their tests come one by one after the others; but for one that waits minutes until a notebook is idle.
const AT_A_TIME: usize = 2;
const IDLE: &str = "notebooks-visit.test.js";
/// What takes longest, to be started first.
const FIRST: [&str; 3] = [IDLE, "server it", "agent it"];

const USAGE: &str = "\
Usage: cargo xtask test [lint] [rust] [browser]

  lint      formatting, clippy, this repository's own rules
  rust      unit and integration tests
  browser   both halves in Chromium
Without a word, all three.";

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Part {
    Lint,
    Rust,
    Browser,
}

impl Part {
    /// What its step of building is called.
    fn build(self) -> &'static str {
        match self {
            Self::Lint => "lint",
            Self::Rust => "build of the tests",
            Self::Browser => "build for the browser",
        }
    }
}

pub fn command(args: &[String]) -> Result<ExitCode> {
    let mut parts = Vec::new();
    for arg in args {
        parts.push(match arg.as_str() {
            "lint" => Part::Lint,
            "rust" => Part::Rust,
            "browser" => Part::Browser,
            "--help" | "-h" => {
                println!("{USAGE}");
                return Ok(ExitCode::SUCCESS);
            }
            other => bail!("test does not know {other}\n\n{USAGE}"),
        });
    }
    if parts.is_empty() {
        parts = vec![Part::Lint, Part::Rust, Part::Browser];
    }
    let mut tally = Tally::default();
    if parts.contains(&Part::Lint) {
        lint(&mut tally);
    }
    let mut jobs = Vec::new();
    for (part, collect) in [(Part::Rust, rust as fn() -> Result<Vec<Job>>), (Part::Browser, browser)] {
        if parts.contains(&part) {
            tally.step(part.build(), || {
                jobs.extend(collect()?);
                Ok(())
            });
        }
    }
    jobs.sort_by_key(|job| FIRST.iter().position(|name| *name == job.name).unwrap_or(FIRST.len()));
    let (beside, alone) = jobs.into_iter().partition(|job| job.name == IDLE || !job.name.ends_with(".js"));
    let logs = paths::target()?.join("test-output");
    tally.add(jobs::run(beside, AT_A_TIME, &logs)?);
    tally.add(jobs::run(alone, 1, &logs)?);
    println!("{} passed, {} failed", tally.passed, tally.failed);
    Ok(if tally.failed == 0 && tally.passed > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn lint(tally: &mut Tally) {
    tally.step("formatting", || {
        let mut format = cargo::cargo("cargo")?;
        cargo::run(format.args(["fmt", "--all", "--", "--check"]))
    });
    tally.step("tidy", check_tidy);
    // The page's two halves have different features, so clippy looks at each.
    let clippy = |args: &[&str]| -> Result<()> {
        let mut clippy = cargo::cargo("cargo")?;
        cargo::run(clippy.args(["clippy", "--quiet", "--locked"]).args(args).args(["--", "-D", "warnings"]))
    };
    tally.step("clippy", || clippy(&["--workspace", "--all-targets"]));
    tally.step("clippy of the web half", || clippy(&["--package", "app", "--lib", "--features", "hydrate"]));
}

fn check_tidy() -> Result<()> {
    let findings = tidy::check()?;
    for name in &findings.long {
        eprintln!("note: {name} is long");
    }
    if findings.wrong.is_empty() { Ok(()) } else { bail!("{}", findings.wrong.join("\n")) }
}

/// What Cargo says of each thing it has built, a line each.
#[derive(Deserialize)]
struct Artifact {
    manifest_path: PathBuf,
    target: Target,
    profile: Profile,
    executable: Option<PathBuf>,
}

#[derive(Deserialize)]
struct Target {
    name: String,
}

#[derive(Deserialize)]
struct Profile {
    test: bool,
}

/// The workspace's test programs, built, and its documentation's tests.
fn rust() -> Result<Vec<Job>> {
    setup::ensure(&[setup::BUBBLEWRAP, setup::POSTGRES, setup::PODMAN, setup::BTRFS])?;
    let tools = setup::notebooks()?;
    let mut build = cargo::cargo("cargo")?;
    build.args(["test", "--workspace", "--locked", "--no-run", "--message-format", "json-render-diagnostics"]);
    let built = build.stderr(Stdio::inherit()).output()?;
    ensure!(built.status.success(), "{} ended with {}", cargo::describe(&build), built.status);
    let mut jobs = Vec::new();
    for line in String::from_utf8_lossy(&built.stdout).lines() {
        // Cargo says other things as well, which have other fields.
        let Ok(artifact) = serde_json::from_str::<Artifact>(line) else { continue };
        if let Artifact { profile: Profile { test: true }, executable: Some(program), .. } = &artifact {
            jobs.push(rust_job(&artifact, program, tools.as_deref())?);
        }
    }
    let mut documentation = cargo::cargo("cargo")?;
    documentation.args(["test", "--workspace", "--locked", "--no-fail-fast", "--doc", "--quiet"]);
    jobs.push(Job { name: "documentation".to_owned(), command: documentation, count: count_cargo });
    Ok(jobs)
}

/// A test program as Cargo runs it: in its package's folder, and with what it takes for that folder from the environment.
fn rust_job(artifact: &Artifact, program: &Path, tools: Option<&Path>) -> Result<Job> {
    let package = artifact.manifest_path.parent().context("a manifest without a folder")?;
    let crate_name = package.file_name().context("a package without a folder")?.to_string_lossy();
    let mut command = cargo::clean(program);
    command.current_dir(package).env("CARGO_MANIFEST_DIR", package).env("CARGO_TARGET_DIR", paths::target()?);
    setup::on_path(&mut command, tools)?;
    // They wait for time limits rather than for the processor.
    if ["agent", "server"].contains(&crate_name.as_ref()) && std::env::var_os(THREADS).is_none() {
        let processors = std::thread::available_parallelism().map_or(1, NonZero::get);
        command.env(THREADS, (4 * processors).to_string());
    }
    Ok(Job { name: format!("{crate_name} {}", artifact.target.name), command, count: count_cargo })
}

/// The browser's tests, a program for each file, with what they run built.
fn browser() -> Result<Vec<Job>> {
    setup::ensure(&[setup::BUBBLEWRAP, setup::CHROMIUM, setup::NODE])?;
    let tools = setup::notebooks()?;
    dev::build(Mode::Development)?;
    let folder = paths::root()?.join("end2end");
    let mut install = cargo::clean("npm");
    cargo::run(install.current_dir(&folder).args(["ci", "--no-audit", "--no-fund", "--loglevel=error"]))?;
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder.join("tests"))? {
        files.push(entry?.file_name().into_string().map_err(|name| anyhow!("{name:?} is no text"))?);
    }
    files.sort();
    let (target, root, xtask) = (paths::target()?, paths::root()?, std::env::current_exe()?);
    let job = |file: String| -> Result<Job> {
        let mut node = cargo::clean("node");
        setup::on_path(&mut node, tools.as_deref())?;
        node.current_dir(&folder).args(["--test", "--test-reporter=spec"]).arg(format!("tests/{file}"));
        node.env("CARGO_TARGET_DIR", &target).env("XTASK_PROGRAM", &xtask).env("XTASK_ROOT", &root);
        Ok(Job { name: file, command: node, count: count_node })
    };
    files.into_iter().map(job).collect()
}
