//! The host's clock. What must not jump (timeouts, heartbeats) uses tokio's monotonic clock instead.

use jiff::Timestamp;

#[expect(clippy::disallowed_methods, reason = "the one place of the agent that asks the host for the time")]
pub fn now() -> Timestamp {
    Timestamp::now()
}
