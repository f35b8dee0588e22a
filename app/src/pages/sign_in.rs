//! Sign-in: by password, and by a one-time link. Forms that the browser posts by itself; the server answers with a redirect.

use leptos::prelude::*;
use leptos_meta::Title;
use leptos_router::hooks::use_query_map;

use crate::components::field::TextField;
use crate::components::icon::Icon;

/// Why the last attempt was refused, as the address says it.
fn refusal(error: &str, retry_s: Option<&str>) -> String {
    match error {
        "wrong" => "The address and the password do not belong together. Try again, or ask an admin for a sign-in link.".to_owned(),
        "too-many" => match retry_s {
            Some(seconds) => format!("Too many attempts. Try again in {seconds} seconds."),
            None => "Too many attempts. Try again in a few minutes.".to_owned(),
        },
        "link" => "This link was used already or is too old. Ask an admin for a new one.".to_owned(),
        "busy" => "Many people sign in at this moment. Try again in a few seconds.".to_owned(),
        "current" => "The current password is not right. Nothing was changed.".to_owned(),
        "password" => "The new password is too short or too obvious: use at least 12 characters; a few words in a row are good. Nothing was changed.".to_owned(),
        _ => "The server has a fault, and nothing was changed. Try again in a moment.".to_owned(),
    }
}

#[component]
pub(super) fn Refused() -> impl IntoView {
    let query = use_query_map();
    let refused = move || {
        query.with(|query| {
            let error = query.get("error")?;
            Some((refusal(&error, query.get("retry_s").as_deref()), query.get("request")))
        })
    };
    move || {
        refused().map(|(why, request)| {
            view! {
                <div class="problem" role="alert">
                    <Icon name="error"/>
                    <div class="body">
                        <p>{why}</p>
                        {request.map(|id| view! { <div class="request">"Request "<code>{id}</code></div> })}
                    </div>
                </div>
            }
        })
    }
}

#[component]
pub fn SignIn() -> impl IntoView {
    let query = use_query_map();
    let next = query.with_untracked(|query| query.get("next"));
    view! {
        <Title text="Sign in"/>
        <p class="brand"><img src="/logo.svg" alt="" width="24" height="24"/>"Berth"</p>
        <h1 class="centred" tabindex="-1">"Sign in"</h1>
        <Refused/>
        <form class="form" method="post" action="/sign-in">
            {next.map(|next| view! { <input type="hidden" name="next" value=next/> })}
            <TextField name="email" label="E-mail" kind="email" autocomplete="username" max_length=254/>
            <TextField name="password" label="Password" kind="password" autocomplete="current-password" max_length=1024/>
            <button type="submit" class="button primary block">"Sign in"</button>
        </form>
        <p class="soft small">"No password yet, or lost it? An admin of your tenant makes a one-time link for you."</p>
    }
}

/// Where a one-time link leads. Opening the page uses nothing up; the button does.
#[component]
pub fn SignInLink() -> impl IntoView {
    let query = use_query_map();
    let token = query.with_untracked(|query| query.get("token")).unwrap_or_default();
    view! {
        <Title text="Sign in"/>
        <p class="brand"><img src="/logo.svg" alt="" width="24" height="24"/>"Berth"</p>
        <h1 class="centred" tabindex="-1">"Welcome"</h1>
        <Refused/>
        {if token.is_empty() {
            view! { <a class="button block" href="/sign-in" rel="external">"Sign in with a password"</a> }.into_any()
        } else {
            view! {
                <form class="form" method="post" action="/sign-in/link">
                    <input type="hidden" name="token" value=token/>
                    <p class="soft">"This link signs you in once. Then choose a password."</p>
                    <button type="submit" class="button primary block">"Continue"</button>
                </form>
            }.into_any()
        }}
    }
}
