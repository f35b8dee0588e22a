//! The pages, a file a capability, and the addresses that lead to them.

mod not_found;

use leptos::prelude::*;
use leptos_router::components::{FlatRoutes, Route};
use leptos_router::path;

use not_found::NotFound;

/// Every page and its address. Lists are `SsrMode::PartiallyBlocked`, details `SsrMode::Async`.
#[component]
pub fn Pages() -> impl IntoView {
    view! {
        <FlatRoutes fallback=NotFound>
            <Route path=path!("/not-found") view=NotFound/>
        </FlatRoutes>
    }
}
