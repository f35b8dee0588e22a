//! Requests with a body that may be large: what is deployed. So many are let in at a time, before anything of the body is read, and
//! the body has the time that its client's line takes.

use std::{collections::HashMap, sync::Arc, time::Duration};

use axum::{
    extract::{Request, State},
    http::{Method, StatusCode},
    middleware::Next,
    response::{IntoResponse, Response},
};
use domain::{access::Action, ids::PersonId};
use parking_lot::Mutex;
use services::{Call, Error};
use tokio::{
    sync::{AcquireError, OwnedSemaphorePermit, Semaphore},
    time::{error::Elapsed, timeout},
};

use crate::{
    caller::Authenticated,
    failure::Failure,
    pace::{Late, Limits},
    rest, upload,
};

/// At a time: each may hold its body more than once.
const MAX_AT_ONCE: usize = 8;
const MAX_OF_PERSON: usize = 3;
/// The longest that one waits to be let in.
const WAIT_LIMIT: Duration = Duration::from_secs(20);
pub(crate) const LIMITS: Limits =
    Limits { idle: Duration::from_secs(30), body: Duration::from_secs(600), answer: Duration::from_secs(30) };

pub(crate) fn is_large(path: &str) -> bool {
    matches!(path, rest::deployments::PATH | upload::PATH)
}

/// Who is let in.
#[derive(Debug, Clone)]
pub(crate) struct Gate {
    all: Arc<Semaphore>,
    of_person: Arc<Mutex<HashMap<PersonId, Arc<Semaphore>>>>,
}

impl Default for Gate {
    fn default() -> Self {
        Self { all: Arc::new(Semaphore::new(MAX_AT_ONCE)), of_person: Arc::default() }
    }
}

/// A place among all, and one among the person's own.
type Places = (OwnedSemaphorePermit, OwnedSemaphorePermit);

impl Gate {
    fn of_person(&self, person: PersonId) -> Arc<Semaphore> {
        let mut all = self.of_person.lock();
        // Those that somebody waits at or is let in by stay.
        all.retain(|_, semaphore| Arc::strong_count(semaphore) > 1);
        all.entry(person).or_insert_with(|| Arc::new(Semaphore::new(MAX_OF_PERSON))).clone()
    }

    async fn pass(&self, person: PersonId) -> Result<Places, Error> {
        // The person's own first: whoever sends many waits for themselves.
        let own = self.of_person(person);
        let passed = timeout(WAIT_LIMIT, async {
            let own = own.acquire_owned().await?;
            Ok::<_, AcquireError>((self.all.clone().acquire_owned().await?, own))
        });
        match passed.await {
            Ok(Ok(places)) => Ok(places),
            Ok(Err(closed)) => Err(Error::Internal(closed.to_string())),
            Err(Elapsed { .. }) => {
                let why =
                    "as many deployments are being sent as the server takes at a time. Nothing was deployed: try again";
                Err(Error::Unavailable(why.to_owned()))
            }
        }
    }
}

/// The layer; inside the authenticating one, as nobody else is let in.
pub(crate) async fn layer(State(gate): State<Gate>, request: Request, next: Next) -> Response {
    let path = request.uri().path();
    let call = request.extensions().get::<Authenticated>().and_then(|Authenticated(call)| call.clone());
    let (Some(call), true) = (call, request.method() == Method::POST && is_large(path)) else {
        return next.run(request).await;
    };
    match enter(&gate, &call).await {
        Ok(_places) => next.run(request).await,
        // The page's own handler refuses before it reads, in the page.
        Err(Error::Denied(_)) if path == upload::PATH => next.run(request).await,
        Err(error) => Failure::from(error).into_response(),
    }
}

async fn enter(gate: &Gate, call: &Call) -> Result<Places, Error> {
    call.permit(Action::DeploymentsManage)?;
    gate.pass(call.actor.person).await
}

/// What a client is told that was too slow: nothing is done before all of the body is there.
pub(crate) fn too_slow(late: Late) -> Failure {
    Failure::from(Error::invalid("body", format!("{late}; nothing was done. Send it again on a better line")))
        .with_status(StatusCode::REQUEST_TIMEOUT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_person_leaves_room_for_others() {
        let gate = Gate::default();
        let is_full = async |person| timeout(Duration::from_millis(100), gate.pass(person)).await.is_err();
        let (ann, bob) = (PersonId::new(), PersonId::new());
        let mut open = Vec::new();
        for _ in 0..MAX_OF_PERSON {
            open.push(gate.pass(ann).await.expect("there is room"));
        }
        assert!(is_full(ann).await);
        let others = gate.pass(bob).await.expect("there is room");
        open.pop();
        open.push(gate.pass(ann).await.expect("one has gone"));
        while open.len() + 1 < MAX_AT_ONCE {
            open.push(gate.pass(PersonId::new()).await.expect("there is room"));
        }
        assert!(is_full(bob).await);
        drop((others, open));
        drop(gate.pass(bob).await.expect("all have gone"));
        assert_eq!(gate.of_person.lock().len(), 1, "who has gone is forgotten");
    }
}
