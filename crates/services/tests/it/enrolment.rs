//! How hosts join, and what a certificate is worth (D4).

use std::sync::Arc;

use base64::{Engine, engine::general_purpose::STANDARD};
use domain::{
    certificates::{JoinPolicy, ZeroCertificateState},
    hosts::HostIntent,
    ids::{TenantId, ZeroCertificateId},
    people::Role,
};
use jiff::SignedDuration;
use protocol::enroll::{EnrollRequest, EnrollResponse, ZeroCertificateFile};
use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose};
use rustls_pki_types::{CertificateDer, pem::PemObject};
use services::{
    Call, Error, Services,
    certificates::{self, Holder},
    hosts, zero_certificates,
};
use testkit::World;
use x509_parser::prelude::{FromDer, X509Certificate};

/// A CSR that asks for nothing.
pub fn csr(key: &KeyPair) -> Vec<u8> {
    CertificateParams::default().serialize_request(key).expect("a request").der().to_vec()
}

pub fn request(name: &str, csr: &[u8]) -> EnrollRequest {
    EnrollRequest { name: name.to_owned(), csr: STANDARD.encode(csr) }
}

/// The serial with which a host comes.
pub fn serial(certificate_pem: &str) -> String {
    let der = CertificateDer::from_pem_slice(certificate_pem.as_bytes()).expect("PEM");
    certificates::serial_of(&der).expect("a certificate")
}

pub struct Zero {
    pub tenant: TenantId,
    pub id: ZeroCertificateId,
}

impl Zero {
    pub async fn make(services: &Services, call: &Call, uses: u32, join: JoinPolicy) -> Self {
        let lifetime = SignedDuration::from_hours(1);
        let ask = zero_certificates::Ask { name: "for the rack".to_owned(), max_uses: uses, lifetime, join };
        let created = zero_certificates::create(services, call, ask).await.expect("an admin may");
        let file: ZeroCertificateFile = toml::from_str(&created.file).expect("the file is TOML");
        // Who comes is known by the serial alone, as on the agents' port.
        match certificates::holder(services, &serial(&file.certificate_pem)).await.expect("reads") {
            Some(Holder::Zero { tenant, zero_certificate }) => {
                assert_eq!(zero_certificate, created.zero_certificate.id);
                Self { tenant, id: zero_certificate }
            }
            other => panic!("{other:?}"),
        }
    }

    pub async fn join(&self, services: &Services, request: &EnrollRequest) -> Result<EnrollResponse, Error> {
        zero_certificates::enroll(services, self.tenant, self.id, request).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_times_the_limit_at_once_get_exactly_the_limit() {
    testkit::both(|store| async move {
        let world = World::new(store).await;
        let admin = world.person("Ada", Role::Admin).await;
        let zero = Arc::new(Zero::make(&world.services, &admin, 5, JoinPolicy::Open).await);
        let joiners: Vec<_> = (0..50)
            .map(|_| {
                let (services, zero) = (world.services.clone(), zero.clone());
                tokio::spawn(async move {
                    let key = KeyPair::generate().expect("a key");
                    zero.join(&services, &request("rack", &csr(&key))).await.map(|answer| answer.name)
                })
            })
            .collect();
        let mut names = Vec::new();
        for joiner in joiners {
            match joiner.await.expect("no panic") {
                Ok(name) => names.push(name),
                Err(Error::Conflict(_)) => {}
                Err(error) => panic!("{error}"),
            }
        }
        names.sort();
        assert_eq!(names, ["rack", "rack-2", "rack-3", "rack-4", "rack-5"]);
        let after = zero_certificates::get(&world.services, &admin, zero.id).await.expect("is there");
        assert_eq!((after.uses, after.state(world.clock.now())), (5, ZeroCertificateState::UsedUp));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_key_gets_the_same_certificate_and_costs_no_second_use() {
    testkit::both(|store| async move {
        let world = World::new(store).await;
        let admin = world.person("Ada", Role::Admin).await;
        let zero = Arc::new(Zero::make(&world.services, &admin, 1, JoinPolicy::Open).await);
        let asked = request("rack", &csr(&KeyPair::generate().expect("a key")));
        let (first, again) = tokio::join!(zero.join(&world.services, &asked), zero.join(&world.services, &asked));
        let (first, again) = (first.expect("joins"), again.expect("the same again"));
        assert_eq!((first.host, &first.certificate_pem), (again.host, &again.certificate_pem));
        // Another server that never saw the first answer says the same.
        let later = zero.join(&world.restarted().services, &asked).await.expect("the same again");
        assert_eq!(first.certificate_pem, later.certificate_pem);
        assert_eq!(zero_certificates::get(&world.services, &admin, zero.id).await.expect("is there").uses, 1);
        hosts::delete(&world.services, &admin, first.host, 0).await.expect("nothing runs there");
        assert!(zero.join(&world.services, &asked).await.is_err(), "a deleted host's key joins no more");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_request_only_the_key_is_taken() {
    testkit::both(|store| async move {
        let world = World::new(store).await;
        let admin = world.person("Ada", Role::Admin).await;
        let zero = Zero::make(&world.services, &admin, 2, JoinPolicy::Open).await;
        let key = KeyPair::generate().expect("a key");
        let mut greedy = CertificateParams::new(vec!["other-host".to_owned(), "localhost".to_owned()]).expect("names");
        greedy.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        greedy.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        greedy.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let der = greedy.serialize_request(&key).expect("a request").der().to_vec();
        let answer = zero.join(&world.services, &request("rack", &der)).await.expect("joins");
        let der = CertificateDer::from_pem_slice(answer.certificate_pem.as_bytes()).expect("PEM");
        let (_, certificate) = X509Certificate::from_der(&der).expect("a certificate");
        assert!(!certificate.is_ca());
        let usage = certificate.extended_key_usage().expect("reads").expect("is there").value;
        assert!(usage.client_auth && !usage.server_auth);
        assert!(!certificate.key_usage().expect("reads").expect("is there").value.key_cert_sign());
        let names = certificate.subject_alternative_name().expect("reads").expect("is there");
        let names: Vec<String> = names.value.general_names.iter().map(ToString::to_string).collect();
        assert_eq!(names.len(), 1, "{names:?}");
        assert!(names[0].contains(&format!("urn:berth:host:{}", answer.host)), "{names:?}");

        // One whose signature is another key's, one with bytes behind it, one that is none.
        let mut forged = csr(&key);
        let last = forged.len() - 1;
        forged[last] ^= 1;
        let mut longer = csr(&key);
        longer.push(0);
        for bad in [forged, longer, b"no request".to_vec(), vec![0x30; 9_000]] {
            let refused = zero.join(&world.services, &request("rack", &bad)).await;
            assert!(matches!(refused, Err(Error::Invalid { field: "csr", .. })), "{refused:?}");
        }
        for name in ["", "../etc", "a/b", "a..b", "-a", "a b", "ü", &"x".repeat(64)] {
            let refused = zero.join(&world.services, &request(name, &csr(&key))).await;
            assert!(matches!(refused, Err(Error::Invalid { field: "name", .. })), "{name}: {refused:?}");
        }
        assert_eq!(zero_certificates::get(&world.services, &admin, zero.id).await.expect("is there").uses, 1);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_or_expired_zero_certificate_lets_nobody_in() {
    testkit::both(|store| async move {
        let world = World::new(store).await;
        let admin = world.person("Ada", Role::Admin).await;
        let fresh = || request("rack", &csr(&KeyPair::generate().expect("a key")));
        let revoked = Zero::make(&world.services, &admin, 5, JoinPolicy::Open).await;
        zero_certificates::revoke(&world.services, &admin, revoked.id).await.expect("an admin may");
        assert!(revoked.join(&world.services, &fresh()).await.is_err());
        assert!(zero_certificates::revoke(&world.services, &admin, revoked.id).await.is_err(), "once is enough");
        let expired = Zero::make(&world.services, &admin, 5, JoinPolicy::Open).await;
        let mut hour = SignedDuration::from_hours(1);
        hour -= SignedDuration::from_secs(1);
        world.clock.advance(hour);
        assert!(expired.join(&world.services, &fresh()).await.is_ok());
        world.clock.advance(SignedDuration::from_secs(1));
        assert!(expired.join(&world.services, &fresh()).await.is_err());
        let engineer = world.person("Eve", Role::Engineer).await;
        assert!(zero_certificates::get(&world.services, &engineer, expired.id).await.is_err());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_can_wait_for_approval_and_a_deleted_name_inherits_nothing() {
    testkit::both(|store| async move {
        let world = World::new(store).await;
        let admin = world.person("Ada", Role::Admin).await;
        let zero = Zero::make(&world.services, &admin, 5, JoinPolicy::Approval).await;
        let fresh = || request("rack", &csr(&KeyPair::generate().expect("a key")));
        let first = zero.join(&world.services, &fresh()).await.expect("joins");
        assert!(first.pending_approval);
        let early = hosts::change_intent(&world.services, &admin, first.host, HostIntent::InService).await;
        assert!(early.is_err(), "approving is an act of its own");
        let approved = hosts::approve(&world.services, &admin, first.host).await.expect("an admin may");
        assert_eq!(approved.intent, HostIntent::InService);
        let machine = world.machine(first.host, "rack", "0", "").await;
        hosts::delete(&world.services, &admin, first.host, 0).await.expect("nothing runs there");
        let gone = certificates::holder(&world.services, &serial(&first.certificate_pem)).await.expect("reads");
        assert_eq!(gone, None, "its certificate is nobody's");

        let second = zero.join(&world.services, &fresh()).await.expect("joins");
        assert_eq!(second.name, "rack");
        assert_ne!(second.host, first.host);
        assert!(second.pending_approval, "the approval was the other host's");
        let fresh_machine = world.machine(second.host, "rack", "0", "").await;
        assert_ne!(fresh_machine, machine);
        let named = hosts::get_by_name(&world.services, &admin, "rack").await.expect("is there");
        assert_eq!(named.id, second.host);
        assert!(hosts::get(&world.services, &admin, first.host).await.is_err());
    })
    .await;
}
