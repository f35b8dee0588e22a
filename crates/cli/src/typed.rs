//! Standard input on its way to a program: kept until the program has taken it, so that it can be sent again on another
//! connection.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
};

use api::streams::{INPUT_CREDIT_BYTES, STDIN, Standing};
use bytes::{BufMut, Bytes, BytesMut};
use tokio::sync::Notify;

/// It is sent in pieces of at most this many bytes.
const PIECE_BYTES: usize = 16 * 1024;

#[derive(Debug, Default)]
struct State {
    /// What was read here and is not known to be taken there.
    kept: VecDeque<u8>,
    /// Position of the first byte that is kept.
    taken: u64,
    /// How much of what is kept was sent on this connection.
    sent: usize,
    is_over: bool,
    said_over: bool,
}

/// What is to be sent next.
#[derive(Debug, PartialEq, Eq)]
pub enum Next {
    /// A binary frame.
    Piece(Bytes),
    End,
}

#[derive(Debug, Default)]
pub struct Typed {
    state: Mutex<State>,
    /// More may be read.
    pub room: Notify,
}

impl Typed {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How much may be read now, bytes: 0 for nothing yet, `None` for nothing ever again.
    pub fn may_read(&self) -> Option<usize> {
        let state = self.state();
        let room = (INPUT_CREDIT_BYTES as usize).saturating_sub(state.kept.len());
        (!state.is_over).then_some(room.min(PIECE_BYTES))
    }

    /// What was read; nothing is the end.
    pub fn read(&self, bytes: &[u8]) {
        let mut state = self.state();
        state.kept.extend(bytes);
        state.is_over |= bytes.is_empty();
    }

    /// What is to be sent, once on each connection.
    pub fn next(&self) -> Option<Next> {
        let mut state = self.state();
        let length = (state.kept.len() - state.sent).min(PIECE_BYTES);
        if length > 0 {
            let mut piece = BytesMut::with_capacity(length + 1);
            piece.put_u8(STDIN);
            let (first, second) = state.kept.as_slices();
            let skipped = second.get(state.sent.saturating_sub(first.len())..).unwrap_or_default();
            for part in [first.get(state.sent..).unwrap_or_default(), skipped] {
                let room = length + 1 - piece.len();
                piece.put_slice(&part[..part.len().min(room)]);
            }
            state.sent += length;
            Some(Next::Piece(piece.freeze()))
        } else if state.is_over && !state.said_over {
            state.said_over = true;
            Some(Next::End)
        } else {
            None
        }
    }

    /// The program has taken so many bytes more.
    pub fn taken(&self, bytes: u64) {
        let mut state = self.state();
        let count = usize::try_from(bytes).unwrap_or(usize::MAX).min(state.kept.len());
        state.kept.drain(..count);
        state.sent = state.sent.saturating_sub(count);
        state.taken += count as u64;
        drop(state);
        self.room.notify_one();
    }

    /// Another connection: what has not arrived is sent again.
    pub fn resume(&self, at: Standing) {
        let taken = self.state().taken;
        self.taken(at.taken.saturating_sub(taken));
        let mut state = self.state();
        let arrived = usize::try_from(at.received.saturating_sub(state.taken)).unwrap_or(usize::MAX);
        state.sent = arrived.min(state.kept.len());
        state.said_over = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn piece(text: &str) -> Option<Next> {
        let mut frame = vec![STDIN];
        frame.extend(text.as_bytes());
        Some(Next::Piece(frame.into()))
    }

    #[test]
    fn what_has_not_arrived_is_sent_again_and_nothing_twice() {
        let typed = Typed::default();
        typed.read(b"one two");
        assert_eq!(typed.next(), piece("one two"));
        assert_eq!(typed.next(), None);
        typed.read(b" three");
        assert_eq!(typed.next(), piece(" three"));
        typed.taken(4);
        // The first seven bytes have arrived, of which the program has taken five.
        typed.resume(Standing { received: 7, taken: 5, was_held: false });
        assert_eq!(typed.next(), piece(" three"));
        typed.read(b"");
        assert_eq!((typed.next(), typed.next()), (Some(Next::End), None));
        assert_eq!(typed.may_read(), None);
        // All has arrived but the end.
        typed.resume(Standing { received: 13, taken: 13, was_held: false });
        assert_eq!((typed.next(), typed.next()), (Some(Next::End), None));
    }

    #[test]
    fn no_more_is_read_than_may_be_outstanding() {
        let typed = Typed::default();
        let mut read = 0;
        while let Some(room @ 1..) = typed.may_read() {
            typed.read(&vec![0; room]);
            read += room;
            typed.next();
        }
        assert_eq!(read, INPUT_CREDIT_BYTES as usize);
        typed.taken(100);
        assert_eq!(typed.may_read(), Some(100));
    }
}
