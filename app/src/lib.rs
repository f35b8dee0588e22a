//! The portal's pages: rendered by the server, then alive in the browser.
//!
//! [`shell`] is the document, [`App`] what both halves render, [`hydrate`] where the browser starts. A page is a file in
//! [`pages`], made of [`components`]; what it shows comes through server functions, which call one service function each
//! and which it uses through [`functions`].
//! What differs between server and browser (time, zone, theme, who is signed in) comes with the document: see
//! [`preferences`] and [`viewer`].

#![allow(clippy::needless_pass_by_value, reason = "a component owns its properties")]

pub mod clock;
pub mod components;
pub mod document;
pub mod failure;
pub mod functions;
pub mod live;
pub mod pages;
pub mod preferences;
#[cfg(feature = "ssr")]
pub mod server;
pub mod viewer;

/// The page on which a project is deployed, and where it is sent.
pub const DEPLOY: &str = "/deploy";
pub const UPLOAD: &str = "/deploy/files";

pub use document::{App, Version, shell};
pub use failure::Failure;

/// Brings the document alive in the browser.
#[cfg(feature = "hydrate")]
#[wasm_bindgen::prelude::wasm_bindgen]
pub fn hydrate() {
    console_error_panic_hook::set_once();
    leptos::mount::hydrate_body(App);
}
