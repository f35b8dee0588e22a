//! `berth machines`.

use api::machines::Machine;
use jiff::Zoned;

use crate::{
    args::Machines,
    client::Client,
    fault::Fault,
    table::{self, Table},
    times,
};

pub async fn list(client: &Client, ask: &Machines) -> Result<(), Fault> {
    let query: Vec<_> = ask.labels.iter().map(|labels| ("labels", labels.clone())).collect();
    let machines: Vec<Machine> = client.list(&["machines"], &query).await?;
    let nothing = "No machine carries these labels, or no host has joined yet: berth hosts.";
    table::print(ask.json.output(), &machines, nothing, || present(&machines, &times::here()))
}

fn present(machines: &[Machine], now: &Zoned) -> Table {
    let mut table = Table::new(&["NAME", "STATE", "SINCE", "WHO", "UNTIL", "CPU", "MEMORY", "LABELS"]);
    let local = |at: &str| at.parse().map_or_else(|_| at.to_owned(), |at| times::local(at, now));
    for machine in machines {
        let holder = machine.holder.as_ref();
        table.row([
            machine.name.clone(),
            machine.state.to_string(),
            machine.since.parse().map_or_else(|_| machine.since.clone(), |at| times::relative(at, now.timestamp())),
            holder.map_or_else(|| "-".to_owned(), |holder| holder.person.clone()),
            holder.map_or_else(|| "-".to_owned(), |holder| local(&holder.until)),
            format!("{}", f64::from(machine.limits.cpu_millis) / 1000.0),
            table::bytes(machine.limits.memory_bytes),
            table::labels(&machine.labels),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use api::machines::{Holder, MachineLimits};
    use domain::machines::{MachineKind, MachineState};
    use uuid::Uuid;

    use super::*;

    #[test]
    fn the_table() {
        let machine = |name: &str, holder: Option<Holder>| Machine {
            id: Uuid::nil(),
            name: name.to_owned(),
            host: "lab-1".to_owned(),
            host_id: Uuid::nil(),
            kind: MachineKind::Sandbox,
            labels: BTreeMap::from([("kind".to_owned(), "sandbox".to_owned())]),
            limits: MachineLimits { cpu_millis: 1_500, memory_bytes: 2 << 30, pids: 512, disk_bytes: 1 << 30 },
            state: if holder.is_some() { MachineState::InUse } else { MachineState::Free },
            since: "2026-03-10T12:00:00Z".to_owned(),
            reason: None,
            holder,
            next_booking: None,
            actions: vec![],
        };
        let holder = Holder {
            person: "Ada".to_owned(),
            person_id: Uuid::nil(),
            reservation: Uuid::nil(),
            session: Uuid::nil(),
            until: "2026-03-10T14:00:00Z".to_owned(),
        };
        let now: Zoned = "2026-03-10T13:30:00+01:00[Europe/Berlin]".parse().unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(
            present(&[machine("lab-1/a", None), machine("lab-1/bench", Some(holder))], &now).render(),
            "NAME         STATE   SINCE       WHO  UNTIL  CPU  MEMORY  LABELS\n\
             lab-1/a      free    30 min ago  -    -      1.5  2 GiB   kind=sandbox\n\
             lab-1/bench  in-use  30 min ago  Ada  15:00  1.5  2 GiB   kind=sandbox\n"
        );
    }
}
