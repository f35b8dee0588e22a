//! REST v1 under `/api/v1`, a file a capability, and its OpenAPI document.
//!
//! A handler extracts, makes one call of a service, and presents.

use axum::{Json, Router, routing::get};
use utoipa_axum::router::OpenApiRouter;

pub use document::openapi;

use crate::state::AppState;

pub mod audit;
pub mod deployments;
mod document;
pub mod events;
pub mod hosts;
pub mod idempotency;
pub mod instructions;
pub mod machines;
pub mod notebooks;
pub mod objects;
pub mod people;
pub mod reservations;
pub mod sessions;
pub mod streams;
pub mod tokens;
pub mod zero_certificates;

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
        .merge(notebooks::routes())
        .merge(deployments::routes())
        .merge(objects::routes())
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

/// `/api/v1/…` with the document at `/api/v1/openapi.json`.
pub fn router() -> Router<AppState> {
    let (router, document) = document::described().split_for_parts();
    let document = document::complete(document);
    router.route("/api/v1/openapi.json", get(move || async move { Json(document) }))
}
