//! Confirmation by typing, where data is lost. Elsewhere offer an undo instead.

use leptos::html;
use leptos::prelude::*;

/// A button that opens a dialog; what it does is done once `word` has been typed:
///
/// ```text
/// <ConfirmButton label="Delete host" title="Delete host build-07?" word="build-07"
///     on_confirm=move |()| { delete.dispatch(host.id); }>
///     <p>"Its machines and their history are deleted. Running sessions end now."</p>
/// </ConfirmButton>
/// ```
#[component]
pub fn ConfirmButton(
    #[prop(into)] label: String,
    #[prop(into)] title: String,
    #[prop(into)] word: String,
    #[prop(into)] on_confirm: Callback<()>,
    children: Children,
) -> impl IntoView {
    let dialog = NodeRef::<html::Dialog>::new();
    let typed = RwSignal::new(String::new());
    let (expected, prompt) = (word.clone(), word);
    let opener = label.clone();
    let (name, heading) = (title.clone(), title);
    let matches = Memo::new(move |_| typed.get() == expected);
    let open = move |_| {
        typed.set(String::new());
        if let Some(dialog) = dialog.get()
            && dialog.show_modal().is_err()
        {
            leptos::logging::warn!("the dialog is open already");
        }
    };
    let close = move || {
        if let Some(dialog) = dialog.get() {
            dialog.close();
        }
    };
    // No form of its own: the button may stand in one.
    let confirm = move || {
        if matches.get_untracked() {
            close();
            on_confirm.run(());
        }
    };
    let keydown = move |event: leptos::ev::KeyboardEvent| {
        if event.key() == "Enter" {
            event.prevent_default();
            confirm();
        }
    };
    view! {
            <button type="button" class="button danger" aria-haspopup="dialog" on:click=open>{opener}</button>
            <dialog class="dialog" node_ref=dialog aria-label=name>
                <div class="dialog-body">
                    <h2>{heading}</h2>
                    {children()}
                    <div class="field">
                        <label>
                            "Type "<code>{prompt}</code>" to confirm"
                            <input class="input mono" type="text" autocomplete="off" on:keydown=keydown
    prop:value=typed on:input:target=move |event| typed.set(event.target().value())/>
                        </label>
                    </div>
                    <div class="dialog-actions">
                        <button type="button" class="button" on:click=move |_| close()>"Cancel"</button>
                        <button type="button" class="button danger primary" disabled=move || !matches.get() on:click=move |_| confirm()>{label}</button>
                    </div>
                </div>
            </dialog>
        }
}
