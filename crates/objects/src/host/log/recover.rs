//! What the log says after a start: every whole batch in order, and where it was cut.

use std::{io, path::Path};

use super::{
    record::{Commit, SECTOR_BYTES, read_batch},
    segment::{FIRST_BATCH_AT, Found, find},
};

/// What was read back.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    pub batches: u64,
    pub commits: u64,
    /// The number that the next batch gets.
    pub next_batch: u64,
    pub next_segment: u64,
    /// Whether the end was cut: a batch that nobody was told is durable.
    pub torn: bool,
}

#[derive(Debug, thiserror::Error)]
pub enum RecoverError {
    #[error("cannot read the log: {0}")]
    Read(#[from] io::Error),
    #[error(
        "the log is damaged: batch {batch} in {segment} cannot be read but is followed by others, so it had been acknowledged"
    )]
    Damaged { batch: u64, segment: String },
    #[error("a segment of the log is missing before {segment}: it begins with batch {first} where {expected} is next")]
    Missing { segment: String, first: u64, expected: u64 },
    #[error("cannot apply a commit from the log: {0}")]
    Apply(#[source] io::Error),
}

/// Gives each commit to `apply`, in the order in which they were made durable.
pub fn replay(
    directory: &Path,
    mut apply: impl FnMut(Commit) -> io::Result<()>,
) -> Result<(Recovered, Vec<Found>), RecoverError> {
    let found = find(directory)?;
    let mut recovered = Recovered::default();
    if let Some(first) = found.first() {
        recovered.next_batch = first.header.first_batch;
    }
    for (at, segment) in found.iter().enumerate() {
        let label = || segment.path.display().to_string();
        let first = segment.header.first_batch;
        if first != recovered.next_batch {
            return Err(RecoverError::Missing { segment: label(), first, expected: recovered.next_batch });
        }
        let until = found.get(at + 1).map_or(u64::MAX, |next| next.header.first_batch);
        let bytes = segment.read()?;
        let mut position = FIRST_BATCH_AT as usize;
        recovered.torn = false;
        while recovered.next_batch < until && position + SECTOR_BYTES <= bytes.len() {
            let batch = read_batch(&bytes.slice(position..), segment.header.segment);
            let Some(batch) = batch.filter(|batch| batch.place.number == recovered.next_batch) else {
                recovered.torn = bytes[position..position + 4] != [0; 4];
                break;
            };
            recovered.commits += batch.commits.len() as u64;
            for commit in batch.commits {
                apply(commit).map_err(RecoverError::Apply)?;
            }
            recovered.batches += 1;
            recovered.next_batch += 1;
            position += batch.padded_bytes;
        }
        // A batch is written only when the one before it is durable: a later one proves that this is no torn end.
        let later = (position..bytes.len()).step_by(SECTOR_BYTES).any(|at| {
            read_batch(&bytes.slice(at..), segment.header.segment)
                .is_some_and(|batch| batch.place.number > recovered.next_batch && batch.place.number < until)
        });
        if later || (until != u64::MAX && recovered.next_batch < until) {
            return Err(RecoverError::Damaged { batch: recovered.next_batch, segment: label() });
        }
        recovered.next_segment = segment.header.segment + 1;
    }
    Ok((recovered, found))
}
