//! What else the computer did during a run: figures of a busy one say little.

use std::{fs, time::Instant};

use anyhow::{Context, Result};

/// Of `/proc`: hundredths of a second on every Linux.
const TICKS_PER_S: f64 = 100.0;

/// Where processor time stood when a run began.
pub struct Others {
    began: Instant,
    all_s: f64,
    own_s: f64,
}

impl Others {
    pub fn watch() -> Result<Self> {
        Ok(Self { began: Instant::now(), all_s: all_s()?, own_s: own_s()? })
    }

    /// Cores that were busy with others' work on average since then. Whatever the run started has to have ended.
    pub fn cores(&self) -> Result<f64> {
        let others_s = (all_s()? - self.all_s) - (own_s()? - self.own_s);
        Ok((others_s / self.began.elapsed().as_secs_f64()).max(0.0))
    }
}

fn numbers(text: &str) -> Vec<f64> {
    text.split_whitespace().filter_map(|number| number.parse().ok()).collect()
}

/// Busy time of all processors.
fn all_s() -> Result<f64> {
    let stat = fs::read_to_string("/proc/stat")?;
    let line = stat.lines().next().and_then(|line| line.strip_prefix("cpu ")).context("no cpu line in /proc/stat")?;
    let ticks = numbers(line);
    // user, nice, system, idle, iowait, irq, softirq, steal
    let busy: f64 = [0, 1, 2, 5, 6, 7].iter().filter_map(|at| ticks.get(*at)).sum();
    Ok(busy / TICKS_PER_S)
}

/// Time of this process and of all that it started and that have ended.
fn own_s() -> Result<f64> {
    let stat = fs::read_to_string("/proc/self/stat")?;
    // The name in brackets may hold blanks.
    let (_, rest) = stat.rsplit_once(')').context("no name in /proc/self/stat")?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let ticks: f64 =
        fields.get(11..15).context("no times in /proc/self/stat")?.iter().filter_map(|t| t.parse::<f64>().ok()).sum();
    Ok(ticks / TICKS_PER_S)
}
