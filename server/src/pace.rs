//! How long an answer may take where a body comes first: while that comes, the time is the client's line's, not the work's.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use axum::body::Body;
use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use parking_lot::Mutex;
use tokio::time::{Instant, sleep_until};

#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Between two pieces of the body, while the next is waited for.
    pub idle: Duration,
    /// For all of the body.
    pub body: Duration,
    /// From the body's end to the answer, and from one piece of it to the wish for the next.
    pub answer: Duration,
}

/// What was not there in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Late {
    #[error("nothing of the request's body came for {} s", .0.as_secs())]
    Piece(Duration),
    #[error("the request's body took longer than {} s", .0.as_secs())]
    Body(Duration),
    #[error("there was no answer within {} s", .0.as_secs())]
    Answer(Duration),
}

/// Who is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    /// The body is wanted and does not come.
    Client,
    /// It is at work, with what came of the body so far.
    Work,
    /// As `Work`, and no more of the body will come.
    End,
}

/// How far a request's body is, and since when.
#[derive(Debug, Clone)]
pub(crate) struct Pace(Arc<Mutex<(Turn, Instant)>>);

impl Pace {
    /// The body to go on with, and what it tells.
    pub(crate) fn of(body: Body) -> (Body, Self) {
        let turn = if body.is_end_stream() { Turn::End } else { Turn::Work };
        let pace = Self(Arc::new(Mutex::new((turn, Instant::now()))));
        (Body::new(Watched { body, pace: pace.clone() }), pace)
    }

    fn note(&self, next: Turn) {
        let mut state = self.0.lock();
        let goes_on = match (state.0, next) {
            (Turn::End, _) | (Turn::Client, Turn::Client) => true,
            (Turn::Client | Turn::Work, _) => false,
        };
        if !goes_on {
            *state = (next, Instant::now());
        }
    }

    fn deadline(&self, begun: Instant, limits: &Limits) -> (Instant, Late) {
        let (turn, since) = *self.0.lock();
        match turn {
            Turn::Client if begun + limits.body < since + limits.idle => (begun + limits.body, Late::Body(limits.body)),
            Turn::Client => (since + limits.idle, Late::Piece(limits.idle)),
            Turn::Work | Turn::End => (since + limits.answer, Late::Answer(limits.answer)),
        }
    }

    /// Waits for the answer to the request with this body; given up, it is dropped.
    pub(crate) async fn within<T>(self, limits: Limits, answer: impl Future<Output = T>) -> Result<T, Late> {
        let begun = Instant::now();
        tokio::pin!(answer);
        loop {
            // The turn may change meanwhile, and the next deadline be nearer.
            let look = self.deadline(begun, &limits).0.min(Instant::now() + limits.idle.min(limits.body));
            tokio::select! {
                biased;
                answer = &mut answer => return Ok(answer),
                () = sleep_until(look) => {}
            }
            let (deadline, late) = self.deadline(begun, &limits);
            if deadline <= Instant::now() {
                return Err(late);
            }
        }
    }
}

struct Watched {
    body: Body,
    pace: Pace,
}

impl HttpBody for Watched {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        self.pace.note(match &polled {
            Poll::Pending => Turn::Client,
            Poll::Ready(Some(Ok(_))) => Turn::Work,
            Poll::Ready(Some(Err(_)) | None) => Turn::End,
        });
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Watched {
    /// Nobody wants more of it.
    fn drop(&mut self) {
        self.pace.note(Turn::End);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::StreamExt as _;
    use tokio::time::sleep;

    use super::*;

    /// Long enough for a busy machine.
    const LONG: Duration = Duration::from_secs(60);
    const SHORT: Duration = Duration::from_millis(200);

    /// Pieces without end, each after such a pause.
    fn body(pause: Duration) -> impl futures_util::Stream<Item = std::io::Result<Bytes>> {
        futures_util::stream::repeat(Bytes::from_static(b"piece")).then(move |piece| async move {
            sleep(pause).await;
            Ok(piece)
        })
    }

    async fn check<T>(limits: Limits, body: Body, answer: impl AsyncFnOnce(Body) -> T, expected: Result<T, Late>)
    where
        T: std::fmt::Debug + PartialEq,
    {
        let (body, pace) = Pace::of(body);
        assert_eq!(pace.within(limits, answer(body)).await, expected);
    }

    async fn taken(body: Body) -> usize {
        body.into_data_stream().count().await
    }

    #[tokio::test]
    async fn the_answers_time_begins_with_the_bodys_end() {
        let (idle, answer) = (Duration::from_secs(2), Duration::from_secs(2));
        let steady = Body::from_stream(body(SHORT).take(15));
        check(Limits { idle, body: LONG, answer }, steady, taken, Ok(15)).await;
        let limits = Limits { idle: LONG, body: LONG, answer: SHORT };
        let never = async |_: Body| std::future::pending::<()>().await;
        check(limits, Body::empty(), never, Err(Late::Answer(SHORT))).await;
        check(limits, Body::from_stream(body(LONG)), never, Err(Late::Answer(SHORT))).await;
    }

    #[tokio::test]
    async fn a_body_comes_in_its_time() {
        let stalls = Limits { idle: SHORT, body: LONG, answer: LONG };
        check(stalls, Body::from_stream(body(LONG)), taken, Err(Late::Piece(SHORT))).await;
        let endless = Limits { idle: LONG, body: SHORT, answer: LONG };
        check(endless, Body::from_stream(body(SHORT / 20)), taken, Err(Late::Body(SHORT))).await;
        // Who is slow to take it is not the client.
        let slow = async |body: Body| {
            let mut pieces = body.into_data_stream();
            let first = pieces.next().await.is_some();
            sleep(3 * SHORT).await;
            first
        };
        check(stalls, Body::from_stream(body(Duration::ZERO)), slow, Ok(true)).await;
        // What nobody wants is not waited for.
        let dropping = async |body: Body| {
            let mut pieces = body.into_data_stream();
            assert!(tokio::time::timeout(SHORT / 20, pieces.next()).await.is_err());
            drop(pieces);
            sleep(3 * SHORT).await;
        };
        check(stalls, Body::from_stream(body(LONG)), dropping, Ok(())).await;
    }

    #[test]
    fn a_bodys_length_is_known_as_before() {
        let (body, _) = Pace::of(Body::from("whole"));
        assert_eq!(body.size_hint().exact(), Some(5));
        assert!(Pace::of(Body::empty()).0.is_end_stream());
    }
}
