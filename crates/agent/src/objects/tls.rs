//! TLS between hosts of one tenant. Both sides show the certificate that they have from enrolment, which is a client's
//! certificate and names its host; so both are verified as clients are, against the tenant's authority, and then it is
//! compared whose certificate it is.

use std::{fmt, sync::Arc};

use domain::ids::HostId;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, RootCertStore, ServerConfig,
    SignatureScheme,
    client::{
        Resumption,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    server::{NoServerSessionStorage, WebPkiClientVerifier, danger::ClientCertVerifier},
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject};
use x509_parser::extensions::GeneralName;

use crate::identity::{IdentityError, read_pem};

/// What a host's certificate says of it, before its id.
const HOST_URN: &str = "urn:berth:host:";

#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("the authority's certificate is no PEM: {0:?}")]
    Pem(rustls_pki_types::pem::Error),
    #[error("the authority's certificate cannot be used: {0}")]
    Authority(#[source] rustls::Error),
    #[error("certificates cannot be verified: {0}")]
    Verifier(#[from] rustls::server::VerifierBuilderError),
    #[error(transparent)]
    Identity(#[from] IdentityError),
    #[error("key and certificate cannot be used: {0}")]
    Credentials(#[from] rustls::Error),
}

/// Both ends' settings.
pub struct Tls {
    pub server: Arc<ServerConfig>,
    pub client: Arc<ClientConfig>,
}

impl Tls {
    /// `authority_pem`: the tenant's.
    pub fn new(authority_pem: &str, certificate_pem: &str, key_pem: &str) -> Result<Self, TlsError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(authority_pem.as_bytes()) {
            roots.add(certificate.map_err(TlsError::Pem)?).map_err(TlsError::Authority)?;
        }
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build()?;
        let (chain, key) = read_pem(certificate_pem, key_pem)?;
        let mut server = ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_client_cert_verifier(verifier.clone())
            .with_single_cert(chain.clone(), key.clone_key())?;
        // A resumed session would skip the look at the certificate.
        server.session_storage = Arc::new(NoServerSessionStorage {});
        server.send_tls13_tickets = 0;
        let mut client = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(AsClient(verifier)))
            .with_client_auth_cert(chain, key)?;
        client.resumption = Resumption::disabled();
        client.enable_sni = false;
        Ok(Self { server: Arc::new(server), client: Arc::new(client) })
    }
}

/// Verifies a server's certificate as if it were a client's. For whom it is made is looked at afterwards, by [`host_of`]:
/// it names a host's id and no address.
struct AsClient(Arc<dyn ClientCertVerifier>);

impl fmt::Debug for AsClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AsClient")
    }
}

impl ServerCertVerifier for AsClient {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.0.verify_client_cert(end_entity, intermediates, now)?;
        match host_of(end_entity) {
            Some(_host) => Ok(ServerCertVerified::assertion()),
            None => Err(CertificateError::ApplicationVerificationFailure.into()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }

    fn root_hint_subjects(&self) -> Option<&[DistinguishedName]> {
        Some(self.0.root_hint_subjects())
    }
}

/// Whose a certificate is that was verified. None: no host's, or not one host's alone.
pub fn host_of(certificate: &CertificateDer<'_>) -> Option<HostId> {
    let (_, parsed) = x509_parser::parse_x509_certificate(certificate).ok()?;
    let names = parsed.subject_alternative_name().ok()??;
    match names.value.general_names.as_slice() {
        [GeneralName::URI(urn)] => urn.strip_prefix(HOST_URN)?.parse().ok(),
        _other => None,
    }
}
