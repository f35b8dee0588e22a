//! The document, and what both halves render into it.

use leptos::prelude::*;
use leptos_meta::{MetaTags, Title, provide_meta_context};
use leptos_router::components::Router;

use crate::components::layout::Frame;
use crate::pages::Pages;
use crate::{clock, live, preferences, viewer};

/// The whole document, on the server. Who is signed in, theme and zone are in it; see [`viewer`] and [`preferences`].
pub fn shell(options: LeptosOptions) -> impl IntoView {
    #[cfg(feature = "ssr")]
    {
        security_headers();
        provide_context(preferences::from_request());
        if let Some(viewer) = viewer::from_request() {
            provide_context(viewer);
        }
    }
    let preferences = preferences::use_preferences();
    let theme = preferences.theme.get_untracked().word();
    let zone = serde_json::to_string(&preferences.zone).unwrap_or_default();
    let viewer = viewer::use_viewer().and_then(|viewer| serde_json::to_string(&viewer).ok());
    view! {
        <!DOCTYPE html>
        <html lang="en" data-theme=theme data-zone=zone>
            <head>
                <meta charset="utf-8"/>
                <meta name="viewport" content="width=device-width, initial-scale=1"/>
                <meta name="color-scheme" content="light dark"/>
                {viewer.map(|viewer| view! { <meta name=viewer::META content=viewer/> })}
                <link rel="icon" href="/logo.svg" type="image/svg+xml"/>
                <link rel="preload" href="/vendor/fonts/inter-latin-wght-normal.woff2" r#as="font" r#type="font/woff2" crossorigin="anonymous"/>
                <link rel="stylesheet" href="/pkg/main.css"/>
                <HydrationScripts options/>
                <MetaTags/>
            </head>
            <body>
                <App/>
            </body>
        </html>
    }
}

/// What the server renders and the browser brings alive.
#[component]
pub fn App() -> impl IntoView {
    provide_meta_context();
    if cfg!(feature = "hydrate") {
        provide_context(preferences::from_document());
        if let Some(viewer) = viewer::from_document() {
            provide_context(viewer);
        }
    }
    clock::provide();
    live::provide(viewer::use_viewer().map(|_| ()));
    Effect::new(|| {
        preferences::remember_zone();
        // Browser tests wait for this, and so can anybody's script.
        if let Some(root) = document().document_element()
            && root.set_attribute("data-hydrated", "").is_err()
        {
            leptos::logging::warn!("the page cannot be marked as alive");
        }
    });
    view! {
        <Title formatter=|title: String| if title.is_empty() { "Berth".to_owned() } else { format!("{title} · Berth") }/>
        <Router>
            <Frame>
                <Pages/>
            </Frame>
        </Router>
    }
}

/// The policy needs the nonce that Leptos makes for this one document, so it is set here.
#[cfg(feature = "ssr")]
fn security_headers() {
    let (Some(response), Some(nonce)) = (use_context::<leptos_axum::ResponseOptions>(), leptos::nonce::use_nonce())
    else {
        return;
    };
    let policy = format!(
        "default-src 'none'; script-src 'self' 'nonce-{nonce}' 'wasm-unsafe-eval'; connect-src 'self'; \
         style-src-elem 'self' 'nonce-{nonce}'; style-src-attr 'unsafe-inline'; img-src 'self' data:; font-src 'self'; \
         form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    );
    if let Ok(policy) = http::HeaderValue::from_str(&policy) {
        response.insert_header(http::header::CONTENT_SECURITY_POLICY, policy);
    }
}
