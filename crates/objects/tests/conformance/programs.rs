//! The programs of the suite: `conformance/<area>/<name>.js` with the transcript in `<name>.out` beside it, and further modules in
//! `<name>.files/` where a program has them.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

pub(crate) struct Program {
    /// `area/name`
    pub(crate) name: String,
    pub(crate) text: String,
    pub(crate) recorded: Option<String>,
    /// Name and path of each further module.
    pub(crate) files: Vec<(String, PathBuf)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Agrees,
    Differs,
}

pub(crate) fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("conformance")
}

pub(crate) fn recording() -> bool {
    std::env::var_os("BERTH_CONFORMANCE").is_some_and(|value| value == "record")
}

pub(crate) fn all() -> Vec<Program> {
    let mut programs = Vec::new();
    for area in entries(&folder()).into_iter().filter(|path| path.is_dir()) {
        for path in entries(&area).into_iter().filter(|path| path.extension().is_some_and(|kind| kind == "js")) {
            let name = format!("{}/{}", last(&area), last(&path).trim_end_matches(".js"));
            let text = fs::read_to_string(&path).expect("a program is text");
            let recorded = fs::read_to_string(path.with_extension("out")).ok();
            let more = path.with_extension("files");
            let files = if more.is_dir() {
                entries(&more).into_iter().map(|file| (last(&file), file)).collect()
            } else {
                Vec::new()
            };
            programs.push(Program { name, text, recorded, files });
        }
    }
    programs
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> =
        fs::read_dir(folder).expect("the folder can be read").map(|entry| entry.expect("an entry").path()).collect();
    paths.sort();
    paths
}

fn last(path: &Path) -> String {
    path.file_name().expect("a path with a name").to_string_lossy().into_owned()
}

/// Programs that are known to differ, each with the reason.
pub(crate) fn known_differences() -> BTreeMap<String, String> {
    let text = fs::read_to_string(folder().join("differences.toml")).expect("the list of differences is there");
    toml::from_str(&text).expect("the list of differences is TOML: \"area/name\" = \"reason\"")
}

impl Program {
    /// Whether it needs modules, objects or the network, and not the web APIs alone.
    pub(crate) fn needs_objects(&self) -> bool {
        !self.name.starts_with("web-")
    }

    /// The classes of objects that it exports.
    pub(crate) fn classes(&self, base: &str) -> Vec<String> {
        let end = format!(" extends {base}");
        let named = self.text.lines().filter_map(|line| line.strip_prefix("export class ")?.split_once(&end));
        named.map(|(name, _)| name.to_owned()).collect()
    }

    pub(crate) fn record(&self, transcript: &str) {
        fs::write(folder().join(format!("{}.out", self.name)), transcript).expect("a transcript can be written");
    }
}
