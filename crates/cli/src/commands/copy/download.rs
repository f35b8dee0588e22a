//! From a session to here.

use std::{
    fs, io,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::atomic::Ordering,
};

use api::streams::CopyAsk;
use archive::Received;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio_util::io::SyncIoBridge;

use super::{Counted, Meter, PIPE_BYTES, Remote, Temporary};
use crate::{fault::Fault, table};

/// The longest first line, bytes.
const MAX_HEAD_BYTES: usize = 64;

#[derive(Debug, PartialEq, Eq)]
enum What {
    File { mode: u32, size: u64 },
    Directory,
}

/// What has come, under its temporary name.
enum Whole {
    File,
    Directory(Received),
}

fn parse(line: &str) -> Option<What> {
    let mut words = line.split(' ');
    match (words.next()?, words.next(), words.next(), words.next()) {
        ("d", None, None, None) => Some(What::Directory),
        ("f", Some(mode), Some(size), None) => {
            Some(What::File { mode: u32::from_str_radix(mode, 8).ok()? & 0o777, size: size.parse().ok()? })
        }
        _ => None,
    }
}

/// Reads up to the line break, byte by byte: what follows is somebody else's. None if the stream ends before it.
async fn head(stream: &mut DuplexStream) -> io::Result<Option<What>> {
    let mut line = Vec::new();
    let mut byte = [0; 1];
    while line.len() < MAX_HEAD_BYTES {
        if stream.read(&mut byte).await? == 0 {
            return Ok(None);
        }
        if byte == *b"\n" {
            let bad = || io::Error::other("the host's agent answers what was not asked");
            return parse(std::str::from_utf8(&line).map_err(|_| bad())?).ok_or_else(bad).map(Some);
        }
        line.extend(byte);
    }
    Err(io::Error::other("the host's agent answers what was not asked"))
}

/// Where it goes: into `destination` if that is a directory.
fn target(source: &str, destination: &Path) -> Result<PathBuf, Fault> {
    let shown = destination.display();
    let wants_directory = destination.to_string_lossy().ends_with('/');
    if destination.is_dir() {
        let name = Path::new(source).file_name().ok_or_else(|| {
            Fault::Usage(format!("'{source}' has no name of its own: say what it is to be called, {shown}/NAME"))
        })?;
        return Ok(destination.join(name));
    }
    if wants_directory {
        return Err(Fault::NotFound(format!("there is no directory {shown}")));
    }
    Ok(destination.to_owned())
}

pub(super) async fn download(remote: &Remote<'_>, source: &str, destination: &Path) -> Result<(), Fault> {
    let target = target(source, destination)?;
    let temporary = Temporary::beside(&target);
    let (mut near, far) = tokio::io::duplex(PIPE_BYTES);
    let receive = async {
        match head(&mut near).await.map_err(Fault::io("cannot copy"))? {
            // The reason is on standard error.
            None => Ok(None),
            Some(What::File { mode, size }) => {
                if target.is_dir() {
                    return Err(Fault::Usage(format!("{} is a directory", target.display())));
                }
                file(remote, &mut near, &temporary.path, mode, size).await?;
                Ok(Some(Whole::File))
            }
            Some(What::Directory) => {
                if target.symlink_metadata().is_ok() {
                    return Err(Fault::Usage(format!("{} is there already; remove it first", target.display())));
                }
                directory(remote, near, &temporary.path).await.map(|received| Some(Whole::Directory(received)))
            }
        }
    };
    let send = remote.copy(CopyAsk::Out { path: source.to_owned() }, tokio::io::empty(), far);
    tokio::pin!(receive, send);
    // Both have to have gone well; whichever fails first is the reason.
    let received = tokio::select! {
        received = &mut receive => {
            let received = received?;
            send.await?;
            received
        }
        sent = &mut send => {
            sent?;
            receive.await?
        }
    };
    let (placed, skipped) = match received {
        None => return Err(Fault::Failed("the environment sent nothing".to_owned())),
        Some(Whole::File) => (fs::rename(&temporary.path, &target), Vec::new()),
        Some(Whole::Directory(received)) => (received.place(&target), received.skipped),
    };
    placed.map_err(Fault::io(format!("cannot write {}", target.display())))?;
    for path in skipped {
        eprintln!("berth: left out {}: neither file, directory nor link", table::printable(&path));
    }
    Ok(())
}

async fn file(remote: &Remote<'_>, stream: &mut DuplexStream, path: &Path, mode: u32, size: u64) -> Result<(), Fault> {
    let what = || format!("cannot write {}", path.display());
    let meter = Meter::start(remote.quiet, Some(size));
    let counter = meter.counter();
    // Nobody else's to read until it has its own mode.
    let options = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).to_owned();
    let mut file = tokio::fs::OpenOptions::from(options).open(path).await.map_err(Fault::io(what()))?;
    let mut buffer = vec![0; PIPE_BYTES];
    let mut got = 0;
    loop {
        let count = stream.read(&mut buffer).await.map_err(Fault::io("cannot copy"))?;
        if count == 0 {
            break;
        }
        file.write_all(&buffer[..count]).await.map_err(Fault::io(what()))?;
        got += count as u64;
        counter.fetch_add(count as u64, Ordering::Relaxed);
    }
    if got != size {
        return Err(Fault::Failed(format!("{got} of {size} bytes came: the copy broke off, or the file changed")));
    }
    file.flush().await.map_err(Fault::io(what()))?;
    file.set_permissions(fs::Permissions::from_mode(mode)).await.map_err(Fault::io(what()))
}

async fn directory(remote: &Remote<'_>, stream: DuplexStream, path: &Path) -> Result<Received, Fault> {
    let meter = Meter::start(remote.quiet, None);
    let (counter, into) = (meter.counter(), path.to_owned());
    let unpack = tokio::task::spawn_blocking(move || {
        fs::DirBuilder::new().mode(0o700).create(&into)?;
        archive::receive(Counted { inner: SyncIoBridge::new(stream), bytes: counter }, &into)
    });
    let unpacked = unpack.await.map_err(|error| Fault::Failed(format!("the copy failed: {error}")))?;
    unpacked.map_err(Fault::io(format!("cannot write {}", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line() {
        assert_eq!(parse("d"), Some(What::Directory));
        assert_eq!(parse("f 4755 12"), Some(What::File { mode: 0o755, size: 12 }));
        for line in ["", "f", "f 644", "f 9 1", "f 644 -1", "d x", "f 644 1 2"] {
            assert_eq!(parse(line), None, "{line}");
        }
    }

    #[test]
    fn where_it_goes() -> io::Result<()> {
        let dir = tempfile::tempdir()?;
        let check = |source: &str, destination: PathBuf| target(source, &destination).ok();
        assert_eq!(check("/etc/hosts", dir.path().to_owned()), Some(dir.path().join("hosts")));
        assert_eq!(check("/etc/hosts", dir.path().join("new")), Some(dir.path().join("new")));
        assert_eq!(check("..", dir.path().to_owned()), None);
        assert_eq!(check("/etc/hosts", dir.path().join("missing/")), None);
        Ok(())
    }
}
