//! What a benchmark prints: a table for people, and with `--json FILE` the same rows for programs.

use std::{fs, path::Path};

use anyhow::{Context, Result};
use serde::Serialize;

/// Which side of the target is the good one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    AtLeast,
    AtMost,
}

/// One figure. `peer` is what it stands beside, measured in the same run; `ratio` is value / peer.
#[derive(Debug, Clone, Serialize)]
pub struct Row {
    pub name: String,
    pub value: f64,
    pub unit: &'static str,
    pub target: Option<f64>,
    pub holds: Option<bool>,
    pub peer: Option<f64>,
    pub ratio: Option<f64>,
    #[serde(skip)]
    wanted: Option<Wanted>,
}

impl Row {
    pub fn new(name: impl Into<String>, value: f64, unit: &'static str) -> Self {
        Row { name: name.into(), value, unit, target: None, holds: None, peer: None, ratio: None, wanted: None }
    }
    pub fn target(mut self, wanted: Wanted, target: f64) -> Self {
        self.target = Some(target);
        self.wanted = Some(wanted);
        self.holds = Some(match wanted {
            Wanted::AtLeast => self.value >= target,
            Wanted::AtMost => self.value <= target,
        });
        self
    }
    pub fn beside(mut self, peer: f64) -> Self {
        self.peer = Some(peer);
        self.ratio = (peer != 0.0).then(|| self.value / peer);
        self
    }
}

#[derive(Debug, Default, Serialize)]
pub struct Report {
    rows: Vec<Row>,
}

impl Report {
    /// Says it at once too: a run takes minutes.
    pub fn add(&mut self, row: Row) {
        let beside = row.peer.map(|peer| format!(", beside {peer:.2}")).unwrap_or_default();
        eprintln!("{}: {:.2} {}{beside}", row.name, row.value, row.unit);
        self.rows.push(row);
    }

    pub fn print(&self) {
        let figure = |value: f64| match value.abs() {
            v if v == 0.0 || v.fract() == 0.0 && v < 1e15 => format!("{value:.0}"),
            v if v >= 100.0 => format!("{value:.0}"),
            _ => format!("{value:.2}"),
        };
        let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
        let mut lines = vec![["measure", "value", "unit", "target", "holds", "peer", "ratio"].map(str::to_owned)];
        lines.extend(self.rows.iter().map(|row| {
            let sign = row.wanted.map(|wanted| if wanted == Wanted::AtLeast { "≥ " } else { "≤ " });
            [
                row.name.clone(),
                figure(row.value),
                row.unit.to_owned(),
                or_dash(row.target.map(|t| format!("{}{}", sign.unwrap_or_default(), figure(t)))),
                or_dash(row.holds.map(|holds| if holds { "yes" } else { "NO" }.to_owned())),
                or_dash(row.peer.map(figure)),
                or_dash(row.ratio.map(|r| format!("{r:.2}"))),
            ]
        }));
        let widths: Vec<usize> =
            (0..7).map(|at| lines.iter().map(|line| line[at].chars().count()).max().unwrap_or(0)).collect();
        for line in lines {
            let cells: Vec<String> = line.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
            println!("{}", cells.join("  ").trim_end());
        }
    }

    pub fn write(&self, file: &Path) -> Result<()> {
        let text = serde_json::to_string_pretty(self)?;
        fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))
    }
}

/// The value below which `share` (0 to 1) of the sorted samples lie. 0 for none.
pub fn percentile(samples: &mut [f64], share: f64) -> f64 {
    samples.sort_by(f64::total_cmp);
    let last = samples.len().saturating_sub(1);
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "an index of few samples"
    )]
    let at = (last as f64 * share).round() as usize;
    samples.get(at).copied().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_says_whether_its_target_holds() {
        assert_eq!(Row::new("x", 5.0, "ms").target(Wanted::AtMost, 4.0).holds, Some(false));
        assert_eq!(Row::new("x", 5.0, "/s").target(Wanted::AtLeast, 4.0).holds, Some(true));
        assert_eq!(Row::new("x", 5.0, "/s").beside(10.0).ratio, Some(0.5));
    }

    #[test]
    fn percentiles_of_few_samples() {
        let mut samples = vec![3.0, 1.0, 2.0];
        assert_eq!(percentile(&mut samples, 0.5), 2.0);
        assert_eq!(percentile(&mut samples, 1.0), 3.0);
        assert_eq!(percentile(&mut [], 0.5), 0.0);
    }
}
