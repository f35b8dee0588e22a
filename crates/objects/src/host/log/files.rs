//! One file an object: a page that says which commit it holds, then the pages of its database.

use std::{
    collections::{HashMap, HashSet},
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::Arc,
};

use parking_lot::{Mutex, RwLock};
use rustix::fs::{FallocateFlags, fallocate};

use super::{
    CommitError, ObjectKey,
    list::{self, AtRest, Page},
    make_private_directory,
    record::{AlarmChange, Commit, MAX_NAME_BYTES, PAGE_BYTES},
};

const MAGIC: &[u8; 8] = b"BERTHOBJ";
const VERSION: u32 = 1;
const FIXED_BYTES: usize = 64;
const NAME_AT: usize = FIXED_BYTES;
/// Beyond this size a file grows by an eighth at a time.
const EXACT_PAGES: u32 = 32;

/// What a file says of its object.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Header {
    /// Of the activation that made the last commit.
    pub epoch: u64,
    pub seq: u64,
    pub pages: u32,
    pub alarm_ms: Option<i64>,
    pub name: Option<String>,
}

#[derive(Debug, thiserror::Error)]
pub enum OpenFileError {
    #[error("cannot open the object's file: {0}")]
    Io(#[from] io::Error),
    #[error("the object's file is damaged: {0}")]
    Damaged(PathBuf),
    #[error("a commit could not be brought into the object's file; it is in the log, and is applied at the next start")]
    Behind,
    #[error("the object's namespace was deleted")]
    Deleted,
}

/// An object's file. It exists on disk from the first commit on.
#[derive(Debug)]
pub struct ObjectFile {
    path: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    file: Option<File>,
    header: Header,
    /// Pages for which the disk has room already, the header's not counted.
    reserved_pages: u32,
    /// No commit of a lower epoch is taken any more.
    promised_epoch: u64,
    /// The last commit that was let into the log, whether or not it is there yet.
    accepted_seq: u64,
    /// A commit is in the log but not here.
    behind: bool,
}

impl State {
    /// Whether closing the file forgets nothing.
    fn is_as_on_disk(&self) -> bool {
        !self.behind && self.accepted_seq == self.header.seq
    }
}

fn page_at(page: u32) -> u64 {
    // The header takes the place of page 0.
    u64::from(page) * PAGE_BYTES as u64
}

impl Header {
    fn encode(&self) -> [u8; FIXED_BYTES] {
        let mut out = [0; FIXED_BYTES];
        let name = self.name.as_deref().unwrap_or_default();
        out[..8].copy_from_slice(MAGIC);
        out[8..12].copy_from_slice(&VERSION.to_le_bytes());
        out[12..16].copy_from_slice(&self.pages.to_le_bytes());
        out[16..24].copy_from_slice(&self.epoch.to_le_bytes());
        out[24..32].copy_from_slice(&self.seq.to_le_bytes());
        out[32..40].copy_from_slice(&self.alarm_ms.unwrap_or_default().to_le_bytes());
        out[40] = u8::from(self.alarm_ms.is_some());
        out[42..44].copy_from_slice(&u16::try_from(name.len()).unwrap_or(0).to_le_bytes());
        out[44..48].copy_from_slice(&crc32fast::hash(name.as_bytes()).to_le_bytes());
        let crc = crc32fast::hash(&out[..48]);
        out[48..52].copy_from_slice(&crc.to_le_bytes());
        out
    }

    pub fn decode(bytes: &[u8; PAGE_BYTES]) -> Option<Self> {
        let u32_at = |at: usize| bytes[at..at + 4].try_into().ok().map(u32::from_le_bytes);
        let u64_at = |at: usize| bytes[at..at + 8].try_into().ok().map(u64::from_le_bytes);
        if &bytes[..8] != MAGIC || u32_at(8)? != VERSION || u32_at(48)? != crc32fast::hash(&bytes[..48]) {
            return None;
        }
        let length = usize::from(u16::from_le_bytes(bytes[42..44].try_into().ok()?));
        let name = bytes.get(NAME_AT..NAME_AT + length)?;
        if crc32fast::hash(name) != u32_at(44)? {
            return None;
        }
        Some(Header {
            epoch: u64_at(16)?,
            seq: u64_at(24)?,
            pages: u32_at(12)?,
            alarm_ms: (bytes[40] == 1).then_some(u64_at(32)?.cast_signed()),
            name: (length > 0).then(|| String::from_utf8(name.to_vec()).ok()).flatten(),
        })
    }
}

impl ObjectFile {
    fn open(path: PathBuf) -> Result<Self, OpenFileError> {
        let file = match OpenOptions::new().read(true).write(true).open(&path) {
            Ok(file) => Some(file),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error.into()),
        };
        let mut state = State {
            file: None,
            header: Header::default(),
            reserved_pages: 0,
            promised_epoch: 0,
            accepted_seq: 0,
            behind: false,
        };
        if let Some(file) = file {
            let mut page = [0; PAGE_BYTES];
            let length = file.metadata()?.len();
            // Reserved before the first commit was in the log, which it then never was.
            let begun = length > 0 && file.read_exact_at(&mut page, 0).is_ok() && page != [0; PAGE_BYTES];
            if begun {
                state.header = Header::decode(&page).ok_or_else(|| OpenFileError::Damaged(path.clone()))?;
            }
            state.reserved_pages = u32::try_from(length / PAGE_BYTES as u64).unwrap_or(u32::MAX).saturating_sub(1);
            state.file = Some(file);
            state.promised_epoch = state.header.epoch;
            state.accepted_seq = state.header.seq;
        }
        Ok(ObjectFile { path, state: Mutex::new(state) })
    }

    pub fn header(&self) -> Result<Header, OpenFileError> {
        let state = self.state.lock();
        if state.behind { Err(OpenFileError::Behind) } else { Ok(state.header.clone()) }
    }

    /// Takes the epoch of a new activation, at least `least`: what an earlier one still sends is refused from here on. The
    /// activation holds on to this file.
    pub fn begin_epoch(&self, least: u64) -> Result<(u64, Header), OpenFileError> {
        let mut state = self.state.lock();
        if state.behind {
            return Err(OpenFileError::Behind);
        }
        state.promised_epoch = state.promised_epoch.saturating_add(1).max(least);
        Ok((state.promised_epoch, state.header.clone()))
    }

    /// Whether the commit is the next one of the newest activation; it counts as that from here on.
    fn accept(&self, commit: &Commit) -> Result<(), CommitError> {
        let mut state = self.state.lock();
        if state.behind {
            return Err(OpenFileError::Behind.into());
        }
        if commit.epoch < state.promised_epoch {
            return Err(CommitError::Fenced { epoch: commit.epoch, known: state.promised_epoch });
        }
        if commit.seq != state.accepted_seq + 1 {
            return Err(CommitError::OutOfOrder { seq: commit.seq, expected: state.accepted_seq + 1 });
        }
        state.promised_epoch = commit.epoch;
        state.accepted_seq = commit.seq;
        Ok(())
    }

    /// What was accepted and did not get into the log counts no more.
    fn give_up(&self) {
        let mut state = self.state.lock();
        state.accepted_seq = state.header.seq;
    }

    /// Whole pages; what lies beyond the database is zeroes.
    pub fn read_pages(&self, first: u32, count: u32) -> Result<Vec<u8>, OpenFileError> {
        let state = self.state.lock();
        if state.behind {
            return Err(OpenFileError::Behind);
        }
        let mut data = vec![0; count as usize * PAGE_BYTES];
        let there = state.header.pages.saturating_add(1).saturating_sub(first.max(1)).min(count) as usize * PAGE_BYTES;
        if let Some(file) = &state.file {
            let mut filled = 0;
            while filled < there {
                match file.read_at(&mut data[filled..there], page_at(first) + filled as u64) {
                    // A page that was never written, at the end of the file.
                    Ok(0) => break,
                    Ok(read) => filled += read,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(error.into()),
                }
            }
        }
        Ok(data)
    }

    /// Makes sure that applying a commit cannot find the disk full.
    fn reserve(&self, pages: u32) -> io::Result<()> {
        let mut state = self.state.lock();
        let state = &mut *state;
        if state.file.is_some() && pages <= state.reserved_pages {
            return Ok(());
        }
        let file = match state.file.take() {
            Some(file) => state.file.insert(file),
            None => state.file.insert(create(&self.path)?),
        };
        let wanted = if pages <= EXACT_PAGES { pages } else { pages.saturating_add(pages / 8) };
        let allocate = |pages: u32| fallocate(&*file, FallocateFlags::empty(), 0, page_at(pages.saturating_add(1)));
        let reserved = match allocate(wanted) {
            Err(rustix::io::Errno::NOSPC) if wanted > pages => allocate(pages).map(|()| pages)?,
            Err(error) => return Err(error.into()),
            Ok(()) => wanted,
        };
        state.reserved_pages = reserved;
        Ok(())
    }

    /// Brings commits in order into the file.
    fn apply(&self, commits: &[&Commit]) -> io::Result<()> {
        match commits.iter().rposition(|commit| commit.removed) {
            Some(at) => {
                self.remove()?;
                self.write(&commits[at + 1..])
            }
            None => self.write(commits),
        }
    }

    /// As if the object had never been; only its epoch goes on, for as long as this process remembers it.
    fn remove(&self) -> io::Result<()> {
        let mut state = self.state.lock();
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        state.file = None;
        state.header = Header::default();
        state.reserved_pages = 0;
        state.accepted_seq = 0;
        Ok(())
    }

    fn write(&self, commits: &[&Commit]) -> io::Result<()> {
        let mut state = self.state.lock();
        let state = &mut *state;
        let Some(last) = commits.last() else { return Ok(()) };
        let file = match state.file.take() {
            Some(file) => state.file.insert(file),
            None => state.file.insert(create(&self.path)?),
        };
        // Of ranges that one batch changes again and again only the last counts.
        let mut written = std::collections::HashSet::new();
        let mut smallest = u32::MAX;
        let mut kept = Vec::new();
        for commit in commits.iter().rev() {
            for delta in commit.deltas.iter().rev() {
                // A page that was cut off later and came back began anew as zeroes.
                if delta.page <= smallest && written.insert((delta.page, delta.offset, delta.bytes.len())) {
                    kept.push(delta);
                }
            }
            smallest = smallest.min(commit.pages);
        }
        cut(file, &state.header, commits, &mut state.reserved_pages)?;
        for delta in kept.iter().rev() {
            file.write_all_at(&delta.bytes, page_at(delta.page) + u64::from(delta.offset))?;
        }
        let before = state.header.name.clone();
        for commit in commits {
            state.header.take(commit);
        }
        if state.header.name != before
            && let Some(name) = &state.header.name
        {
            file.write_all_at(name.as_bytes(), NAME_AT as u64)?;
        }
        state.reserved_pages = state.reserved_pages.max(last.pages);
        // At a start nothing was accepted beforehand.
        state.accepted_seq = state.accepted_seq.max(last.seq);
        state.promised_epoch = state.promised_epoch.max(last.epoch);
        file.write_all_at(&state.header.encode(), 0)
    }

    pub fn sync(&self) -> io::Result<()> {
        match &self.state.lock().file {
            Some(file) => file.sync_data(),
            None => Ok(()),
        }
    }
}

impl Header {
    fn take(&mut self, commit: &Commit) {
        self.epoch = commit.epoch;
        self.seq = commit.seq;
        self.pages = commit.pages;
        match commit.alarm {
            AlarmChange::Unchanged => {}
            AlarmChange::Cleared => self.alarm_ms = None,
            AlarmChange::SetTo(at_ms) => self.alarm_ms = Some(at_ms),
        }
        if let Some(name) = commit.name.as_ref().filter(|name| name.len() <= MAX_NAME_BYTES) {
            self.name = Some(name.clone());
        }
    }
}

/// Cuts off pages that some commit dropped, so that they are zeroes where a later one grows over them again.
fn cut(file: &File, header: &Header, commits: &[&Commit], reserved_pages: &mut u32) -> io::Result<()> {
    let smallest = commits.iter().map(|commit| commit.pages).min().unwrap_or(header.pages);
    if smallest < header.pages {
        file.set_len(page_at(smallest.saturating_add(1)))?;
        *reserved_pages = smallest;
    }
    Ok(())
}

fn create(path: &Path) -> io::Result<File> {
    let options = || {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        options
    };
    match options().open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            if let Some(directory) = path.parent() {
                make_private_directory(directory)?;
            }
            options().open(path)
        }
        other => other,
    }
}

/// The files of all objects; the ones last used are open.
#[derive(Debug)]
pub struct Files {
    root: PathBuf,
    limit: usize,
    open: Mutex<Open>,
    /// Held to read for as long as commits are brought into files.
    deleted: RwLock<HashSet<[u8; 16]>>,
}

#[derive(Debug, Default)]
struct Open {
    files: HashMap<ObjectKey, (u64, Arc<ObjectFile>)>,
    clock: u64,
}

impl Files {
    pub fn new(root: PathBuf, limit: usize, deleted: HashSet<[u8; 16]>) -> Self {
        Files { root, limit, open: Mutex::default(), deleted: RwLock::new(deleted) }
    }

    pub fn namespace_path(&self, namespace: &[u8; 16]) -> PathBuf {
        self.root.join(hex::encode(namespace))
    }

    pub fn path(&self, key: &ObjectKey) -> PathBuf {
        let id = hex::encode(key.id);
        self.namespace_path(&key.namespace).join(&id[..2]).join(&id[2..])
    }

    pub fn is_deleted(&self, namespace: &[u8; 16]) -> bool {
        self.deleted.read().contains(namespace)
    }

    /// From here on no commit gets into the namespace's files, and none that is under way is left behind.
    pub fn refuse_namespace(&self, namespace: [u8; 16]) {
        self.deleted.write().insert(namespace);
        self.open.lock().files.retain(|key, _| key.namespace != namespace);
    }

    /// Removes the files of a namespace that is refused.
    pub fn remove_namespace(&self, namespace: &[u8; 16]) -> io::Result<()> {
        match fs::remove_dir_all(self.namespace_path(namespace)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        super::segment::sync_directory(&self.root)
    }

    pub fn open(&self, key: ObjectKey) -> Result<Arc<ObjectFile>, OpenFileError> {
        if self.is_deleted(&key.namespace) {
            return Err(OpenFileError::Deleted);
        }
        self.open_file(key)
    }

    fn open_file(&self, key: ObjectKey) -> Result<Arc<ObjectFile>, OpenFileError> {
        let mut open = self.open.lock();
        open.clock += 1;
        let clock = open.clock;
        if let Some((used, file)) = open.files.get_mut(&key) {
            *used = clock;
            return Ok(Arc::clone(file));
        }
        let file = Arc::new(ObjectFile::open(self.path(&key))?);
        open.files.insert(key, (clock, Arc::clone(&file)));
        if open.files.len() > self.limit {
            open.close_oldest(self.limit / 2);
        }
        Ok(file)
    }

    /// Before a commit is written to the log: refuses what is older than what the file knows, and reserves room.
    pub fn prepare(&self, commit: &Commit) -> Result<(), CommitError> {
        // Held until the file is there, if it is made: no namespace is removed meanwhile.
        let deleted = self.deleted.read();
        if deleted.contains(&commit.key.namespace) {
            return Err(OpenFileError::Deleted.into());
        }
        let file = self.open_file(commit.key)?;
        file.accept(commit)?;
        if commit.removed {
            return Ok(());
        }
        file.reserve(commit.pages).map_err(|error| {
            file.give_up();
            CommitError::from_write(error)
        })
    }

    /// Forgets that these were prepared.
    pub fn give_up(&self, commits: &[Commit]) {
        for commit in commits {
            // It was open a moment ago; if it cannot be opened now it knows of nothing that was accepted either.
            if let Ok(file) = self.open(commit.key) {
                file.give_up();
            }
        }
    }

    /// Brings durable commits into their files. An error is of one object: its file is not used again before a start.
    pub fn apply(&self, commits: &[Commit]) -> io::Result<()> {
        let deleted = self.deleted.read();
        let mut by_object: HashMap<ObjectKey, Vec<&Commit>> = HashMap::new();
        for commit in commits.iter().filter(|commit| !deleted.contains(&commit.key.namespace)) {
            by_object.entry(commit.key).or_default().push(commit);
        }
        let mut failed = Ok(());
        for (key, commits) in by_object {
            let file = match self.open_file(key) {
                Ok(file) => file,
                Err(OpenFileError::Io(error)) => {
                    failed = Err(error);
                    continue;
                }
                Err(error @ (OpenFileError::Damaged(_) | OpenFileError::Behind | OpenFileError::Deleted)) => {
                    failed = Err(io::Error::other(error));
                    continue;
                }
            };
            if let Err(error) = file.apply(&commits) {
                file.state.lock().behind = true;
                failed = Err(error);
            }
        }
        failed
    }

    /// Makes every file durable that was written to.
    pub fn sync_all(&self) -> io::Result<()> {
        Ok(rustix::fs::syncfs(File::open(&self.root)?)?)
    }

    pub fn sync(&self, key: ObjectKey) -> io::Result<()> {
        let path = self.path(&key);
        match File::open(&path) {
            Ok(file) => file.sync_all()?,
            // Removed, and that has to last as well.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        // The directories between it and the root may be as new as the file.
        let mut above = path.ancestors().skip(1).take_while(|above| above.starts_with(&self.root));
        above.try_for_each(|above| match super::segment::sync_directory(above) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            synced => synced,
        })
    }

    /// Objects of a namespace whose files are on the disk, in the order of their ids.
    pub fn at_rest(&self, namespace: [u8; 16], page: &Page) -> io::Result<Vec<AtRest>> {
        list::at_rest(&self.namespace_path(&namespace), namespace, page)
    }
}

impl Open {
    /// What somebody holds stays, or two would have different opinions of one file.
    fn close_oldest(&mut self, count: usize) {
        let mut idle: Vec<(u64, ObjectKey)> = self
            .files
            .iter()
            .filter(|(_, (_, file))| Arc::strong_count(file) == 1 && file.state.lock().is_as_on_disk())
            .map(|(key, (used, _))| (*used, *key))
            .collect();
        idle.sort_unstable_by_key(|(used, _)| *used);
        for (_, key) in idle.into_iter().take(count) {
            self.files.remove(&key);
        }
    }
}
