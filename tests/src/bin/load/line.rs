//! The one line of output.

/// The figures as a JSON object.
pub fn json(figures: &[(&str, f64)]) -> String {
    let fields: Vec<String> = figures.iter().map(|(name, value)| format!("\"{name}\":{value:.1}")).collect();
    format!("{{{}}}", fields.join(","))
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    #[test]
    fn a_line_is_json() {
        let line = super::json(&[("p50_ns", 15_100.0), ("per_second", 0.26)]);
        let value: Value = serde_json::from_str(&line).expect(&line);
        assert_eq!(value["p50_ns"], 15_100.0);
        assert_eq!(value["per_second"], 0.3, "{line}");
        assert!(!line.contains('\n'));
    }
}
