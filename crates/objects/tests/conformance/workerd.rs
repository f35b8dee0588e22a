//! Runs the programs on npm `workerd`: one process, a worker for each program, and one that passes requests on by the first part of
//! their path.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use crate::programs::{self, Program};

/// How long a program may take. Those that wait for alarms take seconds.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);

/// How many programs run at a time.
const LANES: usize = 16;

/// What `workerd` is told to be compatible with.
pub(crate) const COMPATIBILITY_DATE: &str = "2026-11-01";

pub(crate) fn find() -> Option<PathBuf> {
    if let Some(path) = std::env::var_os("BERTH_WORKERD") {
        return Some(PathBuf::from(path));
    }
    let home = std::env::var_os("HOME")?;
    let path = Path::new(&home).join(".cache/berth/workerd/node_modules/.bin/workerd");
    path.is_file().then_some(path)
}

/// The transcript of each program by its name.
pub(crate) fn run(workerd: &Path, all: &[Program]) -> BTreeMap<String, String> {
    let folder = tempfile::tempdir().expect("a folder for the configuration");
    fs::create_dir(folder.path().join("disk")).expect("a folder for storage");
    let port = free_port();
    fs::write(folder.path().join("config.capnp"), configuration(folder.path(), port, all)).expect("the configuration");
    let mut server = Server::start(workerd, folder.path());
    server.wait_until_ready(port);
    let answers = std::sync::Mutex::new(BTreeMap::new());
    let next = std::sync::atomic::AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..LANES {
            scope.spawn(|| {
                while let Some((place, program)) = {
                    let place = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                    all.get(place).map(|program| (place, program))
                } {
                    let answer = get(port, &format!("/c{place}/run"));
                    answers.lock().expect("no lane panicked").insert(program.name.clone(), answer);
                }
            });
        }
    });
    answers.into_inner().expect("no lane panicked")
}

struct Server(Child);

impl Server {
    fn start(workerd: &Path, folder: &Path) -> Self {
        let mut command = Command::new(workerd);
        command
            .arg("serve")
            .arg("config.capnp")
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        Self(command.spawn().expect("workerd starts"))
    }

    /// Ready when it takes connections; what it complains of is shown if it ends instead.
    fn wait_until_ready(&mut self, port: u16) {
        let stderr = self.0.stderr.take().expect("stderr is piped");
        let (sender, complaints) = mpsc::sync_channel(1_000);
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                if sender.try_send(line).is_err() {
                    continue;
                }
            }
        });
        while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
            if let Some(status) = self.0.try_wait().expect("its state can be asked") {
                let text: Vec<String> = complaints.iter().collect();
                panic!("workerd ended with {status}:\n{}", text.join("\n"));
            }
            std::thread::yield_now();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Err(error) = self.0.kill().and_then(|()| self.0.wait().map(drop)) {
            eprintln!("workerd could not be stopped: {error}");
        }
    }
}

fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    listener.local_addr().expect("its address").port()
}

fn get(port: u16, path: &str) -> String {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect("workerd takes connections");
    stream.set_read_timeout(Some(ANSWER_TIMEOUT)).expect("a timeout");
    write!(stream, "GET {path} HTTP/1.0\r\nHost: test\r\n\r\n").expect("the request is sent");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("the answer comes in time");
    let answer = String::from_utf8(answer).expect("the answer is text");
    let (_, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
    body.to_owned()
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n"))
}

const ROUTER: &str = "export default { fetch(request, env) {
  const url = new URL(request.url);
  const [, name, ...rest] = url.pathname.split('/');
  url.pathname = '/' + rest.join('/');
  return env[name].fetch(url, request);
} };";

fn configuration(folder: &Path, port: u16, all: &[Program]) -> String {
    let mut services = String::new();
    let mut workers = String::new();
    let mut routes = String::new();
    let harness = fs::read_to_string(programs::folder().join("harness.js")).expect("the harness");
    for (place, program) in all.iter().enumerate() {
        let name = format!("c{place}");
        writeln!(services, "    (name = \"{name}\", worker = .{name}),").expect("text grows");
        write!(routes, "(name = \"{name}\", service = \"{name}\"), ").expect("text grows");
        writeln!(workers, "const {name} :Workerd.Worker = ({});", worker(folder, &name, &harness, program))
            .expect("text grows");
    }
    format!(
        "using Workerd = import \"/workerd/workerd.capnp\";\nconst config :Workerd.Config = (\n  services = [\n{services}    \
         (name = \"disk\", disk = (path = \"disk\", writable = true)),\n    (name = \"router\", worker = .router),\n  ],\n  \
         sockets = [(name = \"http\", address = \"127.0.0.1:{port}\", http = (), service = \"router\")],\n);\n\
         const router :Workerd.Worker = (modules = [(name = \"router.js\", esModule = {})], compatibilityDate = \"{COMPATIBILITY_DATE}\", \
         bindings = [{routes}]);\n{workers}",
        quoted(ROUTER)
    )
}

fn worker(folder: &Path, name: &str, harness: &str, program: &Program) -> String {
    let mut modules = format!(
        "(name = \"main.js\", esModule = {}), (name = \"program.js\", esModule = {})",
        quoted(harness),
        quoted(&program.text)
    );
    for (file, path) in &program.files {
        let copy = format!("{name}-{file}");
        fs::copy(path, folder.join(&copy)).expect("a module is copied");
        let kind = match path.extension().and_then(|kind| kind.to_str()) {
            Some("js" | "mjs") => "esModule",
            Some("json") => "json",
            Some("txt") => "text",
            Some(_) | None => "data",
        };
        write!(modules, ", (name = \"{file}\", {kind} = embed \"{copy}\")").expect("text grows");
    }
    let mut bindings =
        String::from("(name = \"TEXT\", text = \"a text\"), (name = \"JSON\", json = \"{\\\"a\\\": [1, 2]}\"), ");
    let mut namespaces = String::new();
    for class in program.classes("DurableObject") {
        write!(bindings, "(name = \"{class}\", durableObjectNamespace = \"{class}\"), ").expect("text grows");
        write!(namespaces, "(className = \"{class}\", uniqueKey = \"{name}-{class}\", enableSql = true), ")
            .expect("text grows");
    }
    for entry in program.classes("WorkerEntrypoint") {
        write!(bindings, "(name = \"{entry}\", service = (name = \"{name}\", entrypoint = \"{entry}\")), ")
            .expect("text grows");
    }
    let storage = if namespaces.is_empty() {
        String::new()
    } else {
        format!("durableObjectNamespaces = [{namespaces}], durableObjectStorage = (localDisk = \"disk\"), ")
    };
    format!("modules = [{modules}], compatibilityDate = \"{COMPATIBILITY_DATE}\", {storage}bindings = [{bindings}]")
}
