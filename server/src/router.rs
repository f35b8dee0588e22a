//! The portal's router: REST, health, pages; and the layers around them, the outermost last.

use axum::{Router, http::HeaderName, middleware};
use tower_http::{
    catch_panic::CatchPanicLayer,
    compression::{
        CompressionLayer,
        predicate::{DefaultPredicate, NotForContentType, Predicate},
    },
    request_id::{MakeRequestUuid, PropagateRequestIdLayer, SetRequestIdLayer},
    trace::TraceLayer,
};

use crate::{error_page, health, notebooks, origins, pages, rest, security, sign_in, state::AppState, upload};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

pub fn router(state: AppState) -> Router {
    // A compressor would hold back events until its buffer is full.
    let compressible = DefaultPredicate::new().and(NotForContentType::const_new("text/event-stream"));
    let routes = Router::new()
        .merge(rest::router())
        .merge(health::router())
        .merge(sign_in::router())
        .merge(notebooks::router())
        .merge(upload::router())
        .merge(pages::router(&state));
    security::around(routes, &state)
        .layer(CatchPanicLayer::custom(error_page::panicked))
        .layer(middleware::from_fn_with_state(security::Times::default(), security::in_time))
        .layer(middleware::from_fn(error_page::layer))
        .layer(CompressionLayer::new().compress_when(compressible))
        .layer(
            TraceLayer::new_for_http()
                .make_span_with(|request: &http::Request<_>| {
                    let id = request.headers().get(REQUEST_ID).and_then(|id| id.to_str().ok()).unwrap_or_default();
                    // The path alone: a query may hold what does not belong in a log.
                    tracing::info_span!("request", method = %request.method(), path = request.uri().path(), id)
                })
                // What failed is logged where its cause is known.
                .on_failure(()),
        )
        .layer(PropagateRequestIdLayer::new(REQUEST_ID))
        .layer(SetRequestIdLayer::new(REQUEST_ID, MakeRequestUuid))
        .layer(middleware::from_fn(security::sane_request_id))
        .layer(middleware::from_fn_with_state(state.clone(), origins::by_host))
        .with_state(state)
}
