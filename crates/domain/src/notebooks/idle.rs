//! When a notebook that nobody uses stops. Use is what happens in its kernels and at the keyboard, not an open tab; and before
//! anything is done JupyterLab itself is asked, as a cell may run where nothing passes.

use jiff::{SignedDuration, Timestamp};

use super::NotebookPolicy;

/// How the cause begins of a notebook that was stopped for it.
pub const IDLE_CAUSE: &str = "idle since";

/// How long unused is too long, and how long before the end of that its person is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IdleRule {
    pub idle_after: SignedDuration,
    pub warn_before: SignedDuration,
}

impl IdleRule {
    /// `None` where notebooks are never stopped for that.
    pub fn of(policy: &NotebookPolicy) -> Option<Self> {
        let idle_after = SignedDuration::from_mins(policy.idle_after_min?.into());
        let warn_before = SignedDuration::from_mins(policy.warn_before_min.into()).min(idle_after);
        Some(Self { idle_after, warn_before })
    }
}

/// What JupyterLab says when it is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    NotYet,
    /// It cannot be asked: its host or the way to it is away.
    Silent,
    /// A cell runs, or a kernel starts.
    Busy,
    /// Nothing runs; when its kernels and terminals were last used, if they say so.
    Quiet {
        last: Option<Timestamp>,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Facts {
    pub now: Timestamp,
    pub running_since: Timestamp,
    /// As what passes has shown.
    pub active_at: Option<Timestamp>,
    pub warned: Option<Warned>,
    pub asked: Asked,
}

/// Its person has been told that it stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Warned {
    pub at: Timestamp,
    pub stops_at: Timestamp,
}

/// What to do with a notebook that runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Idle {
    /// Nothing before then; never, if `None`, unless something changes.
    Wait {
        until: Option<Timestamp>,
    },
    /// Ask JupyterLab, and decide anew.
    Ask,
    /// It was in use at that time: a warning is void.
    Used {
        at: Timestamp,
    },
    Warn {
        stops_at: Timestamp,
    },
    Stop {
        idle_since: Timestamp,
    },
}

/// Decides. Total, and nothing stops that could not be asked.
pub fn idle(rule: Option<IdleRule>, facts: &Facts) -> Idle {
    let Facts { now, running_since, active_at, warned, asked } = *facts;
    let used_at = active_at.map_or(running_since, |at| at.max(running_since));
    let Some(rule) = rule else {
        return if warned.is_some() { Idle::Used { at: used_at } } else { Idle::Wait { until: None } };
    };
    let later = |at: Timestamp, by: SignedDuration| at.saturating_add(by).unwrap_or(Timestamp::MAX);
    let warn_at = later(used_at, rule.idle_after - rule.warn_before);
    if now < warn_at {
        // Used since the warning, or the policy is another now.
        return if warned.is_some() { Idle::Used { at: used_at } } else { Idle::Wait { until: Some(warn_at) } };
    }
    if let Some(warned) = warned
        && now < warned.stops_at
    {
        return Idle::Wait { until: Some(warned.stops_at) };
    }
    match (asked, warned) {
        (Asked::NotYet, _) => Idle::Ask,
        (Asked::Silent, _) => Idle::Wait { until: None },
        (Asked::Busy, _) => Idle::Used { at: now },
        // On whole milliseconds, as times are stored: what was noted is not later than itself.
        (Asked::Quiet { last: Some(last) }, _) if last.as_millisecond() > used_at.as_millisecond() => {
            Idle::Used { at: last.min(now) }
        }
        // Whoever is told late, as the server was away, has as long to answer.
        (Asked::Quiet { .. }, None) => Idle::Warn { stops_at: later(now, rule.warn_before) },
        (Asked::Quiet { .. }, Some(_)) => Idle::Stop { idle_since: used_at },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(minute: i64) -> Timestamp {
        Timestamp::from_second(minute * 60).unwrap()
    }

    /// Two hours, ten minutes; runs since minute 0.
    fn check(expected: Idle, now: i64, active: Option<i64>, warned: Option<i64>, asked: Asked) {
        let rule = IdleRule { idle_after: SignedDuration::from_mins(120), warn_before: SignedDuration::from_mins(10) };
        let facts = Facts {
            now: at(now),
            running_since: at(0),
            active_at: active.map(at),
            warned: warned.map(|warned| Warned { at: at(warned), stops_at: at(warned + 10) }),
            asked,
        };
        assert_eq!(idle(Some(rule), &facts), expected, "{facts:?}");
    }

    #[test]
    fn what_is_done_when() {
        let quiet = Asked::Quiet { last: None };
        let used = |minute| Asked::Quiet { last: Some(at(minute)) };
        let wait = |minute| Idle::Wait { until: Some(at(minute)) };
        check(wait(110), 0, None, None, Asked::NotYet);
        check(wait(110), 109, None, None, Asked::NotYet);
        check(wait(130), 109, Some(20), None, Asked::NotYet);
        check(wait(110), 109, Some(-20), None, Asked::NotYet);
        // Nothing is done before it was asked.
        check(Idle::Ask, 110, None, None, Asked::NotYet);
        check(Idle::Warn { stops_at: at(120) }, 110, None, None, quiet);
        check(Idle::Warn { stops_at: at(120) }, 110, Some(0), None, used(0));
        let finer = Asked::Quiet { last: Some(at(0) + SignedDuration::from_micros(614)) };
        check(Idle::Warn { stops_at: at(120) }, 110, Some(0), None, finer);
        // Told late: as long to answer.
        check(Idle::Warn { stops_at: at(510) }, 500, None, None, quiet);
        check(wait(120), 110, None, Some(110), Asked::NotYet);
        check(wait(120), 119, None, Some(110), Asked::Busy);
        check(Idle::Ask, 120, None, Some(110), Asked::NotYet);
        check(Idle::Stop { idle_since: at(0) }, 120, None, Some(110), quiet);
        check(Idle::Stop { idle_since: at(5) }, 125, Some(5), Some(115), used(5));
        // A running cell, and use that nobody saw pass, at any time.
        for warned in [None, Some(110)] {
            check(Idle::Used { at: at(130) }, 130, None, warned, Asked::Busy);
            check(Idle::Used { at: at(7) }, 130, Some(3), warned, used(7));
            check(Idle::Wait { until: None }, 130, None, warned, Asked::Silent);
        }
        // A clock there that is ahead.
        check(Idle::Used { at: at(130) }, 130, Some(3), None, used(900));
        // Used after the warning.
        check(Idle::Used { at: at(115) }, 116, Some(115), Some(110), Asked::NotYet);
    }

    #[test]
    fn a_policy_that_changes_voids_the_warning() {
        let warned = Some(Warned { at: at(110), stops_at: at(120) });
        let facts =
            Facts { now: at(121), running_since: at(0), active_at: None, warned, asked: Asked::Quiet { last: None } };
        assert_eq!(idle(None, &facts), Idle::Used { at: at(0) });
        assert_eq!(idle(None, &Facts { warned: None, ..facts }), Idle::Wait { until: None });
        let longer = IdleRule { idle_after: SignedDuration::from_hours(9), warn_before: SignedDuration::from_mins(10) };
        assert_eq!(idle(Some(longer), &facts), Idle::Used { at: at(0) });
        let never = NotebookPolicy { idle_after_min: None, ..NotebookPolicy::default() };
        assert_eq!(IdleRule::of(&never), None);
    }

    #[test]
    fn without_a_time_of_warning_the_end_comes_at_once_after_it() {
        let rule = IdleRule { idle_after: SignedDuration::from_mins(1), warn_before: SignedDuration::ZERO };
        let asked = Asked::Quiet { last: None };
        let facts = Facts { now: at(1), running_since: at(0), active_at: None, warned: None, asked };
        assert_eq!(idle(Some(rule), &facts), Idle::Warn { stops_at: at(1) });
        let warned = Some(Warned { at: at(1), stops_at: at(1) });
        assert_eq!(idle(Some(rule), &Facts { warned, ..facts }), Idle::Stop { idle_since: at(0) });
    }
}
