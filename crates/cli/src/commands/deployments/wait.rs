//! Waiting until hosts run what was deployed.

use std::{
    io::{self, IsTerminal},
    time::Duration,
};

use api::{
    deployments::Deployment,
    objects::{Rollout, RolloutStanding, running_on},
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
/// What every host says against it this long stays so; until then it may be about the version before.
const PATIENCE: Duration = Duration::from_secs(10);

pub async fn running(client: &Client, deployment: &Deployment) -> Result<(), Fault> {
    let id = deployment.id.to_string();
    let begun = Instant::now();
    let mut told = String::new();
    loop {
        let rollout: Rollout = client.get(&["deployments", &id, "rollout"]).await?;
        progress(&rollout, &mut told);
        if let (RolloutStanding::Starting, Some(why)) = (rollout.standing, &rollout.problem)
            && rollout.is_over()
            && begun.elapsed() > PATIENCE
        {
            eprintln!("warning: {}", printable_lines(why));
            return Ok(());
        }
        match rollout.standing {
            RolloutStanding::Nowhere => {
                eprintln!("warning: no host runs objects yet: it answers once there is one");
                return Ok(());
            }
            RolloutStanding::Runs => return Ok(()),
            RolloutStanding::Partly => {
                for line in problems(&rollout) {
                    eprintln!("warning: {line}");
                }
                return Ok(());
            }
            RolloutStanding::Failed if rollout.is_over() || begun.elapsed() > PATIENCE => {
                let problems = problems(&rollout).join("\n  ");
                return Err(Fault::Failed(format!("version {} does not run:\n  {problems}", rollout.version)));
            }
            RolloutStanding::Failed | RolloutStanding::Starting if begun.elapsed() < LIMIT => sleep(LOOK).await,
            RolloutStanding::Failed | RolloutStanding::Starting => {
                let (limit, on) = (LIMIT.as_secs(), running_on(rollout.running, rollout.hosts.len()));
                return Err(Fault::Later(format!("it is deployed, and after {limit} s {on}: see its page")));
            }
        }
    }
}

/// Somebody who waits sees how far it is.
fn progress(rollout: &Rollout, told: &mut String) {
    let now = running_on(rollout.running, rollout.hosts.len());
    if rollout.standing == RolloutStanding::Starting && *told != now && io::stderr().is_terminal() {
        eprintln!("{now} ...");
        *told = now;
    }
}

/// What hosts say against it. Where all say the same it is said once.
fn problems(rollout: &Rollout) -> Vec<String> {
    let mut problems: Vec<(&str, Vec<&str>)> = Vec::new();
    for host in rollout.failed() {
        let why = host.problem.as_deref().unwrap_or_default();
        match problems.iter_mut().find(|(known, _)| *known == why) {
            Some((_, hosts)) => hosts.push(&host.host),
            None => problems.push((why, vec![&host.host])),
        }
    }
    let line = |(why, hosts): (&str, Vec<&str>)| format!("{}: {}", printable(&hosts.join(", ")), printable_lines(why));
    problems.into_iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use api::objects::{HostRollout, HostStanding, Placement};

    use super::*;

    #[test]
    fn what_hosts_say_is_said_once() {
        let host = |name: &str, problem: Option<&str>| HostRollout {
            host: name.to_owned(),
            host_id: uuid::Uuid::nil(),
            standing: HostStanding::of(Some(2), problem, 2),
            version: Some(2),
            problem: problem.map(str::to_owned),
            refused: None,
        };
        let wrong = Some("src/index.ts:3:7: x is not defined");
        let hosts = vec![host("a", wrong), host("b", None), host("c", Some("the host is offline")), host("d", wrong)];
        let expected = ["a, d: src/index.ts:3:7: x is not defined", "c: the host is offline"];
        assert_eq!(problems(&Rollout::new(2, Placement::Done, hosts)), expected);
    }
}
