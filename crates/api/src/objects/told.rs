//! What hosts told, for people.

use domain::{deployments::GROUPS, ids::HostId};
use jiff::Timestamp;
use protocol::objects::control::{self, BUCKET_MS, BUCKETS, Bucket, DeploymentStatus, LATENCY_BOUNDS_US, ObjectStatus};

use super::{
    ConsoleLine, DeploymentBrief, DeploymentStats, HostRollout, HostStanding, HostStats, ObjectInfo, Placement,
    RefusedVersion, Rollout, RolloutStanding, StatsPoint,
};

/// Rates are of so many points.
const RATED_POINTS: usize = 6;

/// What one host said of a deployment.
#[derive(Debug, Clone)]
pub struct ToldByHost {
    pub host: HostId,
    pub host_name: String,
    /// Of [`GROUPS`].
    pub groups: u16,
    pub status: Result<DeploymentStatus, String>,
}

/// What one host said of a deployment in short: nothing yet, or why it does not answer.
#[derive(Debug, Clone)]
pub struct BriefByHost<'a> {
    pub host: HostId,
    pub host_name: &'a str,
    pub brief: Result<Option<&'a control::Brief>, &'a str>,
}

/// What all hosts said of a deployment in short.
#[derive(Debug, Clone)]
pub struct BriefByHosts<'a> {
    pub hosts: Vec<BriefByHost<'a>>,
    pub placement: Placement,
}

fn time(ms: i64) -> Option<String> {
    Timestamp::from_millisecond(ms).ok().map(|at| at.to_string())
}

impl DeploymentStats {
    /// `version`: the one that is to run.
    pub fn new(version: u32, placement: Placement, told: Vec<ToldByHost>, now: Timestamp) -> Self {
        let points = points(&told, now);
        let last = points.get(points.len().saturating_sub(RATED_POINTS)..).unwrap_or_default();
        let (requests_per_s, errors_per_s, cpu) = (
            per_s(last.iter().map(|point| point.requests).sum()),
            per_s(last.iter().map(|point| point.errors).sum()),
            per_s(last.iter().map(|point| point.cpu_us).sum()) / 1e6,
        );
        let hosts: Vec<HostStats> = told.into_iter().map(|told| host(told, version)).collect();
        Self {
            version,
            standing: RolloutStanding::of(hosts.iter().map(|host| host.rollout.standing), placement),
            problem: placement.problem(),
            points,
            requests_per_s,
            errors_per_s,
            cpu,
            live: hosts.iter().map(|host| host.live).sum(),
            memory_bytes: hosts.iter().map(|host| host.memory_bytes).sum(),
            hosts,
        }
    }
}

impl Rollout {
    /// `version`: the one that is to run.
    pub fn of_briefs(version: u32, told: &BriefByHosts<'_>) -> Self {
        let host = |told: &BriefByHost<'_>| {
            let (there, problem, refused) = match told.brief {
                Ok(Some(brief)) => (brief.version, brief.problem.clone(), brief.refused.clone()),
                Ok(None) => (None, None, None),
                Err(why) => (None, Some(why.to_owned()), None),
            };
            HostRollout::new((told.host, told.host_name.to_owned()), version, there, problem, refused)
        };
        Self::new(version, told.placement, told.hosts.iter().map(host).collect())
    }
}

impl HostRollout {
    /// Of the version that is `there`, and what the host says against the `wanted` one.
    fn new(
        (host, name): (HostId, String),
        wanted: u32,
        there: Option<u32>,
        problem: Option<String>,
        refused: Option<control::Refused>,
    ) -> Self {
        // The host has not heard of the wanted one yet, of which this says nothing.
        let is_of_another = refused.as_ref().is_some_and(|refused| refused.version != wanted);
        let (problem, refused) = if is_of_another { (None, None) } else { (problem, refused) };
        Self {
            host: name,
            host_id: host.uuid(),
            standing: HostStanding::of(there, problem.as_deref(), wanted),
            version: there,
            problem,
            refused: refused.map(RefusedVersion::from),
        }
    }
}

impl DeploymentBrief {
    /// `version`: the one that is to run.
    pub fn new(name: String, version: u32, told: &BriefByHosts<'_>, now: Timestamp) -> Self {
        let Rollout { version: _, standing, running, problem, hosts } = Rollout::of_briefs(version, told);
        let briefs = || told.hosts.iter().filter_map(|told| told.brief.ok().flatten());
        let end = end_of_last(now);
        let rated = end - BUCKET_MS * i64::try_from(RATED_POINTS).unwrap_or(i64::MAX)..end;
        let requests = briefs().flat_map(|brief| &brief.requests).filter(|(at_ms, _)| rated.contains(at_ms));
        Self {
            name,
            standing,
            problem,
            running,
            hosts: u32::try_from(hosts.len()).unwrap_or(u32::MAX),
            requests_per_s: per_s(requests.map(|(_, requests)| requests).sum()),
            live: briefs().map(|brief| brief.live).sum(),
        }
    }
}

/// A second, of what the rated points have together.
fn per_s(sum: u64) -> f64 {
    f64_of(sum) / (f64_of(BUCKET_MS.unsigned_abs()) / 1_000.0) / f64_of(RATED_POINTS as u64)
}

/// When the last bucket that is over ended.
fn end_of_last(now: Timestamp) -> i64 {
    now.as_millisecond().div_euclid(BUCKET_MS) * BUCKET_MS
}

#[expect(clippy::cast_precision_loss, reason = "a few digits are shown")]
fn f64_of(number: u64) -> f64 {
    number as f64
}

/// Every bucket that is over, of all hosts together.
fn points(told: &[ToldByHost], now: Timestamp) -> Vec<StatsPoint> {
    let end = end_of_last(now);
    let count = i64::try_from(BUCKETS).unwrap_or(i64::MAX) - 1;
    let buckets: Vec<&Bucket> =
        told.iter().filter_map(|told| told.status.as_ref().ok()).flat_map(|of| &of.buckets).collect();
    let point = |back: i64| {
        let at_ms = end - back * BUCKET_MS;
        let mut sum = Bucket { at_ms, latencies: vec![0; LATENCY_BOUNDS_US.len() + 1], ..Bucket::default() };
        for bucket in buckets.iter().filter(|bucket| bucket.at_ms == at_ms) {
            sum.requests += bucket.requests;
            sum.errors += bucket.errors;
            sum.cpu_us += bucket.cpu_us;
            for (sum, more) in sum.latencies.iter_mut().zip(&bucket.latencies) {
                *sum = sum.saturating_add(*more);
            }
        }
        Some(StatsPoint {
            at: time(at_ms)?,
            requests: sum.requests,
            errors: sum.errors,
            cpu_us: sum.cpu_us,
            p50_us: quantile(&sum.latencies, 50),
            p99_us: quantile(&sum.latencies, 99),
        })
    };
    (1..=count).rev().filter_map(point).collect()
}

/// The bound below which so many hundredths lie; beyond the last bound, that.
fn quantile(latencies: &[u32], hundredths: u64) -> Option<u64> {
    let all: u64 = latencies.iter().map(|count| u64::from(*count)).sum();
    let wanted = (all * hundredths).div_ceil(100);
    let mut seen = 0;
    let bounds = LATENCY_BOUNDS_US.iter().chain(LATENCY_BOUNDS_US.last());
    latencies.iter().zip(bounds).find_map(|(count, bound)| {
        seen += u64::from(*count);
        (all > 0 && seen >= wanted).then_some(*bound)
    })
}

fn host(ToldByHost { host, host_name, groups, status }: ToldByHost, wanted: u32) -> HostStats {
    let share = f64::from(groups) / f64::from(GROUPS);
    let status = status.unwrap_or_else(|why| DeploymentStatus { problem: Some(why), ..DeploymentStatus::default() });
    let DeploymentStatus { version, problem, refused, live, memory_bytes, .. } = status;
    HostStats {
        rollout: HostRollout::new((host, host_name), wanted, version, problem, refused),
        share,
        live,
        memory_bytes,
    }
}

impl From<control::Refused> for RefusedVersion {
    fn from(control::Refused { version, message, place }: control::Refused) -> Self {
        let (line, column) = place.as_ref().map(|place| (place.line, place.column)).unzip();
        Self { version, message, file: place.map(|place| place.file), line, column }
    }
}

impl ObjectInfo {
    pub fn new(class: String, host: HostId, host_name: String, status: ObjectStatus) -> Self {
        Self {
            class,
            id: status.id,
            name: status.name,
            host: host_name,
            host_id: host.uuid(),
            is_live: status.is_live,
            is_quarantined: status.is_quarantined,
            bytes: status.bytes,
            last_used_at: status.last_used_ms.and_then(time),
            alarm_at: status.alarm_at_ms.and_then(time),
            sockets: status.sockets,
            running: status.running,
        }
    }
}

impl ConsoleLine {
    pub fn new(class: Option<String>, host_name: String, line: control::Line) -> Self {
        let control::Line { seq, at_ms, level, object, text } = line;
        let (id, name) = object.map_or((None, None), |object| (Some(object.id), object.name));
        Self { seq, at: time(at_ms).unwrap_or_default(), level, host: host_name, class, id, name, text }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bucket(at_ms: i64, requests: u64, latencies: &[(usize, u32)]) -> Bucket {
        let mut all = vec![0; LATENCY_BOUNDS_US.len() + 1];
        for (index, count) in latencies {
            all[*index] = *count;
        }
        Bucket { at_ms, requests, errors: 1, cpu_us: 500_000, latencies: all }
    }

    fn told(buckets: Vec<Bucket>) -> ToldByHost {
        let status =
            DeploymentStatus { version: Some(2), live: 3, memory_bytes: 10, buckets, ..DeploymentStatus::default() };
        ToldByHost { host: HostId::new(), host_name: "a".to_owned(), groups: GROUPS / 2, status: Ok(status) }
    }

    #[test]
    fn hosts_are_added_up_point_by_point() {
        let now = Timestamp::from_millisecond(100 * BUCKET_MS + 3_000).expect("a time");
        let last = 99 * BUCKET_MS;
        let away = ToldByHost { status: Err("the host is offline".to_owned()), ..told(Vec::new()) };
        // What is not over yet is left out.
        let first = told(vec![bucket(last, 10, &[(0, 9), (3, 1)]), bucket(100 * BUCKET_MS, 7, &[])]);
        let stats =
            DeploymentStats::new(2, Placement::Done, vec![first, told(vec![bucket(last, 20, &[(0, 20)])]), away], now);
        assert_eq!(stats.points.len(), BUCKETS - 1);
        let point = stats.points.last().expect("a point");
        assert_eq!((point.at.as_str(), point.requests, point.errors), ("1970-01-01T00:16:30Z", 30, 2));
        assert_eq!((point.p50_us, point.p99_us), (Some(100), Some(1_000)));
        assert_eq!(stats.points[0].p50_us, None);
        assert_eq!((stats.requests_per_s * 60.0, stats.live, stats.memory_bytes), (30.0, 6, 20));
        assert!((stats.cpu - 1.0 / 60.0).abs() < 1e-9, "{}", stats.cpu);
        assert_eq!(stats.hosts[2].rollout.problem.as_deref(), Some("the host is offline"));
        assert!((stats.hosts[0].share - 0.5).abs() < 1e-9);
        assert_eq!((stats.version, stats.standing), (2, RolloutStanding::Partly));
    }

    #[test]
    fn a_list_adds_up_what_hosts_say_in_short() {
        let now = Timestamp::from_millisecond(100 * BUCKET_MS + 3_000).expect("a time");
        let brief = |requests: &[(i64, u64)]| control::Brief {
            deployment: domain::ids::DeploymentId::new(),
            version: Some(2),
            problem: None,
            refused: None,
            live: 3,
            requests: requests.iter().map(|(bucket, requests)| (bucket * BUCKET_MS, *requests)).collect(),
        };
        // The bucket that is not over yet is left out, as is one that is more than a minute old.
        let (one, other) = (brief(&[(93, 500), (94, 20), (99, 10), (100, 900)]), brief(&[(99, 30)]));
        let by = |brief| BriefByHost { host: HostId::new(), host_name: "a", brief };
        let hosts = [by(Ok(Some(&one))), by(Ok(Some(&other))), by(Err("the host is offline"))];
        let hosts = BriefByHosts { hosts: hosts.to_vec(), placement: Placement::Done };
        let found = DeploymentBrief::new("chat".to_owned(), 2, &hosts, now);
        assert_eq!((found.standing, found.running, found.hosts, found.live), (RolloutStanding::Partly, 2, 3, 6));
        assert!((found.requests_per_s - 1.0).abs() < 1e-9, "{}", found.requests_per_s);
        let hosts = vec![by(Ok(Some(&one))), by(Ok(None))];
        let coming = Rollout::of_briefs(2, &BriefByHosts { hosts, placement: Placement::Done });
        assert_eq!((coming.standing, coming.hosts[1].standing), (RolloutStanding::Starting, HostStanding::Starting));
    }

    #[test]
    fn what_is_said_against_another_version_says_nothing_of_this_one() {
        let refused = control::Refused { version: 2, message: "no".to_owned(), place: None };
        let check = |wanted, there, standing, has_problem| {
            let host = (HostId::new(), "a".to_owned());
            let found = HostRollout::new(host, wanted, Some(there), Some(refused.to_string()), Some(refused.clone()));
            let said = (found.standing, found.problem.is_some(), found.refused.is_some());
            assert_eq!(said, (standing, has_problem, has_problem), "{wanted} {there}");
        };
        check(2, 1, HostStanding::Failed, true);
        check(3, 1, HostStanding::Starting, false);
        // Back to what went on in its place.
        check(1, 1, HostStanding::Runs, false);
    }

    #[test]
    fn what_took_longer_than_the_last_bound_is_told_as_that() {
        let mut latencies = vec![0; LATENCY_BOUNDS_US.len() + 1];
        latencies[LATENCY_BOUNDS_US.len()] = 1;
        assert_eq!(quantile(&latencies, 50), LATENCY_BOUNDS_US.last().copied());
        assert_eq!(quantile(&[], 50), None);
    }
}
