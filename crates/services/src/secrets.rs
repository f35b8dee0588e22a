//! Secrets: passwords, and random secrets that are shown once.

use std::sync::{Arc, OnceLock};

use argon2::{
    Algorithm, Argon2, Params, PasswordHash, PasswordHasher, PasswordVerifier, Version,
    password_hash::{Salt, SaltString},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use rand::TryRngCore;
use sha2::{Digest, Sha256};
use tokio::sync::Semaphore;

use crate::{Error, Result};

/// OWASP's first recommendation for argon2id: 19 MiB, two passes, one lane.
const MEMORY_KIB: u32 = 19 * 1024;
const PASSES: u32 = 2;
const LANES: u32 = 1;
/// Those who may wait for a hash; more are told to come back.
const MAX_WAITING: usize = 64;

/// Hex SHA-256, as the database keeps random secrets.
pub(crate) fn digest(secret: &str) -> String {
    hex::encode(Sha256::digest(secret.as_bytes()))
}

fn fill(bytes: &mut [u8]) -> Result<()> {
    let failed = |error| Error::Internal(format!("the system gives no random bytes: {error}"));
    rand::rngs::OsRng.try_fill_bytes(bytes).map_err(failed)
}

/// `bytes` random bytes in URL-safe base64.
pub(crate) fn random(bytes: usize) -> Result<String> {
    let mut secret = vec![0; bytes];
    fill(&mut secret)?;
    Ok(URL_SAFE_NO_PAD.encode(secret))
}

/// Hashes and checks passwords on threads of their own, a few at a time: each takes 19 MiB and tens of milliseconds of a
/// core, and must hold up neither requests nor memory.
#[derive(Clone)]
pub(crate) struct Passwords {
    /// Permits for running and for waiting: who gets none of the second is refused.
    running: Arc<Semaphore>,
    admitted: Arc<Semaphore>,
}

impl Default for Passwords {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from).min(8);
        Self { running: Arc::new(Semaphore::new(cores)), admitted: Arc::new(Semaphore::new(cores + MAX_WAITING)) }
    }
}

fn argon2() -> Result<Argon2<'static>> {
    let params = Params::new(MEMORY_KIB, PASSES, LANES, None)
        .map_err(|error| Error::Internal(format!("argon2's parameters: {error}")))?;
    Ok(Argon2::new(Algorithm::Argon2id, Version::V0x13, params))
}

fn hash_now(password: &str) -> Result<String> {
    let mut bytes = [0; Salt::RECOMMENDED_LENGTH];
    fill(&mut bytes)?;
    let salt = SaltString::encode_b64(&bytes).map_err(|error| Error::Internal(format!("argon2's salt: {error}")))?;
    let hash = argon2()?
        .hash_password(password.as_bytes(), &salt)
        .map_err(|error| Error::Internal(format!("argon2: {error}")))?;
    Ok(hash.to_string())
}

/// A hash that no password of anybody's has: checked where there is no person or no password, so that the answer takes
/// as long as for one that exists.
fn decoy() -> Result<&'static str> {
    static DECOY: OnceLock<String> = OnceLock::new();
    if let Some(hash) = DECOY.get() {
        return Ok(hash);
    }
    let hash = hash_now(&random(32)?)?;
    Ok(DECOY.get_or_init(|| hash))
}

impl Passwords {
    async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
        let busy = || Error::Unavailable("too many people sign in at this moment; try again in a few seconds".into());
        let _admitted = self.admitted.clone().try_acquire_owned().map_err(|_| busy())?;
        let running = self.running.clone().acquire_owned().await.map_err(|_| busy())?;
        tokio::task::spawn_blocking(move || {
            // Held by the thread: a caller who goes away does not make room before the work is done.
            let _running = running;
            work()
        })
        .await
        .map_err(|error| Error::Internal(format!("password hashing: {error}")))?
    }

    /// A PHC string.
    pub(crate) async fn hash(&self, password: String) -> Result<String> {
        self.run(move || hash_now(&password)).await
    }

    /// Whether `password` is the one of `hash`; takes as long without a hash, and is false.
    pub(crate) async fn check(&self, password: String, hash: Option<String>) -> Result<bool> {
        self.run(move || {
            let known = hash.is_some();
            let text = match hash {
                Some(hash) => hash,
                None => decoy()?.to_owned(),
            };
            let parsed =
                PasswordHash::new(&text).map_err(|error| Error::Internal(format!("a stored hash: {error}")))?;
            let matches = argon2()?.verify_password(password.as_bytes(), &parsed).is_ok();
            Ok(matches && known)
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_password_is_known_by_its_hash_alone() {
        let passwords = Passwords::default();
        let hash = passwords.hash("correct horse battery".into()).await.unwrap();
        assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
        assert!(!hash.contains("horse"));
        assert!(passwords.check("correct horse battery".into(), Some(hash.clone())).await.unwrap());
        assert!(!passwords.check("correct horse batterz".into(), Some(hash.clone())).await.unwrap());
        assert!(!passwords.check("correct horse battery".into(), None).await.unwrap());
        assert_ne!(hash, passwords.hash("correct horse battery".into()).await.unwrap(), "each has a salt of its own");
    }

    #[tokio::test]
    async fn those_who_come_too_many_are_told_to_come_back() {
        let passwords = Passwords { running: Arc::new(Semaphore::new(1)), admitted: Arc::new(Semaphore::new(1)) };
        let held = passwords.admitted.clone().try_acquire_owned().unwrap();
        assert!(matches!(passwords.hash("x".into()).await, Err(Error::Unavailable(_))));
        drop(held);
        assert!(passwords.hash("x".into()).await.is_ok());
    }

    #[test]
    fn secrets_differ_and_have_256_bits() {
        let (a, b) = (random(32).unwrap(), random(32).unwrap());
        assert_ne!(a, b);
        assert_eq!(a.len(), 43);
        assert_eq!(digest("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }
}
