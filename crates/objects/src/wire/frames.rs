//! Frames in bytes.

use serde::Serialize;
use serde::de::DeserializeOwned;

/// Longest frame that either side takes. Bodies go in chunks and big commits in parts well below it.
pub const FRAME_BYTES: usize = 16 << 20;

const HEADER_BYTES: usize = 4;

#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    #[error("a frame of {bytes} bytes is longer than the {FRAME_BYTES} allowed")]
    TooLong { bytes: usize },
    #[error("a frame is not what the protocol says")]
    Malformed(#[source] postcard::Error),
    #[error("a message cannot be written")]
    Unwritable(#[source] postcard::Error),
}

/// Appends `message` as one frame. On an error `out` is as it was.
pub fn write_frame<M: Serialize>(message: &M, out: &mut Vec<u8>) -> Result<(), FrameError> {
    let start = out.len();
    out.extend_from_slice(&[0; HEADER_BYTES]);
    let mut written = postcard::to_extend(message, std::mem::take(out)).map_err(FrameError::Unwritable)?;
    let bytes = written.len() - start - HEADER_BYTES;
    let length = u32::try_from(bytes).ok().filter(|_| bytes <= FRAME_BYTES);
    let result = match length {
        Some(length) => {
            written[start..start + HEADER_BYTES].copy_from_slice(&length.to_le_bytes());
            Ok(())
        }
        None => {
            written.truncate(start);
            Err(FrameError::TooLong { bytes })
        }
    };
    *out = written;
    result
}

/// Bytes as they arrive, messages as they are whole.
#[derive(Debug, Default)]
pub struct Frames {
    buffer: Vec<u8>,
    taken: usize,
}

impl Frames {
    pub fn push(&mut self, bytes: &[u8]) {
        if self.taken == self.buffer.len() {
            self.buffer.clear();
            self.taken = 0;
        } else if self.taken > self.buffer.len() / 2 {
            self.buffer.drain(..self.taken);
            self.taken = 0;
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole message, `None` until there is one. After an error the peer is not to be listened to any more.
    pub fn next_message<M: DeserializeOwned>(&mut self) -> Result<Option<M>, FrameError> {
        let rest = &self.buffer[self.taken..];
        let Some((header, rest)) = rest.split_first_chunk::<HEADER_BYTES>() else { return Ok(None) };
        let bytes = u32::from_le_bytes(*header) as usize;
        if bytes > FRAME_BYTES {
            return Err(FrameError::TooLong { bytes });
        }
        let Some(frame) = rest.get(..bytes) else { return Ok(None) };
        let message = postcard::from_bytes(frame).map_err(FrameError::Malformed)?;
        self.taken += HEADER_BYTES + bytes;
        Ok(Some(message))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Activation, Commit, Delta, FromEngine, Seq, ToEngine};

    fn commit() -> FromEngine {
        FromEngine::Commit(Commit {
            activation: Activation(7),
            seq: Seq(300),
            pages: 2,
            deltas: vec![Delta { page: 1, offset: 24, bytes: vec![0, 255, 3] }],
            alarm: crate::wire::AlarmChange::Set { at_ms: -1 },
            complete: true,
        })
    }

    #[test]
    fn what_was_written_is_read_in_any_pieces() {
        let sent = [commit(), FromEngine::Closed { activation: Activation(1) }, commit()];
        let mut bytes = Vec::new();
        for message in &sent {
            write_frame(message, &mut bytes).unwrap();
        }
        for piece in [1, 2, 7, 100, bytes.len()] {
            let mut frames = Frames::default();
            let mut got = Vec::new();
            for part in bytes.chunks(piece) {
                frames.push(part);
                while let Some(message) = frames.next_message::<FromEngine>().unwrap() {
                    got.push(message);
                }
            }
            assert_eq!(got, sent);
        }
    }

    #[test]
    fn a_long_or_garbled_frame_is_refused() {
        let mut frames = Frames::default();
        frames.push(&u32::MAX.to_le_bytes());
        assert!(matches!(frames.next_message::<ToEngine>(), Err(FrameError::TooLong { .. })));
        let mut frames = Frames::default();
        frames.push(&[2, 0, 0, 0, 250, 250]);
        assert!(matches!(frames.next_message::<ToEngine>(), Err(FrameError::Malformed(_))));
    }

    #[test]
    fn a_message_beyond_the_limit_leaves_the_buffer_as_it_was() {
        let mut out = vec![1, 2, 3];
        let long = ToEngine::Pages { activation: Activation(1), first: 1, data: vec![0; FRAME_BYTES + 1] };
        assert!(matches!(write_frame(&long, &mut out), Err(FrameError::TooLong { .. })));
        assert_eq!(out, [1, 2, 3]);
    }
}
