//! The state machines under random sequences of events: sessions that share a machine, as the reconciler drives them by
//! [`next`], and transactions under random reports.

use domain::{
    hosts::{HostIntent, HostLink},
    ids::{HostId, MachineId, PersonId, ReservationId, SessionId, TenantId, TransactionId},
    instructions::TransactionState,
    interval::Interval,
    labels::Labels,
    machines::{Machine, MachineCondition, MachineKind, MachineLimits},
    reservations::ReservationState,
    sessions::{
        Before, EndCause, Facts, Keep, Next, Occupant, Rules, Session, SessionAction, SessionState, Work, next,
    },
};
use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;

const SESSIONS: usize = 4;

/// What the world does to a machine and the sessions that are booked on it.
#[derive(Debug, Clone)]
enum Event {
    Pass(u16),
    HostSays(usize, TransactionState),
    /// It claims, runs and ends what it was sent.
    HostDoes(usize),
    Link(HostLink),
    Intent(HostIntent),
    Condition(MachineCondition),
    Cancel(usize),
    /// The person or an admin ends it.
    End(usize),
    KeepAlive(usize),
    Use(usize),
}

fn one<T: Copy + std::fmt::Debug + 'static>(all: &'static [T]) -> impl Strategy<Value = T> {
    proptest::sample::select(all)
}

fn event() -> impl Strategy<Value = Event> {
    let which = || 0..SESSIONS;
    prop_oneof![
        3 => (0_u16..1_200).prop_map(Event::Pass),
        4 => (0_u16..40).prop_map(Event::Pass),
        4 => which().prop_map(Event::HostDoes),
        6 => (which(), one(TransactionState::ALL)).prop_map(|(at, state)| Event::HostSays(at, state)),
        1 => one(HostLink::ALL).prop_map(Event::Link),
        1 => one(HostIntent::ALL).prop_map(Event::Intent),
        1 => one(MachineCondition::ALL).prop_map(Event::Condition),
        1 => which().prop_map(Event::Cancel),
        1 => which().prop_map(Event::End),
        2 => which().prop_map(Event::KeepAlive),
        2 => which().prop_map(Event::Use),
    ]
}

/// One session with its reservation and its instruction.
struct Booked {
    session: Session,
    reservation: ReservationState,
    holds: bool,
    work: Option<Work>,
    history: Vec<SessionState>,
}

impl Booked {
    fn is_on_machine(&self) -> bool {
        match self.session.state {
            SessionState::Preparing | SessionState::Active | SessionState::Reverting => true,
            SessionState::Scheduled | SessionState::Ended | SessionState::Failed => false,
        }
    }

    fn turn(&mut self, state: SessionState, now: Timestamp) {
        let old = self.session.state;
        assert!(old.may_become(state), "{old} became {state}");
        self.session.state = state;
        self.session.since = now;
        self.history.push(state);
    }

    fn leave(&mut self, cause: EndCause, now: Timestamp) {
        let state = match self.session.state {
            SessionState::Scheduled => SessionState::Ended,
            SessionState::Preparing | SessionState::Active => SessionState::Reverting,
            SessionState::Reverting | SessionState::Ended | SessionState::Failed => return,
        };
        self.turn(state, now);
        self.session.cause = Some(cause);
        self.session.transaction = None;
        self.work = None;
        self.holds = false;
    }

    fn send(&mut self) {
        self.session.transaction = Some(TransactionId::new());
        self.work = Some(Work { state: TransactionState::Waiting, cause: None });
    }
}

struct World {
    now: Timestamp,
    machine: Machine,
    booked: Vec<Booked>,
}

impl World {
    /// Sessions one after the other, with gaps, as the database's rule lets them be booked.
    fn new(gaps: &[u16], keeps: &[Keep]) -> Self {
        let now: Timestamp = "2026-03-02T09:00:00Z".parse().expect("a time");
        let (tenant, host, machine) = (TenantId::new(), HostId::new(), MachineId::new());
        let mut start = now;
        let booked = gaps.iter().zip(keeps).map(|(gap, keep)| {
            let begin = start + SignedDuration::from_secs(i64::from(*gap));
            let end = begin + SignedDuration::from_mins(15);
            start = end;
            let session = Session {
                id: SessionId::new(),
                tenant,
                reservation: ReservationId::new(),
                person: PersonId::new(),
                person_name: "Ada".to_owned(),
                machine,
                machine_name: "rack/0".to_owned(),
                host,
                interval: Interval::new(begin, end).expect("not empty"),
                state: SessionState::Scheduled,
                since: now,
                cause: None,
                cause_detail: None,
                keep: *keep,
                last_keepalive_at: None,
                taken_up: false,
                warned: None,
                steps: vec![],
                transaction: None,
                generation: 1,
            };
            Booked { session, reservation: ReservationState::Confirmed, holds: true, work: None, history: vec![] }
        });
        let booked = booked.collect();
        let limits = MachineLimits { cpu_millis: 1_000, memory_bytes: 1, pids: 1, disk_bytes: 1 };
        let machine = Machine {
            id: machine,
            tenant,
            host,
            host_name: "rack".to_owned(),
            host_intent: HostIntent::InService,
            host_link: HostLink::Online,
            host_link_since: now,
            name: "rack/0".to_owned(),
            local_name: "0".to_owned(),
            kind: MachineKind::Sandbox,
            labels: Labels::default(),
            limits,
            condition: MachineCondition::Ready,
            reason: None,
            condition_since: now,
            verifications: 0,
        };
        Self { now, machine, booked }
    }

    fn happen(&mut self, event: &Event) {
        let now = self.now;
        match event {
            Event::Pass(seconds) => self.now = now + SignedDuration::from_secs(i64::from(*seconds)),
            Event::HostSays(at, state) => {
                // The server takes a report only if it may follow.
                if let Some(work) = &mut self.booked[*at].work
                    && work.state.may_become(*state)
                {
                    work.state = *state;
                }
            }
            Event::HostDoes(at) => {
                if let Some(work) = self.booked[*at].work.as_mut().filter(|work| !work.state.is_final()) {
                    work.state = TransactionState::Done;
                }
            }
            Event::Link(link) => {
                self.machine.host_link = *link;
                self.machine.host_link_since = now;
            }
            // What is revoked stays so.
            Event::Intent(intent) if self.machine.host_intent != HostIntent::Revoked => {
                self.machine.host_intent = *intent;
            }
            Event::Intent(_) => {}
            Event::Condition(condition) => self.machine.condition = *condition,
            Event::Cancel(at) => {
                let booked = &mut self.booked[*at];
                if booked.reservation == ReservationState::Confirmed {
                    booked.reservation = ReservationState::Cancelled;
                }
            }
            Event::End(at) => {
                let booked = &mut self.booked[*at];
                if SessionAction::End.check(&booked.session).is_ok() {
                    booked.leave(EndCause::Completed, now);
                }
            }
            Event::KeepAlive(at) => {
                let session = &mut self.booked[*at].session;
                if SessionAction::KeepAlive.check(session).is_ok() {
                    session.last_keepalive_at = Some(now);
                    session.taken_up = true;
                }
            }
            Event::Use(at) => {
                let session = &mut self.booked[*at].session;
                if SessionAction::Use.check(session).is_ok() {
                    session.taken_up = true;
                }
            }
        }
    }

    fn others(&self, at: usize) -> impl Iterator<Item = &Booked> {
        self.booked.iter().enumerate().filter(move |(other, _)| *other != at).map(|(_, other)| other)
    }

    fn before(&self, at: usize) -> Before {
        let start = self.booked[at].session.interval.start();
        let claims = |other: &Booked| {
            other.holds && other.session.interval.end() > self.now && other.session.interval.start() < start
        };
        if self.others(at).any(claims) { Before::Claimed } else { Before::Free }
    }

    fn decide(&self, at: usize) -> Next {
        let booked = &self.booked[at];
        let is_occupied = self.others(at).any(Booked::is_on_machine);
        next(Facts {
            session: &booked.session,
            reservation: booked.reservation,
            machine: &self.machine,
            occupant: if is_occupied { Occupant::AnotherSession } else { Occupant::Nobody },
            before: self.before(at),
            work: booked.work.as_ref(),
            rules: Rules { no_show_after: SignedDuration::from_mins(10) },
            listening_since: Timestamp::UNIX_EPOCH,
            now: self.now,
        })
    }

    /// One pass of the reconciler; how often something was done.
    fn reconcile(&mut self) -> usize {
        let mut acts = 0;
        for at in 0..self.booked.len() {
            let now = self.now;
            let (decided, before) = (self.decide(at), self.before(at));
            let booked = &mut self.booked[at];
            match decided {
                Next::Wait { .. } => continue,
                Next::Prepare => {
                    let has_come = booked.session.interval.start() <= now;
                    assert!(has_come || before == Before::Free, "prepared in the time of another's claim");
                    booked.turn(SessionState::Preparing, now);
                    booked.send();
                }
                Next::Activate => {
                    assert!(booked.session.interval.start() <= now, "active before its start");
                    booked.turn(SessionState::Active, now);
                }
                Next::Warn { warning, .. } => {
                    assert!(booked.session.warned < Some(warning), "a warning twice");
                    booked.session.warned = Some(warning);
                }
                Next::Revert { cause, .. } | Next::End { cause, .. } => booked.leave(cause, now),
                Next::SendRevert => booked.send(),
                Next::Ended => booked.turn(SessionState::Ended, now),
                Next::Fail { cause, .. } => {
                    booked.turn(SessionState::Failed, now);
                    booked.session.cause = Some(cause);
                    booked.holds = false;
                }
                Next::Quarantine { cause, .. } => {
                    booked.turn(SessionState::Failed, now);
                    booked.session.cause = Some(cause);
                    booked.holds = false;
                    self.machine.condition = MachineCondition::Quarantined;
                }
            }
            acts += 1;
        }
        acts
    }

    fn check(&self) {
        let live = self.booked.iter().filter(|booked| booked.is_on_machine()).count();
        assert!(live <= 1, "{live} sessions on one machine");
        for booked in &self.booked {
            let state = booked.session.state;
            if state == SessionState::Reverting || state.is_final() {
                assert!(booked.session.cause.is_some(), "{state} without a cause");
                assert!(!booked.holds, "{state}, and claims its time");
            }
            let ends = booked.history.iter().filter(|state| state.is_final()).count();
            assert!(ends <= 1, "ended more than once: {:?}", booked.history);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn sessions_go_their_way_and_no_machine_has_two(
        gaps in proptest::collection::vec(prop_oneof![Just(0_u16), 0_u16..200, 0_u16..4_000], SESSIONS),
        keeps in proptest::collection::vec(one(Keep::ALL), SESSIONS),
        events in proptest::collection::vec(event(), 1..120),
    ) {
        let mut world = World::new(&gaps, &keeps);
        for event in &events {
            world.happen(event);
            // It comes to rest: a pass that goes on for ever would hammer the database.
            let passes = (0..20).take_while(|_| world.reconcile() > 0).count();
            prop_assert!(passes < 20, "no rest after {event:?}");
            world.check();
        }
        // Whatever happened: a host that answers and stays brings all of them to an end.
        world.happen(&Event::Link(HostLink::Online));
        world.happen(&Event::Condition(MachineCondition::Ready));
        world.happen(&Event::Intent(HostIntent::InService));
        world.now += SignedDuration::from_hours(48);
        for _ in 0..40 {
            world.reconcile();
            for booked in &mut world.booked {
                if let Some(work) = booked.work.as_mut().filter(|work| !work.state.is_final()) {
                    work.state = TransactionState::Done;
                }
            }
            world.check();
        }
        for booked in &world.booked {
            prop_assert!(booked.session.state.is_final(), "left as {}: {:?}", booked.session.state, booked.history);
        }
    }

    #[test]
    fn what_ended_stays_ended(reports in proptest::collection::vec(one(TransactionState::ALL), 1..60)) {
        let mut state = TransactionState::Waiting;
        let mut claimed = false;
        for report in reports {
            if !state.may_become(report) {
                continue;
            }
            // `unknown` alone can still become what the host says in the end.
            prop_assert!(!state.is_final() || state == TransactionState::Unknown);
            prop_assert!(state != TransactionState::Unknown || report.is_final());
            claimed |= report == TransactionState::Claimed;
            let needs_claim = matches!(
                report,
                TransactionState::Running | TransactionState::Done | TransactionState::Failed | TransactionState::Unknown
            );
            prop_assert!(claimed || !needs_claim, "{report} without a claim");
            state = report;
        }
    }
}
