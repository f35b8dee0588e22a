//! The files of a project: on disk, or as somebody sent them.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Component, Path, PathBuf},
};

use super::{ProjectError, config};

/// Where what was sent seems to lie: an import that climbs out of it finds nothing, as on a disk.
pub(super) const SENT: &str = "/project";

/// Where the files of a project are.
#[derive(Debug, Clone, Copy)]
pub(super) enum Files<'a> {
    Disk,
    Sent(&'a Sent),
}

/// Files that somebody sent. Nothing else is there for the project: whatever it imports, the disk is not read.
#[derive(Debug, Default)]
pub struct Sent {
    files: BTreeMap<PathBuf, Vec<u8>>,
}

impl Sent {
    /// By their paths, relative to any folder around the project.
    pub fn new(sent: impl IntoIterator<Item = (String, Vec<u8>)>) -> Result<Self, ProjectError> {
        let mut files = BTreeMap::new();
        for (name, content) in sent {
            let path = Path::new(SENT).join(relative(&name).ok_or_else(|| ProjectError::Name(name.clone()))?);
            files.insert(path, content);
        }
        Ok(Sent { files })
    }

    /// The folder with the configuration, the outermost if there are several.
    pub(super) fn root(&self) -> PathBuf {
        let is_config = |path: &&PathBuf| {
            let name = path.file_name().and_then(|name| name.to_str());
            name.is_some_and(|name| config::FILES.contains(&name)) && !path.components().any(is_package)
        };
        let folders = self.files.keys().filter(is_config).filter_map(|path| path.parent());
        let outermost = folders.min_by_key(|folder| folder.components().count());
        outermost.unwrap_or(Path::new(SENT)).to_owned()
    }
}

fn is_package(part: Component<'_>) -> bool {
    part.as_os_str() == "node_modules"
}

fn relative(name: &str) -> Option<PathBuf> {
    let path = Path::new(name);
    let is_plain = |part: Component<'_>| match part {
        Component::Normal(_) | Component::CurDir => true,
        Component::Prefix(_) | Component::RootDir | Component::ParentDir => false,
    };
    let is_whole = path.file_name().is_some() && !name.contains(['\0', '\\']);
    (is_whole && path.components().all(is_plain)).then(|| path.components().collect())
}

impl Files<'_> {
    pub(super) fn is_file(self, path: &Path) -> bool {
        match self {
            Files::Disk => path.is_file(),
            Files::Sent(Sent { files }) => files.contains_key(path),
        }
    }

    pub(super) fn is_dir(self, path: &Path) -> bool {
        match self {
            Files::Disk => path.is_dir(),
            // What lies in a folder comes right behind its name.
            Files::Sent(Sent { files }) => {
                let next = files.range(path.join("")..).next();
                next.is_some_and(|(file, _)| file != path && file.starts_with(path))
            }
        }
    }

    pub(super) fn read(self, path: &Path) -> io::Result<Vec<u8>> {
        match self {
            Files::Disk => fs::read(path),
            Files::Sent(Sent { files }) => files.get(path).cloned().ok_or_else(|| io::ErrorKind::NotFound.into()),
        }
    }

    pub(super) fn size(self, path: &Path) -> io::Result<u64> {
        match self {
            Files::Disk => Ok(fs::metadata(path)?.len()),
            Files::Sent(Sent { files }) => {
                files.get(path).map(|content| content.len() as u64).ok_or_else(|| io::ErrorKind::NotFound.into())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_are_what_files_lie_in() {
        let names = ["a/b.ts", "a-b/c.ts", "d"];
        let sent = Sent::new(names.map(|name| (name.to_owned(), Vec::new()))).expect("good names");
        let check = |path: &str, is_dir: bool, is_file: bool| {
            let path = Path::new(SENT).join(path);
            let files = Files::Sent(&sent);
            assert_eq!((files.is_dir(&path), files.is_file(&path)), (is_dir, is_file), "{}", path.display());
        };
        check("a", true, false);
        check("a-b", true, false);
        check("a/b.ts", false, true);
        check("d", false, true);
        check("a-", false, false);
        check("e", false, false);
    }

    #[test]
    fn names_stay_within() {
        let check = |name: &str, expected: bool| assert_eq!(relative(name).is_some(), expected, "{name}");
        check("a/b.ts", true);
        check("./a", true);
        check("/etc/passwd", false);
        check("../a", false);
        check("a/../../b", false);
        check("a\\b", false);
        check("", false);
    }
}
