//! Signing in and out, as plain form posts: they work with JavaScript off. The pages that hold the forms are in the app.
//!
//! | post to | fields | then |
//! |---|---|---|
//! | `/sign-in` | `email`, `password`, `next` (optional: a path of this portal) | `next` or `/` |
//! | `/sign-in/link` | `token`, from the query of the page `GET /sign-in/link?token=…` | `/account?choose=password` |
//! | `/account/password` | `new`, `current` (not within 15 min of a one-time link) | `/account?done=password`; after a one-time link `/` |
//! | `/sign-out` | none | `/sign-in` |
//! | `/sign-out/everywhere` | none | `/sign-in` |
//!
//! What failed leads back to the page of the form with `?error=` and a word of [`Refusal`]; `too-many` has `retry_s`
//! beside it. Opening the page of a one-time link uses nothing up: mail scanners open links.

use std::fmt::Write as _;

use async_trait::async_trait;
use axum::{
    Form, Router,
    extract::{DefaultBodyLimit, State},
    response::Redirect,
    routing::post,
};
use domain::{
    ids::{PersonId, TenantId},
    people::Person,
};
use serde::{Deserialize, Serialize};
use services::{
    Error, Services,
    sign_in::{self, FRESH_LINK, Proof},
};
use tower_sessions::{
    Expiry, Session, SessionManagerLayer, SessionStore,
    cookie::{SameSite, time},
    session::{Id, Record},
    session_store,
};

use crate::{
    caller::{Caller, RequestId},
    security::ClientAddress,
    state::AppState,
};

/// The cookie, where the portal is not on HTTPS. On HTTPS it has the prefix `__Host-`, by which the browser makes sure
/// that no other host of the domain has set it.
const COOKIE: &str = "berth";
/// The same where the portal is reached by HTTPS.
const HOST_COOKIE: &str = "__Host-berth";
/// The most that a form of these may hold, in bytes.
const MAX_FORM_BYTES: usize = 16 * 1024;
/// The one value that a sign-in holds.
const KEY: &str = "who";

domain::words! {
    /// Why a form was refused; the word stands in the address of the page that says so.
    pub enum Refusal ("refusal") {
        /// Address and password do not belong together, or the person is locked: one answer for all.
        Wrong = "wrong",
        /// The one-time link is used, over or void.
        Link = "link",
        TooMany = "too-many",
        /// So many sign in at this moment that the server cannot hash their passwords.
        Busy = "busy",
        /// The password that was given as the current one is not.
        Current = "current",
        /// The new password is too short or too obvious.
        Password = "password",
        /// The server or its database has a fault.
        Fault = "fault",
    }
}

/// Who is signed in, as the session layer keeps it.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct SignedIn {
    tenant: TenantId,
    person: PersonId,
    /// Milliseconds since 1970: until then a password can be chosen without the old one.
    fresh_until_ms: Option<i64>,
}

/// Keeps sign-ins in the database, for [`tower_sessions`]. There are none of people who are not signed in.
#[derive(Debug, Clone)]
pub struct SignIns(Services);

fn backend(error: &Error) -> session_store::Error {
    if let Error::Store(cause) | Error::MaybeDone(cause) | Error::Full(cause) = error {
        return session_store::Error::Backend(cause.to_string());
    }
    session_store::Error::Backend(error.to_string())
}

fn encode(record: &Record) -> session_store::Result<String> {
    serde_json::to_string(&record.data).map_err(|error| session_store::Error::Encode(error.to_string()))
}

#[async_trait]
impl SessionStore for SignIns {
    async fn create(&self, record: &mut Record) -> session_store::Result<()> {
        let who = record.data.get(KEY).cloned().unwrap_or_default();
        let who: SignedIn =
            serde_json::from_value(who).map_err(|error| session_store::Error::Encode(error.to_string()))?;
        // Always a new id, whatever the browser sent: nobody can choose another's (session fixation).
        record.id = Id::default();
        let data = encode(record)?;
        sign_in::begin(&self.0, &record.id.to_string(), who.tenant, who.person, data)
            .await
            .map_err(|error| backend(&error))
    }
    async fn save(&self, record: &Record) -> session_store::Result<()> {
        sign_in::keep(&self.0, &record.id.to_string(), encode(record)?).await.map_err(|error| backend(&error))
    }
    async fn load(&self, id: &Id) -> session_store::Result<Option<Record>> {
        let Some(data) = sign_in::data(&self.0, &id.to_string()).await.map_err(|error| backend(&error))? else {
            return Ok(None);
        };
        let data = serde_json::from_str(&data).map_err(|error| session_store::Error::Decode(error.to_string()))?;
        // When a sign-in ends is the services' matter; this field is only what the session layer asks for.
        let expiry_date = time::OffsetDateTime::UNIX_EPOCH + time::Duration::days(365_000);
        Ok(Some(Record { id: *id, data, expiry_date }))
    }
    async fn delete(&self, id: &Id) -> session_store::Result<()> {
        sign_in::end(&self.0, &id.to_string()).await.map_err(|error| backend(&error))
    }
}

/// Whether a cookie of this name is the portal's.
pub fn is_cookie(name: &[u8]) -> bool {
    [COOKIE, HOST_COOKIE].iter().any(|own| own.as_bytes() == name)
}

/// Reads and sets the cookie.
pub fn layer(services: Services, https: bool) -> SessionManagerLayer<SignIns> {
    let name = if https { HOST_COOKIE } else { COOKIE };
    SessionManagerLayer::new(SignIns(services))
        .with_name(name)
        .with_http_only(true)
        .with_same_site(SameSite::Lax)
        .with_secure(https)
        .with_path("/")
        .with_expiry(Expiry::OnInactivity(time::Duration::seconds(sign_in::ABSOLUTE_LIFE.as_secs())))
}

pub fn router() -> Router<AppState> {
    Router::new()
        .route("/sign-in", post(with_password))
        .route("/sign-in/link", post(with_link))
        .route("/account/password", post(change_password))
        .route("/sign-out", post(sign_out))
        .route("/sign-out/everywhere", post(sign_out_everywhere))
        .layer(DefaultBodyLimit::max(MAX_FORM_BYTES))
}

#[derive(Deserialize)]
struct PasswordForm {
    email: String,
    password: String,
    #[serde(default)]
    next: Option<String>,
}

#[derive(Deserialize)]
struct LinkForm {
    token: String,
}

#[derive(Deserialize)]
struct NewPasswordForm {
    #[serde(default)]
    current: Option<String>,
    new: String,
}

/// `text` where it is a path of this portal; anything else would send people who just signed in to a stranger.
pub fn local_path(text: &str) -> Option<&str> {
    let plain = text.bytes().all(|b| b.is_ascii_graphic() && b != b'\\');
    let local = text.starts_with('/') && !text.starts_with("//") && text.len() <= 2_000;
    (plain && local).then_some(text)
}

/// `text` as the value of a query.
pub fn query_value(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
            out.push(char::from(byte));
        } else if write!(out, "%{byte:02X}").is_err() {
            return String::new();
        }
    }
    out
}

/// The page of a form, to which what failed leads back.
struct Door<'a> {
    page: &'static str,
    /// Where the person wanted to go.
    next: Option<&'a str>,
    request_id: &'a RequestId,
}

impl Door<'_> {
    fn refused(&self, refusal: Refusal) -> Redirect {
        let next = self.next.and_then(local_path).map(|next| format!("&next={}", query_value(next)));
        Redirect::to(&format!("{}?error={refusal}{}", self.page, next.unwrap_or_default()))
    }

    fn failed(&self, error: Error) -> Redirect {
        match error {
            Error::TooMany { retry_after_s } => {
                Redirect::to(&format!("{}?error=too-many&retry_s={retry_after_s}", self.page))
            }
            Error::Unavailable(_) => self.refused(Refusal::Busy),
            Error::Invalid { field: "current", .. } => self.refused(Refusal::Current),
            Error::Invalid { .. } => self.refused(Refusal::Password),
            Error::NotSignedIn => Door { page: "/sign-in", next: None, ..*self }.refused(Refusal::Wrong),
            error @ (Error::NotFound { .. }
            | Error::Denied(_)
            | Error::Conflict(_)
            | Error::Overlap { .. }
            | Error::NothingFits { .. }
            | Error::Store(_)
            | Error::MaybeDone(_)
            | Error::Full(_)
            | Error::Internal(_)) => {
                tracing::error!(request_id = self.request_id.0.as_deref(), error = ?error, "a sign-in form failed");
                self.refused(Refusal::Fault)
            }
        }
    }

    /// To `to`, or back with what failed.
    fn lead(&self, done: Result<(), Error>, to: &str) -> Redirect {
        match done {
            Ok(()) => Redirect::to(to),
            Err(error) => self.failed(error),
        }
    }
}

fn session_fault(error: &tower_sessions::session::Error) -> Error {
    Error::Internal(format!("the session layer: {error}"))
}

/// Ends what the browser was signed in as, and signs it in as `person` under a new id.
async fn enter(session: &Session, person: &Person, fresh_until_ms: Option<i64>) -> Result<(), Error> {
    if session.id().is_some() {
        session.flush().await.map_err(|error| session_fault(&error))?;
    }
    let who = SignedIn { tenant: person.tenant, person: person.id, fresh_until_ms };
    session.insert(KEY, who).await.map_err(|error| session_fault(&error))
}

async fn with_password(
    State(state): State<AppState>,
    ClientAddress(address): ClientAddress,
    request_id: RequestId,
    session: Session,
    Form(form): Form<PasswordForm>,
) -> Redirect {
    let door = Door { page: "/sign-in", next: form.next.as_deref(), request_id: &request_id };
    let id = request_id.0.as_deref();
    match sign_in::with_password(&state.services, &form.email, form.password, address, id).await {
        Err(error) => door.failed(error),
        Ok(None) => door.refused(Refusal::Wrong),
        Ok(Some(person)) => {
            let to = door.next.and_then(local_path).unwrap_or("/");
            door.lead(enter(&session, &person, None).await, to)
        }
    }
}

async fn with_link(
    State(state): State<AppState>,
    ClientAddress(address): ClientAddress,
    request_id: RequestId,
    session: Session,
    Form(form): Form<LinkForm>,
) -> Redirect {
    let door = Door { page: "/sign-in/link", next: None, request_id: &request_id };
    match sign_in::with_link(&state.services, form.token.trim(), address, request_id.0.as_deref()).await {
        Err(error) => door.failed(error),
        Ok(None) => door.refused(Refusal::Link),
        Ok(Some(person)) => {
            let fresh_until = state.services.clock().now() + FRESH_LINK;
            let entered = enter(&session, &person, Some(fresh_until.as_millisecond())).await;
            door.lead(entered, "/account?choose=password")
        }
    }
}

async fn change_password(
    State(state): State<AppState>,
    Caller(call): Caller,
    request_id: RequestId,
    session: Session,
    Form(form): Form<NewPasswordForm>,
) -> Redirect {
    let door = Door { page: "/account", next: None, request_id: &request_id };
    let changed = async {
        let who =
            session.get::<SignedIn>(KEY).await.map_err(|error| session_fault(&error))?.ok_or(Error::NotSignedIn)?;
        let now_ms = state.services.clock().now().as_millisecond();
        let proof = match form.current.filter(|current| !current.is_empty()) {
            Some(current) => Proof::Password(current),
            None if who.fresh_until_ms.is_some_and(|until| now_ms < until) => Proof::Link,
            None => Proof::Password(String::new()),
        };
        let to = match proof {
            Proof::Password(_) => "/account?done=password",
            // Whoever came by a link is on the way in.
            Proof::Link => "/",
        };
        sign_in::change_password(&state.services, &call, proof, form.new).await?;
        session.insert(KEY, SignedIn { fresh_until_ms: None, ..who }).await.map_err(|error| session_fault(&error))?;
        // Whoever has copied the old cookie is out as well.
        session.cycle_id().await.map_err(|error| session_fault(&error))?;
        Ok(to)
    };
    match changed.await {
        Ok(to) => door.lead(Ok(()), to),
        Err(error) => door.failed(error),
    }
}

async fn sign_out(session: Session, request_id: RequestId) -> Redirect {
    let door = Door { page: "/sign-in", next: None, request_id: &request_id };
    let ended = match session.id() {
        Some(_) => session.flush().await.map_err(|error| session_fault(&error)),
        None => Ok(()),
    };
    door.lead(ended, "/sign-in")
}

async fn sign_out_everywhere(
    State(state): State<AppState>,
    Caller(call): Caller,
    session: Session,
    request_id: RequestId,
) -> Redirect {
    if let Err(error) = sign_in::end_everywhere(&state.services, &call).await {
        return Door { page: "/account", next: None, request_id: &request_id }.failed(error);
    }
    sign_out(session, request_id).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_sent_to_a_stranger() {
        for good in ["/", "/machines?q=a%20b", "/sessions/1#log"] {
            assert_eq!(local_path(good), Some(good));
        }
        let long = format!("/{}", "a".repeat(3_000));
        for bad in
            ["", "machines", "//evil.example", "/\\evil.example", "https://evil.example", "/a\r\nx: y", "/ä", &long]
        {
            assert_eq!(local_path(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn a_path_survives_the_query() {
        assert_eq!(query_value("/machines?q=a&b=ä"), "/machines%3Fq%3Da%26b%3D%C3%A4");
    }
}
