//! Two hosts of which one is in a process of its own: what the other's callers see when it dies or hangs.

use std::{path::Path, process::ExitCode, time::Instant};

use nix::sys::signal::Signal;
use objects::host::elsewhere::Place;

use super::{MODULE, figure};
use crate::{
    cluster::{Member, peer},
    hosted::{Setting, ask, eventually, write_project},
    victim::{self, Victim},
};

const COMMAND: &str = "serve-a-peer";

pub fn run_if_asked() -> Option<ExitCode> {
    let directory = victim::directory_if_asked(COMMAND)?;
    let member = Member::start(&directory, 1, 1, Setting::default());
    *member.map.faith.lock().expect("no panic") = Some(Place::Here { least_epoch: 1 });
    victim::serves(member.peers)
}

/// A host that has nothing, beside one in another process that has all.
fn beside(directory: &Path) -> (Member, Victim) {
    write_project(directory, &["Obj"], MODULE);
    let mut victim = Victim::spawn(COMMAND, directory);
    let member = Member::start(directory, 0, 2, Setting::default());
    *member.map.faith.lock().expect("no panic") = Some(Place::At(peer(1)));
    member.map.is_at(1, victim.address());
    (member, victim)
}

/// Waits for an object of the other process that never answers; what comes instead.
fn waits(member: &Member) -> tokio::sync::oneshot::Receiver<(u16, String)> {
    let (told, answer) = tokio::sync::oneshot::channel();
    let address = member.hosted.address;
    let before = figure(member, "slow", "waiting");
    member.hosted.spawn(async move {
        // Whoever waits has given up.
        drop(told.send(ask(address, "GET", "/slow/wait", String::new()).await));
    });
    eventually("it waits", || figure(member, "slow", "waiting") > before);
    answer
}

pub fn killed() {
    let directory = tempfile::tempdir().expect("a directory");
    let (member, victim) = beside(directory.path());
    let mut count = 0;
    let mut victim = Some(victim);
    for _ in 0..3 {
        for _ in 0..10 {
            count += 1;
            assert_eq!(member.hosted.get("/a/increment"), (200, count.to_string()));
        }
        let answer = waits(&member);
        drop(victim.take());
        let (status, text) = member.hosted.run(answer).expect("is answered");
        assert!(status == 500 && text.contains(r#""retryable":true"#), "{status} {text}");
        let (status, text) = member.hosted.get("/a/increment");
        assert!(status == 500 && text.contains(r#""retryable":true"#), "{status} {text}");
        let mut next = Victim::spawn(COMMAND, directory.path());
        member.map.is_at(1, next.address());
        victim = Some(next);
    }
    assert_eq!(member.hosted.get("/a/call?method=read"), (200, count.to_string()));
}

pub fn hung() {
    let directory = tempfile::tempdir().expect("a directory");
    let (member, victim) = beside(directory.path());
    let answer = waits(&member);
    victim.signal(Signal::SIGSTOP);
    let begun = Instant::now();
    let (status, text) = member.hosted.run(answer).expect("is answered");
    println!("an error after {:?}", begun.elapsed());
    assert!(status == 500 && text.contains(r#""retryable":true"#), "{status} {text}");
    victim.signal(Signal::SIGCONT);
    assert_eq!(member.hosted.get("/a/increment"), (200, "1".to_owned()));
}
