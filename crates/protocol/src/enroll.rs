//! Enrolment: what a host that holds a zero certificate sends to `POST /enroll` on the agents' port, and the file
//! that an admin carries to it (DESIGN D4). JSON over HTTPS with the zero certificate as the client's certificate.

use domain::ids::{HostId, TenantId, ZeroCertificateId};
use serde::{Deserialize, Serialize};

/// The zero certificate file (TOML). Whoever holds it can enrol hosts: mode 0600.
#[derive(Clone, Serialize, Deserialize)]
pub struct ZeroCertificateFile {
    pub zero_certificate: ZeroCertificateId,
    pub tenant: TenantId,
    /// `https://HOST:PORT` of the agents' port.
    pub server: String,
    pub ca_pem: String,
    pub certificate_pem: String,
    pub key_pem: String,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EnrollRequest {
    /// The name the host would like; the server adds a number if it is taken.
    pub name: String,
    /// base64 of the CSR's DER. Only its public key is used; its signature proves that the host holds the key.
    pub csr: String,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct EnrollResponse {
    pub host: HostId,
    pub name: String,
    pub certificate_pem: String,
    pub ca_pem: String,
    /// The host waits for an admin's approval before its link is accepted.
    pub pending_approval: bool,
}
