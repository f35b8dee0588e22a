//! Where requests to an address go, kept between requests: a deployment is asked thousands of times a second, and what is read for
//! it is a list of hosts.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use domain::{
    access::Permit,
    ids::{DeploymentId, HostId, TenantId},
};
use store::deployments::plan as rows;

use super::MAX_HOSTS;
use crate::{Result, Services};

/// However quiet it is: an event that is late, or lost with another replica's notice, is not missed for longer.
const KEPT: Duration = Duration::from_secs(1);
/// Addresses that are kept.
const MAX_KEPT: usize = 1_024;

/// Where requests to a deployment can be sent.
#[derive(Debug, Clone)]
pub struct Entrance {
    pub tenant: TenantId,
    pub deployment: DeploymentId,
    /// Hosts that take them now, in no order.
    pub hosts: Vec<HostId>,
}

struct Kept {
    entrance: Arc<Entrance>,
    read: Instant,
    /// What the events had come to before it was read.
    revision: i64,
}

/// Those of addresses that were asked for just now. Nothing is kept of an address that leads nowhere: it may be a notebook's, and
/// a deployment that takes it is there at once.
#[derive(Default)]
pub(crate) struct Entrances {
    kept: Mutex<HashMap<String, Kept>>,
}

impl Entrances {
    fn get(&self, name: &str, revision: i64) -> Option<Arc<Entrance>> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let found = kept.get(name).filter(|kept| kept.revision == revision && kept.read.elapsed() < KEPT);
        found.map(|kept| kept.entrance.clone())
    }

    fn keep(&self, name: &str, revision: i64, entrance: Arc<Entrance>) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= MAX_KEPT && !kept.contains_key(name) {
            kept.clear();
        }
        kept.insert(name.to_owned(), Kept { entrance, read: Instant::now(), revision });
    }
}

/// What the address with this first label leads to, if it is a deployment's. For requests of people and programs that Berth need
/// not know: a deployment decides itself whom it answers.
pub async fn entrance(services: &Services, name: &str) -> Result<Option<Arc<Entrance>>> {
    let revision = services.live().seen();
    if let Some(entrance) = services.entrances().get(name, revision) {
        return Ok(Some(entrance));
    }
    let conn = services.store().read();
    let Some((tenant, deployment)) = rows::by_address(conn, name).await? else { return Ok(None) };
    let hosts = rows::hosts(conn, &Permit::system(tenant), MAX_HOSTS).await?;
    let hosts = hosts.into_iter().filter(|host| host.is_online).map(|host| host.host).collect();
    let entrance = Arc::new(Entrance { tenant, deployment, hosts });
    services.entrances().keep(name, revision, entrance.clone());
    Ok(Some(entrance))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_kept_beyond_an_event_or_the_limit() {
        let entrances = Entrances::default();
        let entrance =
            || Arc::new(Entrance { tenant: TenantId::new(), deployment: DeploymentId::new(), hosts: Vec::new() });
        entrances.keep("a", 7, entrance());
        assert!(entrances.get("a", 7).is_some());
        assert!(entrances.get("b", 7).is_none());
        assert!(entrances.get("a", 8).is_none(), "something happened since");
        for number in 0..2 * MAX_KEPT {
            entrances.keep(&number.to_string(), 7, entrance());
        }
        assert!(entrances.kept.lock().unwrap().len() <= MAX_KEPT);
    }
}
