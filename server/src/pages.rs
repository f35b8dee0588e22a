//! The portal's pages: rendered here, hydrated in the browser, with their files beside.

use app::{App, shell};
use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    http::request::Parts,
    middleware,
    response::{IntoResponse, Response},
    routing::get,
};
use leptos::prelude::{provide_context, use_context};
use leptos_axum::{
    LeptosRoutes, file_and_error_handler_with_context, generate_route_list, handle_server_fns_with_context,
};
use services::Services;

use crate::{caller::Authenticated, security::lead_to_sign_in, state::AppState};

/// What server functions and pages find in their context: the services, and who asks (`Option<services::Call>`).
fn context(services: Services) -> impl Fn() + Clone + Send + Sync + 'static {
    move || {
        provide_context(services.clone());
        provide_context(app::server::Tell(crate::failure::told));
        let call = use_context::<Parts>()
            .and_then(|parts| parts.extensions.get::<Authenticated>().cloned())
            .and_then(|authenticated| authenticated.0);
        provide_context(call);
    }
}

async fn server_functions(State(state): State<AppState>, request: Request<Body>) -> Response {
    handle_server_fns_with_context(context(state.services), request).await.into_response()
}

pub fn router(state: &AppState) -> Router<AppState> {
    let context = context(state.services.clone());
    let options = state.leptos.clone();
    Router::new()
        .leptos_routes_with_context(state, generate_route_list(App), context.clone(), move || shell(options.clone()))
        .route_layer(middleware::from_fn(lead_to_sign_in))
        .route("/fn/{*name}", get(server_functions).post(server_functions))
        .fallback(file_and_error_handler_with_context::<AppState, _>(context, shell))
}
