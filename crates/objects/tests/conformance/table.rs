//! The table of what agrees, kept in docs/operations/objects-conformance.md.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use crate::programs::Verdict;

fn path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/operations/objects-conformance.md")
}

const HEAD: &str = "# Object workers: conformance\n\n\
    The programs in `crates/objects/conformance/` run on Berth's engine and on npm `workerd`, which is the oracle: a program agrees when both\n\
    print the same. This page is written by the suite (`BERTH_CONFORMANCE=record cargo test -p objects --test conformance`), and the suite\n\
    fails when it is not true.\n\n";

pub(crate) fn of(verdicts: &BTreeMap<String, Verdict>, known: &BTreeMap<String, String>) -> String {
    let mut areas: BTreeMap<&str, [usize; 2]> = BTreeMap::new();
    for (name, verdict) in verdicts {
        let (area, _) = name.split_once('/').unwrap_or((name, ""));
        let row = areas.entry(area).or_default();
        let place = match verdict {
            Verdict::Agrees => 0,
            Verdict::Differs => 1,
        };
        row[place] += 1;
    }
    let mut out = String::from(HEAD);
    out.push_str("| area | programs | agree | differ |\n|---|---|---|---|\n");
    let mut sum = [0; 2];
    for (area, [agree, differ]) in &areas {
        line(&mut out, area, [*agree, *differ]);
        sum = [sum[0] + agree, sum[1] + differ];
    }
    line(&mut out, "all", sum);
    if !known.is_empty() {
        out.push_str("\n## Known differences\n\n");
        for (name, reason) in known {
            writeln!(out, "- `{name}`: {reason}").expect("text grows");
        }
    }
    out
}

fn line(out: &mut String, area: &str, [agree, differ]: [usize; 2]) {
    let programs = agree + differ;
    writeln!(out, "| {area} | {programs} | {agree} | {differ} |").expect("text grows");
}

pub(crate) fn read() -> String {
    fs::read_to_string(path()).unwrap_or_default()
}

pub(crate) fn write(table: &str) {
    fs::write(path(), table).expect("the page can be written");
}
