//! The conformance suite: the programs in `conformance/`, run on ours and held against the transcripts that npm `workerd` gave.
//!
//! `BERTH_WORKERD` names the program `workerd`, or it lies in `~/.cache/berth/workerd/node_modules/.bin` after
//! `npm install --prefix ~/.cache/berth/workerd workerd`. With it the recorded transcripts are compared with what it says today, and
//! `BERTH_CONFORMANCE=record` writes them, and the table in docs/operations/objects-conformance.md, anew.

mod bare;
mod programs;
mod realm;
mod table;
mod workerd;

use std::collections::BTreeMap;

use programs::{Program, Verdict};

fn say(text: &str) {
    // The table is what this suite is run for; a test's output is shown with --nocapture.
    println!("{text}");
}

#[test]
fn ours_gives_the_recorded_transcripts() {
    let programs = programs::all();
    let known = programs::known_differences();
    let mut verdicts = BTreeMap::new();
    let mut broken = Vec::new();
    for program in &programs {
        let Some(ours) = run(program) else {
            verdicts.insert(program.name.clone(), Verdict::NotRun);
            continue;
        };
        let agrees = program.recorded.as_deref() == Some(ours.as_str());
        let excused = known.contains_key(&program.name);
        if !agrees && !excused {
            broken.push(format!(
                "== {}\n-- recorded\n{}-- ours\n{ours}",
                program.name,
                program.recorded.as_deref().unwrap_or("(nothing)\n")
            ));
        }
        if agrees && excused {
            broken.push(format!("== {} agrees now: take it off conformance/differences.toml", program.name));
        }
        verdicts.insert(program.name.clone(), if agrees { Verdict::Agrees } else { Verdict::Differs });
    }
    for name in known.keys() {
        assert!(verdicts.contains_key(name), "differences.toml names {name}, which is no program");
    }
    let table = table::of(&verdicts, &known);
    say(&table);
    assert!(broken.is_empty(), "{} programs differ:\n{}", broken.len(), broken.join("\n"));
    if programs::recording() {
        table::write(&table);
    } else {
        assert_eq!(table::read(), table, "run with BERTH_CONFORMANCE=record to write the table anew");
    }
}

/// The transcript on ours; `None` for a program that needs more than is there.
fn run(program: &Program) -> Option<String> {
    if program.needs_objects() { None } else { Some(bare::transcript(&program.text)) }
}

#[test]
fn workerd_gives_the_recorded_transcripts() {
    let Some(workerd) = workerd::find() else {
        say("SKIPPED: npm workerd is not installed, so the recorded transcripts were not compared with it");
        return;
    };
    let programs = programs::all();
    let answers = workerd::run(&workerd, &programs);
    let mut differ = Vec::new();
    for program in &programs {
        let answer = answers.get(&program.name).expect("every program was run");
        if programs::recording() {
            program.record(answer);
        } else if program.recorded.as_ref() != Some(answer) {
            differ.push(format!(
                "== {}\n-- recorded\n{}-- workerd\n{answer}",
                program.name,
                program.recorded.as_deref().unwrap_or("(nothing)\n")
            ));
        }
    }
    assert!(differ.is_empty(), "{} programs differ:\n{}", differ.len(), differ.join("\n"));
}
