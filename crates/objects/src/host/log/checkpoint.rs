//! Makes the objects' files durable, after which a part of the log is not needed any more.

use std::{
    collections::{HashSet, VecDeque},
    io,
    path::{Path, PathBuf},
    sync::{Arc, mpsc},
    thread::JoinHandle,
};

use parking_lot::Mutex;

use super::{
    Alarms, ObjectKey,
    files::Files,
    segment::{Segment, Spare},
};

/// Up to so many files one by one; beyond, the whole file system at once.
const ONE_BY_ONE: usize = 256;
/// Segments that wait for their checkpoint; then the log waits too.
const WAITING: usize = 4;
/// Used segments that are kept for another life.
const SPARES: usize = 2;

/// The files that a segment's commits went to.
#[derive(Debug, Default)]
pub struct Touched {
    objects: HashSet<ObjectKey>,
    keep: bool,
}

impl Touched {
    pub fn add(&mut self, key: ObjectKey) {
        self.objects.insert(key);
    }

    /// A commit is nowhere but in the log: it must stay, and what follows it too.
    pub fn keep(&mut self) {
        self.keep = true;
    }
}

pub fn sync_files(files: &Files, touched: &Touched) -> io::Result<()> {
    if touched.objects.len() > ONE_BY_ONE {
        return files.sync_all();
    }
    touched.objects.iter().try_for_each(|key| files.sync(*key))
}

struct Retired {
    segment: Segment,
    touched: Touched,
    alarms: Vec<u8>,
}

/// The thread that does it, beside the one that writes the log.
pub struct Checkpointer {
    retired: Option<mpsc::SyncSender<Retired>>,
    spares: Arc<Mutex<Vec<Spare>>>,
    thread: Option<JoinHandle<()>>,
}

impl Checkpointer {
    pub fn start(directory: &Path, files: Arc<Files>) -> io::Result<Self> {
        let (sender, receiver) = mpsc::sync_channel(WAITING);
        let spares = Arc::new(Mutex::new(Vec::new()));
        let mut work = Work {
            directory: directory.to_owned(),
            files,
            spares: Arc::clone(&spares),
            waiting: VecDeque::new(),
            keep: false,
        };
        let thread = std::thread::Builder::new().name("checkpoint".to_owned()).spawn(move || {
            for retired in receiver {
                work.checkpoint(retired);
            }
        })?;
        Ok(Checkpointer { retired: Some(sender), spares, thread: Some(thread) })
    }

    /// Hands over a segment that is not written to any more. Waits if too many are there already.
    pub fn retire(&self, segment: Segment, touched: Touched, alarms: Vec<u8>) {
        let sent = self.retired.as_ref().map(|sender| sender.send(Retired { segment, touched, alarms }));
        if !matches!(sent, Some(Ok(()))) {
            tracing::error!("there are no checkpoints any more: the log grows");
        }
    }

    /// A file for the next segment, if one that large is there.
    pub fn spare(&self, bytes: u64) -> Option<Spare> {
        let mut spares = self.spares.lock();
        let at = spares.iter().position(|spare| spare.size_bytes() >= bytes)?;
        Some(spares.swap_remove(at))
    }
}

impl Drop for Checkpointer {
    fn drop(&mut self) {
        drop(self.retired.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the checkpoints' thread ended by a panic");
        }
    }
}

struct Work {
    directory: PathBuf,
    files: Arc<Files>,
    spares: Arc<Mutex<Vec<Spare>>>,
    /// The oldest first: a gap in the log would pass for damage.
    waiting: VecDeque<(Segment, Vec<u8>)>,
    /// Once a segment has to stay, all later ones do.
    keep: bool,
}

impl Work {
    fn checkpoint(&mut self, retired: Retired) {
        let Retired { segment, touched, alarms } = retired;
        self.keep |= touched.keep;
        if self.keep {
            return;
        }
        // What a failed attempt left in memory passes for written at the next one: there is none.
        if let Err(error) = sync_files(&self.files, &touched) {
            tracing::error!(%error, "the objects' files cannot be made durable: the log is kept");
            self.keep = true;
            return;
        }
        self.waiting.push_back((segment, alarms));
        if let Err(error) = self.release() {
            tracing::warn!(%error, segments = self.waiting.len(), "a part of the log is kept until the next checkpoint");
        }
    }

    /// Everything in the waiting segments is in the files.
    fn release(&mut self) -> io::Result<()> {
        // The newest list of alarms holds for all of them.
        let Some((_, alarms)) = self.waiting.back() else { return Ok(()) };
        Alarms::write(&self.directory, alarms)?;
        while let Some((segment, _)) = self.waiting.pop_front() {
            let spare = segment.recycle(&self.directory.join("log"))?;
            let mut spares = self.spares.lock();
            if spares.len() < SPARES {
                spares.push(spare);
            } else {
                drop(spares);
                spare.remove()?;
            }
        }
        Ok(())
    }
}
