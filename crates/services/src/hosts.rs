//! Hosts: what an admin sees of them and does with them.

use std::collections::HashMap;

use domain::{
    access::{Action, Permit},
    events::EventKind,
    hosts::{Host, HostAct, HostIntent, HostLink, HostMetrics},
    ids::HostId,
    labels::Labels,
};
use store::{audit::Entry, deployments::groups, hosts::Filter};

use crate::{
    Call, Error, Result, Services, audit,
    page::{MAX_LIMIT, Page, PageAsk},
};

/// Which hosts are wanted; all that is given has to hold.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    /// Part of the name, in any case.
    pub name: Option<String>,
    pub labels: Labels,
    pub intent: Option<HostIntent>,
    pub link: Option<HostLink>,
}

/// By name.
pub async fn list(services: &Services, call: &Call, wanted: &Wanted, ask: &PageAsk) -> Result<Page<Host>> {
    let permit = call.permit(Action::HostsRead)?;
    let limit = ask.limit()?;
    let filter = Filter { name: wanted.name.clone(), intent: wanted.intent, link: wanted.link };
    let mut after = ask.after::<String>()?;
    let enough = usize::try_from(limit + 1).unwrap_or(usize::MAX);
    let mut found = Vec::new();
    // Labels are not looked at by the database: it is asked until the page is full.
    loop {
        let size = if wanted.labels.is_empty() { limit + 1 } else { MAX_LIMIT };
        let rows = store::hosts::list(services.store(), &permit, &filter, after.as_deref(), size).await?;
        let is_last = u64::try_from(rows.len()).unwrap_or(0) < size;
        after = rows.last().map(|host| host.name.clone()).or(after);
        found.extend(rows.into_iter().filter(|host| wanted.labels.select(&host.labels)));
        if is_last || found.len() >= enough {
            return Ok(Page::cut(found, limit, |host| host.name.clone()));
        }
    }
}

/// All hosts of the tenant, by name.
pub(crate) async fn all(services: &Services, permit: &Permit) -> Result<Vec<Host>> {
    let mut found: Vec<Host> = Vec::new();
    loop {
        let after = found.last().map(|host| host.name.clone());
        let rows =
            store::hosts::list(services.store(), permit, &Filter::default(), after.as_deref(), MAX_LIMIT).await?;
        let is_last = u64::try_from(rows.len()).unwrap_or(0) < MAX_LIMIT;
        found.extend(rows);
        if is_last {
            return Ok(found);
        }
    }
}

/// The names of these hosts, those of deleted ones too.
pub(crate) async fn names(
    services: &Services,
    permit: &Permit,
    ids: impl Iterator<Item = HostId>,
) -> Result<HashMap<HostId, String>> {
    let mut ids: Vec<HostId> = ids.collect();
    ids.sort_unstable();
    ids.dedup();
    let mut names = HashMap::with_capacity(ids.len());
    for chunk in ids.chunks(store::hosts::HEARTBEAT_CHUNK) {
        names.extend(store::hosts::names(services.store(), permit, chunk).await?);
    }
    Ok(names)
}

async fn find(services: &Services, permit: &Permit, id: HostId) -> Result<Host> {
    store::hosts::get(services.store(), permit, id).await?.ok_or_else(|| Error::not_found("host", id))
}

pub async fn get(services: &Services, call: &Call, id: HostId) -> Result<Host> {
    let permit = call.permit(Action::HostsRead)?;
    find(services, &permit, id).await
}

/// By its name, as people type it.
pub async fn get_by_name(services: &Services, call: &Call, name: &str) -> Result<Host> {
    let permit = call.permit(Action::HostsRead)?;
    let found = store::hosts::by_names(services.store(), &permit, &[name.to_owned()]).await?;
    found.into_iter().next().ok_or_else(|| Error::not_found("host", name))
}

/// The last ten minutes, oldest first; of a host that is linked to another replica as long as this one follows that one.
pub async fn readings(services: &Services, call: &Call, id: HostId) -> Result<Vec<HostMetrics>> {
    let permit = call.permit(Action::HostsRead)?;
    find(services, &permit, id).await?;
    Ok(services.links().readings(id))
}

/// The last ten minutes of every host that was heard of lately, oldest first.
pub async fn loads(services: &Services, call: &Call) -> Result<Vec<(HostId, Vec<HostMetrics>)>> {
    let permit = call.permit(Action::HostsRead)?;
    let links = services.links();
    let heard = all(services, &permit).await?.into_iter().filter(|host| links.newest_reading(host.id).is_some());
    Ok(heard.map(|host| (host.id, links.readings(host.id))).collect())
}

/// Puts the host in service, into maintenance, or drains it.
pub async fn change_intent(services: &Services, call: &Call, id: HostId, to: HostIntent) -> Result<Host> {
    match to {
        HostIntent::InService | HostIntent::Draining | HostIntent::Maintenance => {}
        HostIntent::Pending | HostIntent::Revoked => {
            return Err(Error::invalid(
                "intent",
                "set in-service, draining or maintenance; revoking is an act of its own",
            ));
        }
    }
    let permit = call.permit(Action::HostsManage)?;
    let host = find(services, &permit, id).await?;
    if host.intent == to {
        return Ok(host);
    }
    if host.intent == HostIntent::Pending {
        return Err(Error::Conflict(format!("the host '{}' waits for its approval: approve it first", host.name)));
    }
    set_intent(services, call, &permit, host, to).await
}

/// Lets a host in that waits for it.
pub async fn approve(services: &Services, call: &Call, id: HostId) -> Result<Host> {
    let permit = call.permit(Action::HostsManage)?;
    let host = find(services, &permit, id).await?;
    if host.intent != HostIntent::Pending {
        return Err(Error::Conflict(format!(
            "the host '{}' does not wait for an approval: it is {}",
            host.name, host.intent
        )));
    }
    set_intent(services, call, &permit, host, HostIntent::InService).await
}

/// Makes the host's certificates worthless; its link is cut within 2 s.
pub async fn revoke(services: &Services, call: &Call, id: HostId) -> Result<Host> {
    let permit = call.permit(Action::HostsManage)?;
    let host = find(services, &permit, id).await?;
    set_intent(services, call, &permit, host, HostIntent::Revoked).await
}

async fn set_intent(services: &Services, call: &Call, permit: &Permit, mut host: Host, to: HostIntent) -> Result<Host> {
    let Some(act) = host.intent.act_towards(to) else {
        return Err(Error::Conflict(format!("the host '{}' is {} and cannot become {to}", host.name, host.intent)));
    };
    let now = services.clock().now();
    let tx = services.store().begin().await?;
    if !store::hosts::set_intent(&tx, permit, host.id, host.intent, to).await? {
        return Err(Error::Conflict(format!(
            "the host '{}' was changed by somebody else just now; look again",
            host.name
        )));
    }
    if to == HostIntent::Revoked {
        store::certificates::revoke_all(&tx, permit, host.id, now).await?;
    }
    let entry = Entry {
        action: action(act),
        subject_kind: "host",
        subject_id: host.id.to_string(),
        detail: format!("'{}' from {} to {to}", host.name, host.intent),
    };
    audit::record(services, call, permit, &tx, entry).await?;
    store::events::append(&tx, permit, EventKind::Host, host.id, to.word(), now).await?;
    tx.commit().await?;
    services.live().nudge();
    host.intent = to;
    Ok(host)
}

fn action(act: HostAct) -> &'static str {
    match act {
        HostAct::Approve => "host.approve",
        HostAct::PutInService => "host.put-in-service",
        HostAct::Drain => "host.drain",
        HostAct::PutInMaintenance => "host.put-in-maintenance",
        HostAct::Revoke => "host.revoke",
        HostAct::Delete => "host.delete",
    }
}

/// How many deployments have objects on the host, or may have. No other host has these: who deletes the host loses them.
pub async fn objects_of(services: &Services, call: &Call, id: HostId) -> Result<u64> {
    let permit = call.permit(Action::HostsRead)?;
    find(services, &permit, id).await?;
    Ok(groups::deployments_on(services.store().read(), &permit, id).await?)
}

/// `the objects of 3 deployments`.
fn objects_in_words(deployments: u64) -> String {
    format!("the objects of {deployments} {}", if deployments == 1 { "deployment" } else { "deployments" })
}

/// Deletes the host with its machines. What joins under its name later inherits nothing. Refused where it has objects of more
/// deployments than `lose_objects_of`: other hosts take their places, and begin with nothing.
pub async fn delete(services: &Services, call: &Call, id: HostId, lose_objects_of: u64) -> Result<()> {
    let permit = call.permit(Action::HostsManage)?;
    let host = find(services, &permit, id).await?;
    let now = services.clock().now();
    let tx = services.store().begin().await?;
    if store::hosts::has_open_sessions(&tx, &permit, id).await? {
        return Err(Error::Conflict(format!(
            "the host '{}' has sessions that are not over: drain it and wait, or revoke it, which ends them",
            host.name
        )));
    }
    let lost = groups::deployments_on(tx.conn(), &permit, id).await?;
    if lost > lose_objects_of {
        return Err(Error::Conflict(format!(
            "the host '{}' has {}, which no other host has: what they hold is lost with it; to delete it all the same say \
             lose_objects_of={lost}",
            host.name,
            objects_in_words(lost)
        )));
    }
    store::certificates::revoke_all(&tx, &permit, id, now).await?;
    if !store::hosts::delete(&tx, &permit, id, now).await? {
        return Err(Error::not_found("host", id));
    }
    let entry = Entry {
        action: action(HostAct::Delete),
        subject_kind: "host",
        subject_id: id.to_string(),
        detail: match lost {
            0 => format!("'{}'", host.name),
            1.. => format!("'{}' with {}", host.name, objects_in_words(lost)),
        },
    };
    audit::record(services, call, &permit, &tx, entry).await?;
    store::events::append(&tx, &permit, EventKind::Host, id, "deleted", now).await?;
    tx.commit().await?;
    services.live().nudge();
    Ok(())
}
