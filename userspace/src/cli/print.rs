//! Tables, numbers and JSON for people and scripts.

use std::io::{self, Write as _};

use anyhow::{Context, Result};
use serde_json::Value;

use super::Global;

/// Prints text; a reader that went away (`| head`) is no error.
pub(super) fn text(text: &str) -> Result<()> {
    heard(text).map(drop)
}

/// Prints text; false if the reader went away.
pub(super) fn heard(text: &str) -> Result<bool> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        result => result.map(|()| true).context("cannot write to stdout"),
    }
}

/// Prints a line.
pub(super) fn line(line: impl std::fmt::Display) -> Result<()> {
    text(&format!("{line}\n"))
}

/// Prints JSON.
pub(super) fn json(value: &Value) -> Result<()> {
    line(format_args!("{value:#}"))
}

/// Cells of what an answer lists.
pub(super) fn cells(list: &Value, names: &[&str]) -> Vec<Vec<String>> {
    rows(list).map(|row| names.iter().map(|name| field(row, name)).collect()).collect()
}

/// What an answer lists, as text.
pub(super) fn texts(list: &Value) -> Vec<String> {
    rows(list).filter_map(Value::as_str).map(str::to_owned).collect()
}

/// Prints names, a line each or as a list of JSON.
pub(super) fn names(global: &Global, names: Vec<String>) -> Result<()> {
    match global.json {
        true => json(&names.into()),
        false => text(&names.iter().map(|name| format!("{name}\n")).collect::<String>()),
    }
}

/// Prints the identifier of what an answer says was made.
pub(super) fn id(global: &Global, made: &Value) -> Result<()> {
    if global.json { json(made) } else { line(field(made, "id")) }
}

/// A field of an answer as text; empty if there is nothing in it.
pub(super) fn field(value: &Value, name: &str) -> String {
    match &value[name] {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// What an answer lists.
pub(super) fn rows(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

/// Prints columns as wide as they need be.
pub(super) fn table(header: &[&str], rows: &[Vec<String>]) -> Result<()> {
    text(&columns(header, rows))
}

/// Columns as wide as they need be.
pub(super) fn columns(header: &[&str], rows: &[Vec<String>]) -> String {
    let mut lines: Vec<Vec<&str>> = vec![header.to_vec()];
    lines.extend(rows.iter().map(|row| row.iter().map(String::as_str).collect()));
    let widths: Vec<usize> = (0..header.len())
        .map(|column| lines.iter().map(|row| row.get(column).map_or(0, |cell| cell.chars().count())).max().unwrap_or(0))
        .collect();
    let mut out = String::new();
    for row in lines {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            line.push_str(&format!("{cell:width$}   "));
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

/// Bytes as people read them, in powers of 1000.
pub(super) fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["kB", "MB", "GB", "TB", "PB"];
    if count < 1000 {
        return format!("{count} B");
    }
    let mut value = count as f64 / 1000.0;
    let mut unit = 0;
    while value >= 999.95 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::bytes;

    #[test]
    fn bytes_are_rounded_to_three_digits_or_four() {
        for (count, text) in [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1.0 kB"),
            (999_949, "999.9 kB"),
            (999_950, "1.0 MB"),
            (104_857_600, "104.9 MB"),
            (u64::MAX, "18446.7 PB"),
        ] {
            assert_eq!(bytes(count), text);
        }
    }
}
