//! How deployments do, in short: for a whole list with one question to each host, asked once for all who look.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use api::objects::{BriefByHost, BriefByHosts, DeploymentBrief};
use domain::{
    access::{Action, Permit},
    deployments::{Deployment, GROUPS},
    ids::{DeploymentId, HostId, TenantId},
};
use futures_util::StreamExt;
use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;
use protocol::objects::control::{AskBriefs, Brief, Briefs, MAX_BRIEFS};
use store::deployments::plan as rows;
use tokio::time::timeout;

use super::{ASKED_AT_ONCE, MAX_HOSTS, ObjectHost, host, placement};
use crate::{
    Call, Error, Result, Services, deployments,
    page::{Page, PageAsk},
};

/// What was told is told again for so long; pages look every five seconds.
const FRESH: SignedDuration = SignedDuration::from_secs(2);
/// A list does not wait longer for a host that is slow.
const LIMIT: Duration = Duration::from_secs(3);
/// Lists that are kept; beyond, each look at another one asks anew.
const MAX_KEPT: usize = 256;

/// What one host said of the deployments that it was asked for, or why it said nothing.
#[derive(Debug, Clone)]
pub struct BriefsOfHost {
    pub host: HostId,
    pub host_name: String,
    pub told: std::result::Result<HashMap<DeploymentId, Brief>, String>,
}

impl BriefsOfHost {
    /// What of it is about this deployment.
    pub fn of(&self, deployment: DeploymentId) -> BriefByHost<'_> {
        let brief = match &self.told {
            Ok(told) => Ok(told.get(&deployment)),
            Err(why) => Err(why.as_str()),
        };
        BriefByHost { host: self.host, host_name: &self.host_name, brief }
    }
}

/// What all hosts said.
#[derive(Debug, Clone, Default)]
pub struct Told {
    pub hosts: Vec<BriefsOfHost>,
    /// Whose objects have no hosts yet.
    unplaced: HashSet<DeploymentId>,
}

impl Told {
    /// What of it is about this deployment.
    pub fn of(&self, deployment: DeploymentId) -> BriefByHosts<'_> {
        let hosts = self.hosts.iter().map(|host| host.of(deployment)).collect();
        BriefByHosts { hosts, placement: placement(&self.unplaced, deployment) }
    }

    /// What it comes to for this deployment.
    pub fn brief(&self, deployment: &Deployment, now: Timestamp) -> DeploymentBrief {
        DeploymentBrief::new(deployment.name.clone(), deployment.version, &self.of(deployment.id), now)
    }
}

/// The same for all who look.
pub type AllBriefs = Arc<Told>;

/// Of which deployments, and in which versions: what was told of one version says nothing of the next.
type Key = (TenantId, Vec<(DeploymentId, u32)>);
/// Held by whoever asks; the others wait for what they are told.
type Slot = Arc<tokio::sync::Mutex<Option<(Timestamp, AllBriefs)>>>;

/// What hosts said last.
#[derive(Default)]
pub(crate) struct KeptBriefs(Mutex<HashMap<Key, Slot>>);

impl KeptBriefs {
    fn slot(&self, key: Key) -> Slot {
        let mut slots = self.0.lock();
        if let Some(slot) = slots.get(&key) {
            return slot.clone();
        }
        if slots.len() >= MAX_KEPT {
            // Those that somebody is at stay.
            slots.retain(|_, slot| Arc::strong_count(slot) > 1);
        }
        let slot = Slot::default();
        if slots.len() < MAX_KEPT {
            slots.insert(key, slot.clone());
        }
        slot
    }
}

/// A page of the list of deployments, and how those on it do.
pub async fn briefs(services: &Services, call: &Call, ask: &PageAsk) -> Result<(Page<Deployment>, AllBriefs)> {
    let permit = call.permit(Action::DeploymentsRead)?;
    let page = deployments::list(services, call, ask).await?;
    let shown = page.items.iter().map(|deployment| (deployment.id, deployment.version)).collect();
    let slot = services.kept_briefs().slot((permit.tenant(), shown));
    let mut kept = slot.lock().await;
    let now = services.clock().now();
    if let Some((at, told)) = kept.as_ref()
        && now.duration_since(*at) < FRESH
    {
        return Ok((page, told.clone()));
    }
    let ids = page.items.iter().map(|deployment| deployment.id).collect();
    let told = Arc::new(ask_hosts(services, &permit, ids).await?);
    *kept = Some((services.clock().now(), told.clone()));
    Ok((page, told))
}

/// How far hosts are with one deployment, asked anew.
pub async fn rollout(services: &Services, call: &Call, which: &str) -> Result<(Deployment, Told)> {
    let permit = call.permit(Action::DeploymentsRead)?;
    let deployment = deployments::find(services, &permit, which).await?;
    let told = ask_hosts(services, &permit, vec![deployment.id]).await?;
    Ok((deployment, told))
}

async fn ask_hosts(services: &Services, permit: &Permit, of: Vec<DeploymentId>) -> Result<Told> {
    if of.is_empty() {
        return Ok(Told::default());
    }
    if of.len() > MAX_BRIEFS {
        return Err(Error::Internal(format!("{} deployments in one question", of.len())));
    }
    // First: what is placed while hosts are asked may not have come to them.
    let unplaced = rows::unplaced_of(services.store().read(), permit, GROUPS, &of).await?;
    let hosts = rows::hosts(services.store().read(), permit, MAX_HOSTS).await?;
    let (tenant, ask) = (permit.tenant(), AskBriefs { deployments: of });
    let asked = futures_util::stream::iter(hosts).map(|host| {
        let ask = &ask;
        async move {
            let told = ask_host(services, tenant, &host, ask).await;
            BriefsOfHost { host: host.host, host_name: host.name, told }
        }
    });
    let hosts = asked.buffered(ASKED_AT_ONCE).collect().await;
    Ok(Told { hosts, unplaced })
}

async fn ask_host(
    services: &Services,
    tenant: TenantId,
    host: &ObjectHost,
    ask: &AskBriefs,
) -> std::result::Result<HashMap<DeploymentId, Brief>, String> {
    if !host.is_online {
        return Err("the host is offline".to_owned());
    }
    let told = timeout(LIMIT, host::post::<Briefs>(services, tenant, host.host, "/briefs", ask)).await;
    match told {
        Ok(Ok(Briefs { briefs })) => Ok(briefs.into_iter().map(|brief| (brief.deployment, brief)).collect()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_late) => Err("the host does not answer in time".to_owned()),
    }
}
