//! The browser's clock, for what a page counts in front of the reader ("4 min ago").

use jiff::Timestamp;
use leptos::prelude::*;

/// Now, to the second; `None` on the server and until the page is alive, so that both first renders are the same.
#[derive(Clone, Copy)]
pub struct Now(ReadSignal<Option<Timestamp>>);

/// Makes the clock and starts it in the browser. Called once, by the frame.
pub(crate) fn provide() {
    let (now, set_now) = signal(None);
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

/// The browser's time; only in the browser.
#[expect(clippy::cast_possible_truncation, reason = "Date.now() is a whole number of milliseconds")]
pub(crate) fn browser_time() -> Option<Timestamp> {
    Timestamp::from_millisecond(js_sys::Date::now() as i64).ok()
}
