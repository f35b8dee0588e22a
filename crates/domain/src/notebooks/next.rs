//! What comes next for a notebook.

use super::{Notebook, NotebookIntent, NotebookState};
use crate::instructions::TransactionState;

/// How the instruction of the notebook stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Work {
    pub state: TransactionState,
    pub cause: Option<String>,
}

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    Wait,
    /// Look for a host and send the instruction to start.
    Place,
    /// The run is up.
    Run,
    /// Send the instruction to stop.
    Stop,
    /// Nothing of it is on a host.
    Stopped,
    /// Nothing of it is on a host, and that is not as it should be.
    Fail {
        cause: String,
    },
    /// Nothing of it is on a host any more: look for one again.
    Again {
        cause: String,
    },
}

/// Decides. Total: every state has an answer, and the same facts have the same one.
pub fn next(notebook: &Notebook, work: Option<&Work>) -> Next {
    use NotebookState::{Failed, Running, Starting, Stopped, Stopping, Waiting};
    use TransactionState as T;
    match (notebook.intent, notebook.state) {
        (_, Stopped | Failed) => Next::Wait,
        (NotebookIntent::Run, Waiting) => Next::Place,
        (NotebookIntent::Stop, Waiting) => Next::Stopped,
        (NotebookIntent::Stop, Starting | Running) => Next::Stop,
        (NotebookIntent::Run, Running) => Next::Wait,
        (NotebookIntent::Run, Starting) => match work {
            None => Next::Again { cause: "its start was lost".to_owned() },
            Some(Work { state, cause }) => match state {
                T::Waiting | T::Offered | T::Claimed | T::Running => Next::Wait,
                T::Done => Next::Run,
                T::Expired | T::NeverDelivered => Next::Again { cause: "its host did not come for it".to_owned() },
                // What may be left of it there is ended before it is tried again.
                T::Unknown => Next::Stop,
                // One that was given can be started anew.
                T::Failed if notebook.is_given => Next::Stop,
                T::Failed | T::Cancelled => {
                    Next::Fail { cause: cause.clone().unwrap_or_else(|| format!("its start ended as {state}")) }
                }
            },
        },
        (intent, Stopping) => match work {
            None => Next::Stop,
            Some(Work { state, cause }) => match state {
                T::Waiting | T::Offered | T::Claimed | T::Running => Next::Wait,
                T::Done => match intent {
                    NotebookIntent::Stop => Next::Stopped,
                    NotebookIntent::Run => Next::Again { cause: "its start was interrupted".to_owned() },
                },
                T::Expired | T::NeverDelivered | T::Unknown | T::Cancelled => Next::Stop,
                T::Failed => Next::Fail { cause: cause.clone().unwrap_or_else(|| "it could not be ended".to_owned()) },
            },
        },
    }
}

#[cfg(test)]
pub(super) mod tests {
    use jiff::Timestamp;

    use super::{
        super::{BASE, NotebookPolicy},
        *,
    };
    use crate::{
        ids::{NotebookEnvironmentId, NotebookId, PersonId, TenantId},
        labels::Labels,
    };

    pub(in super::super) fn notebook(intent: NotebookIntent, state: NotebookState) -> Notebook {
        Notebook {
            id: NotebookId::new(),
            tenant: TenantId::new(),
            person: PersonId::new(),
            person_name: "Ann".to_owned(),
            name: "ann".to_owned(),
            environment: NotebookEnvironmentId::new(),
            environment_name: BASE.to_owned(),
            size: NotebookPolicy::default().sizes[0].clone(),
            labels: Labels::default(),
            intent,
            state,
            since: Timestamp::UNIX_EPOCH,
            cause: None,
            run: None,
            host: None,
            host_name: None,
            transaction: None,
            start: None,
            is_given: false,
            active_at: None,
            warned_at: None,
            stops_at: None,
            share: None,
            steps: Vec::new(),
            created_at: Timestamp::UNIX_EPOCH,
            generation: 1,
        }
    }

    #[test]
    fn whatever_happens_a_stop_ends_in_stopped() {
        for state in [NotebookState::Starting, NotebookState::Running] {
            assert_eq!(next(&notebook(NotebookIntent::Stop, state), None), Next::Stop, "{state}");
        }
        assert_eq!(next(&notebook(NotebookIntent::Stop, NotebookState::Waiting), None), Next::Stopped);
        let stopping = notebook(NotebookIntent::Stop, NotebookState::Stopping);
        for (state, expected) in [
            (TransactionState::Offered, Next::Wait),
            (TransactionState::Expired, Next::Stop),
            (TransactionState::Unknown, Next::Stop),
            (TransactionState::Done, Next::Stopped),
        ] {
            assert_eq!(next(&stopping, Some(&Work { state, cause: None })), expected, "{state}");
        }
        let interrupted = notebook(NotebookIntent::Run, NotebookState::Stopping);
        let done = Work { state: TransactionState::Done, cause: None };
        assert!(matches!(next(&interrupted, Some(&done)), Next::Again { .. }));
    }

    #[test]
    fn a_start_that_no_host_came_for_is_tried_elsewhere() {
        let starting = notebook(NotebookIntent::Run, NotebookState::Starting);
        let after = |state| next(&starting, Some(&Work { state, cause: Some("no memory".to_owned()) }));
        assert_eq!(after(TransactionState::Claimed), Next::Wait);
        assert_eq!(after(TransactionState::Done), Next::Run);
        assert!(matches!(after(TransactionState::NeverDelivered), Next::Again { .. }));
        assert_eq!(after(TransactionState::Failed), Next::Fail { cause: "no memory".to_owned() });
        assert_eq!(after(TransactionState::Unknown), Next::Stop);
        let given = Notebook { is_given: true, ..starting.clone() };
        let failed = Work { state: TransactionState::Failed, cause: None };
        assert_eq!(next(&given, Some(&failed)), Next::Stop, "and then started where nothing is given");
    }
}
