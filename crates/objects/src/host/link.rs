//! The socket to an engine: what is queued leaves in one write, what arrives is taken in one piece.

use std::{io, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::{
    io::AsyncWriteExt,
    net::{
        UnixStream,
        unix::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::Notify,
};

use super::{
    deployment::Deployment,
    process::{EngineProcess, Handle},
    queue::FrameQueue,
};
use crate::wire::{FrameError, Frames, FromEngine, ToEngine, write_frame};

const READ_BYTES: usize = 256 << 10;
/// What an engine has not taken yet; beyond, it is hung or flooded.
const MAX_QUEUED_BYTES: usize = 512 << 20;
const UNTAKEN: &str = "it does not take what it is sent";
/// How long an engine that hung up may take to end by itself.
const GRACE: Duration = Duration::from_secs(2);

/// What is to be sent to one engine.
#[derive(Debug)]
pub struct Outbox {
    queue: Mutex<Queue>,
    changed: Notify,
    flooded: Notify,
    most_bytes: usize,
}

impl Default for Outbox {
    fn default() -> Self {
        Self::with_room(MAX_QUEUED_BYTES)
    }
}

#[derive(Debug, Default)]
struct Queue {
    frames: FrameQueue,
    wake_at: Option<i64>,
    wake_changed: bool,
}

impl Outbox {
    fn with_room(most_bytes: usize) -> Self {
        Outbox { queue: Mutex::default(), changed: Notify::new(), flooded: Notify::new(), most_bytes }
    }

    /// Queues a message; it leaves after the next [`Self::flush`].
    pub fn push(&self, message: &ToEngine) {
        let mut queue = self.queue.lock();
        queue.frames.push(message, self.most_bytes, "an engine");
        if queue.frames.is_flooded() {
            self.flooded.notify_one();
        }
    }

    /// The engine wants to hear of the time then.
    pub fn wake_at(&self, at_ms: Option<i64>) {
        let mut queue = self.queue.lock();
        queue.wake_at = at_ms;
        queue.wake_changed = true;
    }

    pub fn flush(&self) {
        let mut queue = self.queue.lock();
        let more = queue.wake_changed;
        if queue.frames.tells(more) {
            drop(queue);
            self.changed.notify_one();
        }
    }
}

/// Talks to the engine until it ends, and tells the deployment.
pub fn run(
    deployment: Arc<Deployment>,
    process: u32,
    child: EngineProcess,
    socket: UnixStream,
    handle: Arc<Handle>,
    outbox: Arc<Outbox>,
) {
    tokio::spawn(async move {
        let (reader, writer) = socket.into_split();
        let now_ms = {
            let deployment = Arc::clone(&deployment);
            move || deployment.now_ms()
        };
        let why = tokio::select! {
            why = read(&deployment, process, reader) => why,
            why = write(&outbox, writer, now_ms) => why,
        };
        if let Some(why) = &why {
            tracing::warn!(process, why, "an engine is ended");
            handle.kill();
        }
        let ended = child.ended();
        tokio::pin!(ended);
        let ended = match tokio::time::timeout(GRACE, &mut ended).await {
            Ok(ended) => ended,
            Err(_late) => {
                handle.kill();
                ended.await
            }
        };
        if !ended.last_words.is_empty() {
            tracing::warn!(process, last_words = ended.last_words, "an engine's last words");
        }
        let why = match (why, &ended.status) {
            (Some(why), _) => why,
            (None, Ok(status)) => format!("its engine ended ({status})"),
            (None, Err(error)) => format!("its engine ended: {error}"),
        };
        deployment.engine_ended(process, &why);
    });
}

/// None: it hung up.
async fn read(deployment: &Arc<Deployment>, process: u32, socket: OwnedReadHalf) -> Option<String> {
    let mut frames = Frames::default();
    let mut buffer = vec![0; READ_BYTES];
    loop {
        if let Err(error) = socket.readable().await {
            return Some(format!("its socket cannot be read: {error}"));
        }
        match socket.try_read(&mut buffer) {
            Ok(0) => return None,
            Ok(read) => frames.push(&buffer[..read]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return None,
            Err(error) => return Some(format!("its socket cannot be read: {error}")),
        }
        match messages(&mut frames) {
            Ok(said) => deployment.take(process, said),
            Err(error) => return Some(format!("it does not keep to the protocol: {error}")),
        }
    }
}

fn messages(frames: &mut Frames) -> Result<Vec<FromEngine>, FrameError> {
    let mut said = Vec::new();
    while let Some(message) = frames.next_message()? {
        said.push(message);
    }
    Ok(said)
}

async fn write(outbox: &Outbox, mut socket: OwnedWriteHalf, now_ms: impl Fn() -> i64) -> Option<String> {
    let mut wake_at: Option<i64> = None;
    let mut bytes = Vec::new();
    loop {
        let wait = wake_at.map(|at_ms| Duration::from_millis(u64::try_from(at_ms - now_ms()).unwrap_or(0)));
        tokio::select! {
            () = outbox.changed.notified() => {}
            () = tokio::time::sleep(wait.unwrap_or_default()), if wait.is_some() => {
                // The clock may have been set back: the engine would find nothing due, and not ask again.
                if wake_at.is_some_and(|at_ms| at_ms > now_ms()) {
                    continue;
                }
                wake_at = None;
            }
        }
        bytes.clear();
        // Every batch begins with the time.
        if let Err(error) = write_frame(&ToEngine::Tick { now_ms: now_ms() }, &mut bytes) {
            return Some(error.to_string());
        }
        {
            let mut queue = outbox.queue.lock();
            if !queue.frames.is_looked_at() {
                return Some(UNTAKEN.to_owned());
            }
            if queue.wake_changed {
                wake_at = queue.wake_at;
                queue.wake_changed = false;
                if queue.frames.bytes.is_empty() && wake_at.is_none_or(|at_ms| at_ms > now_ms()) {
                    continue;
                }
            }
            bytes.append(&mut queue.frames.bytes);
        }
        let written = tokio::select! {
            written = socket.write_all(&bytes) => written,
            // Who takes nothing at all does not let the write end.
            () = outbox.flooded.notified() => return Some(UNTAKEN.to_owned()),
        };
        if written.is_err() {
            // It hung up: the reader says how.
            std::future::pending::<()>().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::wire::StreamId;

    fn run<F: Future>(future: F) -> F::Output {
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(future)
    }

    #[test]
    fn a_clock_that_is_set_back_loses_no_wake() {
        const SET_BACK_MS: i64 = 40;
        let begun = Instant::now();
        let now_ms = move || {
            let ms = i64::try_from(begun.elapsed().as_millis()).expect("is short");
            if ms < 10 { ms } else { ms - SET_BACK_MS }
        };
        let outbox = Arc::new(Outbox::default());
        outbox.wake_at(Some(20));
        outbox.flush();
        let first = run(async {
            let (ours, theirs) = UnixStream::pair().expect("a pair");
            let writer = write(&outbox, ours.into_split().1, now_ms);
            let tick = async {
                let mut frames = Frames::default();
                let mut buffer = [0; 64];
                loop {
                    theirs.readable().await.expect("is there");
                    if let Ok(read) = theirs.try_read(&mut buffer) {
                        frames.push(&buffer[..read]);
                    }
                    if let Some(message) = frames.next_message::<ToEngine>().expect("is a frame") {
                        return message;
                    }
                }
            };
            tokio::select! {
                why = writer => panic!("{why:?}"),
                first = tick => first,
            }
        });
        assert!(matches!(first, ToEngine::Tick { now_ms: 20.. }), "{first:?}");
    }

    /// It waits in a write that never ends; only the flood tells that it is hung.
    #[test]
    fn an_engine_that_takes_nothing_is_given_up() {
        let outbox = Arc::new(Outbox::with_room(1 << 20));
        let why = run(async {
            let (ours, _theirs) = UnixStream::pair().expect("a pair");
            let writer = tokio::spawn({
                let outbox = Arc::clone(&outbox);
                async move { write(&outbox, ours.into_split().1, || 0).await }
            });
            while !writer.is_finished() {
                outbox.push(&ToEngine::Chunk { stream: StreamId(1), data: vec![0; 256 << 10], end: false });
                outbox.flush();
                tokio::task::yield_now().await;
            }
            writer.await.expect("ends")
        });
        assert_eq!(why.as_deref(), Some(UNTAKEN));
    }
}
