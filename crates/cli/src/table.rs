//! Lists for people (aligned columns) and for programs (`--json`).

use std::io::{self, Write};

use serde::Serialize;

use crate::fault::Fault;

/// Rows under headings, columns two spaces apart, the last one as long as it is.
#[derive(Debug, Clone)]
pub struct Table {
    headings: Vec<&'static str>,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub fn new(headings: &[&'static str]) -> Self {
        Self { headings: headings.to_vec(), rows: Vec::new() }
    }

    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().map(|cell| printable(&cell)).collect());
    }

    pub fn render(&self) -> String {
        let mut widths: Vec<usize> = self.headings.iter().map(|heading| heading.chars().count()).collect();
        for row in &self.rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.chars().count());
            }
        }
        let line = |cells: &mut dyn Iterator<Item = &str>| {
            let mut line = String::new();
            for (cell, width) in cells.zip(&widths) {
                line.push_str(cell);
                line.push_str(&" ".repeat(width - cell.chars().count() + 2));
            }
            line.truncate(line.trim_end().len());
            line.push('\n');
            line
        };
        let mut text = line(&mut self.headings.iter().copied());
        for row in &self.rows {
            text.push_str(&line(&mut row.iter().map(String::as_str)));
        }
        text
    }
}

/// Prints `items` as JSON, or what `table` makes of them; an empty list says so in `nothing` on standard error.
pub fn print<T: Serialize>(
    json: Output,
    items: &[T],
    nothing: &str,
    table: impl FnOnce() -> Table,
) -> Result<(), Fault> {
    match json {
        Output::Json => print_json(&items),
        Output::People if items.is_empty() => {
            eprintln!("{nothing}");
            Ok(())
        }
        Output::People => print_text(&table().render()),
    }
}

/// For whom the output is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output {
    People,
    Json,
}

pub fn print_json<T: Serialize>(value: &T) -> Result<(), Fault> {
    let text = serde_json::to_string_pretty(value)
        .map_err(|error| Fault::Failed(format!("cannot write the answer as JSON: {error}")))?;
    print_text(&(text + "\n"))
}

/// Writes to standard output; a reader that went away (`berth machines | head`) is no error.
pub fn print_text(text: &str) -> Result<(), Fault> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Fault::Io { what: "cannot write to standard output".to_owned(), source: error })
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

/// The text without control characters: what a server or host sent must not steer the person's terminal.
pub fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

/// The same, with line breaks and tabs kept.
pub fn printable_lines(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\n' && c != '\t' { '\u{fffd}' } else { c }).collect()
}

/// `k=v,k=v`.
pub fn labels<'a>(labels: impl IntoIterator<Item = (&'a String, &'a String)>) -> String {
    labels.into_iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(",")
}

/// `1.5 GiB`: binary units, one decimal below ten.
pub fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 || value >= 10.0 || value.fract() == 0.0 {
        format!("{value:.0} {}", UNITS[unit])
    } else {
        format!("{value:.1} {}", UNITS[unit])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let mut table = Table::new(&["NAME", "STATE", "LABELS"]);
        table.row(["lab-1/a".into(), "free".into(), "kind=sandbox".into()]);
        table.row(["ö".into(), "in-use".into(), String::new()]);
        assert_eq!(
            table.render(),
            "NAME     STATE   LABELS\n\
             lab-1/a  free    kind=sandbox\n\
             ö        in-use\n"
        );
    }

    #[test]
    fn a_cell_cannot_steer_the_terminal() {
        let mut table = Table::new(&["NAME"]);
        table.row(["a\u{1b}]0;x\u{7}\nb".into()]);
        assert_eq!(table.render(), "NAME\na\u{fffd}]0;x\u{fffd}\u{fffd}b\n");
    }

    #[test]
    fn sizes() {
        let check = |value: u64, expected: &str| assert_eq!(bytes(value), expected);
        check(0, "0 B");
        check(1_023, "1023 B");
        check(1_536, "1.5 KiB");
        check(2 * 1024 * 1024 * 1024, "2 GiB");
        check(50_000_000, "48 MiB");
    }
}
