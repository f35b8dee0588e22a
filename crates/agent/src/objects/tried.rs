//! Versions that are known to load, over a start: one that the agent was killed while trying is tried again, and until that is done the
//! version before goes on.

use std::{collections::HashMap, sync::Arc};

use objects::host::deployment::Version;
use protocol::objects::{Plan, Planned};

use super::{
    apply::{Applier, FollowError, NotDone, Untried, blocking, locked},
    code::is_same_code,
};

impl Applier {
    pub(super) fn is_tried(&self, planned: &Planned) -> bool {
        locked(&self.done).tried.get(&planned.id).is_some_and(|tried| is_same_code(tried, planned))
    }

    /// It loads.
    pub(super) async fn keep_tried(&self, planned: &Planned) {
        let (kept, tried) = (self.kept.clone(), planned.clone());
        // Where the disk is full it runs all the same, and is tried once more after a start.
        if let Err(error) = blocking(move || kept.keep_tried(&tried)).await {
            tracing::error!(%error, "that a version loads cannot be kept");
        }
        locked(&self.done).tried.insert(planned.id, planned.clone());
    }

    pub(super) async fn remember_tried(&self) {
        let kept = self.kept.clone();
        match blocking(move || kept.tried()).await {
            Ok(tried) => {
                let tried: HashMap<_, _> = tried.into_iter().map(|planned| (planned.id, planned)).collect();
                locked(&self.done).tried = tried;
            }
            Err(error) => tracing::error!(%error, "which versions load is not known any more: they are tried again"),
        }
    }

    /// After a start: has run what ran before a version of which it is not known whether it loads.
    pub(super) async fn run_before(&self, planned: &Planned) {
        let before = {
            let done = locked(&self.done);
            let is_other = |tried: &&Planned| !is_same_code(tried, planned);
            if done.running.contains_key(&planned.id) {
                None
            } else {
                done.tried.get(&planned.id).filter(is_other).cloned()
            }
        };
        let Some(before) = before else { return };
        let run = |version: Version| self.run(&before, version, None);
        if let Err(error) = self.version(&before, None).await.and_then(run) {
            tracing::error!(deployment = before.name, %error, "what ran before a version that is to be tried does not run");
        }
    }

    /// After a start: what was kept of the plan and not tried is tried, with the server or without it.
    pub async fn try_kept(self: Arc<Self>) {
        let _turn = self.turn.lock().await;
        let plan = locked(&self.done).plan.clone();
        let Some(plan) = plan.filter(|_| !self.bar.is_down()) else { return };
        match self.apply(Plan::clone(&plan), None, Untried::Try).await {
            Ok(()) => {}
            // As it was told at the start.
            Err(FollowError::Left(left)) if left.iter().all(|(_, why)| matches!(why, NotDone::NoServer)) => {}
            Err(error) => tracing::warn!("not all of the plan that was kept runs: {error}"),
        }
    }
}
