//! Waiting until hosts run what was deployed.

use std::time::Duration;

use api::{
    deployments::Deployment,
    objects::{DeploymentStats, HostStats},
};
use tokio::time::{Instant, sleep};

use crate::{
    client::Client,
    fault::Fault,
    table::{printable, printable_lines},
};

const LOOK: Duration = Duration::from_millis(200);
/// All that it may take.
const LIMIT: Duration = Duration::from_secs(60);
/// What every host says against it this long stays so.
const PATIENCE: Duration = Duration::from_secs(10);

/// How far it is.
#[derive(Debug, PartialEq)]
enum Standing<'a> {
    /// No host is there to run it.
    NoHosts,
    Coming,
    /// Some host runs it; of the others, those that say why they do not.
    Runs(Vec<&'a HostStats>),
    /// Why nobody runs it.
    Wrong(&'a str),
}

fn standing(hosts: &[HostStats], version: u32) -> Standing<'_> {
    let wrong: Vec<&HostStats> = hosts.iter().filter(|host| host.problem.is_some()).collect();
    let run = hosts.iter().filter(|host| host.problem.is_none() && host.version == Some(version)).count();
    match (hosts, run, wrong.first().and_then(|host| host.problem.as_deref())) {
        ([], _, _) => Standing::NoHosts,
        (_, 1.., _) if run + wrong.len() == hosts.len() => Standing::Runs(wrong),
        (_, 0, Some(why)) if wrong.len() == hosts.len() => Standing::Wrong(why),
        (_, _, _) => Standing::Coming,
    }
}

pub async fn running(client: &Client, deployment: &Deployment) -> Result<(), Fault> {
    let id = deployment.id.to_string();
    let begun = Instant::now();
    loop {
        let stats: DeploymentStats = client.get(&["deployments", &id, "stats"]).await?;
        match standing(&stats.hosts, deployment.version) {
            Standing::NoHosts => {
                eprintln!("warning: no host runs objects yet: it answers once there is one");
                return Ok(());
            }
            Standing::Runs(wrong) => {
                for host in wrong {
                    let why = host.problem.as_deref().unwrap_or_default();
                    eprintln!("warning: {}: {}", printable(&host.host), printable_lines(why));
                }
                return Ok(());
            }
            Standing::Wrong(why) if begun.elapsed() > PATIENCE => {
                let why = printable_lines(why);
                return Err(Fault::Failed(format!("version {} does not run: {why}", deployment.version)));
            }
            Standing::Wrong(_) | Standing::Coming if begun.elapsed() < LIMIT => sleep(LOOK).await,
            Standing::Wrong(_) | Standing::Coming => {
                let limit = LIMIT.as_secs();
                return Err(Fault::Later(format!(
                    "it is deployed, and not all hosts run it after {limit} s: see its page"
                )));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_runs_once_every_host_runs_it_or_says_why_not() {
        let host = |version: Option<u32>, problem: Option<&str>| HostStats {
            host: "a".to_owned(),
            host_id: uuid::Uuid::nil(),
            version,
            problem: problem.map(str::to_owned),
            share: 1.0,
            live: 0,
            memory_bytes: 0,
        };
        let check = |hosts: &[HostStats], expected: Standing<'_>| assert_eq!(standing(hosts, 2), expected, "{hosts:?}");
        check(&[], Standing::NoHosts);
        check(&[host(None, None)], Standing::Coming);
        check(&[host(Some(2), None), host(Some(1), None)], Standing::Coming);
        check(&[host(Some(2), None), host(Some(2), None)], Standing::Runs(Vec::new()));
        let away = host(None, Some("offline"));
        check(&[host(Some(2), None), away.clone()], Standing::Runs(vec![&away]));
        check(&[host(Some(1), None), away.clone()], Standing::Coming);
        check(std::slice::from_ref(&away), Standing::Wrong("offline"));
        // The one before goes on while the new one does not load.
        check(
            &[host(Some(1), Some("index.ts:1:1: x is not defined"))],
            Standing::Wrong("index.ts:1:1: x is not defined"),
        );
    }
}
