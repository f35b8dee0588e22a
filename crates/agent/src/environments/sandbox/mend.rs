//! Keeping the images of files that last: checked before they are mounted, grown when more is wanted. Only while nobody has
//! them mounted; all of this blocks.

use std::{
    fs, io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    process::Output,
};

use super::volume::{VolumeError, program};

/// Where the first super block lies, and its length, bytes.
const SUPER_BLOCK_AT: u64 = 1024;
const SUPER_BLOCK_BYTES: usize = 1024;
const MAGIC: u16 = 0xEF53;
const HAS_64_BIT: u32 = 0x80;
/// The second super block of a file system with blocks of 4 KiB, as all larger ones have.
const SECOND: [&str; 4] = ["-b", "32768", "-B", "4096"];
/// Less than this is not worth growing for; a file system may also end a little before its image does.
const LEAST_GROWTH_BYTES: u64 = 16 << 20;
/// The most lines of a program's words that are told.
const TOLD_LINES: usize = 6;

#[derive(Debug, thiserror::Error)]
pub enum MendError {
    #[error(transparent)]
    Volume(#[from] VolumeError),
    #[error("cannot read {path}: {source}")]
    Read { path: PathBuf, source: io::Error },
    #[error(
        "the file system in {path} is damaged beyond what can be mended without deciding about files; an admin of the host can, with e2fsck {path}:\n{said}"
    )]
    Damaged { path: PathBuf, said: String },
}

/// How large a file system is, and how much of it is taken, its own tables included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    pub size_bytes: u64,
    pub used_bytes: u64,
}

/// What was found, and what was done about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kept {
    pub mended: bool,
    pub grown: bool,
    pub space: Space,
}

/// Checks the file system, mends what can be mended without asking, and grows it to `wanted_bytes` if it is smaller.
pub fn keep(image: &Path, wanted_bytes: u64) -> Result<Kept, MendError> {
    let mended = check(image, &["-p"])?;
    let mut space = space(image)?;
    let grown = wanted_bytes >= space.size_bytes + LEAST_GROWTH_BYTES;
    if grown {
        grow(image, wanted_bytes)?;
        space = self::space(image)?;
    }
    Ok(Kept { mended, grown, space })
}

/// What the super block says, which is right while nobody has it mounted.
pub fn space(image: &Path) -> Result<Space, MendError> {
    let read = || -> io::Result<Space> {
        let mut block = [0; SUPER_BLOCK_BYTES];
        fs::File::open(image)?.read_exact_at(&mut block, SUPER_BLOCK_AT)?;
        parse(&block).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "it holds no ext4"))
    };
    read().map_err(|source| MendError::Read { path: image.to_owned(), source })
}

/// By the layout in `fs/ext4/ext4.h` of Linux, `struct ext4_super_block`.
fn parse(block: &[u8; SUPER_BLOCK_BYTES]) -> Option<Space> {
    let word = |at: usize| block.get(at..at + 4).and_then(|bytes| bytes.try_into().ok()).map(u32::from_le_bytes);
    let magic = u16::from_le_bytes(block.get(0x38..0x3A)?.try_into().ok()?);
    let block_bytes = 1024_u64.checked_shl(word(0x18)?).filter(|bytes| (1024..=65536).contains(bytes))?;
    let high = |at: usize| if word(0x60)? & HAS_64_BIT == 0 { Some(0) } else { word(at) };
    let count = |low: usize, high_at: usize| Some(u64::from(high(high_at)?) << 32 | u64::from(word(low)?));
    let (all, free) = (count(0x04, 0x150)?, count(0x0C, 0x158)?);
    (magic == MAGIC).then_some(Space {
        size_bytes: all.saturating_mul(block_bytes),
        used_bytes: all.saturating_sub(free).saturating_mul(block_bytes),
    })
}

fn grow(image: &Path, wanted_bytes: u64) -> Result<(), MendError> {
    let failed = |source| VolumeError::Image { path: image.to_owned(), source };
    let file = fs::OpenOptions::new().write(true).open(image).map_err(failed)?;
    // One that an earlier try has made longer, and no further, stays as it is.
    let length = file.metadata().map_err(failed)?.len();
    file.set_len(length.max(wanted_bytes)).and_then(|()| file.sync_all()).map_err(failed)?;
    // resize2fs wants it checked whole.
    check(image, &["-f", "-p"])?;
    let output = run("resize2fs", &[], image)?;
    if output.status.success() {
        Ok(())
    } else {
        Err(VolumeError::Failed { program: "resize2fs", message: said(&output) }.into())
    }
}

/// True if something was mended.
fn check(image: &Path, how: &[&str]) -> Result<bool, MendError> {
    let first = run("e2fsck", how, image)?;
    let output = match first.status.code() {
        // It could not even begin: without its first super block, all may still be there.
        Some(8) => run("e2fsck", &[how, &SECOND].concat(), image)?,
        _ => first,
    };
    match output.status.code() {
        Some(0) => Ok(false),
        Some(1) => Ok(true),
        _ => Err(MendError::Damaged { path: image.to_owned(), said: said(&output) }),
    }
}

fn run(name: &'static str, arguments: &[&str], image: &Path) -> Result<Output, VolumeError> {
    let output = program(name).args(arguments).arg(image).output();
    output.map_err(|source| VolumeError::Run { program: name, source })
}

/// The last lines of what a program said.
fn said(output: &Output) -> String {
    let text = String::from_utf8_lossy(&[&output.stdout[..], &output.stderr].concat()).into_owned();
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    if lines.is_empty() {
        output.status.to_string()
    } else {
        lines[lines.len().saturating_sub(TOLD_LINES)..].join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::{super::volume::make_files, *};

    fn image(directory: &tempfile::TempDir) -> PathBuf {
        let image = directory.path().join("files.img");
        make_files(&image, 256 << 20, 0).expect("is made");
        image
    }

    fn damage(image: &Path, at: u64, bytes: &[u8]) {
        let file = fs::OpenOptions::new().write(true).open(image).expect("is opened");
        file.write_all_at(bytes, at).expect("is written");
    }

    #[test]
    fn what_is_well_is_left_and_grows_but_never_shrinks() {
        let directory = tempfile::tempdir().expect("a directory");
        let image = image(&directory);
        let kept = keep(&image, 256 << 20).expect("is well");
        assert!(!kept.mended && !kept.grown && kept.space.size_bytes == 256 << 20, "{kept:?}");
        assert!((64 << 20..128 << 20).contains(&kept.space.used_bytes), "{kept:?}");
        let kept = keep(&image, 1 << 30).expect("grows");
        assert!(kept.grown && kept.space.size_bytes == 1 << 30, "{kept:?}");
        let kept = keep(&image, 256 << 20).expect("is well");
        assert!(!kept.mended && !kept.grown && kept.space.size_bytes == 1 << 30, "{kept:?}");
    }

    #[test]
    fn growing_that_was_interrupted_is_finished() {
        let directory = tempfile::tempdir().expect("a directory");
        let image = image(&directory);
        fs::OpenOptions::new().write(true).open(&image).and_then(|file| file.set_len(1 << 30)).expect("is longer");
        assert!(keep(&image, 1 << 30).expect("grows").space.size_bytes == 1 << 30);
    }

    #[test]
    fn a_lost_super_block_is_mended_and_more_is_told() {
        let directory = tempfile::tempdir().expect("a directory");
        let image = directory.path().join("files.img");
        make_files(&image, 1 << 30, 0).expect("is made");
        damage(&image, SUPER_BLOCK_AT, &[0; SUPER_BLOCK_BYTES]);
        assert!(keep(&image, 1 << 30).expect("the second is there").mended);
        assert!(!keep(&image, 1 << 30).expect("is well").mended);
        damage(&image, 4096, &[0x5A; 600 * 4096]);
        let error = keep(&image, 1 << 30).expect_err("is damaged").to_string();
        assert!(error.contains("e2fsck") && error.contains("INCONSISTENCY"), "{error}");
        fs::write(&image, "no file system").expect("is written");
        keep(&image, 1 << 30).expect_err("is none");
    }
}
