//! What Berth does: each operation authorises, decides (by `domain`), stores, tells. REST, pages, the command line and
//! the reconcilers call the same functions. The only caller of `store`.
//!
//! One file a capability. An operation takes [`Services`], the [`Call`] (who asks) and what is asked, and returns the
//! domain's types or an [`Error`], which the edge turns into problem+json.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use domain::access::{Action, Actor, Permit};
use jiff::Timestamp;
use store::Store;

pub mod audit;
pub mod certificates;
pub mod clock;
pub mod demo;
pub mod deployments;
mod error;
pub mod hosts;
pub mod idempotency;
pub mod instructions;
pub mod ledger;
pub mod links;
pub mod live;
pub mod machines;
pub mod notebooks;
pub mod objects;
pub mod page;
pub mod people;
pub mod reconciler;
pub mod replicas;
pub mod reservations;
mod secrets;
pub mod sessions;
pub mod sign_in;
pub mod team;
pub mod tokens;
pub mod zero_certificates;

pub use clock::Clock;
pub use error::{Error, Result};

/// What the operator sets; each has a limit of its own in `berth-server check`.
#[derive(Debug, Clone)]
pub struct Settings {
    pub reservation_max_length: jiff::SignedDuration,
    pub reservation_max_ahead: jiff::SignedDuration,
    /// A booking that nobody takes up is released this long after its session became active.
    pub no_show_after: jiff::SignedDuration,
    /// What people type, without a path: one-time links are made from it.
    pub public_url: String,
    /// Where what people run in the portal answers.
    pub apps: Apps,
    /// The name of the tenant that the first start makes.
    pub tenant_name: String,
    /// Names this replica among several.
    pub replica: uuid::Uuid,
    /// Where agents dial in, `https://HOST:PORT`: what zero certificates say.
    pub agents_url: String,
    /// Seals the authorities' keys; the same for all replicas. Without it no host can join or renew.
    pub server_key: Option<certificates::ServerKey>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            reservation_max_length: domain::reservations::DEFAULT_MAX_LENGTH,
            reservation_max_ahead: domain::reservations::DEFAULT_MAX_AHEAD,
            no_show_after: jiff::SignedDuration::from_mins(30),
            public_url: "http://localhost:8080".to_owned(),
            apps: Apps { scheme: "http", behind: "localhost:8080".to_owned() },
            tenant_name: "berth".to_owned(),
            replica: uuid::Uuid::now_v7(),
            agents_url: "https://localhost:8443".to_owned(),
            server_key: None,
        }
    }
}

/// The origins of notebooks and deployments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Apps {
    pub scheme: &'static str,
    /// What stands behind a name and a dot: a domain, and its port unless it is the scheme's own.
    pub behind: String,
}

impl Apps {
    /// Of what has this name.
    pub fn origin(&self, name: &str) -> String {
        format!("{}://{name}.{}", self.scheme, self.behind)
    }
}

/// All that operations need. Cheap to clone.
#[derive(Clone)]
pub struct Services {
    inner: Arc<Inner>,
}

struct Inner {
    store: Store,
    since: Timestamp,
    clock: Clock,
    settings: Settings,
    live: live::Hub,
    passwords: secrets::Passwords,
    authorities: certificates::Authorities,
    ledger: ledger::Ledger,
    links: links::Links,
    relay: links::RelaySlot,
    under_way: idempotency::UnderWay,
    noted_use: notebooks::NotedUse,
    entrances: objects::Entrances,
    kept_briefs: objects::KeptBriefs,
    /// The database's disk is full, as far as writes have shown.
    is_full: AtomicBool,
}

/// Whether requests can be served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ready {
    Yes,
    /// The database has another build's schema.
    OtherSchema,
    /// The database's disk is full.
    Full,
}

/// Whoever asks whether the server is ready does not wait longer.
const READY_LIMIT: std::time::Duration = std::time::Duration::from_secs(2);

impl std::fmt::Debug for Services {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Services").field("store", &self.inner.store).finish_non_exhaustive()
    }
}

impl Services {
    pub fn new(store: Store, clock: Clock, settings: Settings) -> Self {
        let inner = Inner {
            store,
            since: clock.now(),
            clock,
            settings,
            live: live::Hub::default(),
            passwords: secrets::Passwords::default(),
            authorities: certificates::Authorities::default(),
            ledger: ledger::Ledger::default(),
            links: links::Links::default(),
            relay: links::RelaySlot::default(),
            under_way: idempotency::UnderWay::default(),
            noted_use: notebooks::NotedUse::default(),
            entrances: objects::Entrances::default(),
            kept_briefs: objects::KeptBriefs::default(),
            is_full: AtomicBool::new(false),
        };
        Self { inner: Arc::new(inner) }
    }
    /// How other servers are reached; the first one set stays.
    pub fn relay_through(&self, relay: Arc<dyn links::Relay>) {
        self.inner.relay.get_or_init(|| relay);
    }
    pub(crate) fn relay(&self) -> Option<&dyn links::Relay> {
        self.inner.relay.get().map(AsRef::as_ref)
    }
    pub(crate) fn store(&self) -> &Store {
        &self.inner.store
    }
    pub fn clock(&self) -> &Clock {
        &self.inner.clock
    }
    /// When this server came up.
    pub(crate) fn since(&self) -> Timestamp {
        self.inner.since
    }
    pub fn settings(&self) -> &Settings {
        &self.inner.settings
    }
    pub(crate) fn passwords(&self) -> &secrets::Passwords {
        &self.inner.passwords
    }
    pub fn live(&self) -> &live::Hub {
        &self.inner.live
    }
    pub(crate) fn authorities(&self) -> &certificates::Authorities {
        &self.inner.authorities
    }
    pub(crate) fn ledger(&self) -> &ledger::Ledger {
        &self.inner.ledger
    }
    pub(crate) fn under_way(&self) -> &idempotency::UnderWay {
        &self.inner.under_way
    }
    pub(crate) fn noted_use(&self) -> &notebooks::NotedUse {
        &self.inner.noted_use
    }
    pub(crate) fn entrances(&self) -> &objects::Entrances {
        &self.inner.entrances
    }
    pub(crate) fn kept_briefs(&self) -> &objects::KeptBriefs {
        &self.inner.kept_briefs
    }
    /// The links of agents that this replica holds.
    pub fn links(&self) -> &links::Links {
        &self.inner.links
    }
    /// Whether requests can be served: the database answers, can be written to, and has this build's schema.
    pub async fn ready(&self) -> Result<Ready> {
        // The server's own heartbeat tries every few seconds whether there is room again.
        if self.inner.is_full.load(Ordering::Relaxed) {
            return Ok(Ready::Full);
        }
        let looked = tokio::time::timeout(READY_LIMIT, async {
            self.store().ping().await?;
            self.store().is_migrated().await
        });
        match looked.await {
            Ok(is_migrated) => Ok(if is_migrated? { Ready::Yes } else { Ready::OtherSchema }),
            Err(_) => Err(Error::Unavailable("the database does not answer in time".to_owned())),
        }
    }
    /// A write found the database's disk full.
    pub fn note_full(&self) {
        self.inner.is_full.store(true, Ordering::Relaxed);
    }
    /// Whether there is room again, where there was none.
    pub(crate) async fn look_for_room(&self) -> Result<()> {
        if self.inner.is_full.load(Ordering::Relaxed) {
            self.store().try_room().await?;
            self.inner.is_full.store(false, Ordering::Relaxed);
        }
        Ok(())
    }
    /// A copy of the SQLite database in `file`, consistent while the server runs.
    pub async fn backup(&self, file: &std::path::Path) -> Result<()> {
        Ok(self.store().backup(file).await?)
    }
}

/// Who asks, and in which request.
#[derive(Debug, Clone)]
pub struct Call {
    pub actor: Actor,
    /// As the audit log keeps it.
    pub person_name: String,
    pub request_id: Option<String>,
    pub via: Via,
    /// The Idempotency-Key that the request holds.
    pub held: Option<idempotency::Held>,
}

/// By what a caller came in; a stream that they open lives no longer than that.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Via {
    /// A browser: the hash of its sign-in's id.
    SignIn(Arc<str>),
    Token(domain::ids::TokenId),
    /// Nothing but the person's own record: tasks of the server that act for a person.
    Person,
}

impl Call {
    /// The permit for `action`, or the refusal that says what is missing.
    pub fn permit(&self, action: Action) -> Result<Permit> {
        Ok(self.actor.permit(action)?)
    }
}
