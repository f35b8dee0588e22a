//! The Python of which environments are made: one that every sandbox of this host sees.

use std::{
    io,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use serde::Deserialize;

use crate::environments::sandbox::is_hidden;

/// The oldest that JupyterLab runs on.
const OLDEST: (u32, u32) = (3, 10);
const PROBE: &str = "
import json, platform, sys
try:
    import ensurepip, venv
    has_venv = True
except ImportError:
    has_venv = False
program = getattr(sys, '_base_executable', None) or sys.executable
print(json.dumps({'version': sys.version_info[:3], 'prefix': sys.base_prefix, 'program': program,
    'has_venv': has_venv, 'machine': platform.machine()}))
";

/// Why environments cannot be made of a Python.
#[derive(Debug, thiserror::Error)]
pub enum Unusable {
    #[error("it cannot be run: {0}")]
    Run(#[source] io::Error),
    #[error("it failed: {0}")]
    Failed(String),
    #[error("its answer makes no sense: {0}")]
    Answer(#[source] serde_json::Error),
    #[error("it is Python {major}.{minor}")]
    Old { major: u32, minor: u32 },
    #[error("it lies at {}, which no sandbox sees", .0.display())]
    Hidden(PathBuf),
    #[error("it has no module venv (apt-get install python3-venv, or install uv)")]
    NoVenv,
}

/// One on the search path that cannot be used.
#[derive(Debug)]
pub struct PassedOver {
    program: PathBuf,
    why: Unusable,
}

#[derive(Debug, thiserror::Error)]
pub enum PythonError {
    #[error(
        "no Python {}.{} or newer that sandboxes can see is on the PATH{}; apt-get install python3 python3-venv, or name one in [notebooks]",
        OLDEST.0, OLDEST.1, in_words(.passed_over)
    )]
    None { passed_over: Vec<PassedOver> },
    #[error("python = \"{}\" cannot be used: {why}", .program.display())]
    Configured {
        program: PathBuf,
        #[source]
        why: Unusable,
    },
}

fn in_words(passed_over: &[PassedOver]) -> String {
    let words: Vec<String> = passed_over.iter().map(|one| format!("{}: {}", one.program.display(), one.why)).collect();
    if words.is_empty() { String::new() } else { format!("; passed over: {}", words.join("; ")) }
}

/// What makes environments, and of what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Python {
    pub program: PathBuf,
    /// Where its own libraries are.
    pub prefix: PathBuf,
    /// As in `3.11.2 x86_64`: an environment is good for this one alone.
    pub version: String,
    /// It makes environments faster, and needs no venv module.
    pub uv: Option<PathBuf>,
}

#[derive(Deserialize)]
struct Probed {
    version: (u32, u32, u32),
    prefix: PathBuf,
    program: PathBuf,
    has_venv: bool,
    machine: String,
}

fn probe(program: &Path) -> Result<Probed, Unusable> {
    let output =
        Command::new(program).args(["-I", "-c", PROBE]).stdin(Stdio::null()).output().map_err(Unusable::Run)?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).trim().chars().take(200).collect::<String>();
        return Err(Unusable::Failed(if said.is_empty() { output.status.to_string() } else { said }));
    }
    serde_json::from_slice(&output.stdout).map_err(Unusable::Answer)
}

fn usable(program: &Path, uv: Option<&Path>) -> Result<Python, Unusable> {
    let found = probe(program)?;
    let (major, minor, patch) = found.version;
    if (major, minor) < OLDEST {
        return Err(Unusable::Old { major, minor });
    }
    if let Some(place) = [&found.prefix, &found.program].into_iter().find(|path| is_hidden(path)) {
        return Err(Unusable::Hidden(place.clone()));
    }
    if !found.has_venv && uv.is_none() {
        return Err(Unusable::NoVenv);
    }
    Ok(Python {
        program: found.program,
        prefix: found.prefix,
        version: format!("{major}.{minor}.{patch} {}", found.machine),
        uv: uv.map(Path::to_owned),
    })
}

/// The configured one, or the first on the search path that can be used. Blocks.
pub fn find(configured: Option<&Path>, search_path: &str) -> Result<Python, PythonError> {
    let directories = || search_path.split(':').filter(|directory| directory.starts_with('/')).map(Path::new);
    let uv = directories().map(|directory| directory.join("uv")).find(|path| path.is_file());
    if let Some(program) = configured {
        return usable(program, uv.as_deref())
            .map_err(|why| PythonError::Configured { program: program.to_owned(), why });
    }
    let mut passed_over = Vec::new();
    for program in directories().map(|directory| directory.join("python3")).filter(|path| path.is_file()) {
        match usable(&program, uv.as_deref()) {
            Ok(python) => return Ok(python),
            Err(why) => passed_over.push(PassedOver { program, why }),
        }
    }
    Err(PythonError::None { passed_over })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fake(version: &str, prefix: &str, has_venv: bool) -> tempfile::TempDir {
        use std::os::unix::fs::PermissionsExt;
        let directory = tempfile::tempdir().expect("a directory");
        let text = format!(
            "#!/bin/sh\necho '{{\"version\": [{version}], \"prefix\": \"{prefix}\", \"program\": \"/usr/bin/python3\", \"has_venv\": {has_venv}, \"machine\": \"m\"}}'\n"
        );
        let program = directory.path().join("python3");
        std::fs::write(&program, text).expect("written");
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).expect("is made a program");
        directory
    }

    #[test]
    fn one_that_sandboxes_see_is_taken_and_others_are_named() {
        let (old, hidden, bare) =
            (fake("3, 9, 1", "/usr", true), fake("3, 12, 0", "/root/x", true), fake("3, 12, 0", "/usr", false));
        let good = fake("3, 11, 4", "/usr", true);
        let path = |directories: &[&tempfile::TempDir]| {
            directories.iter().map(|d| d.path().display().to_string()).collect::<Vec<_>>().join(":")
        };
        let found = find(None, &path(&[&old, &hidden, &bare, &good])).expect("the last");
        assert_eq!((found.version.as_str(), found.uv), ("3.11.4 m", None));
        let why = find(None, &path(&[&old, &hidden, &bare])).expect_err("none is good").to_string();
        for words in ["3.10 or newer", "apt-get install", "Python 3.9", "no sandbox sees", "python3-venv"] {
            assert!(why.contains(words), "{words}: {why}");
        }
        let why = find(Some(&old.path().join("python3")), "").expect_err("is old").to_string();
        assert!(why.contains("Python 3.9"), "{why}");
        // With uv the module is not needed.
        std::fs::write(bare.path().join("uv"), "").expect("written");
        assert!(find(None, &path(&[&bare])).expect("is good now").uv.is_some());
    }
}
