//! The disk: commits become durable in order, and what waited for them leaves.

use super::Host;
use crate::wire::{self, Commit, PAGE_BYTES, Problem, Seq, ToEngine};

/// When commits become durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::engine::tests) enum Disk {
    AtOnce,
    /// When the test says so.
    Held,
}

impl Host {
    /// Makes the next commit durable. Whether there was one.
    pub(in crate::engine::tests) fn sync_one(&mut self) -> bool {
        let Some(commit) = self.commits.pop_front() else { return false };
        let Commit { activation, seq, pages, deltas, alarm, complete } = commit;
        self.commit_count += u32::from(complete);
        let Some(kept) = self.activations.get(&activation).and_then(|key| self.objects.get_mut(key)) else {
            return true;
        };
        let mut file = kept.file.borrow_mut();
        file.resize(pages as usize * PAGE_BYTES, 0);
        for delta in deltas {
            let at = (delta.page as usize - 1) * PAGE_BYTES + usize::from(delta.offset);
            file[at..at + delta.bytes.len()].copy_from_slice(&delta.bytes);
        }
        drop(file);
        if !complete {
            return true;
        }
        assert_eq!(seq, Seq(kept.seq.0 + 1), "commits come in order");
        kept.seq = seq;
        match alarm {
            wire::AlarmChange::Unchanged => {}
            wire::AlarmChange::Cleared => kept.alarm = None,
            wire::AlarmChange::Set { at_ms } => kept.alarm = Some(at_ms),
        }
        self.durable.insert(activation, seq);
        // What the commit held back leaves before the engine is heard again, as with the host.
        let hears = std::mem::replace(&mut self.hearing, true);
        self.send(ToEngine::Durable { activation, seq });
        let (free, held) = std::mem::take(&mut self.held)
            .into_iter()
            .partition::<Vec<_>, _>(|(of, after, _)| *of == activation && *after <= seq);
        self.held = held;
        for (_, _, frame) in free {
            self.act(frame);
        }
        self.hear_all(hears);
        true
    }

    pub(in crate::engine::tests) fn sync(&mut self) {
        while self.sync_one() {}
    }

    pub(in crate::engine::tests) fn unsynced(&self) -> usize {
        self.commits.len()
    }

    pub(in crate::engine::tests) fn has_unsynced(&self, name: &str) -> bool {
        self.live(name).is_some_and(|live| self.commits.iter().any(|commit| commit.activation == live))
    }

    /// The process dies: all activations end, what was not durable is lost, and so is every answer that waited for it.
    pub(in crate::engine::tests) fn fail_commits(&mut self, name: &str) {
        let activation = self.live(name).unwrap();
        self.commits.retain(|commit| commit.activation != activation);
        let seq = self.durable.get(&activation).copied().unwrap_or(Seq(0));
        self.held.retain(|(of, _, _)| *of != activation);
        let why = Problem::reset("the disk is full");
        self.send(ToEngine::CommitFailed { activation, seq: Seq(seq.0 + 1), why });
    }
}
