//! From here into a session.

use std::{io, os::unix::fs::PermissionsExt, path::Path};

use api::streams::CopyAsk;
use tokio::io::AsyncReadExt;
use tokio_util::io::SyncIoBridge;

use super::{Counted, Meter, PIPE_BYTES, Remote};
use crate::{fault::Fault, table};

pub(super) async fn upload(remote: &Remote<'_>, source: &Path, destination: &str) -> Result<(), Fault> {
    let shown = source.display().to_string();
    let metadata = std::fs::metadata(source).map_err(Fault::io(format!("cannot read {shown}")))?;
    // `berth cp . lab-1/a:x` has a name too.
    let full = std::fs::canonicalize(source).map_err(Fault::io(format!("cannot read {shown}")))?;
    let named = source.file_name().or(full.file_name());
    let name = named.map_or_else(|| "root".to_owned(), |name| name.to_string_lossy().into_owned());
    let mode = metadata.permissions().mode() & 0o777;
    if metadata.is_dir() {
        directory(remote, source, &name, destination).await
    } else if metadata.is_file() {
        file(remote, source, &name, destination, mode, metadata.len()).await
    } else {
        Err(Fault::Usage(format!("{shown} is neither a file nor a directory")))
    }
}

async fn file(
    remote: &Remote<'_>,
    source: &Path,
    name: &str,
    destination: &str,
    mode: u32,
    size: u64,
) -> Result<(), Fault> {
    let shown = source.display().to_string();
    let file = tokio::fs::File::open(source).await.map_err(Fault::io(format!("cannot read {shown}")))?;
    let meter = Meter::start(remote.quiet, Some(size));
    let counter = meter.counter();
    // A file that grows meanwhile is copied as far as it went when the copy began.
    let stdin = Box::pin(tokio_util::io::InspectReader::new(file.take(size), move |bytes: &[u8]| {
        counter.fetch_add(bytes.len() as u64, std::sync::atomic::Ordering::Relaxed);
    }));
    let copy = CopyAsk::FileIn { path: destination.to_owned(), name: name.to_owned(), mode, size };
    remote.copy(copy, stdin, tokio::io::sink()).await
}

async fn directory(remote: &Remote<'_>, source: &Path, name: &str, destination: &str) -> Result<(), Fault> {
    let (near, far) = tokio::io::duplex(PIPE_BYTES);
    let meter = Meter::start(remote.quiet, None);
    let (counter, root) = (meter.counter(), source.to_owned());
    let pack = tokio::task::spawn_blocking(move || {
        let mut out = SyncIoBridge::new(near);
        let skipped = archive::send(&root, &mut out, &|file| Counted { inner: file, bytes: counter.clone() })?;
        out.shutdown()?;
        Ok::<_, io::Error>(skipped)
    });
    let copy = CopyAsk::TreeIn { path: destination.to_owned(), name: name.to_owned() };
    let sent = remote.copy(copy, far, tokio::io::sink()).await;
    drop(meter);
    let packed = pack.await.map_err(|error| Fault::Failed(format!("the copy failed: {error}")))?;
    match (packed, sent) {
        // The other side's refusal closes the pipe, which is no reason of its own.
        (Err(error), Err(fault)) if error.kind() == io::ErrorKind::BrokenPipe => Err(fault),
        (Err(source), _) => Err(Fault::Io { what: "cannot copy".to_owned(), source }),
        (Ok(_), Err(fault)) => Err(fault),
        (Ok(skipped), Ok(())) => {
            for path in skipped {
                eprintln!("berth: left out {}: neither file, directory nor link", table::printable(&path));
            }
            Ok(())
        }
    }
}
