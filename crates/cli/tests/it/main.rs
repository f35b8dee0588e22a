//! The command line against a real server, agent and sandboxes. Needs root, as the agent does.

mod broken;
mod deployment;
mod notebooks;
mod objects;
mod pty;
mod refused;
mod tls;
mod wire;

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    os::unix::fs::PermissionsExt,
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use deployment::{Deployment, all, wait};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use sha2::{Digest, Sha256};

const ANY: &[&str] = &["run", "--labels", "ring=test", "--"];

fn run(deployment: &Deployment, argv: &[&str]) -> Output {
    deployment.berth(&[ANY, argv].concat())
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn signal(child: &Child, signal: Signal) {
    let pid = Pid::from_raw(i32::try_from(child.id()).expect("a process id"));
    kill(pid, signal).expect("a signal");
}

/// One deployment for all: what differs is what is typed.
#[test]
fn the_command_line() {
    let mut deployment = Deployment::start();
    signing_in(&deployment);
    streams_and_exit_codes(&deployment);
    large_input(&deployment);
    a_private_authority(&deployment);
    a_terminal_here(&deployment);
    signals(&deployment);
    a_reader_that_goes_away(&deployment);
    reservations(&deployment);
    objects::deployments(&deployment);
    objects::on_a_host(&mut deployment);
    broken::a_killed_server(&mut deployment);
    broken::a_cut_network(&deployment);
    broken::a_host_that_is_cut_off(&deployment);
    broken::much_data(&deployment);
    broken::a_slow_reader(&deployment);
    broken::more_than_is_kept(&deployment);
    a_shell(&mut deployment);
    refused::a_session_that_is_over(&deployment);
    refused::a_host_that_is_away(&deployment);
    instructions(&deployment);
    copies(&deployment);
    a_killed_client(&deployment);
}

fn signing_in(deployment: &Deployment) {
    let plain = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_berth"));
        command.args(arguments).env("XDG_CONFIG_HOME", deployment.path("signed-in"));
        command.env_remove("BERTH_TOKEN").env_remove("BERTH_SERVER");
        command
    };
    let unknown = plain(&["machines", "--server", deployment.url()]).output().expect("berth");
    assert_eq!(unknown.status.code(), Some(3), "{}", text(&unknown.stderr));
    let wrong = deployment.command(&["whoami"]).env("BERTH_TOKEN", "berth_wrong").output().expect("berth");
    assert_eq!(wrong.status.code(), Some(3), "{}", text(&wrong.stderr));
    assert!(text(&wrong.stderr).contains("request "), "{}", text(&wrong.stderr));

    let mut login = plain(&["login", "--server", deployment.url(), "--token-stdin"]);
    let mut login = login.stdin(Stdio::piped()).spawn().expect("berth login");
    writeln!(login.stdin.take().expect("a pipe"), "{}", deployment.token()).expect("the token");
    assert!(login.wait().expect("its end").success());
    let file = deployment.path("signed-in/berth/credentials.toml");
    assert_eq!(fs::metadata(&file).expect("the file").permissions().mode() & 0o777, 0o600);
    let me = plain(&["whoami"]).output().expect("berth");
    assert!(text(&me.stdout).contains("ada@example.org"), "{}", text(&me.stdout));
    let away = deployment.command(&["machines", "--server", "http://127.0.0.1:1"]).output().expect("berth");
    assert_eq!(away.status.code(), Some(6), "{}", text(&away.stderr));
}

fn streams_and_exit_codes(deployment: &Deployment) {
    let echo = run(deployment, &["sh", "-c", "echo out; echo err >&2; exit 3"]);
    assert_eq!((text(&echo.stdout).as_str(), text(&echo.stderr).as_str()), ("out\n", "err\n"));
    assert_eq!(echo.status.code(), Some(3));
    let killed = run(deployment, &["sh", "-c", "kill -9 $$"]);
    assert_eq!(killed.status.code(), Some(137), "{}", text(&killed.stderr));
    let missing = run(deployment, &["no-such-program"]);
    assert_eq!(missing.status.code(), Some(127), "{}", text(&missing.stderr));
    let nothing = deployment.berth(&["run", "--labels", "gpu=h100", "--", "true"]);
    assert_eq!(nothing.status.code(), Some(125), "{}", text(&nothing.stderr));
    let variable = ["run", "--labels", "ring=test", "-e", "GREETING=good day", "--cwd", "/tmp", "--"];
    let variable = deployment.berth(&[&variable[..], &["sh", "-c", "echo $GREETING in $PWD"]].concat());
    assert_eq!(text(&variable.stdout), "good day in /tmp\n", "{}", text(&variable.stderr));
}

fn large_input(deployment: &Deployment) {
    const SIZE: usize = 50 * 1024 * 1024;
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let data: Vec<u8> = (0..SIZE)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()[3]
        })
        .collect();
    let expected = hex::encode(Sha256::digest(&data));
    // Both ways at once: what comes back has to be what went.
    let both = deployment.command(&[ANY, &["sh", "-c", "tee /tmp/copy | cat; sha256sum /tmp/copy >&2"]].concat());
    let came = through(both, data, |_| ());
    assert_eq!((came.length, &came.hash), (SIZE, &expected), "{}", came.stderr);
    assert!(came.stderr.contains(&expected), "{}", came.stderr);
}

/// What came out of a program that takes input and succeeds.
struct Came {
    length: usize,
    /// Of standard output, SHA-256 in hexadecimal digits.
    hash: String,
    stderr: String,
}

/// Gives the program its input while it reads the output; tells the length of that as it grows.
fn through(mut command: Command, input: Vec<u8>, mut grows: impl FnMut(usize)) -> Came {
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("berth run");
    let mut stdin = child.stdin.take().expect("a pipe");
    let writer = std::thread::spawn(move || stdin.write_all(&input).expect("the input"));
    let stderr = child.stderr.take();
    let errors = std::thread::spawn(move || all(stderr));
    let (mut stdout, mut hash, mut length) = (child.stdout.take().expect("a pipe"), Sha256::new(), 0);
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let count = stdout.read(&mut buffer).expect("the output");
        if count == 0 {
            break;
        }
        hash.update(&buffer[..count]);
        length += count;
        grows(length);
    }
    writer.join().expect("the writer");
    let stderr = errors.join().expect("the reader");
    assert!(child.wait().expect("its end").success(), "{stderr}");
    Came { length, hash: hex::encode(hash.finalize()), stderr }
}

/// A server behind TLS whose certificate the system does not know.
fn a_private_authority(deployment: &Deployment) {
    let tls = tls::Tls::before(deployment.port());
    let ca = deployment.path("ca.pem");
    fs::write(&ca, tls.ca_pem()).expect("the authority");
    let ca = ca.display().to_string();
    let https = |arguments: &[&str]| {
        let mut command = deployment.command(arguments);
        command.env("BERTH_SERVER", tls.url());
        command
    };
    let unknown = https(&["whoami"]).output().expect("berth");
    assert_eq!(unknown.status.code(), Some(6), "{}", text(&unknown.stderr));
    assert!(text(&unknown.stderr).contains("certificate"), "{}", text(&unknown.stderr));
    let me = https(&["--ca", &ca, "whoami"]).output().expect("berth");
    assert!(text(&me.stdout).contains("ada@example.org"), "{}", text(&me.stderr));
    // The streams as well.
    let echo = https(&[&["--ca", &ca], ANY, &["sh", "-c", "cat; exit 4"]].concat());
    let echo = with_input(echo, b"over TLS");
    assert_eq!((text(&echo.stdout).as_str(), echo.status.code()), ("over TLS", Some(4)), "{}", text(&echo.stderr));
    // Another's authority does not vouch for it, nor does a file without one.
    let other = deployment.path("other.pem");
    fs::write(&other, tls::Tls::before(deployment.port()).ca_pem()).expect("the authority");
    let other = https(&["whoami"]).env("BERTH_CA", &other).output().expect("berth");
    assert_eq!(other.status.code(), Some(6), "{}", text(&other.stderr));
    let none = deployment.path("none.pem");
    fs::write(&none, "no certificate\n").expect("a file");
    let none = https(&["whoami"]).env("BERTH_CA", &none).output().expect("berth");
    assert_eq!(none.status.code(), Some(2), "{}", text(&none.stderr));
}

fn with_input(mut command: Command, input: &[u8]) -> Output {
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("berth run");
    child.stdin.take().expect("a pipe").write_all(input).expect("the input");
    child.wait_with_output().expect("its end")
}

/// `berth run --tty`, typed into.
fn a_terminal_here(deployment: &Deployment) {
    let script = "trap 'echo interrupted' INT; trap 'stty size' WINCH; test -t 0 && test -t 1 && test -t 2 && stty size; \
                  printf 'name? '; read name; echo \"hello $name\"; \
                  while [ ! -e /tmp/end ]; do sleep 0.05; done; read last; exit 5";
    let run = ["run", "-q", "--tty", "-e", "GREETING=hi", "--labels", "ring=test", "--", "sh", "-c", script];
    let refused = deployment.berth(&run);
    assert_eq!(refused.status.code(), Some(125), "there is no terminal: {}", text(&refused.stderr));
    let mut terminal = pty::Typed::start(deployment.command(&run));
    assert!(terminal.screen().contains("30 100"), "{}", terminal.screen());
    terminal.enter("Ada");
    terminal.expect("hello Ada");
    // The keyboard's signals are made there, by that terminal.
    terminal.keys("\x03");
    terminal.expect("interrupted");
    terminal.resize(40, 120);
    terminal.expect("40 120");
    let session = deployment.json(&["sessions", "--json"])[0]["id"].as_str().expect("a session").to_owned();
    cli_exec(deployment, &session, "touch /tmp/end");
    terminal.enter("");
    assert_eq!(terminal.end(), Some(5));
    assert!(terminal.is_cooked(), "the terminal is not as it was");
}

fn signals(deployment: &Deployment) {
    let script = "trap 'echo caught; exit 7' INT; trap 'echo user' USR1; echo ready; while :; do sleep 0.05; done";
    let mut child =
        deployment.command(&[ANY, &["sh", "-c", script]].concat()).stdout(Stdio::piped()).spawn().expect("berth run");
    let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
    let mut next = || lines.next().expect("a line").expect("text");
    assert_eq!(next(), "ready");
    signal(&child, Signal::SIGUSR1);
    assert_eq!(next(), "user");
    signal(&child, Signal::SIGINT);
    assert_eq!(next(), "caught");
    assert_eq!(child.wait().expect("its end").code(), Some(7));

    // A program that does not read its input cannot hold up the signal that ends it.
    let mut child = deployment
        .command(&[ANY, &["sh", "-c", "echo ready; exec sleep 1000"]].concat())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("berth run");
    let mut stdin = child.stdin.take().expect("a pipe");
    let filler = std::thread::spawn(move || stdin.write_all(&vec![0; 4 * 1024 * 1024]).is_err());
    let mut line = String::new();
    BufReader::new(child.stdout.take().expect("a pipe")).read_line(&mut line).expect("a line");
    assert_eq!(line, "ready\n");
    signal(&child, Signal::SIGTERM);
    assert_eq!(child.wait().expect("its end").code(), Some(143));
    assert!(filler.join().expect("the writer"), "the input cannot have been taken");
    wait("the machines are free again", || (deployment.free() == 2).then_some(()));
}

fn a_reader_that_goes_away(deployment: &Deployment) {
    let mut child = deployment.command(&[ANY, &["yes"]].concat()).stdout(Stdio::piped()).spawn().expect("berth run");
    let mut line = String::new();
    BufReader::new(child.stdout.take().expect("a pipe")).read_line(&mut line).expect("a line");
    assert_eq!(line, "y\n");
    assert_eq!(child.wait().expect("its end").code(), Some(141));
}

fn reservations(deployment: &Deployment) {
    let ahead = deployment.json(&["reserve", "--machine", "lab/a", "--start", "+2h", "--for", "1h", "--json"]);
    let id = ahead["id"].as_str().expect("an id").to_owned();
    let taken = deployment.berth(&["reserve", "--machine", "lab/a", "--start", "+150m"]);
    assert_eq!(taken.status.code(), Some(5), "{}", text(&taken.stderr));
    assert!(text(&taken.stderr).contains("free from"), "{}", text(&taken.stderr));
    let longer = deployment.json(&["extend", &id, "--for", "30m", "--json"]);
    assert_ne!(longer["end"], ahead["end"]);
    let mine = deployment.json(&["reservations", "--json"]);
    assert!(mine.as_array().is_some_and(|mine| mine.iter().any(|one| one["id"] == id.as_str())), "{mine}");
    let cancelled = deployment.berth(&["cancel", &id]);
    assert!(cancelled.status.success(), "{}", text(&cancelled.stderr));
    assert_eq!(deployment.berth(&["cancel", "ffff"]).status.code(), Some(4));
    let table = text(&deployment.berth(&["machines"]).stdout);
    assert!(table.starts_with("NAME") && table.contains("lab/a"), "{table}");
}

fn copies(deployment: &Deployment) {
    let session = deployment.session();
    let there = |path: &str| format!("{session}:{path}");
    let cp = |source: &str, destination: &str| deployment.berth(&["cp", source, destination]);
    let here = |name: &str| deployment.path(name).display().to_string();
    let good = |output: &Output| assert!(output.status.success(), "{}", text(&output.stderr));

    // A large file with its mode, there and back.
    let data: Vec<u8> = (0..40_000_000_u32).map(|n| n.to_le_bytes()[usize::try_from(n % 3).unwrap_or(0)]).collect();
    fs::write(here("large"), &data).expect("a file");
    fs::set_permissions(here("large"), fs::Permissions::from_mode(0o640)).expect("its mode");
    good(&cp(&here("large"), &there("/tmp/")));
    good(&cp(&there("/tmp/large"), &here("back")));
    assert!(fs::read(here("back")).expect("the copy") == data);
    assert_eq!(fs::metadata(here("back")).expect("the copy").permissions().mode() & 0o7777, 0o640);
    // Replaced by an empty one, as a whole.
    fs::write(here("empty"), b"").expect("a file");
    good(&cp(&here("empty"), &there("/tmp/large")));
    good(&cp(&there("/tmp/large"), &here("back")));
    assert_eq!(fs::metadata(here("back")).expect("the copy").len(), 0);

    // A tree.
    let tree = deployment.path("tree");
    fs::create_dir_all(tree.join("sub/empty")).expect("folders");
    for number in 0..200 {
        fs::write(tree.join(format!("sub/{number}")), format!("file {number}")).expect("a file");
    }
    fs::set_permissions(tree.join("sub/7"), fs::Permissions::from_mode(0o755)).expect("its mode");
    std::os::unix::fs::symlink("sub/7", tree.join("link")).expect("a link");
    good(&cp(&here("tree"), &there("/tmp/tree")));
    good(&cp(&there("/tmp/tree"), &here("tree-back")));
    let back = deployment.path("tree-back");
    for number in 0..200 {
        let read = fs::read_to_string(back.join(format!("sub/{number}"))).expect("a file");
        assert_eq!(read, format!("file {number}"));
    }
    assert!(back.join("sub/empty").is_dir());
    assert_eq!(fs::metadata(back.join("sub/7")).expect("a file").permissions().mode() & 0o777, 0o755);
    assert_eq!(fs::read_link(back.join("link")).expect("a link").to_string_lossy(), "sub/7");

    // What goes wrong says why and leaves nothing.
    let bad = |output: &Output, why: &str| {
        assert!(!output.status.success());
        assert!(text(&output.stderr).contains(why), "{}", text(&output.stderr));
    };
    // Into a directory that is there, as cp does; but not over one.
    good(&cp(&here("tree"), &there("/tmp/tree")));
    bad(&cp(&here("tree"), &there("/tmp/tree")), "'/tmp/tree/tree' is there already");
    bad(&cp(&there("/tmp/nothing"), &here("nothing")), "there is no '/tmp/nothing'");
    bad(&cp(&here("back"), &there("/no/such/dir")), "there is no directory");
    good(&cp(&there("/tmp/tree/sub"), &here("tree-back/empty")));
    bad(&cp(&there("/tmp/tree/sub"), &here("tree-back")), "is there already");
    assert!(!deployment.path("nothing").exists());
    let left = |dir: &std::path::Path| {
        let names = fs::read_dir(dir).expect("a folder").filter_map(Result::ok).map(|entry| entry.file_name());
        names.filter(|name| name.to_string_lossy().starts_with(".berth-cp")).count()
    };
    assert_eq!(left(&deployment.path("")), 0);

    // Stopped half-way: the target is not there, neither half nor whole.
    let big = fs::File::create(here("big")).expect("a file");
    big.set_len(2 << 30).expect("its size");
    let target = there("/tmp/big");
    let mut child = deployment.command(&["cp", &here("big"), &target]).stderr(Stdio::piped()).spawn().expect("cp");
    let probe = |script: &str| {
        let probe = cli_exec(deployment, &session, script);
        text(&probe)
    };
    wait("the copy has begun", || probe("ls -A /tmp").contains(".berth-cp").then_some(()));
    signal(&child, Signal::SIGINT);
    assert!(!child.wait().expect("its end").success());
    wait("the half copy is gone", || (!probe("ls -A /tmp").contains(".berth-cp")).then_some(()));
    assert!(!probe("ls -A /tmp").contains("big"));
    deployment.end(&session);
}

/// What a script writes in a session that is there already, by the library that `berth` uses.
fn cli_exec(deployment: &Deployment, session: &str, script: &str) -> Vec<u8> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let settings = cli::settings::Settings {
            server: cli::settings::server_url(deployment.url()).expect("an address"),
            token: Some(cli::settings::Secret::new(deployment.token()).expect("a token")),
            ca: None,
        };
        let client = cli::client::Client::new(&settings).expect("a client");
        let ask = api::streams::ExecAsk {
            argv: ["sh", "-c", script].map(str::to_owned).to_vec(),
            ..api::streams::ExecAsk::default()
        };
        let exec = cli::exec::Exec::start(&client, session, &ask).await.expect("a program");
        let mut stdout = Vec::new();
        let (sender, controls) = tokio::sync::mpsc::channel(1);
        drop(sender);
        let ends = cli::exec::Ends {
            stdin: tokio::io::empty(),
            stdout: &mut stdout,
            stderr: tokio::io::sink(),
            controls,
            tell: |_| (),
        };
        exec.run(ends).await.expect("its end");
        stdout
    })
}

fn a_shell(deployment: &mut Deployment) {
    let session = deployment.session();
    let mut shell = pty::Typed::start(deployment.command(&["shell", &session]));
    shell.enter("echo two plus two is $((2+2)); tput cols 2>/dev/null || stty size");
    shell.expect("two plus two is 4");
    shell.enter("cd /tmp && MARK=kept && echo moved to $PWD");
    shell.expect("moved to /tmp");
    // Left and come back to: the same shell.
    shell.enter("~.");
    assert_eq!(shell.end(), Some(0));
    let left = shell.screen();
    let terminal = left.rsplit("--attach ").next().unwrap_or_default().trim().to_owned();
    let mut again = pty::Typed::start(deployment.command(&["shell", &session, "--attach", &terminal]));
    again.enter("echo $MARK in $PWD");
    again.expect("kept in /tmp");
    // The server is killed: the terminal is made again, and is still the same.
    deployment.restart_server();
    again.expect("trying again");
    wait("the shell answers again", || {
        again.enter("echo alive with $MARK $((6*7))");
        again.seen("alive with kept 42").then_some(())
    });
    again.enter("exit 5");
    assert_eq!(again.end(), Some(5));
    deployment.end(&session);
}

fn instructions(deployment: &Deployment) {
    let done =
        deployment.berth(&["exec", "--hosts", "lab", "--", "sh", "-c", "echo on the host; echo oops >&2; exit 4"]);
    assert_eq!(done.status.code(), Some(4), "{}", text(&done.stderr));
    assert_eq!(text(&done.stdout), "on the host\n");
    assert!(text(&done.stderr).contains("oops"), "{}", text(&done.stderr));
    let results = deployment.json(&["exec", "--hosts", "lab", "--json", "--", "echo", "hello"]);
    assert_eq!((&results[0]["stdout"], &results[0]["state"]), (&"hello\n".into(), &"done".into()), "{results}");
    let id = deployment.json(&["zero-certificates", "list", "--json"])[0]["id"].as_str().expect("an id").to_owned();
    let revoked = deployment.berth(&["zero-certificates", "revoke", &id]);
    assert!(revoked.status.success(), "{}", text(&revoked.stderr));
    assert_eq!(deployment.json(&["zero-certificates", "list", "--json"])[0]["state"], "revoked");
    let nobody = deployment.berth(&["exec", "--hosts", "no-such-host", "--", "true"]);
    assert!(matches!(nobody.status.code(), Some(1..=5)), "{}", text(&nobody.stderr));
    let mut slow = deployment
        .command(&["exec", "--hosts", "lab", "--", "sh", "-c", "echo begun; exec sleep 1000"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("berth exec");
    let mut line = String::new();
    BufReader::new(slow.stdout.take().expect("a pipe")).read_line(&mut line).expect("a line");
    assert_eq!(line, "begun\n");
    signal(&slow, Signal::SIGINT);
    assert_eq!(slow.wait().expect("its end").code(), Some(130));
}

fn a_killed_client(deployment: &Deployment) {
    let mut child = deployment
        .command(&[ANY, &["sh", "-c", "echo ready; exec sleep 1000"]].concat())
        .stdout(Stdio::piped())
        .spawn()
        .expect("berth run");
    let mut line = String::new();
    BufReader::new(child.stdout.take().expect("a pipe")).read_line(&mut line).expect("a line");
    assert_eq!(deployment.free(), 1);
    child.kill().and_then(|()| child.wait()).expect("its end");
    let killed = Instant::now();
    wait("the machine is free again", || (deployment.free() == 2).then_some(()));
    let took = killed.elapsed();
    eprintln!("free again {took:?} after the client was killed");
    assert!(took < Duration::from_secs(30 + 15), "two keepalives and the revert: {took:?}");
}
