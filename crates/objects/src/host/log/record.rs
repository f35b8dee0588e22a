//! What stands in the log: commits of objects, in batches that were made durable together.
//!
//! All numbers are little-endian. A batch begins at a multiple of [`SECTOR_BYTES`], so that writing the next one never
//! rewrites a sector which holds something that was acknowledged.

use bytes::Bytes;

use super::ObjectKey;

/// Batches begin at multiples of this.
pub const SECTOR_BYTES: usize = 512;
/// Pages of a database, as SQLite is told to make them.
pub const PAGE_BYTES: usize = 4096;
/// The largest commit, encoded.
pub const MAX_COMMIT_BYTES: usize = 64 * 1024 * 1024;
/// The longest name of an object that is kept beside its id. Of longer ones the object knows only in the activation that
/// was asked for by name.
pub const MAX_NAME_BYTES: usize = 1024;

const BATCH_MAGIC: u32 = 0x3147_4c42;
/// magic, crc, segment, number, length, records.
pub const BATCH_HEADER_BYTES: usize = 4 + 4 + 8 + 8 + 4 + 4;

/// What a commit does to the object's alarm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AlarmChange {
    Unchanged,
    Cleared,
    /// Milliseconds since 1970.
    SetTo(i64),
}

/// Bytes of one page that changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delta {
    /// From 1, as SQLite counts.
    pub page: u32,
    pub offset: u16,
    pub bytes: Bytes,
}

impl Delta {
    pub fn encoded_bytes(&self) -> usize {
        4 + 2 + 2 + self.bytes.len()
    }
}

/// One commit of one object: all of it is applied, or nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commit {
    pub key: ObjectKey,
    pub epoch: u64,
    pub seq: u64,
    /// The database's size after it. 0: the object has no database any more.
    pub pages: u32,
    pub alarm: AlarmChange,
    pub name: Option<String>,
    pub deltas: Vec<Delta>,
    /// Nothing is left of the object: its file goes too.
    pub removed: bool,
}

#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
pub enum BadCommit {
    #[error("a commit of {bytes} bytes is larger than {most}")]
    TooLarge { bytes: usize, most: usize },
    #[error("page {page} is outside of a database of {pages} pages")]
    OutsideDatabase { page: u32, pages: u32 },
    #[error("a change of {bytes} bytes at {offset} is outside of its page")]
    OutsidePage { offset: u16, bytes: usize },
}

impl Commit {
    /// The end of an object: what it stored, its alarm and its file.
    pub fn removal(key: ObjectKey, epoch: u64, seq: u64) -> Self {
        let alarm = AlarmChange::Cleared;
        Commit { key, epoch, seq, pages: 0, alarm, name: None, deltas: Vec::new(), removed: true }
    }

    /// Whether it may be applied: the engine that sent it is not trusted.
    pub fn check(&self) -> Result<(), BadCommit> {
        let size = self.encoded_bytes();
        if size > MAX_COMMIT_BYTES {
            return Err(BadCommit::TooLarge { bytes: size, most: MAX_COMMIT_BYTES });
        }
        for delta in &self.deltas {
            if delta.page == 0 || delta.page > self.pages {
                return Err(BadCommit::OutsideDatabase { page: delta.page, pages: self.pages });
            }
            if usize::from(delta.offset) + delta.bytes.len() > PAGE_BYTES {
                return Err(BadCommit::OutsidePage { offset: delta.offset, bytes: delta.bytes.len() });
            }
        }
        Ok(())
    }

    pub fn encoded_bytes(&self) -> usize {
        let name = self.name.as_ref().map_or(0, String::len);
        4 + 16 + 32 + 8 + 8 + 4 + 9 + 2 + name + 4 + self.deltas.iter().map(Delta::encoded_bytes).sum::<usize>()
    }

    /// Appends it with its length.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend([0; 4]);
        out.extend(self.key.namespace);
        out.extend(self.key.id);
        out.extend(self.epoch.to_le_bytes());
        out.extend(self.seq.to_le_bytes());
        out.extend(self.pages.to_le_bytes());
        let (kind, at_ms) = match self.alarm {
            _any if self.removed => (3, 0),
            AlarmChange::Unchanged => (0, 0),
            AlarmChange::Cleared => (1, 0),
            AlarmChange::SetTo(at_ms) => (2_u8, at_ms),
        };
        out.push(kind);
        out.extend(at_ms.to_le_bytes());
        let name = self.name.as_deref().unwrap_or_default();
        out.extend(length16(name.len()).to_le_bytes());
        out.extend(name.as_bytes());
        out.extend(length32(self.deltas.len()).to_le_bytes());
        for delta in &self.deltas {
            out.extend(delta.page.to_le_bytes());
            out.extend(delta.offset.to_le_bytes());
            out.extend(length16(delta.bytes.len()).to_le_bytes());
            out.extend(&delta.bytes);
        }
        let length = length32(out.len() - start - 4);
        out[start..start + 4].copy_from_slice(&length.to_le_bytes());
    }

    /// Reads one and what is behind it. None if it is cut or makes no sense.
    pub fn decode(input: &Bytes) -> Option<(Self, Bytes)> {
        let mut reader = Reader { rest: input.clone() };
        let length = reader.u32()? as usize;
        let mut body = Reader { rest: reader.take(length)? };
        let key = ObjectKey { namespace: body.array()?, id: body.array()? };
        let (epoch, seq, pages) = (body.u64()?, body.u64()?, body.u32()?);
        let kind = body.array::<1>()?;
        let at_ms = i64::from_le_bytes(body.array()?);
        let alarm = match kind[0] {
            0 => AlarmChange::Unchanged,
            1 | 3 => AlarmChange::Cleared,
            2 => AlarmChange::SetTo(at_ms),
            4.. => return None,
        };
        let name_length = usize::from(body.u16()?);
        let name = String::from_utf8(body.take(name_length)?.to_vec()).ok()?;
        let name = (!name.is_empty()).then_some(name);
        let count = body.u32()?;
        let mut deltas = Vec::with_capacity((count as usize).min(1024));
        for _ in 0..count {
            let (page, offset, length) = (body.u32()?, body.u16()?, body.u16()?);
            deltas.push(Delta { page, offset, bytes: body.take(usize::from(length))? });
        }
        let removed = kind[0] == 3;
        let commit = Commit { key, epoch, seq, pages, alarm, name, deltas, removed };
        (body.rest.is_empty() && commit.check().is_ok()).then_some((commit, reader.rest))
    }
}

/// Lengths were checked against limits that fit.
fn length32(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}
fn length16(length: usize) -> u16 {
    u16::try_from(length).unwrap_or(u16::MAX)
}

struct Reader {
    rest: Bytes,
}

impl Reader {
    fn take(&mut self, length: usize) -> Option<Bytes> {
        (length <= self.rest.len()).then(|| self.rest.split_to(length))
    }
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.as_ref().try_into().ok()
    }
    fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }
    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }
    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }
}

/// Where a batch belongs: a sector of another life of the segment's file does not name this.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    pub segment: u64,
    /// Counts batches over all segments, without gaps.
    pub number: u64,
}

/// A batch as it is written: begun, filled, finished.
#[derive(Debug, Default)]
pub struct BatchWriter {
    bytes: Vec<u8>,
    records: u32,
}

impl BatchWriter {
    pub fn begin(&mut self) {
        self.bytes.clear();
        self.bytes.resize(BATCH_HEADER_BYTES, 0);
        self.records = 0;
    }

    pub fn push(&mut self, commit: &Commit) {
        commit.encode(&mut self.bytes);
        self.records += 1;
    }

    /// Its size on disk, if nothing is added.
    pub fn padded_bytes(&self) -> u64 {
        self.bytes.len().next_multiple_of(SECTOR_BYTES) as u64
    }

    /// What is to be written.
    pub fn finish(&mut self, place: Place) -> &[u8] {
        let length = length32(self.bytes.len() - BATCH_HEADER_BYTES);
        self.bytes[0..4].copy_from_slice(&BATCH_MAGIC.to_le_bytes());
        self.bytes[8..16].copy_from_slice(&place.segment.to_le_bytes());
        self.bytes[16..24].copy_from_slice(&place.number.to_le_bytes());
        self.bytes[24..28].copy_from_slice(&length.to_le_bytes());
        self.bytes[28..32].copy_from_slice(&self.records.to_le_bytes());
        let crc = crc32fast::hash(&self.bytes[8..]);
        self.bytes[4..8].copy_from_slice(&crc.to_le_bytes());
        // The rest of the sector is what an earlier life of the file left there; the length keeps it out.
        &self.bytes
    }
}

/// A batch that is whole.
#[derive(Debug)]
pub struct Batch {
    pub place: Place,
    pub commits: Vec<Commit>,
    pub padded_bytes: usize,
}

/// Reads the batch at the beginning of `input`, if a whole one of this segment is there.
pub fn read_batch(input: &Bytes, segment: u64) -> Option<Batch> {
    let mut reader = Reader { rest: input.clone() };
    if reader.u32()? != BATCH_MAGIC {
        return None;
    }
    let crc = reader.u32()?;
    let place = Place { segment: reader.u64()?, number: reader.u64()? };
    let (length, records) = (reader.u32()? as usize, reader.u32()?);
    if place.segment != segment || input.len() < BATCH_HEADER_BYTES + length {
        return None;
    }
    if crc32fast::hash(&input[8..BATCH_HEADER_BYTES + length]) != crc {
        return None;
    }
    let mut body = input.slice(BATCH_HEADER_BYTES..BATCH_HEADER_BYTES + length);
    let mut commits = Vec::new();
    for _ in 0..records {
        let (commit, rest) = Commit::decode(&body)?;
        commits.push(commit);
        body = rest;
    }
    let padded_bytes = (BATCH_HEADER_BYTES + length).next_multiple_of(SECTOR_BYTES);
    body.is_empty().then_some(Batch { place, commits, padded_bytes })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn commit(seq: u64, bytes: &'static [u8]) -> Commit {
        Commit {
            key: ObjectKey { namespace: [1; 16], id: [2; 32] },
            epoch: 3,
            seq,
            pages: 2,
            alarm: AlarmChange::SetTo(-5),
            name: Some("room".to_owned()),
            deltas: vec![Delta { page: 2, offset: 4000, bytes: Bytes::from_static(bytes) }],
            removed: false,
        }
    }

    fn batch(place: Place) -> Vec<u8> {
        let mut writer = BatchWriter::default();
        writer.begin();
        writer.push(&commit(7, b"abc"));
        writer.push(&commit(8, b""));
        writer.finish(place).to_vec()
    }

    #[test]
    fn a_batch_comes_back_as_it_was() {
        let place = Place { segment: 9, number: 4 };
        let read = read_batch(&Bytes::from(batch(place)), 9).expect("is whole");
        assert_eq!((read.place, read.commits), (place, vec![commit(7, b"abc"), commit(8, b"")]));
        assert_eq!(read.padded_bytes, SECTOR_BYTES);
    }

    #[test]
    fn no_batch_with_a_byte_changed_or_cut_or_of_another_life_is_read() {
        let bytes = batch(Place { segment: 9, number: 4 });
        assert!(read_batch(&Bytes::from(bytes.clone()), 8).is_none());
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 0x40;
            assert!(read_batch(&Bytes::from(changed), 9).is_none(), "byte {at} changed");
            assert!(read_batch(&Bytes::copy_from_slice(&bytes[..at]), 9).is_none(), "cut at {at}");
        }
    }

    #[test]
    fn a_commit_stays_inside_its_database() {
        let mut outside = commit(1, b"abc");
        outside.deltas[0].page = 3;
        assert_eq!(outside.check(), Err(BadCommit::OutsideDatabase { page: 3, pages: 2 }));
        outside.deltas[0].page = 0;
        assert!(outside.check().is_err());
        let mut beyond = commit(1, b"abc");
        beyond.deltas[0].offset = 4094;
        assert_eq!(beyond.check(), Err(BadCommit::OutsidePage { offset: 4094, bytes: 3 }));
    }
}
