//! Notebooks for real: JupyterLab from a package index in a sandbox, reached through the tunnel.

mod given;
mod image;
mod ready;
mod volumes;

use std::{
    collections::HashMap,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    time::Instant,
};

use domain::{
    ids::{NotebookId, RunId, SessionId, TransactionId, VolumeId},
    instructions::Work,
    notebooks::{NEEDED_REQUIREMENTS, NotebookPolicy, RunSpec, SOCKET, Software, TOKEN, WarmSpec},
    sessions::StepState,
};
use futures_util::{SinkExt, StreamExt};
use protocol::{
    Outcome, ProgressEvent, Secrets, ToServer,
    tunnel::{Open, Target},
};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{Message, client::IntoClientRequest},
};

use self::ready::Ready;
use crate::peer::{Ended, Host, Link, Network, Peer, until, within};

const NOTEBOOKS: &str = "[notebooks]\ncpus = 4.0\nmemory = \"8GiB\"\n";
const SECRET: &str = "a-run's-own-token";
const DONE: Outcome = Outcome::Done { exit_code: None };

fn spec(volume: VolumeId, requirements: &str) -> RunSpec {
    RunSpec {
        notebook: NotebookId::new(),
        run: RunId::new(),
        name: "ann-1".to_owned(),
        software: Software::Packages { requirements: requirements.to_owned() },
        limits: NotebookPolicy::default().sizes[0].limits(),
        volume,
        volume_bytes: 1 << 30,
    }
}

fn stop_of(spec: &RunSpec) -> Work {
    Work::StopNotebook { notebook: spec.notebook, run: spec.run, name: spec.name.clone() }
}

async fn begin(link: &mut Link, spec: &RunSpec) -> TransactionId {
    let id = TransactionId::new();
    let secrets = Secrets([(TOKEN.to_owned(), SECRET.to_owned())].into());
    link.instruct_with(id, Work::StartNotebook { spec: spec.clone() }, Some(secrets)).await;
    id
}

/// Starts them at the same time; the names of the steps in the order in which those of the first ended.
async fn start(link: &mut Link, specs: &[&RunSpec]) -> Vec<String> {
    let began = Instant::now();
    let mut ids = Vec::new();
    for spec in specs {
        ids.push(begin(link, spec).await);
    }
    let (mut steps, mut under_way) = (Vec::new(), ids.clone());
    while !under_way.is_empty() {
        match link.next_answer().await {
            ToServer::Progress { transaction, event: ProgressEvent::Step(step), .. }
                if step.state == StepState::Done =>
            {
                println!("{}: {}", step.name, step.detail.unwrap_or_default());
                steps.extend((transaction == ids[0]).then_some(step.name));
            }
            ToServer::Progress { .. } => {}
            ToServer::Result { transaction, outcome } => {
                assert_eq!(outcome, DONE);
                println!("started within {:?}", began.elapsed());
                under_way.retain(|id| *id != transaction);
                link.acknowledge(transaction).await;
            }
            other => panic!("unexpected {other:?}"),
        }
    }
    steps
}

/// What JupyterLab had written.
async fn stop(link: &mut Link, spec: &RunSpec) -> String {
    let id = TransactionId::new();
    let began = Instant::now();
    link.instruct(id, stop_of(spec)).await;
    let ended = link.ended(id).await;
    assert_eq!(ended.outcome, DONE, "{:#?}", ended.steps);
    println!("stopped within {:?}", began.elapsed());
    for step in &ended.steps {
        if let (Some(began), Some(ended)) = (step.started_at, step.ended_at) {
            println!("{} {:#}: {}", step.name, ended - began, step.detail.as_deref().unwrap_or_default());
        }
    }
    link.acknowledge(id).await;
    String::from_utf8_lossy(&ended.stdout).into_owned()
}

impl Network {
    async fn connect(&self, run: RunId) -> Result<DuplexStream, String> {
        let session = SessionId::from_uuid(run.uuid());
        self.open(Open::Connect { session, to: Target::UnixSocket(SOCKET.to_owned()) }).await
    }

    /// Status and body.
    async fn ask(&self, run: RunId, method: &str, path: &str, token: &str) -> (u16, String) {
        let mut connection = self.connect(run).await.expect("is connected");
        let request = format!(
            "{method} {path} HTTP/1.0\r\nHost: localhost\r\nAuthorization: token {token}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        );
        connection.write_all(request.as_bytes()).await.expect("is sent");
        let mut answer = String::new();
        within("an answer", connection.read_to_string(&mut answer)).await.expect("is text");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
        (status, body.to_owned())
    }

    async fn new_kernel(&self, run: RunId) -> String {
        let (status, body) = self.ask(run, "POST", "/api/kernels", SECRET).await;
        assert_eq!(status, 201, "{body}");
        let kernel: serde_json::Value = serde_json::from_str(&body).expect("JSON");
        kernel["id"].as_str().expect("an id").to_owned()
    }

    async fn kernel(&self, run: RunId, id: &str) -> Kernel {
        let connection = self.connect(run).await.expect("is connected");
        let mut request = format!("ws://localhost/api/kernels/{id}/channels").into_client_request().expect("a request");
        request.headers_mut().insert("authorization", format!("token {SECRET}").parse().expect("a header"));
        let upgraded = tokio_tungstenite::client_async(request, connection);
        Kernel(within("a kernel's socket", upgraded).await.expect("is upgraded").0)
    }
}

struct Kernel(WebSocketStream<DuplexStream>);

impl Kernel {
    /// Runs a cell; what it printed.
    async fn run(&mut self, code: &str) -> String {
        let id = uuid::Uuid::new_v4().to_string();
        let message = serde_json::json!({
            "header": {"msg_id": id, "msg_type": "execute_request", "username": "", "session": id, "version": "5.3"},
            "parent_header": {}, "metadata": {}, "channel": "shell",
            "content": {"code": code, "silent": false, "store_history": false, "user_expressions": {},
                "allow_stdin": false, "stop_on_error": true},
        });
        self.0.send(Message::Text(message.to_string().into())).await.expect("is sent");
        let (mut printed, mut replied, mut idle) = (String::new(), false, false);
        while !(replied && idle) {
            let message = within("a kernel's message", self.0.next()).await.expect("is open").expect("is read");
            let Message::Text(text) = message else { continue };
            let message: serde_json::Value = serde_json::from_str(&text).expect("JSON");
            if message["parent_header"]["msg_id"] != id.as_str() {
                continue;
            }
            match message["header"]["msg_type"].as_str().expect("a type") {
                "stream" => printed += message["content"]["text"].as_str().expect("text"),
                "execute_reply" => {
                    assert_eq!(message["content"]["status"], "ok", "{message}");
                    replied = true;
                }
                "status" => idle = message["content"]["execution_state"] == "idle",
                _ => {}
            }
        }
        printed.trim().to_owned()
    }
}

/// The host processes of a run.
fn processes(run: RunId) -> Vec<i32> {
    let run = run.to_string();
    let all = std::fs::read_dir("/proc").expect("is there").filter_map(Result::ok);
    all.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok())
        .filter(|pid| std::fs::read_to_string(format!("/proc/{pid}/cgroup")).is_ok_and(|groups| groups.contains(&run)))
        // One that has ended and waits for its parent is none.
        .filter(|pid| !program(*pid).is_empty())
        .collect()
}

fn program(pid: i32) -> String {
    String::from_utf8_lossy(&std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default()).replace('\0', " ")
}

fn jupyter(run: RunId) -> i32 {
    let pids = processes(run);
    pids.iter().copied().find(|pid| program(*pid).contains("jupyter-lab")).expect("JupyterLab runs")
}

fn names(directory: &Path) -> Vec<PathBuf> {
    std::fs::read_dir(directory).into_iter().flatten().filter_map(Result::ok).map(|entry| entry.path()).collect()
}

/// How many loop devices hold this file.
fn holders(image: &Path) -> usize {
    let files = names(Path::new("/sys/block"))
        .into_iter()
        .filter_map(|disk| std::fs::read_to_string(disk.join("loop/backing_file")).ok());
    files.filter(|file| Path::new(file.trim()) == image).count()
}

/// Nothing of a run is left but its person's files, which nobody holds.
async fn assert_gone(host: &Host, run: RunId) {
    let left: Vec<String> = processes(run).into_iter().map(program).collect();
    assert_eq!(left, Vec::<String>::new());
    let groups = std::fs::read_dir("/sys/fs/cgroup").expect("is there").filter_map(Result::ok);
    for hierarchy in groups.map(|entry| entry.path()).chain([PathBuf::from("/sys/fs/cgroup")]) {
        let berth = names(&hierarchy.join("berth"));
        assert!(berth.iter().all(|agent| !agent.join(run.to_string()).exists()), "{berth:?}");
    }
    assert!(!host.state().join("notebooks/runs").join(run.to_string()).exists());
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").expect("is read");
    assert!(!mounts.contains(&host.state().display().to_string()), "{mounts}");
}

#[tokio::test]
async fn a_notebook_from_its_start_to_its_end() {
    let mut peer = Peer::start().await;
    let mut host = Host::started(&peer, NOTEBOOKS).await;
    let mut link = peer.raw_link().await;
    let ToServer::Hello { notebooks: Some(offer), runs, .. } = link.next().await else { panic!("no offer") };
    assert_eq!((offer.cpu_millis, offer.memory_bytes, offer.places, runs.len()), (4_000, 8 << 30, 16, 0));
    assert!(offer.gives_warm, "{}", host.log());
    link.welcome(peer.authority.host).await;
    let network = Network::over(peer.tunnel().await);

    let volume = VolumeId::new();
    // Two of one person, who has neither the environment nor files here yet.
    let (first, second) = (spec(volume, NEEDED_REQUIREMENTS), spec(volume, NEEDED_REQUIREMENTS));
    let steps = start(&mut link, &[&first, &second]).await;
    assert_eq!(steps, ["environment", "files", "root", "limits", "start", "jupyter"]);
    assert_eq!(host.log().matches("an environment was built").count(), 1, "{}", host.log());
    let image = host.state().join(format!("notebooks/volumes/{volume}.img"));
    assert_eq!(holders(&image), 1, "all mount it through one device");
    assert_eq!(network.ask(first.run, "GET", "/api/status", SECRET).await.0, 200);
    assert_eq!(network.ask(first.run, "GET", "/api/status", "wrong").await.0, 403);
    assert_eq!(network.ask(first.run, "GET", "/lab", "").await.0, 302, "to the sign-in page");
    let settings = "/lab/api/settings/@jupyterlab/apputils-extension:notification";
    let (_, settings) = network.ask(first.run, "GET", settings, SECRET).await;
    let settings: serde_json::Value = serde_json::from_str(&settings).expect("JSON");
    assert_eq!(settings["schema"]["properties"]["fetchNews"]["default"], "false", "it does not ask");
    let id = network.new_kernel(first.run).await;
    let mut kernel = network.kernel(first.run, &id).await;
    let pid =
        kernel.run("import os, atexit, pathlib; os.chdir(os.path.expanduser('~')); x = 6; print(os.getpid())").await;
    kernel.run("pathlib.Path('kept').write_text('kept'); atexit.register(pathlib.Path('ended').touch)").await;
    for process in processes(first.run) {
        assert!(!program(process).contains(SECRET), "{}", program(process));
        let variables = std::fs::read(format!("/proc/{process}/environ")).unwrap_or_default();
        assert!(!String::from_utf8_lossy(&variables).contains(SECRET), "{}", program(process));
    }

    // The same person's second notebook has the same files at the same time.
    let other_id = network.new_kernel(second.run).await;
    let mut other = network.kernel(second.run, &other_id).await;
    let read = "import os; print(open(os.path.expanduser('~/kept')).read())";
    assert_eq!(other.run(read).await, "kept");
    stop(&mut link, &second).await;
    assert_gone(&host, second.run).await;
    assert_eq!(kernel.run("print(x * 7)").await, "42", "the first goes on");

    // The agent dies, and kernels do not.
    host.kill();
    host.start();
    let mut link = peer.raw_link().await;
    let ToServer::Hello { runs, .. } = link.next().await else { panic!("no Hello") };
    assert_eq!(runs, [first.run]);
    link.welcome(peer.authority.host).await;
    let network = Network::over(peer.tunnel().await);
    let mut kernel = network.kernel(first.run, &id).await;
    assert_eq!(kernel.run("import os; print(os.getpid(), x * 7)").await, format!("{pid} 42"));
    let log = stop(&mut link, &first).await;
    assert!(log.contains("Kernel started") && log.contains("Shutting down 1 kernel"), "{log}");
    assert!(!log.contains(SECRET), "{log}");
    assert_gone(&host, first.run).await;
    assert_eq!(stop(&mut link, &first).await, "");
    assert!(network.connect(first.run).await.is_err());

    // The files are there at the next start. JupyterLab is killed, and the server hears of it until it stops the run.
    let third = spec(volume, NEEDED_REQUIREMENTS);
    start(&mut link, &[&third]).await;
    let id = network.new_kernel(third.run).await;
    let mut kernel = network.kernel(third.run, &id).await;
    assert_eq!(kernel.run(read).await, "kept");
    assert_eq!(kernel.run("print(os.path.exists('ended'))").await, "True", "its kernel came to its own end");
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(jupyter(third.run)), nix::sys::signal::SIGKILL)
        .expect("is killed");
    let told = async |link: &mut Link| match link.next_answer().await {
        ToServer::RunEnded { run, why } => {
            assert_eq!(run, third.run);
            assert!(why.contains("JupyterLab ended by itself"), "{why}");
        }
        other => panic!("unexpected {other:?}"),
    };
    told(&mut link).await;
    assert_gone(&host, third.run).await;
    host.kill();
    host.start();
    let (mut link, _) = peer.link().await;
    told(&mut link).await;
    stop(&mut link, &third).await;
    host.kill();
    host.start();
    let (mut link, _) = peer.link().await;
    // Nothing comes before the answer to this.
    stop(&mut link, &third).await;
    until("nobody holds the files", || holders(&image) == 0).await;
}

/// The search path without `uv`, so that pip makes the environments.
fn without_uv() -> (&'static str, String) {
    let path = std::env::var("PATH").expect("a path");
    let folders: Vec<&str> = path.split(':').filter(|folder| !Path::new(folder).join("uv").exists()).collect();
    ("PATH", folders.join(":"))
}

/// A host that has no `uv`, with packages of the test's own, and its link.
async fn with_pip(peer: &mut Peer, packages: &Path) -> (Host, Link) {
    let mut host = Host::new(NOTEBOOKS);
    host.variables.push(without_uv());
    host.variables.push(("PIP_FIND_LINKS", packages.display().to_string()));
    let (status, output) = host.enroll(peer, &[]).await;
    assert!(status.success(), "{output}");
    host.start();
    let (link, _) = peer.link().await;
    (host, link)
}

/// A directory that whoever builds can read.
fn packages() -> tempfile::TempDir {
    let packages = tempfile::Builder::new().prefix("berth-it-").tempdir_in("/var/tmp").expect("a directory");
    std::fs::set_permissions(packages.path(), std::fs::Permissions::from_mode(0o755)).expect("is opened to all");
    packages
}

/// Writes a wheel whose one program says something and ends.
const WHEEL: &str = r#"
import sys, zipfile
with zipfile.ZipFile(sys.argv[1] + '/brief-1.0-py3-none-any.whl', 'w') as wheel:
    program = zipfile.ZipInfo('brief-1.0.data/scripts/jupyter-lab')
    program.external_attr = 0o100755 << 16
    wheel.writestr(program, '#!python\nprint("brief and gone")\n')
    wheel.writestr('brief-1.0.dist-info/METADATA', 'Metadata-Version: 2.1\nName: brief\nVersion: 1.0\n')
    wheel.writestr('brief-1.0.dist-info/WHEEL', 'Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n')
    wheel.writestr('brief-1.0.dist-info/RECORD', ''.join(f'{name},,\n' for name in wheel.namelist()))
"#;

#[tokio::test]
async fn pip_makes_environments_where_there_is_no_uv() {
    let packages = packages();
    let mut write = std::process::Command::new("/usr/bin/python3");
    write.args(["-c", WHEEL]).arg(packages.path());
    assert!(write.status().expect("Python runs").success());
    let mut peer = Peer::start().await;
    let (host, mut link) = with_pip(&mut peer, packages.path()).await;
    let id = begin(&mut link, &spec(VolumeId::new(), "--no-index\nbrief\n")).await;
    let ended = link.ended(id).await;
    assert!(String::from_utf8_lossy(&ended.stdout).contains("Successfully installed brief-1.0"), "{ended:?}");
    assert!(host.log().contains("an environment was built"), "{}", host.log());
    let Outcome::Failed { cause, .. } = &ended.outcome else { panic!("{ended:?}") };
    assert!(cause.starts_with("jupyter: ") && cause.contains("brief and gone"), "{cause}");
}

#[tokio::test]
async fn what_pip_cannot_install_is_told_in_its_own_words() {
    let mut peer = Peer::start().await;
    let (host, mut link) = with_pip(&mut peer, Path::new("/nowhere")).await;
    let bad = spec(VolumeId::new(), "--no-index\nno-such-package==1.0\n");
    let id = begin(&mut link, &bad).await;
    let ended = link.ended(id).await;
    let Outcome::Failed { cause, .. } = &ended.outcome else { panic!("{ended:?}") };
    assert!(cause.starts_with("environment: ") && cause.contains("no-such-package==1.0"), "{cause}");
    assert!(String::from_utf8_lossy(&ended.stdout).contains("No matching distribution found"), "{ended:?}");
    assert_eq!(names(&host.state().join("notebooks/environments")), Vec::<PathBuf>::new());
    assert_eq!(names(&host.state().join("notebooks/building")), Vec::<PathBuf>::new());
    assert_gone(&host, bad.run).await;
}

/// A package's own build program: it says what it sees and could do.
const NOSY: &str = r#"
import os
def look(path):
    try:
        return os.listdir(path) if os.path.isdir(path) else open(path).read()
    except OSError as error:
        return type(error).__name__
def write(path):
    try:
        open(path, 'w')
        return 'written'
    except OSError:
        return 'refused'
for path in ['STATE', '/etc/shadow', '/root', '/home', '/var']:
    print('LOOK', path, look(path))
for path in ['/usr/nosy', '/etc/nosy', '/requirements.txt', '/nosy']:
    print('WRITE', path, write(path))
print('PROCESSES', sum(name.isdigit() for name in os.listdir('/proc')) < 20)
raise SystemExit('no wheel of this')
"#;

#[tokio::test]
async fn what_a_package_runs_sees_nothing_of_the_host() {
    what_is_built_sees_nothing(without_uv()).await;
    what_is_built_sees_nothing(("PATH", std::env::var("PATH").expect("a path"))).await;
}

async fn what_is_built_sees_nothing(path: (&'static str, String)) {
    let mut peer = Peer::start().await;
    let mut host = Host::new(NOTEBOOKS);
    host.variables.push(path);
    let packages = packages();
    let source = packages.path().join("nosy-1.0");
    std::fs::create_dir(&source).expect("is made");
    let system = "[build-system]\nrequires = []\nbuild-backend = \"nosy\"\nbackend-path = [\".\"]\n";
    let state = host.state().display().to_string();
    for (name, text) in [("pyproject.toml", system.to_owned()), ("nosy.py", NOSY.replace("STATE", &state))] {
        std::fs::write(source.join(name), text).expect("is written");
    }
    let mut pack = std::process::Command::new("tar");
    pack.args(["-czf", "nosy-1.0.tar.gz", "nosy-1.0"]).current_dir(packages.path());
    assert!(pack.status().expect("tar runs").success());
    for name in ["PIP_FIND_LINKS", "UV_FIND_LINKS"] {
        host.variables.push((name, packages.path().display().to_string()));
    }
    let (status, output) = host.enroll(&peer, &[]).await;
    assert!(status.success(), "{output}");
    host.start();
    let (mut link, _) = peer.link().await;
    let id = begin(&mut link, &spec(VolumeId::new(), "--no-index\nnosy==1.0\n")).await;
    let ended = link.ended(id).await;
    let said = String::from_utf8_lossy(&ended.stdout);
    for path in [&state, "/etc/shadow", "/root", "/home"] {
        assert!(said.contains(&format!("LOOK {path} FileNotFoundError")), "{path}: {said}");
    }
    for path in ["/usr/nosy", "/etc/nosy", "/requirements.txt", "/nosy"] {
        assert!(said.contains(&format!("WRITE {path} refused")), "{path}: {said}");
    }
    assert!(said.contains("PROCESSES True"), "{said}");
    assert!(matches!(&ended.outcome, Outcome::Failed { .. }), "{ended:?}");
}

/// Waits until the environment is being built.
async fn building(link: &mut Link, host: &Host) {
    loop {
        if let ToServer::Progress { event: ProgressEvent::Step(step), .. } = link.next_answer().await
            && step.name == "environment"
            && step.state == StepState::Running
        {
            break;
        }
    }
    let at = host.state().join("notebooks/building");
    until("a virtual environment is begun", || names(&at).iter().any(|at| at.join("python/bin").exists())).await;
}

#[tokio::test]
async fn a_start_is_ended_in_the_middle() {
    let mut peer = Peer::start().await;
    let mut host = Host::started(&peer, NOTEBOOKS).await;
    let (mut link, _) = peer.link().await;
    let stopped = spec(VolumeId::new(), "--no-index\n");
    let id = begin(&mut link, &stopped).await;
    building(&mut link, &host).await;
    let stop = TransactionId::new();
    link.instruct(stop, stop_of(&stopped)).await;
    let mut outcomes = HashMap::new();
    while outcomes.len() < 2 {
        if let ToServer::Result { transaction, outcome } = link.next_answer().await {
            outcomes.insert(transaction, outcome);
            link.acknowledge(transaction).await;
        }
    }
    assert_eq!((&outcomes[&id], &outcomes[&stop]), (&Outcome::Cancelled, &DONE));
    let at = host.state().join("notebooks/building");
    until("nothing half built is left", || names(&at).is_empty()).await;
    assert_gone(&host, stopped.run).await;

    let killed = spec(VolumeId::new(), "--no-index\n");
    let id = begin(&mut link, &killed).await;
    building(&mut link, &host).await;
    host.kill();
    host.start();
    let (mut link, open) = peer.link().await;
    assert_eq!(open, [id]);
    let ended = link.ended(id).await;
    assert!(matches!(ended.outcome, Outcome::Unknown { .. }), "{ended:?}");
    assert!(names(&at).is_empty(), "what was half built is removed before the link is opened");
    assert_gone(&host, killed.run).await;
}

#[tokio::test]
async fn a_host_that_takes_no_notebooks_says_so() {
    let mut peer = Peer::start().await;
    let _host = Host::started(&peer, "").await;
    let mut link = peer.raw_link().await;
    assert!(matches!(link.next().await, ToServer::Hello { notebooks: None, .. }));
    link.welcome(peer.authority.host).await;
    let id = begin(&mut link, &spec(VolumeId::new(), "")).await;
    let ended = link.ended(id).await;
    assert!(matches!(&ended.outcome, Outcome::Failed { cause, .. } if cause.contains("[notebooks]")), "{ended:?}");
}
