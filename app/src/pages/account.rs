//! One's own account: password, theme, time zone, signing out everywhere.

use api::people::Person;
use leptos::prelude::*;
use leptos_router::hooks::use_query_map;

use super::sign_in::Refused;
use crate::Failure;
use crate::components::field::TextField;
use crate::components::icon::Icon;
use crate::components::layout::Page;
use crate::components::load::{failure_of, follow};
use crate::components::theme::ThemeSwitch;
use crate::functions::{Data, Submission, SubmitForm};
use crate::preferences::{ChooseZone, use_preferences};

#[server(prefix = "/fn", endpoint = "account-me", input = leptos::server_fn::codec::Json)]
async fn me() -> Result<Person, Failure> {
    let (services, call) = crate::server::asked()?;
    services::people::me(&services, &call).await.map(Person::from).map_err(crate::server::failure)
}

#[component]
pub fn Account() -> impl IntoView {
    let query = use_query_map();
    let choosing = Submission::<ChooseZone>::new();
    let me = Data::new(|| Me {}, || 0);
    let from_link = Signal::derive(move || query.with(|query| query.get("choose").is_some()));
    let done = Signal::derive(move || query.with(|query| query.get("done").is_some()));
    let zone = use_preferences().zone.name;
    view! {
        <Page title="Account" narrow=true>
            {move || done.get().then(|| view! {
                <div class="notice good" role="status"><Icon name="check"/><span>"Your password is changed. Other browsers were signed out."</span></div>
            })}
            {move || from_link.get().then(|| view! {
                <div class="notice" role="status"><Icon name="info"/><span>"Choose a password now: the link that brought you here does not work again."</span></div>
            })}
            <Refused/>
            {follow(me, move |me| view! {
                <section class="card" aria-labelledby="password">
                    <h2 id="password">"Password"</h2>
                    {move || view! { <PasswordForm me=me.get() from_link=from_link.get()/> }}
                </section>
            }.into_any())}
            <section class="card" aria-labelledby="look">
                <h2 id="look">"Theme"</h2>
                <div class="choices"><ThemeSwitch/></div>
            </section>
            <section class="card" aria-labelledby="zone-title">
                <h2 id="zone-title">"Time zone"</h2>
                <SubmitForm to=choosing class="form">
                    <TextField name="zone" label="Zone" value=zone hint="A name such as Europe/Berlin. All times of the portal are shown in it."
                        error=choosing.error_of(&["zone"])/>
                    <div class="form-actions"><button type="submit" class="button">"Save"</button></div>
                </SubmitForm>
                {failure_of(move || choosing.failure_beside(&["zone"]))}
            </section>
            <section class="card" aria-labelledby="everywhere">
                <h2 id="everywhere">"Signed in elsewhere"</h2>
                <p class="soft">"Ends every sign-in of yours, also this one. Tokens stay; revoke them on their own page."</p>
                <form method="post" action="/sign-out/everywhere">
                    <button type="submit" class="button danger"><Icon name="sign-out"/>"Sign out everywhere"</button>
                </form>
            </section>
        </Page>
    }
}

#[component]
fn PasswordForm(me: Person, from_link: bool) -> impl IntoView {
    let needs_current = me.has_password && !from_link;
    view! {
        <p class="soft">{me.name}", "{me.email.clone()}", "{me.role.word()}</p>
        <form class="form" method="post" action="/account/password">
            <input class="visually-hidden" type="email" name="username" autocomplete="username" value=me.email.clone() tabindex="-1" aria-hidden="true" readonly/>
            {needs_current.then(|| view! {
                <TextField name="current" label="Current password" kind="password" autocomplete="current-password" max_length=1024/>
            })}
            <TextField name="new" label="New password" kind="password" autocomplete="new-password" max_length=1024
                hint="At least 12 characters; a few words in a row are good."/>
            <div class="form-actions"><button type="submit" class="button primary">"Save password"</button></div>
        </form>
    }
}
