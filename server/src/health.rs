//! `/healthz`, `/readyz` and `/metrics`: for load balancers and Prometheus.

use axum::{Router, extract::State, http::StatusCode, routing::get};

use services::Ready;

use crate::state::AppState;

pub fn router() -> Router<AppState> {
    Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
}

/// 200 if requests can be served: the database answers, can be written to and has this build's schema, and the server is
/// not stopping.
async fn ready(State(state): State<AppState>) -> (StatusCode, &'static str) {
    if state.stop.is_cancelled() {
        return (StatusCode::SERVICE_UNAVAILABLE, "stopping\n");
    }
    match state.services.ready().await {
        Ok(Ready::Yes) => (StatusCode::OK, "ready\n"),
        Ok(Ready::OtherSchema) => (StatusCode::SERVICE_UNAVAILABLE, "the database's schema is not this build's\n"),
        Ok(Ready::Full) => (StatusCode::SERVICE_UNAVAILABLE, "the database's disk is full\n"),
        Err(error) => {
            tracing::warn!(%error, "not ready");
            (StatusCode::SERVICE_UNAVAILABLE, "the database does not answer\n")
        }
    }
}

/// Figures only, no names of people or machines: open, as Prometheus expects; keep it from outside at the proxy.
async fn metrics(State(state): State<AppState>) -> String {
    state.metrics.run_upkeep();
    state.metrics.render()
}
