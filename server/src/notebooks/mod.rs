//! Notebooks in the browser, each on an origin of its own ([`crate::origins`]).
//!
//! [`router`] is the portal's side: it hands the browser over with a ticket. [`answer()`] is the other: it takes the ticket for
//! a cookie of that origin, and passes on whatever comes with the cookie ([`proxy`]), less what its visitor may not do ([`reading`]).
//! What passes on sockets tells whether anybody is at work ([`socket`], [`frames`], [`messages`]); where nothing passes JupyterLab is
//! asked ([`idle`]), and the page says when the notebook is to stop ([`notice`]).

mod answer;
mod door;
mod frames;
mod idle;
mod messages;
mod notice;
mod proxy;
mod reading;
mod scan;
mod socket;

use axum::{Router, middleware, routing::get};

pub(crate) use door::answer;
pub use idle::run as watch_idle;

use crate::{security::lead_to_sign_in, state::AppState};

/// The portal's side.
pub fn router() -> Router<AppState> {
    let open = get(door::open).route_layer(middleware::from_fn(lead_to_sign_in));
    Router::new().route("/notebooks/{id}/open", open)
}
