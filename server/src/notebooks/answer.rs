//! The body of a notebook's answer while it passes: it ends when its visitor may not stay any more, and says of documents
//! that they cannot be written to whoever may only read.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use axum::body::{Body, Bytes};
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};

use super::reading::Unwritable;

#[derive(Debug, thiserror::Error)]
pub(super) enum Broken {
    #[error(transparent)]
    Notebook(#[from] hyper::Error),
    #[error("the visitor may not stay")]
    Gone,
}

pub(super) struct Answer {
    inner: Incoming,
    /// Done when the visitor may not stay.
    gone: Pin<Box<dyn Future<Output = ()> + Send>>,
    unwritable: Option<Unwritable>,
}

impl Answer {
    pub(super) fn body(
        inner: Incoming,
        gone: impl Future<Output = ()> + Send + 'static,
        unwritable: Option<Unwritable>,
    ) -> Body {
        Body::new(Self { inner, gone: Box::pin(gone), unwritable })
    }
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        if self.gone.as_mut().poll(context).is_ready() {
            return Poll::Ready(Some(Err(Broken::Gone)));
        }
        loop {
            let frame = ready!(Pin::new(&mut self.inner).poll_frame(context)).transpose()?;
            let Some(filter) = &mut self.unwritable else { return Poll::Ready(frame.map(Ok)) };
            let passed = match frame {
                None if filter.is_empty() => return Poll::Ready(None),
                None => filter.rest(),
                Some(frame) => match frame.into_data() {
                    Ok(data) => filter.pass(&data),
                    Err(frame) => return Poll::Ready(Some(Ok(frame))),
                },
            };
            // All of a short piece may have been kept.
            if !passed.is_empty() {
                return Poll::Ready(Some(Ok(Frame::data(passed.into()))));
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream() && self.unwritable.as_ref().is_none_or(Unwritable::is_empty)
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
