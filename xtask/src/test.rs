//! `cargo xtask test`: everything that must hold, and a last line that sums it up.

use std::io::{BufRead as _, BufReader};
use std::num::NonZero;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context as _, Result, bail};

use crate::paths::{self, Mode};
use crate::{cargo, dev, setup, tidy};

/// The word by which cargo is told to run tests through this program.
pub const RUNNER: &str = "run-test";
const THREADS: &str = "RUST_TEST_THREADS";
/// A folder that tests have on their `PATH`.
const TOOLS: &str = "XTASK_TOOLS";

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

/// Tests that passed and failed, of all runners together. A step that has no tests of its own counts as one.
#[derive(Default, Debug, PartialEq, Eq)]
struct Tally {
    passed: u64,
    failed: u64,
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
        lint(&mut tally)?;
    }
    if parts.contains(&Part::Rust) {
        rust(&mut tally)?;
    }
    if parts.contains(&Part::Browser) {
        browser(&mut tally)?;
    }
    println!("{} passed, {} failed", tally.passed, tally.failed);
    Ok(if tally.failed == 0 && tally.passed > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

impl Tally {
    /// Counts a step as one test, and says why it failed.
    fn step(&mut self, name: &str, result: Result<()>) {
        match result {
            Ok(()) => self.passed += 1,
            Err(error) => {
                eprintln!("FAILED {name}: {error:#}");
                self.failed += 1;
            }
        }
    }

    /// Runs a test runner, shows its output, and adds what `count` finds in each line. A runner that fails without
    /// having counted a failure counts as one.
    fn runner(&mut self, command: &mut Command, count: fn(&str) -> Tally) -> Result<()> {
        let mut child = command
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("could not start {}", cargo::describe(command)))?;
        let output = child.stdout.take().context("the runner has no output")?;
        let mut failed = 0;
        for line in BufReader::new(output).split(b'\n') {
            let line = line?;
            let line = String::from_utf8_lossy(&line);
            println!("{line}");
            let counted = count(&line);
            self.passed += counted.passed;
            failed += counted.failed;
        }
        let status = child.wait()?;
        if !status.success() && failed == 0 {
            eprintln!("FAILED {}: {status}", cargo::describe(command));
            failed = 1;
        }
        self.failed += failed;
        Ok(())
    }
}

fn lint(tally: &mut Tally) -> Result<()> {
    let mut format = cargo::cargo("cargo")?;
    tally.step("formatting", cargo::run(format.args(["fmt", "--all", "--", "--check"])));
    tally.step("tidy", check_tidy());
    // The page's two halves have different features, so clippy looks at each.
    let clippy = |args: &[&str]| -> Result<()> {
        let mut clippy = cargo::cargo("cargo")?;
        cargo::run(clippy.args(["clippy", "--quiet", "--locked"]).args(args).args(["--", "-D", "warnings"]))
    };
    tally.step("clippy", clippy(&["--workspace", "--all-targets"]));
    tally.step("clippy of the web half", clippy(&["--package", "app", "--lib", "--features", "hydrate"]));
    Ok(())
}

fn check_tidy() -> Result<()> {
    let findings = tidy::check()?;
    for name in &findings.long {
        eprintln!("note: {name} is long");
    }
    if findings.wrong.is_empty() { Ok(()) } else { bail!("{}", findings.wrong.join("\n")) }
}

fn rust(tally: &mut Tally) -> Result<()> {
    setup::ensure(&[setup::BUBBLEWRAP, setup::POSTGRES, setup::PODMAN, setup::BTRFS])?;
    let tools = setup::notebooks()?;
    let mut test = cargo::cargo("cargo")?;
    let this = std::env::current_exe()?;
    let runner = format!("target.'cfg(unix)'.runner = ['{}', '{RUNNER}']", this.display());
    test.args(["--config", &runner, "test", "--workspace", "--locked", "--no-fail-fast"]);
    // Not on cargo's own PATH: some crates are built anew when that changes.
    if let Some(tools) = tools {
        test.env(TOOLS, tools);
    }
    tally.runner(&mut test, count_cargo)
}

/// Becomes a test program that cargo has built. The agent's tests wait for time limits rather than for the processor, so
/// that many run at a time: on 2 processors 30 s instead of 90 s.
pub fn runner(args: &[String]) -> Result<ExitCode> {
    let Some((program, rest)) = args.split_first() else { bail!("{RUNNER} is for cargo, which names a program") };
    let mut command = Command::new(program);
    command.args(rest);
    setup::on_path(&mut command, std::env::var_os(TOOLS).as_ref().map(Path::new))?;
    if std::env::var_os("CARGO_PKG_NAME").is_some_and(|name| name == "agent") && std::env::var_os(THREADS).is_none() {
        let processors = std::thread::available_parallelism().map_or(1, NonZero::get);
        command.env(THREADS, (4 * processors).to_string());
    }
    Err(command.exec()).with_context(|| format!("cannot run {program}"))
}

fn browser(tally: &mut Tally) -> Result<()> {
    setup::ensure(&[setup::BUBBLEWRAP, setup::CHROMIUM, setup::NODE])?;
    let tools = setup::notebooks()?;
    if let Err(error) = dev::build(Mode::Development) {
        tally.step("build for the browser", Err(error));
        return Ok(());
    }
    let folder = paths::root()?.join("end2end");
    let mut install = cargo::clean("npm");
    cargo::run(install.current_dir(&folder).args(["ci", "--no-audit", "--no-fund", "--loglevel=error"]))?;
    let mut node = cargo::clean("node");
    setup::on_path(&mut node, tools.as_deref())?;
    node.current_dir(&folder)
        .args(["--test", "--test-concurrency=1", "--test-reporter=spec", "tests/"])
        .env("CARGO_TARGET_DIR", paths::target()?)
        .env("XTASK_PROGRAM", std::env::current_exe()?)
        .env("XTASK_ROOT", paths::root()?);
    tally.runner(&mut node, count_node)
}

/// `test result: ok. 5 passed; 0 failed; 0 ignored; ...`
fn count_cargo(line: &str) -> Tally {
    if !line.starts_with("test result:") {
        return Tally::default();
    }
    let number = |word: &str| -> u64 {
        let words: Vec<&str> = line.split([' ', ';']).collect();
        let at = words.iter().position(|candidate| *candidate == word);
        at.and_then(|at| words.get(at.checked_sub(1)?)?.parse().ok()).unwrap_or(0)
    };
    Tally { passed: number("passed"), failed: number("failed") }
}

/// `ℹ pass 5` and `ℹ fail 0`, or with `#` where the output is no terminal.
fn count_node(line: &str) -> Tally {
    let words: Vec<&str> = line.split_whitespace().collect();
    match words.as_slice() {
        ["ℹ" | "#", "pass", number] => Tally { passed: number.parse().unwrap_or(0), failed: 0 },
        ["ℹ" | "#", "fail" | "cancelled", number] => Tally { passed: 0, failed: number.parse().unwrap_or(0) },
        _ => Tally::default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runners_are_counted() {
        let cargo =
            "test result: FAILED. 12 passed; 3 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s";
        assert_eq!(count_cargo(cargo), Tally { passed: 12, failed: 3 });
        assert_eq!(count_cargo("12 passed; 3 failed"), Tally::default());
        assert_eq!(count_node("ℹ pass 7"), Tally { passed: 7, failed: 0 });
        assert_eq!(count_node("# fail 2"), Tally { passed: 0, failed: 2 });
        assert_eq!(count_node("ℹ tests 7"), Tally::default());
    }

    #[test]
    fn a_runner_that_dies_without_a_word_has_failed() {
        let mut tally = Tally::default();
        tally.runner(&mut Command::new("false"), count_cargo).unwrap();
        assert_eq!(tally, Tally { passed: 0, failed: 1 });
    }
}
