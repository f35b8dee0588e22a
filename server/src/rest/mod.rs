//! REST v1 under `/api/v1`, a file a capability, and its OpenAPI document.
//!
//! A handler extracts, makes one call of a service, and presents.

use axum::{Json, Router, routing::get};
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;

use crate::state::AppState;

pub mod events;

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
    OpenApiRouter::new().merge(events::routes())
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
