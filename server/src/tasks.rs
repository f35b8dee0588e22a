//! What runs beside the requests: each with an owner (this list), and an end (the token).

use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{notebooks, replicas, state::AppState};

/// Starts everything that runs until the server stops. The ledger goes on until `served`, when nobody is left who waits
/// for a write.
pub fn start(state: &AppState, tracker: &TaskTracker, stop: &CancellationToken, served: &CancellationToken) {
    let services = &state.services;
    tracker.spawn(services::live::run(services.clone(), stop.clone()));
    tracker.spawn(services::sign_in::run(services.clone(), stop.clone()));
    tracker.spawn(services::ledger::run(services.clone(), served.clone()));
    tracker.spawn(services::ledger::keep_short(services.clone(), stop.clone()));
    tracker.spawn(services::links::run(services.clone(), stop.clone()));
    tracker.spawn(services::instructions::run(services.clone(), stop.clone()));
    tracker.spawn(services::reconciler::run(services.clone(), stop.clone()));
    tracker.spawn(services::replicas::run(services.clone(), state.config.replica_address(), stop.clone()));
    tracker.spawn(replicas::follow(services.clone(), stop.clone()));
    tracker.spawn(notebooks::watch_idle(state.clone(), stop.clone()));
}
