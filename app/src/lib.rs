//! The portal's pages.

use leptos::{config::LeptosOptions, prelude::*};

/// What both halves render.
#[component]
pub fn App() -> impl IntoView {
    view! { <h1>"Berth"</h1> }
}

/// The document.
pub fn shell(_options: LeptosOptions) -> impl IntoView {
    view! {
        <!DOCTYPE html>
        <html lang="en">
            <body>
                <App/>
            </body>
        </html>
    }
}
