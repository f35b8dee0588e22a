//! What hosts report of machines and sessions, handed to those that keep them.

use std::collections::HashMap;

use async_trait::async_trait;
use domain::{
    access::Permit,
    events::EventKind,
    ids::{HostId, SessionId},
    machines::{Machine, MachineCondition},
    sessions::Step,
};
use jiff::Timestamp;
use protocol::{ActualMachine, MachineReport, OfferedMachine};
use store::{StoreError, Tx, events::Told, machines::Offer};

use super::{Peer, Trouble};
use crate::{Services, ledger::Write, machines, sessions};

/// The host's machines are those that it offers. Nothing is written if the database has them so already, as after most
/// restarts.
pub(super) async fn offered(services: &Services, peer: &Peer, offered: Vec<OfferedMachine>) -> Result<(), Trouble> {
    let permit = peer.permit();
    let offers: Vec<Offer> = offered
        .into_iter()
        .map(|m| Offer { local_name: m.name, kind: m.kind, labels: m.labels, limits: m.limits })
        .collect();
    let known = store::machines::of_host(services.store().read(), &permit, peer.host).await?;
    if is_current(peer, &known, &offers) {
        return Ok(());
    }
    services.ledger().write(Apply { permit, host: peer.host, host_name: peer.name.clone(), offers }).await?;
    Ok(())
}

fn is_current(peer: &Peer, known: &[Machine], offers: &[Offer]) -> bool {
    let standing: HashMap<&str, &Machine> = known
        .iter()
        .filter(|machine| machine.condition != MachineCondition::Withdrawn)
        .map(|machine| (machine.name.as_str(), machine))
        .collect();
    standing.len() == offers.len()
        && offers.iter().all(|offer| {
            let name = format!("{}/{}", peer.name, offer.local_name);
            standing.get(name.as_str()).is_some_and(|machine| {
                machine.kind == offer.kind && machine.labels == offer.labels && machine.limits == offer.limits
            })
        })
}

struct Apply {
    permit: Permit,
    host: HostId,
    host_name: String,
    offers: Vec<Offer>,
}

#[async_trait]
impl Write for Apply {
    type Out = ();
    async fn apply(&self, tx: &Tx, told: &mut Vec<Told>, now: Timestamp) -> Result<(), StoreError> {
        let Self { permit, host, host_name, offers } = self;
        let mut tell = |subject: domain::ids::MachineId, word| {
            told.push(Told { tenant: permit.tenant(), kind: EventKind::Machine, subject: subject.uuid(), word });
        };
        let mut ids = Vec::with_capacity(offers.len());
        for offer in offers {
            let id = store::machines::offer(tx, permit, *host, host_name, offer, now).await?;
            tell(id, "offered");
            ids.push(id);
        }
        let reason = "its host offers it no longer";
        for id in store::machines::withdraw_others(tx, permit, *host, &ids, reason, now).await? {
            tell(id, MachineCondition::Withdrawn.word());
        }
        Ok(())
    }
}

/// How a machine stands as its host's link comes up. A session may have lost its environment while there was no link: the
/// host was started again, or cleared.
pub(super) async fn connected(services: &Services, peer: &Peer, report: MachineReport) -> Result<(), Trouble> {
    let present = match report.actual {
        ActualMachine::Preparing | ActualMachine::Running => report.session,
        ActualMachine::Clean | ActualMachine::Reverting | ActualMachine::Dirty { .. } => None,
    };
    let why = "it was not there any more when its host came back";
    sessions::on_present(services, peer.tenant, peer.host, &report.name, present, why).await?;
    machine(services, peer, report).await
}

pub(super) async fn machine(services: &Services, peer: &Peer, report: MachineReport) -> Result<(), Trouble> {
    match report.actual {
        ActualMachine::Dirty { reason } => {
            sessions::on_present(services, peer.tenant, peer.host, &report.name, None, &reason).await?;
            Ok(machines::on_dirty(services, peer.tenant, peer.host, &report.name, &reason).await?)
        }
        // The instruction's own result says the same.
        ActualMachine::Clean | ActualMachine::Preparing | ActualMachine::Running | ActualMachine::Reverting => Ok(()),
    }
}

pub(super) async fn step(services: &Services, peer: &Peer, session: SessionId, step: Step) -> Result<(), Trouble> {
    Ok(sessions::on_step(services, peer.tenant, session, step).await?)
}

pub(super) async fn output(
    services: &Services,
    peer: &Peer,
    session: SessionId,
    is_revert: bool,
    content: &[u8],
) -> Result<(), Trouble> {
    let source = if is_revert { "revert" } else { "prepare" };
    Ok(sessions::on_output(services, peer.tenant, session, source, content).await?)
}
