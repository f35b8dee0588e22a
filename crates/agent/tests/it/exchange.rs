//! The three-step exchange, with the agent killed (-9) at each of its steps: nothing runs twice, nothing is lost, and
//! each transaction ends in a state that has a name.

use agent::transactions::MAX_COMMANDS;
use domain::{
    ids::TransactionId,
    instructions::{MAX_OUTPUT_BYTES, Work},
};
use nix::unistd::Pid;
use protocol::{Outcome, ToAgent, ToServer};
use rusqlite::Connection;

use crate::peer::{Host, Link, Peer, shell, until};

const DONE: Outcome = Outcome::Done { exit_code: Some(0) };

/// An agent that is linked, and nothing instructed yet.
async fn linked() -> (Peer, Host, Link) {
    let mut peer = Peer::start().await;
    let host = Host::started(&peer, "").await;
    let (link, _) = peer.link().await;
    (peer, host, link)
}

fn alive(pid: i32) -> bool {
    nix::sys::signal::kill(Pid::from_raw(pid), None).is_ok()
}

/// The agent's journal, for looking into it and for holding it.
fn journal(host: &Host) -> Connection {
    Connection::open(host.state().join("journal.db")).expect("the journal")
}

fn journalled(journal: &Connection) -> i64 {
    journal.query_row("SELECT count(*) FROM transactions", [], |row| row.get(0)).expect("a count")
}

/// Keeps the agent from writing its journal until it is dropped.
fn held(host: &Host) -> Connection {
    let journal = journal(host);
    journal.execute_batch("BEGIN IMMEDIATE").expect("is free");
    journal
}

/// The state in which the server may decide what becomes of a transaction: the agent has never begun it.
async fn never_begun(peer: &mut Peer, host: &mut Host, id: TransactionId) {
    host.kill();
    host.start();
    let (mut link, open) = peer.link().await;
    assert_eq!(open, []);
    assert!(host.runs().is_empty());
    // Offered once more, it runs, and once only.
    link.instruct(id, host.noted("true")).await;
    assert_eq!(link.ended(id).await.outcome, DONE);
    link.acknowledge(id).await;
    link.offer(id).await;
    let other = TransactionId::new();
    link.instruct(other, shell("true")).await;
    assert_eq!(link.ended(other).await.outcome, DONE);
    assert_eq!(host.runs().len(), 1);
}

/// After the kill each of these is `unknown`.
async fn all_unknown(peer: &mut Peer, host: &mut Host, mut ids: Vec<TransactionId>) -> Vec<String> {
    host.kill();
    host.start();
    let (mut link, mut open) = peer.link().await;
    ids.sort();
    open.sort();
    assert_eq!(open, ids);
    let mut causes = Vec::new();
    while causes.len() < ids.len() {
        match link.next_answer().await {
            ToServer::Result { transaction, outcome: Outcome::Unknown { cause } } => {
                assert!(ids.contains(&transaction));
                link.acknowledge(transaction).await;
                causes.push(cause);
            }
            answer => panic!("unexpected {answer:?}"),
        }
    }
    // A replay of one is neither claimed nor run; the one after it is.
    let other = TransactionId::new();
    link.offer(ids[0]).await;
    link.instruct(other, shell("true")).await;
    assert_eq!(link.ended(other).await.outcome, DONE);
    causes
}

#[tokio::test]
async fn killed_before_the_offer_is_read() {
    let (mut peer, mut host, mut link) = linked().await;
    let id = TransactionId::new();
    host.stop().await;
    link.offer(id).await;
    never_begun(&mut peer, &mut host, id).await;
}

#[tokio::test]
async fn killed_after_the_claim() {
    let (mut peer, mut host, mut link) = linked().await;
    let id = TransactionId::new();
    link.offer(id).await;
    assert_eq!(link.next_answer().await, ToServer::Claim { transaction: id });
    never_begun(&mut peer, &mut host, id).await;
}

#[tokio::test]
async fn killed_with_the_instructions_unread() {
    let (mut peer, mut host, mut link) = linked().await;
    let id = TransactionId::new();
    link.offer(id).await;
    assert_eq!(link.next_answer().await, ToServer::Claim { transaction: id });
    host.stop().await;
    link.send(ToAgent::Instructions { transaction: id, work: host.noted("true"), secrets: None }).await;
    never_begun(&mut peer, &mut host, id).await;
}

#[tokio::test]
async fn killed_before_the_journal_is_written() {
    let (mut peer, mut host, mut link) = linked().await;
    let id = TransactionId::new();
    let held = held(&host);
    link.offer(id).await;
    assert_eq!(link.next_answer().await, ToServer::Claim { transaction: id });
    link.send(ToAgent::Instructions { transaction: id, work: host.noted("true"), secrets: None }).await;
    until("the agent has read them", || peer.unread() == 0).await;
    assert_eq!(journalled(&held), 0);
    host.stop().await;
    drop(held);
    never_begun(&mut peer, &mut host, id).await;
}

#[tokio::test]
async fn killed_between_the_journal_and_the_start() {
    let (mut peer, mut host, mut link) = linked().await;
    let mut ids = Vec::new();
    for _ in 0..MAX_COMMANDS {
        let id = TransactionId::new();
        link.instruct(id, host.noted("exec sleep 600")).await;
        link.started(id).await;
        ids.push(id);
    }
    // All places are taken: this one is journalled and waits for its turn.
    let waiting = TransactionId::new();
    link.instruct(waiting, host.noted("true")).await;
    let journal = journal(&host);
    until("it is journalled", || journalled(&journal) == i64::try_from(MAX_COMMANDS).expect("a few") + 1).await;
    until("all runs' notes", || host.runs().len() == MAX_COMMANDS).await;
    ids.push(waiting);
    let causes = all_unknown(&mut peer, &mut host, ids).await;
    assert_eq!(causes.iter().filter(|cause| cause.contains("nothing of it ran any more")).count(), 1, "{causes:?}");
    assert_eq!(host.runs().len(), MAX_COMMANDS);
    until("no command is left", || !host.runs().into_iter().any(alive)).await;
}

#[tokio::test]
async fn killed_while_running() {
    let (mut peer, mut host, mut link) = linked().await;
    let (id, stubborn) = (TransactionId::new(), TransactionId::new());
    link.instruct(id, host.noted("sleep 600 & wait")).await;
    link.started(id).await;
    link.instruct(stubborn, host.noted("trap '' TERM; exec setsid sleep 600")).await;
    link.started(stubborn).await;
    until("the runs' notes", || host.runs().len() == 2).await;
    let causes = all_unknown(&mut peer, &mut host, vec![id, stubborn]).await;
    for count in ["2 of its processes", "1 of its processes"] {
        assert!(causes.iter().any(|cause| cause.contains(count)), "{count}: {causes:?}");
    }
    let runs = host.runs();
    assert_eq!(runs.len(), 2);
    until("no command is left", || !runs.iter().copied().any(alive)).await;
}

#[tokio::test]
async fn killed_between_the_end_and_the_journal() {
    let (mut peer, mut host, mut link) = linked().await;
    let id = TransactionId::new();
    let gate = host.path().join("gate");
    nix::unistd::mkfifo(&gate, nix::sys::stat::Mode::S_IRWXU).expect("made");
    link.instruct(id, host.noted(&format!("read line < {}", gate.display()))).await;
    link.started(id).await;
    until("the run's note", || host.runs().len() == 1).await;
    let held = held(&host);
    std::fs::write(&gate, "go on\n").expect("is read");
    let run = host.runs()[0];
    until("the command has ended and was reaped", || !alive(run)).await;
    // Stopped while it waits for the journal, it does not get it when that is free.
    host.stop().await;
    drop(held);
    let causes = all_unknown(&mut peer, &mut host, vec![id]).await;
    assert!(causes[0].contains("nothing of it ran any more"), "{causes:?}");
    assert_eq!(host.runs().len(), 1);
}

#[tokio::test]
async fn killed_after_the_end_and_before_the_acknowledgement() {
    let (mut peer, mut host, mut link) = linked().await;
    let id = TransactionId::new();
    link.instruct(id, host.noted("echo out; echo err >&2; exit 3")).await;
    let first = link.ended(id).await;
    assert_eq!(first.outcome, Outcome::Failed { exit_code: Some(3), cause: "exit code 3".to_owned() });
    assert_eq!((first.stdout.as_slice(), first.stderr.as_slice()), (&b"out\n"[..], &b"err\n"[..]));
    host.kill();
    host.start();
    let (mut link, open) = peer.link().await;
    assert_eq!(open, [id]);
    assert_eq!(link.ended(id).await, first, "the output is told again as well");
    link.acknowledge(id).await;
    let other = TransactionId::new();
    link.instruct(other, shell("true")).await;
    assert_eq!(link.ended(other).await.outcome, DONE);
    link.acknowledge(other).await;
    // The acknowledgements are recorded before the next claim is answered.
    link.instruct(TransactionId::new(), shell("true")).await;
    host.kill();
    host.start();
    let (_, open) = peer.link().await;
    assert!(!open.contains(&id), "{open:?}");
    assert_eq!(host.runs().len(), 1);
}

#[tokio::test]
async fn a_lost_link_loses_nothing() {
    let (mut peer, host, mut link) = linked().await;
    let id = TransactionId::new();
    link.instruct(id, host.noted("echo one; sleep 1; echo two")).await;
    link.started(id).await;
    drop(link);
    let (mut link, open) = peer.link().await;
    assert_eq!(open, [id]);
    let ended = link.ended(id).await;
    assert_eq!((ended.outcome, ended.stdout.as_slice()), (DONE, &b"one\ntwo\n"[..]));
    assert!(ended.started);
    assert_eq!(host.runs().len(), 1);
}

#[tokio::test]
async fn a_command_is_cancelled_with_all_its_processes() {
    let (_peer, host, mut link) = linked().await;
    let id = TransactionId::new();
    let child = host.path().join("child");
    link.instruct(id, host.noted(&format!("sleep 600 & echo $! > {}; wait", child.display()))).await;
    link.started(id).await;
    until("the child's note", || std::fs::read_to_string(&child).is_ok_and(|text| text.ends_with('\n'))).await;
    link.send(ToAgent::Cancel { transaction: id }).await;
    assert_eq!(link.ended(id).await.outcome, Outcome::Cancelled);
    let child: i32 = std::fs::read_to_string(&child).expect("was written").trim().parse().expect("an id");
    until("the child's end", || !alive(child)).await;
}

#[tokio::test]
async fn a_command_has_its_time() {
    let (_peer, _host, mut link) = linked().await;
    let id = TransactionId::new();
    let argv = ["/bin/sleep", "600"].map(str::to_owned).to_vec();
    link.instruct(id, Work::Run { argv, timeout_s: 1 }).await;
    let outcome = link.ended(id).await.outcome;
    assert!(matches!(&outcome, Outcome::Failed { cause, .. } if cause.contains("within its 1 s")), "{outcome:?}");
}

#[tokio::test]
async fn a_program_that_is_not_there_fails_with_its_name() {
    let (_peer, _host, mut link) = linked().await;
    let id = TransactionId::new();
    link.instruct(id, Work::Run { argv: vec!["/no/such".to_owned()], timeout_s: 1 }).await;
    let ended = link.ended(id).await;
    assert!(matches!(&ended.outcome, Outcome::Failed { cause, .. } if cause.contains("/no/such")), "{ended:?}");
    assert!(!ended.started);
}

#[tokio::test]
async fn output_is_bounded() {
    let (_peer, _host, mut link) = linked().await;
    let id = TransactionId::new();
    link.instruct(id, shell("head -c 3000000 /dev/zero")).await;
    let ended = link.ended(id).await;
    assert_eq!(ended.outcome, DONE);
    assert!(ended.stdout.len() + ended.stderr.len() <= MAX_OUTPUT_BYTES);
    assert!(ended.stdout.len() > MAX_OUTPUT_BYTES - 1024);
    assert!(String::from_utf8_lossy(&ended.stderr).contains("left out"));
}

#[tokio::test]
async fn an_offer_that_is_repeated_is_claimed_once() {
    let (_peer, host, mut link) = linked().await;
    let (id, other) = (TransactionId::new(), TransactionId::new());
    for _ in 0..3 {
        link.offer(id).await;
    }
    link.offer(other).await;
    assert_eq!(link.next_answer().await, ToServer::Claim { transaction: id });
    assert_eq!(link.next_answer().await, ToServer::Claim { transaction: other });
    link.send(ToAgent::Instructions { transaction: id, work: host.noted("true"), secrets: None }).await;
    assert_eq!(link.ended(id).await.outcome, DONE);
    assert_eq!(host.runs().len(), 1);
}

#[tokio::test]
async fn an_acknowledgement_may_come_before_the_result_is_told_again() {
    let (mut peer, host, mut link) = linked().await;
    let id = TransactionId::new();
    link.instruct(id, host.noted("true")).await;
    assert_eq!(link.ended(id).await.outcome, DONE);
    drop(link);
    let mut link = peer.raw_link().await;
    assert!(matches!(link.next().await, ToServer::Hello { open, .. } if open == [id]));
    link.welcome(peer.authority.host).await;
    link.acknowledge(id).await;
    let other = TransactionId::new();
    link.offer(other).await;
    loop {
        match link.next_answer().await {
            ToServer::Claim { transaction } => break assert_eq!(transaction, other),
            ToServer::Progress { transaction, .. } | ToServer::Result { transaction, .. } => {
                assert_eq!(transaction, id)
            }
            answer => panic!("unexpected {answer:?}"),
        }
    }
}

#[tokio::test]
async fn many_at_a_time_all_end() {
    let (_peer, _host, mut link) = linked().await;
    let ids: Vec<TransactionId> = (0..40).map(|_| TransactionId::new()).collect();
    for id in &ids {
        link.offer(*id).await;
    }
    let (mut claimed, mut results) = (0, 0);
    while results < ids.len() {
        match link.next_answer().await {
            ToServer::Claim { transaction } => {
                claimed += 1;
                link.send(ToAgent::Instructions { transaction, work: shell("sleep 0.05"), secrets: None }).await;
            }
            ToServer::Result { transaction, outcome } => {
                assert_eq!(outcome, DONE);
                results += 1;
                link.acknowledge(transaction).await;
            }
            ToServer::Progress { .. } => {}
            other => panic!("unexpected {other:?}"),
        }
    }
    assert_eq!(claimed, ids.len());
}

#[tokio::test]
async fn a_stop_in_good_order_finishes_and_tells() {
    let (_peer, mut host, mut link) = linked().await;
    let id = TransactionId::new();
    link.instruct(id, shell("sleep 0.5; echo end")).await;
    link.started(id).await;
    host.terminate();
    let ended = link.ended(id).await;
    assert_eq!((ended.outcome, ended.stdout.as_slice()), (DONE, &b"end\n"[..]));
    link.acknowledge(id).await;
    assert_eq!(link.close_code().await, Some(4008));
    assert!(host.exited().await.success());
}
