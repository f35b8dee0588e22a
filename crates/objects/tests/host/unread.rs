//! Bodies that nobody reads: no connection is held for them.

use std::{
    io::{ErrorKind, Read, Write},
    net::{Ipv4Addr, TcpListener, TcpStream},
    sync::mpsc,
    thread,
};

use objects::host::outgoing::Policy;

use crate::{
    Test,
    hosted::{Hosted, LIMIT, Setting, eventually, write_project},
};

pub const TESTS: &[Test] = &[
    ("unread::a_client_whose_request_nobody_reads_is_let_go", request),
    ("unread::an_answer_that_comes_when_its_client_has_left_is_cut", left),
    ("unread::a_server_whose_answer_nobody_reads_is_let_go", answer),
];

const DEAF: &str = r#"
    import { DurableObject } from "cloudflare:workers";
    const answer = async ({ url }) => {
        const asked = new URL(url).search.slice(1);
        return new Response(asked ? `status ${(await fetch(asked)).status}` : "ignored");
    };
    const endless = () => new ReadableStream({
        pull(controller) { controller.enqueue(new Uint8Array(1000)); },
        cancel() { console.log("cut"); },
    });
    let go;
    const late = (request) => {
        request.signal.addEventListener("abort", () => console.log("left"));
        return new Promise((resolve) => { go = () => resolve(new Response(endless())); console.log("asked"); });
    };
    export class Deaf extends DurableObject { fetch(request) { return answer(request); } }
    export default {
        fetch(request, env) {
            switch (new URL(request.url).pathname) {
                case "/entry": return answer(request);
                case "/late": return late(request);
                case "/go": go(); return new Response("gone");
                default: return env.Deaf.getByName("one").fetch(request);
            }
        },
    };
"#;

fn deaf() -> (tempfile::TempDir, Hosted) {
    let directory = tempfile::tempdir().expect("a directory");
    write_project(directory.path(), &["Deaf"], DEAF);
    let policy = Policy { allowed: ["127.0.0.1".to_owned()].into() };
    let setting = Setting { policy, ..Setting::default() };
    let hosted = Hosted::start(directory.path(), &directory.path().join("state"), setting);
    (directory, hosted)
}

/// All that comes until the other end closes, which it must.
fn until_closed(stream: &mut TcpStream) -> String {
    stream.set_read_timeout(Some(LIMIT)).expect("is set");
    let mut all = Vec::new();
    if let Err(error) = stream.read_to_end(&mut all) {
        // What was sent and not read makes the end an abrupt one.
        assert_eq!(error.kind(), ErrorKind::ConnectionReset, "the connection is held: {error}");
    }
    String::from_utf8_lossy(&all).into_owned()
}

fn request() {
    let (_kept, hosted) = deaf();
    for path in ["/entry", "/object"] {
        let mut stream = TcpStream::connect(hosted.address).expect("listens");
        let head = format!("POST {path} HTTP/1.1\r\nhost: a\r\ncontent-length: 10000000\r\n\r\n");
        stream.write_all(head.as_bytes()).expect("is sent");
        stream.write_all(&[7; 300_000]).expect("is sent");
        let answer = until_closed(&mut stream);
        assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("ignored"), "{path}: {answer}");
    }
}

fn left() {
    let (_kept, hosted) = deaf();
    let mut stream = TcpStream::connect(hosted.address).expect("listens");
    stream.write_all(b"GET /late HTTP/1.1\r\nhost: a\r\n\r\n").expect("is sent");
    eventually("it is asked", || hosted.console() == ["asked"]);
    drop(stream);
    eventually("it hears of it", || hosted.console() == ["asked", "left"]);
    assert_eq!(hosted.get("/go"), (200, "gone".to_owned()));
    eventually("the body is cut", || hosted.console() == ["asked", "left", "cut"]);
}

fn answer() {
    let (_kept, hosted) = deaf();
    for path in ["/entry", "/object"] {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let (closed, heard) = mpsc::sync_channel(1);
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("is asked");
            // Who answers before anything is asked is not understood.
            let mut begins = [0; 4];
            stream.read_exact(&mut begins).expect("is read");
            assert_eq!(&begins, b"GET ");
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 10000000\r\n\r\nbegins").expect("is sent");
            // And then nothing for long.
            closed.send(until_closed(&mut stream)).expect("is waited for");
        });
        let asked = hosted.get(&format!("{path}?http://127.0.0.1:{port}/"));
        assert_eq!(asked, (200, "status 200".to_owned()), "{path}");
        heard.recv_timeout(LIMIT).expect("the connection ends");
        server.join().expect("ends");
    }
}
