//! REST v1 under `/api/v1`, a file a capability, and its OpenAPI document.
//!
//! A handler extracts, makes one call of a service, and presents.

use axum::{Json, Router, routing::get};
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;

use crate::state::AppState;

pub mod audit;
pub mod events;
pub mod hosts;
pub mod idempotency;
pub mod instructions;
pub mod machines;
pub mod people;
pub mod reservations;
pub mod sessions;
pub mod streams;
pub mod tokens;
pub mod zero_certificates;

#[derive(OpenApi)]
#[openapi(
    info(title = "Berth", version = "1", description = "Machines that a team owns, as a self-service cloud. Errors are RFC 9457 problem details; lists are {items, next_cursor}; times are RFC 3339 in UTC."),
    components(schemas(api::Problem)),
    modifiers(&BearerToken)
)]
struct Document;

struct BearerToken;

impl utoipa::Modify for BearerToken {
    fn modify(&self, openapi: &mut utoipa::openapi::OpenApi) {
        use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityRequirement, SecurityScheme};
        let components = openapi.components.get_or_insert_with(Default::default);
        components.add_security_scheme("token", SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer)));
        openapi.security = Some(vec![SecurityRequirement::new::<&str, [&str; 0], &str>("token", [])]);
    }
}

/// Every capability's routes.
fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .merge(events::routes())
        .merge(hosts::routes())
        .merge(instructions::routes())
        .merge(zero_certificates::routes())
        .merge(machines::routes())
        .merge(reservations::routes())
        .merge(sessions::routes())
        .merge(streams::routes())
        .merge(people::routes())
        .merge(tokens::routes())
        .merge(audit::routes())
}

/// A word of one of the domain's enums, in the field of a query.
fn word<T>(field: &'static str, text: Option<&str>) -> Result<Option<T>, services::Error>
where
    T: std::str::FromStr<Err = domain::UnknownWord>,
{
    text.map(str::parse)
        .transpose()
        .map_err(|bad: domain::UnknownWord| services::Error::invalid(field, bad.to_string()))
}

/// `[from, to)`; an open end is a year away from the other.
fn window(from: Option<&str>, to: Option<&str>) -> Result<Option<domain::interval::Interval>, services::Error> {
    const YEAR: jiff::SignedDuration = jiff::SignedDuration::from_hours(24 * 366);
    let time = |field: &'static str, text: &str| -> Result<jiff::Timestamp, services::Error> {
        let bad = |_| services::Error::invalid(field, "is no RFC 3339 time such as 2026-03-01T09:00:00Z");
        text.parse().map_err(bad)
    };
    let (from, to) = (from.map(|text| time("from", text)).transpose()?, to.map(|text| time("to", text)).transpose()?);
    let (from, to) = match (from, to) {
        (None, None) => return Ok(None),
        (Some(from), Some(to)) => (from, to),
        (Some(from), None) => (from, from.saturating_add(YEAR).unwrap_or(from)),
        (None, Some(to)) => (to.saturating_sub(YEAR).unwrap_or(to), to),
    };
    let window = domain::interval::Interval::new(from, to);
    window.map(Some).map_err(|empty| services::Error::invalid("to", empty.to_string()))
}

/// The OpenAPI document.
pub fn openapi() -> utoipa::openapi::OpenApi {
    OpenApiRouter::with_openapi(Document::openapi()).nest("/api/v1", routes()).into_openapi()
}

/// `/api/v1/…` with the document at `/api/v1/openapi.json`.
pub fn router() -> Router<AppState> {
    let (router, document) =
        OpenApiRouter::with_openapi(Document::openapi()).nest("/api/v1", routes()).split_for_parts();
    router.route("/api/v1/openapi.json", get(move || async move { Json(document) }))
}
