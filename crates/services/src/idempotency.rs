//! Requests that may be sent again: with the same Idempotency-Key and the same content, the same answer, once done.

use std::{collections::HashSet, sync::Arc};

use domain::{access::Permit, events::EventKind};
use parking_lot::Mutex;
use store::{
    StoreError, Tx,
    idempotency::{Claimant, Known, Made},
};
use uuid::Uuid;

pub use store::idempotency::Answer;

use crate::{Call, Error, Result, Services, secrets};

/// Longest key, in bytes.
pub const MAX_KEY_BYTES: usize = 200;
/// Longest answer that is kept, in bytes; a longer one is not repeated and the key is given back.
pub const MAX_ANSWER_BYTES: usize = 256 * 1024;

/// The claims under which this process works.
#[derive(Debug, Clone, Default)]
pub(crate) struct UnderWay(Arc<Mutex<HashSet<Uuid>>>);

/// Ends with the work, however that ends.
#[derive(Debug)]
struct Working {
    under_way: UnderWay,
    claim: Uuid,
}

impl UnderWay {
    fn begin(&self, claim: Uuid) -> Working {
        self.0.lock().insert(claim);
        Working { under_way: self.clone(), claim }
    }
}

impl Drop for Working {
    fn drop(&mut self) {
        self.under_way.0.lock().remove(&self.claim);
    }
}

/// What to do with a request.
#[derive(Debug)]
pub enum Decision {
    /// Do the work with [`Claim::call`], then [`Claim::answer`] or [`Claim::release`].
    Work(Claim),
    /// It was done, but its server died before it kept the answer: put it together from what was made.
    Remake { claim: Claim, kind: EventKind, made: Uuid },
    /// It was done; this was the answer.
    Repeat(Answer),
}

/// A key that this request holds.
#[derive(Debug)]
pub struct Claim {
    services: Services,
    permit: Permit,
    call: Call,
    key: Arc<str>,
    id: Uuid,
    _working: Working,
}

/// The claim under which a call writes.
#[derive(Debug, Clone)]
pub struct Held {
    key: Arc<str>,
    claim: Uuid,
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
    let works_under = |claim: Uuid| services.under_way().0.lock().contains(&claim);
    let claimant = Claimant { owner: services.settings().replica, works_under: &works_under };
    let tx = services.store().begin().await?;
    let known = store::idempotency::claim(&tx, &permit, call.actor.person, key, &hash, claimant, now).await?;
    let held = |id: Uuid| Claim {
        services: services.clone(),
        permit: permit.clone(),
        call: call.clone(),
        key: key.into(),
        id,
        _working: services.under_way().begin(id),
    };
    // Noted before the commit: nobody may find the claim and miss the work.
    let decision = match known {
        Known::Claimed(id) => Ok(Decision::Work(held(id))),
        Known::Done { request_hash, made: Made { kind, id }, claim } if request_hash == hash => {
            Ok(Decision::Remake { claim: held(claim), kind, made: id })
        }
        Known::InFlight { request_hash } if request_hash == hash => Err(Error::Conflict(
            "the first request with this Idempotency-Key is still being answered; ask again in a moment".into(),
        )),
        Known::Answered { request_hash, answer } if request_hash == hash => Ok(Decision::Repeat(answer)),
        Known::InFlight { .. } | Known::Answered { .. } | Known::Done { .. } => {
            let why = "was used for another request; take a new key for a new request";
            Err(Error::invalid("Idempotency-Key", why))
        }
    };
    tx.commit().await?;
    decision
}

/// Whether the call's claim holds, and goes on holding until the transaction ends. If not, the same request was sent again
/// and is done there: nothing may be made.
pub(crate) async fn holds(tx: &Tx, call: &Call) -> std::result::Result<bool, StoreError> {
    let Some(Held { key, claim }) = &call.held else { return Ok(true) };
    let permit = Permit::system(call.actor.tenant);
    store::idempotency::holds(tx, &permit, call.actor.person, key, *claim).await
}

/// Notes what a call made under a claim that [`holds`], in the transaction that makes it: should this server die before it
/// answers, whoever asks again learns of it.
pub(crate) async fn bind(tx: &Tx, call: &Call, kind: EventKind, made: Uuid) -> std::result::Result<(), StoreError> {
    let Some(Held { key, claim }) = &call.held else { return Ok(()) };
    let (permit, made) = (Permit::system(call.actor.tenant), Made { kind, id: made });
    store::idempotency::bind(tx, &permit, call.actor.person, key, *claim, made).await
}

/// What a request is told whose claim holds no longer.
pub(crate) fn overtaken() -> Error {
    Error::Conflict("this request was sent again meanwhile, and is answered there".to_owned())
}

impl Claim {
    /// The caller, with the claim under which their request writes.
    pub fn call(&self) -> Call {
        Call { held: Some(Held { key: self.key.clone(), claim: self.id }), ..self.call.clone() }
    }
    /// Keeps the answer for those who ask again.
    pub async fn answer(self, answer: Answer) -> Result<()> {
        let tx = self.services.store().begin().await?;
        let person = self.call.actor.person;
        store::idempotency::answer(&tx, &self.permit, person, &self.key, self.id, answer).await?;
        tx.commit().await?;
        Ok(())
    }
    /// Nothing was done: whoever asks again is served anew.
    pub async fn release(self) -> Result<()> {
        let tx = self.services.store().begin().await?;
        store::idempotency::release(&tx, &self.permit, self.call.actor.person, &self.key, self.id).await?;
        tx.commit().await?;
        Ok(())
    }
}
