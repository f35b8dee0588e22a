//! What objects write to their consoles, as it comes: of all hosts together.

use std::time::Duration;

use domain::{
    access::Action,
    ids::{HostId, TenantId},
};
use protocol::objects::control::{Console, Line, MAX_WAIT_MS};
use tokio::sync::mpsc;

use super::{Where, host, one};
use crate::{Call, Error, Result, Services};

/// Lines that wait for a slow reader; after that its hosts are asked no faster than it reads.
const QUEUE: usize = 256;
/// Between two tries of a host that does not answer.
const PAUSE: Duration = Duration::from_secs(2);
/// Hosts that are followed for one reader.
const MAX_FOLLOWED: usize = 256;

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
}

/// Follows the console of a deployment, or of one object (class and id) of it: first what is kept, then what comes, until the
/// receiver is dropped.
pub async fn console(
    services: &Services,
    call: &Call,
    which: &str,
    object: Option<(&str, &str)>,
) -> Result<mpsc::Receiver<Said>> {
    let (place, hosts, filter) = match object {
        Some((class, id)) => {
            let one = one(services, call, Action::ObjectsLook, (which, class, id)).await?;
            let filter = format!("&namespace={}&object={}", one.class.namespace, id.to_ascii_lowercase());
            (one.place, vec![one.host], filter)
        }
        None => {
            let place = Where::of(services, call, Action::ObjectsLook, which).await?;
            let hosts = place.hosts.clone();
            (place, hosts, String::new())
        }
    };
    let (sender, receiver) = mpsc::channel(QUEUE);
    let classes: Vec<_> = place.classes.iter().map(|class| (class.namespace, class.name.clone())).collect();
    for host in hosts.into_iter().take(MAX_FOLLOWED) {
        let follow = Follow {
            services: services.clone(),
            at: (place.deployment.tenant, host.host),
            host_name: host.name,
            path: format!("/deployments/{}/console", place.deployment.id),
            filter: filter.clone(),
            classes: classes.clone(),
        };
        let sender = sender.clone();
        // Ends with its reader.
        tokio::spawn(async move {
            tokio::select! {
                () = sender.closed() => {}
                _gone = follow.run(&sender) => {}
            }
        });
    }
    Ok(receiver)
}

struct Follow {
    services: Services,
    at: (TenantId, HostId),
    host_name: String,
    path: String,
    filter: String,
    classes: Vec<(domain::ids::NamespaceId, String)>,
}

type Gone = mpsc::error::SendError<Said>;

impl Follow {
    async fn run(&self, to: &mpsc::Sender<Said>) -> std::result::Result<(), Gone> {
        let (mut after, mut is_away) = (0, false);
        loop {
            let path = format!("{}?after={after}&wait_ms={MAX_WAIT_MS}{}", self.path, self.filter);
            match host::wait::<Console>(&self.services, self.at.0, self.at.1, &path).await {
                Ok(console) => {
                    is_away = false;
                    after = console.after;
                    self.pass_on(console, to).await?;
                }
                Err(error) => {
                    // The deployment may not have come to the host yet.
                    if !is_away && !matches!(error, Error::NotFound { .. }) {
                        is_away = true;
                        to.send(Said::Away { host_name: self.host_name.clone(), why: error.to_string() }).await?;
                    }
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    async fn pass_on(&self, console: Console, to: &mpsc::Sender<Said>) -> std::result::Result<(), Gone> {
        if console.lost > 0 {
            to.send(Said::Lost { host_name: self.host_name.clone(), lines: console.lost }).await?;
        }
        for line in console.lines {
            let class = line.object.as_ref().and_then(|object| {
                self.classes.iter().find(|(namespace, _)| *namespace == object.namespace).map(|(_, name)| name.clone())
            });
            to.send(Said::Line { class, host_name: self.host_name.clone(), line }).await?;
        }
        Ok(())
    }
}
