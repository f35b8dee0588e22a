//! What an engine is at, written by it into a page of memory that the host reads while the engine is too busy to answer.
#![expect(unsafe_code, reason = "memory that two processes share is reached through a pointer")]

use std::{
    fs::File,
    io,
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::fs::FileExt,
    },
    ptr::{self, NonNull},
    sync::atomic::{AtomicU64, Ordering},
};

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, ftruncate, memfd_create};

const WORDS: usize = 5;
const BYTES: usize = WORDS * 8;

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
    fn encode(self) -> [u64; WORDS] {
        let activation = self.activation.map_or(u64::MAX, u64::from);
        // The last two tell a page that is just being written from a whole one.
        [self.number, activation, self.cpu_ns, self.number, self.number ^ activation ^ self.cpu_ns].map(u64::to_le)
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

    fn write(&self, turn: Turn) -> io::Result<()> {
        self.file.write_all_at(turn.encode().map(u64::to_ne_bytes).as_flattened(), 0)
    }

    /// The page as memory, for whoever writes it often.
    pub fn writer(&self) -> io::Result<TurnWriter> {
        let (access, shared) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED);
        // SAFETY: a new mapping is asked for, which overlaps nothing.
        let at = unsafe { libc::mmap(ptr::null_mut(), BYTES, access, shared, self.file.as_raw_fd(), 0) };
        if at == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let words = NonNull::new(at.cast()).ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))?;
        Ok(TurnWriter { words })
    }

    /// None if it was just being written, or if the engine wrote nonsense.
    pub fn read(&self) -> io::Result<Option<Turn>> {
        let mut bytes = [0; BYTES];
        self.file.read_exact_at(&mut bytes, 0)?;
        Ok(Turn::decode(&bytes))
    }
}

/// Writes the page without asking the kernel. Its memory stays mapped for as long as the process lives.
#[derive(Debug)]
pub struct TurnWriter {
    words: NonNull<[AtomicU64; WORDS]>,
}

impl TurnWriter {
    pub fn write(&self, turn: Turn) {
        // SAFETY: the mapping is never taken down, a page is aligned for words, its file is sealed against getting shorter,
        // and whatever others write into it is a valid word.
        let words = unsafe { self.words.as_ref() };
        for (word, value) in words.iter().zip(turn.encode()) {
            word.store(value, Ordering::Release);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_says_what_was_written_and_nonsense_is_seen() {
        let page = StatusPage::make().expect("is made");
        let other = StatusPage::of(page.descriptor().expect("a descriptor")).writer().expect("is mapped");
        for turn in
            [Turn { number: 3, activation: Some(0), cpu_ns: 5 }, Turn { number: 4, activation: None, cpu_ns: u64::MAX }]
        {
            other.write(turn);
            assert_eq!(page.read().expect("is read"), Some(turn));
        }
        page.file.write_all_at(&[9], 3).expect("is written");
        assert_eq!(page.read().expect("is read"), None);
        assert!(page.file.set_len(0).is_err());
    }
}
