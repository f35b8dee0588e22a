//! Certificate authorities (D4): one a tenant, which signs zero certificates and hosts' certificates, and one of the
//! server's own, which signs the certificate of the agents' port. Apart from each other, so that no host can pass for the
//! server. Their keys are stored sealed with the [`ServerKey`].

use std::{collections::HashMap, io::Write as _, net::IpAddr, path::Path, sync::Arc};

use base64::{Engine, engine::general_purpose::STANDARD};
use domain::{
    access::Permit,
    certificates::CLOCK_SKEW,
    ids::{HostId, TenantId, ZeroCertificateId},
};
use jiff::{SignedDuration, Timestamp};
use parking_lot::RwLock;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PublicKeyData, SanType, SerialNumber, SubjectPublicKeyInfo,
};
use ring::{
    aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    hmac,
    rand::{SecureRandom, SystemRandom},
};
use rustls_pki_types::PrivatePkcs8KeyDer;
use sha2::{Digest, Sha256};
pub use store::certificates::Holder;
use tokio::sync::watch;
use x509_parser::prelude::{FromDer, X509Certificate, X509CertificationRequest};

use crate::{Error, Result, Services};

/// The life of a host's certificate; it renews at two thirds.
pub const HOST_LIFETIME: SignedDuration = SignedDuration::from_hours(24 * 30);
/// The life of the agents' port's certificate.
const SERVER_LIFETIME: SignedDuration = SignedDuration::from_hours(24 * 90);
const AUTHORITY_LIFETIME: SignedDuration = SignedDuration::from_hours(24 * 365 * 10);
/// The largest CSR, bytes.
pub const MAX_CSR_BYTES: usize = 8 * 1024;

/// The key with which the authorities' keys are sealed, and from which tokens are made that need not be kept. All replicas
/// have the same; it is never in the database.
#[derive(Clone)]
pub struct ServerKey(Arc<Keys>);

struct Keys {
    sealing: LessSafeKey,
    deriving: hmac::Key,
}

impl std::fmt::Debug for ServerKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ServerKey(withheld)")
    }
}

/// Why there is no server key.
#[derive(Debug, thiserror::Error)]
pub enum ServerKeyError {
    #[error("cannot read or make the server key {path}: {source}")]
    File { path: String, source: std::io::Error },
    #[error("the server key has to be 32 bytes in hex (64 digits)")]
    Malformed,
    #[error("the server key {path} can be read by others: set its mode to 0600")]
    Open { path: String },
    #[error("no random numbers can be had from the system")]
    Random,
}

/// Random bytes from the system.
fn random<const N: usize>() -> std::result::Result<[u8; N], ServerKeyError> {
    let mut bytes = [0; N];
    SystemRandom::new().fill(&mut bytes).map_err(|_| ServerKeyError::Random)?;
    Ok(bytes)
}

impl ServerKey {
    /// A new one, which is lost with the process: for tests.
    pub fn generate() -> std::result::Result<Self, ServerKeyError> {
        Self::from_bytes(&random::<32>()?)
    }

    fn from_bytes(bytes: &[u8]) -> std::result::Result<Self, ServerKeyError> {
        let key = UnboundKey::new(&CHACHA20_POLY1305, bytes).map_err(|_| ServerKeyError::Malformed)?;
        let deriving = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, bytes), b"berth: tokens that are derived");
        let deriving = hmac::Key::new(hmac::HMAC_SHA256, deriving.as_ref());
        Ok(Self(Arc::new(Keys { sealing: LessSafeKey::new(key), deriving })))
    }

    /// A secret that only those can tell who have this key, the same each time: 64 hex digits.
    pub(crate) fn derive(&self, purpose: &str) -> String {
        hex::encode(hmac::sign(&self.0.deriving, purpose.as_bytes()).as_ref())
    }

    /// 64 hex digits.
    pub fn from_hex(text: &str) -> std::result::Result<Self, ServerKeyError> {
        Self::from_bytes(&hex::decode(text.trim()).map_err(|_| ServerKeyError::Malformed)?)
    }

    /// The key in `path`, which is made with mode 0600 if it is not there.
    pub fn load_or_make(path: &Path) -> std::result::Result<Self, ServerKeyError> {
        use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
        let file_error = |source| ServerKeyError::File { path: path.display().to_string(), source };
        match std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
            Ok(mut file) => {
                let text = hex::encode(random::<32>()?);
                file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(file_error)?;
                Self::from_hex(&text)
            }
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                let mode = std::fs::metadata(path).map_err(file_error)?.permissions().mode();
                if mode & 0o077 != 0 {
                    return Err(ServerKeyError::Open { path: path.display().to_string() });
                }
                Self::from_hex(&std::fs::read_to_string(path).map_err(file_error)?)
            }
            Err(error) => Err(file_error(error)),
        }
    }

    /// `context` has to be the same on opening: a sealed key that was moved to another row does not open.
    fn seal(&self, context: &str, secret: &[u8]) -> Result<String> {
        let nonce: [u8; NONCE_LEN] = random().map_err(|e| Error::Internal(e.to_string()))?;
        let mut sealed = secret.to_vec();
        self.0
            .sealing
            .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(context.as_bytes()), &mut sealed)
            .map_err(|_| Error::Internal("a key cannot be sealed".to_owned()))?;
        Ok(STANDARD.encode([nonce.as_slice(), &sealed].concat()))
    }

    fn open(&self, context: &str, sealed: &str) -> Result<Vec<u8>> {
        let bad = || {
            Error::Internal(format!(
                "the key of '{context}' cannot be opened: is this the server key with which it was sealed?"
            ))
        };
        let bytes = STANDARD.decode(sealed).map_err(|_| bad())?;
        let (nonce, sealed) = bytes.split_at_checked(NONCE_LEN).ok_or_else(bad)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| bad())?;
        let mut sealed = sealed.to_vec();
        let secret =
            self.0.sealing.open_in_place(nonce, Aad::from(context.as_bytes()), &mut sealed).map_err(|_| bad())?;
        Ok(secret.to_vec())
    }
}

/// Whoever makes a tenant's first zero certificate waits no longer for the agents' port.
const KNOWN_LIMIT: std::time::Duration = std::time::Duration::from_secs(2);

/// An authority that is ready to sign.
pub struct Authority {
    pub certificate_pem: String,
    issuer: Issuer<'static, KeyPair>,
}

/// The authorities that were opened already, and a sign that there is a new one.
pub(crate) struct Authorities {
    tenants: RwLock<HashMap<TenantId, Arc<Authority>>>,
    server: RwLock<Option<Arc<Authority>>>,
    replica: RwLock<Option<Arc<ReplicaIdentity>>>,
    changed: watch::Sender<u64>,
    /// The change up to which this server's agents' port knows them.
    known: watch::Sender<u64>,
}

impl Default for Authorities {
    fn default() -> Self {
        Self {
            tenants: RwLock::default(),
            server: RwLock::default(),
            replica: RwLock::default(),
            changed: watch::Sender::new(0),
            known: watch::Sender::new(0),
        }
    }
}

/// Tells when a tenant's authority was made on this replica: the agents' port has to know it.
pub fn changes(services: &Services) -> watch::Receiver<u64> {
    services.authorities().changed.subscribe()
}

/// The agents' port knows all authorities that there were at `change`, which [`changes`] told.
pub fn note_known(services: &Services, change: u64) {
    services.authorities().known.send_replace(change);
}

/// Waits until this server's agents' port, if it has one, knows a new authority: a host may dial in at once.
async fn until_known(authorities: &Authorities) {
    authorities.changed.send_modify(|n| *n += 1);
    let change = *authorities.changed.borrow();
    if authorities.changed.receiver_count() == 0 {
        return;
    }
    let mut known = authorities.known.subscribe();
    if tokio::time::timeout(KNOWN_LIMIT, known.wait_for(|known| *known >= change)).await.is_err() {
        tracing::warn!("the agents' port does not know a new authority yet; the first hosts may have to try again");
    }
}

fn crypto(error: impl std::fmt::Display) -> Error {
    Error::Internal(format!("certificates: {error}"))
}

/// rcgen wants its own time type, which its helper makes; seconds are what a certificate holds.
fn x509_time(at: Timestamp) -> impl Fn(&mut CertificateParams, bool) {
    let seconds = u64::try_from(at.as_second()).unwrap_or(0);
    move |params, is_start| {
        let time = rcgen::date_time_ymd(1970, 1, 1) + std::time::Duration::from_secs(seconds);
        if is_start {
            params.not_before = time;
        } else {
            params.not_after = time;
        }
    }
}

/// Clocks may be off: certificates are good a little before and after. What counts exactly is the server's record.
fn set_life(params: &mut CertificateParams, from: Timestamp, until: Timestamp) {
    x509_time(from.saturating_sub(CLOCK_SKEW).unwrap_or(from))(params, true);
    x509_time(until.saturating_add(CLOCK_SKEW).unwrap_or(until))(params, false);
}

fn name(unit: &str, common: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::OrganizationName, "Berth");
    name.push(DnType::OrganizationalUnitName, unit);
    name.push(DnType::CommonName, common);
    name
}

/// 16 random bytes, the first neither zero nor negative, so that every parser gives the same bytes back.
fn new_serial() -> Result<[u8; 16]> {
    let mut serial: [u8; 16] = random().map_err(|e| Error::Internal(e.to_string()))?;
    serial[0] = (serial[0] & 0x7f) | 0x40;
    Ok(serial)
}

fn make_authority(common: &str, now: Timestamp) -> Result<(String, KeyPair)> {
    let key = KeyPair::generate().map_err(crypto)?;
    let mut params = CertificateParams::default();
    params.distinguished_name = name("authority", common);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.serial_number = Some(SerialNumber::from_slice(&new_serial()?));
    set_life(&mut params, now, now.saturating_add(AUTHORITY_LIFETIME).unwrap_or(Timestamp::MAX));
    Ok((params.self_signed(&key).map_err(crypto)?.pem(), key))
}

fn open_authority(key: &ServerKey, context: &str, stored: &store::certificates::Authority) -> Result<Arc<Authority>> {
    let der = key.open(context, &stored.sealed_key)?;
    let pair = KeyPair::from_pkcs8_der_and_sign_algo(&PrivatePkcs8KeyDer::from(der), &rcgen::PKCS_ECDSA_P256_SHA256)
        .map_err(crypto)?;
    let issuer = Issuer::from_ca_cert_pem(&stored.certificate_pem, pair).map_err(crypto)?;
    Ok(Arc::new(Authority { certificate_pem: stored.certificate_pem.clone(), issuer }))
}

fn server_key(services: &Services) -> Result<&ServerKey> {
    let missing = || Error::Unavailable("the server has no key to seal its authorities with".to_owned());
    services.settings().server_key.as_ref().ok_or_else(missing)
}

const SERVER_CONTEXT: &str = "server authority";

fn tenant_context(tenant: TenantId) -> String {
    format!("authority of tenant {tenant}")
}

/// The tenant's authority; made when it is needed first.
pub(crate) async fn tenant_authority(services: &Services, permit: &Permit) -> Result<Arc<Authority>> {
    let tenant = permit.tenant();
    if let Some(known) = services.authorities().tenants.read().get(&tenant) {
        return Ok(known.clone());
    }
    let context = tenant_context(tenant);
    let key = server_key(services)?;
    let stored = match store::certificates::authority(services.store(), permit).await? {
        Some(stored) => stored,
        None => {
            let now = services.clock().now();
            let (certificate_pem, pair) = make_authority(&tenant.to_string(), now)?;
            let made = store::certificates::Authority {
                certificate_pem,
                sealed_key: key.seal(&context, pair.serialized_der())?,
            };
            let tx = services.store().begin().await?;
            store::certificates::insert_authority(&tx, permit, &made, now).await?;
            tx.commit().await?;
            // Another replica may have been quicker: what is stored counts.
            let stored = store::certificates::authority(services.store(), permit).await?;
            until_known(services.authorities()).await;
            stored.ok_or_else(|| Error::Internal("the authority that was just stored is not there".to_owned()))?
        }
    };
    let authority = open_authority(key, &context, &stored)?;
    services.authorities().tenants.write().insert(tenant, authority.clone());
    Ok(authority)
}

/// The authority of the agents' port; made when it is needed first.
pub(crate) async fn server_authority(services: &Services) -> Result<Arc<Authority>> {
    if let Some(known) = services.authorities().server.read().clone() {
        return Ok(known);
    }
    let key = server_key(services)?;
    let stored = match store::certificates::server_authority(services.store()).await? {
        Some(stored) => stored,
        None => {
            let now = services.clock().now();
            let (certificate_pem, pair) = make_authority("server", now)?;
            let made = store::certificates::Authority {
                certificate_pem,
                sealed_key: key.seal(SERVER_CONTEXT, pair.serialized_der())?,
            };
            let tx = services.store().begin().await?;
            store::certificates::insert_server_authority(&tx, &made, now).await?;
            tx.commit().await?;
            let stored = store::certificates::server_authority(services.store()).await?;
            stored.ok_or_else(|| Error::Internal("the authority that was just stored is not there".to_owned()))?
        }
    };
    let authority = open_authority(key, SERVER_CONTEXT, &stored)?;
    *services.authorities().server.write() = Some(authority.clone());
    Ok(authority)
}

/// What the agents' port shows and accepts.
pub struct PortIdentity {
    pub certificate_pem: String,
    /// PKCS#8, DER.
    pub key_der: Vec<u8>,
    /// Who signed it, PEM.
    pub server_authority_pem: String,
    /// The authorities of all tenants, PEM.
    pub client_authorities_pem: Vec<String>,
    /// When to ask again for a certificate.
    pub renew_at: Timestamp,
}

/// A fresh certificate for the agents' port under `names` (DNS names and IP addresses), and whose certificates it takes.
pub async fn port_identity(services: &Services, names: &[String]) -> Result<PortIdentity> {
    let authority = server_authority(services).await?;
    let now = services.clock().now();
    let until = now.saturating_add(SERVER_LIFETIME).map_err(crypto)?;
    let key = KeyPair::generate().map_err(crypto)?;
    let mut params = CertificateParams::default();
    params.distinguished_name = name("server", names.first().map_or("berth-server", String::as_str));
    for text in names {
        params.subject_alt_names.push(match text.parse::<IpAddr>() {
            Ok(address) => SanType::IpAddress(address),
            Err(_) => SanType::DnsName(text.as_str().try_into().map_err(crypto)?),
        });
    }
    let own = replica_name(services.settings().replica);
    params.subject_alt_names.push(SanType::DnsName(own.as_str().try_into().map_err(crypto)?));
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.serial_number = Some(SerialNumber::from_slice(&new_serial()?));
    set_life(&mut params, now, until);
    let certificate = params.signed_by(&key, &authority.issuer).map_err(crypto)?;
    Ok(PortIdentity {
        certificate_pem: certificate.pem(),
        key_der: key.serialize_der(),
        server_authority_pem: authority.certificate_pem.clone(),
        client_authorities_pem: client_authorities(services).await?,
        renew_at: now.saturating_add(SERVER_LIFETIME * 2 / 3).map_err(crypto)?,
    })
}

/// The name by which the other servers know this one, in its port's certificate: it holds wherever the server is reached.
pub fn replica_name(replica: uuid::Uuid) -> String {
    format!("{replica}.replica.berth.internal")
}

/// What a server shows when it calls another: signed by the authority that is the servers' own, for clients alone.
pub struct ReplicaIdentity {
    /// Lower-case hex.
    pub serial: String,
    pub certificate_pem: String,
    /// PKCS#8, DER.
    pub key_der: Vec<u8>,
    pub server_authority_pem: String,
    renew_at: Timestamp,
}

/// This server's; made when it is needed first, and anew at two thirds of its life.
pub async fn replica_identity(services: &Services) -> Result<Arc<ReplicaIdentity>> {
    let now = services.clock().now();
    let known = services.authorities().replica.read().clone();
    if let Some(known) = known.filter(|known| now < known.renew_at) {
        return Ok(known);
    }
    let authority = server_authority(services).await?;
    let until = now.saturating_add(SERVER_LIFETIME).map_err(crypto)?;
    let key = KeyPair::generate().map_err(crypto)?;
    let signed = sign(&authority, Subject::Replica(services.settings().replica), &key, now, until)?;
    let made = Arc::new(ReplicaIdentity {
        serial: signed.serial,
        certificate_pem: signed.pem,
        key_der: key.serialize_der(),
        server_authority_pem: authority.certificate_pem.clone(),
        renew_at: now.saturating_add(SERVER_LIFETIME * 2 / 3).map_err(crypto)?,
    });
    *services.authorities().replica.write() = Some(made.clone());
    Ok(made)
}

/// The authorities of all tenants, PEM.
pub async fn client_authorities(services: &Services) -> Result<Vec<String>> {
    Ok(store::certificates::authorities(services.store()).await?)
}

/// Whose certificate this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Subject {
    Host(HostId),
    Zero(ZeroCertificateId),
    Replica(uuid::Uuid),
}

/// A certificate that was signed just now.
pub(crate) struct Signed {
    /// Lower-case hex.
    pub serial: String,
    pub pem: String,
}

/// Signs a client's certificate. Everything but the public key is ours.
pub(crate) fn sign(
    authority: &Authority,
    subject: Subject,
    key: &impl PublicKeyData,
    now: Timestamp,
    until: Timestamp,
) -> Result<Signed> {
    let (unit, id, urn) = match subject {
        Subject::Host(id) => ("host", id.to_string(), format!("urn:berth:host:{id}")),
        Subject::Zero(id) => ("zero certificate", id.to_string(), format!("urn:berth:zero-certificate:{id}")),
        Subject::Replica(id) => ("replica", id.to_string(), format!("urn:berth:replica:{id}")),
    };
    let serial = new_serial()?;
    let mut params = CertificateParams::default();
    params.distinguished_name = name(unit, &id);
    params.subject_alt_names = vec![SanType::URI(urn.as_str().try_into().map_err(crypto)?)];
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    set_life(&mut params, now, until);
    let pem = params.signed_by(key, &authority.issuer).map_err(crypto)?.pem();
    Ok(Signed { serial: hex::encode(serial), pem })
}

/// A new key pair, for a zero certificate.
pub(crate) fn new_key() -> Result<KeyPair> {
    KeyPair::generate().map_err(crypto)
}

/// The public key of a certificate signing request, and nothing else of it.
pub(crate) struct Requested {
    pub key: SubjectPublicKeyInfo,
    /// SHA-256 of the key, lower-case hex.
    pub hash: String,
}

/// Checks the request's own signature, which proves that whoever sends it holds the key. Names, usages and extensions
/// in it are ignored.
pub(crate) fn read_csr(der: &[u8]) -> Result<Requested> {
    let bad = |why: &str| Error::invalid("csr", why);
    if der.len() > MAX_CSR_BYTES {
        return Err(bad("is larger than 8 KiB"));
    }
    let (rest, csr) =
        X509CertificationRequest::from_der(der).map_err(|_| bad("is no signing request (PKCS#10, DER)"))?;
    if !rest.is_empty() {
        return Err(bad("has bytes after its end"));
    }
    csr.verify_signature().map_err(|_| bad("is not signed by the key that it names"))?;
    let spki = csr.certification_request_info.subject_pki.raw;
    let key = SubjectPublicKeyInfo::from_der(spki)
        .map_err(|_| bad("names a kind of key that is not known; use ECDSA P-256"))?;
    if *key.algorithm() != rcgen::PKCS_ECDSA_P256_SHA256 {
        return Err(bad("has to name an ECDSA P-256 key"));
    }
    Ok(Requested { key, hash: hex::encode(Sha256::digest(spki)) })
}

/// The serial of a certificate in DER, lower-case hex; `None` if it is none.
pub fn serial_of(der: &[u8]) -> Option<String> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    Some(hex::encode(certificate.raw_serial()))
}

/// Whose certificate has this serial (lower-case hex); `None` if it is nobody's any more.
pub async fn holder(services: &Services, serial: &str) -> Result<Option<Holder>> {
    Ok(store::certificates::holder(services.store(), serial).await?)
}
