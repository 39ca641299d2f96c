//! What is printed: a line of JSON for each figure, in the form that `cargo xtask bench` keeps.

use std::io::{self, Write};

use anyhow::{Context, Result};
use portlane_datapath::testing::world::Version;
use serde_json::{Map, Value, json};

/// One thing measured several times.
pub struct Figure {
    /// Whose program it is.
    pub subject: &'static str,
    /// Which packets.
    pub case: String,
    /// What of them.
    pub metric: &'static str,
    /// Of the samples.
    pub unit: &'static str,
    /// What else was chosen, by name.
    pub at: Vec<(&'static str, String)>,
    /// In the order in which they were taken.
    pub samples: Vec<f64>,
}

impl Figure {
    /// Prints it.
    ///
    /// # Errors
    /// Nobody reads.
    pub fn print(&self) -> Result<()> {
        let Self { subject, case, metric, unit, at, samples } = self;
        let at: Map<String, Value> = at.iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect();
        let line = json!({
            "section": "scale", "subject": subject, "case": case, "metric": metric, "at": at, "unit": unit,
            "samples": samples,
        });
        writeln!(io::stdout(), "{line}").context("nobody reads the figures")
    }
}

/// An IP version, as figures name it.
pub fn family(version: Version) -> (&'static str, String) {
    let name = match version {
        Version::Four => "IPv4",
        Version::Six => "IPv6",
    };
    ("family", name.to_owned())
}

/// The middle one; 0 of none.
pub fn median(mut samples: Vec<u32>) -> f64 {
    samples.sort_unstable();
    samples.get(samples.len() / 2).copied().map_or(0.0, f64::from)
}

/// The mean; 0 of none.
pub fn mean(samples: &[u32]) -> f64 {
    samples.iter().copied().map(f64::from).sum::<f64>() / samples.len().max(1) as f64
}
