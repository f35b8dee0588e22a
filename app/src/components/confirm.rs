//! Confirmation where data is lost, by typing where it is more than one's own. Elsewhere offer an undo instead.

use leptos::prelude::*;

use super::field::TextField;
use super::icon::Icon;

/// A button that opens a form in a dialog. The form ends with [`ConfirmButtons`], or holds a [`ConfirmWord`], and what it is
/// sent to checks the word, so that all of it works without JavaScript. `id` is unique on the page:
///
/// ```text
/// <Confirm id="delete" label="Delete" title="Delete host build-07?">
///     <SubmitForm to=deleting class="form">
///         <input type="hidden" name="host" value=id/>
///         <p>"Its machines and their history are deleted. Running sessions end now."</p>
///         <ConfirmWord id="delete" label="Delete" word="build-07" error/>
///     </SubmitForm>
/// </Confirm>
/// ```
#[component]
pub fn Confirm(
    id: &'static str,
    label: &'static str,
    #[prop(optional)] icon: Option<&'static str>,
    #[prop(into)] title: String,
    children: Children,
) -> impl IntoView {
    let heading = format!("{id}-title");
    view! {
        <button type="button" class="button danger" popovertarget=id aria-haspopup="dialog">
            {icon.map(|name| view! { <Icon name/> })}
            {label}
        </button>
        <div class="dialog" id=id popover="auto" role="dialog" aria-labelledby=heading.clone()>
            <div class="dialog-body">
                <h2 id=heading.clone()>{title}</h2>
                {children()}
            </div>
        </div>
    }
}

/// The field for the word, as `confirm`, and the buttons of a [`Confirm`] of this `id`.
#[component]
pub fn ConfirmWord(
    id: &'static str,
    label: &'static str,
    #[prop(into)] word: String,
    #[prop(into)] error: Signal<Option<String>>,
) -> impl IntoView {
    view! {
        <TextField name="confirm" id=format!("{id}-word") label=format!("Type {word} to confirm") mono=true autocomplete="off"
            pattern=literal(&word) error/>
        <ConfirmButtons id label/>
    }
}

/// The buttons of a [`Confirm`] of this `id`.
#[component]
pub fn ConfirmButtons(id: &'static str, label: &'static str) -> impl IntoView {
    view! {
        <div class="dialog-actions">
            <button type="button" class="button" popovertarget=id popovertargetaction="hide">"Cancel"</button>
            <button type="submit" class="button danger primary">{label}</button>
        </div>
    }
}

/// A pattern of an `<input>` that only this text fits.
fn literal(text: &str) -> String {
    let mut pattern = String::with_capacity(text.len() + 8);
    for letter in text.chars() {
        if r"^$\.*+?()[]{}|/".contains(letter) {
            pattern.push('\\');
        }
        pattern.push(letter);
    }
    pattern
}

#[cfg(test)]
mod tests {
    use super::literal;

    #[test]
    fn what_a_pattern_would_read_is_escaped() {
        assert_eq!(literal("build-07.lab"), r"build-07\.lab");
        assert_eq!(literal("a/b (c)"), r"a\/b \(c\)");
    }
}
