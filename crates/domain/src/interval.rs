//! Half-open stretches of time `[start, end)`: two that touch do not overlap.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

/// `[start, end)`, never empty, on whole milliseconds (what both databases store).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "Raw")]
pub struct Interval {
    start: Timestamp,
    end: Timestamp,
}

#[derive(Deserialize)]
struct Raw {
    start: Timestamp,
    end: Timestamp,
}

impl TryFrom<Raw> for Interval {
    type Error = EmptyInterval;
    fn try_from(raw: Raw) -> Result<Self, EmptyInterval> {
        Interval::new(raw.start, raw.end)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the end ({end}) has to be after the start ({start})")]
pub struct EmptyInterval {
    pub start: Timestamp,
    pub end: Timestamp,
}

/// Cuts a time to the millisecond, the resolution of the databases.
pub fn to_millis(at: Timestamp) -> Timestamp {
    Timestamp::from_millisecond(at.as_millisecond()).unwrap_or(at)
}

impl Interval {
    pub fn new(start: Timestamp, end: Timestamp) -> Result<Self, EmptyInterval> {
        let (start, end) = (to_millis(start), to_millis(end));
        if start < end { Ok(Self { start, end }) } else { Err(EmptyInterval { start, end }) }
    }
    pub fn start(self) -> Timestamp {
        self.start
    }
    pub fn end(self) -> Timestamp {
        self.end
    }
    pub fn duration(self) -> SignedDuration {
        self.end.duration_since(self.start)
    }
    pub fn overlaps(self, other: Interval) -> bool {
        self.start < other.end && other.start < self.end
    }
    pub fn contains(self, at: Timestamp) -> bool {
        self.start <= at && at < self.end
    }
}

/// The stretches of `within` that are at least `at_least` long and touch none of `taken`, at most `limit` of them.
/// `taken` may be in any order and may overlap itself.
pub fn free_slots(within: Interval, taken: &[Interval], at_least: SignedDuration, limit: usize) -> Vec<Interval> {
    let mut sorted: Vec<Interval> = taken.iter().copied().filter(|t| t.overlaps(within)).collect();
    sorted.sort_by_key(|t| t.start);
    let mut free = Vec::new();
    let mut from = within.start;
    let ends = sorted.iter().map(|t| (t.start, t.end)).chain(std::iter::once((within.end, within.end)));
    for (start, end) in ends {
        if free.len() == limit {
            break;
        }
        if let Ok(gap) = Interval::new(from, start.min(within.end))
            && gap.duration() >= at_least
        {
            free.push(gap);
        }
        from = from.max(end);
    }
    free
}
