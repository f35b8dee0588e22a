//! Readings of the host from `/proc`: processor, memory, disk, network, pressure (PSI). One reading costs eight small
//! reads of files that the kernel makes up on the spot, well under a millisecond.
//!
//! Pressure is taken from the `total=` counters, not from the averages and not by triggers: the counters need no
//! rights and answer for exactly the time between two readings.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::Instant,
};

use domain::hosts::HostMetrics;
use jiff::Timestamp;

/// How often a host is read.
pub const PERIOD_MS: u64 = 1_000;

/// Counters that only grow; a reading is the difference of two.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Counters {
    cpu_busy: u64,
    cpu_all: u64,
    /// Microseconds in which some task waited.
    psi_cpu_us: u64,
    psi_memory_us: u64,
    psi_io_us: u64,
    rx_bytes: u64,
    tx_bytes: u64,
}

/// Reads the host again and again; rates are over the time since the reading before.
#[derive(Debug)]
pub struct Sampler {
    /// The disk that is reported is the one that holds this.
    disk: PathBuf,
    cores: u16,
    before: Counters,
    at: Instant,
}

fn malformed(path: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("{path} is not as expected"))
}

/// Busy and all clock ticks, of the first line of `/proc/stat`.
fn cpu_ticks(stat: &str) -> Option<(u64, u64)> {
    let line = stat.lines().next()?.strip_prefix("cpu ")?;
    // user nice system idle iowait irq softirq steal; the guests' times are within user and nice already.
    let ticks: Vec<u64> = line.split_whitespace().take(8).map(str::parse).collect::<Result<_, _>>().ok()?;
    let all = ticks.iter().sum();
    let idle: u64 = ticks.get(3)? + ticks.get(4)?;
    Some((all - idle, all))
}

fn cores(stat: &str) -> u16 {
    let count = stat.lines().filter(|l| l.starts_with("cpu") && !l.starts_with("cpu ")).count();
    u16::try_from(count).unwrap_or(u16::MAX)
}

/// Used and all bytes of memory, of `/proc/meminfo`.
fn memory(meminfo: &str) -> Option<(u64, u64)> {
    let kib = |name: &str| -> Option<u64> {
        let line = meminfo.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim().trim_end_matches("kB").trim().parse().ok()
    };
    let (total, available) = (kib("MemTotal:")?, kib("MemAvailable:")?);
    Some((total.saturating_sub(available) * 1024, total * 1024))
}

/// The `some` counter of a file of `/proc/pressure`, microseconds.
fn pressure(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("some "))?;
    line.split_whitespace().find_map(|field| field.strip_prefix("total="))?.parse().ok()
}

/// Received and sent bytes over all interfaces but the loopback, of `/proc/net/dev`.
fn network(dev: &str) -> (u64, u64) {
    dev.lines()
        .filter_map(|line| line.split_once(':'))
        .filter(|(name, _)| name.trim() != "lo")
        .filter_map(|(_, fields)| {
            let mut fields = fields.split_whitespace();
            Some((fields.next()?.parse::<u64>().ok()?, fields.nth(7)?.parse::<u64>().ok()?))
        })
        .fold((0, 0), |(rx, tx), (r, t)| (rx + r, tx + t))
}

impl Counters {
    fn read(stat: &str) -> io::Result<Self> {
        let (cpu_busy, cpu_all) = cpu_ticks(stat).ok_or_else(|| malformed("/proc/stat"))?;
        // A kernel without PSI has no such files; then no pressure is reported.
        let psi = |name: &str| {
            fs::read_to_string(format!("/proc/pressure/{name}")).ok().and_then(|text| pressure(&text)).unwrap_or(0)
        };
        let (rx_bytes, tx_bytes) = network(&fs::read_to_string("/proc/net/dev")?);
        Ok(Self {
            cpu_busy,
            cpu_all,
            psi_cpu_us: psi("cpu"),
            psi_memory_us: psi("memory"),
            psi_io_us: psi("io"),
            rx_bytes,
            tx_bytes,
        })
    }
}

fn share(part: u64, whole: u64) -> f32 {
    if whole == 0 { 0.0 } else { (part as f64 / whole as f64).clamp(0.0, 1.0) as f32 }
}

fn rate(before: u64, now: u64, elapsed_us: u64) -> u64 {
    // A counter that went back belongs to an interface that went away.
    let bytes = u128::from(now.saturating_sub(before));
    u64::try_from(bytes * 1_000_000 / u128::from(elapsed_us.max(1))).unwrap_or(u64::MAX)
}

impl Sampler {
    /// Takes the counters to start from. `disk` is a path on the disk to report.
    pub fn new(disk: &Path) -> io::Result<Self> {
        let stat = fs::read_to_string("/proc/stat")?;
        Ok(Self { disk: disk.to_owned(), cores: cores(&stat), before: Counters::read(&stat)?, at: Instant::now() })
    }

    /// One reading, which is said to be of the time `at`. Blocks for well under a millisecond.
    pub fn sample(&mut self, at: Timestamp) -> io::Result<HostMetrics> {
        let now = Counters::read(&fs::read_to_string("/proc/stat")?)?;
        let elapsed_us = u64::try_from(self.at.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.at = Instant::now();
        let before = std::mem::replace(&mut self.before, now);
        let (memory_used_bytes, memory_total_bytes) =
            memory(&fs::read_to_string("/proc/meminfo")?).ok_or_else(|| malformed("/proc/meminfo"))?;
        let load = fs::read_to_string("/proc/loadavg")?;
        let disk = rustix::fs::statvfs(&self.disk)?;
        let disk_total_bytes = disk.f_blocks.saturating_mul(disk.f_frsize);
        let psi = |before: u64, now: u64| share(now.saturating_sub(before), elapsed_us);
        Ok(HostMetrics {
            at_ms: at.as_millisecond(),
            cpu_used: share(now.cpu_busy.saturating_sub(before.cpu_busy), now.cpu_all.saturating_sub(before.cpu_all)),
            load_1m: load.split(' ').next().and_then(|text| text.parse().ok()).unwrap_or(0.0),
            cores: self.cores,
            memory_used_bytes,
            memory_total_bytes,
            disk_used_bytes: disk_total_bytes.saturating_sub(disk.f_bfree.saturating_mul(disk.f_frsize)),
            disk_total_bytes,
            psi_cpu: psi(before.psi_cpu_us, now.psi_cpu_us),
            psi_memory: psi(before.psi_memory_us, now.psi_memory_us),
            psi_io: psi(before.psi_io_us, now.psi_io_us),
            rx_bytes_per_s: rate(before.rx_bytes, now.rx_bytes, elapsed_us),
            tx_bytes_per_s: rate(before.tx_bytes, now.tx_bytes, elapsed_us),
            objects: None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_without_guests() {
        assert_eq!(cpu_ticks("cpu  10 5 20 100 7 1 2 3 999 999\ncpu0 1 1 1 1 1 1 1 1 0 0\ncpu1 1\n"), Some((41, 148)));
        assert_eq!(cores("cpu  1\ncpu0 1\ncpu1 1\nintr 5\n"), 2);
        assert_eq!(cpu_ticks("nothing"), None);
    }

    #[test]
    fn memory_is_what_is_not_available() {
        let text = "MemTotal:       1000 kB\nMemFree:         10 kB\nMemAvailable:    400 kB\n";
        assert_eq!(memory(text), Some((600 * 1024, 1000 * 1024)));
    }

    #[test]
    fn pressure_is_the_total() {
        assert_eq!(
            pressure("some avg10=13.70 avg60=6.49 avg300=2.64 total=45491050\nfull avg10=0 total=3\n"),
            Some(45491050)
        );
    }

    #[test]
    fn the_loopback_is_no_traffic() {
        let text = "Inter-|   Receive\n face |bytes\n    lo: 500 1 0 0 0 0 0 0 500 1 0 0 0 0 0 0\n  eth0: 70 1 0 0 0 0 0 0 30 1 0 0 0 0 0 0\n";
        assert_eq!(network(text), (70, 30));
    }

    #[test]
    fn rates_survive_a_counter_that_goes_back() {
        assert_eq!(rate(100, 350, 500_000), 500);
        assert_eq!(rate(100, 0, 500_000), 0);
    }

    #[test]
    fn this_host_can_be_read() {
        let mut sampler = Sampler::new(Path::new("/")).expect("the host's counters");
        let began = Instant::now();
        let sample = sampler.sample(Timestamp::UNIX_EPOCH).expect("a reading");
        assert!(sample.cores > 0 && sample.memory_total_bytes > sample.memory_used_bytes, "{sample:?}");
        assert!(sample.disk_total_bytes >= sample.disk_used_bytes, "{sample:?}");
        assert!((0.0..=1.0).contains(&sample.cpu_used), "{sample:?}");
        assert!(began.elapsed() < std::time::Duration::from_millis(100), "{:?}", began.elapsed());
    }
}
