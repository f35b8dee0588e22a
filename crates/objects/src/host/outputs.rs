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
    held: VecDeque<(u64, T)>,
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
        Outputs { durable: seq, failed_from: None, held: VecDeque::new() }
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

    /// `after`: the last commit that the activation had made when it said it. Order is kept: nothing overtakes what waits.
    pub fn offer(&mut self, after: u64, output: T) -> Passage<T> {
        if self.failed_from.is_some_and(|failed| after >= failed) {
            return Passage::Lost(output);
        }
        if after <= self.durable && self.held.is_empty() {
            return Passage::Leaves(output);
        }
        self.held.push_back((after, output));
        Passage::Waits
    }

    /// Commits up to `seq` are durable: what may leave now.
    pub fn release(&mut self, seq: u64) -> Vec<T> {
        self.durable = self.durable.max(seq);
        let ready = self.held.iter().take_while(|(after, _)| *after <= self.durable).count();
        self.held.drain(..ready).map(|(_, output)| output).collect()
    }

    /// The commit `seq`, and whatever follows it, failed: what is lost with it. What was said before still waits for its
    /// own commits.
    pub fn fail(&mut self, seq: u64) -> Vec<T> {
        let failed = self.failed_from.map_or(seq, |before| before.min(seq));
        self.failed_from = Some(failed);
        let from = self.held.iter().position(|(after, _)| *after >= failed).unwrap_or(self.held.len());
        self.held.drain(from..).map(|(_, output)| output).collect()
    }

    /// The activation ended before what still waits could leave.
    pub fn give_up(&mut self) -> Vec<T> {
        self.held.drain(..).map(|(_, output)| output).collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn nothing_leaves_before_its_commit_and_nothing_overtakes() {
        let mut outputs = Outputs::new(4);
        assert_eq!(outputs.offer(4, "a"), Passage::Leaves("a"));
        assert_eq!(outputs.offer(5, "b"), Passage::Waits);
        // Says that it rests on less, as what was written without being confirmed: still behind.
        assert_eq!(outputs.offer(4, "c"), Passage::Waits);
        assert_eq!(outputs.offer(6, "d"), Passage::Waits);
        assert_eq!(outputs.release(5), ["b", "c"]);
        assert_eq!(outputs.release(5), [""; 0]);
        assert_eq!(outputs.release(6), ["d"]);
    }

    #[test]
    fn a_failed_commit_takes_along_what_rests_on_it_for_good() {
        let mut outputs = Outputs::new(0);
        for after in [1, 2, 2, 3] {
            assert_eq!(outputs.offer(after, after), Passage::Waits);
        }
        assert_eq!(outputs.fail(2), [2, 2, 3]);
        assert_eq!(outputs.offer(2, 9), Passage::Lost(9));
        assert_eq!(outputs.release(1), [1]);
        assert_eq!(outputs.offer(1, 7), Passage::Leaves(7));
        assert_eq!(outputs.offer(3, 8), Passage::Lost(8));
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
                        match outputs.offer(made, (made, said)) {
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
            prop_assert!(left.is_sorted_by(|a, b| a.1 < b.1));
            // Once all is durable nothing waits.
            prop_assert!(made > durable || outputs.held() == 0);
        }
    }
}
