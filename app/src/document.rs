//! The document, and what both halves render into it.

use leptos::prelude::*;
use leptos_meta::{MetaTags, Title, provide_meta_context};
use leptos_router::components::Router;

use crate::components::layout::Frame;
use crate::pages::Pages;
use crate::{clock, live, preferences, viewer};

/// The whole document, on the server. Who is signed in, theme and zone are in it; see [`viewer`] and [`preferences`].
pub fn shell() -> impl IntoView {
    #[cfg(feature = "ssr")]
    {
        security_headers();
        provide_context(preferences::from_request());
        if let Some(made) = clock::from_request() {
            provide_context(made);
        }
        if let Some(viewer) = viewer::from_request() {
            provide_context(viewer);
        }
    }
    let version = use_context::<Version>().map(|Version(version)| format!("?v={version}")).unwrap_or_default();
    let preferences = preferences::use_preferences();
    let theme = preferences.theme.get_untracked().word();
    let zone = serde_json::to_string(&preferences.zone).unwrap_or_default();
    let made = use_context::<clock::Made>().map(|clock::Made(at)| at.as_second().to_string());
    let revision = use_context::<live::Revision>().map(|live::Revision(revision)| revision.to_string());
    let viewer = viewer::use_viewer().and_then(|viewer| serde_json::to_string(&viewer).ok());
    view! {
        <!DOCTYPE html>
        <html lang="en" data-theme=theme data-zone=zone data-now=made data-revision=revision>
            <head>
                <meta charset="utf-8"/>
                <meta name="viewport" content="width=device-width, initial-scale=1"/>
                <meta name="color-scheme" content="light dark"/>
                {viewer.map(|viewer| view! { <meta name=viewer::META content=viewer/> })}
                <link rel="icon" href="/logo.svg" type="image/svg+xml"/>
                <link rel="preload" href="/vendor/fonts/inter-latin-wght-normal.woff2" r#as="font" r#type="font/woff2" crossorigin="anonymous"/>
                <link rel="stylesheet" href=format!("/pkg/main.css{version}")/>
                <Scripts version/>
                <MetaTags/>
            </head>
            <body>
                <App/>
            </body>
        </html>
    }
}

/// Names the content of the page's own files. An address with it may be kept for ever: another content has another one.
#[derive(Debug, Clone)]
pub struct Version(pub std::sync::Arc<str>);

/// Loads the page's other half and brings it alive. As leptos' own `HydrationScripts`, with the version in the addresses.
#[component]
fn Scripts(version: String) -> impl IntoView {
    let (script, module) = (format!("/pkg/app.js{version}"), format!("/pkg/app_bg.wasm{version}"));
    #[cfg(feature = "ssr")]
    let nonce = leptos::nonce::use_nonce();
    #[cfg(not(feature = "ssr"))]
    let nonce = None::<String>;
    // Both addresses are made of letters, digits and what stands above.
    let start = format!(
        "import(\"{script}\").then(page => page.default({{ module_or_path: \"{module}\" }}).then(() => page.hydrate()))"
    );
    view! {
        <link rel="modulepreload" href=script nonce=nonce.clone()/>
        <link rel="preload" href=module r#as="fetch" r#type="application/wasm" crossorigin="anonymous"/>
        <script type="module" nonce=nonce inner_html=start></script>
    }
}

/// What the server renders and the browser brings alive.
#[component]
pub fn App() -> impl IntoView {
    provide_meta_context();
    if cfg!(feature = "hydrate") {
        provide_context(preferences::from_document());
        if let Some(made) = clock::from_document() {
            provide_context(made);
        }
        if let Some(viewer) = viewer::from_document() {
            provide_context(viewer);
        }
    }
    clock::provide();
    live::provide(viewer::use_viewer().map(|_| ()));
    Effect::new(|| {
        preferences::remember_zone(viewer::use_viewer().is_some());
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
