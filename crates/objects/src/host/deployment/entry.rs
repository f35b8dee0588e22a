//! An entry worker that ends its engine: out of the objects' way first, then not at once again.

use std::time::{Duration, Instant};

use super::{deliver::DEATHS_TO_QUARANTINE, effects::Context, state::State};
use crate::wire::Problem;

const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// After so long without a death nothing is held against it.
const FORGIVEN_AFTER: Duration = Duration::from_secs(300);

/// How the entry worker has behaved.
#[derive(Debug, Default)]
pub struct EntryHealth {
    deaths: u32,
    last: Option<Instant>,
    /// Of its own, once it has ended one that objects lived in.
    process: Option<u32>,
}

impl EntryHealth {
    /// Why it gets no request now.
    fn refuses(&self, now: Instant) -> Option<Problem> {
        let beyond = self.deaths.checked_sub(DEATHS_TO_QUARANTINE)?;
        let pause = FIRST_PAUSE.saturating_mul(1 << beyond.min(8)).min(LONGEST_PAUSE);
        let until = self.last? + pause;
        let deaths = self.deaths;
        let message = format!("the worker ended its engine {deaths} times: it is not started again at once");
        (now < until).then(|| Problem { overloaded: true, retryable: true, ..Problem::new("Error", message) })
    }

    pub fn died(&mut self, now: Instant) {
        self.deaths = self.deaths.saturating_add(1);
        self.last = Some(now);
        tracing::warn!(deaths = self.deaths, "an engine died while it ran the entry worker's code");
    }

    pub fn is_in(&self, process: u32) -> bool {
        self.process == Some(process)
    }

    pub fn process_ended(&mut self, process: u32) {
        if self.is_in(process) {
            self.process = None;
        }
    }

    pub fn forgive(&mut self, now: Instant) {
        if self.last.is_some_and(|last| now.saturating_duration_since(last) >= FORGIVEN_AFTER) {
            *self = Self::default();
        }
    }
}

impl State {
    /// The engine for the next request to the entry worker.
    pub fn entry_process(&mut self, context: &mut Context<'_>) -> Result<u32, Problem> {
        if let Some(problem) = self.unloadable.clone().or_else(|| self.entry.refuses(context.now)) {
            return Err(problem);
        }
        if self.entry.deaths == 0 {
            return Ok(self.current_process(context));
        }
        match self.entry.process {
            Some(process) => Ok(process),
            None => {
                let process = self.start_process(None, context);
                self.entry.process = Some(process);
                Ok(process)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_their_limit_and_are_forgiven() {
        let mut entry = EntryHealth::default();
        let begun = Instant::now();
        for _ in 1..DEATHS_TO_QUARANTINE {
            entry.died(begun);
            assert!(entry.refuses(begun).is_none());
        }
        for seconds in [1, 2, 4, 8, 16, 32, 60, 60] {
            entry.died(begun);
            let pause = Duration::from_secs(seconds);
            assert!(entry.refuses(begun + pause - Duration::from_millis(1)).is_some(), "{seconds}");
            assert!(entry.refuses(begun + pause).is_none(), "{seconds}");
        }
        entry.forgive(begun + FORGIVEN_AFTER - Duration::from_millis(1));
        assert!(entry.deaths > 0);
        entry.forgive(begun + FORGIVEN_AFTER);
        assert!(entry.deaths == 0 && entry.refuses(begun).is_none());
    }
}
