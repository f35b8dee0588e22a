//! What a deployment does for its clients: requests, bodies, sockets, hibernation, alarms, the examples as users wrote them.

use std::{path::PathBuf, time::Duration};

use objects::host::deployment::IdleTimes;

use crate::{
    Test, chat,
    hosted::{Hosted, LIMIT, Setting, ask, eventually, write_project},
};

pub const TESTS: &[Test] = &[
    ("serving::a_counter_outlives_its_memory_and_the_host", counter),
    ("serving::bodies_stream_both_ways", bodies),
    ("serving::an_error_says_what_and_where", errors),
    ("serving::whoever_asks_an_object_that_falls_is_answered", falling),
    ("serving::the_rate_limiter_limits", rate_limiter),
    ("serving::the_scheduler_runs_what_is_due", scheduler),
    ("serving::the_document_keeps_its_history", document),
    ("serving::sockets_outlive_hibernation_in_order", sockets),
    ("serving::an_automatic_answer_lasts_as_long_as_a_socket", auto_response),
    ("serving::a_socket_whose_client_left_before_its_answer_is_closed", left_early),
    ("serving::private_addresses_are_not_reached", outgoing),
    ("serving::a_redirect_reaches_no_more_than_the_policy", redirects),
    ("serving::an_alarm_that_fails_goes_on_over_a_start", failing_alarm),
    ("serving::what_waits_for_an_object_has_a_limit_in_bytes", queued_bytes),
    ("serving::a_new_version_takes_over_with_the_storage", versions),
];

fn example(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../examples/objects").join(name)
}

fn start(name: &str, setting: Setting) -> (tempfile::TempDir, Hosted) {
    let state = tempfile::tempdir().expect("a directory");
    let hosted = Hosted::start(&example(name), state.path(), setting);
    (state, hosted)
}

fn of_module(classes: &[&str], module: &str, setting: Setting) -> (tempfile::TempDir, Hosted) {
    let directory = tempfile::tempdir().expect("a directory");
    write_project(directory.path(), classes, module);
    let hosted = Hosted::start(directory.path(), &directory.path().join("state"), setting);
    (directory, hosted)
}

fn quick_idle() -> IdleTimes {
    IdleTimes { hibernate: Duration::from_millis(50), evict: Duration::from_millis(100) }
}

fn counter() {
    let (state, hosted) = start("counter", Setting { idle: quick_idle(), ..Setting::default() });
    assert_eq!(hosted.get("/a"), (200, "0\n".to_owned()));
    for value in 1..=3 {
        assert_eq!(hosted.ask("POST", "/a", ""), (200, format!("{value}\n")));
    }
    assert_eq!(hosted.ask("POST", "/b", ""), (200, "1\n".to_owned()));
    eventually("hibernation", || hosted.deployment.objects().is_empty());
    assert_eq!(hosted.get("/a"), (200, "3\n".to_owned()));
    drop(hosted);
    let hosted = Hosted::start(&example("counter"), state.path(), Setting::default());
    assert_eq!(hosted.get("/a"), (200, "3\n".to_owned()));
    assert_eq!(hosted.get("/b"), (200, "1\n".to_owned()));
}

/// What is on its way to an object that ends meanwhile is refused: nobody waits for ever.
fn falling() {
    const CLIENTS: usize = 16;
    const EACH: usize = 40;
    const FRAGILE: &str = r#"
        import { DurableObject } from "cloudflare:workers";
        export class Fragile extends DurableObject {
            async fetch(request) {
                if (request.method === "POST") this.ctx.abort("fell");
                await this.ctx.storage.put("asked", request.url);
                return new Response("stands");
            }
        }
        export default { fetch: (request, env) => env.Fragile.getByName("one").fetch(request) };
    "#;
    let (_directory, hosted) = of_module(&["Fragile"], FRAGILE, Setting::default());
    let address = hosted.address;
    let clients = (0..CLIENTS).map(|client| async move {
        let mut answers = Vec::new();
        for number in 0..EACH {
            let method = if (number + client) % 8 == 0 { "POST" } else { "GET" };
            answers.push(ask(address, method, "/", String::new()).await.0);
        }
        answers
    });
    let answers: Vec<u16> = hosted.run(futures_util::future::join_all(clients)).into_iter().flatten().collect();
    let count = |status: u16| answers.iter().filter(|answer| **answer == status).count();
    assert_eq!(count(200) + count(500), CLIENTS * EACH, "{answers:?}");
    assert!(count(500) >= CLIENTS * EACH / 8, "each that made it fall was told");
    assert_eq!(hosted.get("/"), (200, "stands".to_owned()));
}

fn bodies() {
    let module = r#"
        import { DurableObject } from "cloudflare:workers";
        export class Echo extends DurableObject {
          fetch(request) {
            let count = 0;
            const counted = new TransformStream({ transform(chunk, to) { count += chunk.byteLength; to.enqueue(chunk); } });
            return new Response(request.body.pipeThrough(counted), { headers: { "x-kind": "echo" } });
          }
        }
        export default { fetch: (request, env) => env.Echo.getByName("e").fetch(request) };
    "#;
    let (_kept, hosted) = of_module(&["Echo"], module, Setting::default());
    // Far beyond the window, so that credit has to come back several times on each of the ways.
    for length in [1, 70_000, 3_000_000] {
        let body: String = (0..length).map(|at| char::from(b'a' + u8::try_from(at % 23).unwrap_or(0))).collect();
        let (status, echoed) = hosted.ask("POST", "/", &body);
        assert_eq!(status, 200, "{echoed}");
        assert!(echoed == body, "{} came back of {length}", echoed.len());
    }
}

fn errors() {
    let module = "export default {\n  fetch() {\n    throw new RangeError('no such thing');\n  },\n};\n";
    let (_kept, hosted) = of_module(&[], module, Setting::default());
    let (status, text) = hosted.get("/");
    assert_eq!(status, 500);
    assert!(text.contains("RangeError: no such thing") && text.contains("index.js:3:"), "{text}");
    let (_kept, hosted) = of_module(&[], "throw new TypeError('at load');\nexport default {};\n", Setting::default());
    let (status, text) = hosted.get("/");
    assert!(status == 500 && text.contains("TypeError: at load"), "{text}");
}

fn rate_limiter() {
    let (_state, hosted) = start("rate-limiter", Setting::default());
    let statuses: Vec<u16> = (0..7).map(|_| hosted.get("/").0).collect();
    assert_eq!(statuses[..5], [200; 5]);
    assert!(statuses[5..].contains(&429), "{statuses:?}");
}

fn scheduler() {
    let (_state, hosted) = start("scheduler", Setting { idle: quick_idle(), ..Setting::default() });
    assert_eq!(hosted.ask("POST", "/jobs?in=900", "later").0, 201);
    assert_eq!(hosted.ask("POST", "/jobs?in=30", "sooner").0, 201);
    eventually("both jobs", || hosted.console().len() == 2);
    assert_eq!(hosted.console(), ["job 2: sooner", "job 1: later"]);
    let (_, list) = hosted.get("/jobs");
    assert!(!list.contains("\"done\":null"), "{list}");
}

fn document() {
    let (_state, hosted) = start("document", Setting::default());
    assert_eq!(hosted.ask("PUT", "/d/1", "the first line"), (200, r#"{"version":1}"#.to_owned()));
    assert_eq!(hosted.ask("PUT", "/d/2", "the second"), (200, r#"{"version":2}"#.to_owned()));
    assert_eq!(hosted.ask("PUT", "/d/1", "a better line"), (200, r#"{"version":3}"#.to_owned()));
    assert_eq!(hosted.get("/d"), (200, r#"["a better line","the second"]"#.to_owned()));
    assert_eq!(hosted.get("/d?find=second"), (200, r#"[{"line":2,"text":"the second"}]"#.to_owned()));
    assert_eq!(hosted.ask("POST", "/d/undo", "").0, 200);
    assert_eq!(hosted.get("/d"), (200, r#"["the first line","the second"]"#.to_owned()));
    for _ in 0..2 {
        hosted.ask("POST", "/d/undo", "");
    }
    assert_eq!(hosted.ask("POST", "/d/undo", ""), (409, r#"{"error":"nothing to take back"}"#.to_owned()));
}

fn sockets() {
    let (_state, hosted) = start("chat", Setting { idle: quick_idle(), ..Setting::default() });
    // The room goes out of memory between two messages; its sockets do not.
    let room = (hosted.address, "room");
    hosted.run(chat::talk(room, room, 20, || hosted.deployment.objects().is_empty()));
    let (_, history) = hosted.get("/room/history");
    assert!(history.contains("2-19.") && !history.contains("pong"), "{history}");
}

fn auto_response() {
    const PINGED: &str = r#"
        import { DurableObject } from "cloudflare:workers";
        export class Pinged extends DurableObject {
            fetch(request) {
                if (request.headers.get("upgrade") === "websocket") {
                    const [client, server] = Object.values(new WebSocketPair());
                    this.ctx.acceptWebSocket(server);
                    return new Response(null, { status: 101, webSocket: client });
                }
                const [what, bytes] = new URL(request.url).pathname.slice(1).split("/");
                if (what === "set") {
                    const pair = new WebSocketRequestResponsePair("ping", "x".repeat(Number(bytes)));
                    try { this.ctx.setWebSocketAutoResponse(pair); } catch (error) { return new Response(`${error}`); }
                }
                return new Response(this.ctx.getWebSocketAutoResponse()?.request ?? "none");
            }
            webSocketClose(socket, code) { console.log(`closed ${code}`); }
        }
        export default { fetch: (request, env) => env.Pinged.getByName("one").fetch(request) };
    "#;
    let (_directory, hosted) = of_module(&["Pinged"], PINGED, Setting { idle: quick_idle(), ..Setting::default() });
    let asleep = || eventually("hibernation", || hosted.deployment.objects().is_empty());
    let refused = "RangeError: Response cannot be larger than 2048 bytes. A response of size 2049 was provided.";
    assert_eq!(hosted.get("/set/2049"), (200, refused.to_owned()));
    assert_eq!(hosted.get("/get"), (200, "none".to_owned()));
    assert_eq!(hosted.get("/set/2048"), (200, "ping".to_owned()));
    asleep();
    assert_eq!(hosted.get("/get"), (200, "none".to_owned()), "there was no socket to answer on");
    let socket = hosted.run(tokio_tungstenite::connect_async(format!("ws://{}", hosted.address))).expect("is let in");
    assert_eq!(hosted.get("/set/4"), (200, "ping".to_owned()));
    asleep();
    assert_eq!(hosted.get("/get"), (200, "ping".to_owned()));
    asleep();
    drop(socket);
    eventually("the socket is gone", || hosted.console() == ["closed 1006"]);
    asleep();
    assert_eq!(hosted.get("/get"), (200, "none".to_owned()), "it went with the last one");
}

/// The client has gone when the object answers: its socket does not stay with the object.
fn left_early() {
    const ROOM: &str = r#"
        import { DurableObject } from "cloudflare:workers";
        export class Room extends DurableObject {
            asked = 0;
            left = 0;
            opened = new Promise((open) => { this.open = open; });
            async fetch(request) {
                if (request.headers.get("upgrade") === "websocket") {
                    this.asked += 1;
                    await this.opened;
                    const [client, server] = Object.values(new WebSocketPair());
                    this.ctx.acceptWebSocket(server);
                    this.asked -= 1;
                    return new Response(null, { status: 101, webSocket: client });
                }
                if (request.method === "POST") this.open();
                return new Response(`${this.asked} ask, ${this.ctx.getWebSockets().length} open, ${this.left} left`);
            }
            webSocketClose(socket, code) { if (code === 1006) this.left += 1; }
        }
        export default { fetch: (request, env) => env.Room.getByName("one").fetch(request) };
    "#;
    let (_directory, hosted) = of_module(&["Room"], ROOM, Setting::default());
    let mut stream = std::net::TcpStream::connect(hosted.address).expect("is there");
    let request = "GET /ws HTTP/1.1\r\nhost: room\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
        sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    std::io::Write::write_all(&mut stream, request.as_bytes()).expect("is sent");
    eventually("the object is asked", || hosted.get("/").1 == "1 ask, 0 open, 0 left");
    drop(stream);
    // Whether it is heard before or after the answer, it is heard.
    hosted.ask("POST", "/open", "");
    eventually("the socket is closed", || hosted.get("/").1 == "0 ask, 0 open, 1 left");
}

fn outgoing() {
    let module = |url: &str| {
        format!(
            "export default {{ async fetch() {{ try {{ return new Response('reached ' + await (await fetch('{url}')).text()); }}\
                 catch (error) {{ return new Response(error.message, {{ status: 502 }}); }} }} }};"
        )
    };
    // Something that would answer: a host's own front.
    let (_kept, target) = of_module(&[], "export default { fetch: () => new Response('inside') };", Setting::default());
    let port = target.address.port();
    for url in [
        format!("http://127.0.0.1:{port}/"),
        format!("http://localhost:{port}/"),
        format!("http://[::ffff:7f00:1]:{port}/"),
    ] {
        let (_kept, hosted) = of_module(&[], &module(&url), Setting::default());
        let (status, text) = hosted.get("/");
        assert!(status == 502 && text.contains("private address"), "{url}: {status} {text}");
    }
    let policy = objects::host::outgoing::Policy { allowed: ["127.0.0.1".to_owned()].into() };
    let setting = Setting { policy, ..Setting::default() };
    let (_kept, hosted) = of_module(&[], &module(&format!("http://127.0.0.1:{port}/")), setting);
    assert_eq!(hosted.get("/"), (200, "reached inside".to_owned()));
}

fn versions() {
    let module = |version: u32| {
        format!(
            "import {{ DurableObject }} from 'cloudflare:workers';\n\
             export class C extends DurableObject {{ async fetch() {{ const n = ((await this.ctx.storage.get('n')) ?? 0) + 1;\n\
             await this.ctx.storage.put('n', n); return new Response('v{version} ' + n); }} }}\n\
             export default {{ fetch: (request, env) => env.C.getByName('c').fetch(request) }};\n"
        )
    };
    let directory = tempfile::tempdir().expect("a directory");
    write_project(directory.path(), &["C"], &module(1));
    let hosted = Hosted::start(directory.path(), &directory.path().join("state"), Setting::default());
    assert_eq!(hosted.get("/"), (200, "v1 1".to_owned()));
    let engines = hosted.deployment.engines();
    write_project(directory.path(), &["C"], &module(2));
    let project = objects::project::Project::read(directory.path()).expect("is read");
    let version = project.into_version(2, &objects::project::Secret::of([7; 32]), Default::default());
    hosted.run(async { hosted.host.deploy("test", version, Default::default()).expect("is deployed") });
    assert_eq!(hosted.get("/"), (200, "v2 2".to_owned()));
    eventually("the old engine's end", || hosted.deployment.engines().iter().all(|pid| !engines.contains(pid)));
}

/// Answers requests with redirects: `/to/URL` to that URL, and all else with what was asked.
fn redirecting() -> u16 {
    use std::io::{BufRead, BufReader, Write};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { continue };
            let mut lines = BufReader::new(stream.try_clone().expect("is cloned")).lines();
            let Some(Ok(first)) = lines.next() else { continue };
            let secret = lines.by_ref().map_while(Result::ok).take_while(|line| !line.is_empty());
            let secret = secret.filter(|line| line.to_ascii_lowercase().starts_with("authorization:")).count();
            let path = first.split(' ').nth(1).unwrap_or_default().to_owned();
            let answer = match path.strip_prefix("/to/") {
                Some(url) => {
                    format!("HTTP/1.1 302 Found\r\nlocation: {url}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
                }
                None => {
                    let text = format!("{path} {secret}");
                    format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{text}", text.len())
                }
            };
            // Whoever asked may have gone.
            drop(stream.write_all(answer.as_bytes()));
        }
    });
    port
}

fn redirects() {
    let module = "export default { async fetch(request) {
        const { url, redirect } = await request.json();
        try {
            const response = await fetch(url, { redirect, headers: { authorization: 'secret' } });
            return new Response([response.status, response.redirected, await response.text()].join(' '));
        } catch (error) { return new Response(error.message, { status: 502 }); }
    } };";
    let policy = objects::host::outgoing::Policy { allowed: ["127.0.0.1".to_owned()].into() };
    let (_kept, hosted) = of_module(&[], module, Setting { policy, ..Setting::default() });
    let port = redirecting();
    let here = format!("http://127.0.0.1:{port}");
    let go =
        |url: &str, redirect: &str| hosted.ask("POST", "/", &format!(r#"{{"url":"{url}","redirect":"{redirect}"}}"#));
    assert_eq!(go(&format!("{here}/a"), "follow"), (200, "200 false /a 1".to_owned()));
    assert_eq!(go(&format!("{here}/to/{here}/b"), "follow"), (200, "200 true /b 1".to_owned()));
    assert_eq!(go(&format!("{here}/to/{here}/to/{here}/to/{here}/c"), "follow"), (200, "200 true /c 1".to_owned()));
    // Another origin, which is allowed: without what was meant for the first.
    let other = format!("http://127.0.0.1:{}", redirecting());
    assert_eq!(go(&format!("{here}/to/{other}/d"), "follow"), (200, "200 true /d 0".to_owned()));
    // However far along: what may not be reached is not reached by a redirect either.
    for forbidden in [
        format!("http://localhost:{port}/x"),
        format!("http://[::1]:{port}/x"),
        format!("http://[::ffff:127.0.0.1]:{port}/x"),
        format!("http://127.1.1.1:{port}/x"),
        "http://169.254.169.254/latest/meta-data/".to_owned(),
        "http://10.0.0.1/".to_owned(),
        "file:///etc/passwd".to_owned(),
    ] {
        for way in [format!("{here}/to/{forbidden}"), format!("{here}/to/{here}/to/{forbidden}")] {
            let (status, text) = go(&way, "follow");
            assert_eq!(status, 502, "{way}: {text}");
            assert!(text.contains("private address") || text.contains("no scheme"), "{way}: {text}");
        }
    }
    let (status, text) = go(&format!("{here}/to/{here}/b"), "error");
    assert!(status == 502 && text.contains("redirect"), "{text}");
    let (_, text) = go(&format!("{here}/to/{here}/b"), "manual");
    assert!(text.starts_with("302 false"), "{text}");
}

const FAILING: &str = r#"
    import { DurableObject } from "cloudflare:workers";
    export class Late extends DurableObject {
        async fetch() { await this.ctx.storage.setAlarm(Date.now()); return new Response("set"); }
        alarm(info) { console.log(`retry ${info.retryCount}`); throw new Error("not yet"); }
    }
    export default { fetch: (request, env) => env.Late.getByName("one").fetch(request) };
"#;

fn failing_alarm() {
    let (kept, hosted) = of_module(&["Late"], FAILING, Setting::default());
    assert_eq!(hosted.get("/"), (200, "set".to_owned()));
    eventually("it failed twice", || hosted.console().iter().any(|line| line == "retry 1"));
    // Which is written down a moment later.
    let written = kept.path().join("state/alarm-retries");
    let retry_2 = || std::fs::read(&written).is_ok_and(|bytes| bytes.get(8 + 64..8 + 68) == Some(&2_u32.to_le_bytes()));
    eventually("it is written down", retry_2);
    drop(hosted);
    let hosted = Hosted::start(kept.path(), &kept.path().join("state"), Setting::default());
    eventually("it is tried again", || !hosted.console().is_empty());
    assert_eq!(hosted.console()[0], "retry 2", "where it was");
}

fn queued_bytes() {
    let module = r#"
        import { DurableObject } from "cloudflare:workers";
        let open;
        const gate = new Promise((resolve) => { open = resolve; });
        let here = 0;
        export class Slow extends DurableObject {
            async take(text) { here += 1; await gate; return text.length; }
            here() { return here; }
            open() { open(); }
        }
        export default { async fetch(request, env) {
            const stub = env.Slow.getByName("one"), what = new URL(request.url).pathname.slice(1);
            if (what !== "take") return Response.json((await stub[what]()) ?? null);
            try { return new Response(await stub.take("x".repeat(300_000))); }
            catch (error) { return Response.json({ message: error.message, overloaded: error.overloaded }, { status: 503 }); }
        } };
    "#;
    let limits = objects::wire::Limits { queue_bytes: 1 << 20, ..Default::default() };
    // The caller is not in the object's engine: each call comes by the host.
    let directory = tempfile::tempdir().expect("a directory");
    write_project(directory.path(), &["Slow"], module);
    let members =
        crate::cluster::start(directory.path(), 2, || Setting { limits: limits.clone(), ..Setting::default() });
    assert_eq!(members[0].hosted.get("/here"), (200, "0".to_owned()));
    let (told, mut answers) = tokio::sync::mpsc::channel(10);
    let is_here = !members[0].hosted.deployment.objects().is_empty();
    let caller = &members[usize::from(is_here)].hosted;
    for _ in 0..6 {
        let (told, address) = (told.clone(), caller.address);
        caller.spawn(async move {
            told.send(ask(address, "GET", "/take", String::new()).await).await.expect("is waited for");
        });
    }
    let (refused, fine): (Vec<_>, Vec<_>) = caller.run(async {
        let mut all = Vec::new();
        while all.len() < 6 {
            if all.len() == 3 {
                assert_eq!(ask(caller.address, "GET", "/open", String::new()).await.0, 200);
            }
            all.push(tokio::time::timeout(LIMIT, answers.recv()).await.expect("in time").expect("one more"));
        }
        all.into_iter().partition(|(status, _)| *status == 503)
    });
    assert_eq!((refused.len(), fine.len()), (3, 3), "{refused:?} {fine:?}");
    assert!(refused.iter().all(|(_, text)| text.contains(r#""overloaded":true"#)), "{refused:?}");
    assert!(fine.iter().all(|answer| *answer == (200, "300000".to_owned())), "{fine:?}");
}
