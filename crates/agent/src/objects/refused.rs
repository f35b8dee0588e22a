//! Versions that do not load: each is tried when it comes, and what ran before goes on in its place, also after a start.

use domain::deployments::Binding;
use objects::{host::deployment::Version, host::trial::TrialError, wire::Problem};
use protocol::objects::{
    Plan, Planned,
    control::{Place, Refused},
};

use super::{
    apply::{Applier, NotDone, blocking, locked},
    code::{is_same_code, missing_class},
    kept::{KeptError, KeptRefusal},
};

/// Of an error's words.
const MAX_MESSAGE_CHARS: usize = 2_000;

fn told(planned: &Planned, problem: &Problem) -> Refused {
    let place = problem.place.clone().map(|(file, line, column)| Place { file, line, column });
    let message = problem.to_string().chars().take(MAX_MESSAGE_CHARS).collect();
    Refused { version: planned.version, message, place }
}

/// What its callers get where nothing ran before.
fn problem_of(refused: &Refused) -> Problem {
    let place = refused.place.clone().map(|Place { file, line, column }| (file, line, column));
    Problem { place, ..Problem::new("Error", refused.message.clone()) }
}

impl Applier {
    /// Why a version is not to run, if it is not.
    pub(super) async fn trial(&self, planned: &Planned, version: &Version) -> Result<Option<Problem>, NotDone> {
        match self.host.try_version(version).await {
            Ok(classes) => Ok(missing_class(planned, &classes).map(|Binding { name, class }| {
                let message = format!("The main module exports no class {class}, which env.{name} is for.");
                Problem::new("TypeError", message)
            })),
            Err(TrialError::DoesNotLoad(problem)) => Ok(Some(problem)),
            Err(error) => Err(error.into()),
        }
    }

    pub(super) async fn refuse(&self, planned: &Planned, version: Version, problem: &Problem) -> Result<(), NotDone> {
        let refused = told(planned, problem);
        tracing::warn!(deployment = planned.name, "{refused}");
        let before = locked(&self.done).running.get(&planned.id).cloned();
        if before.is_none() {
            self.run(planned, version, Some(problem.clone()))?;
        }
        let kept = KeptRefusal { planned: planned.clone(), refused, before };
        // First: what is told is so after a start as well.
        let written = self.keep_refused(Some(kept.clone())).await;
        let mut done = locked(&self.done);
        done.problems.remove(&planned.id);
        done.refused.insert(planned.id, kept);
        Ok(written?)
    }

    /// Those that are known, and one more.
    async fn keep_refused(&self, more: Option<KeptRefusal>) -> Result<(), KeptError> {
        let mut refused: Vec<KeptRefusal> = locked(&self.done).refused.values().cloned().collect();
        if let Some(more) = more {
            refused.retain(|known| known.planned.id != more.planned.id);
            refused.push(more);
        }
        let kept = self.kept.clone();
        blocking(move || kept.keep_refused(&refused)).await
    }

    pub(super) async fn remember_refused(&self) {
        let kept = self.kept.clone();
        match blocking(move || kept.refused()).await {
            Ok(refused) => {
                let refused = refused.into_iter().map(|kept| (kept.planned.id, kept)).collect();
                locked(&self.done).refused = refused;
            }
            Err(error) => tracing::error!(%error, "which versions do not load is not known any more"),
        }
    }

    /// Those that the plan does not ask for any more.
    pub(super) async fn forget_refused(&self, plan: &Plan) -> Result<(), KeptError> {
        let changed = {
            let refused = &mut locked(&self.done).refused;
            let before = refused.len();
            refused.retain(|id, kept| {
                plan.deployments.iter().any(|planned| planned.id == *id && is_same_code(planned, &kept.planned))
            });
            refused.len() != before
        };
        if changed { self.keep_refused(None).await } else { Ok(()) }
    }

    /// What runs in the place of refused versions and is still wanted.
    pub(super) fn in_their_place(&self) -> Vec<Planned> {
        locked(&self.done).refused.values().filter_map(|kept| kept.before.clone()).collect()
    }

    /// After a start: has run what ran in the place of refused versions.
    pub(super) async fn restore_refused(&self) {
        let missing: Vec<KeptRefusal> = {
            let done = locked(&self.done);
            let refused = done.refused.iter().filter(|(id, _)| !done.running.contains_key(id));
            refused.map(|(_, kept)| kept.clone()).collect()
        };
        for kept in missing {
            let runs = kept.before.as_ref().unwrap_or(&kept.planned);
            let problem = kept.before.is_none().then(|| problem_of(&kept.refused));
            let restored = match self.version(runs, None).await {
                Ok(version) => self.run(runs, version, problem),
                Err(error) => Err(error),
            };
            match restored {
                Ok(()) => {}
                Err(error) => {
                    tracing::error!(deployment = runs.name, %error, "what ran in the place of a version that does not load");
                    // Tried anew with the next plan.
                    locked(&self.done).refused.remove(&runs.id);
                }
            }
        }
    }
}
