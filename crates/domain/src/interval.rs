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

/// The earliest time from which `count` of the machines are free at once for `length`, given each one's free stretches.
pub fn earliest_common(free: &[Vec<Interval>], count: usize, length: SignedDuration) -> Option<Timestamp> {
    // A stretch lets a booking begin from its start until `length` before its end, both included.
    let mut edges: Vec<(Timestamp, std::cmp::Reverse<i64>)> = Vec::new();
    for slot in free.iter().flatten().filter(|slot| slot.duration() >= length) {
        edges.push((slot.start, std::cmp::Reverse(1)));
        edges.push((slot.end.checked_sub(length).ok()?, std::cmp::Reverse(-1)));
    }
    edges.sort();
    let wanted = i64::try_from(count).ok()?;
    let mut open = 0;
    for (at, std::cmp::Reverse(step)) in edges {
        open += step;
        if step > 0 && open >= wanted {
            return Some(at);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("in range")
    }
    fn span(start: i64, end: i64) -> Interval {
        Interval::new(at(start), at(end)).expect("not empty")
    }
    fn spans(text: &[(i64, i64)]) -> Vec<Interval> {
        text.iter().map(|(start, end)| span(*start, *end)).collect()
    }

    #[test]
    fn an_interval_is_never_empty_or_reversed() {
        assert!(Interval::new(at(5), at(5)).is_err());
        assert!(Interval::new(at(6), at(5)).is_err());
        assert!(
            serde_json::from_str::<Interval>(r#"{"start":"2026-01-02T00:00:00Z","end":"2026-01-01T00:00:00Z"}"#)
                .is_err()
        );
    }

    #[test]
    fn touching_is_no_overlap() {
        assert!(!span(0, 5).overlaps(span(5, 9)));
        assert!(span(0, 5).overlaps(span(4, 9)));
    }

    #[test]
    fn slots_between_bookings() {
        let free = free_slots(span(0, 100), &spans(&[(10, 20), (15, 30), (90, 200)]), SignedDuration::from_secs(5), 9);
        assert_eq!(free, spans(&[(0, 10), (30, 90)]));
    }

    #[test]
    fn machines_free_at_once() {
        let free = [spans(&[(0, 10), (50, 99)]), spans(&[(8, 20), (60, 80)])];
        let common = |count, length| earliest_common(&free, count, SignedDuration::from_secs(length));
        assert_eq!(common(1, 5), Some(at(0)));
        assert_eq!(common(2, 2), Some(at(8)));
        assert_eq!(common(2, 5), Some(at(60)));
        assert_eq!(common(2, 30), None);
        assert_eq!(common(3, 1), None);
    }

    fn some_spans() -> impl Strategy<Value = Vec<Interval>> {
        proptest::collection::vec((0_i64..200, 1_i64..40), 0..12)
            .prop_map(|v| v.into_iter().map(|(start, length)| span(start, start + length)).collect())
    }

    proptest! {
        #[test]
        fn overlap_is_symmetric_and_what_a_shared_second_says(a in (0_i64..50, 1_i64..20), b in (0_i64..50, 1_i64..20)) {
            let (x, y) = (span(a.0, a.0 + a.1), span(b.0, b.0 + b.1));
            let shared = (0..80).any(|t| x.contains(at(t)) && y.contains(at(t)));
            prop_assert_eq!(x.overlaps(y), shared);
            prop_assert_eq!(y.overlaps(x), shared);
        }

        #[test]
        fn free_slots_are_free_long_enough_and_all_there(taken in some_spans(), length in 1_i64..30) {
            let within = span(0, 250);
            let free = free_slots(within, &taken, SignedDuration::from_secs(length), usize::MAX);
            for slot in &free {
                prop_assert!(slot.duration() >= SignedDuration::from_secs(length));
                prop_assert!(taken.iter().all(|t| !t.overlaps(*slot)));
            }
            for start in 0..=(250 - length) {
                let wanted = span(start, start + length);
                let fits = taken.iter().all(|t| !t.overlaps(wanted));
                let offered = free.iter().any(|f| f.start() <= wanted.start() && wanted.end() <= f.end());
                prop_assert_eq!(fits, offered, "{:?}", wanted);
            }
        }

        #[test]
        fn earliest_common_is_the_first_second_that_fits(
            taken in proptest::collection::vec(some_spans(), 1..5), count in 1_usize..4, length in 1_i64..30,
        ) {
            let duration = SignedDuration::from_secs(length);
            let free: Vec<Vec<Interval>> =
                taken.iter().map(|t| free_slots(span(0, 250), t, duration, usize::MAX)).collect();
            let fits = |start: i64| {
                let wanted = span(start, start + length);
                taken.iter().filter(|t| t.iter().all(|t| !t.overlaps(wanted))).count() >= count
            };
            let expected = (0..=(250 - length)).find(|start| fits(*start)).map(at);
            prop_assert_eq!(earliest_common(&free, count, duration), expected);
        }
    }
}
