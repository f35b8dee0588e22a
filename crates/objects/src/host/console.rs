//! The last lines of a deployment's console, and those that follow.

use std::{collections::VecDeque, sync::Arc};

use parking_lot::Mutex;
use tokio::sync::broadcast;

use super::deployment::ConsoleLine;

/// Lines that are kept.
const MAX_LINES: usize = 2_000;
/// Their text together.
const MAX_BYTES: usize = 1 << 20;
/// Lines that a subscriber may be behind by; then it is told how many it missed.
const BEHIND: usize = 512;

#[derive(Debug)]
pub struct Kept {
    /// Counts up from 1, from the start of the host.
    pub seq: u64,
    pub line: ConsoleLine,
}

/// What is kept of a console.
#[derive(Debug)]
pub struct Console {
    ring: Mutex<Ring>,
    news: broadcast::Sender<Arc<Kept>>,
}

#[derive(Debug, Default)]
struct Ring {
    lines: VecDeque<Arc<Kept>>,
    bytes: usize,
    last: u64,
}

/// Lines after one that was named.
#[derive(Debug)]
pub struct Since {
    /// Oldest first.
    pub lines: Vec<Arc<Kept>>,
    /// So many between the one named and the first of these are kept no more.
    pub lost: u64,
}

impl Default for Console {
    fn default() -> Self {
        Console { ring: Mutex::default(), news: broadcast::Sender::new(BEHIND) }
    }
}

impl Console {
    pub(super) fn add(&self, line: ConsoleLine) {
        let mut ring = self.ring.lock();
        ring.last += 1;
        ring.bytes += line.text.len();
        let kept = Arc::new(Kept { seq: ring.last, line });
        ring.lines.push_back(Arc::clone(&kept));
        while ring.lines.len() > MAX_LINES || ring.bytes > MAX_BYTES {
            let Some(oldest) = ring.lines.pop_front() else { break };
            ring.bytes -= oldest.line.text.len();
        }
        // Under the lock: subscribers get lines in order. That nobody subscribes is no error.
        drop(self.news.send(kept));
    }

    /// At most `limit` lines after the one of that number; 0: from the oldest on.
    pub fn since(&self, seq: u64, limit: usize) -> Since {
        let ring = self.ring.lock();
        let first = ring.lines.front().map_or(ring.last + 1, |kept| kept.seq);
        let from = ring.lines.partition_point(|kept| kept.seq <= seq);
        let lines = ring.lines.iter().skip(from).take(limit).cloned().collect();
        Since { lines, lost: first.saturating_sub(seq.saturating_add(1)) }
    }

    /// Lines from now on. Whoever subscribes first and asks for [`Self::since`] then misses none.
    pub fn subscribe(&self) -> broadcast::Receiver<Arc<Kept>> {
        self.news.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Level;

    fn line(text: &str) -> ConsoleLine {
        ConsoleLine {
            deployment: "d".to_owned(),
            object: None,
            class: None,
            name: None,
            level: Level::Log,
            text: text.to_owned(),
            at_ms: 0,
        }
    }

    fn texts(since: &Since) -> Vec<&str> {
        since.lines.iter().map(|kept| kept.line.text.as_str()).collect()
    }

    #[test]
    fn lines_are_found_by_number_and_those_that_went_are_counted() {
        let console = Console::default();
        let mut news = console.subscribe();
        for number in 1..=MAX_LINES + 3 {
            console.add(line(&number.to_string()));
        }
        let all = console.since(0, usize::MAX);
        assert_eq!((all.lines.len(), all.lost), (MAX_LINES, 3));
        let some = console.since(5, 2);
        assert_eq!((texts(&some), some.lost), (vec!["6", "7"], 0));
        assert_eq!(console.since(1, 1).lost, 2);
        let none = console.since(u64::MAX, 9);
        assert_eq!((none.lines.len(), none.lost), (0, 0));
        assert!(matches!(news.try_recv(), Err(broadcast::error::TryRecvError::Lagged(_))), "it is told what it missed");
        assert!(news.try_recv().is_ok());
    }

    #[test]
    fn long_lines_push_out_older_ones() {
        let console = Console::default();
        for _ in 0..5 {
            console.add(line(&"x".repeat(MAX_BYTES / 2)));
        }
        assert_eq!(console.since(0, 9).lines.len(), 2);
        console.add(line(&"x".repeat(MAX_BYTES + 1)));
        let since = console.since(0, 9);
        assert_eq!((since.lines.len(), since.lost), (0, 6), "one that is longer than all that is kept is not kept");
    }
}
