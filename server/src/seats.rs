//! How many of something each may have on this server at a time: so many and no more.

use std::{collections::HashMap, hash::Hash, sync::Arc};

use parking_lot::Mutex;

/// The places that are taken, by whose they are.
#[derive(Debug)]
pub(crate) struct Seats<K> {
    most: usize,
    taken: Arc<Mutex<HashMap<K, usize>>>,
}

impl<K> Clone for Seats<K> {
    fn clone(&self) -> Self {
        Self { most: self.most, taken: self.taken.clone() }
    }
}

/// One place; given back when dropped.
#[derive(Debug)]
pub(crate) struct Seat<K: Copy + Eq + Hash> {
    taken: Arc<Mutex<HashMap<K, usize>>>,
    whose: K,
}

impl<K: Copy + Eq + Hash> Seats<K> {
    /// So many for each.
    pub(crate) fn of_each(most: usize) -> Self {
        Self { most, taken: Arc::default() }
    }

    /// `None` if all of theirs are taken.
    pub(crate) fn take(&self, whose: K) -> Option<Seat<K>> {
        let mut taken = self.taken.lock();
        let of_theirs = taken.get(&whose).copied().unwrap_or_default();
        if of_theirs >= self.most {
            return None;
        }
        taken.insert(whose, of_theirs + 1);
        Some(Seat { taken: self.taken.clone(), whose })
    }
}

impl<K: Copy + Eq + Hash> Drop for Seat<K> {
    fn drop(&mut self) {
        let mut all = self.taken.lock();
        if let Some(taken) = all.get_mut(&self.whose) {
            *taken -= 1;
            if *taken == 0 {
                all.remove(&self.whose);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_has_so_many_and_no_more() {
        let seats = Seats::of_each(3);
        let mut taken: Vec<_> = std::iter::from_fn(|| seats.take("ann")).collect();
        assert_eq!(taken.len(), 3);
        assert!(seats.take("bob").is_some());
        taken.pop();
        assert!(seats.take("ann").is_some());
        drop(taken);
        assert!(seats.taken.lock().is_empty());
    }
}
