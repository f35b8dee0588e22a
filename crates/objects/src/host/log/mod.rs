//! The one log of a host, and the objects' files behind it.
//!
//! A commit is written to the log with all others that wait at that time, made durable with one `fdatasync`, applied to
//! its object's file, and only then told to whoever submitted it. Files are made durable later, at a checkpoint, after
//! which their part of the log is used again; until then the log is replayed onto them at a start. A commit's changes are
//! ranges of bytes, so that doing them twice is doing them once.

mod alarms;
mod checkpoint;
mod deleted;
mod files;
mod list;
mod record;
mod recover;
mod segment;
mod writer;

#[cfg(test)]
mod tests;

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

pub use alarms::Alarms;
pub use files::{Header, ObjectFile, OpenFileError};
pub use list::{AtRest, Page};
pub use record::{AlarmChange, BadCommit, Commit, Delta, MAX_COMMIT_BYTES, MAX_NAME_BYTES, PAGE_BYTES};
pub use recover::{RecoverError, Recovered};
pub use writer::{CommitError, Settled, Submitter};

use files::Files;
use parking_lot::Mutex;
use writer::Writer;

/// Which object, over all namespaces of a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectKey {
    pub namespace: [u8; 16],
    pub id: [u8; 32],
}

#[derive(Debug, Clone, Copy)]
pub struct LogOptions {
    pub segment_bytes: u64,
    /// Files of objects that are held open.
    pub open_files: usize,
    /// Commits that wait to be written, in bytes; more are refused.
    pub waiting_bytes: usize,
}

impl Default for LogOptions {
    fn default() -> Self {
        LogOptions { segment_bytes: 64 << 20, open_files: 1024, waiting_bytes: 256 << 20 }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum OpenLogError {
    #[error("cannot use {path}: {source}")]
    Directory { path: PathBuf, source: io::Error },
    #[error("another process uses {0}")]
    InUse(PathBuf),
    #[error(transparent)]
    Recover(#[from] RecoverError),
    #[error("cannot begin a new segment of the log: {0}")]
    Segment(#[source] io::Error),
    #[error("cannot start the log's thread: {0}")]
    Thread(#[source] io::Error),
}

/// Storage of all objects of a host.
pub struct Log {
    files: Arc<Files>,
    alarms: Arc<Mutex<Alarms>>,
    writer: Writer,
    recovered: Recovered,
    deleted: deleted::Marks,
    /// Held as long as this process writes here.
    _lock: fs::File,
}

impl Log {
    /// Replays what is there, and goes on from it. Blocks.
    pub fn open(directory: &Path, options: LogOptions) -> Result<Self, OpenLogError> {
        let failed = |source| OpenLogError::Directory { path: directory.to_owned(), source };
        let (logs, objects) = (directory.join("log"), directory.join("objects"));
        for path in [directory, &logs, &objects] {
            make_private_directory(path).map_err(failed)?;
        }
        let lock = lock(directory)?;
        let mut alarms = Alarms::load(directory).map_err(failed)?;
        let deleted = deleted::Marks::new(directory);
        let marked = deleted.all().map_err(failed)?;
        let files = Arc::new(Files::new(objects, options.open_files, marked.clone()));
        let mut touched = checkpoint::Touched::default();
        let (recovered, old) = recover::replay(&logs, |commit| {
            if marked.contains(&commit.key.namespace) {
                return Ok(());
            }
            touched.add(commit.key);
            alarms.apply(&commit);
            files.apply(std::slice::from_ref(&commit))
        })?;
        for namespace in &marked {
            files.remove_namespace(namespace).map_err(failed)?;
            alarms.remove_namespace(namespace);
        }
        checkpoint::sync_files(&files, &touched).map_err(failed)?;
        alarms.save(directory).map_err(failed)?;
        let alarms = Arc::new(Mutex::new(alarms));
        let next = segment::SegmentHeader { segment: recovered.next_segment, first_batch: recovered.next_batch };
        let first = segment::Spare::make(&logs, next.segment, options.segment_bytes)
            .and_then(|spare| spare.begin(&logs, next))
            .map_err(OpenLogError::Segment)?;
        // Only now: until the new segment is there, its numbers are known from the old ones alone.
        for segment in old {
            fs::remove_file(&segment.path).map_err(failed)?;
        }
        segment::sync_directory(&logs).map_err(failed)?;
        // Nothing in the log brings anything of these back any more.
        deleted.remove(&marked).map_err(failed)?;
        let writer = Writer::start(directory, first, options, Arc::clone(&files), Arc::clone(&alarms))
            .map_err(OpenLogError::Thread)?;
        Ok(Log { files, alarms, writer, recovered, deleted, _lock: lock })
    }

    /// What the start found.
    pub fn recovered(&self) -> &Recovered {
        &self.recovered
    }

    /// The object's file, made by its first commit. What it says holds for commits that were settled before.
    pub fn object(&self, key: ObjectKey) -> Result<Arc<ObjectFile>, OpenFileError> {
        self.files.open(key)
    }

    /// Queues a commit. `submitter` is told once how it ended, with `tag`.
    pub fn submit(&self, commit: Commit, submitter: Arc<dyn Submitter>, tag: u64) {
        self.writer.submit(commit, submitter, tag);
    }

    /// Deletes all that the objects of a namespace have stored, and their alarms; for ever, whatever is under way. May be
    /// repeated, and is gone on with by the next start if this process ends in the middle. Blocks.
    pub fn delete_namespace(&self, namespace: [u8; 16]) -> io::Result<()> {
        self.deleted.add(namespace)?;
        self.files.refuse_namespace(namespace);
        self.alarms.lock().remove_namespace(&namespace);
        self.files.remove_namespace(&namespace)
    }

    /// Objects of a namespace that have stored something, in the order of their ids. Reads the names of a few of its files
    /// and the beginnings of those that it names. Blocks.
    pub fn at_rest(&self, namespace: [u8; 16], page: &Page) -> io::Result<Vec<AtRest>> {
        self.files.at_rest(namespace, page)
    }

    /// When which object's alarm is due.
    pub fn alarms(&self) -> &Mutex<Alarms> {
        &self.alarms
    }

    /// Writes what waits, makes the files durable and ends. Blocks.
    pub fn close(self) {
        self.writer.close();
    }
}

fn make_private_directory(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

fn lock(directory: &Path) -> Result<fs::File, OpenLogError> {
    let path = directory.join("lock");
    let failed = |source| OpenLogError::Directory { path: path.clone(), source };
    let file = fs::OpenOptions::new().write(true).create(true).truncate(false).open(&path).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(fs::TryLockError::WouldBlock) => Err(OpenLogError::InUse(directory.to_owned())),
        Err(fs::TryLockError::Error(source)) => Err(failed(source)),
    }
}
