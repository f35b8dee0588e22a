//! How a deployment does: what happened in each of the last minutes' [`BUCKET_MS`].

use std::{collections::VecDeque, time::Duration};

use parking_lot::Mutex;

pub const BUCKET_MS: i64 = 10_000;
/// So many are kept.
pub const BUCKETS: usize = 90;
/// Upper bounds of [`Bucket::latencies`], microseconds; one more counts what is above the last.
pub const LATENCY_BOUNDS_US: [u64; 19] = [
    100, 200, 500, 1_000, 2_000, 3_000, 5_000, 7_500, 10_000, 20_000, 50_000, 100_000, 200_000, 500_000, 1_000_000,
    2_000_000, 5_000_000, 10_000_000, 30_000_000,
];

/// What happened in [`BUCKET_MS`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Bucket {
    /// When it began, Unix milliseconds: a multiple of [`BUCKET_MS`].
    pub at_ms: i64,
    /// Requests that the entry worker got from outside.
    pub requests: u64,
    /// Those of them that ended without an answer, or with one from 500 on.
    pub errors: u64,
    /// Of all events, of objects' too.
    pub cpu_us: u64,
    /// Requests by the time until the answer began.
    pub latencies: [u32; LATENCY_BOUNDS_US.len() + 1],
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    pub requests: u64,
    pub errors: u64,
    pub cpu_us: u64,
}

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    Well,
    Badly,
}

#[derive(Debug, Default)]
pub struct Stats {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    totals: Totals,
    /// Oldest first; those in which nothing happened are not there.
    buckets: VecDeque<Bucket>,
}

impl State {
    fn bucket(&mut self, now_ms: i64) -> Option<&mut Bucket> {
        let at_ms = now_ms - now_ms.rem_euclid(BUCKET_MS);
        // A clock that was put back goes on in the bucket that is there.
        if self.buckets.back().is_none_or(|last| last.at_ms < at_ms) {
            self.forget(at_ms);
            self.buckets.push_back(Bucket { at_ms, ..Bucket::default() });
        }
        self.buckets.back_mut()
    }

    /// What is older than what is kept.
    fn forget(&mut self, at_ms: i64) {
        let oldest = at_ms - BUCKET_MS * (BUCKETS as i64 - 1);
        while self.buckets.front().is_some_and(|bucket| bucket.at_ms < oldest) {
            self.buckets.pop_front();
        }
    }
}

impl Stats {
    pub fn request(&self, now_ms: i64, took: Duration, ended: Ended) {
        let took_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let slot = LATENCY_BOUNDS_US.partition_point(|bound| *bound < took_us);
        let errors = u64::from(ended == Ended::Badly);
        let mut state = self.state.lock();
        state.totals.requests += 1;
        state.totals.errors += errors;
        if let Some(bucket) = state.bucket(now_ms) {
            bucket.requests += 1;
            bucket.errors += errors;
            bucket.latencies[slot] = bucket.latencies[slot].saturating_add(1);
        }
    }

    pub fn cpu(&self, now_ms: i64, cpu_us: u64) {
        if cpu_us == 0 {
            return;
        }
        let mut state = self.state.lock();
        state.totals.cpu_us = state.totals.cpu_us.saturating_add(cpu_us);
        if let Some(bucket) = state.bucket(now_ms) {
            bucket.cpu_us = bucket.cpu_us.saturating_add(cpu_us);
        }
    }

    /// Since the start of the host.
    pub fn totals(&self) -> Totals {
        self.state.lock().totals
    }

    /// Oldest first, without those in which nothing happened.
    pub fn buckets(&self, now_ms: i64) -> Vec<Bucket> {
        let mut state = self.state.lock();
        state.forget(now_ms - now_ms.rem_euclid(BUCKET_MS));
        state.buckets.iter().copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_happened_is_counted_when_it_did_and_forgotten_in_time() {
        let stats = Stats::default();
        stats.request(20_001, Duration::from_micros(100), Ended::Well);
        stats.request(29_999, Duration::from_micros(101), Ended::Badly);
        stats.cpu(30_000, 7);
        stats.request(60_000, Duration::from_secs(3600), Ended::Well);
        let buckets = stats.buckets(60_000);
        let seen: Vec<_> = buckets.iter().map(|b| (b.at_ms, b.requests, b.errors, b.cpu_us)).collect();
        assert_eq!(seen, [(20_000, 2, 1, 0), (30_000, 0, 0, 7), (60_000, 1, 0, 0)]);
        assert_eq!(buckets[0].latencies[..3], [1, 1, 0]);
        assert_eq!(buckets[2].latencies[LATENCY_BOUNDS_US.len()], 1);
        // The bucket of 20,000 is the ninetieth until 920,000.
        assert_eq!(stats.buckets(919_999).len(), 3);
        assert_eq!(stats.buckets(920_000).len(), 2);
        // A clock that is put back loses nothing.
        stats.request(5, Duration::ZERO, Ended::Well);
        assert_eq!(stats.totals(), Totals { requests: 4, errors: 1, cpu_us: 7 });
        assert!(stats.buckets(i64::MAX / 2).is_empty());
    }

    #[test]
    fn no_more_buckets_are_kept_than_there_is_time_for() {
        let stats = Stats::default();
        for at in 0..1_000 {
            stats.cpu(at * BUCKET_MS, 1);
        }
        assert_eq!(stats.buckets(999 * BUCKET_MS).len(), BUCKETS);
    }
}
