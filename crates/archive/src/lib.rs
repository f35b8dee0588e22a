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
        count_entry(&mut entries)?;
        // The root may be a link to a directory; below it, links stay links.
        let metadata = if depth == 0 { fs::metadata(&path) } else { fs::symlink_metadata(&path) }.map_err(at(&path))?;
        if metadata.is_dir() {
            if depth == MAX_DEPTH {
                return Err(io::Error::other(format!("{} is more than {MAX_DEPTH} levels deep", path.display())));
            }
            archive.append_data(&mut header(&metadata, EntryType::Directory, 0), &name, io::empty())?;
            let mut entries: Vec<_> =
                fs::read_dir(&path).and_then(Iterator::collect::<io::Result<Vec<_>>>).map_err(at(&path))?;
            entries.sort_by_key(fs::DirEntry::file_name);
            let below = entries.into_iter().rev();
            waiting.extend(below.map(|entry| (entry.path(), name.join(entry.file_name()), depth + 1)));
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

/// Reads what [`send`] wrote, into `into`, which is there and empty. Returns where in it the directory lies, and what was left
/// out. An archive that broke off is an error, and nothing of it is to be used.
pub fn receive(mut archive: impl io::Read, into: &Path) -> io::Result<(PathBuf, Vec<String>)> {
    let skipped = unpack(&mut archive, into)?;
    // The archive's padding, so that the other side is not cut off while it writes it.
    io::copy(&mut archive, &mut io::sink())?;
    let (tree, complete) = (into.join(TREE), into.join(COMPLETE));
    let is = |path: &Path, kind: fn(&Metadata) -> bool| path.symlink_metadata().is_ok_and(|found| kind(&found));
    if is(&complete, Metadata::is_file) && is(&tree, Metadata::is_dir) {
        Ok((tree, skipped))
    } else {
        Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the copy broke off"))
    }
}

/// Unpacks into `into`, which is there, and nowhere else, whatever the archive says. Returns what was left out.
fn unpack(archive: impl io::Read, into: &Path) -> io::Result<Vec<String>> {
    let mut archive = tar::Archive::new(archive);
    let (mut skipped, mut entries) = (Vec::new(), 0);
    // A directory that may not be written to gets its mode when all is in it.
    let mut directories: Vec<(PathBuf, u32)> = Vec::new();
    // Where the library unpacks it: an absolute name lies inside as well.
    let inside = |path: &Path| -> PathBuf {
        let names = path.components().filter(|part| matches!(part, Component::Normal(_)));
        names.fold(into.to_owned(), |at, name| at.join(name))
    };
    for entry in archive.entries()? {
        let mut entry = entry?;
        let path = entry.path()?.into_owned();
        count_entry(&mut entries)?;
        if path.components().count() > MAX_DEPTH + 2 {
            return Err(io::Error::other(format!("'{}' is more than {MAX_DEPTH} levels deep", path.display())));
        }
        let kind = entry.header().entry_type();
        if !(kind.is_file() || kind.is_dir() || kind.is_symlink() || kind.is_hard_link() || kind.is_contiguous()) {
            skipped.push(path.display().to_string());
            continue;
        }
        let mode = entry.header().mode()? & 0o777;
        entry.set_preserve_permissions(false);
        entry.set_preserve_mtime(true);
        if !entry.unpack_in(into)? {
            return Err(io::Error::other(format!("'{}' leads out of the directory", path.display())));
        }
        if kind.is_dir() {
            directories.push((inside(&path), mode));
        } else if kind.is_file() {
            set_mode(&inside(&path), mode, Metadata::is_file)?;
        }
    }
    for (path, mode) in directories.into_iter().rev() {
        set_mode(&path, mode, Metadata::is_dir)?;
    }
    Ok(skipped)
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

    fn packed(root: &Path) -> io::Result<(Vec<u8>, Vec<String>)> {
        let mut archive = Builder::new(Vec::new());
        let skipped = pack(&mut archive, root, Path::new("."), &|file| file)?;
        Ok((archive.into_inner()?, skipped))
    }

    #[test]
    fn a_tree_comes_back_as_it_was() -> io::Result<()> {
        let dir = tempfile::tempdir()?;
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        fs::create_dir_all(from.join("sub/deep"))?;
        fs::create_dir(&to)?;
        fs::write(from.join("a"), b"text")?;
        fs::write(from.join("sub/run"), vec![7; 100_000])?;
        fs::write(from.join("sub/").join("x".repeat(200)), b"long name")?;
        fs::set_permissions(from.join("sub/run"), fs::Permissions::from_mode(0o751))?;
        fs::set_permissions(from.join("sub/deep"), fs::Permissions::from_mode(0o500))?;
        symlink("sub/run", from.join("link"))?;
        let socket = std::os::unix::net::UnixListener::bind(from.join("socket"))?;
        let (bytes, skipped) = packed(&from)?;
        drop(socket);
        assert_eq!(skipped, [from.join("socket").display().to_string()]);
        unpack(&bytes[..], &to)?;
        assert_eq!(fs::read(to.join("a"))?, b"text");
        assert_eq!(fs::read(to.join("sub/run"))?, vec![7; 100_000]);
        assert_eq!(fs::read(to.join("sub").join("x".repeat(200)))?, b"long name");
        assert_eq!(fs::metadata(to.join("sub/run"))?.permissions().mode() & 0o7777, 0o751);
        assert_eq!(fs::metadata(to.join("sub/deep"))?.permissions().mode() & 0o7777, 0o500);
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
        let mode = |path: &Path| fs::metadata(path).map(|found| found.permissions().mode() & 0o7777);
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
        let (tree, skipped) = receive(&bytes[..], &to)?;
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
        assert_eq!(receive(&bytes[..], to.path())?.0, to.path().join("tree"));
        Ok(())
    }

    #[test]
    fn a_copy_has_only_so_many_levels() -> io::Result<()> {
        let dir = tempfile::tempdir()?;
        let deep = dir.path().join(["d"; MAX_DEPTH + 1].join("/"));
        fs::create_dir_all(&deep)?;
        let error = packed(dir.path()).expect_err("is too deep");
        assert!(error.to_string().contains("levels deep"), "{error}");
        Ok(())
    }
}
