//! Signing in: passwords, one-time links, browsers' sign-ins, and the limits on guessing.
//!
//! Whoever fails gets one answer, after the same work, whether the account is unknown, locked, without a password, or
//! the password is wrong.

use std::{net::IpAddr, time::Duration};

use domain::{
    access::{Action, Actor, Permit},
    events::EventKind,
    ids::{PersonId, TenantId},
    people::{MAX_PASSWORD_BYTES, Person},
    tokens::Scope,
};
use jiff::{SignedDuration, Timestamp};
use store::{Tx, audit::Entry, sign_ins::SignIn, sign_ins::attempts};
use tokio_util::sync::CancellationToken;

use crate::{Call, Error, Result, Services, Via, audit, secrets};

/// A browser that does nothing for this long is signed out.
pub const IDLE_LIFE: SignedDuration = SignedDuration::from_hours(24);
/// A sign-in ends after this long, however busy it is.
pub const ABSOLUTE_LIFE: SignedDuration = SignedDuration::from_hours(24 * 14);
/// Who came in by a one-time link can choose a password without the old one for this long.
pub const FRESH_LINK: SignedDuration = SignedDuration::from_mins(15);

/// Failed attempts are counted over this long.
const WINDOW: SignedDuration = SignedDuration::from_mins(15);
/// The most failures on one account in the window: guessing a password of 12 characters this way takes for ever.
const MAX_ON_ACCOUNT: u64 = 10;
/// The most failures from one address in the window; an office behind one address shares it.
const MAX_FROM_ADDRESS: u64 = 50;
/// The last use is written at most this often.
const TOUCH_PERIOD: SignedDuration = SignedDuration::from_secs(60);
/// A one-time link's secret in base64.
const LINK_CHARS: usize = 43;

/// What the person proves before they change their password.
pub enum Proof {
    /// The one that they have now.
    Password(String),
    /// They came in by a one-time link less than [`FRESH_LINK`] ago.
    Link,
}

/// The keys under which an attempt is counted, in the order in which they are locked.
struct Keys {
    account: String,
    address: String,
}

impl Keys {
    fn new(account: &str, address: IpAddr) -> Self {
        // A household or office has a /64 of IPv6: counting single addresses would give a guesser 2^64 of them.
        let address = match address.to_canonical() {
            IpAddr::V4(v4) => v4.to_string(),
            IpAddr::V6(v6) => v6.segments()[..4].iter().map(|part| format!("{part:x}:")).collect(),
        };
        // Hashed, so that the table holds no list of addresses that were tried.
        Self {
            account: secrets::digest(&format!("account {account}")),
            address: secrets::digest(&format!("address {address}")),
        }
    }
}

async fn check_limit(tx: &Tx, key: &str, most: u64, now: Timestamp) -> Result<()> {
    let (count, first) = attempts::count(tx, key, now - WINDOW).await?;
    match first {
        Some(first) if count >= most => {
            let wait = (first + WINDOW).duration_since(now).as_secs().max(1);
            Err(Error::TooMany { retry_after_s: wait.unsigned_abs() })
        }
        Some(_) | None => Ok(()),
    }
}

/// Counts the attempt before anything is checked, so that a hundred at once are a hundred.
async fn admit(services: &Services, keys: &Keys) -> Result<()> {
    let now = services.clock().now();
    let tx = services.store().begin().await?;
    attempts::lock(&tx, &keys.account).await?;
    attempts::lock(&tx, &keys.address).await?;
    check_limit(&tx, &keys.account, MAX_ON_ACCOUNT, now).await?;
    check_limit(&tx, &keys.address, MAX_FROM_ADDRESS, now).await?;
    attempts::add(&tx, &keys.account, now).await?;
    attempts::add(&tx, &keys.address, now).await?;
    tx.commit().await?;
    Ok(())
}

/// It was the person: the account's failures are forgotten, the address's others stay.
async fn forgive(tx: &Tx, keys: &Keys) -> Result<()> {
    attempts::clear(tx, &keys.account).await?;
    attempts::take_back(tx, &keys.address).await?;
    Ok(())
}

fn entry(action: &'static str, person: PersonId, detail: &str) -> Entry {
    Entry { action, subject_kind: "person", subject_id: person.to_string(), detail: detail.to_owned() }
}

fn actor(person: &Person) -> Actor {
    Actor { tenant: person.tenant, person: person.id, role: person.role, scope: Scope::All }
}

async fn entered(services: &Services, tx: &Tx, person: &Person, how: &str, request_id: Option<&str>) -> Result<()> {
    let permit = actor(person).permit(Action::AccountOwn)?;
    let line = entry("sign-in", person.id, how);
    Ok(store::audit::append(tx, &permit, &person.name, line, request_id, services.clock().now()).await?)
}

/// Checks address and password; `None` if they do not open an account.
///
/// # Errors
/// [`Error::TooMany`] past the limits, [`Error::Unavailable`] if too many sign in at this moment.
pub async fn with_password(
    services: &Services,
    email: &str,
    password: String,
    address: IpAddr,
    request_id: Option<&str>,
) -> Result<Option<Person>> {
    // Unfit input opens no account; it is counted and takes its time like any other.
    let email = domain::people::email(email).unwrap_or_default();
    let keys = Keys::new(&email, address);
    admit(services, &keys).await?;
    let found = store::people::by_email(services.store(), &email).await?;
    let hash = found.as_ref().and_then(|found| found.password_hash.clone());
    let fits = password.len() <= MAX_PASSWORD_BYTES;
    let matches = services.passwords().check(if fits { password } else { String::new() }, hash).await?;
    let Some(person) = found.map(|found| found.person).filter(|person| fits && matches && !person.locked) else {
        metrics::counter!("berth_sign_ins_total", "result" => "refused").increment(1);
        tracing::info!(%address, request_id, "a sign-in was refused");
        return Ok(None);
    };
    let tx = services.store().begin().await?;
    forgive(&tx, &keys).await?;
    entered(services, &tx, &person, "by password", request_id).await?;
    tx.commit().await?;
    metrics::counter!("berth_sign_ins_total", "result" => "password").increment(1);
    Ok(Some(person))
}

/// Uses a one-time link up; `None` if it opens nothing (used, over, made void, or its person is locked).
pub async fn with_link(
    services: &Services,
    secret: &str,
    address: IpAddr,
    request_id: Option<&str>,
) -> Result<Option<Person>> {
    let now = services.clock().now();
    // Nobody guesses 256 bits; the count keeps the database from being asked without end.
    let keys = Keys::new(&format!("link from {address}"), address);
    admit(services, &keys).await?;
    if secret.len() != LINK_CHARS {
        return Ok(None);
    }
    let tx = services.store().begin().await?;
    let used = store::one_time_links::use_up(&tx, &secrets::digest(secret), now).await?;
    let person = match used {
        None => None,
        Some((tenant, person)) => store::people::get_in(&tx, &Permit::system(tenant), person).await?,
    };
    let Some(person) = person.filter(|person| !person.locked) else {
        metrics::counter!("berth_sign_ins_total", "result" => "refused").increment(1);
        return Ok(None);
    };
    forgive(&tx, &keys).await?;
    entered(services, &tx, &person, "by one-time link", request_id).await?;
    tx.commit().await?;
    metrics::counter!("berth_sign_ins_total", "result" => "link").increment(1);
    Ok(Some(person))
}

/// Keeps a new sign-in under `id`, of which the database gets the hash.
pub async fn begin(services: &Services, id: &str, tenant: TenantId, person: PersonId, data: String) -> Result<()> {
    let now = services.clock().now();
    let sign_in = SignIn {
        id_hash: secrets::digest(id),
        tenant,
        person,
        data,
        created_at: now,
        last_seen_at: now,
        expires_at: now + ABSOLUTE_LIFE,
    };
    let tx = services.store().begin().await?;
    store::sign_ins::create(&tx, &sign_in).await?;
    tx.commit().await?;
    Ok(())
}

/// Writes the data of a sign-in anew; one that has ended meanwhile stays ended.
pub async fn keep(services: &Services, id: &str, data: String) -> Result<()> {
    let tx = services.store().begin().await?;
    store::sign_ins::set_data(&tx, &secrets::digest(id), data).await?;
    tx.commit().await?;
    Ok(())
}

async fn live(services: &Services, id_hash: &str) -> Result<Option<SignIn>> {
    let now = services.clock().now();
    let found = store::sign_ins::get(services.store(), id_hash).await?;
    Ok(found.filter(|sign_in| now < sign_in.expires_at && now < sign_in.last_seen_at + IDLE_LIFE))
}

/// The data of a sign-in that has not ended.
pub async fn data(services: &Services, id: &str) -> Result<Option<String>> {
    Ok(live(services, &secrets::digest(id)).await?.map(|sign_in| sign_in.data))
}

/// Ends one sign-in. Its streams end too.
pub async fn end(services: &Services, id: &str) -> Result<()> {
    let id_hash = secrets::digest(id);
    let Some(sign_in) = store::sign_ins::get(services.store(), &id_hash).await? else { return Ok(()) };
    let tx = services.store().begin().await?;
    if store::sign_ins::end(&tx, &id_hash).await? {
        let permit = Permit::system(sign_in.tenant);
        let now = services.clock().now();
        store::events::append(&tx, &permit, EventKind::Person, sign_in.person, "signed-out", now).await?;
    }
    tx.commit().await?;
    services.live().nudge();
    Ok(())
}

/// Ends every sign-in of the caller, this one too. How many there were.
pub async fn end_everywhere(services: &Services, call: &Call) -> Result<u64> {
    let permit = call.permit(Action::AccountOwn)?;
    let now = services.clock().now();
    let tx = services.store().begin().await?;
    let ended = store::sign_ins::end_all(&tx, call.actor.person, None).await?;
    let line = entry("sign-out.everywhere", call.actor.person, &format!("{ended} sign-ins"));
    audit::record(services, call, &permit, &tx, line).await?;
    store::events::append(&tx, &permit, EventKind::Person, call.actor.person, "signed-out", now).await?;
    tx.commit().await?;
    services.live().nudge();
    Ok(ended)
}

/// Sets the caller's password; all their other sign-ins and open links end. The caller then gives this sign-in a new id.
///
/// # Errors
/// [`Error::Invalid`] with field `current` if the proof does not hold, `new` if the new one is not fit.
pub async fn change_password(services: &Services, call: &Call, proof: Proof, new: String) -> Result<()> {
    let permit = call.permit(Action::AccountOwn)?;
    let Via::SignIn(this) = &call.via else {
        return Err(Error::Conflict("a token cannot change a password; sign in with a browser".into()));
    };
    let person = call.actor.person;
    let found = store::people::get(services.store(), &permit, person).await?.ok_or(Error::NotSignedIn)?;
    domain::people::check_password(&new, &found.email, &found.name)
        .map_err(|unfit| Error::invalid("new", unfit.to_string()))?;
    match proof {
        Proof::Link => {}
        Proof::Password(current) => {
            let keys = Keys::new(&format!("password of {person}"), IpAddr::from([0, 0, 0, 0]));
            let now = services.clock().now();
            let tx = services.store().begin().await?;
            attempts::lock(&tx, &keys.account).await?;
            check_limit(&tx, &keys.account, MAX_ON_ACCOUNT, now).await?;
            attempts::add(&tx, &keys.account, now).await?;
            tx.commit().await?;
            let hash = store::people::password_hash(services.store(), &permit, person).await?;
            let fits = current.len() <= MAX_PASSWORD_BYTES;
            if !fits || !services.passwords().check(current, hash).await? {
                return Err(Error::invalid("current", "is not your password"));
            }
            let tx = services.store().begin().await?;
            attempts::clear(&tx, &keys.account).await?;
            tx.commit().await?;
        }
    }
    let hash = services.passwords().hash(new).await?;
    let now = services.clock().now();
    let tx = services.store().begin().await?;
    store::people::set_password(&tx, &permit, person, hash).await?;
    store::sign_ins::end_all(&tx, person, Some(this)).await?;
    store::one_time_links::delete_all(&tx, person).await?;
    audit::record(services, call, &permit, &tx, entry("account.password", person, "changed")).await?;
    store::events::append(&tx, &permit, EventKind::Person, person, "signed-out", now).await?;
    tx.commit().await?;
    services.live().nudge();
    Ok(())
}

/// Who is signed in under `id`; `None` if nobody is, the sign-in is over, or the person is locked or removed.
pub async fn caller(services: &Services, id: &str, request_id: Option<String>) -> Result<Option<Call>> {
    let id_hash = secrets::digest(id);
    let Some(sign_in) = live(services, &id_hash).await? else { return Ok(None) };
    let person = store::people::for_door(services.store(), sign_in.person).await?;
    let Some(person) = person.filter(|person| !person.locked) else { return Ok(None) };
    let now = services.clock().now();
    if sign_in.last_seen_at < now - TOUCH_PERIOD {
        let tx = services.store().begin().await?;
        store::sign_ins::touch(&tx, &id_hash, now).await?;
        tx.commit().await?;
    }
    Ok(Some(Call { actor: actor(&person), person_name: person.name, request_id, via: Via::SignIn(id_hash.into()) }))
}

/// Whether who opened a stream may go on with it: neither locked nor removed, with the same role, and the sign-in or
/// token by which they came still good.
pub async fn holds(services: &Services, call: &Call) -> Result<bool> {
    let person = match &call.via {
        Via::SignIn(id_hash) => match live(services, id_hash).await? {
            None => None,
            Some(sign_in) => store::people::for_door(services.store(), sign_in.person).await?,
        },
        Via::Token(token) => store::tokens::usable_by_id(services.store(), *token, services.clock().now())
            .await?
            .map(|(_, person)| person),
        Via::Person => store::people::for_door(services.store(), call.actor.person).await?,
    };
    Ok(person.is_some_and(|person| !person.locked && person.id == call.actor.person && person.role == call.actor.role))
}

/// Forgets what is over, once an hour, until `stop`.
pub async fn run(services: Services, stop: CancellationToken) {
    const PERIOD: Duration = Duration::from_secs(3_600);
    loop {
        if let Err(error) = prune(&services).await {
            tracing::warn!(%error, "cannot forget old sign-ins; trying again in an hour");
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(PERIOD) => {}
        }
    }
}

/// Forgets sign-ins, attempts, links and idempotency keys that are over.
pub async fn prune(services: &Services) -> Result<()> {
    let now = services.clock().now();
    let tx = services.store().begin().await?;
    store::sign_ins::prune(&tx, now, now - IDLE_LIFE).await?;
    attempts::prune(&tx, now - WINDOW).await?;
    store::one_time_links::prune(&tx, now).await?;
    store::idempotency::prune(&tx, now - store::idempotency::KEPT_FOR).await?;
    tx.commit().await?;
    Ok(())
}
