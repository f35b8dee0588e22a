//! Rules of this repository that no compiler knows.

use std::path::Path;

use anyhow::{Context as _, Result};

use crate::{cargo, paths};

/// A file longer than this asks to be two; it is named, not refused.
const LONG_LINES: usize = 600;

/// The database of the server, the journal of an agent, and the databases of users' objects with the programs that test them.
const SQL_PLACES: &[&str] = &[
    "crates/store/",
    "migrations/",
    "crates/agent/",
    "crates/objects/src/sqlite/",
    "crates/objects/src/engine/tests/",
    "crates/bench/src/objects/",
    "crates/objects/tests/",
    "xtask/",
];

/// What breaks a rule, and what only should be looked at.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Findings {
    pub wrong: Vec<String>,
    pub long: Vec<String>,
}

/// Looks at every file that Git knows, and at those that it would take.
pub fn check() -> Result<Findings> {
    let root = paths::root()?;
    let mut list = cargo::clean("git");
    list.current_dir(&root).args(["ls-files", "--cached", "--others", "--exclude-standard"]);
    let mut findings = Findings::default();
    for name in cargo::output(&mut list)?.lines() {
        let path = root.join(name);
        if !wanted(name) || !path.is_file() {
            continue;
        }
        let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {name}"))?;
        look(name, &text, &mut findings);
    }
    Ok(findings)
}

fn wanted(name: &str) -> bool {
    let extension = Path::new(name).extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    !name.starts_with("public/vendor/") && matches!(extension, "rs" | "js" | "mjs" | "css" | "json")
}

/// The spellings are put together so that this file does not find itself.
fn look(name: &str, text: &str, findings: &mut Findings) {
    let mut wrong = |what: String| findings.wrong.push(format!("{name}: {what}"));
    if name.ends_with("package-lock.json") {
        if text.contains(concat!("http", "s://")) && text.contains("\"resolved\"") {
            wrong("names a registry's host; make it with omit-lockfile-registry-resolved".to_owned());
        }
        return;
    }
    if !name.ends_with(".rs") {
        if text.lines().count() > LONG_LINES {
            findings.long.push(name.to_owned());
        }
        return;
    }
    let may_hold_sql = SQL_PLACES.iter().any(|place| name.starts_with(place));
    for (index, line) in text.lines().enumerate() {
        let line_number = index + 1;
        if line.trim_start().starts_with(concat!("#[", "ignore")) {
            wrong(format!("line {line_number} skips a test; a test that cannot run is no test"));
        }
        if !may_hold_sql && is_sql(line) {
            wrong(format!("line {line_number} holds SQL; only store and migrations know it"));
        }
    }
    if text.lines().count() > LONG_LINES {
        findings.long.push(name.to_owned());
    }
}

fn is_sql(line: &str) -> bool {
    let statements = [("SELECT ", " FROM "), ("INSERT ", "INTO "), ("UPDATE ", " SET "), ("DELETE ", "FROM ")];
    let quoted = line.contains('"') && !line.trim_start().starts_with("//");
    quoted && statements.iter().any(|(first, second)| line.contains(first) && line.contains(second))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(name: &str, text: &str, wrong: usize) {
        let mut findings = Findings::default();
        look(name, text, &mut findings);
        assert_eq!(findings.wrong.len(), wrong, "{name}: {text}: {findings:?}");
    }

    #[test]
    fn sql_is_found_outside_the_store_only() {
        let sql = concat!("let q = \"SELECT id ", "FROM hosts\";");
        check("server/src/lib.rs", sql, 1);
        check("crates/store/src/lib.rs", sql, 0);
        check("crates/objects/src/sqlite/kv.rs", sql, 0);
        check("crates/objects/src/host/log.rs", sql, 1);
        check("server/src/lib.rs", "// SELECT x FROM y", 0);
        check("server/src/lib.rs", "let say = \"select a machine from the list\";", 0);
    }

    #[test]
    fn skipped_tests_are_found() {
        check("crates/store/src/lib.rs", concat!("    #[", "ignore]"), 1);
    }

    #[test]
    fn lock_files_must_name_no_host() {
        check("end2end/package-lock.json", concat!("\"resolved\": \"http", "s://example.org/x.tgz\""), 1);
        check("end2end/package-lock.json", concat!("\"url\": \"http", "s://example.org/funding\""), 0);
    }

    #[test]
    fn long_files_are_named() {
        let mut findings = Findings::default();
        look("server/src/lib.rs", &"\n".repeat(LONG_LINES + 1), &mut findings);
        assert_eq!(findings.long, ["server/src/lib.rs"]);
        assert!(findings.wrong.is_empty());
    }
}
