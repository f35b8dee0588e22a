//! The banner that says how old the page's state is.

use leptos::prelude::*;

use super::icon::Icon;
use super::time::{Ago, Time};
use crate::live::{Following, use_following};

/// Shown while the stream of events is down.
#[component]
pub fn StaleBanner() -> impl IntoView {
    let following = use_following();
    view! {
        <div aria-live="polite">
            {move || match following.get() {
                Following::No | Following::Live => None,
                Following::Lost { since } => Some(view! {
                    <div class="banner stale">
                        <Icon name="offline"/>
                        <span>
                            "No connection to the server. What you see is of "<Time at=since seconds=true/>" ("<Ago at=since/>"). Trying again."
                        </span>
                    </div>
                }),
            }}
        </div>
    }
}
