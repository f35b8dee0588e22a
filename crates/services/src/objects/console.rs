//! What objects write to their consoles, as it comes: of all hosts together.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use domain::{
    access::Action,
    events::{Event, EventKind},
    ids::{DeploymentId, HostId, NamespaceId, TenantId},
};
use protocol::objects::control::{Console, Line, MAX_WAIT_MS};
use tokio::{
    sync::{
        broadcast::{self, error::RecvError},
        mpsc, watch,
    },
    task::{AbortHandle, JoinSet},
    time::{Instant, MissedTickBehavior, interval_at, sleep},
};

use super::{ObjectHost, Where, host, object_id};
use crate::{Call, Error, Result, Services};

/// Lines that wait for a slow reader; after that its hosts are asked no faster than it reads.
const QUEUE: usize = 256;
/// Between two tries of a host that does not answer.
const PAUSE: Duration = Duration::from_secs(2);
/// Hosts that are followed for one reader.
const MAX_FOLLOWED: usize = 256;
/// After an event, what else is changed with it is read in one.
const SETTLE: Duration = Duration::from_millis(300);
/// However quiet it is, so often it is read what there is to follow.
const PERIOD: Duration = Duration::from_secs(15);

/// One thing of a console.
#[derive(Debug, Clone)]
pub enum Said {
    Line {
        /// As the code that runs calls it; none of the entry worker, and of a class that was deleted.
        class: Option<String>,
        host_name: String,
        line: Line,
    },
    /// So many lines of the host are kept no more.
    Lost { host_name: String, lines: u64 },
    /// The host does not answer for now; it is tried again.
    Away { host_name: String, why: String },
    /// Nothing more comes: what was followed is gone, or is its reader's no more.
    Ended { why: String },
}

/// Follows the console of a deployment, or of one object (class and id) of it: first what is kept, then what comes, until the
/// receiver is dropped or there is nothing left to follow.
pub async fn console(
    services: &Services,
    call: &Call,
    which: &str,
    object: Option<(&str, &str)>,
) -> Result<mpsc::Receiver<Said>> {
    // Before anything is read, so that no change of it is missed.
    let events = services.live().subscribe_all();
    let place = Where::of(services, call, Action::ObjectsLook, which).await?;
    let object = match object {
        Some((class, id)) => Some((place.class(class)?.namespace, object_id(id)?)),
        None => None,
    };
    let following =
        Following { services: services.clone(), call: call.clone(), deployment: place.deployment.id, object };
    let first = following.of(place).await?;
    if object.is_some() && first.hosts.is_empty() {
        return Err(Error::Unavailable("no host has the object now".to_owned()));
    }
    let (sender, receiver) = mpsc::channel(QUEUE);
    // Ends with its reader, or with what it follows.
    tokio::spawn(async move {
        tokio::select! {
            () = sender.closed() => {}
            _gone = following.run(first, events, &sender) => {}
        }
    });
    Ok(receiver)
}

type Classes = Vec<(NamespaceId, String)>;

/// What is followed for one reader.
struct Following {
    services: Services,
    call: Call,
    deployment: DeploymentId,
    object: Option<(NamespaceId, [u8; 32])>,
}

/// Where lines come from now, and what classes are called.
struct Sources {
    hosts: Vec<ObjectHost>,
    classes: Classes,
}

impl Following {
    /// What there is to follow; an error if it is gone.
    async fn of(&self, place: Where) -> Result<Sources> {
        let classes: Classes = place.classes.iter().map(|class| (class.namespace, class.name.clone())).collect();
        let hosts = match &self.object {
            None => place.hosts,
            Some((namespace, _)) if !classes.iter().any(|(class, _)| class == namespace) => {
                return Err(Error::not_found("class", "of the object"));
            }
            Some((_, id)) => match place.holder(&self.services, id).await {
                Ok(host) => vec![host.clone()],
                // It gets one again.
                Err(Error::Unavailable(_)) => Vec::new(),
                Err(error) => return Err(error),
            },
        };
        Ok(Sources { hosts, classes })
    }

    async fn look(&self) -> Result<Sources> {
        let which = self.deployment.to_string();
        let place = Where::of(&self.services, &self.call, Action::ObjectsLook, &which).await?;
        self.of(place).await
    }

    async fn run(
        self,
        mut sources: Sources,
        mut events: broadcast::Receiver<Event>,
        to: &mpsc::Sender<Said>,
    ) -> std::result::Result<(), Gone> {
        let classes = watch::Sender::new(Classes::new());
        let mut followers = Followers::default();
        let mut period = interval_at(Instant::now() + PERIOD, PERIOD);
        period.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            classes.send_replace(std::mem::take(&mut sources.classes));
            followers.follow(&self, sources.hosts, &classes, to);
            sources = loop {
                tokio::select! {
                    changed = self.changed(&mut events) => if changed.is_none() { return Ok(()) },
                    _ = period.tick() => {}
                }
                match self.look().await {
                    Ok(sources) => break sources,
                    Err(Error::NotFound { kind, .. }) => {
                        return to.send(Said::Ended { why: format!("the {kind} was deleted") }).await;
                    }
                    Err(denied @ Error::Denied(_)) => {
                        return to.send(Said::Ended { why: denied.to_string() }).await;
                    }
                    Err(error) => tracing::warn!(%error, "cannot see what a console is to follow; trying again"),
                }
            };
        }
    }

    /// Something happened that may change what is followed; `None` if the server ends.
    async fn changed(&self, events: &mut broadcast::Receiver<Event>) -> Option<()> {
        loop {
            match events.recv().await {
                Ok(event) if self.is_concerned(&event) => break,
                Ok(_) => {}
                Err(RecvError::Lagged(_)) => break,
                Err(RecvError::Closed) => return None,
            }
        }
        sleep(SETTLE).await;
        Some(())
    }

    fn is_concerned(&self, event: &Event) -> bool {
        let is_ours = event.kind == EventKind::Deployment && event.subject == self.deployment.uuid();
        event.tenant == self.call.actor.tenant && (is_ours || event.kind == EventKind::Host)
    }
}

/// A task for each host, and how far it is; the tasks end with this.
#[derive(Default)]
struct Followers {
    tasks: JoinSet<()>,
    running: HashMap<HostId, AbortHandle>,
    /// Kept of hosts that are followed no more: an object may come back to one, whose lines are then not told twice.
    after: HashMap<HostId, Arc<AtomicU64>>,
}

impl Followers {
    fn follow(
        &mut self,
        following: &Following,
        hosts: Vec<ObjectHost>,
        classes: &watch::Sender<Classes>,
        to: &mpsc::Sender<Said>,
    ) {
        while self.tasks.try_join_next().is_some() {}
        self.running.retain(|host, task| {
            let stays = hosts.iter().any(|wanted| wanted.host == *host);
            if !stays {
                task.abort();
            }
            stays
        });
        if self.after.len() > 2 * MAX_FOLLOWED {
            self.after.retain(|host, _| self.running.contains_key(host));
        }
        let filter = following
            .object
            .as_ref()
            .map(|(namespace, id)| format!("&namespace={namespace}&object={}", hex::encode(id)));
        for host in hosts.into_iter().take(MAX_FOLLOWED) {
            if self.running.contains_key(&host.host) {
                continue;
            }
            let follow = Follow {
                services: following.services.clone(),
                at: (following.call.actor.tenant, host.host),
                host_name: host.name,
                path: format!("/deployments/{}/console", following.deployment),
                filter: filter.clone().unwrap_or_default(),
                classes: classes.subscribe(),
                after: self.after.entry(host.host).or_default().clone(),
            };
            let to = to.clone();
            let task = self.tasks.spawn(async move {
                // Who reads has gone: the whole ends.
                follow.run(&to).await.ok();
            });
            self.running.insert(host.host, task);
        }
    }
}

struct Follow {
    services: Services,
    at: (TenantId, HostId),
    host_name: String,
    path: String,
    filter: String,
    classes: watch::Receiver<Classes>,
    after: Arc<AtomicU64>,
}

type Gone = mpsc::error::SendError<Said>;

impl Follow {
    async fn run(&self, to: &mpsc::Sender<Said>) -> std::result::Result<(), Gone> {
        let mut is_away = false;
        loop {
            let after = self.after.load(Ordering::Relaxed);
            let path = format!("{}?after={after}&wait_ms={MAX_WAIT_MS}{}", self.path, self.filter);
            match host::wait::<Console>(&self.services, self.at.0, self.at.1, &path).await {
                Ok(console) => {
                    is_away = false;
                    let after = console.after;
                    self.pass_on(console, to).await?;
                    self.after.store(after, Ordering::Relaxed);
                }
                Err(error) => {
                    // The deployment may not have come to the host yet.
                    if !is_away && !matches!(error, Error::NotFound { .. }) {
                        is_away = true;
                        to.send(Said::Away { host_name: self.host_name.clone(), why: error.to_string() }).await?;
                    }
                    sleep(PAUSE).await;
                }
            }
        }
    }

    async fn pass_on(&self, console: Console, to: &mpsc::Sender<Said>) -> std::result::Result<(), Gone> {
        if console.lost > 0 {
            to.send(Said::Lost { host_name: self.host_name.clone(), lines: console.lost }).await?;
        }
        for line in console.lines {
            let class = line.object.as_ref().and_then(|object| self.class(object.namespace));
            to.send(Said::Line { class, host_name: self.host_name.clone(), line }).await?;
        }
        Ok(())
    }

    fn class(&self, namespace: NamespaceId) -> Option<String> {
        let classes = self.classes.borrow();
        classes.iter().find(|(class, _)| *class == namespace).map(|(_, name)| name.clone())
    }
}
