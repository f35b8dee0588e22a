//! Live state: one stream of events for the tab, and what listens to it (docs/decisions, D6).

use std::collections::HashMap;
use std::time::Duration;

use domain::events::EventKind;
use jiff::Timestamp;
use leptos::prelude::*;
use serde::Deserialize;
use wasm_bindgen::JsCast as _;
use wasm_bindgen::closure::Closure;
use web_sys::{EventSource, MessageEvent};

use crate::clock::browser_time;

/// Besides what is stored, that hosts sent new readings: pages that show them fetch them anew.
const ADDRESS: &str = "/api/v1/events?metrics=any";
/// Events that come close together make one refetch.
const COALESCE: Duration = Duration::from_millis(120);
const FIRST_RETRY_MS: u64 = 1_000;
const LAST_RETRY_MS: u64 = 30_000;

/// The attribute of `<html>` with the revision that the document covers.
pub(crate) const ATTRIBUTE: &str = "data-revision";

/// What the document covers at least: the stream goes on from there, so that nothing is missed between the two. The server
/// leaves it in the context of a page.
#[derive(Debug, Clone, Copy)]
pub struct Revision(pub i64);

/// From the document that the server made.
fn from_document() -> Option<i64> {
    document().document_element()?.get_attribute(ATTRIBUTE)?.parse().ok()
}

/// Whether the page follows the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Following {
    /// Not started: on the server, or nobody is signed in.
    No,
    Live,
    /// What the page shows is of `since`.
    Lost {
        since: Timestamp,
    },
}

/// What the stream says, as far as pages need it.
#[derive(Deserialize)]
struct Told {
    kind: EventKind,
}

#[derive(Clone, Copy)]
struct Feed {
    /// How often each kind changed since the page came alive.
    counts: RwSignal<HashMap<EventKind, u64>>,
    /// Times at which everything has to be fetched anew: events were missed.
    gaps: RwSignal<u64>,
    following: RwSignal<Following>,
}

/// A number that rises whenever something of these kinds changed. Make it the source of a resource:
///
/// ```text
/// let live = use_live(&[EventKind::Machine, EventKind::Session]);
/// let machines = Data::new(|| List {}, move || live.get());
/// view! { <Transition fallback=|| view! { <Skeleton/> }>...</Transition> }
/// ```
///
/// `Transition` keeps what is shown until the new state is there. On the server and until something changes it is 0.
pub fn use_live(kinds: &'static [EventKind]) -> Signal<u64> {
    let Some(feed) = use_context::<Feed>() else {
        return Signal::stored(0);
    };
    Memo::new(move |_| {
        let changes: u64 =
            feed.counts.with(|counts| kinds.iter().map(|kind| counts.get(kind).copied().unwrap_or(0)).sum());
        changes + feed.gaps.get()
    })
    .into()
}

/// Whether the page follows the server, for the banner that says how old the state is.
pub fn use_following() -> Signal<Following> {
    match use_context::<Feed>() {
        Some(feed) => feed.following.into(),
        None => Signal::stored(Following::No),
    }
}

/// Makes the feed, and starts it in the browser when somebody is signed in. Called once, by the frame.
pub(crate) fn provide(signed_in: Option<()>) {
    let feed =
        Feed { counts: RwSignal::new(HashMap::new()), gaps: RwSignal::new(0), following: RwSignal::new(Following::No) };
    provide_context(feed);
    // The server opens no stream, and may drop what is local to a thread on another: that panics.
    if signed_in.is_none() || !cfg!(feature = "hydrate") {
        return;
    }
    let stream = StoredValue::new_local(None::<Stream>);
    Effect::new(move || connect(feed, stream, from_document(), FIRST_RETRY_MS));
    on_cleanup(move || {
        stream.try_update_value(|stream| drop(stream.take()));
    });
}

/// An open stream and the closures that the browser calls for it; dropping it closes the stream.
struct Stream {
    source: EventSource,
    _opened: Closure<dyn FnMut()>,
    _failed: Closure<dyn FnMut()>,
    _hello: Closure<dyn FnMut(MessageEvent)>,
    _gap: Closure<dyn FnMut(MessageEvent)>,
    _message: Closure<dyn FnMut(MessageEvent)>,
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.source.set_onopen(None);
        self.source.set_onerror(None);
        self.source.close();
    }
}

/// Opens the stream, from `revision` on where one is known. The browser itself comes back after a lost connection,
/// with Last-Event-ID; when it gives up (the server answered with an error) this tries again later and later.
fn connect(feed: Feed, stream: StoredValue<Option<Stream>, LocalStorage>, revision: Option<i64>, retry_ms: u64) {
    let address = revision.map_or_else(|| ADDRESS.to_owned(), |revision| format!("{ADDRESS}&after={revision}"));
    let Ok(source) = EventSource::new(&address) else {
        return;
    };
    let seen = StoredValue::new_local(revision);
    let pending = StoredValue::new_local(Vec::<EventKind>::new());

    let opened = Closure::<dyn FnMut()>::new(move || {
        feed.following.set(Following::Live);
    });
    let message = Closure::<dyn FnMut(MessageEvent)>::new(move |event: MessageEvent| {
        seen.set_value(event.last_event_id().parse().ok());
        let Some(told) = event.data().as_string().and_then(|text| serde_json::from_str::<Told>(&text).ok()) else {
            return;
        };
        let first = pending.try_update_value(|pending| {
            pending.push(told.kind);
            pending.len() == 1
        });
        if first == Some(true) {
            set_timeout(
                move || {
                    let kinds = pending.try_update_value(std::mem::take).unwrap_or_default();
                    feed.counts.update(|counts| {
                        for kind in kinds {
                            *counts.entry(kind).or_default() += 1;
                        }
                    });
                },
                COALESCE,
            );
        }
    });
    let hello = Closure::<dyn FnMut(MessageEvent)>::new(move |event: MessageEvent| {
        seen.set_value(event.last_event_id().parse().ok());
    });
    let gap = Closure::<dyn FnMut(MessageEvent)>::new(move |event: MessageEvent| {
        seen.set_value(event.last_event_id().parse().ok());
        feed.gaps.update(|gaps| *gaps += 1);
    });
    let closing = source.clone();
    let failed = Closure::<dyn FnMut()>::new(move || {
        if !matches!(feed.following.get_untracked(), Following::Lost { .. })
            && let Some(since) = browser_time()
        {
            feed.following.set(Following::Lost { since });
        }
        if closing.ready_state() == EventSource::CLOSED {
            let from = seen.get_value();
            let again = move || connect(feed, stream, from, (retry_ms * 2).min(LAST_RETRY_MS));
            set_timeout(again, Duration::from_millis(retry_ms));
        }
    });
    source.set_onopen(Some(opened.as_ref().unchecked_ref()));
    source.set_onerror(Some(failed.as_ref().unchecked_ref()));
    listen(&source, "hello", &hello);
    listen(&source, "change", &message);
    listen(&source, "gap", &gap);
    let open = Stream { source, _opened: opened, _failed: failed, _hello: hello, _gap: gap, _message: message };
    // The failed closure of the stream that this replaces may be running: let go of it afterwards.
    let old = stream.try_update_value(|stream| stream.replace(open));
    set_timeout(move || drop(old), Duration::ZERO);
}

fn listen(source: &EventSource, name: &str, handler: &Closure<dyn FnMut(MessageEvent)>) {
    if source.add_event_listener_with_callback(name, handler.as_ref().unchecked_ref()).is_err() {
        leptos::logging::warn!("cannot listen for {name}");
    }
}
