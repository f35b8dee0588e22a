//! The thread that writes the log: all that waits goes out in one write and is made durable by one `fdatasync`.

use std::{
    io, mem,
    path::{Path, PathBuf},
    sync::Arc,
    thread::JoinHandle,
};

use parking_lot::{Condvar, Mutex};

use super::{
    Alarms, BadCommit, Commit, LogOptions, ObjectKey, OpenFileError,
    checkpoint::{Checkpointer, Touched},
    files::Files,
    record::{BatchWriter, Place},
    segment::{Segment, SegmentHeader, Spare},
};

/// What goes into one batch, about: a larger one would keep the first of its commits waiting.
const BATCH_BYTES: usize = 8 << 20;

/// Why a commit is not durable and never will be.
#[derive(Debug, Clone, thiserror::Error)]
pub enum CommitError {
    #[error(transparent)]
    Bad(#[from] BadCommit),
    #[error("the object runs elsewhere by now: its epoch is {known}, not {epoch}")]
    Fenced { epoch: u64, known: u64 },
    #[error("commit {seq} came where {expected} is next")]
    OutOfOrder { seq: u64, expected: u64 },
    #[error("the disk is full")]
    DiskFull,
    #[error("the disk cannot be written: {0}")]
    Write(Arc<io::Error>),
    #[error(transparent)]
    File(Arc<OpenFileError>),
    #[error("too much waits to be written to the disk")]
    Overloaded,
    #[error("the host is ending")]
    Closed,
}

impl CommitError {
    pub fn from_write(error: io::Error) -> Self {
        if matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) {
            return CommitError::DiskFull;
        }
        CommitError::Write(Arc::new(error))
    }
}

impl From<OpenFileError> for CommitError {
    fn from(error: OpenFileError) -> Self {
        CommitError::File(Arc::new(error))
    }
}

/// How a commit ended.
#[derive(Debug)]
pub struct Settled {
    pub key: ObjectKey,
    pub seq: u64,
    /// As it was submitted.
    pub tag: u64,
    pub result: Result<(), CommitError>,
}

/// Whoever submits commits. Called on the log's thread: must not block.
pub trait Submitter: Send + Sync {
    /// In the order in which they were submitted.
    fn settled(&self, settled: Vec<Settled>);
}

struct Waiting {
    commit: Commit,
    submitter: Arc<dyn Submitter>,
    tag: u64,
}

#[derive(Default)]
struct Queue {
    waiting: Vec<Waiting>,
    bytes: usize,
    closing: bool,
}

struct Shared {
    queue: Mutex<Queue>,
    wake: Condvar,
    limit_bytes: usize,
}

/// The thread, and the way to it.
pub struct Writer {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Writer {
    pub fn start(
        directory: &Path,
        first: Segment,
        options: LogOptions,
        files: Arc<Files>,
        alarms: Arc<Mutex<Alarms>>,
    ) -> io::Result<Self> {
        let shared =
            Arc::new(Shared { queue: Mutex::default(), wake: Condvar::new(), limit_bytes: options.waiting_bytes });
        let checkpointer = Checkpointer::start(directory, Arc::clone(&files))?;
        let mut thread = LogThread {
            directory: directory.join("log"),
            next_batch: first.header.first_batch,
            next_segment: first.header.segment + 1,
            segment: Some(first),
            segment_bytes: options.segment_bytes,
            touched: Touched::default(),
            batch: BatchWriter::default(),
            files,
            alarms,
            checkpointer,
        };
        let queue = Arc::clone(&shared);
        let thread = std::thread::Builder::new().name("log".to_owned()).spawn(move || thread.run(&queue))?;
        Ok(Writer { shared, thread: Mutex::new(Some(thread)) })
    }

    pub fn submit(&self, commit: Commit, submitter: Arc<dyn Submitter>, tag: u64) {
        let (key, seq) = (commit.key, commit.seq);
        let refused = match commit.check() {
            Err(error) => error.into(),
            Ok(()) => {
                let mut queue = self.shared.queue.lock();
                let bytes = commit.encoded_bytes();
                if queue.closing {
                    CommitError::Closed
                } else if queue.bytes + bytes > self.shared.limit_bytes && queue.bytes > 0 {
                    CommitError::Overloaded
                } else {
                    queue.bytes += bytes;
                    let first = queue.waiting.is_empty();
                    queue.waiting.push(Waiting { commit, submitter, tag });
                    drop(queue);
                    if first {
                        self.shared.wake.notify_one();
                    }
                    return;
                }
            }
        };
        submitter.settled(vec![Settled { key, seq, tag, result: Err(refused) }]);
    }

    pub fn close(&self) {
        self.shared.queue.lock().closing = true;
        self.shared.wake.notify_one();
        // The last one to hold the log may be the log's own thread, with what it has just told.
        if let Some(thread) =
            self.thread.lock().take().filter(|thread| thread.thread().id() != std::thread::current().id())
            && thread.join().is_err()
        {
            tracing::error!("the log's thread ended by a panic");
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.close();
    }
}

impl Shared {
    /// Waits for something to write. None once the log is closed and nothing is left.
    fn take(&self) -> Option<Vec<Waiting>> {
        let mut queue = self.queue.lock();
        while queue.waiting.is_empty() {
            if queue.closing {
                return None;
            }
            self.wake.wait(&mut queue);
        }
        queue.bytes = 0;
        Some(mem::take(&mut queue.waiting))
    }
}

struct LogThread {
    directory: PathBuf,
    /// None after a failure: what was written last is given up by the header of the next segment.
    segment: Option<Segment>,
    segment_bytes: u64,
    next_segment: u64,
    next_batch: u64,
    touched: Touched,
    batch: BatchWriter,
    files: Arc<Files>,
    alarms: Arc<Mutex<Alarms>>,
    checkpointer: Checkpointer,
}

impl LogThread {
    fn run(&mut self, queue: &Shared) {
        while let Some(waiting) = queue.take() {
            let mut part = Vec::new();
            let mut bytes = 0;
            for waiting in waiting {
                bytes += waiting.commit.encoded_bytes();
                part.push(waiting);
                if bytes >= BATCH_BYTES {
                    self.settle(mem::take(&mut part));
                    bytes = 0;
                }
            }
            if !part.is_empty() {
                self.settle(part);
            }
        }
    }

    /// Takes commits through to their end and tells who submitted them.
    fn settle(&mut self, waiting: Vec<Waiting>) {
        let mut outcomes = Vec::with_capacity(waiting.len());
        let mut commits = Vec::with_capacity(waiting.len());
        for Waiting { commit, submitter, tag } in waiting {
            let prepared = self.files.prepare(&commit);
            outcomes.push((submitter, Settled { key: commit.key, seq: commit.seq, tag, result: prepared.clone() }));
            if prepared.is_ok() {
                commits.push(commit);
            }
        }
        if !commits.is_empty()
            && let Err(error) = self.make_durable(&commits)
        {
            tracing::error!(%error, commits = commits.len(), "commits could not be made durable");
            self.files.give_up(&commits);
            let error = CommitError::from_write(error);
            for (_, settled) in outcomes.iter_mut().filter(|(_, settled)| settled.result.is_ok()) {
                settled.result = Err(error.clone());
            }
        }
        tell(outcomes);
    }

    fn make_durable(&mut self, commits: &[Commit]) -> io::Result<()> {
        self.batch.begin();
        for commit in commits {
            self.batch.push(commit);
        }
        let padded_bytes = self.batch.padded_bytes();
        let mut segment = self.segment_for(padded_bytes)?;
        let place = Place { segment: segment.header.segment, number: self.next_batch };
        let written = segment.write(self.batch.finish(place)).and_then(|()| segment.sync());
        if let Err(error) = written {
            // What is on the disk now nobody knows, and asking again would not tell.
            self.retire(segment);
            return Err(error);
        }
        self.segment = Some(segment);
        self.next_batch += 1;
        {
            let mut alarms = self.alarms.lock();
            for commit in commits.iter().filter(|commit| !self.files.is_deleted(&commit.key.namespace)) {
                alarms.apply(commit);
            }
        }
        for commit in commits {
            self.touched.add(commit.key);
        }
        if let Err(error) = self.files.apply(commits) {
            tracing::error!(%error, "a durable commit could not be brought into its object's file");
            self.touched.keep();
        }
        Ok(())
    }

    fn segment_for(&mut self, padded_bytes: u64) -> io::Result<Segment> {
        if let Some(segment) = self.segment.take() {
            if segment.has_room(padded_bytes) {
                return Ok(segment);
            }
            self.retire(segment);
        }
        let wanted = self.segment_bytes.max(padded_bytes + super::segment::FIRST_BATCH_AT);
        let spare = match self.checkpointer.spare(wanted) {
            Some(spare) => spare,
            None => Spare::make(&self.directory, self.next_segment, wanted)?,
        };
        let header = SegmentHeader { segment: self.next_segment, first_batch: self.next_batch };
        let segment = spare.begin(&self.directory, header)?;
        self.next_segment += 1;
        Ok(segment)
    }

    fn retire(&mut self, segment: Segment) {
        let alarms = self.alarms.lock().encode();
        self.checkpointer.retire(segment, mem::take(&mut self.touched), alarms);
    }
}

fn tell(outcomes: Vec<(Arc<dyn Submitter>, Settled)>) {
    let mut groups: Vec<(Arc<dyn Submitter>, Vec<Settled>)> = Vec::new();
    for (submitter, settled) in outcomes {
        match groups.iter_mut().find(|(known, _)| Arc::ptr_eq(known, &submitter)) {
            Some((_, group)) => group.push(settled),
            None => groups.push((submitter, vec![settled])),
        }
    }
    for (submitter, settled) in groups {
        submitter.settled(settled);
    }
}
