//! From here into a session.

use std::{
    fs::File,
    io::{self, Write},
    os::unix::fs::PermissionsExt,
    path::Path,
};

use tokio::io::AsyncReadExt;
use tokio_util::io::SyncIoBridge;

use super::{Counted, Meter, PIPE_BYTES, Remote, tree};
use crate::{fault::Fault, table};

/// `$1` destination, `$2` name if that is a directory: sets `dst`, `dir` and `tmp`, and removes the latter at the end.
const TARGET: &str = r#"
set -u
umask 022
dst=$1
if [ -d "$dst" ]; then dst=${dst%/}/$2
elif [ "${dst%/}" != "$dst" ]; then echo "there is no directory '$dst'" >&2; exit 1; fi
case $dst in */*) dir=${dst%/*}; [ -n "$dir" ] || dir=/ ;; *) dir=. ;; esac
[ -d "$dir" ] || { echo "there is no directory '$dir'" >&2; exit 1; }
tmp=$dir/.berth-cp.$$
trap 'rm -rf "$tmp"' EXIT
trap 'exit 1' HUP INT TERM PIPE
"#;

/// `$3` mode, `$4` size. A stream that broke off looks like one that ended: the size tells.
const FILE: &str = r#"
[ ! -d "$dst" ] || { echo "'$dst' is a directory" >&2; exit 1; }
cat > "$tmp" || exit 1
size=$(wc -c < "$tmp") || exit 1
[ "$((size))" = "$4" ] || { echo "only $((size)) of $4 bytes arrived" >&2; exit 1; }
chmod "$3" "$tmp" && mv -f "$tmp" "$dst"
"#;

/// The archive's last entry tells that it is whole.
const TREE: &str = r#"
[ ! -e "$dst" ] || { echo "'$dst' is there already; remove it first" >&2; exit 1; }
command -v tar >/dev/null || { echo "copying a directory needs tar, which is not in this environment" >&2; exit 1; }
mkdir "$tmp" && tar -x -p -o -f - -C "$tmp" || exit 1
[ -f "$tmp/complete" ] || { echo "the copy broke off" >&2; exit 1; }
mv "$tmp/tree" "$dst"
"#;

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
    let script = format!("{TARGET}{FILE}");
    let arguments = [destination, name, &format!("{mode:o}"), &size.to_string()];
    remote.script(&script, &arguments, stdin, tokio::io::sink()).await
}

async fn directory(remote: &Remote<'_>, source: &Path, name: &str, destination: &str) -> Result<(), Fault> {
    let (near, far) = tokio::io::duplex(PIPE_BYTES);
    let meter = Meter::start(remote.quiet, None);
    let (counter, root) = (meter.counter(), source.to_owned());
    let pack = tokio::task::spawn_blocking(move || {
        let mut out = SyncIoBridge::new(near);
        let skipped = pack(&root, &mut out, |file| Counted { inner: file, bytes: counter.clone() })?;
        out.shutdown()?;
        Ok::<_, io::Error>(skipped)
    });
    let script = format!("{TARGET}{TREE}");
    let sent = remote.script(&script, &[destination, name], far, tokio::io::sink()).await;
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

/// Writes the tree as `tree/…` and then `complete`. Returns what was left out.
fn pack<R: io::Read>(root: &Path, out: &mut impl Write, count: impl Fn(File) -> R) -> io::Result<Vec<String>> {
    let mut archive = tar::Builder::new(out);
    let skipped = tree::pack(&mut archive, root, Path::new("tree"), &count)?;
    let mut header = tar::Header::new_gnu();
    header.set_size(0);
    header.set_mode(0o600);
    archive.append_data(&mut header, "complete", io::empty())?;
    archive.finish()?;
    Ok(skipped)
}
