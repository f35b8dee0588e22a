//! What comes from another host is not taken on trust: whatever it sends, it harms its own connection alone.

use std::{
    io::{ErrorKind, Read, Write},
    net::TcpStream,
    time::Duration,
};

use crate::{
    Test,
    cluster::Member,
    hosted::{LIMIT, Setting, write_project},
};

pub const TESTS: &[Test] = &[("strangers::whatever_a_peer_says_the_host_goes_on", nonsense)];

const MODULE: &str = "
import { DurableObject } from 'cloudflare:workers';
export class Obj extends DurableObject { hello() { return 'hello'; } }
export default { fetch: async (request, env) => new Response(await env.Obj.getByName('a').hello()) };
";

fn frame(body: &[u8]) -> Vec<u8> {
    let mut bytes = u32::try_from(body.len()).expect("is short").to_le_bytes().to_vec();
    bytes.extend(body);
    bytes
}

/// Version 2 of the protocol, and the deployment.
fn hello(name: &str) -> Vec<u8> {
    let mut body = vec![0, 2, u8::try_from(name.len()).expect("is short")];
    body.extend(name.as_bytes());
    frame(&body)
}

/// Less than whoever says nothing has: it is for its words that it is shut out.
const PROMPT: Duration = Duration::from_secs(8);

/// Whether the other end hung up on whoever said this.
fn is_shut_out(member: &Member, said: &[u8]) -> bool {
    let mut stream = TcpStream::connect(member.peers).expect("listens");
    stream.set_read_timeout(Some(PROMPT)).expect("is set");
    // It may hang up in the middle.
    drop(stream.write_all(said));
    match stream.read_to_end(&mut Vec::new()) {
        Ok(_) => true,
        Err(error) => error.kind() == ErrorKind::ConnectionReset,
    }
}

fn nonsense() {
    let directory = tempfile::tempdir().expect("a directory");
    write_project(directory.path(), &["Obj"], MODULE);
    let member = Member::start(directory.path(), 0, 1, Setting::default());
    let after_hello = |more: &[u8]| [hello("test"), more.to_vec()].concat();
    let second_hello = after_hello(&hello("test"));
    let too_long = after_hello(&u32::MAX.to_le_bytes());
    let garbled = after_hello(&frame(&[200, 200, 200]));
    // An answer (4) to a call that was never made, from an end that answers nothing.
    let answer = after_hello(&frame(&[4, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0]));
    // One number for two calls: `1`, of an object that is here, by RPC.
    let mut call = vec![1, 1];
    call.extend([0; 16]);
    call.extend([0; 32]);
    call.extend([0, 1, 0, 0]);
    let cases: [(&str, Vec<u8>); 6] = [
        ("no frame", b"GET / HTTP/1.1\r\n\r\n".to_vec()),
        ("another version", frame(&[0, 9, 1, b'a'])),
        ("a call before it says what for", frame(&call)),
        ("two beginnings", second_hello),
        ("a frame without end", too_long),
        ("nonsense", garbled),
    ];
    for (what, said) in cases {
        assert!(is_shut_out(&member, &said), "{what}");
        assert_eq!(member.hosted.get("/"), (200, "hello".to_owned()), "{what}");
    }
    assert!(is_shut_out(&member, &answer), "an answer that nobody asked for");
    // What is of no deployment comes back, and the connection stays.
    let mut stream = TcpStream::connect(member.peers).expect("listens");
    stream.set_read_timeout(Some(LIMIT)).expect("is set");
    stream.write_all(&[hello("nobody's"), frame(&call)].concat()).expect("is sent");
    let mut header = [0; 4];
    stream.read_exact(&mut header).expect("is answered");
    let mut body = vec![0; u32::from_le_bytes(header) as usize];
    stream.read_exact(&mut body).expect("is whole");
    // Misdirected (3), call 1, and the call itself.
    assert_eq!(body[..3], [3, 1, 1]);
    assert_eq!(member.hosted.get("/"), (200, "hello".to_owned()));
}
