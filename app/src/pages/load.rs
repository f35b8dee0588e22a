//! How busy hosts are now, for the lists that show it beside a host or a machine.

use std::collections::HashMap;
use std::sync::Arc;

use leptos::prelude::*;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::Failure;
use crate::clock::use_beat;
use crate::functions::Data;

/// Points of a list's sparkline: ten minutes.
#[cfg(feature = "ssr")]
const POINTS: usize = 24;

/// A host's newest reading, and its CPU over the last ten minutes; shares in percent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Load {
    pub host: Uuid,
    pub cpu: u8,
    pub memory: u8,
    pub disk_free_bytes: u64,
    pub trace: Vec<u8>,
}

#[server(prefix = "/fn", endpoint = "hosts-load", input = leptos::server_fn::codec::Json)]
async fn fetch() -> Result<Vec<Load>, Failure> {
    let (services, call) = crate::server::asked()?;
    let read = services::hosts::loads(&services, &call).await.map_err(crate::server::failure)?;
    Ok(read.into_iter().filter_map(|(host, readings)| load(host.uuid(), &readings)).collect())
}

#[cfg(feature = "ssr")]
fn load(host: Uuid, readings: &[domain::hosts::HostMetrics]) -> Option<Load> {
    let last = readings.last()?;
    let step = readings.len().div_ceil(POINTS).max(1);
    let trace = readings.chunks(step).map(|some| {
        let busiest = some.iter().map(|reading| reading.cpu_used).fold(0.0, f32::max);
        percent(f64::from(busiest))
    });
    Some(Load {
        host,
        cpu: percent(f64::from(last.cpu_used)),
        memory: percent(super::hosts::share(last.memory_used_bytes, last.memory_total_bytes)),
        disk_free_bytes: last.disk_total_bytes.saturating_sub(last.disk_used_bytes),
        trace: trace.collect(),
    })
}

#[cfg(feature = "ssr")]
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 100")]
fn percent(share: f64) -> u8 {
    (share.clamp(0.0, 1.0) * 100.0).round() as u8
}

/// Every host's load. Made at the top of a page; read it under the page's own `Transition`.
#[derive(Clone, Copy)]
pub(super) struct Loads(Data<Vec<Load>>);

impl Loads {
    pub(super) fn of_page() -> Self {
        let beat = use_beat();
        Loads(Data::new(|| Fetch {}, move || beat.get()))
    }

    /// By host; none of hosts that are offline, or linked to another replica.
    pub(super) fn by_host(self) -> Signal<Arc<HashMap<Uuid, Load>>> {
        let found = Memo::new(move |before: Option<&Arc<HashMap<Uuid, Load>>>| match (self.0.get(), before) {
            (Some(Ok(loads)), _) => Arc::new(loads.into_iter().map(|load| (load.host, load)).collect()),
            (Some(Err(_)) | None, Some(before)) => before.clone(),
            (Some(Err(_)) | None, None) => Arc::default(),
        });
        found.into()
    }
}
