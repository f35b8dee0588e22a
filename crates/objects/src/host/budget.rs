//! Memory of the host's own that a deployment's code fills, over all its objects: counted, and no more than its limit.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

#[derive(Debug)]
pub struct Budget {
    used_bytes: AtomicUsize,
    most_bytes: usize,
}

impl Budget {
    pub fn new(most_bytes: usize) -> Self {
        Budget { used_bytes: AtomicUsize::new(0), most_bytes }
    }

    fn take(&self, bytes: usize) -> bool {
        let more = |used: usize| used.checked_add(bytes).filter(|used| *used <= self.most_bytes);
        self.used_bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok()
    }

    fn give_back(&self, bytes: usize) {
        self.used_bytes.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// What one holder has of it, given back at its end.
#[derive(Debug)]
pub struct Share {
    budget: Arc<Budget>,
    bytes: usize,
}

impl Share {
    pub fn none(budget: &Arc<Budget>) -> Self {
        Share { budget: Arc::clone(budget), bytes: 0 }
    }

    /// It holds so much from now on. Whether there was room; if not it has what it had.
    pub fn set(&mut self, bytes: usize) -> bool {
        if bytes <= self.bytes {
            self.budget.give_back(self.bytes - bytes);
        } else if !self.budget.take(bytes - self.bytes) {
            return false;
        }
        self.bytes = bytes;
        true
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.budget.give_back(self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_together_have_no_more_than_there_is() {
        let budget = Arc::new(Budget::new(100));
        let (mut one, mut other) = (Share::none(&budget), Share::none(&budget));
        assert!(one.set(60) && other.set(40));
        assert!(!other.set(41));
        assert!(one.set(59) && other.set(41) && !one.set(60));
        drop(other);
        assert!(one.set(100) && !one.set(usize::MAX));
        drop(one);
        assert!(Share::none(&budget).set(100));
    }
}
