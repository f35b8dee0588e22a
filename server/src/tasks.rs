//! What runs beside the requests: each with an owner (this list), and an end (the token).

use services::Services;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// Starts everything that runs until the server stops. The ledger goes on until `served`, when nobody is left who waits
/// for a write.
pub fn start(services: &Services, tracker: &TaskTracker, stop: &CancellationToken, served: &CancellationToken) {
    tracker.spawn(services::live::run(services.clone(), stop.clone()));
    tracker.spawn(services::sign_in::run(services.clone(), stop.clone()));
    tracker.spawn(services::ledger::run(services.clone(), served.clone()));
    tracker.spawn(services::links::run(services.clone(), stop.clone()));
    tracker.spawn(services::instructions::run(services.clone(), stop.clone()));
    tracker.spawn(services::reconciler::run(services.clone(), stop.clone()));
}
