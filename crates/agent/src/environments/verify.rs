//! The end of every revert, whatever kind the environment is of: the comparison with the baseline, and the record's
//! removal when all is well.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use jiff::Timestamp;

use crate::clock;

use super::{
    Check, RevertReport, Told,
    baseline::{Baseline, Identity, RECORD},
    process,
    record::{Record, Scratch},
    steps::{blocking, within},
};

/// How long the last two file operations of a revert may take.
const FORGET_LIMIT: Duration = Duration::from_secs(3);
const COMPARE_LIMIT: Duration = Duration::from_secs(10);
const FILES_LIMIT: Duration = Duration::from_secs(10);
const DISK_LIMIT: Duration = Duration::from_secs(3);
/// A disk with less than this left makes the machine useless for the next session, bytes.
const LEAST_FREE_BYTES: u64 = 64 * 1024 * 1024;

/// A revert under way.
pub struct Reverting<'a> {
    began: Instant,
    /// When the check that is under way began.
    since: Timestamp,
    told: Told<'a>,
    scratch: Scratch,
    record: io::Result<Record>,
    pub identity: Identity,
    checks: Vec<Check>,
}

impl<'a> Reverting<'a> {
    /// `unrecorded` is what can be known of an environment without its record.
    pub fn begin(scratch: Scratch, told: Told<'a>, unrecorded: impl FnOnce() -> Identity) -> Self {
        let record = scratch.read();
        let identity = record.as_ref().map_or_else(|_| unrecorded(), |record| record.identity.clone());
        Self { began: Instant::now(), since: clock::now(), told, scratch, record, identity, checks: Vec::new() }
    }

    pub fn record(&self) -> Option<&Record> {
        self.record.as_ref().ok()
    }

    pub fn note(&mut self, check: Check) {
        self.note_all(vec![check]);
    }

    /// What was checked in one go.
    fn note_all(&mut self, checks: Vec<Check>) {
        for check in &checks {
            (self.told)(check, self.since);
        }
        self.since = clock::now();
        self.checks.extend(checks);
    }

    pub fn is_clean(&self) -> bool {
        self.checks.iter().all(|check| check.ok)
    }

    /// Everything that is known to be the environment's has been killed: what starts later is none of it.
    pub fn killed(&mut self) {
        if !self.is_clean() || self.identity.ended_ticks.is_some() {
            return;
        }
        self.identity.ended_ticks = Some(process::now_ticks());
        let Ok(record) = &mut self.record else { return };
        record.identity = self.identity.clone();
        if let Err(error) = self.scratch.write(record) {
            self.note(Check::new("record", false, format!("cannot be written: {error}")));
        }
    }

    /// Compares the host with the baseline; `disk_at` is where sessions of this kind write.
    pub async fn conclude(mut self, disk_at: PathBuf) -> RevertReport {
        let path = self.scratch.path().to_owned();
        let identity = self.identity.clone();
        let compared = match &self.record {
            Ok(record) => compare(&path, Some(record.baseline.clone()), identity).await,
            // Reverted before, or never begun.
            Err(error) if error.kind() == io::ErrorKind::NotFound => compare(&path, None, identity).await,
            Err(error) => {
                let why = format!("cannot be read, so nothing can be compared: {error}");
                vec![Check::new("baseline", false, why)]
            }
        };
        self.note_all(compared);
        self.note(within(&path, "disk", DISK_LIMIT, move || disk(&disk_at)).await);
        // The record goes last, and only when all is well: a repeated revert needs its baseline.
        if self.is_clean() {
            match blocking(FORGET_LIMIT, move || forget(&path)).await {
                Some(Ok(())) => {}
                Some(Err(error)) => self.note(Check::new("record", false, error.to_string())),
                None => self.note(Check::new("record", false, "removing it hangs")),
            }
        }
        let took_ms = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        RevertReport { checks: self.checks, took_ms }
    }
}

/// Removes the record and its directory, which is all that is left.
fn forget(scratch: &Path) -> io::Result<()> {
    match fs::remove_file(scratch.join(RECORD)).and_then(|()| fs::remove_dir(scratch)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => match fs::remove_dir(scratch) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        },
        other => other,
    }
}

/// The host beside its baseline; without one, what can be said without. The two halves at once: a file system that hangs
/// keeps neither from being told.
async fn compare(scratch: &Path, baseline: Option<Baseline>, identity: Identity) -> Vec<Check> {
    let taken = match baseline {
        Some(baseline) => Some(Ok(baseline)),
        None => blocking(COMPARE_LIMIT, || Baseline::take(&[])).await,
    };
    let baseline = match taken {
        Some(Ok(baseline)) => Arc::new(baseline),
        Some(Err(error)) => return vec![Check::new("baseline", false, error.to_string())],
        None => return vec![Check::new("baseline", false, hangs(COMPARE_LIMIT))],
    };
    let kernel = {
        let (baseline, identity) = (baseline.clone(), identity.clone());
        blocking(COMPARE_LIMIT, move || baseline.compare(&identity))
    };
    let files = within(scratch, "files", FILES_LIMIT, move || baseline.files_check(&identity));
    let (kernel, files) = tokio::join!(kernel, files);
    let mut checks = kernel.unwrap_or_else(|| vec![Check::new("baseline", false, hangs(COMPARE_LIMIT))]);
    checks.push(files);
    checks
}

fn hangs(limit: Duration) -> String {
    format!("comparing hangs: not done after {} s", limit.as_secs())
}

/// Whether the disk has room for another session.
fn disk(at: &Path) -> Check {
    match rustix::fs::statvfs(at) {
        Ok(stat) => {
            let free = stat.f_bavail.saturating_mul(stat.f_frsize);
            let detail = format!("{} MiB free", free >> 20);
            Check::new("disk", free >= LEAST_FREE_BYTES, detail)
        }
        Err(error) => Check::new("disk", false, error.to_string()),
    }
}
