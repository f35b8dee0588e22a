//! The command line, as clap reads it.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

mod objects;

pub use objects::*;

/// Machines that your team owns, as a self-service cloud.
#[derive(Debug, Parser)]
#[command(name = "berth", version, propagate_version = true, disable_help_subcommand = true)]
#[command(after_help = "Exit codes: 0 done, 1 failed, 2 wrong usage, 3 not signed in or not allowed, 4 not found, \
    5 refused because of how things stand (taken, ended), 6 server not reachable. \
    run, shell and exec pass on the program's own; 125 is a failure of Berth itself.")]
pub struct Cli {
    #[command(flatten)]
    pub connection: Connection,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Args)]
pub struct Connection {
    /// The server's address [default: the one of the last berth login, or http://localhost:8080]
    #[arg(long, global = true, env = "BERTH_SERVER", value_name = "URL", hide_env_values = true)]
    pub server: Option<String>,
    /// A PEM file with the authority that signed the server's certificate, if the system does not know it
    #[arg(long, global = true, env = "BERTH_CA", value_name = "FILE", hide_env_values = true)]
    pub ca: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Keep a token for a server
    Login(Login),
    /// Forget the token of a server
    Logout,
    /// Say who you are to the server
    Whoami(Json),
    /// List machines
    Machines(Machines),
    /// Book machines, now or ahead
    Reserve(Reserve),
    /// List reservations
    Reservations(Reservations),
    /// Cancel a reservation, or end it if it has begun
    Cancel(Cancel),
    /// Change when a reservation ends
    Extend(Extend),
    /// List sessions
    Sessions(Sessions),
    /// End a session: the machine is reverted and free again
    End(End),
    /// Run a command on a machine that is booked for it, and give the machine back
    Run(Run),
    /// Open a shell in a session
    Shell(ShellArgs),
    /// Copy files and directories to and from a session
    Cp(Cp),
    /// Run a command on hosts (admins)
    Exec(Exec),
    /// List hosts
    Hosts(Hosts),
    /// JupyterLab on a host that has room for it
    #[command(subcommand)]
    Notebooks(Notebooks),
    /// Workers and objects that live on one host each
    #[command(subcommand)]
    Objects(Objects),
    /// The files with which hosts join (admins)
    #[command(subcommand)]
    ZeroCertificates(ZeroCertificates),
    /// Your API tokens
    #[command(subcommand)]
    Tokens(Tokens),
    /// Print a completion script for a shell
    Completions { shell: Shell },
}

#[derive(Debug, Args, Clone, Copy)]
pub struct Json {
    /// JSON instead of text; times in RFC 3339
    #[arg(long)]
    pub json: bool,
}

impl Json {
    pub fn output(self) -> crate::table::Output {
        if self.json { crate::table::Output::Json } else { crate::table::Output::People }
    }
}

#[derive(Debug, Args)]
pub struct Login {
    /// Read the token from standard input instead of asking for it
    #[arg(long)]
    pub token_stdin: bool,
}

#[derive(Debug, Args)]
pub struct Machines {
    /// Only those that carry all of these: key=value,key=value
    #[arg(long, value_name = "LABELS")]
    pub labels: Option<String>,
    #[command(flatten)]
    pub json: Json,
}

/// For how long; exactly one.
#[derive(Debug, Args)]
#[group(multiple = false)]
pub struct Until {
    /// How long: 45m, 2h, 1h30m, 3d
    #[arg(long = "for", value_name = "TIME")]
    pub length: Option<String>,
    /// When it ends: 18:00, '2026-01-31 18:00', RFC 3339, +2h
    #[arg(long, value_name = "WHEN")]
    pub until: Option<String>,
}

/// What the environment starts from.
#[derive(Debug, Args, Default)]
pub struct EnvironmentArgs {
    /// A container image, on machines of kind container
    #[arg(long, value_name = "IMAGE")]
    pub env_image: Option<String>,
    /// A script that /bin/sh runs in the environment before it is handed over
    #[arg(long, value_name = "FILE")]
    pub setup: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct Reserve {
    /// A machine by name or id; may be given again
    #[arg(long, value_name = "NAME", required_unless_present = "labels", conflicts_with = "labels")]
    pub machine: Vec<String>,
    /// Any machines that carry these: key=value,key=value
    #[arg(long, value_name = "LABELS")]
    pub labels: Option<String>,
    /// With --labels: how many
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=64), conflicts_with = "machine")]
    pub count: u32,
    /// When it begins: now, 14:00, '2026-01-31 14:00', RFC 3339, +30m [default: now]
    #[arg(long, value_name = "WHEN")]
    pub start: Option<String>,
    #[command(flatten)]
    pub until: Until,
    #[command(flatten)]
    pub environment: EnvironmentArgs,
    /// What it is for
    #[arg(long, value_name = "TEXT")]
    pub purpose: Option<String>,
    /// Wait until all its sessions are ready
    #[arg(long)]
    pub wait: bool,
    #[command(flatten)]
    pub json: Json,
}

#[derive(Debug, Args)]
pub struct Reservations {
    /// Everybody's, not only yours
    #[arg(long)]
    pub everybody: bool,
    /// Those that are over as well
    #[arg(long)]
    pub all: bool,
    #[command(flatten)]
    pub json: Json,
}

#[derive(Debug, Args)]
pub struct Cancel {
    /// The reservation's id, or as much of its beginning or end as names it alone
    pub reservation: String,
}

#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("end").required(true).args(["length", "until"]))]
pub struct Extend {
    /// The reservation's id, or as much of its beginning or end as names it alone
    pub reservation: String,
    /// How much longer than now booked: 45m, 2h
    #[arg(long = "for", value_name = "TIME")]
    pub length: Option<String>,
    /// When it ends: 18:00, '2026-01-31 18:00', RFC 3339, +2h
    #[arg(long, value_name = "WHEN")]
    pub until: Option<String>,
    #[command(flatten)]
    pub json: Json,
}

#[derive(Debug, Args)]
pub struct Sessions {
    /// Everybody's that you may see, not only yours
    #[arg(long)]
    pub everybody: bool,
    /// Those that are over as well
    #[arg(long)]
    pub all: bool,
    #[command(flatten)]
    pub json: Json,
}

#[derive(Debug, Args)]
pub struct End {
    /// The session's id, part of it, or its machine's name
    pub session: String,
    /// Wait until the machine is reverted
    #[arg(long)]
    pub wait: bool,
}

#[derive(Debug, Args)]
pub struct Run {
    /// Any machine that carries these: key=value,key=value
    #[arg(long, value_name = "LABELS", required_unless_present = "machine", conflicts_with = "machine")]
    pub labels: Option<String>,
    /// A machine by name or id
    #[arg(long, value_name = "NAME")]
    pub machine: Option<String>,
    /// The longest that it may take
    #[arg(long = "for", value_name = "TIME", default_value = "1h")]
    pub length: String,
    /// A variable for the command; NAME alone takes this shell's value
    #[arg(long = "env", short = 'e', value_name = "NAME=VALUE")]
    pub env: Vec<String>,
    /// The directory in the environment to run it in
    #[arg(long, value_name = "DIR")]
    pub cwd: Option<String>,
    /// A terminal for the command instead of pipes
    #[arg(long, short = 't')]
    pub tty: bool,
    /// Say nothing but what the command says, and errors
    #[arg(long, short = 'q')]
    pub quiet: bool,
    #[command(flatten)]
    pub environment: EnvironmentArgs,
    /// The command and its arguments, after --
    #[arg(last = true, required = true, value_name = "CMD")]
    pub command: Vec<String>,
}

#[derive(Debug, Args)]
pub struct ShellArgs {
    /// The session's id, part of it, or its machine's name
    pub session: String,
    /// Come back to a terminal that was left with ~.
    #[arg(long, value_name = "ID")]
    pub attach: Option<uuid::Uuid>,
}

#[derive(Debug, Args)]
pub struct Cp {
    /// A path here, or SESSION:PATH
    pub source: String,
    /// A path here, or SESSION:PATH; into it if it is a directory or ends with /
    pub destination: String,
    /// Say nothing but errors
    #[arg(long, short = 'q')]
    pub quiet: bool,
}

#[derive(Debug, Args)]
pub struct Exec {
    /// Names, with commas between them, or labels: key=value,key=value
    #[arg(long, value_name = "LABELS|NAMES")]
    pub hosts: String,
    /// The longest that it may run on each
    #[arg(long, value_name = "TIME")]
    pub timeout: Option<String>,
    #[command(flatten)]
    pub json: Json,
    /// The command and its arguments, after --
    #[arg(last = true, required = true, value_name = "CMD")]
    pub command: Vec<String>,
}

#[derive(Debug, Subcommand)]
pub enum Notebooks {
    /// Launch one
    Launch(LaunchNotebook),
    /// List those that there are
    List(ListNotebooks),
    /// Start one that is stopped; its files are as they were
    Start {
        /// Its name or id
        notebook: String,
        /// In another size from now on
        #[arg(long)]
        size: Option<String>,
    },
    /// Stop one; its files stay
    Stop {
        /// Its name or id
        notebook: String,
    },
    /// Say that one is still needed that stops as nobody uses it
    Keep {
        /// Its name or id
        notebook: String,
    },
    /// Share one of yours with a colleague, who then sees all files in your home
    Share(ShareNotebook),
    /// Take it back: what they have open is cut
    Unshare {
        /// Its name or id
        notebook: String,
        /// Their address or id
        person: String,
    },
    /// With whom one of yours is shared
    Shares {
        /// Its name or id
        notebook: String,
        #[command(flatten)]
        json: Json,
    },
    /// Delete one that does not run; its files stay
    Delete {
        /// Its name or id
        notebook: String,
    },
    /// What its latest run wrote: the building of its environment, its start and its end
    Logs {
        /// Its name or id
        notebook: String,
    },
}

#[derive(Debug, Args)]
pub struct LaunchNotebook {
    /// The environment's name [default: base]
    #[arg(long, value_name = "NAME")]
    pub env: Option<String>,
    /// One of the sizes that admins set [default: the first of them]
    #[arg(long)]
    pub size: Option<String>,
    /// What its host must carry: key=value,key=value
    #[arg(long, value_name = "LABELS")]
    pub labels: Option<String>,
    /// The first part of its address: small letters, digits and '-' [default: made up]
    #[arg(long)]
    pub name: Option<String>,
    /// Wait until it runs
    #[arg(long)]
    pub wait: bool,
    /// Wait, and open it in the browser
    #[arg(long)]
    pub open: bool,
    #[command(flatten)]
    pub json: Json,
}

#[derive(Debug, Args)]
pub struct ShareNotebook {
    /// Its name or id
    pub notebook: String,
    /// Their address or id
    pub person: String,
    /// They see documents, files and what runs [default]
    #[arg(long, conflicts_with = "full")]
    pub read_only: bool,
    /// They also run code as you, and change and delete files
    #[arg(long)]
    pub full: bool,
}

#[derive(Debug, Args)]
pub struct ListNotebooks {
    /// Everybody's that you may see, not only yours
    #[arg(long, conflicts_with = "shared")]
    pub everybody: bool,
    /// What others share with you
    #[arg(long)]
    pub shared: bool,
    #[command(flatten)]
    pub json: Json,
}

#[derive(Debug, Args)]
pub struct Hosts {
    /// Only those that carry all of these: key=value,key=value
    #[arg(long, value_name = "LABELS")]
    pub labels: Option<String>,
    #[command(flatten)]
    pub json: Json,
}

#[derive(Debug, Subcommand)]
pub enum ZeroCertificates {
    /// Make one: the file is written once and kept nowhere else
    Create(CreateZeroCertificate),
    /// List them
    List(Json),
    /// Let no more hosts join with one
    Revoke {
        /// Its id, or as much of its beginning or end as names it alone
        id: String,
    },
}

#[derive(Debug, Args)]
pub struct CreateZeroCertificate {
    /// What it is for
    #[arg(long)]
    pub name: String,
    /// How many hosts may join with it
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub uses: u32,
    /// How long it is good for, in whole hours: 24h, 7d
    #[arg(long = "for", value_name = "TIME", default_value = "24h")]
    pub length: String,
    /// Hosts that join wait until an admin approves them
    #[arg(long)]
    pub approval: bool,
    /// Where to write it, readable by you alone [default: the name that the server gives it, here]
    #[arg(long, short = 'o', value_name = "FILE")]
    pub output: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub enum Tokens {
    /// Make one: it is shown once
    Create(CreateToken),
    /// List yours
    List(Json),
    /// Make one worthless
    Revoke {
        /// Its id, or as much of its beginning or end as names it alone
        id: String,
    },
}

/// What a token may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ScopeArg {
    /// Look at everything that you may see
    Read,
    /// Book and use machines as well
    Use,
    /// Everything that you may do
    All,
}

#[derive(Debug, Args)]
pub struct CreateToken {
    /// What it is for
    #[arg(long)]
    pub name: String,
    #[arg(long, value_enum, default_value_t = ScopeArg::Use)]
    pub scope: ScopeArg,
    /// Days until it expires
    #[arg(long, default_value_t = 90, value_parser = clap::value_parser!(u32).range(1..=365))]
    pub days: u32,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn parses(line: &str) -> bool {
        Cli::try_parse_from(line.split(' ')).is_ok()
    }

    #[test]
    fn the_definition_holds_together() {
        Cli::command().debug_assert();
    }

    #[test]
    fn good_lines() {
        for line in [
            "berth login --server https://berth.example.com --token-stdin",
            "berth machines --labels kind=sandbox,os=debian12 --json",
            "berth reserve --machine lab-1/a --start 14:00 --until 18:00",
            "berth reserve --labels gpu=a100 --count 4 --for 2h --env-image ubuntu:24.04 --setup x.sh --wait",
            "berth extend 0198 --for 1h",
            "berth run --labels kind=sandbox -- make -j8 --keep-going",
            "berth run -t -e A=1 -e HOME --machine lab-1/a --for 10m -- sh",
            "berth shell lab-1/a --attach 0198c0de-0000-7000-8000-000000000000",
            "berth cp a.txt lab-1/a:/tmp/",
            "berth exec --hosts lab-1,lab-2 --timeout 1m -- uptime",
            "berth zero-certificates create --name rack --uses 40 --for 7d --approval -o rack.toml",
            "berth tokens create --name ci --scope read",
            "berth notebooks launch --env base --size medium --wait --open",
            "berth notebooks logs ann-1",
            "berth objects dev examples/objects/counter --port 0 --state /tmp/x",
            "berth completions bash",
        ] {
            assert!(parses(line), "{line}");
        }
    }

    #[test]
    fn bad_lines() {
        for line in [
            "berth",
            "berth reserve --for 2h",
            "berth reserve --machine a --labels b=c --for 2h",
            "berth reserve --machine a --for 2h --until 18:00",
            "berth reserve --labels b=c --count 0",
            "berth reserve --machine a --count 2",
            "berth extend 0198",
            "berth run --labels kind=sandbox",
            "berth run -- ls",
            "berth run --labels a=b ls",
            "berth exec -- uptime",
            "berth tokens create --name x --days 0",
        ] {
            assert!(!parses(line), "{line}");
        }
    }

    #[test]
    fn options_of_the_program_stay_the_programs() {
        let cli = Cli::try_parse_from(["berth", "run", "--labels", "a=b", "--", "ls", "--json", "-q"]);
        let Ok(Cli { command: Command::Run(run), .. }) = cli else { panic!("{cli:?}") };
        assert_eq!(run.command, ["ls", "--json", "-q"]);
        assert!(!run.quiet);
    }
}
