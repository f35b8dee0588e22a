//! A host with one deployment, in this process or served on a port.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use objects::{
    host::{
        Host, HostOptions, Program,
        child::COMMAND,
        deployment::{ConsoleLine, Deployment, IdleTimes},
        elsewhere::Elsewhere,
        http,
        log::LogOptions,
        outgoing::Policy,
        system_clock_ms,
    },
    project::{Project, Secret},
    wire::Limits,
};
use tokio::{net::TcpListener, runtime::Runtime};

pub const LIMIT: Duration = Duration::from_secs(60);

/// A served deployment; ends when dropped.
pub struct Hosted {
    pub address: SocketAddr,
    pub host: Arc<Host>,
    pub deployment: Arc<Deployment>,
    lines: Arc<Mutex<Vec<ConsoleLine>>>,
    runtime: Runtime,
}

#[derive(Default)]
pub struct Setting {
    pub limits: Limits,
    pub idle: IdleTimes,
    pub policy: Policy,
    pub elsewhere: Option<Elsewhere>,
    pub clock: Clock,
}

/// The system's clock, which a test may put forward.
#[derive(Clone, Default)]
pub struct Clock {
    ahead_ms: Arc<AtomicI64>,
    looks: Arc<AtomicU64>,
}

impl Clock {
    pub fn put_forward(&self, ms: i64) {
        self.ahead_ms.fetch_add(ms, Ordering::SeqCst);
    }

    /// How often the host has looked at it.
    pub fn looks(&self) -> u64 {
        self.looks.load(Ordering::SeqCst)
    }

    fn now_ms(&self) -> i64 {
        self.looks.fetch_add(1, Ordering::SeqCst);
        system_clock_ms() + self.ahead_ms.load(Ordering::SeqCst)
    }
}

fn locked<T>(lines: &Mutex<T>) -> MutexGuard<'_, T> {
    lines.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A project of one module whose classes are bound under their own names.
pub fn write_project(directory: &Path, classes: &[&str], module: &str) {
    let mut config = "name = \"test\"\nmain = \"index.js\"\n".to_owned();
    for class in classes {
        config.push_str(&format!("[[durable_objects.bindings]]\nname = \"{class}\"\nclass_name = \"{class}\"\n"));
    }
    fs::write(directory.join("wrangler.toml"), config).expect("is written");
    fs::write(directory.join("index.js"), module).expect("is written");
}

impl Hosted {
    pub fn start(directory: &Path, state: &Path, setting: Setting) -> Self {
        let runtime = Runtime::new().expect("a runtime");
        let lines = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&lines);
        let entered = runtime.enter();
        let host = Arc::new(
            Host::open(HostOptions {
                log: LogOptions { segment_bytes: 4 << 20, ..LogOptions::default() },
                idle: setting.idle,
                sockets: 100,
                console: Box::new(move |line| locked(&kept).push(line.clone())),
                elsewhere: setting.elsewhere,
                clock: Box::new(move || setting.clock.now_ms()),
                ..HostOptions::alone(state.to_owned(), Program::this(COMMAND, 4 << 30).expect("this program"))
            })
            .expect("the host opens"),
        );
        let project = Project::read(directory).expect("the project is read");
        let version = project.into_version(1, &Secret::of([7; 32]), setting.limits);
        let deployment = host.deploy("test", version, setting.policy).expect("is deployed");
        drop(entered);
        let listener = runtime.block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))).expect("a port");
        let address = listener.local_addr().expect("an address");
        let served = Arc::clone(&deployment);
        runtime.spawn(http::serve(listener, 1000, move |_| Some(Arc::clone(&served))));
        Hosted { address, host, deployment, lines, runtime }
    }

    pub fn spawn(&self, future: impl Future<Output = ()> + Send + 'static) {
        self.runtime.spawn(future);
    }

    pub fn run<F: Future>(&self, future: F) -> F::Output {
        self.runtime.block_on(future)
    }

    /// Status and body of the answer.
    pub fn ask(&self, method: &str, path: &str, body: &str) -> (u16, String) {
        self.run(ask(self.address, method, path, body.to_owned()))
    }

    pub fn get(&self, path: &str) -> (u16, String) {
        self.ask("GET", path, "")
    }

    pub fn console(&self) -> Vec<String> {
        locked(&self.lines).iter().map(|line| line.text.clone()).collect()
    }
}

pub async fn ask(address: SocketAddr, method: &str, path: &str, body: String) -> (u16, String) {
    let asked = tokio::time::timeout(LIMIT, async {
        let client = reqwest::Client::builder().no_proxy().pool_max_idle_per_host(0).build().expect("a client");
        let method = reqwest::Method::from_bytes(method.as_bytes()).expect("a method");
        let request = client.request(method, format!("http://{address}{path}")).body(body);
        let response = request.send().await.expect("is answered");
        let status = response.status().as_u16();
        (status, response.text().await.unwrap_or_else(|error| format!("cut: {error}")))
    });
    asked.await.unwrap_or_else(|_late| panic!("{method} {path} was not answered in time"))
}

/// Waits until it holds; what it waits for is looked at again and again.
pub fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < LIMIT, "never came: {what}");
        std::thread::yield_now();
    }
}
