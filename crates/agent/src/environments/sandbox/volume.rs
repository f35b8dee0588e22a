//! The limit of a sandbox's disk: everything that it writes lies on a file system of that size, in a sparse image.
//!
//! The image is mounted in the sandbox's own mount namespace only, over the directory that it was made from: the host sees
//! no mount, no other process can keep it busy, and with the sandbox's last process it is let go.

use std::{
    fs, io,
    os::unix::fs::{OpenOptionsExt, PermissionsExt, chown},
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

use super::super::record::Scratch;

/// In the sandbox's directory: what is written, and the image that it is limited by.
pub const DISK: &str = "disk";
const IMAGE: &str = "disk.img";
/// Where the programs are, whatever the agent's own PATH says.
const PROGRAMS: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// It is scratch, so no journal; root's reserve would be kept from the session's user; and no thread of the kernel is to
/// write the tables of inodes that nobody uses.
const OPTIONS: [&str; 7] = ["-q", "-F", "-m", "0", "-O", "^has_journal", "-E"];
const EXTENDED_OPTIONS: &str = "lazy_itable_init=1,nodiscard,root_owner=0:0";
/// The directory in [`make_files`]'s image that its owner gets: beside the file system's own `lost+found`.
pub const FILES: &str = "home";
/// Files that are to last: with a journal, a small one.
const LASTING_OPTIONS: [&str; 7] = ["-q", "-F", "-m", "0", "-J", "size=64", "-E"];
const LASTING_EXTENDED_OPTIONS: &str = "lazy_itable_init=1,lazy_journal_init=1,nodiscard,root_owner=0:0";
/// What is deleted inside is given back to the host.
const MOUNT_OPTIONS: &str = "loop,nodev,nosuid,noatime,discard,noinit_itable";

#[derive(Debug, Clone, thiserror::Error)]
pub enum Unsupported {
    #[error("the agent is not root")]
    NotRoot,
    #[error("this host gives the agent no loop device ({0})")]
    Loop(String),
    #[error("mkfs.ext4 is not installed (apt-get install e2fsprogs)")]
    Mkfs,
}

#[derive(Debug, thiserror::Error)]
pub enum VolumeError {
    #[error("cannot make {path}: {source}")]
    Image { path: PathBuf, source: io::Error },
    #[error("cannot run {program}: {source}")]
    Run { program: &'static str, source: io::Error },
    #[error("{program}: {message}")]
    Failed { program: &'static str, message: String },
    #[error(
        "{image} is mounted through several loop devices ({}), which would destroy what is in it; stop what uses it and try again", .holders.join(", ")
    )]
    Twice { image: PathBuf, holders: Vec<String> },
}

/// Why an image cannot be removed.
#[derive(Debug, thiserror::Error)]
pub enum ReleaseError {
    #[error("cannot see the host's disks: {0}")]
    Look(#[source] io::Error),
    #[error("still in use by {}", .0.join(", "))]
    InUse(Vec<String>),
}

pub(super) fn program(name: &str) -> Command {
    let mut command = Command::new(name);
    command.env_clear().env("PATH", PROGRAMS).env("LC_ALL", "C").stdin(Stdio::null());
    command
}

fn output(name: &'static str, command: &mut Command) -> Result<Output, VolumeError> {
    let output = command.output().map_err(|source| VolumeError::Run { program: name, source })?;
    if output.status.success() {
        return Ok(output);
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    let message = if said.is_empty() { output.status.to_string() } else { said };
    Err(VolumeError::Failed { program: name, message })
}

/// Whether this host can limit a sandbox's disk.
pub fn supported() -> Result<(), Unsupported> {
    if !rustix::process::geteuid().is_root() {
        return Err(Unsupported::NotRoot);
    }
    output("losetup", program("losetup").arg("-f")).map_err(|error| Unsupported::Loop(error.to_string()))?;
    output("mkfs.ext4", program("mkfs.ext4").arg("-V")).map(|_| ()).map_err(|_| Unsupported::Mkfs)
}

/// Makes the image with what is in the sandbox's disk so far. Blocks.
pub fn make(scratch: &Scratch, size_bytes: u64) -> Result<PathBuf, VolumeError> {
    let image = scratch.join(IMAGE);
    let file =
        fs::OpenOptions::new().write(true).create_new(true).open(&image).and_then(|file| file.set_len(size_bytes));
    file.map_err(|source| VolumeError::Image { path: image.clone(), source })?;
    let mut command = program("mkfs.ext4");
    command.args(OPTIONS).arg(EXTENDED_OPTIONS).arg("-d").arg(scratch.join(DISK)).arg(&image);
    output("mkfs.ext4", &mut command)?;
    Ok(image)
}

/// Makes an image for files that outlive their sandboxes, whole or not at all; `owner` gets its [`FILES`]. Blocks.
pub fn make_files(image: &Path, size_bytes: u64, owner: u32) -> Result<(), VolumeError> {
    let failed = |source| VolumeError::Image { path: image.to_owned(), source };
    let (new, from) = (image.with_extension("new"), image.with_extension("from"));
    let prepare = || -> io::Result<()> {
        let home = from.join(FILES);
        fs::create_dir_all(&home)?;
        fs::set_permissions(&home, fs::Permissions::from_mode(0o700))?;
        chown(&home, Some(owner), Some(owner))?;
        fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?.set_len(size_bytes)
    };
    prepare().map_err(failed)?;
    let mut command = program("mkfs.ext4");
    command.args(LASTING_OPTIONS).arg(LASTING_EXTENDED_OPTIONS).arg("-d").arg(&from).arg(&new);
    output("mkfs.ext4", &mut command)?;
    let finish = || -> io::Result<()> {
        fs::remove_dir_all(&from)?;
        fs::File::open(&new)?.sync_all()?;
        fs::rename(&new, image)
    };
    finish().map_err(failed)
}

/// Mounts an image that other mount namespaces may have mounted: mount(8) takes the loop device that is there, so that all
/// see one file system. Two callers at once would each make one; who calls keeps them apart.
pub fn mount_shared(image: &Path, at: &Path) -> Result<(), VolumeError> {
    mount(image, at)?;
    let holders = holders(image).map_err(|source| VolumeError::Image { path: image.to_owned(), source })?;
    if holders.len() > 1 {
        output("umount", program("umount").arg("-n").arg(at))?;
        return Err(VolumeError::Twice { image: image.to_owned(), holders });
    }
    Ok(())
}

/// Mounts the image in the calling process's mount namespace.
pub fn mount(image: &Path, at: &Path) -> Result<(), VolumeError> {
    // Without -n it would note the mount where the host's tools look.
    output("mount", program("mount").args(["-n", "-t", "ext4", "-o", MOUNT_OPTIONS]).arg(image).arg(at)).map(|_| ())
}

/// The loop devices that hold this file, or one below this directory.
pub fn holders(scratch: &Path) -> io::Result<Vec<String>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/sys/block")? {
        let entry = entry?;
        // Those that hold nothing, and disks that are no loop devices, have no such file.
        let Ok(path) = fs::read_to_string(entry.path().join("loop/backing_file")) else { continue };
        if Path::new(path.trim()).starts_with(scratch) {
            found.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    Ok(found)
}

/// Waits until no loop device holds the image any more: the kernel lets go of it after the last process has ended, when
/// what was written last is on disk. Blocks at most `limit`; the error says who holds it.
pub fn released(scratch: &Path, limit: Duration) -> Result<(), ReleaseError> {
    let deadline = Instant::now() + limit;
    let mut pause = Duration::from_millis(1);
    loop {
        let held = match holders(scratch) {
            Ok(held) => held,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(ReleaseError::Look(error)),
        };
        if held.is_empty() {
            return Ok(());
        }
        if Instant::now() >= deadline {
            return Err(ReleaseError::InUse(held));
        }
        thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(50));
    }
}
