//! The three-step exchange, with the agent killed (-9) at each of its steps: nothing runs twice, nothing is lost, and
//! each transaction ends in a state that has a name.

use std::time::Duration;

use domain::{
    ids::TransactionId,
    instructions::{MAX_OUTPUT_BYTES, Work},
};
use nix::{sys::signal::Signal, unistd::Pid};
use protocol::{Outcome, ToAgent, ToServer};
use rand::Rng;

use crate::peer::{Host, Peer, shell, until};

const DONE: Outcome = Outcome::Done { exit_code: Some(0) };

fn alive(pid: i32) -> bool {
    nix::sys::signal::kill(Pid::from_raw(pid), None).is_ok()
}

#[tokio::test]
async fn killed_before_the_journal() {
    let mut peer = Peer::start().await;
    let mut host = Host::started(&peer, "").await;
    let id = TransactionId::new();
    let (mut link, _) = peer.link().await;
    link.offer(id).await;
    assert_eq!(link.next_answer().await, ToServer::Claim { transaction: id });
    host.kill();
    host.start();
    let (mut link, open) = peer.link().await;
    assert_eq!(open, [], "nothing was started, so the server may decide");
    link.instruct(id, host.noted("true")).await;
    assert_eq!(link.ended(id).await.outcome, DONE);
    assert_eq!(host.runs().len(), 1);
}

#[tokio::test]
async fn killed_while_running() {
    let mut peer = Peer::start().await;
    let mut host = Host::started(&peer, "").await;
    let (id, other) = (TransactionId::new(), TransactionId::new());
    let (mut link, _) = peer.link().await;
    link.instruct(id, host.noted("exec sleep 600")).await;
    link.started(id).await;
    until("the run's note", || !host.runs().is_empty()).await;
    host.kill();
    host.start();
    let (mut link, open) = peer.link().await;
    assert_eq!(open, [id]);
    let ended = link.ended(id).await;
    assert!(matches!(ended.outcome, Outcome::Unknown { .. }), "{ended:?}");
    link.acknowledge(id).await;
    // A replay is neither claimed nor run; the one after it is.
    link.offer(id).await;
    link.instruct(other, shell("true")).await;
    assert_eq!(link.ended(other).await.outcome, DONE);
    let runs = host.runs();
    assert_eq!(runs.len(), 1);
    nix::sys::signal::kill(Pid::from_raw(runs[0]), Signal::SIGKILL).expect("was left running");
}

#[tokio::test]
async fn killed_after_the_end_and_before_the_acknowledgement() {
    let mut peer = Peer::start().await;
    let mut host = Host::started(&peer, "").await;
    let id = TransactionId::new();
    let (mut link, _) = peer.link().await;
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
async fn killed_at_any_moment() {
    let mut peer = Peer::start().await;
    let mut host = Host::started(&peer, "").await;
    let mut ids = Vec::new();
    let (mut done, mut unknown, mut never) = (0, 0, 0);
    for _ in 0..12 {
        let id = TransactionId::new();
        ids.push(id);
        let (mut link, open) = peer.link().await;
        assert_eq!(open, []);
        let runs = host.runs().len();
        link.instruct(id, host.noted("true")).await;
        tokio::time::sleep(Duration::from_micros(rand::rng().random_range(0..15_000))).await;
        host.kill();
        host.start();
        let (mut link, open) = peer.link().await;
        if open.is_empty() {
            // Killed before the journal: nothing was started.
            assert_eq!(host.runs().len(), runs);
            never += 1;
        } else {
            assert_eq!(open, [id]);
            match link.ended(id).await.outcome {
                Outcome::Done { exit_code: Some(0) } => {
                    assert_eq!(host.runs().len(), runs + 1);
                    done += 1;
                }
                Outcome::Unknown { .. } => {
                    assert!(host.runs().len() <= runs + 1);
                    unknown += 1;
                }
                other => panic!("unexpected {other:?}"),
            }
            link.acknowledge(id).await;
            // Heard of at the latest with the answer to an offer behind it.
            link.offer(id).await;
            let probe = TransactionId::new();
            link.offer(probe).await;
            assert_eq!(link.next_answer().await, ToServer::Claim { transaction: probe });
        }
        drop(link);
    }
    println!("done {done}, unknown {unknown}, never started {never}");
    assert_eq!(done + unknown + never, 12);
}

#[tokio::test]
async fn a_lost_link_loses_nothing() {
    let mut peer = Peer::start().await;
    let host = Host::started(&peer, "").await;
    let id = TransactionId::new();
    let (mut link, _) = peer.link().await;
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
    let mut peer = Peer::start().await;
    let host = Host::started(&peer, "").await;
    let id = TransactionId::new();
    let (mut link, _) = peer.link().await;
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
    let mut peer = Peer::start().await;
    let _host = Host::started(&peer, "").await;
    let id = TransactionId::new();
    let (mut link, _) = peer.link().await;
    let argv = ["/bin/sleep", "600"].map(str::to_owned).to_vec();
    link.instruct(id, Work::Run { argv, timeout_s: 1 }).await;
    let outcome = link.ended(id).await.outcome;
    assert!(matches!(&outcome, Outcome::Failed { cause, .. } if cause.contains("within its 1 s")), "{outcome:?}");
}

#[tokio::test]
async fn a_program_that_is_not_there_fails_with_its_name() {
    let mut peer = Peer::start().await;
    let _host = Host::started(&peer, "").await;
    let id = TransactionId::new();
    let (mut link, _) = peer.link().await;
    link.instruct(id, Work::Run { argv: vec!["/no/such".to_owned()], timeout_s: 1 }).await;
    let ended = link.ended(id).await;
    assert!(matches!(&ended.outcome, Outcome::Failed { cause, .. } if cause.contains("/no/such")), "{ended:?}");
    assert!(!ended.started);
}

#[tokio::test]
async fn output_is_bounded() {
    let mut peer = Peer::start().await;
    let _host = Host::started(&peer, "").await;
    let id = TransactionId::new();
    let (mut link, _) = peer.link().await;
    link.instruct(id, shell("head -c 3000000 /dev/zero")).await;
    let ended = link.ended(id).await;
    assert_eq!(ended.outcome, DONE);
    assert!(ended.stdout.len() + ended.stderr.len() <= MAX_OUTPUT_BYTES);
    assert!(ended.stdout.len() > MAX_OUTPUT_BYTES - 1024);
    assert!(String::from_utf8_lossy(&ended.stderr).contains("left out"));
}

#[tokio::test]
async fn an_offer_that_is_repeated_is_claimed_once() {
    let mut peer = Peer::start().await;
    let host = Host::started(&peer, "").await;
    let (id, other) = (TransactionId::new(), TransactionId::new());
    let (mut link, _) = peer.link().await;
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
    let mut peer = Peer::start().await;
    let host = Host::started(&peer, "").await;
    let id = TransactionId::new();
    let (mut link, _) = peer.link().await;
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
    let mut peer = Peer::start().await;
    let _host = Host::started(&peer, "").await;
    let (mut link, _) = peer.link().await;
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
    let mut peer = Peer::start().await;
    let mut host = Host::started(&peer, "").await;
    let id = TransactionId::new();
    let (mut link, _) = peer.link().await;
    link.instruct(id, shell("sleep 0.5; echo end")).await;
    link.started(id).await;
    host.terminate();
    let ended = link.ended(id).await;
    assert_eq!((ended.outcome, ended.stdout.as_slice()), (DONE, &b"end\n"[..]));
    link.acknowledge(id).await;
    assert_eq!(link.close_code().await, Some(4008));
    assert!(host.exited().await.success());
}
