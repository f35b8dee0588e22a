//! Makes what runs here what the plan says, and says what could not be done.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    fmt, io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use domain::ids::{DeploymentId, HostId, NamespaceId};
use objects::host::{Host, deployment::Version, outgoing::Policy, trial::TrialError};
use objects::wire::{Limits, Problem};
use protocol::objects::{Plan, Planned, control::Refused};

use super::{
    bar::Bar,
    code,
    kept::{self, BadBundle, BadPlan, Kept, KeptError, KeptRefusal},
    peers::Peers,
    places::Places,
    server::{FetchError, Server},
    tls::{Tls, TlsError},
};
use crate::{config::ObjectsConfig, dial::Dialer, identity::Identity, objects::follow::Round};

#[derive(Debug, thiserror::Error)]
pub enum FollowError {
    #[error("the plan cannot be fetched: {0}")]
    Fetch(#[from] FetchError),
    #[error("the server sent a plan that cannot be used: {0}")]
    Plan(#[from] BadPlan),
    #[error(
        "the server sent a plan that is older ({told}) than the one that is kept ({kept}); if it was restored from a \
         backup, stop the agent and remove {path}"
    )]
    Older { told: i64, kept: i64, path: String },
    #[error("what is kept of the plan cannot be written: {0}")]
    Kept(#[from] KeptError),
    #[error("other hosts cannot be talked to: {0}")]
    Tls(#[from] TlsError),
    #[error("this host may run no objects any more")]
    Barred,
    #[error("{}", Left(.0))]
    Left(Vec<(String, NotDone)>),
}

/// What could not be done of a plan, each with what it was about.
struct Left<'a>(&'a [(String, NotDone)]);

impl fmt::Display for Left<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, (what, why)) in self.0.iter().enumerate() {
            let separator = if number == 0 { "" } else { "; " };
            write!(f, "{separator}{what}: {why}")?;
        }
        Ok(())
    }
}

#[derive(Debug, thiserror::Error)]
pub enum NotDone {
    #[error("its code is not on this host, and the server cannot be asked now")]
    NoServer,
    #[error("it has yet to be tried")]
    Untried,
    #[error("its code cannot be fetched: {0}")]
    Fetch(#[from] FetchError),
    #[error("its code is not what the plan says: {0}")]
    Bundle(#[from] BadBundle),
    #[error(transparent)]
    Kept(#[from] KeptError),
    #[error("it cannot be set up: {0}")]
    Deploy(#[from] objects::host::outgoing::OutgoingError),
    #[error("it cannot be tried: {0}")]
    Trial(#[from] TrialError),
    #[error("what it holds cannot be deleted: {0}")]
    Delete(#[source] io::Error),
    #[error("the work was interrupted: {0}")]
    Interrupted(#[from] tokio::task::JoinError),
}

/// What becomes of a version of which it is not known whether it loads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Untried {
    Leave,
    Try,
}

/// What was done so far.
#[derive(Default)]
pub(super) struct Done {
    pub plan: Option<Arc<Plan>>,
    /// It is on the disk as well.
    is_kept: bool,
    pub running: HashMap<DeploymentId, Planned>,
    deleted: HashSet<NamespaceId>,
    /// Versions of the plan that do not load.
    pub refused: HashMap<DeploymentId, KeptRefusal>,
    /// The last version of each that was found to load.
    pub tried: HashMap<DeploymentId, Planned>,
    /// Why else the version of the plan does not run.
    pub problems: HashMap<DeploymentId, String>,
}

pub struct Applier {
    pub host: Arc<Host>,
    pub places: Arc<Places>,
    pub peers: Arc<Peers>,
    pub kept: Kept,
    pub own: HostId,
    /// Private names that workers of this host may send requests to.
    pub allow_private: BTreeSet<String>,
    /// What this host lets each object and event have.
    pub limits: Limits,
    identity: Mutex<Identity>,
    pub(super) done: Mutex<Done>,
    pub(super) bar: Bar,
    /// Held by whoever changes what runs.
    pub(super) turn: tokio::sync::Mutex<()>,
}

pub(super) fn locked<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Applier {
    pub fn new(
        host: Arc<Host>,
        places: Arc<Places>,
        peers: Arc<Peers>,
        kept: Kept,
        identity: Identity,
        config: &ObjectsConfig,
    ) -> Self {
        let (own, identity) = (identity.host, Mutex::new(identity));
        let (allow_private, limits) = (config.allow_private.clone(), config.limits.clone());
        let (done, bar, turn) = (Mutex::default(), Bar::default(), tokio::sync::Mutex::default());
        Self { host, places, peers, kept, own, allow_private, limits, identity, done, bar, turn }
    }

    /// From now on this host shows this certificate to others.
    pub fn renewed(&self, identity: &Identity) -> Result<(), TlsError> {
        locked(&self.identity).clone_from(identity);
        let plan = locked(&self.done).plan.clone();
        plan.map_or(Ok(()), |plan| self.show(&plan))
    }

    fn show(&self, plan: &Plan) -> Result<(), TlsError> {
        let identity = locked(&self.identity).clone();
        self.peers.show(Tls::new(&plan.peers_ca_pem, &identity.certificate_pem, &identity.key_pem)?);
        Ok(())
    }

    /// Which version of a deployment runs here, why the plan's does not, and whether that is because it does not load.
    pub fn status(&self, deployment: DeploymentId) -> (Option<u32>, Option<String>, Option<Refused>) {
        let done = locked(&self.done);
        let version = done.running.get(&deployment).map(|running| running.version);
        let refused = done.refused.get(&deployment).map(|kept| kept.refused.clone());
        let problem = done.problems.get(&deployment).cloned();
        (version, problem.or_else(|| refused.as_ref().map(ToString::to_string)), refused)
    }

    /// What of a deployment runs here.
    pub fn planned(&self, deployment: DeploymentId) -> Option<Planned> {
        locked(&self.done).running.get(&deployment).cloned()
    }

    /// What was kept of before, before there is a link: as far as it is known to load.
    pub async fn begin(&self) -> Result<(), FollowError> {
        let _turn = self.turn.lock().await;
        if self.was_barred().await? {
            return Ok(());
        }
        let kept = self.kept.clone();
        match blocking(move || kept.plan()).await {
            Ok(Some(plan)) => {
                self.remember_refused().await;
                self.remember_tried().await;
                locked(&self.done).is_kept = true;
                self.apply(plan, None, Untried::Leave).await
            }
            Ok(None) => Ok(()),
            Err(error) => {
                tracing::error!(%error, "the plan of objects is fetched anew");
                Ok(())
            }
        }
    }

    pub(super) async fn apply(
        &self,
        plan: Plan,
        mut server: Option<&mut Server>,
        untried: Untried,
    ) -> Result<(), FollowError> {
        let plan = Arc::new(plan);
        locked(&self.done).plan = Some(plan.clone());
        if !plan.hosts.iter().any(|peer| peer.host == self.own) {
            return Ok(self.begin_bar("the server's plan does not name this host any more").await?);
        }
        self.places.are(&plan);
        self.host.places_changed();
        let others = plan.hosts.iter().filter(|peer| peer.host != self.own);
        self.peers.are(others.map(|peer| (peer.host, peer.address.clone())));
        self.show(&plan)?;
        let mut left = Vec::new();
        let changes = self.changes(&plan).await?;
        for id in changes.remove {
            self.remove(id);
        }
        self.restore_refused().await;
        for planned in changes.deploy {
            if let Err(error) = self.take_up(planned, server.as_deref_mut(), untried).await {
                locked(&self.done).problems.insert(planned.id, error.to_string());
                left.push((format!("version {} of '{}'", planned.version, planned.name), error));
            }
            // Meanwhile it may have been.
            if self.bar.is_down() {
                return Err(FollowError::Barred);
            }
        }
        let unused = code::unused(&changes.delete, &locked(&self.done).running, &plan);
        for namespace in unused {
            match self.delete(namespace).await {
                Ok(()) => drop(locked(&self.done).deleted.insert(namespace)),
                Err(error) => left.push((format!("namespace {namespace}"), error)),
            }
        }
        if !left.is_empty() {
            return Err(FollowError::Left(left));
        }
        let (kept, before) = (self.kept.clone(), self.in_their_place());
        Ok(blocking(move || kept.forget_others(plan.deployments.iter().chain(&before))).await?)
    }

    /// What is to be done; what is not true any more is forgotten.
    async fn changes<'a>(&self, plan: &'a Plan) -> Result<code::Changes<'a>, KeptError> {
        self.forget_refused(plan).await?;
        let mut done = locked(&self.done);
        let refused = done.refused.iter().map(|(id, kept)| (*id, kept.planned.clone())).collect();
        let changes = code::changes(&done.running, &refused, &done.deleted, plan);
        done.problems.retain(|id, _| changes.deploy.iter().any(|planned| planned.id == *id));
        Ok(changes)
    }

    fn remove(&self, id: DeploymentId) {
        self.host.remove(&id.to_string());
        let mut done = locked(&self.done);
        done.tried.remove(&id);
        if let Some(gone) = done.running.remove(&id) {
            tracing::info!(deployment = gone.name, "removed");
        }
    }

    async fn delete(&self, namespace: NamespaceId) -> Result<(), NotDone> {
        let host = self.host.clone();
        let deleted = tokio::task::spawn_blocking(move || host.delete_namespace(namespace.uuid().into_bytes()));
        deleted.await?.map_err(NotDone::Delete)
    }

    /// Has a version run, if it loads.
    async fn take_up(&self, planned: &Planned, server: Option<&mut Server>, untried: Untried) -> Result<(), NotDone> {
        // What the server asks for is tried whenever it does. The agent may have been killed before what is kept was.
        let is_known = server.is_none() && self.is_tried(planned);
        if !is_known {
            self.run_before(planned).await;
            if untried == Untried::Leave {
                return Err(NotDone::Untried);
            }
        }
        let version = self.version(planned, server).await?;
        let problem = if is_known { None } else { self.trial(planned, &version).await? };
        match problem {
            Some(problem) => self.refuse(planned, version, &problem).await,
            None => {
                if !is_known {
                    self.keep_tried(planned).await;
                }
                self.run(planned, version, None)?;
                tracing::info!(deployment = planned.name, version = planned.version, "deployed");
                locked(&self.done).problems.remove(&planned.id);
                Ok(())
            }
        }
    }

    /// `problem`: why it does not load, if it does not.
    pub(super) fn run(&self, planned: &Planned, version: Version, problem: Option<Problem>) -> Result<(), NotDone> {
        let policy = Policy { allowed: self.allow_private.iter().cloned().collect() };
        let name = planned.id.to_string();
        match problem {
            Some(problem) => self.host.deploy_refused(&name, version, policy, problem)?,
            None => self.host.deploy(&name, version, policy)?,
        };
        locked(&self.done).running.insert(planned.id, planned.clone());
        Ok(())
    }

    pub(super) async fn version(&self, planned: &Planned, server: Option<&mut Server>) -> Result<Version, NotDone> {
        let (kept, digest) = (self.kept.clone(), planned.digest);
        let bundle = match blocking(move || kept.bundle(&digest)).await? {
            Some(bundle) => bundle,
            None => {
                let bytes = server.ok_or(NotDone::NoServer)?.bundle(&digest).await?;
                let bundle = kept::read_bundle(&digest, &bytes)?;
                let kept = self.kept.clone();
                // Where the disk is full it runs all the same, and is fetched again after a restart.
                if let Err(error) = blocking(move || kept.keep_bundle(&digest, &bytes)).await {
                    tracing::error!(%error, "code cannot be kept");
                }
                bundle
            }
        };
        Ok(code::version(planned, bundle, &self.limits))
    }
}

pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, KeptError> + Send + 'static,
) -> Result<T, KeptError> {
    tokio::task::spawn_blocking(work).await?
}

impl Round for Applier {
    type Error = FollowError;

    async fn round(&self, dialer: &Dialer) -> Result<(), FollowError> {
        let bars = self.bar.count();
        let mut server = Server::connect(dialer).await?;
        let bytes = server.plan().await?;
        let plan = kept::read_plan(&bytes)?;
        let _turn = self.turn.lock().await;
        // It may be older than what was told since.
        if self.bar.count() != bars {
            return Err(FollowError::Barred);
        }
        let (before, was_kept) = {
            let done = locked(&self.done);
            (done.plan.clone(), done.is_kept)
        };
        if let Some(before) = &before
            && before.tenant == plan.tenant
            && before.revision > plan.revision
        {
            let path = self.kept.plan_path().display().to_string();
            return Err(FollowError::Older { told: plan.revision, kept: before.revision, path });
        }
        let is_kept = if was_kept && before.is_some_and(|before| *before == plan) {
            Ok(())
        } else {
            let kept = self.kept.clone();
            blocking(move || kept.keep_plan(&bytes)).await
        };
        locked(&self.done).is_kept = is_kept.is_ok();
        self.lift_bar(&plan).await?;
        // What cannot be kept is followed all the same.
        self.apply(plan, Some(&mut server), Untried::Try).await?;
        Ok(is_kept?)
    }
}
