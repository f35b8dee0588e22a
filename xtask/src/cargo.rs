//! Running Cargo and other programs.

use std::ffi::OsStr;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use crate::paths;

/// What `cargo xtask` passes on and an inner Cargo of another toolchain must not see.
const OUTER: [&str; 4] = ["CARGO", "RUSTUP_TOOLCHAIN", "RUSTC_WRAPPER", "RUSTC_WORKSPACE_WRAPPER"];

/// A Cargo at the checkout's root, building into the shared target folder.
pub fn cargo(program: &str) -> Result<Command> {
    let mut command = clean(program);
    command.current_dir(paths::root()?).env("CARGO_TARGET_DIR", paths::target()?);
    Ok(command)
}

/// A program without the variables that the outer Cargo set for xtask itself.
pub fn clean(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") || OUTER.contains(&text.as_ref()) {
            command.env_remove(&name);
        }
    }
    command
}

/// Runs to the end and fails when the program did.
pub fn run(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("could not start {}", describe(command)))?;
    ensure!(status.success(), "{} ended with {status}", describe(command));
    Ok(())
}

/// Runs to the end and gives what it printed.
pub fn output(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("could not start {}", describe(command)))?;
    ensure!(
        output.status.success(),
        "{} ended with {}: {}",
        describe(command),
        output.status,
        String::from_utf8_lossy(&output.stderr).trim()
    );
    String::from_utf8(output.stdout).with_context(|| format!("{} printed no text", describe(command)))
}

/// The program and its arguments, for messages.
pub fn describe(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
}
