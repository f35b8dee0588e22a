//! The programs that `dev` runs: started together, stopped together.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use nix::sys::signal::{SigSet, Signal, kill};
use nix::unistd::Pid;

use crate::{cargo, setup};

/// How long a program may take to stop before it is killed.
const STOP: Duration = Duration::from_secs(15);
const POLL: Duration = Duration::from_millis(20);
/// How much of a log is shown when its program ended by itself.
const TAIL_LINES: usize = 25;

struct Program {
    name: String,
    child: Child,
    log: PathBuf,
}

/// Running programs, stopped in the reverse order of their start, also when this is dropped.
pub struct Programs {
    programs: Vec<Program>,
    /// A folder that all have on their `PATH`.
    tools: Option<PathBuf>,
}

impl Programs {
    pub fn new(tools: Option<PathBuf>) -> Self {
        Self { programs: Vec::new(), tools }
    }

    /// Starts a program whose output goes to `log`. It gets a process group of its own, so that Ctrl+C reaches it only
    /// through [`Programs::stop`]; and it ends when this process is killed.
    pub fn start(&mut self, name: &str, program: &Path, args: &[&OsStr], log: PathBuf) -> Result<()> {
        let output = File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
        let mut command = match setup::find("setpriv") {
            Some(setpriv) => {
                let mut command = cargo::clean(setpriv);
                command.args(["--pdeathsig", "TERM", "--"]).arg(program);
                command
            }
            None => cargo::clean(program),
        };
        setup::on_path(&mut command, self.tools.as_deref())?;
        command.args(args).stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output).process_group(0);
        // A child inherits the mask, and with it would never hear SIGTERM.
        let held = SigSet::thread_get_mask()?;
        SigSet::empty().thread_set_mask()?;
        let spawned = command.spawn();
        held.thread_set_mask()?;
        let child = spawned.with_context(|| format!("could not start {name}"))?;
        self.programs.push(Program { name: name.to_owned(), child, log });
        Ok(())
    }

    /// Waits until `ready` says so, and fails when a program ends meanwhile or `limit` passes.
    pub fn wait(&mut self, what: &str, limit: Duration, mut ready: impl FnMut() -> bool) -> Result<()> {
        let deadline = Instant::now() + limit;
        while !ready() {
            self.check()?;
            if Instant::now() >= deadline {
                bail!("{what} took more than {} s\n{}", limit.as_secs(), self.tails());
            }
            std::thread::sleep(POLL);
        }
        Ok(())
    }

    /// Fails when a program has ended by itself.
    fn check(&mut self) -> Result<()> {
        for program in &mut self.programs {
            if let Some(status) = program.child.try_wait()? {
                bail!("{} ended by itself ({status}); its log says:\n{}", program.name, tail(&program.log));
            }
        }
        Ok(())
    }

    fn tails(&self) -> String {
        let tails = self.programs.iter().map(|program| format!("-- {}\n{}", program.name, tail(&program.log)));
        tails.collect::<Vec<_>>().join("\n")
    }

    /// Runs until Ctrl+C or SIGTERM, or until a program ends by itself, which is an error.
    pub fn run_until_signal(&mut self, signals: &SigSet) -> Result<()> {
        loop {
            self.check()?;
            if signals.wait()? != Signal::SIGCHLD {
                return Ok(());
            }
        }
    }

    /// Stops all: those that were started after the first at once, then the first, on which they stand.
    pub fn stop(&mut self) {
        for program in self.programs.iter().skip(1) {
            // It may have ended just now.
            if let Err(error) = terminate(&program.child) {
                eprintln!("{} is gone already: {error:#}", program.name);
            }
        }
        while let Some(mut program) = self.programs.pop() {
            if let Err(error) = stop(&mut program.child) {
                eprintln!("{} could not be stopped: {error:#}", program.name);
            }
        }
    }
}

impl Drop for Programs {
    fn drop(&mut self) {
        self.stop();
    }
}

/// The signals that [`Programs::run_until_signal`] waits for, held back from this thread on.
pub fn hold_signals() -> Result<SigSet> {
    let signals: SigSet = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGCHLD].into_iter().collect();
    signals.thread_block()?;
    Ok(signals)
}

fn stop(child: &mut Child) -> Result<ExitStatus> {
    if let Some(status) = child.try_wait()? {
        return Ok(status);
    }
    terminate(child)?;
    let deadline = Instant::now() + STOP;
    while Instant::now() < deadline {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        std::thread::sleep(POLL);
    }
    kill(group(child)?, Signal::SIGKILL)?;
    Ok(child.wait()?)
}

fn terminate(child: &Child) -> Result<()> {
    Ok(kill(group(child)?, Signal::SIGTERM)?)
}

fn group(child: &Child) -> Result<Pid> {
    Ok(Pid::from_raw(-i32::try_from(child.id())?))
}

/// Runs a program to its end with its output in `log`, and gives what it printed on standard output.
pub fn ask(command: &mut Command) -> Result<String> {
    Ok(cargo::output(command.stdin(Stdio::null()))?.trim().to_owned())
}

fn tail(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n")
}
