//! Which file an import means: as Node and bundlers find it.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::{
    config::{Rule, RuleKind},
    files::Files,
};
use crate::wire::ModuleKind;

/// Tried in this order behind a name that is no file.
const ENDINGS: [&str; 8] = ["ts", "tsx", "mts", "js", "mjs", "jsx", "cjs", "json"];
/// Of a package's ways in, those that suit a worker.
const CONDITIONS: [&str; 6] = ["workerd", "worker", "browser", "import", "module", "default"];
const MAX_DEPTH: usize = 16;

/// Modules that the engine has.
pub fn is_built_in(specifier: &str) -> bool {
    specifier.starts_with("cloudflare:")
}

pub fn not_found(specifier: &str) -> String {
    if specifier.starts_with("node:") {
        return format!("{specifier} is a part of Node.js, which workers do not have");
    }
    if specifier.starts_with('.') || specifier.starts_with('/') {
        return format!("{specifier} is not there");
    }
    let mut parts = specifier.split('/');
    let name = match (parts.next(), parts.next()) {
        (Some(scope), Some(name)) if scope.starts_with('@') => format!("{scope}/{name}"),
        (first, _) => first.unwrap_or_default().to_owned(),
    };
    format!("{specifier} is not installed: npm install {name}")
}

pub fn kind_of(file: &Path, rules: &[Rule]) -> ModuleKind {
    let name = file.to_string_lossy();
    let ruled = rules.iter().find(|rule| rule.globs.iter().any(|glob| matches(glob.as_bytes(), name.as_bytes())));
    match (ruled.map(|rule| rule.kind), file.extension().and_then(|ending| ending.to_str())) {
        (Some(RuleKind::EsModule), _) => ModuleKind::Esm,
        (Some(RuleKind::Text), _) | (None, Some("txt" | "html" | "sql" | "css" | "md")) => ModuleKind::Text,
        (Some(RuleKind::Data), _) | (None, Some("bin")) => ModuleKind::Data,
        (None, Some("json")) => ModuleKind::Json,
        (None, Some(_) | None) => ModuleKind::Esm,
    }
}

/// `*` within a name, `**` over folders too; a pattern without a beginning may begin anywhere.
fn matches(glob: &[u8], name: &[u8]) -> bool {
    match (glob, name) {
        ([], []) => true,
        ([b'*', b'*', b'/', rest @ ..], _) => {
            matches(rest, name)
                || name.iter().enumerate().any(|(at, byte)| *byte == b'/' && matches(rest, &name[at + 1..]))
        }
        ([b'*', b'*', rest @ ..], _) => (0..=name.len()).any(|at| matches(rest, &name[at..])),
        ([b'*', rest @ ..], _) => {
            let end = name.iter().position(|byte| *byte == b'/').unwrap_or(name.len());
            (0..=end).any(|at| matches(rest, &name[at..]))
        }
        ([b'?', rest @ ..], [_, tail @ ..]) => matches(rest, tail),
        ([first, rest @ ..], [same, tail @ ..]) if first == same => matches(rest, tail),
        _different => false,
    }
}

/// The file that `specifier` means in `from`.
pub(super) fn resolve(files: Files<'_>, from: &Path, specifier: &str) -> Option<PathBuf> {
    if specifier.starts_with("./") || specifier.starts_with("../") || specifier == "." || specifier == ".." {
        return file_or_folder(files, &clean(&from.parent()?.join(specifier)));
    }
    if specifier.starts_with('/') {
        return None;
    }
    let (package, inside) = split(specifier);
    from.ancestors()
        .skip(1)
        .map(|folder| folder.join("node_modules").join(&package))
        .find_map(|folder| files.is_dir(&folder).then(|| in_package(files, &folder, &inside)).flatten())
}

fn split(specifier: &str) -> (String, String) {
    let parts: Vec<&str> = specifier.split('/').collect();
    let length = if specifier.starts_with('@') { 2 } else { 1 };
    let (package, inside) = parts.split_at(length.min(parts.len()));
    (package.join("/"), inside.join("/"))
}

/// Without `.` and `..`, and without asking the disk: a link is not followed.
fn clean(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for part in path.components() {
        match part {
            std::path::Component::CurDir => {}
            std::path::Component::ParentDir => {
                out.pop();
            }
            std::path::Component::Prefix(_) | std::path::Component::RootDir | std::path::Component::Normal(_) => {
                out.push(part);
            }
        }
    }
    out
}

fn with_ending(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(ending);
    PathBuf::from(name)
}

fn file(files: Files<'_>, path: &Path) -> Option<PathBuf> {
    if files.is_file(path) {
        return Some(path.to_owned());
    }
    // TypeScript's way to import what will be JavaScript.
    let original = match path.extension().and_then(|ending| ending.to_str()) {
        Some("js") => ["ts", "tsx"].as_slice(),
        Some("mjs") => ["mts"].as_slice(),
        Some("jsx") => ["tsx"].as_slice(),
        Some(_) | None => [].as_slice(),
    };
    let original = original.iter().map(|ending| path.with_extension(ending)).find(|path| files.is_file(path));
    original.or_else(|| ENDINGS.iter().map(|ending| with_ending(path, ending)).find(|path| files.is_file(path)))
}

fn file_or_folder(files: Files<'_>, path: &Path) -> Option<PathBuf> {
    file(files, path).or_else(|| {
        let is_package = files.is_file(&path.join("package.json"));
        if is_package { in_package(files, path, "") } else { file(files, &path.join("index")) }
    })
}

fn in_package(files: Files<'_>, folder: &Path, inside: &str) -> Option<PathBuf> {
    let package: Value = files
        .read(&folder.join("package.json"))
        .ok()
        .and_then(|bytes| serde_json::from_slice(&bytes).ok())
        .unwrap_or_default();
    if let Some(exports) = package.get("exports") {
        let wanted = if inside.is_empty() { ".".to_owned() } else { format!("./{inside}") };
        return file(files, &clean(&folder.join(export(exports, &wanted)?)));
    }
    if !inside.is_empty() {
        return file_or_folder(files, &folder.join(inside));
    }
    let ways = ["module", "browser", "main"].iter().filter_map(|way| package.get(way)?.as_str());
    ways.filter_map(|way| {
        file(files, &clean(&folder.join(way))).or_else(|| file(files, &folder.join(way).join("index")))
    })
    .next()
    .or_else(|| file(files, &folder.join("index")))
}

/// What a package's `exports` give for a way in.
fn export(exports: &Value, wanted: &str) -> Option<String> {
    let by_path = exports.as_object().is_some_and(|map| map.keys().any(|key| key.starts_with('.')));
    if !by_path {
        return (wanted == ".").then(|| condition(exports, 0)).flatten();
    }
    let map = exports.as_object()?;
    if let Some(exact) = map.get(wanted) {
        return condition(exact, 0);
    }
    let (pattern, part) = map.keys().find_map(|key| {
        let (before, after) = key.split_once('*')?;
        let part = wanted.strip_prefix(before)?.strip_suffix(after)?;
        Some((key, part))
    })?;
    condition(map.get(pattern)?, 0).map(|target| target.replace('*', part))
}

fn condition(value: &Value, depth: usize) -> Option<String> {
    match value {
        Value::String(path) => Some(path.clone()),
        Value::Array(choices) if depth < MAX_DEPTH => choices.iter().find_map(|choice| condition(choice, depth + 1)),
        Value::Object(map) if depth < MAX_DEPTH => map
            .iter()
            .filter(|(name, _)| CONDITIONS.contains(&name.as_str()))
            .find_map(|(_, value)| condition(value, depth + 1)),
        Value::Array(_) | Value::Object(_) | Value::Null | Value::Bool(_) | Value::Number(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs() {
        let check = |glob: &str, name: &str, expected: bool| {
            assert_eq!(matches(glob.as_bytes(), name.as_bytes()), expected, "{glob} {name}");
        };
        check("**/*.sql", "a/b/c.sql", true);
        check("**/*.sql", "c.sql", true);
        check("**/*.sql", "a/b/c.sqlx", false);
        check("*.txt", "a/b.txt", false);
        check("a/?.txt", "a/b.txt", true);
    }

    #[test]
    fn a_packages_ways_in() {
        let exports: Value = serde_json::from_str(
            r#"{ ".": { "require": "./r.cjs", "workerd": { "default": "./w.js" } }, "./sub/*": { "import": "./s/*.js" } }"#,
        )
        .expect("is JSON");
        assert_eq!(export(&exports, "."), Some("./w.js".to_owned()));
        assert_eq!(export(&exports, "./sub/x"), Some("./s/x.js".to_owned()));
        assert_eq!(export(&exports, "./none"), None);
        assert_eq!(export(&Value::from("./one.js"), "."), Some("./one.js".to_owned()));
    }
}
