//! A host that may run no objects any more: its certificate was revoked, or the plan does not name it. Nothing is served
//! then, and what is stored stays; also after a start, until the server gives it a plan again that names it.

use std::sync::{
    PoisonError, RwLock,
    atomic::{AtomicU64, Ordering},
};

use protocol::objects::Plan;

use super::{
    apply::{Applier, blocking, locked},
    kept::KeptError,
};

#[derive(Default)]
pub(super) struct Bar {
    why: RwLock<Option<String>>,
    /// How often it came down.
    count: AtomicU64,
}

impl Bar {
    pub fn is_down(&self) -> bool {
        self.why.read().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    pub fn count(&self) -> u64 {
        self.count.load(Ordering::Acquire)
    }

    fn set(&self, why: Option<String>) {
        *self.why.write().unwrap_or_else(PoisonError::into_inner) = why;
    }
}

impl Applier {
    /// Why nothing is served here, if so.
    pub fn barred(&self) -> Option<String> {
        let why = self.bar.why.read().unwrap_or_else(PoisonError::into_inner).clone()?;
        Some(format!("This host runs no objects: {why}."))
    }

    /// Ends all that runs, at once.
    pub async fn bar(&self, why: &str) -> Result<(), KeptError> {
        if self.bar.is_down() {
            return Ok(());
        }
        self.bar.count.fetch_add(1, Ordering::AcqRel);
        let kept = self.begin_bar(why).await;
        // What a round has begun since.
        let _turn = self.turn.lock().await;
        self.end_all();
        kept
    }

    /// What a round is at is not ended by it, unless that round asks.
    pub(super) async fn begin_bar(&self, why: &str) -> Result<(), KeptError> {
        tracing::error!(why, "objects are not run here any more");
        self.bar.set(Some(why.to_owned()));
        let (kept, why) = (self.kept.clone(), why.to_owned());
        // First: whoever sees that nothing runs finds it so after a start as well.
        let kept = blocking(move || kept.keep_barred(Some(&why))).await;
        self.end_all();
        kept
    }

    fn end_all(&self) {
        self.peers.are([]);
        for deployment in self.host.deployments() {
            self.host.remove(&deployment.name);
        }
        let mut done = locked(&self.done);
        done.running.clear();
        done.problems.clear();
    }

    /// At the start: whether it was before.
    pub(super) async fn was_barred(&self) -> Result<bool, KeptError> {
        let kept = self.kept.clone();
        let why = blocking(move || kept.barred()).await?;
        if let Some(why) = &why {
            tracing::error!(why, "objects are not run here");
        }
        let was = why.is_some();
        self.bar.set(why);
        Ok(was)
    }

    /// The server has given this plan: a host that it names may run objects.
    pub(super) async fn lift_bar(&self, plan: &Plan) -> Result<(), KeptError> {
        if !self.bar.is_down() || !plan.hosts.iter().any(|peer| peer.host == self.own) {
            return Ok(());
        }
        let kept = self.kept.clone();
        blocking(move || kept.keep_barred(None)).await?;
        self.bar.set(None);
        tracing::info!("objects are run here again");
        Ok(())
    }
}
