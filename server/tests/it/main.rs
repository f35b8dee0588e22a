//! The server over HTTP, as browsers and programs meet it.

mod access;
mod attacks;
mod document;
mod site;
