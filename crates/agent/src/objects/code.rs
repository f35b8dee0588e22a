//! What of a plan is to be done here, and a deployment's code as the objects' host takes it.

use std::collections::{HashMap, HashSet};

use domain::{
    deployments::{Binding, ModuleKind, Service},
    ids::{DeploymentId, NamespaceId},
};
use objects::{
    host::deployment::{NamespaceInfo, Version},
    wire::{self, ClassInfo, Limits},
};
use protocol::{
    bundle::{self, Bundle},
    objects::{Plan, Planned},
};

/// What the host has of a plan and what another one asks for, apart from where objects are.
#[derive(Debug, Default, PartialEq)]
pub struct Changes<'a> {
    pub remove: Vec<DeploymentId>,
    pub deploy: Vec<&'a Planned>,
    pub delete: Vec<NamespaceId>,
}

/// `running`: what was deployed, as it was planned then. `refused`: what does not load, as it was planned then; it is not
/// tried again. `deleted`: of which namespaces nothing is left.
pub fn changes<'a>(
    running: &HashMap<DeploymentId, Planned>,
    refused: &HashMap<DeploymentId, Planned>,
    deleted: &HashSet<NamespaceId>,
    plan: &'a Plan,
) -> Changes<'a> {
    let gone = running.keys().filter(|id| !plan.deployments.iter().any(|planned| planned.id == **id));
    let is_in = |known: &HashMap<DeploymentId, Planned>, planned: &Planned| {
        known.get(&planned.id).is_some_and(|known| is_same_code(known, planned))
    };
    let differs = |planned: &&Planned| !is_in(running, planned) && !is_in(refused, planned);
    Changes {
        remove: gone.copied().collect(),
        deploy: plan.deployments.iter().filter(differs).collect(),
        delete: plan.deleted.iter().filter(|id| !deleted.contains(id)).copied().collect(),
    }
}

/// Of the namespaces that are `deleted` those that nothing here can still need. A version that does not load, or whose code has not
/// come, takes no objects from the one that runs in its place; and while nothing runs of a deployment, what ran is not known.
pub fn unused(deleted: &[NamespaceId], running: &HashMap<DeploymentId, Planned>, plan: &Plan) -> Vec<NamespaceId> {
    if plan.deployments.iter().any(|planned| !running.contains_key(&planned.id)) {
        return Vec::new();
    }
    let used: HashSet<NamespaceId> =
        running.values().flat_map(|planned| &planned.classes).map(|class| class.namespace).collect();
    deleted.iter().filter(|namespace| !used.contains(namespace)).copied().collect()
}

pub fn is_same_code(a: &Planned, b: &Planned) -> bool {
    let code = |planned: &Planned| (planned.version, planned.digest);
    code(a) == code(b)
        && a.main == b.main
        && a.vars == b.vars
        && a.bindings == b.bindings
        && a.services == b.services
        && a.limits == b.limits
        && a.classes == b.classes
}

/// A class that the version binds, and which its main module does not export. Of those that it does not bind, as a later version's
/// when one goes back, objects are only kept.
pub fn missing_class<'a>(planned: &'a Planned, exported: &[ClassInfo]) -> Option<&'a Binding> {
    planned.bindings.iter().find(|binding| !exported.iter().any(|exported| exported.name == binding.class))
}

/// A version that the objects' host can run, which lets it have so much.
pub fn version(planned: &Planned, bundle: Bundle, limits: &Limits) -> Version {
    let namespaces = planned.bindings.iter().filter_map(|binding| {
        let class = planned.classes.iter().find(|class| class.class == binding.class)?;
        Some(NamespaceInfo {
            uid: class.namespace.uuid().into_bytes(),
            binding: binding.name.clone(),
            class: class.class.clone(),
            key: class.key,
        })
    });
    Version {
        number: planned.version.into(),
        modules: bundle.modules.into_iter().map(module).collect(),
        main: planned.main.clone(),
        vars: planned.vars.iter().map(|(name, value)| (name.clone(), value.to_string())).collect(),
        namespaces: namespaces.collect(),
        services: planned.services.iter().map(service).collect(),
        limits: limits.clone().with_cpu_ms(planned.limits.cpu_ms),
    }
}

fn service(of: &Service) -> wire::Service {
    wire::Service { binding: of.name.clone(), entrypoint: of.entrypoint.clone() }
}

fn module(module: bundle::Module) -> wire::Module {
    let kind = match module.kind {
        ModuleKind::Esm => wire::ModuleKind::Esm,
        ModuleKind::Text => wire::ModuleKind::Text,
        ModuleKind::Json => wire::ModuleKind::Json,
        ModuleKind::Data => wire::ModuleKind::Data,
    };
    wire::Module { name: module.name, kind, body: module.body.into() }
}

#[cfg(test)]
mod tests {
    use domain::{
        deployments::{CodeLimits, GROUPS},
        ids::{HostId, TenantId},
    };
    use protocol::objects::{Holder, PlannedClass};

    use super::*;

    fn planned(version: u32) -> Planned {
        let class = PlannedClass { class: "Room".to_owned(), namespace: NamespaceId::new(), key: [7; 32] };
        Planned {
            id: DeploymentId::new(),
            name: "chat".to_owned(),
            version,
            digest: [1; 32],
            main: "index.js".to_owned(),
            vars: vec![("LEVEL".to_owned(), 3.into())],
            bindings: vec![Binding { name: "ROOMS".to_owned(), class: "Room".to_owned() }],
            services: vec![Service { name: "SELF".to_owned(), entrypoint: "default".to_owned() }],
            limits: CodeLimits { cpu_ms: Some(50) },
            classes: vec![class],
            groups: vec![None; usize::from(GROUPS)],
        }
    }

    fn plan(deployments: Vec<Planned>) -> Plan {
        let peers_ca_pem = String::new();
        Plan { tenant: TenantId::new(), revision: 1, deployments, hosts: vec![], peers_ca_pem, deleted: vec![] }
    }

    #[test]
    fn only_what_differs_is_done() {
        let (stays, before, goes) = (planned(1), planned(1), planned(1));
        let mut after = Planned { version: 2, digest: [2; 32], ..before.clone() };
        let mut moved = stays.clone();
        moved.groups[3] = Some(Holder { host: HostId::new(), epoch: 4 });
        let running: HashMap<_, _> = [&stays, &before, &goes].map(|planned| (planned.id, planned.clone())).into();
        let (gone, known) = (NamespaceId::new(), NamespaceId::new());
        let wanted = Plan { deleted: vec![gone, known], ..plan(vec![moved.clone(), after.clone(), planned(1)]) };
        let none = HashMap::new();
        let found = changes(&running, &none, &[known].into(), &wanted);
        assert_eq!(found.remove, [goes.id]);
        assert_eq!(found.deploy, [&wanted.deployments[1], &wanted.deployments[2]], "that objects move is no new code");
        assert_eq!(found.delete, [gone]);
        // What does not load is not tried again.
        let refused = HashMap::from([(after.id, after.clone())]);
        assert_eq!(changes(&running, &refused, &HashSet::new(), &wanted).deploy, [&wanted.deployments[2]]);
        // Back to what ran before is a change as well.
        after.version = 1;
        after.digest = before.digest;
        let found = plan(vec![moved, after]);
        assert_eq!(changes(&running, &none, &HashSet::new(), &found).deploy, Vec::<&Planned>::new());
    }

    #[test]
    fn what_something_may_need_is_not_deleted() {
        let (before, other) = (planned(1), planned(1));
        let (kept, gone) = (before.classes[0].namespace, NamespaceId::new());
        let after = Planned { version: 2, classes: vec![], ..before.clone() };
        let wanted = plan(vec![after.clone(), other.clone()]);
        let check = |running: &[&Planned], expected: &[NamespaceId]| {
            let running = running.iter().map(|planned| (planned.id, (*planned).clone())).collect();
            assert_eq!(unused(&[kept, gone], &running, &wanted), expected);
        };
        check(&[&before, &other], &[gone]);
        check(&[&after, &other], &[kept, gone]);
        check(&[&other], &[]);
    }

    #[test]
    fn every_class_that_is_bound_has_to_be_there() {
        let mut planned = planned(1);
        // Of a version that came later.
        let hall = PlannedClass { class: "Hall".to_owned(), namespace: NamespaceId::new(), key: [7; 32] };
        planned.classes.push(hall);
        let exported = |name: &str| ClassInfo { name: name.to_owned(), rpc: true };
        assert_eq!(missing_class(&planned, &[exported("Other"), exported("Room")]), None);
        assert_eq!(missing_class(&planned, &[exported("Other")]), Some(&planned.bindings[0]));
    }

    #[test]
    fn a_planned_version_becomes_one_that_runs() {
        let planned = planned(3);
        let body = bytes::Bytes::from_static(b"export default {}");
        let module = bundle::Module { name: "index.js".to_owned(), kind: ModuleKind::Esm, body };
        let limits = Limits { queue_length: 7, ..Limits::default() };
        let version = version(&planned, Bundle { modules: vec![module] }, &limits);
        assert_eq!(version.limits, Limits { cpu_ms: 50, ..limits });
        assert_eq!((version.number, version.main.as_str()), (3, "index.js"));
        assert_eq!(version.vars, [("LEVEL".to_owned(), "3".to_owned())]);
        let [namespace] = version.namespaces.as_slice() else { panic!("one namespace") };
        assert_eq!(namespace.uid, planned.classes[0].namespace.uuid().into_bytes());
        assert_eq!((namespace.binding.as_str(), namespace.class.as_str(), namespace.key), ("ROOMS", "Room", [7; 32]));
        assert_eq!(version.modules[0].body, b"export default {}");
    }
}
