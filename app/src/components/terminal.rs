//! Terminals in the page. The work is done by the custom element `<berth-terminal>` of public/terminal.js, on the
//! vendored xterm.js: the browser ends it when it leaves the page.

use leptos::prelude::*;
use leptos_meta::Script;

use super::icon::Icon;

/// The most terminals side by side.
const MOST: usize = 6;

/// The terminals of a session, one at first: `<Terminals session=session.id.to_string()/>`. Show it only while the
/// session is active. Each comes back to its own shell after a lost connection or a reload.
#[component]
pub fn Terminals(#[prop(into)] session: String) -> impl IntoView {
    // The first is made once the page is alive: without JavaScript there is none.
    let open = RwSignal::new(Vec::<usize>::new());
    Effect::new(move || open.set(vec![1]));
    let add = move |_| {
        open.update(|open| {
            let free = (1..=MOST).find(|number| !open.contains(number));
            open.extend(free);
        });
    };
    view! {
        <Script type_="module" src="/terminal.js"/>
        <section class="terminals" aria-label="Terminals">
            <noscript><p class="soft">"A terminal in the page needs JavaScript. “berth shell” does without."</p></noscript>
            <For each=move || open.get() key=|number| *number let:number>
                <div class="terminal" data-session=session.clone() data-number=number.to_string()>
                    <div class="terminal-bar">
                        <Icon name="terminal"/>
                        <strong>"Terminal "{number}</strong>
                        <span class="terminal-state" role="status"></span>
                        <span class="grow"></span>
                        <button
                            type="button"
                            class="button quiet small"
                            data-close=""
                            aria-label=format!("Close terminal {number}")
                            on:click=move |_| open.update(|open| open.retain(|other| *other != number))
                        >
                            <Icon name="close"/>
                        </button>
                    </div>
                    <berth-terminal class="terminal-screen"></berth-terminal>
                </div>
            </For>
            <div>
                <button type="button" class="button" on:click=add disabled=move || { open.get().len() == MOST }>
                    <Icon name="plus"/>
                    "New terminal"
                </button>
            </div>
        </section>
    }
}
