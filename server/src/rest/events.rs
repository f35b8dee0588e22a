//! `GET /events`: live state as server-sent events (D6).

use std::{convert::Infallible, time::Duration};

use axum::{
    extract::{Query, State},
    http::HeaderMap,
    response::sse::{Event as SseEvent, KeepAlive, Sse},
};
use domain::events::{Event, EventKind};
use futures_util::Stream;
use serde::Deserialize;
use services::{Call, Error, live};
use tokio::sync::broadcast::error::RecvError;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{caller::Caller, failure::Failure, state::AppState};

/// How often a stream asks whether its reader may still read.
const RECHECK: Duration = Duration::from_secs(2);

pub fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(stream))
}

#[derive(Debug, Deserialize, utoipa::IntoParams)]
struct StreamQuery {
    /// As Last-Event-ID, for the first connection: the revision of the snapshot that the reader has.
    after: Option<i64>,
}

/// Live events of the tenant.
///
/// `id` is the revision; `event` is `change` with data `{kind, subject, word, at}`, or `gap`: fetch everything anew.
/// The first event is `hello` with the revision up to which all is known. Send Last-Event-ID (or `after`) to go on.
#[utoipa::path(
    get, path = "/events", tag = "events", operation_id = "stream_events", params(StreamQuery),
    responses((status = 200, description = "A stream that does not end", content_type = "text/event-stream"))
)]
async fn stream(
    State(state): State<AppState>,
    Caller(call): Caller,
    Query(query): Query<StreamQuery>,
    headers: HeaderMap,
) -> Result<Sse<impl Stream<Item = Result<SseEvent, Infallible>>>, Failure> {
    let last = match headers.get("last-event-id") {
        None => query.after,
        Some(id) => Some(
            id.to_str()
                .ok()
                .and_then(|id| id.parse().ok())
                .ok_or_else(|| Error::invalid("Last-Event-ID", "is no revision; leave it away to begin now"))?,
        ),
    };
    let subscription = live::subscribe(&state.services, &call, last).await?;
    let keep_alive = KeepAlive::new().interval(Duration::from_secs(10)).text("alive");
    Ok(Sse::new(events(state, call, subscription)).keep_alive(keep_alive))
}

fn named(name: &str, revision: i64) -> SseEvent {
    SseEvent::default().event(name).id(revision.to_string()).data(format!("{{\"revision\":{revision}}}"))
}

fn change(event: &Event) -> SseEvent {
    let data = serde_json::json!({
        "kind": event.kind.word(), "subject": event.subject, "word": event.word, "at": event.at.to_string(),
    });
    SseEvent::default().event("change").id(event.revision.to_string()).data(data.to_string())
}

/// What is still to be done on one stream.
struct Reader {
    state: AppState,
    call: Call,
    subscription: live::Subscription,
    ready: std::collections::VecDeque<SseEvent>,
    recheck: tokio::time::Interval,
}

fn events(
    state: AppState,
    call: Call,
    subscription: live::Subscription,
) -> impl Stream<Item = Result<SseEvent, Infallible>> {
    let mut ready = std::collections::VecDeque::new();
    if subscription.gap {
        ready.push_back(named("gap", subscription.revision));
    }
    ready.extend(subscription.missed.iter().map(change));
    ready.push_back(named("hello", subscription.revision));
    let mut recheck = tokio::time::interval(RECHECK);
    recheck.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let reader = Reader { state, call, subscription, ready, recheck };
    futures_util::stream::unfold(reader, |mut reader| async move {
        let event = reader.next().await?;
        Some((Ok(event), reader))
    })
}

impl Reader {
    async fn next(&mut self) -> Option<SseEvent> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Some(event);
            }
            tokio::select! {
                () = self.state.stop.cancelled() => return None,
                _ = self.recheck.tick() => {
                    if !self.state.may_still(&self.call).await {
                        return None;
                    }
                }
                event = self.subscription.events.recv() => match event {
                    Ok(event) if event.tenant == self.subscription.tenant && event.revision > self.subscription.revision => {
                        // It may be the reader's own lock, sign-out or token that changed.
                        if matches!(event.kind, EventKind::Person | EventKind::Token)
                            && !self.state.may_still(&self.call).await
                        {
                            return None;
                        }
                        self.ready.push_back(change(&event));
                    }
                    Ok(_) => {}
                    Err(RecvError::Lagged(_)) => {
                        let newest = live::revision(&self.state.services, &self.call).await.ok()?;
                        self.subscription.revision = newest;
                        self.ready.push_back(named("gap", newest));
                    }
                    Err(RecvError::Closed) => return None,
                },
            }
        }
    }
}
