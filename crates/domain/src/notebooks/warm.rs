//! Warm runs: a started JupyterLab without anybody's files waits, and is given to the next who asks.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::{
    Notebook, NotebookEnvironment, NotebookPolicy, NotebookSize,
    placement::{Place, freest},
};
use crate::{
    hosts::HostIntent,
    ids::{HostId, NotebookEnvironmentId, RunId, TenantId, TransactionId},
};

/// The most warm runs of one environment.
pub const MAX_WARM: u32 = 50;
/// After a warm run could not be started, the next is tried only now.
pub const BUILD_PAUSE: SignedDuration = SignedDuration::from_mins(1);

/// How many started ones of an environment wait, and of which size.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pool {
    pub count: u32,
    pub size: String,
}

crate::words! {
    pub enum WarmState ("state of a warm run") {
        Starting = "starting",
        /// JupyterLab answers.
        Ready = "ready",
        Stopping = "stopping",
        /// It could not be started; kept for a while so that the next is not tried at once.
        Failed = "failed",
    }
}

impl WarmState {
    /// Whether it takes up room on its host.
    pub fn is_placed(self) -> bool {
        match self {
            Self::Starting | Self::Ready | Self::Stopping => true,
            Self::Failed => false,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WarmRun {
    pub run: RunId,
    pub tenant: TenantId,
    pub environment: NotebookEnvironmentId,
    pub size: NotebookSize,
    pub host: HostId,
    pub host_name: String,
    pub state: WarmState,
    pub since: Timestamp,
    pub cause: Option<String>,
    pub transaction: Option<TransactionId>,
}

/// What the pools lack and have too much of, given what is there: the environments and sizes of which one more is to be started,
/// with the host that has room for it, and the runs that are to be ended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    pub start: Vec<(NotebookEnvironmentId, NotebookSize, HostId)>,
    pub stop: Vec<RunId>,
}

/// At most one start for each environment at a time: what it takes up is known the next time. None where a notebook of
/// `waiting` could go: what has given way to it must not take the room that it waits for.
pub fn plan(
    environments: &[NotebookEnvironment],
    runs: &[WarmRun],
    waiting: &[Notebook],
    policy: &NotebookPolicy,
    places: &[Place],
    now: Timestamp,
) -> Plan {
    let mut plan = Plan::default();
    for run in runs.iter().filter(|run| matches!(run.state, WarmState::Starting | WarmState::Ready)) {
        let wanted = environments.iter().find(|environment| environment.id == run.environment);
        let size = wanted.and_then(|wanted| wanted.pool.as_ref()).and_then(|pool| policy.size(Some(&pool.size)));
        let host = places.iter().find(|place| place.host == run.host);
        // One that has lost its link may be back in a moment.
        let is_kept = host.is_some_and(|place| place.intent == HostIntent::InService);
        if size != Some(&run.size) || !is_kept {
            plan.stop.push(run.run);
        }
    }
    for environment in environments {
        let Some(pool) = &environment.pool else { continue };
        let Some(size) = policy.size(Some(&pool.size)) else { continue };
        let of_it: Vec<&WarmRun> =
            runs.iter().filter(|run| run.environment == environment.id && !plan.stop.contains(&run.run)).collect();
        let is_reached = |run: &WarmRun| places.iter().any(|place| place.host == run.host && place.is_ready());
        let there: Vec<&&WarmRun> = of_it
            .iter()
            .filter(|run| matches!(run.state, WarmState::Starting | WarmState::Ready) && is_reached(run))
            .collect();
        let count = u32::try_from(there.len()).unwrap_or(u32::MAX);
        if count > pool.count {
            let over = usize::try_from(count - pool.count).unwrap_or(0);
            plan.stop.extend(there.iter().rev().take(over).map(|run| run.run));
        }
        let failed_lately =
            of_it.iter().any(|run| run.state == WarmState::Failed && now.duration_since(run.since) < BUILD_PAUSE);
        if count < pool.count && !failed_lately {
            let able = places.iter().filter(|place| {
                place.is_ready()
                    && place.runs(&environment.software)
                    && place.offer.is_some_and(|offer| offer.gives_warm)
                    && place.fits(size.limits())
                    && !waiting.iter().any(|notebook| place.could_take(notebook))
            });
            // Where fewest of it wait: two people seldom have their files on the same host.
            let here = |place: &Place| there.iter().filter(|run| run.host == place.host).count();
            let able: Vec<&Place> = able.collect();
            let fewest = able.iter().map(|place| here(place)).min();
            let host = freest(able.into_iter().filter(|place| Some(here(place)) == fewest));
            plan.start.extend(host.map(|host| (environment.id, size.clone(), host.host)));
        }
    }
    plan
}

#[cfg(test)]
mod tests {
    use super::{
        super::{NotebookOffer, Software, placement::tests::a_place},
        *,
    };

    fn environment(count: u32, size: &str) -> NotebookEnvironment {
        NotebookEnvironment {
            id: NotebookEnvironmentId::new(),
            tenant: TenantId::new(),
            name: "base".to_owned(),
            software: Software::Packages { requirements: String::new() },
            pool: Some(Pool { count, size: size.to_owned() }),
            created_by: None,
            created_at: Timestamp::UNIX_EPOCH,
        }
    }

    fn a_run(environment: &NotebookEnvironment, host: &Place, state: WarmState) -> WarmRun {
        WarmRun {
            run: RunId::new(),
            tenant: environment.tenant,
            environment: environment.id,
            size: NotebookPolicy::default().sizes[0].clone(),
            host: host.host,
            host_name: host.name.clone(),
            state,
            since: Timestamp::UNIX_EPOCH,
            cause: None,
            transaction: None,
        }
    }

    #[test]
    fn pools_are_filled_and_emptied() {
        let policy = NotebookPolicy::default();
        let (a, b, now) = (a_place("a", 8), a_place("b", 8), Timestamp::UNIX_EPOCH + SignedDuration::from_hours(1));
        let (two, places) = (environment(2, "small"), [a.clone(), b.clone()]);
        let check = |environments: &[NotebookEnvironment], runs: &[WarmRun]| {
            plan(environments, runs, &[], &policy, &places, now)
        };
        let first = check(std::slice::from_ref(&two), &[]);
        assert_eq!(first.start, [(two.id, policy.sizes[0].clone(), a.host)]);
        let there = a_run(&two, &a, WarmState::Ready);
        let second = check(std::slice::from_ref(&two), std::slice::from_ref(&there));
        assert_eq!(second.start[0].2, b.host, "where none waits yet");
        let full = [there.clone(), a_run(&two, &b, WarmState::Starting)];
        assert_eq!(check(std::slice::from_ref(&two), &full), Plan::default());
        let one = NotebookEnvironment { pool: Some(Pool { count: 1, size: "small".to_owned() }), ..two.clone() };
        assert_eq!(check(&[one], &full).stop, [full[1].run], "the last come");
        let other = NotebookEnvironment { pool: Some(Pool { count: 2, size: "medium".to_owned() }), ..two.clone() };
        assert_eq!(check(&[other], &full).stop.len(), 2, "of another size");
        assert_eq!(check(&[], &full).stop.len(), 2, "of an environment that is gone");
    }

    #[test]
    fn one_that_failed_is_tried_again_later_and_a_host_that_left_is_left() {
        let policy = NotebookPolicy::default();
        let (mut a, one) = (a_place("a", 8), environment(1, "small"));
        let failed = a_run(&one, &a, WarmState::Failed);
        let at = |seconds: i64, places: &[Place]| {
            let now = Timestamp::UNIX_EPOCH + SignedDuration::from_secs(seconds);
            plan(std::slice::from_ref(&one), std::slice::from_ref(&failed), &[], &policy, places, now)
        };
        assert_eq!(at(59, std::slice::from_ref(&a)), Plan::default());
        assert_eq!(at(60, std::slice::from_ref(&a)).start.len(), 1);
        a.offer = a.offer.map(|offer| NotebookOffer { gives_warm: false, ..offer });
        assert_eq!(at(60, std::slice::from_ref(&a)), Plan::default(), "it could not give it away");
        let ready = a_run(&one, &a, WarmState::Ready);
        a.intent = HostIntent::Draining;
        let now = Timestamp::UNIX_EPOCH;
        let left = plan(std::slice::from_ref(&one), std::slice::from_ref(&ready), &[], &policy, &[a], now);
        assert_eq!(left.stop, [ready.run]);
    }
}
