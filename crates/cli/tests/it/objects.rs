//! `berth objects` against a real server: deployments, their versions, and their end; and on a host, what is said and what is
//! asked before something is lost. What else hosts do with them is `end2end/tests/deployments.test.js`.

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    os::unix::process::ExitStatusExt,
    path::Path,
    process::Stdio,
    sync::mpsc,
    thread,
};

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::{
    deployment::{Deployment, LIMIT, wait},
    pty::Typed,
    signal, text,
};

/// Counts its calls, and says so.
const TALKER: &str = r#"import { DurableObject } from "cloudflare:workers";
export class Thing extends DurableObject {
  async fetch(): Promise<Response> {
    const calls = ((await this.ctx.storage.get("calls")) ?? 0) + 1;
    await this.ctx.storage.put("calls", calls);
    console.log(`call ${calls} of many`);
    return new Response(`${calls}`);
  }
}
export default { fetch(request: Request, env) { return env.THINGS.getByName("a").fetch(request); } };
"#;

/// More than any of these tests makes.
const LINES: usize = 64;

fn project(folder: &Path, name: &str, code: &str) {
    fs::create_dir_all(folder.join("src")).expect("a folder");
    let config = format!(
        "name = \"{name}\"\nmain = \"src/index.ts\"\n[[durable_objects.bindings]]\nname = \"THINGS\"\nclass_name = \"Thing\"\n\
         [[migrations]]\ntag = \"v1\"\nnew_sqlite_classes = [\"Thing\"]\n"
    );
    fs::write(folder.join("wrangler.toml"), config).expect("the configuration");
    fs::write(folder.join("src/index.ts"), code).expect("the code");
}

pub fn deployments(deployment: &Deployment) {
    let folder = deployment.path("things");
    let at = folder.display().to_string();
    let numbers = |name: &str| -> Vec<u64> {
        let versions = deployment.json(&["objects", "versions", name, "--json"]);
        versions.as_array().expect("versions").iter().filter_map(|version| version["number"].as_u64()).collect()
    };
    project(
        &folder,
        "things",
        "export class Thing {}\nexport default { fetch(): Response { return new Response('1'); } };\n",
    );
    let first = deployment.berth(&["objects", "deploy", &at, "--note", "the first"]);
    assert!(first.status.success(), "{}", text(&first.stderr));
    assert_eq!(text(&first.stdout), format!("http://things.localhost:{}\n", deployment.port()));
    // This host runs no objects.
    assert!(text(&first.stderr).contains("no host runs objects yet"), "{}", text(&first.stderr));
    assert_eq!(standing(deployment, "things"), "waits for a host");
    let same = deployment.json(&["objects", "deploy", &at, "--json"]);
    assert_eq!((&same["is_new"], &same["version"]["number"]), (&false.into(), &1.into()));
    project(
        &folder,
        "things",
        "export class Thing {}\nexport default { fetch(): Response { return new Response('2'); } };\n",
    );
    assert_eq!(deployment.json(&["objects", "deploy", &at, "--json"])["version"]["number"], 2);
    assert_eq!(numbers("things"), [2, 1]);

    let back = deployment.berth(&["objects", "run-version", "things", "1"]);
    assert!(back.status.success(), "{}", text(&back.stderr));
    let listed = deployment.json(&["objects", "list", "--json"]);
    assert_eq!((&listed[0]["name"], &listed[0]["version"]), (&"things".into(), &1.into()));
    let missing = deployment.berth(&["objects", "run-version", "things", "9"]);
    assert_eq!(missing.status.code(), Some(4), "{}", text(&missing.stderr));
    assert_eq!(deployment.json(&["objects", "objects", "things", "--json"]), serde_json::json!([]));
    let nobody = deployment.berth(&["objects", "kv", "things", "Thing", "a"]);
    assert_eq!(nobody.status.code(), Some(4), "{}", text(&nobody.stderr));

    project(&folder, "things", "export class Thing {}\nexport default { fetch() { return a +; } };\n");
    let wrong = deployment.berth(&["objects", "deploy", &at]);
    assert_eq!(wrong.status.code(), Some(2), "{}", text(&wrong.stderr));
    assert!(text(&wrong.stderr).contains("src/index.ts:2:38: "), "{}", text(&wrong.stderr));
    assert_eq!(numbers("things"), [2, 1]);

    let unasked = deployment.berth(&["objects", "delete", "things"]);
    assert_eq!(unasked.status.code(), Some(2), "{}", text(&unasked.stderr));
    let deleted = deployment.berth(&["objects", "delete", "things", "--yes"]);
    assert!(deleted.status.success(), "{}", text(&deleted.stderr));
    assert_eq!(deployment.json(&["objects", "list", "--json"]), serde_json::json!([]));
}

/// The word of the list for how it does, where version 1 is the one that is to run.
fn standing(deployment: &Deployment, name: &str) -> String {
    let listed = deployment.berth(&["objects", "list"]);
    assert!(listed.status.success(), "{}", text(&listed.stderr));
    let listed = text(&listed.stdout);
    let line = listed.lines().find_map(|line| line.strip_prefix(name)).expect("is listed");
    line.split_once(" 1 ").expect("a version").0.trim().to_owned()
}

/// With a host that runs objects: the agent is started anew for it.
pub fn on_a_host(deployment: &mut Deployment) {
    deployment.offer_objects();
    let folder = deployment.path("talker");
    project(&folder, "talker", TALKER);
    wait("a host runs objects", || {
        let deployed = deployment.berth(&["objects", "deploy", &folder.display().to_string()]);
        assert!(deployed.status.success(), "{}", text(&deployed.stderr));
        (!text(&deployed.stderr).contains("no host runs objects yet")).then_some(())
    });
    assert_eq!(wait("it answers", || call(deployment)), "1");
    assert_eq!(standing(deployment, "talker"), "runs");
    a_console_in_lines(deployment);
    a_console_over_a_killed_server(deployment);
    typed_names(deployment);
}

/// What the deployment answers, if it does.
fn call(deployment: &Deployment) -> Option<String> {
    let port = deployment.port();
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    let request = format!("GET / HTTP/1.1\r\nhost: talker.localhost:{port}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    // A body of a length that is not known before comes in pieces, each behind its length.
    let body = if head.contains("chunked") { body.lines().nth(1)? } else { body };
    head.starts_with("HTTP/1.1 200").then(|| body.to_owned())
}

/// `--json`: a line each, of one object; Ctrl+C ends it.
fn a_console_in_lines(deployment: &Deployment) {
    let mut console = deployment
        .command(&["objects", "console", "talker", "Thing", "a", "--json"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("berth objects console");
    let (told, lines) = mpsc::sync_channel(LINES);
    let output = BufReader::new(console.stdout.take().expect("a pipe"));
    let reader = thread::spawn(move || output.lines().try_for_each(|line| told.send(line.expect("text"))));
    let next = || -> Value {
        let line = lines.recv_timeout(LIMIT).expect("a line");
        serde_json::from_str(&line).expect("JSON")
    };
    let kept = next();
    assert_eq!(
        (&kept["text"], &kept["class"], &kept["name"]),
        (&"call 1 of many".into(), &"Thing".into(), &"a".into())
    );
    assert_eq!(call(deployment).as_deref(), Some("2"));
    let live = next();
    assert_eq!(
        (&live["text"], &live["level"], &live["host"]),
        (&"call 2 of many".into(), &"log".into(), &"lab".into())
    );
    signal(&console, Signal::SIGINT);
    assert_eq!(console.wait().expect("its end").signal(), Some(Signal::SIGINT as i32));
    reader.join().expect("no panic").expect("somebody listens");
}

/// At a terminal: live lines, the server gone and back, nothing twice, and Ctrl+C.
fn a_console_over_a_killed_server(deployment: &mut Deployment) {
    let mut console = Typed::controlled(&deployment.command(&["objects", "console", "talker"]));
    console.expect("[Thing a] log: call 2 of many");
    assert_eq!(call(deployment).as_deref(), Some("3"));
    console.expect("call 3 of many");
    deployment.restart_server();
    console.expect("trying again");
    console.expect("connected again");
    assert_eq!(wait("the host is back", || call(deployment)), "4");
    console.expect("call 4 of many");
    let screen = console.screen();
    for number in 1..=4 {
        let line = format!("call {number} of many");
        assert_eq!(screen.matches(&line).count(), 1, "{line} once: {screen}");
    }
    console.keys("\x03");
    assert_eq!(console.end(), None, "ended by its signal");
    assert!(console.is_cooked());
}

/// What is lost is asked for by its name, and nothing else will do.
fn typed_names(deployment: &Deployment) {
    let objects = || deployment.json(&["objects", "objects", "talker", "--json"]);
    let id = objects()[0]["id"].as_str().expect("an id").to_owned();
    let answered = |arguments: &[&str], prompt: &str, typed: &str, code: i32| {
        let mut asked = Typed::begin(deployment.command(arguments));
        asked.expect(prompt);
        asked.enter(typed);
        assert_eq!(asked.end(), Some(code), "{}", asked.screen());
        asked.screen()
    };
    let delete_object = ["objects", "delete-object", "talker", "Thing", "a"];
    let prompt = format!("all that the object holds is lost. Type {} to go on: ", &id[..8]);
    let refused = answered(&delete_object, &prompt, "a", 2);
    assert!(refused.contains("nothing was deleted"), "{refused}");
    assert_eq!(objects()[0]["id"], id.as_str());
    let deleted = answered(&delete_object, &prompt, &id[..8], 0);
    assert!(deleted.contains(&format!("Thing {id} is deleted.")), "{deleted}");
    assert_eq!(objects(), serde_json::json!([]));

    let delete = ["objects", "delete", "talker"];
    let prompt = "are lost. Type talker to go on: ";
    let refused = answered(&delete, prompt, "talk", 2);
    assert!(refused.contains("nothing was deleted"), "{refused}");
    assert_eq!(deployment.json(&["objects", "list", "--json"])[0]["name"], "talker");
    answered(&delete, prompt, "talker", 0);
    assert_eq!(deployment.json(&["objects", "list", "--json"]), serde_json::json!([]));
}
