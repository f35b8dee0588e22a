//! What is said on a link, and that an instruction runs once or not at all (D3).

use std::{sync::Arc, time::Duration};

use api::reservations::NewReservation;
use domain::{
    certificates::JoinPolicy,
    hosts::{HostLink, HostMetrics},
    ids::{InstructionId, SessionId, TransactionId},
    instructions::{DEFAULT_CLAIM_WINDOW, TransactionState, Work},
    labels::Labels,
    machines::{MachineKind, MachineLimits},
    people::Role,
    sessions::{EndCause, Session, SessionState},
};
use jiff::{SignedDuration, Timestamp};
use protocol::{
    ActualMachine, CloseReason, MachineReport, OfferedMachine, Outcome, ProgressEvent, ToAgent, ToServer, VERSION,
};
use rcgen::KeyPair;
use services::{
    Call,
    certificates::{self, Holder},
    hosts,
    instructions::{self, Targets},
    links::{self, Attached, Heard, Link, Peer, Trouble},
    machines, reconciler, reservations, sessions,
};
use testkit::World;
use tokio::sync::mpsc::Receiver;
use tokio_util::sync::CancellationToken;

use crate::enrolment::{Zero, csr, request, serial};

const LIMIT: Duration = Duration::from_secs(60);

async fn within<T>(what: &str, done: impl Future<Output = T>) -> T {
    tokio::time::timeout(LIMIT, done).await.unwrap_or_else(|_| panic!("{what}: not within {LIMIT:?}"))
}

/// Waits until `look` says yes; looks again with each event, as whoever follows the server does.
async fn until<F: Future<Output = bool>>(world: &World, what: &str, look: impl Fn() -> F) {
    let mut events = world.services.live().subscribe_all();
    within(what, async {
        while !look().await {
            // One that lags looks as well.
            events.recv().await.ok();
        }
    })
    .await;
}

/// Servers on one database, with what they run beside requests.
struct Site {
    world: World,
    admin: Call,
    stop: CancellationToken,
}

impl Site {
    async fn new(store: store::Store) -> Self {
        let world = World::new(store).await;
        let admin = world.person("Ada", Role::Admin).await;
        let site = Self { world, admin, stop: CancellationToken::new() };
        site.start(&site.world);
        site
    }
    fn start(&self, world: &World) {
        let (services, stop) = (&world.services, &self.stop);
        tokio::spawn(services::live::run(services.clone(), stop.clone()));
        tokio::spawn(links::run(services.clone(), stop.clone()));
        tokio::spawn(instructions::run(services.clone(), stop.clone()));
    }
    /// A host that joined, with the certificate it came out with.
    async fn enrol(&self, name: &str) -> Peer {
        let zero = Zero::make(&self.world.services, &self.admin, 1, JoinPolicy::Open).await;
        let key = KeyPair::generate().expect("a key");
        let answer = zero.join(&self.world.services, &request(name, &csr(&key))).await.expect("joins");
        self.peer(&serial(&answer.certificate_pem)).await
    }
    async fn peer(&self, serial: &str) -> Peer {
        match certificates::holder(&self.world.services, serial).await.expect("reads") {
            Some(Holder::Host { tenant, host, name, expires_at, revoked: false, .. }) => {
                Peer { tenant, host, name, serial: serial.to_owned(), expires_at }
            }
            other => panic!("{other:?}"),
        }
    }
    async fn link(&self, peer: &Peer, open: Vec<TransactionId>) -> Talk {
        self.link_with(peer, open, vec![]).await
    }
    async fn link_with(&self, peer: &Peer, open: Vec<TransactionId>, reports: Vec<MachineReport>) -> Talk {
        let Attached { link, outbox, welcome } =
            links::attach(&self.world.services, peer.clone(), hello_and(open, reports)).await.expect("links");
        assert!(matches!(welcome, ToAgent::Welcome { version: VERSION, .. }));
        let mut talk = Talk { world: self.world.clone(), link, outbox };
        talk.say(heartbeat(true)).await.expect("a heartbeat");
        talk
    }
    async fn run(&self, host: &str) -> (InstructionId, TransactionId) {
        let on = Targets::Names(vec![host.to_owned()]);
        let detail = instructions::run_on(&self.world.services, &self.admin, &on, vec!["true".to_owned()], Some(60))
            .await
            .expect("an admin may");
        (detail.summary.instruction.id, detail.shares[0].transaction.id)
    }
    async fn state(&self, id: InstructionId) -> TransactionState {
        let detail = instructions::get(&self.world.services, &self.admin, id).await.expect("is there");
        detail.shares[0].transaction.state
    }
    async fn link_state(&self, peer: &Peer) -> HostLink {
        hosts::get(&self.world.services, &self.admin, peer.host).await.expect("is there").link
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

fn hello(open: Vec<TransactionId>) -> ToServer {
    hello_and(open, vec![])
}

fn hello_and(open: Vec<TransactionId>, reports: Vec<MachineReport>) -> ToServer {
    let limits = MachineLimits { cpu_millis: 1_000, memory_bytes: 1 << 30, pids: 100, disk_bytes: 1 << 30 };
    let slot = OfferedMachine { name: "0".to_owned(), kind: MachineKind::Sandbox, labels: Labels::default(), limits };
    ToServer::Hello {
        oldest_version: 1,
        newest_version: VERSION,
        agent_version: "test".to_owned(),
        labels: Labels::default(),
        machines: vec![slot],
        reports,
        notebooks: None,
        objects: None,
        runs: vec![],
        open,
    }
}

fn heartbeat(available: bool) -> ToServer {
    ToServer::Heartbeat { available, metrics: HostMetrics::default() }
}

/// An agent's end of a link, without the connection.
struct Talk {
    world: World,
    link: Arc<Link>,
    outbox: Receiver<ToAgent>,
}

impl Talk {
    /// Says it and waits for the answer, if there is one.
    async fn say(&mut self, message: ToServer) -> Result<Option<ToAgent>, CloseReason> {
        let answer = match links::heard(&self.world.services, &self.link, message).await {
            Ok(Heard::Nothing) => Ok(None),
            Ok(Heard::Reply(reply)) => Ok(Some(reply)),
            Ok(Heard::Later(answer)) => answer.await,
            Err(trouble) => Err(trouble),
        };
        answer.map_err(|trouble| match trouble {
            Trouble::Close(reason) => reason,
            Trouble::Server(error) => panic!("{error}"),
        })
    }
    /// The next message of the server's own accord; looks when it is told to.
    async fn next(&mut self) -> ToAgent {
        within("a message to the agent", async {
            loop {
                tokio::select! {
                    message = self.outbox.recv() => return message.expect("the link is up"),
                    () = self.link.woken() => links::look(&self.world.services, &self.link).await.expect("looks"),
                }
            }
        })
        .await
    }
    /// Waits for the offer; earlier ones that were not claimed, and cancels of what ended since, may be repeated before it:
    /// an agent ignores both.
    async fn offered(&mut self, id: TransactionId) {
        loop {
            match self.next().await {
                ToAgent::Offer { transaction } if transaction == id => return,
                ToAgent::Offer { .. } | ToAgent::Cancel { .. } => {}
                other => panic!("{other:?}"),
            }
        }
    }
    async fn claim(&mut self, id: TransactionId) -> Option<ToAgent> {
        self.say(ToServer::Claim { transaction: id }).await.expect("the link stays")
    }
    async fn result(&mut self, id: TransactionId, outcome: Outcome) -> Result<Option<ToAgent>, CloseReason> {
        self.say(ToServer::Result { transaction: id, outcome }).await
    }
    async fn lose(self) {
        links::detach(&self.world.services, &self.link).await;
    }
}

fn is_work(answer: &Option<ToAgent>) -> bool {
    matches!(answer, Some(ToAgent::Instructions { .. }))
}

fn not_yours(id: TransactionId) -> Option<ToAgent> {
    Some(ToAgent::NotYours { transaction: id })
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instruction_is_claimed_once_and_answered_for_until_acknowledged() {
    testkit::both(|store| async move {
        let site = Site::new(store).await;
        let (rack, other) = (site.enrol("rack").await, site.enrol("other").await);
        let (mut rack, mut other) = (site.link(&rack, vec![]).await, site.link(&other, vec![]).await);
        let (id, transaction) = site.run("rack").await;
        rack.offered(transaction).await;
        assert_eq!(site.state(id).await, TransactionState::Offered);
        assert_eq!(other.claim(transaction).await, not_yours(transaction), "it is another host's");
        let forged = TransactionId::new();
        assert_eq!(rack.claim(forged).await, not_yours(forged));
        assert!(is_work(&rack.claim(transaction).await));
        assert_eq!(rack.claim(transaction).await, not_yours(transaction), "once only");
        let progress = |seq, event| ToServer::Progress { transaction, seq, event };
        rack.say(progress(0, ProgressEvent::Started)).await.expect("stays");
        assert_eq!(site.state(id).await, TransactionState::Running);
        for _ in 0..2 {
            rack.say(progress(1, ProgressEvent::Stdout(b"out".to_vec()))).await.expect("stays");
        }
        rack.say(progress(2, ProgressEvent::Stderr(b"err".to_vec()))).await.expect("stays");
        let done = || Outcome::Done { exit_code: Some(0) };
        assert_eq!(other.result(transaction, done()).await, Err(CloseReason::Unexpected), "another host's");
        for _ in 0..2 {
            let answer = rack.result(transaction, done()).await.expect("stays");
            assert_eq!(answer, Some(ToAgent::Acknowledge { transaction }));
        }
        let late = Outcome::Failed { exit_code: Some(1), cause: "late".to_owned() };
        rack.result(transaction, late).await.expect("stays");
        assert_eq!(site.state(id).await, TransactionState::Done, "the first result counts");
        let (pieces, complete) =
            instructions::output(&site.world.services, &site.admin, id, transaction, None).await.expect("is there");
        let pieces: Vec<_> = pieces.into_iter().map(|piece| (piece.seq, piece.content)).collect();
        assert_eq!((pieces, complete), (vec![(1, b"out".to_vec()), (2, b"err".to_vec())], true));
        // What nobody knows any more is acknowledged, or the host would repeat it for ever.
        let answer = rack.result(forged, done()).await.expect("stays");
        assert_eq!(answer, Some(ToAgent::Acknowledge { transaction: forged }));
    })
    .await;
}

/// Revoked in the database alone, as by another server that nobody here has heard of yet: the claim itself looks.
#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_certificate_claims_nothing() {
    testkit::both(|store| async move {
        let site = Site::new(store).await;
        let peer = site.enrol("rack").await;
        let mut rack = site.link(&peer, vec![]).await;
        let (_, transaction) = site.run("rack").await;
        rack.offered(transaction).await;
        let tx = site.world.store.begin().await.expect("begins");
        let now = site.world.clock.now();
        store::certificates::revoke_all(&tx, &site.world.permit(), peer.host, now).await.expect("writes");
        tx.commit().await.expect("commits");
        match rack.say(ToServer::Claim { transaction }).await {
            Ok(answer) => assert_eq!(answer, not_yours(transaction)),
            // The link was found and cut already.
            Err(reason) => assert_eq!(reason, CloseReason::Revoked),
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_expired_is_not_claimed() {
    testkit::both(|store| async move {
        let site = Site::new(store).await;
        let peer = site.enrol("rack").await;
        let mut rack = site.link(&peer, vec![]).await;
        let (id, transaction) = site.run("rack").await;
        rack.offered(transaction).await;
        site.world.clock.advance(DEFAULT_CLAIM_WINDOW + SignedDuration::from_secs(1));
        assert_eq!(rack.claim(transaction).await, not_yours(transaction));
        assert_ne!(site.state(id).await, TransactionState::Claimed);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_lost_link_nothing_runs_twice() {
    testkit::both(|store| async move {
        let site = Site::new(store).await;
        let peer = site.enrol("rack").await;
        // Offered, never claimed: offered again.
        let mut rack = site.link(&peer, vec![]).await;
        let (offered, offered_id) = site.run("rack").await;
        rack.offered(offered_id).await;
        rack.lose().await;
        assert_eq!(site.link_state(&peer).await, HostLink::Offline);
        assert_eq!(site.state(offered).await, TransactionState::Waiting);
        let mut rack = site.link(&peer, vec![]).await;
        rack.offered(offered_id).await;
        assert!(is_work(&rack.claim(offered_id).await));
        // Claimed, and the host has it: it stays as it is.
        rack.lose().await;
        let mut rack = site.link(&peer, vec![offered_id]).await;
        assert_eq!(site.state(offered).await, TransactionState::Claimed);
        assert_eq!(rack.claim(offered_id).await, not_yours(offered_id));
        // Claimed, and the host has it no longer: never again.
        rack.lose().await;
        let mut rack = site.link(&peer, vec![]).await;
        assert_eq!(site.state(offered).await, TransactionState::Unknown);
        assert_eq!(rack.claim(offered_id).await, not_yours(offered_id));
        // It comes back with the result in its journal after all: it is believed.
        rack.result(offered_id, Outcome::Done { exit_code: Some(0) }).await.expect("stays");
        assert_eq!(site.state(offered).await, TransactionState::Done);

        // What is idempotent is offered again, as the same transaction.
        let machine = machines::get(&site.world.services, &site.admin, "rack/0", None).await.expect("was offered");
        let work = Work::Verify { machine: machine.live.machine.id, machine_name: "0".to_owned() };
        let (permit, now) = (site.world.permit(), site.world.clock.now());
        let tx = site.world.store.begin().await.expect("begins");
        let verify = instructions::dispatch(&tx, &permit, peer.host, None, work, now).await.expect("is stored");
        tx.commit().await.expect("commits");
        instructions::wake(&site.world.services, peer.host);
        rack.offered(verify).await;
        assert!(is_work(&rack.claim(verify).await));
        rack.lose().await;
        let mut rack = site.link(&peer, vec![]).await;
        rack.offered(verify).await;
        assert!(is_work(&rack.claim(verify).await));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_end_has_its_own_name() {
    testkit::both(|store| async move {
        let site = Site::new(store).await;
        let peer = site.enrol("rack").await;
        let (away, away_id) = site.run("rack").await;
        let (cancelled, _) = site.run("rack").await;
        instructions::cancel(&site.world.services, &site.admin, cancelled).await.expect("an admin may");
        assert_eq!(site.state(cancelled).await, TransactionState::Cancelled);
        site.world.clock.advance(SignedDuration::from_mins(2));
        until(&site.world, "never delivered", || async { site.state(away).await == TransactionState::NeverDelivered })
            .await;
        let mut rack = site.link(&peer, vec![]).await;
        assert_eq!(rack.claim(away_id).await, not_yours(away_id));
        let (ignored, ignored_id) = site.run("rack").await;
        rack.offered(ignored_id).await;
        site.world.clock.advance(SignedDuration::from_mins(2));
        until(&site.world, "expired", || async { site.state(ignored).await == TransactionState::Expired }).await;
        assert_eq!(rack.claim(ignored_id).await, not_yours(ignored_id), "replayed after its time");
        let (running, running_id) = site.run("rack").await;
        rack.offered(running_id).await;
        assert!(is_work(&rack.claim(running_id).await));
        let asked = instructions::cancel(&site.world.services, &site.admin, running).await.expect("an admin may");
        assert!(asked.shares[0].cancelling && asked.shares[0].transaction.state == TransactionState::Claimed);
        assert_eq!(rack.next().await, ToAgent::Cancel { transaction: running_id });
        rack.result(running_id, Outcome::Cancelled).await.expect("stays");
        assert_eq!(site.state(running).await, TransactionState::Cancelled);
        let (silent, silent_id) = site.run("rack").await;
        rack.offered(silent_id).await;
        assert!(is_work(&rack.claim(silent_id).await));
        site.world.clock.advance(SignedDuration::from_mins(11));
        until(&site.world, "unknown", || async { site.state(silent).await == TransactionState::Unknown }).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_state_does_not_expect_is_refused() {
    testkit::both(|store| async move {
        let site = Site::new(store).await;
        let peer = site.enrol("rack").await;
        let refused = async |message: ToServer| match links::attach(&site.world.services, peer.clone(), message).await {
            Ok(_) => panic!("a link came up"),
            Err(Trouble::Close(reason)) => reason,
            Err(Trouble::Server(error)) => panic!("{error}"),
        };
        assert_eq!(refused(heartbeat(true)).await, CloseReason::Unexpected);
        let mut wrong = hello(vec![]);
        if let ToServer::Hello { oldest_version, newest_version, .. } = &mut wrong {
            (*oldest_version, *newest_version) = (VERSION + 1, VERSION + 2);
        }
        assert_eq!(refused(wrong).await, CloseReason::Version);
        let mut tricky = hello(vec![]);
        if let ToServer::Hello { machines, .. } = &mut tricky {
            machines[0].name = "../0".to_owned();
        }
        assert_eq!(refused(tricky).await, CloseReason::Malformed);
        let mut rack = site.link(&peer, vec![]).await;
        assert_eq!(rack.say(hello(vec![])).await, Err(CloseReason::Unexpected), "a second Hello");
        assert_eq!(rack.say(ToServer::Renew { csr_der: vec![1, 2, 3] }).await, Err(CloseReason::Malformed));
        let newer = site.link(&peer, vec![]).await;
        assert_eq!(rack.link.closing.reason(), Some(CloseReason::Replaced));
        rack.lose().await;
        assert_eq!(site.link_state(&peer).await, HostLink::Online, "the newer link stays");
        newer.lose().await;
        assert_eq!(site.link_state(&peer).await, HostLink::Offline);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn revocation_cuts_a_live_link_also_when_another_server_does_it() {
    testkit::both(|store| async move {
        let site = Site::new(store).await;
        let peer = site.enrol("rack").await;
        let mut rack = site.link(&peer, vec![]).await;
        let tunnel = links::Tunnel::new(peer.clone());
        links::tunnel_up(&site.world.services, &tunnel).await;
        let (_, transaction) = site.run("rack").await;
        rack.offered(transaction).await;
        let elsewhere = site.world.restarted();
        hosts::revoke(&elsewhere.services, &site.admin, peer.host).await.expect("an admin may");
        let cut = async { tokio::join!(rack.link.closing.closed(), tunnel.closing.closed()) };
        let reasons = tokio::time::timeout(Duration::from_secs(2), cut).await.expect("within 2 s");
        assert_eq!(reasons, (CloseReason::Revoked, CloseReason::Revoked));
        let claimed = rack.say(ToServer::Claim { transaction }).await;
        assert_eq!(claimed, Err(CloseReason::Revoked));
        assert!(links::attach(&site.world.services, peer, hello(vec![])).await.is_err());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renewed_certificate_counts_from_its_first_use() {
    testkit::both(|store| async move {
        let site = Site::new(store).await;
        let peer = site.enrol("rack").await;
        let mut rack = site.link(&peer, vec![]).await;
        let csr_der = csr(&KeyPair::generate().expect("a key"));
        let new = match rack.say(ToServer::Renew { csr_der }).await {
            Ok(Some(ToAgent::Renewed { certificate_pem, .. })) => serial(&certificate_pem),
            other => panic!("{other:?}"),
        };
        let renewed = site.peer(&new).await;
        assert_eq!(renewed.host, peer.host);
        let (_, before) = site.run("rack").await;
        rack.offered(before).await;
        assert!(is_work(&rack.claim(before).await), "the old one counts until then");
        let mut newer = site.link(&renewed, vec![before]).await;
        let (_, after) = site.run("rack").await;
        newer.offered(after).await;
        let holder = certificates::holder(&site.world.services, &peer.serial).await.expect("reads");
        assert!(matches!(holder, Some(Holder::Host { revoked: true, .. })), "{holder:?}");
        assert!(rack.say(ToServer::Claim { transaction: after }).await.is_err());
        let shown = hosts::get(&site.world.services, &site.admin, peer.host).await.expect("is there");
        assert_eq!(shown.certificate_serial, new);
        // A certificate's own end closes the link as well.
        site.world.clock.advance(SignedDuration::from_hours(24 * 30));
        assert!(site.world.clock.now() >= renewed.expires_at && renewed.expires_at > Timestamp::UNIX_EPOCH);
        assert_eq!(newer.say(heartbeat(true)).await, Err(CloseReason::Revoked));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_whose_server_died_goes_offline_and_its_offers_wait() {
    testkit::both(|store| async move {
        let site = Site::new(store).await;
        let peer = site.enrol("rack").await;
        // A server that is killed: its link is never detached.
        let dead = site.world.restarted();
        links::attach(&dead.services, peer.clone(), hello(vec![])).await.expect("links");
        assert_eq!(site.link_state(&peer).await, HostLink::Online);
        site.world.clock.advance(SignedDuration::from_mins(1));
        until(&site.world, "offline", || async { site.link_state(&peer).await == HostLink::Offline }).await;
    })
    .await;
}

/// A session that is active on the host's machine, as far as the server knows.
async fn active_session(site: &Site, peer: &Peer) -> SessionId {
    let ask = NewReservation {
        machine: Some(format!("{}/0", peer.name)),
        duration_s: Some(3_600),
        ..NewReservation::default()
    };
    let ask = reservations::Ask::try_from(ask).expect("well asked");
    let booked = reservations::create(&site.world.services, &site.admin, &ask).await.expect("free");
    reconciler::pass(&site.world.services).await.expect("looks");
    let (prepare, _) = site.world.open_work().await.remove(0);
    site.world.finish_work(prepare, TransactionState::Done, None).await;
    reconciler::pass(&site.world.services).await.expect("looks");
    let id = booked.sessions[0].id;
    assert_eq!(session_of(site, id).await.state, SessionState::Active);
    id
}

async fn session_of(site: &Site, id: SessionId) -> Session {
    sessions::get(&site.world.services, &site.admin, id).await.expect("is there")
}

fn says(session: Option<SessionId>, actual: ActualMachine) -> MachineReport {
    MachineReport { name: "0".to_owned(), session, actual }
}

async fn assert_lost(site: &Site, id: SessionId) {
    let lost = session_of(site, id).await;
    assert_eq!((lost.state, lost.cause), (SessionState::Reverting, Some(EndCause::EnvironmentLost)));
    reconciler::pass(&site.world.services).await.expect("looks");
    let open = site.world.open_work().await;
    assert!(open.iter().any(|(_, work)| matches!(work, Work::Revert { session, .. } if *session == id)), "{open:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_ends_whose_environment_is_gone_when_its_host_comes_back() {
    testkit::both(|store| async move {
        let site = Site::new(store).await;
        let peer = site.enrol("lab").await;
        let talk = site.link(&peer, vec![]).await;
        let id = active_session(&site, &peer).await;
        links::detach(&site.world.services, &talk.link).await;
        let still = says(Some(id), ActualMachine::Running);
        let talk = site.link_with(&peer, vec![], vec![still]).await;
        assert_eq!(session_of(&site, id).await.state, SessionState::Active, "it is there still");
        links::detach(&site.world.services, &talk.link).await;
        let _talk = site.link_with(&peer, vec![], vec![says(None, ActualMachine::Clean)]).await;
        assert_lost(&site, id).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_ends_whose_environment_ended_by_itself() {
    testkit::both(|store| async move {
        let site = Site::new(store).await;
        let peer = site.enrol("lab").await;
        let mut talk = site.link(&peer, vec![]).await;
        let id = active_session(&site, &peer).await;
        let dirty = ActualMachine::Dirty { reason: "its environment ended by itself".to_owned() };
        talk.say(ToServer::Machine(says(Some(id), dirty))).await.expect("is heard");
        assert_lost(&site, id).await;
    })
    .await;
}
