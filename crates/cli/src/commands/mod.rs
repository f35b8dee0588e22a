//! One file a capability.

use std::env;

use clap::CommandFactory;

use crate::{
    args::{Cli, Command, Objects},
    client::Client,
    fault::Fault,
    settings::{self, Given, Settings},
};

pub mod account;
pub mod copy;
pub mod deployments;
pub mod hosts;
pub mod instructions;
pub mod machines;
pub mod notebooks;
pub mod objects;
pub mod reservations;
pub mod run;
pub mod sessions;
pub mod shell;
pub mod tokens;
pub mod zero_certificates;

/// Does what the command line says. The exit code, or why not.
pub async fn dispatch(cli: Cli) -> Result<u8, Fault> {
    let given = Given {
        server: cli.connection.server,
        // Never on the command line, which everybody on the computer can read.
        token: env::var("BERTH_TOKEN").ok().filter(|token| !token.trim().is_empty()),
        ca: cli.connection.ca,
    };
    let done = |()| 0;
    match cli.command {
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Cli::command(), "berth", &mut std::io::stdout());
            Ok(0)
        }
        Command::Login(ask) => account::login(&given, &ask).await.map(done),
        Command::Logout => account::logout(&given).map(done),
        Command::Whoami(json) => account::whoami(&connect(&given)?, json.output()).await.map(done),
        Command::Machines(ask) => machines::list(&connect(&given)?, &ask).await.map(done),
        Command::Reserve(ask) => reservations::reserve(&connect(&given)?, &ask).await.map(done),
        Command::Reservations(ask) => reservations::list(&connect(&given)?, &ask).await.map(done),
        Command::Cancel(ask) => reservations::cancel(&connect(&given)?, &ask).await.map(done),
        Command::Extend(ask) => reservations::extend(&connect(&given)?, &ask).await.map(done),
        Command::Sessions(ask) => sessions::list(&connect(&given)?, &ask).await.map(done),
        Command::End(ask) => sessions::end(&connect(&given)?, &ask).await.map(done),
        Command::Run(ask) => run::run(&connect(&given)?, &ask).await,
        Command::Shell(ask) => shell::shell(&connect(&given)?, &ask).await,
        Command::Cp(ask) => copy::copy(&connect(&given)?, &ask).await.map(done),
        Command::Exec(ask) => instructions::exec(&connect(&given)?, &ask).await,
        Command::Hosts(ask) => hosts::list(&connect(&given)?, &ask).await.map(done),
        Command::Notebooks(ask) => notebooks::command(&connect(&given)?, &ask).await.map(done),
        Command::Objects(Objects::Dev(ask)) => objects::dev(&ask).await.map(done),
        Command::Objects(Objects::Deployed(ask)) => deployments::command(&connect(&given)?, &ask).await.map(done),
        Command::ZeroCertificates(ask) => zero_certificates::command(&connect(&given)?, &ask).await.map(done),
        Command::Tokens(ask) => tokens::command(&connect(&given)?, &ask).await.map(done),
    }
}

fn connect(given: &Given) -> Result<Client, Fault> {
    let settings: Settings = settings::resolve(given)?;
    Client::new(&settings)
}

/// The one of `items` whose id is, begins or ends with `text`: ids are long, and those of one day begin alike.
pub(crate) fn by_id<'a, T>(
    items: &'a [T],
    kind: &str,
    text: &str,
    id: impl Fn(&T) -> uuid::Uuid,
) -> Result<&'a T, Fault> {
    let wanted = text.to_ascii_lowercase();
    let fits = |item: &&T| {
        let id = id(item).to_string();
        !wanted.is_empty() && (id.starts_with(&wanted) || id.ends_with(&wanted))
    };
    let mut found = items.iter().filter(fits);
    match (found.next(), found.next()) {
        (Some(one), None) => Ok(one),
        (None, _) => Err(Fault::NotFound(format!("there is no {kind} '{text}'"))),
        (Some(_), Some(_)) => Err(Fault::Usage(format!("'{text}' fits more than one {kind}: give more of its id"))),
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn a_part_of_an_id_is_enough_if_it_is_one_ids_alone() {
        let ids: Vec<Uuid> = ["0198c0de-0000-7000-8000-00000000000a", "0198c0de-0000-7000-8000-00000000000b"]
            .iter()
            .filter_map(|id| id.parse().ok())
            .collect();
        let check = |text: &str| by_id(&ids, "session", text, |id| *id).copied();
        assert_eq!(check("0A").ok(), ids.first().copied());
        assert_eq!(check("0198c0de-0000-7000-8000-00000000000b").ok(), ids.get(1).copied());
        assert!(matches!(check("0198"), Err(Fault::Usage(_))));
        assert!(matches!(check("ff"), Err(Fault::NotFound(_))));
        assert!(matches!(check(""), Err(Fault::NotFound(_))));
    }
}
