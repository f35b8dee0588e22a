//! What a session leaves on its host, told by a real agent: the revert fails with the reason, the machine is dirty until
//! somebody has mended it and a check has found it clean. The agent goes on whatever hangs.

use std::{
    fs,
    io::{BufRead, BufReader},
    os::unix::{fs::MetadataExt, process::CommandExt},
    path::PathBuf,
    process::{Child, Command, Stdio},
};

use domain::{
    environments::EnvironmentSpec,
    ids::{MachineId, SessionId, TransactionId},
    instructions::Work,
};
use protocol::{ActualMachine, Outcome, ToAgent, ToServer};

use crate::{
    peer::{Host, Link, Peer, shell},
    support::LISTEN,
};

const MACHINE: &str = "[[machines]]\nname = \"m\"\nkind = \"sandbox\"\nwritable = [\"DIR/shared\"]\n";
const DONE: Outcome = Outcome::Done { exit_code: None };

/// An agent with one machine, whose account file is its own.
struct Dirty {
    peer: Peer,
    host: Host,
    link: Link,
    session: SessionId,
}

/// A process of the test's that ends with it.
struct Stray(Child);

impl Drop for Stray {
    fn drop(&mut self) {
        self.0.kill().expect("is killed");
        self.0.wait().expect("is reaped");
    }
}

fn run(program: &str, arguments: &[&str]) {
    let status = Command::new(program).args(arguments).status().expect("runs");
    assert!(status.success(), "{program} {arguments:?}: {status}");
}

impl Dirty {
    async fn start() -> Self {
        let mut peer = Peer::start().await;
        let before = "mkdir -p DIR/shared && cp /etc/passwd DIR/passwd && mount --bind DIR/passwd /etc/passwd";
        let host = Host::started_in(&peer, MACHINE, before).await;
        let (link, _) = peer.link().await;
        Self { peer, host, link, session: SessionId::new() }
    }

    async fn work(&mut self, work: Work) -> Outcome {
        let id = TransactionId::new();
        self.link.instruct(id, work).await;
        let outcome = self.link.ended(id).await.outcome;
        self.link.acknowledge(id).await;
        outcome
    }

    async fn prepare(&mut self) {
        self.session = SessionId::new();
        let (session, machine, environment) = (self.session, MachineId::new(), EnvironmentSpec::default());
        let outcome = self.work(Work::Prepare { session, machine, machine_name: "m".to_owned(), environment }).await;
        assert_eq!(outcome, DONE);
    }

    fn revert(&self) -> Work {
        Work::Revert { session: self.session, machine: MachineId::new(), machine_name: "m".to_owned() }
    }

    async fn verify(&mut self) -> Outcome {
        self.work(Work::Verify { machine: MachineId::new(), machine_name: "m".to_owned() }).await
    }

    /// What the agent said of the machine last.
    fn actual(&self) -> &ActualMachine {
        &self.link.reports.last().expect("a report").actual
    }

    /// The revert fails and says why; the machine says the same.
    async fn is_quarantined(&mut self, words: &str) {
        let work = self.revert();
        let outcome = self.work(work).await;
        assert!(matches!(&outcome, Outcome::Failed { cause, .. } if cause.contains(words)), "{words}: {outcome:?}");
        let actual = self.actual();
        assert!(matches!(actual, ActualMachine::Dirty { reason } if reason.contains(words)), "{words}: {actual:?}");
        // Still so at the next look, and nobody gets it.
        assert!(matches!(self.verify().await, Outcome::Failed { .. }));
        let (session, machine, environment) = (SessionId::new(), MachineId::new(), EnvironmentSpec::default());
        let next = self.work(Work::Prepare { session, machine, machine_name: "m".to_owned(), environment }).await;
        assert!(matches!(next, Outcome::Failed { .. }), "{next:?}");
    }

    async fn is_clean_again(&mut self) {
        assert_eq!(self.verify().await, DONE);
        assert_eq!(self.actual(), &ActualMachine::Clean);
    }

    fn shared(&self) -> PathBuf {
        self.host.path().join("shared")
    }

    fn passwd(&self) -> PathBuf {
        self.host.path().join("passwd")
    }

    fn user(&self) -> u32 {
        let scratch = self.host.state().join("sandboxes").join(self.session.to_string());
        fs::metadata(scratch.join("disk/home")).expect("a home").uid()
    }

    fn as_user(&self, program: &str, arguments: &[&str]) -> Stray {
        let user = self.user();
        let mut command = Command::new(program);
        command.args(arguments).uid(user).gid(user).current_dir("/").stdin(Stdio::null()).stdout(Stdio::piped());
        Stray(command.spawn().expect("starts"))
    }
}

#[tokio::test]
async fn what_is_left_quarantines_the_machine_until_it_is_gone() {
    let mut dirty = Dirty::start().await;

    dirty.prepare().await;
    let process = dirty.as_user("sleep", &["1000"]);
    dirty.is_quarantined("runs as the session's user").await;
    drop(process);
    dirty.is_clean_again().await;

    dirty.prepare().await;
    let mut listener = dirty.as_user("python3", &["-c", LISTEN]);
    let mut port = String::new();
    let output = listener.0.stdout.take().expect("a pipe");
    BufReader::new(output).read_line(&mut port).expect("says its port");
    dirty.is_quarantined(&format!("still listening: tcp {}", port.trim())).await;
    drop(listener);
    dirty.is_clean_again().await;

    dirty.prepare().await;
    fs::write(dirty.shared().join("left"), "").expect("written");
    dirty.is_quarantined("shared/left is new").await;
    fs::remove_file(dirty.shared().join("left")).expect("removed");
    dirty.is_clean_again().await;
}

#[tokio::test]
async fn a_mount_quarantines_the_machine() {
    let mut dirty = Dirty::start().await;
    // Made by an instruction, for the agent has a mount namespace of its own here.
    let point = dirty.shared().join("inner");
    fs::create_dir_all(&point).expect("made");
    dirty.prepare().await;
    let mount = dirty.work(shell(&format!("mount -t tmpfs left {}", point.display()))).await;
    assert_eq!(mount, Outcome::Done { exit_code: Some(0) });
    dirty.is_quarantined("tmpfs on").await;
    let unmount = dirty.work(shell(&format!("umount {}", point.display()))).await;
    assert_eq!(unmount, Outcome::Done { exit_code: Some(0) });
    dirty.is_clean_again().await;
}

#[tokio::test]
async fn accounts_quarantine_the_machine() {
    let mut dirty = Dirty::start().await;
    let before = fs::read_to_string(dirty.passwd()).expect("is there");
    let root = before.lines().find(|line| line.starts_with("root:")).expect("root").to_owned();
    dirty.prepare().await;
    let of_the_session = format!("{before}left:x:{}:100::/:/usr/sbin/nologin\n", dirty.user());
    let cases = [
        (format!("{before}mallory:x:4242:4242::/:/bin/sh\n"), "account mallory is new or changed"),
        (format!("{before}toor:x:0:0::/:/usr/sbin/nologin\n"), "account toor is new or changed"),
        (of_the_session, "account left is new or changed"),
        (before.replace(&root, "root::0:0:root:/root:/bin/bash"), "account root is new or changed"),
        (before.replace(&format!("{root}\n"), ""), "account root is gone"),
    ];
    for (text, words) in cases {
        fs::write(dirty.passwd(), text).expect("written");
        dirty.is_quarantined(words).await;
        fs::write(dirty.passwd(), &before).expect("written");
    }
    // What a package adds meanwhile is the host's own affair.
    fs::write(dirty.passwd(), format!("{before}_daemon:x:999:999::/:/usr/sbin/nologin\n")).expect("written");
    dirty.is_clean_again().await;
}

/// A FUSE file system whose server answers the first request and is then stopped: whoever asks it anything waits for ever.
const STOPPED_FUSE: &str = r#"
import ctypes, os, signal, struct, sys
fd = os.open("/dev/fuse", os.O_RDWR)
options = f"fd={fd},rootmode=40000,user_id=0,group_id=0,allow_other".encode()
if ctypes.CDLL(None, use_errno=True).mount(b"left", sys.argv[1].encode(), b"fuse", 0, options) != 0:
    raise OSError(ctypes.get_errno(), "mount")
request = os.read(fd, 1 << 20)
unique = struct.unpack_from("=Q", request, 8)[0]
answer = struct.pack("=IIIIHHIIHHI28x", 7, 31, 0, 0, 1, 1, 4096, 1, 1, 0, 0)
os.write(fd, struct.pack("=IiQ", 16 + len(answer), 0, unique) + answer)
print("mounted", flush=True)
os.kill(os.getpid(), signal.SIGSTOP)
"#;

/// Unmounts when dropped, whatever became of the test.
struct Hung {
    server: Option<Stray>,
    point: PathBuf,
}

impl Drop for Hung {
    fn drop(&mut self) {
        // Without its server every request fails at once; who made one may not have left yet.
        self.server = None;
        run("umount", &["--lazy", &self.point.display().to_string()]);
    }
}

#[tokio::test]
async fn a_file_system_that_hangs_quarantines_the_machine_and_holds_up_nothing_else() {
    // No namespace of its own: the mount is the host's.
    let mut peer = Peer::start().await;
    let host = Host::started(&peer, MACHINE).await;
    let point = host.path().join("shared/stuck");
    fs::create_dir_all(&point).expect("made");
    let (link, _) = peer.link().await;
    let mut dirty = Dirty { peer, host, link, session: SessionId::new() };
    dirty.prepare().await;
    let mut server = Stray(
        Command::new("python3").args(["-c", STOPPED_FUSE]).arg(&point).stdout(Stdio::piped()).spawn().expect("starts"),
    );
    let mut line = String::new();
    BufReader::new(server.0.stdout.take().expect("a pipe")).read_line(&mut line).expect("is mounted");
    assert_eq!(line, "mounted\n");
    let hung = Hung { server: Some(server), point };
    // While the revert hangs, the agent takes and does other work.
    let (revert, other) = (TransactionId::new(), TransactionId::new());
    let work = dirty.revert();
    dirty.link.instruct(revert, work).await;
    dirty.link.offer(other).await;
    let mut ended = Vec::new();
    let cause = loop {
        match dirty.link.next_answer().await {
            ToServer::Claim { transaction } => {
                dirty.link.send(ToAgent::Instructions { transaction, work: shell("true"), secrets: None }).await;
            }
            ToServer::Result { transaction, outcome } if transaction == other => {
                ended.push(transaction);
                assert_eq!(outcome, Outcome::Done { exit_code: Some(0) });
            }
            ToServer::Result { outcome: Outcome::Failed { cause, .. }, .. } => break cause,
            ToServer::Progress { .. } => {}
            answer => panic!("unexpected {answer:?}"),
        }
    };
    assert_eq!(ended, [other], "the other instruction waited for the one that hangs");
    assert!(cause.contains("files: hangs: not done after 10 s"), "{cause}");
    assert!(cause.contains("mounts: left: fuse on"), "{cause}");
    assert!(matches!(dirty.actual(), ActualMachine::Dirty { reason } if *reason == cause));
    // A second try does not pile up on the first.
    let again = dirty.verify().await;
    assert!(
        matches!(&again, Outcome::Failed { cause, .. } if cause.contains("still hangs since an earlier try")),
        "{again:?}"
    );
    drop(hung);
    loop {
        // The thread that hung sees the end of the file system at its own pace.
        match dirty.verify().await {
            Outcome::Done { .. } => break,
            Outcome::Failed { cause, .. } => assert!(cause.contains("files"), "{cause}"),
            outcome => panic!("unexpected {outcome:?}"),
        }
    }
    assert_eq!(dirty.actual(), &ActualMachine::Clean);
    drop(dirty.peer);
}
