//! Attacks at the agents' port, over TLS.

use std::{
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

use agent::{
    dial::{DialError, Dialer, Trust},
    enroll::{self, EnrollError},
    identity::{make_csr, make_key},
    link::LinkError,
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use domain::{
    certificates::JoinPolicy,
    ids::{HostId, TransactionId},
};
use futures_util::{SinkExt as _, StreamExt as _};
use jiff::SignedDuration;
use protocol::{CloseReason, MAX_FRAME_BYTES, Outcome, ToAgent, ToServer, VERSION, enroll::ZeroCertificateFile};
use serde_json::json;
use services::{Clock, zero_certificates};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
};
use tokio_tungstenite::tungstenite::Message;

use crate::{
    hosts::{Host, heartbeat, hello, zero},
    site::{LIMIT, Site, on_both, until},
};

/// Done when the other side has closed the connection; how long it took.
async fn closed(stream: &mut (impl AsyncReadExt + Unpin)) -> Duration {
    let begun = Instant::now();
    let mut rest = Vec::new();
    let read = tokio::time::timeout(LIMIT, stream.read_to_end(&mut rest)).await.expect("the server closes");
    // A reset is an end as well.
    read.ok();
    begun.elapsed()
}

async fn stalled(agents: SocketAddr, from: IpAddr) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::new(from, 0))?;
    socket.connect(agents).await
}

#[tokio::test(flavor = "multi_thread")]
async fn who_stalls_in_the_handshake_holds_up_nobody_and_is_cut() {
    let site = Site::start(None, Vec::new()).await;
    let token = site.admin_token().await;
    let host = Host::join(&zero(&site.url, &token, 1).await, "rack").await;
    // All of one address' share, and more: none of them says a word.
    let other: IpAddr = "127.0.0.2".parse().unwrap();
    let mut silent = Vec::new();
    for _ in 0..600 {
        silent.push(stalled(site.agents, other).await.expect("is accepted"));
    }
    // What is beyond its share is cut at once; that a handshake is under way there shows by the end of the time limit.
    let mut beyond = silent.split_off(512);
    for stream in &mut beyond {
        assert!(closed(stream).await < Duration::from_secs(5), "more than its share");
    }
    let begun = Instant::now();
    host.link(vec![]).await;
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    let mut longest = Duration::ZERO;
    for stream in &mut silent {
        longest = longest.max(closed(stream).await);
    }
    assert!(longest < Duration::from_secs(20), "{longest:?}");
    // Its share is free again.
    let mut again = stalled(site.agents, other).await.expect("is accepted");
    assert!(closed(&mut again).await > Duration::from_secs(5), "it may try anew");
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_upgrade_a_slow_body_and_a_link_without_a_word_are_cut() {
    let site = Site::start(None, Vec::new()).await;
    let token = site.admin_token().await;
    let file = zero(&site.url, &token, 2).await;
    let host = Host::join(&file, "rack").await;
    let trust = Trust::new(&file.ca_pem).unwrap();
    let joining = Dialer::new(&file.server, trust.client(&file.certificate_pem, &file.key_pem).unwrap()).unwrap();
    let slow_upgrade = async {
        let mut stream = host.dialer.connect().await.expect("TLS");
        stream.write_all(b"GET /agent/link HTTP/1.1\r\nhost: x\r\nupgrade: webso").await.expect("writes");
        closed(&mut stream).await
    };
    let slow_body = async {
        let mut stream = joining.connect().await.expect("TLS");
        let head = "POST /enroll HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 900\r\n\r\n{";
        stream.write_all(head.as_bytes()).await.expect("writes");
        let mut answer = [0; 12];
        let begun = Instant::now();
        tokio::time::timeout(LIMIT, stream.read_exact(&mut answer)).await.expect("an answer").expect("reads");
        assert_eq!(&answer, b"HTTP/1.1 408");
        begun.elapsed()
    };
    let no_word = async {
        let mut socket = host.dialer.websocket("/agent/link", 4_096).await.expect("upgrades");
        assert_eq!(close_of(&mut socket).await, Some(CloseReason::Unexpected));
    };
    let (upgrade, body, ()) = tokio::join!(slow_upgrade, slow_body, no_word);
    assert!(upgrade < Duration::from_secs(20), "{upgrade:?}");
    assert!(body < Duration::from_secs(40), "{body:?}");
    // Meanwhile and afterwards others are served.
    Host::join(&file, "rack").await.link(vec![]).await;
    site.stop().await;
}

/// Why the server closes.
async fn close_of(socket: &mut agent::dial::Socket) -> Option<CloseReason> {
    loop {
        match tokio::time::timeout(LIMIT, socket.next()).await.expect("the server closes") {
            Some(Ok(Message::Close(Some(frame)))) => return CloseReason::from_code(frame.code.into()),
            Some(Ok(_)) => {}
            Some(Err(_)) | None => return None,
        }
    }
}

async fn raw(host: &Host, message: Message) -> Option<CloseReason> {
    let mut socket = host.dialer.websocket("/agent/link", 4_096).await.expect("upgrades");
    let hello = protocol::encode(&hello(vec![])).expect("encodes");
    socket.send(Message::Binary(hello.into())).await.expect("sends");
    // The server may close before all of it is sent.
    socket.send(message).await.ok();
    close_of(&mut socket).await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_read_or_is_too_large_closes_the_link_and_says_why() {
    let site = Site::start(None, Vec::new()).await;
    let token = site.admin_token().await;
    let host = Host::join(&zero(&site.url, &token, 1).await, "rack").await;
    let binary = |bytes: Vec<u8>| Message::Binary(bytes.into());
    assert_eq!(raw(&host, binary(vec![0xc1; 40])).await, Some(CloseReason::Malformed));
    // A message of a kind that nobody handles: a newer agent's, or a forged one.
    let unknown = rmp_serde::to_vec_named(&json!({"Reboot": {"now": true}})).expect("encodes");
    assert_eq!(raw(&host, binary(unknown)).await, Some(CloseReason::Malformed));
    assert_eq!(raw(&host, binary(vec![0; MAX_FRAME_BYTES + 1])).await, Some(CloseReason::TooLarge));
    assert_eq!(raw(&host, Message::text("{}")).await, Some(CloseReason::Unexpected));
    let again = protocol::encode(&hello(vec![])).expect("encodes");
    assert_eq!(raw(&host, binary(again)).await, Some(CloseReason::Unexpected), "a second Hello");
    let mut newer = hello(vec![]);
    if let ToServer::Hello { oldest_version, newest_version, .. } = &mut newer {
        (*oldest_version, *newest_version) = (VERSION + 1, VERSION + 7);
    }
    let refused = host.try_link(newer).await;
    assert!(
        matches!(&refused, Err(LinkError::Closed { reason: Some(CloseReason::Version), .. })),
        "{:?}",
        refused.err()
    );
    let tunnel = async |frame: Vec<u8>| {
        let mut socket = host.dialer.websocket("/agent/tunnel", 4_096).await.expect("upgrades");
        socket.send(binary(frame)).await.expect("sends");
        close_of(&mut socket).await
    };
    assert_eq!(tunnel(vec![9; 40]).await, Some(CloseReason::Malformed));
    assert_eq!(tunnel(vec![1]).await, Some(CloseReason::Malformed));
    // The host is none the worse for it.
    host.link(vec![]).await;
    site.stop().await;
}

fn is_tls(refused: &Result<agent::dial::Socket, DialError>) -> bool {
    matches!(refused, Err(DialError::Tls { .. }))
}

#[tokio::test(flavor = "multi_thread")]
async fn only_certificates_of_our_own_are_let_in() {
    let site = Site::start(None, Vec::new()).await;
    let token = site.admin_token().await;
    let file = zero(&site.url, &token, 1).await;
    let host = Host::join(&file, "rack").await;

    // None at all.
    let mut roots = rustls::RootCertStore::empty();
    let ca = <rustls_pki_types::CertificateDer<'_> as rustls_pki_types::pem::PemObject>::from_pem_slice(
        file.ca_pem.as_bytes(),
    );
    roots.add(ca.expect("PEM")).expect("a CA");
    let bare =
        rustls::ClientConfig::builder_with_provider(std::sync::Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
    let bare = Dialer::new(&file.server, std::sync::Arc::new(bare)).expect("an address");
    assert!(is_tls(&bare.websocket("/agent/link", 4_096).await));

    // One that says the same, signed by another authority of the same name.
    let (key, ca_key) = (rcgen::KeyPair::generate().unwrap(), rcgen::KeyPair::generate().unwrap());
    let mut ca = rcgen::CertificateParams::default();
    ca.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    ca.distinguished_name = rcgen::DistinguishedName::new();
    for (kind, value) in [
        (rcgen::DnType::OrganizationName, "Berth".to_owned()),
        (rcgen::DnType::OrganizationalUnitName, "authority".to_owned()),
        (rcgen::DnType::CommonName, file.tenant.to_string()),
    ] {
        ca.distinguished_name.push(kind, value);
    }
    let issuer = rcgen::Issuer::from_params(&ca, &ca_key);
    let mut forged = rcgen::CertificateParams::default();
    forged.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth];
    let forged = forged.signed_by(&key, &issuer).unwrap().pem();
    let stranger = Dialer::new(&file.server, host.trust.client(&forged, &key.serialize_pem()).unwrap()).unwrap();
    assert!(is_tls(&stranger.websocket("/agent/link", 4_096).await));

    // A zero certificate opens no link, and a host's certificate lets nobody join and is no server's.
    let joining = Dialer::new(&file.server, host.trust.client(&file.certificate_pem, &file.key_pem).unwrap()).unwrap();
    let refused = joining.websocket("/agent/link", 4_096).await;
    assert!(matches!(refused, Err(DialError::Refused { status: 409, .. })), "{:?}", refused.err());
    let as_host = ZeroCertificateFile {
        certificate_pem: host.certificate_pem.clone(),
        key_pem: host.key_pem.clone(),
        ..file.clone()
    };
    let refused = enroll::ask(&as_host, &host.trust, "rack", &make_key().unwrap()).await;
    assert!(matches!(refused, Err(EnrollError::Refused { status: 409, .. })), "{refused:?}");
    for path in ["/replica/readings".to_owned(), format!("/replica/stream?tenant={}&host={}", file.tenant, host.id)] {
        let refused = host.dialer.websocket(&path, 4_096).await;
        assert!(matches!(refused, Err(DialError::Refused { status: 409, .. })), "{path}: {:?}", refused.err());
    }
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_certificate_is_cut_and_opens_nothing_more() {
    on_both(|site| async move {
        let token = site.admin_token().await;
        let host = Host::join(&zero(&site.url, &token, 1).await, "rack").await;
        let mut talk = host.link(vec![]).await;
        let mut tunnel = host.dialer.websocket("/agent/tunnel", 4_096).await.expect("upgrades");
        site.json(&token, "POST", &format!("/hosts/{}/revoke", host.id), None).await;
        let since = Instant::now();
        let cut = loop {
            match talk.next().await {
                Ok(_) => {}
                Err(error) => break error,
            }
        };
        assert!(matches!(cut, LinkError::Closed { reason: Some(CloseReason::Revoked), .. }), "{cut}");
        assert_eq!(close_of(&mut tunnel).await, Some(CloseReason::Revoked));
        assert!(since.elapsed() < Duration::from_secs(2), "{:?}", since.elapsed());
        let again = host.try_link(hello(vec![])).await;
        assert!(
            matches!(&again, Err(LinkError::Closed { reason: Some(CloseReason::Revoked), .. })),
            "{:?}",
            again.err()
        );
        site
    })
    .await;
}

/// A zero certificate as it was made `ago`, good for an hour.
async fn made(site: &Site, ago: SignedDuration, uses: u32) -> ZeroCertificateFile {
    let then = site.services_with(Clock::manual(Clock::system().now() - ago)).await;
    let ask = zero_certificates::Ask {
        name: "old".to_owned(),
        max_uses: uses,
        lifetime: SignedDuration::from_hours(1),
        join: JoinPolicy::Open,
    };
    let created = zero_certificates::create_as_operator(&then, ask).await.expect("the operator may");
    toml::from_str(&created.file).expect("TOML")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_zero_certificate_lets_in_as_many_as_it_says_for_as_long_as_it_says() {
    on_both(|site| async move {
        let token = site.admin_token().await;
        let file = zero(&site.url, &token, 3).await;
        let trust = Trust::new(&file.ca_pem).unwrap();
        let mut joiners = tokio::task::JoinSet::new();
        for _ in 0..30 {
            let (file, trust) = (file.clone(), trust.clone());
            joiners.spawn(async move { enroll::ask(&file, &trust, "rack", &make_key().unwrap()).await });
        }
        let answers = joiners.join_all().await;
        let joined = answers.iter().filter(|answer| answer.is_ok()).count();
        let refused = answers.iter().filter(|answer| matches!(answer, Err(EnrollError::Refused { status: 409, .. })));
        let others = answers.iter().filter_map(|answer| answer.as_ref().err());
        assert_eq!((joined, refused.count()), (3, 27), "{:?}", others.collect::<Vec<_>>());
        let ask = async |file: &ZeroCertificateFile| {
            enroll::ask(file, &Trust::new(&file.ca_pem).unwrap(), "late", &make_key().unwrap()).await
        };
        // Over a minute ago: clocks may differ, so TLS lets it in, and the record refuses.
        let file = made(&site, SignedDuration::from_mins(61), 1).await;
        match ask(&file).await {
            Err(EnrollError::Refused { status: 409, words }) => assert!(words.contains("expired"), "{words}"),
            other => panic!("{other:?}"),
        }
        // Long over: not even a connection.
        let file = made(&site, SignedDuration::from_hours(3), 1).await;
        let refused = ask(&file).await;
        assert!(matches!(refused, Err(EnrollError::Dial(_) | EnrollError::Broken(_))), "{refused:?}");
        site
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_request_to_join_only_the_key_counts() {
    let site = Site::start(None, Vec::new()).await;
    let token = site.admin_token().await;
    let file = zero(&site.url, &token, 5).await;
    let trust = Trust::new(&file.ca_pem).unwrap();
    let post = async |name: &str, csr: &[u8]| {
        let dialer = Dialer::new(&file.server, trust.client(&file.certificate_pem, &file.key_pem).unwrap()).unwrap();
        let body = json!({"name": name, "csr": STANDARD.encode(csr)}).to_string();
        let mut stream = dialer.connect().await.expect("TLS");
        let head = format!(
            "POST /enroll HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes()).await.expect("writes");
        stream.write_all(body.as_bytes()).await.expect("writes");
        let mut answer = Vec::new();
        tokio::time::timeout(LIMIT, stream.read_to_end(&mut answer)).await.expect("an answer").ok();
        String::from_utf8_lossy(&answer).into_owned()
    };
    let key = make_key().unwrap();
    let csr = make_csr(&key).unwrap();
    for name in ["../../etc/passwd", "a/b", "..", "a\u{0}b", "-rf"] {
        let answer = post(name, &csr).await;
        assert!(answer.starts_with("HTTP/1.1 422") && answer.contains("name"), "{name}: {answer}");
    }
    let answer = post("rack", &vec![0x30; 70_000]).await;
    assert!(answer.starts_with("HTTP/1.1 4"), "{answer}");
    // One that asks for a CA and for another host's name gets a host's certificate and nothing else.
    let pair = rcgen::KeyPair::from_pem(&key).unwrap();
    let mut greedy = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    greedy.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let answer = post("rack", greedy.serialize_request(&pair).unwrap().der()).await;
    let body: serde_json::Value = serde_json::from_str(answer.split("\r\n\r\n").nth(1).unwrap()).unwrap();
    let certificate = body["certificate_pem"].as_str().unwrap();
    let issuer = rcgen::Issuer::from_ca_cert_pem(certificate, rcgen::KeyPair::from_pem(&key).unwrap());
    let mine = rcgen::KeyPair::generate().unwrap();
    let mut child = rcgen::CertificateParams::default();
    child.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth];
    if let Ok(issuer) = issuer {
        let child = child.signed_by(&mine, &issuer).unwrap().pem();
        let chain = format!("{child}{certificate}");
        let dialer = Dialer::new(&file.server, trust.client(&chain, &mine.serialize_pem()).unwrap()).unwrap();
        assert!(is_tls(&dialer.websocket("/agent/link", 4_096).await), "a host signs nobody");
    }
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_is_its_own_hosts_and_good_once() {
    on_both(|site| async move {
        let token = site.admin_token().await;
        let file = zero(&site.url, &token, 2).await;
        let (rack, other) = (Host::join(&file, "rack").await, Host::join(&file, "other").await);
        let (mut rack, mut thief) = (rack.link(vec![]).await, other.link(vec![]).await);
        let online = || async {
            let hosts = site.json(&token, "GET", "/hosts?link=online", None).await;
            (hosts["items"].as_array().map(Vec::len) == Some(2)).then_some(())
        };
        until("both are online", online).await;
        let run = json!({"hosts": ["rack"], "argv": ["true"]});
        let run = site.json(&token, "POST", "/instructions", Some(run)).await;
        let (id, transaction) = (&run["id"], run["transactions"][0]["id"].as_str().unwrap());
        let transaction: TransactionId = transaction.parse().unwrap();
        rack.offered(transaction).await;
        // Another host's, and one that never was.
        assert_eq!(thief.claim(transaction).await, ToAgent::NotYours { transaction });
        let forged = TransactionId::new();
        assert_eq!(rack.claim(forged).await, ToAgent::NotYours { transaction: forged });
        assert!(matches!(rack.claim(transaction).await, ToAgent::Instructions { .. }));
        assert_eq!(rack.claim(transaction).await, ToAgent::NotYours { transaction }, "a replay");
        // A result of what is another's: its link is closed, and nothing was changed.
        let outcome = Outcome::Done { exit_code: Some(0) };
        thief.say(ToServer::Result { transaction, outcome: outcome.clone() }).await;
        let closed = thief.next().await;
        assert!(matches!(&closed, Err(LinkError::Closed { reason: Some(CloseReason::Unexpected), .. })), "{closed:?}");
        let path = format!("/instructions/{}", id.as_str().unwrap());
        let shown = site.json(&token, "GET", &path, None).await;
        assert_eq!(shown["transactions"][0]["state"], "claimed");
        rack.say(ToServer::Result { transaction, outcome }).await;
        assert_eq!(rack.answer().await, ToAgent::Acknowledge { transaction });
        assert_eq!(rack.claim(transaction).await, ToAgent::NotYours { transaction }, "after its end");
        rack.say(heartbeat(0.1)).await;
        // A deleted host's name, taken by another: it inherits neither link nor work.
        let gone: HostId = other.id;
        site.api(&token, "DELETE", &format!("/hosts/{gone}")).send().await.unwrap().error_for_status().unwrap();
        assert!(other.try_link(hello(vec![])).await.is_err(), "a deleted host's certificate");
        site
    })
    .await;
}
