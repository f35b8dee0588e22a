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
/// The most characters of an address that the audit log keeps of somebody who did not get in.
const MAX_QUOTED_CHARS: usize = 100;
/// The most refusals in the window that a tenant's audit log lists one by one.
const MAX_AUDITED: u64 = 1_000;
/// Whom the audit log names where nobody is signed in.
const NOBODY: &str = "somebody not signed in";

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

/// Seconds to wait, if `key` has had as many attempts as it may.
async fn over_limit(tx: &Tx, key: &str, most: u64, now: Timestamp) -> Result<Option<u64>> {
    let (count, first) = attempts::count(tx, key, now - WINDOW).await?;
    Ok(first.filter(|_| count >= most).map(|first| {
        let wait = (first + WINDOW).duration_since(now).as_secs().max(1);
        wait.unsigned_abs()
    }))
}

/// Who tries to get in, as they say it; for the audit log.
struct Attempt<'a> {
    email: &'a str,
    address: IpAddr,
    request_id: Option<&'a str>,
}

/// What somebody wrote, fit for a log: bounded, without control characters.
fn quoted(text: &str) -> String {
    let plain = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    let mut cut: String = plain.take(MAX_QUOTED_CHARS).collect();
    if text.chars().nth(MAX_QUOTED_CHARS).is_some() {
        cut.push('…');
    }
    cut
}

/// Notes a refusal in the audit log of the person's tenant, or the oldest one where nobody is known. Whoever sends refused
/// attempts by the thousand fills no log: past [`MAX_AUDITED`] in the window there is one line that says so.
async fn note_refusal(
    services: &Services,
    tx: &Tx,
    action: &'static str,
    attempt: &Attempt<'_>,
    person: Option<&Person>,
    why: &str,
) -> Result<()> {
    let now = services.clock().now();
    let tenant = match person {
        Some(person) => person.tenant,
        None => match store::tenants::list_in(tx).await?.first() {
            Some((tenant, _)) => *tenant,
            // Nobody is there whose log it could be.
            None => return Ok(()),
        },
    };
    let counted = secrets::digest(&format!("audited {tenant}"));
    let (noted, _) = attempts::count(tx, &counted, now - WINDOW).await?;
    let Attempt { email, address, request_id } = attempt;
    let detail = match noted.cmp(&MAX_AUDITED) {
        std::cmp::Ordering::Less => format!("'{}' from {address}: {why}", quoted(email)),
        std::cmp::Ordering::Equal => "more refusals than are listed one by one; the metrics count them all".to_owned(),
        std::cmp::Ordering::Greater => return Ok(()),
    };
    attempts::add(tx, &counted, now).await?;
    let (subject_kind, subject_id) = match person {
        Some(person) => ("person", person.id.to_string()),
        None => ("account", quoted(email)),
    };
    let line = Entry { action, subject_kind, subject_id, detail };
    Ok(store::audit::append(tx, &Permit::system(tenant), NOBODY, line, *request_id, now).await?)
}

/// Counts the attempt before anything is checked, so that a hundred at once are a hundred.
async fn admit(services: &Services, keys: &Keys, attempt: &Attempt<'_>) -> Result<()> {
    let now = services.clock().now();
    let tx = services.store().begin().await?;
    attempts::lock(&tx, &keys.account).await?;
    attempts::lock(&tx, &keys.address).await?;
    for (key, most, whose) in
        [(&keys.account, MAX_ON_ACCOUNT, "on this account"), (&keys.address, MAX_FROM_ADDRESS, "from this address")]
    {
        let Some(retry_after_s) = over_limit(&tx, key, most, now).await? else { continue };
        metrics::counter!("berth_sign_ins_total", "result" => "throttled").increment(1);
        // Once for as long as it lasts, not for each attempt.
        let throttled = secrets::digest(&format!("throttled {key}"));
        if attempts::count(&tx, &throttled, now - WINDOW).await?.0 == 0 {
            attempts::add(&tx, &throttled, now).await?;
            let why = format!("{most} failed attempts {whose} in {} min; none is let in for a while", WINDOW.as_mins());
            note_refusal(services, &tx, "sign-in.throttled", attempt, None, &why).await?;
            tx.commit().await?;
        }
        return Err(Error::TooMany { retry_after_s });
    }
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
    let attempt = Attempt { email, address, request_id };
    // Unfit input opens no account; it is counted and takes its time like any other.
    let email = domain::people::email(email).unwrap_or_default();
    let keys = Keys::new(&email, address);
    admit(services, &keys, &attempt).await?;
    let found = store::people::by_email(services.store(), &email).await?;
    let hash = found.as_ref().and_then(|found| found.password_hash.clone());
    let fits = password.len() <= MAX_PASSWORD_BYTES;
    let matches = services.passwords().check(if fits { password } else { String::new() }, hash).await?;
    let tx = services.store().begin().await?;
    let why = match &found {
        None => Some("no such account"),
        Some(found) if found.person.locked => Some("locked"),
        Some(found) if found.password_hash.is_none() => Some("no password is set"),
        Some(_) if !fits || !matches => Some("wrong password"),
        Some(_) => None,
    };
    let person = match (found, why) {
        (Some(found), None) => found.person,
        (found, why) => {
            metrics::counter!("berth_sign_ins_total", "result" => "refused").increment(1);
            tracing::info!(%address, request_id, "a sign-in was refused");
            let person = found.as_ref().map(|found| &found.person);
            note_refusal(services, &tx, "sign-in.refused", &attempt, person, why.unwrap_or("refused")).await?;
            tx.commit().await?;
            return Ok(None);
        }
    };
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
    let attempt = Attempt { email: "one-time link", address, request_id };
    admit(services, &keys, &attempt).await?;
    let tx = services.store().begin().await?;
    let used = match secret.len() {
        LINK_CHARS => store::one_time_links::use_up(&tx, &secrets::digest(secret), now).await?,
        _ => None,
    };
    let person = match used {
        None => None,
        Some((tenant, person)) => store::people::get_in(&tx, &Permit::system(tenant), person).await?,
    };
    if person.as_ref().is_none_or(|person| person.locked) {
        metrics::counter!("berth_sign_ins_total", "result" => "refused").increment(1);
        let why = if person.is_some() { "locked" } else { "used, over or void" };
        note_refusal(services, &tx, "sign-in.refused", &attempt, person.as_ref(), why).await?;
        tx.commit().await?;
        return Ok(None);
    }
    let Some(person) = person else { return Ok(None) };
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
            if let Some(retry_after_s) = over_limit(&tx, &keys.account, MAX_ON_ACCOUNT, now).await? {
                return Err(Error::TooMany { retry_after_s });
            }
            attempts::add(&tx, &keys.account, now).await?;
            tx.commit().await?;
            let hash = store::people::password_hash(services.store(), &permit, person).await?;
            let fits = current.len() <= MAX_PASSWORD_BYTES;
            if !fits || !services.passwords().check(current, hash).await? {
                let tx = services.store().begin().await?;
                let line = entry("account.password-refused", person, "the current password was given wrong");
                audit::record(services, call, &permit, &tx, line).await?;
                tx.commit().await?;
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
    caller_of(services, &secrets::digest(id), request_id).await
}

/// As [`caller`], by the hash that the database knows.
pub(crate) async fn caller_of(services: &Services, id_hash: &str, request_id: Option<String>) -> Result<Option<Call>> {
    let Some(sign_in) = live(services, id_hash).await? else { return Ok(None) };
    let person = store::people::for_door(services.store(), sign_in.person).await?;
    let Some(person) = person.filter(|person| !person.locked) else { return Ok(None) };
    let now = services.clock().now();
    if sign_in.last_seen_at < now - TOUCH_PERIOD {
        let touched = async {
            let tx = services.store().begin().await?;
            store::sign_ins::touch(&tx, id_hash, now).await?;
            tx.commit().await
        };
        // On a full disk one can still read.
        if let Err(error) = touched.await {
            tracing::warn!(%error, "cannot note that a sign-in was used");
        }
    }
    Ok(Some(Call {
        actor: actor(&person),
        person_name: person.name,
        request_id,
        via: Via::SignIn(id_hash.into()),
        held: None,
    }))
}

/// Why somebody who opened a stream may not go on with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Ousted {
    #[error("you are signed out")]
    SignedOut,
    #[error("the token is revoked or over")]
    TokenOver,
    #[error("your account is locked")]
    Locked,
    #[error("your account was removed")]
    Removed,
    #[error("your role was changed; connect again")]
    RoleChanged,
}

/// Why the caller of an open stream may not go on; `None` while they may: neither locked nor removed, with the same role,
/// and the sign-in or token by which they came still good.
pub async fn ousted(services: &Services, call: &Call) -> Result<Option<Ousted>> {
    let person = store::people::for_door(services.store(), call.actor.person).await?;
    let Some(person) = person else { return Ok(Some(Ousted::Removed)) };
    // A lock ends the sign-ins as well, but it is what the person should be told.
    if person.locked {
        return Ok(Some(Ousted::Locked));
    }
    let gone = match &call.via {
        Via::SignIn(id_hash) => live(services, id_hash).await?.is_none().then_some(Ousted::SignedOut),
        Via::Token(token) => {
            let usable = store::tokens::usable_by_id(services.store(), *token, services.clock().now()).await?;
            usable.is_none().then_some(Ousted::TokenOver)
        }
        Via::Person => None,
    };
    Ok(gone.or_else(|| (person.role != call.actor.role).then_some(Ousted::RoleChanged)))
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
