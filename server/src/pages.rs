//! The portal's pages: rendered here, hydrated in the browser, with their files beside.

use std::{
    hash::{DefaultHasher, Hasher as _},
    path::Path,
};

use app::{App, Version, live::Revision, shell};
use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    http::{HeaderValue, header, request::Parts},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::get,
};
use leptos::prelude::{provide_context, use_context};
use leptos_axum::{LeptosRoutes, generate_route_list, handle_server_fns_with_context, render_app_async_with_context};
use services::Services;
use tower_http::services::ServeDir;

use crate::{caller::Authenticated, security::lead_to_sign_in, state::AppState};

/// What server functions and pages find in their context: the services, and who asks (`Option<services::Call>`).
fn context(services: Services, version: Version) -> impl Fn() + Clone + Send + Sync + 'static {
    move || {
        provide_context(version.clone());
        provide_context(services.clone());
        let parts = use_context::<Parts>();
        let extensions = parts.as_ref().map(|parts| &parts.extensions);
        let call = extensions.and_then(|left| left.get::<Authenticated>().cloned());
        provide_context(call.and_then(|authenticated| authenticated.0));
        if let Some(revision) = extensions.and_then(|left| left.get::<Revision>().copied()) {
            provide_context(revision);
        }
    }
}

/// Leaves in the request what the page that is about to be read covers at least, for its stream of events.
async fn snapshot(State(state): State<AppState>, mut request: Request, next: Next) -> Response {
    if let Some(Authenticated(Some(call))) = request.extensions().get::<Authenticated>().cloned() {
        match services::live::revision(&state.services, &call).await {
            Ok(revision) => {
                request.extensions_mut().insert(Revision(revision));
            }
            // The page says itself what is wrong, if that is still so.
            Err(error) => tracing::warn!(%error, "a page goes out without its revision"),
        }
    }
    next.run(request).await
}

/// Files that a document names with their [`Version`].
const VERSIONED: [&str; 3] = ["pkg/main.css", "pkg/app.js", "pkg/app_bg.wasm"];

/// Names the content of the files that this server sends: as many hexadecimal digits as tell two builds apart.
fn version(site: &Path) -> Version {
    let mut hasher = DefaultHasher::new();
    for file in VERSIONED {
        match std::fs::read(site.join(file)) {
            Ok(content) => hasher.write(&content),
            Err(error) => tracing::warn!(file, %error, "a file of the page is missing; see site_dir"),
        }
    }
    Version(format!("{:016x}", hasher.finish()).into())
}

/// How long a browser may keep a file: for ever under an address that names its content, else it asks each time, and is
/// told that nothing has changed.
async fn keep(request: Request, next: Next) -> Response {
    const FOR_EVER: HeaderValue = HeaderValue::from_static("public, max-age=31536000, immutable");
    const ASK: HeaderValue = HeaderValue::from_static("public, no-cache");
    let path = request.uri().path();
    let versioned = request.uri().query().is_some_and(|query| query.starts_with("v="));
    // A font's name tells its content: another one comes under another name.
    let for_ever = (versioned && path.starts_with("/pkg/")) || path.starts_with("/vendor/fonts/");
    let mut response = next.run(request).await;
    let is_file = response.headers().contains_key(header::LAST_MODIFIED);
    if is_file || response.status() == http::StatusCode::NOT_MODIFIED {
        response.headers_mut().insert(header::CACHE_CONTROL, if for_ever { FOR_EVER } else { ASK });
    }
    response
}

pub fn router(state: &AppState) -> Router<AppState> {
    app::server::tell_by(crate::failure::told);
    let site = &state.config.site_dir;
    let context = context(state.services.clone(), version(site));
    let functions = {
        let context = context.clone();
        move |request: Request<Body>| {
            let context = context.clone();
            async move { handle_server_fns_with_context(context, request).await.into_response() }
        }
    };
    // What is neither a file nor a route is rendered too: the page that says so.
    let not_there = get(render_app_async_with_context(context.clone(), shell)).with_state(state.clone());
    let files = ServeDir::new(site).append_index_html_on_directories(false).precompressed_br().precompressed_gzip();
    let files = Router::new().fallback_service(files.fallback(not_there)).layer(middleware::from_fn(keep));
    Router::new()
        .leptos_routes_with_context(state, generate_route_list(App), context, shell)
        .route_layer(middleware::from_fn_with_state(state.clone(), snapshot))
        .route_layer(middleware::from_fn(lead_to_sign_in))
        .route("/fn/{*name}", get(functions.clone()).post(functions))
        .fallback_service(files)
}
