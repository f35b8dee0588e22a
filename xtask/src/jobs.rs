//! Test programs: run some at a time, each with its output in a file of its own that is shown when the program has ended.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use crate::cargo;

/// A program that takes longer hangs, and is killed.
const LIMIT: Duration = Duration::from_secs(20 * 60);
const POLL: Duration = Duration::from_millis(50);

/// Tests that passed and failed, of all runners together. A step that has no tests of its own counts as one.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
pub struct Tally {
    pub passed: u64,
    pub failed: u64,
}

impl Tally {
    /// Counts a step as one test, and says why it failed and how long it took.
    pub fn step(&mut self, name: &str, work: impl FnOnce() -> Result<()>) {
        let started = Instant::now();
        match work() {
            Ok(()) => self.passed += 1,
            Err(error) => {
                eprintln!("FAILED {name}: {error:#}");
                self.failed += 1;
            }
        }
        println!("{name}: {} s", started.elapsed().as_secs());
    }

    pub fn add(&mut self, other: Tally) {
        self.passed += other.passed;
        self.failed += other.failed;
    }
}

/// A test runner, and what it says of the number of its tests.
pub struct Job {
    pub name: String,
    pub command: Command,
    /// What a line of the output counts.
    pub count: fn(&str) -> Tally,
}

/// Runs the jobs in their order, so many at a time, and shows what each printed. `logs` is a folder for their output.
pub fn run(jobs: Vec<Job>, at_a_time: usize, logs: &Path) -> Result<Tally> {
    fs::create_dir_all(logs).with_context(|| format!("cannot make {}", logs.display()))?;
    let waiting = Mutex::new(VecDeque::from(jobs));
    // Held while an output is shown, so that they do not mix.
    let tally = Mutex::new(Tally::default());
    std::thread::scope(|scope| {
        for _ in 0..at_a_time {
            scope.spawn(|| {
                loop {
                    let next = waiting.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
                    let Some(job) = next else { return };
                    run_one(job, logs, &tally);
                }
            });
        }
    });
    Ok(tally.into_inner().unwrap_or_else(PoisonError::into_inner))
}

fn run_one(mut job: Job, logs: &Path, tally: &Mutex<Tally>) {
    let started = Instant::now();
    let log = logs.join(format!("{}.log", job.name.replace(['/', ' '], "-")));
    let ended = to_the_end(&mut job.command, &log);
    let mut tally = tally.lock().unwrap_or_else(PoisonError::into_inner);
    println!("\n== {} ({} s)", job.name, started.elapsed().as_secs());
    let counted = ended.and_then(|ended| {
        let counted = show(&log, job.count)?;
        Ok((ended, counted))
    });
    match counted {
        Ok((status, mut counted)) => {
            // A runner that fails without having counted a failure counts as one.
            if !status.success() && counted.failed == 0 {
                eprintln!("FAILED {}: {status}", cargo::describe(&job.command));
                counted.failed = 1;
            }
            tally.add(counted);
        }
        Err(error) => {
            eprintln!("FAILED {}: {error:#}", job.name);
            tally.failed += 1;
        }
    }
}

/// Runs a program with its output in a file. One that hangs is killed, and has failed.
fn to_the_end(command: &mut Command, log: &PathBuf) -> Result<ExitStatus> {
    let output = File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
    command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
    let mut child = command.spawn().with_context(|| format!("could not start {}", cargo::describe(command)))?;
    let status = wait(&mut child)?;
    let Some(status) = status else {
        child.kill()?;
        child.wait()?;
        writeln!(File::options().append(true).open(log)?, "killed after {} s", LIMIT.as_secs())?;
        show(log, |_| Tally::default())?;
        bail!("took more than {} min and was killed", LIMIT.as_secs() / 60);
    };
    Ok(status)
}

fn wait(child: &mut Child) -> Result<Option<ExitStatus>> {
    let deadline = Instant::now() + LIMIT;
    while Instant::now() < deadline {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        std::thread::sleep(POLL);
    }
    Ok(None)
}

fn show(log: &Path, count: fn(&str) -> Tally) -> Result<Tally> {
    let mut tally = Tally::default();
    for line in BufReader::new(File::open(log)?).split(b'\n') {
        let line = line?;
        let line = String::from_utf8_lossy(&line);
        tally.add(count(&line));
        println!("{line}");
    }
    Ok(tally)
}

/// `test result: ok. 5 passed; 0 failed; 0 ignored; ...`
pub fn count_cargo(line: &str) -> Tally {
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
pub fn count_node(line: &str) -> Tally {
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

    fn shell(name: &str, script: &str) -> Job {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        Job { name: name.to_owned(), command, count: count_cargo }
    }

    #[test]
    fn jobs_are_counted_together_and_one_that_dies_without_a_word_has_failed() {
        let logs = std::env::temp_dir().join(format!("berth-jobs-{}", std::process::id()));
        let well = shell("well", "echo 'test result: ok. 3 passed; 0 failed;'; echo said >&2");
        let badly = shell("badly", "echo 'test result: FAILED. 1 passed; 2 failed;'; exit 101");
        let dead = shell("dead", "kill -9 $$");
        let missing = Job { command: Command::new("/no/such/program"), ..shell("missing", "") };
        let tally = run(vec![well, badly, dead, missing], 2, &logs).unwrap();
        assert_eq!(tally, Tally { passed: 4, failed: 4 });
        let kept = fs::read_to_string(logs.join("well.log")).unwrap();
        assert!(kept.contains("said"), "{kept}");
        fs::remove_dir_all(&logs).unwrap();
    }
}
