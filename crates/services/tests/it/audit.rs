//! The audit log: whatever a person changes leaves a line with their name, what it was done to, and their request.

use api::reservations::{NewReservation, ReservationChange};
use domain::{certificates::JoinPolicy, hosts::HostIntent, people::Role, tokens::Scope};
use services::{
    Call, audit, hosts,
    instructions::{self, Targets},
    machines,
    page::PageAsk,
    people, reservations, sessions, tokens, zero_certificates,
};
use testkit::World;

use crate::enrolment::Zero;

async fn lines(world: &World, reader: &Call) -> Vec<api::audit::AuditLine> {
    let page = PageAsk { limit: Some(500), cursor: None };
    let mut lines = audit::list(&world.services, reader, &page).await.expect("a manager may").items;
    lines.reverse();
    lines.into_iter().map(audit::line).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_change_leaves_a_line() {
    testkit::both(|store| async move {
        let world = World::new(store).await;
        let mut ada = world.person("Ada", Role::Admin).await;
        ada.request_id = Some("request-1".to_owned());
        let services = &world.services;
        let host = world.host("rack").await;
        world.machine(host, "rack", "0", "").await;

        let ask =
            NewReservation { machine: Some("rack/0".to_owned()), duration_s: Some(3_600), ..NewReservation::default() };
        let ask = reservations::Ask::try_from(ask).expect("well asked");
        let first = reservations::create(services, &ada, &ask).await.expect("booked");
        let change = ReservationChange { duration_s: Some(1_800), ..ReservationChange::default() };
        let change = reservations::ChangeAsk::try_from(change).expect("well asked");
        reservations::change(services, &ada, first.id, &change, None).await.expect("shortened");
        sessions::end(services, &ada, first.sessions[0].id).await.expect("ended");
        let second = reservations::create(services, &ada, &ask).await.expect("booked");
        reservations::cancel(services, &ada, second.id).await.expect("cancelled");

        let (eve, _) = people::invite(services, &ada, "eve@example.test", None, Role::Engineer).await.expect("invited");
        people::link(services, &ada, eve.id).await.expect("a link");
        let lock = people::ChangeAsk { locked: Some(true), ..people::ChangeAsk::default() };
        people::change(services, &ada, eve.id, &lock).await.expect("locked");
        people::remove(services, &ada, eve.id).await.expect("removed");

        let (token, _) = tokens::create(services, &ada, "cli", Scope::Read, None).await.expect("a token");
        tokens::revoke(services, &ada, token.id).await.expect("revoked");
        let zero = Zero::make(services, &ada, 1, JoinPolicy::Open).await;
        zero_certificates::revoke(services, &ada, zero.id).await.expect("revoked");

        let on = Targets::Names(vec!["rack".to_owned()]);
        let run = instructions::run_on(services, &ada, &on, vec!["true".to_owned()], None).await.expect("given");
        instructions::cancel(services, &ada, run.summary.instruction.id).await.expect("cancelled");
        for change in [
            machines::Change::Quarantine { reason: "smoke".to_owned() },
            machines::Change::Release { reason: "no fire".to_owned() },
        ] {
            machines::change(services, &ada, "rack/0", change).await.expect("an admin may");
        }
        for intent in [HostIntent::Draining, HostIntent::Maintenance, HostIntent::InService] {
            hosts::change_intent(services, &ada, host, intent).await.expect("an admin may");
        }
        hosts::revoke(services, &ada, host).await.expect("an admin may");
        hosts::delete(services, &ada, host, 0).await.expect("an admin may");

        let lines = lines(&world, &ada).await;
        let actions: Vec<&str> = lines.iter().map(|line| line.action.as_str()).collect();
        assert_eq!(
            actions,
            [
                "reservation.create",
                "reservation.change",
                "session.end",
                "reservation.create",
                "reservation.cancel",
                "people.invite",
                "people.link",
                "people.change",
                "people.remove",
                "tokens.create",
                "tokens.revoke",
                "zero-certificate.create",
                "zero-certificate.revoke",
                "instruction.run",
                "instruction.cancel",
                "machine.quarantine",
                "machine.release",
                "host.drain",
                "host.put-in-maintenance",
                "host.put-in-service",
                "host.revoke",
                "host.delete",
            ]
        );
        for line in &lines {
            let by = (line.person.as_str(), line.person_id, line.request_id.as_deref());
            assert_eq!(by, ("Ada", Some(ada.actor.person.uuid()), Some("request-1")), "{line:?}");
            assert!(!line.subject_id.is_empty() && !line.subject_kind.is_empty(), "{line:?}");
        }
        assert_eq!(lines[0].subject_id, first.id.to_string());
        assert_eq!(lines[7].subject_id, eve.id.to_string());
    })
    .await;
}
