//! What the build and the tests need from the operating system.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

use crate::{cargo, paths};

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
/// Looked for only where no Python on `PATH` makes virtual environments.
const PYTHON: Tool = Tool {
    program: "/usr/lib/*/ensurepip/__init__.py",
    packages: &["python3", "python3-venv"],
    purpose: "make notebooks' environments",
};
/// Of PyPI, pinned.
const UV_VERSION: &str = "0.13.9";
/// Of npm, pinned: that of the recorded transcripts.
const WORKERD_VERSION: &str = "1.20261117.1";
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

/// What notebooks' environments are made with: a Python, and `uv` where it can be installed, which takes a third of pip's time.
/// Gives a folder with nothing but `uv` in it, to be put on the agents' `PATH`; `None` where that has one, or there is none.
pub fn notebooks() -> Result<Option<PathBuf>> {
    if python().is_none() {
        ensure(&[PYTHON])?;
    }
    if find("uv").is_some() {
        return Ok(None);
    }
    let folder = paths::cache()?.join("uv").join(UV_VERSION);
    if !folder.join("uv").is_file()
        && let Err(error) = install_uv(&folder)
    {
        eprintln!("note: no uv, so environments are made with pip: {error:#}");
        return Ok(None);
    }
    Ok(Some(folder))
}

/// The first Python on `PATH` that makes virtual environments with pip in them.
fn python() -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path).map(|dir| dir.join("python3")).find(|program| {
        let mut probe = cargo::clean(program);
        probe.args(["-I", "-c", "import ensurepip, venv"]).stdin(Stdio::null()).stderr(Stdio::null());
        probe.status().is_ok_and(|status| status.success())
    })
}

fn install_uv(folder: &Path) -> Result<()> {
    let python = python().context("no Python makes virtual environments")?;
    eprintln!("installing uv {UV_VERSION} from PyPI");
    // Beside its place, and moved there whole: another run may be doing the same.
    let part = folder.with_extension(format!("part-{}", std::process::id()));
    let done = install_uv_in(&part, &python).and_then(|()| {
        let ready = part.join("ready");
        match fs::rename(&ready, folder) {
            Err(_) if folder.join("uv").is_file() => Ok(()),
            renamed => renamed.with_context(|| format!("cannot make {}", folder.display())),
        }
    });
    if let Err(error) = fs::remove_dir_all(&part) {
        eprintln!("note: {} is left: {error}", part.display());
    }
    done
}

fn install_uv_in(part: &Path, python: &Path) -> Result<()> {
    fs::create_dir_all(part.join("ready"))?;
    let venv = part.join("venv");
    cargo::output(cargo::clean(python).args(["-m", "venv"]).arg(&venv))?;
    let mut pip = cargo::clean(venv.join("bin/python"));
    pip.args(["-I", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--only-binary", ":all:"]);
    cargo::output(pip.arg(format!("uv=={UV_VERSION}")))?;
    fs::rename(venv.join("bin/uv"), part.join("ready/uv"))?;
    Ok(())
}

/// npm workerd, beside which objects are measured. `None` where it cannot be had.
pub fn workerd() -> Result<Option<PathBuf>> {
    if let Some(program) = env::var_os("BERTH_WORKERD") {
        return Ok(Some(program.into()));
    }
    let folder = paths::cache()?.join("workerd");
    let program = folder.join("node_modules/.bin/workerd");
    if !program.is_file()
        && let Err(error) = install_workerd(&folder)
    {
        eprintln!("note: no npm workerd, so nothing stands beside what is measured: {error:#}");
        return Ok(None);
    }
    Ok(Some(program))
}

fn install_workerd(folder: &Path) -> Result<()> {
    ensure(&[NODE])?;
    eprintln!("installing workerd {WORKERD_VERSION} from npm");
    let mut npm = cargo::clean("npm");
    npm.args(["install", "--no-audit", "--no-fund", "--prefix"]).arg(folder);
    cargo::output(npm.arg(format!("workerd@{WORKERD_VERSION}")))?;
    Ok(())
}

/// Puts what [`notebooks`] gave on the program's `PATH`, behind what is there.
pub fn on_path(command: &mut Command, folder: Option<&Path>) -> Result<()> {
    if let Some(folder) = folder {
        let path = env::var_os("PATH").unwrap_or_default();
        let folders = env::split_paths(&path).chain([folder.to_owned()]);
        command.env("PATH", env::join_paths(folders)?);
    }
    Ok(())
}
