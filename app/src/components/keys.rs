//! Keys that hold everywhere, and the sheet that lists them.

use leptos::ev;
use leptos::html;
use leptos::prelude::*;
use wasm_bindgen::JsCast as _;
use web_sys::{HtmlElement, KeyboardEvent};

/// Listens for the keys that [`KeysSheet`] lists.
pub(crate) fn listen(palette: RwSignal<bool>, sheet: RwSignal<bool>) {
    Effect::new(move || {
        let handle = window_event_listener(ev::keydown, move |event: KeyboardEvent| {
            if event.key().eq_ignore_ascii_case("k") && (event.ctrl_key() || event.meta_key()) {
                // A terminal keeps its keys.
                if !in_terminal(&event) {
                    event.prevent_default();
                    palette.update(|open| *open = !*open);
                }
            } else if event.ctrl_key() || event.meta_key() || event.alt_key() || typing(&event) {
            } else if event.key() == "?" {
                event.prevent_default();
                sheet.set(true);
            } else if event.key() == "/" && focus_search() {
                event.prevent_default();
            }
        });
        on_cleanup(move || handle.remove());
    });
}

fn target(event: &KeyboardEvent) -> Option<HtmlElement> {
    event.target()?.dyn_into().ok()
}

fn typing(event: &KeyboardEvent) -> bool {
    target(event).is_some_and(|element| element.matches("input, textarea, select, [contenteditable]").unwrap_or(false))
}

fn in_terminal(event: &KeyboardEvent) -> bool {
    target(event).is_some_and(|element| element.closest("berth-terminal").is_ok_and(|found| found.is_some()))
}

fn focus_search() -> bool {
    let field = document().query_selector("[data-search]").ok().flatten();
    field.and_then(|field| field.dyn_into::<HtmlElement>().ok()).is_some_and(|field| field.focus().is_ok())
}

/// Opens and closes a dialog as `open` says, and tells `open` when the browser closed it (Esc).
pub(crate) fn bind_dialog(dialog: NodeRef<html::Dialog>, open: RwSignal<bool>) {
    Effect::new(move || {
        let Some(dialog) = dialog.get() else {
            return;
        };
        match (open.get(), dialog.open()) {
            (true, false) => {
                if dialog.show_modal().is_err() {
                    leptos::logging::warn!("the dialog does not open");
                }
            }
            (false, true) => dialog.close(),
            (true, true) | (false, false) => {}
        }
    });
}

/// The list of keys; `?` opens it.
#[component]
pub fn KeysSheet(open: RwSignal<bool>) -> impl IntoView {
    let dialog = NodeRef::<html::Dialog>::new();
    bind_dialog(dialog, open);
    let keys: [(&[&str], &str); 6] = [
        (&["Ctrl", "K"], "Go to a page or find a command"),
        (&["/"], "Search in this list"),
        (&["?"], "This list"),
        (&["Esc"], "Close what is open"),
        (&["Tab"], "Next control; a timeline is one stop"),
        (&["↑", "↓", "←", "→"], "Move within a timeline or a list; Enter opens"),
    ];
    let rows = keys.map(|(keys, what)| {
        view! {
            <dt>{keys.iter().map(|key| view! { <kbd>{*key}</kbd> }).collect_view()}</dt>
            <dd>{what}</dd>
        }
    });
    view! {
        <dialog class="dialog" node_ref=dialog aria-labelledby="keys-title" on:close=move |_| open.set(false)>
            <div class="dialog-body">
                <h2 id="keys-title">"Keys"</h2>
                <dl class="keys">{rows.collect_view()}</dl>
                <div class="dialog-actions">
                    <button type="button" class="button" on:click=move |_| open.set(false)>"Close"</button>
                </div>
            </div>
        </dialog>
    }
}
