//! The OpenAPI document: what each route says of itself, and what holds for all of them.

use utoipa::{
    Modify, OpenApi, ToSchema as _,
    openapi::{
        OpenApi as Document, Ref, RefOr, Response,
        content::ContentBuilder,
        path::{Operation, PathItem},
        security::{Http, HttpAuthScheme, SecurityRequirement, SecurityScheme},
    },
};
use utoipa_axum::router::OpenApiRouter;

use crate::state::AppState;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Berth",
        version = "1",
        description = "Machines that a team owns, as a self-service cloud. Errors are RFC 9457 problem details; \
            lists are {items, next_cursor}; times are RFC 3339 in UTC."
    ),
    components(schemas(api::Problem)),
    modifiers(&BearerToken)
)]
struct Frame;

struct BearerToken;

impl Modify for BearerToken {
    fn modify(&self, openapi: &mut Document) {
        let components = openapi.components.get_or_insert_default();
        components.add_security_scheme("token", SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer)));
        openapi.security = Some(vec![SecurityRequirement::new::<&str, [&str; 0], &str>("token", [])]);
    }
}

/// Every route with what it says of itself.
pub(super) fn described() -> OpenApiRouter<AppState> {
    OpenApiRouter::with_openapi(Frame::openapi()).nest("/api/v1", super::routes())
}

/// Adds what holds for every route: any of them may answer with a problem.
pub(super) fn complete(mut document: Document) -> Document {
    for path in document.paths.paths.values_mut() {
        for operation in operations(path) {
            operation
                .responses
                .responses
                .entry("default".to_owned())
                .or_insert_with(|| RefOr::T(Response::new("What is wrong and what to do; programs look at `type`")));
            for (status, response) in &mut operation.responses.responses {
                if let RefOr::T(response) = response
                    && is_fault(status)
                {
                    let schema = Ref::from_schema_name(api::Problem::name());
                    let content = ContentBuilder::new().schema(Some(schema)).build();
                    response.content = [("application/problem+json".to_owned(), content)].into();
                }
            }
        }
    }
    document
}

fn is_fault(status: &str) -> bool {
    status == "default" || status.starts_with(['4', '5'])
}

fn operations(path: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    let PathItem { get, put, post, delete, options, head, patch, trace, .. } = path;
    [get, put, post, delete, options, head, patch, trace].into_iter().filter_map(Option::as_mut)
}

/// The whole document.
pub fn openapi() -> Document {
    complete(described().into_openapi())
}
