//! `berth-agent run`: keeps the control link, and ends in good order.

use std::{
    io,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use domain::{hosts::HostMetrics, instructions::Work, labels::Labels};
use jiff::Timestamp;
use protocol::{CloseReason, OLDEST_VERSION, ToAgent, ToServer, VERSION};
use tokio::{
    sync::watch,
    time::{Instant, MissedTickBehavior},
};
use tokio_util::sync::CancellationToken;

use crate::{
    clock,
    config::AgentConfig,
    dial::{DialError, Dialer, Trust},
    environments::Environments,
    identity::{Identity, IdentityError, StateDir, Validity, make_csr, make_key},
    journal::{Journal, JournalError},
    link::{Backoff, HEARTBEAT_PERIOD, Link, LinkError, Retry},
    metrics::Sampler,
    notebooks::Notebooks,
    objects::{Objects, ObjectsError},
    sessions::Sessions,
    transactions::Transactions,
    tunnel::{self, Reach, Tunnel},
};

/// How long commands may go on after the agent was asked to stop.
const STOP_GRACE: Duration = Duration::from_secs(20);
/// And how long their results wait for the server.
const STOP_SEND: Duration = Duration::from_secs(8);
/// Messages sent in a row before the link is read again.
const BURST: usize = 64;
const LINK_BUFFER_BYTES: usize = 32 * 1024;
/// A renewal that was not answered is asked for again.
const RENEW_AGAIN: Duration = Duration::from_secs(300);

#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error(transparent)]
    Identity(#[from] IdentityError),
    #[error(transparent)]
    Dial(#[from] DialError),
    #[error(transparent)]
    Journal(#[from] JournalError),
    #[error("cannot set up the environments: {0}")]
    Environments(#[source] io::Error),
    #[error("cannot look for sessions of before: {0}")]
    Recover(#[source] io::Error),
    #[error(transparent)]
    Objects(#[from] ObjectsError),
    #[error("cannot read this host's metrics: {0}")]
    Metrics(#[source] io::Error),
}

struct Agent {
    state: StateDir,
    labels: Labels,
    sessions: Arc<Sessions>,
    notebooks: Arc<Notebooks>,
    objects: Option<Arc<Objects>>,
    transactions: Arc<Transactions>,
    sampler: Mutex<Sampler>,
    tunnel: Tunnel,
    stop: CancellationToken,
}

/// Why a link was left.
enum Left {
    /// With the agent.
    Stopped,
    /// To come back with the new certificate.
    Renewed,
    Lost(LinkError),
}

/// Runs until `stop` is cancelled; sessions go on without the agent.
pub async fn run(config: &AgentConfig, stop: CancellationToken) -> Result<(), RunError> {
    let state = StateDir::open(&config.state_dir)?;
    let _lock = state.lock().await?;
    let identity = state.identity()?.ok_or(IdentityError::NotEnrolled)?;
    let sampler = Mutex::new(Sampler::new(&config.state_dir).map_err(RunError::Metrics)?);
    let journal = Journal::open(&state.journal_path(), clock::now())?;
    let environments = Arc::new(Environments::new(config).map_err(RunError::Environments)?);
    let notebooks = Notebooks::new(config, &environments).map_err(RunError::Environments)?;
    let sessions = Sessions::new(config, environments.clone(), journal.clone());
    let resumed: Vec<_> = journal
        .open_entries()
        .await?
        .into_iter()
        .filter(|entry| entry.ended.is_none())
        .filter_map(|entry| match entry.work {
            Work::Prepare { session, .. } | Work::Revert { session, .. } => Some(session),
            Work::Run { .. }
            | Work::Verify { .. }
            | Work::StartNotebook { .. }
            | Work::WarmNotebook { .. }
            | Work::GiveNotebook { .. }
            | Work::StopNotebook { .. }
            | Work::RemoveVolume { .. } => None,
        })
        .collect();
    sessions.recover(&resumed).await.map_err(RunError::Recover)?;
    notebooks.recover().await.map_err(RunError::Recover)?;
    let transactions = Transactions::new(journal, sessions.clone(), notebooks.clone());
    transactions.recover().await?;

    let (dialers, dialer) = watch::channel(dialer(&identity)?);
    let objects = Box::pin(Objects::open(config, &identity, dialer.clone(), &stop)).await?;
    let tunnel = Tunnel::new();
    let reach = Arc::new(Reach { sessions: sessions.clone(), notebooks: notebooks.clone(), objects: objects.clone() });
    // Requests that came through the tunnel are answered through it.
    let drained = CancellationToken::new();
    let streams = tokio::spawn(tunnel::keep(tunnel.clone(), dialer, reach, drained.clone()));
    let draining = tokio::spawn(drain(objects.clone(), stop.clone(), drained));
    let labels = config.labels.clone();
    let agent = Agent {
        state,
        labels,
        sessions,
        notebooks,
        objects: objects.clone(),
        transactions,
        sampler,
        tunnel,
        stop: stop.clone(),
    };
    let kept = agent.keep(identity, &dialers).await;
    stop.cancel();
    // Without a link there was nobody to wait for; what the commands came to is journalled and told next time.
    agent.transactions.stop_claiming();
    agent.transactions.stop_commands();
    if tokio::time::timeout(STOP_SEND, agent.transactions.commands_ended()).await.is_err() {
        tracing::warn!("a command could not be ended; its outcome will be unknown");
    }
    // The next start would end them too, but until then they would go on.
    if tokio::time::timeout(STOP_SEND, agent.notebooks.builds_ended()).await.is_err() {
        tracing::warn!("the building of an environment could not be ended");
    }
    if let Err(error) = draining.await {
        tracing::error!(%error, "the draining of objects");
    }
    if let Err(error) = streams.await {
        tracing::error!(%error, "the tunnel's task");
    }
    if let Some(objects) = objects {
        objects.end().await;
    }
    environments.tidy();
    kept
}

/// After `stop` lets objects finish what they are at.
async fn drain(objects: Option<Arc<Objects>>, stop: CancellationToken, drained: CancellationToken) {
    let _done = drained.drop_guard();
    stop.cancelled().await;
    if let Some(objects) = objects {
        objects.drain().await;
    }
}

fn dialer(identity: &Identity) -> Result<Dialer, DialError> {
    let trust = Trust::new(&identity.ca_pem)?;
    Dialer::new(&identity.server, trust.client(&identity.certificate_pem, &identity.key_pem)?)
}

impl Agent {
    /// Connects, and again after each loss.
    async fn keep(&self, mut identity: Identity, dialers: &watch::Sender<Dialer>) -> Result<(), RunError> {
        let mut backoff = Backoff::default();
        loop {
            if self.stop.is_cancelled() {
                return Ok(());
            }
            let current = dialers.borrow().clone();
            let opened = tokio::select! {
                () = self.stop.cancelled() => return Ok(()),
                opened = Box::pin(self.open(&current)) => opened,
            };
            let left = match opened {
                Ok(link) => {
                    let since = Instant::now();
                    self.link_is_up(true);
                    let left = Box::pin(self.serve(link, &mut identity)).await;
                    self.link_is_up(false);
                    // A server that lets go at once, again and again, is not to be hammered.
                    if since.elapsed() > Duration::from_secs(10) {
                        backoff.reset();
                    }
                    left
                }
                Err(error) => Left::Lost(error),
            };
            match left {
                Left::Stopped => return Ok(()),
                Left::Renewed => {
                    dialers.send_replace(dialer(&identity)?);
                    backoff.reset();
                }
                Left::Lost(error) => {
                    if let (true, Some(objects)) = (error.is_revoked(), &self.objects) {
                        objects.revoked().await;
                    }
                    let pause = backoff.next(error.retry());
                    match error.retry() {
                        Retry::Soon => tracing::warn!(pause_ms = pause.as_millis(), "no link: {error}"),
                        Retry::Late => tracing::error!(pause_ms = pause.as_millis(), "no link: {error}"),
                    }
                    tokio::select! {
                        () = self.stop.cancelled() => return Ok(()),
                        () = tokio::time::sleep(pause) => {}
                    }
                }
            }
        }
    }

    fn link_is_up(&self, up: bool) {
        self.tunnel.link_is_up(up);
        if let Some(objects) = &self.objects {
            objects.link_is_up(up);
        }
    }

    async fn open(&self, dialer: &Dialer) -> Result<Link, LinkError> {
        let hello = ToServer::Hello {
            oldest_version: OLDEST_VERSION,
            newest_version: VERSION,
            agent_version: env!("CARGO_PKG_VERSION").to_owned(),
            labels: self.labels.clone(),
            machines: self.sessions.offered(),
            reports: self.sessions.connected(),
            notebooks: self.notebooks.offer(),
            objects: self.objects.as_ref().map(|objects| objects.offer()),
            runs: self.notebooks.connected(),
            open: self.transactions.connected(),
        };
        let (link, welcome) = Link::open(dialer, &hello, LINK_BUFFER_BYTES).await?;
        let off_ms = clock::now().as_millisecond() - welcome.server_time_ms;
        if off_ms.unsigned_abs() > 60_000 {
            tracing::warn!(off_ms, "this host's clock is not the server's; certificates may seem invalid");
        }
        tracing::info!(host = welcome.host_name, version = welcome.version, "linked");
        Ok(link)
    }

    async fn serve(&self, mut link: Link, identity: &mut Identity) -> Left {
        match Box::pin(self.talk(&mut link, identity)).await {
            Ok(left) => {
                link.close(CloseReason::ShuttingDown).await;
                left
            }
            Err(error) => {
                if let Some(reason) = error.blame() {
                    link.close(reason).await;
                }
                Left::Lost(error)
            }
        }
    }

    async fn talk(&self, link: &mut Link, identity: &mut Identity) -> Result<Left, LinkError> {
        let mut heartbeat = tokio::time::interval(HEARTBEAT_PERIOD);
        heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut told_available = None;
        let mut renewal: Option<(String, Instant)> = None;
        let mut renewed = false;
        let mut stopping: Option<Stopping> = None;
        let renew_at = Validity::of(&identity.certificate_pem).map(Validity::renew_at).unwrap_or(Timestamp::UNIX_EPOCH);
        loop {
            let mut sent = 0;
            while sent < BURST {
                let Some(message) = self.next_message() else { break };
                link.send(&message).await?;
                sent += 1;
            }
            let available = self.transactions.available();
            if told_available != Some(available) {
                self.send_heartbeat(link, available).await?;
                told_available = Some(available);
            }
            if renewed && !self.transactions.claiming() {
                return Ok(Left::Renewed);
            }
            if let Some(stopping) = &mut stopping
                && stopping.done(&self.transactions)
            {
                return Ok(Left::Stopped);
            }
            if sent == BURST {
                // There is more; but what the server says is heard in between.
                tokio::task::yield_now().await;
            }
            tokio::select! {
                message = link.receive() => {
                    if let Some(new) = self.take(link, message?, &mut renewal).await? {
                        match self.adopt_certificate(identity, new) {
                            Ok(()) => renewed = true,
                            Err(error) => tracing::error!(%error, "the renewed certificate was not taken"),
                        }
                    }
                }
                () = self.transactions.changed() => {}
                () = self.sessions.changed() => {}
                () = self.notebooks.changed() => {}
                () = std::future::ready(()), if sent == BURST => {}
                _ = heartbeat.tick() => {
                    self.send_heartbeat(link, available).await?;
                    link.ping().await?;
                    let asked = renewal.as_ref().is_some_and(|(_, at)| at.elapsed() < RENEW_AGAIN);
                    if clock::now() >= renew_at && !asked && !renewed {
                        renewal = self.ask_for_renewal(link).await?;
                    }
                }
                () = self.stop.cancelled(), if stopping.is_none() => {
                    tracing::info!("stopping: taking no more offers, finishing what runs");
                    self.transactions.stop_claiming();
                    stopping = Some(Stopping::begin());
                }
                () = Stopping::tick(), if stopping.is_some() => {}
            }
        }
    }

    fn next_message(&self) -> Option<ToServer> {
        let report = self.sessions.next_report().map(ToServer::Machine);
        report.or_else(|| self.notebooks.next_report()).or_else(|| self.transactions.next_message())
    }

    async fn send_heartbeat(&self, link: &mut Link, available: bool) -> Result<(), LinkError> {
        let sampled = self.sampler.lock().unwrap_or_else(PoisonError::into_inner).sample(clock::now());
        let metrics = sampled.unwrap_or_else(|error| {
            tracing::warn!(%error, "no reading of this host's metrics");
            HostMetrics { at_ms: clock::now().as_millisecond(), ..HostMetrics::default() }
        });
        let objects = self.objects.as_ref().map(|objects| objects.metrics());
        link.send(&ToServer::Heartbeat { available, metrics: HostMetrics { objects, ..metrics } }).await
    }

    async fn ask_for_renewal(&self, link: &mut Link) -> Result<Option<(String, Instant)>, LinkError> {
        let made = make_key().and_then(|key| make_csr(&key).map(|csr| (key, csr)));
        match made {
            Ok((key, csr_der)) => {
                tracing::info!("asking for a new certificate");
                link.send(&ToServer::Renew { csr_der }).await?;
                Ok(Some((key, Instant::now())))
            }
            Err(error) => {
                tracing::error!(%error, "cannot ask for a new certificate");
                Ok(None)
            }
        }
    }

    /// The new identity is stored only if key and certificate belong together and the dates can be read.
    fn adopt_certificate(&self, identity: &mut Identity, new: NewCertificate) -> Result<(), RunError> {
        let next = Identity {
            ca_pem: new.ca_pem,
            certificate_pem: new.certificate_pem,
            key_pem: new.key_pem,
            ..identity.clone()
        };
        dialer(&next)?;
        let validity = Validity::of(&next.certificate_pem)?;
        self.state.store_identity(&next)?;
        tracing::info!(not_after = %validity.not_after, "certificate renewed");
        *identity = next;
        if let Some(objects) = &self.objects {
            objects.renewed(identity);
        }
        Ok(())
    }

    async fn take(
        &self,
        link: &mut Link,
        message: ToAgent,
        renewal: &mut Option<(String, Instant)>,
    ) -> Result<Option<NewCertificate>, LinkError> {
        let unexpected = |unexpected: crate::transactions::Unexpected| LinkError::Unexpected(unexpected.0);
        match message {
            ToAgent::Welcome { .. } => return Err(LinkError::Unexpected("a second Welcome")),
            ToAgent::Offer { transaction } => match self.transactions.offered(transaction).await {
                Ok(Some(claim)) => link.send(&claim).await?,
                Ok(None) => {}
                Err(error) => tracing::error!(%transaction, %error, "not claimed"),
            },
            ToAgent::Instructions { transaction, work, secrets } => {
                self.transactions.instructed(transaction, work, secrets).await.map_err(unexpected)?;
            }
            ToAgent::NotYours { transaction } => self.transactions.refused(transaction),
            ToAgent::Acknowledge { transaction } => {
                self.transactions.acknowledged(transaction).await.map_err(unexpected)?;
            }
            ToAgent::Cancel { transaction } => self.transactions.cancel(transaction),
            ToAgent::Renewed { certificate_pem, ca_pem } => {
                let Some((key_pem, _)) = renewal.take() else {
                    return Err(LinkError::Unexpected("a certificate that was not asked for"));
                };
                return Ok(Some(NewCertificate { certificate_pem, ca_pem, key_pem }));
            }
            ToAgent::OpenTunnel => self.tunnel.open_now(),
            ToAgent::PlanChanged => match &self.objects {
                Some(objects) => objects.plan_changed(),
                None => return Err(LinkError::Unexpected("a plan of objects, which this host does not run")),
            },
        }
        Ok(None)
    }
}

struct NewCertificate {
    certificate_pem: String,
    ca_pem: String,
    key_pem: String,
}

/// The order of an agent's end: wait for commands, end them, wait for the server to take the results.
struct Stopping {
    since: Instant,
    commands_ended: bool,
}

impl Stopping {
    fn begin() -> Self {
        Self { since: Instant::now(), commands_ended: false }
    }

    async fn tick() {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }

    fn done(&mut self, transactions: &Transactions) -> bool {
        if transactions.settled() {
            return true;
        }
        let past = self.since.elapsed();
        if past > STOP_GRACE && !self.commands_ended {
            self.commands_ended = true;
            transactions.stop_commands();
        }
        past > STOP_GRACE + STOP_SEND
    }
}
