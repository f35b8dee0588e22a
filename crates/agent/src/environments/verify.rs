//! The end of every revert: the comparison with the baseline, and the record's removal when all is well.

use std::{fs, io, path::Path, time::Duration};

use super::{
    Check,
    baseline::{Baseline, Identity, RECORD},
    steps::blocking,
};

/// How long the last two file operations of a revert may take.
pub const FORGET_LIMIT: Duration = Duration::from_secs(3);
const COMPARE_LIMIT: Duration = Duration::from_secs(15);
/// A disk with less than this left makes the machine useless for the next session, bytes.
const LEAST_FREE_BYTES: u64 = 64 * 1024 * 1024;

/// Removes the record and its directory, which is all that is left.
pub fn forget(scratch: &Path) -> io::Result<()> {
    match fs::remove_file(scratch.join(RECORD)).and_then(|()| fs::remove_dir(scratch)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => match fs::remove_dir(scratch) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        },
        other => other,
    }
}

/// The host beside its baseline; without one, what can be said without.
pub async fn compare(baseline: Option<Baseline>, identity: Identity) -> Vec<Check> {
    let compared = blocking(COMPARE_LIMIT, move || match baseline {
        Some(baseline) => Ok(baseline.compare(&identity)),
        None => Baseline::take(&[]).map(|now| now.compare(&identity)),
    })
    .await;
    match compared {
        Some(Ok(checks)) => checks,
        Some(Err(error)) => vec![Check::new("baseline", false, error.to_string())],
        None => vec![Check::new(
            "baseline",
            false,
            format!("comparing hangs: not done after {} s", COMPARE_LIMIT.as_secs()),
        )],
    }
}

/// Whether the disk has room for another session.
pub fn disk(at: &Path) -> Check {
    match rustix::fs::statvfs(at) {
        Ok(stat) => {
            let free = stat.f_bavail.saturating_mul(stat.f_frsize);
            let detail = format!("{} MiB free", free >> 20);
            Check::new("disk", free >= LEAST_FREE_BYTES, detail)
        }
        Err(error) => Check::new("disk", false, error.to_string()),
    }
}
