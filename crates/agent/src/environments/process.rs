//! Processes that were started by an earlier agent too: no children, so they are known by pid and start time.

use std::{
    fs, io,
    path::PathBuf,
    time::{Duration, Instant},
};

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::streams::register;

/// What is said of an environment whose first process is not there any more.
pub const FIRST_GONE: &str = "its first process has ended";

/// When the process was started, in clock ticks since the host's start: a pid that is used again has another. An error
/// of kind `NotFound` if it has ended, reaped or not.
pub fn started_ticks(pid: i32) -> io::Result<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    parse(&stat)
}

fn parse(stat: &str) -> io::Result<u64> {
    // The name in brackets may hold blanks and brackets; the fields count from behind its last.
    let fields: Vec<&str> =
        stat.rsplit_once(')').map(|(_, rest)| rest.split_whitespace().collect()).unwrap_or_default();
    match (fields.first(), fields.get(19)) {
        (Some(&("Z" | "X")), _) => Err(io::ErrorKind::NotFound.into()),
        (_, Some(ticks)) => ticks.parse().map_err(|_| io::ErrorKind::InvalidData.into()),
        (_, None) => Err(io::ErrorKind::InvalidData.into()),
    }
}

/// Now, on the same clock.
pub fn now_ticks() -> u64 {
    let since_start = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    let seconds = u64::try_from(since_start.tv_sec).unwrap_or(0);
    let hundredths = u64::try_from(since_start.tv_nsec / 10_000_000).unwrap_or(0);
    let per_second = rustix::param::clock_ticks_per_second();
    seconds * per_second + hundredths * per_second / 100
}

/// Whether the process that was started then still runs.
pub fn is_there(pid: i32, ticks: u64) -> bool {
    started_ticks(pid).is_ok_and(|now| now == ticks)
}

/// Sends a signal to the process that was started then; an error of kind `NotFound` if it has ended.
pub fn signal(pid: i32, ticks: u64, signal: Signal) -> io::Result<()> {
    let gone = || io::Error::from(io::ErrorKind::NotFound);
    let named = pidfd_open(Pid::from_raw(pid).ok_or_else(gone)?, PidfdFlags::empty())?;
    // Looked at after it was opened: if it is the same process now, the descriptor is of that one.
    if !is_there(pid, ticks) {
        return Err(gone());
    }
    Ok(pidfd_send_signal(&named, signal)?)
}

/// Makes sure that the process does something of its own when it gets the signal, which would end it otherwise.
pub fn catches(pid: i32, signal: Signal) -> io::Result<()> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
    let caught = caught.and_then(|text| u64::from_str_radix(text.trim(), 16).ok()).unwrap_or(0);
    let bit = u32::try_from(signal.as_raw() - 1).map_err(|_| io::ErrorKind::InvalidInput)?;
    if caught >> bit & 1 == 1 { Ok(()) } else { Err(io::Error::other("it does not listen for being told to")) }
}

/// Kills the process that was started then and waits until it has been reaped, at most `limit`. Blocks.
///
/// The first process of a pid namespace ends last: when all others in it have ended and been reaped.
pub fn end(pid: i32, ticks: u64, limit: Duration) -> io::Result<()> {
    match signal(pid, ticks, Signal::KILL) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    }
    let deadline = Instant::now() + limit;
    let listed = PathBuf::from(format!("/proc/{pid}"));
    while listed.exists() {
        if Instant::now() >= deadline {
            return Err(io::ErrorKind::TimedOut.into());
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

/// Waits until the process that was started then has ended.
pub async fn gone(pid: i32, ticks: u64) {
    let Some(named) = Pid::from_raw(pid) else { return };
    let watched = pidfd_open(named, PidfdFlags::NONBLOCK).map_err(io::Error::from).and_then(register);
    // Opened before it is looked at: if it is the same process now, the descriptor is of that one.
    if let Ok(watched) = watched
        && is_there(pid, ticks)
    {
        // An error of the reactor is its shutdown; there is nothing left to wait for either way.
        drop(watched.readable().await);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_blanks_and_brackets() {
        let fields = "1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4711 20";
        assert_eq!(parse(&format!("7 (a ) b) S {fields}")).expect("is read"), 4711);
        assert_eq!(parse(&format!("7 (x) Z {fields}")).expect_err("has ended").kind(), io::ErrorKind::NotFound);
        assert!(parse("7 (x) S 1").is_err());
    }

    #[test]
    fn this_process_is_there() {
        let pid = i32::try_from(std::process::id()).expect("a pid");
        let ticks = started_ticks(pid).expect("runs");
        assert!(is_there(pid, ticks) && !is_there(pid, ticks + 1));
        assert!(ticks <= now_ticks(), "{ticks} {}", now_ticks());
    }
}
