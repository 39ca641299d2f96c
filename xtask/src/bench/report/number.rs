//! Figures with their units, as people read them.

use crate::bench::record::Unit;

/// Three digits that count, or all before the point, and the unit.
pub fn shown(value: f64, unit: Unit) -> String {
    match unit {
        Unit::Nanoseconds => scaled(value, &[(1e9, " s"), (1e6, " ms"), (1e3, " µs"), (1.0, " ns")]),
        Unit::Milliseconds => scaled(value, &[(1e3, " s"), (1.0, " ms"), (1e-3, " µs")]),
        Unit::PerSecond => scaled(value, &[(1e6, " M/s"), (1e3, " k/s"), (1.0, " /s")]),
        Unit::BitsPerSecond => scaled(value, &[(1e9, " Gb/s"), (1e6, " Mb/s"), (1e3, " kb/s"), (1.0, " b/s")]),
        Unit::Bytes => scaled(value, &[(1e9, " GB"), (1e6, " MB"), (1e3, " kB"), (1.0, " B")]),
    }
}

/// In the largest of these that the value has one of, or else in the smallest.
fn scaled(value: f64, units: &[(f64, &str)]) -> String {
    let fits = |(size, _): &&(f64, &str)| value.abs() >= *size;
    let (size, name) = units.iter().find(fits).or(units.last()).copied().unwrap_or((1.0, ""));
    let value = value / size;
    let digits = match value.abs() {
        0.0 | 99.95.. => 0,
        9.995.. => 1,
        _ => 2,
    };
    format!("{value:.digits$}{name}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_has_three_digits_and_a_unit() {
        for (value, unit, text) in [
            (15_123.0, Unit::Nanoseconds, "15.1 µs"),
            (120.4, Unit::Nanoseconds, "120 ns"),
            (0.0, Unit::Nanoseconds, "0 ns"),
            (11.83, Unit::Milliseconds, "11.8 ms"),
            (2_642.6, Unit::Milliseconds, "2.64 s"),
            (0.25, Unit::Milliseconds, "250 µs"),
            (13_420.8, Unit::PerSecond, "13.4 k/s"),
            (0.5, Unit::PerSecond, "0.50 /s"),
            (9_999.0, Unit::PerSecond, "10.0 k/s"),
            (14.3e9, Unit::BitsPerSecond, "14.3 Gb/s"),
            (1_048_576.0, Unit::Bytes, "1.05 MB"),
        ] {
            assert_eq!(shown(value, unit), text);
        }
    }
}
