//! Empty states.

use leptos::prelude::*;

use super::icon::Icon;

/// What this is, why it is empty, and the one action:
///
/// ```text
/// <Empty icon="sessions" title="No sessions yet">
///     <p>"A session is the environment that runs on a machine while you have it booked."</p>
///     <a class="button primary" href="/reserve">"Book a machine"</a>
/// </Empty>
/// ```
#[component]
pub fn Empty(icon: &'static str, #[prop(into)] title: String, children: Children) -> impl IntoView {
    view! {
        <div class="empty">
            <Icon name=icon/>
            <h2>{title}</h2>
            {children()}
        </div>
    }
}
