//! A console as it comes. The work is done by the custom element `<berth-console>` of public/console.js.

use leptos::prelude::*;
use leptos_meta::Script;

use super::icon::Icon;

/// `<Console address="/api/v1/deployments/chat/console" label="Console of the deployment"/>`: what is kept of it, then what comes.
#[component]
pub fn Console(#[prop(into)] address: String, #[prop(into)] label: String) -> impl IntoView {
    view! {
        <Script type_="module" src="/console.js"/>
        <berth-console class="console" data-address=address>
            <div class="row between">
                <span class="soft" role="status" data-state=""></span>
                <button type="button" class="button small" data-clear=""><Icon name="close"/>"Clear"</button>
            </div>
            <noscript><p class="soft">"A live console needs JavaScript. “berth objects console” does without."</p></noscript>
            <div class="output console-lines" role="log" aria-label=label tabindex="0" data-lines=""></div>
        </berth-console>
    }
}
