//! The link against servers that misbehave, and its certificate.

use domain::ids::TransactionId;
use protocol::{CloseReason, ToAgent, ToServer};
use tokio_tungstenite::tungstenite::{
    Message,
    protocol::{CloseFrame, frame::coding::CloseCode},
};

use crate::peer::{Host, Link, Peer, shell, until};

/// Sends something wrong on a link; the agent must say why it goes, and come back.
async fn refused(wrong: impl AsyncFnOnce(&mut Link), welcomed: bool) -> Option<u16> {
    let mut peer = Peer::start().await;
    let _host = Host::started(&peer, "").await;
    let mut link = if welcomed {
        peer.link().await.0
    } else {
        let mut link = peer.raw_link().await;
        assert!(matches!(link.next().await, ToServer::Hello { .. }));
        link
    };
    wrong(&mut link).await;
    let code = link.close_code().await;
    peer.raw_link().await;
    code
}

#[tokio::test]
async fn a_malformed_frame_closes_the_link() {
    for frame in [&b""[..], b"\xc1", b"\x81\xa5Offer", b"\x81\xa5Offer\x81\xabtransaction\xc4\x01x", &[0x93; 4000]] {
        let frame = frame.to_vec();
        let code = refused(async |link| link.send_raw(Message::Binary(frame.clone().into())).await, true).await;
        assert_eq!(code, Some(CloseReason::Malformed.code()), "{frame:?}");
    }
}

#[tokio::test]
async fn text_is_refused() {
    let code = refused(async |link| link.send_raw(Message::Text("hello".into())).await, true).await;
    assert_eq!(code, Some(CloseReason::Unexpected.code()));
}

#[tokio::test]
async fn a_frame_over_the_limit_closes_the_link() {
    let mut peer = Peer::start().await;
    let host = Host::started(&peer, "").await;
    let (mut link, _) = peer.link().await;
    // The agent reads no further than the length, so neither side may get to hear the other's last word.
    link.try_send_raw(Message::Binary(vec![0; 2 * protocol::MAX_FRAME_BYTES].into())).await;
    peer.link().await;
    assert!(host.log().contains("over the limit"), "{}", host.log());
}

#[tokio::test]
async fn a_message_before_welcome_is_refused() {
    let code = refused(async |link| link.offer(TransactionId::new()).await, false).await;
    assert_eq!(code, Some(CloseReason::Unexpected.code()));
}

#[tokio::test]
async fn a_version_that_the_agent_does_not_speak_is_refused() {
    let mut peer = Peer::start().await;
    let host = Host::started(&peer, "").await;
    let mut link = peer.raw_link().await;
    let ToServer::Hello { oldest_version, newest_version, .. } = link.next().await else { panic!("no Hello") };
    assert!(oldest_version <= newest_version);
    let welcome = ToAgent::Welcome {
        version: newest_version + 1,
        host: peer.authority.host,
        host_name: "h".to_owned(),
        server_time_ms: 0,
    };
    link.send(welcome).await;
    assert_eq!(link.close_code().await, Some(CloseReason::Version.code()));
    until("a word in the log", || host.log().contains("update the older of the two")).await;
}

#[tokio::test]
async fn instructions_that_were_not_claimed_are_refused_and_not_run() {
    let mut peer = Peer::start().await;
    let host = Host::started(&peer, "").await;
    let (mut link, _) = peer.link().await;
    let transaction = TransactionId::new();
    link.send(ToAgent::Instructions { transaction, work: host.noted("true"), secrets: None }).await;
    assert_eq!(link.close_code().await, Some(CloseReason::Unexpected.code()));
    let (_, open) = peer.link().await;
    assert_eq!(open, []);
    assert!(host.runs().is_empty());
}

#[tokio::test]
async fn replayed_instructions_are_refused_and_not_run_twice() {
    let mut peer = Peer::start().await;
    let host = Host::started(&peer, "").await;
    let (mut link, _) = peer.link().await;
    let transaction = TransactionId::new();
    link.instruct(transaction, host.noted("true")).await;
    link.ended(transaction).await;
    link.send(ToAgent::Instructions { transaction, work: host.noted("true"), secrets: None }).await;
    assert_eq!(link.close_code().await, Some(CloseReason::Unexpected.code()));
    let (mut link, open) = peer.link().await;
    assert_eq!(open, [transaction]);
    link.ended(transaction).await;
    assert_eq!(host.runs().len(), 1);
}

#[tokio::test]
async fn a_certificate_that_was_not_asked_for_is_refused() {
    let code = refused(
        async |link| {
            link.send(ToAgent::Renewed { certificate_pem: String::new(), ca_pem: String::new() }).await;
        },
        true,
    )
    .await;
    assert_eq!(code, Some(CloseReason::Unexpected.code()));
}

#[tokio::test]
async fn a_server_that_does_not_answer_hello_is_left() {
    let mut peer = Peer::start().await;
    let host = Host::started(&peer, "").await;
    let mut stalled = peer.raw_link().await;
    assert!(matches!(stalled.next().await, ToServer::Hello { .. }));
    let (mut link, _) = peer.link().await;
    let id = TransactionId::new();
    link.instruct(id, shell("true")).await;
    link.ended(id).await;
    assert!(host.log().contains("no answer to Hello"), "{}", host.log());
}

#[tokio::test]
async fn close_codes_are_explained() {
    let mut peer = Peer::start().await;
    let host = Host::started(&peer, "").await;
    let (mut link, _) = peer.link().await;
    let frame = CloseFrame { code: CloseCode::from(CloseReason::NotApproved.code()), reason: "".into() };
    link.send_raw(Message::Close(Some(frame))).await;
    link.close_code().await;
    drop(link);
    peer.link().await;
    assert!(host.log().contains("an admin has to approve this host"), "{}", host.log());
}

#[tokio::test]
async fn the_certificate_is_renewed_at_two_thirds_of_its_life() {
    let mut peer = Peer::start().await;
    *peer.authority.life_s.lock().expect("a lock") = (3 * 3600, 3600);
    let host = Host::started(&peer, "").await;
    let (mut link, _) = peer.link().await;
    let csr_der = loop {
        if let ToServer::Renew { csr_der } = link.next().await {
            break csr_der;
        }
    };
    *peer.authority.life_s.lock().expect("a lock") = (60, 3600);
    let certificate_pem = peer.authority.renew(&csr_der);
    let old = link.serial.clone();
    link.send(ToAgent::Renewed { certificate_pem: certificate_pem.clone(), ca_pem: peer.authority.ca_pem() }).await;
    assert_eq!(link.close_code().await, Some(CloseReason::ShuttingDown.code()));
    let (next, _) = peer.link().await;
    assert_ne!(next.serial, old);
    let stored = std::fs::read_to_string(host.state().join("identity.toml")).expect("is there");
    let stored: agent::identity::Identity = toml::from_str(&stored).expect("TOML");
    assert_eq!(stored.certificate_pem, certificate_pem);
}

#[tokio::test]
async fn a_renewed_certificate_of_another_key_is_not_taken() {
    let mut peer = Peer::start().await;
    *peer.authority.life_s.lock().expect("a lock") = (3 * 3600, 3600);
    let host = Host::started(&peer, "").await;
    let (mut link, _) = peer.link().await;
    while !matches!(link.next().await, ToServer::Renew { .. }) {}
    let zero = peer.zero();
    link.send(ToAgent::Renewed { certificate_pem: zero.certificate_pem, ca_pem: peer.authority.ca_pem() }).await;
    until("a word in the log", || host.log().contains("was not taken")).await;
    let id = TransactionId::new();
    link.instruct(id, shell("true")).await;
    link.ended(id).await;
}

#[tokio::test]
async fn two_agents_do_not_share_a_state_directory() {
    let mut peer = Peer::start().await;
    let mut host = Host::started(&peer, "").await;
    peer.link().await;
    let output = host.command("run").arg("--state").arg(host.state()).output().expect("runs");
    assert!(!output.status.success());
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(text.contains("another berth-agent uses the state directory"), "{text}");
    host.kill();
}
