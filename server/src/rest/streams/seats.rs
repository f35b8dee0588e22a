//! How many streams each session has open on this server: so many and no more.

use std::{collections::HashMap, sync::Arc};

use domain::ids::SessionId;
use parking_lot::Mutex;
use services::Error;

/// The most streams of one session at a time.
const MAX_STREAMS: usize = 32;

/// The open streams of each session.
#[derive(Debug, Clone, Default)]
pub(super) struct Seats(Arc<Mutex<HashMap<SessionId, usize>>>);

/// One open stream's place; given back when dropped.
#[derive(Debug)]
pub(super) struct Seat {
    seats: Seats,
    session: SessionId,
}

impl Seats {
    pub(super) fn take(&self, session: SessionId) -> Result<Seat, Error> {
        let mut seats = self.0.lock();
        let taken = seats.entry(session).or_default();
        if *taken >= MAX_STREAMS {
            let why = format!("the session has {MAX_STREAMS} terminals, programs and copies open; end one first");
            return Err(Error::Conflict(why));
        }
        *taken += 1;
        metrics::gauge!("berth_streams").increment(1.0);
        Ok(Seat { seats: self.clone(), session })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut seats = self.seats.0.lock();
        if let Some(taken) = seats.get_mut(&self.session) {
            *taken -= 1;
            if *taken == 0 {
                seats.remove(&self.session);
            }
        }
        metrics::gauge!("berth_streams").decrement(1.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_has_so_many_streams_and_no_more() {
        let seats = Seats::default();
        let session = SessionId::new();
        let mut taken: Vec<Seat> = (0..MAX_STREAMS).filter_map(|_| seats.take(session).ok()).collect();
        assert_eq!(taken.len(), MAX_STREAMS);
        assert!(matches!(seats.take(session), Err(Error::Conflict(_))));
        assert!(seats.take(SessionId::new()).is_ok());
        taken.pop();
        assert!(seats.take(session).is_ok());
        drop(taken);
        assert!(seats.0.lock().is_empty());
    }
}
