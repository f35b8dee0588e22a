//! The authority behind the server: certificates of hosts, and what enrolment answers.

use std::sync::Mutex;

use base64::Engine as _;
use domain::ids::HostId;
use protocol::enroll::{EnrollRequest, EnrollResponse};
use rcgen::{CertificateParams, CertificateSigningRequestParams, DistinguishedName, Issuer, KeyPair, PublicKeyData};

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
    /// Keys that got a certificate, with it.
    pub(super) enrolled: Mutex<Vec<(Vec<u8>, String)>>,
    pub answer: Mutex<Answer>,
    /// Validity of certificates of hosts, seconds before and after now.
    pub life_s: Mutex<(i64, i64)>,
    pub host: HostId,
}

impl Authority {
    pub(super) fn sign(&self, public_key: &impl PublicKeyData) -> String {
        let (before, after) = *self.life_s.lock().expect("a lock");
        let now = agent::clock::now().as_second();
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.not_before = time(now - before);
        params.not_after = time(now + after);
        params.signed_by(public_key, &self.issuer).expect("signs").pem()
    }

    pub fn renew(&self, csr_der: &[u8]) -> String {
        let csr = CertificateSigningRequestParams::from_der(&csr_der.into()).expect("a CSR");
        self.sign(&csr.public_key)
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
        let certificate_pem = match enrolled.iter().find(|(other, _)| *other == key) {
            Some((_, pem)) => pem.clone(),
            None => {
                let pem = self.sign(&csr.public_key);
                enrolled.push((key, pem.clone()));
                pem
            }
        };
        EnrollResponse {
            host: self.host,
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
