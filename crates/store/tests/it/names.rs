//! Lists go in the order in which people count, page by page.

use store::{Store, hosts, machines};
use testkit::World;

#[tokio::test(flavor = "multi_thread")]
async fn machines_and_hosts_are_listed_as_people_count() {
    testkit::both(|store: Store| async move {
        let world = World::new(store).await;
        let permit = world.permit();
        for host in ["rack-10", "rack-2", "attic"] {
            world.machines(host, 11, "").await;
        }
        let mut names: Vec<String> = Vec::new();
        loop {
            let filter = machines::Filter { after: names.last().cloned(), ..machines::Filter::default() };
            let page = machines::list(world.store.read(), &permit, &filter, 4).await.expect("reads");
            if page.is_empty() {
                break;
            }
            names.extend(page.into_iter().map(|machine| machine.name));
        }
        let expected: Vec<String> = ["attic", "rack-2", "rack-10"]
            .iter()
            .flat_map(|host| (0..11).map(move |n| format!("{host}/{n}")))
            .collect();
        assert_eq!(names, expected);
        let first = hosts::list(&world.store, &permit, &hosts::Filter::default(), None, 2).await.expect("reads");
        let rest =
            hosts::list(&world.store, &permit, &hosts::Filter::default(), Some("rack-2"), 2).await.expect("reads");
        let names: Vec<String> = first.into_iter().chain(rest).map(|host| host.name).collect();
        assert_eq!(names, ["attic", "rack-2", "rack-10"]);
    })
    .await;
}
