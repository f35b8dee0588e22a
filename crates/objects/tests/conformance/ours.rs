//! Runs the programs on our engine, in processes of their own behind the host half: a deployment for each program.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::BodyExt as _;
use objects::host::deployment::{BodyIn, Deployment, NamespaceInfo, RequestIn, Version};
use objects::host::outgoing::Policy;
use objects::host::{Host, HostOptions, Program as Engine, child};
use objects::wire::{Headers, Limits, Module, ModuleKind, Service};
use tokio::sync::Semaphore;

use crate::programs::{self, Program};

/// How long a program may take. Those that wait for hibernation take a dozen seconds.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);

/// How many programs run at a time, each with a process.
const LANES: usize = 8;

const ENGINE_MEMORY_BYTES: u64 = 1 << 30;

/// The transcript of each program by its name.
pub(crate) fn run(all: &[&Program]) -> BTreeMap<String, String> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    runtime.block_on(run_all(all))
}

async fn run_all(all: &[&Program]) -> BTreeMap<String, String> {
    let folder = tempfile::tempdir().expect("a folder for storage");
    let program = Engine::this(child::COMMAND, ENGINE_MEMORY_BYTES).expect("this program");
    let options = HostOptions::alone(folder.path().to_owned(), program);
    let host = Host::open(options).expect("the host opens");
    let harness = std::fs::read(programs::folder().join("harness.js")).expect("the harness");
    let lanes = Arc::new(Semaphore::new(LANES));
    let mut running = tokio::task::JoinSet::new();
    for (place, program) in all.iter().enumerate() {
        let deployment = host
            .deploy(&format!("c{place}"), version(place, &harness, program), Policy::default())
            .expect("it is deployed");
        let (name, lanes) = (program.name.clone(), Arc::clone(&lanes));
        running.spawn(async move {
            let _lane = lanes.acquire().await.expect("the lanes stay open");
            let transcript = tokio::time::timeout(ANSWER_TIMEOUT, ask(&deployment)).await;
            deployment.stop();
            (name, transcript.unwrap_or_else(|_| String::from("(no answer in time)\n")))
        });
    }
    let mut transcripts = BTreeMap::new();
    while let Some(done) = running.join_next().await {
        let (name, transcript) = done.expect("no program panics the host");
        transcripts.insert(name, transcript);
    }
    transcripts
}

async fn ask(deployment: &Arc<Deployment>) -> String {
    let mut headers = Headers::default();
    headers.push("host", "test");
    let request =
        RequestIn { method: String::from("GET"), url: String::from("http://test/run"), headers, body: BodyIn::None };
    let fetched = match deployment.fetch(request).await {
        Ok(fetched) => fetched,
        Err(problem) => return format!("(failed: {}: {})\n", problem.name, problem.message),
    };
    match fetched.body.collect().await {
        Ok(body) => String::from_utf8_lossy(&body.to_bytes()).into_owned(),
        Err(problem) => format!("(broke off: {})\n", problem.message),
    }
}

fn version(place: usize, harness: &[u8], program: &Program) -> Version {
    let module = |name: &str, kind, body: &[u8]| Module { name: name.to_owned(), kind, body: body.to_vec() };
    let mut modules = vec![
        module("main.js", ModuleKind::Esm, harness),
        module("program.js", ModuleKind::Esm, program.text.as_bytes()),
    ];
    for (name, path) in &program.files {
        let kind = match path.extension().and_then(|kind| kind.to_str()) {
            Some("js" | "mjs") => ModuleKind::Esm,
            Some("json") => ModuleKind::Json,
            Some("txt") => ModuleKind::Text,
            Some(_) | None => ModuleKind::Data,
        };
        modules.push(module(name, kind, &std::fs::read(path).expect("a module is read")));
    }
    let namespaces = program.classes("DurableObject").into_iter().enumerate().map(|(number, class)| {
        let mut uid = [0; 16];
        uid[..8].copy_from_slice(&(place as u64).to_be_bytes());
        uid[8..].copy_from_slice(&(number as u64).to_be_bytes());
        let mut key = [7; 32];
        key[..16].copy_from_slice(&uid);
        NamespaceInfo { uid, binding: class.clone(), class, key }
    });
    let entrypoints = program.classes("WorkerEntrypoint").into_iter();
    let services = entrypoints.map(|entrypoint| Service { binding: entrypoint.clone(), entrypoint });
    Version {
        number: 1,
        namespaces: namespaces.collect(),
        services: services.collect(),
        modules,
        main: String::from("main.js"),
        vars: vec![
            (String::from("TEXT"), String::from("\"a text\"")),
            (String::from("JSON"), String::from("{\"a\": [1, 2]}")),
        ],
        limits: Limits::default(),
    }
}
