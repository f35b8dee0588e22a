//! Forms that a server function takes: sent by the page where it is alive, by the browser itself where it is not.

use std::marker::PhantomData;

use leptos::ev::SubmitEvent;
use leptos::form::form_data_from_event;
use leptos::prelude::*;
use leptos::server::ServerActionError;
use leptos::server_fn::ServerFn;
use leptos::server_fn::error::ServerFnUrlError;
use serde::de::DeserializeOwned;
use wasm_bindgen::JsValue;
use web_sys::UrlSearchParams;

use super::send::{FORM, send};
use super::{Answer, read};
use crate::Failure;

/// What became of the form of the function `F`. It tracks, like any signal.
pub struct Submission<F> {
    sent: Sent,
    function: PhantomData<fn() -> F>,
}

/// A [`Submission`] of any function.
#[derive(Clone, Copy)]
pub struct Sent {
    path: &'static str,
    answer: RwSignal<Option<Answer>>,
    on_their_way: RwSignal<u32>,
    answered: RwSignal<u64>,
    led_away: RwSignal<bool>,
}

impl<F> Clone for Submission<F> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<F> Copy for Submission<F> {}

impl<F> From<Submission<F>> for Sent {
    fn from(submission: Submission<F>) -> Self {
        submission.sent
    }
}

impl<F: ServerFn<Error = Failure>> Submission<F> {
    pub fn new() -> Self {
        Submission { sent: Sent::new(F::PATH), function: PhantomData }
    }

    /// What it answered last, if it was done.
    pub fn done(self) -> Option<F::Output>
    where
        F::Output: DeserializeOwned,
    {
        let text = self.sent.answer.get()?.ok()?;
        read(&text).ok()
    }

    /// Why it was refused last.
    pub fn failure(self) -> Option<Failure> {
        self.sent.failure()
    }

    /// What to say beside the field that has one of these names in problems.
    pub fn error_of(self, fields: &'static [&'static str]) -> Signal<Option<String>> {
        self.sent.error_of(fields)
    }

    /// The refusal that none of these fields shows.
    pub fn failure_beside(self, fields: &'static [&'static str]) -> Option<Failure> {
        let shown = |name: &str| fields.contains(&name);
        self.sent.failure().filter(|failure| !failure.0.field.as_deref().is_some_and(shown))
    }

    /// While the answer is awaited.
    pub fn pending(self) -> Signal<bool> {
        let Sent { on_their_way, .. } = self.sent;
        Signal::derive(move || on_their_way.get() > 0)
    }

    /// How many answers came that leave the page as it is: a number for [`Data`](super::Data)'s changes.
    pub fn answered(self) -> u64 {
        self.sent.answered.get()
    }

    /// Whether the server leads to another page: what this one shows may be gone.
    pub fn led_away(self) -> bool {
        self.sent.led_away.get()
    }
}

impl<F: ServerFn<Error = Failure>> Default for Submission<F> {
    fn default() -> Self {
        Self::new()
    }
}

impl Sent {
    fn new(path: &'static str) -> Self {
        // A form that the browser sent by itself comes back with its refusal in the address.
        let refused = use_context::<ServerActionError>().filter(|refused| refused.path() == path);
        let answer = refused.map(|refused| Err(ServerFnUrlError::<Failure>::decode_err(refused.err())));
        Sent {
            path,
            answer: RwSignal::new(answer),
            on_their_way: RwSignal::new(0),
            answered: RwSignal::new(0),
            led_away: RwSignal::new(false),
        }
    }

    fn failure(self) -> Option<Failure> {
        self.answer.with(|answer| answer.as_ref()?.as_ref().err().cloned())
    }

    fn error_of(self, fields: &'static [&'static str]) -> Signal<Option<String>> {
        Signal::derive(move || {
            let failure = self.failure()?;
            fields.iter().find_map(|field| failure.of_field(field))
        })
    }

    /// Whoever left the page meanwhile is told nothing: its signals are gone.
    fn send(self, body: String) {
        self.on_their_way.update(|count| *count += 1);
        leptos::task::spawn_local(async move {
            let told = send(self.path, FORM, &body).await;
            self.on_their_way.try_update(|count| *count -= 1);
            self.answer.try_set(Some(told.answer));
            if told.led_away {
                self.led_away.try_set(true);
            } else {
                self.answered.try_update(|count| *count += 1);
            }
        });
    }
}

/// The form of a [`Submission`]; without JavaScript the browser sends it and is led back to the page.
#[component]
pub fn SubmitForm(
    #[prop(into)] to: Sent,
    #[prop(default = "")] class: &'static str,
    children: Children,
) -> impl IntoView {
    let submit = move |event: SubmitEvent| {
        if event.default_prevented() {
            return;
        }
        event.prevent_default();
        match form_body(&event) {
            Ok(body) => to.send(body),
            Err(failure) => to.answer.set(Some(Err(failure))),
        }
    };
    view! { <form method="post" action=to.path class=class on:submit=submit>{children()}</form> }
}

/// What the browser itself would send.
fn form_body(event: &SubmitEvent) -> Result<String, Failure> {
    let data = form_data_from_event(event).map_err(|cause| Failure::misunderstood(&cause.to_string()))?;
    let fields = UrlSearchParams::new_with_str_sequence_sequence(&data);
    let fields = fields.map_err(|cause: JsValue| Failure::misunderstood(&format!("{cause:?}")))?;
    Ok(fields.to_string().as_string().unwrap_or_default())
}
