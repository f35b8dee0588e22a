//! Sandboxes that work: what they see, what they may do, how programs run in them.

use std::{
    io::{Read, Write},
    net::TcpListener,
    os::unix::fs::MetadataExt,
    time::Duration,
};

use agent::environments::{
    Check, ConnectError, ExecError, ExecSpec, Exit, PrepareStep, Size, StepEvent, StepSink, Target, Variables,
};
use domain::environments::EnvironmentSpec;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_util::sync::CancellationToken;

use crate::support::{Bench, assert_clean, collect, until};

#[tokio::test]
async fn from_nothing_to_clean_again() {
    let bench = Bench::sandbox("");
    let (prepared, events) = bench.prepare_with(bench.spec()).await;
    let running = prepared.expect("prepares");
    for step in [PrepareStep::Baseline, PrepareStep::Root, PrepareStep::Limits, PrepareStep::Start] {
        let began = events.iter().position(|event| *event == StepEvent::Began(step));
        let done = events.iter().position(|event| matches!(event, StepEvent::Done(s, _) if *s == step));
        assert!(began.is_some() && began < done, "{step:?}: {events:#?}");
    }
    assert!(running.isolation.contains("copy-on-write over /"), "{}", running.isolation);
    let script = "echo left > /tmp/left; echo left > ~/left; mkdir -p /var/tmp/deep/er; (sleep 1000 >/dev/null 2>&1 &) ; nohup sleep 1000 >/dev/null 2>&1 & id -un; pwd";
    let ran = bench.sh(&running, script).await;
    assert_eq!((ran.stdout.as_str(), ran.exit), ("berth\n/home/berth\n", Exit::Code(0)), "{ran:?}");
    let told = std::sync::Mutex::new(Vec::new());
    let note = |check: &Check, since| told.lock().expect("no panic").push((check.clone(), since));
    let report = bench.environment.revert_told(running.session, &note).await;
    assert_clean(&report);
    let (checks, began): (Vec<_>, Vec<_>) = told.into_inner().expect("no panic").into_iter().unzip();
    assert_eq!(checks, report.checks, "each is told once, in order");
    assert!(began.is_sorted() && began.first() < began.last(), "each with a time of its own: {began:?}");
    for name in ["destroy", "processes", "mounts", "files", "users", "ports", "disk"] {
        assert!(report.checks.iter().any(|check| check.name == name), "{name}: {report:#?}");
    }
    assert_eq!(std::fs::read_dir(bench.directory.path().join("state/sandboxes")).expect("is there").count(), 0);
    assert_clean(&bench.revert(&running).await);
}

#[tokio::test]
async fn output_input_and_exit_are_the_programs_own() {
    let bench = Bench::sandbox("");
    let running = bench.prepare().await;
    let ran = bench.sh(&running, "echo out; echo err >&2; exit 7").await;
    assert_eq!((ran.stdout.as_str(), ran.stderr.as_str(), ran.exit), ("out\n", "err\n", Exit::Code(7)));
    let ran = bench.sh(&running, "kill -TERM $$").await;
    assert_eq!(ran.exit, Exit::Signal(15));
    let big = vec![b'x'; 1_000_000];
    let handle = bench.start(&running, ExecSpec::new(["wc", "-c"])).await;
    assert_eq!(collect(handle, &big).await.stdout.trim(), "1000000");
    let mut spec = ExecSpec::new(["sh", "-c", "echo $HOME $GIVEN; pwd"]);
    spec.env.push(("GIVEN".to_owned(), "a b".to_owned()));
    spec.cwd = Some("/usr".to_owned());
    assert_eq!(collect(bench.start(&running, spec).await, b"").await.stdout, "/home/berth a b\n/usr\n");
    let missing = bench.environment.exec(&running, ExecSpec::new(["no-such-program"])).await;
    assert!(matches!(missing.err(), Some(ExecError::Program { .. })));
    let empty = bench.environment.exec(&running, ExecSpec::default()).await;
    assert!(matches!(empty.err(), Some(ExecError::Bad(_))));
    assert_clean(&bench.revert(&running).await);
    let after = bench.environment.exec(&running, ExecSpec::new(["true"])).await;
    assert!(matches!(after.err(), Some(ExecError::NotRunning(_))));
}

#[tokio::test]
async fn signals_reach_the_program_and_closing_hangs_it_up() {
    let bench = Bench::sandbox("");
    let running = bench.prepare().await;
    let handle = bench.start(&running, ExecSpec::new(["sleep", "1000"])).await;
    handle.control.signal(15).await.expect("is sent");
    assert_eq!(handle.control.wait().await.expect("ends"), Exit::Signal(15));
    assert_eq!(handle.control.wait().await.expect("still known"), Exit::Signal(15));
    drop(bench.start(&running, ExecSpec::new(["sleep", "1001"])).await);
    let alive = || async { bench.sh(&running, "cat /proc/[0-9]*/cmdline | tr '\\0' ' '").await.stdout };
    for _ in 0..200 {
        if !alive().await.contains("sleep 1001") {
            assert_clean(&bench.revert(&running).await);
            return;
        }
    }
    panic!("the program goes on though its client is gone");
}

#[tokio::test]
async fn a_terminal_has_size_colours_keys_and_jobs() {
    let bench = Bench::sandbox("");
    let running = bench.prepare().await;
    let mut spec = ExecSpec::new(["bash", "--norc", "-i"]);
    spec.terminal = Some(Size { columns: 97, rows: 31 });
    spec.env.push(("PS1".to_owned(), "ready> ".to_owned()));
    let mut handle = bench.start(&running, spec).await;
    assert!(handle.stderr.is_none());
    let mut stdin = handle.stdin.take().expect("an input");
    let mut seen = String::new();
    let mut talk = async |input: &[u8], wanted: &str| {
        stdin.write_all(input).await.expect("is typed");
        seen.clear();
        let mut chunk = [0u8; 4096];
        let reading = async {
            while !seen.contains(wanted) {
                let length = handle.stdout.read(&mut chunk).await.expect("is read");
                assert!(length > 0, "ended while waiting for {wanted:?}: {seen}");
                seen.push_str(&String::from_utf8_lossy(&chunk[..length]));
            }
        };
        let waited = tokio::time::timeout(Duration::from_secs(20), reading).await;
        assert!(waited.is_ok(), "waited in vain for {wanted:?}: {seen}");
        seen.clone()
    };
    talk(b"", "ready> ").await;
    talk(b"stty size; tty\n", "31 97\r\n/dev/pts/0").await;
    handle.control.resize(Size { columns: 50, rows: 10 }).await.expect("resizes");
    talk(b"stty size\n", "10 50").await;
    talk(b"echo $TERM-$((40+2)); ls --color=auto -d /tmp\n", "\u{1b}[").await;
    talk(b"bash -c 'echo g\"\"o; exec sleep 1000'\n", "go\r\n").await;
    talk(b"\x03", "ready> ").await;
    talk(b"sleep 1000 & jobs; kill %1; wait; echo jobs-$((1+1))\n", "jobs-2").await;
    talk(b"exit 5\n", "exit").await;
    assert_eq!(handle.control.wait().await.expect("ends"), Exit::Code(5));
    assert_clean(&bench.revert(&running).await);
}

#[tokio::test]
async fn writes_stay_in_the_copy() {
    let bench = Bench::sandbox("");
    let running = bench.prepare().await;
    let name = format!("berth-it-{}", running.session);
    let script = format!(
        "for d in /tmp /var/tmp /dev/shm /run; do echo x > $d/{name} && echo wrote; done; echo x > /etc/{name}; echo x > /usr/{name}"
    );
    let ran = bench.sh(&running, &script).await;
    assert_eq!(ran.stdout, "wrote\nwrote\nwrote\nwrote\n");
    assert_eq!(ran.stderr.matches("Permission denied").count(), 2, "{ran:?}");
    for directory in ["/tmp", "/var/tmp", "/dev/shm", "/run", "/etc", "/usr"] {
        assert!(!std::path::Path::new(directory).join(&name).exists(), "{directory}");
    }
    assert_clean(&bench.revert(&running).await);
}

#[tokio::test]
async fn the_host_and_the_agent_are_out_of_reach() {
    let bench = Bench::sandbox("hide = [\"DIR/other\"]");
    std::fs::create_dir(bench.directory.path().join("other")).expect("made");
    std::fs::write(bench.directory.path().join("other/secret"), "s3cret").expect("written");
    std::fs::write(bench.directory.path().join("state/key"), "s3cret").expect("written");
    let running = bench.prepare().await;
    let at = bench.directory.path().display();
    let me = std::process::id();
    for script in [
        "cat /etc/shadow".to_owned(),
        "cat /root/* /root/.[a-z]*".to_owned(),
        format!("cat {at}/state/key"),
        format!("cat {at}/other/secret"),
        format!("cat {at}/state/sandboxes/{}/environment.json", running.session),
        format!("kill -0 {me}"),
        format!("cat /proc/{me}/environ"),
        "unshare -U true".to_owned(),
        "unshare -m true".to_owned(),
        "mount -t tmpfs none /tmp".to_owned(),
        "umount -l /root".to_owned(),
        "chroot / true".to_owned(),
        "mknod /tmp/disk b 254 0".to_owned(),
        "su -c true".to_owned(),
        "hostname other".to_owned(),
        "chown 0 /tmp".to_owned(),
        "echo 1 > /proc/sys/kernel/sysrq".to_owned(),
        "dmesg --clear".to_owned(),
        "nice -n -5 sh -c 'nice | grep -- -5'".to_owned(),
    ] {
        let ran = bench.sh(&running, &format!("( {script} ) </dev/null")).await;
        assert_ne!(ran.exit, Exit::Code(0), "{script}: {ran:?}");
        assert!(!ran.stdout.contains("s3cret"), "{script}: {ran:?}");
    }
    let ran = bench
        .sh(
            &running,
            "ls -A /home /root /boot; ls -d /proc/[0-9]* | wc -l; grep -E 'CapEff|CapBnd|NoNewPrivs' /proc/self/status",
        )
        .await;
    assert!(ran.stdout.starts_with("/boot:\n\n/home:\nberth\n\n/root:\n"), "{ran:?}");
    for line in ["CapEff:\t0000000000000000", "CapBnd:\t0000000000000000", "NoNewPrivs:\t1"] {
        assert!(ran.stdout.contains(line), "{line}: {ran:?}");
    }
    let others: usize = ran.stdout.lines().find_map(|line| line.parse().ok()).expect("a count");
    assert!(others < 10, "sees {others} processes");
    assert_clean(&bench.revert(&running).await);
}

#[tokio::test]
async fn no_network_but_its_own_loopback() {
    let bench = Bench::sandbox("");
    let running = bench.prepare().await;
    let listener = TcpListener::bind("127.0.0.1:0").expect("listens");
    let port = listener.local_addr().expect("an address").port();
    let ran = bench
        .sh(&running, &format!("bash -c 'echo > /dev/tcp/127.0.0.1/{port}'; tail -n +3 /proc/net/dev | cut -d: -f1"))
        .await;
    assert!(ran.stderr.contains("Connection refused"), "{ran:?}");
    assert_eq!(ran.stdout.trim(), "lo");
    assert_clean(&bench.revert(&running).await);
}

#[tokio::test]
async fn allowed_ports_of_the_hosts_loopback_answer() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("listens");
    let other = TcpListener::bind("127.0.0.1:0").expect("listens");
    let port = listener.local_addr().expect("an address").port();
    let closed = other.local_addr().expect("an address").port();
    let bench = Bench::sandbox(&format!("network = {{ loopback_ports = [{port}] }}"));
    let running = bench.prepare().await;
    let answering = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("is called");
        let mut asked = [0u8; 4];
        stream.read_exact(&mut asked).expect("is asked");
        stream.write_all(b"pong\n").expect("answers");
        asked
    });
    let script = format!("exec 3<>/dev/tcp/127.0.0.1/{port}; echo -n ping >&3; head -1 <&3");
    let ran = collect(bench.start(&running, ExecSpec::new(["bash", "-c", &script])).await, b"").await;
    assert_eq!(ran.stdout, "pong\n", "{ran:?}");
    assert_eq!(&answering.join().expect("answered"), b"ping");
    let ran = bench.sh(&running, &format!("bash -c 'echo > /dev/tcp/127.0.0.1/{closed}'")).await;
    assert!(ran.stderr.contains("Connection refused"), "{ran:?}");
    assert_clean(&bench.revert(&running).await);
}

#[tokio::test]
async fn sockets_inside_can_be_reached_from_outside() {
    let bench = Bench::sandbox("");
    let running = bench.prepare().await;
    let server = "import os,socket,threading\n\
        def echo(s):\n  s.listen()\n  while True:\n    c,_=s.accept()\n    c.sendall(b'echo '+c.recv(9)); c.close()\n\
        t=socket.socket(); t.bind(('127.0.0.1',4711))\n\
        u=socket.socket(socket.AF_UNIX); u.bind('/tmp/u')\n\
        os.symlink('/tmp/u','/tmp/inner'); os.symlink('/run/host.sock','/tmp/outer')\n\
        threading.Thread(target=echo,args=(t,)).start(); threading.Thread(target=echo,args=(u,)).start(); print('up',flush=True)";
    let mut handle = bench.start(&running, ExecSpec::new(["python3", "-c", server])).await;
    let mut up = [0u8; 3];
    handle.stdout.read_exact(&mut up).await.expect("the server is up");
    for to in [Target::Port(4711), Target::UnixSocket("/tmp/u".to_owned()), Target::UnixSocket("/tmp/inner".to_owned())]
    {
        let mut stream = bench.environment.connect(&running, &to).await.unwrap_or_else(|e| panic!("{to:?}: {e}"));
        stream.write_all(b"hello").await.expect("is sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("is answered");
        assert_eq!(answer, "echo hello", "{to:?}");
    }
    // A socket of the host at the place to which the sandbox's link points, outside of its root.
    let host = bench.directory.path().join("host.sock");
    let _listener = std::os::unix::net::UnixListener::bind(&host).expect("listens");
    bench.sh(&running, &format!("ln -sf /proc/1/root{} /tmp/outer2", host.display())).await;
    for to in [
        Target::Port(4712),
        Target::UnixSocket("/tmp/outer".to_owned()),
        Target::UnixSocket("/tmp/outer2".to_owned()),
        Target::UnixSocket("/tmp/../../../run/x".to_owned()),
    ] {
        let refused = bench.environment.connect(&running, &to).await;
        assert!(matches!(refused.err(), Some(ConnectError::Refused { .. })), "{to:?}");
    }
    let relative = bench.environment.connect(&running, &Target::UnixSocket("tmp/u".to_owned())).await;
    assert!(matches!(relative.err(), Some(ConnectError::BadPath(_))));
    assert_clean(&bench.revert(&running).await);
}

#[tokio::test]
async fn memory_runs_out_inside_only() {
    let bench = Bench::sandbox("memory = \"64MiB\"");
    let running = bench.prepare().await;
    let ran = bench.sh(&running, "head -c 300000000 /dev/zero | tail | wc -c; echo survived").await;
    assert!(ran.stdout.starts_with("0\n") && ran.stdout.ends_with("survived\n"), "{ran:?}");
    assert_eq!(bench.sh(&running, "echo alive").await.stdout, "alive\n");
    let usage = bench.environment.usage(&running).await.expect("is counted");
    assert!(usage.memory_bytes <= 64 << 20 && usage.cpu_ns > 0 && usage.pids > 0, "{usage:?}");
    assert_clean(&bench.revert(&running).await);
}

#[tokio::test]
async fn no_file_outgrows_the_machines_disk() {
    let bench = Bench::sandbox("disk = \"16MiB\"");
    let running = bench.prepare().await;
    let ran = bench.sh(&running, "truncate -s 20000000 ~/big; echo $?; stat -c %s ~/big; ulimit -f unlimited").await;
    assert!(ran.stdout.ends_with("\n0\n") && !ran.stdout.starts_with('0'), "{ran:?}");
    assert_ne!(ran.exit, Exit::Code(0), "the limit could be lifted");
    assert_clean(&bench.revert(&running).await);
}

#[tokio::test]
async fn a_fork_bomb_stays_inside_and_is_cleared() {
    let bench = Bench::sandbox("pids = 40\ncpus = 0.5");
    let running = bench.prepare().await;
    let mut handle =
        bench.start(&running, ExecSpec::new(["bash", "-c", "b() { b | b & }; b; sleep 2; echo done"])).await;
    let mut output = String::new();
    let bombed = tokio::time::timeout(Duration::from_secs(10), handle.stdout.read_to_string(&mut output)).await;
    drop(bombed);
    let usage = bench.environment.usage(&running).await.expect("is counted");
    assert!(usage.pids <= 40, "{usage:?}");
    assert_clean(&bench.revert(&running).await);
}

#[tokio::test]
async fn killing_everything_inside_leaves_the_sandbox_up() {
    let bench = Bench::sandbox("");
    let running = bench.prepare().await;
    bench.sh(&running, "kill -9 -1; kill -9 1; kill -TERM 1").await;
    assert_eq!(bench.sh(&running, "echo up").await.stdout, "up\n");
    // Orphans are reaped.
    bench.sh(&running, "for i in 1 2 3 4 5; do (sh -c 'sleep 0.01 &' &) ; done >/dev/null 2>&1; sleep 0.2").await;
    assert_eq!(bench.sh(&running, "grep -l '^State:.Z' /proc/[0-9]*/status | wc -l").await.stdout.trim(), "0");
    assert_clean(&bench.revert(&running).await);
}

#[tokio::test]
async fn set_up_scripts_run_in_turn_and_their_output_is_told() {
    let bench = Bench::sandbox("setup = \"echo first; echo 1 >> ~/order\"");
    let mut spec = bench.spec();
    spec.asked =
        EnvironmentSpec { setup: Some("echo $TOKEN >&2; echo 2 >> ~/order".to_owned()), ..EnvironmentSpec::default() };
    spec.variables = Variables([("TOKEN".to_owned(), "t0ken".to_owned())].into());
    assert!(!format!("{spec:?}").contains("t0ken"));
    let (prepared, events) = bench.prepare_with(spec).await;
    let running = prepared.expect("prepares");
    let output: Vec<u8> = events
        .iter()
        .flat_map(
            |event| if let StepEvent::Output(PrepareStep::SetUp, bytes) = event { bytes.clone() } else { Vec::new() },
        )
        .collect();
    assert_eq!(String::from_utf8_lossy(&output), "first\nt0ken\n");
    assert_eq!(bench.sh(&running, "cat ~/order; echo $TOKEN").await.stdout, "1\n2\nt0ken\n");
    assert_clean(&bench.revert(&running).await);
}

#[tokio::test]
async fn a_set_up_that_fails_or_takes_too_long_is_told_and_reverts() {
    let bench = Bench::sandbox("");
    for (script, words) in [("false; echo never", "ended with 1"), ("sleep 1000", "longer than 1 s")] {
        let mut spec = bench.spec();
        let session = spec.session;
        spec.asked =
            EnvironmentSpec { setup: Some(script.to_owned()), setup_timeout_s: Some(1), ..EnvironmentSpec::default() };
        let (prepared, events) = bench.prepare_with(spec).await;
        let error = prepared.expect_err("must fail");
        assert!(error.step == PrepareStep::SetUp && error.to_string().contains(words), "{error}");
        assert!(matches!(events.last(), Some(StepEvent::Failed(PrepareStep::SetUp, _))), "{events:?}");
        assert!(bench.environment.adopt(session).await.is_err());
        assert_clean(&bench.environment.revert(session).await);
    }
}

#[tokio::test]
async fn preparing_can_be_cancelled() {
    let bench = Bench::sandbox("setup = \"sleep 1000\"");
    let spec = bench.spec();
    let session = spec.session;
    let (sink, mut events) = StepSink::new();
    let cancel = CancellationToken::new();
    let watching = async {
        while let Some(event) = events.recv().await {
            if event == StepEvent::Began(PrepareStep::SetUp) {
                cancel.cancel();
            }
        }
    };
    let preparing = async {
        let prepared = bench.environment.prepare(spec, &sink, &cancel).await;
        drop(sink);
        prepared
    };
    let (prepared, ()) = tokio::join!(preparing, watching);
    assert!(prepared.expect_err("was cancelled").cancelled);
    assert_clean(&bench.environment.revert(session).await);
}

#[tokio::test]
async fn the_end_of_a_sandbox_is_noticed() {
    let bench = Bench::sandbox("");
    let running = bench.prepare().await;
    let waiting = bench.environment.gone(&running);
    tokio::pin!(waiting);
    let early = tokio::time::timeout(Duration::from_millis(200), &mut waiting).await;
    assert!(early.is_err(), "it has not ended");
    assert_clean(&bench.revert(&running).await);
    tokio::time::timeout(Duration::from_secs(5), waiting).await.expect("has ended");
}

#[tokio::test]
async fn two_sandboxes_do_not_see_each_other() {
    let bench = Bench::sandbox("");
    let (one, two) = tokio::join!(bench.prepare(), bench.prepare());
    bench.sh(&one, "echo secret > /tmp/mine; chmod 777 /tmp/mine; (sleep 1234 >/dev/null 2>&1 &)").await;
    let ran = bench.sh(&two, "cat /tmp/mine; cat /proc/[0-9]*/cmdline | tr '\\0' ' '").await;
    assert!(!ran.stdout.contains("secret") && !ran.stdout.contains("sleep 1234"), "{ran:?}");
    assert_clean(&bench.revert(&one).await);
    assert_eq!(bench.sh(&two, "echo still here").await.stdout, "still here\n");
    assert_clean(&bench.revert(&two).await);
}

#[tokio::test]
async fn writable_host_paths_are_written_as_the_sessions_user() {
    let bench = Bench::sandbox("writable = [\"DIR/shared\"]");
    let shared = bench.directory.path().join("shared");
    std::fs::create_dir(&shared).expect("made");
    std::fs::set_permissions(&shared, std::os::unix::fs::PermissionsExt::from_mode(0o777)).expect("opened");
    std::fs::set_permissions(bench.directory.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755))
        .expect("opened");
    let running = bench.prepare().await;
    let ran = bench.sh(&running, &format!("echo x > {}/file", shared.display())).await;
    assert_eq!(ran.exit, Exit::Code(0), "{ran:?}");
    let owner = std::fs::metadata(shared.join("file")).expect("was written").uid();
    assert!(owner >= 0x4000_0000, "{owner}");
    std::fs::remove_file(shared.join("file")).expect("removed");
    assert_clean(&bench.revert(&running).await);
}

#[tokio::test]
async fn what_lies_on_the_host_is_listed() {
    let bench = Bench::sandbox("");
    let running = bench.prepare().await;
    let found = bench.environment.list().await.expect("is listed");
    assert!(found.len() == 1 && found[0].session == running.session && found[0].adoptable, "{found:?}");
    assert_eq!(found[0].machine.as_deref(), Some("m"));
    assert_clean(&bench.revert(&running).await);
    assert_eq!(bench.environment.list().await.expect("is listed"), []);
    until("nothing is left in the control groups", || {
        !std::process::Command::new("find")
            .args(["/sys/fs/cgroup", "-name", &running.session.to_string()])
            .output()
            .is_ok_and(|output| !output.stdout.is_empty())
    })
    .await;
}

/// Sandboxes come and go beside each other on a busy host: none takes the other's leavings for its own, none is slow.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_at_once_all_end_clean() {
    let bench = std::sync::Arc::new(Bench::sandbox(""));
    let mut turns = tokio::task::JoinSet::new();
    for _ in 0..6 {
        let bench = bench.clone();
        turns.spawn(async move {
            let mut times = Vec::new();
            for _ in 0..8 {
                let began = std::time::Instant::now();
                let running = bench.prepare().await;
                let prepared = began.elapsed();
                let ran = bench.sh(&running, "echo x > /tmp/x; (sleep 1000 >/dev/null 2>&1 &); echo prompt").await;
                assert_eq!(ran.stdout, "prompt\n");
                let prompt = began.elapsed();
                let report = bench.revert(&running).await;
                assert_clean(&report);
                times.push((prepared, prompt, report.took_ms));
            }
            times
        });
    }
    let mut times: Vec<_> = turns.join_all().await.into_iter().flatten().collect();
    times.sort();
    eprintln!("prepared, prompt, revert ms: median {:?}, worst {:?}", times[times.len() / 2], times[times.len() - 1]);
}
