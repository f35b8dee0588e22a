//! What an engine is at, written by it into a page of memory that the host reads while the engine is too busy to answer.

use std::{
    fs::File,
    io,
    os::{fd::OwnedFd, unix::fs::FileExt},
};

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, ftruncate, memfd_create};

const BYTES: usize = 40;

/// One turn of an engine: from the delivery of something until it has nothing left to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Turn {
    /// Counts up; 0: none yet.
    pub number: u64,
    /// Whose code runs; none between turns.
    pub activation: Option<u32>,
    /// The process's CPU time when it began.
    pub cpu_ns: u64,
}

impl Turn {
    fn encode(self) -> [u8; BYTES] {
        let mut out = [0; BYTES];
        out[..8].copy_from_slice(&self.number.to_le_bytes());
        let activation = self.activation.map_or(u64::MAX, u64::from);
        out[8..16].copy_from_slice(&activation.to_le_bytes());
        out[16..24].copy_from_slice(&self.cpu_ns.to_le_bytes());
        // Tells a page that is just being written from a whole one.
        out[24..32].copy_from_slice(&self.number.to_le_bytes());
        out[32..40].copy_from_slice(&(self.number ^ activation ^ self.cpu_ns).to_le_bytes());
        out
    }

    fn decode(bytes: &[u8; BYTES]) -> Option<Self> {
        let at = |from: usize| bytes[from..from + 8].try_into().ok().map(u64::from_le_bytes);
        let (number, activation, cpu_ns) = (at(0)?, at(8)?, at(16)?);
        let whole = at(24)? == number && at(32)? == number ^ activation ^ cpu_ns;
        whole.then(|| Turn { number, activation: u32::try_from(activation).ok(), cpu_ns })
    }
}

/// The page, on either side.
#[derive(Debug)]
pub struct StatusPage {
    file: File,
}

impl StatusPage {
    /// Makes the page. Neither side can make it smaller or larger.
    pub fn make() -> io::Result<Self> {
        let memory = memfd_create("turn", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
        ftruncate(&memory, BYTES as u64)?;
        fcntl_add_seals(&memory, SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)?;
        let page = StatusPage { file: File::from(memory) };
        page.write(Turn::default())?;
        Ok(page)
    }

    pub fn of(descriptor: OwnedFd) -> Self {
        StatusPage { file: File::from(descriptor) }
    }

    pub fn descriptor(&self) -> io::Result<OwnedFd> {
        Ok(self.file.try_clone()?.into())
    }

    pub fn write(&self, turn: Turn) -> io::Result<()> {
        self.file.write_all_at(&turn.encode(), 0)
    }

    /// None if it was just being written, or if the engine wrote nonsense.
    pub fn read(&self) -> io::Result<Option<Turn>> {
        let mut bytes = [0; BYTES];
        self.file.read_exact_at(&mut bytes, 0)?;
        Ok(Turn::decode(&bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_says_what_was_written_and_nonsense_is_seen() {
        let page = StatusPage::make().expect("is made");
        let other = StatusPage::of(page.descriptor().expect("a descriptor"));
        for turn in
            [Turn { number: 3, activation: Some(0), cpu_ns: 5 }, Turn { number: 4, activation: None, cpu_ns: u64::MAX }]
        {
            other.write(turn).expect("is written");
            assert_eq!(page.read().expect("is read"), Some(turn));
        }
        page.file.write_all_at(&[9], 3).expect("is written");
        assert_eq!(page.read().expect("is read"), None);
        assert!(page.file.set_len(0).is_err());
    }
}
