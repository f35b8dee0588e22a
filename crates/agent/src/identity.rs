//! What makes this computer a host: its key, its certificate and the server's address, in one file of the state
//! directory, so that a renewal replaces key and certificate together or not at all.

use std::{
    fs, io,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    time::Duration,
};

use domain::ids::HostId;
use jiff::Timestamp;
use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

/// An agent that was killed leaves its lock for a moment to a process that it was just starting, until that is another program.
const LOCK_WAIT: Duration = Duration::from_secs(2);
const LOCK_POLL: Duration = Duration::from_millis(20);

#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    #[error("{path}: {source}")]
    File { path: PathBuf, source: io::Error },
    #[error("{path} is damaged: {what}; enrol this host again with a zero certificate and --replace")]
    Damaged { path: PathBuf, what: String },
    #[error("this host is not enrolled: run 'berth-agent enroll FILE' with a zero certificate file first")]
    NotEnrolled,
    #[error("another berth-agent uses the state directory {0}")]
    InUse(PathBuf),
    #[error("cannot make a key: {0}")]
    Key(#[from] rcgen::Error),
    #[error("the certificate that the server sent cannot be used: {0}")]
    BadCertificate(String),
}

/// The enrolled host, as stored. Holds the private key: no `Debug`.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Identity {
    /// `https://HOST:PORT` of the server's port for agents.
    pub server: String,
    pub host: HostId,
    pub name: String,
    pub ca_pem: String,
    pub certificate_pem: String,
    pub key_pem: String,
}

/// When a certificate is valid and when to ask for the next one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity {
    pub not_before: Timestamp,
    pub not_after: Timestamp,
}

impl Validity {
    /// Reads it from a certificate in PEM.
    pub fn of(certificate_pem: &str) -> Result<Self, IdentityError> {
        let bad = |what: String| IdentityError::BadCertificate(what);
        let der =
            CertificateDer::from_pem_slice(certificate_pem.as_bytes()).map_err(|error| bad(format!("{error:?}")))?;
        let (_, parsed) = x509_parser::parse_x509_certificate(&der).map_err(|error| bad(error.to_string()))?;
        let at = |seconds: i64| Timestamp::from_second(seconds).map_err(|error| bad(error.to_string()));
        Ok(Self {
            not_before: at(parsed.validity().not_before.timestamp())?,
            not_after: at(parsed.validity().not_after.timestamp())?,
        })
    }

    /// Two thirds of its life (DESIGN D4).
    pub fn renew_at(self) -> Timestamp {
        let life = self.not_after.duration_since(self.not_before);
        self.not_before.saturating_add(life / 3 * 2).unwrap_or(self.not_after)
    }
}

/// A fresh ECDSA P-256 key in PEM.
pub fn make_key() -> Result<String, IdentityError> {
    Ok(KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?.serialize_pem())
}

/// A CSR in DER for the key. The server takes only the public key from it, so it names nothing.
pub fn make_csr(key_pem: &str) -> Result<Vec<u8>, IdentityError> {
    let key = KeyPair::from_pem(key_pem)?;
    let request = CertificateParams::default().serialize_request(&key)?;
    Ok(request.der().to_vec())
}

/// The state directory's part that belongs to the link.
#[derive(Debug, Clone)]
pub struct StateDir(PathBuf);

impl StateDir {
    /// Makes the directory, readable by its owner alone.
    pub fn open(path: &Path) -> Result<Self, IdentityError> {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .map_err(|source| IdentityError::File { path: path.to_owned(), source })?;
        Ok(Self(path.to_owned()))
    }

    pub fn journal_path(&self) -> PathBuf {
        self.0.join("journal.db")
    }
    fn identity_path(&self) -> PathBuf {
        self.0.join("identity.toml")
    }
    fn enroll_key_path(&self) -> PathBuf {
        self.0.join("enroll-key.pem")
    }

    /// Held while the agent runs; two agents on one journal would run things twice.
    pub async fn lock(&self) -> Result<StateLock, IdentityError> {
        let path = self.0.join("lock");
        let file = fs::OpenOptions::new()
            .create(true)
            .write(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(|source| IdentityError::File { path: path.clone(), source })?;
        let deadline = Instant::now() + LOCK_WAIT;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(StateLock(file)),
                Err(fs::TryLockError::WouldBlock) if Instant::now() < deadline => tokio::time::sleep(LOCK_POLL).await,
                Err(fs::TryLockError::WouldBlock) => return Err(IdentityError::InUse(self.0.clone())),
                Err(fs::TryLockError::Error(source)) => return Err(IdentityError::File { path, source }),
            }
        }
    }

    pub fn identity(&self) -> Result<Option<Identity>, IdentityError> {
        let path = self.identity_path();
        let Some(text) = read(&path)? else { return Ok(None) };
        toml::from_str(&text)
            .map(Some)
            .map_err(|error| IdentityError::Damaged { path, what: error.message().to_owned() })
    }

    /// Replaces the identity, and forgets the key that enrolment used.
    pub fn store_identity(&self, identity: &Identity) -> Result<(), IdentityError> {
        let path = self.identity_path();
        let text = toml::to_string(identity)
            .map_err(|error| IdentityError::Damaged { path: path.clone(), what: error.to_string() })?;
        write(&path, &text)?;
        remove(&self.enroll_key_path())
    }

    pub fn forget_identity(&self) -> Result<(), IdentityError> {
        remove(&self.identity_path())?;
        remove(&self.enroll_key_path())
    }

    /// The key to enrol with: the one of an earlier attempt whose answer was lost, or a new one, stored before use.
    pub fn enroll_key(&self) -> Result<String, IdentityError> {
        let path = self.enroll_key_path();
        if let Some(pem) = read(&path)? {
            return Ok(pem);
        }
        let pem = make_key()?;
        write(&path, &pem)?;
        Ok(pem)
    }
}

/// Unlocks when dropped.
#[derive(Debug)]
pub struct StateLock(#[expect(dead_code, reason = "the open file is the lock")] fs::File);

fn read(path: &Path) -> Result<Option<String>, IdentityError> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(IdentityError::File { path: path.to_owned(), source }),
    }
}

fn remove(path: &Path) -> Result<(), IdentityError> {
    match fs::remove_file(path) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(source) => Err(IdentityError::File { path: path.to_owned(), source }),
    }
}

fn write(path: &Path, text: &str) -> Result<(), IdentityError> {
    crate::whole::write(path, text.as_bytes()).map_err(|source| IdentityError::File { path: path.to_owned(), source })
}

/// Certificate chain and key as rustls takes them.
pub(crate) fn read_pem(
    certificate_pem: &str,
    key_pem: &str,
) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), IdentityError> {
    let bad = |what: &str, error: rustls_pki_types::pem::Error| {
        IdentityError::BadCertificate(format!("the {what} is no PEM: {error:?}"))
    };
    let chain = CertificateDer::pem_slice_iter(certificate_pem.as_bytes())
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| bad("certificate", error))?;
    if chain.is_empty() {
        return Err(IdentityError::BadCertificate("no certificate is in it".to_owned()));
    }
    let key = PrivateKeyDer::from_pem_slice(key_pem.as_bytes()).map_err(|error| bad("key", error))?;
    Ok((chain, key))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_lock_that_a_killed_agent_left_for_a_moment_is_waited_for() {
        let folder = tempfile::tempdir().expect("a folder");
        let state = StateDir::open(&folder.path().join("state")).expect("is made");
        let left = state.lock().await.expect("nobody has it");
        let waits = tokio::time::timeout(LOCK_WAIT / 10, state.lock()).await;
        assert!(waits.is_err(), "{waits:?}");
        let (taken, ()) = tokio::join!(state.lock(), async {
            tokio::time::sleep(LOCK_POLL * 5).await;
            drop(left);
        });
        let taken = taken.expect("is free by now");
        assert!(matches!(state.lock().await, Err(IdentityError::InUse(_))), "an agent has it: {taken:?}");
    }
}
