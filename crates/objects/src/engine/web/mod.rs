//! The native parts of the web APIs, and the list of their scripts.
#![allow(clippy::needless_pass_by_value, reason = "operations get their arguments from JavaScript, owned")]

mod ciphers;
mod compress;
mod crypto;
mod curves;
mod der;
mod multipart;
mod rsa;
mod rsa_search;
mod text;
mod url;
mod value;

pub use value::Bytes;

use std::rc::Rc;

use rquickjs::{Ctx, Object};

use super::clone;
use super::realm::{Script, Scripts, When};

macro_rules! script {
    ($name:literal, $when:ident) => {
        Script { name: $name, text: include_str!(concat!("../js/web/", $name, ".js")), when: When::$when }
    };
}

/// The scripts of the web APIs; `core` must be the first of all scripts.
pub const SCRIPTS: &[Script] = &[
    script!("core", Start),
    script!("clone", FirstUse),
    script!("crypto", FirstUse),
    script!("encoding", FirstUse),
    script!("events", FirstUse),
    script!("blob", FirstUse),
    script!("environment", FirstUse),
    script!("formdata", FirstUse),
    script!("headers", FirstUse),
    script!("http", FirstUse),
    script!("readable", FirstUse),
    script!("readable_bytes", FirstUse),
    script!("streams", FirstUse),
    script!("transforms", FirstUse),
    script!("url", FirstUse),
    script!("urlpattern", FirstUse),
    script!("writable", FirstUse),
];

/// Puts the operations that several scripts use on `ops`.
pub(super) fn install<'js>(ctx: &Ctx<'js>, ops: &Object<'js>, scripts: &Rc<Scripts>) -> rquickjs::Result<()> {
    clone::install(ctx, ops, scripts.classes)?;
    text::install(ctx, ops)?;
    url::install(ctx, ops)
}

/// Puts those on `ops` that this script alone uses: every object has memory only for what it uses.
pub(super) fn install_for<'js>(script: &str, ctx: &Ctx<'js>, ops: &Object<'js>) -> rquickjs::Result<()> {
    match script {
        "crypto" => crypto::install(ctx, ops),
        "formdata" => multipart::install(ctx, ops),
        "transforms" => compress::install(ctx, ops),
        _ => Ok(()),
    }
}
