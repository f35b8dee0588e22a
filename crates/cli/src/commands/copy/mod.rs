//! `berth cp`: files and directories, by the host's agent, which needs nothing of the environment: no shell, no `tar`.
//!
//! Whatever breaks off on the way leaves nothing half-written: bytes go to a temporary name beside the target, are
//! counted, and are renamed last, on either side.

use std::{
    io::IsTerminal,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use api::streams::{CopyAsk, ExecAsk};
use tokio::{sync::mpsc, task::JoinHandle, time::Instant};

use crate::{
    args::Cp,
    client::Client,
    commands::sessions,
    exec::{Ends, Exec, Head},
    fault::Fault,
    signals::Signals,
    table, terminal,
};

mod download;
mod upload;

/// Bytes on their way between this program's two halves.
const PIPE_BYTES: usize = 256 * 1024;

/// One end of a copy.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    Here(PathBuf),
    There { session: String, path: String },
}

/// `SESSION:PATH` is there; what begins with `/`, `.` or `~`, or has no colon, is here.
fn place(text: &str) -> Result<Place, Fault> {
    if text.starts_with(['/', '.', '~']) {
        return Ok(Place::Here(PathBuf::from(text)));
    }
    match text.split_once(':') {
        None if text.is_empty() => Err(Fault::Usage("a path is empty".to_owned())),
        None => Ok(Place::Here(PathBuf::from(text))),
        Some((session, path)) if session.is_empty() || path.contains('\0') => {
            Err(Fault::Usage(format!("'{text}' is no SESSION:PATH; a file here with a colon is ./{text}")))
        }
        // Nothing after the colon is the home directory, as with scp.
        Some((session, path)) => {
            Ok(Place::There { session: session.to_owned(), path: if path.is_empty() { "." } else { path }.to_owned() })
        }
    }
}

pub async fn copy(client: &Client, ask: &Cp) -> Result<(), Fault> {
    let mut signals = Signals::listen()?;
    let work = async {
        match (place(&ask.source)?, place(&ask.destination)?) {
            (Place::Here(source), Place::There { session, path }) => {
                let remote = Remote::find(client, &session, ask.quiet).await?;
                upload::upload(&remote, &source, &path).await
            }
            (Place::There { session, path }, Place::Here(destination)) => {
                let remote = Remote::find(client, &session, ask.quiet).await?;
                download::download(&remote, &path, &destination).await
            }
            (Place::Here(_), Place::Here(_)) => {
                Err(Fault::Usage("neither path is in a session: SESSION:PATH names one that is".to_owned()))
            }
            (Place::There { .. }, Place::There { .. }) => {
                Err(Fault::Usage("from session to session goes by way of a copy here: berth cp twice".to_owned()))
            }
        }
    };
    tokio::select! {
        result = work => result,
        _ = signals.stop() => Err(Fault::Failed("stopped; nothing was changed at the destination".to_owned())),
    }
}

/// The session to copy to or from.
struct Remote<'a> {
    client: &'a Client,
    session: String,
    quiet: bool,
}

impl<'a> Remote<'a> {
    async fn find(client: &'a Client, session: &str, quiet: bool) -> Result<Self, Fault> {
        let session = sessions::find(client, session).await?.id.to_string();
        Ok(Self { client, session, quiet })
    }

    /// Copies with these ends; what is said on standard error is the reason if it fails.
    async fn copy<I, O>(&self, copy: CopyAsk, stdin: I, stdout: O) -> Result<(), Fault>
    where
        I: tokio::io::AsyncRead + Unpin,
        O: tokio::io::AsyncWrite + Unpin,
    {
        let ask = ExecAsk { copy: Some(copy), ..ExecAsk::default() };
        let exec = Exec::start(self.client, &self.session, &ask).await?;
        let mut stderr = Head::default();
        let (controls_sender, controls) = mpsc::channel(1);
        drop(controls_sender);
        let code = exec.run(Ends { stdin, stdout, stderr: &mut stderr, controls, tell: terminal::say }).await?;
        match (code, stderr.text()) {
            (0, said) => {
                for line in said.lines() {
                    eprintln!("berth: {line}");
                }
                Ok(())
            }
            (code, text) if text.is_empty() => {
                Err(Fault::Failed(format!("the copy failed in the environment with exit code {code}")))
            }
            (_, text) => Err(Fault::Failed(format!("in the environment: {text}"))),
        }
    }
}

/// Shows on a person's terminal how far a copy is.
struct Meter {
    bytes: Arc<AtomicU64>,
    task: Option<JoinHandle<()>>,
}

impl Meter {
    fn start(quiet: bool, total: Option<u64>) -> Self {
        let bytes = Arc::new(AtomicU64::new(0));
        let shown = !quiet && std::io::stderr().is_terminal();
        let task = shown.then(|| {
            let bytes = bytes.clone();
            tokio::spawn(async move {
                let begun = Instant::now();
                let mut ticks = tokio::time::interval(Duration::from_millis(200));
                loop {
                    ticks.tick().await;
                    let done = bytes.load(Ordering::Relaxed);
                    let rate = done as f64 / begun.elapsed().as_secs_f64().max(0.1);
                    let of = total.map(|total| format!(" of {}", table::bytes(total))).unwrap_or_default();
                    eprint!("\r\x1b[K{}{of}, {}/s", table::bytes(done), table::bytes(rate as u64));
                }
            })
        });
        Self { bytes, task }
    }
    fn counter(&self) -> Arc<AtomicU64> {
        self.bytes.clone()
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
            eprint!("\r\x1b[K");
        }
    }
}

/// Counts what is read or written through it.
struct Counted<T> {
    inner: T,
    bytes: Arc<AtomicU64>,
}

impl<R: std::io::Read> std::io::Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.bytes.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }
}

/// A temporary file or directory here, removed unless it was renamed.
struct Temporary {
    path: PathBuf,
}

impl Temporary {
    /// A name beside `target` that nothing has yet.
    fn beside(target: &Path) -> Self {
        let name = format!(".berth-cp.{}", uuid::Uuid::new_v4().simple());
        Self { path: target.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new(".")).join(name) }
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        // After a rename there may be nothing of this name; whatever else fails here, the first error is the one to tell.
        if self.path.is_dir() {
            drop(std::fs::remove_dir_all(&self.path));
        } else {
            drop(std::fs::remove_file(&self.path));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places() {
        let here = |path: &str| Some(Place::Here(PathBuf::from(path)));
        let there =
            |session: &str, path: &str| Some(Place::There { session: session.to_owned(), path: path.to_owned() });
        let check = |text: &str, expected: Option<Place>| assert_eq!(place(text).ok(), expected, "{text}");
        check("a.txt", here("a.txt"));
        check("./a:b", here("./a:b"));
        check("/tmp/a:b", here("/tmp/a:b"));
        check("lab-1/a:/tmp/x", there("lab-1/a", "/tmp/x"));
        check("lab-1/a:x:y", there("lab-1/a", "x:y"));
        check("0198:", there("0198", "."));
        check(":x", None);
        check("", None);
    }
}
