//! `cargo xtask COMMAND`: the only build and set-up tool of this repository.

mod bench;
mod cargo;
mod dev;
mod jobs;
mod paths;
mod processes;
mod setup;
mod style;
mod test;
mod tidy;
mod web;

use std::process::ExitCode;

use anyhow::{Result, bail};

const USAGE: &str = "\
Usage: cargo xtask COMMAND

Commands:
  dev               server, agents and page on this machine; dev --help lists its options
  test [PART...]    lint, rust, browser; all without a word
  bench NAME        figures beside their peers; reservations, dispatch, agents, session, notebooks, pages, objects
  web [--release]   build the page: WebAssembly, style sheet, public files
";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match run(&args) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &[String]) -> Result<ExitCode> {
    let Some((command, rest)) = args.split_first() else {
        print!("{USAGE}");
        return Ok(ExitCode::FAILURE);
    };
    match command.as_str() {
        "bench" => bench::command(rest),
        "dev" => dev::command(rest),
        "test" => test::command(rest),
        "web" => web::command(rest),
        "help" | "--help" | "-h" => {
            print!("{USAGE}");
            Ok(ExitCode::SUCCESS)
        }
        other => bail!("no command {other}\n\n{USAGE}"),
    }
}
