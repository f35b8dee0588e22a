//! The browser's clock, for what a page counts in front of the reader ("4 min ago").

use jiff::Timestamp;
use leptos::prelude::*;

/// Hosts send a reading every five seconds.
const BEAT: std::time::Duration = std::time::Duration::from_secs(5);

const QUICK_BEAT: std::time::Duration = std::time::Duration::from_secs(1);

/// The attribute of `<html>` with the time at which the server made the document, in seconds since 1970.
pub(crate) const ATTRIBUTE: &str = "data-now";

/// Now, to the second. It begins with the time at which the document was made, so that both first renders are the same.
#[derive(Clone, Copy)]
pub struct Now(ReadSignal<Option<Timestamp>>);

/// When the server made this document; the server leaves it in the context, the browser finds it in the document.
#[derive(Clone, Copy)]
pub(crate) struct Made(pub Timestamp);

/// The server's time, to the second.
#[cfg(feature = "ssr")]
pub(crate) fn from_request() -> Option<Made> {
    let now = use_context::<services::Services>()?.clock().now();
    Timestamp::from_second(now.as_second()).ok().map(Made)
}

/// From the document that the server made.
pub(crate) fn from_document() -> Option<Made> {
    let text = document().document_element()?.get_attribute(ATTRIBUTE)?;
    Timestamp::from_second(text.parse().ok()?).ok().map(Made)
}

/// Makes the clock and starts it in the browser. Called once, by the frame.
pub(crate) fn provide() {
    let (now, set_now) = signal(use_context::<Made>().map(|Made(at)| at));
    provide_context(Now(now));
    Effect::new(move || {
        let tick = move || set_now.set(browser_time());
        tick();
        let handle = set_interval_with_handle(tick, std::time::Duration::from_secs(1)).ok();
        on_cleanup(move || {
            if let Some(handle) = handle {
                handle.clear();
            }
        });
    });
}

/// The ticking time. Read it inside a closure or memo that changes seldom, or what reads it runs each second.
pub fn use_now() -> Signal<Option<Timestamp>> {
    match use_context::<Now>() {
        Some(Now(now)) => now.into(),
        None => Signal::stored(None),
    }
}

/// Rises every few seconds while somebody looks at the page: for what is measured, of which the server tells nobody.
/// On the server and until the page is alive it is 0.
pub fn use_beat() -> Signal<u64> {
    beat(Signal::stored(true), BEAT)
}

/// As [`use_beat`], every second while something is `awaited` that comes soon.
pub fn use_quick_beat(awaited: Signal<bool>) -> Signal<u64> {
    beat(awaited, QUICK_BEAT)
}

fn beat(goes: Signal<bool>, period: std::time::Duration) -> Signal<u64> {
    let beat = RwSignal::new(0_u64);
    Effect::new(move || {
        if !goes.get() {
            return;
        }
        let tick = move || {
            if !document().hidden() {
                beat.update(|beat| *beat += 1);
            }
        };
        let handle = set_interval_with_handle(tick, period).ok();
        on_cleanup(move || {
            if let Some(handle) = handle {
                handle.clear();
            }
        });
    });
    beat.into()
}

/// The browser's time; only in the browser.
#[expect(clippy::cast_possible_truncation, reason = "Date.now() is a whole number of milliseconds")]
pub(crate) fn browser_time() -> Option<Timestamp> {
    Timestamp::from_millisecond(js_sys::Date::now() as i64).ok()
}
