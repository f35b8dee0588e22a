//! What a process wrote, by position in all that it ever wrote: whoever comes back reads on from where they were.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};
use protocol::tunnel::MAX_DATA_BYTES;

/// The part that is remembered.
#[derive(Debug, Default)]
pub struct Tape {
    bytes: VecDeque<u8>,
    /// Position of the first remembered byte.
    start: u64,
}

impl Tape {
    /// Position of the first remembered byte.
    pub fn start(&self) -> u64 {
        self.start
    }
    /// Position behind the last byte.
    pub fn end(&self) -> u64 {
        self.start + self.bytes.len() as u64
    }
    /// Bytes that are remembered.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    pub fn write(&mut self, bytes: &[u8]) {
        self.bytes.extend(bytes);
    }

    /// Forgets what lies before the position.
    pub fn forget(&mut self, position: u64) {
        let over = position.min(self.end()).saturating_sub(self.start);
        self.bytes.drain(..usize::try_from(over).unwrap_or(usize::MAX).min(self.bytes.len()));
        self.start += over;
    }

    /// Forgets all but the last so many bytes.
    pub fn keep_last(&mut self, length: usize) {
        self.forget(self.end() - self.bytes.len().min(length) as u64);
    }

    /// Up to one frame from the position on, and the position behind it; what was forgotten is skipped.
    pub fn read(&self, position: u64) -> (Bytes, u64) {
        let from = position.max(self.start);
        let skip = usize::try_from(from - self.start).unwrap_or(usize::MAX).min(self.bytes.len());
        let mut piece = BytesMut::with_capacity(MAX_DATA_BYTES.min(self.bytes.len() - skip));
        let (first, second) = self.bytes.as_slices();
        for half in
            [first.get(skip..).unwrap_or_default(), second.get(skip.saturating_sub(first.len())..).unwrap_or_default()]
        {
            let room = MAX_DATA_BYTES - piece.len();
            piece.extend_from_slice(&half[..half.len().min(room)]);
        }
        let next = from + piece.len() as u64;
        (piece.freeze(), next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(tape: &Tape, mut position: u64) -> (Vec<u8>, u64) {
        let mut all = Vec::new();
        loop {
            let (piece, next) = tape.read(position);
            if piece.is_empty() {
                return (all, position);
            }
            all.extend_from_slice(&piece);
            position = next;
        }
    }

    #[test]
    fn the_last_of_the_output_is_remembered() {
        const KEPT: usize = 256 * 1024;
        let mut tape = Tape::default();
        for number in 0..100_000u32 {
            tape.write(format!("{number:06}\n").as_bytes());
            tape.keep_last(KEPT);
        }
        assert_eq!(tape.len(), KEPT);
        let (read, position) = all(&tape, 0);
        assert_eq!((read.len(), position), (KEPT, 700_000));
        assert!(read.ends_with(b"099999\n"));
    }

    #[test]
    fn what_has_arrived_is_forgotten_and_the_rest_is_read_from_anywhere() {
        let mut tape = Tape::default();
        let written: Vec<u8> = (0..100_000u32).flat_map(u32::to_le_bytes).collect();
        for piece in written.chunks(30_000) {
            tape.write(piece);
            tape.forget(tape.end() - 20_000);
        }
        assert_eq!((tape.start(), tape.end()), (380_000, 400_000));
        for from in [380_000, 380_001, 399_999, 400_000] {
            assert_eq!(all(&tape, from), (written[usize::try_from(from).expect("small")..].to_vec(), 400_000));
        }
        tape.forget(500_000);
        assert_eq!((tape.start(), tape.end(), tape.len()), (400_000, 400_000, 0));
    }
}
