//! `berth run` when what it goes through breaks: the server is killed, the network is cut, the host's link is cut.

use std::{
    io::{BufRead, BufReader},
    process::{Child, ChildStdout, Command, Stdio},
};

use nix::sys::signal::Signal;
use sha2::{Digest, Sha256};

use crate::{
    cli_exec,
    deployment::{Deployment, all, wait},
    signal, through,
    wire::Wire,
};

const LINES: usize = 300;
const STEADY: &str = "i=0; while [ $i -lt 300 ]; do echo out $i; echo err $i >&2; i=$((i+1)); sleep 0.01; done; exit 7";

/// `berth run` of a script, by way of the wire.
fn run(deployment: &Deployment, wire: Option<&Wire>, script: &str) -> Command {
    let mut command = deployment.command(&["run", "--labels", "ring=test", "-q", "--", "sh", "-c", script]);
    if let Some(wire) = wire {
        command.env("BERTH_SERVER", format!("http://127.0.0.1:{}", wire.port()));
    }
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// What the program wrote to standard error, and what `berth` said there.
fn errors(child: &mut Child) -> (Vec<String>, Vec<String>) {
    let lines = all(child.stderr.take()).lines().map(str::to_owned).collect::<Vec<_>>();
    lines.into_iter().partition(|line| !line.starts_with("berth: "))
}

fn steady(mut child: Child, mut breaks: impl FnMut(usize)) {
    let stderr = std::thread::spawn({
        let mut child_stderr = child.stderr.take();
        move || all(child_stderr.take())
    });
    let mut out = Vec::new();
    for line in BufReader::new(child.stdout.take().expect("a pipe")).lines() {
        out.push(line.expect("text"));
        breaks(out.len());
    }
    let stderr = stderr.join().expect("the reader");
    assert_eq!(child.wait().expect("its end").code(), Some(7), "{stderr}");
    let expected = |channel: &str| (0..LINES).map(|number| format!("{channel} {number}")).collect::<Vec<_>>();
    assert!(out == expected("out"), "{out:?}\n{stderr}");
    let err: Vec<_> = stderr.lines().filter(|line| !line.starts_with("berth: ")).map(str::to_owned).collect();
    assert!(err == expected("err"), "{stderr}");
    assert!(stderr.contains("connected again; nothing is lost"), "{stderr}");
}

pub fn a_killed_server(deployment: &mut Deployment) {
    let child = run(deployment, None, STEADY).spawn().expect("berth run");
    steady(child, |lines| {
        if lines == 50 {
            deployment.restart_server();
        }
    });
}

pub fn a_cut_network(deployment: &Deployment) {
    let wire = Wire::to(deployment.port());
    let child = run(deployment, Some(&wire), STEADY).spawn().expect("berth run");
    steady(child, |lines| {
        if lines % 60 == 0 {
            wire.cut();
        }
    });
}

pub fn a_host_that_is_cut_off(deployment: &Deployment) {
    let child = run(deployment, None, STEADY).spawn().expect("berth run");
    steady(child, |lines| {
        if lines == 50 {
            deployment.agents_wire().cut();
        }
    });
}

/// Everything both ways while the network is cut time and again.
pub fn much_data(deployment: &Deployment) {
    const SIZE: usize = 24 * 1024 * 1024;
    let wire = Wire::to(deployment.port());
    let data: Vec<u8> = (0..SIZE / 4).flat_map(|n| u32::try_from(n).expect("small").to_be_bytes()).collect();
    let expected = hex::encode(Sha256::digest(&data));
    let mut cuts = 0;
    let came = through(run(deployment, Some(&wire), "cat"), data, |length| {
        if length / (SIZE / 6) > cuts {
            cuts += 1;
            wire.cut();
        }
    });
    assert_eq!((came.length, came.hash), (SIZE, expected), "{}", came.stderr);
    assert!(came.stderr.matches("connected again").count() >= 4, "{}", came.stderr);
}

/// A reader that stops holds up the client, and then the program; the network is cut meanwhile.
pub fn a_slow_reader(deployment: &Deployment) {
    const COUNT: u32 = 200_000;
    let wire = Wire::to(deployment.port());
    let script = format!("seq -w {COUNT}");
    let mut child = run(deployment, Some(&wire), &script).spawn().expect("berth run");
    let mut stdout = BufReader::with_capacity(64, child.stdout.take().expect("a pipe"));
    assert_eq!(line(&mut stdout), "000001");
    let mut stderr = BufReader::new(child.stderr.take().expect("a pipe")).lines();
    let waiting = || rustix::io::ioctl_fionread(stdout.get_ref()).expect("a pipe");
    wait("the client waits for its reader", || (waiting() > 60_000).then_some(()));
    // It reads nothing more, so it is by a ping that it sees this.
    wire.cut();
    let said = stderr.find(|line| line.as_ref().is_ok_and(|line| line.contains("connected again")));
    assert!(said.is_some(), "it did not come back");
    for number in 2..=COUNT {
        assert_eq!(line(&mut stdout), format!("{number:06}"));
    }
    assert_eq!(line(&mut stdout), "");
    assert_eq!(child.wait().expect("its end").code(), Some(0));
}

fn line(stdout: &mut BufReader<ChildStdout>) -> String {
    let mut line = String::new();
    stdout.read_line(&mut line).expect("a line");
    line.trim().to_owned()
}

/// What is more than is kept holds the program, and nothing is lost; signals reach it afterwards.
pub fn more_than_is_kept(deployment: &Deployment) {
    const PIECES: usize = 300;
    let wire = Wire::to(deployment.port());
    let script = format!(
        "trap 'echo caught; exit 9' INT; echo ready; until [ -e /tmp/go ]; do sleep 0.02; done; i=0; \
         while [ $i -lt {PIECES} ]; do head -c 9999 /dev/zero | tr '\\0' x; echo; i=$((i+1)); echo $i > /tmp/written; done; \
         echo all; while :; do sleep 0.02; done"
    );
    let mut child = run(deployment, Some(&wire), &script).spawn().expect("berth run");
    let mut stdout = BufReader::new(child.stdout.take().expect("a pipe"));
    assert_eq!(line(&mut stdout), "ready");
    wire.down();
    let session = deployment.json(&["sessions", "--json"])[0]["id"].as_str().expect("a session").to_owned();
    let probe = |script: &str| String::from_utf8(cli_exec(deployment, &session, script)).expect("text");
    probe("touch /tmp/go");
    let mut last = 0;
    wait("the program is held", || {
        let written = probe("sleep 0.3; cat /tmp/written").trim().parse::<usize>().unwrap_or(0);
        (std::mem::replace(&mut last, written) == written && written > 0).then_some(())
    });
    // 1 MiB is kept, and the pipe has room.
    assert!((100..PIECES).contains(&last), "{last}");
    wire.up();
    for _ in 0..PIECES {
        let line = line(&mut stdout);
        assert!(line.len() == 9999 && line.bytes().all(|byte| byte == b'x'), "{line}");
    }
    assert_eq!(line(&mut stdout), "all");
    signal(&child, Signal::SIGINT);
    assert_eq!(line(&mut stdout), "caught");
    assert_eq!(child.wait().expect("its end").code(), Some(9));
    let (_, said) = errors(&mut child);
    assert!(said.iter().any(|line| line.contains("the program had to wait")), "{said:?}");
}
