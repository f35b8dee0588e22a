//! A directory as an archive, and back: files, directories and symbolic links with their modes and times, nothing else.

use std::{
    fs::{self, File, Metadata},
    io,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
};

use tar::{Builder, EntryType, Header};

/// The most levels below the directory that is copied.
const MAX_DEPTH: usize = 256;

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
pub(super) fn pack<R: io::Read>(
    archive: &mut Builder<impl io::Write>,
    root: &Path,
    name: &Path,
    count: &impl Fn(File) -> R,
) -> io::Result<Vec<String>> {
    let mut skipped = Vec::new();
    let mut waiting = vec![(root.to_owned(), name.to_owned(), 0)];
    while let Some((path, name, depth)) = waiting.pop() {
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

/// Unpacks into `into`, which is there, and nowhere else, whatever the archive says. Returns what was left out.
pub(super) fn unpack(archive: impl io::Read, into: &Path) -> io::Result<Vec<String>> {
    let mut archive = tar::Archive::new(archive);
    let mut skipped = Vec::new();
    // A directory that may not be written to gets its mode when all is in it.
    let mut directories: Vec<(PathBuf, u32)> = Vec::new();
    for entry in archive.entries()? {
        let mut entry = entry?;
        let path = entry.path()?.into_owned();
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
            directories.push((into.join(&path), mode));
        } else if kind.is_file() {
            fs::set_permissions(into.join(&path), fs::Permissions::from_mode(mode))?;
        }
    }
    for (path, mode) in directories.into_iter().rev() {
        fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
    }
    Ok(skipped)
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

    #[test]
    fn an_archive_cannot_write_elsewhere() -> io::Result<()> {
        let dir = tempfile::tempdir()?;
        let to = dir.path().join("to");
        fs::create_dir(&to)?;
        let mut archive = Builder::new(Vec::new());
        let mut link = Header::new_gnu();
        link.set_entry_type(EntryType::Symlink);
        link.set_size(0);
        archive.append_link(&mut link, "out", dir.path())?;
        let mut file = Header::new_gnu();
        file.set_size(4);
        file.set_mode(0o644);
        archive.append_data(&mut file, "out/escaped", &b"evil"[..])?;
        let bytes = archive.into_inner()?;
        assert!(unpack(&bytes[..], &to).is_err());
        assert!(!dir.path().join("escaped").exists());
        Ok(())
    }
}
