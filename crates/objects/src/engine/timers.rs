//! Timers of one object.

use super::gates::Section;
use crate::wire::EventId;
use std::collections::{BTreeMap, HashMap};

/// Where a piece of work comes from: what it leads to belongs there as well.
#[derive(Debug, Clone)]
pub(crate) struct Origin {
    pub section: Section,
    pub event: Option<EventId>,
}

/// What a timer is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// `setTimeout` and its like: the code that set it knows the number.
    Code,
    /// The section of this number has run too long.
    Block(u32),
}

#[derive(Debug, thiserror::Error)]
#[error("more than {0} timers are set")]
pub(crate) struct TooManyTimers(u32);

#[derive(Debug, Default)]
pub(crate) struct Timers {
    due: BTreeMap<(i64, u32), (Purpose, Origin)>,
    times: HashMap<u32, i64>,
    last: u32,
    of_code: usize,
}

impl Timers {
    pub(crate) fn set(
        &mut self,
        at_ms: i64,
        purpose: Purpose,
        origin: Origin,
        most: u32,
    ) -> Result<u32, TooManyTimers> {
        if self.due.len() >= most as usize {
            return Err(TooManyTimers(most));
        }
        self.last = self.last.wrapping_add(1);
        self.of_code += usize::from(purpose == Purpose::Code);
        self.due.insert((at_ms, self.last), (purpose, origin));
        self.times.insert(self.last, at_ms);
        Ok(self.last)
    }

    pub(crate) fn clear(&mut self, number: u32) {
        let removed = self.times.remove(&number).and_then(|at_ms| self.due.remove(&(at_ms, number)));
        self.of_code -= usize::from(removed.is_some_and(|(purpose, _)| purpose == Purpose::Code));
    }

    pub(crate) fn next_ms(&self) -> Option<i64> {
        self.due.first_key_value().map(|((at_ms, _), _)| *at_ms)
    }

    /// Whether code waits for a timer.
    pub(crate) fn code_waits(&self) -> bool {
        self.of_code > 0
    }

    /// The earliest that is due; it is set no more.
    pub(crate) fn take_due(&mut self, now_ms: i64) -> Option<(u32, Purpose, Origin)> {
        let entry = self.due.first_entry().filter(|entry| entry.key().0 <= now_ms)?;
        let ((_, number), (purpose, origin)) = entry.remove_entry();
        self.times.remove(&number);
        self.of_code -= usize::from(purpose == Purpose::Code);
        Some((number, purpose, origin))
    }
}
