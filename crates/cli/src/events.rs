//! Waiting for something to change: the server's live events, and a look of one's own now and then in case they are
//! not to be had.

use std::time::Duration;

use tokio::{sync::watch, task::JoinHandle, time::timeout};
use uuid::Uuid;

use crate::client::Client;

/// A look of one's own this often while events come, and while they do not.
const LOOK_WITH_EVENTS: Duration = Duration::from_secs(2);
const LOOK_WITHOUT: Duration = Duration::from_millis(200);
const RECONNECT: Duration = Duration::from_secs(2);
/// The longest line of the stream, bytes.
const MAX_LINE_BYTES: usize = 64 * 1024;

/// Wakes when something may have changed. Dropping it closes the stream.
#[derive(Debug)]
pub struct Changes {
    seen: watch::Receiver<State>,
    reader: JoinHandle<()>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct State {
    /// Rises with each event about what is watched.
    count: u64,
    connected: bool,
}

/// What a line of the stream means for the one who waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Line {
    Hello,
    Change,
    Nothing,
}

impl Changes {
    /// Events whose subject is `wanted`, or all of them until it is known. Returns when the stream is up or has failed,
    /// so that what is done after it is not missed.
    pub async fn watch(client: &Client) -> (Self, watch::Sender<Option<Uuid>>) {
        let (wanted_sender, wanted) = watch::channel(None);
        let (sender, mut seen) = watch::channel(State::default());
        let client = client.clone();
        let reader = tokio::spawn(async move {
            loop {
                read(&client, &sender, &wanted).await;
                sender.send_modify(|state| state.connected = false);
                tokio::time::sleep(RECONNECT).await;
            }
        });
        // Without events there is still the look of one's own.
        let up = timeout(Duration::from_secs(2), seen.wait_for(|state| state.connected)).await;
        drop(up);
        (Self { seen, reader }, wanted_sender)
    }

    /// Returns when something may have changed.
    pub async fn next(&mut self) {
        let connected = self.seen.borrow_and_update().connected;
        let look = if connected { LOOK_WITH_EVENTS } else { LOOK_WITHOUT };
        match timeout(look, self.seen.changed()).await {
            Ok(Ok(())) | Err(_) => {}
            // The reader is gone, which only a panic in it explains.
            Ok(Err(_)) => tokio::time::sleep(LOOK_WITHOUT).await,
        }
    }
}

impl Drop for Changes {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

async fn read(client: &Client, sender: &watch::Sender<State>, wanted: &watch::Receiver<Option<Uuid>>) {
    let Ok(mut response) = client.event_stream().await else { return };
    let mut buffer: Vec<u8> = Vec::new();
    while let Ok(Some(chunk)) = response.chunk().await {
        buffer.extend_from_slice(&chunk);
        while let Some(end) = buffer.iter().position(|&byte| byte == b'\n') {
            let line: Vec<u8> = buffer.drain(..=end).collect();
            match meaning(&line, *wanted.borrow()) {
                Line::Hello => sender.send_modify(|state| {
                    state.connected = true;
                    state.count += 1;
                }),
                Line::Change => sender.send_modify(|state| state.count += 1),
                Line::Nothing => {}
            }
        }
        if buffer.len() > MAX_LINE_BYTES {
            return;
        }
    }
}

fn meaning(line: &[u8], wanted: Option<Uuid>) -> Line {
    let Ok(line) = std::str::from_utf8(line) else { return Line::Nothing };
    if let Some(name) = line.strip_prefix("event:") {
        return if matches!(name.trim(), "hello" | "gap") { Line::Hello } else { Line::Nothing };
    }
    let Some(data) = line.strip_prefix("data:") else { return Line::Nothing };
    match wanted {
        None => Line::Change,
        Some(id) if data.contains(&id.to_string()) => Line::Change,
        Some(_) => Line::Nothing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines() {
        let id = Uuid::nil();
        let check = |line: &str, wanted, expected| assert_eq!(meaning(line.as_bytes(), wanted), expected, "{line}");
        check("event: hello\n", None, Line::Hello);
        check("event:gap\n", Some(id), Line::Hello);
        check("data: {\"subject\":\"00000000-0000-0000-0000-000000000000\"}\n", Some(id), Line::Change);
        check("data: {\"subject\":\"10000000-0000-0000-0000-000000000000\"}\n", Some(id), Line::Nothing);
        check("data: {}\n", None, Line::Change);
        check(": alive\n", None, Line::Nothing);
        check("id: 7\n", Some(id), Line::Nothing);
    }
}
