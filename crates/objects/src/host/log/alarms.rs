//! When which object's alarm is due: known without opening an object.

use std::{
    collections::{BTreeSet, HashMap},
    fs,
    io::{self, Write},
    path::Path,
};

use super::{
    ObjectKey,
    record::{AlarmChange, Commit},
    segment::sync_directory,
};

const FILE: &str = "alarms";
const MAGIC: &[u8; 8] = b"BERTHALM";
const ENTRY_BYTES: usize = 16 + 32 + 8;

/// The armed alarms of all objects.
#[derive(Debug, Default)]
pub struct Alarms {
    by_time: BTreeSet<(i64, ObjectKey)>,
    by_object: HashMap<ObjectKey, i64>,
}

impl Alarms {
    /// What the last checkpoint wrote; the log has what came after it.
    pub fn load(directory: &Path) -> io::Result<Self> {
        let bytes = match fs::read(directory.join(FILE)) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(error),
        };
        Self::decode(&bytes).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "the list of alarms is damaged"))
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (body, crc) = bytes.split_last_chunk::<4>()?;
        let entries = body.strip_prefix(MAGIC)?;
        if crc32fast::hash(body) != u32::from_le_bytes(*crc) || entries.len() % ENTRY_BYTES != 0 {
            return None;
        }
        let mut alarms = Self::default();
        for entry in entries.chunks_exact(ENTRY_BYTES) {
            let key = ObjectKey { namespace: entry[..16].try_into().ok()?, id: entry[16..48].try_into().ok()? };
            alarms.set(key, Some(i64::from_le_bytes(entry[48..].try_into().ok()?)));
        }
        Some(alarms)
    }

    /// The list as [`Self::write`] takes it.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        for (at_ms, key) in &self.by_time {
            bytes.extend(key.namespace);
            bytes.extend(key.id);
            bytes.extend(at_ms.to_le_bytes());
        }
        let crc = crc32fast::hash(&bytes);
        bytes.extend(crc.to_le_bytes());
        bytes
    }

    /// Replaces the list of the last checkpoint, durably.
    pub fn write(directory: &Path, bytes: &[u8]) -> io::Result<()> {
        let next = directory.join("alarms.next");
        let mut file = fs::File::create(&next)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&next, directory.join(FILE))?;
        sync_directory(directory)
    }

    pub fn save(&self, directory: &Path) -> io::Result<()> {
        Self::write(directory, &self.encode())
    }

    pub fn apply(&mut self, commit: &Commit) {
        match commit.alarm {
            AlarmChange::Unchanged => {}
            AlarmChange::Cleared => self.set(commit.key, None),
            AlarmChange::SetTo(at_ms) => self.set(commit.key, Some(at_ms)),
        }
    }

    pub fn set(&mut self, key: ObjectKey, at_ms: Option<i64>) {
        let before = match at_ms {
            Some(at_ms) => {
                self.by_time.insert((at_ms, key));
                self.by_object.insert(key, at_ms)
            }
            None => self.by_object.remove(&key),
        };
        if let Some(before) = before.filter(|before| Some(*before) != at_ms) {
            self.by_time.remove(&(before, key));
        }
    }

    /// Forgets all alarms of a namespace.
    pub fn remove_namespace(&mut self, namespace: &[u8; 16]) {
        let gone = |key: &ObjectKey| key.namespace == *namespace;
        self.by_time.retain(|(_, key)| !gone(key));
        self.by_object.retain(|key, _| !gone(key));
    }

    pub fn of(&self, key: &ObjectKey) -> Option<i64> {
        self.by_object.get(key).copied()
    }

    pub fn next_ms(&self) -> Option<i64> {
        self.by_time.first().map(|(at_ms, _)| *at_ms)
    }

    /// Those that are due, the earliest first; they stay armed.
    pub fn due(&self, now_ms: i64) -> impl Iterator<Item = (i64, ObjectKey)> + '_ {
        self.by_time.iter().take_while(move |(at_ms, _)| *at_ms <= now_ms).copied()
    }

    pub fn iter(&self) -> impl Iterator<Item = (i64, ObjectKey)> + '_ {
        self.by_time.iter().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(id: u8) -> ObjectKey {
        ObjectKey { namespace: [1; 16], id: [id; 32] }
    }

    #[test]
    fn an_object_has_one_alarm_and_a_list_comes_back() {
        let directory = tempfile::tempdir().expect("a directory");
        let mut alarms = Alarms::load(directory.path()).expect("none is none");
        for (id, at_ms) in [(1, Some(30)), (2, Some(20)), (1, Some(10)), (3, Some(5)), (3, None)] {
            alarms.set(key(id), at_ms);
        }
        alarms.save(directory.path()).expect("is written");
        let loaded = Alarms::load(directory.path()).expect("is read");
        assert_eq!(loaded.iter().collect::<Vec<_>>(), [(10, key(1)), (20, key(2))]);
        assert_eq!((loaded.next_ms(), loaded.of(&key(2)), loaded.of(&key(3))), (Some(10), Some(20), None));
        assert_eq!(loaded.due(15).collect::<Vec<_>>(), [(10, key(1))]);
    }

    #[test]
    fn a_damaged_list_is_not_taken_for_an_empty_one() {
        let directory = tempfile::tempdir().expect("a directory");
        let mut bytes = Alarms::default().encode();
        bytes[3] ^= 1;
        fs::write(directory.path().join(FILE), bytes).expect("is written");
        assert!(Alarms::load(directory.path()).is_err());
    }
}
