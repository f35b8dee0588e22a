//! What server functions stand on: the services and the caller of their request, and refusals as problems.

use std::sync::OnceLock;

use api::Problem;
use http::request::Parts;
use leptos::prelude::*;
use leptos_axum::ResponseOptions;
use services::{Call, Error, Services};

use crate::Failure;

/// Server functions answer below this; everything else is a page.
pub const FUNCTIONS: &str = "/fn/";

/// How the server tells an error: logs its inside cause, and makes the problem for outside, so that pages and REST say the
/// same.
pub type Tell = fn(Error, Option<String>) -> Problem;

/// Not of a request's context, which is gone after an `await` if the reader has left meanwhile.
static TELL: OnceLock<Tell> = OnceLock::new();

/// Has errors told so from now on; the first one set stays.
pub fn tell_by(tell: Tell) {
    TELL.get_or_init(|| tell);
}

/// Who asks, of what.
pub(crate) fn asked() -> Result<(Services, Call), Failure> {
    let services = expect_context::<Services>();
    match use_context::<Option<Call>>().flatten() {
        Some(call) => Ok((services, call)),
        None => {
            if let Some(parts) = use_context::<Parts>()
                && !parts.uri.path().starts_with(FUNCTIONS)
            {
                let here = parts.uri.path_and_query().map_or("/", |here| here.as_str());
                leptos_axum::redirect(&format!("/sign-in?next={}", crate::components::tags::query_part(here)));
            }
            Err(failure(Error::NotSignedIn))
        }
    }
}

/// The refusal as a person sees it; the answer gets its status.
pub(crate) fn failure(error: Error) -> Failure {
    let signed_in = !matches!(error, Error::NotSignedIn);
    let Failure(problem) = told(error);
    let status = match problem.status {
        404 if is_page_reading() => Ok(http::StatusCode::OK),
        status => http::StatusCode::from_u16(status),
    };
    if let (true, false, Some(response), Ok(status)) =
        (signed_in, is_plain_form(), use_context::<ResponseOptions>(), status)
    {
        response.set_status(status);
    }
    Failure(problem)
}

/// A refusal that stands beside what the page shows else: the answer's status stays.
pub(crate) fn told(error: Error) -> Failure {
    let request_id = use_context::<Parts>()
        .and_then(|parts| parts.headers.get("x-request-id").and_then(|id| id.to_str().ok()).map(str::to_owned));
    match TELL.get() {
        Some(tell) => Failure(tell(error, request_id)),
        None => Failure::misunderstood("no server tells it"),
    }
}

/// The script of a page that reads what it shows, which is asked in JSON (`Data`). That it is gone is an answer, which the
/// page tells; a failed request would be written on the browser's console as well.
fn is_page_reading() -> bool {
    use_context::<Parts>().is_some_and(|parts| {
        let content_type = parts.headers.get(http::header::CONTENT_TYPE);
        parts.uri.path().starts_with(FUNCTIONS) && content_type.is_some_and(|kind| kind == "application/json")
    })
}

/// A form that the browser sent by itself, without a script: it is led back to its page, which says what was wrong.
fn is_plain_form() -> bool {
    use_context::<Parts>().is_some_and(|parts| {
        let accept = parts.headers.get(http::header::ACCEPT).and_then(|accept| accept.to_str().ok());
        parts.uri.path().starts_with(FUNCTIONS) && accept.is_some_and(|accept| accept.contains("text/html"))
    })
}

/// The longest text of a refused form that is kept, in bytes; a script that is longer has to be typed again.
const MAX_TYPED_BYTES: usize = 128 * 1024;

fn session() -> Option<tower_sessions::Session> {
    use_context::<Parts>()?.extensions.get::<tower_sessions::Session>().cloned()
}

/// Keeps what was typed into a form that the browser sent by itself and that was refused, for [`typed`] on the page to which
/// it is led back. It is kept with the sign-in: a script may hold secrets, which no address should.
pub(crate) async fn keep_typed<T: serde::Serialize>(form: &str, typed: &T) {
    let Some(session) = session().filter(|_| is_plain_form()) else { return };
    let Ok(typed) = serde_json::to_value(typed) else { return };
    if typed.to_string().len() > MAX_TYPED_BYTES {
        return;
    }
    if let Err(error) = session.insert_value(&format!("typed-{form}"), typed).await {
        leptos::logging::warn!("what was typed into a refused form is lost: {error}");
    }
}

/// What [`keep_typed`] kept last.
pub(crate) async fn typed<T: serde::de::DeserializeOwned>(form: &str) -> Option<T> {
    session()?.get(&format!("typed-{form}")).await.ok().flatten()
}

/// An id out of an address or a form.
pub(crate) fn id<T>(text: &str, kind: &'static str) -> Result<T, Failure>
where
    T: std::str::FromStr,
{
    text.parse().map_err(|_| failure(Error::not_found(kind, text)))
}

/// A page of a list, as pages get it.
pub(crate) fn page<T, U>(page: services::page::Page<T>, convert: impl FnMut(T) -> U) -> api::Page<U> {
    let page = page.map(convert);
    api::Page { items: page.items, next_cursor: page.next_cursor }
}
