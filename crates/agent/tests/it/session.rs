//! A session from end to end on a real sandbox: prepared over the link, used over the tunnel, kept over a kill -9 of
//! the agent, reverted.

use std::path::PathBuf;

use bytes::Bytes;
use domain::{
    environments::EnvironmentSpec,
    ids::{MachineId, SessionId, StreamId, TransactionId},
    instructions::Work,
    sessions::StepState,
};
use protocol::{
    ActualMachine, Outcome, ToServer,
    tunnel::{Control, Frame, INITIAL_CREDIT_BYTES, Open, Size},
};
use uuid::Uuid;

use crate::peer::{Host, Link, Peer, Tunnel};

pub const MACHINE: &str = "[[machines]]\nname = \"m\"\nkind = \"sandbox\"\ncpus = 1.0\nmemory = \"256MiB\"\n";
const SIZE: Size = Size { columns: 80, rows: 24 };

pub struct Used {
    pub peer: Peer,
    pub host: Host,
    pub link: Link,
    pub tunnel: Tunnel,
    pub session: SessionId,
}

fn work(session: SessionId, revert: bool) -> Work {
    let (machine, machine_name) = (MachineId::new(), "m".to_owned());
    if revert {
        Work::Revert { session, machine, machine_name }
    } else {
        Work::Prepare { session, machine, machine_name, environment: EnvironmentSpec::default() }
    }
}

pub async fn prepared() -> Used {
    let peer = Peer::start().await;
    let host = Host::started(&peer, MACHINE).await;
    prepared_on(peer, host).await
}

pub async fn prepared_on(mut peer: Peer, host: Host) -> Used {
    let (mut link, _) = peer.link().await;
    let tunnel = peer.tunnel().await;
    let (id, session) = (TransactionId::new(), SessionId::new());
    link.instruct(id, work(session, false)).await;
    let ended = link.ended(id).await;
    assert_eq!(ended.outcome, Outcome::Done { exit_code: None }, "{ended:?}");
    assert!(ended.steps.iter().any(|step| step.name == "start" && step.state == StepState::Done));
    link.acknowledge(id).await;
    Used { peer, host, link, tunnel, session }
}

impl Used {
    pub async fn open(&mut self, open: Open) -> (StreamId, Option<Uuid>) {
        let stream = StreamId::new();
        self.tunnel.send(Frame::Open(stream, open)).await;
        loop {
            match self.tunnel.next().await {
                Frame::Control(of, Control::Opened { terminal, .. }) if of == stream => return (stream, terminal),
                // An earlier stream's output may have been under way when it was reset.
                Frame::Data(of, _) | Frame::ErrorData(of, _) | Frame::Credit(of, _) if of != stream => {}
                other => panic!("unexpected {other:?}"),
            }
        }
    }

    pub async fn exec(&mut self, script: &str) -> StreamId {
        let argv = ["/bin/sh", "-c", script].map(str::to_owned).to_vec();
        self.open(Open::Exec { session: self.session, argv, env: vec![], cwd: None, terminal: None, lasting: None })
            .await
            .0
    }

    pub async fn terminal(&mut self, attach: Option<Uuid>) -> (StreamId, Uuid) {
        let (stream, terminal) = self.open(Open::Terminal { session: self.session, attach, size: SIZE }).await;
        (stream, terminal.expect("a terminal's id"))
    }

    /// Output until the stream's end, granting as it comes.
    pub async fn read(&mut self, stream: StreamId) -> (Vec<u8>, Vec<u8>, Control) {
        let (mut output, mut errors) = (Vec::new(), Vec::new());
        loop {
            let length = match self.tunnel.next().await {
                Frame::Data(of, data) if of == stream => {
                    output.extend_from_slice(&data);
                    data.len()
                }
                Frame::ErrorData(of, data) if of == stream => {
                    errors.extend_from_slice(&data);
                    data.len()
                }
                Frame::Control(of, control) if of == stream => return (output, errors, control),
                _ => continue,
            };
            self.tunnel.send(Frame::Credit(stream, u32::try_from(length).expect("short"))).await;
        }
    }

    /// Output until it contains the text.
    pub async fn see(&mut self, stream: StreamId, text: &str) -> String {
        let mut seen = String::new();
        while !seen.contains(text) {
            match self.tunnel.next().await {
                Frame::Data(of, data) if of == stream => seen.push_str(&String::from_utf8_lossy(&data)),
                Frame::Control(_, control) => panic!("unexpected {control:?} after {seen}"),
                _ => {}
            }
        }
        seen
    }

    pub async fn type_in(&mut self, stream: StreamId, text: &str) {
        self.tunnel.send(Frame::Data(stream, Bytes::copy_from_slice(text.as_bytes()))).await;
    }

    pub async fn revert(&mut self) {
        let id = TransactionId::new();
        self.link.instruct(id, work(self.session, true)).await;
        let ended = self.link.ended(id).await;
        assert_eq!(ended.outcome, Outcome::Done { exit_code: None }, "{ended:?}");
        assert!(ended.steps.iter().any(|step| step.name == "processes" && step.state == StepState::Done));
        self.link.acknowledge(id).await;
    }
}

pub const EXITED: Control = Control::Exited { code: Some(0), signal: None };

#[tokio::test]
async fn a_session_outlives_its_agent() {
    let mut used = prepared().await;
    let stream = used.exec("echo kept > ~/file; echo out; echo err >&2; exit 3").await;
    let (output, errors, last) = used.read(stream).await;
    assert_eq!((output.as_slice(), errors.as_slice()), (&b"out\n"[..], &b"err\n"[..]));
    assert_eq!(last, Control::Exited { code: Some(3), signal: None });
    used.host.kill();
    used.host.start();
    let mut link = used.peer.raw_link().await;
    let ToServer::Hello { reports, .. } = link.next().await else { panic!("no Hello") };
    assert_eq!((reports[0].session, &reports[0].actual), (Some(used.session), &ActualMachine::Running));
    link.welcome(used.peer.authority.host).await;
    used.link = link;
    used.tunnel = used.peer.tunnel().await;
    let stream = used.exec("cat ~/file").await;
    assert_eq!(used.read(stream).await, (b"kept\n".to_vec(), vec![], EXITED));
    // The same preparation once more comes to the same.
    let id = TransactionId::new();
    used.link.instruct(id, work(used.session, false)).await;
    assert_eq!(used.link.ended(id).await.outcome, Outcome::Done { exit_code: None });
    used.link.acknowledge(id).await;
    used.revert().await;
    used.tunnel
        .send(Frame::Open(StreamId::new(), Open::Terminal { session: used.session, attach: None, size: SIZE }))
        .await;
    assert!(matches!(used.tunnel.next().await, Frame::Control(_, Control::Refused { .. })));
}

#[tokio::test]
async fn a_host_is_cleared_of_its_sessions_once_its_agent_is_stopped() {
    let mut used = prepared().await;
    let (status, output) = used.host.clear().await;
    assert!(!status.success() && output.contains("another berth-agent uses"), "while the agent runs: {output}");
    used.host.terminate();
    assert!(used.host.exited().await.success());
    assert!(!used.host.control_groups().is_empty(), "the session goes on without the agent");
    let (status, output) = used.host.clear().await;
    assert_eq!(used.host.control_groups(), Vec::<PathBuf>::new());
    assert!(status.success() && output.contains(&format!("session {} on m: clean", used.session)), "{output}");
    let (status, output) = used.host.clear().await;
    assert!(status.success() && output.contains("0 sessions ended"), "{output}");
    used.host.start();
    let mut link = used.peer.raw_link().await;
    let ToServer::Hello { reports, .. } = link.next().await else { panic!("no Hello") };
    assert_eq!((reports[0].session, &reports[0].actual), (None, &ActualMachine::Clean));
}

#[tokio::test]
async fn an_agent_that_is_stopped_without_a_session_leaves_no_control_group() {
    let mut used = prepared().await;
    used.revert().await;
    assert!(!used.host.control_groups().is_empty());
    used.host.terminate();
    assert!(used.host.exited().await.success());
    assert_eq!(used.host.control_groups(), Vec::<PathBuf>::new());
}

#[tokio::test]
async fn an_agent_killed_while_preparing_takes_it_up_again() {
    let mut peer = Peer::start().await;
    let mut host = Host::started(&peer, MACHINE).await;
    let (mut link, _) = peer.link().await;
    let (id, session) = (TransactionId::new(), SessionId::new());
    let mut slow = work(session, false);
    if let Work::Prepare { environment, .. } = &mut slow {
        environment.setup = Some("sleep 1".to_owned());
    }
    link.instruct(id, slow).await;
    link.started(id).await;
    host.kill();
    host.start();
    let (mut link, open) = peer.link().await;
    assert_eq!(open, [id]);
    let ended = link.ended(id).await;
    assert_eq!(ended.outcome, Outcome::Done { exit_code: None }, "{ended:?}");
    link.acknowledge(id).await;
    let id = TransactionId::new();
    link.instruct(id, work(session, true)).await;
    assert_eq!(link.ended(id).await.outcome, Outcome::Done { exit_code: None });
}

#[tokio::test]
async fn input_goes_through_to_its_end_and_much_output_waits_for_credit() {
    let mut used = prepared().await;
    let stream = used.exec("cat").await;
    used.type_in(stream, "hello ").await;
    used.type_in(stream, "there").await;
    used.tunnel.send(Frame::Control(stream, Control::EndOfInput)).await;
    assert_eq!(used.read(stream).await, (b"hello there".to_vec(), vec![], EXITED));
    let (stream, other) = (StreamId::new(), StreamId::new());
    for (stream, script) in [(stream, "head -c 3000000 /dev/zero"), (other, "echo beside")] {
        let argv = ["/bin/sh", "-c", script].map(str::to_owned).to_vec();
        let open = Open::Exec { session: used.session, argv, env: vec![], cwd: None, terminal: None, lasting: None };
        used.tunnel.send(Frame::Open(stream, open)).await;
    }
    // Without credit the first stops at its grant, and the other one is not held up by it.
    let (mut first, mut other_ended) = (0, false);
    while first < INITIAL_CREDIT_BYTES as usize || !other_ended {
        match used.tunnel.next().await {
            Frame::Data(of, data) if of == stream => first += data.len(),
            Frame::Control(of, Control::Exited { .. }) if of == other => other_ended = true,
            _ => {}
        }
    }
    assert_eq!(first, INITIAL_CREDIT_BYTES as usize);
    used.tunnel.send(Frame::Credit(stream, INITIAL_CREDIT_BYTES)).await;
    let (rest, _, last) = used.read(stream).await;
    assert_eq!((first + rest.len(), last), (3_000_000, EXITED));
    used.revert().await;
}

#[tokio::test]
async fn a_process_whose_stream_is_reset_is_hung_up() {
    let mut used = prepared().await;
    let stream = used.exec("trap 'echo hup > ~/mark; exit' HUP; echo ready; while :; do sleep 0.1; done").await;
    used.see(stream, "ready").await;
    used.tunnel.send(Frame::Control(stream, Control::Reset { why: "the client went away".to_owned() })).await;
    let stream = used.exec("until grep -q hup ~/mark 2>/dev/null; do sleep 0.05; done").await;
    assert_eq!(used.read(stream).await.2, EXITED);
    // Its input ends, whatever it makes of the signal.
    let stream = used.exec("trap '' HUP; echo ready; cat; echo end > ~/end").await;
    used.see(stream, "ready").await;
    used.tunnel.send(Frame::Control(stream, Control::Reset { why: "the client went away".to_owned() })).await;
    let stream = used.exec("until grep -q end ~/end 2>/dev/null; do sleep 0.05; done").await;
    assert_eq!(used.read(stream).await.2, EXITED);
    used.revert().await;
}

#[tokio::test]
async fn what_was_typed_right_before_the_stream_is_given_up_is_still_typed() {
    let mut used = prepared().await;
    let (_, terminal) = used.terminal(None).await;
    for number in 0..20 {
        let (stream, _) = used.terminal(Some(terminal)).await;
        used.type_in(stream, &format!("echo {number} >> ~/typed\n")).await;
        used.tunnel.send(Frame::Control(stream, Control::Reset { why: "the page was closed".to_owned() })).await;
    }
    let stream = used.exec("until grep -qx 19 ~/typed 2>/dev/null; do sleep 0.01; done; cat ~/typed").await;
    let expected: String = (0..20).map(|number| format!("{number}\n")).collect();
    assert_eq!(used.read(stream).await, (expected.into_bytes(), vec![], EXITED));
    used.revert().await;
}

#[tokio::test]
async fn an_agent_that_was_told_to_ignore_signals_passes_that_on_to_nobody() {
    let peer = Peer::start().await;
    let host = Host::started_in(&peer, MACHINE, "trap '' HUP INT TERM USR1").await;
    let mut used = prepared_on(peer, host).await;
    let stream = used.exec("grep ^SigIgn /proc/self/status").await;
    let (output, _, last) = used.read(stream).await;
    let output = String::from_utf8(output).expect("text");
    assert_eq!(last, EXITED);
    let ignored = output.trim().strip_prefix("SigIgn:").map(|mask| u64::from_str_radix(mask.trim(), 16));
    // The numbers from 32 on belong to the C library.
    assert_eq!(ignored.map(|mask| mask.map(|mask| mask & 0x7fff_ffff)), Some(Ok(0)), "{output}");
    used.revert().await;
}

#[tokio::test]
async fn a_terminal_outlives_its_stream_and_its_tunnel() {
    let mut used = prepared().await;
    let (stream, terminal) = used.terminal(None).await;
    used.type_in(stream, "stty size; X=4; echo mark-$((X+1))\n").await;
    let seen = used.see(stream, "mark-5").await;
    assert!(seen.contains("24 80"), "{seen}");
    used.tunnel.send(Frame::Control(stream, Control::Reset { why: "the page was closed".to_owned() })).await;
    let (stream, again) = used.terminal(Some(terminal)).await;
    assert_eq!(again, terminal);
    used.see(stream, "mark-5").await;
    // The tunnel is lost; the shell is not.
    used.tunnel.cut();
    used.tunnel = used.peer.tunnel().await;
    let (stream, _) = used.terminal(Some(terminal)).await;
    used.tunnel.send(Frame::Control(stream, Control::Resize(Size { columns: 100, rows: 30 }))).await;
    used.type_in(stream, "stty size; echo still-$((X+2))\n").await;
    let seen = used.see(stream, "still-6").await;
    assert!(seen.contains("30 100"), "{seen}");
    used.type_in(stream, "exit\n").await;
    assert_eq!(used.read(stream).await.2, EXITED);
    used.revert().await;
}
