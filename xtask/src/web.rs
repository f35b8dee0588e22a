//! `cargo xtask web`: the page, from Rust, CSS and public files to the folder that the server serves.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::UNIX_EPOCH;

use anyhow::{Context as _, Result, bail};
use wasm_bindgen_cli_support::Bindgen;

use crate::paths::Mode;
use crate::{cargo, paths, setup, style};

const TARGET: &str = "wasm32-unknown-unknown";
/// What the compiler and wasm-bindgen use. Not `--all-features`: binaryen 108 then writes types that browsers refuse.
const WASM_FEATURES: [&str; 6] = [
    "--enable-bulk-memory",
    "--enable-sign-ext",
    "--enable-mutable-globals",
    "--enable-nontrapping-float-to-int",
    "--enable-reference-types",
    "--enable-multivalue",
];
/// What is worth compressing, by extension.
const COMPRESSED: [&str; 6] = ["wasm", "js", "css", "svg", "json", "mjs"];

pub fn command(args: &[String]) -> Result<ExitCode> {
    let mode = match args {
        [] => Mode::Development,
        [flag] if flag == "--release" => Mode::Release,
        other => bail!("web takes only --release, not {}", other.join(" ")),
    };
    println!("{}", build(mode)?.display());
    Ok(ExitCode::SUCCESS)
}

/// Builds what has changed and gives the folder to serve.
pub fn build(mode: Mode) -> Result<PathBuf> {
    let root = paths::root()?;
    let site = paths::site(mode)?;
    let package = site.join("pkg");
    fs::create_dir_all(&package)?;

    write(&package.join("main.css"), style::bundle(&root.join("style/main.css"))?.as_bytes())?;
    copy_tree(&root.join("public"), &site)?;

    let wasm = compile(mode)?;
    // xtask's own time stands for the version of wasm-bindgen inside it.
    let stamp = format!("{}\n{}\n", fingerprint(&wasm)?, fingerprint(&std::env::current_exe()?)?);
    let stamp_file = site.join(".stamp");
    let fresh = fs::read_to_string(&stamp_file).is_ok_and(|old| old == stamp);
    if !fresh || !package.join("app_bg.wasm").exists() {
        bind(&wasm, &package, mode)?;
    }
    if mode == Mode::Release {
        compress_tree(&site)?;
    }
    fs::write(&stamp_file, stamp)?;
    Ok(site)
}

/// The toolchain that can build for WebAssembly here.
enum Toolchain {
    /// The one that runs the rest of the build.
    Ordinary,
    /// Debian's, which brings the standard library as source.
    Debian { linker: PathBuf },
}

fn toolchain() -> Result<Toolchain> {
    if has_target()? {
        return Ok(Toolchain::Ordinary);
    }
    let mut rustup = cargo::clean("rustup");
    rustup.args(["target", "add", TARGET]).stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
    if rustup.status().is_ok_and(|status| status.success()) && has_target()? {
        return Ok(Toolchain::Ordinary);
    }
    setup::ensure(&[setup::DEBIAN_WASM])
        .context("this Rust has no WebAssembly target, and neither `rustup target add` nor Debian's packages helped")?;
    let linker = (14..40).rev().find_map(|version| setup::find(&format!("wasm-ld-{version}")));
    Ok(Toolchain::Debian { linker: linker.context("wasm-ld is missing: install Debian's lld-22")? })
}

/// Whether the toolchain's folder of the target exists: rustc prints its path whether or not it is there.
fn has_target() -> Result<bool> {
    let mut rustc = cargo::clean("rustc");
    rustc.current_dir(paths::root()?).args(["--print", "target-libdir", "--target", TARGET]);
    Ok(Path::new(cargo::output(&mut rustc)?.trim()).is_dir())
}

fn compile(mode: Mode) -> Result<PathBuf> {
    // A folder of its own: RUSTC_BOOTSTRAP would make the server half's build scripts run again.
    let target = paths::target()?.join("web");
    let mut command: Command;
    match toolchain()? {
        Toolchain::Ordinary => {
            command = cargo::cargo("cargo")?;
            command.arg("rustc");
        }
        Toolchain::Debian { linker } => {
            command = cargo::cargo("/usr/bin/cargo")?;
            command
                .env("RUSTC_BOOTSTRAP", "1")
                .env("RUSTC", "/usr/bin/rustc")
                .env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", linker)
                .args(["rustc", "-Zbuild-std=std,panic_abort"]);
            if mode == Mode::Release {
                // Without the words of panics, which nobody reads in a visitor's browser; a build for development has them.
                command
                    .args(["-Zbuild-std-features=optimize_for_size", "-Zpanic-immediate-abort"])
                    .args(["--config", "profile.web-release.panic=\"immediate-abort\""]);
            }
        }
    }
    command
        .args(["--quiet", "--locked", "--package", "app", "--lib", "--crate-type", "cdylib"])
        .args(["--no-default-features", "--features", "hydrate"])
        .args(["--profile", mode.web_profile(), "--target", TARGET, "--target-dir"])
        .arg(&target);
    cargo::run(&mut command)?;
    Ok(target.join(TARGET).join(mode.web_profile()).join("app.wasm"))
}

/// Makes the browser's module and its JavaScript from what the compiler made.
fn bind(wasm: &Path, package: &Path, mode: Mode) -> Result<()> {
    let fresh = package.with_extension("new");
    if fresh.exists() {
        fs::remove_dir_all(&fresh)?;
    }
    let mut bindgen = Bindgen::new();
    bindgen.input_path(wasm).out_name("app").typescript(false).remove_producers_section(true);
    bindgen.web(true)?;
    bindgen.generate(&fresh)?;
    let module = fresh.join("app_bg.wasm");
    if mode == Mode::Release {
        setup::ensure(&[setup::WASM_OPT])?;
        let small = fresh.join("small.wasm");
        cargo::run(Command::new("wasm-opt").arg("-Oz").args(WASM_FEATURES).arg("-o").arg(&small).arg(&module))?;
        mend_table_export(&small, &module)?;
        fs::remove_file(&small)?;
    }
    // Each file appears whole: a server of another run may be reading this folder.
    copy_tree(&fresh, package)?;
    fs::remove_dir_all(&fresh)?;
    Ok(())
}

/// Binaryen 108 writes the first table's index into every export of a table. The page exports one, of references to
/// JavaScript's objects.
fn mend_table_export(from: &Path, to: &Path) -> Result<()> {
    let mut module = walrus::Module::from_file(from)?;
    let references = module.tables.iter().find(|table| table.element_ty == walrus::RefType::EXTERNREF);
    if let Some(table) = references.map(walrus::Table::id) {
        for export in module.exports.iter_mut() {
            if let walrus::ExportItem::Table(exported) = &mut export.item {
                *exported = table;
            }
        }
    }
    module.emit_wasm_file(to)
}

fn fingerprint(path: &Path) -> Result<String> {
    let meta = fs::metadata(path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(format!("{} {}", meta.len(), meta.modified()?.duration_since(UNIX_EPOCH)?.as_nanos()))
}

/// Copies files that differ, each in one step. What is gone from the source stays in the copy.
fn copy_tree(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from).with_context(|| format!("cannot read {}", from.display()))? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_tree(&entry.path(), &target)?;
        } else {
            write(&target, &fs::read(entry.path())?)?;
        }
    }
    Ok(())
}

/// Writes in one step, and leaves a file alone that already holds this.
fn write(path: &Path, content: &[u8]) -> Result<()> {
    if fs::read(path).is_ok_and(|old| old == content) {
        return Ok(());
    }
    let partial = path.with_extension(format!("part{}", std::process::id()));
    fs::write(&partial, content)?;
    fs::rename(&partial, path)?;
    Ok(())
}

/// Puts `.br` and `.gz` beside each file that gains by it, unless they are newer than the file.
fn compress_tree(folder: &Path) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            compress_tree(&path)?;
            continue;
        }
        let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
        if !COMPRESSED.contains(&extension) {
            continue;
        }
        let brotli = path.with_extension(format!("{extension}.br"));
        let changed = fs::metadata(&path)?.modified()?;
        if fs::metadata(&brotli).and_then(|meta| meta.modified()).is_ok_and(|made| made >= changed) {
            continue;
        }
        let content = fs::read(&path)?;
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        gzip.write_all(&content)?;
        write(&path.with_extension(format!("{extension}.gz")), &gzip.finish()?)?;
        let mut small = Vec::new();
        let params = brotli::enc::BrotliEncoderParams { quality: 11, lgwin: 22, ..Default::default() };
        brotli::BrotliCompress(&mut content.as_slice(), &mut small, &params)?;
        write(&brotli, &small)?;
    }
    Ok(())
}
