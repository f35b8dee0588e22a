//! The log's files: of one size, filled with zeros before their first use so that a write to them changes no metadata, and
//! used again after a checkpoint.

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use bytes::Bytes;

use super::record::SECTOR_BYTES;

const MAGIC: &[u8; 8] = b"BERTHLOG";
const VERSION: u32 = 1;
/// The first batch begins behind the header's sector.
pub const FIRST_BATCH_AT: u64 = SECTOR_BYTES as u64;
const ZEROS: usize = 1024 * 1024;

/// What a segment says of itself in its first sector.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SegmentHeader {
    pub segment: u64,
    /// Number of its first batch. What stands in earlier segments with this number or a higher one was given up.
    pub first_batch: u64,
}

impl SegmentHeader {
    fn encode(self) -> [u8; SECTOR_BYTES] {
        let mut sector = [0; SECTOR_BYTES];
        sector[..8].copy_from_slice(MAGIC);
        sector[8..12].copy_from_slice(&VERSION.to_le_bytes());
        sector[16..24].copy_from_slice(&self.segment.to_le_bytes());
        sector[24..32].copy_from_slice(&self.first_batch.to_le_bytes());
        let crc = crc32fast::hash(&sector[..32]);
        sector[32..36].copy_from_slice(&crc.to_le_bytes());
        sector
    }

    fn decode(sector: &[u8]) -> Option<Self> {
        let number = |from: usize| Some(u64::from_le_bytes(sector.get(from..from + 8)?.try_into().ok()?));
        let crc = u32::from_le_bytes(sector.get(32..36)?.try_into().ok()?);
        let known = sector.get(..8)? == MAGIC && sector.get(8..12)? == VERSION.to_le_bytes();
        (known && crc32fast::hash(&sector[..32]) == crc)
            .then_some(())
            .and_then(|()| Some(SegmentHeader { segment: number(16)?, first_batch: number(24)? }))
    }
}

/// A segment that is written to.
#[derive(Debug)]
pub struct Segment {
    pub header: SegmentHeader,
    pub path: PathBuf,
    file: File,
    size_bytes: u64,
    at: u64,
}

/// A file of zeros, or of a segment that is not needed any more.
#[derive(Debug)]
pub struct Spare {
    path: PathBuf,
    file: File,
    size_bytes: u64,
}

fn name(segment: u64) -> String {
    format!("{segment:016x}.log")
}

pub fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

impl Spare {
    /// Makes a file of that size. Blocks; nothing stays behind if the disk has no room.
    pub fn make(directory: &Path, number: u64, size_bytes: u64) -> io::Result<Self> {
        let path = directory.join(format!("{number:016x}.spare"));
        let filled =
            OpenOptions::new().read(true).write(true).create(true).truncate(true).open(&path).and_then(|file| {
                let zeros = vec![0; ZEROS];
                let mut at = 0;
                while at < size_bytes {
                    let length = usize::try_from(size_bytes - at).map_or(ZEROS, |rest| rest.min(ZEROS));
                    file.write_all_at(&zeros[..length], at)?;
                    at += length as u64;
                }
                file.sync_all()?;
                Ok(file)
            });
        match filled {
            Ok(file) => Ok(Spare { path, file, size_bytes }),
            Err(error) => {
                // The reason is what is told; what could not be removed is overwritten by the next attempt.
                drop(fs::remove_file(&path));
                Err(error)
            }
        }
    }

    pub fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    pub fn remove(self) -> io::Result<()> {
        fs::remove_file(&self.path)
    }

    /// Makes it the segment with that header. The header is on disk before the name says that there is a segment.
    pub fn begin(self, directory: &Path, header: SegmentHeader) -> io::Result<Segment> {
        self.file.write_all_at(&header.encode(), 0)?;
        self.file.sync_data()?;
        let path = directory.join(name(header.segment));
        fs::rename(&self.path, &path)?;
        sync_directory(directory)?;
        Ok(Segment { header, path, file: self.file, size_bytes: self.size_bytes, at: FIRST_BATCH_AT })
    }
}

impl Segment {
    pub fn has_room(&self, padded_bytes: u64) -> bool {
        self.at + padded_bytes <= self.size_bytes
    }

    /// Writes behind what was written, without making it durable.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all_at(bytes, self.at)?;
        self.at += bytes.len().next_multiple_of(SECTOR_BYTES) as u64;
        Ok(())
    }

    pub fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    /// The file for another life, once all that stands in it is in the objects' files.
    pub fn recycle(self, directory: &Path) -> io::Result<Spare> {
        let path = directory.join(format!("{:016x}.spare", self.header.segment));
        fs::rename(&self.path, &path)?;
        Ok(Spare { path, file: self.file, size_bytes: self.size_bytes })
    }
}

/// A segment as it is found at the start.
#[derive(Debug)]
pub struct Found {
    pub header: SegmentHeader,
    pub path: PathBuf,
}

impl Found {
    pub fn read(&self) -> io::Result<Bytes> {
        fs::read(&self.path).map(Bytes::from)
    }
}

/// The segments of a directory in order, and spare files, which are removed.
pub fn find(directory: &Path) -> io::Result<Vec<Found>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("spare") => fs::remove_file(&path)?,
            Some("log") => {
                let mut sector = [0; SECTOR_BYTES];
                let header = File::open(&path)?.read_exact_at(&mut sector, 0);
                let header = header.ok().and_then(|()| SegmentHeader::decode(&sector));
                let Some(header) = header.filter(|header| path.ends_with(name(header.segment))) else {
                    let message = format!("{} is no segment of a log", path.display());
                    return Err(io::Error::new(io::ErrorKind::InvalidData, message));
                };
                found.push(Found { header, path });
            }
            Some(_) | None => {}
        }
    }
    found.sort_by_key(|found| found.header.segment);
    Ok(found)
}
