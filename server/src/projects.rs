//! Projects as people send them from the page: the files of a folder, read as `berth objects deploy` reads the folder itself,
//! so that both say the same of a mistake.
//!
//! They are read in a process of its own ([`child`]): a parser recurses as deep as the code it reads, and whatever it does
//! not survive must not be the portal's end.

use std::{
    io::{self, Read, Write},
    path::{Path, PathBuf},
    process::{ExitCode, Stdio},
    time::Duration,
};

use api::deployments::Deploy;
use objects::project::{Project, Sent};
use rustix::process::{Resource, Rlimit, setrlimit};
use serde::{Deserialize, Serialize};
use services::Error;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    process::{Child, Command},
    sync::Semaphore,
};

/// What this program is told to be a reader.
pub const COMMAND: &str = "read-project";
/// All files together, with their names.
pub const MAX_BYTES: usize = 32 * 1024 * 1024;
pub const MAX_FILES: usize = 5_000;
/// What a reader may take: memory, processor time, and time until it is given up.
const MEMORY_BYTES: u64 = 1024 * 1024 * 1024;
const CPU_S: u64 = 10;
const LIMIT: Duration = Duration::from_secs(20);
/// At a time.
const READERS: usize = 2;
/// The longest that files wait for a reader: with the reader's own time less than a request may take.
const SEAT_LIMIT: Duration = Duration::from_secs(8);
/// The largest that a reader may say.
const MAX_SAID_BYTES: u64 = 24 * 1024 * 1024;
/// This program, whatever has come to lie under its name.
const THIS: &str = "/proc/self/exe";

/// A file of the project: its path and its content.
pub type File = (String, Vec<u8>);

/// What a reader says.
#[derive(Debug, Serialize, Deserialize)]
enum Said {
    Read(Box<Reading>),
    /// Where and what is wrong.
    Wrong(String),
}

/// A project as it can be deployed.
#[derive(Debug, Serialize, Deserialize)]
pub struct Reading {
    pub deploy: Deploy,
    /// What the files ask for and will not get.
    pub warnings: Vec<String>,
}

#[derive(Debug, thiserror::Error)]
enum ReaderError {
    #[error("a reader of projects cannot be started, or went away: {0}")]
    Io(#[from] io::Error),
    #[error("a reader of projects said what nobody understands: {0}")]
    Said(#[from] serde_json::Error),
}

/// Reads what was sent. What is wrong with it is told with file, line and column.
#[derive(Debug)]
pub struct Readers {
    program: PathBuf,
    seats: Semaphore,
}

impl Default for Readers {
    fn default() -> Self {
        Self::of(PathBuf::from(THIS))
    }
}

impl Readers {
    /// Processes of this program, which has to be this server's.
    pub fn of(program: PathBuf) -> Self {
        Self { program, seats: Semaphore::new(READERS) }
    }

    pub async fn read(&self, files: &[File]) -> Result<Reading, Error> {
        let _seat = match tokio::time::timeout(SEAT_LIMIT, self.seats.acquire()).await {
            Ok(Ok(seat)) => seat,
            Ok(Err(gone)) => return Err(Error::Internal(gone.to_string())),
            Err(_) => {
                let why = "other projects are being read, and take their time. Nothing was deployed: try again";
                return Err(Error::Unavailable(why.to_owned()));
            }
        };
        let gave_up = || {
            let why = "the files cannot be read: the code is nested too deeply, or takes too long to read";
            Error::invalid("files", why)
        };
        let said = match tokio::time::timeout(LIMIT, ask(&self.program, files)).await {
            Ok(said) => said.map_err(|error| Error::Internal(error.to_string()))?,
            Err(_) => return Err(gave_up()),
        };
        match said {
            Some(Said::Read(reading)) => Ok(*reading),
            Some(Said::Wrong(why)) => Err(Error::invalid("files", why)),
            None => Err(gave_up()),
        }
    }
}

/// `None`: the reader did not survive it.
async fn ask(program: &Path, files: &[File]) -> Result<Option<Said>, ReaderError> {
    let mut reader = Command::new(program)
        .arg(COMMAND)
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()?;
    let said = converse(&mut reader, files).await;
    let status = reader.wait().await?;
    match (status.success(), said) {
        (true, Ok(said)) => Ok(Some(serde_json::from_slice(&said)?)),
        (true, Err(error)) => Err(error.into()),
        (false, _) => {
            tracing::warn!(%status, "a reader of projects did not survive what somebody sent");
            Ok(None)
        }
    }
}

/// The reader takes all before it says anything.
async fn converse(reader: &mut Child, files: &[File]) -> io::Result<Vec<u8>> {
    let (Some(mut input), Some(output)) = (reader.stdin.take(), reader.stdout.take()) else {
        return Err(io::ErrorKind::BrokenPipe.into());
    };
    for (name, content) in files {
        for part in [name.as_bytes(), content] {
            let length = u32::try_from(part.len()).map_err(io::Error::other)?;
            input.write_all(&length.to_le_bytes()).await?;
            input.write_all(part).await?;
        }
    }
    drop(input);
    let mut said = Vec::new();
    output.take(MAX_SAID_BYTES).read_to_end(&mut said).await?;
    Ok(said)
}

/// The reader's own side, before there is anything else in its process.
pub fn child() -> ExitCode {
    match read() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("berth-server: {error}");
            ExitCode::FAILURE
        }
    }
}

fn limit(resource: Resource, most: u64) -> io::Result<()> {
    Ok(setrlimit(resource, Rlimit { current: Some(most), maximum: Some(most) })?)
}

fn read() -> Result<(), ReaderError> {
    limit(Resource::As, MEMORY_BYTES)?;
    limit(Resource::Cpu, CPU_S)?;
    limit(Resource::Core, 0)?;
    let mut sent = Vec::new();
    io::stdin().lock().take(MAX_BYTES as u64 * 2).read_to_end(&mut sent)?;
    let said = match Sent::new(files(&sent)?).and_then(|sent| Project::of_sent(&sent)) {
        Ok(mut project) => {
            let warnings = std::mem::take(&mut project.warnings);
            Said::Read(Box::new(Reading { deploy: Deploy::of_project(project, String::new()), warnings }))
        }
        Err(error) => Said::Wrong(error.to_string()),
    };
    let mut out = io::stdout().lock();
    serde_json::to_writer(&mut out, &said)?;
    out.flush()?;
    Ok(())
}

fn files(mut sent: &[u8]) -> io::Result<Vec<File>> {
    let mut part = || -> io::Result<Option<Vec<u8>>> {
        let Some((length, rest)) = sent.split_first_chunk::<4>() else {
            return if sent.is_empty() { Ok(None) } else { Err(io::ErrorKind::UnexpectedEof.into()) };
        };
        let length = u32::from_le_bytes(*length) as usize;
        let (part, rest) = rest.split_at_checked(length).ok_or(io::ErrorKind::UnexpectedEof)?;
        sent = rest;
        Ok(Some(part.to_vec()))
    };
    let mut files = Vec::new();
    while let Some(name) = part()? {
        let content = part()?.ok_or(io::ErrorKind::UnexpectedEof)?;
        files.push((String::from_utf8(name).map_err(io::Error::other)?, content));
    }
    Ok(files)
}
