//! `berth hosts`.

use api::hosts::Host;

use crate::{
    args::Hosts,
    client::Client,
    fault::Fault,
    table::{self, Table},
    times,
};

pub async fn list(client: &Client, ask: &Hosts) -> Result<(), Fault> {
    let query: Vec<_> = ask.labels.iter().map(|labels| ("labels", labels.clone())).collect();
    let hosts: Vec<Host> = client.list(&["hosts"], &query).await?;
    let nothing = "No host: berth zero-certificates create makes the file with which one joins.";
    table::print(ask.json.output(), &hosts, nothing, || present(&hosts))
}

fn present(hosts: &[Host]) -> Table {
    let mut table = Table::new(&["NAME", "LINK", "SINCE", "INTENT", "CPU", "MEMORY", "AGENT", "LABELS"]);
    for host in hosts {
        let reading = host.metrics.as_ref();
        table.row([
            host.name.clone(),
            host.link.to_string(),
            times::relative_text(&host.link_since),
            host.intent.to_string(),
            reading.map_or_else(|| "-".to_owned(), |reading| format!("{:.0}%", reading.cpu_used * 100.0)),
            reading.map_or_else(
                || "-".to_owned(),
                |m| format!("{}/{}", table::bytes(m.memory_used_bytes), table::bytes(m.memory_total_bytes)),
            ),
            host.agent_version.clone().unwrap_or_else(|| "-".to_owned()),
            table::labels(&host.labels),
        ]);
    }
    table
}
