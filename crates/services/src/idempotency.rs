//! Requests that may be sent again: with the same Idempotency-Key and the same content, the same answer, once done.

use domain::access::Permit;
use store::idempotency::Known;

use crate::{Call, Error, Result, Services, secrets};

/// Longest key, in bytes.
pub const MAX_KEY_BYTES: usize = 200;
/// Longest answer that is kept, in bytes; a longer one is not repeated and the key is given back.
pub const MAX_ANSWER_BYTES: usize = 256 * 1024;

/// What to do with a request.
#[derive(Debug)]
pub enum Decision {
    /// Do the work, then [`Claim::answer`] or [`Claim::release`].
    Work(Claim),
    /// It was done; this was the answer.
    Repeat { status: u16, body: String },
}

/// A key that this request holds.
#[derive(Debug)]
pub struct Claim {
    services: Services,
    permit: Permit,
    call: Call,
    key: String,
}

/// Claims `key` for the caller's request with this content (method, path and body).
///
/// # Errors
/// [`Error::Invalid`] if the key was used for another content or is unfit, [`Error::Conflict`] while the first request
/// with it is still being answered.
pub async fn claim(services: &Services, call: &Call, key: &str, content: &str) -> Result<Decision> {
    if key.is_empty() || key.len() > MAX_KEY_BYTES || !key.bytes().all(|b| b.is_ascii_graphic()) {
        let why = format!("use 1 to {MAX_KEY_BYTES} visible ASCII characters, a UUID for example");
        return Err(Error::invalid("Idempotency-Key", why));
    }
    let permit = Permit::system(call.actor.tenant);
    let hash = secrets::digest(content);
    let now = services.clock().now();
    let tx = services.store().begin().await?;
    let known = store::idempotency::claim(&tx, &permit, call.actor.person, key, &hash, now).await?;
    tx.commit().await?;
    let other = || Error::invalid("Idempotency-Key", "was used for another request; take a new key for a new request");
    match known {
        Known::Claimed => {
            Ok(Decision::Work(Claim { services: services.clone(), permit, call: call.clone(), key: key.to_owned() }))
        }
        Known::InFlight { request_hash } if request_hash == hash => Err(Error::Conflict(
            "the first request with this Idempotency-Key is still being answered; ask again in a moment".into(),
        )),
        Known::Answered { request_hash, status, response } if request_hash == hash => Ok(Decision::Repeat {
            status: u16::try_from(status).map_err(|_| Error::Internal(format!("a stored status {status}")))?,
            body: response,
        }),
        Known::InFlight { .. } | Known::Answered { .. } => Err(other()),
    }
}

impl Claim {
    /// Keeps the answer for those who ask again.
    pub async fn answer(self, status: u16, body: String) -> Result<()> {
        let tx = self.services.store().begin().await?;
        let person = self.call.actor.person;
        store::idempotency::answer(&tx, &self.permit, person, &self.key, i32::from(status), body).await?;
        tx.commit().await?;
        Ok(())
    }
    /// Nothing was done: whoever asks again is served anew.
    pub async fn release(self) -> Result<()> {
        let tx = self.services.store().begin().await?;
        store::idempotency::release(&tx, &self.permit, self.call.actor.person, &self.key).await?;
        tx.commit().await?;
        Ok(())
    }
}
