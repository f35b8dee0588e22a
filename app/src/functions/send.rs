//! The browser's way to a server function.

use std::sync::Arc;

use leptos::server_fn::error::SERVER_FN_ERROR_HEADER;
use leptos::server_fn::redirect::{REDIRECT_HEADER, call_redirect_hook};
use wasm_bindgen::JsCast as _;
use wasm_bindgen::JsValue;
use wasm_bindgen_futures::JsFuture;
use web_sys::{AbortController, Headers, RequestInit, Response};

use super::Answer;
use crate::Failure;

pub(super) const JSON: &str = "application/json";
pub(super) const FORM: &str = "application/x-www-form-urlencoded";

/// An answer, and whether the server leads elsewhere after it.
pub(super) struct Told {
    pub answer: Answer,
    pub led_away: bool,
}

/// Ends the request when nobody waits for its answer any more.
struct Waiting(AbortController);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Calls the function at `path`; goes where the server leads.
pub(super) async fn send(path: &str, content_type: &str, body: &str) -> Told {
    match request(path, content_type, body).await {
        Ok(told) => told,
        Err(_) => Told { answer: Err(Failure::unreachable()), led_away: false },
    }
}

async fn request(path: &str, content_type: &str, body: &str) -> Result<Told, JsValue> {
    let waiting = Waiting(AbortController::new()?);
    let headers = Headers::new()?;
    headers.set("content-type", content_type)?;
    headers.set("accept", JSON)?;
    let ask = RequestInit::new();
    ask.set_method("POST");
    ask.set_headers(&headers);
    ask.set_body(&JsValue::from_str(body));
    ask.set_signal(Some(&waiting.0.signal()));
    let response = JsFuture::from(leptos::prelude::window().fetch_with_str_and_init(path, &ask)).await?;
    let response: Response = response.unchecked_into();
    let text = JsFuture::from(response.text()?).await?.as_string().unwrap_or_default();
    let place = if response.headers().has(REDIRECT_HEADER)? { response.headers().get("location")? } else { None };
    if let Some(place) = &place {
        call_redirect_hook(place);
    }
    // What a page reads and is gone is told with a status of success.
    let refused = !response.ok() || response.headers().has(SERVER_FN_ERROR_HEADER)?;
    let answer = if refused { Err(Failure::of_answer(response.status(), &text)) } else { Ok(Arc::from(text)) };
    Ok(Told { answer, led_away: place.is_some() })
}
