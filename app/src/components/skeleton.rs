//! What stands in for content that is on its way.

use leptos::prelude::*;

/// `<Suspense fallback=|| view! { <Skeleton/> }>`: grey lines, told to a screen reader as "Loading".
#[component]
pub fn Skeleton(#[prop(default = 5)] lines: u8) -> impl IntoView {
    view! {
        <div class="skeletons" role="status">
            <span class="visually-hidden">"Loading"</span>
            {(0..lines).map(|_| view! { <div class="skeleton"></div> }).collect_view()}
        </div>
    }
}
