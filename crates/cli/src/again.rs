//! A connection that broke is made again: soon at first, then less often, until it is no use any more.

use std::time::Duration;

use api::streams::{AWAY_LIMIT_S, PING_PERIOD_S};
use tokio::time::{Instant, sleep};

const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LAST_PAUSE: Duration = Duration::from_secs(5);
/// What is waited for there is waited for no longer.
const PATIENCE: Duration = Duration::from_secs(AWAY_LIMIT_S);
/// The server pings; a connection on which nothing came for this long is dead.
pub const SILENCE_LIMIT: Duration = Duration::from_secs(3 * PING_PERIOD_S);

/// The tries since a connection broke.
#[derive(Debug)]
pub struct Again {
    begun: Instant,
    pause: Duration,
}

impl Again {
    pub fn new() -> Self {
        Self { begun: Instant::now(), pause: FIRST_PAUSE }
    }
    /// Whether another try makes sense.
    pub fn is_over(&self) -> bool {
        self.begun.elapsed() > PATIENCE
    }
    /// The pause before the next try; each is twice as long as the last.
    pub async fn wait(&mut self) {
        let pause = self.pause;
        self.pause = (pause * 2).min(LAST_PAUSE);
        sleep(pause).await;
    }
}

impl Default for Again {
    fn default() -> Self {
        Self::new()
    }
}
