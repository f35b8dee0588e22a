//! The authority behind the server: certificates of hosts, and what enrolment answers.

use std::{collections::HashMap, sync::Mutex};

use base64::Engine as _;
use domain::ids::HostId;
use protocol::{
    enroll::{EnrollRequest, EnrollResponse},
    objects::Plan,
};
use rcgen::{
    CertificateParams, CertificateSigningRequestParams, DistinguishedName, ExtendedKeyUsagePurpose, Issuer, KeyPair,
    PublicKeyData, SanType,
};

/// How enrolment answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    Give,
    /// The certificate is made and counted, and the connection breaks before the answer.
    Lose,
    Refuse,
}

pub struct Authority {
    pub(super) ca_pem: String,
    pub(super) issuer: Issuer<'static, KeyPair>,
    /// Keys that got a certificate, with it and the host that it names.
    pub(super) enrolled: Mutex<Vec<(Vec<u8>, String, HostId)>>,
    pub answer: Mutex<Answer>,
    /// Validity of certificates of hosts, seconds before and after now.
    pub life_s: Mutex<(i64, i64)>,
    /// The first that enrols.
    pub host: HostId,
    /// What hosts are told of objects, and the code that is in it.
    pub plan: Mutex<Option<Plan>>,
    pub bundles: Mutex<HashMap<[u8; 32], Vec<u8>>>,
}

impl Authority {
    /// As the server signs hosts' certificates.
    pub fn sign_host(&self, public_key: &impl PublicKeyData, host: HostId) -> String {
        self.sign_named(public_key, &format!("urn:berth:host:{host}"))
    }

    pub fn sign_named(&self, public_key: &impl PublicKeyData, urn: &str) -> String {
        let mut params = self.params();
        params.subject_alt_names = vec![SanType::URI(urn.try_into().expect("plain text"))];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        params.signed_by(public_key, &self.issuer).expect("signs").pem()
    }

    pub(super) fn sign(&self, public_key: &impl PublicKeyData) -> String {
        self.params().signed_by(public_key, &self.issuer).expect("signs").pem()
    }

    fn params(&self) -> CertificateParams {
        let (before, after) = *self.life_s.lock().expect("a lock");
        let now = agent::clock::now().as_second();
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.not_before = time(now - before);
        params.not_after = time(now + after);
        params
    }

    pub fn renew(&self, csr_der: &[u8]) -> String {
        self.renew_of(csr_der, self.host)
    }

    pub fn renew_of(&self, csr_der: &[u8], host: HostId) -> String {
        let csr = CertificateSigningRequestParams::from_der(&csr_der.into()).expect("a CSR");
        self.sign_host(&csr.public_key, host)
    }

    pub fn ca_pem(&self) -> String {
        self.ca_pem.clone()
    }

    pub fn enrolled(&self) -> usize {
        self.enrolled.lock().expect("a lock").len()
    }

    pub(super) fn enroll(&self, request: &EnrollRequest) -> EnrollResponse {
        let der = base64::engine::general_purpose::STANDARD.decode(&request.csr).expect("base64");
        let csr = CertificateSigningRequestParams::from_der(&der.as_slice().into()).expect("a CSR");
        let key = csr.public_key.der_bytes().to_vec();
        let mut enrolled = self.enrolled.lock().expect("a lock");
        let (certificate_pem, host) = match enrolled.iter().find(|(other, ..)| *other == key) {
            Some((_, pem, host)) => (pem.clone(), *host),
            None => {
                let host = if enrolled.is_empty() { self.host } else { HostId::new() };
                let pem = self.sign_host(&csr.public_key, host);
                enrolled.push((key, pem.clone(), host));
                (pem, host)
            }
        };
        EnrollResponse {
            host,
            name: request.name.clone(),
            certificate_pem,
            ca_pem: self.ca_pem.clone(),
            pending_approval: false,
        }
    }
}

fn time(second: i64) -> time::OffsetDateTime {
    time::OffsetDateTime::from_unix_timestamp(second).expect("a time")
}
