//! Which alarms failed and when they are tried again, over a start of the host: a file beside the log.

use std::{
    fs,
    io::{self, Write},
    path::Path,
};

use super::log::ObjectKey;

const FILE: &str = "alarm-retries";
const MAGIC: &[u8; 8] = b"BERTHRTY";
const ENTRY_BYTES: usize = 16 + 32 + 8 + 8 + 4;

/// An alarm that waits for its next attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retry {
    pub key: ObjectKey,
    pub scheduled_ms: i64,
    pub at_ms: i64,
    pub retry: u32,
}

/// What the file says. A damaged one says nothing: alarms then begin anew, which at least once allows.
pub fn load(directory: &Path) -> io::Result<Vec<Retry>> {
    let bytes = match fs::read(directory.join(FILE)) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    Ok(decode(&bytes).unwrap_or_else(|| {
        tracing::warn!("the list of alarms that failed is damaged: they begin anew");
        Vec::new()
    }))
}

/// Replaces the file, durably.
pub fn save(directory: &Path, retries: &[Retry]) -> io::Result<()> {
    let mut bytes = MAGIC.to_vec();
    for Retry { key, scheduled_ms, at_ms, retry } in retries {
        bytes.extend(key.namespace);
        bytes.extend(key.id);
        bytes.extend(scheduled_ms.to_le_bytes());
        bytes.extend(at_ms.to_le_bytes());
        bytes.extend(retry.to_le_bytes());
    }
    let crc = crc32fast::hash(&bytes);
    bytes.extend(crc.to_le_bytes());
    let next = directory.join("alarm-retries.next");
    let mut file = fs::File::create(&next)?;
    file.write_all(&bytes)?;
    file.sync_all()?;
    fs::rename(&next, directory.join(FILE))?;
    fs::File::open(directory)?.sync_all()
}

fn decode(bytes: &[u8]) -> Option<Vec<Retry>> {
    let (body, crc) = bytes.split_last_chunk::<4>()?;
    let entries = body.strip_prefix(MAGIC)?;
    if crc32fast::hash(body) != u32::from_le_bytes(*crc) || entries.len() % ENTRY_BYTES != 0 {
        return None;
    }
    let entry = |entry: &[u8]| {
        Some(Retry {
            key: ObjectKey { namespace: entry[..16].try_into().ok()?, id: entry[16..48].try_into().ok()? },
            scheduled_ms: i64::from_le_bytes(entry[48..56].try_into().ok()?),
            at_ms: i64::from_le_bytes(entry[56..64].try_into().ok()?),
            retry: u32::from_le_bytes(entry[64..68].try_into().ok()?),
        })
    };
    entries.chunks_exact(ENTRY_BYTES).map(entry).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_damage_is_seen() {
        let directory = tempfile::tempdir().expect("a directory");
        assert_eq!(load(directory.path()).expect("none is none"), []);
        let retry = |id: u8| Retry {
            key: ObjectKey { namespace: [id; 16], id: [id; 32] },
            scheduled_ms: -5,
            at_ms: i64::MAX,
            retry: u32::from(id),
        };
        save(directory.path(), &[retry(1), retry(2)]).expect("is written");
        assert_eq!(load(directory.path()).expect("is read"), [retry(1), retry(2)]);
        let path = directory.path().join(FILE);
        let mut bytes = fs::read(&path).expect("is there");
        bytes[20] ^= 1;
        fs::write(&path, bytes).expect("is written");
        assert_eq!(load(directory.path()).expect("is read"), []);
    }
}
