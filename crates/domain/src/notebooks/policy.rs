//! What an admin sets for a tenant's notebooks: sizes, limits for each person, and when an idle one stops.

use serde::{Deserialize, Serialize};

use crate::machines::MachineLimits;

/// The most sizes to choose from.
pub const MAX_SIZES: usize = 20;
const MAX_NAME_CHARS: usize = 32;
const CPU_MILLIS: std::ops::RangeInclusive<u32> = 100..=1_024_000;
const MEMORY_BYTES: std::ops::RangeInclusive<u64> = (256 << 20)..=(64 << 40);
const DISK_BYTES: std::ops::RangeInclusive<u64> = (64 << 20)..=(64 << 40);
const VOLUME_BYTES: std::ops::RangeInclusive<u64> = (64 << 20)..=(64 << 40);
const MAX_COUNT: u32 = 1_000;
/// A week.
const MAX_IDLE_MIN: u32 = 7 * 24 * 60;

/// What a run may use. Its disk is what it writes outside of its person's files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotebookSize {
    /// Unique within the tenant.
    pub name: String,
    /// 1,000 are one CPU.
    pub cpu_millis: u32,
    pub memory_bytes: u64,
    pub disk_bytes: u64,
}

impl NotebookSize {
    pub fn limits(&self) -> MachineLimits {
        MachineLimits {
            cpu_millis: self.cpu_millis,
            memory_bytes: self.memory_bytes,
            pids: 1_024,
            disk_bytes: self.disk_bytes,
        }
    }
}

/// What holds for all notebooks of a tenant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotebookPolicy {
    /// To choose from; the first is taken where none is named.
    pub sizes: Vec<NotebookSize>,
    /// The most of one person, stopped ones included.
    pub max_notebooks: u32,
    /// The most of one person that run or are to run at a time, and what these may have together.
    pub max_running: u32,
    pub max_cpu_millis: Option<u32>,
    pub max_memory_bytes: Option<u64>,
    /// How much a person may keep on one host.
    pub volume_bytes: u64,
    /// A notebook that nobody has used for this long stops; never if `None`.
    pub idle_after_min: Option<u32>,
    /// So long before it stops its person is told.
    pub warn_before_min: u32,
}

impl Default for NotebookPolicy {
    fn default() -> Self {
        let size = |name: &str, cpu_millis, memory_gib: u64| NotebookSize {
            name: name.to_owned(),
            cpu_millis,
            memory_bytes: memory_gib << 30,
            disk_bytes: 4 << 30,
        };
        Self {
            sizes: vec![size("small", 1_000, 2), size("medium", 2_000, 4), size("large", 4_000, 16)],
            max_notebooks: 50,
            max_running: 10,
            max_cpu_millis: None,
            max_memory_bytes: None,
            volume_bytes: 10 << 30,
            idle_after_min: Some(120),
            warn_before_min: 10,
        }
    }
}

/// What a person's notebooks that run or are to run take up together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Held {
    pub count: u32,
    pub cpu_millis: u64,
    pub memory_bytes: u64,
}

/// The field that is wrong, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct BadPolicy {
    pub field: &'static str,
    pub why: String,
}

#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum OverLimit {
    #[error("{0} notebooks of yours run, which is the most at a time; stop one that you do not need")]
    Running(u32),
    #[error(
        "your notebooks that run have {have} of the {most} CPUs that one person may have at a time, and this one asks for {ask}"
    )]
    Cpu { have: f64, most: f64, ask: f64 },
    #[error(
        "your notebooks that run have {have} of the {most} MiB of memory that one person may have at a time, and this one asks for {ask}"
    )]
    Memory { have: u64, most: u64, ask: u64 },
}

fn cpus(millis: u64) -> f64 {
    f64::from(u32::try_from(millis).unwrap_or(u32::MAX)) / 1_000.0
}

fn within<T: PartialOrd>(
    field: &'static str,
    value: &T,
    range: &std::ops::RangeInclusive<T>,
    words: &str,
) -> Result<(), BadPolicy> {
    if range.contains(value) { Ok(()) } else { Err(BadPolicy { field, why: words.to_owned() }) }
}

impl NotebookPolicy {
    /// The size of that name, or the first.
    pub fn size(&self, name: Option<&str>) -> Option<&NotebookSize> {
        match name {
            None => self.sizes.first(),
            Some(name) => self.sizes.iter().find(|size| size.name == name),
        }
    }

    pub fn check(&self) -> Result<(), BadPolicy> {
        self.check_sizes()?;
        within("max_notebooks", &self.max_notebooks, &(1..=MAX_COUNT), "1 to 1000")?;
        within("max_running", &self.max_running, &(1..=MAX_COUNT), "1 to 1000")?;
        if let Some(most) = self.max_cpu_millis {
            within("max_cpu_millis", &most, &CPU_MILLIS, "0.1 to 1024 CPUs")?;
        }
        if let Some(most) = self.max_memory_bytes {
            within("max_memory_bytes", &most, &MEMORY_BYTES, "256 MiB to 64 TiB")?;
        }
        within("volume_bytes", &self.volume_bytes, &VOLUME_BYTES, "64 MiB to 64 TiB")?;
        let Some(idle) = self.idle_after_min else { return Ok(()) };
        within("idle_after_min", &idle, &(1..=MAX_IDLE_MIN), "1 minute to 7 days")?;
        if self.warn_before_min >= idle {
            let why = format!("has to be less than the {idle} minutes after which an idle notebook stops");
            return Err(BadPolicy { field: "warn_before_min", why });
        }
        Ok(())
    }

    fn check_sizes(&self) -> Result<(), BadPolicy> {
        let bad = |why: String| Err(BadPolicy { field: "sizes", why });
        if self.sizes.is_empty() || self.sizes.len() > MAX_SIZES {
            return bad(format!("1 to {MAX_SIZES} sizes"));
        }
        for (at, size) in self.sizes.iter().enumerate() {
            let name = &size.name;
            let is_plain = (1..=MAX_NAME_CHARS).contains(&name.len())
                && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
            if !is_plain {
                let name: String = name.chars().take(40).collect();
                return bad(format!(
                    "'{name}' cannot be a size's name: 1 to {MAX_NAME_CHARS} small letters, digits or '-'"
                ));
            }
            if self.sizes[..at].iter().any(|other| other.name == *name) {
                return bad(format!("two sizes have the name '{name}'"));
            }
            let of = |words: &str| format!("the size '{name}' needs {words}");
            within("sizes", &size.cpu_millis, &CPU_MILLIS, &of("0.1 to 1024 CPUs"))?;
            within("sizes", &size.memory_bytes, &MEMORY_BYTES, &of("256 MiB to 64 TiB of memory"))?;
            within("sizes", &size.disk_bytes, &DISK_BYTES, &of("64 MiB to 64 TiB of disk"))?;
        }
        Ok(())
    }

    /// Whether a person who has this running may have one more of this size.
    pub fn admits(&self, held: Held, size: &NotebookSize) -> Result<(), OverLimit> {
        if held.count >= self.max_running {
            return Err(OverLimit::Running(self.max_running));
        }
        if let Some(most) = self.max_cpu_millis
            && held.cpu_millis + u64::from(size.cpu_millis) > u64::from(most)
        {
            let (have, ask) = (cpus(held.cpu_millis), cpus(size.cpu_millis.into()));
            return Err(OverLimit::Cpu { have, most: cpus(most.into()), ask });
        }
        if let Some(most) = self.max_memory_bytes
            && held.memory_bytes.saturating_add(size.memory_bytes) > most
        {
            let (have, ask) = (held.memory_bytes >> 20, size.memory_bytes >> 20);
            return Err(OverLimit::Memory { have, most: most >> 20, ask });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_is_right_and_each_wrong_field_is_named() {
        let good = NotebookPolicy::default();
        assert_eq!(good.check(), Ok(()));
        let check = |field: &'static str, change: &dyn Fn(&mut NotebookPolicy)| {
            let mut bad = good.clone();
            change(&mut bad);
            assert_eq!(bad.check().map_err(|bad| bad.field), Err(field));
        };
        check("sizes", &|policy| policy.sizes.clear());
        check("sizes", &|policy| policy.sizes[1].name = "small".to_owned());
        check("sizes", &|policy| policy.sizes[0].name = "So big".to_owned());
        check("sizes", &|policy| policy.sizes[0].memory_bytes = 1);
        check("max_notebooks", &|policy| policy.max_notebooks = 0);
        check("max_running", &|policy| policy.max_running = 2_000);
        check("max_cpu_millis", &|policy| policy.max_cpu_millis = Some(1));
        check("max_memory_bytes", &|policy| policy.max_memory_bytes = Some(1));
        check("volume_bytes", &|policy| policy.volume_bytes = 1);
        check("idle_after_min", &|policy| policy.idle_after_min = Some(0));
        check("warn_before_min", &|policy| policy.warn_before_min = 120);
        let never = NotebookPolicy { idle_after_min: None, warn_before_min: 999, ..good };
        assert_eq!(never.check(), Ok(()));
    }

    #[test]
    fn what_a_person_may_have_is_counted_together() {
        let policy = NotebookPolicy {
            max_running: 3,
            max_cpu_millis: Some(4_000),
            max_memory_bytes: Some(8 << 30),
            ..NotebookPolicy::default()
        };
        let size = |name| policy.size(Some(name)).unwrap();
        let held = |count, cpu_millis, memory_gib: u64| Held { count, cpu_millis, memory_bytes: memory_gib << 30 };
        assert_eq!(policy.admits(Held::default(), size("medium")), Ok(()));
        assert_eq!(policy.admits(held(1, 2_000, 4), size("medium")), Ok(()));
        assert_eq!(policy.admits(held(3, 0, 0), size("small")), Err(OverLimit::Running(3)));
        assert!(matches!(policy.admits(held(1, 3_000, 4), size("medium")), Err(OverLimit::Cpu { .. })));
        assert!(matches!(policy.admits(held(1, 0, 4), size("large")), Err(OverLimit::Memory { .. })));
    }
}
