//! The command palette: Ctrl+K, a few letters, Enter.

use leptos::html;
use leptos::prelude::*;
use leptos_router::hooks::use_navigate;

use super::icon::Icon;
use super::keys::bind_dialog;
use super::navigation::places;
use crate::viewer::Viewer;

/// Something that the palette offers: a place and the words that find it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Command {
    name: String,
    icon: &'static str,
    href: String,
}

/// Places, and a search over machines, sessions and hosts.
fn commands(viewer: &Viewer, typed: &str) -> Vec<Command> {
    let wanted = typed.trim().to_lowercase();
    let mut found: Vec<Command> = places(viewer)
        .filter(|place| subsequence(&wanted, &place.name.to_lowercase()))
        .map(|place| Command { name: place.name.to_owned(), icon: place.icon, href: place.href.to_owned() })
        .collect();
    if !wanted.is_empty() {
        found.push(Command {
            name: format!("Find machines like “{}”", typed.trim()),
            icon: "search",
            href: format!("/machines?q={}", js_sys::encode_uri_component(typed.trim())),
        });
    }
    found
}

/// Whether the letters of `wanted` come in `text` in this order.
fn subsequence(wanted: &str, text: &str) -> bool {
    let mut letters = text.chars();
    wanted.chars().filter(|letter| !letter.is_whitespace()).all(|wanted| letters.any(|letter| letter == wanted))
}

#[component]
pub fn Palette(open: RwSignal<bool>, viewer: Viewer) -> impl IntoView {
    let dialog = NodeRef::<html::Dialog>::new();
    bind_dialog(dialog, open);
    let typed = RwSignal::new(String::new());
    let chosen = RwSignal::new(0_usize);
    // Only when open: the server renders no list, and a closed palette costs nothing.
    let found = Memo::new(move |_| if open.get() { commands(&viewer, &typed.get()) } else { Vec::new() });
    // Not on the server, which may drop what is local to a thread on another: that panics.
    let navigate = cfg!(feature = "hydrate").then(|| StoredValue::new_local(use_navigate()));
    let go = move |index: usize| {
        if let Some(command) = found.with_untracked(|found| found.get(index).cloned()) {
            open.set(false);
            if let Some(navigate) = navigate {
                navigate.with_value(|navigate| navigate(&command.href, leptos_router::NavigateOptions::default()));
            }
        }
    };
    let keydown = move |event: leptos::ev::KeyboardEvent| {
        let last = found.with_untracked(|found| found.len().saturating_sub(1));
        match event.key().as_str() {
            "ArrowDown" => chosen.update(|chosen| *chosen = if *chosen >= last { 0 } else { *chosen + 1 }),
            "ArrowUp" => chosen.update(|chosen| *chosen = chosen.checked_sub(1).unwrap_or(last)),
            "Enter" => go(chosen.get_untracked()),
            _ => return,
        }
        event.prevent_default();
    };
    let options = move || {
        found
            .get()
            .into_iter()
            .enumerate()
            .map(|(index, command)| {
                view! {
                    <li
                        role="option"
                        id=format!("palette-{index}")
                        aria-selected=move || if chosen.get() == index { "true" } else { "false" }
                        on:click=move |_| go(index)
                        on:pointermove=move |_| chosen.set(index)
                    >
                        <Icon name=command.icon/>
                        {command.name}
                        <span class="hint">{command.href}</span>
                    </li>
                }
            })
            .collect_view()
    };
    let closed = move |_| {
        open.set(false);
        typed.set(String::new());
        chosen.set(0);
    };
    view! {
        <dialog class="palette" node_ref=dialog aria-label="Commands" on:close=closed>
            <input
                class="palette-input"
                type="text"
                role="combobox"
                aria-label="Go to or find"
                aria-expanded="true"
                aria-controls="palette-list"
                aria-activedescendant=move || format!("palette-{}", chosen.get())
                placeholder="Go to or find"
                autocomplete="off"
                prop:value=typed
                on:input:target=move |event| { typed.set(event.target().value()); chosen.set(0); }
                on:keydown=keydown
            />
            <ul role="listbox" id="palette-list" aria-label="Commands">{options}</ul>
            <p class="none" hidden=move || found.with(|found| !found.is_empty())>"Nothing has this name."</p>
        </dialog>
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_find_in_order() {
        let check = |wanted, text, found| assert_eq!(subsequence(wanted, text), found, "{wanted} in {text}");
        check("", "machines", true);
        check("mch", "machines", true);
        check("in st", "instructions", true);
        check("hm", "machines", false);
    }
}
