//! Long bodies between hosts.

use std::time::Instant;

use bytes::Bytes;
use futures_util::StreamExt;

use super::{figure, name_at, start};
use crate::{cluster::Member, hosted::eventually};

/// Of bodies that are long.
const LONG_BYTES: usize = 50 << 20;

pub fn long() {
    let (_kept, members) = start(2);
    for (number, words) in [(0, "near"), (1, "far")] {
        let name = name_at(&members, number);
        let chunk: Vec<u8> = (0..1 << 20).map(|at: u32| u8::try_from(at % 251).unwrap_or(0)).collect();
        let url = format!("http://{}/{name}/echo", members[0].hosted.address);
        let begun = Instant::now();
        members[0].hosted.run(async {
            let sent = chunk.clone();
            let body = futures_util::stream::iter(
                (0..LONG_BYTES >> 20).map(move |_| Ok::<_, std::io::Error>(Bytes::from(sent.clone()))),
            );
            let client = reqwest::Client::builder().no_proxy().build().expect("a client");
            let response = client.post(url).body(reqwest::Body::wrap_stream(body)).send().await.expect("is answered");
            assert_eq!(response.status(), 200);
            let mut at = 0;
            let mut stream = response.bytes_stream();
            while let Some(part) = stream.next().await {
                let part = part.expect("goes on");
                for (byte, back) in part.iter().enumerate() {
                    assert_eq!(*back, chunk[(at + byte) % chunk.len()], "byte {}", at + byte);
                }
                at += part.len();
            }
            assert_eq!(at, LONG_BYTES);
        });
        println!("{words}: {} MB there and back in {:?}", LONG_BYTES >> 20, begun.elapsed());
    }
}

pub fn unread() {
    let (_kept, members) = start(2);
    for number in 0..2 {
        unread_at(&members, number);
    }
}

fn unread_at(members: &[Member], number: usize) {
    let name = name_at(members, number);
    let address = members[0].hosted.address;
    // With little room for what nobody reads.
    let stream = members[0].hosted.run(async {
        let socket = tokio::net::TcpSocket::new_v4().expect("is made");
        socket.set_recv_buffer_size(64 << 10).expect("is set");
        let mut stream = socket.connect(address).await.expect("listens");
        let request = format!("GET /{name}/endless HTTP/1.1\r\nhost: a\r\n\r\n");
        tokio::io::AsyncWriteExt::write_all(&mut stream, request.as_bytes()).await.expect("is sent");
        stream.readable().await.expect("is answered");
        stream
    });
    let (mut last, mut same) = (0, 0);
    // It comes to rest.
    eventually("rest", || {
        let now = figure(&members[number], &name, "produced");
        same = if now == last && now > 0 { same + 1 } else { 0 };
        last = now;
        same > 50 || last > 64 << 20
    });
    println!("at host {number}: {last} bytes were made for somebody who reads none");
    assert!(last < 16 << 20, "{last}");
    assert_eq!(figure(&members[number], &name, "cancelled"), 0);
    drop(stream);
    eventually("the object hears that nobody reads", || figure(&members[number], &name, "cancelled") == 1);
}
