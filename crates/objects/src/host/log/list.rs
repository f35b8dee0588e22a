//! Which objects have stored something, by the names of their files.
//!
//! Files lie in a directory for each first byte of an id: a page of a namespace of a million objects takes the names of a
//! few thousand.

use std::{
    collections::BinaryHeap,
    fs::{self, File},
    io,
    os::unix::fs::FileExt,
    path::Path,
    time::UNIX_EPOCH,
};

use super::{ObjectKey, files::Header, record::PAGE_BYTES};

/// Which objects are wanted.
#[derive(Debug, Clone, Default)]
pub struct Page {
    /// Those whose ids are higher than this.
    pub after: Option<[u8; 32]>,
    /// How the ids' hexadecimal digits begin, in lower case.
    pub prefix: String,
    pub limit: usize,
}

impl Page {
    pub fn wants(&self, id: &[u8; 32]) -> bool {
        self.after.is_none_or(|after| *id > after) && hex::encode(id).starts_with(&self.prefix)
    }
}

/// An object's file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AtRest {
    pub key: ObjectKey,
    pub name: Option<String>,
    /// Of its database.
    pub bytes: u64,
    pub alarm_at_ms: Option<i64>,
    /// Unix milliseconds of its last commit.
    pub written_ms: Option<i64>,
}

pub fn at_rest(directory: &Path, namespace: [u8; 16], page: &Page) -> io::Result<Vec<AtRest>> {
    let mut found = Vec::new();
    let first = page.after.map_or(0, |after| after[0]);
    for byte in first..=u8::MAX {
        let begin = hex::encode([byte]);
        if !(page.prefix.starts_with(&begin) || begin.starts_with(&page.prefix)) {
            continue;
        }
        let below = directory.join(&begin);
        let mut after = page.after;
        while found.len() < page.limit {
            let ids = ids_in(&below, byte, &Page { after, limit: page.limit - found.len(), ..page.clone() })?;
            let Some(last) = ids.last() else { break };
            after = Some(*last);
            for id in ids {
                let hexadecimal = hex::encode(id);
                // One that holds nothing is none; others may follow it.
                if let Some(object) = read(&below.join(&hexadecimal[2..]), ObjectKey { namespace, id })? {
                    found.push(object);
                }
            }
        }
    }
    Ok(found)
}

/// The lowest ids that are wanted, in order.
fn ids_in(directory: &Path, byte: u8, page: &Page) -> io::Result<Vec<[u8; 32]>> {
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut lowest = BinaryHeap::new();
    for entry in entries {
        let name = entry?.file_name();
        let mut id = [byte; 32];
        let is_id = name.to_str().is_some_and(|name| hex::decode_to_slice(name, &mut id[1..]).is_ok());
        if !is_id || !page.wants(&id) {
            continue;
        }
        lowest.push(id);
        if lowest.len() > page.limit {
            lowest.pop();
        }
    }
    Ok(lowest.into_sorted_vec())
}

fn read(path: &Path, key: ObjectKey) -> io::Result<Option<AtRest>> {
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file?,
    };
    let mut page = [0; PAGE_BYTES];
    let header = match file.read_exact_at(&mut page, 0) {
        Ok(()) => Header::decode(&page),
        // Reserved, and never written to.
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => None,
        Err(error) => return Err(error),
    };
    let Some(header) = header else { return Ok(None) };
    let written = file.metadata()?.modified()?.duration_since(UNIX_EPOCH).ok();
    Ok(Some(AtRest {
        key,
        name: header.name,
        bytes: u64::from(header.pages) * PAGE_BYTES as u64,
        alarm_at_ms: header.alarm_ms,
        written_ms: written.and_then(|since| i64::try_from(since.as_millis()).ok()),
    }))
}
