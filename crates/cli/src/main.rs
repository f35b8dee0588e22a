//! `berth`.

use std::process::ExitCode;

use clap::Parser;
use cli::{
    args::{Cli, Command},
    commands,
    fault::code,
};

fn main() -> ExitCode {
    // Before there are threads, and before anything is read that a process of user code has no business with.
    if let Some(code) = objects::host::child::run_if_asked() {
        return code;
    }
    let cli = Cli::parse();
    // What runs a program in a session passes on its exit code, so its own failures need one that programs leave alone.
    let passes_on = matches!(cli.command, Command::Run(_) | Command::Shell(_));
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("berth: cannot start: {error}");
            return ExitCode::from(if passes_on { code::BERTH } else { code::FAILED });
        }
    };
    let result = runtime.block_on(commands::dispatch(cli));
    // A thread that waits for the terminal's next key would hold up the end.
    runtime.shutdown_background();
    match result {
        Ok(code) => ExitCode::from(code),
        Err(fault) => {
            eprintln!("berth: {fault}");
            ExitCode::from(if passes_on { code::BERTH } else { fault.exit_code() })
        }
    }
}
