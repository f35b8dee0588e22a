//! Icons of public/icons.svg, drawn for a 16 px grid.

use leptos::prelude::*;

/// `<Icon name="terminal"/>`: decoration beside a word. It says nothing to a screen reader.
#[component]
pub fn Icon(#[prop(into)] name: Signal<&'static str>) -> impl IntoView {
    let href = move || format!("/icons.svg#{}", name.get());
    view! { <svg class="icon" aria-hidden="true" viewBox="0 0 16 16"><use href=href></use></svg> }
}
