//! A directory as an archive, and back: files, directories and symbolic links with their modes and times, nothing else. What
//! `berth cp` does on this side and on the other.

use std::{
    fs::{self, File, Metadata},
    io,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Component, Path, PathBuf},
};

use tar::{Builder, EntryType, Header};

/// The most levels below the directory that is copied.
const MAX_DEPTH: usize = 256;
/// The most files, directories and links of one copy.
const MAX_ENTRIES: u64 = 1_000_000;
/// The name of the directory in an archive that says when it is whole, and of its last entry.
const TREE: &str = "tree";
const COMPLETE: &str = "complete";

/// The longest name in an archive, bytes; a path of the system has at most 4096.
const MAX_NAME_BYTES: u64 = 16 * 1024;
/// What an archive consists of, bytes.
const BLOCK_BYTES: usize = 512;

/// One more of so many.
fn count_entry(entries: &mut u64) -> io::Result<()> {
    *entries += 1;
    if *entries > MAX_ENTRIES {
        return Err(io::Error::other(format!("more than {MAX_ENTRIES} files and directories")));
    }
    Ok(())
}

fn header(metadata: &Metadata, kind: EntryType, size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_size(size);
    header.set_mode(metadata.permissions().mode() & 0o777);
    header.set_mtime(u64::try_from(metadata.mtime()).unwrap_or(0));
    header
}

/// A reader that fails where its file turns out shorter than its entry says: a short one would shift all that follows.
struct Exactly<R> {
    inner: R,
    left: u64,
    path: PathBuf,
}

impl<R: io::Read> io::Read for Exactly<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        let count = self.inner.read(&mut buffer[..most])?;
        if count == 0 && most > 0 {
            return Err(io::Error::other(format!("{} became shorter while it was copied", self.path.display())));
        }
        self.left -= count as u64;
        Ok(count)
    }
}

/// Names the path that an error is about.
fn at(path: &Path) -> impl FnOnce(io::Error) -> io::Error {
    let path = path.display().to_string();
    move |error| io::Error::new(error.kind(), format!("{path}: {error}"))
}

/// Adds `root` as `name` with all below it. Returns what was left out: sockets, pipes, devices.
fn pack<R: io::Read>(
    archive: &mut Builder<impl io::Write>,
    root: &Path,
    name: &Path,
    count: &impl Fn(File) -> R,
) -> io::Result<Vec<String>> {
    let (mut skipped, mut entries) = (Vec::new(), 0);
    let mut waiting = vec![(root.to_owned(), name.to_owned(), 0)];
    while let Some((path, name, depth)) = waiting.pop() {
        // The root may be a link to a directory; below it, links stay links.
        let metadata = if depth == 0 { fs::metadata(&path) } else { fs::symlink_metadata(&path) }.map_err(at(&path))?;
        if metadata.is_dir() {
            if depth == MAX_DEPTH {
                return Err(io::Error::other(format!("{} is more than {MAX_DEPTH} levels deep", path.display())));
            }
            archive.append_data(&mut header(&metadata, EntryType::Directory, 0), &name, io::empty())?;
            let mut below = Vec::new();
            for entry in fs::read_dir(&path).map_err(at(&path))? {
                // Before it is kept: a directory may hold more than fits in memory.
                count_entry(&mut entries)?;
                below.push(entry.map_err(at(&path))?.file_name());
            }
            below.sort_unstable();
            waiting.extend(below.iter().rev().map(|file| (path.join(file), name.join(file), depth + 1)));
        } else if metadata.is_symlink() {
            let target = fs::read_link(&path).map_err(at(&path))?;
            archive.append_link(&mut header(&metadata, EntryType::Symlink, 0), &name, target)?;
        } else if metadata.is_file() {
            let file = File::open(&path).map_err(at(&path))?;
            let size = metadata.len();
            let exactly = Exactly { inner: count(file), left: size, path: path.clone() };
            archive.append_data(&mut header(&metadata, EntryType::Regular, size), &name, exactly)?;
        } else {
            skipped.push(path.display().to_string());
        }
    }
    Ok(skipped)
}

/// Writes the directory and then a mark that it is whole. Returns what was left out. `count` sees each file that is read.
pub fn send<R: io::Read>(root: &Path, out: &mut impl io::Write, count: &impl Fn(File) -> R) -> io::Result<Vec<String>> {
    let mut archive = Builder::new(out);
    let skipped = pack(&mut archive, root, Path::new(TREE), count)?;
    let mut header = Header::new_gnu();
    header.set_size(0);
    header.set_mode(0o600);
    archive.append_data(&mut header, COMPLETE, io::empty())?;
    archive.finish()?;
    Ok(skipped)
}

/// A directory that was received whole, not yet in its place.
#[derive(Debug)]
pub struct Received {
    tree: PathBuf,
    /// With their modes, each before what is in it.
    directories: Vec<(PathBuf, u32)>,
    /// What was left out.
    pub skipped: Vec<String>,
}

impl Received {
    /// Moves it to `target`, which is not there. Its directories get their modes then: one that may not be written to can
    /// neither be filled nor moved nor, if that fails, removed.
    pub fn place(&self, target: &Path) -> io::Result<()> {
        fs::rename(&self.tree, target)?;
        self.directories.iter().rev().try_for_each(|(path, mode)| set_mode(&target.join(path), *mode, Metadata::is_dir))
    }
}

/// Reads what [`send`] wrote, into `into`, which is there and empty. An archive that broke off is an error, and nothing of it is
/// to be used.
pub fn receive(mut archive: impl io::Read, into: &Path) -> io::Result<Received> {
    let Unpacked { directories, skipped } = unpack(&mut archive, into)?;
    // The archive's padding, so that the other side is not cut off while it writes it.
    io::copy(&mut archive, &mut io::sink())?;
    let (tree, complete) = (into.join(TREE), into.join(COMPLETE));
    let is = |path: &Path, kind: fn(&Metadata) -> bool| path.symlink_metadata().is_ok_and(|found| kind(&found));
    if !(is(&complete, Metadata::is_file) && is(&tree, Metadata::is_dir)) {
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the copy broke off"));
    }
    let of_tree = |(path, mode): (PathBuf, u32)| Some((path.strip_prefix(TREE).ok()?.to_owned(), mode));
    Ok(Received { tree, directories: directories.into_iter().filter_map(of_tree).collect(), skipped })
}

/// The blocks of an archive as they are, but none of a kind that the library would read into memory however long it is.
struct Bounded<R> {
    inner: R,
    block: [u8; BLOCK_BYTES],
    /// How much of `block` was handed on: all of it, then the next is due.
    given: usize,
    /// Bytes of the present entry that are to come, with those that fill its last block.
    content: u64,
}

impl<R: io::Read> Bounded<R> {
    fn new(inner: R) -> Self {
        Self { inner, block: [0; BLOCK_BYTES], given: BLOCK_BYTES, content: 0 }
    }

    /// Reads the next head. False at the end.
    fn head(&mut self) -> io::Result<bool> {
        let mut have = 0;
        while have < BLOCK_BYTES {
            match self.inner.read(&mut self.block[have..]) {
                Ok(0) if have == 0 => return Ok(false),
                Ok(0) => return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the copy broke off")),
                Ok(count) => have += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.given = 0;
        let head = Header::from_byte_slice(&self.block);
        // The last blocks are empty and have no size.
        if self.block.iter().all(|byte| *byte == 0) {
            return Ok(true);
        }
        let (kind, size) = (head.entry_type(), head.entry_size()?);
        if kind.is_pax_local_extensions() || kind.is_pax_global_extensions() || kind.is_gnu_sparse() {
            return Err(io::Error::other("the archive holds what was never sent"));
        }
        if (kind.is_gnu_longname() || kind.is_gnu_longlink()) && size > MAX_NAME_BYTES {
            return Err(io::Error::other(format!("a name of {size} bytes")));
        }
        self.content = size.checked_next_multiple_of(BLOCK_BYTES as u64).ok_or(io::ErrorKind::InvalidData)?;
        Ok(true)
    }
}

impl<R: io::Read> io::Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.given == BLOCK_BYTES && self.content == 0 && (buffer.is_empty() || !self.head()?) {
            return Ok(0);
        }
        if self.given < BLOCK_BYTES {
            let count = buffer.len().min(BLOCK_BYTES - self.given);
            buffer[..count].copy_from_slice(&self.block[self.given..self.given + count]);
            self.given += count;
            return Ok(count);
        }
        let most = usize::try_from(self.content).unwrap_or(usize::MAX).min(buffer.len());
        let count = self.inner.read(&mut buffer[..most])?;
        self.content -= count as u64;
        Ok(count)
    }
}

struct Unpacked {
    /// Relative to where it was unpacked.
    directories: Vec<(PathBuf, u32)>,
    skipped: Vec<String>,
}

/// Unpacks into `into`, which is there, and nowhere else, whatever the archive says.
fn unpack(archive: impl io::Read, into: &Path) -> io::Result<Unpacked> {
    let mut archive = tar::Archive::new(Bounded::new(archive));
    let (mut unpacked, mut entries) = (Unpacked { directories: Vec::new(), skipped: Vec::new() }, 0);
    // Where the library unpacks it: an absolute name lies inside as well.
    let below =
        |path: &Path| -> PathBuf { path.components().filter(|part| matches!(part, Component::Normal(_))).collect() };
    for entry in archive.entries()? {
        let mut entry = entry?;
        let path = entry.path()?.into_owned();
        count_entry(&mut entries)?;
        if path.components().count() > MAX_DEPTH + 2 {
            return Err(io::Error::other(format!("'{}' is more than {MAX_DEPTH} levels deep", path.display())));
        }
        let kind = entry.header().entry_type();
        if !(kind.is_file() || kind.is_dir() || kind.is_symlink()) {
            unpacked.skipped.push(path.display().to_string());
            continue;
        }
        let mode = entry.header().mode()? & 0o777;
        entry.set_preserve_permissions(false);
        entry.set_preserve_mtime(true);
        if !entry.unpack_in(into)? {
            return Err(io::Error::other(format!("'{}' leads out of the directory", path.display())));
        }
        let path = below(&path);
        if kind.is_dir() {
            // The library has given it the mode already, with which it may be that nothing can be put into it.
            set_mode(&into.join(&path), 0o700, Metadata::is_dir)?;
            unpacked.directories.push((path, mode));
        } else if kind.is_file() {
            set_mode(&into.join(&path), mode, Metadata::is_file)?;
        }
    }
    Ok(unpacked)
}

/// Sets the mode of what was unpacked, and never of what a link of the archive points to.
fn set_mode(path: &Path, mode: u32, is_kind: fn(&Metadata) -> bool) -> io::Result<()> {
    if is_kind(&fs::symlink_metadata(path)?) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode))
    } else {
        Err(io::Error::other(format!("'{}' became something else while it was unpacked", path.display())))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn mode(path: &Path) -> io::Result<u32> {
        fs::metadata(path).map(|found| found.permissions().mode() & 0o7777)
    }

    #[test]
    fn a_tree_comes_back_as_it_was() -> io::Result<()> {
        let dir = tempfile::tempdir()?;
        let (from, into, to) = (dir.path().join("from"), dir.path().join("into"), dir.path().join("to"));
        fs::create_dir_all(from.join("sub/deep"))?;
        fs::write(from.join("sub/deep/inner"), b"in a directory that may not be written to")?;
        fs::create_dir(&into)?;
        fs::write(from.join("a"), b"text")?;
        fs::write(from.join("sub/run"), vec![7; 100_000])?;
        fs::write(from.join("sub/").join("x".repeat(200)), b"long name")?;
        fs::set_permissions(from.join("sub/run"), fs::Permissions::from_mode(0o751))?;
        fs::set_permissions(from.join("sub/deep"), fs::Permissions::from_mode(0o500))?;
        symlink("sub/run", from.join("link"))?;
        let socket = std::os::unix::net::UnixListener::bind(from.join("socket"))?;
        fs::set_permissions(&from, fs::Permissions::from_mode(0o550))?;
        let mut bytes = Vec::new();
        let skipped = send(&from, &mut bytes, &|file| file)?;
        drop(socket);
        assert_eq!(skipped, [from.join("socket").display().to_string()]);
        let received = receive(&bytes[..], &into)?;
        assert_eq!(mode(&into.join("tree/sub/deep"))?, 0o700, "it can still be filled, and removed");
        received.place(&to)?;
        assert_eq!(mode(&to)?, 0o550);
        assert_eq!(fs::read(to.join("a"))?, b"text");
        assert_eq!(fs::read(to.join("sub/run"))?, vec![7; 100_000]);
        assert_eq!(fs::read(to.join("sub").join("x".repeat(200)))?, b"long name");
        assert_eq!((mode(&to.join("sub/run"))?, mode(&to.join("sub/deep"))?), (0o751, 0o500));
        assert_eq!(fs::read_link(to.join("link"))?, Path::new("sub/run"));
        Ok(())
    }

    /// An archive with names as they are: the builder refuses most of these.
    fn hostile(entries: &[(&str, EntryType, &str)]) -> io::Result<Vec<u8>> {
        let mut archive = Builder::new(Vec::new());
        for (name, kind, content) in entries {
            let mut header = Header::new_gnu();
            header.set_entry_type(*kind);
            header.set_mode(0o6777);
            header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
            let data = if kind.is_file() { content.as_bytes() } else { b"" };
            if !kind.is_file() {
                header.set_link_name_literal(content)?;
            }
            header.set_size(data.len() as u64);
            header.set_cksum();
            archive.append(&header, data)?;
        }
        archive.into_inner()
    }

    #[test]
    fn an_archive_cannot_write_elsewhere() -> io::Result<()> {
        use EntryType::{Block, Char, Directory, Fifo, Link, Regular, Symlink};
        let dir = tempfile::tempdir()?;
        let outside = dir.path().join("outside");
        fs::create_dir(&outside)?;
        fs::write(outside.join("precious"), "as it was")?;
        fs::set_permissions(&outside, fs::Permissions::from_mode(0o750))?;
        fs::set_permissions(outside.join("precious"), fs::Permissions::from_mode(0o640))?;
        let out = outside.display().to_string();
        let precious = outside.join("precious").display().to_string();
        let archives: [&[(&str, EntryType, &str)]; 14] = [
            &[("../outside/new", Regular, "evil")],
            &[("tree/../../outside/new", Regular, "evil")],
            &[("tree/link", Symlink, &out), ("tree/link/new", Regular, "evil")],
            &[("tree/link", Symlink, "../../outside"), ("tree/link/new", Regular, "evil")],
            &[("tree/link", Symlink, &precious), ("tree/link", Regular, "evil")],
            &[("tree/hard", Link, &precious), ("tree/hard", Regular, "evil")],
            &[("tree/hard", Link, "../outside/precious")],
            &[("tree/link", Symlink, &out), ("tree/link", Directory, "")],
            &[("tree/link", Symlink, &out), ("tree/link/", Directory, ""), ("tree/link/sub", Directory, "")],
            &[(&out, Directory, "")],
            &[(&precious, Regular, "evil")],
            &[("tree", Symlink, &out), ("tree/new", Regular, "evil"), ("complete", Regular, "")],
            &[("tree", Symlink, &out), ("complete", Regular, "")],
            &[("tree/a", Symlink, "b"), ("tree/b", Symlink, &out), ("tree/a/new", Directory, "")],
        ];
        for (number, entries) in archives.iter().enumerate() {
            let to = dir.path().join(format!("to-{number}"));
            fs::create_dir(&to)?;
            let received = receive(&hostile(entries)?[..], &to);
            assert!(received.is_err(), "{entries:?}: {received:?}");
            assert_eq!(fs::read_to_string(outside.join("precious"))?, "as it was", "{entries:?}");
            assert_eq!(fs::read_dir(&outside)?.count(), 1, "{entries:?}");
            assert_eq!((mode(&outside)?, mode(&outside.join("precious"))?), (0o750, 0o640), "{entries:?}");
        }
        // An absolute name lands inside, devices and pipes nowhere, and nobody becomes another user by a mode.
        let to = dir.path().join("to");
        fs::create_dir(&to)?;
        let bytes = hostile(&[
            ("tree", Directory, ""),
            ("/tree/absolute", Regular, "here"),
            ("tree/zero", Char, ""),
            ("tree/disk", Block, ""),
            ("tree/pipe", Fifo, ""),
            ("complete", Regular, ""),
        ])?;
        let Received { tree, skipped, .. } = receive(&bytes[..], &to)?;
        assert_eq!(skipped, ["tree/zero", "tree/disk", "tree/pipe"]);
        assert_eq!(fs::read_to_string(tree.join("absolute"))?, "here");
        assert_eq!(mode(&tree.join("absolute"))?, 0o777);
        assert_eq!(fs::read_dir(&tree)?.count(), 1);
        Ok(())
    }

    #[test]
    fn an_archive_that_broke_off_is_none() -> io::Result<()> {
        let dir = tempfile::tempdir()?;
        let from = dir.path().join("from");
        fs::create_dir(&from)?;
        for number in 0..5 {
            fs::write(from.join(number.to_string()), vec![7; 3_000])?;
        }
        let mut bytes = Vec::new();
        send(&from, &mut bytes, &|file| file)?;
        // Up to the last entry's head.
        let whole = bytes.len() - 1024;
        for length in (0..whole).step_by(512).chain([700, whole - 1]) {
            let to = tempfile::tempdir()?;
            assert!(receive(&bytes[..length], to.path()).is_err(), "{length} of {}", bytes.len());
        }
        let to = tempfile::tempdir()?;
        assert_eq!(receive(&bytes[..], to.path())?.tree, to.path().join("tree"));
        Ok(())
    }

    #[test]
    fn a_copy_has_only_so_many_levels() -> io::Result<()> {
        let dir = tempfile::tempdir()?;
        let deep = dir.path().join(["d"; MAX_DEPTH + 1].join("/"));
        fs::create_dir_all(&deep)?;
        let error = send(dir.path(), &mut io::sink(), &|file| file).expect_err("is too deep");
        assert!(error.to_string().contains("levels deep"), "{error}");
        Ok(())
    }

    #[test]
    fn a_name_is_not_read_into_memory_however_long_it_is() -> io::Result<()> {
        use io::Read as _;
        let dir = tempfile::tempdir()?;
        for kind in [EntryType::GNULongName, EntryType::GNULongLink, EntryType::XHeader, EntryType::XGlobalHeader] {
            let mut header = Header::new_gnu();
            header.set_entry_type(kind);
            header.set_size(1 << 40);
            header.set_cksum();
            let mut content = io::repeat(b'x').take(1 << 26);
            assert!(receive(header.as_bytes().chain(&mut content), dir.path()).is_err(), "{kind:?}");
            assert_eq!(content.limit(), 1 << 26, "{kind:?}");
        }
        Ok(())
    }
}
