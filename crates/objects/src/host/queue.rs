//! Frames that wait for whoever writes them.

use serde::Serialize;

use crate::wire::write_frame;

#[derive(Debug, Default)]
pub struct FrameQueue {
    pub bytes: Vec<u8>,
    told: bool,
    flooded: bool,
}

impl FrameQueue {
    /// `most_bytes`: what the other end may leave untaken; beyond, it is hung or flooded, and gets nothing any more.
    pub fn push(&mut self, frame: &impl Serialize, most_bytes: usize, to: &'static str) {
        if self.flooded {
            return;
        }
        let written = write_frame(frame, &mut self.bytes);
        if self.bytes.len() > most_bytes || written.is_err() {
            tracing::warn!(to, bytes = self.bytes.len(), "what is sent is not taken, or it is too large");
            self.flooded = true;
        }
    }

    pub fn is_flooded(&self) -> bool {
        self.flooded
    }

    /// Whether the writer is to be told that there is something; `more`: besides what waits here.
    pub fn tells(&mut self, more: bool) -> bool {
        let tells = !self.told && (more || !self.bytes.is_empty() || self.flooded);
        self.told |= tells;
        tells
    }

    /// The writer looks; false where there is no use in writing.
    pub fn is_looked_at(&mut self) -> bool {
        self.told = false;
        !self.flooded
    }
}
