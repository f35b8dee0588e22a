//! The port for other hosts lets in the hosts of the plan, and nobody else.

use std::sync::Arc;

use agent::{identity::make_key, objects::tls::Tls};
use domain::ids::HostId;
use protocol::{ToAgent, ToServer};
use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, SanType};
use rustls_pki_types::{CertificateDer, ServerName, pem::PemObject};
use tokio::{io::AsyncReadExt, net::TcpStream};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::fleet::{COUNTER, Fleet, Member, identity};
use crate::peer::{Peer, until, within};

type Connection = TlsStream<TcpStream>;

/// TLS to a member's port for other hosts, as far as the client sees: what the server thinks of it comes after.
async fn connect(member: &Member, client: Arc<rustls::ClientConfig>) -> std::io::Result<Connection> {
    let tcp = TcpStream::connect(member.peers).await?;
    let name = ServerName::try_from("localhost").expect("a name");
    TlsConnector::from(client).connect(name, tcp).await
}

/// Shows no certificate.
#[derive(Debug)]
struct Nothing;

impl rustls::client::ResolvesClientCert for Nothing {
    fn resolve(
        &self,
        _hints: &[&[u8]],
        _schemes: &[rustls::SignatureScheme],
    ) -> Option<Arc<rustls::sign::CertifiedKey>> {
        None
    }
    fn has_certs(&self) -> bool {
        false
    }
}

const LET_IN: &str = "another host is connected";

fn let_in(member: &Member) -> usize {
    member.host.log().matches(LET_IN).count()
}

/// The connection once it was let in; none if it is ended instead.
async fn accepted(member: &Member, client: Arc<rustls::ClientConfig>) -> Option<Connection> {
    let before = let_in(member);
    let mut stream = connect(member, client).await.ok()?;
    let mut byte = [0];
    let is_in = tokio::select! {
        // Nothing is said to who says nothing: this is the end, or a reset.
        _ended = within("the end, or a word in the log", stream.read(&mut byte)) => false,
        () = until("let in", || let_in(member) > before) => true,
    };
    is_in.then_some(stream)
}

/// Somebody with this certificate, who takes the fleet's authority for the right one.
fn shows(fleet: &Fleet, certificate_pem: &str, key_pem: &str) -> Arc<rustls::ClientConfig> {
    Tls::new(&fleet.peer.authority.ca_pem(), certificate_pem, key_pem).expect("settings").client.clone()
}

/// A host's certificate of the fleet's authority, signed for nobody that is in the plan.
fn signed(fleet: &Fleet, urn: &str) -> Arc<rustls::ClientConfig> {
    let key_pem = make_key().expect("a key");
    let key = KeyPair::from_pem(&key_pem).expect("a key");
    shows(fleet, &fleet.peer.authority.sign_named(&key, urn), &key_pem)
}

/// The same from an authority that only says that it is the fleet's.
fn forged(fleet: &Fleet, host: HostId) -> Arc<rustls::ClientConfig> {
    let mut ca = CertificateParams::default();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let issuer = Issuer::new(ca, KeyPair::generate().expect("a key"));
    let key = KeyPair::generate().expect("a key");
    let mut params = CertificateParams::default();
    params.subject_alt_names = vec![SanType::URI(format!("urn:berth:host:{host}").try_into().expect("plain text"))];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    let certificate_pem = params.signed_by(&key, &issuer).expect("signs").pem();
    shows(fleet, &certificate_pem, &key.serialize_pem())
}

#[tokio::test]
async fn only_hosts_of_the_plan_are_let_in() {
    let fleet = Fleet::counters(2).await;
    let [first, second] = fleet.members.as_slice() else { panic!("two members") };
    let of_second = identity(&second.host);
    let good = shows(&fleet, &of_second.certificate_pem, &of_second.key_pem);
    assert!(accepted(first, good).await.is_some(), "another host of the plan");

    // The right name, from the wrong authority.
    assert!(accepted(first, forged(&fleet, second.id)).await.is_none(), "a foreign authority's");
    // The right authority, and a host that runs no objects, or was revoked, or is another tenant's.
    let stranger = signed(&fleet, &format!("urn:berth:host:{}", HostId::new()));
    assert!(accepted(first, stranger).await.is_none(), "a host that is not in the plan");
    // The right authority, for something else than a host.
    for urn in [format!("urn:berth:zero-certificate:{}", second.id), format!("urn:berth:replica:{}", second.id)] {
        let other = signed(&fleet, &urn);
        assert!(accepted(first, other).await.is_none(), "{urn}");
    }
    // No certificate at all.
    let mut bare = rustls::ClientConfig::clone(&signed(&fleet, "urn:berth:nobody"));
    bare.client_auth_cert_resolver = Arc::new(Nothing);
    assert!(accepted(first, Arc::new(bare)).await.is_none(), "nobody in particular");
    // The objects' own port is no way around it: it speaks to deployments alone.
    assert!(first.host.log().contains("not let in at the port for other hosts"), "{}", first.host.log());
    assert_eq!(first.ask("GET", "unknown", "/").await.0, 404);
}

#[tokio::test]
async fn a_host_that_leaves_the_plan_is_cut_and_comes_in_no_more() {
    let mut peer = Peer::start().await;
    let mut members = Vec::new();
    for _ in 0..2 {
        let mut member = Member::new(&peer, "").await;
        // It says why a connection ends.
        member.host.variables.push(("BERTH_LOG", "info,objects=debug".to_owned()));
        member.start(&mut peer).await;
        members.push(member);
    }
    let mut fleet = Fleet::made_of(peer, members);
    fleet.deploy().await;
    let of_second = identity(&fleet.members[1].host);
    let client = shows(&fleet, &of_second.certificate_pem, &of_second.key_pem);
    let mut open = accepted(&fleet.members[0], client.clone()).await.expect("is let in");
    let gone = fleet.members[1].id;
    fleet.plan.hosts.retain(|peer| peer.host != gone);
    fleet.tell().await;
    let mut rest = Vec::new();
    // A reset is an end as well.
    within("the end", open.read_to_end(&mut rest)).await.ok();
    // Not given up for its silence.
    let first = &fleet.members[0].host;
    until("it is told why", || first.log().contains("cannot be read: the other host runs no objects any more")).await;
    assert!(accepted(&fleet.members[0], client).await.is_none(), "it was revoked");
    // Nor is anything asked of it: its objects cannot be reached from here.
    let mut refused = 0;
    for object in 0..12 {
        let path = format!("/object-{object}");
        let (status, _) = fleet.members[0].ask("POST", "counters", &path).await;
        assert!(status == 200 || status >= 500, "{status}");
        refused += u32::from(status >= 500);
    }
    assert!((1..12).contains(&refused), "{refused} of 12 are elsewhere");
}

#[tokio::test]
async fn whoever_answers_in_another_hosts_place_is_not_believed() {
    let mut fleet = Fleet::of(3).await;
    fleet.plan_counters("counters", COUNTER);
    // The plan's second is found at the third's address, whose certificate is as good as any.
    fleet.plan.hosts[1].address = fleet.plan.hosts[2].address.clone();
    fleet.tell().await;
    fleet.answers(&fleet.members[0], "GET", |status, _| status == 200 || status >= 500).await;
    let first = &fleet.members[0];
    for object in 0..12 {
        let (status, text) = first.ask("POST", "counters", &format!("/object-{object}")).await;
        assert!(status >= 500 || status == 200, "{status} {text}");
    }
    until("it is told who answers", || first.host.log().contains("is what answers, and no other host")).await;
}

#[tokio::test]
async fn a_renewed_certificate_is_the_one_that_other_hosts_see() {
    let mut peer = Peer::start().await;
    *peer.authority.life_s.lock().expect("a lock") = (3 * 3600, 3600);
    let mut first = Member::new(&peer, "").await;
    first.host.start();
    let (mut link, _) = peer.link().await;
    let csr_der = loop {
        if let ToServer::Renew { csr_der } = link.next().await {
            break csr_der;
        }
    };
    // One that need not be renewed soon.
    *peer.authority.life_s.lock().expect("a lock") = (60, 24 * 3600);
    let mut second = Member::new(&peer, "").await;
    second.start(&mut peer).await;
    let mut fleet = Fleet::made_of(peer, vec![first, second]);
    fleet.plan_counters("counters", COUNTER);
    fleet.keep();
    link.send(ToAgent::PlanChanged).await;
    fleet.members[1].nudge().await;
    let client = {
        let of_second = identity(&fleet.members[1].host);
        shows(&fleet, &of_second.certificate_pem, &of_second.key_pem)
    };
    fleet.answers(&fleet.members[0], "GET", |status, _| status == 200).await;
    let before = shown(&accepted(&fleet.members[0], client.clone()).await.expect("is let in"));
    let certificate_pem = fleet.peer.authority.renew_of(&csr_der, fleet.members[0].id);
    link.send(ToAgent::Renewed { certificate_pem: certificate_pem.clone(), ca_pem: fleet.peer.authority.ca_pem() })
        .await;
    let (next, _) = fleet.peer.link().await;
    fleet.members[0].keep(next);
    let after = shown(&accepted(&fleet.members[0], client).await.expect("is let in"));
    assert_ne!(after, before);
    assert_eq!(after, CertificateDer::from_pem_slice(certificate_pem.as_bytes()).expect("PEM"));
    for object in 0..6 {
        fleet.members[1].count("counters", &format!("object-{object}")).await;
        fleet.members[0].count("counters", &format!("object-{object}")).await;
    }
}

/// What the other end has shown.
fn shown(connection: &Connection) -> CertificateDer<'static> {
    let certificates = connection.get_ref().1.peer_certificates().expect("a certificate");
    certificates[0].clone().into_owned()
}
