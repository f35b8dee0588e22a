//! Proxies in front of the object port.

use tokio::net::TcpSocket;

use super::fleet::{Fleet, ask};
use crate::peer::{Peer, within};

/// Tells what it knows of who asks.
const TELLER: &str = r#"import { DurableObject } from "cloudflare:workers";
export class Counter extends DurableObject {}
export default {
  fetch: ({ url, headers }) =>
    new Response([url, ...["cf-connecting-ip", "x-forwarded-for", "x-forwarded-proto"].map((name) => headers.get(name))].join(" ")),
};
"#;

#[tokio::test]
async fn a_proxy_that_is_trusted_says_for_whom_it_asks() {
    let mut fleet = Fleet::with(Peer::start().await, 1, "trusted_proxies = [\"127.0.0.8/29\"]").await;
    fleet.plan_counters("counters", TELLER);
    fleet.tell().await;
    let member = &fleet.members[0];
    fleet.answers(member, "GET", |status, _| status == 200).await;
    let check = async |from: [u8; 4], headers: &str, expected: &str| {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.bind((from, 0).into()).expect("an address of this computer");
        let stream = socket.connect(member.requests).await.expect("connects");
        let asked = ask(stream, "GET", "counters", "/a", headers, b"");
        let (status, text) = within("an answer", asked).await.expect("is answered");
        assert_eq!((status, text.as_str()), (200, expected), "{from:?} {headers}");
    };
    // The client wrote the first address itself; the proxy added the second.
    let said =
        "X-Forwarded-For: 192.0.2.1, 198.51.100.7\r\nX-Forwarded-Proto: https\r\nCF-Connecting-IP: 192.0.2.1\r\n";
    check([127, 0, 0, 9], said, "https://counters.test/a 198.51.100.7 198.51.100.7 https").await;
    check([127, 0, 0, 9], "", "http://counters.test/a 127.0.0.9 127.0.0.9 http").await;
    check([127, 0, 0, 1], said, "http://counters.test/a 127.0.0.1 127.0.0.1 http").await;
}
