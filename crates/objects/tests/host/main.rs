//! The host half with real engines in real processes. A program of its own rather than libtest's: it is started again as
//! an engine, as a host that is killed, and as what tries the sandbox's walls from within.

mod alarms;
mod behind_walls;
mod broken;
mod chat;
mod cluster;
mod dialled;
mod disk;
mod hosted;
mod hostile;
mod killed;
mod large;
mod managing;
mod passing;
mod serving;
mod several;
mod strangers;
mod unread;
mod victim;

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    process::ExitCode,
    time::Instant,
};

type Test = (&'static str, fn());

fn main() -> ExitCode {
    if let Some(code) = objects::host::child::run_if_asked()
        .or_else(behind_walls::run_if_asked)
        .or_else(killed::run_if_asked)
        .or_else(killed::run_on_disk_if_asked)
        .or_else(several::run_if_asked)
    {
        return code;
    }
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let wanted: Vec<&String> = arguments.iter().filter(|argument| !argument.starts_with('-')).collect();
    let tests: Vec<Test> = [
        behind_walls::TESTS,
        serving::TESTS,
        alarms::TESTS,
        broken::TESTS,
        large::TESTS,
        managing::TESTS,
        several::TESTS,
        passing::TESTS,
        dialled::TESTS,
        strangers::TESTS,
        unread::TESTS,
        hostile::TESTS,
        killed::TESTS,
    ]
    .into_iter()
    .flatten()
    .copied()
    .collect();
    if arguments.iter().any(|argument| argument == "--list") {
        for (name, _) in &tests {
            println!("{name}: test");
        }
        return ExitCode::SUCCESS;
    }
    // The tests' own client.
    rustls::crypto::ring::default_provider().install_default().expect("none is installed yet");
    let mut failed = Vec::new();
    for (name, test) in tests {
        if !wanted.is_empty() && !wanted.iter().any(|part| name.contains(part.as_str())) {
            continue;
        }
        let begun = Instant::now();
        let outcome = catch_unwind(AssertUnwindSafe(test));
        let word = if outcome.is_ok() { "ok" } else { "FAILED" };
        println!("test {name} ... {word} ({} ms)", begun.elapsed().as_millis());
        if outcome.is_err() {
            failed.push(name);
        }
    }
    if failed.is_empty() {
        return ExitCode::SUCCESS;
    }
    println!("failed: {}", failed.join(", "));
    ExitCode::FAILURE
}
