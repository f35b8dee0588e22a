//! Objects of deployments: which host has which, what hosts are told of it, and what they are asked about them.
//!
//! A host's objects are asked for where they are ([`host`]): nothing that an object holds is kept by the server.

mod briefs;
mod console;
mod entrances;
mod host;
mod plan;

use std::collections::{HashMap, HashSet};

use api::objects::{KvEntries, ObjectInfo, Placement, Sought, SqlResult, ToldByHost};
use domain::{
    access::{Action, Permit},
    deployments::{Class, Deployment, GROUPS, Group, Held, spread},
    events::EventKind,
    ids::{DeploymentId, HostId, NamespaceId, TenantId},
};
use futures_util::StreamExt;
use jiff::Timestamp;
use protocol::objects::control::{self, DeploymentStatus, Look, ObjectStatus};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use store::{
    Tx,
    audit::Entry,
    deployments::{groups, namespaces, plan as rows, plan::ObjectHost},
};

pub(crate) use briefs::KeptBriefs;
pub use briefs::{AllBriefs, BriefsOfHost, Told, briefs, rollout};
pub use console::{Said, console};
pub(crate) use entrances::Entrances;
pub use entrances::{Entrance, entrance};
pub use plan::{bundle, plan};

use crate::{
    Call, Error, Result, Services, audit, deployments,
    page::{Page, PageAsk},
};

/// Hosts of a tenant that run objects.
const MAX_HOSTS: u64 = 10_000;
/// Deployments that are looked at in one pass.
const MAX_UNPLACED: u64 = 500;
/// Hosts that are asked at a time for one answer.
const ASKED_AT_ONCE: usize = 16;
/// The longest name that is looked for, bytes.
const MAX_NAME_BYTES: usize = 2_048;
/// The longest query, bytes.
const MAX_QUERY_BYTES: usize = 100_000;

/// Gives groups that have no host one of those that are ready. Safe to repeat.
pub(crate) async fn pass(services: &Services, now: Timestamp) -> Result<()> {
    let unplaced = rows::unplaced(services.store().read(), GROUPS, MAX_UNPLACED).await?;
    let mut hosts: HashMap<TenantId, Vec<ObjectHost>> = HashMap::new();
    for (tenant, deployment) in unplaced {
        let permit = Permit::system(tenant);
        let hosts = match hosts.entry(tenant) {
            std::collections::hash_map::Entry::Occupied(known) => known.into_mut(),
            std::collections::hash_map::Entry::Vacant(unknown) => {
                unknown.insert(rows::hosts(services.store().read(), &permit, MAX_HOSTS).await?)
            }
        };
        // One deployment's trouble does not hold up the others; the next pass tries again.
        if let Err(error) = place(services, &permit, deployment, hosts, now).await {
            tracing::warn!(%error, %deployment, "cannot give a deployment's objects their hosts");
        }
    }
    Ok(())
}

async fn place(
    services: &Services,
    permit: &Permit,
    deployment: DeploymentId,
    hosts: &[ObjectHost],
    now: Timestamp,
) -> Result<()> {
    if !hosts.iter().any(|host| host.candidate().is_ready) {
        return Ok(());
    }
    let tx = services.store().begin().await?;
    if !place_in(&tx, permit, deployment, hosts).await? {
        tx.rollback().await?;
        return Ok(());
    }
    store::events::append(&tx, permit, EventKind::Deployment, deployment, "placed", now).await?;
    tx.commit().await?;
    services.live().nudge();
    Ok(())
}

/// Whether anything was changed.
async fn place_in(tx: &Tx, permit: &Permit, deployment: DeploymentId, hosts: &[ObjectHost]) -> Result<bool> {
    let candidates: Vec<_> = hosts.iter().map(ObjectHost::candidate).collect();
    let given_up = groups::give_up(tx, permit, deployment).await?;
    let held = groups::get(tx.conn(), permit, deployment).await?;
    let mut is_changed = !given_up.is_empty();
    for (group, host) in spread(deployment, &held, &candidates) {
        let before = given_up.iter().find(|held| held.group == group);
        let epoch = before.map_or(1, |held| held.epoch.saturating_add(1));
        is_changed |= groups::place(tx, permit, deployment, Held { group, host, epoch }).await?;
    }
    Ok(is_changed)
}

/// The groups of a deployment that is made just now get their hosts with it, so that the first plan that has it says where its
/// objects are. Where no host is ready, a later [`pass`] places them.
pub(crate) async fn place_first(tx: &Tx, permit: &Permit, deployment: DeploymentId) -> Result<()> {
    let hosts = rows::hosts(tx.conn(), permit, MAX_HOSTS).await?;
    place_in(tx, permit, deployment, &hosts).await?;
    Ok(())
}

/// Whether the address with this first label leads anywhere, to a deployment or a notebook of whoever.
pub async fn is_address(services: &Services, name: &str) -> Result<bool> {
    Ok(store::addresses::is_taken(services.store().read(), name).await?)
}

fn placement(unplaced: &HashSet<DeploymentId>, deployment: DeploymentId) -> Placement {
    if unplaced.contains(&deployment) { Placement::Waits } else { Placement::Done }
}

struct Where {
    permit: Permit,
    deployment: Deployment,
    classes: Vec<Class>,
    hosts: Vec<ObjectHost>,
}

impl Where {
    async fn of(services: &Services, call: &Call, action: Action, which: &str) -> Result<Self> {
        let permit = call.permit(action)?;
        let deployment = deployments::find(services, &permit, which).await?;
        if action != Action::DeploymentsRead {
            permit.check_owner(deployment.created_by)?;
        }
        let conn = services.store().read();
        let (classes, _) = namespaces::get(conn, &permit, deployment.id).await?;
        let hosts = rows::hosts(conn, &permit, MAX_HOSTS).await?;
        Ok(Self { permit, deployment, classes, hosts })
    }

    fn class(&self, name: &str) -> Result<&Class> {
        let found = self.classes.iter().find(|class| class.name == name);
        found.ok_or_else(|| Error::not_found("class", format!("{name} of '{}'", self.deployment.name)))
    }

    fn class_name(&self, namespace: NamespaceId) -> Option<&str> {
        self.classes.iter().find(|class| class.namespace == namespace).map(|class| class.name.as_str())
    }

    /// The host that has the object.
    async fn holder(&self, services: &Services, id: &[u8; 32]) -> Result<&ObjectHost> {
        let held = groups::get(services.store().read(), &self.permit, self.deployment.id).await?;
        let held = held.into_iter().find(|held| held.group == Group::of(id));
        let host = held.and_then(|held| self.hosts.iter().find(|host| host.host == held.host));
        host.ok_or_else(|| Error::Unavailable("no host has the object now".to_owned()))
    }
}

async fn status_on(
    services: &Services,
    tenant: TenantId,
    host: &ObjectHost,
    path: &str,
) -> std::result::Result<DeploymentStatus, String> {
    if !host.is_online {
        return Err("the host is offline".to_owned());
    }
    match host::get(services, tenant, host.host, path).await {
        Ok(status) => Ok(status),
        // It has not come to the host yet.
        Err(Error::NotFound { .. }) => Ok(DeploymentStatus::default()),
        Err(error) => Err(error.to_string()),
    }
}

/// The version that is to run, and how it does on each host that runs objects. One that does not answer says why.
pub async fn status(services: &Services, call: &Call, which: &str) -> Result<(u32, Placement, Vec<ToldByHost>)> {
    let place = Where::of(services, call, Action::DeploymentsRead, which).await?;
    let held = groups::get(services.store().read(), &place.permit, place.deployment.id).await?;
    let of = [place.deployment.id];
    let unplaced = rows::unplaced_of(services.store().read(), &place.permit, GROUPS, &of).await?;
    let placement = placement(&unplaced, place.deployment.id);
    let (tenant, path) = (place.deployment.tenant, format!("/deployments/{}", place.deployment.id));
    let answers = futures_util::stream::iter(place.hosts).map(|host| {
        let (path, held) = (&path, &held);
        async move {
            let status = status_on(services, tenant, &host, path).await;
            let groups = held.iter().filter(|held| held.host == host.host).count();
            let groups = u16::try_from(groups).unwrap_or(GROUPS);
            ToldByHost { host: host.host, host_name: host.name, groups, status }
        }
    });
    Ok((place.deployment.version, placement, answers.buffered(ASKED_AT_ONCE).collect().await))
}

/// Which objects are wanted; all that is given has to hold.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    pub class: Option<String>,
    /// What the id begins with, hexadecimal.
    pub prefix: Option<String>,
    /// The whole name.
    pub name: Option<String>,
    pub is_live: bool,
}

/// An object and where it is.
#[derive(Debug, Clone)]
pub struct Object {
    pub class: String,
    pub host: HostId,
    pub host_name: String,
    pub status: ObjectStatus,
}

impl From<Object> for ObjectInfo {
    fn from(Object { class, host, host_name, status }: Object) -> Self {
        Self::new(class, host, host_name, status)
    }
}

/// The place in a list after which the next page begins.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct After(NamespaceId, String);

/// Objects in the order of namespace and id, and the names of the hosts whose objects are missing since they did not answer.
pub async fn list(
    services: &Services,
    call: &Call,
    which: &str,
    filter: &Filter,
    ask: &PageAsk,
) -> Result<(Page<Object>, Vec<String>)> {
    let place = Where::of(services, call, Action::DeploymentsRead, which).await?;
    let limit = ask.limit()?.min(u64::from(control::MAX_OBJECTS));
    let path = list_path(&place, filter, ask.after::<After>()?, limit)?;
    let tenant = place.deployment.tenant;
    let asked = futures_util::stream::iter(place.hosts.clone()).map(|host| {
        let path = &path;
        async move {
            let answer = match host.is_online {
                true => host::get::<control::Objects>(services, tenant, host.host, path).await,
                false => Err(Error::Unavailable("the host is offline".to_owned())),
            };
            (host, answer)
        }
    });
    let answers: Vec<_> = asked.buffered(ASKED_AT_ONCE).collect().await;
    let (mut objects, mut silent, mut more) = (Vec::new(), Vec::new(), false);
    for (host, answer) in answers {
        match answer {
            Ok(answer) => {
                more |= answer.more;
                // Of a class that was deleted this moment nothing is shown.
                objects.extend(answer.objects.into_iter().filter_map(|status| {
                    let class = place.class_name(status.namespace)?.to_owned();
                    Some(Object { class, host: host.host, host_name: host.name.clone(), status })
                }));
            }
            // The deployment has not come to it yet, and so it has none.
            Err(Error::NotFound { .. }) => {}
            Err(error) => {
                tracing::debug!(%error, host = host.name, "a host does not say which objects it has");
                silent.push(host.name.clone());
            }
        }
    }
    let key = |object: &Object| After(object.status.namespace, object.status.id.clone());
    objects.sort_by_key(key);
    objects.dedup_by_key(|object| key(object));
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    more |= objects.len() > limit;
    objects.truncate(limit);
    let next = if more { objects.last().map(key) } else { None };
    Ok((Page::with_next(objects, next), silent))
}

/// What a person typed, looked for in one way after the other until something is found.
pub async fn search(
    services: &Services,
    call: &Call,
    which: &str,
    filter: &Filter,
    typed: &str,
    ask: &PageAsk,
) -> Result<(Page<Object>, Vec<String>)> {
    let mut found = (Page::with_next(Vec::new(), None::<After>), Vec::new());
    for way in Sought::ways(typed) {
        let filter = match way {
            Sought::Name(name) => Filter { name: Some(name), ..filter.clone() },
            Sought::Id(prefix) => Filter { prefix: Some(prefix), ..filter.clone() },
        };
        found = list(services, call, which, &filter, ask).await?;
        if !found.0.items.is_empty() {
            break;
        }
    }
    Ok(found)
}

fn list_path(place: &Where, filter: &Filter, after: Option<After>, limit: u64) -> Result<String> {
    let mut query = vec![("limit", limit.to_string())];
    if let Some(class) = &filter.class {
        query.push(("namespace", place.class(class)?.namespace.to_string()));
    }
    if let Some(After(namespace, id)) = after {
        query.push(("after", format!("{namespace}/{id}")));
    }
    if let Some(prefix) = &filter.prefix {
        if prefix.is_empty() || prefix.len() > 64 || !prefix.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(Error::invalid("id", "1 to 64 hexadecimal digits with which the id begins"));
        }
        query.push(("prefix", prefix.to_ascii_lowercase()));
    }
    if let Some(name) = &filter.name {
        if name.is_empty() || name.len() > MAX_NAME_BYTES {
            return Err(Error::invalid("name", format!("1 to {MAX_NAME_BYTES} bytes")));
        }
        query.push(("name", name.clone()));
    }
    if filter.is_live {
        query.push(("live", "true".to_owned()));
    }
    Ok(format!("/deployments/{}/objects?{}", place.deployment.id, host::query(&query)))
}

/// An object's id as it is typed: 64 hexadecimal digits.
fn object_id(text: &str) -> Result<[u8; 32]> {
    let mut id = [0; 32];
    let decoded = hex::decode_to_slice(text, &mut id);
    decoded.map_err(|_| Error::invalid("id", "an object's id is 64 hexadecimal digits"))?;
    Ok(id)
}

/// An object that is spoken of, and the host to ask.
struct One {
    place: Where,
    class: Class,
    host: ObjectHost,
    path: String,
}

async fn one(services: &Services, call: &Call, action: Action, which: (&str, &str, &str)) -> Result<One> {
    let (deployment, class, id) = which;
    let place = Where::of(services, call, action, deployment).await?;
    let class = place.class(class)?.clone();
    let bytes = object_id(id)?;
    let host = place.holder(services, &bytes).await?.clone();
    let path = format!("/deployments/{}/objects/{}/{}", place.deployment.id, class.namespace, hex::encode(bytes));
    Ok(One { place, class, host, path })
}

impl One {
    fn unknown(error: Error, which: (&str, &str, &str)) -> Error {
        if matches!(error, Error::NotFound { .. }) {
            return Error::not_found("object", format!("{} of the class '{}'", which.2, which.1));
        }
        error
    }
}

/// One object: deployment (by id or name), class and id.
pub async fn get(services: &Services, call: &Call, which: (&str, &str, &str)) -> Result<Object> {
    let one = one(services, call, Action::DeploymentsRead, which).await?;
    let status = host::get(services, one.place.deployment.tenant, one.host.host, &one.path).await;
    let status = status.map_err(|error| One::unknown(error, which))?;
    Ok(Object { class: one.class.name, host: one.host.host, host_name: one.host.name, status })
}

/// A look into what an object holds. Its code does not run.
async fn look<T: DeserializeOwned>(
    services: &Services,
    call: &Call,
    which: (&str, &str, &str),
    look: &Look,
) -> Result<T> {
    let one = one(services, call, Action::ObjectsLook, which).await?;
    let path = format!("{}/look", one.path);
    let found = host::post(services, one.place.deployment.tenant, one.host.host, &path, look).await;
    found.map_err(|error| One::unknown(error, which))
}

/// At most `limit` of an object's keys, in their order, from `start` on; fewer where they are long.
pub async fn keys(
    services: &Services,
    call: &Call,
    which: (&str, &str, &str),
    start: String,
    limit: u32,
) -> Result<KvEntries> {
    look(services, call, which, &Look::Kv { start, limit }).await
}

/// What an object's database answers to a statement that only reads: at most `limit` rows, fewer where they are long.
pub async fn sql(
    services: &Services,
    call: &Call,
    which: (&str, &str, &str),
    query: String,
    limit: u32,
) -> Result<SqlResult> {
    if query.trim().is_empty() || query.len() > MAX_QUERY_BYTES {
        return Err(Error::invalid("query", format!("one statement of at most {MAX_QUERY_BYTES} bytes")));
    }
    look(services, call, which, &Look::Sql { query, limit }).await
}

/// Ends an object and deletes all that it holds.
pub async fn delete(services: &Services, call: &Call, which: (&str, &str, &str)) -> Result<()> {
    let one = one(services, call, Action::DeploymentsManage, which).await?;
    let (permit, deployment) = (&one.place.permit, &one.place.deployment);
    let deleted = host::delete(services, deployment.tenant, one.host.host, &one.path).await;
    deleted.map_err(|error| One::unknown(error, which))?;
    let now = services.clock().now();
    let tx = services.store().begin().await?;
    let detail = format!("{} of the class '{}' of '{}'", which.2, one.class.name, deployment.name);
    tell(services, call, permit, &tx, deployment.id, detail, now).await?;
    tx.commit().await?;
    services.live().nudge();
    Ok(())
}

async fn tell(
    services: &Services,
    call: &Call,
    permit: &Permit,
    tx: &Tx,
    deployment: DeploymentId,
    detail: String,
    now: Timestamp,
) -> Result<()> {
    let entry =
        Entry { action: "object.delete", subject_kind: "deployment", subject_id: deployment.to_string(), detail };
    audit::record(services, call, permit, tx, entry).await?;
    store::events::append(tx, permit, EventKind::Deployment, deployment, "object-deleted", now).await?;
    Ok(())
}
