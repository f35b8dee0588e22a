//! Fires alarms when they are due, again after a failure, and goes on where it was after a start.

use std::{
    collections::HashMap,
    path::Path,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;

use super::{
    HostOptions,
    deployment::Deployment,
    log::{Log, ObjectKey},
    retries::{self, Retry},
};
use crate::wire::{AlarmOutcome, Problem};

/// The wait after the first failure; doubled after each.
const FIRST_RETRY_MS: i64 = 2_000;
const MAX_RETRIES: u32 = 6;
/// The wait after a time when the handler was not reached; doubled after each up to the longest, and never given up.
const FIRST_PAUSE_MS: i64 = 1_000;
const LONGEST_PAUSE_MS: i64 = 30_000;
/// How often the list is looked at: what is armed meanwhile is at most so late.
const LOOK: Duration = Duration::from_millis(20);
/// When an alarm is looked at again whose object is of no deployment.
const NOBODYS_MS: i64 = 60_000;
/// Fired in one look.
const AT_ONCE: usize = 256;

/// How it went when an alarm was fired.
#[derive(Debug, Clone)]
pub enum Fired {
    Ran(AlarmOutcome),
    /// The handler was not reached, or what it did is lost by no fault of its own: that counts as no attempt.
    NotRun(Problem),
}

/// What is known of an alarm that was fired or has failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Attempt {
    scheduled_ms: i64,
    /// Attempts that have failed.
    retry: u32,
    /// Times in a row that the handler was not reached.
    missed: u32,
    stage: Stage,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Running,
    Waiting { until_ms: i64 },
}

/// Alarms of all deployments of a host.
#[derive(Debug, Default)]
pub struct AlarmClock {
    attempts: Mutex<HashMap<ObjectKey, Attempt>>,
    /// What waits has changed since it was written.
    changed: AtomicBool,
}

impl AlarmClock {
    /// Goes on with what had failed before the host ended.
    pub fn new(retries: Vec<Retry>) -> Self {
        let attempts = retries.into_iter().map(|Retry { key, scheduled_ms, at_ms, retry }| {
            (key, Attempt { scheduled_ms, retry, missed: 0, stage: Stage::Waiting { until_ms: at_ms } })
        });
        AlarmClock { attempts: Mutex::new(attempts.collect()), changed: AtomicBool::new(false) }
    }

    /// What failed and waits, if that has changed since the last look. Of alarms that are armed no more nothing is kept.
    fn changed_retries(&self, armed: impl Fn(&ObjectKey) -> Option<i64>) -> Option<Vec<Retry>> {
        if !self.changed.swap(false, Ordering::Relaxed) {
            return None;
        }
        let mut attempts = self.attempts.lock();
        attempts.retain(|key, attempt| match attempt.stage {
            Stage::Waiting { .. } => armed(key) == Some(attempt.scheduled_ms),
            Stage::Running => true,
        });
        let failed = attempts.iter().filter(|(_, attempt)| attempt.retry > 0).map(|(key, attempt)| {
            let Attempt { scheduled_ms, retry, missed: _, stage } = *attempt;
            let at_ms = match stage {
                Stage::Waiting { until_ms } => until_ms,
                // While it runs it counts as it was: if the host ends meanwhile, it is run again.
                Stage::Running => 0,
            };
            Retry { key: *key, scheduled_ms, at_ms, retry }
        });
        Some(failed.collect())
    }

    /// Which alarms are to be fired now; they count as running from here on.
    fn take_due(&self, due: impl IntoIterator<Item = (i64, ObjectKey)>, now_ms: i64) -> Vec<(ObjectKey, i64, u32)> {
        let mut attempts = self.attempts.lock();
        let mut fired = Vec::new();
        for (scheduled_ms, key) in due {
            if fired.len() == AT_ONCE {
                break;
            }
            let (retry, missed) = match attempts.get(&key) {
                Some(Attempt { stage: Stage::Running, .. }) => continue,
                // Moved by the object since: begins anew.
                Some(attempt) if attempt.scheduled_ms != scheduled_ms => (0, 0),
                Some(Attempt { stage: Stage::Waiting { until_ms }, .. }) if *until_ms > now_ms => continue,
                Some(Attempt { retry, missed, .. }) => (*retry, *missed),
                None => (0, 0),
            };
            attempts.insert(key, Attempt { scheduled_ms, retry, missed, stage: Stage::Running });
            fired.push((key, scheduled_ms, retry));
        }
        fired
    }

    /// How it went when it was fired.
    pub fn fired(&self, key: ObjectKey, fired: &Fired, now_ms: i64) {
        let mut attempts = self.attempts.lock();
        let Some(attempt) = attempts.get_mut(&key).filter(|attempt| attempt.stage == Stage::Running) else { return };
        match fired {
            Fired::NotRun(problem) => {
                tracing::debug!(object = hex::encode(key.id), %problem, "an alarm waits, as it could not be run");
                let doubled = FIRST_PAUSE_MS << attempt.missed.min(10);
                attempt.stage = Stage::Waiting { until_ms: now_ms + doubled.min(LONGEST_PAUSE_MS) };
                attempt.missed += 1;
            }
            Fired::Ran(AlarmOutcome::Failed { .. }) => {
                attempt.missed = 0;
                let until_ms = if attempt.retry < MAX_RETRIES {
                    attempt.retry += 1;
                    now_ms + (FIRST_RETRY_MS << (attempt.retry - 1))
                } else {
                    tracing::warn!(object = hex::encode(key.id), "an alarm failed too often and is given up");
                    i64::MAX
                };
                attempt.stage = Stage::Waiting { until_ms };
                self.changed.store(true, Ordering::Relaxed);
            }
            // The index follows the database: what is not due there is soon not due here.
            Fired::Ran(AlarmOutcome::Done | AlarmOutcome::NotDue { .. }) => {
                if attempt.retry > 0 {
                    self.changed.store(true, Ordering::Relaxed);
                }
                attempts.remove(&key);
            }
        }
    }

    /// No deployment here has the object's class: one may come.
    fn put_off(&self, key: ObjectKey, scheduled_ms: i64, now_ms: i64) {
        let stage = Stage::Waiting { until_ms: now_ms + NOBODYS_MS };
        let mut attempts = self.attempts.lock();
        // What failed before it came to be of nobody has failed.
        let retry = attempts.get(&key).map_or(0, |attempt| attempt.retry);
        attempts.insert(key, Attempt { scheduled_ms, retry, missed: 0, stage });
    }
}

/// Runs until the host is gone.
pub async fn run(
    clock: Arc<AlarmClock>,
    log: Weak<Log>,
    options: Arc<HostOptions>,
    deployments: impl Fn() -> Vec<Arc<Deployment>>,
) {
    let mut ticks = tokio::time::interval(LOOK);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let Some(log) = log.upgrade() else { return };
        let now_ms = options.now_ms();
        if let Some(retries) = clock.changed_retries(|key| log.alarms().lock().of(key)) {
            write(&options.directory, retries).await;
        }
        let due = clock.take_due(log.alarms().lock().due(now_ms), now_ms);
        if due.is_empty() {
            continue;
        }
        let deployments = deployments();
        for (key, scheduled_ms, retry) in due {
            let taken = deployments.iter().any(|deployment| deployment.fire_alarm(key, scheduled_ms, retry));
            if !taken {
                clock.put_off(key, scheduled_ms, now_ms);
            }
        }
    }
}

async fn write(directory: &Path, retries: Vec<Retry>) {
    let directory = directory.to_owned();
    let written = tokio::task::spawn_blocking(move || retries::save(&directory, &retries)).await;
    match written {
        Ok(Ok(())) => {}
        // Alarms that failed begin anew after a start, which at least once allows.
        Ok(Err(error)) => tracing::warn!(%error, "which alarms failed cannot be written down"),
        Err(error) => tracing::warn!(%error, "which alarms failed was not written down"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: ObjectKey = ObjectKey { namespace: [1; 16], id: [2; 32] };

    fn failed() -> Fired {
        Fired::Ran(AlarmOutcome::Failed { problem: Problem::new("Error", "no") })
    }

    fn done() -> Fired {
        Fired::Ran(AlarmOutcome::Done)
    }

    #[test]
    fn one_that_could_not_be_run_waits_ever_longer_and_is_never_given_up() {
        let clock = AlarmClock::default();
        let mut now_ms = 100;
        let mut waits = Vec::new();
        for _ in 0..9 {
            let since = now_ms;
            while clock.take_due(vec![(100, KEY)], now_ms).is_empty() {
                now_ms += 500;
            }
            waits.push(now_ms - since);
            clock.fired(KEY, &Fired::NotRun(Problem::new("Error", "the engine was lost")), now_ms);
        }
        assert_eq!(waits, [0, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000, 30_000]);
        assert_eq!(clock.changed_retries(|_| Some(100)), None, "nothing has failed");
        now_ms += LONGEST_PAUSE_MS;
        assert_eq!(clock.take_due(vec![(100, KEY)], now_ms), [(KEY, 100, 0)], "the first attempt is yet to come");
        clock.fired(KEY, &failed(), now_ms);
        assert!(clock.take_due(vec![(100, KEY)], now_ms + FIRST_RETRY_MS - 1).is_empty());
        assert_eq!(clock.take_due(vec![(100, KEY)], now_ms + FIRST_RETRY_MS), [(KEY, 100, 1)]);
    }

    #[test]
    fn a_failed_alarm_comes_again_later_and_later_and_six_times() {
        let clock = AlarmClock::default();
        let mut now_ms = 100;
        let mut waits = Vec::new();
        for retry in 0..=MAX_RETRIES {
            let since = now_ms;
            while clock.take_due(vec![(100, KEY)], now_ms).is_empty() {
                now_ms += 500;
            }
            waits.push(now_ms - since);
            assert!(clock.take_due(vec![(100, KEY)], now_ms).is_empty(), "it runs once at a time: {retry}");
            clock.fired(KEY, &failed(), now_ms);
        }
        assert_eq!(waits, [0, 2_000, 4_000, 8_000, 16_000, 32_000, 64_000]);
        assert!(clock.take_due(vec![(100, KEY)], i64::MAX - 1).is_empty());
        assert_eq!(clock.take_due(vec![(777, KEY)], now_ms), [(KEY, 777, 0)], "armed anew it begins anew");
        clock.fired(KEY, &done(), now_ms);
        assert_eq!(clock.take_due(vec![(778, KEY)], now_ms).len(), 1);
    }

    #[test]
    fn attempts_are_counted_over_a_start() {
        let clock = AlarmClock::default();
        let armed = |_: &ObjectKey| Some(100);
        assert_eq!(clock.take_due(vec![(100, KEY)], 100), [(KEY, 100, 0)]);
        assert_eq!(clock.changed_retries(armed), None, "nothing has failed");
        clock.fired(KEY, &failed(), 100);
        let retries = clock.changed_retries(armed).expect("it failed");
        assert_eq!(retries, [Retry { key: KEY, scheduled_ms: 100, at_ms: 2_100, retry: 1 }]);
        assert_eq!(clock.changed_retries(armed), None, "is written once");
        let clock = AlarmClock::new(retries);
        assert!(clock.take_due(vec![(100, KEY)], 2_099).is_empty());
        assert_eq!(clock.take_due(vec![(100, KEY)], 2_100), [(KEY, 100, 1)]);
        clock.fired(KEY, &failed(), 2_100);
        assert_eq!(clock.changed_retries(|_| Some(777)), Some(Vec::new()), "it was armed anew");
        assert_eq!(clock.take_due(vec![(777, KEY)], 2_100), [(KEY, 777, 0)]);
    }
}
