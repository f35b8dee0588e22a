//! The one clock: operations and reconcilers read it, tests set it.

use std::{fmt, sync::Arc};

use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;

/// Where the time comes from. Cheap to clone; clones share a manual clock.
#[derive(Clone)]
pub struct Clock(Source);

#[derive(Clone)]
enum Source {
    System,
    Manual(Arc<Mutex<Timestamp>>),
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Clock({})", self.now())
    }
}

impl Clock {
    pub fn system() -> Self {
        Self(Source::System)
    }
    /// Stands still until [`Clock::advance`].
    pub fn manual(at: Timestamp) -> Self {
        Self(Source::Manual(Arc::new(Mutex::new(at))))
    }
    /// Now, on whole milliseconds, as the databases store it.
    pub fn now(&self) -> Timestamp {
        match &self.0 {
            #[allow(clippy::disallowed_methods, reason = "the one place that reads the system's clock")]
            Source::System => domain::interval::to_millis(Timestamp::now()),
            Source::Manual(at) => *at.lock(),
        }
    }
    /// Moves a manual clock on; the system's goes by itself.
    pub fn advance(&self, by: SignedDuration) {
        match &self.0 {
            Source::System => {}
            Source::Manual(at) => {
                let mut at = at.lock();
                *at = at.saturating_add(by).unwrap_or(Timestamp::MAX);
            }
        }
    }
}
