//! What the host's reading says of its objects; rates are over the time since the reading before.

use std::{collections::HashMap, time::Instant};

use domain::hosts::ObjectMetrics;
use objects::host::{Host, stats::Totals};

pub struct Sampler {
    /// Of each deployment.
    before: HashMap<String, Totals>,
    at: Instant,
}

impl Default for Sampler {
    fn default() -> Self {
        Self { before: HashMap::new(), at: Instant::now() }
    }
}

/// What came since. A deployment that was removed and came again counts from 0.
fn since(before: Totals, now: Totals) -> Totals {
    let grown = now.requests >= before.requests && now.cpu_us >= before.cpu_us;
    let before = if grown { before } else { Totals::default() };
    Totals {
        requests: now.requests - before.requests,
        errors: now.errors.saturating_sub(before.errors),
        cpu_us: now.cpu_us - before.cpu_us,
    }
}

#[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "a few digits are shown")]
fn per_s(count: u64, seconds: f64) -> f32 {
    (count as f64 / seconds.max(1e-3)) as f32
}

fn small(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

impl Sampler {
    pub fn sample(&mut self, host: &Host) -> ObjectMetrics {
        let seconds = self.at.elapsed().as_secs_f64();
        self.at = Instant::now();
        let before = std::mem::take(&mut self.before);
        let (mut sum, mut found) = (Totals::default(), ObjectMetrics::default());
        for deployment in host.deployments() {
            let now = deployment.totals();
            let news = since(before.get(&deployment.name).copied().unwrap_or_default(), now);
            sum.requests += news.requests;
            sum.errors += news.errors;
            sum.cpu_us += news.cpu_us;
            found.live = found.live.saturating_add(small(deployment.live_objects()));
            found.engines = found.engines.saturating_add(small(deployment.engines().len()));
            found.memory_bytes += deployment.engines_memory_bytes();
            self.before.insert(deployment.name.clone(), now);
        }
        found.requests_per_s = per_s(sum.requests, seconds);
        found.errors_per_s = per_s(sum.errors, seconds);
        found.cpu = per_s(sum.cpu_us, seconds) / 1e6;
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_that_begin_anew_are_not_taken_off() {
        let totals = |requests, errors, cpu_us| Totals { requests, errors, cpu_us };
        assert_eq!(since(totals(5, 1, 10), totals(9, 2, 30)), totals(4, 1, 20));
        assert_eq!(since(totals(5, 1, 10), totals(2, 1, 3)), totals(2, 1, 3));
        assert!((per_s(10, 2.0) - 5.0).abs() < 1e-6);
    }
}
