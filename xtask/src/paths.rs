//! Where things are: the checkout, the target folder, the built page.

use std::env;
use std::path::PathBuf;

use anyhow::{Context as _, Result};

/// The checkout that this run was started in.
///
/// Read at run time: a target folder that two checkouts share may hold the other one's xtask.
pub fn root() -> Result<PathBuf> {
    // The browser tests start the built xtask itself.
    if let Some(root) = env::var_os("XTASK_ROOT") {
        return Ok(PathBuf::from(root));
    }
    let manifest = env::var_os("CARGO_MANIFEST_DIR").context("start this through `cargo xtask`")?;
    let root = PathBuf::from(manifest).parent().map(PathBuf::from);
    root.context("the xtask folder has no parent")
}

/// The target folder of the server half: `CARGO_TARGET_DIR`; else, in CI, a folder in the user's cache that a next
/// clone finds again; else `target` in the checkout.
pub fn target() -> Result<PathBuf> {
    if let Some(dir) = env::var_os("CARGO_TARGET_DIR") {
        return Ok(env::current_dir()?.join(dir));
    }
    if env::var_os("CI").is_some_and(|ci| ci == "true") {
        return Ok(cache()?.join("target"));
    }
    Ok(root()?.join("target"))
}

/// This project's folder in the user's cache.
pub fn cache() -> Result<PathBuf> {
    let base = env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache")))
        .context("neither XDG_CACHE_HOME nor HOME is set")?;
    Ok(base.join("berth"))
}

/// How the two halves are built.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    Development,
    Release,
}

impl Mode {
    /// The Cargo profile's flags of the server half.
    pub fn server_flags(self) -> &'static [&'static str] {
        match self {
            Mode::Development => &[],
            Mode::Release => &["--release"],
        }
    }

    /// The folder of the server half's programs, inside the target folder.
    pub fn server_folder(self) -> &'static str {
        match self {
            Mode::Development => "debug",
            Mode::Release => "release",
        }
    }

    /// The Cargo profile of the web half, which is its folder's name too.
    pub fn web_profile(self) -> &'static str {
        match self {
            Mode::Development => "web-dev",
            Mode::Release => "web-release",
        }
    }
}

/// The folder that the server serves the page from.
pub fn site(mode: Mode) -> Result<PathBuf> {
    Ok(target()?.join("site").join(mode.server_folder()))
}
