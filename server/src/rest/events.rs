//! `GET /events`: live state as server-sent events (D6).

use std::{collections::BTreeMap, convert::Infallible, time::Duration};

use api::hosts::HostReading;
use axum::{
    extract::State,
    http::HeaderMap,
    response::sse::{Event as SseEvent, KeepAlive, Sse},
};
use domain::{
    access::Action,
    events::{Event, EventKind},
    hosts::HostMetrics,
    ids::{HostId, TenantId},
};
use futures_util::Stream;
use serde::Deserialize;
use services::{Call, Error, live};
use tokio::sync::broadcast::{self, error::RecvError};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{caller::Caller, extract::Ask, failure::Failure, state::AppState};

/// How often a stream asks whether its reader may still read; besides with each event that may mean that they may not.
const RECHECK: Duration = Duration::from_millis(900);

/// How often hosts' readings are told on one stream, and of how many hosts at a time.
const METRICS_PERIOD: Duration = Duration::from_secs(2);
const MAX_METRICS: usize = 500;

pub fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(stream))
}

#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct StreamQuery {
    /// As Last-Event-ID, for the first connection: the revision of the snapshot that the reader has.
    after: Option<i64>,
    /// Whether hosts' readings are wanted as well, and how.
    #[param(inline)]
    metrics: Option<MetricsWanted>,
}

/// How much of hosts' readings is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "kebab-case")]
enum MetricsWanted {
    /// That there are new ones: for who fetches them anew.
    Any,
    /// Each, with its figures.
    Each,
}

/// Live events of the tenant.
///
/// With `metrics=each` there is besides, every two seconds at most, a `change` of kind `host-metrics` for each host that
/// sent a reading, with the reading beside it: `{kind, subject, word, at, reading}`; with `metrics=any` one such event for all
/// of them, which names one host and has no reading. They are stored nowhere and have no `id`.
///
/// `id` is the revision; `event` is `change` with data `{kind, subject, word, at}`, or `gap`: fetch everything anew.
/// The first event is `hello` with the revision up to which all is known. Send Last-Event-ID (or `after`) to go on. Who is
/// signed out, locked, or came with a token that is revoked gets `end` with `{reason}`, and nothing after it.
#[utoipa::path(
    get, path = "/events", tag = "events", operation_id = "stream_events", params(StreamQuery),
    responses((status = 200, description = "A stream that does not end", content_type = "text/event-stream"))
)]
async fn stream(
    State(state): State<AppState>,
    Caller(call): Caller,
    Ask(query): Ask<StreamQuery>,
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
    let metrics = query.metrics.map(|wanted| Metrics::new(&state, &call, wanted)).transpose()?;
    Ok(Sse::new(events(state, call, subscription, metrics)).keep_alive(keep_alive))
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

fn end(why: live::Ousted) -> SseEvent {
    SseEvent::default().event("end").data(serde_json::json!({ "reason": why.to_string() }).to_string())
}

/// Hosts' readings for one stream: the newest of each host, told together once in a while.
struct Metrics {
    wanted: MetricsWanted,
    coming: broadcast::Receiver<live::Reading>,
    newest: BTreeMap<HostId, HostMetrics>,
    ticks: tokio::time::Interval,
}

impl Metrics {
    fn new(state: &AppState, call: &Call, wanted: MetricsWanted) -> Result<Self, Error> {
        call.permit(Action::HostsRead)?;
        let mut ticks = tokio::time::interval(METRICS_PERIOD);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        Ok(Self { wanted, coming: state.services.live().readings(), newest: BTreeMap::new(), ticks })
    }

    /// What is to be told now. Safe to cancel.
    async fn due(&mut self, tenant: TenantId) -> Vec<SseEvent> {
        loop {
            tokio::select! {
                _ = self.ticks.tick() => {
                    if !self.newest.is_empty() {
                        let told = match self.wanted {
                            MetricsWanted::Any => 1,
                            MetricsWanted::Each => usize::MAX,
                        };
                        let wanted = self.wanted;
                        let newest = std::mem::take(&mut self.newest).into_iter().take(told);
                        return newest.map(|(host, metrics)| reading(host, metrics, wanted)).collect();
                    }
                }
                reading = self.coming.recv() => match reading {
                    Ok(reading) if reading.tenant == tenant => {
                        let is_known = self.newest.contains_key(&reading.host);
                        // Of a great many hosts a page shows a few: those beyond come with their next reading.
                        if is_known || self.newest.len() < MAX_METRICS {
                            self.newest.insert(reading.host, reading.metrics);
                        }
                    }
                    Ok(_) | Err(RecvError::Lagged(_)) => {}
                    Err(RecvError::Closed) => return std::future::pending().await,
                },
            }
        }
    }
}

async fn due(metrics: &mut Option<Metrics>, tenant: TenantId) -> Vec<SseEvent> {
    match metrics {
        Some(metrics) => metrics.due(tenant).await,
        None => std::future::pending().await,
    }
}

fn reading(host: HostId, metrics: HostMetrics, wanted: MetricsWanted) -> SseEvent {
    let at = jiff::Timestamp::from_millisecond(metrics.at_ms).unwrap_or_default().to_string();
    let mut data = serde_json::json!({
        "kind": EventKind::HostMetrics.word(), "subject": host.uuid(), "word": "reading", "at": at,
    });
    match wanted {
        MetricsWanted::Any => {}
        MetricsWanted::Each => data["reading"] = serde_json::json!(HostReading::from(metrics)),
    }
    SseEvent::default().event("change").data(data.to_string())
}

/// What is still to be done on one stream.
struct Reader {
    metrics: Option<Metrics>,
    is_over: bool,
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
    metrics: Option<Metrics>,
) -> impl Stream<Item = Result<SseEvent, Infallible>> {
    let mut ready = std::collections::VecDeque::new();
    if subscription.gap {
        ready.push_back(named("gap", subscription.revision));
    }
    ready.extend(subscription.missed.iter().map(change));
    ready.push_back(named("hello", subscription.revision));
    let mut recheck = tokio::time::interval(RECHECK);
    recheck.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let reader = Reader { metrics, is_over: false, state, call, subscription, ready, recheck };
    futures_util::stream::unfold(reader, |mut reader| async move {
        let event = reader.next().await?;
        Some((Ok(event), reader))
    })
}

impl Reader {
    /// The last event says why the reader is out.
    async fn check(&mut self) {
        if let Some(why) = live::ousted(&self.state.services, &self.call).await {
            self.ready.clear();
            self.ready.push_back(end(why));
            self.is_over = true;
        }
    }

    async fn next(&mut self) -> Option<SseEvent> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Some(event);
            }
            if self.is_over {
                return None;
            }
            tokio::select! {
                () = self.state.stop.cancelled() => return None,
                _ = self.recheck.tick() => self.check().await,
                readings = due(&mut self.metrics, self.subscription.tenant) => self.ready.extend(readings),
                event = self.subscription.events.recv() => match event {
                    Ok(event) if event.tenant == self.subscription.tenant && event.revision > self.subscription.revision => {
                        if live::concerns_caller(&event, &self.call) {
                            self.check().await;
                            if self.is_over {
                                continue;
                            }
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
