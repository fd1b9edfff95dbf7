//! Columns of text that stand below one another, and numbers that people can read.

use std::io::{self, Write};

use model::time::TimestampMs;

/// A table that is printed once it is whole: how wide a column is shows only then.
#[derive(Debug)]
pub(super) struct Table {
    /// Which columns stand to the right, by their place.
    right: Vec<bool>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these headings; those of numbers begin with `>` and stand to the right.
    pub(super) fn new(headings: &[&str]) -> Self {
        let plain = |heading: &&str| heading.trim_start_matches('>').to_owned();
        Self {
            right: headings.iter().map(|h| h.starts_with('>')).collect(),
            rows: vec![headings.iter().map(plain).collect()],
        }
    }

    pub(super) fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }

    pub(super) fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..self.right.len()).map(width).collect();
        for row in &self.rows {
            let mut line = String::new();
            for ((cell, width), right) in row.iter().zip(&widths).zip(&self.right) {
                let padding = " ".repeat(width.saturating_sub(cell.chars().count()));
                let (before, behind) = match right {
                    true => (padding.as_str(), ""),
                    false => ("", padding.as_str()),
                };
                line.push_str(&format!("{before}{cell}{behind}  "));
            }
            writeln!(out, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

/// A time in UTC, to the second.
pub(super) fn time(t: TimestampMs) -> String {
    let text = query::time::format_rfc3339(t);
    let seconds = text.split('.').next().unwrap_or_default();
    format!("{seconds}Z")
}

/// A number with commas between thousands.
pub(super) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// How many bytes there are to a sample; a dash where there are no samples.
pub(super) fn per_sample(bytes: u64, samples: u64) -> String {
    match samples {
        0 => "-".to_owned(),
        _ => format!("{:.3}", bytes as f64 / samples as f64),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned() {
        let mut table = Table::new(&["NAME", ">BYTES"]);
        table.row(vec!["ä".to_owned(), count(1_234_567)]);
        table.row(vec!["longer".to_owned(), count(12)]);
        let mut out = Vec::new();
        table.write(&mut out).unwrap();
        let expected = "NAME        BYTES\nä       1,234,567\nlonger         12\n";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn numbers_are_readable() {
        assert_eq!(time(1_767_225_600_999), "2026-01-01T00:00:00Z");
        assert_eq!(count(0), "0");
        assert_eq!(count(999), "999");
        assert_eq!(count(u64::MAX), "18,446,744,073,709,551,615");
        assert_eq!(per_sample(3, 2), "1.500");
        assert_eq!(per_sample(3, 0), "-");
    }
}
