//! What a console follows while hosts and its deployment come and go.

use std::time::Duration;

use domain::{deployments::ObjectOffer, events::EventKind, hosts::HostLink, ids::HostId, people::Role};
use services::{deployments, live, objects, objects::Said, reconciler};
use store::Store;
use testkit::World;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::deployments::{ask, deploy};

const ID: &str = "00000000000000000000000000000000000000000000000000000000000000ff";
const LIMIT: Duration = Duration::from_secs(60);

/// One that does not answer: a console tells that of each host that it follows.
async fn object_host(world: &World, name: &str) -> HostId {
    let host = world.host(name).await;
    world.offer_objects(host, Some(ObjectOffer { address: format!("{name}:7443") })).await;
    world.set_link(host, HostLink::Online).await;
    let tx = world.store.begin().await.expect("begins");
    let appended =
        store::events::append(&tx, &world.permit(), EventKind::Host, host, "created", world.clock.now()).await;
    appended.expect("writes");
    tx.commit().await.expect("commits");
    world.services.live().nudge();
    host
}

async fn next(said: &mut mpsc::Receiver<Said>) -> Option<Said> {
    tokio::time::timeout(LIMIT, said.recv()).await.expect("something is said")
}

async fn is_away(said: &mut mpsc::Receiver<Said>, name: &str) {
    match next(said).await {
        Some(Said::Away { host_name, .. }) => assert_eq!(host_name, name),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_console_follows_hosts_that_come_and_ends_with_what_it_follows() {
    testkit::both(|store: Store| async move {
        let world = World::new(store).await;
        let stop = CancellationToken::new();
        tokio::spawn(live::run(world.services.clone(), stop.clone()));
        let ada = world.person("Ada", Role::Engineer).await;
        object_host(&world, "first").await;
        deploy(&world, &ada, &ask("chat", "1")).await;
        reconciler::pass(&world.services).await.expect("looks");
        let mut whole = objects::console(&world.services, &ada, "chat", None).await.expect("may");
        let one = objects::console(&world.services, &ada, "chat", Some(("Room", ID))).await;
        let mut one = one.expect("may");
        is_away(&mut whole, "first").await;
        is_away(&mut one, "first").await;

        object_host(&world, "second").await;
        is_away(&mut whole, "second").await;

        // One of the same name is another deployment.
        deployments::delete(&world.services, &ada, "chat").await.expect("may");
        deploy(&world, &ada, &ask("chat", "1")).await;
        for said in [&mut whole, &mut one] {
            match next(said).await {
                Some(Said::Ended { why }) => assert_eq!(why, "the deployment was deleted"),
                other => panic!("{other:?}"),
            }
            assert!(next(said).await.is_none());
        }
        stop.cancel();
    })
    .await;
}
