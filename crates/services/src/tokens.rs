//! API tokens: make, list, revoke, and who a token speaks for.

use domain::{
    access::{Action, Actor, Permit},
    events::EventKind,
    ids::{PersonId, TokenId},
    tokens::{DEFAULT_DAYS, MAX_DAYS, MAX_NAME_CHARS, MAX_TOKENS, PREFIX, SECRET_BYTES, Scope, Token, is_well_formed},
};
use jiff::SignedDuration;
use store::{Tx, audit::Entry, tokens::NewToken};

use crate::{
    Call, Error, Result, Services, Via, audit,
    page::{Page, PageAsk},
    secrets,
};

/// The last use is written at most this often.
const TOUCH_PERIOD: SignedDuration = SignedDuration::from_secs(60);

/// What a token is to be.
pub(crate) struct Wanted<'a> {
    pub name: &'a str,
    pub scope: Scope,
    pub days: u32,
    /// The token with which it is made.
    pub parent: Option<Token>,
}

pub(crate) async fn make(
    services: &Services,
    tx: &Tx,
    permit: &Permit,
    person: PersonId,
    wanted: Wanted<'_>,
) -> Result<(Token, String)> {
    let now = services.clock().now();
    let secret = format!("{PREFIX}{}", secrets::random(SECRET_BYTES)?);
    let end = now + SignedDuration::from_hours(24 * i64::from(wanted.days));
    let parent = wanted.parent.as_ref();
    let new = NewToken {
        name: wanted.name.to_owned(),
        scope: parent.map_or(wanted.scope, |parent| parent.scope.min(wanted.scope)),
        hash: secrets::digest(&secret),
        expires_at: parent.map_or(end, |parent| parent.expires_at.min(end)),
        parent: parent.map(|parent| parent.id),
    };
    Ok((store::tokens::create(tx, permit, person, new, now).await?, secret))
}

/// The token by which the caller came, held until the transaction ends: it cannot be revoked past what is made with it.
async fn parent(tx: &Tx, call: &Call, now: jiff::Timestamp) -> Result<Option<Token>> {
    match &call.via {
        Via::SignIn(_) | Via::Person => Ok(None),
        Via::Token(token) => Ok(Some(store::tokens::usable_in(tx, *token, now).await?.ok_or(Error::NotSignedIn)?)),
    }
}

/// Makes a token of the caller's; the second value is the token itself, which is shown this once. One that is made with a
/// token is revoked with it, and has neither a wider scope nor a longer life.
pub async fn create(
    services: &Services,
    call: &Call,
    name: &str,
    scope: Scope,
    days: Option<u32>,
) -> Result<(Token, String)> {
    let permit = call.permit(Action::TokensOwn)?;
    let name = name.trim();
    if !(1..=MAX_NAME_CHARS).contains(&name.chars().count()) || name.chars().any(char::is_control) {
        return Err(Error::invalid("name", format!("say what it is for, in 1 to {MAX_NAME_CHARS} characters")));
    }
    let days = days.unwrap_or(DEFAULT_DAYS);
    if !(1..=MAX_DAYS).contains(&days) {
        return Err(Error::invalid("expires_in_days", format!("{days} is not from 1 to {MAX_DAYS}")));
    }
    let now = services.clock().now();
    let person = call.actor.person;
    let tx = services.store().begin().await?;
    if store::tokens::count(&tx, person, now).await? >= MAX_TOKENS {
        let why = format!("you have {MAX_TOKENS} tokens, which is the most; revoke one that you do not need");
        return Err(Error::Conflict(why));
    }
    let parent = parent(&tx, call, now).await?;
    let with = parent.as_ref().map(|parent| format!(", with the token '{}'", parent.name)).unwrap_or_default();
    let (token, secret) = make(services, &tx, &permit, person, Wanted { name, scope, days, parent }).await?;
    let detail = format!("{name}, {}, until {}{with}", token.scope, token.expires_at);
    audit::record(services, call, &permit, &tx, entry("tokens.create", token.id, detail)).await?;
    store::events::append(&tx, &permit, EventKind::Token, token.id, "created", now).await?;
    tx.commit().await?;
    services.live().nudge();
    Ok((token, secret))
}

/// The caller's own, newest first.
pub async fn list(services: &Services, call: &Call, ask: &PageAsk) -> Result<Page<Token>> {
    let permit = call.permit(Action::TokensOwn)?;
    let limit = ask.limit()?;
    let before = ask.after::<uuid::Uuid>()?;
    let now = services.clock().now();
    let tokens = store::tokens::list(services.store(), &permit, call.actor.person, before, limit + 1, now).await?;
    Ok(Page::cut(tokens, limit, |token| token.id.uuid()))
}

/// Revokes one of the caller's own and those that were made with it: from now on nobody gets in with them, and streams
/// that they opened end.
pub async fn revoke(services: &Services, call: &Call, token: TokenId) -> Result<()> {
    let permit = call.permit(Action::TokensOwn)?;
    let now = services.clock().now();
    let tx = services.store().begin().await?;
    let found = store::tokens::get_in(&tx, &permit, call.actor.person, token)
        .await?
        .ok_or_else(|| Error::not_found("token", token))?;
    let revoked = store::tokens::revoke(&tx, &permit, token, now).await?;
    let detail = match revoked {
        0 | 1 => found.name,
        more => format!("{}, and {} that were made with it", found.name, more - 1),
    };
    audit::record(services, call, &permit, &tx, entry("tokens.revoke", token, detail)).await?;
    store::events::append(&tx, &permit, EventKind::Token, token, "revoked", now).await?;
    tx.commit().await?;
    services.live().nudge();
    Ok(())
}

/// Who the token speaks for. The same answer for one that never was, is revoked, is over, or whose owner is locked.
pub async fn caller(services: &Services, secret: &str, request_id: Option<String>) -> Result<Call> {
    if !is_well_formed(secret) {
        return Err(Error::NotSignedIn);
    }
    let now = services.clock().now();
    let found = store::tokens::by_hash(services.store(), &secrets::digest(secret), now).await?;
    let (token, person) = found.filter(|(_, person)| !person.locked).ok_or(Error::NotSignedIn)?;
    let stale_before = now - TOUCH_PERIOD;
    if token.last_used_at.is_none_or(|at| at < stale_before) {
        let touched = async {
            let tx = services.store().begin().await?;
            store::tokens::touch(&tx, token.id, stale_before, now).await?;
            tx.commit().await
        };
        // On a full disk one can still read.
        if let Err(error) = touched.await {
            tracing::warn!(%error, "cannot note that a token was used");
        }
    }
    Ok(Call {
        actor: Actor { tenant: person.tenant, person: person.id, role: person.role, scope: token.scope },
        person_name: person.name,
        request_id,
        via: Via::Token(token.id),
        held: None,
    })
}

fn entry(action: &'static str, token: TokenId, detail: String) -> Entry {
    Entry { action, subject_kind: "token", subject_id: token.to_string(), detail }
}
