//! Fields of forms: label, control, hint, and the error beside it.

use leptos::prelude::*;

use super::icon::Icon;

/// One line of text, or any other `<input>` by `kind` (`email`, `password`, `number`, `datetime-local`, `search`):
///
/// ```text
/// <TextField name="name" label="Name" hint="Letters, digits and dashes." error=error_of("name")/>
/// ```
#[component]
pub fn TextField(
    /// The field's name in the form; its id is the same, so it must be unique on the page or `id` be given.
    name: &'static str,
    #[prop(into)] label: String,
    #[prop(default = "text")] kind: &'static str,
    #[prop(optional, into)] id: Option<String>,
    #[prop(optional, into)] value: String,
    #[prop(optional, into)] hint: Option<String>,
    #[prop(optional, into)] error: Signal<Option<String>>,
    #[prop(optional)] optional: bool,
    #[prop(optional, into)] placeholder: Option<String>,
    #[prop(optional, into)] autocomplete: Option<&'static str>,
    #[prop(optional, into)] min: Option<String>,
    #[prop(optional, into)] max: Option<String>,
    #[prop(optional)] max_length: Option<u32>,
    /// What the browser lets through, as a regular expression; the server checks by itself.
    #[prop(optional, into)]
    pattern: Option<String>,
    /// For names, commands and labels that people read letter by letter.
    #[prop(optional)]
    mono: bool,
) -> impl IntoView {
    let id = id.unwrap_or_else(|| name.to_owned());
    let described = described_by(&id, hint.is_some());
    view! {
        <div class="field">
            <FieldLabel id=id.clone() label optional/>
            <input
                class=if mono { "input mono" } else { "input" }
                id=id.clone()
                name=name
                type=kind
                value=value
                placeholder=placeholder
                autocomplete=autocomplete
                min=min
                max=max
                maxlength=max_length.map(|length| length.to_string())
                pattern=pattern
                required=!optional
                aria-invalid=move || error.get().map(|_| "true")
                aria-describedby=described
            />
            <FieldNotes id hint error/>
        </div>
    }
}

/// Several lines of text; see [`TextField`].
#[component]
pub fn TextArea(
    name: &'static str,
    #[prop(into)] label: String,
    #[prop(optional, into)] value: String,
    #[prop(optional, into)] hint: Option<String>,
    #[prop(optional, into)] error: Signal<Option<String>>,
    #[prop(optional)] optional: bool,
    #[prop(optional, into)] placeholder: Option<String>,
    #[prop(default = 4)] rows: u8,
) -> impl IntoView {
    let described = described_by(name, hint.is_some());
    view! {
        <div class="field">
            <FieldLabel id=name.to_owned() label optional/>
            <textarea
                class="textarea mono"
                id=name
                name=name
                rows=rows.to_string()
                placeholder=placeholder
                required=!optional
                aria-invalid=move || error.get().map(|_| "true")
                aria-describedby=described
            >
                {value}
            </textarea>
            <FieldNotes id=name.to_owned() hint error/>
        </div>
    }
}

/// A choice of `(value, word)`; see [`TextField`].
#[component]
pub fn SelectField(
    name: &'static str,
    #[prop(into)] label: String,
    options: Vec<(String, String)>,
    #[prop(optional, into)] selected: String,
    #[prop(optional, into)] hint: Option<String>,
    #[prop(optional, into)] error: Signal<Option<String>>,
) -> impl IntoView {
    let described = described_by(name, hint.is_some());
    let options = options.into_iter().map(|(value, word)| {
        let chosen = value == selected;
        view! { <option value=value selected=chosen>{word}</option> }
    });
    view! {
        <div class="field">
            <FieldLabel id=name.to_owned() label optional=false/>
            <select class="select" id=name name=name aria-invalid=move || error.get().map(|_| "true") aria-describedby=described>
                {options.collect_view()}
            </select>
            <FieldNotes id=name.to_owned() hint error/>
        </div>
    }
}

/// A box to tick, with what it means beside it.
#[component]
pub fn CheckField(name: &'static str, #[prop(into)] label: String, #[prop(optional)] checked: bool) -> impl IntoView {
    view! {
        <label class="check">
            <input type="checkbox" name=name value="true" checked=checked/>
            <span>{label}</span>
        </label>
    }
}

/// The search field of a list. `/` puts the focus into the first on the page.
#[component]
pub fn SearchField(
    name: &'static str,
    #[prop(into)] label: String,
    #[prop(optional, into)] value: String,
    #[prop(optional, into)] placeholder: Option<String>,
) -> impl IntoView {
    view! {
        <div class="search" role="search">
            <Icon name="search"/>
            <input class="input" type="search" name=name value=value placeholder=placeholder aria-label=label data-search=""/>
        </div>
    }
}

#[component]
fn FieldLabel(id: String, label: String, optional: bool) -> impl IntoView {
    view! { <label for=id>{label}{optional.then(|| view! { <span class="optional">" (optional)"</span> })}</label> }
}

#[component]
fn FieldNotes(id: String, hint: Option<String>, error: Signal<Option<String>>) -> impl IntoView {
    let error_id = format!("{id}-error");
    view! {
        {hint.map(|hint| view! { <span class="hint" id=format!("{id}-hint")>{hint}</span> })}
        <span class="field-error" id=error_id role="alert" hidden=move || error.get().is_none()>
            <Icon name="error"/>
            <span>{move || error.get()}</span>
        </span>
    }
}

fn described_by(id: &str, hint: bool) -> String {
    if hint { format!("{id}-hint {id}-error") } else { format!("{id}-error") }
}
