//! How far hosts are with the version of a deployment that is to run: for the command line, pages and REST alike.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::RefusedVersion;

/// Whether what is wanted runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum RolloutStanding {
    /// Every host runs it.
    Runs,
    /// Some host has not come to it yet, or its objects have no hosts yet.
    Starting,
    /// Some hosts run it; the others say why they do not.
    Partly,
    /// No host runs it, and each says why.
    Failed,
    /// No host runs objects.
    Nowhere,
}

/// Whether a deployment's objects have hosts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Placement {
    /// Each has one, or there are no objects.
    Done,
    /// Some have none yet, and calls of them fail.
    Waits,
}

impl Placement {
    /// What is to be said of it.
    pub fn problem(self) -> Option<String> {
        match self {
            Placement::Done => None,
            Placement::Waits => Some(
                "its objects have no host yet: one that is online, in service and runs objects takes them".to_owned(),
            ),
        }
    }
}

impl RolloutStanding {
    /// The same in the pages and on the command line.
    pub const fn word(self) -> &'static str {
        match self {
            RolloutStanding::Runs => "runs",
            RolloutStanding::Starting => "starting",
            RolloutStanding::Partly => "runs in part",
            RolloutStanding::Failed => "in trouble",
            RolloutStanding::Nowhere => "waits for a host",
        }
    }

    /// Of what each host does, and whether objects can be called.
    pub fn of(hosts: impl IntoIterator<Item = HostStanding>, placement: Placement) -> Self {
        match (Self::of_hosts(hosts), placement) {
            (RolloutStanding::Runs | RolloutStanding::Partly, Placement::Waits) => RolloutStanding::Starting,
            (standing, Placement::Done | Placement::Waits) => standing,
        }
    }

    fn of_hosts(hosts: impl IntoIterator<Item = HostStanding>) -> Self {
        let (mut run, mut starting, mut failed) = (0_u32, 0_u32, 0_u32);
        for host in hosts {
            match host {
                HostStanding::Runs => run += 1,
                HostStanding::Starting => starting += 1,
                HostStanding::Failed => failed += 1,
            }
        }
        match (run, starting, failed) {
            (0, 0, 0) => RolloutStanding::Nowhere,
            (_, 1.., _) => RolloutStanding::Starting,
            (1.., 0, 0) => RolloutStanding::Runs,
            (1.., 0, 1..) => RolloutStanding::Partly,
            (0, 0, 1..) => RolloutStanding::Failed,
        }
    }
}

/// Whether one host runs what is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum HostStanding {
    Runs,
    /// It does not run it yet.
    Starting,
    /// It says why it does not.
    Failed,
}

impl HostStanding {
    /// Of the version that is there, and what the host says against the `wanted` one.
    pub fn of(version: Option<u32>, problem: Option<&str>, wanted: u32) -> Self {
        match (problem, version) {
            (Some(_), _) => HostStanding::Failed,
            (None, Some(version)) if version == wanted => HostStanding::Runs,
            (None, Some(_) | None) => HostStanding::Starting,
        }
    }
}

/// `GET /deployments/{id}/rollout`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Rollout {
    /// The version that is to run.
    pub version: u32,
    pub standing: RolloutStanding,
    /// Hosts that run it.
    pub running: u32,
    /// Why its objects cannot be called, whichever hosts run it.
    #[serde(default)]
    pub problem: Option<String>,
    pub hosts: Vec<HostRollout>,
}

/// How far one host is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct HostRollout {
    pub host: String,
    pub host_id: Uuid,
    pub standing: HostStanding,
    /// The version that is there.
    pub version: Option<u32>,
    /// Why the wanted one does not run, or why the host does not answer: with file and line where code is at fault.
    pub problem: Option<String>,
    /// It was tried there and does not load: so it stays until another one is to run. `problem` says the same in a line.
    #[serde(default)]
    pub refused: Option<RefusedVersion>,
}

impl Rollout {
    pub fn new(version: u32, placement: Placement, hosts: Vec<HostRollout>) -> Self {
        let running = hosts.iter().filter(|host| host.standing == HostStanding::Runs).count();
        Self {
            version,
            standing: RolloutStanding::of(hosts.iter().map(|host| host.standing), placement),
            running: u32::try_from(running).unwrap_or(u32::MAX),
            problem: placement.problem(),
            hosts,
        }
    }

    /// The hosts that say why they do not run it.
    pub fn failed(&self) -> impl Iterator<Item = &HostRollout> {
        self.hosts.iter().filter(|host| host.standing == HostStanding::Failed)
    }

    /// Whether nothing more is to be heard from hosts: each host has it, or has tried this version.
    pub fn is_over(&self) -> bool {
        let is_over = |host: &HostRollout| match host.standing {
            HostStanding::Runs => true,
            HostStanding::Starting => false,
            HostStanding::Failed => {
                let refused = host.refused.as_ref().map(|refused| refused.version);
                [host.version, refused].contains(&Some(self.version))
            }
        };
        self.hosts.iter().all(is_over)
    }
}

/// `running on 1 of 2 hosts`.
pub fn running_on(running: u32, hosts: usize) -> String {
    let word = if hosts == 1 { "host" } else { "hosts" };
    if usize::try_from(running).is_ok_and(|running| running == hosts) {
        format!("running on {hosts} {word}")
    } else {
        format!("running on {running} of {hosts} {word}")
    }
}

/// How a deployment of a list does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DeploymentBrief {
    pub name: String,
    pub standing: RolloutStanding,
    /// Why its objects cannot be called.
    #[serde(default)]
    pub problem: Option<String>,
    /// Hosts that run the version that is to run, of so many.
    pub running: u32,
    pub hosts: u32,
    /// Of the last minute that is over.
    pub requests_per_s: f64,
    /// Objects in memory.
    pub live: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(version: Option<u32>, problem: Option<&str>) -> HostRollout {
        HostRollout {
            host: "a".to_owned(),
            host_id: Uuid::nil(),
            standing: HostStanding::of(version, problem, 2),
            version,
            problem: problem.map(str::to_owned),
            refused: None,
        }
    }

    #[test]
    fn it_runs_once_every_host_runs_it_or_says_why_not() {
        let check = |hosts: &[HostRollout], standing, running, is_over| {
            let rollout = Rollout::new(2, Placement::Done, hosts.to_vec());
            assert_eq!(
                (rollout.standing, rollout.running, rollout.is_over()),
                (standing, running, is_over),
                "{hosts:?}"
            );
        };
        check(&[], RolloutStanding::Nowhere, 0, true);
        check(&[host(None, None)], RolloutStanding::Starting, 0, false);
        check(&[host(Some(2), None), host(Some(1), None)], RolloutStanding::Starting, 1, false);
        check(&[host(Some(2), None), host(Some(2), None)], RolloutStanding::Runs, 2, true);
        let away = host(None, Some("the host is offline"));
        check(&[host(Some(2), None), away.clone()], RolloutStanding::Partly, 1, false);
        check(&[host(Some(1), None), away.clone()], RolloutStanding::Starting, 0, false);
        check(std::slice::from_ref(&away), RolloutStanding::Failed, 0, false);
        // What it says is of the version before, perhaps.
        check(&[host(Some(1), Some("index.ts:1:1: x is not defined"))], RolloutStanding::Failed, 0, false);
        check(&[host(Some(2), Some("index.ts:1:1: x is not defined"))], RolloutStanding::Failed, 0, true);
        let mut refused = host(Some(1), Some("version 2 does not load: index.ts:1:1: x is not defined"));
        refused.refused =
            Some(RefusedVersion { version: 2, message: String::new(), file: None, line: None, column: None });
        check(&[refused.clone()], RolloutStanding::Failed, 0, true);
        check(&[refused, host(Some(2), None)], RolloutStanding::Partly, 1, true);
    }

    #[test]
    fn it_does_not_run_before_its_objects_have_hosts() {
        let check = |hosts: &[HostRollout], standing| {
            let rollout = Rollout::new(2, Placement::Waits, hosts.to_vec());
            assert_eq!((rollout.standing, rollout.problem.is_some()), (standing, true), "{hosts:?}");
        };
        let refuses = host(Some(1), Some("x is not defined"));
        check(&[host(Some(2), None)], RolloutStanding::Starting);
        check(&[host(Some(2), None), refuses.clone()], RolloutStanding::Starting);
        check(&[refuses], RolloutStanding::Failed);
        check(&[], RolloutStanding::Nowhere);
    }

    #[test]
    fn hosts_are_counted_in_words() {
        let check = |running, hosts, expected: &str| assert_eq!(running_on(running, hosts), expected);
        check(1, 2, "running on 1 of 2 hosts");
        check(2, 2, "running on 2 hosts");
        check(1, 1, "running on 1 host");
        check(0, 1, "running on 0 of 1 host");
    }
}
