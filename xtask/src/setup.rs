//! What the build and the tests need from the operating system.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, bail};

use crate::cargo;

/// A program and the Debian packages that bring it.
#[derive(Clone, Copy)]
pub struct Tool {
    /// A name on `PATH`, or an absolute path with at most one `*` for a folder.
    pub program: &'static str,
    pub packages: &'static [&'static str],
    pub purpose: &'static str,
}

pub const BUBBLEWRAP: Tool =
    Tool { program: "bwrap", packages: &["bubblewrap"], purpose: "run sandboxed environments" };
pub const WASM_OPT: Tool =
    Tool { program: "wasm-opt", packages: &["binaryen"], purpose: "shrink the page for a release" };
pub const CHROMIUM: Tool =
    Tool { program: "/usr/bin/chromium", packages: &["chromium"], purpose: "run the browser tests" };
pub const NODE: Tool = Tool { program: "npm", packages: &["nodejs", "npm"], purpose: "run the browser tests" };
pub const POSTGRES: Tool = Tool {
    program: "/usr/lib/postgresql/*/bin/initdb",
    packages: &["postgresql"],
    purpose: "run the store's tests on PostgreSQL",
};
pub const PODMAN: Tool = Tool {
    program: "podman",
    packages: &["podman", "crun", "runc", "buildah", "netavark", "aardvark-dns", "iptables", "busybox-static"],
    purpose: "run the tests of containers",
};
pub const BTRFS: Tool = Tool {
    program: "mkfs.btrfs",
    packages: &["btrfs-progs"],
    purpose: "run the tests of containers whose disk is limited",
};
/// Debian's own toolchain with the WebAssembly target, used when rustup's has none.
pub const DEBIAN_WASM: Tool = Tool {
    program: "/usr/lib/rustlib/src/rust/library/std/Cargo.toml",
    packages: &["rustc-web", "cargo-web", "rust-web-src", "lld-22"],
    purpose: "build the page for WebAssembly",
};

/// Where a program is, if it is there.
pub fn find(program: &str) -> Option<PathBuf> {
    if let Some((before, after)) = program.split_once("/*/") {
        let folders = fs::read_dir(before).ok()?;
        return folders.flatten().map(|folder| folder.path().join(after)).find(|path| path.exists());
    }
    if program.starts_with('/') {
        return Some(PathBuf::from(program)).filter(|path| path.exists());
    }
    env::split_paths(&env::var_os("PATH")?).map(|dir| dir.join(program)).find(|path| path.is_file())
}

/// Installs what is missing when this is root on Debian; otherwise names the command to type.
pub fn ensure(tools: &[Tool]) -> Result<()> {
    let missing: Vec<Tool> = tools.iter().copied().filter(|tool| find(tool.program).is_none()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let packages: Vec<&str> = missing.iter().flat_map(|tool| tool.packages.iter().copied()).collect();
    let purposes: Vec<&str> = missing.iter().map(|tool| tool.purpose).collect();
    if !nix::unistd::geteuid().is_root() || !Path::new("/usr/bin/apt-get").exists() {
        bail!(
            "to {}, first install: {}\n  sudo apt-get install --no-install-recommends {}",
            purposes.join(" and "),
            packages.join(", "),
            packages.join(" ")
        );
    }
    eprintln!("installing {}", packages.join(", "));
    if install(&packages).is_err() {
        cargo::run(apt().arg("update"))?;
        install(&packages)?;
    }
    Ok(())
}

fn install(packages: &[&str]) -> Result<()> {
    cargo::run(apt().args(["install", "-y", "-qq", "--no-install-recommends"]).args(packages))
}

fn apt() -> Command {
    let mut command = Command::new("apt-get");
    command.env("DEBIAN_FRONTEND", "noninteractive").stdout(std::process::Stdio::null());
    command
}
