//! Copying to the clipboard.

use leptos::prelude::*;

use super::icon::Icon;

/// A button that copies `text`; the word on it says when it has. `what` completes "Copy …" for a screen reader.
#[component]
pub fn CopyButton(#[prop(into)] text: Signal<String>, #[prop(into)] what: String) -> impl IntoView {
    let copied = RwSignal::new(false);
    let copy = move |_| {
        let writing = window().navigator().clipboard().write_text(&text.get_untracked());
        leptos::task::spawn_local(async move {
            if wasm_bindgen_futures::JsFuture::from(writing).await.is_ok() {
                copied.set(true);
                set_timeout(move || copied.set(false), std::time::Duration::from_secs(2));
            }
        });
    };
    view! {
        <button type="button" class="button quiet small" on:click=copy aria-label=format!("Copy {what}")>
            <Icon name=Signal::derive(move || if copied.get() { "check" } else { "copy" })/>
            <span aria-live="polite">{move || if copied.get() { "Copied" } else { "Copy" }}</span>
        </button>
    }
}

/// A secret that is shown once, with its copy button.
#[component]
pub fn Secret(#[prop(into)] text: String, #[prop(into)] what: String) -> impl IntoView {
    view! {
        <div class="secret">
            <code>{text.clone()}</code>
            <CopyButton text=Signal::stored(text) what/>
        </div>
    }
}
