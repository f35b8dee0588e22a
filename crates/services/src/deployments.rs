//! Deployments of object workers: new versions, which one runs, and the classes of their objects.

use std::collections::BTreeSet;

use domain::{
    access::{Action, Permit},
    deployments::{
        Binding, Class, Code, CodeLimits, Deployment, Digest, KEPT_VERSIONS, MAX_DEPLOYMENTS, MAX_NOTE_CHARS,
        MAX_RUNNING_BYTES, Migrated, Migration, ModuleInfo, Service, Version, migrate,
    },
    events::EventKind,
    ids::DeploymentId,
    names::check_address_name,
};
use jiff::Timestamp;
use protocol::bundle::{Bundle, Module};
use sha2::{Digest as _, Sha256};
use store::{Tx, audit::Entry, deployments as rows, sessions::Written};

use crate::{
    Call, Error, Result, Services, audit, idempotency, objects,
    page::{Page, PageAsk},
};

const KIND: &str = "deployment";
/// How often a change is tried when somebody else is faster each time.
const TRIES: usize = 8;

/// What is to run under a name from now on.
#[derive(Debug, Clone)]
pub struct Ask {
    pub name: String,
    pub main: String,
    pub modules: Vec<Module>,
    pub vars: Vec<(String, serde_json::Value)>,
    pub bindings: Vec<Binding>,
    pub services: Vec<Service>,
    pub limits: CodeLimits,
    pub migrations: Vec<Migration>,
    pub note: String,
}

/// What a deployment came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Deployed {
    /// The first of its name.
    Created(Deployment, Version),
    Changed(Deployment, Version),
    /// The version that runs is just this.
    Same(Deployment, Version),
}

/// As the caller sees it, and where.
pub fn seen(services: &Services, call: &Call, deployment: Deployment) -> api::deployments::Deployment {
    let address = services.settings().apps.origin(&deployment.name);
    api::deployments::Deployment::new(deployment, &call.actor, address)
}

/// What a deployment came to, as the caller sees it.
pub fn seen_deployed(services: &Services, call: &Call, deployed: Deployed) -> api::deployments::Deployed {
    let (is_new, deployment, version) = match deployed {
        Deployed::Created(deployment, version) | Deployed::Changed(deployment, version) => (true, deployment, version),
        Deployed::Same(deployment, version) => (false, deployment, version),
    };
    api::deployments::Deployed { deployment: seen(services, call, deployment), version: version.into(), is_new }
}

/// By name.
pub async fn list(services: &Services, call: &Call, ask: &PageAsk) -> Result<Page<Deployment>> {
    let permit = call.permit(Action::DeploymentsRead)?;
    let limit = ask.limit()?;
    let after = ask.after::<String>()?;
    let rows = rows::list(services.store().read(), &permit, after.as_deref(), limit + 1).await?;
    Ok(Page::cut(rows, limit, |deployment| deployment.name.clone()))
}

pub(crate) async fn find(services: &Services, permit: &Permit, which: &str) -> Result<Deployment> {
    let conn = services.store().read();
    let found = match which.parse::<DeploymentId>() {
        Ok(id) => rows::get(conn, permit, id).await?,
        Err(_) => rows::by_name(conn, permit, which).await?,
    };
    found.ok_or_else(|| Error::not_found(KIND, which))
}

/// By id or name.
pub async fn get(services: &Services, call: &Call, which: &str) -> Result<Deployment> {
    find(services, &call.permit(Action::DeploymentsRead)?, which).await
}

/// Newest first.
pub async fn versions(services: &Services, call: &Call, which: &str, ask: &PageAsk) -> Result<Page<Version>> {
    let permit = call.permit(Action::DeploymentsRead)?;
    let deployment = find(services, &permit, which).await?;
    let limit = ask.limit()?;
    let conn = services.store().read();
    let rows = rows::versions::list(conn, &permit, deployment.id, ask.after::<u32>()?, limit + 1).await?;
    let mut page = Page::cut(rows, limit, |version| version.number);
    page.items.iter_mut().for_each(|version| hide_values(call, &deployment, version));
    Ok(page)
}

/// Variables may be secrets: their values are for those who may set them. Others see the names.
fn hide_values(call: &Call, deployment: &Deployment, version: &mut Version) {
    let permit = call.actor.permit(Action::DeploymentsManage);
    if permit.and_then(|permit| permit.check_owner(deployment.created_by)).is_err() {
        version.code.vars.iter_mut().for_each(|(_, value)| *value = serde_json::Value::Null);
    }
}

pub async fn version(services: &Services, call: &Call, which: &str, number: u32) -> Result<Version> {
    let permit = call.permit(Action::DeploymentsRead)?;
    let deployment = find(services, &permit, which).await?;
    let mut version = find_version(services, &permit, &deployment, number).await?;
    hide_values(call, &deployment, &mut version);
    Ok(version)
}

async fn find_version(services: &Services, permit: &Permit, deployment: &Deployment, number: u32) -> Result<Version> {
    let found = rows::versions::get(services.store().read(), permit, deployment.id, number).await?;
    found.ok_or_else(|| Error::not_found("version", format!("{number} of '{}'", deployment.name)))
}

/// What [`Ask`] comes to before anything is looked up.
struct Prepared {
    code: Code,
    body: Vec<u8>,
    digest: Digest,
    note: String,
}

fn prepare(ask: &Ask) -> Result<Prepared> {
    check_address_name(&ask.name).map_err(|bad| Error::invalid("name", bad.to_string()))?;
    let note: String = ask.note.trim().to_owned();
    if note.chars().count() > MAX_NOTE_CHARS {
        return Err(Error::invalid("note", format!("at most {MAX_NOTE_CHARS} characters")));
    }
    let info =
        |module: &Module| ModuleInfo { name: module.name.clone(), kind: module.kind, bytes: module.body.len() as u64 };
    let mut modules: Vec<ModuleInfo> = ask.modules.iter().map(info).collect();
    modules.sort_by(|a, b| a.name.cmp(&b.name));
    let code = Code {
        main: ask.main.clone(),
        modules,
        vars: ask.vars.clone(),
        bindings: ask.bindings.clone(),
        services: ask.services.clone(),
        limits: ask.limits,
        migrations: ask.migrations.clone(),
    };
    code.check().map_err(|bad| Error::invalid("modules", bad.to_string()))?;
    let body = Bundle { modules: ask.modules.clone() }.encode().map_err(|error| Error::Internal(error.to_string()))?;
    let digest = Digest(Sha256::digest(&body).into());
    Ok(Prepared { code, body, digest, note })
}

/// Makes a version of it, under a new name or one of the caller's, and has it run. What it runs already makes no version.
pub async fn deploy(services: &Services, call: &Call, ask: &Ask) -> Result<Deployed> {
    let permit = call.permit(Action::DeploymentsManage)?;
    let prepared = prepare(ask)?;
    for _ in 0..TRIES {
        let found = rows::by_name(services.store().read(), &permit, &ask.name).await?;
        let deployed = match found {
            None => create(services, call, &permit, &ask.name, &prepared).await?,
            Some(deployment) => change(services, call, &permit, deployment, &prepared).await?,
        };
        if let Some(deployed) = deployed {
            return Ok(deployed);
        }
    }
    Err(keeps_changing())
}

fn keeps_changing() -> Error {
    Error::Conflict("the deployment keeps changing; look again".to_owned())
}

fn classes(before: &[Class], taken: Option<&str>, code: &Code) -> Result<Migrated> {
    migrate(before, taken, &code.migrations, &code.bindings)
        .map_err(|bad| Error::invalid("migrations", bad.to_string()))
}

async fn create(
    services: &Services,
    call: &Call,
    permit: &Permit,
    name: &str,
    prepared: &Prepared,
) -> Result<Option<Deployed>> {
    let now = services.clock().now();
    let deployment = Deployment {
        id: DeploymentId::new(),
        tenant: permit.tenant(),
        name: name.to_owned(),
        version: 1,
        created_by: call.actor.person,
        created_by_name: call.person_name.clone(),
        created_at: now,
        changed_at: now,
        generation: 1,
    };
    let migrated = classes(&[], None, &prepared.code)?;
    let tx = services.store().begin().await?;
    hold(call, &tx, deployment.id).await?;
    if rows::count(&tx, permit).await? >= u64::from(MAX_DEPLOYMENTS) {
        return Err(Error::Conflict(format!("there are {MAX_DEPLOYMENTS} deployments, which is the most; delete one")));
    }
    if !rows::insert(&tx, &deployment).await? {
        // A notebook, another tenant's, or one that came this moment: which this loop finds.
        drop(tx);
        let is_own = rows::by_name(services.store().read(), permit, name).await?.is_some();
        let taken =
            || Error::Conflict(format!("the name '{name}' is taken by a notebook or a deployment; choose another"));
        return if is_own { Ok(None) } else { Err(taken()) };
    }
    let version = keep(call, permit, &tx, &deployment, prepared, 1, now).await?;
    check_sum(permit, &tx).await?;
    rows::namespaces::set(&tx, permit, deployment.id, &[], &migrated, now).await?;
    objects::place_first(&tx, permit, deployment.id).await?;
    tell(services, call, permit, &tx, ("deployment.create", "created"), &deployment, said(&version), now).await?;
    tx.commit().await?;
    services.live().nudge();
    Ok(Some(Deployed::Created(deployment, version)))
}

/// The request's key names what it makes, so that a repetition is told of it.
async fn hold(call: &Call, tx: &Tx, made: DeploymentId) -> Result<()> {
    if !idempotency::holds(tx, call).await? {
        return Err(idempotency::overtaken());
    }
    Ok(idempotency::bind(tx, call, EventKind::Deployment, made.uuid()).await?)
}

/// Hosts are told of all that runs at once.
async fn check_sum(permit: &Permit, tx: &Tx) -> Result<()> {
    let bytes = rows::versions::running_bytes(tx, permit).await?;
    if bytes > MAX_RUNNING_BYTES {
        return Err(Error::Conflict(format!(
            "variables, bindings, names of modules and migrations of all deployments come to {bytes} bytes; at most \
             {MAX_RUNNING_BYTES}"
        )));
    }
    Ok(())
}

fn said(version: &Version) -> String {
    let Version { number, bundle_bytes, note, .. } = version;
    let note = if note.is_empty() { String::new() } else { format!(": {note}") };
    format!("version {number}, {bundle_bytes} bytes{note}")
}

async fn keep(
    call: &Call,
    permit: &Permit,
    tx: &Tx,
    deployment: &Deployment,
    prepared: &Prepared,
    number: u32,
    now: Timestamp,
) -> Result<Version> {
    let version = Version {
        deployment: deployment.id,
        number,
        code: prepared.code.clone(),
        bundle: prepared.digest,
        bundle_bytes: prepared.body.len() as u64,
        note: prepared.note.clone(),
        created_by: call.actor.person,
        created_by_name: call.person_name.clone(),
        created_at: now,
    };
    rows::versions::insert(tx, permit, &version, &prepared.body).await?;
    Ok(version)
}

async fn change(
    services: &Services,
    call: &Call,
    permit: &Permit,
    deployment: Deployment,
    prepared: &Prepared,
) -> Result<Option<Deployed>> {
    permit.check_owner(deployment.created_by)?;
    let running = find_version(services, permit, &deployment, deployment.version).await?;
    if running.bundle == prepared.digest && running.code == prepared.code {
        return Ok(Some(Deployed::Same(deployment, running)));
    }
    let now = services.clock().now();
    let tx = services.store().begin().await?;
    hold(call, &tx, deployment.id).await?;
    let number = rows::versions::next_number(&tx, permit, deployment.id).await?;
    // The lock on the deployment's row: whoever comes second finds it changed.
    if rows::set_version(&tx, permit, &deployment, number, now).await? == Written::Stale {
        return Ok(None);
    }
    let (before, taken) = rows::namespaces::get(tx.conn(), permit, deployment.id).await?;
    let migrated = classes(&before, taken.as_deref(), &prepared.code)?;
    let version = keep(call, permit, &tx, &deployment, prepared, number, now).await?;
    check_sum(permit, &tx).await?;
    rows::namespaces::set(&tx, permit, deployment.id, &before, &migrated, now).await?;
    if let Some(oldest) = number.checked_sub(KEPT_VERSIONS) {
        rows::versions::forget(&tx, permit, deployment.id, oldest).await?;
    }
    let deployment =
        Deployment { version: number, changed_at: now, generation: deployment.generation + 1, ..deployment };
    tell(services, call, permit, &tx, ("deployment.deploy", "deployed"), &deployment, said(&version), now).await?;
    tx.commit().await?;
    services.live().nudge();
    Ok(Some(Deployed::Changed(deployment, version)))
}

/// Has another of its versions run. What objects hold stays as it is, so each of the version's bindings must have its class still.
pub async fn run_version(services: &Services, call: &Call, which: &str, number: u32) -> Result<Deployment> {
    let permit = call.permit(Action::DeploymentsManage)?;
    for _ in 0..TRIES {
        let deployment = find(services, &permit, which).await?;
        permit.check_owner(deployment.created_by)?;
        let version = find_version(services, &permit, &deployment, number).await?;
        if deployment.version == number {
            return Ok(deployment);
        }
        let now = services.clock().now();
        let tx = services.store().begin().await?;
        if rows::set_version(&tx, &permit, &deployment, number, now).await? == Written::Stale {
            continue;
        }
        let (classes, _) = rows::namespaces::get(tx.conn(), &permit, deployment.id).await?;
        let known: BTreeSet<&str> = classes.iter().map(|class| class.name.as_str()).collect();
        if let Some(Binding { name, class }) =
            version.code.bindings.iter().find(|binding| !known.contains(binding.class.as_str()))
        {
            let why = format!(
                "version {number} binds '{name}' to the class '{class}', which was renamed or deleted since; deploy \
                 the code anew with migrations that fit"
            );
            return Err(Error::Conflict(why));
        }
        check_sum(&permit, &tx).await?;
        let was = deployment.version;
        let deployment =
            Deployment { version: number, changed_at: now, generation: deployment.generation + 1, ..deployment };
        let detail = format!("version {number} in place of {was}");
        tell(services, call, &permit, &tx, ("deployment.run-version", "deployed"), &deployment, detail, now).await?;
        tx.commit().await?;
        services.live().nudge();
        return Ok(deployment);
    }
    Err(keeps_changing())
}

/// Deletes it with all its versions and all that its objects hold.
pub async fn delete(services: &Services, call: &Call, which: &str) -> Result<()> {
    let permit = call.permit(Action::DeploymentsManage)?;
    for _ in 0..TRIES {
        let deployment = find(services, &permit, which).await?;
        permit.check_owner(deployment.created_by)?;
        let now = services.clock().now();
        let tx = services.store().begin().await?;
        rows::namespaces::delete_all(&tx, &permit, deployment.id, now).await?;
        if rows::delete(&tx, &permit, &deployment).await? == Written::Stale {
            continue;
        }
        rows::versions::forget_bundles(&tx, &permit).await?;
        let detail = format!("with {} versions at most", deployment.version);
        tell(services, call, &permit, &tx, ("deployment.delete", "deleted"), &deployment, detail, now).await?;
        tx.commit().await?;
        services.live().nudge();
        return Ok(());
    }
    Err(keeps_changing())
}

async fn tell(
    services: &Services,
    call: &Call,
    permit: &Permit,
    tx: &Tx,
    (action, word): (&'static str, &'static str),
    deployment: &Deployment,
    detail: String,
    now: Timestamp,
) -> Result<()> {
    let detail = format!("'{}', {detail}", deployment.name);
    let entry = Entry { action, subject_kind: KIND, subject_id: deployment.id.to_string(), detail };
    audit::record(services, call, permit, tx, entry).await?;
    store::events::append(tx, permit, EventKind::Deployment, deployment.id, word, now).await?;
    Ok(())
}
