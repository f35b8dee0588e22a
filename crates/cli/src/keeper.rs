//! The keepalive: as long as this lives, the session does. It is independent of any stream; when this program is
//! killed, nothing has to be done: the server sees the keepalives lapse and ends the session.

use std::time::Duration;

use api::sessions::KeptAlive;
use domain::sessions::{KEEPALIVE_PERIOD, SessionState};
use jiff::SignedDuration;
use serde_json::json;
use tokio::{sync::watch, task::JoinHandle, time::sleep};
use uuid::Uuid;

use crate::{client::Client, times};

/// After a keepalive that did not get through: soon, so that the grace time is not used up.
const RETRY: Duration = Duration::from_secs(2);
/// The person is told when so much of the booked time is left.
const WARN_AT: [SignedDuration; 2] = [SignedDuration::from_mins(10), SignedDuration::from_mins(2)];

/// Sends keepalives until dropped.
#[derive(Debug)]
pub struct Keeper {
    over: watch::Receiver<Option<String>>,
    task: JoinHandle<()>,
}

impl Keeper {
    /// `warn` gets a sentence for the person when the booked time is nearly over.
    pub fn start(client: &Client, session: Uuid, warn: fn(&str)) -> Self {
        let (sender, over) = watch::channel(None);
        let client = client.clone();
        let task = tokio::spawn(async move {
            let id = session.to_string();
            let mut warned = WARN_AT.len();
            let mut left_before = None;
            loop {
                let pause = match client.post::<KeptAlive>(&["sessions", &id, "keepalive"], &json!({})).await {
                    Ok(kept) => {
                        if let Some(why) = is_over(kept.state) {
                            sender.send_replace(Some(why.to_owned()));
                            return;
                        }
                        if let Ok(end) = kept.end.parse::<jiff::Timestamp>() {
                            let left = end.duration_since(times::now());
                            // A booking that was short from its beginning is no news.
                            let first = *left_before.get_or_insert(left);
                            let due = WARN_AT.iter().filter(|at| left <= **at && first > **at).count();
                            if due > WARN_AT.len() - warned {
                                warned = WARN_AT.len() - due;
                                warn(&format!("the booked time ends {}", times::relative(end, times::now())));
                            }
                        }
                        period(kept.again_in_s)
                    }
                    Err(fault) if fault.is_passing() => RETRY,
                    Err(fault) => {
                        sender.send_replace(Some(fault.to_string()));
                        return;
                    }
                };
                sleep(pause).await;
            }
        });
        Self { over, task }
    }

    /// Returns when there is nothing to keep any more, with the reason.
    pub async fn over(&mut self) -> String {
        match self.over.wait_for(Option::is_some).await {
            Ok(why) => why.clone().unwrap_or_default(),
            Err(_) => std::future::pending().await,
        }
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Not longer than the protocol's own period, whatever the server says: two of them are the grace time.
fn period(again_in_s: u32) -> Duration {
    let longest = KEEPALIVE_PERIOD.unsigned_abs();
    Duration::from_secs(u64::from(again_in_s.max(1))).min(longest)
}

fn is_over(state: SessionState) -> Option<&'static str> {
    match state {
        SessionState::Scheduled | SessionState::Preparing | SessionState::Active => None,
        SessionState::Reverting => Some("the session is being ended"),
        SessionState::Ended => Some("the session has ended"),
        SessionState::Failed => Some("the session has failed"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_period_is_the_servers_within_bounds() {
        assert_eq!(period(5), Duration::from_secs(5));
        assert_eq!(period(0), Duration::from_secs(1));
        assert_eq!(period(600), Duration::from_secs(15));
    }
}
