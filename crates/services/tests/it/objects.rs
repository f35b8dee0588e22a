//! Where objects are, and what hosts are told of them.

use std::collections::BTreeMap;

use api::objects::Placement;
use domain::{
    deployments::{GROUPS, ObjectOffer},
    hosts::{HostIntent, HostLink},
    ids::HostId,
    people::Role,
};
use protocol::objects::Plan;
use services::{Call, Error, deployments, deployments::Ask, hosts, objects, page::PageAsk, reconciler};
use store::Store;
use testkit::World;

use crate::deployments::{ask, deploy};

const ID: &str = "00000000000000000000000000000000000000000000000000000000000000ff";

async fn object_host(world: &World, name: &str) -> HostId {
    let host = world.host(name).await;
    world.offer_objects(host, Some(ObjectOffer { address: format!("{name}:7443") })).await;
    world.set_link(host, HostLink::Online).await;
    host
}

async fn plan(world: &World, host: HostId) -> Plan {
    objects::plan(&world.services, world.tenant, host).await.expect("its plan")
}

/// How many groups each host has, and their highest epoch.
fn held(plan: &Plan) -> BTreeMap<HostId, (usize, u64)> {
    let mut held: BTreeMap<HostId, (usize, u64)> = BTreeMap::new();
    for holder in plan.deployments[0].groups.iter().flatten() {
        let (count, epoch) = held.entry(holder.host).or_default();
        *count += 1;
        *epoch = holder.epoch.max(*epoch);
    }
    held
}

async fn pass(world: &World) {
    reconciler::pass(&world.services).await.expect("looks");
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_get_hosts_that_are_ready_and_stay_there() {
    testkit::both(|store: Store| async move {
        let world = World::new(store).await;
        let ada = world.person("Ada", Role::Engineer).await;
        let (first, draining) = (object_host(&world, "first").await, object_host(&world, "draining").await);
        world.set_intent(draining, HostIntent::Draining).await;
        deploy(&world, &ada, &ask("chat", "1")).await;
        let all = usize::from(GROUPS);
        let before = plan(&world, first).await;
        assert_eq!(held(&before), BTreeMap::from([(first, (all, 1))]));
        let names: Vec<_> = before.hosts.iter().map(|peer| (peer.name.as_str(), peer.address.as_str())).collect();
        assert_eq!(names, [("draining", "draining:7443"), ("first", "first:7443")]);

        // What a group holds is on its host alone: another host gets none of them, and offline is not gone.
        let second = object_host(&world, "second").await;
        world.set_link(first, HostLink::Offline).await;
        pass(&world).await;
        assert_eq!(held(&plan(&world, second).await), BTreeMap::from([(first, (all, 1))]));

        // A host that is deleted takes its objects along; a higher epoch fences what it might still say.
        let admin = world.person("Root", Role::Admin).await;
        hosts::revoke(&world.services, &admin, first).await.expect("may");
        hosts::delete(&world.services, &admin, first, 1).await.expect("may");
        pass(&world).await;
        let after = plan(&world, second).await;
        assert_eq!(held(&after), BTreeMap::from([(second, (all, 2))]));
        assert!(after.revision > before.revision && after.hosts.iter().all(|peer| peer.host != first));
        let gone = objects::plan(&world.services, world.tenant, first).await;
        assert!(matches!(gone, Err(Error::Conflict(_))), "{gone:?}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_with_objects_is_deleted_only_by_who_knows_what_is_lost() {
    testkit::both(|store: Store| async move {
        let world = World::new(store).await;
        let ada = world.person("Ada", Role::Engineer).await;
        let admin = world.person("Root", Role::Admin).await;
        let (host, spare) = (object_host(&world, "first").await, world.host("spare").await);
        deploy(&world, &ada, &ask("chat", "1")).await;
        deploy(&world, &ada, &ask("other", "1")).await;
        pass(&world).await;
        // It comes when all have a host, and so gets none.
        let second = object_host(&world, "second").await;
        let objects_of = async |host| hosts::objects_of(&world.services, &admin, host).await.expect("may look");
        assert_eq!((objects_of(host).await, objects_of(second).await), (2, 0));
        hosts::revoke(&world.services, &admin, host).await.expect("may");
        for known in [0, 1] {
            let refused = hosts::delete(&world.services, &admin, host, known).await.expect_err("something is lost");
            let said = refused.to_string();
            assert!(matches!(refused, Error::Conflict(_)) && said.contains("the objects of 2 deployments"), "{said}");
        }
        pass(&world).await;
        let before = plan(&world, second).await;
        assert_eq!(held(&before), BTreeMap::from([(host, (usize::from(GROUPS), 1))]), "nothing has changed");
        hosts::delete(&world.services, &admin, host, 2).await.expect("may");
        hosts::delete(&world.services, &admin, spare, 0).await.expect("has none");
        pass(&world).await;
        assert_eq!(held(&plan(&world, second).await), BTreeMap::from([(second, (usize::from(GROUPS), 2))]));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_called_does_not_run() {
    testkit::both(|store: Store| async move {
        let world = World::new(store).await;
        let ada = world.person("Ada", Role::Engineer).await;
        let draining = object_host(&world, "draining").await;
        world.set_intent(draining, HostIntent::Draining).await;
        deploy(&world, &ada, &ask("chat", "1")).await;
        let plain = Ask { bindings: Vec::new(), migrations: Vec::new(), ..ask("plain", "1") };
        deploy(&world, &ada, &plain).await;
        let placement = async |name: &str| {
            let (deployment, told) = objects::rollout(&world.services, &ada, name).await.expect("may look");
            let (_, of_status, _) = objects::status(&world.services, &ada, name).await.expect("may look");
            assert_eq!(told.of(deployment.id).placement, of_status);
            of_status
        };
        pass(&world).await;
        assert_eq!(plan(&world, draining).await.deployments[0].groups, vec![None; usize::from(GROUPS)]);
        assert_eq!(placement("chat").await, Placement::Waits, "a host that drains takes no objects");
        assert_eq!(placement("plain").await, Placement::Done, "it has none");
        world.set_intent(draining, HostIntent::InService).await;
        pass(&world).await;
        assert_eq!(placement("chat").await, Placement::Done);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn those_without_a_host_hold_up_nobody() {
    testkit::both(|store: Store| async move {
        let (waiting, other) = (World::new(store.clone()).await, World::new(store).await);
        let ada = waiting.person("Ada", Role::Engineer).await;
        let bob = other.person("Bob", Role::Engineer).await;
        deploy(&waiting, &ada, &ask("chat", "1")).await;
        deploy(&other, &bob, &ask("later", "1")).await;
        let unplaced = async || {
            let found = store::deployments::plan::unplaced(other.store.read(), GROUPS, 1).await.expect("reads");
            found.into_iter().map(|(tenant, _)| tenant).collect::<Vec<_>>()
        };
        assert_eq!(unplaced().await, []);
        let draining = object_host(&waiting, "draining").await;
        waiting.set_intent(draining, HostIntent::Draining).await;
        let host = object_host(&other, "first").await;
        assert_eq!(unplaced().await, [other.tenant], "the first has no host that takes its objects");
        pass(&other).await;
        assert_eq!(held(&plan(&other, host).await), BTreeMap::from([(host, (usize::from(GROUPS), 1))]));
        assert_eq!(unplaced().await, []);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_has_the_keys_that_the_database_has_not() {
    testkit::both(|store: Store| async move {
        let world = World::new(store).await;
        let ada = world.person("Ada", Role::Engineer).await;
        let host = object_host(&world, "first").await;
        deploy(&world, &ada, &ask("chat", "1")).await;
        deploy(&world, &ada, &ask("other", "1")).await;
        let first = plan(&world, host).await;
        let keys: Vec<_> = first.deployments.iter().flat_map(|planned| &planned.classes).collect();
        assert!(keys.len() == 2 && keys[0].key != keys[1].key && keys[0].key != [0; 32]);
        assert!(!format!("{:?}", keys[0]).contains(&hex_of(&keys[0].key)), "a key is in what is logged");
        // Another server has the same, from the server's key.
        let again = objects::plan(&world.restarted().services, world.tenant, host).await.expect("its plan");
        assert_eq!(again.deployments, first.deployments);
        let digest = domain::deployments::Digest(first.deployments[0].digest);
        assert!(objects::bundle(&world.services, world.tenant, digest).await.is_ok());
        let unknown = objects::bundle(&world.services, world.tenant, domain::deployments::Digest([7; 32])).await;
        assert!(matches!(unknown, Err(Error::NotFound { .. })));

        let namespace = first.deployments[0].classes[0].namespace;
        deployments::delete(&world.services, &ada, "chat").await.expect("its owner may");
        let after = plan(&world, host).await;
        assert_eq!(after.deleted, [namespace]);
        assert_eq!(after.deployments.iter().map(|planned| planned.name.as_str()).collect::<Vec<_>>(), ["other"]);
        // Whoever runs no objects gets neither code nor keys.
        let plain = world.host("plain").await;
        assert!(matches!(objects::plan(&world.services, world.tenant, plain).await, Err(Error::Conflict(_))));
    })
    .await;
}

fn hex_of(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_objects_hold_is_for_their_owner() {
    testkit::both(|store: Store| async move {
        let world = World::new(store).await;
        let (ada, bob) = (world.person("Ada", Role::Engineer).await, world.person("Bob", Role::Engineer).await);
        let manager = world.person("Max", Role::Manager).await;
        let admin = world.person("Root", Role::Admin).await;
        let host = object_host(&world, "first").await;
        deploy(&world, &ada, &ask("chat", "1")).await;
        pass(&world).await;
        let refused = |error: Error| matches!(error, Error::Denied(_) | Error::NotFound { .. });
        let which = ("chat", "Room", ID);
        for other in [&bob, &manager] {
            let keys = objects::keys(&world.services, other, which, String::new(), 1).await;
            assert!(refused(keys.expect_err("is refused")));
            let rows = objects::sql(&world.services, other, which, "SELECT 1".to_owned(), 1).await;
            assert!(refused(rows.expect_err("is refused")));
            assert!(refused(objects::delete(&world.services, other, which).await.expect_err("is refused")));
            assert!(refused(objects::console(&world.services, other, "chat", None).await.expect_err("is refused")));
        }
        // They may, and the host is not there to answer.
        for may in [&ada, &admin] {
            let keys = objects::keys(&world.services, may, which, String::new(), 1).await;
            assert!(matches!(keys, Err(Error::Unavailable(_))), "{keys:?}");
            let rows = objects::sql(&world.services, may, which, "SELECT 1".to_owned(), 1).await;
            assert!(matches!(rows, Err(Error::Unavailable(_))), "{rows:?}");
            let rows = objects::sql(&world.services, may, which, " ".to_owned(), 1).await;
            assert!(matches!(rows, Err(Error::Invalid { .. })), "{rows:?}");
        }
        // How it does is for all, with why a host says nothing.
        let (_, _, status) = objects::status(&world.services, &bob, "chat").await.expect("may");
        assert_eq!((status.len(), status[0].host, status[0].groups), (1, host, GROUPS));
        assert!(status[0].status.is_err());
        let (page, silent) = list(&world, &bob, objects::Filter::default()).await.expect("may");
        assert!(page.items.is_empty() && silent == ["first"]);
        let class = objects::Filter { class: Some("Door".to_owned()), ..Default::default() };
        assert!(matches!(list(&world, &bob, class).await, Err(Error::NotFound { .. })));
        let prefix = objects::Filter { prefix: Some("xyz".to_owned()), ..Default::default() };
        assert!(matches!(list(&world, &bob, prefix).await, Err(Error::Invalid { .. })));
        let bad = objects::get(&world.services, &bob, ("chat", "Room", "12")).await;
        assert!(matches!(bad, Err(Error::Invalid { .. })), "{bad:?}");
    })
    .await;
}

async fn list(
    world: &World,
    call: &Call,
    filter: objects::Filter,
) -> services::Result<(services::page::Page<objects::Object>, Vec<String>)> {
    objects::list(&world.services, call, "chat", &filter, &PageAsk::default()).await
}
