//! Machines and readings that look like those of a real team: different sizes, load with the hours and with use.

use std::collections::BTreeMap;

use domain::{
    hosts::HostMetrics,
    labels::Labels,
    machines::{MachineKind, MachineLimits},
};
use protocol::OfferedMachine;
use rand::Rng;

const SYSTEMS: [&str; 4] = ["debian12", "ubuntu24", "rocky9", "debian13"];
const GPUS: [Option<&str>; 6] = [None, None, None, Some("l4"), Some("a100"), Some("h100")];
const GIB: u64 = 1 << 30;

fn labels(pairs: &[(&str, &str)]) -> Labels {
    let map: BTreeMap<String, String> = pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    Labels::try_from(map).unwrap_or_default()
}

fn rack(number: u32) -> String {
    format!("r{}", number / 20 + 1)
}

pub fn host_labels(number: u32) -> Labels {
    labels(&[("simulated", "yes"), ("rack", &rack(number))])
}

pub fn machines(number: u32, count: u32) -> Vec<OfferedMachine> {
    let pick = |from: usize| usize::try_from(number).unwrap_or_default() % from;
    let size = 1 << pick(4);
    (1..=count)
        .map(|slot| {
            let rack = rack(number);
            let mut pairs =
                vec![("kind", "sandbox"), ("simulated", "yes"), ("rack", &*rack), ("os", SYSTEMS[pick(SYSTEMS.len())])];
            if let Some(gpu) = GPUS[pick(GPUS.len())] {
                pairs.push(("gpu", gpu));
            }
            OfferedMachine {
                name: format!("slot-{slot}"),
                kind: MachineKind::Sandbox,
                labels: labels(&pairs),
                limits: MachineLimits {
                    cpu_millis: 1000 * size,
                    memory_bytes: 4 * GIB * u64::from(size),
                    pids: 2048,
                    disk_bytes: 40 * GIB * u64::from(size),
                },
            }
        })
        .collect()
}

/// A reading: a slow wave of the host's own, what its sessions add, and noise.
pub fn metrics(number: u32, busy: usize, at_ms: i64) -> HostMetrics {
    let mut random = rand::rng();
    let cores: u16 = 4 << (number % 4);
    let memory_total_bytes = u64::from(cores) * 4 * GIB;
    let disk_total_bytes = u64::from(cores) * 100 * GIB;
    #[expect(clippy::cast_precision_loss, reason = "an angle")]
    let phase = (at_ms.rem_euclid(600_000) as f32 / 600_000.0 + number as f32 * 0.137) * std::f32::consts::TAU;
    let sessions = f32::from(u16::try_from(busy).unwrap_or(u16::MAX));
    let cpu_used = (0.08 + 0.05 * phase.sin() + 0.17 * sessions + random.random_range(0.0..0.06)).clamp(0.0, 1.0);
    let part = |all: u64, share: f32| {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share from 0 to 1 of 1000")]
        let mille = (share.clamp(0.0, 1.0) * 1000.0) as u64;
        all / 1000 * mille
    };
    HostMetrics {
        at_ms,
        cpu_used,
        load_1m: cpu_used * f32::from(cores),
        cores,
        memory_used_bytes: part(memory_total_bytes, 0.12 + 0.15 * sessions + 0.02 * phase.cos()),
        memory_total_bytes,
        disk_used_bytes: part(disk_total_bytes, 0.3 + 0.02 * sessions),
        disk_total_bytes,
        psi_cpu: (cpu_used - 0.6).max(0.0) * 0.5,
        psi_memory: 0.0,
        psi_io: random.random_range(0.0..0.02),
        rx_bytes_per_s: random.random_range(20_000..80_000) + 400_000 * u64::try_from(busy).unwrap_or_default(),
        tx_bytes_per_s: random.random_range(10_000..60_000) + 150_000 * u64::try_from(busy).unwrap_or_default(),
        objects: None,
    }
}
