//! The stubs that a deployment knows, to be found by whoever gave them and by whoever has them: there may be a hundred thousand.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    hash::Hash,
};

use super::{Giver, Holder, Stub};
use crate::{
    host::deployment::links::LinkId,
    wire::{Activation, StubId},
};

#[derive(Debug, Default)]
pub struct Stubs {
    all: HashMap<StubId, Stub>,
    by_memory: HashMap<(u32, Activation), HashSet<StubId>>,
    /// By the connection that they came over: the name at its other end, which may have come more than once, and the one here.
    by_link: HashMap<LinkId, BTreeSet<(StubId, StubId)>>,
    /// Of those that are with somebody.
    by_holder: HashMap<Holder, HashSet<StubId>>,
}

fn leave<K: Eq + Hash>(index: &mut HashMap<K, HashSet<StubId>>, key: &K, stub: StubId) {
    if let Some(stubs) = index.get_mut(key) {
        stubs.remove(&stub);
        if stubs.is_empty() {
            index.remove(key);
        }
    }
}

fn listed<K: Eq + Hash>(index: &HashMap<K, HashSet<StubId>>, key: &K) -> Vec<StubId> {
    index.get(key).into_iter().flatten().copied().collect()
}

impl Stubs {
    pub fn get(&self, stub: StubId) -> Option<Stub> {
        self.all.get(&stub).copied()
    }

    /// It is on its way, from now on; nothing changes if it is known.
    pub fn give(&mut self, stub: StubId, giver: Giver) {
        if self.all.contains_key(&stub) {
            return;
        }
        self.all.insert(stub, Stub { giver, holder: Holder::Nobody });
        match giver {
            Giver::Engine { process, activation } => {
                self.by_memory.entry((process, activation)).or_default().insert(stub);
            }
            Giver::Link { link, stub: there } => {
                self.by_link.entry(link).or_default().insert((there, stub));
            }
        }
    }

    /// It is with somebody, if it is known.
    pub fn take(&mut self, stub: StubId, by: Holder) {
        let Some(known) = self.all.get_mut(&stub) else { return };
        let before = std::mem::replace(&mut known.holder, by);
        leave(&mut self.by_holder, &before, stub);
        match by {
            Holder::Engine(_) | Holder::Link(_) => drop(self.by_holder.entry(by).or_default().insert(stub)),
            Holder::Nobody => {}
        }
    }

    pub fn remove(&mut self, stub: StubId) -> Option<Stub> {
        let known = self.all.remove(&stub)?;
        leave(&mut self.by_holder, &known.holder, stub);
        match known.giver {
            Giver::Engine { process, activation } => leave(&mut self.by_memory, &(process, activation), stub),
            Giver::Link { link, stub: there } => {
                if let Some(came) = self.by_link.get_mut(&link) {
                    came.remove(&(there, stub));
                    if came.is_empty() {
                        self.by_link.remove(&link);
                    }
                }
            }
        }
        Some(known)
    }

    pub fn given_by(&self, process: u32, activation: Activation) -> Vec<StubId> {
        listed(&self.by_memory, &(process, activation))
    }

    /// That are with somebody.
    pub fn held_by(&self, holder: Holder) -> Vec<StubId> {
        listed(&self.by_holder, &holder)
    }

    pub fn came_by(&self, link: LinkId) -> Vec<StubId> {
        self.by_link.get(&link).into_iter().flatten().map(|(_, stub)| *stub).collect()
    }

    /// What the other end of a connection gave under that name.
    pub fn named_by(&self, link: LinkId, there: StubId) -> Vec<StubId> {
        let Some(came) = self.by_link.get(&link) else { return Vec::new() };
        came.range((there, StubId(0))..=(there, StubId(u64::MAX))).map(|(_, stub)| *stub).collect()
    }

    /// Whether something came over the connection, or is with its other end.
    pub fn any_of(&self, link: LinkId) -> bool {
        self.by_link.contains_key(&link) || self.by_holder.contains_key(&Holder::Link(link))
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use proptest::{collection::vec, prelude::*};

    use super::*;

    const MEMORIES: [(u32, Activation); 3] = [(1, Activation(0)), (1, Activation(1)), (2, Activation(1))];

    fn links() -> [LinkId; 2] {
        [LinkId::of(1), LinkId::of(2)]
    }

    fn holders() -> Vec<Holder> {
        let links = links().map(Holder::Link);
        [Holder::Engine(1), Holder::Engine(2)].into_iter().chain(links).collect()
    }

    #[derive(Debug, Clone, Copy)]
    enum Step {
        Give(u64, usize),
        Take(u64, usize),
        Remove(u64),
    }

    fn giver(which: usize, stub: u64) -> Giver {
        match MEMORIES.get(which) {
            Some((process, activation)) => Giver::Engine { process: *process, activation: *activation },
            // Two have the same name there.
            None => Giver::Link { link: links()[which - MEMORIES.len()], stub: StubId(stub / 2) },
        }
    }

    fn sorted(mut stubs: Vec<StubId>) -> Vec<StubId> {
        stubs.sort();
        stubs
    }

    /// What looking through all of them finds.
    fn scan(stubs: &Stubs, wanted: impl Fn(Stub) -> bool) -> Vec<StubId> {
        sorted(stubs.all.iter().filter(|(_, known)| wanted(**known)).map(|(stub, _)| *stub).collect())
    }

    fn check(stubs: &Stubs) {
        for (process, activation) in MEMORIES {
            let expected = scan(stubs, |known| known.giver == Giver::Engine { process, activation });
            assert_eq!(sorted(stubs.given_by(process, activation)), expected);
        }
        for holder in holders() {
            assert_eq!(sorted(stubs.held_by(holder)), scan(stubs, |known| known.holder == holder));
        }
        for link in links() {
            let came = scan(stubs, |known| matches!(known.giver, Giver::Link { link: by, .. } if by == link));
            assert_eq!(sorted(stubs.came_by(link)), came);
            for there in (0..4).map(StubId) {
                let named = scan(stubs, |known| known.giver == Giver::Link { link, stub: there });
                assert_eq!(sorted(stubs.named_by(link, there)), named);
            }
            let held = scan(stubs, |known| known.holder == Holder::Link(link));
            assert_eq!(stubs.any_of(link), !came.is_empty() || !held.is_empty());
        }
        if stubs.all.is_empty() {
            assert!(stubs.by_memory.is_empty() && stubs.by_link.is_empty() && stubs.by_holder.is_empty(), "{stubs:?}");
        }
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            (0..8_u64, 0..5_usize).prop_map(|(stub, which)| Step::Give(stub, which)),
            (0..8_u64, 0..5_usize).prop_map(|(stub, which)| Step::Take(stub, which)),
            (0..8_u64).prop_map(Step::Remove),
        ];
        vec(step, 0..60)
    }

    proptest! {
        #[test]
        fn what_is_found_is_what_looking_through_all_finds(steps in steps()) {
            let mut stubs = Stubs::default();
            for step in steps {
                match step {
                    Step::Give(stub, which) => stubs.give(StubId(stub), giver(which, stub)),
                    Step::Take(stub, which) => {
                        stubs.take(StubId(stub), holders().get(which).copied().unwrap_or(Holder::Nobody));
                    }
                    Step::Remove(stub) => drop(stubs.remove(StubId(stub))),
                }
                check(&stubs);
            }
            let left: Vec<StubId> = stubs.all.keys().copied().collect();
            for stub in left {
                stubs.remove(stub);
            }
            check(&stubs);
        }
    }

    /// Looking through them for each would be ten thousand million steps.
    #[test]
    fn a_hundred_thousand_cost_nothing() {
        const COUNT: u64 = 100_000;
        let [busy, other] = links();
        let mut stubs = Stubs::default();
        let begun = Instant::now();
        for stub in 0..COUNT {
            stubs.give(StubId(stub), Giver::Link { link: busy, stub: StubId(stub + COUNT) });
            stubs.take(StubId(stub), Holder::Engine(1));
        }
        for stub in 0..COUNT {
            assert!(stubs.any_of(busy) && !stubs.any_of(other));
            assert_eq!(stubs.named_by(busy, StubId(stub + COUNT)), [StubId(stub)]);
            assert_eq!(stubs.given_by(1, Activation(1)), []);
            stubs.remove(StubId(stub));
        }
        assert!(!stubs.any_of(busy));
        assert!(begun.elapsed() < Duration::from_secs(10), "it took {:?}", begun.elapsed());
    }
}
