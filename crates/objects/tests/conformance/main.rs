//! The conformance suite: the programs in `conformance/`, run on ours and held against the transcripts that npm `workerd` gave.
//!
//! `BERTH_WORKERD` names the program `workerd`, or it lies in `~/.cache/berth/workerd/node_modules/.bin` after
//! `npm install --prefix ~/.cache/berth/workerd workerd`. With it the recorded transcripts are compared with what it says today.
//! `BERTH_CONFORMANCE=record` writes them, and the table in docs/operations/objects-conformance.md, anew. A word on the command line
//! picks programs by their names.
//!
//! A program of its own rather than libtest's, because it is started again as an engine.

mod bare;
mod ours;
mod programs;
mod realm;
mod table;
mod workerd;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;

use programs::{Program, Verdict};

fn main() -> ExitCode {
    if let Some(code) = objects::host::child::run_if_asked() {
        return code;
    }
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.iter().any(|argument| argument == "--list") {
        println!("conformance: test");
        return ExitCode::SUCCESS;
    }
    let word = arguments.iter().find(|argument| !argument.starts_with('-'));
    let outcome = catch_unwind(AssertUnwindSafe(|| match word {
        Some(word) => some(word),
        None => all(),
    }));
    if outcome.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn all() {
    for (name, test) in realm::TESTS {
        test();
        println!("{name} ... ok");
    }
    compare_with_workerd();
    compare_ours();
}

/// The programs with this word in their names: what differs is shown, nothing is written.
fn some(word: &str) {
    let programs: Vec<Program> = programs::all().into_iter().filter(|program| program.name.contains(word)).collect();
    let answers = run(&programs);
    let differ = programs.iter().filter_map(|program| difference(program, &answers[&program.name]));
    let differ: Vec<String> = differ.collect();
    println!("{} programs, {} differ\n{}", programs.len(), differ.len(), differ.join("\n"));
}

fn run(programs: &[Program]) -> BTreeMap<String, String> {
    let (objects, bare): (Vec<&Program>, Vec<&Program>) = programs.iter().partition(|program| program.needs_objects());
    let mut answers = ours::run(&objects);
    answers.extend(bare.into_iter().map(|program| (program.name.clone(), bare::transcript(&program.text))));
    answers
}

fn difference(program: &Program, ours: &str) -> Option<String> {
    let recorded = program.recorded.as_deref().unwrap_or("(nothing)\n");
    (recorded != ours).then(|| format!("== {}\n-- recorded\n{recorded}-- ours\n{ours}", program.name))
}

fn compare_ours() {
    let programs = programs::all();
    let known = programs::known_differences();
    let answers = run(&programs);
    let mut verdicts = BTreeMap::new();
    let mut broken = Vec::new();
    for program in &programs {
        let difference = difference(program, &answers[&program.name]);
        verdicts.insert(program.name.clone(), if difference.is_none() { Verdict::Agrees } else { Verdict::Differs });
        match (difference, known.contains_key(&program.name)) {
            (Some(difference), false) => broken.push(difference),
            (None, true) => {
                broken.push(format!("== {} agrees now: take it off conformance/differences.toml", program.name))
            }
            (Some(_), true) | (None, false) => {}
        }
    }
    for name in known.keys() {
        assert!(verdicts.contains_key(name), "differences.toml names {name}, which is no program");
    }
    let table = table::of(&verdicts, &known);
    println!("{table}");
    assert!(broken.is_empty(), "{} programs differ:\n{}", broken.len(), broken.join("\n"));
    if programs::recording() {
        table::write(&table);
    } else {
        assert_eq!(table::read(), table, "run with BERTH_CONFORMANCE=record to write the table anew");
    }
}

fn compare_with_workerd() {
    let Some(workerd) = workerd::find() else {
        println!("SKIPPED: npm workerd is not installed, so the recorded transcripts were not compared with it");
        return;
    };
    let programs = programs::all();
    let mut answers = workerd::run(&workerd, &programs);
    if !programs::recording() {
        // On a busy machine one that waits may be late in workerd itself: what is not as recorded is asked once more, alone.
        let again: Vec<Program> = programs::all()
            .into_iter()
            .filter(|program| difference(program, &answers[&program.name]).is_some())
            .collect();
        if !again.is_empty() {
            answers.extend(workerd::run(&workerd, &again));
        }
    }
    let mut differ = Vec::new();
    for program in &programs {
        let answer = &answers[&program.name];
        if programs::recording() {
            program.record(answer);
        } else if let Some(difference) = difference(program, answer) {
            differ.push(difference.replace("-- ours", "-- workerd"));
        }
    }
    assert!(differ.is_empty(), "{} programs differ:\n{}", differ.len(), differ.join("\n"));
    println!("workerd gives the {} recorded transcripts", programs.len());
}
