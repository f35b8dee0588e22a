//! `berth objects`, as far as the server does it.

mod console;
mod objects;
mod wait;

use std::{
    collections::HashMap,
    io::{self, BufRead, IsTerminal},
};

use ::objects::project::Project;
use api::{
    deployments::{self as api_types, Deployed, Deployment, DeploymentVersion, RunVersion},
    objects::{DeploymentBrief, RolloutStanding},
};

use crate::{
    args::{self, Console, Deploy, OneObject},
    client::Client,
    fault::Fault,
    table::{self, Output, Table, bytes, print_text, printable},
    times,
};

const PATH: &str = "deployments";
const BRIEFS: &str = "deployment-briefs";

pub async fn command(client: &Client, ask: &args::Deployed) -> Result<(), Fault> {
    match ask {
        args::Deployed::Deploy(ask) => deploy(client, ask).await,
        args::Deployed::List(json) => list(client, json.output()).await,
        args::Deployed::Versions { deployment, json } => versions(client, deployment, json.output()).await,
        args::Deployed::RunVersion { deployment, number } => run_version(client, deployment, *number).await,
        args::Deployed::Delete { deployment, yes } => delete(client, deployment, *yes).await,
        args::Deployed::Objects(ask) => self::objects::list(client, ask).await,
        args::Deployed::Console(Console { deployment, class, object, json }) => {
            let named = class.clone().zip(object.clone());
            let one = named.map(|(class, object)| OneObject { deployment: deployment.clone(), class, object });
            self::console::console(client, deployment, one.as_ref(), json.output()).await
        }
        args::Deployed::Kv { object, json } => self::objects::kv(client, object, json.output()).await,
        args::Deployed::Sql { object, query, json } => self::objects::sql(client, object, query, json.output()).await,
        args::Deployed::DeleteObject { object, yes } => self::objects::delete(client, object, *yes).await,
    }
}

fn body(ask: &Deploy) -> Result<api_types::Deploy, Fault> {
    let project = Project::read(&ask.directory).map_err(|error| Fault::Usage(error.to_string()))?;
    for warning in &project.warnings {
        eprintln!("warning: {}", printable(warning));
    }
    let allowed = &project.config.berth.allow_private;
    if !allowed.is_empty() {
        eprintln!("warning: allow_private counts for berth objects dev; on hosts, their own configuration does");
    }
    let mut body = api_types::Deploy::of_project(project, ask.note.clone());
    if let Some(name) = &ask.name {
        body.name.clone_from(name);
    }
    Ok(body)
}

async fn deploy(client: &Client, ask: &Deploy) -> Result<(), Fault> {
    let body = body(ask)?;
    let deployed: Deployed = client.post_once(&[PATH], &body, uuid::Uuid::new_v4()).await?;
    let Deployed { deployment, version, is_new } = &deployed;
    let said = if *is_new { "deployed" } else { "what runs already" };
    eprintln!("{} version {}: {said}, {}", printable(&deployment.name), version.number, bytes(version.bytes));
    wait::running(client, deployment).await?;
    match ask.json.output() {
        Output::Json => table::print_json(&deployed),
        Output::People => print_text(&format!("{}\n", printable(&deployment.address))),
    }
}

async fn list(client: &Client, output: Output) -> Result<(), Fault> {
    let deployments: Vec<Deployment> = client.list(&[PATH], &[]).await?;
    let briefs: Vec<DeploymentBrief> = match output {
        Output::Json => Vec::new(),
        Output::People => client.list(&[BRIEFS], &[]).await?,
    };
    let nothing = "No deployments. berth objects deploy DIR makes one.";
    table::print(output, &deployments, nothing, || present(&deployments, &briefs))
}

fn present(deployments: &[Deployment], briefs: &[DeploymentBrief]) -> Table {
    let standings: HashMap<&str, RolloutStanding> =
        briefs.iter().map(|brief| (brief.name.as_str(), brief.standing)).collect();
    let mut table = Table::new(&["NAME", "STATE", "VERSION", "WHO", "CHANGED", "ADDRESS"]);
    for deployment in deployments {
        // One that was deployed or deleted between the two answers has none.
        let standing = standings.get(deployment.name.as_str());
        table.row([
            deployment.name.clone(),
            standing.map_or("", |standing| standing.word()).to_owned(),
            deployment.version.to_string(),
            deployment.person.clone(),
            times::relative_text(&deployment.changed_at),
            deployment.address.clone(),
        ]);
    }
    table
}

async fn versions(client: &Client, which: &str, output: Output) -> Result<(), Fault> {
    let deployment: Deployment = client.get(&[PATH, which]).await?;
    let versions: Vec<DeploymentVersion> = client.list(&[PATH, which, "versions"], &[]).await?;
    table::print(output, &versions, "No versions.", || {
        let mut table = Table::new(&["VERSION", "", "MADE", "WHO", "MODULES", "SIZE", "NOTE"]);
        for version in &versions {
            table.row([
                version.number.to_string(),
                if version.number == deployment.version { "runs".to_owned() } else { String::new() },
                times::relative_text(&version.created_at),
                version.person.clone(),
                version.modules.len().to_string(),
                bytes(version.bytes),
                version.note.clone(),
            ]);
        }
        table
    })
}

async fn run_version(client: &Client, which: &str, version: u32) -> Result<(), Fault> {
    let deployment: Deployment = client.post(&[PATH, which, "run"], &RunVersion { version }).await?;
    wait::running(client, &deployment).await?;
    eprintln!("{} runs version {}.", printable(&deployment.name), deployment.version);
    Ok(())
}

/// More than any name, bytes.
const MAX_TYPED_BYTES: u64 = 256;

async fn delete(client: &Client, which: &str, yes: bool) -> Result<(), Fault> {
    let deployment: Deployment = client.get(&[PATH, which]).await?;
    if !yes {
        confirm(&deployment.name, "all versions, and all that its objects hold, are lost")?;
    }
    client.delete(&[PATH, &deployment.id.to_string()]).await?;
    eprintln!("{} is deleted.", printable(&deployment.name));
    Ok(())
}

/// Goes on only if the person types `word`.
fn confirm(word: &str, lost: &str) -> Result<(), Fault> {
    if !io::stdin().is_terminal() {
        return Err(Fault::Usage(format!("{lost}: give --yes to go on without being asked")));
    }
    let word = printable(word);
    eprint!("{word}: {lost}. Type {word} to go on: ");
    let mut typed = String::new();
    io::Read::take(io::stdin().lock(), MAX_TYPED_BYTES)
        .read_line(&mut typed)
        .map_err(Fault::io("cannot read the answer"))?;
    if typed.trim() == word {
        Ok(())
    } else {
        Err(Fault::Usage("that is not its name; nothing was deleted".to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_says_how_each_deployment_does() {
        let deployment = |name: &str| Deployment {
            id: uuid::Uuid::nil(),
            name: name.to_owned(),
            address: format!("http://{name}.lab"),
            version: 2,
            person: "Ann".to_owned(),
            person_id: uuid::Uuid::nil(),
            created_at: String::new(),
            changed_at: String::new(),
            can_manage: true,
        };
        let brief = |name: &str, standing| DeploymentBrief {
            name: name.to_owned(),
            standing,
            problem: None,
            running: 1,
            hosts: 2,
            requests_per_s: 0.0,
            live: 0,
        };
        let briefs = [brief("chat", RolloutStanding::Runs), brief("notes", RolloutStanding::Partly)];
        assert_eq!(
            present(&["chat", "new", "notes"].map(deployment), &briefs).render(),
            "NAME   STATE         VERSION  WHO  CHANGED  ADDRESS\n\
             chat   runs          2        Ann           http://chat.lab\n\
             new                  2        Ann           http://new.lab\n\
             notes  runs in part  2        Ann           http://notes.lab\n"
        );
    }
}
