//! The output gate: what an activation says waits here until what it wrote before is durable.

use std::collections::VecDeque;

/// The gate of one activation.
#[derive(Debug)]
pub struct Outputs<T> {
    /// Every commit up to this one is durable.
    durable: u64,
    /// No commit from this one on ever will be.
    failed_from: Option<u64>,
    /// In the order in which it was said.
    held: VecDeque<Held<T>>,
    held_bytes: usize,
}

#[derive(Debug)]
struct Held<T> {
    after: u64,
    bytes: usize,
    output: T,
}

/// What happens to something that was said.
#[derive(Debug, PartialEq, Eq)]
pub enum Passage<T> {
    Leaves(T),
    Waits,
    /// The commit that it rests on failed.
    Lost(T),
}

impl<T> Outputs<T> {
    /// `seq`: of the last commit in the database when the activation began.
    pub fn new(seq: u64) -> Self {
        Outputs { durable: seq, failed_from: None, held: VecDeque::new(), held_bytes: 0 }
    }

    pub fn durable_seq(&self) -> u64 {
        self.durable
    }

    /// Whether no commit has failed.
    pub fn is_whole(&self) -> bool {
        self.failed_from.is_none()
    }

    pub fn held(&self) -> usize {
        self.held.len()
    }

    /// Of all that waits.
    pub fn held_bytes(&self) -> usize {
        self.held_bytes
    }

    /// `after`: the last commit that the activation had made when it said it. `bytes`: what it takes while it waits. Order
    /// is kept: nothing overtakes what waits.
    pub fn offer(&mut self, after: u64, bytes: usize, output: T) -> Passage<T> {
        if self.failed_from.is_some_and(|failed| after >= failed) {
            return Passage::Lost(output);
        }
        if after <= self.durable && self.held.is_empty() {
            return Passage::Leaves(output);
        }
        self.held_bytes += bytes;
        self.held.push_back(Held { after, bytes, output });
        Passage::Waits
    }

    /// Commits up to `seq` are durable: what may leave now.
    pub fn release(&mut self, seq: u64) -> Vec<T> {
        self.durable = self.durable.max(seq);
        let ready = self.held.iter().take_while(|held| held.after <= self.durable).count();
        self.drain(0, ready)
    }

    /// The commit `seq`, and whatever follows it, failed: what is lost with it. What was said before still waits for its
    /// own commits.
    pub fn fail(&mut self, seq: u64) -> Vec<T> {
        let failed = self.failed_from.map_or(seq, |before| before.min(seq));
        self.failed_from = Some(failed);
        let from = self.held.iter().position(|held| held.after >= failed).unwrap_or(self.held.len());
        self.drain(from, self.held.len())
    }

    /// The activation ended before what still waits could leave.
    pub fn give_up(&mut self) -> Vec<T> {
        self.drain(0, self.held.len())
    }

    /// More waits than may: all of it is lost, and whatever is still to come.
    pub fn overflow(&mut self) -> Vec<T> {
        self.failed_from = Some(0);
        self.give_up()
    }

    fn drain(&mut self, from: usize, to: usize) -> Vec<T> {
        let drained: Vec<Held<T>> = self.held.drain(from..to).collect();
        self.held_bytes -= drained.iter().map(|held| held.bytes).sum::<usize>();
        drained.into_iter().map(|held| held.output).collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn nothing_leaves_before_its_commit_and_nothing_overtakes() {
        let mut outputs = Outputs::new(4);
        assert_eq!(outputs.offer(4, 1, "a"), Passage::Leaves("a"));
        assert_eq!(outputs.offer(5, 1, "b"), Passage::Waits);
        // Says that it rests on less, as what was written without being confirmed: still behind.
        assert_eq!(outputs.offer(4, 1, "c"), Passage::Waits);
        assert_eq!(outputs.offer(6, 1, "d"), Passage::Waits);
        assert_eq!(outputs.release(5), ["b", "c"]);
        assert_eq!(outputs.release(5), [""; 0]);
        assert_eq!(outputs.release(6), ["d"]);
    }

    #[test]
    fn a_failed_commit_takes_along_what_rests_on_it_for_good() {
        let mut outputs = Outputs::new(0);
        for after in [1, 2, 2, 3] {
            assert_eq!(outputs.offer(after, 1, after), Passage::Waits);
        }
        assert_eq!(outputs.fail(2), [2, 2, 3]);
        assert_eq!(outputs.offer(2, 1, 9), Passage::Lost(9));
        assert_eq!(outputs.release(1), [1]);
        assert_eq!(outputs.offer(1, 1, 7), Passage::Leaves(7));
        assert_eq!(outputs.offer(3, 1, 8), Passage::Lost(8));
    }

    #[test]
    fn too_much_is_lost_with_all_that_follows() {
        let mut outputs = Outputs::new(0);
        assert_eq!(outputs.offer(1, 10, "a"), Passage::Waits);
        assert_eq!(outputs.offer(1, 20, "b"), Passage::Waits);
        assert_eq!(outputs.held_bytes(), 30);
        assert_eq!(outputs.overflow(), ["a", "b"]);
        assert_eq!((outputs.held_bytes(), outputs.release(1)), (0, vec![]));
        assert_eq!(outputs.offer(0, 1, "c"), Passage::Lost("c"));
    }

    #[derive(Debug, Clone)]
    enum Step {
        Commit,
        Say,
        Durable,
        Fail,
    }

    proptest! {
        /// Whatever happens in whatever order: what left had its commit on disk, in order, once.
        #[test]
        fn whatever_happens(steps in proptest::collection::vec(
            prop_oneof![Just(Step::Commit), Just(Step::Say), Just(Step::Say), Just(Step::Durable), Just(Step::Fail)], 0..60)) {
            let mut outputs = Outputs::new(0);
            let (mut made, mut durable, mut failed, mut said) = (0_u64, 0_u64, None::<u64>, 0_u64);
            let mut left: Vec<(u64, u64)> = Vec::new();
            for step in steps {
                match step {
                    Step::Commit => made += 1,
                    Step::Say => {
                        said += 1;
                        match outputs.offer(made, 3, (made, said)) {
                            Passage::Leaves(output) => left.push(output),
                            Passage::Waits => {}
                            Passage::Lost((after, _)) => prop_assert!(failed.is_some_and(|failed| after >= failed)),
                        }
                    }
                    Step::Durable if durable < made && failed.is_none() => {
                        durable += 1;
                        left.extend(outputs.release(durable));
                    }
                    Step::Fail if durable < made && failed.is_none() => {
                        failed = Some(durable + 1);
                        outputs.fail(durable + 1);
                    }
                    Step::Durable | Step::Fail => {}
                }
                prop_assert!(left.iter().all(|(after, _)| *after <= durable));
            }
            prop_assert_eq!(outputs.held_bytes(), outputs.held() * 3);
            prop_assert!(left.is_sorted_by(|a, b| a.1 < b.1));
            // Once all is durable nothing waits.
            prop_assert!(made > durable || outputs.held() == 0);
        }
    }
}
