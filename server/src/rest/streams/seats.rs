//! How many streams each session has open on this server.

use domain::ids::SessionId;
use services::Error;

use crate::seats;

/// The most streams of one session at a time.
const MAX_STREAMS: usize = 32;

/// The open streams of each session.
#[derive(Debug, Clone)]
pub(super) struct Seats(seats::Seats<SessionId>);

impl Default for Seats {
    fn default() -> Self {
        Self(seats::Seats::of_each(MAX_STREAMS))
    }
}

/// One open stream's place; given back when dropped.
#[derive(Debug)]
pub(super) struct Seat(#[expect(dead_code, reason = "it is held, and given back with this")] seats::Seat<SessionId>);

impl Seats {
    pub(super) fn take(&self, session: SessionId) -> Result<Seat, Error> {
        let seat = self.0.take(session).ok_or_else(|| {
            let why = format!("the session has {MAX_STREAMS} terminals, programs and copies open; end one first");
            Error::Conflict(why)
        })?;
        metrics::gauge!("berth_streams").increment(1.0);
        Ok(Seat(seat))
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        metrics::gauge!("berth_streams").decrement(1.0);
    }
}
