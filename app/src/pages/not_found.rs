//! An address without a page.

use leptos::prelude::*;

use crate::components::empty::Empty;
use crate::components::layout::Page;

#[component]
pub fn NotFound() -> impl IntoView {
    #[cfg(feature = "ssr")]
    if let Some(response) = use_context::<leptos_axum::ResponseOptions>() {
        response.set_status(http::StatusCode::NOT_FOUND);
    }
    view! {
        <Page title="Page not found">
            <Empty icon="search" title="There is nothing at this address">
                <p>"It may have been deleted, or the link is incomplete."</p>
                <a class="button" href="/">"Go to the first page"</a>
            </Empty>
        </Page>
    }
}
