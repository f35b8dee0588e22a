//! A host that was revoked, or that the plan does not name any more, serves nothing, also after a start.

use super::fleet::{Fleet, Member};
use protocol::ToServer;

const WORDS: &str = "This host runs no objects: ";

async fn serves_nothing(fleet: &Fleet, member: &Member, why: &str) {
    fleet.answers(member, "GET", |status, _| status == 503).await;
    let (_, problem) = member.ask("GET", "counters", "/first").await;
    let problem: serde_json::Value = serde_json::from_str(&problem).expect("a problem");
    assert_eq!(problem["status"], 503);
    let detail = problem["detail"].as_str().expect("words");
    assert!(detail.starts_with(WORDS) && detail.contains(why), "{detail}");
    crate::peer::until("its engines have ended", || member.engines().is_empty()).await;
}

#[tokio::test]
async fn a_revoked_host_serves_nothing_any_more() {
    let mut fleet = Fleet::counters(1).await;
    fleet.members[0].revoke().await;
    serves_nothing(&fleet, &fleet.members[0], "certificate was revoked").await;

    // Nor after a start, before and after it has heard it again.
    fleet.members[0].kill();
    fleet.members[0].host.start();
    serves_nothing(&fleet, &fleet.members[0], "certificate was revoked").await;
    let mut link = fleet.peer.raw_link().await;
    assert!(matches!(link.next().await, ToServer::Hello { .. }));
    fleet.members[0].keep(link);
    fleet.members[0].revoke().await;
    serves_nothing(&fleet, &fleet.members[0], "certificate was revoked").await;
}

#[tokio::test]
async fn a_host_that_the_plan_does_not_name_serves_nothing_until_it_does() {
    let mut fleet = Fleet::counters(2).await;
    // Both have some of these.
    let objects: Vec<String> = (0..12).map(|number| format!("object-{number}")).collect();
    for object in &objects {
        assert_eq!(fleet.members[1].count("counters", object).await.0, 1);
    }
    let gone = fleet.plan.hosts.remove(1);
    fleet.tell().await;
    serves_nothing(&fleet, &fleet.members[1], "does not name this host").await;
    let (status, _) = fleet.members[0].ask("GET", "unknown", "/").await;
    assert_eq!(status, 404, "the other goes on");
    fleet.plan.hosts.push(gone);
    fleet.tell().await;
    fleet.answers(&fleet.members[1], "GET", |status, _| status == 200).await;
    for object in &objects {
        // Where the other has it, that one has to have heard as well.
        let path = format!("/{object}");
        fleet.answers_at(&fleet.members[1], "GET", &path, |status, _| status == 200).await;
        assert_eq!(fleet.members[1].count("counters", object).await.0, 2, "what was stored is there");
    }
}
