//! Where objects are, and which deployment a request is for: what the plan says, ready to be looked up.

use std::{
    collections::HashMap,
    io,
    sync::{Arc, PoisonError, RwLock},
};

use domain::{deployments::Group, ids::HostId};
use futures_util::future::BoxFuture;
use objects::{
    host::{
        elsewhere::{Connection, Dial, Directory, Peer, Place},
        log::ObjectKey,
    },
    wire::Problem,
};
use protocol::objects::{Holder, Plan};
use uuid::Uuid;

use super::{follow::Rounds, peers::Peers};

pub struct Places {
    own: HostId,
    rounds: Arc<Rounds>,
    known: RwLock<Known>,
}

#[derive(Default)]
struct Known {
    /// A deployment's id, as the objects' host knows it, by its name.
    names: HashMap<String, String>,
    /// By that id.
    groups: HashMap<String, Vec<Option<Holder>>>,
}

fn nowhere(message: &str) -> Place {
    Place::Nowhere(Problem { retryable: true, ..Problem::new("Error", message) })
}

impl Places {
    pub fn new(own: HostId, rounds: Arc<Rounds>) -> Self {
        Self { own, rounds, known: RwLock::default() }
    }

    pub fn are(&self, plan: &Plan) {
        let ids = plan.deployments.iter().map(|planned| (planned, planned.id.to_string()));
        let (names, groups) = ids
            .map(|(planned, id)| ((planned.name.clone(), id.clone()), (id, planned.groups.clone())))
            .unzip::<_, _, HashMap<_, _>, HashMap<_, _>>();
        *self.known.write().unwrap_or_else(PoisonError::into_inner) = Known { names, groups };
    }

    /// The deployment that a `Host` header asks for: its first label is a deployment's name.
    pub fn deployment_of(&self, host: &str) -> Option<String> {
        let label = host.split(['.', ':']).next()?.to_ascii_lowercase();
        self.known.read().unwrap_or_else(PoisonError::into_inner).names.get(&label).cloned()
    }
}

impl Directory for Places {
    fn place(&self, deployment: &str, object: &ObjectKey) -> Place {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let Some(groups) = known.groups.get(deployment) else { return nowhere("This deployment was deleted.") };
        match groups.get(usize::from(Group::of(&object.id).number())).copied().flatten() {
            Some(Holder { host, epoch }) if host == self.own => Place::Here { least_epoch: epoch },
            Some(Holder { host, epoch: _ }) => Place::At(Peer(host.uuid().into_bytes())),
            None => nowhere("No host has taken this object yet; try again in a moment."),
        }
    }

    fn misdirected<'a>(&'a self, deployment: &'a str, object: &'a ObjectKey, by: Peer) -> BoxFuture<'a, ()> {
        let by = HostId::from_uuid(Uuid::from_bytes(by.0));
        tracing::info!(deployment, object = hex::encode(object.id), %by, "the plan leads to a host that refuses");
        Box::pin(self.rounds.fresh())
    }
}

/// Connects to other hosts for objects.
pub struct Dialing(pub Arc<Peers>);

impl Dial for Dialing {
    fn dial(&self, peer: Peer) -> BoxFuture<'_, io::Result<Box<dyn Connection>>> {
        let host = HostId::from_uuid(Uuid::from_bytes(peer.0));
        Box::pin(async move {
            match self.0.dial(host).await {
                Ok(stream) => Ok(Box::new(stream) as Box<dyn Connection>),
                Err(error) => {
                    tracing::warn!(%host, %error, "no connection to another host");
                    Err(io::Error::new(io::ErrorKind::NotConnected, error))
                }
            }
        })
    }
}
