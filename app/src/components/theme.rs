//! The choice of theme, in the account menu.

use leptos::prelude::*;

use super::icon::Icon;
use crate::functions::{Submission, SubmitForm};
use crate::preferences::{ChooseTheme, Theme, apply_theme, use_preferences};

/// Three buttons; without JavaScript each sends its form.
#[component]
pub fn ThemeSwitch() -> impl IntoView {
    let action = Submission::<ChooseTheme>::new();
    let chosen = use_preferences().theme;
    let buttons =
        [(Theme::Auto, "contrast", "As the system"), (Theme::Light, "sun", "Light"), (Theme::Dark, "moon", "Dark")];
    let buttons = buttons.map(|(theme, icon, word)| {
        let choose = move |event: leptos::ev::MouseEvent| {
            event.prevent_default();
            chosen.set(theme);
            apply_theme(theme);
        };
        view! {
            <button
                type="submit"
                name="theme"
                value=theme.word()
                aria-pressed=move || if chosen.get() == theme { "true" } else { "false" }
                on:click=choose
            >
                <Icon name=icon/>
                {word}
            </button>
        }
    });
    view! {
        <SubmitForm to=action>
            <div role="group" aria-label="Theme">{buttons.collect_view()}</div>
        </SubmitForm>
    }
}
